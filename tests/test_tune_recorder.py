"""tune.Recorder in memory: what is recorded is what is read, whatever interrupts and however many threads record."""

import copy
import math
import os
import pickle
import signal
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import pyfastlr as flr
from interrupts import everywhere, interrupted, needs_faithful_traces
from processes import in_threads
from pyfastlr import schedules as S
from pyfastlr import tune

NAN = math.nan


def test_numbers_by_name_and_step():
    r = tune.Recorder()
    r.record(loss=1.0, lr=0.1)
    r.record(lr=0.2, loss=2.0)  # in any order
    r.record(7, loss=3.0)
    r.record(step=5, val=0.5)  # any step, and another name
    r.record(loss=None, lr=0.3)
    np.testing.assert_array_equal(r["loss"], [1, 2, 3, NAN, NAN])
    np.testing.assert_array_equal(r["lr"], [0.1, 0.2, NAN, NAN, 0.3])
    np.testing.assert_array_equal(r["val"], [NAN, NAN, NAN, 0.5, NAN])
    assert r.steps.tolist() == r["step"].tolist() == [0, 1, 7, 5, 6]
    assert r.steps.dtype == np.int64
    assert (r.names, len(r), r.total, r.capacity) == (("loss", "lr", "val"), 5, 5, None)
    assert [*r] == [
        {"step": 0, "loss": 1.0, "lr": 0.1}, {"step": 1, "loss": 2.0, "lr": 0.2}, {"step": 7, "loss": 3.0},
        {"step": 5, "val": 0.5}, {"step": 6, "lr": 0.3},
    ]  # fmt: skip
    assert r.latest == {"step": 6, "loss": 3.0, "lr": 0.3, "val": 0.5}
    assert "val" in r
    assert "step" not in r
    assert repr(r) == "Recorder(5 records, ['loss', 'lr', 'val'])"


def test_an_empty_one():
    r = tune.Recorder()
    assert (len(r), [*r], r.latest, r.names, r.steps.tolist()) == (0, [], {}, (), [])
    assert r  # it is a recorder
    r.record()
    assert [*r] == [{"step": 0}]
    with pytest.raises(KeyError, match="'loss' was never recorded; the recorded names are"):
        r["loss"]


def test_a_nan_that_was_recorded_is_not_a_number_that_is_missing():
    r = tune.Recorder()
    r.record(a=NAN)
    r.record(b=-np.inf)
    r.record(a=np.float32("nan"))
    assert [sorted(x) for x in r] == [["a", "step"], ["b", "step"], ["a", "step"]]
    assert math.isnan(r.latest["a"])


def test_arrays_are_copies():
    r = tune.Recorder()
    r.record(a=1.0)
    r["a"][0] = 7
    r.steps[0] = 7
    assert [*r] == [{"step": 0, "a": 1.0}]


@pytest.mark.parametrize("capacity", [1, 2, 3, 255, 256, 257, 1000])
def test_of_a_ring_the_latest_are_kept_with_their_steps(capacity):
    r = tune.Recorder(capacity)
    every = []
    for n in range(700):
        numbers = {"a": float(n)} if n < 300 or n % 3 else {"b": float(-n), "a": float(n)}
        r.record(2 * n, **numbers)
        every.append({"step": 2 * n, **numbers})
        if n in (0, 1, 2, 254, 255, 256, 257, 300, 699):
            kept = every[-capacity:]
            assert [*r] == [{name: x[name] for name in ("step", "a", "b") if name in x} for x in kept]
            assert len(r) == len(kept) == len(r["a"])
            assert r.latest["a"] == n
    assert (r.total, r.capacity) == (700, capacity)
    assert repr(r) == f"Recorder({min(capacity, 700)}{' of 700' if capacity < 700 else ''} records, ['a', 'b'])"


