"""Write the table of docs/conventions.md: `python scripts/conventions_page.py`.

The table is between `<!-- conventions:begin -->` and `<!-- conventions:end -->`. Defaults, formulas and updates come
from the classes. tests/test_conventions.py and tests/cases.py have a test for each formula.
"""

from pathlib import Path
from typing import Any

import numpy as np

import pyfastlr as flr
from pyfastlr import schedules as S
from pyfastlr.optimizers import registry
from pyfastlr.optimizers.fields import StartNumber

PAGE = Path(__file__).resolve().parents[1] / "docs" / "conventions.md"
CONVENTIONS = {"torch": "torch", "keras": "Keras", "optax": "optax"}
RATE = S.Piecewise([50], [1e-2, 5e-3])
STEPS = (1, 100)

OPTIONS: dict[str, dict[str, Any]] = {
    "": {},
    "momentum": {"momentum": 0.9},
    "nesterov": {"momentum": 0.9, "nesterov": True},
    "centered": {"centered": True},
}


def gradient(t: int) -> float:
    """Return the gradient of update t, counted from 1: it decays."""
    return 1e-4 / t


def updates(cls: str, convention: str, variant: str) -> list[float]:
    """Return how far the updates in STEPS move a parameter that starts at 1, with defaults for all but the rate."""
    p, moved = np.ones(1), {}
    made = getattr(flr, cls)
    rate = RATE(0) if isinstance(made.fields["lr"], StartNumber) else RATE
    opt = made(p, rate, convention=convention, **OPTIONS[variant])
    for t in range(1, STEPS[-1] + 1):
        before = p[0]
        opt.step(np.array([gradient(t)]))
        moved[t] = p[0] - before
    return [moved[t] for t in STEPS]


def number(value: Any) -> str:
    """Return a default as text."""
    return ", ".join(map(number, value)) if isinstance(value, tuple) else f"{value:g}"


def defaults(cls: str, convention: str) -> tuple[str, str]:
    """Return a class's defaults: the numbers, and the weight decay with its kind."""
    moving = {"momentum": 0.9} if cls == "SGD" else {}  # adds momentum's keys
    try:
        group = dict(getattr(flr, cls)(np.ones(1), convention=convention, **moving).groups[0])
        lr = number(group["lr"])
    except ValueError:  # optax has no default rate
        group = dict(getattr(flr, cls)(np.ones(1), 1.0, convention=convention, **moving).groups[0])
        lr = "must be given"
    own = [f"lr {lr}"]
    for name in group.keys() - {"params", "lr", "lr_scale", "weight_decay", "decay", "momentum", "dampening"}:
        own.append(f"{name} {number(group[name])}")
    return ", ".join([own[0], *sorted(own[1:])]), f"{number(group['weight_decay'])}, {group['decay']}"


def row(*cells: str) -> str:
    """Return a line of a table."""
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def conventions() -> str:
    """Return the table of differences, with the updates."""
    head = ("optimizer", "convention", "defaults", "weight decay", "what it does", *(f"update {t}" for t in STEPS))
    lines = [row(*head), "|" + "---|" * len(head)]
    for cls, variant, formulas in ((x.__name__, *pair) for x in registry for pair in x.formulas.items()):
        title = f"`{cls}`" + (f", {variant}" if variant else "")
        for convention, shown in CONVENTIONS.items():
            if convention in formulas:
                numbers = [f"{x:.4g}" for x in updates(cls, convention, variant)]
                lines.append(row(title, shown, *defaults(cls, convention), formulas[convention], *numbers))
            else:
                lines.append(row(title, shown, "has none", "", "", *[""] * len(STEPS)))
    return "\n".join(lines)


def render(text: str) -> str:
    """Return the page with an up-to-date table."""
    head, begin, rest = text.partition("<!-- conventions:begin -->\n")
    _, end, tail = rest.partition("<!-- conventions:end -->")
    if not end:
        raise ValueError("need a section from <!-- conventions:begin --> to <!-- conventions:end -->, got none")
    return f"{head}{begin}{conventions()}\n{end}{tail}"


if __name__ == "__main__":
    PAGE.write_text(render(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
