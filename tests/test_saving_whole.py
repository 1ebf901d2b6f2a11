"""A file is from one moment, and loading is all or nothing."""

import copy
import gc
import os
import pickle
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

import pyfastlr as flr
from interrupts import everywhere, interrupted, needs_faithful_traces
from processes import Beside, run
from pyfastlr.files import Reader, reading, replacing
from pyfastlr.optimizers.saving import load_file
from saved_runs import big, damaged, gradient, moment, train


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.safetensors"


def test_a_file_is_from_one_moment_while_another_thread_steps(path):
    params = np.zeros(300_000)
    opt = flr.SGD(params, lr=1.0, momentum=0.0001, ema_decay=0.0)
    g = np.full(300_000, -1.0)
    steps = set()
    with Beside(lambda: opt.step(g)) as other:
        for _ in range(8):
            flr.save(path, params, opt)
            saved = flr.load(path)
            assert len(set(saved.params.tolist())) == 1
            assert len(set(saved.state["state"]["momentum_buffer"].tolist())) == 1
            assert (
                saved.state["average"] is None or saved.state["average"]["values"].tobytes() == saved.params.tobytes()
            )
            assert saved.state["counts"].tolist() == [saved.state["steps"]]
            steps.add(saved.state["steps"])
            fresh = flr.SGD(saved.params, lr=1.0, momentum=0.0001, ema_decay=0.0)
            fresh.load(path)
            assert fresh.steps == saved.state["steps"]
    assert other.calls > len(steps) > 1


def test_updates_in_the_progress_are_refused(path):
    params = np.zeros(300_000)
    opt = flr.SGD(params, lr=1.0, momentum=0.9)
    opt.save(path)
    before = path.read_bytes()
    with pytest.raises(RuntimeError, match="`progress` must not make updates of the optimizer"):
        opt.save(path, progress=lambda done, total: opt.step(np.ones(300_000)))
    assert path.read_bytes() == before
    calls = []
    opt.save(path, progress=lambda *numbers: calls.append((*numbers, opt.lr, opt.steps)))
    assert calls[-1] == (path.stat().st_size, path.stat().st_size, 1.0, 1)
    opt.step(np.ones(300_000))
    assert opt.steps == 2


def test_a_swapped_average_is_refused(path):
    params = np.zeros(3)
    opt = flr.SGD(params, lr=1.0, ema_decay=0.5)
    train(params, opt, 2)
    flr.save(path, params, opt)
    before = path.read_bytes()
    with opt.averaged():
        for call in (lambda: flr.save(path, params, opt), lambda: opt.save(path), lambda: opt.load(path)):
            with pytest.raises(RuntimeError, match="swap"):
                call()
    assert path.read_bytes() == before


# --- Loading: all or nothing ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [0, 2])
@pytest.mark.parametrize("at", [3, 300, 1000, 1_500_000, -2_000_000, -1])
def test_a_damaged_file_changes_nothing(path, steps, at):
    params, opt = big()
    flr.save(path, params, opt)
    damaged(path, at)
    _, other = big(steps)
    before = moment(params, other)
    with pytest.raises(flr.BadFile, match=f"^{path}: "):
        other.load(path)
    assert moment(params, other) == before
    with pytest.raises(flr.BadFile, match=f"^{path}: "):
        flr.load(path)


def test_state_that_was_written_by_hand_stays_after_an_error(path):
    _, opt = big()
    opt.save(path)
    damaged(path)
    for copied in (False, True):
        _, other = big(0)
        other.state["exp_avg"]["w"][:] = 7
        if copied:
            other = copy.deepcopy(other)
        with pytest.raises(flr.BadFile):
            other.load(path)
        assert set(other.state["exp_avg"]["w"].tolist()) == {7}


@pytest.mark.parametrize("steps", [0, 2])
@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), KeyboardInterrupt(), MemoryError()])
def test_any_error_while_reading_changes_nothing(path, monkeypatch, steps, error):
    params, opt = big()
    opt.save(path)
    _, other = big(steps)
    before, then = moment(params, other), moment(params, opt)
    fill, calls = Reader._fill, []
    for last in range(1, 80):

        def broken(self, place, last=last):
            calls.append(len(place))
            if len(calls) == last:
                raise error
            fill(self, place)

        calls.clear()
        monkeypatch.setattr(reading.Reader, "_fill", broken)
        try:
            other.load(path)
            break
        except type(error) as found:
            caught = found
        finally:
            monkeypatch.undo()
        assert type(caught) is not OSError or caught.filename == str(path)
        assert moment(params, other) == before
        other.step({"w": None, "b": None})
    assert 10 < last < 79
    assert moment(params, other) == then


# An interrupt between the opening of a file and its `with` leaves it open until it is collected, as always in Python.
left_open = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
LIBRARY = Path(flr.__file__).parent
LOADING = tuple(str(LIBRARY / x) for x in (
    "files/reading.py", "optimizers/saving/load_file.py", "optimizers/saving/writing.py"))  # fmt: skip
SAVING = tuple(str(LIBRARY / x) for x in (
    "files/replacing.py", "files/writing.py", "optimizers/saving/files.py"))  # fmt: skip


