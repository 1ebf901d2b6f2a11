"""From the public API through device.py to a driver that answers as the real one: every call and every argument."""

import gc
import importlib.metadata
import shutil
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("numba_cuda", reason='needs pip install "pyfastlr[cudatool]"')
pytestmark = pytest.mark.cudatool

import pyfastlr as flr  # noqa: E402
from emulated import Array  # noqa: E402
from fakedriver import CONTEXT, installed  # noqa: E402
from pyfastlr import schedules as S  # noqa: E402
from pyfastlr.arrays import device as device_arrays  # noqa: E402
from pyfastlr_kernels.compile import sources  # noqa: E402
from pyfastlr_kernels.cuda import device as driver_api  # noqa: E402
from pyfastlr_kernels.cuda.tables import THREADS  # noqa: E402
from test_cache import sources_of  # noqa: E402


@pytest.fixture
def driver(monkeypatch):
    with installed(monkeypatch) as fake:
        yield fake
        gc.collect()  # what first uses leave behind may hold an optimizer, whose memory is this driver's
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


@pytest.mark.parametrize("options", [{"clip_norm": 1.0, "ema_decay": 0.5}, {"clip_norm": 1.0, "nonfinite": "raise"}],
                         ids="-".join)  # fmt: skip
def test_steps_with_options_are_those_of_the_host(driver, options):
    """Each is several launches in the caller's stream; only a step that may raise waits, once."""
    (p, on_p), (g, on_g) = pair(driver, 300), pair(driver, 300, 1)
    host, opt = flr.Adam(p, lr=0.1, **options), flr.Adam(on_p, lr=0.1, **options)
    for k in range(3):
        waits = driver.waits
        host.step(g)
        opt.step(on_g, stream=7)
        assert k == 0 or driver.waits - waits == (1 if "nonfinite" in options else 0)
    assert on_p.host.tobytes() == p.tobytes()
    assert opt.stats == host.stats
    assert set(driver.launches) == {(7, 1, THREADS)}
    assert len(driver.launches) == 3 * (4 if "nonfinite" in options else 3)


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


def test_copies_of_the_state_wait_for_what_is_under_way(driver):
    """Those to the device as those from it: a step may still be reading what is overwritten."""
    order = []

    def logged(name, call, *arguments):
        order.append(name)
        return call(*arguments)

    for name in ("cuCtxSynchronize", "cuMemcpyHtoD", "cuMemcpyDtoH"):
        setattr(driver, name, partial(logged, name, getattr(driver, name)))
    _, p = pair(driver, 30)
    _, g = pair(driver, 30, 1)
    opt = flr.Adam(p)
    opt.step(g)
    order.clear()
    opt.reset()
    assert order == ["cuCtxSynchronize", "cuMemcpyHtoD"] * 2  # each slot
    order.clear()
    opt.state["exp_avg"].copy()
    assert order == ["cuCtxSynchronize", "cuMemcpyDtoH"]


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


def test_versions_are_in_the_key(monkeypatch):
    """Of what the compiler is made of, and of Python."""

    def key():
        driver_api.digest.cache_clear()
        return driver_api.digest()

    before, version = key(), importlib.metadata.version
    assert key() == before
    for package in ("numba", "numba-cuda", "llvmlite", "cuda-bindings"):
        with monkeypatch.context() as other:
            other.setattr(importlib.metadata, "version", lambda x, p=package: "0.0.0" if x == p else version(x))
            assert key() != before, package
    for package in ("nvidia-nvvm", "nvidia-cuda-nvcc", "nvidia-nvjitlink-cu99"):
        parts = [SimpleNamespace(metadata={"Name": package}, version="0.0.0")]
        with monkeypatch.context() as other:
            other.setattr(importlib.metadata, "distributions", lambda parts=parts: parts)
            found = key()
            assert found != before
            parts[0].version = "0.0.1"
            assert key() != found, package
    with monkeypatch.context() as other:
        other.setattr(driver_api, "sys", SimpleNamespace(version_info=(3, 99, 0)))
        assert key() != before
    driver_api.digest.cache_clear()


DEVICE_CODE = sources_of(
    *("pyfastlr_kernels.cuda." + x for x in ("update", "graph", "graph_step", "reduce", "compiler", "memory", "step")),
    "pyfastlr_kernels.curves",
    "pyfastlr_kernels.compat_curves",
)


@pytest.mark.parametrize("source", DEVICE_CODE)
def test_every_source_is_in_the_key(monkeypatch, tmp_path, source):
    place = tmp_path / "pyfastlr_kernels"
    shutil.copytree(sources.PACKAGE, place, ignore=shutil.ignore_patterns("__pycache__", "*.ll"))
    monkeypatch.setattr(sources.hash_sources, "__defaults__", (place,))
    driver_api.digest.cache_clear()
    before = driver_api.digest()
    (place / source).write_bytes((place / source).read_bytes() + b"\n")
    driver_api.digest.cache_clear()
    assert driver_api.digest() != before
    driver_api.digest.cache_clear()
