"""States of other libraries without the libraries: what is refused, by name, and that an error changes nothing."""

import copy
import sys

import numpy as np
import pytest

import pyfastlr as flr
from interrupts import everywhere, interrupted, needs_faithful_traces
from processes import in_thread
from pyfastlr import schedules as S


def moment(opt, *arrays):
    """All that an import may change, to be compared."""
    state = opt.state_dict()
    parts = [state["counts"], state["carry"], *(x for _, x in sorted(flat(state["state"]).items())), *arrays]
    groups = [{key: x if isinstance(x, float | tuple) else repr(x) for key, x in g.items()} for g in opt.groups]
    return state["steps"], [x.tobytes() for x in parts], groups


def flat(x, path=""):
    if isinstance(x, dict):
        return {key: leaf for name, value in x.items() for key, leaf in flat(value, f"{path}.{name}").items()}
    return {path: x}


def params():
    return {"w": np.arange(6.0).reshape(2, 3), "b": np.ones(3)}


def stepped(cls=flr.Adam, n=3, **options):
    opt = cls(params(), **options)
    for k in range(n):
        opt.step({"w": np.full((2, 3), 0.5 + k), "b": np.full(3, -1.0 - k)})
    return opt


def torch_state(**options):
    return flr.to_torch(stepped(**options), tensors=False)


def edited(path, value, **options):
    """State with one value replaced, or removed if it is `...`."""
    state = torch_state(**options)
    at = state
    for key in path[:-1]:
        at = at[key]
    if value is ...:
        del at[path[-1]]
    else:
        at[path[-1]] = value
    return state


GROUP = ("param_groups", 0)
REFUSED = {
    "a list": ([], TypeError, "`state_dict` must be a dict"),
    "a checkpoint": ({"model": 1}, ValueError, r"must have the keys \['state', 'param_groups'\]"),
    "no group": (edited(("param_groups",), 5), TypeError, "must be a list of dicts"),
    "no params": (edited((*GROUP, "params"), ...), ValueError, r"\[0\]\['params'\]` must be a list"),
    "too few": (edited((*GROUP, "params"), [0]), ValueError, "must have the 2 parameters of `opt`, got 1"),
    "doubled": (edited((*GROUP, "params"), [0, 0]), ValueError, "must have each parameter once"),
    "foreign id": (edited(("state", 7), {}), ValueError, r"must have only parameters of the groups, got \[7\]"),
    "another class": (torch_state(cls=flr.NAdam), ValueError, "must be of torch's Adam, like `opt`, got keys of NAdam"),
    "RAdam": (torch_state(cls=flr.RAdam), ValueError, "got keys of RAdam or Adamax"),
    "SGD": (torch_state(cls=flr.SGD), ValueError, "got keys of SGD"),
    "amsgrad": (torch_state(cls=flr.AMSGrad), ValueError, r"\['amsgrad'\]` must be False, as in `opt`, got True"),
    "maximize": (torch_state(maximize=True), ValueError, r"\['maximize'\]` must be False, as in `opt`"),
    "decoupled": (torch_state(cls=flr.AdamW), ValueError, r"\['decoupled_weight_decay'\]` must be False, because"),
    "missing state": (
        edited(("state", 1, "exp_avg"), ...),
        ValueError,
        r"\[1\]` must have .*missing keys \['exp_avg'\]",
    ),
    "unknown state": (edited(("state", 1, "sum"), 5), ValueError, r"\[1\]` must have .*unknown keys \['sum'\]"),
    "entry": (edited(("state", 1), [5]), TypeError, r"\['state'\]\[1\]` must be a dict"),
    "shape": (edited(("state", 0, "exp_avg"), np.ones(6)), ValueError, r"must be float64\[2, 3\], got float64\[6\]"),
    "dtype": (edited(("state", 1, "exp_avg"), np.ones(3, "f")), ValueError, r"got float32\[3\]: cast=True converts it"),
    "integers": (edited(("state", 1, "exp_avg"), np.ones(3, int)), TypeError, r"must be float64\[3\], got int64\[3\]"),
    "no array": (edited(("state", 1, "exp_avg"), [1.0] * 3), TypeError, r"must be float64\[3\], got list"),
    "object": (edited(("state", 1, "exp_avg"), object()), TypeError, r"must be float64\[3\], got object"),
    "NaN step": (edited(("state", 0, "step"), np.nan), ValueError, r"\['step'\]` must be an integer from 0 .*got nan"),
    "half a step": (edited(("state", 0, "step"), 2.5), ValueError, r"\['step'\]` must be an integer .* got 2.5"),
    "negative step": (edited(("state", 0, "step"), -1), ValueError, r"\['step'\]` must be an integer .* got -1"),
    "huge step": (edited(("state", 0, "step"), 1e30), ValueError, r"\['step'\]` must be an integer .* got 1e\+30"),
    "step of text": (edited(("state", 0, "step"), "3"), TypeError, r"\['step'\]` must be a number, got str"),
    "step of bool": (edited(("state", 0, "step"), True), TypeError, r"\['step'\]` must be a number, got True"),
    "steps": (edited(("state", 0, "step"), np.ones(2)), TypeError, r"\['step'\]` must be a number, got array"),
    "no lr": (edited((*GROUP, "lr"), ...), ValueError, r"\[0\]` must have the key 'lr'"),
    "negative lr": (
        edited((*GROUP, "lr"), -1.0),
        ValueError,
        r"_groups'\]\[0\]\['lr'\]` must be a finite number",
    ),
    "NaN lr": (edited((*GROUP, "lr"), np.nan), ValueError, r"\[0\]\['lr'\]` must be a finite number >= 0, got nan"),
    "beta of 1": (
        edited((*GROUP, "betas"), (0.9, 1.0)),
        ValueError,
        r"\['betas'\]\[1\]` must be a number in \[0, 1\)",
    ),
    "one beta": (edited((*GROUP, "betas"), 0.9), TypeError, r"\[0\]\['betas'\]` must be a pair"),
    "lr of text": (edited((*GROUP, "lr"), "fast"), TypeError, r"\[0\]\['lr'\]` must be a number, got str"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_torch_state_is_refused_and_nothing_changes(name):
    state, error, match = REFUSED[name]
    opt = stepped(n=2, lr=0.25)
    before = moment(opt)
    with pytest.raises(error, match=match):
        flr.from_torch(state, opt)
    assert moment(opt) == before
    flr.from_torch(torch_state(), opt)
    assert moment(opt) != before


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: flr.Lion(np.ones(2), 0.1), "`opt` must be an optimizer that torch has, got Lion"),
        (lambda: flr.Adam(np.ones(2), convention="keras"), "convention 'torch', got 'keras': its Adam has another"),
        (lambda: flr.RMSProp(np.ones(2), 0.1, convention="optax"), "its RMSProp has another formula"),
        (lambda: flr.SGD(np.ones(2), weight_decay=0.1, decay="decoupled"), "SGD has coupled weight decay only"),
        (lambda: flr.Adam(np.ones(2), weight_decay=0.1, decay="independent"), "Adam has coupled and decoupled weight"),
        (lambda: flr.Rprop(np.ones(2), weight_decay=0.1), "torch's Rprop has no weight decay"),
        (lambda: flr.Adam(np.ones(2), lr_scale=0.5), r"`opt.groups\[0\]\['lr_scale'\]` must be 1, got 0.5"),
        (lambda: flr.Adam(np.ones(2), lr_scale=np.ones(2)), "must be 1, got arrays"),
    ],
)
def test_what_torch_lacks_is_not_exported(make, match):
    with pytest.raises(ValueError, match=match):
        flr.to_torch(make(), tensors=False)


