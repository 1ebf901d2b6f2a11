"""Python text to machine code: numba types it, LLVM optimizes it and makes an object, and the cache keeps the object.

A process that finds its objects in the cache never imports numba (which takes 0.3 to 0.6 s).
"""

import gc
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from functools import cache
from itertools import count
from typing import Any

import llvmlite.binding as llvm

from .cache import kept, target
from .first_use import whole
from .options import OPTIONS

Entries = Mapping[str, tuple[Callable[..., Any], Any]]  # symbol name: function and signature

_loaded: dict[str, Any] = {}  # by name: the tracker, which has the addresses of the symbols and keeps the code alive
_serial = count()


def load(name: str, version: str, make: Callable[[], bytes], symbols: tuple[str, ...]) -> dict[str, int]:
    """Return the addresses of the symbols of the object with that name and version; `make` returns its code."""

    def work() -> None:
        if name not in _loaded:
            _loaded[name] = _link(name, kept(name, f"{version}.o", make), symbols)

    if name not in _loaded:
        whole(work)
    return {symbol: _loaded[name][symbol] for symbol in symbols}


def triple(system: str = sys.platform) -> str:
    """Return LLVM's name of this system. As in numba, objects are ELF on Windows too: COFF ones need `_fltused`."""
    return str(llvm.get_process_triple()) + ("-elf" if system == "win32" else "")


def machine(widest: bool = False) -> Any:
    """Return LLVM's description of this machine. `widest`: use its widest vectors, even if LLVM prefers shorter ones.

    It has the large code model, where references between sections have 64 bits. With 32 bits, LLVM's loader aborts the
    process if gigabytes of arrays lie between two sections of an object (seen once, with 5 GB of parameters).
    """
    cpu, features = target()
    features = os.environ.get("NUMBA_CPU_FEATURES", features)  # as numba does
    if widest and "+avx512f" in features:
        features += ",-prefer-256-bit"
    return llvm.Target.from_triple(triple()).create_target_machine(
        cpu=os.environ.get("NUMBA_CPU_NAME") or cpu, features=features, opt=3, reloc="pic", codemodel="large"
    )


def need_numba() -> None:
    """Raise RuntimeError if numba's compiler is disabled."""
    from numba import config

    if config.DISABLE_JIT:  # type: ignore[attr-defined]
        raise RuntimeError(
            "pyfastlr must compile its code, but NUMBA_DISABLE_JIT=1 forbids it: unset NUMBA_DISABLE_JIT, or run the "
            "same program once without it (classes then find their code in the cache; `pyfastlr warmup` fills it)"
        )


def module(entries: Entries, machine: Any, finish: bool = True, late: bool = False) -> Any:
    """Return an optimized LLVM module in which only these functions are visible.

    With `finish` false, loops are left as they are, for `finished` on the CPU that will run them. `late`: numba does
    not vectorise them, because `machine` has other vectors than numba's.
    """
    from numba import cfunc

    need_numba()

    whole_code = None
    for symbol, (function, signature) in entries.items():
        with _vectorized_here() if late else nullcontext():
            callback = cfunc(signature, **OPTIONS)(function)
        code = llvm.parse_assembly(callback.inspect_llvm())
        code.get_function(callback.native_name).name = symbol
        if whole_code is None:
            whole_code = code
        else:
            whole_code.link_in(code)
    assert whole_code is not None
    whole_code.triple = machine.triple
    for item in (*whole_code.functions, *whole_code.global_variables):
        if item.name in entries:
            item.linkage = "external"
        elif not item.is_declaration:
            item.linkage = "internal"
    return finished(whole_code, machine) if finish else _optimized(whole_code, machine, 1, loops=False)


def finished(code: Any, machine: Any) -> Any:
    """Return the module, optimized for this machine."""
    return _optimized(code, machine, 3, loops=True)


def _optimized(code: Any, machine: Any, level: int, loops: bool) -> Any:
    options = llvm.create_pipeline_tuning_options(speed_level=level)
    if not loops:
        options.loop_vectorization = options.slp_vectorization = options.loop_unrolling = False
    builder = llvm.create_pass_builder(machine, options)
    passes = builder.getModulePassManager()
    passes.add_global_dead_code_eliminate_pass()
    passes.run(code, builder)
    return code


def emit(entries: Entries, widest: bool = False) -> bytes:
    """Return the functions' object code."""
    here = machine(widest)
    with _no_collections():
        image: bytes = here.emit_object(module(entries, here, late=widest))
    return image


@contextmanager
def _vectorized_here() -> Iterator[None]:
    """Let numba leave loops as they are, in this block. No other thread can compile meanwhile."""
    from numba import config
    from numba.core.compiler_lock import global_compiler_lock

    with global_compiler_lock:
        before = config.LOOP_VECTORIZE  # type: ignore[attr-defined]
        config.LOOP_VECTORIZE = 0  # type: ignore[attr-defined]
        try:
            yield
        finally:
            config.LOOP_VECTORIZE = before  # type: ignore[attr-defined]


@contextmanager
def _no_collections() -> Iterator[None]:
    """Disable garbage collection: numba makes a million lasting objects, and scanning them takes 7 % of the time."""
    if gc.isenabled():
        gc.disable()
        try:
            yield
        finally:
            gc.enable()
    else:
        yield


@cache
def _linker() -> Any:
    return llvm.create_lljit_compiler(machine())


def _link(name: str, image: bytes, symbols: tuple[str, ...]) -> Any:
    builder = llvm.JITLibraryBuilder().add_object_img(image).add_current_process()
    for symbol in symbols:
        builder = builder.export_symbol(symbol)
    # The number makes the name new: a name stays taken if linking fails, and the next attempt would hide the cause.
    return builder.link(_linker(), f"{name}-{next(_serial)}")
