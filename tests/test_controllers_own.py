"""Controllers that users write, and controllers inside each other: in optimizers, states and copies."""

import copy
import math
import threading

import numpy as np
import pytest

import pyfastlr as flr
from pyfastlr import schedules as S
from pyfastlr import tune
from pyfastlr.schedules.controller import observed

from .interrupts import interrupted, needs_faithful_traces


class Own(S.Controller):
    """Keeps whatever it observes."""

    def __init__(self, **state):
        self.state = state

    def __call__(self, n):
        return 0.1

    def observe(self, **what):
        self.state = {**self.state, **what}


class Duck:
    """Has no base, and neither copies its list when it is saved nor when it is loaded."""

    def __init__(self):
        self.levels = [1.0]

    def __call__(self, n):
        return self.levels[-1]

    def observe(self, **what):
        self.levels.append(0.5 * self.levels[-1])

    def state_dict(self):
        return {"levels": self.levels}

    def load_state_dict(self, d):
        self.levels = d["levels"]


def ended(work):
    """Result of a call, which must not wait for itself."""
    found = []
    thread = threading.Thread(target=lambda: found.append(work()), daemon=True)
    thread.start()
    thread.join(20)
    assert not thread.is_alive(), "it waits for itself"
    return found[0]


# --- Users' own -------------------------------------------------------------------------------------------------------


def test_a_controller_that_holds_its_optimizer_can_be_loaded():
    class Holder(Duck):
        def load_state_dict(self, d):
            super().load_state_dict(d)
            self.opt.momentum = 0.5

    opt = flr.SGD(np.ones(2), lr=0.1, momentum=0.9)
    rate = Holder()
    rate.opt, opt.lr = opt, rate
    opt.step(np.ones(2))
    state = opt.state_dict()
    rate.observe()

    def load(hyperparameters):
        rate.observe()
        opt.load_state_dict(state, hyperparameters)
        return opt.lr, opt.momentum

    assert ended(lambda: load(False)) == (1.0, 0.5)
    assert ended(lambda: load(True)) == (1.0, 0.9)  # the optimizer's hyperparameters are loaded last


@pytest.mark.parametrize("start", [0, 1.5, True, None, math.inf, np.float32(1), np.int64(3), np.bool_(False)])
@pytest.mark.parametrize("later", [0, 0.5, True, None, np.float32(2), np.int64(4), np.bool_(True)])
def test_a_number_may_become_any_other_number(start, later):
    rate = Own(x=start)
    opt = flr.SGD(np.ones(2), lr=rate)
    rate.observe(x=later)
    state = opt.state_dict()
    fresh = Own(x=start)
    for each in (opt, flr.SGD(np.ones(2), lr=fresh)):
        each.load_state_dict(state)
    assert rate.state == fresh.state == {"x": later}


@pytest.mark.parametrize(("start", "later"), [("a", 1), ([1], "a"), ({}, [1]), (np.ones(2), [1.0]), (1, "a")])
def test_a_kind_that_it_did_not_have_is_refused(start, later):
    rate = Own(x=start)
    with pytest.raises(TypeError, match="the state 'x' of Own must be"):
        rate.load_state_dict({**rate.state_dict(), "x": later})
    assert rate.state["x"] is start


def test_arrays_in_a_state_are_copies_both_ways():
    rate = Own(w=np.zeros(2))
    opt = flr.SGD(np.ones(2), lr=rate)
    state = opt.state_dict()
    rate.state["w"][:] = 5.0
    assert state["controllers"][0]["state"]["w"].tolist() == [0.0, 0.0]
    opt.load_state_dict(state)
    state["controllers"][0]["state"]["w"][:] = 7.0
    assert rate.state["w"].tolist() == [0.0, 0.0]


def test_a_saved_state_does_not_change_with_a_list_that_goes_on():
    rate = Duck()
    opt = flr.SGD(np.ones(2), lr=rate)
    state = opt.state_dict()
    for _ in range(2):
        rate.observe()
        opt.load_state_dict(state)
        assert rate.levels == [1.0]


