"""Load a user's function that is named on the command line as `module:function` or `file.py:function`."""

import importlib
import importlib.util
import sys
import sysconfig
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pyfastlr

_LIBRARIES = (
    str(Path(pyfastlr.__file__).parent),
    *(sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")),
    "<",  # code without a file
)

_NAME = "pyfastlr_target"  # module name for a file: the file's own name may be taken


class NotFound(ValueError):
    """The target names no function."""


def load(target: str) -> Callable[[], Any]:
    """Return the function that a target names. Modules may be in the current folder.

    Raises
    ------
    NotFound
        If there is no such module or function.
    Exception
        Any exception that the module raises while it is imported.
    """
    where, mark, name = target.rpartition(":")
    if not (mark and where and name.isidentifier()):
        raise NotFound(f"`target` must be module:function or file.py:function, got {target!r}")
    function = getattr(_module(where), name, None)
    if not callable(function):
        raise NotFound(f"`target` must name a function, got {target!r}: {where} has no function {name!r}")
    return function  # type: ignore[no-any-return]


def _module(where: str) -> ModuleType:
    if where.endswith(".py"):
        path = Path(where)
        spec = importlib.util.spec_from_file_location(_NAME, path) if path.is_file() else None
        if spec is None or spec.loader is None:
            raise NotFound(f"`target` must name a file, got {where!r}")
        sys.path.insert(0, str(path.resolve().parent))  # as if the file were run
        module = importlib.util.module_from_spec(spec)
        sys.modules[_NAME] = module
        spec.loader.exec_module(module)
        return module
    sys.path.insert(0, str(Path.cwd()))
    try:
        return importlib.import_module(where)
    except ModuleNotFoundError as error:
        if error.name is None or not (where == error.name or where.startswith(error.name + ".")):
            raise  # a module that the user's module imports
        raise NotFound(f"`target` must name a module that can be imported, got {where!r}: {error}") from None


def described(error: BaseException) -> str:
    """Describe in one line what a user's code raised, and where."""
    words = " ".join(str(error).split())
    text = f"{type(error).__name__}: {words}" if words else type(error).__name__
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if not frame.filename.startswith(_LIBRARIES):
            return f"{text} ({frame.filename}, line {frame.lineno})"
    return text
