"""An interrupt anywhere leaves a consistent optimizer, old or new, that still works in any thread.

The expected values come from a second optimizer that is not interrupted.
"""

import copy
import os
import pickle
import time

import numpy as np
import pytest

import pyfastlr as flr
from interrupts import everywhere, interrupted, needs_faithful_traces
from processes import in_thread, run
from pyfastlr import schedules as S
from pyfastlr.arrays import tree
from pyfastlr_kernels.compile.first_use import whole

CURVE, FALL, RISE = (lambda n: 0.5 / (n + 1)), S.Linear(1.0, 0.0, 64), S.Linear(0.0, 1.0, 64)
CONTAINERS = {
    "array": lambda: np.arange(4.0),
    "nested": lambda: {"layers": [np.arange(3.0), np.ones((2, 2))], "last": {"b": np.zeros(2)}},
    "flat": lambda: flr.Flat({"w": np.arange(3.0), "b": np.ones(2)}),
}


def leaves(container):
    return [container.buffer] if isinstance(container, flr.Flat) else tree.flatten(container, "x")[2]


def like(params, value):
    """Container like the parameters, full of a number."""
    x = params.like() if isinstance(params, flr.Flat) else copy.deepcopy(params)
    for leaf in leaves(x):
        leaf[...] = value
    return x


class Subject:
    """An optimizer after some steps."""

    def __init__(self, container, steps=2):
        self.params = CONTAINERS[container]()
        groups = [{"params": 1, "lr": 0.25}] if container != "array" else None
        self.opt = flr.SGD(self.params, lr=0.5, momentum=0.5, groups=groups)
        self.grads = like(self.params, 1.0)
        for _ in range(steps):
            self.opt.step(self.grads)

    def moment(self):
        """All that there is of it, to be compared."""
        state = self.opt.state_dict()
        arrays = [*leaves(self.params), state["counts"], state["carry"], *leaves(state["state"]["momentum_buffer"])]
        settings = [{key: x if isinstance(x, float) else repr(x) for key, x in g.items()} for g in self.opt.groups]
        return state["steps"], [x.tobytes() for x in arrays], settings

    def end(self):
        """What the next step leads to, and what another thread does then."""

        def work():
            self.opt.step(self.grads)
            self.opt.weight_decay = 0.25
            self.opt.step(self.grads)

        self.opt.step(self.grads)
        in_thread(work)
        return self.moment()


def set_to(name, value):
    return [lambda s: setattr(s.opt, name, value)]


def load(s):
    """Load the state of another run."""
    state = copy.deepcopy(s.opt.state_dict())
    for x in leaves(state["state"]["momentum_buffer"]):
        x += 5
    s.opt.load_state_dict({**state, "counts": state["counts"] + 5, "steps": 7})


# Each part is whole in itself: an interrupt leaves what the first of them, or all, or none have done.
OPERATIONS = {
    "step": [lambda s: s.opt.step(s.grads)],
    "step with a scale that is no float": [lambda s: s.opt.step(s.grads, inv_scale=np.float32(0.5))],
    "step with a dtype of its own": [lambda s: s.opt.step(pickle.loads(pickle.dumps(s.grads)))],
    "state_dict": [lambda s: s.opt.state_dict()],
    "load_state_dict": [load],
    "reset": [lambda s: s.opt.reset()],
    "a number": set_to("lr", 0.125),
    "an integer": set_to("lr", 1),
    "a schedule": set_to("lr", FALL),
    "a callable": set_to("momentum", CURVE),
    "a factor of zero": set_to("lr_scale", 0.0),
    "a scheduled factor": set_to("lr_scale", RISE),
    "rates by element": [lambda s: setattr(s.opt, "lr_scale", like(s.params, 0.5))],
    "the kind of decay": set_to("decay", "independent"),
    "keys of a group": [lambda s: s.opt.groups[-1].update(lr=CURVE), lambda s: s.opt.groups[-1].update(momentum=0.25)],
    "reading": [lambda s: (s.opt.lr, s.opt.lrs, s.opt.stats, s.opt.state, dict(s.opt.groups[0]), repr(s.opt))],
    "copy": [lambda s: copy.copy(s.opt)],
    "deepcopy": [lambda s: copy.deepcopy((s.params, s.opt))],
    "pickle": [lambda s: pickle.loads(pickle.dumps((s.params, s.opt)))],
    "construction": [lambda s: flr.AdamW(s.params, lr=FALL, groups=[{"params": 0, "eps": 1e-3}])],
}
STEPS = [name for name in OPERATIONS if name.startswith("step")]
PLACES = [
    *(("array", 2, name) for name in OPERATIONS),
    *(("nested", 2, name) for name in OPERATIONS if name not in ("copy", "deepcopy", "pickle", "construction")),
    *(("flat", 2, name) for name in (*STEPS, "load_state_dict", "rates by element")),
    *((container, 0, "step") for container in CONTAINERS),  # the first one binds its arrays
]


