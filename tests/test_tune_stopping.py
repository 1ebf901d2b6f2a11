"""tune.EarlyStopping: when it stops, what it keeps, and that nothing is half done."""

import copy
import json
import math
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import pyfastlr as flr
from pyfastlr import tune

NAN, INF = math.nan, math.inf


def run(losses, **options):
    """Number of observations up to the one that stops, or None; and the object."""
    stop = tune.EarlyStopping(**options)
    for k, loss in enumerate(losses):
        if stop.observe(loss):
            return k + 1, stop
    return None, stop


@pytest.mark.parametrize(
    ("losses", "options", "stopped", "best", "index"),
    [
        ([3, 2, 1, 1, 1], {"patience": 2}, 5, 1.0, 2),
        ([3, 2, 1, 2, 0.5, 1], {"patience": 2}, None, 0.5, 4),
        ([1, 2, 3], {"patience": 0}, 2, 1.0, 0),
        ([1, 2, 3], {"patience": 1}, 2, 1.0, 0),
        ([0.1, 0.2, 0.15], {"patience": 1, "mode": "max"}, 3, 0.2, 1),
        ([1, 0.95, 0.9], {"patience": 2, "threshold": 0.1}, 3, 1.0, 0),
        ([10, 9.5, 8.9], {"patience": 2, "threshold": 0.1, "threshold_mode": "rel"}, None, 8.9, 2),
        ([-10, -10.5, -11.1], {"patience": 2, "threshold": 0.1, "threshold_mode": "rel"}, None, -11.1, 2),
        ([-10, -9.5, -9.0], {"patience": 2, "threshold": 0.1, "threshold_mode": "rel"}, 3, -10.0, 0),
        ([-10, -9.5, -8.5], {"mode": "max", "threshold": 0.1, "threshold_mode": "rel"}, None, -8.5, 2),
        ([0, 1, 5, 4, 4], {"patience": 1, "min_updates": 2}, 5, 4.0, 3),
        ([NAN, 1, NAN, NAN], {"patience": 2}, 4, 1.0, 1),
        ([NAN, NAN, NAN], {"patience": 1}, 2, None, None),
        ([INF, INF, 3], {"patience": 9}, None, 3.0, 2),
        ([-INF, -INF, 3], {"patience": 9}, None, -INF, 0),
        ([3, -INF, -INF], {"patience": 9, "threshold": 0.1, "threshold_mode": "rel"}, None, -INF, 1),
        ([1, 10**400], {"patience": 1}, 2, 1.0, 0),
    ],
)
def test_when_it_stops(losses, options, stopped, best, index):
    got, stop = run(losses, **options)
    assert got == stopped
    assert (stop.best, stop.best_index) == (best, index)
    assert stop.stopped == (stopped is not None)


@given(st.lists(st.floats() | st.just(NAN), min_size=1, max_size=60), st.integers(1, 5))
def test_the_best_is_the_first_of_the_smallest_and_patience_is_what_follows(losses, patience):
    """By definition, it stops at the first k that comes `patience` losses after the best so far."""
    stopped, stop = run(losses, patience=patience)
    last = 0  # the index behind the last better loss
    want, low = None, INF
    for k, loss in enumerate(losses):
        if loss < low:
            low, last = loss, k + 1
        if k + 1 - last >= patience and k > 0:
            want = k + 1
            break
    assert stopped == want
    assert stop.best == (low if low < INF else None)
    assert stop.best_index == (last - 1 if last else None)


def test_it_stays_stopped_until_reset():
    _, stop = run([1, 2], patience=1)
    assert stop.observe(0.5)
    assert stop.best == 0.5
    stop.reset()
    assert (stop.stopped, stop.best, stop.best_index, stop.seen, stop.wait) == (False, None, None, 0, 0)
    assert not stop.observe(7.0)


# --- Parameters -------------------------------------------------------------------------------------------------------

CONTAINERS = {
    "array": lambda: np.zeros(3),
    "dict": lambda: {"a": np.zeros((2, 2), "f4"), "b": [np.zeros(1, "f4")]},
    "flat": lambda: flr.Flat({"a": np.zeros((2, 2)), "b": np.zeros(3)}),
}


def leaves(params):
    if isinstance(params, dict):
        return [params["a"], *params["b"]]
    return [params.buffer if isinstance(params, flr.Flat) else params]


