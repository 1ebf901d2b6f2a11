"""Draw docs/architecture.png: the layers from top to bottom, and the path of one step through them.

python scripts/architecture_picture.py
"""

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

TARGET = Path(__file__).resolve().parents[1] / "docs" / "architecture.png"
BLUE, GREEN, GREY, RED = "#0072b2", "#009e73", "#777777", "#d55e00"

# From top to bottom; a layer imports only from layers below or beside it, without cycles. (colour, [(box, content)])
LAYERS: list[tuple[str, list[tuple[str, str]]]] = [
    (GREY, [("cli/  demo  plot", "commands, the demo, pictures"), ("benchmark/", "comparison with other libraries")]),
    (BLUE, [("optimizers/", "arguments, groups, errors, state_dict"), ("kernels/", "the rules for users' @njit code")]),
    (BLUE, [("engines/", "settings, state, lock; a step on the host, on a device")]),
    (BLUE, [("arrays/", "checked user input; Flat"), ("schedules/", "rates as functions of the index")]),
    (
        GREEN,
        [
            ("cpu/", "loop, drive, stages, launch"),
            ("cuda/", "kernels, step, graphs, driver"),
            ("njit", "a rule over plain arrays"),
        ],
    ),
    (
        GREEN,
        [
            ("rules/", "every rule beside its folds"),
            ("compile/", "code, cache, first use"),
            ("curves", "every schedule, as math"),
        ],
    ),
    (GREEN, [("tables", "job, tensors, chunks, rows, counts"), ("python_side", "objects that a step checks")]),
]
STEP = [
    ("Optimizer.step(grads)", "optimizers/base: find the leaves"),
    ("launch", "cpu/launch, compiled: the rest in one call"),
    ("  take", "lock the optimizer, or wait"),
    ("  bind", "check every array's record"),
    ("  schedules", "call them, then check the arrays again"),
    ("  hyperparameters", "copy what Python set"),
    ("  prepare", "stages, for options: check, add up, norms"),
    ("  fold", "drive: hyperparameters to a few numbers"),
    ("  update", "drive, stages: all chunks, on all threads"),
    ("  commit", "count the step"),
]


def box(axes: Any, x: float, y: float, width: float, height: float, colour: str, head: str, text: str) -> None:
    """Draw a rectangle with a name and its content."""
    style = "round,pad=0.02,rounding_size=0.08"
    axes.add_patch(
        FancyBboxPatch((x, y), width, height, boxstyle=style, facecolor=colour, alpha=0.13, edgecolor=colour)
    )
    axes.text(x + width / 2, y + 0.62 * height, head, ha="center", va="center", size=11, weight="bold", color=colour)
    axes.text(x + width / 2, y + 0.28 * height, text, ha="center", va="center", size=8.5, color="#222222")


def draw() -> Figure:
    """Return the picture."""
    figure = Figure(figsize=(9.6, 7), dpi=100, layout="constrained")
    axes = figure.add_subplot()
    rows, left, right = len(LAYERS), 0.1, 10.0
    axes.set(xlim=(0, 16), ylim=(-0.75, rows + 0.5))
    axes.axis("off")
    for k, (colour, boxes) in enumerate(LAYERS):
        y, width = rows - 1 - k + 0.08, (right - left - 0.2 * (len(boxes) - 1)) / len(boxes)
        for j, (head, text) in enumerate(boxes):
            box(axes, j * (width + 0.2) + left, y, width, 0.8, colour, head, text)
    border = sum(colour == GREEN for colour, _ in LAYERS)
    axes.plot([left - 0.1, right + 0.1], [border - 0.02] * 2, color=GREY, linewidth=1, linestyle=":")
    packages = ((rows + 0.25, "pyfastlr", BLUE, "imports go down or sideways, never up"),
                (-0.42, "pyfastlr_kernels", GREEN, "below the dotted line: imports nothing from above it"))  # fmt: skip
    for y, package, colour, text in packages:
        axes.text(left, y, package, size=12, weight="bold", color=colour, va="center")
        axes.text(right, y, text, size=9, color="#222222", va="center", ha="right")
    steps(axes, 10.75, rows + 0.25)
    return figure


def steps(axes: Any, x: float, top: float) -> None:
    """Draw the phases of a step, from top to bottom."""
    axes.text(x, top, "one step", size=12, weight="bold", color=RED, va="center")
    distance = (top + 0.1) / len(STEP)
    for k, (head, text) in enumerate(STEP):
        y, indent = top - 0.55 - distance * k, 0.35 * head.startswith(" ")
        axes.text(x + indent, y, head.strip(), size=10, weight="bold", color=RED, va="center")
        axes.text(x + indent, y - 0.27, text, size=8.5, color="#222222", va="center")
    end = top - 0.55 - distance * (len(STEP) - 1) - 0.27
    axes.annotate("", xy=(x - 0.3, end), xytext=(x - 0.3, top - 0.4), arrowprops={"arrowstyle": "->", "color": RED})


if __name__ == "__main__":
    draw().savefig(TARGET)
