"""Average, accumulated gradient and loss scale: saved and restored exactly, copied, reset; the average swapped in."""

import copy
import gc
import json
import pickle

import numpy as np
import pytest

import pyfastlr as flr
from interrupts import everywhere, interrupted, needs_faithful_traces
from processes import in_thread, in_threads
from pyfastlr.engines import plain_launch

CONTAINERS = {
    "array": lambda: np.arange(6.0).reshape(2, 3),
    "list": lambda: [np.arange(3.0), np.ones((2, 2)), np.zeros(0)],
    "dict": lambda: {"a": {"w": np.arange(6.0).reshape(2, 3), "b": np.ones(3)}, "c": np.zeros(())},
    "flat": lambda: flr.Flat({"w": np.arange(6.0).reshape(2, 3), "b": np.ones(3)}),
}
OPTIONS = {
    "average": {"ema_decay": 0.75},
    "accumulate": {"accumulate": 3},
    "sum": {"accumulate": 2, "accumulate_mode": "sum"},
    "scale": {"loss_scale": (8.0, 2.0, 0.5, 2)},
    "all": {"ema_decay": 0.75, "accumulate": 3, "loss_scale": (8.0, 2.0, 0.5, 2), "clip_norm": 2.0},
}


def leaves(x):
    if isinstance(x, np.ndarray):
        return [x]
    if isinstance(x, flr.Flat):
        return [x.buffer]
    return [leaf for part in (x.values() if isinstance(x, dict) else x) for leaf in leaves(part)]


def made(params, options):
    options = {key: flr.LossScale(*x) if key == "loss_scale" else x for key, x in options.items()}
    return flr.Adam(params, lr=0.125, **options)


def gradient(params, seed):
    """Like the parameters; every fifth is infinite somewhere, for a loss scale."""
    rng = np.random.default_rng(seed)
    g = params.like() if isinstance(params, flr.Flat) else copy.deepcopy(params)
    for x in leaves(g):
        x[...] = rng.standard_normal(x.shape)
    return g


def bad(params, options, seed):
    g = gradient(params, seed)
    if "loss_scale" in options and seed % 5 == 3:
        leaves(g)[0].flat[1] = np.nan
    return g


def moment(opt):
    """All that there is of an optimizer, as bytes."""
    return [x.tobytes() for x in leaves(opt.params)], pickle.dumps(opt.state_dict())


def averaged_and_accumulated(params=None, **options):
    """Two updates and one more call."""
    params = {"a": np.zeros(2), "b": np.ones(3)} if params is None else params
    opt = made(params, {"ema_decay": 0.5, "accumulate": 2, "loss_scale": (4.0,), **options})
    for k in range(5):
        opt.step(gradient(params, k))
    return opt


# --- Saved and restored -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("name", OPTIONS)
def test_resumed_run_is_the_uninterrupted_one(container, name):
    """Saved after each call, also between the calls of an update."""
    options = OPTIONS[name]
    whole = made(CONTAINERS[container](), options)
    resumed = made(CONTAINERS[container](), options)
    for k in range(14):
        g = bad(whole.params, options, k)
        whole.step(g)
        resumed.step(g)
        assert moment(resumed) == moment(whole), k
        params, state = pickle.loads(pickle.dumps((resumed.params, resumed.state_dict())))
        resumed = made(params, options)
        resumed.load_state_dict(state)
        assert moment(resumed) == moment(whole), k
    assert whole.steps > 2
    if "average" in name:
        assert [x.tolist() for x in leaves(resumed.ema)] == [x.tolist() for x in leaves(whole.ema)]


def test_what_is_saved():
    opt = made({"a": np.zeros(2), "b": np.ones(3)}, {})
    assert [opt.state_dict()[key] for key in ("average", "accumulated", "loss_scale")] == [None] * 3
    opt = averaged_and_accumulated()
    state = opt.state_dict()
    assert state["average"]["updates"] == 2
    assert state["average"]["values"]["b"].tolist() == opt.ema["b"].tolist()
    assert state["average"]["values"]["b"] is not opt.ema["b"]
    assert state["accumulated"]["calls"] == 1
    assert state["accumulated"]["used"].tolist() == [True, True]
    np.testing.assert_array_equal(state["accumulated"]["values"]["b"], gradient(opt.params, 4)["b"] / 4)
    assert state["loss_scale"] == {"scale": 4.0, "finite": 2, "skipped": 0}
    opt.step({"a": np.ones(2), "b": None})
    assert opt.state_dict()["accumulated"] is None  # an update is complete
    opt.step({"a": np.ones(2), "b": None})
    assert opt.state_dict()["accumulated"]["used"].tolist() == [True, False]


