"""`Schedule`: a curve bound to its parameters, and the methods of every schedule."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from types import FunctionType, MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, Self, overload

import numpy as np

from pyfastlr_kernels.compile.first_use import whole

from . import checks
from .checks import Check

if TYPE_CHECKING:
    from matplotlib.axes import Axes

RateLike = float | Callable[[int], float]  # a number, a Schedule or any other function of the index

_types: dict[str, Callable[..., Any]] = {}  # classes by the names that to_dict writes


class Schedule:
    """A rate for every update: ``s(n)`` is the rate of update n, counting from 0.

    A schedule is immutable and has no state. A subclass defines `curve`, a plain function ``curve(n, ...) -> float``,
    and a constructor that passes the curve's parameters to this one: by name, in the curve's order, schedules first.
    This class adds the rest: arrays of n, the algebra, equality, hash, pickle, JSON and `compiled`. `formula` fills in
    the parameters that `equation` has in braces.

    Parameters
    ----------
    **parameters : int, float, bool, str, Schedule, or tuple of int, float or Schedule
        The arguments of the subclass's constructor. Schedules of one class are equal if their parameters are equal.

    Attributes
    ----------
    parameters : Mapping
        The parameters, read-only.

    Raises
    ------
    TypeError
        If `curve` is not a plain function of n and the parameters.

    Examples
    --------
    >>> from pyfastlr import schedules as S
    >>> from math import exp
    >>> class Logistic(S.Schedule):
    ...     '''Falls from lr to 0, at update `middle` most steeply.'''
    ...
    ...     equation = "{lr}/(1 + e^((n - {middle})/{width}))"
    ...
    ...     def __init__(self, lr: float, middle: int, width: float):
    ...         super().__init__(lr=lr, middle=middle, width=width)
    ...
    ...     @staticmethod
    ...     def curve(n, lr, middle, width):
    ...         return lr / (1.0 + exp(min((n - middle) / width, 700.0)))
    >>> s = Logistic(0.5, middle=4000, width=250.0)
    >>> s(4000)
    0.25
    >>> S.from_dict((0.5 * s).to_dict()) == s * 0.5
    True
    """

    __slots__ = ("_at", "_compiled", "parameters")
    __array_ufunc__ = None  # so that numpy's scalars leave `scalar * schedule` to __rmul__

    curve: ClassVar[Callable[..., float]]
    equation: ClassVar[str] = ""
    _method: ClassVar[str] = ""  # the method or operator of Schedule that makes the subclass, if there is one
    _checks: ClassVar[Mapping[str, Check]] = MappingProxyType({})
    parameters: Mapping[str, Any]
    _at: Callable[[int], float]  # the curve as a function of a plain int n >= 0
    _compiled: Callable[[int], float] | None

    def __init_subclass__(cls, **by_name: Check) -> None:
        """Register the class for `from_dict`. Each keyword is the check of the parameter with that name."""
        if by_name:
            cls._checks = by_name
        register(cls)

    def __init__(self, **parameters: Any) -> None:
        checked = {name: self._checks.get(name, _unchecked)(value, name) for name, value in parameters.items()}
        write = object.__setattr__  # this class's own refuses
        write(self, "parameters", MappingProxyType(checked))
        write(self, "_at", _bind(*self._bound()))
        write(self, "_compiled", None)

    def _bound(self) -> tuple[Callable[..., float], tuple[Any, ...]]:
        """Return the curve and its arguments. Override it where they are not just `parameters`."""
        return type(self).curve, tuple(self.parameters.values())

    def _equation(self) -> str:
        """Return this object's equation. Override it in a class with more than one."""
        return self.equation

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
        """Return the rate of update n, counting from 0: a float, or a float64 array if n is an array of integers."""
        if type(n) is int and n >= 0:  # first, because optimizers call it this way: 0.2 us in total
            return self._at(n)
        if isinstance(n, np.ndarray):
            flat = checks.indices(n)
            return np.fromiter(map(self._at, flat), np.float64, len(flat)).reshape(n.shape)
        return self._at(checks.index(n))

    @property
    def compiled(self) -> Callable[[int], float]:
        """The schedule as a function for `@njit` code, with the same bits on the CPU.

        It takes any integer and does not check that n >= 0. It is compiled on first use, which takes a few tenths of a
        second. A curve of your own keeps its bits if no base or exponent in it is a literal: LLVM turns ``2.0**x`` into
        exp2.

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
            whole(self._compile)
        return self._compiled  # type: ignore[return-value]

    def _compile(self) -> None:
        """Import numba and compile. No line of this may be interrupted."""
        if self._compiled is None:
            from .compiled import compile_curve

            curve, parameters = self._bound()
            parameters = tuple(p.compiled if isinstance(p, Schedule) else p for p in parameters)
            object.__setattr__(self, "_compiled", compile_curve(curve, parameters))

    @property
    def formula(self) -> str:
        """The equation with this schedule's numbers, on one line.

        Examples
        --------
        >>> from pyfastlr import schedules as S
        >>> S.InverseTime(0.1, decay=1e-3).warmup(5).formula
        '0 + (s(0) - 0)·n/5 for n < 5, then s(n - 5); s(n) = [0.1/(1 + 0.001·n)]'
        """
        equation = self._equation()
        if not equation:
            return repr(self)
        return equation.format_map({name: _text(value) for name, value in self.parameters.items()})

    def to_dict(self) -> dict[str, Any]:
        """Return the type and the arguments, ready for JSON; `from_dict` rebuilds the schedule.

        Examples
        --------
        >>> from pyfastlr import schedules as S
        >>> S.InverseTime(0.1, decay=1e-3).to_dict()
        {'type': 'InverseTime', 'lr': 0.1, 'decay': 0.001}
        """
        return {"type": type_name(type(self))} | {name: _plain(value) for name, value in self.parameters.items()}

    def plot(self, steps: int, ax: Axes | None = None, **kwargs: Any) -> Axes:
        """Plot the rates of the first `steps` updates. Jumps between constant rates are drawn as steps.

        Parameters
        ----------
        steps : int >= 1
            Plot updates 0 to steps - 1, or 20,000 of them, evenly spaced, if there are more.
        ax : matplotlib.axes.Axes, optional
            Where to draw. It gets a line, and axis labels if it has none. The line's label is a short name of the
            schedule, for `ax.legend()`. The default is a new pyplot figure with the name and `formula` above the axes.
        **kwargs
            Keywords of `matplotlib.lines.Line2D`, as for `Axes.plot`: color, linestyle, linewidth, label, drawstyle ...

        Returns
        -------
        matplotlib.axes.Axes
            `ax` or the new axes.

        Raises
        ------
        TypeError, ValueError
            If `steps` is not an integer >= 1 or `ax` is not a single Axes.
        AttributeError
            If a keyword is not a property of matplotlib's lines.
        ModuleNotFoundError
            If matplotlib is not installed.

        Examples
        --------
        >>> from matplotlib.figure import Figure
        >>> from pyfastlr import schedules as S
        >>> ax = Figure().add_subplot()
        >>> for decay in (0.5, 0.8):
        ...     ax = S.CosineRestarts(1e-3, 100, decay=decay).plot(400, ax=ax, linestyle="--")
        >>> [line.get_label() for line in ax.lines]
        ['CosineRestarts(0.001, period=100, decay=0.5)', 'CosineRestarts(0.001, period=100, decay=0.8)']
        >>> ax.get_xlabel(), ax.get_ylabel()
        ('update n (from 0)', 'rate')
        """
        steps = checks.positive_integer(steps, "steps")
        try:
            import matplotlib  # noqa: F401
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError('plot needs matplotlib: pip install "pyfastlr[demo]"') from error
        from .drawing import draw

        return draw(self, steps, ax, kwargs)

    # --- Algebra: the classes are in algebra.py ----------------------------------------------------------------------

    def warmup(self, steps: int, start: float = 0.0, shape: str = "linear") -> Schedule:
        """Add a warm-up of `steps` updates from `start` to s(0); steps = 0 returns the schedule itself.

        The shape is "linear", "log", "cosine" or "1-sqrt". With x = n/steps, the rate has passed this share of the way:
        x, log(n + 1)/log(steps), (1 - cos(π·x))/2 or 1 - √(1 - x). "log" reaches s(0) one update before the others.

        Raises
        ------
        TypeError, ValueError
            If an argument has the wrong type or is out of range.

        Examples
        --------
        >>> from pyfastlr import schedules as S
        >>> s = S.Cosine(0.1, steps=100).warmup(4)
        >>> [s(n) for n in (0, 1, 4, 104)]
        [0.0, 0.025, 0.1, 0.0]
        >>> [round(S.Constant(0.1).warmup(8, shape="log")(n), 9) for n in (0, 1, 3, 7)]
        [0.0, 0.033333333, 0.066666667, 0.1]
        """
        result = _combine("Warmup", self, steps, start, shape)
        return result if result.parameters["steps"] else self

    def then(self, schedule: RateLike, at: int) -> Schedule:
        """Switch to another schedule at update `at`; it starts with its own first rate.

        Raises
        ------
        TypeError, ValueError
            If an argument has the wrong type or is out of range.

        Examples
        --------
        >>> from pyfastlr import schedules as S
        >>> s = S.Constant(0.5).then(S.Linear(0.5, 0.0, steps=4), at=30)
        >>> s(30), s(31)
        (0.5, 0.375)
        """
        return _combine("Then", self, _operand(schedule, "schedule"), at)

    def delay(self, steps: int) -> Schedule:
        """Hold s(0) for `steps` more updates.

        Raises
        ------
        TypeError, ValueError
            If an argument has the wrong type or is out of range.

        Examples
        --------
        >>> from pyfastlr import schedules as S
        >>> s = S.Linear(0.5, 0.0, steps=4).delay(10)
        >>> s(10), s(11)
        (0.5, 0.375)
        """
        return _combine("Delay", self, steps)

    def advance(self, steps: int) -> Schedule:
        """Leave out the first `steps` updates: s(n + steps); steps = 0 returns the schedule itself.

        Raises
        ------
        TypeError, ValueError
            If an argument has the wrong type or is out of range.

        Examples
        --------
        >>> from pyfastlr import schedules as S
        >>> s = S.Linear(0.5, 0.0, steps=4).advance(3)
        >>> s(0), s(1)
        (0.125, 0.0)
        """
        result = _combine("Advance", self, steps)
        return result if result.parameters["steps"] else self

    def every(self, steps: int) -> Schedule:
        """Change only every `steps` updates: s(n // steps), for a schedule that counts epochs.

        Raises
        ------
        TypeError, ValueError
            If an argument has the wrong type or is out of range.

        Examples
        --------
        >>> from pyfastlr import schedules as S
        >>> s = S.Linear(0.5, 0.0, steps=4).every(10)
        >>> s(9), s(10)
        (0.5, 0.375)
        """
        return _combine("Every", self, steps)

    def clip(self, low: float, high: float) -> Schedule:
        """Keep the rate within [low, high].

        Raises
        ------
        TypeError, ValueError
            If an argument has the wrong type or is out of range.

        Examples
        --------
        >>> from pyfastlr import schedules as S
        >>> s = S.Linear(0.5, 0.0, steps=4).clip(0.2, 0.4)
        >>> s(0), s(1), s(4)
        (0.4, 0.375, 0.2)
        """
        return _combine("Clip", self, low, high)

    def __mul__(self, other: RateLike) -> Schedule:
        return _combine("Product", self, _operand(other, "factor"))

    def __add__(self, other: RateLike) -> Schedule:
        return _combine("Sum", self, _operand(other, "summand"))

    __rmul__ = __mul__
    __radd__ = __add__


def _combine(kind: str, *arguments: Any) -> Schedule:
    """Make a schedule of algebra.py. That module imports this one, so its classes are found by name."""
    result: Schedule = _types[kind](*arguments)
    return result


def _operand(value: Any, name: str) -> Schedule:
    """Convert a number or callable to a schedule, as the classes of algebra.py do; `name` is what the caller calls it.

    Those classes have other names for it.
    """
    classes: Any = _types
    return classes["Sum"]._checks["right"](value, name)  # type: ignore[no-any-return]


def inside(schedule: Schedule) -> list[Schedule]:
    """Return the schedules that are parameters of a schedule."""
    groups = (value if isinstance(value, tuple) else (value,) for value in schedule.parameters.values())
    return [x for group in groups for x in group if isinstance(x, Schedule)]


def _unchecked(value: Any, name: str) -> Any:
    """Accept any value: users' classes check their arguments themselves."""
    return value


def _bind(curve: Callable[..., float], parameters: tuple[Any, ...]) -> Callable[[int], float]:
    """Return ``curve(n, *parameters)`` as a function of n.

    It is the curve's code with the parameters as defaults, and so one Python call. A closure takes two, and a partial
    packs the arguments again (0.06 us of 0.26).
    """
    if not parameters:
        return curve
    if not isinstance(curve, FunctionType) or curve.__code__.co_argcount != 1 + len(parameters):
        raise TypeError(f"`curve` must be a plain function of n and {len(parameters)} parameters, got {curve!r}")
    defaults = tuple(p._at if isinstance(p, Schedule) else p for p in parameters)
    return FunctionType(curve.__code__, curve.__globals__, curve.__name__, defaults, curve.__closure__)


def _text(value: Any) -> str:
    """Return a parameter's text in a formula."""
    if isinstance(value, Schedule):
        return f"[{value.formula}]"
    if isinstance(value, tuple):
        return f"({', '.join(map(_text, value))})"
    return f"{value:.12g}" if isinstance(value, float) else getattr(value, "__name__", str(value))


# --- JSON ------------------------------------------------------------------------------------------------------------


def register(cls: type[Any]) -> None:
    """Register a class for `from_dict`."""
    _types[type_name(cls)] = cls


def type_name(cls: type[Any]) -> str:
    """Return the class's name in JSON. A user's class has its module in it, so it cannot pass for one of ours."""
    ours = cls.__module__.startswith("pyfastlr.schedules.")
    return cls.__name__ if ours else f"{cls.__module__}.{cls.__qualname__}"


def _plain(value: Any) -> Any:
    """Return a parameter's JSON form."""
    if isinstance(value, Schedule):
        return value.to_dict()
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def from_dict(d: dict[str, Any]) -> Any:
    """Rebuild a schedule or a controller from the output of its `to_dict`. Import classes of your own first.

    Raises
    ------
    TypeError
        If `d` is not a dict or has the wrong arguments for its type.
    ValueError
        If the type is unknown or an argument is out of range.

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
        raise ValueError(
            f"`d['type']` must be the name of a schedule class that is imported, got {name!r}"
            f"{checks.suggestion(name, _types)}"
        )
    return _types[name](**{key: _rebuilt(value) for key, value in d.items() if key != "type"})


def _rebuilt(value: Any) -> Any:
    """Return an argument from its JSON form."""
    if isinstance(value, list):
        return [_rebuilt(item) for item in value]
    return from_dict(value) if isinstance(value, dict) else value