@given(
    st.lists(st.dictionaries(st.sampled_from("abcde"), st.floats() | st.none(), max_size=4), max_size=40),
    st.none() | st.integers(1, 12),
)
def test_it_is_a_list_of_dicts_in_all_but_its_memory(records, capacity):
    r = tune.Recorder(capacity)
    for numbers in records:
        r.record(**numbers)
    pairs = list(enumerate(records))[-capacity:] if capacity else list(enumerate(records))
    kept = [{"step": n, **{k: x for k, x in numbers.items() if x is not None}} for n, numbers in pairs]
    twins = [r, pickle.loads(pickle.dumps(r)), copy.copy(r), copy.deepcopy(r)]
    for twin in twins:
        assert [repr(sorted(x.items())) for x in twin] == [repr(sorted(x.items())) for x in kept]
        assert twin.names == tuple(dict.fromkeys(k for numbers in records for k in numbers))
        assert twin.total == len(records)


def test_latest_looks_back_as_far_as_it_must():
    r = tune.Recorder()
    r.record(val=3.0)
    for n in range(5000):
        r.record(loss=float(n))
    assert r.latest == {"step": 5000, "val": 3.0, "loss": 4999.0}


@pytest.mark.parametrize("age", [0, 1, 255, 256, 257, 511, 512, 600, 767, 768, 1000, 1791, 1792, 1999])
def test_latest_finds_a_number_of_any_age(age):
    r = tune.Recorder()
    for n in range(2000):
        r.record(**({"loss": 0.0, "val": 3.0} if n == 1999 - age else {"loss": float(n)}))
    assert r.latest["val"] == 3.0


@pytest.mark.parametrize("total", [0, 1, 3, 4, 5, 9])
@pytest.mark.parametrize("make", [copy.copy, copy.deepcopy, lambda r: pickle.loads(pickle.dumps(r))])
@pytest.mark.parametrize("capacity", [None, 4])
def test_copies_go_on_by_themselves(make, capacity, total):
    r = tune.Recorder(capacity)
    for n in range(total):
        r.record(10 + n, a=float(n))
    twin = make(r)
    for one in (r, twin):
        for n in range(6):
            one.record(a=100.0 + n)
    assert [*twin] == [*r]
    twin.record(b=1.0)
    assert "b" not in r


# --- Values -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (1, 1.0), (True, 1.0), (np.bool_(False), 0.0), (np.float32(0.1), float(np.float32(0.1))), (np.float64(2), 2.0),
        (np.int8(-3), -3.0), (np.array(0.5), 0.5), (np.array(3, np.int32), 3.0), (10**400, math.inf),
        (-(10**400), -math.inf), (np.float16(2), 2.0),
    ],
)  # fmt: skip
def test_real_numbers(value, number):
    r = tune.Recorder()
    r.record(x=value)
    assert r["x"].tolist() == [number]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (np.ones(3), "`x` must be a real number, got an array: float64[3]"),
        (np.ones((1, 1), "f4"), "an array: float32[1, 1]"),
        ("0.5", "`x` must be a real number, got '0.5'"),
        (1j, "got 1j"),
        (np.complex128(1), "`x`"),
        ([1.0], "got [1.0]"),
        ({}, "`x`"),
    ],
)
def test_what_is_no_number_is_refused_and_nothing_is_recorded(value, words):
    r = tune.Recorder()
    r.record(loss=1.0)
    with pytest.raises(TypeError) as caught:
        r.record(loss=2.0, x=value)
    assert words in str(caught.value)
    assert [*r] == [{"step": 0, "loss": 1.0}]
    assert r.names == ("loss",)


@pytest.mark.parametrize(
    ("step", "error"),
    [(-1, ValueError), (1.0, TypeError), (True, TypeError), ("1", TypeError), (2**53 + 1, ValueError)],
)
def test_what_is_no_step_is_refused(step, error):
    r = tune.Recorder()
    for record in (lambda: r.record(step, a=1.0), lambda: r.record(step=step, a=1.0)):
        with pytest.raises(error, match="`step` must be an integer"):
            record()
    assert len(r) == 0
    r.record(2**53, a=1.0)
    r.record(np.int64(3), a=1.0)
    assert r.steps.tolist() == [2**53, 3]
    with pytest.raises(TypeError, match="`step` must be given once"):
        r.record(1, step=2)


