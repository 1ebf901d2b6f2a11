"""Runs whose files are kept in tests/golden/files/, one folder per version of pyfastlr. Later versions must read them.

Add a run for what a new version adds; never change one of an old version. scripts/make_golden_files.py writes them.
"""

from typing import Any, NamedTuple

import numpy as np

import pyfastlr as flr
from pyfastlr import schedules as S
from pyfastlr.arrays import tree


class Run(NamedTuple):
    """Parameters, the optimizer for them, and what is done to both before the file is written."""

    params: Any  # a function
    make: Any  # from parameters to an optimizer; None for a file without one
    steps: int = 3
    before: Any = lambda opt: None  # after the steps
    extra: Any = dict


def model(dtype):
    rng = np.random.default_rng(0)
    return {"layer": {"w": rng.random((2, 3)).astype(dtype), "b": np.zeros(3, dtype)}, "out": [np.ones(2, dtype)]}


def leaves(container):
    return [container.buffer] if isinstance(container, flr.Flat) else tree.flatten(container, "x")[2]


def gradient(params, n):
    """Gradient of update n: simple fractions. Of update 1, an array is left out."""

    def like(x, k=1):
        if isinstance(x, dict):
            return {key: like(value, k + j) for j, (key, value) in enumerate(x.items())}
        if isinstance(x, list):
            return [None if n == 1 else like(value, k + 3) for value in x]
        return ((np.arange(x.size) % 5 - 2 + n) / (8 * k)).reshape(x.shape).astype(x.dtype)

    if isinstance(params, flr.Flat):
        flat = params.like()
        flat.buffer[:] = like(flat.buffer)
        return flat
    return like(params)


def by_hand(opt):
    opt.lr = 0.001
    opt.groups[0]["momentum"] = 0.5


def observed(opt):
    for loss in (1.0, 2.0, 3.0):
        opt.groups[0]["lr"].observe(loss)


EXTRA = {
    "epoch": 3, "best": float("inf"), "name": "ünï\n", "nested": {"a": [1, (2, None)], 3: True},
    "half": np.ones(2, "f2"), "scalar": np.float32(0.1),
    "random": {"key": np.arange(5, dtype=np.uint32), "pos": 7, "inc": 2**100},
}  # fmt: skip

RUNS = {
    "adam": Run(
        lambda: model("f4"),
        lambda p: flr.Adam(p, S.Cosine(0.5, 50).warmup(3), weight_decay=S.Linear(0.1, 0.0, 9), clip_norm=1.0,
                           ema_decay=0.5, groups=[{"params": "layer.b", "lr": 0.25, "betas": (0.5, 0.75)}]),
    ),
    "sgd_flat": Run(lambda: flr.Flat(model("f8")), lambda p: flr.SGD(p, lr=0.5, momentum=0.9), before=by_hand),
    "nadam_accumulated": Run(
        lambda: [np.ones(3), np.zeros((2, 2))],
        lambda p: flr.NAdam(p, lr=0.01, accumulate=2, loss_scale=flr.LossScale(initial=8.0, interval=2)),
    ),
    "adagrad_array": Run(lambda: np.ones((2, 3), "f4"), lambda p: flr.AdaGrad(p, 0.1, initial_accumulator_value=0.5)),
    "asgd": Run(lambda: model("f8"), lambda p: flr.ASGD(p, lr=0.1)),
    "rmsprop_keras": Run(lambda: model("f4"), lambda p: flr.RMSProp(p, 0.1, convention="keras", momentum=0.5)),
    "plateau": Run(
        lambda: [np.ones(2)], lambda p: flr.SGD(p, lr=S.Plateau(0.5, factor=0.5, patience=0, cooldown=1)),
        before=observed,
    ),
    "lion": Run(lambda: [np.ones(3, "f4")], lambda p: flr.Lion(p, lr=0.1), steps=0),
    "plain": Run(
        lambda: {"w": np.ones(3), 0: [np.zeros((0, 2), np.float16), np.arange(3, dtype=np.int8)]}, None,
        extra=EXTRA.copy,
    ),
}  # fmt: skip


def trained(name):
    """Parameters and optimizer of a run, as they are saved."""
    run = RUNS[name]
    params = run.params()
    opt = run.make(params) if run.make else None
    for n in range(run.steps if opt else 0):
        opt.step(gradient(params, n))
    if opt:
        run.before(opt)
    return params, opt


def described(saved):
    """Everything in a file, for JSON."""
    from pyfastlr.optimizers.saving import flat_state, plain

    found: dict[str, Any] = {}
    data = {
        "extra": plain.encode(saved.extra, "extra", "extra", found),
        "params": [x.tolist() for x in leaves(saved.params)],
    }
    if saved.state is not None:
        data["state"], arrays = flat_state.split(saved.state)
        found |= arrays
    data["arrays"] = {name: [x.dtype.name, list(x.shape), x.ravel().tolist()] for name, x in found.items()}
    return data


def continued(params, opt):
    """Parameters after another update."""
    opt.step(gradient(params, 9))
    return [x.tolist() for x in leaves(params)]
