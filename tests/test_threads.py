"""Threads and forks: no crash, no hang, no torn step, the same bits."""

import os
import signal
import textwrap
import threading
import time

import numpy as np
import pytest

import pyfastlr as flr
from processes import run
from pyfastlr.engines import host
from pyfastlr_kernels.cpu import pool

pytestmark = pytest.mark.usefixtures("parallel_from_the_first_chunk")

N = 200_003


def trained(p, threads, steps=3):
    opt = flr.AdamW(p, lr=1e-2, threads=threads)
    rng = np.random.default_rng(0)
    for _ in range(steps):
        opt.step(rng.standard_normal(p.size).astype(p.dtype))
    return opt


@pytest.mark.parametrize("n", [1, 1023, 1024, 1025, 4097, N])
def test_any_number_of_threads_gives_the_same_bits(n):
    one = np.ones(n, "f4")
    trained(one, 1)
    for threads in (2, 3, 7):
        p = np.ones(n, "f4")
        trained(p, threads)
        assert p.tobytes() == one.tobytes()


def test_helpers_take_part():
    """Without helpers the caller does all the work, so check that another thread works."""
    p = np.ones(4_000_000, "f4")
    opt = flr.Adam(p, lr=1e-2, threads=2)
    g = np.ones_like(p)
    opt.step(g)
    assert pool.shared().helpers() >= 1
    helper = next(t for t in threading.enumerate() if t.name == "pyfastlr-1")
    before = cpu_time(helper)
    for _ in range(200):
        opt.step(g)
        if cpu_time(helper) > before:
            return
    pytest.fail("the helper did not run")


def cpu_time(thread):
    """CPU ticks that a thread has used."""
    with open(f"/proc/self/task/{thread.native_id}/stat") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return int(fields[11]) + int(fields[12])