def test_arrays_may_be_in_another_order_and_container():
    opt = averaged_and_accumulated()
    opt.step({"a": np.ones(2), "b": None})
    opt.step({"a": np.ones(2), "b": None})  # accumulated for one of them
    state = opt.state_dict()
    state["structure"] = json.loads(json.dumps(state["structure"]))
    for params in (
        {"b": opt.params["b"].copy(), "a": opt.params["a"].copy()},
        flr.Flat({"b": opt.params["b"], "a": opt.params["a"]}),
    ):
        other = made(params, {"ema_decay": 0.5, "accumulate": 2, "loss_scale": (4.0,)})
        other.load_state_dict(state)
        mine = copy.deepcopy(opt)
        for twin in (mine, other):
            twin.step({"a": np.ones(2), "b": None})
            assert twin.state_dict()["counts"].sum() == 3 * 2 + 1  # b has no gradient in the last update
        assert other.ema["a"].tolist() == mine.ema["a"].tolist()
        assert {key: x.tolist() for key, x in other.params.items()} == {
            key: x.tolist() for key, x in mine.params.items()
        }


WRONG = {
    "average": (lambda s: set_to(s, "average", 3), ValueError, "`state['average']` must be None or have the keys"),
    "keys of it": (lambda s: set_to(s, "average", {"updates": 1}), ValueError, "['updates', 'values']"),
    "updates": (lambda s: set_in(s, "average", updates=0), ValueError, "['updates']` must be from 1 to 2**62, got 0"),
    "updates of a float": (lambda s: set_in(s, "average", updates=1.0), TypeError, "must be an integer, got 1.0"),
    "shape of it": (
        lambda s: set_in(s, "average", values={"a": np.zeros(2), "b": np.zeros(2)}),
        ValueError,
        "`state['average']['values']['b']` must be float64[3], got float64[2]",
    ),
    "dtype of it": (
        lambda s: set_in(s, "average", values={"a": np.zeros(2), "b": np.zeros(3, "f4")}),
        TypeError,
        "float64[3]",
    ),
    "names of it": (lambda s: set_in(s, "average", values={"a": np.zeros(2)}), ValueError, "['b']"),
    "accumulated": (lambda s: set_to(s, "accumulated", []), ValueError, "['calls', 'used', 'values']"),
    "calls": (lambda s: set_in(s, "accumulated", calls=0), ValueError, "must be from 1 to 2**62, got 0"),
    "too many calls": (
        lambda s: set_in(s, "accumulated", calls=2),
        ValueError,
        "must be less than `accumulate`, 2, got 2: the state was saved between the calls of an update",
    ),
    "used": (lambda s: set_in(s, "accumulated", used=[True, True]), ValueError, "must be bool[2]"),
    "used of numbers": (lambda s: set_in(s, "accumulated", used=np.ones(2)), ValueError, "must be bool[2]"),
    "none used": (lambda s: set_in(s, "accumulated", used=np.zeros(2, bool)), ValueError, "True for some array"),
    "sums": (lambda s: set_in(s, "accumulated", values=None), TypeError, "`state['accumulated']['values']`"),
    "scale": (lambda s: set_to(s, "loss_scale", 65536.0), ValueError, "must have the keys"),
    "zero": (lambda s: set_in(s, "loss_scale", scale=0.0), ValueError, "the normal range of float32, got 0.0"),
    "infinity": (lambda s: set_in(s, "loss_scale", scale=np.inf), ValueError, "got inf"),
    "not in float32": (lambda s: set_in(s, "loss_scale", scale=0.1), ValueError, "must be a float32 number, got 0.1"),
    "finite": (lambda s: set_in(s, "loss_scale", finite=-1), ValueError, "['finite']` must be an integer >= 0"),
    "skipped": (lambda s: set_in(s, "loss_scale", skipped=0.0), TypeError, "['skipped']` must be an integer >= 0"),
    "the last key": (lambda s: {k: x for k, x in s.items() if k != "loss_scale"}, ValueError, "['loss_scale']"),
}


def set_to(state, key, value):
    return {**state, key: value}


