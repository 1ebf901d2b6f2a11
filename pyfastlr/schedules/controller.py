"""`Controller`: a rate that reacts to the run, and the base of all controllers.

A schedule is a pure function of the update's index. A controller has state: you tell it what happens (`observe`), and
its next rates depend on that. It wraps a schedule, and an optimizer takes it wherever it takes a schedule.
"""

from __future__ import annotations

import copy
import math
from collections import deque
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

import numpy as np

from . import checks
from .algebra import as_schedule
from .base import RateLike, Schedule, register, type_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_PROTOCOL = ("observe", "state_dict", "load_state_dict")
_KEPT = 100_000  # observations for `plot`


def is_controller(value: Any) -> bool:
    """Whether an object has the methods of the protocol. It need not inherit from `Controller`."""
    return isinstance(value, Controller) or (
        callable(value)
        and not isinstance(value, type)
        and all(callable(getattr(value, name, None)) for name in _PROTOCOL)
    )


def saved_state(controller: Any) -> Any:
    """State of a controller, in memory that nothing else writes. A user's class may return its own lists and arrays."""
    state = controller.state_dict()
    return state if isinstance(controller, Controller) else copy.deepcopy(state)


def copied(controller: Any, copies: dict[int, Any]) -> Any:
    """Copy a controller and those inside it. `copies` holds the earlier copies, by `id`."""
    if id(controller) not in copies:
        if isinstance(controller, Wrapper):
            copies[id(controller)] = controller._twin(copies)
        else:
            copies[id(controller)] = copy.copy(controller)
    return copies[id(controller)]


class Controller:
    """A rate that reacts to the run: the protocol, and a base class for your controllers.

    An optimizer, its `state_dict` and the tools in `pyfastlr.tune` need only four methods:

    - ``c(n)`` returns the rate of update n, a float. It must not change anything, because `opt.lr` calls it too.
    - ``c.observe(**what)`` receives what happened, for example ``loss=0.3``. You call it between steps, as often as you
      like. It uses the arguments that it needs and ignores all others.
    - ``c.state_dict()`` returns the state, as numbers, strings, None, lists, dicts and numpy arrays.
    - ``c.load_state_dict(d)`` checks all of `d`, then loads it. On an error nothing changes.

    If a subclass keeps its whole state in the dict ``self.state``, and `observe` replaces that dict, it inherits the
    last two methods.

    `opt.state_dict()` has the states of the optimizer's controllers. `opt.load_state_dict` writes them into the
    controllers that the optimizer has; these stay the same objects. A controller is equal only to itself. It has no
    `compiled` form and cannot be part of a schedule. Put the schedule inside: ``Plateau(Cosine(...).warmup(500))``.

    Examples
    --------
    >>> import numpy as np, pyfastlr as flr
    >>> from pyfastlr import schedules as S
    >>> class HalveOnAlarm(S.Controller):
    ...     def __init__(self, lr):
    ...         self.lr, self.state = lr, {"alarms": 0}
    ...
    ...     def __call__(self, n):
    ...         return self.lr * 0.5 ** self.state["alarms"]
    ...
    ...     def observe(self, *, alarm=False, **others):
    ...         self.state = {"alarms": self.state["alarms"] + bool(alarm)}
    >>> rate = HalveOnAlarm(0.1)
    >>> opt = flr.SGD(np.ones(3), lr=rate)
    >>> rate.observe(alarm=True)
    >>> opt.lr
    0.05
    >>> opt.state_dict()["controllers"]
    [{'group': 0, 'name': 'lr', 'state': {'type': '...HalveOnAlarm', 'alarms': 1}}]

    Notes
    -----
    Other libraries: torch's ReduceLROnPlateau is not a scheduler (no `get_last_lr` in groups, not in SequentialLR).
    Keras has callbacks, whose state is not saved. optax scales updates in a GradientTransformation.
    """

    state: dict[str, Any]
    __array_ufunc__ = None  # so that numpy scalars call __rmul__ for `scalar * controller`

    def __call__(self, n: int, /) -> float:
        """Return the rate of update n, counting from 0."""
        raise NotImplementedError(f"{type(self).__name__} needs a method __call__(self, n) that returns the rate")

    def observe(self, **what: Any) -> Any:
        """Receive what happened."""
        raise NotImplementedError(f"{type(self).__name__} needs a method observe(self, **what)")

    def state_dict(self) -> dict[str, Any]:
        """Copy of the state."""
        return {"type": type_name(type(self)), **copy.deepcopy(self.state)}

    def load_state_dict(self, d: Mapping[str, Any]) -> None:
        """Load the output of `state_dict`. If an error is raised, nothing has changed.

        Raises
        ------
        TypeError, ValueError
            If the state belongs to another kind of controller, or is damaged.
        """
        self.state = self.checked_state(d)

    def checked_state(self, d: Mapping[str, Any]) -> dict[str, Any]:
        """State from the output of `state_dict`. Each value must have the kind of the current value.

        The kinds are numbers (with flags and None), strings, lists, dicts and arrays. None may become any of them.
        """
        if not isinstance(d, Mapping):
            raise TypeError(f"the state of {type(self).__name__} must be a dict from state_dict(), got {d!r:.60}")
        kind = d.get("type")
        if not isinstance(kind, str) or kind != type_name(type(self)):
            raise ValueError(f"the state must be that of {type_name(type(self))}, got that of {kind!r:.60}")
        given = {key: value for key, value in d.items() if key != "type"}
        if set(given) != set(self.state):
            raise ValueError(f"the state of {type(self).__name__} must have {sorted(self.state)}, got {sorted(given)}")
        return {
            key: _of_kind(given[key], now, f"the state {key!r} of {type(self).__name__}")
            for key, now in self.state.items()
        }

    def __eq__(self, other: object) -> bool:
        return self is other

    __hash__ = object.__hash__

    @property
    def compiled(self) -> NoReturn:
        """Refused: the rate is not a function of the index alone."""
        raise TypeError(
            f"{type(self).__name__} reacts to the run and cannot be compiled: at each update, pass its rate c(n) to "
            "the compiled code"
        )

    def to_dict(self) -> dict[str, Any]:
        """Arguments for JSON, without the state. Your subclasses have none unless they define this."""
        raise TypeError(f"{type(self).__name__} has no JSON form; use state_dict() for its state")

    def _no_algebra(self, *_: Any, **__: Any) -> NoReturn:
        raise TypeError(
            f"{type(self).__name__} reacts to the run, so it cannot be part of a schedule: put the schedule inside, "
            "as in Plateau(0.5 * schedule), or scale the rate with `lr_scale`"
        )

    __mul__ = __rmul__ = __add__ = __radd__ = _no_algebra
    warmup = then = delay = advance = every = clip = _no_algebra