@needs_faithful_traces
@pytest.mark.parametrize(("container", "steps", "operation"), PLACES)
def test_whole_old_or_whole_new(container, steps, operation):
    parts, moments, ends = OPERATIONS[operation], [], []
    for done in range(len(parts) + 1):
        twin = Subject(container, steps)
        for part in parts[:done]:
            part(twin)
        moments.append(twin.moment())
        ends.append(twin.end())

    def attempt(k):
        subject = Subject(container, steps)
        place = interrupted(lambda: [part(subject) for part in parts], k)
        if place is not None:
            now = subject.moment()
            assert now in moments, f"torn by an interrupt at {place}"
            assert subject.end() == ends[moments.index(now)], f"after an interrupt at {place}"
        return place

    assert everywhere(attempt) > 5


# --- What happens once in a process: in children that have not done it yet --------------------------------------------

FIRST_USES = """
    import os, signal, sys, threading, time, traceback
    import numpy as np
    import pyfastlr as flr
    from interrupts import everywhere, interrupted, needs_faithful_traces
    from processes import in_thread
    from pyfastlr import schedules as S
    from pyfastlr.engines import host
    from pyfastlr_kernels.compile import cache, codegen
    from pyfastlr_kernels.cpu import load, pool

    host.PARALLEL_ABOVE = 0
    g = np.ones(5000)

    def first():
        "A step with helpers: p = -1."
        p = np.zeros(5000)
        opt = flr.SGD(p, lr=1.0, threads=2)
        opt.step(g)
        assert (p == -1).all() and opt.steps == 1 and pool.shared().helpers() == 1

    def child(work):
        "Exit status of a child that does the work."
        pid = os.fork()
        if not pid:
            status = 1
            try:
                status = work()
            finally:
                sys.stderr.flush()
                os._exit(status or 0)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        assert status in (0, 7), status
        return status
"""


@needs_faithful_traces
@pytest.mark.parametrize("loaded", [False, True], ids=["nothing", "code"])
def test_every_place_of_the_first_parallel_step(loaded):
    """Load the code (slow, so only some places are tried), start the pool, bind the arrays."""
    script = """
    loaded = sys.argv[1] == "True"
    if loaded:
        interrupted(lambda: flr.SGD(np.zeros(4), lr=1.0).step(np.zeros(4)), 10**9)
    def attempt(k):
        def work():
            opt = flr.SGD(np.zeros(5000), lr=1.0, threads=2)
            place = interrupted(lambda: opt.step(g), k if loaded else 13 * k)
            first()
            in_thread(first)
            opt.step(g)
            return 7 if place is None else 0
        return None if child(work) == 7 else k
    print(everywhere(attempt))
    """
    assert int(run(FIRST_USES + script, loaded)) > 5


@pytest.mark.parametrize("cold", [False, True], ids=["loaded", "compiled"])
def test_signals_while_code_is_prepared(cold, tmp_path):
    """At any time, also while LLVM links, numba compiles or a helper starts."""
    script = """
    signal.signal(signal.SIGALRM, signal.default_int_handler)
    def attempt(delay):
        def work():
            try:
                signal.setitimer(signal.ITIMER_REAL, delay)
                first()
                signal.setitimer(signal.ITIMER_REAL, 0)
            except KeyboardInterrupt:
                pass
            first()
            in_thread(first)
        child(work)
    for delay in np.geomspace(*map(float, sys.argv[1:3]), int(sys.argv[3])):
        attempt(delay)
    """
    if cold:
        run(FIRST_USES + script, 0.1, 0.8, 2, PYFASTLR_CACHE_DIR=str(tmp_path / "cache"))
    else:
        run(FIRST_USES + script, 1e-4, 0.1, 25)


