"""The compiler of device code: the only file that imports numba.cuda. A successor would be used here.

numba-cuda only gets fixes (NVIDIA/numba-cuda#902). This file and memory.py have all that the package needs from a
compiler: calling Python functions from device code without a device, writing intrinsics, compiling kernels to PTX for
any compute capability, and linking PTX to a cubin. The driver gets the cubin, because it may be older than the PTX that
this compiler writes.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from types import FunctionType
from typing import Any

from numba import cuda as cuda
from numba import njit, types
from numba.core import config
from numba.cuda import compiler
from numba.cuda.core.targetconfig import ConfigStack

SIMULATED = bool(config.ENABLE_CUDASIM)  # type: ignore[attr-defined]

if not SIMULATED:
    from numba.cuda.extending import intrinsic as intrinsic

# A kernel that calls a jitted function needs a device, unless the call is inlined before types are inferred.
_inlined = njit(inline="always")


@cache
def device_function(function: Callable[..., Any]) -> Any:
    """Make a plain function, and the plain functions that it calls by name, callable in kernels."""
    if SIMULATED:
        return function
    called = {name: function.__globals__.get(name) for name in function.__code__.co_names}
    known = {name: device_function(x) for name, x in called.items() if isinstance(x, FunctionType)}
    return _inlined(
        FunctionType(
            function.__code__, {**function.__globals__, **known}, function.__name__, None, function.__closure__
        )
    )


def subroutine(function: Callable[..., Any], result: Callable[..., Any]) -> Any:
    """Make a function callable in kernels and compile it once; `device_function` copies it into each caller.

    ``result(*types of the arguments)`` is the type of its result: inferring it through a dispatcher needs a device.
    """
    if SIMULATED:
        return function

    def code(context, builder, sig, args):
        kinds, values = sig.args[0].types, [builder.extract_value(args[0], k) for k in range(len(sig.args[0]))]
        inner = sig.return_type(*kinds)
        compiled = context.compile_subroutine(builder, function, inner, flags=ConfigStack().top().copy())
        return context.call_internal(builder, compiled.fndesc, inner, values)

    @intrinsic
    def call(typingctx, *arguments):
        return result(*arguments)(types.StarArgTuple(arguments)), code

    return call


def ptx(kernel: Callable[..., Any], signature: Any, cc: tuple[int, int], bounds: tuple[int, int]) -> str:
    """Return a kernel's PTX for a compute capability; bounds are threads per block and blocks per multiprocessor."""
    text, _ = cuda.compile(  # type: ignore[attr-defined]
        kernel, signature, cc=cc, device=False, abi="numba", launch_bounds=bounds
    )
    return str(text)


@contextmanager
def unfused() -> Iterator[None]:
    """Compile without fused multiply-add, so that tests get the CPU's bits. numba-cuda has no option for this."""
    whole = compiler.compile_cuda

    def separate(*args: Any, nvvm_options: dict[str, Any], **rest: Any) -> Any:
        return whole(*args, nvvm_options={**nvvm_options, "fma": 0}, **rest)

    compiler.compile_cuda = separate
    try:
        yield
    finally:
        compiler.compile_cuda = whole


def entry(text: str) -> str:
    """Return the kernel's name in its PTX."""
    (name,) = re.findall(r"\.visible \.entry\s+(\S+?)\(", text)
    return str(name)


def link(text: str, cc: tuple[int, int]) -> tuple[bytes, str]:
    """Return the PTX's cubin, and the linker's report on registers and spills."""
    from cuda.bindings import nvjitlink

    handle = nvjitlink.create(2, [f"-arch=sm_{cc[0]}{cc[1]}", "-verbose"])
    try:
        source = text.encode()
        nvjitlink.add_data(handle, nvjitlink.InputType.PTX, source, len(source), "kernel.ptx")
        nvjitlink.complete(handle)
        cubin = bytearray(nvjitlink.get_linked_cubin_size(handle))
        nvjitlink.get_linked_cubin(handle, cubin)
        log = bytearray(nvjitlink.get_info_log_size(handle))
        nvjitlink.get_info_log(handle, log)
    finally:
        nvjitlink.destroy(handle)
    return bytes(cubin), log.decode(errors="replace")
