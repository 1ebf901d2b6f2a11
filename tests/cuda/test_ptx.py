"""The PTX of every rule, as three generations of devices get it, executed by ptxemu beside the CPU's drive."""

import numpy as np
import pytest

pytest.importorskip("numba_cuda", reason='needs pip install "pyfastlr[cudatool]"')
pytestmark = pytest.mark.cudatool

import ptxops  # noqa: E402
from cases import CASES  # noqa: E402
from emulated import CAPABILITIES, Device, ptx  # noqa: E402
from pyfastlr_kernels.cuda import compiler, update  # noqa: E402
from pyfastlr_kernels.cuda.tables import BLOCKS, THREADS  # noqa: E402
from pyfastlr_kernels.rules import RULES  # noqa: E402
from vectors import KERNELS, SIZES, Vectors  # noqa: E402

DTYPES = ("float32", "float64")
rules = pytest.mark.parametrize("case", KERNELS, ids=lambda case: case.name)
dtypes = pytest.mark.parametrize("dtype", DTYPES)
capabilities = pytest.mark.parametrize("cc", CAPABILITIES, ids=lambda cc: f"sm_{cc[0]}{cc[1]}")
CASE = {case.name: case for case in CASES}


@capabilities
@dtypes
@rules
def test_unfused_ptx_has_the_bits_of_the_cpu(case, dtype, cc):
    v = Vectors(case, dtype).on(Device(cc, fused=False))
    v.run(scale=0.25)
    v.opt.groups[0]["weight_decay"] = 0.0  # the terms in p fall away
    v.launches.changed()
    v.run()
    v.run()
    v.assert_same_bits()
    moved = v.device.traces[0].bytes
    for name, addresses in v.at.items():
        for address, x in zip(addresses, v.copies[name], strict=True):
            assert moved["ld", address] == x.nbytes
            assert moved["st", address] == (0 if name == "g" else x.nbytes)


@capabilities
@dtypes
@rules
def test_shipped_ptx_is_within_2e_6_of_the_terms(case, dtype, cc):
    """With fused multiply-add roundings differ. All terms are positive here, so that each sum is as large as they."""
    v = Vectors(case, dtype, positive=True).on(Device(cc))
    before = [x.copy() for x in v.params]
    v.run()
    bound = 2e-6 if dtype == "float32" else 4e-15
    for name, j, host, device in v.pairs():
        terms = np.abs(host) if name != "p" else np.abs(before[j]) + np.abs(host - before[j])
        assert (np.abs(device - host) <= bound * terms).all(), f"{name}[{j}]"


@pytest.mark.parametrize("misalign", [False, True], ids=["aligned", "misaligned"])
@pytest.mark.parametrize(("case", "dtype"), [*((case, "float32") for case in KERNELS), (CASE["adam"], "float64")],
                         ids=lambda x: getattr(x, "name", x))  # fmt: skip
def test_numbers_from_the_table_and_rates_by_element(case, dtype, misalign):
    """Two groups, one of them with a rate for each element; tensors without a gradient fall behind in their counts."""
    rates = np.linspace(0.1, 2.0, SIZES[3]).astype(dtype)
    groups = [{"params": 3, "lr_scale": rates}, {"params": [0, 2], "lr": 0.05}]
    v = Vectors(case, dtype, groups=groups, misalign=misalign).on(Device((9, 0), fused=False))
    v.run()
    v.run(missing=(1, 4))
    v.run(missing=range(5))
    v.run()
    v.assert_same_bits()
    assert v.counts["count"].tolist() == [3, 2, 3, 3, 2]
    assert v.steps[0] == v.opt.steps == 3  # without a gradient there is no step
    assert len(v.device.traces) == 3  # one launch a step, none where there is no gradient


def lines(device):
    """Loads of 128 bits, by all threads of the first launch."""
    return sum(n for name, n in device.traces[0].counts.items() if name.startswith("ld.global.v4"))


