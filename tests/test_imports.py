"""Imports: `import pyfastlr` is light, and the kernels do not import the package above them."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
KERNELS = ROOT / "kernels"
HEAVY = {"numba", "llvmlite", "torch", "jax", "keras", "optax", "thinc", "sklearn", "scipy"}
HEAVY |= {"matplotlib", "typer", "rich"}


def loaded(program, tmp_path):
    """Top-level modules that a program imports in a new process. It must not touch its cache folder."""
    cache = tmp_path / "cache"
    result = subprocess.run(
        [sys.executable, "-c", f"{program}\nimport json, sys\nprint(json.dumps(list(sys.modules)))"],
        env={"PYFASTLR_CACHE_DIR": str(cache)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert not cache.exists()
    return {name.partition(".")[0] for name in json.loads(result.stdout)}


@pytest.mark.parametrize(
    "program",
    [
        "import pyfastlr",
        "from pyfastlr import schedules as S; S.Cosine(1e-3, steps=100).warmup(10)",
    ],
)
def test_import_loads_no_compiler_and_no_peer(program, tmp_path):
    modules = loaded(program, tmp_path)
    assert "pyfastlr" in modules
    assert not modules & HEAVY


def imports(path):
    """Absolute names that a source file imports, wherever in the file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.module


@pytest.mark.parametrize("path", sorted(KERNELS.rglob("*.py")), ids=lambda path: path.relative_to(KERNELS).as_posix())
def test_kernels_do_not_import_pyfastlr(path):
    assert "pyfastlr" not in {name.partition(".")[0] for name in imports(path)}


def test_kernels_folder_is_no_package():
    """PyPI has another package `kernels`, which ours must not shadow, even if the tree is on sys.path."""
    assert not (KERNELS / "__init__.py").exists()
    assert [path.name for path in KERNELS.iterdir() if path.suffix == ".py"] == []


def test_every_module_can_be_imported_by_a_walk():
    """Documentation tools walk packages; PyInstaller's hook, which needs PyInstaller, must not be among the modules."""
    program = (
        "import importlib, pkgutil, pyfastlr, pyfastlr_kernels\n"
        "walk = pkgutil.walk_packages\n"
        "names = [m.name for x in (pyfastlr, pyfastlr_kernels) for m in walk(x.__path__, x.__name__ + '.')]\n"
        "for name in names:\n"
        "    if name == 'pyfastlr.__main__' or '.cuda' in name:\n"
        "        continue\n"
        "    try:\n"
        "        importlib.import_module(name)\n"
        "    except ModuleNotFoundError as error:\n"
        "        parts = name.split('.')\n"  # an adapter needs its library, and nothing else
        "        assert parts[:2] == ['pyfastlr', 'interop'] and parts[2] in str(error), name\n"
        "print(len(names))"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert int(result.stdout) > 100
