"""The display of `track`: a bar in a terminal, lines elsewhere."""

from __future__ import annotations

import atexit
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from pyfastlr_kernels.compile.first_use import whole

from .recorder import Recorder

if TYPE_CHECKING:
    from rich.console import Console

_REFRESH = 0.1  # seconds between two refreshes of the bars
_SHORT, _STRIDE = 50e-6, 16  # if an iteration takes fewer seconds, only every _STRIDE-th reads the clock
_FIRST_LINE = 10.0  # seconds to the first line of a loop of unknown length; doubles for each further line
_SHOWN = 4  # numbers to show by default
_lock = threading.RLock()
_screens: dict[Any, _Screen] = {}  # screens with bars, by console; None is our own console


class Words:
    """Text beside a bar, or in a line."""

    def __init__(self, recorder: Recorder | None, names: tuple[str, ...] | None, description: str) -> None:
        self._recorder, self._names, self.description = recorder, names, description

    def numbers(self) -> str:
        """Names and values of the numbers that have been recorded."""
        if self._recorder is None:
            return ""
        latest = self._recorder.latest
        names = self._recorder.names[:_SHOWN] if self._names is None else self._names
        return "  ".join(f"{name} {latest[name]:.4g}" for name in names if name in latest)


class _Shown(Protocol):
    """One form of display."""

    due: float  # number of items at which to call `look` again

    def begin(self) -> None: ...
    def look(self, done: int) -> None: ...
    def end(self, done: int) -> None: ...


class Display:
    """A bar, or lines if there is no terminal. Nothing once the output is closed.

    Attributes
    ----------
    due : float
        Number of items at which to call `look`.
    """

    def __init__(self, words: Words, total: int | None, console: Console | None) -> None:
        self._words, self._total, self._console = words, total, console
        self._shown: _Shown | None = None
        self.due = float("inf")

    def begin(self) -> None:
        """Start the display."""
        console = _own_console() if self._console is None else self._console
        is_screen = (console.is_terminal and not console.is_dumb_terminal) or console.is_jupyter
        self._shown = _Bar(self._words, self._total, self._console, console) if is_screen else None
        if self._shown is not None and not self._try(self._shown.begin):
            self._shown = None
        if self._shown is None:
            self._shown = _Lines(self._words, self._total, console)
        self.due = self._shown.due

    def look(self, done: int) -> None:
        """Show progress if an update is due, and set `due`."""
        if self._shown is not None:
            self._try(self._shown.look, done)
            self.due = self._shown.due if self._shown is not None else float("inf")

    def end(self, done: int) -> None:
        """Show the final progress, and release the terminal."""
        if self._shown is not None:
            self._try(self._shown.end, done)

    def _try(self, work: Callable[..., None], *arguments: int) -> bool:
        """Draw. A loop must not end because its progress cannot be written, or because another bar has the terminal."""
        from rich.errors import LiveError

        try:
            work(*arguments)
        except LiveError:
            return False
        except (OSError, ValueError):  # ValueError: the file is closed
            self._shown = None
        return True


def _own_console() -> Console:
    from rich.console import Console

    class Ours(Console):
        def on_broken_pipe(self) -> None:
            """Stop printing. rich's own method would end the program."""
            self.quiet = True

    return Ours(stderr=True)


class _Lines:
    """A line at each tenth, or at growing intervals of time."""

    def __init__(self, words: Words, total: int | None, console: Console) -> None:
        self._words, self._total, self._console = words, total, console
        self._printed, self._tenth = 0, 0
        self._start, self._wait, self._before = time.monotonic(), _FIRST_LINE, (0, time.monotonic())
        self.due: float = 1 if total is None else self._next()

    def begin(self) -> None: ...

    def _next(self) -> float:
        """Number of items at the next tenth that is not printed yet."""
        assert self._total is not None
        while self._tenth < 10:
            self._tenth += 1
            due = -(-self._tenth * self._total // 10)
            if due > self._printed:
                return due
        return float("inf")

    def look(self, done: int) -> None:
        if self._total is not None:
            self._print(done)
            self.due = self._next()
            return
        now = time.monotonic()
        if now - self._start >= self._wait:
            self._wait *= 2
            self._print(done)
        self.due, self._before = done + stride(done, now, self._before), (done, now)

    def end(self, done: int) -> None:
        if done > self._printed:
            self._print(done)

    def _print(self, done: int) -> None:
        self._printed = done
        total = "" if self._total is None else f"/{self._total}"
        parts = (self._words.description, f"{done:>{max(0, len(total) - 1)}}{total}", self._words.numbers())
        text = "  ".join(part for part in parts if part)
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)
        self._console.file.flush()  # otherwise a pipe would show everything at the end


