"""A step that is refused, skipped or interrupted changes nothing; and memory that a step writes is its own."""

import copy
import math
import threading

import numpy as np
import pytest

import pyfastlr as flr
from interrupts import everywhere, interrupted, needs_faithful_traces
from processes import in_thread
from step_options import CONTAINERS, contained, drawn_gradients, leaves, moment, names_in

pytestmark = pytest.mark.usefixtures("parallel_from_the_first_chunk")

EXTRAS = {
    "nothing": {},
    "norms": {"clip_norm": 1.0, "clip_norm_each": 0.5, "measure": ("update_norm", "param_norm", "per_tensor")},
    "value": {"clip_value": 0.1},
    "average": {"ema_decay": 0.9, "clip_norm": 1.0},
    "calls": {"accumulate": 3, "ema_decay": 0.5},
    "sum and value": {"accumulate": 3, "accumulate_mode": "sum", "clip_value": 0.5, "clip_norm": 2.0},
}


class Subject:
    """An optimizer with options after some calls, and a twin that will not see the bad one."""

    def __init__(self, kind, dtype="float32", calls=4, **options):
        rng = np.random.default_rng(5)
        names = self.names = names_in(kind)
        self.kind, self.dtype, self.rng = kind, np.dtype(dtype), rng
        groups = [{"params": [0, 3], "clip_norm": 0.3, "lr": 0.01}] if kind != "array" else None
        arrays = drawn_gradients(rng, names, self.dtype, -1, 1)
        self.params, self.copies = contained(kind, arrays), contained(kind, copy.deepcopy(arrays))
        self.opt = flr.AdamW(self.params, 0.02, copy_to=self.copies, groups=groups, threads=2, **options)
        for _ in range(calls):
            self.opt.step(self.gradients())

    def gradients(self):
        return contained(self.kind, drawn_gradients(self.rng, self.names, self.dtype, -2, 1))

    def spoiled(self, bad, places=1):
        g = self.gradients()
        arrays = [x for x in leaves(self.kind, g).values() if x.size]
        for k in range(places):
            arrays[-1 - k].flat[-1] = bad
        return g

    def moment(self, *more):
        return moment(self.opt, *more)


@pytest.mark.parametrize("kind", CONTAINERS)
@pytest.mark.parametrize("extra", EXTRAS)
@pytest.mark.parametrize("zero_grad", [False, True])
@pytest.mark.usefixtures("either_launch")
def test_refused_and_skipped_steps_change_nothing(kind, extra, zero_grad):
    """The runs go on as those that never saw the bad gradients; with zero_grad, a skip sets them to zero."""
    for policy in ("raise", "skip"):
        for calls in (0, 4):
            ours, twin = (
                Subject(kind, calls=calls, nonfinite=policy, zero_grad=zero_grad, **EXTRAS[extra]) for _ in range(2)
            )
            for bad in (math.nan, math.inf, -math.inf):
                g = ours.spoiled(bad, 1 if kind == "array" else 2)
                ours.rng = copy.deepcopy(twin.rng)  # both draw the same good ones
                before, given = ours.moment(), {name: x.copy() for name, x in leaves(kind, g).items()}
                if policy == "raise":
                    with pytest.raises(FloatingPointError, match=r"`grads.* must be finite"):
                        ours.opt.step(g)
                else:
                    ours.opt.step(g)
                    assert ours.opt.stats.skipped is True
                empty = zero_grad and policy == "skip"
                for name, x in leaves(kind, g).items():
                    assert x.tobytes() == (np.zeros_like(x) if empty else given[name]).tobytes()
                if not calls:  # the first step has made the buffers, and nothing is in them
                    assert not any(x.any() for x in ours.opt._extras.buffers.values())
                    assert ours.opt.steps == 0
                else:
                    assert ours.moment() == before
            for _ in range(7):
                ours.opt.step(ours.gradients())
                twin.opt.step(twin.gradients())
            assert ours.moment() == twin.moment()
            assert ours.opt.stats == twin.opt.stats


