"""Draw docs/architecture.png: the layers from top to bottom, and the way of one step through them.

python scripts/architecture_picture.py
"""

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

TARGET = Path(__file__).resolve().parents[1] / "docs" / "architecture.png"
BLUE, GREEN, GREY, RED = "#0072b2", "#009e73", "#777777", "#d55e00"

# From top to bottom; a layer imports only what is below it. (colour, [(box, what is in it)])
LAYERS: list[tuple[str, list[tuple[str, str]]]] = [
    (GREY, [("cli/  demo  plot", "commands, the demo, pictures"), ("benchmark/", "measuring against peers")]),
    (BLUE, [("optimizers/", "arguments, groups, errors, state_dict"), ("kernels/", "the rules for users' @njit code")]),
    (BLUE, [("engines/", "settings, state, lock; a step on the host, on a device")]),
    (BLUE, [("arrays/", "what users hand over; Flat"), ("schedules/", "rates as functions of the index")]),
    (
        GREEN,
        [
            ("cpu/", "inner loop, drive, launch, pool"),
            ("cuda/", "kernels, step, graphs, driver"),
            ("njit", "a rule over plain arrays"),
        ],
    ),
    (
        GREEN,
        [
            ("rules/", "every rule beside its folds"),
            ("compile/", "options, code, cache, first use"),
            ("curves", "every schedule, as math"),
        ],
    ),
    (GREEN, [("tables", "job, tensors, chunks, rows, counts"), ("python_side", "objects that a step checks")]),
]
STEP = [
    ("Optimizer.step(grads)", "optimizers/base: find the leaves"),
    ("launch", "cpu/launch, compiled: the rest, one call"),
    ("  take", "own the optimizer, or wait"),
    ("  bind", "check every array's record"),
    ("  schedules", "call them, then bind again"),
    ("  hyperparameters", "copy what Python set"),
    ("  fold", "drive: hyperparameters to a few numbers"),
    ("  update", "drive: the rule over every chunk, by all threads"),
    ("  commit", "count"),
]


def box(axes: Any, x: float, y: float, width: float, height: float, colour: str, head: str, text: str) -> None:
    """Rectangle with a name and what is in it."""
    style = "round,pad=0.02,rounding_size=0.08"
    axes.add_patch(
        FancyBboxPatch((x, y), width, height, boxstyle=style, facecolor=colour, alpha=0.13, edgecolor=colour)
    )
    axes.text(x + width / 2, y + 0.62 * height, head, ha="center", va="center", size=11, weight="bold", color=colour)
    axes.text(x + width / 2, y + 0.28 * height, text, ha="center", va="center", size=8.5, color="#222222")


def draw() -> Figure:
    """The picture."""
    figure = Figure(figsize=(9.6, 6.6), dpi=100, layout="constrained")
    axes = figure.add_subplot()
    axes.set(xlim=(0, 16), ylim=(-0.3, len(LAYERS) + 0.55))
    axes.axis("off")
    for k, (colour, boxes) in enumerate(LAYERS):
        y, width = len(LAYERS) - 1 - k + 0.08, (9.7 - 0.2 * (len(boxes) - 1)) / len(boxes)
        for j, (head, text) in enumerate(boxes):
            box(axes, j * (width + 0.2) + 0.1, y, width, 0.8, colour, head, text)
    axes.text(0.1, len(LAYERS) + 0.25, "pyfastlr", size=12, weight="bold", color=BLUE)
    axes.text(3.2, len(LAYERS) + 0.25, "imports only go down", size=9, color="#222222")
    axes.plot([0.0, 9.9], [3.0, 3.0], color=GREY, linewidth=0.8, linestyle=":")
    axes.text(0.1, -0.12, "pyfastlr_kernels", size=12, weight="bold", color=GREEN, va="center")
    axes.text(3.2, -0.12, "never imports pyfastlr", size=9, color="#222222", va="center")
    top = len(LAYERS) + 0.25
    axes.text(10.5, top, "one step", size=12, weight="bold", color=RED)
    for k, (head, text) in enumerate(STEP):
        y = top - 0.72 * (k + 1)
        axes.text(10.5 + 0.35 * head.startswith(" "), y, head.strip(), size=10, weight="bold", color=RED, va="center")
        axes.text(10.5 + 0.35 * head.startswith(" "), y - 0.26, text, size=8, color="#222222", va="center")
    axes.annotate(
        "", xy=(10.25, top - 0.72 * len(STEP)), xytext=(10.25, top - 0.5), arrowprops={"arrowstyle": "->", "color": RED}
    )
    return figure


if __name__ == "__main__":
    draw().savefig(TARGET)
