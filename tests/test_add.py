"""`opt.add`: new arrays behave as in an optimizer of their own, the others as if nothing had happened."""

import copy
import pickle
import threading
from collections import OrderedDict

import numpy as np
import pytest

import pyfastlr as flr
from interrupts import interrupted, needs_faithful_traces
from pyfastlr import schedules as S
from pyfastlr.engines import plain_launch
from pyfastlr.optimizers import registry
from states import plainly

CLASSES = [cls for cls in registry if cls.__module__.startswith("pyfastlr.optimizers.")]
OLD = {"w": (5, 7), "deep": {"b": (3,), "e": (0, 2)}}
NEW = {"head": {"w": (4,), "b": ()}, "z": (2100,)}


def arrays(shapes, seed, dtype="float32"):
    if isinstance(shapes, dict):
        return {key: arrays(x, seed + k, dtype) for k, (key, x) in enumerate(shapes.items())}
    return np.asarray(np.random.default_rng(seed).standard_normal(shapes).astype(dtype))


def raw(x):
    if isinstance(x, dict):
        return {key: raw(value) for key, value in x.items()}
    return [raw(value) for value in x] if isinstance(x, list) else x.tobytes()


def listed(x):
    return [listed(value) for value in x.values()] if isinstance(x, dict) else x


@pytest.mark.parametrize("shape", [lambda x: x, listed], ids=["dict", "list"])
@pytest.mark.parametrize("cls", CLASSES)
def test_both_parts_are_those_of_optimizers_of_their_own(cls, shape):
    old, new = shape(arrays(OLD, 1)), shape(arrays(NEW, 2))
    alone, fresh = copy.deepcopy(old), copy.deepcopy(new)
    rule = {} if cls is flr.Rprop else {"lr": S.Exponential(0.01, 0.9)}
    group = {} if cls is flr.Rprop else {"lr": 0.02}
    opt, one = cls(old, **rule), cls(alone, **rule)
    two = cls(fresh, **{**rule, **group})
    for k in range(3):
        opt.step(shape(arrays(OLD, k)))
        one.step(shape(arrays(OLD, k)))
    before = raw(opt.state)
    container = opt.params
    opt.add(new, **group)
    assert opt.params is container
    for name in before:
        after = raw(opt.state[name])
        assert (
            after[: len(before[name])] if isinstance(after, list) else {k: after[k] for k in before[name]}
        ) == before[name]
    for k in range(4):
        g, h = shape(arrays(OLD, 9 + k)), shape(arrays(NEW, 50 + k))
        opt.step([*g, *h] if isinstance(g, list) else {**g, **h})
        one.step(g)
        two.step(h)
    together = [*alone, *fresh] if isinstance(alone, list) else {**alone, **fresh}
    assert raw(opt.params) == raw(together)
    assert opt.state_dict()["counts"].tolist() == [7, 7, 7, 4, 4, 4]


def trained(**options):
    """One in the middle of an update, with every option, and arrays of each option."""
    p, copies, rates = arrays(OLD, 1), arrays(OLD, 2), arrays(OLD, 3)
    rates = {"w": np.abs(rates["w"]), "deep": {key: np.abs(x) for key, x in rates["deep"].items()}}
    options = {
        "lr": S.Plateau(0.1, patience=2), "groups": [{"params": "deep.b", "lr": 0.02}], "lr_scale": rates,
        "clip_norm": 0.5, "ema_decay": 0.75, "accumulate": 2, "copy_to": copies, "loss_scale": flr.LossScale(),
        "measure": ("per_tensor", "update_norm"), **options,
    }  # fmt: skip
    opt = flr.Adam(p, **options)
    for k in range(5):
        opt.step(arrays(OLD, k))
    return opt


def snapshot(opt):
    """Everything that a refused call must leave alone."""
    containers = [opt.params, opt._extras.options.copies and opt._extras.options.copies.container]
    return raw(opt.params), pickle.dumps((opt.state_dict(), containers, opt.stats)), repr(opt), opt.groups


