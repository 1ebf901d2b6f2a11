"""Optimizers over device buffers, from the public API down to PTX in the emulator, beside those over host arrays."""

import copy
import pickle

import numpy as np
import pytest

pytest.importorskip("numba_cuda", reason='needs pip install "pyfastlr[cudatool]"')
pytestmark = pytest.mark.cudatool

import pyfastlr as flr  # noqa: E402
from emulated import Array  # noqa: E402
from pyfastlr import schedules as S  # noqa: E402


def numbers(n, seed=0, dtype=np.float32):
    return np.random.default_rng(seed).standard_normal(n).astype(dtype)


def both(device, x):
    return x.copy(), Array(device, x.copy())


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_one_array_with_a_schedule(device, dtype):
    host, lent = both(device, numbers(300, dtype=dtype))
    options = {"lr": S.Cosine(1e-2, steps=5).warmup(2), "weight_decay": 0.01, "maximize": True}
    a, b = flr.AdamW(host, **options), flr.AdamW(lent, **options)
    for n in range(4):
        g, on_device = both(device, numbers(300, n, dtype))
        a.step(g, inv_scale=0.5)
        b.step(on_device, inv_scale=0.5, stream=7)
    assert lent.host.tobytes() == host.tobytes()
    assert (b.steps, b.lr, b.stats) == (a.steps, a.lr, a.stats)
    assert device.streams == [7] * 4  # launches alone: nothing was copied
    for name, x in a.state.items():
        assert b.state[name].copy().tobytes() == x.tobytes()


def test_dict_with_groups_and_missing_gradients(device):
    host, lent = zip(*(both(device, numbers(n, n).reshape(-1, 1)) for n in (5, 130)), strict=True)
    rate, rate_on_device = both(device, np.linspace(0, 1, 130, dtype=np.float32).reshape(-1, 1))
    a = flr.NAdam(dict(zip("wb", host, strict=True)), groups=[{"params": "b", "lr": 0.1, "lr_scale": rate}])
    b = flr.NAdam(dict(zip("wb", lent, strict=True)), groups=[{"params": "b", "lr": 0.1, "lr_scale": rate_on_device}])
    for k in range(4):
        g, on_device = zip(*(both(device, x.host) for x in lent), strict=True)
        a.step({"w": None if k == 1 else g[0], "b": g[1]})
        b.step({"w": None if k == 1 else on_device[0], "b": on_device[1]})
        a.groups[1]["lr"] = b.groups[1]["lr"] = 0.1 / (k + 2)
    for x, y in zip(host, lent, strict=True):
        assert x.tobytes() == y.host.tobytes()
    want, got = a.state_dict(), b.state_dict()
    assert got["counts"].tolist() == want["counts"].tolist() == [3, 4]
    assert got["carry"].tobytes() == want["carry"].tobytes()
    for name in want["state"]:
        for leaf in "wb":
            np.testing.assert_array_equal(got["state"][name][leaf], want["state"][name][leaf])


def test_state_goes_between_host_and_device(device):
    host, lent = both(device, numbers(40))
    a, b = flr.Adam(host), flr.Adam(lent)
    g, on_device = both(device, numbers(40, 1))
    a.step(g)
    b.load_state_dict(a.state_dict())
    lent.host[:] = host
    a.step(g)
    b.step(on_device)
    assert lent.host.tobytes() == host.tobytes()
    a.load_state_dict(b.state_dict())
    b.reset()
    assert not b.state["exp_avg"].copy().any()
    assert b.steps == 0


