"""Options that change: by schedules, between the calls of an update, and while other threads step; forks; copies."""

import copy
import math
import threading

import numpy as np
import pytest

import pyfastlr as flr
from processes import Beside, run
from pyfastlr import schedules as S
from step_options import moment

pytestmark = pytest.mark.usefixtures("parallel_from_the_first_chunk")

HYPER = {"clip_norm": 0.5, "clip_norm_each": 0.25, "clip_value": 0.125, "ema_decay": 0.5}


# --- Schedules --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("every", [1, 3])
@pytest.mark.usefixtures("either_launch")
def test_each_schedule_is_called_once_per_update(every):
    """That of a group too."""
    seen = {name: [] for name in (*HYPER, "of the group")}

    def schedule(name, value):
        return lambda n: seen[name].append(n) or value

    options = {name: schedule(name, value) for name, value in HYPER.items()}
    params = {"a": np.zeros(3), "b": np.zeros(2)}
    groups = [{"params": "b", "clip_norm": schedule("of the group", 1.0)}]
    opt = flr.SGD(params, 1.0, accumulate=every, groups=groups, **options)
    g = {"a": np.ones(3), "b": np.ones(2)}
    for _ in range(2 * every):
        opt.step(g)
        opt.step({"a": None, "b": None})
    assert seen == {name: [0, 1] for name in seen}
    assert opt.steps == 2


@pytest.mark.parametrize("name", HYPER)
@pytest.mark.parametrize("in_group", [False, True])
@pytest.mark.usefixtures("either_launch")
def test_an_invalid_value_of_a_schedule_changes_nothing(name, in_group):
    """In the last call of an update, which has added nothing to the accumulated gradient then."""
    wrong = {"ema_decay": (1.0, -0.5, math.nan), "clip_norm": (0.0, -1.0, math.nan)}.get(name, (0.0, -math.inf))
    params = {"a": np.zeros(3), "b": np.zeros(2)}
    copies = {"a": np.ones(3), "b": np.ones(2)}
    opt = flr.Adam(params, 1.0, accumulate=2, zero_grad=True, copy_to=copies, loss_scale=flr.LossScale(4.0), **HYPER,
                   groups=[{"params": "b", "lr": 0.5}])  # fmt: skip
    for _ in range(3):
        opt.step({"a": np.ones(3), "b": np.ones(2)})
    for value in (*wrong, "1", None, 1j):
        g = {"a": np.ones(3), "b": np.ones(2)}
        before, was = moment(opt, g), opt.groups[in_group].get(name)
        opt.groups[in_group][name] = lambda n, value=value: value
        with pytest.raises((ValueError, TypeError), match=f"{name}.* from its schedule at update 1"):
            opt.step(g)
        assert moment(opt, g) == before
        opt.groups[in_group][name] = was
    opt.step({"a": np.ones(3), "b": np.ones(2)})
    assert (opt.steps, opt.loss_scale.scale) == (2, 4.0)


@pytest.mark.usefixtures("either_launch")
def test_a_group_without_a_norm_of_its_own_has_the_schedule_of_the_base():
    params = {"a": np.zeros(1), "b": np.zeros(1), "c": np.zeros(1)}
    opt = flr.SGD(params, 1.0, convention="optax", clip_norm=S.Linear(2.0, 1.0, 1),
                  groups=[{"params": "b"}, {"params": "c", "clip_norm": lambda n: 0.25 + n}])  # fmt: skip
    for limit, own in ((2.0, 0.25), (1.0, 1.25)):
        before = {name: x.copy() for name, x in params.items()}
        opt.step({"a": np.array([3.0]), "b": np.array([4.0]), "c": np.array([8.0])})
        moved = {name: float((before[name] - x)[0]) for name, x in params.items()}
        assert moved == pytest.approx({"a": 3 * limit / 5, "b": 4 * limit / 5, "c": own}, rel=1e-15)
        assert opt.stats.grad_norm == math.sqrt(89)


# --- Between the calls of an update -----------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["mean", "sum"])
@pytest.mark.usefixtures("either_launch")
def test_what_is_set_between_two_calls_is_for_the_whole_update(mode):
    """Each option is set to a number, a schedule and None, when one of two calls has been made."""
    changes = [("clip_norm", 0.5), ("clip_value", lambda n: 0.25), ("clip_norm", None), ("clip_norm_each", 0.125),
               ("clip_value", None), ("ema_decay", 0.5), ("clip_norm_each", None), ("lr", 0.5), ("clip_norm", math.inf),
               ("ema_decay", None)]  # fmt: skip
    p, twin = np.zeros(3), np.zeros(3)
    opt = flr.Adam(p, 1.0, accumulate=2, accumulate_mode=mode)
    plain = flr.Adam(twin, 1.0)
    for k, (name, value) in enumerate(changes):
        g, h = np.array([1.0, -2.0, 0.5]) * (k + 1), np.array([0.0, 1.0, 0.25])
        opt.step(g)
        setattr(opt, name, value)
        opt.step(h)
        setattr(plain, name, value)
        plain.step(g + h, inv_scale=0.5 if mode == "mean" else 1.0)
        assert p.tobytes() == twin.tobytes()
        assert opt.stats == plain.stats
    assert opt.ema.tobytes() == plain.ema.tobytes()


