"""A state saved before a field was added loads with the field's default. A state from a later version is refused."""

import numpy as np
import pytest

import pyfastlr as flr
from pyfastlr.optimizers import snapshot


def stepped(steps):
    p = np.zeros(3)
    opt = flr.SGD(p, lr=0.5, momentum=0.5)
    for _ in range(steps):
        opt.step(np.ones(3))
    return opt


def test_the_version_is_the_second():
    """A commit that increases the version must add a state of the old version here."""
    assert stepped(1).state_dict()["format"] == 2


def test_a_state_of_version_1_as_it_was_written():
    """Two steps with g = 1, momentum 0.5: the buffer is 1 + 0.5."""
    state = {
        "format": 1, "class": "SGD", "convention": "torch", "rule": "momentum", "dtype": "float64",
        "structure": [["", [3]]], "steps": 2, "counts": np.array([2]), "carry": np.zeros((1, 0)),
        "state": {"momentum_buffer": np.full(3, 1.5)},
    }  # fmt: skip
    written = stepped(2).state_dict()
    state["rule"], state["carry"] = written["rule"], written["carry"]
    assert set(written) == {*state, "controllers"}
    opt = stepped(0)
    opt.load_state_dict(state)
    assert (opt.steps, opt.state["momentum_buffer"].tolist()) == (2, [1.5] * 3)


def test_a_field_that_was_added_later(monkeypatch):
    old = stepped(2).state_dict()
    monkeypatch.setattr(snapshot, "VERSION", 3)
    monkeypatch.setattr(snapshot, "_ADDED", {**snapshot._ADDED, 3: {"epoch": 7}})
    assert snapshot._upgraded(old)["epoch"] == 7
    assert snapshot._upgraded({**old, "format": 3, "epoch": 9})["epoch"] == 9
    with pytest.raises(ValueError, match=r"missing keys \['epoch'\]"):  # a key of the dict's own version is required
        snapshot._upgraded({**old, "format": 3})
    with pytest.raises(ValueError, match=r"unknown keys \['epoch'\]"):
        snapshot._upgraded({**old, "epoch": 9})
    opt = stepped(0)
    opt.load_state_dict(old)
    assert opt.steps == 2


@pytest.mark.parametrize("version", [0, 3, 1.0, True, "1", None])
def test_versions_that_are_unknown_are_refused(version):
    opt = stepped(1)
    with pytest.raises(ValueError, match=r"`state\['format'\]` must be an integer from 1 to 2"):
        opt.load_state_dict({**stepped(2).state_dict(), "format": version})
    assert opt.steps == 1
