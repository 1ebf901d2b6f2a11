"""Facts that results do not show: chunks, threads, addresses of state, and that setting a number builds no tables."""

import numpy as np
import pytest

import pyfastlr as flr
from pyfastlr import schedules as S
from pyfastlr.engines import host
from pyfastlr_kernels import tables
from pyfastlr_kernels.tables import CHUNK_LENGTH, UNIT

SIZES = [1, UNIT, 4 * UNIT, 10_000, 65_536, 100_003, 10**6, 10**8]


@pytest.mark.parametrize("threads", [2, 3, 8, 64])
@pytest.mark.parametrize("size", SIZES)
def test_chunks_are_four_a_thread_or_more_and_as_long_as_that_allows(size, threads):
    length = tables.chunk_length(size, threads)
    assert length % UNIT == 0
    assert UNIT <= length <= CHUNK_LENGTH
    if size >= 4 * threads * UNIT:
        assert size / length >= 4 * threads
    if length < CHUNK_LENGTH:
        assert size / (length + UNIT) < 4 * threads


@pytest.mark.parametrize("size", SIZES)
def test_one_thread_takes_chunks_of_the_full_length(size):
    assert tables.chunk_length(size, 1) == CHUNK_LENGTH == 16_384


def test_chunks_cover_each_tensor_once():
    table = tables.chunk_table([0, 5, 2048, 2049], 1024)
    assert table.tolist() == [(1, 0, 5), (2, 0, 1024), (2, 1024, 1024), (3, 0, 1024), (3, 1024, 1024), (3, 2048, 1)]


@pytest.mark.parametrize(
    ("make", "bytes_an_element"),
    [
        (lambda p: flr.SGD(p, lr=0.1, threads=2), 3 * 4),  # p and g are read, p is written
        (lambda p: flr.SGD(p, lr=0.1, momentum=0.5, threads=2), 5 * 4),  # each state array is read and written
        (lambda p: flr.Adam(p, lr=0.1, threads=2), 7 * 4),
        (lambda p: flr.AMSGrad(p.astype("f8"), lr=0.1, threads=2), 9 * 8),
    ],
    ids=["SGD", "momentum", "Adam", "AMSGrad"],
)
def test_threads_share_a_step_from_a_mebibyte_on(make, bytes_an_element):
    assert host.PARALLEL_ABOVE == 1 << 20
    least = -(-(1 << 20) // bytes_an_element)
    assert make(np.ones(least, "f4"))._engine.threads == 2
    assert make(np.ones(least - 1, "f4"))._engine.threads == 1


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_state_starts_at_cache_lines(dtype):
    """Each array's state; for a `Flat`, the buffer, which like the parameters has no gaps."""
    sizes = [3, 1, 16, 17, 0, 5]
    opt = flr.AMSGrad([np.ones(n, dtype) for n in sizes], lr=0.1)
    for name, x in opt.state.items():
        assert [y.ctypes.data % 64 for y, n in zip(x, sizes, strict=True) if n] == [0] * 5, name
    assert (np.array(opt._state.addresses()) % 64 == 0).all()
    flat = flr.AMSGrad(flr.Flat([np.ones(n, dtype) for n in sizes]), lr=0.1)
    for name, x in flat.state.items():
        assert x.buffer.ctypes.data % 64 == 0, name
        assert x.buffer.size == sum(sizes)


def stepped():
    p, g = {"a": np.ones(3), "b": np.ones(3)}, {"a": np.ones(3), "b": np.ones(3)}
    opt = flr.AdamW(p, lr=0.1, groups=[{"params": "b", "lr": 0.2, "lr_scale": 0.5}])
    opt.step(g)
    return opt, g


@pytest.mark.parametrize(
    "set_number",
    [
        lambda opt: setattr(opt, "lr", 0.5),
        lambda opt: setattr(opt, "lr", 1),
        lambda opt: setattr(opt, "lr", np.float32(0.5)),
        lambda opt: setattr(opt, "weight_decay", 0.5),
        lambda opt: setattr(opt, "betas", (0.5, 0.75)),
        lambda opt: opt.groups[0].update(eps=0.5),
        lambda opt: opt.groups[1].update(lr=0.5),
        lambda opt: opt.groups[1].update(lr_scale=0.25),
        lambda opt: setattr(opt, "decay", "coupled"),
    ],
)
def test_a_number_for_a_number_leaves_the_tables_as_they_are(set_number):
    opt, g = stepped()
    launch, settings = opt._engine.launch, opt._hyper.current
    set_number(opt)
    assert opt._hyper.current is settings
    assert opt._engine.launch is launch
    opt.step(g)
    assert opt._engine.launch is launch


def test_a_schedule_for_a_number_makes_tables_anew():
    opt, g = stepped()
    launch = opt._engine.launch
    opt.lr = S.Constant(0.5)
    opt.step(g)
    assert opt._engine.launch is not launch