def test_every_option_goes_on():
    opt = trained()
    average, copies = raw(opt.ema), opt.copy_to
    stats, accumulated = opt.stats, opt.state_dict()["accumulated"]
    new = arrays(NEW, 5)
    scale = {"head.w": np.ones(4, "f4"), "head.b": np.ones((), "f4"), "z": np.zeros(2100, "f4")}
    opt.add(new, lr=S.Adjustable(0.5), copy_to=arrays(NEW, 6), lr_scale=scale, clip_norm=None)
    assert opt.stats == stats
    assert opt.copy_to is copies
    assert raw({key: opt.ema[key] for key in OLD}) == average
    assert raw({key: opt.ema[key] for key in NEW}) == raw(new)
    after = opt.state_dict()["accumulated"]
    assert (after["calls"], after["used"].tolist()) == (1, [True, True, True, False, False, False])
    assert raw({key: after["values"][key] for key in OLD}) == raw(accumulated["values"])
    z = new["z"].copy()
    opt.step({**arrays(OLD, 7), **arrays(NEW, 7)})
    assert raw(copies) == raw(opt.params)
    assert new["z"].tobytes() == z.tobytes()  # its rates are zero
    assert sorted(opt.stats.per_tensor) == sorted(["w", "deep.b", "deep.e", "head.w", "head.b", "z"])
    opt.groups[2]["lr"].observe(scale=0.5)
    assert opt.lrs == [0.1, 0.02, 0.25]
    rates = [rates is not None for rates in opt._hyper.current.rates]
    assert rates == [True] * 6


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_copies_after_adding(duplicate):
    opt = trained()
    scale = {"head.w": np.ones(4, "f4"), "head.b": np.ones((), "f4"), "z": np.zeros(2100, "f4")}
    opt.add(arrays(NEW, 5), copy_to=arrays(NEW, 6), lr_scale=scale)
    twin = duplicate(opt)
    for k in range(3):
        for x in (opt, twin):
            x.step({**arrays(OLD, k), **arrays(NEW, k)})
    assert raw(twin.params) == raw(opt.params)
    assert plainly(twin.state_dict()) == plainly(opt.state_dict())


def test_a_state_is_found_again():
    """By a constructor with the same groups, in any order, and by one that adds them."""
    opt = trained(copy_to=None, lr_scale=1.0)
    opt.add(arrays(NEW, 5), lr=S.Linear(0.5, 0.0, 20), weight_decay=0.125)
    opt.groups[2]["eps"] = 0.25
    opt.step({**arrays(OLD, 1), **arrays(NEW, 1)})
    params = copy.deepcopy(opt.params)
    given = {
        "lr": S.Plateau(0.1, patience=2),
        "accumulate": 2,
        "loss_scale": flr.LossScale(),
        "measure": ("per_tensor", "update_norm"),
    }
    built = flr.Adam(params, groups=[{"params": ["head.*", "z"]}, {"params": "deep.b"}], **given)
    part = {key: params[key] for key in OLD}
    grown = flr.Adam(
        part,
        groups=[{"params": "deep.b"}],
        **{**given, "lr": S.Plateau(1.0, patience=2), "loss_scale": flr.LossScale()},
    )  # fmt: skip
    grown.add({key: params[key].copy() if key == "z" else copy.deepcopy(params[key]) for key in NEW})
    for twin in (built, grown):
        twin.load_state_dict(opt.state_dict())
    for k in range(4):
        for x in (opt, built):
            x.step({**arrays(OLD, k), **arrays(NEW, k)})
    assert raw(built.params) == raw(opt.params)
    assert grown.groups[2]["lr"] == S.Linear(0.5, 0.0, 20)
    assert grown.groups[2]["eps"] == 0.25
    with pytest.raises(ValueError, match=r"must have groups with the same arrays.*hyperparameters=False"):
        flr.Adam(params, groups=[{"params": ["w", "z"]}], **{**given, "loss_scale": flr.LossScale()}).load_state_dict(
            opt.state_dict()
        )


def test_adding_twice_and_to_every_kind_of_container():
    for container in ({"a": np.ones(2)}, OrderedDict(a=np.ones(2))):
        opt = flr.SGD(container, lr=1.0)
        opt.add({"b": np.ones(3)})
        opt.add({"c": np.ones(1)}, lr=0.5)
        opt.step({key: np.ones_like(x) for key, x in container.items()})
        assert {key: x.tolist() for key, x in container.items()} == {"a": [0.0] * 2, "b": [0.0] * 3, "c": [0.5]}
        assert [group["params"] for group in opt.groups] == [("a",), ("b",), ("c",)]
    params = [np.ones(2)]
    opt = flr.SGD(params, lr=1.0, momentum=0.5)
    opt.step([np.ones(2)])
    opt.add((np.ones(3), [np.ones(1)]))
    opt.add([np.ones(1)], lr=0.5)
    opt.step([np.ones(2), np.ones(3), [np.ones(1)], np.ones(1)])
    found = [x.tolist() for x in (params[0], params[1], params[2][0], params[3])]
    assert found == [[-1.5] * 2, [0.0] * 3, [0.0], [0.5]]


def read_only(x):
    x.flags.writeable = False
    return x


