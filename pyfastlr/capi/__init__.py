"""The C library: its sources, the compiled library, and its functions through cffi.

`build` writes ``fastlr.h``, ``fastlr.c`` and the library. The C text is printed from the Python text of the rules,
folds and curves, so that both give the same bits. docs/capi.md shows its use from C, cffi and Rust.

`ffi` and `lib` are cffi's interface and the loaded library. The library is that of the package pyfastlr-capi, if it is
installed, else one that is built once, with the C compiler of this machine, and kept in the cache. Neither needs numba.

Examples
--------
>>> import numpy as np
>>> from pyfastlr.capi import ffi, lib
>>> config = ffi.new("fastlr_sgd_config *")
>>> lib.fastlr_sgd_config_init(config)
0
>>> config.lr = 0.5
>>> p, g = np.ones(3, "float32"), np.ones(3, "float32")
>>> lib.fastlr_sgd_step(config, 1, ffi.from_buffer("float[]", p), ffi.from_buffer("float[]", g), ffi.NULL, 0, 3)
0
>>> p
array([0.5, 0.5, 0.5], dtype=float32)
"""

from typing import TYPE_CHECKING, Any

from .build import Built as Built
from .build import build as build
from .compilers import CompileError as CompileError
from .compilers import NoCompiler as NoCompiler

__all__ = ["Built", "CompileError", "NoCompiler", "build", "ffi", "lib"]

if TYPE_CHECKING:
    ffi: Any
    lib: Any
else:

    def __getattr__(name: str) -> Any:
        if name in ("ffi", "lib"):
            from importlib import import_module

            return getattr(import_module(".loading", __name__), name)()
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