def set_in(state, key, **changes):
    return {**state, key: {**state[key], **changes}}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_state_is_refused_and_nothing_is_written(name):
    change, error, words = WRONG[name]
    opt = averaged_and_accumulated()
    other = averaged_and_accumulated()
    for k in range(2):
        other.step(gradient(other.params, k))
    before = moment(opt)
    with pytest.raises(error) as caught:
        opt.load_state_dict(change(other.state_dict()))
    assert words in str(caught.value)
    assert moment(opt) == before


def test_state_of_live_views_is_copied_before_it_is_written():
    opt = made({"a": np.ones(3), "b": np.full(3, 2.0)}, {"ema_decay": 0.5})
    opt.step({"a": np.zeros(3), "b": np.zeros(3)})
    state = opt.state_dict()
    state["average"] = {"updates": 1, "values": {"a": opt.ema["b"], "b": opt.ema["a"]}}
    opt.load_state_dict(state)
    assert (opt.ema["a"].tolist(), opt.ema["b"].tolist()) == ([2.0] * 3, [1.0] * 3)


def test_an_average_needs_no_option():
    """It is kept as it is, as with `ema_decay = None`, and goes on when there is a decay."""
    source = made(np.zeros(3), {"ema_decay": 0.5})
    source.step(np.ones(3))
    source.step(np.ones(3))
    opt = made(source.params.copy(), {})
    opt.load_state_dict(source.state_dict(), hyperparameters=False)
    kept = source.ema.tolist()
    assert opt.ema.tolist() == kept
    opt.step(np.ones(3))
    assert opt.ema.tolist() == kept
    assert opt.state_dict()["average"]["updates"] == 2
    with opt.averaged():
        assert opt.params.tolist() == kept
    opt.ema_decay = 0.5
    opt.step(np.ones(3))
    assert opt.ema.tolist() == [0.5 * x + 0.5 * p for x, p in zip(kept, opt.params, strict=True)]


def test_a_state_without_an_average_ends_that_of_the_optimizer():
    opt = made(np.zeros(3), {"ema_decay": 0.5})
    fresh = opt.state_dict()
    opt.step(np.ones(3))
    opt.load_state_dict(fresh)
    assert not hasattr(opt, "ema")
    opt.step(np.ones(3))
    assert opt.ema.tolist() == opt.params.tolist()


def test_a_state_without_a_loss_scale_leaves_that_of_the_optimizer():
    opt = made(np.zeros(3), {"loss_scale": (8.0, 2.0, 0.5, 1)})
    opt.step(np.ones(3))
    opt.load_state_dict({**opt.state_dict(), "loss_scale": None})
    assert opt.loss_scale.scale == 16.0


def test_a_state_with_options_that_the_optimizer_lacks():
    state = averaged_and_accumulated().state_dict()
    params = {"a": np.zeros(2), "b": np.ones(3)}
    with pytest.raises(ValueError, match=r"must be less than `accumulate`, 1, got 1: .* at least accumulate=2"):
        made(params, {"loss_scale": ()}).load_state_dict(state)
    with pytest.raises(ValueError, match=r"`state\['loss_scale'\]` needs an optimizer with a loss scale"):
        made(params, {"accumulate": 2}).load_state_dict(state)
    opt = made(params, {"accumulate": 4})
    opt.load_state_dict({**state, "loss_scale": None})
    for _ in range(3):
        opt.step(gradient(params, 0))
    assert opt.steps == 3


def test_load_drops_what_was_accumulated():
    opt = made(np.zeros(3), {"accumulate": 2})
    fresh = opt.state_dict()
    opt.step(np.full(3, 100.0))
    opt.load_state_dict(fresh)
    twin = made(np.zeros(3), {"accumulate": 2})
    for _ in range(2):
        opt.step(np.ones(3))
        twin.step(np.ones(3))
    assert moment(opt) == moment(twin)


