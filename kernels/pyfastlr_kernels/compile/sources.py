"""Hashes of the sources of compiled code, however the packages are installed: as files, in a zip or as byte code."""

import importlib.metadata
import importlib.util
import pkgutil
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import CodeType
from typing import Any

PACKAGE = Path(__file__).parent.parent


def hash_sources(key: Any, sources: tuple[str, ...], package: Path = PACKAGE) -> None:
    """Add modules of a package (``cpu/loop.py``), or all modules of one of its folders (``rules``), to a hash.

    If a file is not available, use the text from the module's loader, else its byte code.
    """
    for name in sources:
        path = package / name
        files = sorted(path.glob("*.py")) if path.is_dir() else [path]
        if files and all(file.is_file() for file in files):
            for file in files:
                key.update(file.read_bytes())
        else:
            for module in _modules(package.name, name):
                _hash_module(key, module)


def are_text() -> bool:
    """Return whether this package came with its sources, which someone may have edited."""
    return _text(__name__) is not None


def version_of(package: str) -> str:
    """Return a package's version, from the module itself if the metadata is missing, as in a frozen program."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return str(import_module(package).__version__)


def _modules(package: str, name: str) -> list[str]:
    """Return the names of the modules of that file or folder."""
    dotted = f"{package}.{name.removesuffix('.py').replace('/', '.')}"
    if name.endswith(".py"):
        return [dotted]
    folder = import_module(dotted)
    return [dotted, *sorted(f"{dotted}.{module.name}" for module in pkgutil.iter_modules(folder.__path__))]


def _loader(module: str) -> Any:
    loaded = sys.modules.get(module)
    spec = loaded.__spec__ if loaded is not None else importlib.util.find_spec(module)
    if spec is None:
        raise ImportError(f"no module {module}, a source of compiled code")
    return spec.loader


def _text(module: str) -> str | None:
    """Return a module's source text, or None if there is only its byte code."""
    try:
        text: str | None = _loader(module).get_source(module)
    except (ImportError, OSError):  # the loader knows a source file, but it was removed
        return None
    return text


def _hash_module(key: Any, module: str) -> None:
    text = _text(module)
    for part in [text] if text is not None else _parts(_loader(module).get_code(module)):
        key.update(part.encode())


def _parts(code: CodeType) -> Iterator[str]:
    """Yield all that a code object does, without line numbers, file names and the random order of sets."""
    yield repr((code.co_code, code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars, code.co_flags))
    yield repr((code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount))
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _parts(constant)
        else:
            yield repr(sorted(map(repr, constant)) if isinstance(constant, frozenset) else constant)
