"""Steps over rows beside interrupts, signal handlers, threads and forks: each is made wholly or not at all."""

import os
import signal
import threading

import numpy as np
import pytest

import pyfastlr as flr
from interrupts import everywhere, interrupted, needs_faithful_traces
from processes import Beside, in_thread, in_threads
from pyfastlr import schedules as S
from row_runs import raw

pytestmark = pytest.mark.usefixtures("parallel_from_the_first_chunk")
V = np.ones((2, 3))


class Subject:
    """An optimizer after some steps, with rows that are behind."""

    def __init__(self, catch_up, steps=3):
        self.params = {"t": np.arange(15.0).reshape(5, 3), "w": np.zeros(2)}
        self.opt = flr.SGD(self.params, lr=S.Linear(0.5, 0.1, 9), momentum=0.5, catch_up=catch_up)
        for k in range(steps):
            self.opt.step_rows("t", [k, 4], V)

    def moment(self):
        return raw(self.opt, *self.params.values()), self.opt.lr_scale

    def end(self):
        """What the next steps lead to, one of them in another thread."""
        self.opt.step_rows("t", [1, 1], V)
        in_thread(lambda: self.opt.step({"t": flr.Rows([0, 2], V), "w": np.ones(2)}))
        self.opt.step({"t": np.ones((5, 3)), "w": np.ones(2)})
        return self.moment()


OPERATIONS = {
    "step_rows": lambda s: s.opt.step_rows("t", [3, 0], V),
    "duplicates": lambda s: s.opt.step_rows("t", [3, 3], V),
    "with others": lambda s: s.opt.step({"t": flr.Rows([3, 0], V), "w": np.ones(2)}),
    "only others": lambda s: s.opt.step({"t": None, "w": np.ones(2)}),
    "whole": lambda s: s.opt.step({"t": np.ones((5, 3)), "w": np.ones(2)}),
    "sync_rows": lambda s: s.opt.sync_rows("t"),
    "some": lambda s: s.opt.sync_rows("t", [1, 2]),
    "state_dict": lambda s: s.opt.state_dict(),
    "reset": lambda s: s.opt.reset(),
    "a factor of zero": lambda s: setattr(s.opt, "lr_scale", 0.0),
}
PLACES = [*((True, 3, name) for name in OPERATIONS), (False, 3, "step_rows"), (False, 3, "with others")]
PLACES += [(True, 0, "step_rows")]  # the first one makes the tables


@needs_faithful_traces
@pytest.mark.parametrize(("catch_up", "steps", "name"), PLACES)
def test_whole_old_or_whole_new(catch_up, steps, name):
    moments, ends = [], []
    for work in (lambda s: None, OPERATIONS[name]):
        twin = Subject(catch_up, steps)
        work(twin)
        moments.append(twin.moment())
        ends.append(twin.end())

    def attempt(k):
        subject = Subject(catch_up, steps)
        place = interrupted(lambda: OPERATIONS[name](subject), k)
        if place is not None:
            now = subject.moment()
            assert now in moments, f"torn by an interrupt at {place}"
            assert subject.end() == ends[moments.index(now)], f"after an interrupt at {place}"
        return place

    assert everywhere(attempt) > 5


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timers")
@pytest.mark.parametrize("catch_up", [True, False])
def test_signal_handlers_may_step(catch_up):
    p = {"t": np.zeros((4, 3)), "w": np.zeros(2)}
    opt, calls = flr.SGD(p, lr=1.0, catch_up=catch_up), []
    opt.step({"t": np.zeros((4, 3)), "w": np.zeros(2)})
    opt.step_rows("t", [0], np.zeros((1, 3)))

    def handler(*_):
        calls.append(len(calls))
        if len(calls) % 2:
            opt.step_rows("t", [1, 2], V)
        else:
            opt.step({"t": np.ones((4, 3)), "w": np.ones(2)})

    before = signal.signal(signal.SIGALRM, handler)
    done = 0
    try:
        signal.setitimer(signal.ITIMER_REAL, 1e-3, 7e-4)
        while len(calls) < 200:
            opt.step_rows("t", [0, 1], V)
            opt.step({"t": flr.Rows([0, 3], V), "w": np.ones(2)})
            done += 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)
    rows, whole = (len(calls) + 1) // 2, len(calls) // 2
    assert opt.steps == 2 + 2 * done + len(calls)
    assert p["t"][:, 0].tolist() == [-2 * done - whole, -done - rows - whole, -rows - whole, -done - whole]
    assert p["w"][0] == -done - whole


@pytest.mark.parametrize("catch_up", [True, False])
def test_no_step_of_another_thread_is_lost(catch_up):
    n, p = 300, {"t": np.zeros((4, 3)), "w": np.zeros(2)}
    opt = flr.SGD(p, lr=1.0, catch_up=catch_up)
    works = [
        lambda: [opt.step_rows("t", [0, 1], V) for _ in range(n)],
        lambda: [opt.step({"t": flr.Rows([1, 2], V), "w": np.ones(2)}) for _ in range(n)],
        lambda: [opt.step({"t": np.ones((4, 3)), "w": np.ones(2)}) for _ in range(n)],
        lambda: [opt.step({"t": None, "w": np.ones(2)}) for _ in range(n)],
        lambda: [opt.sync_rows("t", [0, 3]) for _ in range(n)],
    ]
    in_threads(works)
    assert opt.steps == 4 * n
    assert p["t"][:, 0].tolist() == [-2 * n, -3 * n, -2 * n, -n]
    assert p["w"].tolist() == [-3 * n] * 2


def test_large_steps_beside_small_ones():
    """A large step without the interpreter lock, and steps over rows that wait for it."""
    p = np.zeros((2000, 100))
    opt, g, v = flr.SGD(p, lr=1.0, threads=2), np.ones((2000, 100)), np.ones((500, 100))
    with Beside(lambda: opt.step(g)) as large:
        for k in range(200):
            opt.step_rows("", np.arange(k, k + 500), v)
        large.wait(3)
    assert opt.steps == large.calls + 200
    assert p[-1, 0] == -large.calls
    assert p[300, 0] == -large.calls - 200


def test_the_state_shows_whole_steps():
    p = {"t": np.zeros((4, 3)), "w": np.zeros(2)}
    opt = flr.SGD(p, lr=1.0, momentum=1.0, catch_up=True)
    g = {"t": flr.Rows([0, 1], V), "w": np.ones(2)}
    opt.step(g)
    with Beside(lambda: opt.step(g)) as steps:
        for _ in range(200):
            d = opt.state_dict()
            buffer = d["state"]["momentum_buffer"]
            assert buffer["t"][0, 0] == buffer["t"][1, 2] == buffer["w"][0] == d["counts"][0] == d["steps"]
        steps.wait(1)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_forks_beside_steps():
    s = Subject(True)
    with Beside(lambda: s.opt.step_rows("t", [0, 1], V)) as steps:
        for _ in range(5):
            steps.wait(2)
            pid = os.fork()
            if not pid:
                status = 1
                try:
                    signal.alarm(30)
                    s.opt.step_rows("t", [2, 3], V)
                    s.opt.step({"t": np.ones((5, 3)), "w": np.ones(2)})
                    status = 0 if np.isfinite(s.params["t"]).all() else 2
                finally:
                    os._exit(status)
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert threading.active_count() >= 1