@pytest.mark.parametrize("function", [flr.to_torch, flr.to_keras, lambda x: flr.to_optax(x, ())])
def test_what_is_no_optimizer_is_not_exported(function):
    with pytest.raises(TypeError, match="`opt` must be an optimizer of pyfastlr, got dict"):
        function({})


def test_same_formula_in_another_convention():
    """torch's and optax' Adam are equal, so that a state moves from one to the other."""
    opt = stepped(lr=0.5, convention="optax", weight_decay=0.0)
    other = stepped(n=0)
    flr.from_torch(flr.to_torch(opt, tensors=False), other)
    assert moment(other)[:2] == moment(opt)[:2]
    assert other.lr == 0.5


def test_hyperparameters_stay_if_asked():
    opt = stepped(n=0, lr=0.25, betas=(0.5, 0.6), groups=[{"params": "b", "lr": 0.125}])
    flr.from_torch(torch_state(lr=0.5), opt, hyperparameters=False)
    assert (opt.lrs, opt.betas, opt.steps) == ([0.25, 0.125], (0.5, 0.6), 3)


def test_schedules_stay_and_continue():
    rate = S.Linear(1.0, 0.0, steps=10)
    opt = stepped(n=0, lr=rate, betas=(lambda n: 0.5, 0.6))
    flr.from_torch(torch_state(lr=0.5), opt)
    assert opt.groups[0]["lr"] == rate
    assert opt.lr == rate(3)
    assert opt.betas == (0.5, 0.999)
    flr.from_torch(torch_state(lr=0.5), opt, steps=5)
    assert (opt.steps, opt.lr) == (5, rate(5))
    flr.from_torch(torch_state(lr=0.5), opt, steps=0)
    assert (opt.steps, opt.lr, opt.state_dict()["counts"].tolist()) == (0, rate(0), [3, 3])
    opt.step(params())
    assert (opt.steps, opt.stats.lr) == (1, rate(0))


@pytest.mark.parametrize("steps", [-1, 2.5, np.nan, 2**63])
def test_steps_are_checked(steps):
    opt = stepped()
    with pytest.raises(ValueError, match="`steps` must be an integer from 0"):
        flr.from_torch(torch_state(), opt, steps=steps)