def test_one_optimizer_in_two_threads_loses_no_step():
    p = np.zeros(65_536)
    opt = flr.SGD(p, lr=1.0, threads=2)
    g = np.ones(p.size)
    workers = [threading.Thread(target=lambda: [opt.step(g) for _ in range(500)]) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert opt.steps == 1000
    assert (p == -1000).all()


def test_many_optimizers_in_many_threads():
    results = {}

    def work(k):
        p = np.ones(N, "f4")
        trained(p, 2, steps=20)
        results[k] = p.tobytes()

    workers = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(set(results.values())) == 1


def test_state_dict_waits_for_the_step_under_way():
    """A copy never mixes two moments. It announces that it waits, and gets the state after the step."""
    inside, go_on, saved = threading.Event(), threading.Event(), []

    def rate(n):
        inside.set()
        go_on.wait()
        return 1.0

    p = np.zeros(4)
    opt = flr.SGD(p, lr=rate, momentum=0.5)
    stepping = threading.Thread(target=opt.step, args=(np.ones(4),))
    copying = threading.Thread(target=lambda: saved.append(opt.state_dict()))
    stepping.start()
    inside.wait()
    copying.start()
    while not saved and not opt._lock._paused[0]:
        time.sleep(1e-4)
    go_on.set()
    stepping.join()
    copying.join()
    (state,) = saved
    assert (state["steps"], state["counts"].tolist()) == (1, [1])
    assert state["state"]["momentum_buffer"].tolist() == [1.0] * 4


@pytest.mark.parametrize("copied", ["state_dict", "__getstate__"])
def test_copies_beside_another_threads_steps_are_of_whole_steps(copied):
    """All elements of the buffer are sums of as many halves of halves, and so equal at any moment between steps."""
    p, g = np.zeros(200_000), np.ones(200_000)
    opt = flr.SGD(p, lr=1.0, momentum=0.5)
    opt.step(g)
    stop = threading.Event()
    worker = threading.Thread(target=lambda: [opt.step(g) for _ in iter(stop.is_set, True)])
    worker.start()
    try:
        copies = [getattr(opt, copied)() for _ in range(40)]
    finally:
        stop.set()
        worker.join()
    for state in copies:
        buffer = state["state" if copied == "state_dict" else "buffers"]["momentum_buffer"]
        counts = state["counts"] if copied == "state_dict" else state["counts"]["count"]
        assert counts.tolist() == [state["steps"]]
        assert buffer.min() == buffer.max() == 2.0 - 2.0 ** (1 - min(state["steps"], 60))


def test_other_threads_run_beside_a_large_step():
    """They see its owner only if it has released the interpreter lock, because it calls no Python code."""
    p, g = np.zeros(4_000_000, "f4"), np.ones(4_000_000, "f4")
    opt = flr.SGD(p, lr=1.0, momentum=0.5, threads=1)
    opt.step(g)
    seen = []
    worker = threading.Thread(target=lambda: [opt.step(g) for _ in range(200) if not seen])
    worker.start()
    while worker.is_alive() and not seen:
        if opt._lock.owner[0]:
            seen.append(opt.steps)
    worker.join()
    assert seen


# Children print what they have found, and end without the parent's handlers.
FORK = """
    import os, sys, threading, time, numpy as np, pyfastlr as flr
    from pyfastlr.engines import host
    from pyfastlr_kernels.compile import first_use
    host.PARALLEL_ABOVE = 0

    def forked(work):
        child = os.fork()
        if not child:
            try:
                print(*work(), flush=True)
            finally:
                os._exit(0)
        os.waitpid(child, 0)
"""
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


def run_forking(script):
    return run(textwrap.dedent(FORK) + textwrap.dedent(script), PYTHONWARNINGS="ignore").splitlines()


@needs_fork
def test_fork_after_a_parallel_step():
    """The child has its own helper, and both give the bits of one thread."""
    script = """
        def reference(steps):
            q = np.ones(8, "f4")
            opt = flr.Adam(q, lr=0.1, threads=1)
            for _ in range(steps):
                opt.step(np.ones(8, "f4"))
            return q[0]

        def helpers():
            found = [t for t in threading.enumerate() if t.name.startswith("pyfastlr-")]
            return sum(os.path.exists(f"/proc/self/task/{t.native_id}") for t in found)

        def work():
            before = helpers()
            opt.step(g)
            other = flr.Adam(q, lr=0.1, threads=2)
            other.step(g)
            return before, helpers(), opt.steps, (p == reference(2)).all(), (q == reference(1)).all()

        p, q, g = np.ones(300_000, "f4"), np.ones(300_000, "f4"), np.ones(300_000, "f4")
        opt = flr.Adam(p, lr=0.1, threads=2)
        opt.step(g)
        forked(work)
        print(*work())
    """
    assert run_forking(script) == ["0 1 2 True True", "1 1 2 True True"]


@needs_fork
def test_fork_while_other_threads_step():
    """A child sees whole steps and continues to step."""
    script = """
        def work():
            found = (p == -opt.steps).all() and opt.state_dict()["counts"][0] == opt.steps
            steps = opt.steps
            opt.step(g)
            flr.SGD(q, lr=1.0, threads=2).step(g)
            return found, opt.steps - steps, (p == -opt.steps).all(), (q == -1).all()

        p, q, g = np.zeros(300_000, "f4"), np.zeros(300_000, "f4"), np.ones(300_000, "f4")
        opt = flr.SGD(p, lr=1.0, threads=2)
        opt.step(g)
        done = threading.Event()
        worker = threading.Thread(target=lambda: [opt.step(g) for _ in iter(done.is_set, True)])
        worker.start()
        for _ in range(20):
            forked(work)
        done.set()
        worker.join()
        print((p == -opt.steps).all())
    """
    assert run_forking(script) == ["True 1 True True"] * 20 + ["True"]


@needs_fork
def test_fork_while_other_threads_are_inside_a_step_and_under_the_lock():
    """Neither of them is in the child, so nobody would ever let its own steps in. The unfinished step has done nothing.

    The child looks before it steps: else it would hang instead of saying so.
    """
    script = """
        parent, inside, under, go_on = os.getpid(), threading.Event(), threading.Event(), threading.Event()

        def rate(n):
            if n == 1 and os.getpid() == parent:
                inside.set()
                go_on.wait()
            return 1.0

        def copy():
            with b._lock.held:
                b._lock.pause()
                under.set()
                go_on.wait()
                b._lock.resume()

        def free(opt):
            free = opt._lock.held.acquire(blocking=False)
            if free:
                opt._lock.held.release()
            return free and opt._lock.owner[0] == 0

        def work():
            if not (free(a) and free(b)):
                return "not free",
            for opt in (a, b):
                opt.step(np.ones(4))
                opt.state_dict()
            return a.steps, *p, b.steps, *q

        p, q = np.zeros(4), np.zeros(4)
        a, b = flr.SGD(p, lr=rate), flr.SGD(q, lr=1.0)
        for opt in (a, b):
            opt.step(np.ones(4))
        threads = [threading.Thread(target=a.step, args=(np.ones(4),)), threading.Thread(target=copy)]
        for thread in threads:
            thread.start()
        inside.wait()
        under.wait()
        forked(work)
        go_on.set()
        for thread in threads:
            thread.join()
        print(a.steps, *p, b.steps, *q)
    """
    whole = "2 -2.0 -2.0 -2.0 -2.0 "
    assert run_forking(script) == [whole + whole.strip(), whole + "1 -1.0 -1.0 -1.0 -1.0"]


@needs_fork
def test_fork_from_inside_a_step():
    """A callable forks, and the child continues the same step."""
    script = """
        def rate(n):
            if n == 1:
                forked(lambda: (opt._lock.is_mine(), opt.steps, opt._lock.held.acquire(blocking=False)))
            return 1.0

        p = np.zeros(2)
        opt = flr.SGD(p, lr=rate)
        for _ in range(2):
            opt.step(np.ones(2))
        print(opt.steps, *p)
    """
    assert run_forking(script) == ["True 1 True", "2 -2.0 -2.0"]


@needs_fork
def test_fork_waits_for_what_happens_once():
    """A child forked in the middle would have half an import. It has its own lock, which any thread can take."""
    script = """
        begun, forking, log = threading.Event(), threading.Event(), []

        def once():
            begun.set()
            forking.wait()
            log.append("whole")

        def take():
            log.append(first_use._lock.acquire(blocking=False))
            if log[-1]:
                first_use._lock.release()

        def work():
            thread = threading.Thread(target=take)
            thread.start()
            thread.join()
            if not log[-1]:
                return log
            p = np.zeros(3)
            flr.Lion(p, lr=1.0, weight_decay=0.0).step(np.ones(3))
            return *log, *p

        os.register_at_fork(before=forking.set)  # is called before the library's
        thread = threading.Thread(target=first_use.whole, args=(once,))
        thread.start()
        begun.wait()
        forked(work)
        thread.join()
        print(*log, first_use._lock._is_owned())
    """
    assert run_forking(script) == ["whole True -1.0 -1.0 -1.0", "whole False"]


@needs_fork
def test_fork_does_not_hold_what_the_work_waits_for():
    """`logging` locks itself around a fork, and numba asks it for loggers while it is imported."""
    script = """
        import logging
        begun, forking = threading.Event(), threading.Event()

        def once():
            begun.set()
            forking.wait()
            time.sleep(0.1)  # by now the fork is in its hooks
            logging.getLogger("pyfastlr test")

        os.register_at_fork(before=forking.set)
        thread = threading.Thread(target=first_use.whole, args=(once,))
        thread.start()
        begun.wait()
        forked(lambda: ["child"])
        thread.join()
        print("parent")
    """
    assert run_forking(script) == ["child", "parent"]


@needs_fork
def test_no_hook_of_what_we_import_waits_before_ours(tmp_path):
    """Handlers registered later are called earlier, and would hold their locks while ours waits for the work."""
    script = """
        import os, sys
        hooks, register = [], os.register_at_fork

        def seen(**calls):
            module = sys._getframe(1).f_globals["__name__"]
            hooks.extend((module, name) for name in calls)
            register(**calls)

        os.register_at_fork = seen
        import numpy as np, pyfastlr as flr
        flr.Adam(np.ones(3), lr=flr.schedules.Cosine(0.1, 10), threads=2).step(np.ones(3))
        flr.schedules.Cosine(0.1, 10).compiled
        flr.kernels.adam(np.ones(3), np.ones(3), (np.zeros(3), np.zeros(3)), 0, 0.1)
        before = [module for module, name in hooks if name == "before"]
        later = before[before.index("pyfastlr_kernels.compile.first_use") + 1 :]
        # Its lock is for handing work to an executor, which no import and no compilation does.
        print("numba" in sys.modules, [module for module in later if module != "concurrent.futures.thread"])
    """
    assert run(script, PYFASTLR_CACHE_DIR=str(tmp_path)) == "True []"


def test_processes_that_end_while_helpers_run():
    """The helpers' code must not be unloaded while they run."""
    script = """
        import numpy as np, pyfastlr as flr
        p = np.ones(3_000_000, "f4")
        flr.Adam(p, lr=0.1, threads=4).step(p.copy())
    """
    for _ in range(5):
        run(script)


def test_helpers_have_returned_before_the_interpreter_ends():
    """A handler that was registered earlier runs later."""
    script = """
        import atexit, threading
        found = []
        atexit.register(lambda: print([thread.is_alive() for thread in found]))
        import numpy as np, pyfastlr as flr
        p = np.ones(1_000_000)
        flr.Adam(p, lr=0.1, threads=3).step(p.copy())
        found += [thread for thread in threading.enumerate() if thread.name.startswith("pyfastlr-")]
        print([thread.is_alive() for thread in found])
    """
    assert run(script).splitlines() == ["[True, True]", "[False, False]"]


def test_step_where_the_system_gives_no_more_threads(monkeypatch):
    """It steps on one thread from then on, and so do later ones."""
    alone, starts = pool.Pool(), []

    def refuse(thread):
        starts.append(thread.name)
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(pool, "shared", lambda: alone)
    monkeypatch.setattr(threading.Thread, "start", refuse)
    p, g = np.zeros(N), np.ones(N)
    opt = flr.SGD(p, lr=1.0, threads=3)
    opt.step(g)
    opt.step(g)
    assert (p == -2).all()
    assert (opt.steps, opt._engine.threads, alone.helpers(), len(starts)) == (2, 1, 0, 1)


def test_step_after_the_pool_has_ended():
    script = """
        import atexit, numpy as np
        p = np.ones(3_000_000, "f4")
        def late():
            opt.step(p.copy())
            print(opt.steps)
        import pyfastlr as flr
        atexit.register(late)  # runs after the pool's own end, which is registered later
        opt = flr.Adam(p, lr=0.1, threads=2)
        opt.step(p.copy())
    """
    assert run(script) == "2"


def test_interrupts_leave_no_torn_step():
    """An interrupt at any moment of a step or a snapshot: the counts and the parameters are those of whole steps.

    From a timer, as a thread that sends them waits 5 ms for the interpreter lock each time, and outlives a dead main
    thread. An interrupt outside of the `try` would be the script's own fault, hence `armed`.
    """
    script = """
        import signal, numpy as np, pyfastlr as flr
        p = np.zeros(4096)
        opt = flr.SGD(p, lr=lambda n: 1.0)
        g = np.ones(4096)
        opt.step(g)
        armed = False

        def interrupt(*_):
            global armed
            if armed:
                armed = False
                raise KeyboardInterrupt

        signal.signal(signal.SIGALRM, interrupt)
        signal.setitimer(signal.ITIMER_REAL, 0.0003, 0.0003)
        torn = 0
        for _ in range(1000):
            try:
                armed = True
                while True:
                    opt.step(g)
                    opt.state_dict()
            except KeyboardInterrupt:
                torn += not (p == -opt.steps).all() or opt.state_dict()["counts"][0] != opt.steps
        signal.setitimer(signal.ITIMER_REAL, 0)
        print(torn, opt.steps > 1000)
    """
    assert run(script) == "0 True"


def test_default_number_of_threads(monkeypatch):
    for variable in ("PYFASTLR_NUM_THREADS", "NUMBA_NUM_THREADS", "OMP_NUM_THREADS"):
        monkeypatch.delenv(variable, raising=False)
    assert pool.default_threads() == len(os.sched_getaffinity(0))
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 3, 5, 6, 11}, raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    assert pool.default_threads() == 5  # those that the process may use, not all that there are
    monkeypatch.setenv("PYFASTLR_NUM_THREADS", "3")
    assert pool.default_threads() == 3
    for bad in ("0", "-1", "two", "1.5", "1025", "99999999999999999999"):
        monkeypatch.setenv("PYFASTLR_NUM_THREADS", bad)
        with pytest.raises(ValueError, match="PYFASTLR_NUM_THREADS"):
            flr.Adam(np.ones(3))


