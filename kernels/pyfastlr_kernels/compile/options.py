"""How numba compiles everything here: in one place, because each option shapes bits or speed."""

from typing import Any

# No fastmath: with none at all, plain Python, numpy and compiled code agree bit for bit, however a buffer is split
# (measured: within 10 % of the speed). numpy's error model: checked divisions do not vectorise (12.9 ms against 1.9).
OPTIONS: dict[str, Any] = {"error_model": "numpy"}

# What only compiled code calls needs no wrappers for Python and C: a cold first step takes a quarter less time.
PARTS: dict[str, Any] = {**OPTIONS, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}
INLINED: dict[str, Any] = {**PARTS, "inline": "always"}

# In users' functions: a dispatcher without `fastmath` takes it over from the first caller that compiles it.
USER_OPTIONS: dict[str, Any] = {**OPTIONS, "fastmath": False}
USER_PARTS: dict[str, Any] = {**PARTS, "fastmath": False}