def test_sgd_does_not_count():
    state = torch_state(cls=flr.SGD, momentum=0.5, lr=0.5)
    opt = stepped(flr.SGD, n=0, momentum=0.9)
    flr.from_torch(state, opt)
    assert (opt.steps, opt.momentum, opt.state_dict()["counts"].tolist()) == (1, 0.5, [1, 1])
    flr.from_torch(state, opt, steps=7)
    assert (opt.steps, opt.state_dict()["counts"].tolist()) == (7, [7, 7])
    with pytest.raises(ValueError, match="`steps` must be at least 1, because there is a momentum buffer"):
        flr.from_torch(state, opt, steps=0)
    opt.lr = S.Constant(0.5)
    with pytest.raises(ValueError, match="`steps` must be given, got None: torch does not count the updates of SGD"):
        flr.from_torch(state, opt)
    opt.lr, state["state"] = 0.5, {0: {"momentum_buffer": None}}
    flr.from_torch(state, opt)
    assert opt.steps == 0


def test_momentum_needs_a_buffer():
    state = torch_state(cls=flr.SGD, momentum=0.5)
    opt = stepped(flr.SGD)
    with pytest.raises(ValueError, match=r"\['momentum'\]` must be 0, because `opt` \(sgd\) has none, got 0.5"):
        flr.from_torch(state, opt, steps=3)
    for flag in ({"nesterov": True}, {}):
        opt = stepped(flr.SGD, momentum=0.9, **flag)
        state["param_groups"][0]["nesterov"] = not flag
        with pytest.raises(ValueError, match=r"\['nesterov'\]` must be"):
            flr.from_torch(state, opt, steps=3)
    opt = stepped(flr.RMSProp, centered=True)
    with pytest.raises(ValueError, match=r"\['centered'\]` must be True"):
        flr.from_torch(torch_state(cls=flr.RMSProp), opt)


def test_dampening_needs_torch_s_convention():
    """optax's SGD has the same formula, without dampening."""
    opt = stepped(flr.SGD, lr=0.1, momentum=0.5, convention="optax")
    flr.from_torch(torch_state(cls=flr.SGD, momentum=0.5), opt)
    with pytest.raises(ValueError, match=r"\['dampening'\]` must be 0, because `opt` \(momentum\) has none, got 0.25"):
        flr.from_torch(torch_state(cls=flr.SGD, momentum=0.5, dampening=0.25), opt)
    flr.from_torch(torch_state(cls=flr.SGD, dampening=0.25), stepped(flr.SGD))


def test_kinds_of_decay_that_torch_lacks():
    state = torch_state(weight_decay=0.5)
    with pytest.raises(ValueError, match=r"\[0\]` must decay weights as `opt` does, with decay='independent'"):
        flr.from_torch(state, stepped(decay="independent"))
    with pytest.raises(ValueError, match="with decay='decoupled', got torch's kind"):
        flr.from_torch(torch_state(cls=flr.RMSProp, weight_decay=0.5), stepped(flr.RMSProp, decay="decoupled"))
    old = torch_state(cls=flr.AdamW)
    del old["param_groups"][0]["decoupled_weight_decay"]  # of a torch before 2.7
    flr.from_torch(old, stepped(flr.AdamW))


def test_a_group_of_torch_without_momentum_beside_one_with():
    """Its parameters have no buffer there; here all have one."""
    groups = [{"params": "b", "momentum": 0.0}]
    opt = stepped(flr.SGD, momentum=0.5, groups=groups)
    state = flr.to_torch(opt, tensors=False)
    del state["state"][1]
    other = stepped(flr.SGD, n=0, momentum=0.9, groups=groups)
    flr.from_torch(state, other, steps=3)
    assert [g["momentum"] for g in other.groups] == [0.5, 0.0]
    assert other.state["momentum_buffer"]["b"].tolist() == [0.0] * 3


NAMES = ["b", "w"]


@pytest.mark.parametrize("how", ["names", "param_names", "ids"])
def test_parameters_by_name(how):
    """In torch's order b, w; ours is w, b."""
    state = torch_state()
    state["param_groups"][0]["params"] = [1, 0]
    if how == "param_names":
        state["param_groups"][0]["param_names"] = NAMES
    if how == "ids":
        state = {"state": {"b": state["state"][1], "w": state["state"][0]}, "param_groups": state["param_groups"]}
        state["param_groups"][0]["params"] = NAMES
    opt = stepped(n=0)
    flr.from_torch(state, opt, names=NAMES if how == "names" else None)
    assert moment(opt)[:2] == moment(stepped())[:2]


@pytest.mark.parametrize("names", [["w"], ["w", "c"], ["w", "w"], ["w", "b", "c"]])
def test_names_must_be_ours(names):
    opt, state = stepped(), torch_state()
    with pytest.raises(ValueError, match="`names` must be the names of the arrays of `opt`, each once"):
        flr.from_torch(state, opt, names=names)
    with pytest.raises(ValueError, match="`names` must be the names of the arrays of `opt`"):
        flr.from_keras(flr.to_keras(stepped(convention="keras")), stepped(convention="keras"), names=names)
    state["param_groups"][0]["param_names"] = names
    with pytest.raises(ValueError, match="`param_names` must be the names of the arrays of `opt`"):
        flr.from_torch(state, opt)


@pytest.mark.parametrize("names", ["wb", 5])
def test_names_must_be_a_list(names):
    with pytest.raises(TypeError, match="`names` must be a list of names, got"):
        flr.from_torch(torch_state(), stepped(), names=names)


