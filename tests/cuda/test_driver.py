"""From the public API through device.py to a driver that answers as the real one: every call and every argument."""

import gc

import numpy as np
import pytest

pytest.importorskip("numba_cuda", reason='needs pip install "pyfastlr[cudatool]"')
pytestmark = pytest.mark.cudatool

import pyfastlr as flr  # noqa: E402
from emulated import Array  # noqa: E402
from fakedriver import CONTEXT, installed  # noqa: E402
from pyfastlr import schedules as S  # noqa: E402
from pyfastlr.arrays import device as device_arrays  # noqa: E402
from pyfastlr_kernels.cuda import device as driver_api  # noqa: E402
from pyfastlr_kernels.cuda.tables import THREADS  # noqa: E402


@pytest.fixture
def driver(monkeypatch):
    with installed(monkeypatch) as fake:
        yield fake
        assert not fake.contexts  # each was given back


def numbers(n, seed=0):
    return np.random.default_rng(seed).standard_normal(n).astype(np.float32)


def pair(driver, n, seed=0):
    host = numbers(n, seed)
    return host, Array(driver.device, host.copy())


@pytest.mark.parametrize("capturable", [False, True])
def test_steps_of_a_dict_are_those_of_the_host(driver, capturable):
    (w, on_w), (b, on_b) = pair(driver, 130), pair(driver, 5, 1)
    options = {"lr": S.InverseTime(0.1, 0.5), "groups": [{"params": "b", "lr": 0.2, "weight_decay": 0.0}]}
    host = flr.AdamW({"w": w, "b": b}, **options)
    opt = flr.AdamW({"w": on_w, "b": on_b}, capturable=capturable, **options)
    (g, on_g), (h, on_h) = pair(driver, 130, 2), pair(driver, 5, 3)
    for k in range(4):
        host.step({"w": g, "b": None if k == 1 else h})
        opt.step({"w": on_g, "b": None if k == 1 else on_h}, stream=7)
    exact = {"rtol": 1e-6, "atol": 1e-7} if capturable else {"rtol": 0.0, "atol": 0.0}
    np.testing.assert_allclose(on_w.host, w, **exact)
    np.testing.assert_allclose(on_b.host, b, **exact)
    want, got = host.state_dict(), opt.state_dict()
    assert (got["steps"], got["counts"].tolist()) == (want["steps"], want["counts"].tolist())
    np.testing.assert_allclose(got["state"]["exp_avg"]["w"], want["state"]["exp_avg"]["w"], **exact)
    assert [stream for stream, *_ in driver.launches] == [7] * (8 if capturable else 4)
    assert [threads for *_, threads in driver.launches] == ([1, THREADS] * 4 if capturable else [THREADS] * 4)


def test_a_step_in_the_current_context_pushes_none_and_waits_for_nothing(driver):
    _, p = pair(driver, 300)
    _, g = pair(driver, 300, 1)
    opt = flr.Adam(p, lr=S.Cosine(1e-2, steps=5))
    opt.step(g)
    pushes, waits = driver.pushes, driver.waits
    driver.contexts.append(CONTEXT)
    opt.step(g)
    driver.contexts.pop()
    assert (driver.pushes, driver.waits) == (pushes, waits)
    driver.contexts.append(0xBAD)  # another device's
    opt.step(g)
    assert driver.contexts.pop() == 0xBAD
    assert (driver.pushes, driver.waits) == (pushes + 1, waits)


def test_memory_is_freed_with_the_optimizer(driver):
    _, p = pair(driver, 300)
    _, g = pair(driver, 300, 1)
    opt = flr.Adam(p)
    opt.step(g)
    assert driver.allocated
    lent = opt.state["exp_avg"]
    del opt
    gc.collect()
    assert len(driver.allocated) == 1  # what is lent lives on
    assert np.abs(lent.copy()).max() > 0
    del lent
    gc.collect()
    assert not driver.allocated


def test_a_host_that_is_far_ahead_waits_for_the_oldest_copy(driver):
    (_, p), (_, q) = pair(driver, 4), pair(driver, 4, 1)
    pools = [[pair(driver, 4, 2 + k)[1], pair(driver, 4, 9 + k)[1]] for k in range(2)]
    opt = flr.SGD([p, q], lr=0.1)
    opt.step(pools[0])
    driver.behind, waits = True, driver.waits
    for k in range(driver_api._RING):
        opt.step(pools[(k + 1) % 2])
    assert driver.waits == waits
    opt.step(pools[1])
    assert driver.waits == waits + 1
    assert len(driver.host) == len(driver.events) == driver_api._RING


def test_a_refused_launch_is_an_error_and_counts_nothing(driver):
    _, p = pair(driver, 30)
    _, g = pair(driver, 30, 1)
    opt = flr.Adam(p)
    opt.step(g)
    before = p.host.copy()
    driver.answer = driver.CUresult.CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES
    with pytest.raises(driver_api.DriverError, match="CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES: no luck"):
        opt.step(g)
    assert (opt.steps, opt.state_dict()["counts"].tolist()) == (1, [1])
    np.testing.assert_array_equal(p.host, before)


def test_one_device_for_all_optimizers(driver):
    (_, p), (_, q) = pair(driver, 3), pair(driver, 3)
    a, b = flr.Adam(p), flr.SGD(q, lr=0.1)
    assert a._parameters.device is b._parameters.device is device_arrays.device_of(p.address)
    assert repr(a._parameters.device) == "CUDA device 0"
