"""`pyfastlr.capi.ffi` and `lib`: any buffer, a Python without numba, users' compiled code, the wheel pyfastlr-capi."""

import array
import ctypes
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import numpy as np
import pytest
from numba import njit

import pyfastlr as flr
from processes import run
from pyfastlr import capi
from pyfastlr.capi import loading

pytestmark = pytest.mark.skipif(not any(map(shutil.which, ("cc", "gcc", "clang"))), reason="there is no C compiler")
ROOT = Path(__file__).resolve().parents[1]
WITHOUT = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("numba", "llvmlite"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing())
"""
STEP = """
import numpy as np
config = ffi.new("fastlr_adamw_config *")
assert lib.fastlr_adamw_config_init(config) == 0
config.lr = 0.1
p, g, m, v = np.ones(5, "f4"), np.full(5, 0.5, "f4"), np.zeros(5, "f4"), np.zeros(5, "f4")
for t in range(1, 4):
    buffers = (ffi.from_buffer("float[]", x) for x in (p, g, m, v))
    assert lib.fastlr_adamw_step(config, t, *buffers, 0, 5) == 0
print(p.tobytes().hex())
"""


def three_steps():
    """The Python class's bits of STEP."""
    p = np.ones(5, "f4")
    opt = flr.AdamW(p, lr=0.1)
    for _ in range(3):
        opt.step(np.full(5, 0.5, "f4"))
    return p.tobytes().hex()


def adamw(lr=0.1):
    config = capi.ffi.new("fastlr_adamw_config *")
    assert capi.lib.fastlr_adamw_config_init(config) == 0
    config.lr = lr
    return config


def test_version_is_that_of_the_package():
    major, minor, patch = (int(x) for x in flr.__version__.split("."))
    assert capi.lib.fastlr_version() == capi.lib.FASTLR_VERSION == 10_000 * major + 100 * minor + patch


@pytest.mark.parametrize("missing", [False, True])
def test_python_without_numba(missing):
    program = (WITHOUT if missing else "") + "from pyfastlr.capi import ffi, lib\n" + STEP
    assert run(program + "assert 'numba' not in sys.modules\n" if missing else program) == three_steps()


BUFFERS = {
    "numpy": lambda: np.ones(5, "f4"),
    "array": lambda: array.array("f", [1.0] * 5),
    "memoryview": lambda: memoryview(bytearray(np.ones(5, "f4").tobytes())).cast("f"),
    "bytearray": lambda: bytearray(np.ones(5, "f4").tobytes()),
    "ctypes": lambda: (ctypes.c_float * 5)(*[1.0] * 5),
    "cffi": lambda: capi.ffi.buffer(capi.ffi.new("float[]", [1.0] * 5)),
}


@pytest.mark.parametrize("kind", BUFFERS)
def test_any_buffer(kind):
    p, g, m, v = BUFFERS[kind](), array.array("f", [0.5] * 5), bytearray(20), bytearray(20)
    for t in range(1, 4):
        buffers = [capi.ffi.from_buffer("float[]", x) for x in (p, g, m, v)]
        assert capi.lib.fastlr_adamw_step(adamw(), t, *buffers, 0, 5) == 0
    assert bytes(p).hex() == three_steps()


def test_a_buffer_of_another_type_is_refused():
    p = capi.ffi.from_buffer("double[]", np.ones(5))
    with pytest.raises(TypeError, match="float"):
        capi.lib.fastlr_adamw_step(adamw(), 1, p, p, p, p, 0, 5)


def test_an_error_is_a_code_with_a_text():
    x = capi.ffi.from_buffer("float[]", np.ones(5, "f4"))
    code = capi.lib.fastlr_adamw_step(adamw(lr=float("nan")), 1, x, x, x, x, 0, 5)
    assert code == capi.lib.FASTLR_ERROR_LR
    assert "lr" in capi.ffi.string(capi.lib.fastlr_error_text(code)).decode()


def address(name):
    return int(capi.ffi.cast("intptr_t", capi.ffi.addressof(capi.lib, name)))


