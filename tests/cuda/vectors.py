"""One step on a device beside the same step of the CPU's drive, for any rule: tensors of many sizes and alignments."""

import numpy as np

from cases import CASES, SIGNED
from pyfastlr_kernels import tables
from pyfastlr_kernels.cuda.step import Step
from pyfastlr_kernels.rules import RULES

SIZES = (1, 3, 4, 257, 1003)
KERNELS = tuple({case.make(np.zeros(1)).rule: case for case in reversed(CASES)}.values())  # a case for each rule


class Vectors:
    """Parameters, gradients and state, on the host with an optimizer over them, and their copies for a device."""

    def __init__(self, case, dtype, sizes=SIZES, groups=None, misalign=False, positive=False, **options):
        rng = np.random.default_rng(len(case.name))
        self.dtype, self.sizes = np.dtype(dtype), sizes
        self.grads = [self._numbers(rng, n) for n in sizes]
        self.params = [self._numbers(rng, n) for n in sizes]
        if positive:
            for x in (*self.grads, *self.params):
                np.abs(x, out=x)
        decay = "decoupled" if "decoupled" in case.row.decays else case.decay
        self.opt = case.make(self.params, groups=groups, weight_decay=0.01, decay=decay, **options)
        self.rule = RULES[self.opt.rule]
        for name in self.rule.state_names:  # as after some steps: momenta have a sign, others not
            for x in self.opt.state[name]:
                x[...] = self._numbers(rng, x.size)
                if name not in SIGNED:
                    x[...] = np.abs(x) + 200.0  # above the square of any momentum: the variance does not cancel
                elif positive:
                    np.abs(x, out=x)
        self.copies = {
            "p": [x.copy() for x in self.params],
            "g": [x.copy() for x in self.grads],
            **{name: [x.copy() for x in self.opt.state[name]] for name in self.rule.state_names},
        }
        self.misalign = misalign

    def _numbers(self, rng, n):
        return (rng.standard_normal(n) * 10.0 ** rng.uniform(-4, 1, n)).astype(self.dtype)

    def on(self, device):
        """Prepare the launches for these tensors; ``run()`` does a step on both sides."""
        self.device, shift = device, self.dtype.itemsize if self.misalign else 0
        at = {
            name: [device.map(x, shift * ((k + j) % 4)) for j, x in enumerate(arrays)]
            for k, (name, arrays) in enumerate(self.copies.items())
        }
        settings = self.opt._hyper.current
        tensors = np.zeros(len(self.sizes), tables.TENSOR)
        tensors["size"] = self.sizes
        tensors["row"], tensors["p"] = self.opt._hyper.members, at["p"]
        tensors["scale"] = [0 if x is None else device.map(x.array.copy()) for x in settings.rates]
        for k, name in enumerate(self.rule.state_names):
            tensors[f"s{k}"] = at[name]
        self.counts, self.steps = np.zeros(len(self.sizes), tables.COUNT), np.zeros(1, np.int64)
        self.counts[:] = self.opt._state.counts
        self.rows, self.at = settings.rows, at
        self.launches = Step(device, self.rule, self.opt.convention, self.dtype.name, tensors, self.rows, self.counts,
                             self.steps, settings.may_freeze())  # fmt: skip
        return self

    def run(self, scale=1.0, missing=()):
        grads = [None if k in missing else g for k, g in enumerate(self.grads)]
        self.opt.step(grads, inv_scale=scale)
        self.launches([0 if k in missing else x for k, x in enumerate(self.at["g"])], scale, 0)

    def pairs(self):
        """What the host and the device have: (name, tensor, host's, device's)."""
        for j in range(len(self.sizes)):
            yield "p", j, self.params[j], self.copies["p"][j]
            for name in self.rule.state_names:
                yield name, j, self.opt.state[name][j], self.copies[name][j]

    def assert_same_bits(self):
        for name, j, host, device in self.pairs():
            bits = f"u{host.itemsize}"
            np.testing.assert_array_equal(device.view(bits), host.view(bits), f"{name}[{j}]")
        assert self.counts.tobytes() == self.opt._state.counts.tobytes()