@left_open
@pytest.mark.parametrize("steps", [0, 2], ids=["new", "trained"])
@needs_faithful_traces
def test_an_interrupt_anywhere_loads_all_or_nothing(path, steps):
    params, opt = big(3, 10)
    opt.save(path)
    then = moment(params, opt)[1]

    def attempt(k):
        _, other = big(steps, 10)
        before = moment(params, other)[1]
        place = interrupted(lambda: other.load(path), k, LOADING)
        assert moment(params, other)[1] in ((before, then) if place else (then,)), place
        other.step({"w": np.ones(10), "b": np.ones(5)})
        return place

    assert everywhere(attempt) > 100
    gc.collect()  # while the warnings about open files are ignored


@left_open
@needs_faithful_traces
def test_an_interrupt_anywhere_saves_the_old_or_the_new_state(path, monkeypatch):
    monkeypatch.setattr(replacing.os, "fsync", lambda handle: None)
    params, opt = big(3, 10)
    new = moment(params, opt)[1]
    _, before = big(2, 10)
    old = moment(params, before)[1]

    def attempt(k):
        before.save(path)
        place = interrupted(lambda: flr.save(path, params, opt, k=k), k, SAVING)
        found = {name: x.tobytes() for name, x in flr.flatten_state(flr.load(path).state).items()}
        assert found in ((old, new) if place else (new,)), place
        assert os.listdir(path.parent) == [path.name]
        opt.step({"w": None, "b": None})
        return place

    assert everywhere(attempt) > 100
    gc.collect()  # while the warnings about open files are ignored


def test_a_state_that_does_not_fit_changes_nothing(path):
    params, opt = big(3, 10)
    opt.save(path)
    g = {"w": np.ones(10), "b": np.ones(5)}
    for other, said in [
        (flr.AdamW(params, lr=0.1), r"state\['class'\]"),
        (flr.Adam(params, lr=0.1, convention="keras"), r"state\['convention'\]"),
        (flr.Adam({"w": np.zeros(10)}, lr=0.1), r"state\['structure'\]"),
        (flr.Adam({"w": np.zeros(10), "b": np.zeros(6)}, lr=0.1), r"state\['structure'\]"),
        (flr.Adam({"w": np.zeros(10, "f4"), "b": np.zeros(5, "f4")}, lr=0.1), r"state\['dtype'\].*cast=True"),
    ]:
        before = flr.flatten_state(other.state_dict())
        with pytest.raises(ValueError, match=said):
            other.load(path)
        after = flr.flatten_state(other.state_dict())
        assert {k: x.tobytes() for k, x in before.items()} == {k: x.tobytes() for k, x in after.items()}
    with pytest.raises(TypeError, match="strict"):
        opt.load(path, strict=3)
    assert opt.steps == 3
    opt.step(g)


@pytest.mark.parametrize("steps", [0, 2])
def test_the_options_of_loading(path, steps):
    _, opt = big(3, 10)
    opt.save(path)
    other = flr.Adam({"w": np.zeros(10, "f4"), "b": np.zeros(5, "f4")}, lr=0.1)
    for _ in range(steps):
        other.step({"w": np.ones(10, "f4"), "b": np.ones(5, "f4")})
    other.load(path, cast=True)
    assert other.steps == 3
    assert np.array_equal(other.state["exp_avg"]["w"], opt.state["exp_avg"]["w"].astype("f4"))
    other = flr.Adam({"new": np.zeros(3), "w": np.zeros(10)}, lr=0.2)
    for _ in range(steps):
        other.step({"new": np.ones(3), "w": np.ones(10)})
    new = other._state.tensors("exp_avg")[0].copy()
    loaded = other.load(path, strict=False, hyperparameters=False)
    assert (loaded.missing, loaded.unexpected, other.lr) == (("new",), ("b",), 0.2)
    assert np.array_equal(other.state["exp_avg"]["w"], opt.state["exp_avg"]["w"])
    assert np.array_equal(other.state["exp_avg"]["new"], new)
    flat = flr.Flat({"w": np.zeros(10), "b": np.zeros(5)})
    other = flr.Adam(flat, lr=0.1)
    for _ in range(steps):
        other.step(gradient(flat, 0))
    other.load(path)
    assert np.array_equal(other.state["exp_avg"]["w"], opt.state["exp_avg"]["w"])
    assert np.array_equal(other.ema["b"], opt.ema["b"])


def test_a_new_optimizer_is_loaded_without_a_copy(path):
    """A few mebibytes besides the state itself, and to save, too."""
    params, opt = big()
    tracemalloc.start()
    try:
        opt.save(path)
        assert tracemalloc.get_traced_memory()[1] < 3 << 20
        _, other = big(0)
        large = {}
        before = load_file._read_in_place

        def read_in_place(optimizer, file, arrays, found):
            large.update({name: x.nbytes for name, x in arrays.items()})
            before(optimizer, file, arrays, found)

        load_file._read_in_place = read_in_place
        try:
            other.load(path)
        finally:
            load_file._read_in_place = before
    finally:
        tracemalloc.stop()
    assert sum(large.values()) == 3 * 8 * 400_005
    assert moment(params, other)[1] == moment(params, opt)[1]


def test_nothing_is_unpickled(path, monkeypatch):
    params, opt = big(2, 10)
    flr.save(path, params, opt, x=np.ones(3))

    def refuse(*arguments, **named):
        raise AssertionError("pickle")

    for name in ("load", "loads", "Unpickler"):
        monkeypatch.setattr(pickle, name, refuse)
    flr.load(path)
    opt.load(path)
    script = """
    import sys, pyfastlr as flr
    from pyfastlr.files import Reader
    with Reader(sys.argv[1]) as file:
        file.verify()
    """
    run(script, path)