ONCE = {  # what a first step does once, by the function that does it
    "compile": "load.emit",
    "read or make an object": "codegen.kept",
    "link": "codegen._link",
    "start the pool": "pool.Pool._start",
}
INTERRUPTED_ONCE = """
    owner, name = eval(sys.argv[1].rpartition(".")[0]), sys.argv[1].rpartition(".")[2]
    done, seen, go_on, real = [], threading.Event(), threading.Event(), getattr(owner, name)

    def handler(*_):
        seen.set()
        raise KeyboardInterrupt
    signal.signal(signal.SIGINT, handler)

    def interrupt():
        "Returns when the main thread has left the handler: a signal that came inside of it would be lost in the first."
        os.kill(os.getpid(), signal.SIGINT)
        seen.wait()
        seen.clear()
        while handler.__code__ in [frame.f_code for frame, _ in traceback.walk_stack(main_frame())]:
            time.sleep(1e-4)

    def main_frame():
        return sys._current_frames()[threading.main_thread().ident]

    def slow(*arguments):
        setattr(owner, name, real)
        interrupt()
        second()
        done.append(real(*arguments))
        return done[0]
    setattr(owner, name, slow)
"""


@pytest.mark.parametrize("what", ONCE)
def test_an_interrupt_waits_until_the_work_is_whole(what, tmp_path):
    script = """
    second = lambda: None
    try:
        first()
    except KeyboardInterrupt:
        print("interrupted", len(done))
    first()
    in_thread(first)
    """
    assert run(FIRST_USES + INTERRUPTED_ONCE + script, ONCE[what], PYFASTLR_CACHE_DIR=cache_for(what, tmp_path)) == (
        "interrupted 1"
    )


@needs_faithful_traces
def test_work_that_has_begun_is_done_when_the_interrupt_comes():
    """At every place of the caller: between the start of the thread and the wait for it, too."""

    def attempt(k):
        done = []

        def work():
            time.sleep(1e-3)
            done.append(1)

        place = interrupted(lambda: whole(work), k)
        then = list(done)
        time.sleep(3e-3)
        assert done == then, place
        return place

    assert everywhere(attempt) > 20


@pytest.mark.parametrize("what", ONCE)
def test_a_second_interrupt_is_delivered_at_once(what, tmp_path):
    """The work continues, and other callers that need it wait for it."""
    script = """
    def second():
        interrupt()
        go_on.wait()
    try:
        first()
    except KeyboardInterrupt:
        print("interrupted", len(done))
    go_on.set()
    first()
    in_thread(first)
    """
    assert run(FIRST_USES + INTERRUPTED_ONCE + script, ONCE[what], PYFASTLR_CACHE_DIR=cache_for(what, tmp_path)) == (
        "interrupted 0"
    )


def cache_for(what, tmp_path):
    return str(tmp_path / "cache") if what == "compile" else os.environ.get("PYFASTLR_CACHE_DIR", "")


USES_OF_NUMBA = {
    "a schedule's function": "assert S.Cosine(0.1, steps=9).compiled(5) == S.Cosine(0.1, steps=9)(5)",
    "a step's function": (
        "from pyfastlr.kernels import sgd; p = np.zeros(2); sgd(p, np.ones(2), (), 0, 1.0); assert p[0] == -1"
    ),
}


@pytest.mark.parametrize("module", ["numba.core.types.abstract", "numba.np.ufunc"])
@pytest.mark.parametrize("use", USES_OF_NUMBA)
def test_an_interrupt_leaves_no_half_import(use, module):
    """An interrupted `import numba` leaves a module that no later import repairs."""
    script = """
    class Finder:
        def find_spec(name, *_):
            if name == sys.argv[1]:
                sys.meta_path.remove(Finder)
                os.kill(os.getpid(), signal.SIGINT)
    sys.meta_path.insert(0, Finder)
    def use():
        exec(sys.argv[2])
    try:
        use()
    except KeyboardInterrupt:
        pass
    use()
    in_thread(use)
    """
    run(FIRST_USES + script, module, USES_OF_NUMBA[use])
