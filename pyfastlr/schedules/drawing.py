"""The picture of `Schedule.plot`: the rates, with a heading above new axes."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from matplotlib import rcParams
from matplotlib.axes import Axes
from matplotlib.cbook import normalize_kwargs
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D
from matplotlib.textpath import text_to_path
from matplotlib.ticker import MaxNLocator

from .base import Schedule
from .names import written

POINTS = 20_000  # more than there are pixels
NAME, FORMULA = 10.0, 8.5  # sizes in points
BESIDE = 4.2  # width of a legend's line and margins, in font sizes
HINTED = 0.97  # screens fit letters to pixels, which makes a text up to 3 % wider than computed here
GLUE = "\N{NO-BREAK SPACE}"  # where a line should not break
HEADING = "pyfastlr schedules"  # marks a legend as ours, so that it may be replaced


def draw(schedule: Schedule, steps: int, ax: Axes | None, options: dict[str, Any]) -> Axes:
    """Draw the rates of the first `steps` updates with these line options."""
    if ax is not None and not isinstance(ax, Axes):
        raise TypeError(f"`ax` must be one matplotlib Axes or None, got {type(ax).__name__}")
    n = np.unique(np.linspace(0, steps - 1, min(steps, POINTS)).astype(np.int64))
    rates = schedule(n)
    options = normalize_kwargs(options, Line2D)  # lw is linewidth
    options.setdefault("drawstyle", "steps-post" if has_steps(rates) else "default")
    if steps == 1:
        options.setdefault("marker", "o")  # a line needs two points
    if ax is not None:
        _add(ax, schedule, n, rates, options)
        legend = ax.get_legend()
        if legend is not None and legend.get_gid() == HEADING:
            _head(ax, *ax.get_legend_handles_labels())
        return ax
    from matplotlib import pyplot

    figure = pyplot.figure(layout="constrained")
    try:
        ax = figure.add_subplot()
        line = _add(ax, schedule, n, rates, options)
        ax.xaxis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 2.5, 5, 10], integer=True))
        if steps == 1:
            ax.set(xlim=(-0.5, 0.5), xticks=[0])
        ax.grid(alpha=0.25)
        ax.spines[["top", "right"]].set_visible(False)
        figure.draw_without_rendering()  # sets the width of the axes
        if "label" not in options:
            line.set_label(_label(ax, schedule, NAME))
        _head(ax, *ax.get_legend_handles_labels(), schedule)
    except BaseException:
        pyplot.close(figure)
        raise
    return ax


def has_steps(rates: np.ndarray[Any, np.dtype[np.float64]]) -> bool:
    """Return whether the rate jumps between two levels: two equal rates before the jump and two after it.

    Lines between the points would draw the jump as a slope. A test of the rates works for any callable too.
    """
    changes = np.diff(rates) != 0
    return bool(np.any(~changes[:-2] & changes[1:-1] & ~changes[2:]))


def _add(ax: Axes, schedule: Schedule, n: Any, rates: Any, options: dict[str, Any]) -> Line2D:
    """Add the line, and labels where the axes have none."""
    size = FontProperties(size=rcParams["legend.fontsize"]).get_size_in_points()
    (line,) = ax.plot(n, rates, **{"label": _label(ax, schedule, size)} | options)
    ax.set_xlabel(ax.get_xlabel() or "update n (from 0)")
    ax.set_ylabel(ax.get_ylabel() or "rate")
    return line


def _label(ax: Axes, schedule: Schedule, size: float) -> str:
    """Return a schedule's name, wrapped for a legend of this font size within the axes."""
    name = written(schedule).lstrip("_")  # matplotlib hides labels that start with _
    return wrapped(name, _room(ax, size), size, lines=3)


def _head(ax: Axes, lines: list[Any], labels: list[Any], schedule: Schedule | None = None) -> None:
    """Put the names of the lines above the axes, followed by the schedule's formula if there is one."""
    formula = "" if schedule is None or schedule.formula == repr(schedule) else schedule.formula
    if formula:
        most = int(1.25 * ax.figure.bbox.height / ax.figure.dpi)  # lines that leave the curve most of the height
        lines = [*lines, Line2D([], [], linestyle="none")]
        labels = [*labels, wrapped(formula, _room(ax, NAME), FORMULA, min(max(most, 1), 6))]
    legend = ax.legend(lines, labels, loc="lower left", bbox_to_anchor=(0, 1), frameon=False, fontsize=NAME)
    legend.set_gid(HEADING)
    if formula:
        legend.get_texts()[-1].set(fontsize=FORMULA, color="0.3")


def _room(ax: Axes, size: float) -> float:
    """Return the points that a legend of this font size has for text within the width of the axes."""
    return max(size, (72 * ax.bbox.width / ax.figure.dpi - BESIDE * size) * HINTED)


def wrapped(text: str, points: float, size: float, lines: int) -> str:
    """Wrap text of this font size to a width of `points` and at most `lines` lines; longer text ends with "…".

    Examples
    --------
    >>> print(wrapped("Cosine(0.1, steps=80).warmup(20)", points=120, size=10, lines=2))
    Cosine(0.1, steps=80)
    .warmup(20)
    """
    text = re.sub(r"\([^()]*\)| - | <=? ", lambda found: found[0].replace(" ", GLUE), text)
    text = re.sub(r" ([+*]) ", rf"{GLUE}\1 ", text)
    font = FontProperties(size=size)

    def fits(line: str) -> bool:
        return bool(text_to_path.get_text_width_height_descent(line, font, ismath=False)[0] <= points)

    found = [""]
    for word in re.split(r"(?<= )|(?<=\))(?=\.)", text):
        if len(found) > lines:
            break
        if found[-1] and not fits(found[-1] + word.rstrip()):
            found.append("")
        while not fits(word.rstrip()) and len(word) > 1:
            cut = next((k for k in range(len(word) - 1, 1, -1) if fits(word[:k])), 1)
            cut = word.rfind(GLUE, 1, cut) + 1 or cut
            found[-1:] = [word[:cut], ""]
            word = word[cut:]
        found[-1] += word
    if len(found) > lines:
        last = found[lines - 1].rstrip(" " + GLUE)
        while last and not fits(last + " …"):
            last = last[: max(last.rfind(" "), last.rfind(GLUE))] if re.search(f"[ {GLUE}]", last) else last[:-1]
        found = [*found[: lines - 1], last + " …"]
    return "\n".join(line.rstrip() for line in found).replace(GLUE, " ").replace("$", r"\$")  # a $ starts TeX