def _of_kind(value: Any, now: Any, what: str) -> Any:
    """Copy a value that must have the kind of the current one (see `checked_state`)."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(now, np.generic):
        now = now.item()
    kinds: tuple[type, ...]
    if isinstance(now, bool | int | float):
        kinds = (float, int, bool, type(None))
    elif now is None:
        kinds = (float, int, bool, str, list, tuple, dict, np.ndarray, type(None))
    elif isinstance(now, list | tuple):
        kinds = (list, tuple, type(None))  # JSON has only lists
    else:
        kinds = (type(now), type(None))
    if not isinstance(value, kinds):
        raise TypeError(f"{what} must be {' or '.join(x.__name__ for x in kinds)}, got {value!r:.60}")
    if isinstance(now, float) and type(value) is int:
        return float(value)
    new: Any = copy.deepcopy(value)
    return type(now)(new) if isinstance(now, list | tuple) and new is not None else new


class Wrapper(Controller):
    """Base of the library's controllers: wraps a base rate, and has arguments that never change.

    Parameters
    ----------
    base : float, Schedule, callable or Controller
        The rate that the controller changes.
    state : dict
        The initial state.
    **arguments
        All other arguments of the constructor, already checked.
    """

    defaults: ClassVar[Mapping[str, Any]] = {}

    def __init_subclass__(cls) -> None:
        register(cls)

    def __init__(self, base: RateLike | Controller, state: dict[str, Any], **arguments: Any) -> None:
        self.base: Any = base if is_controller(base) else as_schedule(base, "base")
        self.state, self.arguments = state, arguments
        self.history: deque[tuple[float, bool]] = deque(maxlen=_KEPT)  # for `plot`: each value, and whether it acted
        self._n = 0  # index of the last update

    def __call__(self, n: int, /) -> float:
        """Return the rate of update n, counting from 0.

        Raises
        ------
        TypeError, ValueError
            If n is not an integer >= 0. Arrays are refused, because future rates depend on future observations.
        """
        if isinstance(n, np.ndarray):
            raise TypeError(
                f"`n` must be an integer >= 0, got an array: later rates of {type(self).__name__} depend on what it "
                "will observe"
            )
        return self._rate(n if type(n) is int and n >= 0 else checks.index(n))

    def _at(self, n: int) -> float:
        """Rate of update n, called by the optimizer when it makes that update."""
        self._n = n
        if isinstance(self.base, Wrapper):
            self.base._at(self._index(n))
        return self._rate(n)

    def _index(self, n: int) -> int:
        """Index at which the base is evaluated for update n."""
        return n

    def _rate(self, n: int) -> float:
        raise NotImplementedError

    def _base_at(self, n: int) -> float:
        base = self.base
        rate = base._at(n) if isinstance(base, Schedule) else base(n)
        return rate if type(rate) is float else observed(rate, f"base({n})")

    def state_dict(self) -> dict[str, Any]:
        """Copy of the state: counts, the best value, and the state of a controller inside."""
        inside = {"base": saved_state(self.base)} if is_controller(self.base) else {}
        return {**super().state_dict(), "n": self._n, **inside}

    def load_state_dict(self, d: Mapping[str, Any]) -> None:
        """Load the output of `state_dict`. If an error is raised, nothing has changed."""
        new, n, inside = self.parts(d)
        if inside is not None:
            load_checked([(self.base, inside)])
        self.state, self._n = new, n

    def parts(self, d: Mapping[str, Any]) -> tuple[dict[str, Any], int, Any]:
        """Checked state, index of the last update, and the state of a controller inside. Changes nothing."""
        given = dict(d) if isinstance(d, Mapping) else d
        inside, n = (given.pop("base", None), given.pop("n", 0)) if isinstance(given, dict) else (None, 0)
        new = self.checked_state(given)
        if is_controller(self.base):
            trial(self.base, inside)
        elif inside is not None:
            raise ValueError(f"the state of {type(self).__name__} must have no controller inside, got {inside!r:.60}")
        return new, checks.natural(n, "state['n']"), inside

    def checked_state(self, d: Mapping[str, Any]) -> dict[str, Any]:
        """State whose flags are flags and whose counts are not negative."""
        state = super().checked_state(d)
        for key, now in self.state.items():
            value, what = state[key], f"the state {key!r} of {type(self).__name__}"
            if type(now) in (bool, int) and type(value) is not type(now):
                raise TypeError(f"{what} must be {type(now).__name__}, got {value!r:.60}")
            if type(value) is bool and type(now) is not bool:
                raise TypeError(f"{what} must be a number, got {value!r}")
            if type(value) is int and value < 0:
                raise ValueError(f"{what} must be >= 0, got {value}")
        return state

    def __copy__(self) -> Wrapper:
        """Copy with an independent state, including that of a controller inside."""
        return self._twin({})

    def __getstate__(self) -> dict[str, Any]:
        """Copy the history by one C call, because another thread may observe while this one pickles."""
        return {**self.__dict__, "history": self.history.copy()}

    def _twin(self, copies: dict[int, Any]) -> Wrapper:
        twin: Wrapper = object.__new__(type(self))
        twin.__dict__.update(self.__dict__, history=self.history.copy())
        if is_controller(self.base):
            twin.base = copied(self.base, copies)
        return twin

    def to_dict(self) -> dict[str, Any]:
        """Type and arguments, ready for JSON, without the state. `from_dict` makes a new controller from them."""
        if not hasattr(self.base, "to_dict"):
            raise TypeError(f"{type(self.base).__name__} has no JSON form: state_dict() has its state")
        return {"type": type_name(type(self)), "base": self.base.to_dict(), **self.arguments}

    def __repr__(self) -> str:
        given = {x: value for x, value in self.arguments.items() if value != self.defaults.get(x, ...)}
        return (
            f"{type(self).__name__}({', '.join([repr(self.base), *(f'{x}={value!r}' for x, value in given.items())])})"
        )

    def plot(self, ax: Axes | None = None, **kwargs: Any) -> Axes:
        """Draw the last 100,000 observed values, with a line where the controller acted.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Where to draw. By default a new pyplot figure.
        **kwargs
            Keywords of `matplotlib.lines.Line2D` for the observed values.

        Returns
        -------
        matplotlib.axes.Axes

        Raises
        ------
        ModuleNotFoundError
            If matplotlib is not installed.
        """
        try:
            import matplotlib  # noqa: F401
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError('plot needs matplotlib: pip install "pyfastlr[demo]"') from error
        from .controller_plot import draw

        return draw(self, ax, kwargs)

    observes: ClassVar[str] = "loss"  # the values in the picture
    acted: ClassVar[str] = "rate changed"  # what the lines in the picture mean
    title: ClassVar[str] = ""  # title of the picture if it does not show observed values


def load_checked(pairs: Sequence[tuple[Any, Any]]) -> None:
    """Load the state of each controller. If one refuses, none is changed."""
    for controller, state in pairs:
        trial(controller, state)
    before: list[tuple[Any, Any]] = []
    try:
        for controller, state in pairs:
            before.append((controller, saved_state(controller)))
            controller.load_state_dict(_given(controller, state))
    except BaseException:
        for controller, state in before:
            controller.load_state_dict(state)
        raise


def trial(controller: Any, state: Any) -> None:
    """Raise the error that loading this state would raise. Changes nothing."""
    if not isinstance(state, Mapping):
        raise TypeError(f"the state of {type(controller).__name__} must be a dict from state_dict(), got {state!r:.60}")
    if isinstance(controller, Wrapper):
        controller.parts(state)
        return
    if isinstance(controller, Controller) and type(controller).load_state_dict is Controller.load_state_dict:
        controller.checked_state(state)
        return
    try:
        twin = copy.deepcopy(controller)
    except Exception:  # noqa: BLE001  # not every user's object can be copied; `load_checked` undoes a refused load
        return
    twin.load_state_dict(_given(twin, state))


def _given(controller: Any, state: Any) -> Any:
    """State to pass to a controller. A user's class may keep the lists and arrays that it is given."""
    return state if isinstance(controller, Wrapper) else copy.deepcopy(state)


