"""A state saved before a field was added loads with the field's default. A state from a later version is refused."""

import numpy as np
import pytest

import pyfastlr as flr
from pyfastlr import schedules as S
from pyfastlr.optimizers.saving import snapshot


def stepped(steps):
    p = np.zeros(3)
    opt = flr.SGD(p, lr=0.5, momentum=0.5)
    for _ in range(steps):
        opt.step(np.ones(3))
    return opt


def test_the_version_is_the_third():
    """A commit that increases the version must add a state of the old version here."""
    assert stepped(1).state_dict()["format"] == 3


def test_a_state_of_version_1_as_it_was_written():
    """Two steps with g = 1, momentum 0.5: the buffer is 1 + 0.5."""
    state = {
        "format": 1, "class": "SGD", "convention": "torch", "rule": "momentum", "dtype": "float64",
        "structure": [["", [3]]], "steps": 2, "counts": np.array([2]), "carry": np.zeros((1, 0)),
        "state": {"momentum_buffer": np.full(3, 1.5)},
    }  # fmt: skip
    written = stepped(2).state_dict()
    state["rule"], state["carry"] = written["rule"], written["carry"]
    assert set(written) == {*state, "controllers", "average", "accumulated", "loss_scale"}
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


def test_a_field_that_was_added_later(monkeypatch):
    old = stepped(2).state_dict()
    monkeypatch.setattr(snapshot, "VERSION", 4)
    monkeypatch.setattr(snapshot, "_ADDED", {**snapshot._ADDED, 4: {"epoch": 7}})
    assert snapshot._upgraded(old)["epoch"] == 7
    assert snapshot._upgraded({**old, "format": 4, "epoch": 9})["epoch"] == 9
    with pytest.raises(ValueError, match=r"missing keys \['epoch'\]"):  # a key of the dict's own version is required
        snapshot._upgraded({**old, "format": 4})
    with pytest.raises(ValueError, match=r"unknown keys \['epoch'\]"):
        snapshot._upgraded({**old, "epoch": 9})
    opt = stepped(0)
    opt.load_state_dict(old)
    assert opt.steps == 2


@pytest.mark.parametrize("version", [0, 4, 1.0, True, "1", None])
def test_versions_that_are_unknown_are_refused(version):
    opt = stepped(1)
    with pytest.raises(ValueError, match=r"`state\['format'\]` must be an integer from 1 to 3"):
        opt.load_state_dict({**stepped(2).state_dict(), "format": version})
    assert opt.steps == 1