@pytest.mark.parametrize(
    ("numba", "openmp", "threads"),
    [("2", None, 2), (None, "3", 3), ("4", "3", 3), ("3,2", "4,1", 3), ("64", "", 5), ("0", "many", 5), ("1", "8", 1)],
)
def test_limits_of_others_are_kept(monkeypatch, numba, openmp, threads):
    """joblib uses these to give each worker a share of the cores. Our own variable takes precedence."""
    monkeypatch.delenv("PYFASTLR_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 3, 5, 6, 11}, raising=False)
    for variable, value in (("NUMBA_NUM_THREADS", numba), ("OMP_NUM_THREADS", openmp)):
        if value is None:
            monkeypatch.delenv(variable, raising=False)
        else:
            monkeypatch.setenv(variable, value)
    assert pool.default_threads() == threads
    monkeypatch.setenv("PYFASTLR_NUM_THREADS", "6")
    assert pool.default_threads() == 6


def test_a_free_threaded_build_is_refused(monkeypatch):
    monkeypatch.setattr(host.sysconfig, "get_config_var", lambda name: 1 if name == "Py_GIL_DISABLED" else None)
    host.load_code.forget()
    p = np.zeros(3)
    with pytest.raises(RuntimeError, match="free-threaded"):
        flr.SGD(p, lr=1.0).step(np.ones(3))
    assert p.tolist() == [0, 0, 0]


def test_signal_handlers_may_step():
    """A handler runs between two bytecodes, also inside step(). The lock admits its own thread."""
    p = np.zeros(8)
    opt = flr.SGD(p, lr=1.0)
    other = flr.SGD(np.zeros(8), lr=1.0)
    signal.signal(signal.SIGALRM, lambda *_: other.step(np.ones(8)))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
        for _ in range(20_000):
            opt.step(np.ones(8))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
    assert opt.steps == 20_000
    assert other.steps > 0