def observed(value: Any, name: str) -> float:
    """Check an observed value: any number, including NaN and infinity."""
    if (
        isinstance(value, bool | np.bool_ | str | bytes | complex | np.complexfloating)
        or not hasattr(value, "__float__")
        or getattr(value, "ndim", 0) != 0
    ):
        raise TypeError(f"`{name}` must be a number, got {value!r:.60}")
    try:
        return float(value)
    except OverflowError:  # an integer beyond all floats
        return math.inf if value > 0 else -math.inf


_scale = checks.number("a finite number >= 0", 0.0)
_limit = checks.number("a number >= 0, or None for no limit", 0.0)


class Adjustable(Wrapper):
    """A rate with a scale and an upper limit that can be set during the run: ``min(scale·base(n), limit)``.

    Tools that change the rate use it, such as `tune.StabilityMonitor` and `tune.SpikeGuard`. Your loop can use it too.

    Parameters
    ----------
    base : float, Schedule, callable or Controller
    scale : float >= 0
        Initial factor.
    limit : float >= 0 or None
        Initial upper limit; None for no limit.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> from pyfastlr import schedules as S
    >>> rate = S.Adjustable(S.Linear(0.4, 0.0, steps=4))
    >>> rate(0), rate(2)
    (0.4, 0.2)
    >>> rate.observe(limit=0.25)
    >>> rate(0), rate(2)
    (0.25, 0.2)
    >>> rate.observe(scale=0.5, limit=None)
    >>> rate(0), rate(2)
    (0.2, 0.1)

    Notes
    -----
    `opt.groups[0]["lr"] *= 0.5` also scales the rate, but makes a new schedule each time. In torch and Keras you set
    the optimizer's rate, which their schedulers then overwrite or multiply.
    """

    defaults: ClassVar[Mapping[str, Any]] = {"scale": 1.0, "limit": None}
    observes, acted = "scale of the rate", "scale or limit set"

    def __init__(self, base: RateLike | Controller, scale: float = 1.0, limit: float | None = None) -> None:
        scale = _scale(scale, "scale")
        limit = None if limit is None else _limit(limit, "limit")
        super().__init__(base, {"scale": scale, "limit": limit}, scale=scale, limit=limit)

    @property
    def scale(self) -> float:
        """Current factor."""
        scale: float = self.state["scale"]
        return scale

    @property
    def limit(self) -> float | None:
        """Current upper limit, or None."""
        limit: float | None = self.state["limit"]
        return limit

    def _rate(self, n: int) -> float:
        state = self.state
        rate: float = state["scale"] * self._base_at(n)
        return rate if state["limit"] is None else min(rate, state["limit"])

    def observe(self, *, scale: Any = ..., limit: Any = ..., **others: Any) -> None:
        """Set the scale, the limit, or both. An argument that is left out does not change.

        Parameters
        ----------
        scale : float >= 0
        limit : float >= 0 or None
            None or infinity for no limit.

        Raises
        ------
        TypeError, ValueError
            If a value has the wrong type or is out of range.
        """
        new = dict(self.state)
        if scale is not ...:
            new["scale"] = _scale(scale, "scale")
        if limit is not ...:
            unlimited = limit is None or (isinstance(limit, float | np.floating) and limit == math.inf)
            new["limit"] = None if unlimited else _limit(limit, "limit")
        self.history.append((new["scale"], new != self.state))
        self.state = new

    def checked_state(self, d: Mapping[str, Any]) -> dict[str, Any]:
        """State with scale and limit in their ranges."""
        state = super().checked_state(d)
        limit = state["limit"]
        return {"scale": _scale(state["scale"], "scale"), "limit": None if limit is None else _limit(limit, "limit")}
