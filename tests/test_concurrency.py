"""Other calls get their turn beside a thread that steps in a loop, and see only whole steps."""

import copy
import pickle

import numpy as np
import pytest

import pyfastlr as flr
from processes import Beside, in_thread, run
from pyfastlr import schedules as S

CALLS = 20
OPERATIONS = {
    "step": lambda opt, g: opt.step(g),
    "state_dict": lambda opt, g: opt.state_dict(),
    "load_state_dict": lambda opt, g: opt.load_state_dict({**opt.state_dict(), "steps": opt.steps}),
    "reset": lambda opt, g: opt.reset(),
    "a number": lambda opt, g: setattr(opt, "lr", 0.5),
    "a schedule": lambda opt, g: setattr(opt, "lr", S.Constant(0.5)),
    "a factor": lambda opt, g: setattr(opt, "lr_scale", 0.5),
    "rates by element": lambda opt, g: setattr(opt, "lr_scale", np.full(g.size, 0.5, g.dtype)),
    "a key of a group": lambda opt, g: opt.groups[0].update(momentum=0.25),
    "the kind of decay": lambda opt, g: setattr(opt, "decay", "coupled"),
    "reading": lambda opt, g: (opt.lr, opt.lrs, opt.stats, opt.state, repr(opt)),
    "copy": lambda opt, g: copy.copy(opt),
    "deepcopy": lambda opt, g: copy.deepcopy(opt),
    "pickle": lambda opt, g: pickle.dumps(opt),
}


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_nothing_starves_beside_a_thread_that_steps(operation, threads):
    """If the stepping thread could take the lock back at once, the others would wait forever."""
    p, g = np.zeros(300_000, "f4"), np.ones(300_000, "f4")  # helpers take part
    opt = flr.SGD(p, lr=1e-3, momentum=0.5, threads=threads)
    opt.step(g)
    with Beside(lambda: opt.step(g)) as stepping:
        for _ in range(CALLS):
            stepping.wait(1)
            in_thread(lambda: OPERATIONS[operation](opt, g))
        stepping.wait(1)


@pytest.mark.parametrize("scale", [0.5, "array"], ids=["number", "array"])
def test_rates_set_beside_steps_lose_no_step_and_no_index(scale):
    """Each step moves p by 1 or 0.5, counts once, and calls the schedule once with the next index."""
    asked, n = [], 1000

    def rate(index):
        asked.append(index)
        return 1.0

    p, g, made = np.zeros(n), np.ones(n), []
    opt = flr.SGD(p, lr=rate)

    def step():
        before = p[0]
        opt.step(g)
        made.append(before - p[0])

    with Beside(step) as stepping:
        for k in range(200):
            half = np.full(n, 0.5) if scale == "array" else scale
            opt.lr_scale = half if k % 2 else 1.0
            stepping.wait(1)
    assert asked == list(range(len(made))) == list(range(opt.steps))
    assert opt.state_dict()["counts"].tolist() == [len(made)]
    assert set(made) == {0.5, 1.0}
    assert (p == p[0]).all()


def test_a_scale_that_was_set_is_used_from_the_next_step_on():
    p, g = np.zeros(8), np.ones(8)
    opt = flr.SGD(p, lr=1.0)
    with Beside(lambda: opt.step(g)) as stepping:
        for k in range(100):
            opt.lr_scale = np.full(8, 0.5 if k % 2 else 0.25)
            stepping.wait(1)
    before = p.copy()
    opt.step(g)
    assert (before - p).tolist() == [0.5] * 8


def test_loading_beside_steps_is_whole():
    """The state of step 0 has a buffer of zeros: p falls by whole sums of it, and all elements stay equal."""
    p, g = np.zeros(100_000), np.ones(100_000)
    opt = flr.SGD(p, lr=1.0, momentum=0.5, threads=2)
    start = opt.state_dict()
    with Beside(lambda: opt.step(g)) as stepping:
        for _ in range(50):
            opt.load_state_dict(start)
            state = opt.state_dict()
            buffer = state["state"]["momentum_buffer"]
            assert state["counts"].tolist() == [state["steps"]]
            assert buffer.min() == buffer.max() == (2.0 - 2.0 ** (1 - state["steps"]) if state["steps"] else 0.0)
            stepping.wait(1)
    assert p.min() == p.max()


def test_first_steps_of_many_threads():
    """The function that Python calls is created once, whichever thread is first, in a fresh process."""
    script = """
        import threading
        import numpy as np
        import pyfastlr as flr
        from processes import in_threads
        start = threading.Barrier(8)
        def work():
            start.wait()
            for _ in range(20):
                p = np.zeros(64)
                opt = flr.SGD(p, lr=1.0)
                for _ in range(3):
                    opt.step(np.ones(64))
                assert (p == -3).all()
                del opt
            return 1
        print(sum(in_threads([work] * 8)))
    """
    for _ in range(3):
        assert run(script) == "8"


def test_the_last_reference_goes_during_the_step():
    """A callable that drops the optimizer, its parameters and its gradients: the step's own references hold them."""
    held = {}

    def rate(n):
        if n == 1:
            held.clear()
            [np.full(10_000, 7.0) for _ in range(20)]  # what the freed memory would be used for
        return 1.0

    p, g = np.zeros(10_000), np.ones(10_000)
    held.update(opt=flr.SGD([p], lr=rate), grads=[g])
    held["opt"].step(held["grads"])
    del g
    step = held["opt"].step
    grads = held["grads"]
    del held["grads"]
    step(grads)
    assert (p == -2).all()


def test_gradients_of_a_list_replaced_during_the_step():
    """The step uses the old arrays or the new ones, never freed memory."""
    n = 200_000
    p, grads = [np.zeros(n), np.zeros(n)], [np.ones(n), np.ones(n)]
    opt = flr.SGD(p, lr=1.0, threads=2)
    opt.step(grads)

    def replace():
        for k in range(2):
            grads[k] = np.ones(n)

    with Beside(lambda: opt.step(grads)) as stepping:
        for _ in range(500):
            replace()
        stepping.wait(1)
    assert [(x == -opt.steps).all() for x in p] == [True, True]