@pytest.mark.parametrize("capacity", [0, -1, 1.5, True, "9"])
def test_what_is_no_capacity_is_refused(capacity):
    with pytest.raises((TypeError, ValueError), match="`capacity` must be an integer >= 1"):
        tune.Recorder(capacity)


# --- An optimizer that is watched -------------------------------------------------------------------------------------


def test_the_rate_is_that_of_the_last_step():
    p = {"a": np.ones(2), "b": np.ones(2)}
    rate = S.Linear(1.0, 0.0, 4)
    opt = flr.SGD(p, lr=rate, groups=[{"params": "b", "lr": 0.5}])
    r = tune.Recorder().watch(opt)
    r.record(loss=9.0)  # before any step there is no rate
    for n in range(4):
        opt.step({"a": np.ones(2), "b": np.ones(2)})
        r.record(loss=float(n))
    r.record(99, lr=7.0)  # given numbers come first
    assert r.watch(None) is r
    r.record(loss=1.0)
    np.testing.assert_array_equal(r["lr"], [NAN, *(rate(n) for n in range(4)), 7.0, NAN])
    assert r.steps.tolist() == [0, 0, 1, 2, 3, 99, 100]


def test_what_an_optimizer_measures_is_recorded(monkeypatch):
    opt = flr.SGD(np.ones(2), lr=0.5)
    stats = flr.Stats(lr=0.5, grad_norm=2.0, update_norm=1.0, clipped=True)
    monkeypatch.setattr(type(opt), "stats", property(lambda self: stats))
    r = tune.Recorder().watch(opt)
    r.record(loss=1.0)
    assert r.latest == {"step": 0, "loss": 1.0, "lr": 0.5, "grad_norm": 2.0, "update_norm": 1.0}


def test_copies_watch_nothing():
    opt = flr.SGD(np.ones(2), lr=0.5)
    opt.step(np.ones(2))
    twin = copy.copy(tune.Recorder().watch(opt))
    twin.record(loss=1.0)
    assert twin.names == ("loss",)
    with pytest.raises(TypeError, match="`optimizer` must be an optimizer of pyfastlr or None, got dict"):
        twin.watch({})


# --- Interrupts, signals, threads -------------------------------------------------------------------------------------


def filled(capacity, total):
    r = tune.Recorder(capacity)
    for n in range(total):
        r.record(a=float(n), b=float(-n))
    return r


@needs_faithful_traces
@pytest.mark.parametrize(("capacity", "total"), [(None, 3), (None, 256), (4, 3), (4, 4), (4, 9), (300, 256)])
@pytest.mark.parametrize("names", [("a", "b"), ("b",), ("c", "a")], ids=",".join)
def test_an_interrupt_anywhere_leaves_the_record_whole_or_absent(capacity, total, names):
    """All others are whole too, even if the table grows, widens or wraps, and the next record follows them."""
    outcomes = set()

    def attempt(k):
        r = filled(capacity, total)
        before = [*r]
        found = interrupted(lambda: r.record(100, **dict.fromkeys(names, 7.0)), k)
        new = {"step": 100, **{name: 7.0 for name in ("a", "b", "c") if name in names}}
        with_it = [*before, new][-capacity if capacity else 0 :]
        now = [*r]
        assert now in (before, with_it), found
        outcomes.add(now == with_it)
        r.record(101, a=8.0)
        behind = {"step": 101, "a": 8.0}
        assert [*r] == [*now, behind][-capacity if capacity else 0 :], found
        return found

    assert everywhere(attempt) > 5
    assert outcomes == {True, False}


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timers")
@pytest.mark.parametrize("capacity", [None, 10**6])
def test_a_handler_of_a_signal_may_record_into_the_same_one(capacity):
    r, calls = tune.Recorder(capacity), 0

    def handler(*_):
        nonlocal calls
        mine, calls = calls, calls + 1  # before anything else: the next signal may come inside of this one's handler
        r.record(other=float(mine))
        r.record(loss=-1.0, **{f"name{mine % 3}": 1.0})

    before, n = signal.signal(signal.SIGALRM, handler), 0
    try:
        while calls < 1000:
            signal.setitimer(signal.ITIMER_REAL, 1e-6 * (1 + n % 17))  # so that it comes at any place of what follows
            for _ in range(10):
                r.record(loss=float(n))
                n += 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    losses, other = r["loss"], r["other"]
    assert r.total == n + 2 * calls
    assert losses[losses >= 0].tolist() == list(range(n))
    assert sorted(other[~np.isnan(other)].tolist()) == list(range(calls))


