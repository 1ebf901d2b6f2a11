"""Allowed imports: the layers of docs/architecture.md from bottom to top, without cycles."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = {"pyfastlr_kernels": ROOT / "kernels" / "pyfastlr_kernels", "pyfastlr": ROOT / "pyfastlr"}

# A module belongs to the layer whose name is its longest prefix. It may import its own layer and those that are named.
# Imports inside functions count too, except the ones in LATE: first uses, which load numba, LLVM or a device's library.
LAYERS = {
    "pyfastlr_kernels": set(),
    "pyfastlr_kernels.tables": set(),
    "pyfastlr_kernels.reduce": {"pyfastlr_kernels.tables"},
    "pyfastlr_kernels.stage_rules": {"reduce"},
    "pyfastlr_kernels.python_side": set(),
    "pyfastlr_kernels.curves": set(),
    "pyfastlr_kernels.compat_curves": {"pyfastlr_kernels.curves"},
    "pyfastlr_kernels.stamps": set(),
    "pyfastlr_kernels.packing": set(),
    "pyfastlr_kernels.rules": {"pyfastlr_kernels.tables", "packing"},
    "pyfastlr_kernels.printing": set(),
    "pyfastlr_kernels.compile": {"reduce", "packing"},
    "pyfastlr_kernels.cpu": {"rules", "packing", "tables", "reduce", "stage_rules", "python_side", "compile"},
    "pyfastlr_kernels.xla": {"rules", "tables", "compile", "cpu"},
    "pyfastlr_kernels.cuda": {"rules", "tables", "reduce", "stage_rules", "compile"},
    "pyfastlr_kernels.njit": {"rules", "tables", "compile", "cpu", "stamps"},
    "pyfastlr_kernels.njit_norms": {"reduce", "compile", "cpu", "njit"},
    "pyfastlr.schedules": {"curves", "compat_curves", "compile", "stamps", "arrays"},
    "pyfastlr.arrays": {"compile", "cuda", "packing"},
    "pyfastlr.files": {"arrays"},
    "pyfastlr.linesearch": {"arrays"},
    "pyfastlr.engines": {
        "arrays",
        "schedules",
        "rules",
        "packing",
        "tables",
        "reduce",
        "python_side",
        "compile",
        "cpu",
        "cuda",
    },
    "pyfastlr.optimizers": {
        "engines",
        "linesearch",
        "arrays",
        "files",
        "schedules",
        "rules",
        "packing",
        "tables",
        "compile",
    },
    "pyfastlr.capi": {
        "pyfastlr",
        "files",
        "compile",
        "optimizers",
        "engines",
        "rules",
        "tables",
        "reduce",
        "stage_rules",
        "curves",
        "compat_curves",
        "printing",
    },
    "pyfastlr.kernels": {"optimizers", "engines", "rules", "reduce", "compile", "cpu", "njit", "njit_norms", "stamps"},
    "pyfastlr.numpy_reference": set(),
    "pyfastlr.checkpoints": {"optimizers", "files", "arrays"},
    "pyfastlr.interop": {"optimizers", "engines", "arrays", "schedules", "rules"},
    "pyfastlr.interop.jax": {
        "interop",
        "optimizers",
        "engines",
        "schedules",
        "tables",
        "rules",
        "compile",
        "cpu",
        "xla",
    },
    "pyfastlr.interop.keras": {
        "pyfastlr.interop",
        "pyfastlr.interop.jax",
        "schedules",
        "optimizers",
        "arrays",
        "rules",
    },
    "pyfastlr.interop.torch": {"engines", "rules", "tables", "python_side", "cpu"},
    "pyfastlr": {"schedules", "arrays", "optimizers", "files", "checkpoints", "kernels", "tune", "interop", "capi"},
    "pyfastlr.__main__": {"cli"},
    "pyfastlr.tune": {
        "optimizers",
        "engines",
        "linesearch",
        "arrays",
        "schedules",
        "compile",
        "rules",
        "tables",
        "plot",
    },
    "pyfastlr.demo": {"pyfastlr", "optimizers", "schedules", "numpy_reference"},
    "pyfastlr.plot": {"demo", "schedules"},
    "pyfastlr.cli": {
        "pyfastlr",
        "capi",
        "schedules",
        "tune",
        "optimizers",
        "files",
        "engines",
        "arrays",
        "demo",
        "plot",
        "benchmark",
        "compile",
        "cpu",
        "cuda",
        "python_side",
    },
    "pyfastlr.benchmark": {
        "pyfastlr",
        "optimizers",
        "schedules",
        "numpy_reference",
        "plot",
        "cli",
        "rules",
        "compile",
        "cpu",
    },
}
# Else a circle of layers.
LATE = {("pyfastlr.plot", "pyfastlr.demo"), ("pyfastlr.cli", "pyfastlr.benchmark"), ("pyfastlr", "pyfastlr.capi")}


def layer_of(module):
    parts = module.split(".")
    return next(name for k in range(len(parts), 0, -1) if (name := ".".join(parts[:k])) in LAYERS)


def full_name(short):
    """Layer by the short name in LAYERS."""
    return short if short in LAYERS else next(name for name in LAYERS if name.rpartition(".")[2] == short)


def modules():
    for package, folder in PACKAGES.items():
        for path in sorted(folder.rglob("*.py")):
            parts = [package, *path.relative_to(folder).with_suffix("").parts]
            yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


MODULES = dict(modules())


def imported(module, path):
    """Modules of the two packages that a file imports: (name, whether at its top level)."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    top = set(map(id, tree.body))
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            parent = ".".join(package.split(".")[: len(package.split(".")) - node.level + 1]) if node.level else ""
            base = ".".join(x for x in (parent, node.module) if x)
            found = [y if (y := f"{base}.{alias.name}") in MODULES else base for alias in node.names]
        else:
            continue
        for name in found:
            if name.split(".")[0] in PACKAGES:
                yield name, id(node) in top


@pytest.mark.parametrize("module", MODULES)
def test_module_imports_only_what_is_below_it(module):
    mine = layer_of(module)
    allowed = {mine, *map(full_name, LAYERS[mine])}
    assert {layer_of(name) for name, _ in imported(module, MODULES[module])} <= allowed


def test_layers_have_no_circle():
    graph = {
        name: {x for x in map(full_name, below) if x != name and (name, x) not in LATE}
        for name, below in LAYERS.items()
    }
    TopologicalSorter(graph).prepare()


def test_modules_have_no_circle():
    """At import; a package's own __init__ counts as what it imports."""
    graph = {
        module: {name for name, is_top in imported(module, path) if is_top and name != module and name in MODULES}
        for module, path in MODULES.items()
    }
    # A module imports its packages first, but what that means for circles is said by the packages' own imports.
    TopologicalSorter(graph).prepare()
