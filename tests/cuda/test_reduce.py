"""Sums of squares on a device: the bits of their definition and of the CPU, however the tensors are cut."""

import math

import numpy as np
import pytest

pytest.importorskip("numba_cuda", reason='needs pip install "pyfastlr[cudatool]"')
pytestmark = pytest.mark.cudatool

import sums  # noqa: E402
from emulated import CAPABILITIES, Device  # noqa: E402
from pyfastlr_kernels import tables  # noqa: E402
from pyfastlr_kernels.cuda import decide, reduce  # noqa: E402
from pyfastlr_kernels.cuda.tables import BINDING, THREADS, Around  # noqa: E402
from test_rules import same_bits  # noqa: E402
from test_sums import partials_of  # noqa: E402

SIZES = (1, 257, 5000, 1024, 20_000)
MISSING = 1  # tensor without gradient


class Sums:
    """The gradients of some tensors, and the kernels that measure them and decide."""

    def __init__(self, cc, dtype, tensors, length=1024, clip_rows=(0, 1, 0)):
        self.device, self.dtype, self.tensors, n = Device(cc), dtype, tensors, len(tensors)
        table, bindings = np.zeros(n, tables.TENSOR), np.zeros(n, BINDING)
        sizes = [x.size for x in tensors]
        table["size"], table["row"] = sizes, np.arange(n) % len(clip_rows)
        bindings["g"] = [0 if k == MISSING else self.device.map(x) for k, x in enumerate(tensors)]
        self.firsts = np.cumsum([0, *(-(-size // tables.UNIT) for size in sizes)])
        rows = np.zeros(len(clip_rows), tables.row_dtype(()))
        for name in ("clip_norm", "clip_norm_each", "clip_value"):
            rows[name] = math.inf
        blocks = self.firsts[-1]
        self.squares, self.norms, self.groups = np.full(2 * blocks, np.nan), np.zeros(n), np.zeros(len(rows))
        self.partials, self.second = self.squares[:blocks], self.squares[blocks:]
        self.found, self.around = np.zeros(n, np.int64), np.full((n, len(Around._fields)), np.nan, dtype)
        self.bad, self.chunks = np.full(n, -1), tables.chunk_table(sizes, length)
        self.record = np.zeros(1, tables.OPTIONS)
        o, at = self.record, self.device.map
        o["norms"], o["each"], o["every"], o["row_size"], o["n_rows"] = 1, 1, 1, rows.dtype.itemsize, len(rows)
        o["first_blocks"], o["squares"], o["clip_rows"] = at(self.firsts), at(self.squares), at(np.array(clip_rows))
        o["tensor_norms"], o["row_norms"], o["bad"] = at(self.norms), at(self.groups), at(self.bad)
        self.places = [at(table), at(self.chunks), at(bindings), at(rows), at(o), at(self.found)]

    def run(self, inv_scale=1.0, clamps=False):
        """Do the launches of a step before its update, like `stages.Stages`."""
        name = f"measure-{self.dtype}{'-clamped' if clamps else ''}"
        measure = self.device.kernel(name, lambda: reduce.make_measure(self.dtype, clamps), (THREADS, 4))
        last = self.device.kernel(f"decide-{self.dtype}", lambda: decide.make_decide(self.dtype), (THREADS, 1))
        tensors, chunks, bindings, rows, o, found = map(np.int64, self.places)
        around, n, factor = np.int64(self.device.map(self.around)), np.int64(len(self.tensors)), np.float64(inv_scale)
        arguments = [tensors, n, chunks, bindings, rows, o, found, factor]
        measure.run(self.device.memory, arguments, len(self.chunks), THREADS)
        arguments = [tensors, n, bindings, rows, o, found, around, np.int64(1), np.int64(0), factor, np.float64(1.0)]
        last.run(self.device.memory, arguments, 1, THREADS)
        return self.record[0]


def drawn(dtype, sizes=SIZES):
    rng = np.random.default_rng(3)
    return [(rng.standard_normal(n) * 10.0 ** rng.uniform(-3, 3, n)).astype(dtype) for n in sizes]


@pytest.mark.parametrize("length", [1024, 16384])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("cc", CAPABILITIES)
def test_sum_has_the_bits_of_its_definition(cc, dtype, length):
    tensors = drawn(dtype)
    s = Sums(cc, dtype, tensors, length)
    for _ in range(2):  # the counters are as they were
        found = s.run(inv_scale=0.25)
        given = [x for k, x in enumerate(tensors) if k != MISSING]
        assert found["grad_norm"] == sums.norm(given) * 0.25
        last = s.firsts[MISSING + 1]
        assert same_bits(s.partials[last:], np.concatenate([partials_of(x) for x in tensors[MISSING + 1 :]]))
        want = [0.0 if k == MISSING else sums.norm([x]) * 0.25 for k, x in enumerate(tensors)]
        assert s.norms.tolist() == want
        assert s.groups[0] == sums.norm([tensors[k] for k in (0, 2, 3)]) * 0.25
        assert s.groups[1] == sums.norm([tensors[4]]) * 0.25
        assert (found["nonfinite"], found["first_bad"], found["status"]) == (0, -1, 0)
        assert not s.found.any()
        assert not s.bad.any()
        assert s.around[:, 0].tolist() == [0.25] * len(tensors)


@pytest.mark.parametrize("length", [1024, 16384])
@pytest.mark.parametrize("exponents", [(-600,), (-1050,), (500,), (1000,), (0, 0, 600, -600, -1050), (-530, 0, -530)])
def test_float64_squares_that_overflow_or_vanish(exponents, length):
    """Each norm, of all tensors, a group or one, has the scale that its own total needs."""
    sizes = (5, 3, 1500, 9000, 2500)
    tensors = [x * 2.0 ** exponents[k % len(exponents)] for k, x in enumerate(drawn("float64", sizes))]
    s = Sums((9, 0), "float64", tensors, length)
    found = s.run()
    used = [x for k, x in enumerate(tensors) if k != MISSING]
    assert 0.0 < found["grad_norm"] == sums.norm(used) < math.inf
    assert s.norms.tolist() == [0.0 if k == MISSING else sums.norm([x]) for k, x in enumerate(tensors)]
    assert s.groups[:2].tolist() == [sums.norm([tensors[k] for k in group]) for group in ((0, 2, 3), (4,))]
    assert 0.0 < min(s.groups[:2]) <= max(s.groups[:2]) < math.inf


def test_a_block_whose_squares_are_good_is_read_once():
    """And a block that has the second sum has the bits of its definition."""
    tensors = drawn("float64", (2048, 1, 3000))
    tensors[0][:1024] *= 2.0**600
    tensors[2][1024:2048] *= 2.0**-600
    s = Sums((8, 0), "float64", tensors)
    s.run()
    up, down = sums.partial_sums(tensors[2], 2.0**600)[1], sums.partial_sums(tensors[0], 2.0**-600)[0]
    assert same_bits(s.second, np.array([down, np.nan, 0.0, np.nan, up, np.nan]))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("length", [1024, 16384])
def test_elements_that_are_not_finite_are_counted(dtype, length):
    tensors = drawn(dtype)
    s = Sums((8, 0), dtype, tensors, length)
    tensors[2][[0, 17, 1024, 4999]] = np.nan, np.inf, -np.inf, np.nan
    tensors[4][[3, 2048]] = np.inf, -np.inf
    tensors[MISSING][0] = np.nan
    found = s.run()
    assert (found["nonfinite"], found["first_bad"]) == (6, 2)
    assert s.bad.tolist() == [0, 0, 4, 0, 2]
    assert math.isnan(found["grad_norm"])
    assert s.norms[4] == math.inf
    tensors[2][:], tensors[4][:] = 1.0, 2.0
    found = s.run()
    assert (found["nonfinite"], found["first_bad"], s.bad.any()) == (0, -1, False)
