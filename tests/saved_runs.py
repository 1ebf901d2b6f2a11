"""Runs that the tests of saving save and resume."""

import copy

import numpy as np

import pyfastlr as flr
from pyfastlr import schedules as S
from pyfastlr.arrays import tree

CONTAINERS = {
    "array": lambda: np.arange(6.0).reshape(2, 3),
    "dict": lambda: {"layer": {"w": np.arange(6.0).reshape(2, 3), 0: np.zeros(4)}, "out": np.ones((1, 0, 2))},
    "list": lambda: [np.arange(3.0), [np.ones(2), {"b": np.zeros(())}]],
    "flat": lambda: flr.Flat({"layer": {"w": np.arange(6.0).reshape(2, 3)}, "b": np.zeros(4)}),
}


def leaves(container):
    return [container.buffer] if isinstance(container, flr.Flat) else tree.flatten(container, "x")[2]


def gradient(params, seed):
    g = params.like() if isinstance(params, flr.Flat) else copy.deepcopy(params)
    for k, x in enumerate(leaves(g)):
        x[...] = np.random.default_rng([seed, k]).standard_normal(x.shape)
    return g


def train(params, opt, *steps):
    for n in range(*steps):
        opt.step(gradient(params, n))


def moment(params, opt):
    """All bits of a run."""
    arrays = flr.flatten_state(opt.state_dict())
    return [x.tobytes() for x in leaves(params)], {name: x.tobytes() for name, x in arrays.items()}


def make(params, kind="adam"):
    if kind == "adam":
        return flr.Adam(params, S.Cosine(0.1, 50).warmup(3), ema_decay=0.9, clip_norm=1.0, weight_decay=0.01)
    if kind == "groups":
        return flr.SGD(params, lr=0.1, momentum=0.9, groups=[{"params": 0, "lr": S.Linear(0.1, 0.0, 40)}])
    return flr.NAdam(params, lr=0.01, accumulate=3, loss_scale=flr.LossScale(initial=8.0, interval=2))


def big(steps=3, n=400_000):
    params = {"w": np.zeros(n), "b": np.zeros(5)}
    opt = flr.Adam(params, lr=0.1, ema_decay=0.5)
    train(params, opt, steps)
    return params, opt


def damaged(path, at=-2_000_000):
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)