def bad_shape(s):
    g = s.gradients()
    if s.kind == "array":
        return np.ones(5, s.dtype)
    g[s.names[-1] if s.kind == "dict" else -1] = np.ones(5, s.dtype)
    return g


@pytest.mark.parametrize("kind", ["array", "dict", "list"])
@pytest.mark.parametrize("extra", EXTRAS)
@pytest.mark.usefixtures("either_launch")
def test_errors_before_the_step_change_nothing(kind, extra):
    s = Subject(kind, zero_grad=True, **EXTRAS[extra])

    def fails(n):
        raise ZeroDivisionError

    g = bad_shape(s)
    before = s.moment(g)
    with pytest.raises(ValueError, match="`grads"):
        s.opt.step(g)
    assert s.moment(g) == before
    for value, error in ((fails, ZeroDivisionError), (lambda n: -1.0, ValueError), (lambda n: "1", TypeError)):
        for name in ("clip_norm", "clip_value", "ema_decay"):
            was = getattr(s.opt, name)
            setattr(s.opt, name, value)
            due = s.opt._extras.options.accumulate == 1
            g = s.gradients()
            before = s.moment(g)
            if due:  # a call that only accumulates asks no schedule
                with pytest.raises(error):
                    s.opt.step(g)
                assert s.moment(g) == before
            setattr(s.opt, name, was)


# --- Interrupts -------------------------------------------------------------------------------------------------------

ALL = {"clip_norm": 1.0, "ema_decay": 0.5, "nonfinite": "skip", "zero_grad": True, "accumulate": 2}
OPERATIONS = {
    "step": lambda s: s.opt.step(s.gradients()),
    "a step that is skipped": lambda s: s.opt.step(s.spoiled(math.nan)),
    "clip_norm": lambda s: setattr(s.opt, "clip_norm", 0.25),
    "clip_norm off": lambda s: setattr(s.opt, "clip_norm", None),
    "clip_value on": lambda s: setattr(s.opt, "clip_value", lambda n: 0.5),
    "ema_decay off": lambda s: setattr(s.opt, "ema_decay", None),
    "of a group": lambda s: s.opt.groups[-1].update(clip_norm=0.125),
    "swap": lambda s: s.opt.swap_ema(),
    "reading": lambda s: (s.opt.stats, s.opt.ema, s.opt.clip_norm),
}


@needs_faithful_traces
@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("kind", ["array", "nested", "flat"])
def test_an_interrupt_leaves_all_or_nothing(operation, kind):
    act, moments, ends = OPERATIONS[operation], [], []

    def now(s):
        return s.moment(), [dict(group).get("clip_norm") for group in s.opt.groups], s.opt.clip_value is None

    def end(s):
        rng, s.rng = s.rng, np.random.default_rng(9)
        if s.opt._extras.swapped:
            s.opt.swap_ema()
        for _ in range(2):
            s.opt.step(s.gradients())
        in_thread(lambda: s.opt.step(s.gradients()))
        s.rng = rng
        return s.moment()

    for done in (False, True):
        twin = Subject(kind, calls=2, **ALL)
        if done:
            act(twin)
        moments.append(now(twin))
        ends.append(end(twin))

    def attempt(k):
        subject = Subject(kind, calls=2, **ALL)
        place = interrupted(lambda: act(subject), k)
        if place is not None:
            found = now(subject)
            assert found in moments, f"torn by an interrupt at {place}"
            which = [k for k, x in enumerate(moments) if x == found]
            assert end(subject) in [ends[k] for k in which], f"after an interrupt at {place}"
        return place

    assert everywhere(attempt) > 5


