"""`Schedule`: a curve bound to its parameters, and what every schedule can do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from types import FunctionType, MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, Self, overload

import numpy as np

# `_algebra` and this module need each other: pyfastlr.schedules imports `_algebra` first, and what this one takes from
# it is only used when a method runs.
from pyfastlr.schedules import _algebra, _checks

if TYPE_CHECKING:
    from matplotlib.axes import Axes

RateLike = float | Callable[[int], float]  # a number, a Schedule or any other function of the index

_types: dict[str, type[Schedule]] = {}  # by the name that to_dict writes


class Schedule:
    """A rate for every update: a pure function of the 0-based index n of the update.

    A schedule is a class with a `curve`, a plain function ``curve(n, ...) -> float``, and a constructor that hands the
    curve's parameters to this one, by name and in the curve's order, those that are schedules first. That is all it
    takes to write one: arrays of n, the algebra, equality, hash, pickle, JSON and `compiled` come from here, and
    `formula` from `equation`, which has the parameters in braces.

    Parameters
    ----------
    **parameters : int, float, bool, str, tuple of int or float, or Schedule
        What the schedule is equal by, and what its constructor takes.

    Attributes
    ----------
    parameters : Mapping
        The same, read-only.

    Examples
    --------
    >>> from pyfastlr import schedules as S
    >>> class Noam(S.Schedule):
    ...     '''Vaswani et al., Attention is all you need, 2017, section 5.3.'''
    ...
    ...     equation = "{width}^-0.5·min((n+1)^-0.5, (n+1)·{warmup}^-1.5)"
    ...
    ...     def __init__(self, width: int, warmup: int):
    ...         super().__init__(width=width, warmup=warmup)
    ...
    ...     @staticmethod
    ...     def curve(n, width, warmup):
    ...         return float(width) ** -0.5 * min((n + 1.0) ** -0.5, (n + 1.0) * float(warmup) ** -1.5)
    >>> s = Noam(512, warmup=4000)
    >>> round(s(3999), 6)
    0.000699
    >>> S.from_dict((0.5 * s).to_dict()) == s * 0.5
    True
    """

    __slots__ = ("_at", "_compiled", "parameters")
    __array_ufunc__ = None  # numpy's scalars leave `scalar * schedule` to us

    curve: ClassVar[Callable[..., float]]
    equation: ClassVar[str] = ""
    parameters: Mapping[str, Any]
    _at: Callable[[int], float]
    _compiled: Callable[[int], float] | None

    def __init__(self, **parameters: Any) -> None:
        write = object.__setattr__  # ours refuses
        write(self, "parameters", MappingProxyType(parameters))
        write(self, "_at", _bind(*self._bound()))
        write(self, "_compiled", None)

    def __init_subclass__(cls) -> None:
        _types[_type_name(cls)] = cls

    def _bound(self) -> tuple[Callable[..., float], tuple[Any, ...]]:
        """Give the curve and its parameters, for the classes where they are not `parameters` as they are."""
        return type(self).curve, tuple(self.parameters.values())

    def __setattr__(self, name: str, value: Any) -> NoReturn:
        raise AttributeError(f"a schedule cannot be changed: `{name}` is read-only")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"a schedule cannot be changed: `{name}` is read-only")

    def __eq__(self, other: object) -> bool:
        return other.parameters == self.parameters if type(other) is type(self) else NotImplemented

    def __hash__(self) -> int:
        return hash((type(self), *self.parameters.items()))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self.parameters.items())})"

    def __reduce__(self) -> tuple[Callable[[], Self], tuple[()]]:
        return partial(type(self), **self.parameters), ()

    @overload
    def __call__(self, n: int, /) -> float: ...
    @overload
    def __call__(self, n: np.ndarray[Any, Any], /) -> np.ndarray[Any, np.dtype[np.float64]]: ...
    def __call__(self, n: Any, /) -> Any:
        """Rate of update n (0-based): a float, or for an array of integers a float64 array of its shape."""
        if type(n) is int and n >= 0:  # first, for the optimizers: 0.2 us in all
            return self._at(n)
        if isinstance(n, np.ndarray):
            flat = _checks.indices(n)
            return np.fromiter(map(self._at, flat), np.float64, len(flat)).reshape(n.shape)
        return self._at(_checks.index(n))

    @property
    def compiled(self) -> Callable[[int], float]:
        """The schedule as a function for `@njit` code, with the same bits on the CPU.

        It takes any integer and does not check that n >= 0. Made at the first use (numba compiles some 0.1 s). A curve
        of your own keeps its bits if no base or exponent in it is a literal: LLVM makes an exp2 of ``2.0**x``.

        Examples
        --------
        >>> from numba import njit
        >>> from pyfastlr import schedules as S
        >>> rate = S.Cosine(0.1, steps=100).warmup(10).compiled
        >>> @njit
        ... def total(steps):
        ...     result = 0.0
        ...     for n in range(steps):
        ...         result += rate(n)
        ...     return result
        >>> round(total(110), 9)
        5.5
        """
        if self._compiled is None:
            from pyfastlr.schedules._compiled import compile_curve

            curve, parameters = self._bound()
            parameters = tuple(p.compiled if isinstance(p, Schedule) else p for p in parameters)
            object.__setattr__(self, "_compiled", compile_curve(curve, parameters))
        return self._compiled  # type: ignore[return-value]

    @property
    def formula(self) -> str:
        """The schedule with its numbers, in one line.

        Examples
        --------
        >>> from pyfastlr import schedules as S
        >>> S.InverseTime(0.1, decay=1e-3).warmup(5).formula
        '0 + (s(0) - 0)·n/5 for n < 5, then s(n - 5); s(n) = [0.1/(1 + 0.001·n)]'
        """
        return fill(self.equation, self.parameters) if self.equation else repr(self)

    def to_dict(self) -> dict[str, Any]:
        """Type and arguments as JSON takes them; `from_dict` is the way back.

        Examples
        --------
        >>> from pyfastlr import schedules as S
        >>> S.InverseTime(0.1, decay=1e-3).to_dict()
        {'type': 'InverseTime', 'lr': 0.1, 'decay': 0.001}
        """
        return {"type": _type_name(type(self))} | {name: _plain(value) for name, value in self.parameters.items()}

    def plot(self, steps: int, ax: Axes | None = None) -> Axes:
        """Draw the rates of the first `steps` updates, on `ax` or new axes (needs matplotlib); returns the axes."""
        steps = _checks.positive_integer(steps, "steps")
        if ax is None:
            try:
                from matplotlib import pyplot
            except ModuleNotFoundError as error:
                raise ModuleNotFoundError('plot needs matplotlib: pip install "pyfastlr[demo]"') from error
            ax = pyplot.figure(layout="constrained").add_subplot()
            ax.set(xlabel="update n (from 0)", ylabel="rate", title=self.formula)
        n = np.unique(np.linspace(0, steps - 1, min(steps, 20_000)).astype(np.int64))  # more points than pixels
        ax.plot(n, self(n), label=self.formula)
        return ax

    # --- Algebra -----------------------------------------------------------------------------------------------------

    def warmup(self, steps: int, start: float = 0.0) -> Schedule:
        """Put a straight line from `start` to s(0) in front, `steps` updates long; 0 of them leave the schedule.

        Examples
        --------
        >>> from pyfastlr import schedules as S
        >>> s = S.Cosine(0.1, steps=100).warmup(4)
        >>> [s(n) for n in (0, 1, 4, 104)]
        [0.0, 0.025, 0.1, 0.0]
        """
        result = _algebra.Warmup(self, steps, start)
        return result if result.parameters["steps"] else self

    def then(self, schedule: RateLike, at: int) -> _algebra.Then:
        """Go on with another schedule, from its own beginning, as of update `at`."""
        return _algebra.Then(self, schedule, at)

    def delay(self, steps: int) -> _algebra.Delay:
        """Hold s(0) for `steps` updates more."""
        return _algebra.Delay(self, steps)

    def every(self, steps: int) -> _algebra.Every:
        """Change once in so many updates only: s(n // steps), for a schedule in epochs."""
        return _algebra.Every(self, steps)

    def clip(self, low: float, high: float) -> _algebra.Clip:
        """Keep the rate within [low, high]."""
        return _algebra.Clip(self, low, high)

    def __mul__(self, other: RateLike) -> _algebra.Product:
        return _algebra.Product(self, other)

    def __add__(self, other: RateLike) -> _algebra.Sum:
        return _algebra.Sum(self, other)

    __rmul__ = __mul__
    __radd__ = __add__


def _type_name(cls: type[Schedule]) -> str:
    """Name in JSON: with its module where the class is not ours, so that it cannot stand for another."""
    ours = cls.__module__.startswith("pyfastlr.schedules.")
    return cls.__name__ if ours else f"{cls.__module__}.{cls.__qualname__}"


def _bind(curve: Callable[..., float], parameters: tuple[Any, ...]) -> Callable[[int], float]:
    """Give ``curve(n, *parameters)`` as a function of n.

    It is the curve's code with the parameters as defaults: one Python call, where a closure or a partial takes two or
    packs arguments again (0.06 us of 0.26).
    """
    if not parameters:
        return curve
    if not isinstance(curve, FunctionType) or curve.__code__.co_argcount != 1 + len(parameters):
        raise TypeError(f"`curve` must be a plain function of n and {len(parameters)} parameters, got {curve!r}")
    defaults = tuple(p._at if isinstance(p, Schedule) else p for p in parameters)
    return FunctionType(curve.__code__, curve.__globals__, curve.__name__, defaults, curve.__closure__)


def _text(value: Any) -> str:
    """Parameter in a formula."""
    if isinstance(value, Schedule):
        return f"[{value.formula}]"
    if isinstance(value, tuple):
        return f"({', '.join(map(_text, value))})"
    return f"{value:.12g}" if isinstance(value, float) else getattr(value, "__name__", str(value))


def fill(equation: str, parameters: Mapping[str, Any]) -> str:
    """Put the parameters into an equation's braces."""
    return equation.format_map({name: _text(value) for name, value in parameters.items()})


def _plain(value: Any) -> Any:
    """Parameter in JSON."""
    if isinstance(value, Schedule):
        return value.to_dict()
    return list(value) if isinstance(value, tuple) else value


def from_dict(d: dict[str, Any]) -> Schedule:
    """Schedule that `Schedule.to_dict` wrote; a class of your own must have been imported.

    Raises
    ------
    TypeError
        `d` is not a dict, or has not the arguments of its type.
    ValueError
        The type is unknown, or an argument is out of range.

    Examples
    --------
    >>> from pyfastlr import schedules as S
    >>> S.from_dict({"type": "Constant", "lr": 0.1})
    Constant(lr=0.1)
    """
    if not isinstance(d, dict):
        raise TypeError(f"`d` must be a dict from Schedule.to_dict, got {d!r}")
    name = d.get("type")
    if not isinstance(name, str) or name not in _types:
        raise ValueError(f"`d['type']` must be one of {', '.join(sorted(_types))}, got {name!r}")
    arguments = {key: from_dict(value) if isinstance(value, dict) else value for key, value in d.items()}
    del arguments["type"]
    return _types[name](**arguments)