@pytest.mark.parametrize("steps", [0, 2])
def test_files_go_between_host_and_device(device, tmp_path, steps):
    """In both directions, into new optimizers and others. Parameters on a device are read in parts."""
    path, results = tmp_path / "run.safetensors", []
    for from_device in (False, True):
        for to_device in (False, True):
            x = both(device, numbers(300_000))[from_device]
            a = flr.Adam({"w": x}, lr=0.1)
            a.step({"w": both(device, numbers(300_000, 1))[from_device]})
            flr.save(path, {"w": x}, a)
            saved = flr.load(path)
            y = both(device, saved.params["w"])[to_device]
            b = flr.Adam({"w": y}, lr=0.2)
            for _ in range(steps):
                b.step({"w": both(device, numbers(300_000, 2))[to_device]})
            b.load(path)
            assert (b.steps, b.lr) == (1, 0.1)
            want, got = saved.state["state"], b.state_dict()["state"]
            results.append([saved.params["w"].tobytes(), *(got[name]["w"].tobytes() for name in want)])
            assert results[-1][1:] == [want[name]["w"].tobytes() for name in want]
    assert all(x == results[0] for x in results)


def test_states_of_other_libraries_go_to_a_device_and_back(device):
    host, lent = both(device, numbers(40))
    a, b = flr.NAdam(host, lr=0.25), flr.NAdam(lent)
    g, on_device = both(device, numbers(40, 1))
    a.step(g)
    lent.host[:] = host
    flr.from_torch(flr.to_torch(a, tensors=False), b)
    assert b.lr == 0.25
    a.step(g)
    b.step(on_device)
    assert lent.host.tobytes() == host.tobytes()
    (want,), (got,) = (flr.to_torch(x, tensors=False)["state"].values() for x in (a, b))
    assert {key: np.asarray(x).tobytes() for key, x in got.items()} == {
        key: np.asarray(x).tobytes() for key, x in want.items()
    }


def test_a_loss_scale_needs_one_to_be_loaded_into(device):
    host, lent = both(device, numbers(5))
    scale = flr.LossScale()
    with pytest.raises(ValueError, match="`loss_scale` must be left out with `capturable`"):
        flr.SGD(lent, loss_scale=scale, capturable=True)
    source = flr.SGD(host, loss_scale=scale)  # which the refused one has not taken
    source.step(numbers(5))
    opt = flr.SGD(lent)
    state = source.state_dict()
    with pytest.raises(ValueError, match=r"`state\['loss_scale'\]` needs an optimizer with a loss scale"):
        opt.load_state_dict(state)
    assert opt.steps == 0
    opt.load_state_dict({**state, "loss_scale": None})
    assert opt.steps == 1
    opt.reset()
    assert opt.steps == 0
    assert copy.deepcopy(opt).stats == flr.Stats()


def test_tensors_that_go_together_and_part(device):
    """The quick way of a step, into it and out of it: gradients that move, one that is missing, and a loaded state."""
    host, lent = zip(*(both(device, numbers(n, n)) for n in (5, 130, 4)), strict=True)
    a, b = flr.NAdam(list(host), lr=S.Linear(0.1, 0.0, 20)), flr.NAdam(list(lent), lr=S.Linear(0.1, 0.0, 20))
    pool = [[both(device, numbers(x.size, x.size + 1 + k)) for x in host] for k in range(2)]

    def steps(*moves):
        for k, missing in moves:
            pairs = [(None, None) if j == missing else pair for j, pair in enumerate(pool[k])]
            a.step([g for g, _ in pairs], inv_scale=0.5)
            b.step([g for _, g in pairs], inv_scale=0.5)
        for x, y in zip(host, lent, strict=True):
            assert x.tobytes() == y.host.tobytes()
        want, got = a.state_dict(), b.state_dict()
        assert got["counts"].tolist() == want["counts"].tolist()
        assert got["carry"].tobytes() == want["carry"].tobytes()
        assert got["steps"] == want["steps"]

    steps((0, None), (0, None), (0, None))
    assert device.writes == 1  # the gradients' addresses
    steps((1, None), (1, None), (0, None))
    assert device.writes == 3
    early = b.state_dict()
    steps((0, 1), (0, None), (0, None))
    a.load_state_dict(early)
    b.load_state_dict(early)
    steps((0, None), (1, None), (1, None), (1, 0), (1, None))
    assert a.state_dict()["counts"].tolist() == [10, 11, 11]


