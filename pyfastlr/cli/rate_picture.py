"""Schedules drawn with characters, for a terminal."""

from collections.abc import Sequence
from string import ascii_lowercase

import numpy as np

from pyfastlr.schedules import Schedule

from .lr_picture import BLOCKS

HEIGHT = 12  # lines of the curve
WIDEST = 100  # most columns of the curve
SAMPLES = 8  # updates of a column that are looked at
SEVERAL = "*"  # where curves meet
MOST = len(ascii_lowercase)  # curves
Array = np.ndarray[tuple[int, ...], np.dtype[np.float64]]


def picture(schedules: Sequence[Schedule], steps: int, width: int) -> str:
    """Draw the rates of the first `steps` updates: one schedule as an area, several as lines of letters.

    Parameters
    ----------
    schedules : sequence of Schedule
        From 1 to 26.
    steps : int >= 1
    width : int
        Columns of the terminal.
    """
    columns = max(20, min(WIDEST, width - 14))
    at = np.linspace(0, steps - 1, columns * SAMPLES).round().astype(np.int64).reshape(columns, SAMPLES)
    rates = [np.minimum(s(at), np.finfo(np.float64).max) for s in schedules]
    low, high = _limits(rates)
    labels = [f"{high:.3g}", *[""] * (HEIGHT - 2), f"{low:.3g}"]
    margin = max(8, *map(len, labels))
    heights = [np.clip((r - low) / (high - low), 0.0, 1.0) for r in rates]
    rows = _area(heights[0]) if len(schedules) == 1 else _lines(heights)
    lines = [f"{name:>{margin}} ┤{row}".rstrip() for name, row in zip(labels, rows, strict=True)]
    axis, numbers = _updates(steps, columns)
    return "\n".join([*lines, f"{'rate':>{margin}} └{axis}", f"{'update':>{margin}}  {numbers}"])


def _limits(rates: list[Array]) -> tuple[float, float]:
    """Return the ends of the axis: from 0, unless that would squeeze the curves into its upper half."""
    values = np.concatenate(rates)
    values = values[np.isfinite(values)]
    if not values.size:
        return 0.0, 1.0
    low, high = float(values.min()), float(values.max())
    if low == high or low < high / 2:
        low = 0.0
    return low, high if high > low else 1.0


def _area(heights: Array) -> list[str]:
    """Return one curve as an area, in eighths of a line. A rate above the axis is seen, however low it is."""
    eighths = np.ceil(heights.max(axis=1) * HEIGHT * 8).astype(int)
    rows = []
    for k in range(HEIGHT):
        cells = np.clip(eighths - 8 * (HEIGHT - 1 - k), 0, 8)
        rows.append("".join(BLOCKS[x] for x in cells))
    return rows


def _lines(curves: list[Array]) -> list[str]:
    """Return curves as lines of letters. A column has all heights of its updates, up to those of the next column."""
    cells = [[" "] * len(curves[0]) for _ in range(HEIGHT)]
    for letter, heights in zip(ascii_lowercase, curves, strict=False):
        row = HEIGHT - 1 - np.floor(heights * HEIGHT).clip(0, HEIGHT - 1).astype(int)
        top, bottom = row.min(axis=1).tolist(), row.max(axis=1).tolist()
        for column in range(len(top)):
            first, last = top[column], bottom[column]
            if column + 1 < len(top):  # close the gap, if there is one
                first, last = min(first, bottom[column + 1] + 1), max(last, top[column + 1] - 1)
            for k in range(first, last + 1):
                cells[k][column] = letter if cells[k][column] == " " else SEVERAL
    return ["".join(row) for row in cells]


def _updates(steps: int, columns: int) -> tuple[str, str]:
    """Return an axis with ticks at round numbers, and their labels."""
    last = steps - 1
    every = 1
    while last / every * (len(str(last)) + 3) > columns:
        every = every * 5 // 2 if str(every)[0] == "2" else every * 2  # 1, 2, 5, 10, ...
    axis, labels = ["─"] * columns, [" "] * (columns + 12)
    for n in range(0, steps, every):
        place = min(columns - 1, round(n / last * columns)) if last else 0
        axis[place] = "┬"
        labels[place : place + len(str(n))] = str(n)
    return "".join(axis), "".join(labels).rstrip()