def fill(params, value):
    for x in leaves(params):
        x[...] = value


def value(params):
    (found,) = {float(v) for x in leaves(params) for v in x.ravel()}
    return found


@pytest.fixture(params=CONTAINERS)
def params(request):
    return CONTAINERS[request.param]()


def test_the_best_parameters_come_back_into_the_same_arrays(params):
    own = leaves(params)
    stop = tune.EarlyStopping(patience=3, params=params)
    for k, loss in enumerate([5, 3, NAN, 4, 2, 8, 9]):
        fill(params, k)
        stop.observe(loss)
    stop.restore()
    assert value(params) == 4
    assert all(x is y for x, y in zip(leaves(params), own, strict=True))
    fill(params, 7)
    stop.restore()  # again
    assert value(params) == 4


def test_without_any_better_loss_they_are_those_of_the_start(params):
    fill(params, 11)
    stop = tune.EarlyStopping(params=params)
    fill(params, NAN)
    stop.observe(NAN)
    stop.restore()
    assert value(params) == 11
    fill(params, 12)
    stop.reset()
    fill(params, 13)
    stop.restore()
    assert value(params) == 12


def test_an_interrupt_while_the_copy_is_made_leaves_the_former_best_whole(monkeypatch):
    params = [np.zeros(2), np.zeros(2)]
    stop = tune.EarlyStopping(params=params)
    stop.observe(3.0)
    copyto, calls = np.copyto, []

    def interrupted(to, source):
        copyto(to, source)
        calls.append(1)
        raise KeyboardInterrupt

    for x in params:
        x += 1
    monkeypatch.setattr(np, "copyto", interrupted)
    with pytest.raises(KeyboardInterrupt):
        stop.observe(2.0)
    monkeypatch.undo()
    assert calls == [1]
    assert (stop.best, stop.best_index, stop.seen) == (3.0, 0, 1)
    stop.restore()
    assert [x.tolist() for x in params] == [[0, 0], [0, 0]]
    stop.observe(2.0)
    assert (stop.best, stop.best_index) == (2.0, 1)


# --- Saving -----------------------------------------------------------------------------------------------------------

LOSSES = [5, 3, NAN, 4, 2, 8, NAN, 1.5, 9, 9, 9, 9]


@pytest.mark.parametrize("at", range(len(LOSSES)))
def test_a_resumed_run_is_the_same_run(params, at):
    def go(stop, params, part):
        for k, loss in part:
            fill(params, k)
            stop.observe(loss)

    options = {"patience": 3, "threshold": 0.5, "min_updates": 1}
    whole = tune.EarlyStopping(**options, params=params)
    pairs = list(enumerate(LOSSES))
    go(whole, params, pairs[:at])
    saved = whole.state_dict()
    assert saved.keys() == {"seen", "wait", "stopped", "best", "best_index", "params"}
    json.dumps({name: x for name, x in saved.items() if name != "params"}, allow_nan=False)
    other = copy.deepcopy(params)
    resumed = tune.EarlyStopping(**options, params=other)
    resumed.load_state_dict(saved)
    twin, twin_params = pickle.loads(pickle.dumps((whole, params)))
    go(whole, params, pairs[at:])
    for stop, own in ((resumed, other), (twin, twin_params)):
        go(stop, own, pairs[at:])
        assert repr(stop) == repr(whole)
        for one in (stop, whole):
            one.restore()
        assert value(own) == value(params)


def test_a_copy_shares_the_arrays_and_goes_its_own_way():
    params = np.zeros(2)
    stop = tune.EarlyStopping(params=params)
    stop.observe(2.0)
    twin = copy.copy(stop)
    params += 1
    twin.observe(1.0)
    stop.restore()
    assert params.tolist() == [0, 0]
    twin.restore()
    assert params.tolist() == [1, 1]
    assert (stop.best, twin.best) == (2.0, 1.0)


def test_an_interrupt_while_a_state_is_loaded_leaves_the_former_best_whole(monkeypatch):
    params = [np.zeros(2), np.zeros(2)]
    stop = tune.EarlyStopping(params=params)
    stop.observe(3.0)
    state = stop.state_dict()
    state["params"] = {name: x + 5 for name, x in state["params"].items()}
    copyto = np.copyto

    def interrupted(to, source):
        copyto(to, source)
        raise KeyboardInterrupt

    monkeypatch.setattr(np, "copyto", interrupted)
    with pytest.raises(KeyboardInterrupt):
        stop.load_state_dict(state)
    monkeypatch.undo()
    stop.restore()
    assert [x.tolist() for x in params] == [[0, 0], [0, 0]]


