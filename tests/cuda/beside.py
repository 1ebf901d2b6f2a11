"""An optimizer over a device's arrays beside the same one over the host's, with the options of a step."""

import numpy as np

import pyfastlr as flr
from emulated import Array


def numbers(rng, n, dtype):
    return (rng.standard_normal(n) * 10.0 ** rng.uniform(-2, 1, n)).astype(dtype)


class Beside:
    """Two optimizers with the same options over lists of arrays: on the host, and on a device."""

    def __init__(self, device, dtype, sizes, options, make=flr.AdamW, **more):
        self.device, self.dtype, self.sizes, self.rng = device, np.dtype(dtype), sizes, np.random.default_rng(5)
        self.host_params = [numbers(self.rng, n, dtype) for n in sizes]
        self.lent = [self.on_device(x) for x in self.host_params]
        given = {"lr": 0.1, **options}
        self.host, self.device_side = make(self.host_params, **given), make(self.lent, **given, **more)
        self.poison = {}  # by tensor: what is put into its gradients

    def on_device(self, x):
        return Array(self.device, x.copy())

    def gradients(self, missing=()):
        """New gradients of both sides; None for a missing one."""
        drawn = [None if k in missing else numbers(self.rng, n, self.dtype) for k, n in enumerate(self.sizes)]
        for k, bad in self.poison.items():
            drawn[k][-1] = bad
        return drawn, [None if x is None else self.on_device(x) for x in drawn]

    def step(self, missing=(), inv_scale=1.0):
        """A step on both sides, with the same gradients. Return them."""
        g, lent = self.gradients(missing)
        self.host.step(g, inv_scale=inv_scale)
        self.device_side.step(lent, inv_scale=inv_scale)
        return g, lent

    def check(self):
        """Both sides have the same bits, counts and measurements."""
        for k, (x, y) in enumerate(zip(self.host_params, self.lent, strict=True)):
            assert same(x, y.host), f"params[{k}]"
        a, b = self.host, self.device_side
        assert (b.steps, repr(b.stats)) == (a.steps, repr(a.stats))  # a NaN equals no other
        assert b._state.counts.tobytes() == a._state.counts.tobytes()
        pairs = {name: (arrays, b.state[name]) for name, arrays in a.state.items()}
        assert b._extras.has_average == a._extras.has_average
        if a._extras.has_average:
            pairs["ema"] = a.ema, b.ema
        for name, both in pairs.items():
            for k, (x, y) in enumerate(zip(*both, strict=True)):
                assert same(x, y.copy()), f"{name}[{k}]"


def same(x, y):
    """Equal bits, or both NaN: which NaN it is depends on the machine."""
    nan = np.isnan(x)
    return x.shape == y.shape and (nan == np.isnan(y)).all() and x[~nan].tobytes() == y[~nan].tobytes()