@needs_faithful_traces
@pytest.mark.parametrize("kind", ["array", "flat"])
def test_averaged_swaps_back_whatever_happens(kind):
    def work(s):
        with s.opt.averaged():
            pass

    def attempt(k):
        s = Subject(kind, calls=4, **ALL)
        before = s.moment()
        place = interrupted(lambda: work(s), k)
        assert (s.moment(), s.opt._extras.swapped) == (before, False), place
        s.opt.step(s.gradients())
        return place

    assert everywhere(attempt) > 5
    s = Subject(kind, calls=4, **ALL)
    before = s.moment()
    for error in (ValueError, KeyboardInterrupt, GeneratorExit):
        with pytest.raises(error), s.opt.averaged():
            raise error
        assert s.moment() == before


# --- The average ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", CONTAINERS)
@pytest.mark.usefixtures("either_launch")
def test_swap_exchanges_bit_for_bit(kind):
    s = Subject(kind, ema_decay=0.9)
    p, average = ({name: x.copy() for name, x in leaves(kind, x).items()} for x in (s.params, s.opt.ema))
    before = s.moment()
    with s.opt.averaged():
        assert all(x.tobytes() == average[name].tobytes() for name, x in leaves(kind, s.params).items())
        assert all(x.tobytes() == p[name].tobytes() for name, x in leaves(kind, s.opt.ema).items())
        swapped = s.moment()
        with pytest.raises(RuntimeError, match="while the average is swapped in"):
            s.opt.step(s.gradients())
        with pytest.raises(RuntimeError, match="while the average is swapped in"), s.opt.averaged():
            pass
        assert s.moment() == swapped
    assert s.moment() == before
    s.opt.step(s.gradients())


@pytest.mark.parametrize("spoil", ["read-only", "another"])
def test_swap_checks_the_parameters_first(spoil):
    s = Subject("dict", ema_decay=0.9)
    if spoil == "read-only":
        s.params["e"].flags.writeable = False
    else:
        s.params["e"] = s.params["e"].copy()
    before = s.moment()
    with pytest.raises(ValueError, match=r"`params\['e'\]` must"):
        s.opt.swap_ema()
    assert s.moment() == before
    assert not s.opt._extras.swapped


def test_a_thread_that_steps_never_updates_the_average_swapped_in():
    """It may have fetched the launch before the swap."""
    p = np.zeros(50_000)
    opt, stop, refused = flr.SGD(p, 1.0, ema_decay=0.5), [], []
    opt.step(np.ones(p.size))
    launch = opt._engine.launch
    opt.swap_ema()
    before = p.copy()
    with pytest.raises(RuntimeError, match="swapped in"):
        opt._engine.settle(launch(np.ones(p.size), 1.0, None, None), np.ones(p.size), 1.0, None, None)
    assert p.tobytes() == before.tobytes()
    opt.swap_ema()

    def work():
        while not stop:
            try:
                opt.step(np.ones(p.size))
            except RuntimeError:
                refused.append(1)

    worker = threading.Thread(target=work)
    worker.start()
    try:
        for _ in range(200):
            with opt.averaged():
                before, steps = p.copy(), opt.steps
                assert (p == p[0]).all()
                assert (p.tobytes(), opt.steps) == (before.tobytes(), steps)
    finally:
        stop.append(1)
        worker.join()
    assert p[0] == -opt.steps


def test_options_that_change_while_another_thread_steps():
    """A change never reaches a step that runs: each one clips, or does not."""
    p = np.zeros(50_000)
    opt = flr.SGD(p, 1.0, convention="optax")
    workers = [threading.Thread(target=lambda: [opt.step(np.ones(p.size)) for _ in range(300)]) for _ in range(2)]
    for worker in workers:
        worker.start()
    while any(worker.is_alive() for worker in workers):
        for value in (0.5, None, 0.25):
            opt.clip_value = value
            opt.clip_norm = math.inf if value else None
    for worker in workers:
        worker.join()
    assert opt.steps == 600
    assert (p == p[0]).all()
    assert -p[0] * 4 == round(-p[0] * 4)