@pytest.mark.parametrize("action", ["rollback", ("rollback", "cut")])
def test_a_rollback_takes_a_users_controller_along(action):
    rate = Duck()
    guard = tune.SpikeGuard(flr.SGD(np.ones(2), lr=rate), action)
    for _ in range(2):
        guard.step(1.0, np.ones(2))
        rate.observe()
        assert guard.step(math.nan, np.ones(2)) == "rollback"
        assert rate.levels == [1.0]


def test_a_class_is_not_a_controller():
    with pytest.raises(TypeError, match="got the class Plateau"):
        flr.SGD(np.ones(2), lr=S.Plateau)


def test_an_attribute_with_our_private_name_is_the_users():
    rate = Duck()
    rate._at = "noon"
    opt = flr.SGD(np.ones(2), lr=rate)
    opt.step(np.ones(2))
    assert opt.stats.lr == 1.0


# --- Inside each other ------------------------------------------------------------------------------------------------


def test_a_users_controller_inside_is_saved_with_the_outer():
    rate, other = S.Plateau(Duck()), S.Plateau(Duck())
    opt = flr.SGD(np.ones(2), lr=rate)
    rate.base.observe()
    flr.SGD(np.ones(2), lr=other).load_state_dict(opt.state_dict())
    assert other.base.levels == [1.0, 0.5]
    assert other(0) == 0.5
    with pytest.raises(TypeError, match="Duck has no JSON form"):
        rate.to_dict()


@pytest.mark.parametrize("value", [None, "x", True, np.ones(1)])
@pytest.mark.parametrize("outer", [S.Plateau, S.Adjustable, S.RestartOnPlateau, S.Hypergradient])
def test_a_base_that_gives_no_number_is_named(outer, value):
    p = np.ones(2)
    opt = flr.SGD(p, lr=outer(lambda n: value))
    with pytest.raises(TypeError, match=r"`base\(0\)` must be a number, got"):
        opt.step(np.ones(2))
    assert (p.tolist(), opt.steps) == ([1.0, 1.0], 0)


@pytest.mark.parametrize("copier", [copy.copy, copy.deepcopy])
def test_copies_share_what_two_controllers_shared(copier):
    rate = S.Plateau(0.1, factor=0.5, patience=0)
    params = {"a": np.ones(1), "b": np.ones(1)}
    opt = flr.SGD(params, lr=S.Adjustable(rate, scale=0.5), groups=[{"params": "b", "lr": rate}])
    twin = copier(opt)
    for _ in range(2):
        twin.groups[1]["lr"].observe(1.0)
    assert twin.groups[0]["lr"].base is twin.groups[1]["lr"]
    assert (twin.lrs, opt.lrs) == ([0.025, 0.05], [0.05, 0.1])


def test_a_restart_inside_a_restart_counts_from_the_outer_one():
    inner = S.RestartOnPlateau(S.Linear(1.0, 0.0, steps=10), patience=0)
    rate = S.RestartOnPlateau(inner, patience=0)
    opt = flr.SGD(np.zeros(1), lr=rate)
    used = []
    for k in range(9):
        for who, when in ((rate, 4), (inner, 6)):
            if k == when:
                who.observe(1.0)
                who.observe(1.0)
        coming = opt.lr
        opt.step(np.ones(1))
        assert opt.stats.lr == coming
        used.append(round(coming, 12))
    assert used == [1.0, 0.9, 0.8, 0.7, 1.0, 0.9, 1.0, 0.9, 0.8]


def test_a_cycle_goes_on_after_a_reset():
    rate = S.RestartOnPlateau(S.Linear(1.0, 0.0, steps=10), patience=0)
    opt = flr.SGD(np.zeros(1), lr=rate)
    for _ in range(5):
        opt.step(np.ones(1))
    rate.observe(1.0)
    rate.observe(1.0)
    opt.step(np.ones(1))
    opt.reset()
    used = []
    for _ in range(3):
        coming = opt.lr
        opt.step(np.ones(1))
        assert opt.stats.lr == coming
        used.append(coming)
    assert used == [1.0, 0.9, 0.8]


