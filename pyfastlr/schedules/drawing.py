"""What `Schedule.plot` draws: the rates, and above new axes what they are."""

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

POINTS = 20_000  # more than pixels
NAME, FORMULA = 10.0, 8.5  # sizes in points
BESIDE = 4.2  # sizes of its letters: a legend's line and its distances
HINTED = 0.97  # letters on a screen are fitted to its pixels, which makes a line up to 3 % wider than is computed here
GLUE = "\N{NO-BREAK SPACE}"  # where a line should not end
HEADING = "pyfastlr schedules"  # the id of a legend that is ours, and so may be made again


def draw(schedule: Schedule, steps: int, ax: Axes | None, options: dict[str, Any]) -> Axes:
    """Draw the rates of the first `steps` updates with these options of a line."""
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
        figure.draw_without_rendering()  # says how wide the axes are
        if "label" not in options:
            line.set_label(_label(ax, schedule, NAME))
        _head(ax, *ax.get_legend_handles_labels(), schedule)
    except BaseException:
        pyplot.close(figure)
        raise
    return ax


def has_steps(rates: np.ndarray[Any, np.dtype[np.float64]]) -> bool:
    """Whether there is a jump from one level to another: two equal rates before it, and two equal rates after it.

    Straight lines from point to point would draw it as a slope. Told by the rates, it holds for any callable too.
    """
    changes = np.diff(rates) != 0
    return bool(np.any(~changes[:-2] & changes[1:-1] & ~changes[2:]))


def _add(ax: Axes, schedule: Schedule, n: Any, rates: Any, options: dict[str, Any]) -> Line2D:
    """Add the line, and the labels that the axes lack."""
    size = FontProperties(size=rcParams["legend.fontsize"]).get_size_in_points()
    (line,) = ax.plot(n, rates, **{"label": _label(ax, schedule, size)} | options)
    ax.set_xlabel(ax.get_xlabel() or "update n (from 0)")
    ax.set_ylabel(ax.get_ylabel() or "rate")
    return line


def _label(ax: Axes, schedule: Schedule, size: float) -> str:
    """Return a schedule's name for a legend of this size within the axes."""
    return wrapped(written(schedule).lstrip("_"), _room(ax, size), size, lines=3)  # matplotlib hides what begins with _


def _head(ax: Axes, lines: list[Any], labels: list[Any], schedule: Schedule | None = None) -> None:
    """Put the names of the lines above the axes, and below them the formula of a schedule."""
    formula = "" if schedule is None or schedule.formula == repr(schedule) else schedule.formula
    if formula:
        most = int(1.25 * ax.figure.bbox.height / ax.figure.dpi)  # lines, so that most of the height is the curve's
        lines = [*lines, Line2D([], [], linestyle="none")]
        labels = [*labels, wrapped(formula, _room(ax, NAME), FORMULA, min(max(most, 1), 6))]
    legend = ax.legend(lines, labels, loc="lower left", bbox_to_anchor=(0, 1), frameon=False, fontsize=NAME)
    legend.set_gid(HEADING)
    if formula:
        legend.get_texts()[-1].set(fontsize=FORMULA, color="0.3")


def _room(ax: Axes, size: float) -> float:
    """Points within the width of the axes, without what a legend of this size has beside its texts."""
    return max(size, (72 * ax.bbox.width / ax.figure.dpi - BESIDE * size) * HINTED)


def wrapped(text: str, points: float, size: float, lines: int) -> str:
    """Break a text of this size into lines that are no wider; what needs more lines ends with "…".

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
    return "\n".join(line.rstrip() for line in found).replace(GLUE, " ").replace("$", r"\$")  # a $ begins TeX