REFUSED = {
    "name taken": (lambda opt: opt.add({"w": np.ones(2, "f4")}), ValueError, "`params` must have new keys, got 'w'"),
    "dotted name taken": (lambda opt: opt.add({"deep.b": np.ones(2, "f4")}), ValueError, "one array per name"),
    "no key": (lambda opt: opt.add({}), TypeError, "at least one new key"),
    "a list": (lambda opt: opt.add([np.ones(2, "f4")]), TypeError, "`params` must be a dict"),
    "an array": (lambda opt: opt.add(np.ones(2, "f4")), TypeError, "`params` must be a dict"),
    "dtype": (lambda opt: opt.add({"x": np.ones(2)}), TypeError, r"params\['x'\].*float32"),
    "read-only": (lambda opt: opt.add({"x": read_only(np.ones(2, "f4"))}), ValueError, r"params\['x'\].*writeable"),
    "no array": (lambda opt: opt.add({"x": 3}), TypeError, r"params\['x'\]"),
    "overlap": (lambda opt: opt.add({"x": opt.params["w"][0]}), ValueError, "overlap"),
    "unknown": (lambda opt: opt.add({"x": np.ones(2, "f4")}, rate=1), ValueError, "may only set .*'lr'.*got 'rate'"),
    "params": (lambda opt: opt.add({"x": np.ones(2, "f4")}, threads=1), ValueError, "may only set"),
    "range": (lambda opt: opt.add({"x": np.ones(2, "f4")}, lr=-1.0), ValueError, r"groups\[2\]\['lr'\]` must be"),
    "type": (lambda opt: opt.add({"x": np.ones(2, "f4")}, eps="a"), TypeError, r"groups\[2\]\['eps'\]` must be"),
    "rates": (lambda opt: opt.add({"x": np.ones(2, "f4")}, lr_scale=np.ones(3, "f4")), ValueError, "lr_scale"),
    "rates below zero": (
        lambda opt: opt.add({"x": np.ones(1, "f4")}, lr_scale=-np.ones(1, "f4")),
        ValueError,
        "lr_scale",
    ),
    "copy_to": (
        lambda opt: opt.add({"x": np.ones(2, "f4")}, copy_to={"x": np.ones(2, "f4")}),
        ValueError,
        "`copy_to` must be None",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_and_nothing_changed(name):
    call, error, words = REFUSED[name]
    opt = trained(copy_to=None, lr_scale=1.0)
    before = snapshot(opt)
    with pytest.raises(error, match=words):
        call(opt)
    assert snapshot(opt) == before
    opt.step(arrays(OLD, 9))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"lr_scale": 1.0}, "`copy_to` must be given"),
        ({"lr_scale": 1.0, "copy_to": {"y": np.ones(2, "f4")}}, r"copy_to.*x"),
        ({"lr_scale": 1.0, "copy_to": [np.ones(2, "f4")]}, "`copy_to` must be a dict"),
        ({"copy_to": {"x": np.ones(2, "f4")}}, "`lr_scale` must have"),
    ],
)
def test_refused_without_arrays_for_its_options(arguments, words):
    opt = trained()
    before = snapshot(opt)
    with pytest.raises((TypeError, ValueError), match=words):
        opt.add({"x": np.ones(2, "f4")}, **arguments)
    assert snapshot(opt) == before


@pytest.mark.parametrize(
    ("params", "new", "error", "words"),
    [
        (np.ones(3), [np.ones(2)], ValueError, "dict or list of arrays, got one over a single array"),
        (flr.Flat({"a": np.ones(3)}), {"b": np.ones(2)}, ValueError, "got one over a Flat"),
        ((np.ones(3),), [np.ones(2)], TypeError, "dict or list, got"),
    ],
)
def test_containers_that_cannot_grow(params, new, error, words):
    opt = flr.SGD(params, lr=0.1)
    with pytest.raises(error, match=words):
        opt.add(new)


def test_classes_of_containers_with_code_of_their_own():
    class Logged(dict):
        def __setitem__(self, key, value):
            raise AssertionError

    opt = flr.SGD(Logged(a=np.ones(2)), lr=0.1)
    with pytest.raises(TypeError, match="dict or list"):
        opt.add({"b": np.ones(2)})


def test_refused_inside_a_step_and_while_swapped():
    def rate(n):
        opt.add({"b": np.ones(2)})

    opt = flr.SGD({"a": np.ones(2)}, lr=rate)
    with pytest.raises(RuntimeError, match="must not change the state"):
        opt.step({"a": np.ones(2)})
    opt = flr.SGD({"a": np.ones(2)}, lr=0.1, ema_decay=0.5)
    opt.step({"a": np.ones(2)})
    with opt.averaged(), pytest.raises(RuntimeError, match=r"add\(\) is not possible while the average"):
        opt.add({"b": np.ones(2)})


def test_a_parameter_that_was_replaced_is_named():
    params = {"a": np.ones(2)}
    opt = flr.SGD(params, lr=0.1)
    params["a"] = np.ones(2)
    with pytest.raises(ValueError, match=r"`params\['a'\]` must be the array that the optimizer was built with"):
        opt.add({"b": np.ones(2)})
    assert list(params) == ["a"]


