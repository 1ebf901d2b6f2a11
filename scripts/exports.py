"""Write the imports that name every optimizer and rule, and thinc's entry points, or check them.

Run `python scripts/exports.py [--check]`.

The script reads the source text. It finds each file in rules/ that has `RULES`, and each `Optimizer` class in
optimizers/. Names that are already listed keep their place, because tables, help and the benchmark use that order. New
names come last.
"""

import ast
import re
import sys
import textwrap
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RULES = ROOT / "kernels" / "pyfastlr_kernels" / "rules"
PACKAGE = ROOT / "pyfastlr"
OTHERS = (
    "base",
    "loss_scale",
    "lbfgs.optimizer",
    "saving.flat_state",
    "saving.files",
    "saving.matching",
    "saving.packed",
    "stats",
)  # files with other public names
SAVING = ("Loaded", "PackedArray", "Saved", "flatten_state", "load", "save", "unflatten_state")


def families() -> list[str]:
    """Return the files of rules/ that have a table of rules."""
    return [
        path.stem
        for path in sorted(RULES.glob("*.py"))
        if any(
            isinstance(node, ast.Assign) and any(getattr(x, "id", "") == "RULES" for x in node.targets)
            for node in ast.parse(path.read_text(encoding="utf-8")).body
        )
    ]


def classes() -> dict[str, str]:
    """Return the optimizer classes, each with its file."""
    return {
        node.name: path.stem
        for path in sorted((PACKAGE / "optimizers").glob("*.py"))
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.ClassDef) and any(getattr(base, "id", "") == "Optimizer" for base in node.bases)
    }


def in_order(listed: Iterable[str], found: Iterable[str]) -> list[str]:
    """Return the found names: first the listed ones in their order, then the others in theirs."""
    found = list(found)
    old = [name for name in listed if name in found]
    return [*old, *(name for name in found if name not in old)]


def as_ruff_sorts(names: Iterable[str], key: str = "lower") -> list[str]:
    """Return the names sorted: constants, then classes, then others."""
    return sorted(names, key=lambda x: (0 if x.isupper() else 1 if x[0].isupper() else 2, getattr(x, key)()))


def replaced(text: str, pattern: str, new: str) -> str:
    """Return the text with the first match of a pattern replaced."""
    result, count = re.subn(pattern, lambda _: new, text, count=1, flags=re.DOTALL | re.MULTILINE)
    if count != 1:
        raise ValueError(f"need a match for {pattern!r}, got none")
    return result


def rules(text: str) -> str:
    """Return rules/__init__.py with up-to-date imports."""
    (listed,) = re.findall(r"^_FAMILIES = \((.*?)\)$", text, re.DOTALL | re.MULTILINE)
    names = in_order(re.findall(r"\w+", listed), families())
    text = replaced(text, r"^from \. import [^\n]*$", f"from . import {', '.join(sorted(names))}")
    return replaced(text, r"^_FAMILIES = \(.*?\)$", f"_FAMILIES = ({', '.join(names)})")


def optimizers(text: str) -> str:
    """Return optimizers/__init__.py with up-to-date imports."""
    line = re.compile(r"^from \.([\w.]+) import (\w+) as \2\n", re.MULTILINE)
    made = classes()
    ours = [name for module, name in line.findall(text) if module not in OTHERS]
    kept = "".join(x.group(0) for x in line.finditer(text) if x.group(1) in OTHERS)
    lines = "".join(f"from .{made[name]} import {name} as {name}\n" for name in in_order(ours, made))
    return replaced(text, r"(^from \.[\w.]+ import \w+ as \w+\n)+", kept + lines)


def package(text: str) -> str:
    """Return pyfastlr/__init__.py with up-to-date imports."""
    names = [*classes(), "LBFGS", "LossScale", "Optimizer", "Stats", *SAVING]
    lines = "".join(f"from .optimizers import {name} as {name}\n" for name in as_ruff_sorts(names))
    gone = set(re.findall(r"^from \.optimizers import (\w+)", text, re.MULTILINE)) - {*names}
    text = replaced(text, r"(^from \.optimizers import \w+ as \w+\n)+", lines)
    (listed,) = re.findall(r"^__all__ = \[(.*?)\]", text, re.DOTALL | re.MULTILINE)
    public = as_ruff_sorts({*names, *re.findall(r"\w+", listed)} - gone, "__str__")
    quoted = textwrap.fill(", ".join(f'"{name}"' for name in public) + ",", 120, initial_indent="    ",
                           subsequent_indent="    ")  # fmt: skip
    return replaced(text, r"^__all__ = \[.*?\]", f"__all__ = [\n{quoted}\n]")


def schedules() -> list[str]:
    """Return the schedule classes that `pyfastlr.schedules` exports, without the one for functions."""
    folder = PACKAGE / "schedules"
    imports = [
        node
        for node in ast.parse((folder / "__init__.py").read_text(encoding="utf-8")).body
        if isinstance(node, ast.ImportFrom) and node.level and node.module and node.module not in ("base", "checks")
    ]
    bases = {
        node.name: {getattr(base, "id", "") for base in node.bases}
        for x in imports
        for node in ast.parse((folder / f"{x.module}.py").read_text(encoding="utf-8")).body
        if isinstance(node, ast.ClassDef)
    }

    def is_schedule(name: str) -> bool:
        return name == "Schedule" or any(map(is_schedule, bases.get(name, ())))

    exported = {alias.name for x in imports for alias in x.names}
    return sorted(name for name in exported if name != "Custom" and is_schedule(name))


def entry_points(text: str) -> str:
    """Return pyproject.toml with a name in thinc's registries for each optimizer and schedule."""
    for group, names, place in (("optimizers", sorted(classes()), ""), ("schedules", schedules(), "FACTORIES.")):
        lines = "".join(f'"pyfastlr.{x}.v1" = "pyfastlr.interop.thinc:{place}{x}"\n' for x in names)
        head = f"[project.entry-points.thinc_{group}]\n"
        text = replaced(text, rf'^{re.escape(head)}(?:"[^\n]*\n)*', head + lines)
    return text


FILES = {
    ROOT / "pyproject.toml": entry_points,
    RULES / "__init__.py": rules,
    PACKAGE / "optimizers" / "__init__.py": optimizers,
    PACKAGE / "__init__.py": package,
}

if __name__ == "__main__":
    for path, render in FILES.items():
        before = path.read_text(encoding="utf-8")
        after = render(before)
        if "--check" not in sys.argv[1:]:
            path.write_text(after, encoding="utf-8")
        elif before != after:
            sys.exit(f"{path} is stale: run python scripts/exports.py")
