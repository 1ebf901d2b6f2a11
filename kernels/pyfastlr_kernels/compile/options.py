"""Numba's options for all code here, in one place because each option affects bits or speed."""

from typing import Any

# No fastmath: without it, plain Python, numpy and compiled code agree bit for bit, however a buffer is split (measured:
# within 10 % of the speed). numpy's error model: checked divisions do not vectorise (12.9 ms against 1.9).
OPTIONS: dict[str, Any] = {"error_model": "numpy"}

# Functions called only by compiled code need no Python and C wrappers: a cold first step takes a quarter less time.
PARTS: dict[str, Any] = {**OPTIONS, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}
INLINED: dict[str, Any] = {**PARTS, "inline": "always"}

# For users' functions: a dispatcher without `fastmath` inherits it from the first caller that compiles it.
USER_OPTIONS: dict[str, Any] = {**OPTIONS, "fastmath": False}
USER_PARTS: dict[str, Any] = {**PARTS, "fastmath": False}