def test_groups_that_were_read_before_are_live():
    opt = flr.SGD({"a": np.ones(2)}, lr=0.1)
    (base,) = opt.groups
    opt.add({"b": np.ones(2)})
    base["lr"] = 1.0
    opt.step({"a": np.ones(2), "b": np.ones(2)})
    assert opt.params["a"].tolist() == opt.params["b"].tolist() == [0.0] * 2
    opt.lr = 0.5
    assert opt.lrs == [0.5, 0.5]


@needs_faithful_traces
@pytest.mark.parametrize("make", [dict, list])
def test_an_interrupt_leaves_the_old_or_the_new(make):
    def started():
        params = {"a": np.ones(2)} if make is dict else [np.ones(2)]
        opt = flr.SGD(params, lr=0.5, momentum=0.5, ema_decay=0.5)
        opt.step(make({"a": np.ones(2)}) if make is dict else [np.ones(2)])
        return params, opt

    outcomes = set()
    for k in range(0, 10_000, 1 if make is dict else 11):
        params, opt = started()
        new = {"b": np.zeros(3)} if make is dict else [np.zeros(3)]
        place = interrupted(lambda opt=opt, new=new: opt.add(new, lr=0.25), k)
        outcomes.add(len(params))
        ones = {key: np.ones_like(x) for key, x in params.items()} if make is dict else list(map(np.ones_like, params))
        opt.step(ones)
        values = list(params.values()) if make is dict else params
        assert [x.tolist() for x in values] == [[-0.25] * 2, [-0.25] * 3][: len(params)]
        assert len(opt.groups) == len(params)
        if place is None:
            break
    assert outcomes == {1, 2}
    assert k > 20


@pytest.mark.parametrize("threads", [1, 2])
def test_no_step_is_lost_beside_another_thread(threads):
    """Each step adds one to the buffer, so a step with the old arrays' tables would be missing in the new ones."""
    params = {"a0": np.zeros(70_000)}
    opt = flr.SGD(params, lr=1.0, momentum=1.0, threads=threads)
    done, errors = [0], []
    ended = threading.Event()
    ones = np.ones(70_000)

    def step():
        try:
            while not ended.is_set():
                try:
                    opt.step(dict.fromkeys(list(params), ones))
                except (ValueError, RuntimeError):  # one that was added since
                    continue
                done[0] += 1
        except BaseException as error:  # noqa: BLE001  # raised below
            errors.append(error)

    thread = threading.Thread(target=step)
    thread.start()
    for k in range(1, 30):
        start = done[0]
        while done[0] < start + 3 and not errors:
            pass
        opt.add({f"a{k}": np.zeros(70_000)})
    ended.set()
    thread.join()
    assert not errors
    assert opt.steps == done[0]
    counts = opt.state_dict()["counts"]
    assert counts[0] == done[0]
    for k, count in enumerate(counts):
        assert (opt.state["momentum_buffer"][f"a{k}"] == count).all()
        assert (params[f"a{k}"] == -count * (count + 1) / 2).all()


@pytest.mark.parametrize("between", [False, True], ids=["at once", "after another step"])
@pytest.mark.parametrize("plain", [False, True], ids=["compiled", "plain"])
@pytest.mark.parametrize("options", [{}, {"ema_decay": 0.5}], ids=["bare", "average"])
@pytest.mark.parametrize("steps", [0, 1], ids=["not bound", "bound"])
def test_a_step_that_had_its_launch_before(monkeypatch, steps, options, plain, between):
    """As if a thread was stopped between reading which launch to call and calling it."""
    if plain:
        monkeypatch.setattr(plain_launch, "is_needed", lambda: True)
    params = {"a": np.zeros(3)}
    opt = flr.SGD(params, lr=1.0, momentum=1.0, **options)
    for _ in range(steps):
        opt.step({"a": np.ones(3)})
    grads = {"a": np.ones(3)}
    engine, gradients, held = opt._engine, opt._parameters.gather(grads), opt._parameters.held_now()
    launch = engine.launch
    opt.add({"b": np.zeros(2)})
    if between:
        opt.step({"a": np.ones(3), "b": None})
    grads["b"] = np.ones(2)
    status = launch(gradients, 1.0, held, grads)
    if status:
        engine.settle(status, gradients, 1.0, held, grads)
    count = steps + between + 1
    assert opt.steps == count
    assert opt.state_dict()["counts"].tolist() == [count, 1]
    assert opt.state["momentum_buffer"]["a"].tolist() == [count] * 3
    assert params["a"].tolist() == [-count * (count + 1) / 2] * 3
    assert params["b"].tolist() == [-1.0] * 2
    opt.step(grads)  # nothing stays paused
    assert opt.steps == count + 1