@pytest.mark.parametrize("name", ["hyperparameters", "cast"])
@pytest.mark.parametrize("function", [flr.from_torch, flr.from_optax, flr.from_keras])
def test_switches_must_be_bools(function, name):
    opt = stepped(flr.SGD, lr=0.1, convention=function.__name__[5:])
    with pytest.raises(TypeError, match=f"`{name}` must be True or False, got 1"):
        function({}, opt, **{name: 1})


def test_other_names_of_torch_mean_the_order():
    state = torch_state()
    state["param_groups"][0]["param_names"] = ["module.w", "module.b"]
    opt = stepped(n=0)
    flr.from_torch(state, opt)
    assert moment(opt)[:2] == moment(stepped())[:2]


def test_groups_of_other_sizes_need_names():
    three = {"a": np.ones(2), "b": np.ones(2), "c": np.ones(2)}
    theirs = flr.Adam(three, groups=[{"params": "c"}])
    state = flr.to_torch(theirs, tensors=False)
    opt = flr.Adam(three, groups=[{"params": ["b", "c"]}])
    with pytest.raises(ValueError, match=r"groups of \[1, 2\] parameters like `opt`, got groups of \[2, 1\]: pass"):
        flr.from_torch(state, opt)
    flr.from_torch(state, opt, names=["a", "b", "c"])
    state["param_groups"][1]["lr"] = 0.5
    with pytest.raises(ValueError, match=r"\[1\]` must have the lr of `state_dict\['param_groups'\]\[0\]`"):
        flr.from_torch(state, opt, names=["a", "b", "c"])
    flr.from_torch(state, opt, names=["a", "b", "c"], hyperparameters=False)


def test_base_group_without_arrays():
    """torch has no such group; the base group keeps its numbers."""
    groups = [{"params": "w", "lr": 0.5}, {"params": "b"}]
    state = flr.to_torch(stepped(lr=0.125, groups=groups), tensors=False)
    assert [(g["lr"], g["params"]) for g in state["param_groups"]] == [(0.5, [0]), (0.125, [1])]
    opt = stepped(n=0, lr=3.0, groups=groups)
    flr.from_torch(state, opt)
    assert opt.lrs == [3.0, 0.5, 0.125]


def test_a_group_that_follows_the_base_group_goes_on_to_do_so():
    opt = stepped(n=0, lr=3.0, groups=[{"params": "b"}])
    flr.from_torch(torch_state(lr=0.5), opt)
    opt.lr = 0.75
    assert opt.lrs == [0.75, 0.75]


def test_rate_factors_are_refused_with_hyperparameters():
    opt = stepped(n=0, groups=[{"params": "b", "lr_scale": 0.1}])
    with pytest.raises(ValueError, match=r"`opt.groups\[1\]\['lr_scale'\]` must be 1, got 0.1"):
        flr.from_torch(torch_state(), opt)
    flr.from_torch(torch_state(), opt, hyperparameters=False)
    assert opt.steps == 3


def test_cast_does_not_make_infinities():
    opt = flr.Adam(np.ones(3, np.float32))
    state = flr.to_torch(flr.Adam(np.ones(3)), tensors=False)
    state["state"][0] = {"step": 1, "exp_avg": np.array([1e300, np.inf, 1.0]), "exp_avg_sq": np.ones(3)}
    with pytest.raises(ValueError, match=r"\['exp_avg'\]` must fit into float32, got 1e\+300"):
        flr.from_torch(state, opt, cast=True)
    state["state"][0]["exp_avg"][0] = np.nan
    flr.from_torch(state, opt, cast=True)
    assert np.array_equal(opt.state["exp_avg"], [np.nan, np.inf, 1.0], equal_nan=True)


def test_what_torch_keeps_elsewhere():
    """Average and accumulated gradient start anew; the loss scale and the controllers stay."""
    options = {"ema_decay": 0.5, "accumulate": 2, "loss_scale": flr.LossScale(interval=1)}
    opt = stepped(n=5, **options)
    assert opt.state_dict()["accumulated"] is not None
    scale = opt.loss_scale.scale
    flr.from_torch(torch_state(), opt)
    state = opt.state_dict()
    assert (state["accumulated"], state["average"]) == (None, None)
    assert opt.loss_scale.scale == scale


def test_rprop_before_its_first_update():
    """torch makes the step sizes from the group's rate at the first update."""
    group = {"lr": 0.5, "etas": (0.5, 1.2), "step_sizes": (1e-6, 50), "maximize": False, "params": [0, 1]}
    entry = {"step": 3, "prev": np.ones(2), "step_size": np.full(2, 0.25)}
    opt = flr.Rprop([np.zeros(2), np.zeros(2)], lr=0.1)
    for hyperparameters, start in ((True, 0.5), (False, 0.1)):
        flr.from_torch({"state": {1: entry}, "param_groups": [group]}, opt, hyperparameters=hyperparameters)
        assert [x[0] for x in opt.state["step_size"]] == [start, 0.25]
        assert opt.state_dict()["counts"].tolist() == [0, 3]


