"""Write the tables of docs/conventions.md: `python scripts/conventions_page.py`.

A table stands between `<!-- NAME:begin -->` and `<!-- NAME:end -->`. Defaults and updates are the classes' own; the
words between them are here, and tests/test_conventions.py has a test for each.
"""

from pathlib import Path
from typing import Any

import numpy as np

import pyfastlr as flr
from pyfastlr import schedules as S

PAGE = Path(__file__).resolve().parents[1] / "docs" / "conventions.md"
CONVENTIONS = {"torch": "torch", "keras": "Keras", "optax": "optax"}
RATE = S.Piecewise([50], [1e-2, 5e-3])
STEPS = (1, 100)

OUTSIDE, INSIDE = "b = μb + g, p -= ηb: rate outside", "b = μb + ηg, p -= b: rate inside"
PLAIN, HAT = "m/c₁ / (√(v/c₂) + ε)", "√c₂/c₁ · m / (√v + ε)"
FORMULAS: dict[tuple[str, str], tuple[str, str, str]] = {  # (class, variant) -> torch's, Keras', optax's; "" if missing
    ("SGD", ""): ("p -= ηg",) * 3,
    ("SGD", "momentum"): (f"{OUTSIDE}; dampening from the second g on", INSIDE, OUTSIDE),
    ("SGD", "nesterov"): ("p -= η(g + μb), b as above", "p -= ηg + μb, b as above", "p -= η(g + μb), b as above"),
    ("RMSProp", ""): ("g / (√v + ε)", "g / √(v + ε)", "g / √(v + ε)"),
    ("RMSProp", "centered"): ("g / (√(v - a²) + ε)", "g / √(v - a² + ε)", "g / √(v - a² + ε)"),
    ("RMSProp", "momentum"): ("the rate outside of the buffer", "the rate inside", "the rate inside"),
    ("AdaGrad", ""): ("g / (√s + ε), s₀ = 0", "g / √(s + ε), s₀ = 0.1", "g / √(s + ε), s₀ = 0.1"),
    ("Adam", ""): (PLAIN, HAT, PLAIN),
    ("AdamW", ""): (PLAIN, HAT, PLAIN),
    ("AMSGrad", ""): ("x = max(x, v), as Adam", "x = max(x, v), as Adam", "x = max(x, v/c₂), m/c₁ / (√x + ε)"),
    ("NAdam", ""): (
        "μₜ = β₁(1 - 0.96^(ψt)/2), ψ = 0.004",
        "the same with ψ = 1",
        "μₜ = β₁: β₁m/(1 - β₁ᵗ⁺¹) + (1 - β₁)g/c₁",
    ),
    ("Adamax", ""): ("u = max(β₂u, |g| + ε), m/c₁ / u", "u = max(β₂u, |g|), m/c₁ / (u + ε)", "as torch"),
    ("RAdam", ""): (
        "where rho > 5: times √c₂ / (√v + ε), rectified",
        "",
        "where rho >= 5: divided by √(v/c₂) + ε, rectified",
    ),
    ("AdaDelta", ""): ("√(a + ε) / √(v + ε) · g",) * 3,
    ("Lion", ""): ("", "sign(β₁m + (1 - β₁)g), sign(0) = 0", "sign(β₁m + (1 - β₁)g), sign(0) = 0"),
}
OPTIONS: dict[str, dict[str, Any]] = {
    "": {},
    "momentum": {"momentum": 0.9},
    "nesterov": {"momentum": 0.9, "nesterov": True},
    "centered": {"centered": True},
}


def gradient(t: int) -> float:
    """Return the gradient of update t, from 1: it dies away."""
    return 1e-4 / t


def updates(cls: str, convention: str, variant: str) -> list[float]:
    """Return how far some of the updates move a parameter that starts at 1, all but the rate left at the defaults."""
    p, moved = np.ones(1), {}
    opt = getattr(flr, cls)(p, RATE, convention=convention, **OPTIONS[variant])
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
    moving = {"momentum": 0.9} if cls == "SGD" else {}  # for its keys
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
    """Return a table's line."""
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def conventions() -> str:
    """Return the table of what differs, with the updates."""
    head = ("optimizer", "convention", "defaults", "weight decay", "what it does", *(f"update {t}" for t in STEPS))
    lines = [row(*head), "|" + "---|" * len(head)]
    for (cls, variant), formulas in FORMULAS.items():
        title = f"`{cls}`" + (f", {variant}" if variant else "")
        for (convention, shown), formula in zip(CONVENTIONS.items(), formulas, strict=True):
            if formula:
                numbers = [f"{x:.4g}" for x in updates(cls, convention, variant)]
                lines.append(row(title, shown, *defaults(cls, convention), formula, *numbers))
            else:
                lines.append(row(title, shown, "has none", "", "", *[""] * len(STEPS)))
    return "\n".join(lines)


def render(text: str) -> str:
    """Return the page with its table as it must be."""
    head, begin, rest = text.partition("<!-- conventions:begin -->\n")
    _, end, tail = rest.partition("<!-- conventions:end -->")
    if not end:
        raise ValueError("need a section from <!-- conventions:begin --> to <!-- conventions:end -->, got none")
    return f"{head}{begin}{conventions()}\n{end}{tail}"


if __name__ == "__main__":
    PAGE.write_text(render(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