@pytest.mark.parametrize("before", [0, 2], ids=["first step", "quick step"])
def test_a_launch_that_the_driver_refuses_counts_nothing(device, before):
    opt, g = flr.NAdam(Array(device, numbers(9))), Array(device, numbers(9, 1))
    for _ in range(before):
        opt.step(g)
    want = opt.state_dict()

    def refuse(launches, stream, then=()):
        for count in then:  # as the driver does: called before the driver's answer is looked at
            count()
        raise RuntimeError("CUDA_ERROR_LAUNCH_FAILED")

    start, device.start = device.start, refuse
    with pytest.raises(RuntimeError, match="CUDA_ERROR"):
        opt.step(g)
    got = opt.state_dict()
    assert (got["steps"], got["counts"].tolist()) == (want["steps"], want["counts"].tolist())
    assert got["carry"].tobytes() == want["carry"].tobytes()
    device.start = start
    opt.step(g)
    assert opt.steps == before + 1


@pytest.mark.parametrize("capturable", [False, True])
def test_a_deep_copy_goes_on_alone(device, capturable):
    lent, g = Array(device, numbers(40)), Array(device, numbers(40, 1))
    opt = flr.Adam(lent, lr=S.InverseTime(0.1, 0.5), capturable=capturable)
    opt.step(g)
    opt.step(g)
    same = copy.deepcopy(opt)
    opt.step(g)
    assert (same.steps, opt.steps) == (2, 3)
    same.step(g)
    assert same._parameters.given[0].host.tobytes() == lent.host.tobytes()
    assert same.state["exp_avg"].copy().tobytes() == opt.state["exp_avg"].copy().tobytes()


def test_state_is_lent_zero_copy(device):
    opt = flr.Adam(Array(device, numbers(40)))
    lent = opt.state["exp_avg"].__cuda_array_interface__
    assert lent["shape"] == (40,)
    assert lent["typestr"] == "<f4"


def test_a_moved_gradient_is_found_and_an_unmoved_one_not_asked_again(device):
    opt = flr.SGD(Array(device, numbers(20)), lr=0.1)
    g = Array(device, numbers(20, 1))
    opt.step(g)
    g.host = numbers(20, 2)
    g.address = device.map(g.host)
    before = opt._parameters.given[0].host.copy()
    opt.step(g)
    np.testing.assert_array_equal(opt._parameters.given[0].host, before - np.float32(0.1) * g.host)


@pytest.mark.parametrize("moved", ["w", "b"])
def test_a_moved_parameter_is_an_error_that_names_it(device, moved):
    params = {"w": Array(device, numbers(20)), "b": Array(device, numbers(5))}
    g = {"w": Array(device, numbers(20, 1)), "b": Array(device, numbers(5, 1))}
    opt = flr.SGD(params, lr=0.1)
    opt.step(g)
    before = {name: x.host.copy() for name, x in params.items()}
    params[moved].address = device.map(params[moved].host.copy())
    refused(ValueError, rf"`params\['{moved}'\]` must stay as it was when the optimizer was built", lambda: opt.step(g))
    params[moved] = Array(device, before[moved].copy())
    refused(ValueError, rf"`params\['{moved}'\]` must be the array that the optimizer was built with",
            lambda: opt.step(g))  # fmt: skip
    assert opt.steps == 1
    for name, x in params.items():
        assert x.host.tobytes() == before[name].tobytes()


@pytest.mark.parametrize("capturable", [False, True])
def test_arrays_with_equal_counts_keep_products_of_their_own(device, capturable):
    """NAdam's running product is of the momenta at an array's own updates, so equal counts do not make it equal."""
    host, lent = zip(*(both(device, numbers(n, dtype=np.float64)) for n in (5, 9)), strict=True)
    options = {"lr": 0.1, "betas": (S.Piecewise([1, 2], [0.9, 0.5, 0.7]), 0.999)}
    a, b = flr.NAdam(list(host), **options), flr.NAdam(list(lent), capturable=capturable, **options)
    g, on_device = zip(*(both(device, numbers(x.size, 1, np.float64)) for x in host), strict=True)
    for at in ((0,), (1,), (0, 1)):
        a.step([g[k] if k in at else None for k in range(2)])
        b.step([on_device[k] if k in at else None for k in range(2)])
    want, got = a.state_dict(), b.state_dict()
    assert got["counts"].tolist() == want["counts"].tolist() == [2, 2]
    assert want["carry"][0] != want["carry"][1]
    np.testing.assert_allclose(got["carry"], want["carry"], rtol=1e-14)
    for x, y in zip(host, lent, strict=True):
        np.testing.assert_allclose(y.host, x, rtol=1e-12)


