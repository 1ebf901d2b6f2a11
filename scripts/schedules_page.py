"""Write the tables and the picture of docs/schedules.md: `python scripts/schedules_page.py`.

Each table is between `<!-- NAME:begin -->` and `<!-- NAME:end -->`. It comes from the classes: signature, `equation`,
and the paragraphs "Ends", "Elsewhere" and "References" of the docstring.
"""

import inspect
import re
from functools import partial
from pathlib import Path
from string import Formatter
from typing import Any

from pyfastlr import schedules as S

PAGE = Path(__file__).resolve().parents[1] / "docs" / "schedules.md"
DRAWN = [
    S.Constant(1.0), S.TimeDecay(1.0, 1e-3), S.InverseTime(1.0, 0.05), S.StepDecay(1.0, 0.5, 25),
    S.MultiStep(1.0, [30, 60, 80], 0.4), S.Piecewise([20, 60], [0.4, 1.0, 0.2]),
    S.Exponential(1.0, 0.1, 50), S.Exponential(1.0, 0.5, 20, staircase=True),
    S.Linear(1.0, 0.0, 80), S.Polynomial(1.0, 80, power=2.0), S.Cosine(1.0, 80), S.Tanh(1.0, 80), S.REX(1.0, 80),
    S.CosineRestarts(1.0, 14, mult=2, decay=0.8), S.Cyclic(0.1, 1.0, 10, 15), S.Cyclic(0.1, 1.0, 10, 15, "triangular2"),
    S.OneCycle(1.0, 80), S.InverseSqrt(1.0, 20), S.Noam(1, 20, scale=20**0.5), S.WSD(1.0, 10, 60, 25),
    S.Cosine(1.0, 80).warmup(15), S.Constant(1.0).then(S.Exponential(1.0, 0.95), at=40),
    S.Linear(1.0, 0.0, 60).delay(30), S.Cosine(1.0, 80).advance(30), S.Linear(1.0, 0.0, 10).every(10),
    S.Cosine(1.0, 80).clip(0.2, 0.8),
    S.Cyclic(0.1, 1.0, 10) * S.Linear(1.0, 0.2, 100), 0.7 * S.Exponential(1.0, 0.1, 50) + 0.3,
]  # fmt: skip
METHODS = {
    "warmup": S.Warmup, "then": S.Then, "delay": S.Delay, "advance": S.Advance, "every": S.Every, "clip": S.Clip,
    "__mul__": S.Product, "__add__": S.Sum,
}  # fmt: skip


def classes() -> list[type[S.Schedule]]:
    """Return the schedules that are not made from other schedules, in the order of the picture."""
    return [*dict.fromkeys(type(s) for s in DRAWN if type(s) not in METHODS.values())]


def symbols(schedule: type[S.Schedule]) -> str:
    """Return the equation, with parameter names in its fields."""
    return schedule.equation.format_map({name: name for _, name, _, _ in Formatter().parse(schedule.equation) if name})


def signature(function: object) -> str:
    """Return the arguments without self and types."""
    parameters = inspect.signature(function).parameters.values()
    return str(inspect.Signature([p.replace(annotation=p.empty) for p in parameters if p.name != "self"]))[1:-1]


def paragraph(schedule: object, start: str) -> str:
    """Return the docstring's paragraph that begins with `start`, in one line."""
    found = re.search(rf"^{start}(.+?)(?:\n\n|\Z)", inspect.getdoc(schedule), re.DOTALL | re.MULTILINE)
    if found is None:
        raise ValueError(f"the docstring of {schedule.__name__} must have a paragraph {start!r}")
    return " ".join(found[1].split())


def row(*cells: str) -> str:
    """Return a line of a table."""
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def schedules() -> str:
    """Return the table of schedules."""
    lines = [row("schedule", "s(n)", "ends and boundaries", "elsewhere", "source"), "|---" * 5 + "|"]
    for c in classes():
        call = f"`S.{c.__name__}({signature(c)})`"
        source = paragraph(c, r"References\n-+\n") if c is not S.Constant else "-"
        lines.append(row(call, f"`{symbols(c)}`", paragraph(c, "Ends: "), paragraph(c, "Elsewhere: "), source))
    return "\n".join(lines)


def algebra() -> str:
    """Return the table of operations on schedules."""
    lines = [row("call", "value"), "|---|---|"]
    operators = {"__mul__": "s * t", "__add__": "s + t"}
    for method, c in METHODS.items():
        call = operators.get(method) or f"s.{method}({signature(getattr(S.Schedule, method))})"
        names = {"left": "s(n)", "right": "t(n)"}
        value = c.equation if method not in operators else c.equation.format_map(names)
        value = re.sub(r"[;,] [st]\(n\) = .*", "", value).replace("{", "").replace("}", "")
        lines.append(row(f"`{call}`", f"`{value}`"))
    return "\n".join(lines)


def foreign(library: str) -> str:
    """Return the table of another library's schedules."""
    module = getattr(S, library)
    lines = [row("call", "value", "ends and boundaries", "elsewhere"), "|---" * 4 + "|"]
    for name in module.__all__:
        item = getattr(module, name)
        summary = inspect.getdoc(item).partition("\n")[0].replace("``", "`")
        call = f"`S.{library}.{name}({signature(item)})`"
        lines.append(row(call, summary, paragraph(item, "Ends: "), paragraph(item, "Elsewhere: ")))
    return "\n".join(lines)


LIBRARIES = ("torch", "keras", "optax", "timm", "transformers", "fastai")
TABLES = {"schedules": schedules, "algebra": algebra} | {x: partial(foreign, x) for x in LIBRARIES}


def render(text: str) -> str:
    """Return the page with up-to-date tables."""
    for name, table in TABLES.items():
        head, begin, rest = text.partition(f"<!-- {name}:begin -->\n")
        _, end, tail = rest.partition(f"<!-- {name}:end -->")
        if not end:
            raise ValueError(f"need a section from <!-- {name}:begin --> to <!-- {name}:end -->, got none")
        text = f"{head}{begin}{table()}\n{end}{tail}"
    return text


def draw(path: Path) -> Any:
    """Draw the picture: the first 100 updates of schedules of each kind, with the code that makes them."""
    from matplotlib.figure import Figure

    from pyfastlr.schedules.drawing import wrapped
    from pyfastlr.schedules.names import written

    figure = Figure(figsize=(9.6, 12.6), dpi=100, layout="constrained")
    for axes, s in zip(figure.subplots(7, 4, sharex=True, sharey=True).flat, DRAWN, strict=True):
        s.plot(101, ax=axes)
        axes.set(xlabel="", ylabel="", xticks=range(0, 101, 25), yticks=(0, 0.5, 1), ylim=(-0.05, 1.08))
        axes.set_title(wrapped(written(s), points=148, size=8.5, lines=3), fontsize=8.5, loc="left")
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    figure.supxlabel("update n (from 0)", fontsize=10)
    figure.supylabel("rate", fontsize=10)
    figure.savefig(path, metadata={"Software": None})
    return figure


if __name__ == "__main__":
    PAGE.write_text(render(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    draw(PAGE.with_suffix(".png"))