def test_nested_names_of_keras_in_another_order():
    """Keras' paths have "_" for "."; the arrays have one shape, so an order that is wrong would go unnoticed."""
    opt = flr.Adam({"d": {"w": np.zeros(2), "b": np.zeros(2)}, "e": np.zeros(2)}, convention="keras")
    variables = {"adam/iteration": 7, "adam/learning_rate": 0.1}
    for kind in ("momentum", "velocity"):
        for k, name in enumerate(("e", "d_b", "d_w")):
            variables[f"adam/{name}_{kind}"] = np.full(2, float(k))
    flr.from_keras(variables, opt)
    for slot in ("exp_avg", "exp_avg_sq"):
        state = opt.state[slot]
        assert [state["e"][0], state["d"]["b"][0], state["d"]["w"][0]] == [0.0, 1.0, 2.0]


def test_swapped_average():
    opt = stepped(ema_decay=0.5)
    with opt.averaged(), pytest.raises(RuntimeError):
        flr.from_torch(torch_state(), opt)


def test_from_inside_a_step():
    opt = stepped()
    opt.lr = lambda n: flr.from_torch(torch_state(), opt) or 0.1
    before = opt.steps
    with pytest.raises(RuntimeError, match="must not change the state of the optimizer that calls it"):
        opt.step({"w": np.ones((2, 3)), "b": np.ones(3)})
    assert opt.steps == before