def test_a_state_is_a_copy():
    params = np.zeros(2)
    stop = tune.EarlyStopping(params=params)
    state = stop.state_dict()
    state["params"][""] += 7
    stop.restore()
    assert params.tolist() == [0, 0]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"best": 1.0}, "both `best` and `best_index` or neither"),
        ({"best": NAN, "best_index": 1}, "both `best` and `best_index`"),
        ({"wait": -1}, "`state['wait']` must be an integer >= 0"),
        ({"seen": 1.5}, "`state['seen']`"),
        ({"stopped": 1}, "`state['stopped']` must be True or False"),
        ({"params": None}, "`state['params']` must have arrays for ['a', 'b']"),
        ({"params": {"a": np.ones(2)}}, "arrays for ['a', 'b']"),
        ({"params": {"a": np.ones(2), "b": np.ones(3)}}, "`state['params']['b']` must be float64[2], got float64[3]"),
        ({"params": {"a": np.ones(2, "f4"), "b": np.ones(2)}}, "got float32[2]"),
        ({"other": 1}, "`state` must have the keys"),
    ],
)
def test_a_state_that_does_not_fit_changes_nothing(change, words):
    params = {"a": np.zeros(2), "b": np.zeros(2)}
    stop = tune.EarlyStopping(params=params)
    stop.observe(3.0)
    before = stop.state_dict()
    good = tune.EarlyStopping(params={"a": np.full(2, 5.0), "b": np.full(2, 5.0)}).state_dict()
    with pytest.raises((TypeError, ValueError)) as caught:
        stop.load_state_dict({**good, **change})
    assert words in str(caught.value)
    after = stop.state_dict()
    assert repr(after) == repr(before)


def test_a_state_without_parameters_is_for_one_without():
    stop = tune.EarlyStopping()
    assert stop.state_dict()["params"] is None
    stop.load_state_dict(stop.state_dict())
    with pytest.raises(ValueError, match="must have no parameters, got dict"):
        stop.load_state_dict(tune.EarlyStopping(params=np.ones(1)).state_dict())
    with pytest.raises(ValueError, match=r"must have the keys .* got list"):
        stop.load_state_dict([])


# --- Errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"patience": -1}, ValueError, "`patience` must be an integer >= 0, got -1"),
        ({"patience": 1.0}, TypeError, "`patience`"),
        ({"patience": True}, TypeError, "`patience`"),
        ({"mode": "auto"}, ValueError, "`mode` must be 'min' or 'max', got 'auto'"),
        ({"threshold": -0.1}, ValueError, "`threshold`"),
        ({"threshold": NAN}, ValueError, "`threshold`"),
        ({"threshold_mode": "relative"}, ValueError, "`threshold_mode` must be 'abs' or 'rel'"),
        ({"min_updates": 0.5}, TypeError, "`min_updates`"),
        ({"params": [1.0]}, TypeError, "`params[0]`"),
        ({"params": {}}, ValueError, "`params`"),
    ],
)
def test_errors_name_the_argument(options, error, words):
    with pytest.raises(error) as caught:
        tune.EarlyStopping(**options)
    assert words in str(caught.value)


@pytest.mark.parametrize("loss", [None, "1", np.ones(1), np.ones(3), [1.0], 1j, b"1"])
def test_a_loss_that_is_no_number_changes_nothing(loss):
    stop = tune.EarlyStopping(patience=1)
    stop.observe(1.0)
    with pytest.raises(TypeError, match="`loss` must be a real number, got"):
        stop.observe(loss)
    assert (stop.seen, stop.stopped) == (1, False)


def test_restore_needs_parameters():
    with pytest.raises(ValueError, match="`restore` needs the parameters"):
        tune.EarlyStopping().restore()


@pytest.mark.parametrize("loss", [1, np.float32(1), np.array(1.0), np.int64(1), True])
def test_numbers_of_numpy_are_numbers(loss):
    stop = tune.EarlyStopping()
    stop.observe(loss)
    assert type(stop.best) is float
    assert stop.best == 1.0