@pytest.mark.usefixtures("either_launch")
def test_arrays_that_have_a_gradient_only_in_some_calls():
    """One in the first call only, one in the last, one in none, one in an update of its own; and calls without any."""
    params = {name: np.zeros(2) for name in "abcd"}
    opt = flr.SGD(params, 1.0, momentum=0.5, accumulate=3, zero_grad=True, ema_decay=0.5, clip_norm=100.0)
    one = lambda: np.ones(2)  # noqa: E731
    calls = ["a", "", "ab", "b", "d", "", "d", "d"]
    for names in calls:
        opt.step({name: one() if name in names else None for name in params})
    assert opt.steps == 2
    assert opt.state_dict()["counts"].tolist() == [1, 1, 0, 1]
    moved = {name: x.tolist() for name, x in params.items()}
    assert moved == {"a": [-2 / 3] * 2, "b": [-2 / 3] * 2, "c": [0.0] * 2, "d": [-1.0] * 2}
    assert opt.ema["d"].tolist() == [-0.5] * 2
    assert not any(x.any() for x in opt._extras.buffers["accumulated"].reshape(-1, 2))


@pytest.mark.usefixtures("either_launch")
def test_empty_arrays_with_all_options():
    params = {"none": np.zeros((0, 3)), "p": np.zeros(2)}
    copies = {"none": np.zeros((0, 3)), "p": np.zeros(2)}
    opt = flr.Adam(params, 1.0, copy_to=copies, accumulate=2, zero_grad=True, nonfinite="skip", **HYPER,
                   measure=("update_norm", "param_norm", "per_tensor"))  # fmt: skip
    for _ in range(2):
        opt.step({"none": np.zeros((0, 3)), "p": None})
    assert opt.steps == 1
    assert opt.state_dict()["counts"].tolist() == [1, 0]
    assert (opt.stats.grad_norm, opt.stats.update_norm) == (0.0, 0.0)
    for _ in range(2):
        opt.step({"none": np.zeros((0, 3)), "p": np.ones(2)})
    assert (copies["p"] == params["p"]).all()
    with opt.averaged():
        pass
    only = flr.Adam(np.zeros(0), 1.0, copy_to=np.zeros(0), nonfinite="raise", **HYPER)
    only.step(np.zeros(0))
    only.swap_ema()
    only.swap_ema()
    assert (only.steps, only.ema.shape) == (1, (0,))


# --- Other threads ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.usefixtures("either_launch")
def test_a_launch_from_before_a_change_steps_with_what_is_current(accumulate):
    """Another thread may have read which launch to call before two options changed, and call it after a step."""
    p, g, seen = np.zeros(4), np.full(4, 2.0), []
    opt = flr.SGD(p, lambda n: seen.append(n) or 1.0, convention="optax", clip_norm=1.0, accumulate=accumulate)
    for _ in range(accumulate):
        opt.step(g)
    assert p.tolist() == [-0.5] * 4
    launch = opt._engine.launch
    opt.clip_value = 0.25
    opt.clip_norm = None
    for _ in range(accumulate):
        opt.step(g)
    assert p.tolist() == [-0.75] * 4
    for _ in range(accumulate):
        opt._engine.settle(launch(g, 1.0, None, g), g, 1.0, None, g)
    assert p.tolist() == [-1.0] * 4
    assert seen == [0, 1, 2]


def test_each_step_beside_changes_clips_in_one_way_or_the_other():
    """Two options change in an order in which one of them is always in force."""
    p, n = np.zeros(40_000), 40_000
    opt = flr.SGD(p, 1.0, convention="optax", clip_norm=0.25 * math.sqrt(n), threads=2)
    g, moved = np.ones(n), set()

    def step():
        with_before = p[0]
        opt.step(g)
        moved.add(with_before - p[0])

    with Beside(step) as beside:
        for k in range(150):
            if k % 10 == 0:
                beside.wait(1)
            opt.clip_value = 0.5
            opt.clip_norm = None
            opt.clip_norm = 0.25 * math.sqrt(n)
            opt.clip_value = None
    assert moved <= {0.25, 0.5}
    assert (p == p[0]).all()


def test_swaps_from_two_threads_and_nested():
    opt = flr.SGD(np.zeros(2000), 1.0, ema_decay=0.5)
    for _ in range(2):
        opt.step(np.ones(2000))
    pairs = {(-2.0, -1.5), (-1.5, -2.0)}

    def swap():
        opt.swap_ema()

    with Beside(swap) as beside:
        for k in range(200):
            if k % 20 == 0:
                beside.wait(1)
            opt.swap_ema()
    assert (opt.params[0], opt.ema[0]) in pairs
    assert (opt.params == opt.params[0]).all()
    if opt._extras.swapped:
        opt.swap_ema()
    other = flr.SGD(opt.params, 1.0, ema_decay=0.5)  # a second optimizer of the same parameters has its own
    other.step(np.zeros(2000))
    with opt.averaged(), other.averaged():
        assert opt.params[0] == -2.0
        assert opt.ema[0] == -2.0
    assert (opt.params[0], opt.ema[0], other.ema[0]) == (-2.0, -1.5, -2.0)