def test_without_torch(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    opt = stepped()
    exported = flr.to_torch(opt)
    assert type(exported["state"][0]["exp_avg"]) is np.ndarray
    with pytest.raises(ImportError):
        flr.to_torch(opt, tensors=True)
    other = stepped(n=0)
    flr.from_torch(exported, other)
    assert moment(other) == moment(opt)


def test_exported_arrays_are_copies():
    opt = stepped(convention="keras")
    exported = [flr.to_keras(opt)["2"], flr.to_torch(stepped(), tensors=False)["state"][0]["exp_avg"]]
    before = [x.copy() for x in exported]
    opt.step(params())
    assert all(np.array_equal(x, y) for x, y in zip(exported, before, strict=True))


BAD = (None, True, -1, 0, 2.5, np.nan, np.inf, 2**70, "x", b"x", [], [0], {}, {"a": 1}, (), object(), {1}, np.ones(5))
BAD += (np.array("x"), np.ones((2, 3), object), np.ones((2, 3), np.complex128), np.ones((2, 3)), lambda: 0)


def paths(x, path=()):
    """Paths to all values inside of containers."""
    items = x.items() if isinstance(x, dict) else enumerate(x) if isinstance(x, list | tuple) else ()
    for key, value in items:
        yield (*path, key)
        yield from paths(value, (*path, key))


def replaced(x, path, value):
    """Copy with another value at a path; without it if the value is `...`."""
    if not path:
        return value
    key, rest = path[0], path[1:]
    if isinstance(x, dict):
        new = {k: replaced(y, rest, value) if k == key else y for k, y in x.items()}
        return {k: y for k, y in new.items() if y is not ...}
    new = [replaced(y, rest, value) if k == key else y for k, y in enumerate(x)]
    return type(x)(y for y in new if y is not ...)


FUZZED = {
    "torch": (flr.from_torch, {}, lambda: torch_state(cls=flr.NAdam)),
    "keras": (flr.from_keras, {"convention": "keras"}, lambda: flr.to_keras(stepped(flr.NAdam, convention="keras"))),
    "optax": (
        flr.from_optax,
        {"convention": "optax", "lr": 0.1},
        lambda: (
            flr.to_optax(stepped(flr.NAdam, lr=0.1, convention="optax"), INJECTED),
            ({"count": np.int32(3)}, {"inner_state": ()}),
        ),
    ),
}
INJECTED = {  # like inject_hyperparams(nadam), from a checkpoint
    "count": np.int32(0),
    "hyperparams": {"learning_rate": 0.5, "b1": 0.5},
    "hyperparams_states": {},
    "inner_state": {
        "count": np.int32(0),
        "mu": {"w": np.zeros((2, 3)), "b": np.zeros(3)},
        "nu": {"w": np.zeros((2, 3)), "b": np.zeros(3)},
    },
}


@pytest.mark.parametrize("library", FUZZED)
def test_any_damage_is_refused_or_harmless(library):
    """Each value is replaced by others or left out. What is refused changes nothing."""
    load, options, make = FUZZED[library]
    state, opt = make(), stepped(flr.NAdam, n=1, **options)
    accepted = refused = 0
    for path in paths(state):
        for bad in (*BAD, ...):
            before = moment(opt)
            try:
                load(replaced(state, path, bad), opt)
            except (TypeError, ValueError):
                refused += 1
                assert moment(opt) == before, (path, bad)
            else:
                accepted += 1
                assert opt.steps >= 0
    assert refused > 3 * accepted > 0
    opt.step(params())


def test_any_damage_of_an_example_is_refused_or_harmless():
    opt = stepped(flr.NAdam, lr=0.1, convention="optax")
    accepted = refused = 0
    for path in paths(INJECTED):
        for bad in (*BAD, ...):
            try:
                state = flr.to_optax(opt, replaced(INJECTED, path, bad))
            except (TypeError, ValueError):
                refused += 1
            else:
                accepted += 1
                flr.from_optax(state, opt, hyperparameters=False)
    assert refused > 3 * accepted > 0


# --- Both or neither --------------------------------------------------------------------------------------------------


class Subject:
    """An optimizer with groups, of which one gets numbers of its own by the import."""

    def __init__(self):
        groups = [{"params": "b", "eps": 1e-3}]
        self.opt = stepped(n=2, lr=0.25, groups=groups)
        self.state = flr.to_torch(stepped(n=4, lr=0.5, groups=groups), tensors=False)
        self.state["param_groups"][1]["lr"] = 0.75

    def load(self):
        flr.from_torch(self.state, self.opt)

    def end(self):
        """What another thread does then, and what the next steps lead to."""

        def work():
            self.opt.step(params())
            self.opt.weight_decay = 0.25
            self.opt.step(params())

        in_thread(work)
        self.opt.step(params())
        return moment(self.opt, *self.opt.params.values())


@needs_faithful_traces
def test_an_interrupt_leaves_the_old_or_the_new():
    moments, ends = [], []
    for loads in (0, 1):
        subject = Subject()
        if loads:
            subject.load()
        moments.append(moment(subject.opt))
        ends.append(subject.end())
    assert moments[0] != moments[1]
    seen = set()

    def attempt(k):
        subject = Subject()
        place = interrupted(subject.load, k)
        if place is not None:
            found = moment(subject.opt)
            assert found in moments, place
            seen.add(moments.index(found))
            assert subject.end() == ends[moments.index(found)], place
        return place

    assert everywhere(attempt) > 100
    assert seen == {0, 1}


def test_a_group_follows_the_base_group_still_if_the_write_fails(monkeypatch):
    subject = Subject()
    before = moment(subject.opt)

    def fail(*arguments):
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(type(subject.opt._engine), "write", fail)
        with pytest.raises(MemoryError):
            subject.load()
    assert moment(subject.opt) == before
    subject.opt.lr = 0.125
    assert subject.opt.lrs == [0.125, 0.125]


# --- optax ------------------------------------------------------------------------------------------------------------

ZEROS = {"w": np.zeros((2, 3)), "b": np.zeros(3)}
ADAM = {"count": np.int32(0), "mu": ZEROS, "nu": ZEROS}


def optax_adam(**options):
    return stepped(lr=0.1, convention="optax", **options)


def optax_state(**options):
    return flr.to_optax(optax_adam(**options), (copy.deepcopy(ADAM), ()))


def endless():
    state = []
    state.append(state)
    return state


def test_optax_there_and_back():
    state, opt = optax_state(), optax_adam(n=0)
    assert state[0]["count"] == 3
    flr.from_optax(state, opt)
    assert moment(opt) == moment(optax_adam())
    assert (ADAM["count"], ZEROS["w"].any()) == (0, False)


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        (lambda s: 5, TypeError, "`state` must be a state of optax"),
        (lambda s: endless(), ValueError, "`state` must be nested less deeply"),
        (lambda s: (), ValueError, r"`state` must have ScaleByAdamState.mu for \['w', 'b'\]"),
        (lambda s: (s, s), ValueError, r"`state\[1\]\[0\].mu\['w'\]` must be the only state of its array"),
        (lambda s: ({**s[0], "count": np.nan},), ValueError, r"`state\[0\].count` must be an integer from 0"),
        (lambda s: ({**s[0], "mu": s[0]["mu"]["w"]},), ValueError, r"`state\[0\].mu` must have the arrays of `opt`"),
        (lambda s: ({**s[0], "mu": {"c": np.ones(3)}},), ValueError, r"\['w', 'b'\], got an array 'c'"),
        (lambda s: ({**s[0], "mu": {"w": np.zeros((2, 3))}},), ValueError, r"ScaleByAdamState.mu for \['b'\]"),
        (lambda s: ({**s[0], "mu": {**s[0]["mu"], "b": np.ones(4)}},), ValueError, r"mu\['b'\]` must be float64\[3\]"),
        (lambda s: ({**s[0], "mu": {**s[0]["mu"], "b": np.ones(3, "f")}},), ValueError, "cast=True converts it"),
        (lambda s: (s[0], {"trace": s[0]["mu"]}), ValueError, r"`state\[1\]` must be part of the state of Adam"),
        (lambda s: (s[0], {"sum_of_squares": s[0]["mu"]}), ValueError, "got a dict with sum_of_squares"),
    ],
)
def test_optax_state_is_refused_and_nothing_changes(change, error, match):
    opt = optax_adam(n=2)
    before = moment(opt)
    with pytest.raises(error, match=match):
        flr.from_optax(change(optax_state()), opt)
    assert moment(opt) == before


def injected(**hyperparams):
    return {"count": np.int32(3), "hyperparams": hyperparams, "inner_state": optax_state()}


