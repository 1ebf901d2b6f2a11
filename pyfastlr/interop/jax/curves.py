"""Our schedules as C functions. Importing this module imports numba."""

import hashlib
from typing import Any

from numba import cfunc, types

from pyfastlr.schedules import Schedule
from pyfastlr_kernels.compile.options import OPTIONS

_kept: list[Any] = []


def curve_address(schedule: Schedule) -> int:
    """Return the address of a schedule as a C function, float64(int64), which is never freed."""
    compiled = schedule.compiled
    function = cfunc(types.float64(types.int64), **OPTIONS)(lambda n: compiled(n))
    _kept.append((function, schedule))
    return int(function.address or 0)


def name_of(schedule: Schedule) -> str:
    """Return a name that another schedule does not have, in this or any other process."""
    digest = hashlib.sha256()

    def add(x: Any) -> None:
        if isinstance(x, Schedule):
            curve, parameters = x._bound()
            digest.update(f"{type(x).__module__}.{type(x).__qualname__}(".encode())
            add(curve)
            for part in parameters:
                add(part)
            digest.update(b")")
        elif callable(x):
            code = getattr(x, "__code__", None)
            digest.update(repr((getattr(x, "__qualname__", ""), code and (code.co_code, code.co_names))).encode())
            for constant in code.co_consts if code else ():
                digest.update(repr(constant if not hasattr(constant, "co_code") else constant.co_code).encode())
        else:
            digest.update(f"{x!r},".encode())

    add(schedule)
    return f"{type(schedule).__name__}-{digest.hexdigest()[:20]}"