# --- Numbers, interrupts ----------------------------------------------------------------------------------------------


def test_integers_beyond_all_floats_keep_their_sign():
    assert (observed(10**400, "loss"), observed(-(10**400), "loss")) == (math.inf, -math.inf)


def test_a_limit_is_one_number():
    with pytest.raises(TypeError, match="`limit` must be a number >= 0"):
        S.Adjustable(0.1).observe(limit=np.ones(2))


@needs_faithful_traces
def test_an_interrupted_return_to_the_best_parameters_is_whole_or_absent():
    params = [np.zeros(2), np.zeros(2)]
    outcomes = set()
    for k in range(10_000):
        rate = S.Plateau(0.1, factor=0.5, patience=0, params=params)
        for x in params:
            x[:] = 1.0
        rate.observe(1.0)
        for x in params:
            x[:] = 2.0
        place = interrupted(lambda rate=rate: rate.observe(1.0), k)
        outcomes.add((rate.reductions, *(float(x[0]) for x in params), *(float(x[1]) for x in params)))
        if place is None:
            break
    assert outcomes == {(0, 2.0, 2.0, 2.0, 2.0), (1, 1.0, 1.0, 1.0, 1.0)}


# --- What nothing else noticed ----------------------------------------------------------------------------------------


def test_a_copy_has_a_history_of_its_own():
    rate = S.Plateau(0.1)
    rate.observe(1.0)
    copy.copy(rate).observe(2.0)
    assert list(rate.history) == [(1.0, False)]


def test_a_limit_of_zero_is_a_limit():
    assert S.Adjustable(0.1, limit=0.0)(0) == 0.0


def test_a_slope_looks_again_after_exactly_the_cooldown():
    rate = S.Plateau(0.1, convention="slope", patience=3, cooldown=2)
    assert [k for k in range(14) if rate.observe(1.0)] == [2, 7, 12]


def test_a_controller_at_two_places_is_loaded_once():
    class Counting(Duck):
        loads = 0

        def __deepcopy__(self, memo):
            raise TypeError("not to be copied")

        def load_state_dict(self, d):
            super().load_state_dict(d)
            self.loads += 1

    rate = Counting()
    opt = flr.SGD({"a": np.ones(1), "b": np.ones(1)}, lr=rate, groups=[{"params": "b", "lr": rate}])
    opt.load_state_dict(opt.state_dict())
    assert rate.loads == 1


def test_a_base_above_the_bound_leaves_no_mark_on_what_is_learned():
    """The bound holds the rate, and the factor stays near 1 for when the base comes below it."""
    rate = S.Hypergradient(S.Piecewise([3], [0.5, 0.05]), high=0.1)
    opt = flr.SGD(np.ones(2), lr=rate)
    for _ in range(3):
        rate.observe(grads=np.ones(2))
        opt.step(np.ones(2))
        assert opt.stats.lr == 0.1
    assert opt.lr == 0.05


def test_a_callable_inside_a_controller_may_change_the_container():
    params = {"w": np.ones(2)}

    def base(n):
        params["w"] = np.full(2, 5.0)
        return 0.1

    old = params["w"]
    opt = flr.SGD(params, lr=S.Plateau(base))
    with pytest.raises(ValueError, match="must be"):
        opt.step({"w": np.ones(2)})
    assert (old.tolist(), params["w"].tolist(), opt.steps) == ([1.0, 1.0], [5.0, 5.0], 0)


def test_a_line_in_the_picture_is_at_the_observation_that_acted():
    figure = pytest.importorskip("matplotlib.figure")
    rate = S.Plateau(0.1, patience=1)
    acted = [k for k in range(1, 6) if rate.observe(1.0)]
    ax = rate.plot(figure.Figure().add_subplot())
    assert [line.get_xdata()[0] for line in ax.lines[1:]] == acted == [3, 5]