@pytest.mark.parametrize("misalign", [False, True], ids=["aligned", "misaligned"])
def test_chunks_of_one_tensor(misalign):
    """More than one chunk, and lines that begin behind the chunk's first element."""
    v = Vectors(CASE["adamw"], "float32", sizes=(5000, 1024, 2049), misalign=misalign)
    device = Device(fused=False)
    device.multiprocessors = 2
    v.on(device)
    v.run()
    v.assert_same_bits()
    assert v.launches._grid == 9
    if not misalign:
        assert lines(device) == 4 * sum(n // 4 for n in v.sizes)


def test_arrays_that_are_misaligned_alike_are_moved_in_lines():
    """The tensors of one flat buffer: p, g and the state are equally far from a line."""
    v = Vectors(CASE["adam"], "float32", sizes=(1021,))
    device, shift = Device(fused=False), 4
    device.map = lambda array, misalign=0: device.memory.map(array, shift)
    v.on(device)
    v.run()
    v.assert_same_bits()
    assert lines(device) == 4 * 254  # three elements are before the first line, two behind the last


@pytest.mark.parametrize("shift", [4, 8, 12])
def test_arrays_that_end_before_their_first_line(shift):
    """Misaligned alike, with fewer elements than there are before a line: the emulator sees what lies beyond."""
    v = Vectors(CASE["adam"], "float32", sizes=(1, 2, 3))
    device = Device(fused=False)
    device.map = lambda array, misalign=0: device.memory.map(array, shift)
    v.on(device)
    v.run()
    v.assert_same_bits()
    assert lines(device) == 0


@pytest.mark.parametrize("alone", ["p", "g", "exp_avg", "exp_avg_sq", "rates"])
def test_one_array_alone_is_misaligned(alone):
    """Then there are no lines in which all arrays lie alike; the emulator stops at a misaligned one."""
    sizes = (37, 5)
    rates = [np.linspace(0.5, 2.0, n, dtype=np.float32) for n in sizes]
    v = Vectors(CASE["adam"], "float32", sizes=sizes, lr_scale=rates)
    device, mapped = Device(fused=False), iter(name for name in (*v.copies, "rates") for _ in sizes)
    device.map = lambda array, misalign=0: device.memory.map(array, 4 if next(mapped) == alone else 0)
    v.on(device)
    v.run()
    v.assert_same_bits()
    assert lines(device) == 0


def test_nothing_is_copied_where_nothing_changed():
    v = Vectors(CASE["adam"], "float32").on(Device())
    for _ in range(3):
        v.run()
    assert v.device.writes == 1  # the gradients' addresses; the numbers go by value


@capabilities
def test_the_shared_frontend_writes_what_the_backend_compiles(cc):
    rule = RULES["adam"]
    bounds = (THREADS, BLOCKS[4])

    def make():
        return update.make_update(rule, rule.folds["torch"], "float32", False, True)

    whole = compiler.ptx(*make(), cc, bounds)
    with compiler.unfused():
        separate = compiler.ptx(*make(), cc, bounds)
    assert "fma.rn.f32" in whole
    assert "fma.rn" not in separate
    body = lambda text: [line.split("[")[0] for line in text[text.index("{\n") :].splitlines()]  # noqa: E731
    assert body(whole) == body(ptx("adam-float32-values", make, bounds, cc))
    assert body(separate) == body(ptx("adam-float32-values", make, bounds, cc, fused=False))


def test_the_emulators_saturating_conversion():
    """What the compiler makes of min(max(x, 0), 1)."""
    x = np.array([-1.0, 0.25, 2.0, np.inf, -np.inf, np.nan])
    assert ptxops.convert(x, np.dtype("f8"), ["sat", "f64", "f64"]).tolist() == [0.0, 0.25, 1.0, 1.0, 0.0, 0.0]
    assert ptxops.convert(x[:3], np.dtype("f4"), ["rn", "f32", "f64"]).tolist() == [-1.0, 0.25, 2.0]
