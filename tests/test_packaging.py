"""Wheel, sdist and editable install, built from this tree without a network."""

import os
import subprocess
import sys
import tarfile
import zipfile
from email.parser import HeaderParser
from pathlib import Path

import editables
import pytest

import pyfastlr

ROOT = Path(__file__).resolve().parents[1]
SOURCES = {"pyfastlr": ROOT / "pyfastlr", "pyfastlr_kernels": ROOT / "kernels" / "pyfastlr_kernels"}


def run(*command, cwd, **env):
    """Run `python *command` and return what it printed."""
    result = subprocess.run(
        [sys.executable, *map(str, command)],
        cwd=cwd,
        env={**os.environ, **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert result.returncode == 0, result.stdout
    return result.stdout


def files(root):
    """Every file under a folder, relative to it, except files that Python writes there."""
    return {
        path.relative_to(root).as_posix()
        for path in root.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def content(wheel):
    """Names that a wheel installs, without its metadata."""
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name}


@pytest.fixture(scope="module")
def dist(tmp_path_factory):
    """Folder with the wheel and the sdist."""
    folder = tmp_path_factory.mktemp("dist")
    run("-m", "hatchling", "build", "-t", "wheel", "-t", "sdist", "-d", folder, cwd=ROOT)
    return folder


@pytest.fixture(scope="module")
def wheel(dist):
    return next(dist.glob("*.whl"))


@pytest.fixture(scope="module")
def unpacked(dist, tmp_path_factory):
    """Folder with the unpacked sdist."""
    folder = tmp_path_factory.mktemp("sdist")
    with tarfile.open(next(dist.glob("*.tar.gz"))) as archive:
        archive.extractall(folder, filter="data")
    return next(folder.iterdir())


def test_wheel_has_every_file_of_both_packages_and_nothing_else(wheel):
    expected = {f"{package}/{name}" for package, folder in SOURCES.items() for name in files(folder)}
    assert {f"{package}/py.typed" for package in SOURCES} < expected
    assert content(wheel) == expected


def test_metadata(wheel):
    with zipfile.ZipFile(wheel) as archive:
        folder = f"pyfastlr-{pyfastlr.__version__}.dist-info"
        metadata = HeaderParser().parsestr(archive.read(f"{folder}/METADATA").decode())
        licence = archive.read(f"{folder}/licenses/LICENSE").decode()
    assert metadata["Version"] == pyfastlr.__version__
    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata["License-Expression"] == "Apache-2.0"
    assert "Version 2.0, January 2004" in licence
    needed = [need.split(">")[0] for need in metadata.get_all("Requires-Dist") if "extra ==" not in need]
    assert sorted(needed) == ["cffi", "numba", "numpy"]
    assert set(metadata.get_all("Provides-Extra")) >= {"cli", "demo", "test", "interop", "bench", "docs"}


def test_sdist_has_what_the_tests_need(unpacked):
    for folder in ("pyfastlr", "kernels", "tests", "bench", "docs", "examples", "scripts"):
        assert files(unpacked / folder) == files(ROOT / folder), folder
    assert {"README.md", "LICENSE", "CHANGELOG.md", "CONTRIBUTING.md", "constraints.txt", ".ci/run"} < files(unpacked)


def test_wheel_of_the_sdist_is_the_wheel_of_the_tree(wheel, unpacked, tmp_path):
    run("-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path, cwd=unpacked)
    assert content(tmp_path / wheel.name) == content(wheel)


def test_installed_wheel_steps(wheel, tmp_path):
    target = tmp_path / "target"
    run("-m", "pip", "install", "--no-deps", "--no-index", "--target", target, wheel, cwd=tmp_path)
    assert {path.name for path in target.iterdir() if path.suffix != ".dist-info"} == {*SOURCES, "bin"}
    program = (
        "import numpy as np, pyfastlr as flr, pyfastlr_kernels as k; p = np.ones(3); "
        "flr.SGD(p, lr=0.5).step(np.ones(3)); print(flr.__file__, k.__file__, p.tolist(), sep='\\n')"
    )
    printed = run("-c", program, cwd=tmp_path, PYTHONPATH=str(target)).splitlines()
    assert printed == [str(target / package / "__init__.py") for package in SOURCES] + ["[0.5, 0.5, 0.5]"]


def test_editable_install_offers_the_two_packages(tmp_path):
    """Not the neighbouring folders, or `import bench` and `import scripts` would find ours."""
    run("-c", f"from hatchling.build import build_editable; build_editable({str(tmp_path)!r})", cwd=ROOT)
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as archive:
        archive.extractall(tmp_path)
    here = [str(tmp_path), str(Path(editables.__file__).parents[1])]
    program = f"""
import sys
sys.path += {here}
import _editable_impl_pyfastlr
from importlib.util import find_spec
for name in ("pyfastlr", "pyfastlr_kernels", "bench", "scripts", "tests", "examples", "docs"):
    print(getattr(find_spec(name), "origin", None))
"""
    printed = run("-S", "-c", program, cwd=tmp_path, PYTHONPATH="").splitlines()
    assert printed == [str(folder / "__init__.py") for folder in SOURCES.values()] + ["None"] * 5
