"""Gates on the machine code of every kernel: what would make it slow on a device, seen without one."""

import pytest

pytest.importorskip("numba_cuda", reason='needs pip install "pyfastlr[cudatool]"')
pytestmark = pytest.mark.cudatool

import sass  # noqa: E402
from emulated import CAPABILITIES, ptx  # noqa: E402
from pyfastlr_kernels.cuda import around, update  # noqa: E402
from pyfastlr_kernels.cuda.tables import BLOCKS, THREADS  # noqa: E402
from pyfastlr_kernels.rules import RULES  # noqa: E402

ITEMSIZE = {"float32": 4, "float64": 8}
UPDATES = {rule.update.__name__: rule for rule in RULES.values()}  # radam is adam's


@pytest.fixture(autouse=True)
def _disassembler():
    if sass.nvdisasm() is None:
        pytest.skip('nvdisasm is not installed: pip install "pyfastlr[cudatool]"')


@pytest.mark.parametrize("variant", ["values", "table-by-element"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", UPDATES)
def test_kernel_passes_every_gate(name, dtype, variant, tmp_path):
    rule, by_element = UPDATES[name], variant.endswith("by-element")
    bounds = (THREADS, BLOCKS[ITEMSIZE[dtype]])

    def make():
        fold = next(iter(rule.folds.values()))
        return update.make_update(rule, fold, dtype, by_element, variant == "values")

    # A rate for each element is one more array to read.
    read = len(rule.slots) + by_element
    for cc in CAPABILITIES if variant == "values" else CAPABILITIES[1:2]:
        found = sass.code(ptx(f"{name}-{dtype}-{variant}", make, bounds, cc), cc, tmp_path)
        failed = sass.faults(found, ITEMSIZE[dtype], read, len(rule.slots), *bounds)
        assert not failed, (cc, found)


AROUND = [(name, "float32", ("average", "copy")) for name in UPDATES]
AROUND += [("adam", dtype, ()) for dtype in ITEMSIZE]


@pytest.mark.parametrize(("name", "dtype", "others"), AROUND, ids=lambda x: x if type(x) is str else "-".join(x))
def test_kernel_with_options_passes_every_gate(name, dtype, others, tmp_path):
    """The arrays that it writes besides are in its loop: an average is read and written, a copy written only."""
    rule, bounds = UPDATES[name], (THREADS, BLOCKS[ITEMSIZE[dtype]])
    clamps = not others

    def make():
        fold = next(iter(rule.folds.values()))
        return around.make_update_around(rule, fold, dtype, False, others, clamps)

    text = ptx(f"{name}-{dtype}-around-{'-'.join(others)}", make, bounds, CAPABILITIES[1])
    found = sass.code(text, CAPABILITIES[1], tmp_path)
    read, written = len(rule.slots) + ("average" in others), len(rule.slots) + len(others)
    failed = sass.faults(found, ITEMSIZE[dtype], read, written, *bounds)
    assert not failed, found
