"""A range test drawn with characters, for a terminal."""

import math

import numpy as np

from pyfastlr.tune.finding.ranges import RangeTest, shown

BLOCKS = " ▁▂▃▄▅▆▇█"
HEIGHT = 10  # lines of the curve
WIDEST = 90  # most columns of the curve


def picture(test: RangeTest, width: int) -> str:
    """Draw the smoothed loss of the first sweep against the logarithm of the rate, with the suggestions below.

    Parameters
    ----------
    test : RangeTest
    width : int
        Columns of the terminal.
    """
    view = shown(test, each_batch=False)
    if view is None or len(test.lrs) < 2:
        return "There is no curve to draw."
    low, high = view
    names = [f"{high:.3g}", *[""] * (HEIGHT - 2), f"{low:.3g}"]
    margin = max(8, *map(len, (*names, *test.suggestions)))
    columns = max(20, min(WIDEST, width - margin - 12))
    lrs = np.log10(test.lrs)
    places = np.linspace(lrs[0], lrs[-1], columns)
    finite = np.isfinite(test.smoothed)
    heights = (np.interp(places, lrs[finite], test.smoothed[finite]) - low) / (high - low) * HEIGHT * 8
    heights = np.clip(heights.round().astype(int), 0, HEIGHT * 8)
    lines = []
    for k, name in enumerate(names):
        cells = np.clip(heights - 8 * (HEIGHT - 1 - k), 0, 8)
        lines.append(f"{name:>{margin}} ┤" + "".join(BLOCKS[x] for x in cells).rstrip())
    axis, labels = _decades(float(lrs[0]), float(lrs[-1]), columns)
    lines += [f"{'loss':>{margin}} └{axis}", f"{'rate':>{margin}}  {labels}"]
    for rule, lr in test.suggestions.items():
        if lr is not None:
            place = _column(math.log10(lr), lrs[0], lrs[-1], columns)
            lines.append(f"{rule:>{margin}}  {' ' * place}▲ {lr:.2g}")
    return "\n".join(lines)


def _column(place: float, first: float, last: float, columns: int) -> int:
    return min(columns - 1, max(0, round((place - first) / (last - first) * (columns - 1))))


def _decades(first: float, last: float, columns: int) -> tuple[str, str]:
    """Axis with a tick at each power of ten, and as many labels as fit."""
    axis, labels, free = ["─"] * columns, [" "] * (columns + 12), 0
    for power in range(math.ceil(first - 1e-9), math.floor(last + 1e-9) + 1):
        place = _column(power, first, last, columns)
        axis[place] = "┬"
        name = f"1e{power}"
        if place >= free:
            labels[place : place + len(name)] = name
            free = place + len(name) + 1
    return "".join(axis), "".join(labels).rstrip()
