"""The order-fixed sum on a device: the bits of its definition and of the CPU, however the tensors are cut."""

import numpy as np
import pytest

pytest.importorskip("numba_cuda", reason='needs pip install "pyfastlr[cudatool]"')
pytestmark = pytest.mark.cudatool

import sums  # noqa: E402
from emulated import CAPABILITIES, Device  # noqa: E402
from pyfastlr_kernels import tables  # noqa: E402
from pyfastlr_kernels.cuda import reduce  # noqa: E402
from pyfastlr_kernels.cuda.tables import BINDING, THREADS  # noqa: E402
from test_rules import same_bits  # noqa: E402
from test_sums import partials_of  # noqa: E402

SIZES = (1, 257, 5000, 1024, 20_000)


@pytest.mark.parametrize("length", [1024, 16384])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("cc", CAPABILITIES)
def test_sum_has_the_bits_of_its_definition(cc, dtype, length):
    rng = np.random.default_rng(3)
    tensors = [(rng.standard_normal(n) * 10.0 ** rng.uniform(-3, 3, n)).astype(dtype) for n in SIZES]
    device = Device(cc)
    table = tables.chunk_table(SIZES, length)
    bindings = np.zeros(len(SIZES), BINDING)
    bindings["g"] = [device.map(x) for x in tensors]
    bindings["g"][1] = 0  # no gradient
    blocks = [-(-n // tables.UNIT) for n in SIZES]
    firsts = np.cumsum([0, *blocks])
    partials, ticket, result = np.full(firsts[-1], np.nan), np.zeros(1, np.uint32), np.zeros(1)
    kernel = device.kernel(f"sum-of-squares-{dtype}", lambda: reduce.make_sum_of_squares(dtype), (THREADS, 4))
    arrays = [table, bindings, firsts[:-1], partials, np.array(firsts[-1]), ticket, result]
    arguments = [device.map(x) if x.ndim else x for x in arrays]
    for _ in range(2):  # the ticket is as it was
        kernel.run(device.memory, [np.int64(x) for x in arguments], len(table), THREADS)
        given = [x for k, x in enumerate(tensors) if k != 1]
        assert result[0] == sums.sum_of_squares(given)
        assert same_bits(partials[firsts[2] :], np.concatenate([partials_of(x) for x in tensors[2:]]))
        assert ticket[0] == 0
