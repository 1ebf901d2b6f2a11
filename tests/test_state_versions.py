"""A state saved before a field was added loads with the field's default. A state from a later version is refused."""

import numpy as np
import pytest

import pyfastlr as flr
from pyfastlr import schedules as S
from pyfastlr.optimizers.saving import loading, snapshot


def stepped(steps):
    p = np.zeros(3)
    opt = flr.SGD(p, lr=0.5, momentum=0.5)
    for _ in range(steps):
        opt.step(np.ones(3))
    return opt


def test_the_version_is_the_fourth():
    """A commit that increases the version must add a state of the old version here."""
    assert stepped(1).state_dict()["format"] == 4


def test_a_state_of_version_1_as_it_was_written():
    """Two steps with g = 1, momentum 0.5: the buffer is 1 + 0.5."""
    state = {
        "format": 1, "class": "SGD", "convention": "torch", "rule": "momentum", "dtype": "float64",
        "structure": [["", [3]]], "steps": 2, "counts": np.array([2]), "carry": np.zeros((1, 0)),
        "state": {"momentum_buffer": np.full(3, 1.5)},
    }  # fmt: skip
    written = stepped(2).state_dict()
    state["rule"], state["carry"] = written["rule"], written["carry"]
    later = {"controllers", "average", "accumulated", "loss_scale", "used_lr", "hyperparameters", "maximize"}
    assert set(written) == {*state, *later}
    opt = stepped(0)
    opt.load_state_dict(state)
    assert (opt.steps, opt.state["momentum_buffer"].tolist()) == (2, [1.5] * 3)


def test_a_state_of_version_2_as_it_was_written():
    """One with a controller. The optimizer's average, which it does not have, starts anew."""
    p = np.zeros(3)
    opt = flr.SGD(p, lr=S.Adjustable(0.5), momentum=0.5, ema_decay=0.5)
    for _ in range(3):
        opt.step(np.ones(3))
    state = {
        "format": 2, "class": "SGD", "convention": "torch", "rule": "momentum", "dtype": "float64",
        "structure": [("", (3,))], "steps": 2, "counts": np.array([2]), "carry": np.zeros((1, 0)),
        "state": {"momentum_buffer": np.full(3, 1.5)},
        "controllers": [{"group": 0, "name": "lr", "state": {"type": "Adjustable", "scale": 0.25, "limit": None}}],
    }  # fmt: skip
    state["rule"], state["carry"] = opt.rule, opt.state_dict()["carry"]
    opt.load_state_dict(state)
    assert (opt.steps, opt.lr, opt.state["momentum_buffer"].tolist()) == (2, 0.125, [1.5] * 3)
    assert not hasattr(opt, "ema")
    opt.step(np.zeros(3))
    assert opt.ema.tolist() == p.tolist()


def test_a_state_of_version_3_as_it_was_written():
    """One with an average and a loss scale. It has no hyperparameters, so the optimizer keeps its own."""
    p = np.zeros(3)
    opt = flr.SGD(p, lr=0.25, momentum=0.5, ema_decay=0.75, loss_scale=flr.LossScale(interval=9))
    rule = {"rule": opt.rule, "carry": opt.state_dict()["carry"]}
    opt.load_state_dict({
        "format": 3, "class": "SGD", "convention": "torch", "dtype": "float64", "structure": [("", (3,))], "steps": 2,
        "counts": np.array([2]), "state": {"momentum_buffer": np.full(3, 1.5)}, "controllers": [],
        "average": {"updates": 2, "values": np.full(3, 4.0)}, "accumulated": None,
        "loss_scale": {"scale": 128.0, "finite": 3, "skipped": 0}, **rule,
    })  # fmt: skip
    assert (opt.steps, opt.lr, opt.momentum, opt.ema_decay, opt.loss_scale.scale) == (2, 0.25, 0.5, 0.75, 128.0)
    opt.step(np.zeros(3))
    assert p.tolist() == [-0.25 * 0.75] * 3
    assert opt.ema.tolist() == [0.75 * 4.0 + 0.25 * -0.25 * 0.75] * 3


def test_a_state_of_version_4_as_it_was_written():
    """With hyperparameters: numbers, a schedule, options that are off, and a group's own rate."""
    p = {"a": np.zeros(3), "b": np.zeros(2)}
    opt = flr.SGD(p, lr=9.0, momentum=0.1, groups=[{"params": "b"}])
    rule = {"rule": opt.rule, "carry": opt.state_dict()["carry"]}
    base = {
        "params": ["a"], "lr": {"schedule": {"type": "Linear", "start": 0.5, "end": 0.0, "steps": 4}}, "momentum": 0.5,
        "dampening": 0.0, "weight_decay": 0.0, "decay": "coupled", "lr_scale": 1.0, "clip_norm": None,
        "clip_norm_each": None, "clip_value": None, "ema_decay": None,
    }  # fmt: skip
    state = {
        "format": 4, "class": "SGD", "convention": "torch", "dtype": "float64", "structure": [("a", (3,)), ("b", (2,))],
        "steps": 2, "counts": np.array([2, 1]), "controllers": [], "average": None, "accumulated": None,
        "state": {"momentum_buffer": {"a": np.full(3, 1.5), "b": np.full(2, 3.0)}}, "loss_scale": None,
        "hyperparameters": [base, {"params": ["b"], "lr": 0.125}], "maximize": False, "used_lr": 0.375, **rule,
    }  # fmt: skip
    assert set(stepped(1).state_dict()) == set(state)
    assert set(stepped(1).state_dict()["hyperparameters"][0]) == set(base)
    opt.load_state_dict(state)
    assert (opt.steps, opt.lrs, opt.momentum, opt.stats.lr) == (2, [0.25, 0.125], 0.5, 0.375)
    opt.step({"a": np.zeros(3), "b": np.zeros(2)})
    assert (p["a"].tolist(), p["b"].tolist()) == ([-0.25 * 0.75] * 3, [-0.125 * 1.5] * 2)


def test_a_field_that_was_added_later(monkeypatch):
    old = stepped(2).state_dict()
    monkeypatch.setattr(loading, "VERSION", 5)
    monkeypatch.setattr(loading, "ADDED", {**snapshot.ADDED, 5: {"epoch": 7}})
    assert loading.upgraded(old)["epoch"] == 7
    assert loading.upgraded({**old, "format": 5, "epoch": 9})["epoch"] == 9
    with pytest.raises(ValueError, match=r"missing keys \['epoch'\]"):  # a key of the dict's own version is required
        loading.upgraded({**old, "format": 5})
    with pytest.raises(ValueError, match=r"unknown keys \['epoch'\]"):
        loading.upgraded({**old, "epoch": 9})
    opt = stepped(0)
    opt.load_state_dict(old)
    assert opt.steps == 2


@pytest.mark.parametrize("version", [0, 5, 1.0, True, "1", None])
def test_versions_that_are_unknown_are_refused(version):
    opt = stepped(1)
    with pytest.raises(ValueError, match=r"`state\['format'\]` must be an integer from 1 to 4"):
        opt.load_state_dict({**stepped(2).state_dict(), "format": version})
    assert opt.steps == 1