def test_injected_hyperparameters():
    opt = optax_adam(n=0, groups=[{"params": "b", "weight_decay": 0.25}])
    flr.from_optax(injected(learning_rate=0.5, b1=np.float32(0.5), eps_root=0.0, weight_decay=0.125), opt)
    assert (opt.lrs, opt.betas) == ([0.5, 0.5], (0.5, 0.999))
    assert [g["weight_decay"] for g in opt.groups] == [0.125, 0.25]
    state = {**injected(learning_rate=0.75, b2=0.5), "hyperparams_states": {"b2": {"count": np.int32(3)}}}
    flr.from_optax(state, opt)
    assert (opt.lr, opt.betas) == (0.75, (0.5, 0.999))
    new = flr.to_optax(opt, {**state, "hyperparams": {"learning_rate": np.float32(0), "b2": np.float32(0)}})
    assert (new["hyperparams"]["learning_rate"], new["hyperparams"]["b2"]) == (0.75, 0.0)
    assert new["hyperparams_states"]["b2"]["count"] == 3


@pytest.mark.parametrize(
    ("hyperparams", "match"),
    [
        ({"eps_root": 0.5}, r"\['eps_root'\]` must be 0.0, which `opt` has built in"),
        ({"momentum": 0.5}, r"\['momentum'\]` must be a hyperparameter of `opt`, a Adam"),
        ({"clip": 0.5}, "hyperparameters=False leaves all as they are"),
        ({"learning_rate": -1.0}, r"hyperparams\['lr'\]` must be a finite number >= 0"),
        ({"learning_rate": np.nan}, r"must be a finite number >= 0, got nan"),
    ],
)
def test_injected_hyperparameters_are_checked(hyperparams, match):
    opt = optax_adam(n=2)
    before = moment(opt)
    with pytest.raises(ValueError, match=match):
        flr.from_optax(injected(**hyperparams), opt)
    assert moment(opt) == before
    flr.from_optax(injected(**hyperparams), opt, hyperparameters=False)
    assert (opt.steps, opt.lr) == (3, 0.1)


def test_optax_between_two_updates():
    inner = {"inner_opt_state": optax_state(), "skip_state": (), "acc_grads": ADAM["mu"], "gradient_step": np.int32(3)}
    opt = optax_adam(n=0)
    for mini_step in (1, 0):
        state = {"mini_step": np.int32(mini_step), **inner}
        if mini_step:
            with pytest.raises(ValueError, match=r"`state.mini_step` must be 0, got 1"):
                flr.from_optax(state, opt, hyperparameters=False)
            with pytest.raises(ValueError, match=r"`like.mini_step` must be 0, got 1"):
                flr.to_optax(opt, state)
    flr.from_optax(state, opt)
    assert opt.steps == 3
    assert flr.to_optax(stepped(n=5, lr=0.1, convention="optax"), state)["gradient_step"] == 5


def test_optax_without_a_count():
    opt = stepped(flr.AdaGrad, lr=0.1, convention="optax")
    state = flr.to_optax(opt, {"sum_of_squares": ADAM["mu"]})
    other = stepped(flr.AdaGrad, n=0, lr=0.1, convention="optax")
    flr.from_optax(state, other)
    assert other.steps == 1
    flr.from_optax((state, {"count": np.int32(9)}), other)
    assert other.steps == 9
    other.lr = S.Constant(0.1)
    with pytest.raises(
        ValueError, match="`steps` must be given, got None: optax does not count the updates of AdaGrad"
    ):
        flr.from_optax(state, other)
    flr.from_optax(state, other, steps=3)
    assert moment(other)[:2] == moment(opt)[:2]


@pytest.mark.parametrize(
    ("change", "options", "match"),
    [
        (lambda s: {**s, "mu": {**s["mu"], "b": np.zeros(4)}}, {}, r"`like\[0\].mu\['b'\]` must be float64\[3\]"),
        (lambda s: {**s, "mu": {**s["mu"], "b": np.zeros(3, "f")}}, {}, "got float32.3.: cast=True converts to it"),
        (lambda s: {"trace": s["mu"]}, {}, "must be part of the state of Adam"),
        (lambda s: s, {"uneven": True}, r"must have the same count for all arrays of `like\[0\]`, .*'w': 4, 'b': 3"),
    ],
)
def test_optax_example_is_checked(change, options, match):
    opt = optax_adam()
    if options:
        opt.step({"w": np.ones((2, 3)), "b": None})
    with pytest.raises(ValueError, match=match):
        flr.to_optax(opt, (change(copy.deepcopy(ADAM)), ()))


def test_optax_example_of_another_dtype():
    like = copy.deepcopy(ADAM)
    like["mu"] = {name: x.astype(np.float32) for name, x in like["mu"].items()}
    state = flr.to_optax(optax_adam(), like, cast=True)
    assert state["mu"]["w"].dtype == np.float32
    assert state["nu"]["w"].dtype == np.float64


def test_optax_counts_do_not_overflow():
    opt = optax_adam()
    opt.load_state_dict({**opt.state_dict(), "steps": 2**40, "counts": np.full(2, 2**40)})
    assert flr.to_optax(opt, copy.deepcopy(ADAM))["count"] == 2**31 - 1


# --- Keras ------------------------------------------------------------------------------------------------------------


def keras_adam(**options):
    return stepped(convention="keras", **options)


def by_path(opt=None):
    """Variables of Keras' Adam with their paths."""
    opt = keras_adam(lr=0.5) if opt is None else opt
    paths = ["iteration", "learning_rate", "w_momentum", "w_velocity", "b_momentum", "b_velocity"]
    return dict(zip((f"adam/{path}" for path in paths), flr.to_keras(opt).values(), strict=True))