def test_a_context_that_waits_for_the_lock_sees_that_another_thread_has_swapped_back():
    p = np.zeros(2)
    opt = flr.SGD(p, 1.0, ema_decay=0.5)
    for _ in range(2):
        opt.step(np.ones(2))
    inside, leave = threading.Event(), threading.Event()

    def evaluate():
        with opt.averaged():
            inside.set()
            leave.wait()

    worker = threading.Thread(target=evaluate)
    worker.start()
    inside.wait()
    with opt._lock.held:
        leave.set()
        worker.join(0.05)  # it waits for the lock now
        opt.swap_ema()
    worker.join()
    assert (p.tolist(), opt.ema.tolist()) == ([-2.0] * 2, [-1.5] * 2)
    opt.step(np.ones(2))


@pytest.mark.usefixtures("either_launch")
def test_a_launch_that_has_the_lock_refuses_to_step_while_the_average_is_swapped_in():
    """The last of three defences: a swap pauses other threads' steps, and has the next step build its launch anew."""
    p, g = np.zeros(2), np.ones(2)
    opt = flr.SGD(p, 1.0, ema_decay=0.5)
    for _ in range(2):
        opt.step(g)
    launch = opt._engine.launch
    with opt.averaged():
        status = launch(g, 1.0, None, g, True)
        assert (p.tolist(), opt.steps) == ([-1.5] * 2, 2)
        with pytest.raises(RuntimeError, match="swapped in"):
            opt._engine.settle(status, g, 1.0, None, g)
    opt.step(g)
    assert (p.tolist(), opt.steps) == ([-3.0] * 2, 3)


def test_a_refused_step_leaves_the_stats():
    opt = flr.SGD(np.zeros(2), 1.0, ema_decay=0.5, nonfinite="skip", clip_norm=1.0)
    opt.step(np.ones(2))
    opt.step(np.array([math.nan, 1.0]))
    before = opt.stats
    assert before.skipped is True
    with opt.averaged(), pytest.raises(RuntimeError, match="swapped in"):
        opt.step(np.ones(2))
    assert repr(opt.stats) == repr(before)


# --- Forks and copies -------------------------------------------------------------------------------------------------


def test_a_fork_in_the_middle_of_an_update():
    """Parent and child go on alike, each with its own threads, average, accumulated gradient and loss scale."""
    script = """
        import os, pickle, sys
        import numpy as np, pyfastlr as flr
        from pyfastlr.engines import host
        host.PARALLEL_ABOVE = 0
        n = 100_000
        p, c = np.zeros(n), np.zeros(n)
        opt = flr.Adam(p, 0.1, threads=2, accumulate=3, ema_decay=0.5, clip_norm=1.0, copy_to=c, nonfinite="skip",
                       loss_scale=flr.LossScale(4.0, interval=1), zero_grad=True)
        for k in range(5):
            opt.step(np.full(n, float(k)))
        there, here = os.pipe()
        child = os.fork()
        for k in range(5):
            opt.step(np.full(n, np.nan if k == 2 else float(k)))
        found = pickle.dumps((p, c, opt.state_dict(), repr(opt.stats)))
        with opt.averaged():
            found += p.tobytes()
        if child == 0:
            with os.fdopen(here, "wb") as f:
                f.write(found)
            os._exit(0)
        os.close(here)
        with os.fdopen(there, "rb") as f:
            same = f.read() == found
        os.waitpid(child, 0)
        print(same, opt.steps)
    """
    assert run(script) == "True 3"


def test_a_copy_does_not_bring_back_what_copy_to_had():
    """The copy shares `copy_to`. A step that comes while it is made is not undone there."""

    class Stepping(S.Controller):
        def __call__(self, n):
            return 1.0

        def __copy__(self):
            opt.step(np.ones(3))
            return Stepping()

        def observe(self, **what):
            """Take no notice."""

        def state_dict(self):
            return {}

        def load_state_dict(self, state):
            """Nothing to load."""

    c = np.zeros(3)
    opt = flr.SGD(np.zeros(3), 1.0, copy_to=c, clip_norm=Stepping())
    opt.step(np.ones(3))
    steps = opt.steps
    copy.copy(opt)
    assert opt.steps > steps
    assert c.tolist() == opt.params.tolist()


@pytest.mark.parametrize("make", [copy.copy, copy.deepcopy])
def test_copies_refuse_memory_of_copy_to_that_has_gone(make):
    c = np.zeros(8)
    opt = flr.SGD(np.zeros(8), 1.0, copy_to=c)
    opt.step(np.ones(8))
    c.resize(100_000, refcheck=False)
    with pytest.raises(ValueError, match="`copy_to` must stay as it was when the optimizer was built"):
        make(opt)
