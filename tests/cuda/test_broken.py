"""The checks see what they are for: each deliberately broken kernel fails one, and a sound one passes all."""

import numpy as np
import pytest

pytest.importorskip("numba_cuda", reason='needs pip install "pyfastlr[cudatool]"')
pytestmark = pytest.mark.cudatool

import broken  # noqa: E402
import sass  # noqa: E402
from emulated import ptx  # noqa: E402
from ptxemu import Kernel  # noqa: E402
from ptxmemory import Memory, Misaligned, OutOfBounds, Race  # noqa: E402

CC, BOUNDS = (9, 0), (128, 6)


def text(function, bounds=BOUNDS):
    return ptx(f"{function.__name__}-{bounds}", lambda: (function, broken.SIGNATURE), bounds, CC)


def run(function, n=512):
    memory, p = Memory(), np.arange(n, dtype=np.float32)
    Kernel(text(function)).run(memory, [np.int64(memory.map(p)), np.int64(n)], 1, 128)
    return p


def test_a_sound_kernel_runs():
    assert run(broken.sound).tolist() == list(range(0, 1024, 2))


@pytest.mark.parametrize(
    ("function", "fault"),
    [(broken.misaligned, Misaligned), (broken.past_the_end, OutOfBounds), (broken.racing, Race),
     (broken.reading_twice, Race)],
    ids=lambda x: x.__name__,
)  # fmt: skip
def test_the_emulator_stops(function, fault):
    with pytest.raises(fault):
        run(function)


def test_a_load_one_number_past_the_end_is_seen():
    memory, p = Memory(), np.zeros(511, np.float32)
    with pytest.raises(OutOfBounds):
        Kernel(text(broken.sound)).run(memory, [np.int64(memory.map(p)), np.int64(512)], 1, 128)


@pytest.mark.parametrize(
    ("function", "gates"),
    [(broken.sound, []), (broken.promoted, ["float64"]), (broken.one_by_one, ["lines"]),
     (broken.reading_twice, ["bytes"])],
    ids=lambda x: getattr(x, "__name__", "gates"),
)  # fmt: skip
@pytest.mark.skipif(sass.nvdisasm() is None, reason="nvdisasm is not installed")
def test_the_gates_close(function, gates, tmp_path):
    # p is read and written; no gradient, so one array less than an update has.
    found = sass.code(text(function), CC, tmp_path)
    assert sass.faults(found, 4, -1, 0, *BOUNDS) == gates


@pytest.mark.skipif(sass.nvdisasm() is None, reason="nvdisasm is not installed")
def test_the_gates_see_spills_and_too_many_registers(tmp_path):
    """An update that must leave room for 16 blocks spills; one that may take what it likes takes too much for 6."""
    from pyfastlr_kernels.cuda import update
    from pyfastlr_kernels.rules import RULES

    rule = RULES["amsgrad"]

    def make():
        return update.make_update(rule, rule.folds["torch"], "float32", False, True)

    for blocks, gate in ((16, "spills"), (1, "occupancy")):
        found = sass.code(ptx(f"amsgrad-{blocks}", make, (128, blocks), CC), CC, tmp_path)
        assert gate in sass.faults(found, 4, 3, 3, *BOUNDS), found