def test_reset():
    opt = averaged_and_accumulated(loss_scale=(4.0, 2.0, 0.5, 1))
    assert opt.loss_scale.scale == 16.0
    opt.reset()
    fresh = made(copy.deepcopy(opt.params), {"ema_decay": 0.5, "accumulate": 2, "loss_scale": (4.0, 2.0, 0.5, 1)})
    assert opt.stats == fresh.stats == flr.Stats()
    assert not hasattr(opt, "ema")
    for k in range(5):
        assert moment(opt) == moment(fresh)
        opt.step(gradient(opt.params, k))
        fresh.step(gradient(opt.params, k))


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))], ids=["copy", "pickle"])
@pytest.mark.parametrize("calls", [0, 1, 5])
def test_copies_go_on_alike(container, copied, calls):
    params, to = CONTAINERS[container](), CONTAINERS[container]()
    opt = made(params, {**OPTIONS["all"], "copy_to": to, "measure": ("update_norm",)})
    for k in range(calls):
        opt.step(bad(params, OPTIONS["all"], k))
    before = moment(opt)
    twin, their_to = copied((opt, to))
    assert leaves(twin.copy_to)[0] is leaves(their_to)[0]
    assert twin.stats == opt.stats
    assert moment(twin) == before
    for k in range(5, 15):
        twin.step(bad(params, OPTIONS["all"], k))
    assert moment(opt) == before
    for k in range(5, 15):
        opt.step(bad(params, OPTIONS["all"], k))
    assert moment(opt) == moment(twin)
    assert twin.stats == opt.stats
    assert [x.tolist() for x in leaves(to)] == [x.tolist() for x in leaves(params)]
    assert [x.tolist() for x in leaves(their_to)] == [x.tolist() for x in leaves(params)]


def test_shallow_copy_shares_the_parameters_only():
    opt = averaged_and_accumulated()
    twin = copy.copy(opt)
    assert twin.params is opt.params
    before = opt.state_dict()
    assert pickle.dumps(twin.state_dict()) == pickle.dumps(before)
    for k in range(3):
        twin.step(gradient(opt.params, k))
    assert pickle.dumps(opt.state_dict()) == pickle.dumps(before)


def test_controllers_and_options_are_loaded_together_or_not_at_all():
    """The controller refuses its state although its trial accepts it."""

    class Late(flr.schedules.Controller):
        def __init__(self):
            self.state, self.refuses = {"k": 0}, False

        def __call__(self, n):
            return 0.125

        def __deepcopy__(self, memo):
            return Late()

        def observe(self, **what):
            pass

        def load_state_dict(self, d):
            if self.refuses:
                self.refuses = False
                raise ValueError("too late")

    rate = Late()
    opt = flr.Adam(np.zeros(3), lr=rate, ema_decay=0.5, accumulate=2, loss_scale=flr.LossScale(4.0, interval=1))
    fresh = opt.state_dict()
    for _ in range(3):
        opt.step(np.ones(3))
    before, rate.refuses = moment(opt), True
    with pytest.raises(ValueError, match="too late"):
        opt.load_state_dict(fresh)
    assert moment(opt) == before


# --- The average ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("container", CONTAINERS)
def test_ema_has_the_structure_of_the_parameters_and_is_live(container):
    params = CONTAINERS[container]()
    opt = made(params, {"ema_decay": 0.75})
    want = None
    for k in range(4):
        opt.step(gradient(params, k))
        now = [x.copy() for x in leaves(params)]
        want = now if want is None else [0.75 * x + 0.25 * p for x, p in zip(want, now, strict=True)]
        ema = opt.ema
        assert type(ema) is type(params)
        assert [x.shape for x in leaves(ema)] == [x.shape for x in leaves(params)]
        assert all(np.array_equal(x, y) for x, y in zip(leaves(ema), want, strict=True))
    leaves(ema)[0][...] = 7.0
    assert (leaves(opt.ema)[0] == 7.0).all()


@pytest.mark.parametrize("container", CONTAINERS)
def test_swap(container):
    params = CONTAINERS[container]()
    opt = made(params, {"ema_decay": 0.75})
    for k in range(3):
        opt.step(gradient(params, k))
    p, average = ([x.copy() for x in leaves(x)] for x in (params, opt.ema))

    def is_now(first, second):
        assert all(np.array_equal(x, y) for x, y in zip(leaves(params), first, strict=True))
        assert all(np.array_equal(x, y) for x, y in zip(leaves(opt.ema), second, strict=True))

    is_now(p, average)
    opt.swap_ema()
    is_now(average, p)
    opt.swap_ema()
    is_now(p, average)
    with opt.averaged():
        is_now(average, p)
    is_now(p, average)
    opt.step(gradient(params, 3))