def refused(error, text, call):
    with pytest.raises(error, match=text):
        call()


def test_errors_say_what_is_wrong_and_change_nothing(device):
    host = numbers(20)
    lent = Array(device, host.copy())
    opt = flr.Adam(lent)
    refused(TypeError, r"`grads` must be float32\[20\] on CUDA device 0", lambda: opt.step(numbers(20)))
    refused(ValueError, r"must be float32\[20\], got CUDA float32\[19\]", lambda: opt.step(Array(device, numbers(19))))
    refused(TypeError, r"got CUDA float64\[20\]", lambda: opt.step(Array(device, numbers(20).astype(np.float64))))
    refused(TypeError, "None", lambda: opt.step(None))
    refused(ValueError, "must not overlap", lambda: opt.step(lent))
    refused(ValueError, "`inv_scale`", lambda: opt.step(Array(device, host), inv_scale=-1.0))
    refused(TypeError, "`stream` must be a CUDA stream", lambda: opt.step(Array(device, host), stream="no"))
    strided = Array(device, numbers(20))
    strided.strides = (8,)
    refused(ValueError, "C-contiguous", lambda: opt.step(strided))
    on_host = flr.Adam(host.copy())
    refused(TypeError, r"`grads` must be float32\[20\] in host memory", lambda: on_host.step(Array(device, host)))
    refused(TypeError, "`stream` must be None", lambda: on_host.step(host, stream=3))
    refused(TypeError, r"params\['b'\]|params.b", lambda: flr.Adam({"a": Array(device, host), "b": host}))
    refused(TypeError, "in host memory", lambda: flr.Flat({"a": Array(device, host)}))
    assert lent.host.tobytes() == host.tobytes()
    assert opt.steps == on_host.steps == 0
    read_only = Array(device, host)
    read_only.writeable = False
    refused(ValueError, "must be writeable", lambda: flr.Adam(read_only))


def test_a_callable_that_raises_changes_nothing(device):
    def rate(n):
        raise KeyError(n)

    host = numbers(20)
    lent = Array(device, host.copy())
    opt = flr.Adam(lent, lr=rate)
    with pytest.raises(KeyError):
        opt.step(Array(device, numbers(20)))
    assert lent.host.tobytes() == host.tobytes()
    assert opt.steps == 0
    opt.lr = lambda n: opt.step(Array(device, numbers(20))) or 0.1
    with pytest.raises(RuntimeError, match=r"must not call step\(\)"):
        opt.step(Array(device, numbers(20)))


def test_a_device_without_a_driver_says_what_to_install():
    class Lent:
        @property
        def __cuda_array_interface__(self):
            return {"shape": (3,), "typestr": "<f4", "data": (4096, False), "version": 3}

    with pytest.raises(TypeError, match="no CUDA driver"):
        flr.Adam(Lent())


def test_controllers_are_told_of_each_step(device):
    """As on the host: a restart begins at the step that comes, and the rate of `opt.lr` is that step's."""
    rate = S.RestartOnPlateau(S.Linear(1.0, 0.0, steps=10), patience=0)
    lent = Array(device, np.zeros(2))
    opt = flr.SGD(lent, lr=rate, momentum=S.Adjustable(0.0))
    used = []
    for k in range(7):
        if k == 3:
            rate.observe(1.0)
            rate.observe(1.0)
        coming = opt.lr
        opt.step(Array(device, np.ones(2)))
        assert opt.stats.lr == coming
        used.append(coming)
    np.testing.assert_allclose(used, [1.0, 0.9, 0.8, 1.0, 0.9, 0.8, 0.7], rtol=1e-15)
    assert lent.host[0] == pytest.approx(-sum(used))
    state = opt.state_dict()
    rate.observe(1.0)
    opt.load_state_dict(state)
    assert (rate.restarts, opt.lr) == (1, 0.6)