@pytest.mark.parametrize("capacity", [None, 40_000])
def test_threads_lose_nothing(capacity):
    r, each = tune.Recorder(capacity), 4000

    def work(k):
        def go():
            for n in range(each):
                r.record(n, **{f"thread{k}": float(n), "all": float(k), f"rare{n // 1000}": 1.0})
                if n % 500 == 0:
                    assert len(r["all"]) <= len(r) <= r.total

        return go

    in_threads([work(k) for k in range(4)])
    assert r.total == len(r) == 4 * each
    for k in range(4):
        mine = r["all"] == k
        assert r.steps[mine].tolist() == r[f"thread{k}"][mine].tolist() == list(range(each))


# --- The norm ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arrays", "norm"),
    [
        (np.array([3.0, 4.0]), 5.0),
        ({"a": np.full((2, 2), 2.0, "f4"), "b": [np.array([3.0], "f4"), None]}, 5.0),
        (flr.Flat({"a": np.array([3.0]), "b": np.array([4.0])}), 5.0),
        (np.zeros(3), 0.0),
        (np.zeros(0), 0.0),
        (np.array([3e200, 4e200]), 5e200),
        (np.array([3e-200, 4e-200]), 5e-200),
        (np.full(2, 3e38, "f4"), math.hypot(*2 * [float(np.float32(3e38))])),
        (np.array([np.inf, 1.0]), math.inf),
        (np.array([np.inf, NAN]), NAN),
        ([np.array([np.inf]), np.array([NAN])], NAN),
        ([np.array([NAN]), np.array([1.0])], NAN),
        (np.array(2.0), 2.0),
        (np.array([3, 4]), 5.0),
        ([None, None], 0.0),
        (np.full((300, 200), 0.5, "f4"), 0.5 * math.sqrt(60_000)),
        (np.arange(12.0).reshape(3, 4)[:, ::2], math.sqrt(sum(k * k for k in (0, 2, 4, 6, 8, 10)))),
    ],
)
def test_norm(arrays, norm):
    got = tune.norm(arrays)
    assert type(got) is float
    np.testing.assert_allclose(got, norm, rtol=1e-15)


@pytest.mark.parametrize(("arrays", "error"), [("x", TypeError), (np.array([1j]), TypeError), ({}, ValueError)])
def test_norm_of_what_has_none(arrays, error):
    with pytest.raises(error, match="`arrays`"):
        tune.norm(arrays)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_records_though_a_thread_of_its_parent_did_at_the_fork():
    r, held, done = tune.Recorder(), threading.Event(), threading.Event()

    def hold():
        with r._lock:
            held.set()
            done.wait(60)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(60)
    try:
        child = os.fork()
        if child == 0:
            signal.alarm(10)  # ends a child that waits
            r.record(loss=1.0)
            os._exit(3 if r["loss"].tolist() == [1.0] else 4)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 3
    finally:
        done.set()
        thread.join()
