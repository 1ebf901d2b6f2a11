"""On a device: the vectors of the other tests, frameworks' buffers zero-copy, streams, graphs, and indices above 2**31.

Run with ``pytest -m gpu tests/cuda``. Without a device all of it is skipped, and nothing that only a device can show is
claimed anywhere.
"""

import numpy as np
import pytest

pytest.importorskip("numba_cuda", reason='needs pip install "pyfastlr[cuda13]"')
pytestmark = pytest.mark.gpu

import pyfastlr as flr  # noqa: E402
from cases import CASES  # noqa: E402
from pyfastlr import schedules as S  # noqa: E402


def numbers(n, seed=0, dtype=np.float32):
    return np.random.default_rng(seed).standard_normal(n).astype(dtype)


def to_device(x):
    from numba import cuda

    return cuda.to_device(x)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_steps_are_those_of_the_cpu(case, dtype):
    """Fused multiply-add rounds otherwise, so states are within 2e-6 (4e-15) of their largest number."""
    sizes = (1, 3, 4, 257, 1003, 100_003)
    host = [numbers(n, n, dtype) for n in sizes]
    lent = [to_device(x) for x in host]
    a, b = case.make(host, weight_decay=0.01), case.make(lent, weight_decay=0.01)
    bound = 2e-6 if dtype == "float32" else 4e-15
    for k in range(3):
        g = [numbers(n, n + k, dtype) for n in sizes]
        a.step(g, inv_scale=0.5)
        b.step([to_device(x) for x in g], inv_scale=0.5)
    for x, y in zip(host, lent, strict=True):
        np.testing.assert_allclose(y.copy_to_host(), x, rtol=10 * bound, atol=10 * bound * np.abs(x).max())
    assert b.state_dict()["counts"].tolist() == a.state_dict()["counts"].tolist()


OPTIONS = (
    {"clip_norm": 0.5, "clip_norm_each": 0.3, "measure": ("per_tensor",)},
    {"clip_value": 0.5, "ema_decay": 0.9},
    {"nonfinite": "skip", "clip_norm": 1.0},
    {"nonfinite": "raise"},
)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("options", OPTIONS, ids="-".join)
def test_options_are_those_of_the_cpu(options, dtype):
    sizes = (1, 3, 257, 100_003)
    host = [numbers(n, n, dtype) for n in sizes]
    lent = [to_device(x) for x in host]
    a, b = flr.Adam(host, lr=0.01, **options), flr.Adam(lent, lr=0.01, **options)
    for k in range(4):
        g = [numbers(n, n + k, dtype) for n in sizes]
        if k == 2 and "nonfinite" in options:
            g[3][-1] = np.nan
        on_device = [to_device(x) for x in g]
        if k == 2 and options.get("nonfinite") == "raise":
            for opt, x in ((a, g), (b, on_device)):
                with pytest.raises(FloatingPointError, match=r"`grads\[3\]` must be finite"):
                    opt.step(x)
        else:
            a.step(g)
            b.step(on_device)
        assert repr(b.stats._replace(lr=None)) == repr(a.stats._replace(lr=None))  # sums have the same bits
    bound = 2e-5 if dtype == "float32" else 4e-14
    pairs = [(host, lent), (a.ema, b.ema)] if "ema_decay" in options else [(host, lent)]
    for x, y in ((x, y) for xs, ys in pairs for x, y in zip(xs, ys, strict=True)):
        got = y.copy_to_host() if hasattr(y, "copy_to_host") else y.copy()
        np.testing.assert_allclose(got, x, rtol=bound, atol=bound)
    assert b.steps == a.steps


def test_cupy_arrays_are_updated_in_place_on_the_current_stream():
    cp = pytest.importorskip("cupy")
    host = numbers(1003)
    p, g = cp.asarray(host), cp.asarray(numbers(1003, 1))
    opt = flr.Adam(p)
    address = p.data.ptr
    with cp.cuda.Stream(non_blocking=True) as stream:
        opt.step(g)
        stream.synchronize()
    flr.Adam(host).step(numbers(1003, 1))
    np.testing.assert_allclose(cp.asnumpy(p), host, rtol=2e-6, atol=2e-6)
    assert p.data.ptr == address
    assert cp.asarray(opt.state["exp_avg"]).shape == (1003,)


def test_torch_parameters_are_updated_in_place_on_a_given_stream():
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("torch without CUDA")
    host = numbers(1003)
    p = torch.nn.Parameter(torch.tensor(host, device="cuda"))
    opt = flr.AdamW({"w": p})
    side = torch.cuda.Stream()
    g = torch.tensor(numbers(1003, 1), device="cuda")
    side.wait_stream(torch.cuda.current_stream())
    opt.step({"w": g}, stream=side)
    torch.cuda.current_stream().wait_stream(side)
    flr.AdamW({"w": host}).step({"w": numbers(1003, 1)})
    np.testing.assert_allclose(p.detach().cpu().numpy(), host, rtol=2e-6, atol=2e-6)


def test_a_torch_graph_replays_the_schedule():
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("torch without CUDA")
    host = numbers(1003)
    p, g = torch.tensor(host, device="cuda"), torch.tensor(numbers(1003, 1), device="cuda")
    schedule = S.Cosine(1e-2, steps=10).warmup(2)
    opt = flr.Adam(p, lr=schedule, capturable=True)
    opt.step(g)  # compiles, and takes the gradient's address
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        opt.step(g)
    for _ in range(5):
        graph.replay()
    same = flr.Adam(host, lr=schedule)
    for _ in range(6):  # the capture itself runs nothing
        same.step(numbers(1003, 1))
    np.testing.assert_allclose(p.cpu().numpy(), host, rtol=2e-5, atol=2e-6)
    assert opt.steps == 6


def test_more_elements_than_an_int32_can_count():
    cp = pytest.importorskip("cupy")
    n = 2**31 + 5
    if cp.cuda.runtime.memGetInfo()[0] < 8 * n + (1 << 30):
        pytest.skip("needs 18 GB of free device memory")
    p, g = cp.zeros(n, cp.float32), cp.zeros(n, cp.float32)
    g[-7:] = 1.0
    flr.SGD(p, lr=0.5).step(g)
    assert cp.asnumpy(p[-8:]).tolist() == [0.0] + [-0.5] * 7
    assert not p[:-7].any()


def test_a_step_does_not_wait_for_the_device():
    """A stream that is held back keeps a step from running, not from returning."""
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("torch without CUDA")
    p, g = torch.zeros(8, device="cuda"), torch.ones(8, device="cuda")
    opt = flr.SGD(p, lr=1.0)
    opt.step(g)
    torch.cuda.synchronize()
    torch.cuda._sleep(2_000_000_000)  # about a second
    opt.step(g)
    assert not torch.cuda.current_stream().query()
    torch.cuda.synchronize()
    assert p.cpu().tolist() == [-2.0] * 8
