"""Doctests of pages and modules for other libraries are collected only where the library is installed.

A page says what it needs in a comment, ``<!-- doctests need: torch, optax -->``; ``cc`` is a C compiler. A module or
package in pyfastlr/interop that has a library's name needs that library.
"""

import os
import re
import shutil
from importlib.util import find_spec
from pathlib import Path

PACKAGE = Path(__file__).parent / "pyfastlr"
INTEROP = PACKAGE / "interop"
os.environ.setdefault("KERAS_BACKEND", "torch")  # Keras' own default is TensorFlow
LIBRARIES = ("autograd", "jax", "keras", "pennylane", "sklearn", "thinc", "torch")


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Leave out what needs a library that is missing; None lets pytest decide."""
    needs: list[str] = []
    if collection_path.suffix == ".md":
        text = collection_path.read_text(encoding="utf-8")
        needs = [name for names in re.findall(r"<!-- doctests need: (.+?) -->", text) for name in names.split(", ")]
    elif INTEROP in collection_path.parents:
        part = collection_path.relative_to(INTEROP).parts[0].removesuffix(".py")
        needs = [part] if part in LIBRARIES else []
    elif collection_path == PACKAGE / "capi" / "__init__.py":
        needs = ["cc"]
    return None if all(map(is_there, needs)) else True


def is_there(name: str) -> bool:
    """Whether a library is installed, or any C compiler."""
    if name == "cc":
        return any(map(shutil.which, ("cc", "gcc", "clang"))) or find_spec("ziglang") is not None
    return find_spec(name) is not None