def test_no_average():
    for opt in (made(np.zeros(3), {}), made(np.zeros(3), {"ema_decay": 0.5})):
        with pytest.raises(AttributeError, match="`ema` needs an average: set `ema_decay`, and make an update"):
            _ = opt.ema
        with pytest.raises(RuntimeError, match=r"swap_ema\(\) needs an average"):
            opt.swap_ema()
        with pytest.raises(RuntimeError, match=r"averaged\(\) needs an average"), opt.averaged():
            pass


def test_no_average_after_a_skipped_step():
    opt = made(np.zeros(3), {"ema_decay": 0.5, "nonfinite": "skip"})
    opt.step(np.full(3, np.nan))
    assert not hasattr(opt, "ema")
    with pytest.raises(RuntimeError, match="needs an average"):
        opt.swap_ema()


def swapped(*, rebound=True, **options):
    opt = made(np.zeros(3), {"ema_decay": 0.5, **options})
    opt.step(np.ones(3))
    opt.step(np.ones(3))
    if not rebound:  # one that has an average but has not stepped
        state, params = opt.state_dict(), opt.params
        opt = made(params, {"ema_decay": 0.5, **options})
        opt.load_state_dict(state)
    opt.swap_ema()
    return opt


REFUSED = {
    "step": (lambda opt: opt.step(np.ones(3)), r"step\(\)"),
    "state_dict": (lambda opt: opt.state_dict(), r"state_dict\(\)"),
    "load_state_dict": (lambda opt: opt.load_state_dict(made(np.zeros(3), {}).state_dict()), r"load_state_dict\(\)"),
    "reset": (lambda opt: opt.reset(), r"reset\(\)"),
    "copy": (copy.copy, "copying the optimizer"),
    "deepcopy": (copy.deepcopy, "copying the optimizer"),
    "pickle": (pickle.dumps, "copying the optimizer"),
    "averaged": (lambda opt: opt.averaged().__enter__(), r"averaged\(\)"),
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("rebound", [True, False], ids=["stepped", "loaded"])
@pytest.mark.parametrize("elsewhere", [False, True], ids=["here", "in a thread"])
def test_what_is_refused_while_swapped(name, rebound, elsewhere):
    call, words = REFUSED[name]
    opt = swapped(rebound=rebound)
    before = opt.params.copy(), opt.ema.copy()
    for _ in range(2):
        with pytest.raises(RuntimeError, match=f"^{words} is not possible while the average is swapped in: call swap"):
            in_thread(lambda: call(opt)) if elsewhere else call(opt)
    assert (opt.params.tolist(), opt.ema.tolist()) == (before[0].tolist(), before[1].tolist())
    opt.lr = 0.25  # a number may be set
    opt.ema_decay = None
    opt.swap_ema()
    opt.step(np.ones(3))
    assert opt.steps == 3
    opt.state_dict()


@pytest.mark.parametrize("plain", [False, True], ids=["compiled", "plain"])
def test_step_that_was_on_its_way_is_refused(monkeypatch, plain):
    """Another thread has read which launch to call, and calls it after the swap."""
    monkeypatch.setattr(plain_launch, "is_needed", lambda: plain)
    opt = made(np.zeros(3), {"ema_decay": 0.5})
    g = np.ones(3)
    opt.step(g)
    opt.step(g)
    launch = opt._engine.launch
    opt.swap_ema()
    before = opt.params.tolist()
    status = in_thread(lambda: launch(g, 1.0, None, g))
    with pytest.raises(RuntimeError, match="swapped in"):
        opt._engine.settle(status, g, 1.0, None, g)
    assert opt.params.tolist() == before


def test_averaged_swaps_back_after_an_error():
    opt = made(np.zeros(3), {"ema_decay": 0.5})
    opt.step(np.ones(3))
    opt.step(np.ones(3))
    p = opt.params.tolist()
    for error in (ValueError, KeyboardInterrupt, SystemExit, GeneratorExit, StopIteration):
        with pytest.raises(error), opt.averaged():
            raise error
        assert opt.params.tolist() == p

    def generator():
        with opt.averaged():
            yield

    running = generator()
    next(running)
    assert opt.params.tolist() != p
    running.close()
    assert opt.params.tolist() == p
    for _ in (1,):
        with opt.averaged():
            break
    assert opt.params.tolist() == p


def test_averaged_undoes_only_its_own_exchange():
    opt = made(np.zeros(3), {"ema_decay": 0.5})
    opt.step(np.ones(3))
    opt.step(np.ones(3))
    p, average = opt.params.tolist(), opt.ema.tolist()
    with opt.averaged():
        opt.swap_ema()  # back by hand
        assert opt.params.tolist() == p
    assert opt.params.tolist() == p
    with opt.averaged():
        opt.swap_ema()
        opt.swap_ema()  # by hand, so the block leaves it
    assert opt.params.tolist() == average
    with pytest.raises(RuntimeError, match=r"^averaged\(\) is not possible"), opt.averaged():
        pass
    assert opt.params.tolist() == average


def test_abandoned_context_swaps_back():
    opt = made(np.zeros(3), {"ema_decay": 0.5})
    opt.step(np.ones(3))
    opt.step(np.ones(3))
    p = opt.params.tolist()
    context = opt.averaged()
    context.__enter__()
    assert opt.params.tolist() != p
    del context
    gc.collect()
    assert opt.params.tolist() == p


def test_swap_from_inside_of_a_step_is_refused():
    calls = []

    def rate(n):
        if n == 2:
            for call in (opt.swap_ema, opt.averaged().__enter__):
                with pytest.raises(RuntimeError, match="a schedule or callable must not call"):
                    call()
                calls.append(call)
        return 0.125

    opt = flr.SGD(np.zeros(3), lr=rate, ema_decay=0.5)
    for _ in range(3):
        opt.step(np.ones(3))
    assert len(calls) == 2
    assert opt.params.tolist() == [-0.375] * 3


def test_swap_checks_all_arrays_first():
    params = {"a": np.zeros(3), "b": np.zeros(2)}
    opt = made(params, {"ema_decay": 0.5})
    for _ in range(2):
        opt.step({"a": np.ones(3), "b": np.ones(2)})
    p, average = ({key: x.tolist() for key, x in y.items()} for y in (params, opt.ema))
    params["b"].flags.writeable = False
    for call in (opt.swap_ema, opt.averaged().__enter__):
        with pytest.raises(ValueError, match=r"`params\['b'\]` must stay as it was .* got float64\[2\] .*read-only"):
            call()
    params["b"].flags.writeable = True
    kept, params["b"] = params["b"], np.zeros(2)
    with pytest.raises(ValueError, match=r"`params\['b'\]` must be the array that the optimizer was built with"):
        opt.swap_ema()
    params["b"] = kept
    assert {key: x.tolist() for key, x in params.items()} == p
    with opt.averaged():
        params["a"] = np.zeros(3)  # what the optimizer holds is swapped back
    assert kept.tolist() == p["b"]
    assert opt.ema["a"].tolist() == average["a"]


def test_swap_back_that_is_not_possible_leaves_both():
    opt = made(np.zeros(3), {"ema_decay": 0.5})
    opt.step(np.ones(3))
    opt.step(np.ones(3))
    p, average = opt.params.tolist(), opt.ema.tolist()
    with pytest.raises(ValueError, match="read-only"), opt.averaged():
        opt.params.flags.writeable = False
    assert (opt.params.tolist(), opt.ema.tolist()) == (average, p)
    opt.params.flags.writeable = True
    opt.swap_ema()
    assert (opt.params.tolist(), opt.ema.tolist()) == (p, average)


@pytest.mark.parametrize("container", CONTAINERS)
def test_tensors_of_another_library(container):
    torch = pytest.importorskip("torch")
    if container == "flat":
        pytest.skip("a Flat has its own memory")

    def tensors(x):
        if isinstance(x, np.ndarray):
            return torch.from_numpy(x)
        return {key: tensors(y) for key, y in x.items()} if isinstance(x, dict) else [tensors(y) for y in x]

    arrays = CONTAINERS[container]()
    params = tensors(arrays)
    opt = made(params, {"ema_decay": 0.5})
    for k in range(3):
        opt.step(gradient(arrays, k))
    p, average = ([x.tolist() for x in leaves(x)] for x in (arrays, opt.ema))
    with opt.averaged():
        assert [x.tolist() for x in leaves(arrays)] == average
    assert [x.tolist() for x in leaves(arrays)] == p


def test_decay_set_to_none_keeps_the_average_and_zero_restarts_it():
    opt = made(np.zeros(3), {"ema_decay": 0.5})
    for _ in range(3):
        opt.step(np.ones(3))
    kept = opt.ema.tolist()
    opt.ema_decay = None
    assert opt.ema_decay is None
    for _ in range(2):
        opt.step(np.ones(3))
        assert opt.ema.tolist() == kept
    opt.ema_decay = 0.75
    opt.step(np.ones(3))
    went_on = [0.75 * x + 0.25 * p for x, p in zip(kept, opt.params, strict=True)]
    assert opt.ema.tolist() == went_on
    opt.ema_decay = 0.0
    opt.step(np.ones(3))
    assert opt.ema.tolist() == opt.params.tolist()


def test_decay_set_later():
    opt = made(np.zeros(3), {})
    opt.step(np.ones(3))
    opt.ema_decay = flr.schedules.Constant(0.5)
    assert not hasattr(opt, "ema")
    opt.step(np.ones(3))
    assert opt.ema.tolist() == opt.params.tolist()


# --- Interrupts and threads -------------------------------------------------------------------------------------------


class Subject:
    """Two updates, and then one call of the next."""

    def __init__(self):
        self.opt = averaged_and_accumulated(loss_scale=(4.0, 2.0, 0.5, 1))
        self.other = made(copy.deepcopy(self.opt.params), {"ema_decay": 0.5, "accumulate": 2}).state_dict()

    def moment(self):
        opt = self.opt
        is_swapped = bool(opt._extras.swapped)
        if is_swapped:
            opt.swap_ema()
        now = moment(opt)
        if is_swapped:
            opt.swap_ema()
        return is_swapped, now

    def end(self):
        """What later calls lead to, with steps in another thread."""
        if self.opt._extras.swapped:
            self.opt.swap_ema()
        for k in range(3):
            in_thread(lambda k=k: self.opt.step(gradient(self.opt.params, k)))
        return moment(self.opt)


def within(subject):
    with subject.opt.averaged():
        pass


def raising(subject):
    with pytest.raises(ValueError, match="inside"), subject.opt.averaged():
        raise ValueError("inside")


def back(subject):
    subject.opt.swap_ema()
    subject.opt.swap_ema()


INTERRUPTED = {
    "swap_ema": [lambda s: s.opt.swap_ema()],
    "and back": [lambda s: s.opt.swap_ema(), lambda s: s.opt.swap_ema()],
    "averaged": [within],
    "averaged with an error": [raising],
    "state_dict": [lambda s: s.opt.state_dict()],
    "load_state_dict": [lambda s: s.opt.load_state_dict(s.other)],
    "reset": [lambda s: s.opt.reset()],
    "step": [lambda s: s.opt.step(gradient(s.opt.params, 7))],
    "copies": [lambda s: (copy.copy(s.opt), copy.deepcopy(s.opt), pickle.loads(pickle.dumps(s.opt)))],
    "decay": [lambda s: setattr(s.opt, "ema_decay", None), lambda s: setattr(s.opt, "ema_decay", 0.25)],
}


@needs_faithful_traces
@pytest.mark.parametrize("operation", INTERRUPTED)
def test_whole_old_or_whole_new(operation):
    """`averaged` swaps back at every place: both its moments are the one before it."""
    parts, moments, ends = INTERRUPTED[operation], [], []
    for done in range(len(parts) + 1):
        twin = Subject()
        for part in parts[:done]:
            part(twin)
        moments.append(twin.moment())
        ends.append(twin.end())

    def attempt(k):
        subject = Subject()
        place = interrupted(lambda: [part(subject) for part in parts], k)
        if place is not None:
            now = subject.moment()
            assert now in moments, f"torn by an interrupt at {place}"
            assert subject.end() in [e for m, e in zip(moments, ends, strict=True) if m == now], place
        return place

    assert everywhere(attempt) > 5


def test_steps_beside_swaps():
    """Each sees whole exchanges only: a step is done or refused, and the average is that of the steps."""
    n = 50_000
    opt = flr.SGD(np.zeros(n), lr=1.0, ema_decay=0.0)  # average and parameters are equal, unless a swap is torn
    opt.step(np.zeros(n))
    g, refused = np.ones(n), []

    def step():
        for _ in range(200):
            try:
                opt.step(g)
            except RuntimeError:
                refused.append(1)

    def evaluate():
        for _ in range(100):
            try:
                with opt.averaged():
                    assert opt.params[0] == opt.params[-1]
            except RuntimeError:
                refused.append(1)

    in_threads([step, step, evaluate, evaluate])
    done = opt.steps - 1
    assert (opt.params == -done).all()
    assert (opt.ema == -done).all()
    opt.step(g)