@pytest.mark.parametrize("form", ["index", "list", "path", "other names", "other order"])
def test_forms_of_keras_variables(form):
    variables, opt = by_path(), keras_adam(n=0)
    if form == "other names":
        variables = {key.replace("w_", "dense/kernel_").replace("b_", "dense_1_"): x for key, x in variables.items()}
    if form == "other order":
        variables = dict(reversed(variables.items()))
    forms = {"index": flr.to_keras(keras_adam(lr=0.5)), "list": [*variables.values()]}
    flr.from_keras(forms.get(form, variables), opt)
    assert moment(opt) == moment(keras_adam(lr=0.5))


def test_keras_names():
    """The model's variables in the order b, w."""
    names = ["iteration", "learning_rate", "x_momentum", "x_velocity", "y_momentum", "y_velocity"]
    values = [*by_path().values()]
    variables = dict(zip(names, [*values[:2], *values[4:], *values[2:4]], strict=True))
    opt = keras_adam(n=0)
    with pytest.raises(ValueError, match=r"`variables\['x_momentum'\]` must be float64\[2, 3\], got float64\[3\]"):
        flr.from_keras(variables, opt)
    flr.from_keras(variables, opt, names=["b", "w"])
    assert moment(opt) == moment(keras_adam(lr=0.5))


def without(*names):
    return {key: x for key, x in by_path().items() if key.rpartition("/")[2] not in names}


@pytest.mark.parametrize(
    ("variables", "error", "match"),
    [
        (5, TypeError, "`variables` must be a list or dict of variables, got int"),
        ("abc", TypeError, "must be a list or dict"),
        ([*by_path().values()][1:-1], ValueError, r"must be the 5 of Keras' Adam for the 2 arrays .*got 4"),
        ({"0": 1, "2": 5}, ValueError, r"must have the keys '0' to '1', got \[0, 2\]"),
        (without("iteration"), ValueError, "must have an 'iteration'"),
        (without("b_velocity"), ValueError, "in the same order for each kind"),
        (without("b_velocity", "b_momentum"), ValueError, r"must have 2 with names that end in '_momentum', .* got 1"),
        (without("w_velocity", "b_velocity"), ValueError, r"must have 2 with names that end in '_velocity', .* got 0"),
        ({**by_path(), "adam/w_norm": np.ones(3)}, ValueError, r"\['adam/w_norm'\]` must be a variable of Keras' Adam"),
        (
            {**by_path(), "adam/w_velocity_hat": np.ones(3)},
            ValueError,
            "must be a variable of Keras' Adam .*ends in 'iteration' or .* or 'velocity', got 'adam/w_velocity_hat'",
        ),
        ({**by_path(), "adam/w_gradient_accumulator": np.ones(3)}, ValueError, "being accumulated cannot be moved"),
        ({**by_path(), "adam/iteration": np.nan}, ValueError, r"\['adam/iteration'\]` must be an integer from 0"),
        ({**by_path(), "adam/learning_rate": -1.0}, ValueError, r"`lr` must be a finite number >= 0, got -1.0 in"),
        ({**by_path(), "adam/b_momentum": np.ones(3, "f")}, ValueError, "cast=True converts it"),
    ],
)
def test_keras_variables_are_refused_and_nothing_changes(variables, error, match):
    opt = keras_adam(n=2)
    before = moment(opt)
    with pytest.raises(error, match=match):
        flr.from_keras(variables, opt)
    assert moment(opt) == before


def test_keras_rate():
    opt = keras_adam(n=0)
    flr.from_keras(by_path(), opt, hyperparameters=False)
    assert opt.lr == 1e-3
    rate = S.Linear(1.0, 0.0, steps=10)
    opt.lr = rate
    flr.from_keras(by_path(), opt)
    assert opt.lr == rate(3)
    assert len(flr.to_keras(opt)) == 5
    assert flr.to_keras(opt, learning_rate=True)["1"] == rate(3)
    opt = keras_adam(groups=[{"params": "b", "lr": 0.5}])
    with pytest.raises(ValueError, match="`opt` must have one rate, because Keras has one variable for it"):
        flr.to_keras(opt)
    assert len(flr.to_keras(opt, learning_rate=False)) == 5


def test_keras_has_one_count():
    opt = keras_adam()
    opt.step({"w": np.ones((2, 3)), "b": None})
    with pytest.raises(ValueError, match=r"must have the count 4 of its steps for all arrays, .* got {'b': 3}"):
        flr.to_keras(opt)


def test_keras_averages():
    opt = keras_adam(ema_decay=0.5)
    variables = [*flr.to_keras(opt).values()]
    assert [x.shape for x in variables[2:4]] == [(2, 3), (3,)]
    paths = [
        "iteration",
        "learning_rate",
        "w_average",
        "b_average",
        "w_momentum",
        "w_velocity",
        "b_momentum",
        "b_velocity",
    ]
    other = keras_adam(n=0, ema_decay=0.5)
    flr.from_keras(dict(zip(paths, variables, strict=True)), other)
    assert other.state_dict()["average"]["updates"] == 3
    assert other.ema["w"].tolist() == opt.ema["w"].tolist()
