"""`global_norm` and `clip_by_global_norm` of `pyfastlr.kernels`: their help, argument checks and choice of the code."""

from __future__ import annotations

from typing import Any, cast

from numba import njit, types
from numba.extending import overload
from numba.misc.special import literally

from pyfastlr_kernels import njit_norms
from pyfastlr_kernels.compile.options import USER_OPTIONS
from pyfastlr_kernels.reduce import FACTORS

from .entry import choice, digest, refuse_python


def global_norm(arrays):  # type: ignore[no-untyped-def]  # its annotations are in SIGNATURES
    """Return the Euclidean norm of all elements of some arrays, as if they were one vector.

    norm = sqrt(sum of x*x over all elements x of all arrays)

    The sum is in float64 and in a fixed order, so it has the same bits on every machine: 16 running sums for each
    block of 1,024 elements of an array, then their total, block by block. It does not overflow or underflow before
    the norm itself does.

    Parameters
    ----------
    arrays : float32[...] or float64[...], or a tuple of them
        C-contiguous, with any number of dimensions. All have the same dtype. In Python, too, a list must be made a
        tuple.

    Returns
    -------
    float
        The norm: 0 for no elements, inf if an element is infinite, NaN if one is NaN.

    Raises
    ------
    TypeError
        At compile time, if an array has the wrong dtype or layout.

    Examples
    --------
    >>> import numpy as np
    >>> from pyfastlr import kernels
    >>> kernels.global_norm((np.full(9, 1.0), np.full((4, 4), 1.0)))
    5.0
    >>> kernels.global_norm(np.full(100, 1e30, np.float32))  # the squares are above the largest float32
    1.0000000150474662e+31
    """
    return norm(arrays)


def clip_by_global_norm(arrays, max_norm, convention=None):  # type: ignore[no-untyped-def]
    """Scale some arrays in place so that their global norm is at most `max_norm`. Return the norm before.

    With c = max_norm and the norm N of `global_norm`, each element is multiplied by a factor:

    - torch: min(1, c / (N + 1e-6))
    - keras, optax: c / max(N, c)

    The factor is computed in float64, then rounded to the arrays' dtype. If it is 1, nothing is written.

    Parameters
    ----------
    arrays : float32[...] or float64[...], or a tuple of them
        Gradients, C-contiguous and writeable, with any number of dimensions. All have the same dtype. They must not
        overlap.
    max_norm : float > 0
        Largest norm. Infinity never clips: the function then only returns the norm.
    convention : "torch", "keras" or "optax"
        By default "torch". In `@njit` code it must be a literal.

    Returns
    -------
    float
        The global norm before clipping.

    Raises
    ------
    TypeError
        At compile time, if an array has the wrong dtype or layout, or is read-only.
    ValueError
        If `max_norm` is not > 0. Nothing is changed in that case. At compile time, if `convention` is unknown.

    Notes
    -----
    If an element is NaN, so is the norm, and all elements become NaN. If an element is infinite, so is the norm: all
    finite elements become 0 and infinite ones NaN (torch and optax), or all become NaN (keras). Those libraries do the
    same. Test the norm that is returned to skip such a gradient.

    Only `max_norm = inf` differs: in torch, the factor for an infinite norm is then NaN, here it is 1. torch, Keras and
    optax add float32 squares in float32, so their norm is inf for gradients of 1e20.

    The method is that of Pascanu, Mikolov and Bengio, On the difficulty of training recurrent neural networks, 2013,
    algorithm 1, over all parameters.

    Examples
    --------
    >>> import numpy as np
    >>> from pyfastlr import kernels
    >>> g = np.array([3.0, -4.0])
    >>> kernels.clip_by_global_norm(g, 1.0, convention="optax")
    5.0
    >>> g
    array([ 0.6, -0.8])
    """
    return clip(arrays, max_norm, convention)


# Of the public functions, as Python source for the stubs.
SIGNATURES = {
    "global_norm": "arrays: Array | State",
    "clip_by_global_norm": "arrays: Array | State, max_norm: float, convention: Word = None",
}


def norm(arrays: Any) -> float:
    """Global norm of an array or a tuple of arrays."""
    refuse_python()


def clip(arrays: Any, max_norm: Any, convention: Any) -> float:
    """Clip an array or a tuple of arrays."""
    refuse_python()


def _norm(arrays: Any) -> Any:
    kernel = njit_norms.make_norm(_dtype(arrays, writeable=False), digest)
    if isinstance(arrays, types.Array):
        return lambda arrays: kernel((arrays,))
    return lambda arrays: kernel(arrays)


def _clip(arrays: Any, max_norm: Any, convention: Any) -> Any:
    if isinstance(convention, types.UnicodeType):
        return lambda arrays, max_norm, convention: clip(arrays, max_norm, literally(convention))
    dtype = _dtype(arrays, writeable=True)
    if not isinstance(max_norm, types.Integer | types.Float):
        raise TypeError(f"`max_norm` must be a number, got {max_norm}")
    chosen = choice(convention, "convention", list(FACTORS), next(iter(FACTORS)))
    kernel = njit_norms.make_clip(dtype, chosen, digest)
    if isinstance(arrays, types.Array):
        return lambda arrays, max_norm, convention: kernel((arrays,), max_norm)
    return lambda arrays, max_norm, convention: kernel(arrays, max_norm)


for _stub, _make in ((norm, _norm), (clip, _clip)):
    _make.__annotations__.clear()  # numba requires the same annotations on the lambda
    overload(_stub, prefer_literal=True, jit_options=cast(Any, USER_OPTIONS))(_make)


def _dtype(arrays: Any, writeable: bool) -> str:
    """Check the types of the arrays; return the name of their dtype, that of float64 if there are none."""
    need = f"C-contiguous{', writeable' if writeable else ''} float32 or float64 array"
    many = isinstance(arrays, types.BaseTuple)
    if not many and not isinstance(arrays, types.Array):
        raise TypeError(f"`arrays` must be a {need}, or a tuple of them, got {arrays}")
    parts = list(arrays) if many else [arrays]
    for k, x in enumerate(parts):
        name = f"`arrays[{k}]`" if many else "`arrays`"
        real = isinstance(x, types.Array) and x.dtype in (types.float32, types.float64)
        if not (real and x.layout == "C" and x.aligned and (x.mutable or not writeable)):
            raise TypeError(f"{name} must be a {need}, got {x}")
        if x.dtype != parts[0].dtype:
            raise TypeError(f"{name} must have the dtype of `arrays[0]`, {parts[0].dtype}, got {x.dtype}")
    return str(parts[0].dtype.name) if parts else "float64"


def _public(function: Any) -> Any:
    """Make the dispatcher of a public function, with the same options whatever its caller's flags."""
    function.__module__ = "pyfastlr.kernels"
    return njit(**USER_OPTIONS)(function)


NORMS = {function.__name__: _public(function) for function in (global_norm, clip_by_global_norm)}
