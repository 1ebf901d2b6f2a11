"""Threads and forks: no crash, no hang, no torn step, the same bits."""

import os
import signal
import subprocess
import sys
import textwrap
import threading

import numpy as np
import pytest

import pyfastlr as flr
from pyfastlr.engines import host
from pyfastlr_kernels.cpu import pool

N = 200_003


def run(script, timeout=60, **environment):
    """Run a script in a new process; its output."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        env={**os.environ, **environment}, capture_output=True, text=True, timeout=timeout,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture(autouse=True)
def _parallel_from_the_first_chunk(monkeypatch):
    monkeypatch.setattr(host, "PARALLEL_ABOVE", 0)


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
    """Without them the caller does all the work: see that another thread walks."""
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
    """Ticks that a thread has used."""
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


FORK = """
    import os, sys, numpy as np, pyfastlr as flr
    from pyfastlr.engines import host
    host.PARALLEL_ABOVE = 0
    p, g = np.ones(300_000, "f4"), np.ones(300_000, "f4")
    opt = flr.Adam(p, lr=0.1, threads=2)
    opt.step(g)
    child = os.fork()
    opt.step(g)
    other = flr.Adam(p.copy(), lr=0.1, threads=2)
    other.step(g)
    if child:
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), p[0] == p[-1], opt.steps)
    else:
        os._exit(0 if opt.steps == 2 and p[0] == p[-1] else 1)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_fork_after_a_parallel_step():
    assert run(FORK, PYTHONWARNINGS="ignore") == "0 True 2"


def test_fork_while_other_threads_step():
    """The child must not wait for a lock that a thread of the parent held."""
    script = """
        import os, threading, numpy as np, pyfastlr as flr
        from pyfastlr.engines import host
        host.PARALLEL_ABOVE = 0
        p, g = np.ones(300_000, "f4"), np.ones(300_000, "f4")
        opt = flr.Adam(p, lr=1e-6, threads=2)
        opt.step(g)
        done = threading.Event()
        worker = threading.Thread(target=lambda: [opt.step(g) for _ in iter(lambda: done.is_set(), True)])
        worker.start()
        codes = []
        for _ in range(20):
            child = os.fork()
            if not child:
                opt.step(g)
                flr.Adam(p.copy(), lr=0.1, threads=2).step(g)
                os._exit(0)
            codes.append(os.waitpid(child, 0)[1])
        done.set()
        worker.join()
        print(set(codes))
    """
    assert run(script, PYTHONWARNINGS="ignore") == "{0}"


def test_processes_that_end_while_helpers_run():
    """The helpers' code must not be taken away under them."""
    script = """
        import numpy as np, pyfastlr as flr
        p = np.ones(3_000_000, "f4")
        flr.Adam(p, lr=0.1, threads=4).step(p.copy())
    """
    for _ in range(5):
        run(script)


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
    """SIGINT at any moment: the counts and the parameters are those of whole steps."""
    script = """
        import os, signal, threading, time, numpy as np, pyfastlr as flr
        p = np.zeros(4096)
        opt = flr.SGD(p, lr=lambda n: 1.0)
        g = np.ones(4096)
        opt.step(g)
        stop = []  # no Event, whose lock an interrupt may leave held
        def storm():
            while not stop:
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(0.0003)
        interrupts = torn = 0
        worker = threading.Thread(target=storm)
        started = False
        while interrupts < 1000:
            try:
                if not started:
                    started = True
                    worker.start()
                while True:
                    opt.step(g)
            except KeyboardInterrupt:
                while True:
                    try:
                        interrupts += 1
                        torn += not (p == -opt.steps).all() or opt.state_dict()["counts"][0] != opt.steps
                        break
                    except KeyboardInterrupt:
                        pass
        while True:
            try:
                signal.signal(signal.SIGINT, signal.SIG_IGN)
                break
            except KeyboardInterrupt:
                pass
        stop.append(True)
        worker.join()
        print(torn)
    """
    assert run(script) == "0"


def test_default_number_of_threads(monkeypatch):
    monkeypatch.delenv("PYFASTLR_NUM_THREADS", raising=False)
    assert pool.default_threads() == len(os.sched_getaffinity(0))
    monkeypatch.setenv("PYFASTLR_NUM_THREADS", "3")
    assert pool.default_threads() == 3
    for bad in ("0", "-1", "two", "1.5"):
        monkeypatch.setenv("PYFASTLR_NUM_THREADS", bad)
        with pytest.raises(ValueError, match="PYFASTLR_NUM_THREADS"):
            flr.Adam(np.ones(3))


def test_signal_handlers_may_step():
    """A handler runs between two bytecodes, also inside of step(): the lock lets its own thread in."""
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
