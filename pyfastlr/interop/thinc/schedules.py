"""pyfastlr's schedules as schedules of thinc, whose kind depends on thinc's version, and back."""

import inspect
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

from thinc import schedules as theirs

from pyfastlr import schedules as ours
from pyfastlr.schedules import Schedule

_NAME = "pyfastlr"  # of ours, as a schedule of thinc 9
#: thinc 9's class. Before, a schedule is an iterator of rates, from which `step_schedules` takes the next.
THEIR_CLASS: Any = getattr(theirs, "Schedule", None)


class Rates(Iterator[float]):
    """The rates of a schedule, one after the other: a schedule of thinc 8."""

    def __init__(self, schedule: Callable[[int], float]) -> None:
        self.schedule, self.n = schedule, 0

    def __next__(self) -> float:
        rate = self.schedule(self.n)
        self.n += 1
        return rate


def as_theirs(schedule: Callable[[int], float]) -> Any:
    """Convert a schedule, a controller or a callable to a schedule of the installed thinc. It counts thinc's steps."""
    if THEIR_CLASS is None:
        return Rates(schedule)
    return THEIR_CLASS(_NAME, _rate, attrs={"schedule": schedule})


def _rate(schedule: Any, step: int, **others: Any) -> float:
    """Evaluate one of ours, as thinc 9 does."""
    del others  # key, last_score
    return schedule.attrs["schedule"](step)  # type: ignore[no-any-return]


def as_ours(value: Any) -> Any:
    """Convert thinc's form of one of our schedules to ours. A schedule of thinc 9's own can be called, so it stays."""
    if isinstance(value, Rates):
        return value.schedule
    if THEIR_CLASS is not None and isinstance(value, THEIR_CLASS) and value.name == _NAME:
        return value.attrs["schedule"]
    return value


def _factory(cls: type[Schedule]) -> Callable[..., Any]:
    """Return the function that thinc's registry calls for a class: same arguments, thinc's kind of schedule."""

    def make(*args: Any, **kwargs: Any) -> Any:
        return as_theirs(cls(*map(as_ours, args), **{name: as_ours(x) for name, x in kwargs.items()}))

    make.__name__ = make.__qualname__ = cls.__name__
    make.__doc__ = cls.__doc__
    # Without annotations: thinc would check them before the class can say what is wrong.
    arguments = [x.replace(annotation=inspect.Parameter.empty) for x in inspect.signature(cls).parameters.values()]
    make.__signature__ = inspect.Signature(arguments)  # type: ignore[attr-defined]
    return make


#: What a config can name, as "pyfastlr.Cosine.v1": all but the class for functions. Entry points have dotted names.
FACTORIES = SimpleNamespace(
    **{
        name: _factory(cls)
        for name in ours.__all__
        if inspect.isclass(cls := getattr(ours, name))
        and issubclass(cls, Schedule)
        and cls not in (Schedule, ours.Custom)
    }
)