def test_a_step_in_compiled_code_by_address():
    """A user's jitted loop calls the C function: the bits are the driver's."""
    prototype = ctypes.CFUNCTYPE(ctypes.c_int, *(ctypes.c_void_p, ctypes.c_int64), *(ctypes.c_void_p,) * 4,
                                 *(ctypes.c_size_t,) * 2)  # fmt: skip
    step = prototype(address("fastlr_adamw_step"))
    config = adamw()
    at = int(capi.ffi.cast("intptr_t", config))

    @njit
    def train(p, target, m, v, steps):
        g, code = np.empty_like(p), 0
        for t in range(1, steps + 1):
            for i in range(p.size):
                g[i] = p[i] - target[i]
            code += step(at, t, p.ctypes.data, g.ctypes.data, m.ctypes.data, v.ctypes.data, 0, p.size)
        return code

    rng = np.random.default_rng(0)
    p, target = (rng.standard_normal(1001).astype("f4") for _ in range(2))
    q = p.copy()
    assert train(p, target, np.zeros_like(p), np.zeros_like(p), 50) == 0
    opt = flr.AdamW(q, lr=0.1)
    for _ in range(50):
        opt.step(q - target)
    assert p.tobytes() == q.tobytes()


# --- The wheel --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    cc = next(
        filter(shutil.which, ("cc", "gcc", "clang"))
    )  # without the levels of x86-64, it takes a third of the time
    command = [sys.executable, ROOT / "scripts" / "capi_wheel.py", "-o", folder, "--cc", f"{cc} -DFASTLR_NO_CLONES"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert [printed.strip()] == [str(path) for path in folder.iterdir()]
    return Path(printed.strip())


@pytest.fixture(scope="module")
def fresh(wheel, tmp_path_factory):
    """Python of a new environment that has only the wheel."""
    folder = tmp_path_factory.mktemp("fresh")
    venv.create(folder, with_pip=False)
    python = folder / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    install = ["-m", "pip", "--python", python, "install", "--quiet", "--no-index", "--no-deps", wheel]
    subprocess.run([sys.executable, *map(str, install)], check=True, capture_output=True)
    return python


def test_wheel_has_the_platform_tag_and_what_it_needs(wheel):
    assert wheel.name.startswith(f"pyfastlr_capi-{flr.__version__}-py3-none-")
    assert not wheel.name.endswith("-any.whl")
    with zipfile.ZipFile(wheel) as archive:
        assert archive.testzip() is None
        names = {name.partition(".dist-info/")[2] or name for name in archive.namelist()}
        texts = [archive.read(f"pyfastlr_capi/include/fastlr.{x}").decode() for x in "hc"]
    assert texts == [loading.header(), loading.source()]
    assert {"METADATA", "WHEEL", "RECORD", "licenses/LICENSE", "pyfastlr_capi/__init__.py"} < names
    assert len(names) == 8


def test_wheel_in_a_new_environment(fresh):
    program = (
        "import ctypes, pathlib, pyfastlr_capi as x\n"
        "assert 'FASTLR_API int fastlr_version(void);' in (pathlib.Path(x.include) / 'fastlr.h').read_text()\n"
        "print(ctypes.CDLL(x.library).fastlr_version(), x.__version__)\n"
    )
    done = subprocess.run([fresh, "-I", "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == f"{capi.lib.fastlr_version()} {flr.__version__}\n"


def test_lib_is_the_library_of_the_wheel(fresh, tmp_path):
    """cffi's ABI mode, no compiler, nothing written to the cache."""
    (site,) = fresh.parents[1].glob("lib/python*/site-packages")
    program = WITHOUT + (
        "import shutil, sys\n"
        "sys.path.append(sys.argv[1])\n"
        "shutil.which = lambda name: None\n"
        "from pyfastlr.capi import ffi, lib, loading\n"
        "import pyfastlr_capi\n"
        "assert str(loading.library().path) == pyfastlr_capi.library\n"
    )
    assert run(program + STEP, site, PYFASTLR_CACHE_DIR=str(tmp_path / "cache")) == three_steps()
    assert not (tmp_path / "cache").exists()


def test_a_wheel_of_other_sources_is_not_used(monkeypatch, fresh):
    (site,) = fresh.parents[1].glob("lib/python*/site-packages")
    monkeypatch.syspath_prepend(str(site))
    found = loading.installed()
    assert found is not None
    monkeypatch.setattr(loading, "source", lambda: "other")
    assert loading.installed() is None
    monkeypatch.delitem(sys.modules, "pyfastlr_capi")
