"""`track`: a loop's progress, with the latest numbers of a recorder."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar

from pyfastlr.tune.values import count

from .displays import Display, Words
from .recorder import Recorder

if TYPE_CHECKING:
    from rich.console import Console

T = TypeVar("T")


def track(
    iterable: Iterable[T],
    recorder: Recorder | None = None,
    *,
    total: int | None = None,
    description: str = "",
    names: Sequence[str] | None = None,
    console: Console | None = None,
) -> Iterator[T]:
    """Iterate, and show the progress, the remaining time and the latest numbers of a recorder.

    A terminal shows a bar. Elsewhere (a file, a pipe) a line is printed at each tenth or, if the length is not known,
    after 10, 20, 40, ... seconds. Nested loops have one bar each, and an inner bar disappears when its loop ends.

    Parameters
    ----------
    iterable : iterable
        What to iterate over.
    recorder : Recorder, optional
        The recorder whose latest numbers are shown.
    total : int >= 0, optional
        Number of items, if ``len`` does not give it.
    description : str
        Text before the bar or at the start of each line.
    names : list of str, optional
        Names of the numbers to show once they are recorded. By default the recorder's first four names.
    console : rich.console.Console, optional
        Where to print. By default standard error, because progress is not a result of the program.

    Yields
    ------
    object
        The items.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.
    ModuleNotFoundError
        If rich is not installed.

    Examples
    --------
    >>> import sys
    >>> from rich.console import Console
    >>> from pyfastlr import tune
    >>> r = tune.Recorder()
    >>> for n in tune.track(range(20), r, console=Console(file=sys.stdout)):
    ...     r.record(loss=1 / (n + 1))
     2/20  loss 0.5
     4/20  loss 0.25
     6/20  loss 0.1667
     8/20  loss 0.125
    10/20  loss 0.1
    12/20  loss 0.08333
    14/20  loss 0.07143
    16/20  loss 0.0625
    18/20  loss 0.05556
    20/20  loss 0.05

    Notes
    -----
    An iteration costs about 0.1 microseconds more: the clock is read rarely, and the display is drawn at most ten times
    a second. If a loop ends by ``break``, an exception or Ctrl-C, the last display stays, and the terminal is restored.
    If the output is closed, the loop continues without a display.

    `rich.progress.track` and tqdm do this without the numbers.
    """
    try:
        import rich  # noqa: F401
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError('track needs rich: pip install "pyfastlr[cli]"') from error
    if not isinstance(iterable, Iterable) and not hasattr(iterable, "__getitem__"):
        raise TypeError(f"`iterable` must be iterable, got {type(iterable).__name__}")
    if recorder is not None and not isinstance(recorder, Recorder):
        raise TypeError(f"`recorder` must be a Recorder or None, got {type(recorder).__name__}")
    if names is not None and not (isinstance(names, list | tuple) and all(isinstance(name, str) for name in names)):
        raise TypeError(f"`names` must be a list of names or None, got {names!r:.60}")
    if not isinstance(description, str):
        raise TypeError(f"`description` must be a str, got {description!r:.60}")
    length = operator.length_hint(iterable, -1) if total is None else count(total, "total", 0)
    words = Words(recorder, None if names is None else tuple(names), description)
    return _tracked(iterable, Display(words, None if length < 0 else length, console))


def _tracked(iterable: Iterable[T], display: Display) -> Iterator[T]:
    done = 0
    try:
        display.begin()
        for item in iterable:
            if done >= display.due:
                display.look(done)
            yield item
            # Last in the loop: from an `if` here, Python 3.13 jumps back outside the `try`, and an interrupt at that
            # point would skip `finally`.
            done += 1
    finally:
        display.end(done)