def test_arrays_are_added_on_the_device(device):
    """As on the host, also for a step that had its launch before."""
    host, lent = both(device, numbers(300))
    new, new_on_device = both(device, numbers(70, 1))
    first, second = flr.Adam({"a": host}), flr.Adam({"a": lent})
    g, on_device = both(device, numbers(300, 2))
    h, h_on_device = both(device, numbers(70, 3))
    first.step({"a": g})
    second.step({"a": on_device})
    grads = {"a": on_device}
    engine, gradients, held = second._engine, second._parameters.gather(grads), second._parameters.held_now()
    first.add({"b": new}, lr=0.5)
    second.add({"b": new_on_device}, lr=0.5)
    grads["b"] = h_on_device
    assert engine.launch(gradients, 1.0, held, grads) == 0
    first.step({"a": g, "b": h})
    for opt, x, y in ((first, g, h), (second, on_device, h_on_device)):
        opt.step({"a": x, "b": y})
    assert lent.host.tobytes() == host.tobytes()
    assert new_on_device.host.tobytes() == new.tobytes()
    assert second.state_dict()["counts"].tolist() == [3, 2]
    with pytest.raises(TypeError, match=r"params\['c'\]"):
        second.add({"c": numbers(3)})  # in host memory
    graph = flr.Adam({"a": lent}, capturable=True)
    with pytest.raises(ValueError, match="without `capturable`"):
        graph.add({"b": new_on_device})


def test_hyperparameters_go_between_host_and_device(device):
    """Schedules, groups and rates set by hand, in both directions and through a flat state."""
    host, lent = zip(*(both(device, numbers(n, n)) for n in (5, 130)), strict=True)

    def make(params, lr):
        return flr.NAdam(dict(zip("wb", params, strict=True)), lr=lr, groups=[{"params": "b"}])

    a, b = make(host, S.Cosine(0.1, 9).warmup(2)), make(lent, 1.0)
    a.step({"w": numbers(5), "b": numbers(130)})
    a.groups[1]["lr"], a.eps = 0.25, 1e-3
    b.load_state_dict(flr.unflatten_state(flr.flatten_state(a.state_dict())))
    assert b.state_dict()["hyperparameters"] == a.state_dict()["hyperparameters"]
    for x, y in zip(lent, host, strict=True):
        x.host[:] = y
    for k in range(3):
        g, on_device = zip(*(both(device, numbers(n, n + k)) for n in (5, 130)), strict=True)
        a.step(dict(zip("wb", g, strict=True)))
        b.step(dict(zip("wb", on_device, strict=True)))
        b.groups[1]["lr"] = a.groups[1]["lr"] = 0.125
    assert [x.host.tobytes() for x in lent] == [x.tobytes() for x in host]
    c = make([x.copy() for x in host], 9.0)
    c.load_state_dict(b.state_dict())
    assert pickle.dumps(c.state_dict()["hyperparameters"]) == pickle.dumps(a.state_dict()["hyperparameters"])
    assert c.state_dict()["counts"].tolist() == [4, 4]


def test_a_captured_graph_takes_only_numbers_from_a_state(device):
    host, lent = both(device, numbers(30))
    source = flr.SGD(host, lr=0.5, momentum=0.5)
    source.step(numbers(30, 1))
    opt = flr.SGD(lent, lr=0.1, momentum=0.5, capturable=True)
    opt.step(both(device, numbers(30, 1))[1])
    opt.load_state_dict(source.state_dict())
    assert (opt.lr, opt.steps) == (0.5, 1)
    source.lr = S.Linear(0.5, 0.0, 9)
    source.step(numbers(30, 1))
    with pytest.raises(ValueError, match="`lr` must not change after the first step with `capturable`"):
        opt.load_state_dict(source.state_dict())
    assert (opt.lr, opt.steps) == (0.5, 1)