def stride(done: int, now: float, before: tuple[int, float]) -> int:
    """Items until the clock is read again. Few, so that a loop that slows down is still updated."""
    items, seconds = done - before[0], now - before[1]
    return _STRIDE if seconds < items * _SHORT else 1


class _Bar:
    """One bar of a console's screen."""

    def __init__(self, words: Words, total: int | None, key: Console | None, console: Console) -> None:
        self.words, self.total = words, total
        self.done = 0
        self._key, self._console = key, console
        self._screen: _Screen | None = None
        self._before = (0, time.monotonic())
        self.due: float = 1

    def counted(self) -> str:
        return f"{self.done}" if self.total is None else f"{self.done}/{self.total}"

    def begin(self) -> None:
        with _lock:
            screen = _screens.get(self._key)
            if screen is None:
                screen = _screens[self._key] = _Screen(self._console)
            self._screen = screen
            try:
                screen.add(self)
            except BaseException:
                self._leave()
                raise

    def look(self, done: int) -> None:
        self.done, now = done, time.monotonic()
        if self._screen is not None and now >= self._screen.next_time:
            self._screen.refresh(now)
        self.due, self._before = done + stride(done, now, self._before), (done, now)

    def end(self, done: int) -> None:
        self.done = done
        self._leave()

    def _leave(self) -> None:
        """Remove the bar. The last one stops the display, uninterrupted, or the cursor could stay hidden."""
        with _lock:
            screen, self._screen = self._screen, None
            if screen is None:
                return
            if screen.is_last(self):
                _screens.pop(self._key, None)
                try:
                    screen.refresh(time.monotonic())
                finally:
                    whole(screen.stop)  # runs in another thread, so it must not take our lock
            else:
                screen.remove(self)


class _Screen:
    """All bars that a console shows at one time."""

    def __init__(self, console: Console) -> None:
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.fields[counted]}", markup=False),
            TextColumn("{task.fields[numbers]}", markup=False),
            TimeRemainingColumn(elapsed_when_finished=True),
        )
        # A refreshing thread would compete with the loop.
        self._progress = Progress(*columns, console=console, auto_refresh=False)
        self._tasks: dict[_Bar, Any] = {}
        self.next_time = 0.0

    def add(self, bar: _Bar) -> None:
        if not self._tasks:
            self._progress.start()
        self._tasks[bar] = self._progress.add_task(
            bar.words.description, total=bar.total, counted=bar.counted(), numbers=bar.words.numbers()
        )

    def refresh(self, now: float) -> None:
        self.next_time = now + _REFRESH
        with _lock:
            for bar, task in self._tasks.items():
                numbers = bar.words.numbers()
                self._progress.update(task, completed=bar.done, counted=bar.counted(), numbers=numbers)
        self._progress.refresh()

    def bars(self) -> list[_Bar]:
        return list(self._tasks)

    def is_last(self, bar: _Bar) -> bool:
        return all(x is bar for x in self._tasks)

    def remove(self, bar: _Bar) -> None:
        if bar in self._tasks:
            self._progress.remove_task(self._tasks.pop(bar))

    def stop(self) -> None:
        self._progress.stop()


@atexit.register
def _stop_all() -> None:
    """Stop the displays of unfinished loops, while threads still work."""
    for bar in [bar for screen in _screens.values() for bar in screen.bars()]:
        bar.end(bar.done)
