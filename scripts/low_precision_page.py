"""Write the pictures and the tables of models in docs/low_precision.md: `python scripts/low_precision_page.py`.

The tables go between `<!-- models:begin -->` and `<!-- models:end -->`, and the same with "parameters". `python -m
bench.low_precision` prints the tables of times, between `<!-- times:begin -->` and `<!-- times:end -->`, and the same
with "halves".
"""

import sys
from pathlib import Path
from statistics import median

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import NullFormatter, StrMethodFormatter

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "low_precision.md"
sys.path.insert(0, str(ROOT / "tests"))

from packed_models import DTYPES, MODELS, NEAREST, PRECISIONS, Result, train  # noqa: E402  # found by the line above

SEEDS = range(7)
NAMES = {None: "float32", "bfloat16": "bfloat16", "int8": "8 bits"}
PARAMETERS = {None: "float32", **{x: f"bfloat16, {x}" for x in (*PRECISIONS, NEAREST)}}
WIDTHS = {None: 5, "bfloat16": 2.5, "int8": 2.5}  # the curves lie on each other
COLORS = {None: "#c9ced6", "bfloat16": "#c8551b", "int8": "#1f3d7a"}


def results() -> dict[tuple[str, str | None], list[Result]]:
    """Train each model with each dtype from each seed."""
    return {(name, dtype): [train(name, dtype, seed) for seed in SEEDS] for name in MODELS for dtype in DTYPES}


def results_of_parameters() -> dict[tuple[str, str | None], list[Result]]:
    """Train each model with parameters of bfloat16 in each way from each seed."""
    kinds = (*PRECISIONS, NEAREST)
    return {(name, x): [train(name, None, seed, precision=x) for seed in SEEDS] for name in MODELS for x in kinds}


def table(found: dict[tuple[str, str | None], list[Result]], what: str, names: dict[str | None, str]) -> str:
    """Return accuracies and losses on held-out data: median, and the range over the seeds."""
    lines = [f"| model | {what} | accuracy | held-out loss |", "|---|---|---|---|"]
    for name in MODELS:
        for dtype, shown in names.items():
            runs = found[name, dtype]
            a, b = [100 * x.accuracy for x in runs], [x.test_loss for x in runs]
            accuracy = f"{median(a):.1f} % ({min(a):.1f} to {max(a):.1f})"
            lines.append(f"| {name} | {shown} | {accuracy} | {median(b):.3f} ({min(b):.3f} to {max(b):.3f}) |")
    return "\n".join(lines)


def draw(found: dict[tuple[str, str | None], list[Result]], path: Path) -> None:
    """Draw the losses over each other, and the bytes per parameter."""
    figure, axes = plt.subplots(1, 4, figsize=(13, 3.4), layout="constrained", width_ratios=(3, 3, 3, 2))
    for ax, name in zip(axes, MODELS, strict=False):
        for dtype, style in zip(DTYPES, ("-", "--", ":"), strict=True):
            losses = np.median([x.losses for x in found[name, dtype]], axis=0)
            n = max(1, len(losses) // 60)
            smooth = losses[: len(losses) // n * n].reshape(-1, n).mean(1)
            ax.plot(
                np.arange(len(smooth)) * n,
                smooth,
                style,
                color=COLORS[dtype],
                label=NAMES[dtype],
                linewidth=WIDTHS[dtype],
            )
        ax.set(title=name, xlabel="update", yscale="log")
        ax.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        ax.yaxis.set_minor_formatter(StrMethodFormatter("{x:g}") if name == "next character" else NullFormatter())
    axes[0].set_ylabel("training loss, median of 7 seeds")
    axes[0].legend(title="state")
    bars = axes[3].bar(
        ["float32", "bfloat16", "8 bits"], [8, 4, 2 + 8 / 256], color=[COLORS[dtype] for dtype in DTYPES]
    )
    axes[3].bar_label(bars, fmt="%.2g")
    axes[3].set(title="Adam's state", ylabel="bytes per parameter", ylim=(0, 9))
    figure.savefig(path, dpi=110)


def draw_parameters(found: dict[tuple[str, str | None], list[Result]], path: Path) -> None:
    """Draw the losses with parameters of bfloat16, kept in each way, over each other."""
    figure, axes = plt.subplots(1, 3, figsize=(11, 3.4), layout="constrained")
    styles = {None: ("-", 5, "#c9ced6"), "master": ("-", 2.5, "#1f3d7a"), "kahan": ("--", 2.5, "#c8551b"),
              "stochastic": (":", 2.5, "#2f7d4f"), NEAREST: ("-", 1.5, "#b03060")}  # fmt: skip
    for ax, name in zip(axes, MODELS, strict=True):
        for kind, (style, width, color) in styles.items():
            losses = np.median([x.losses for x in found[name, kind]], axis=0)
            n = max(1, len(losses) // 60)
            smooth = losses[: len(losses) // n * n].reshape(-1, n).mean(1)
            label = PARAMETERS[kind]
            ax.plot(np.arange(len(smooth)) * n, smooth, style, color=color, label=label, linewidth=width)
        ax.set(title=name, xlabel="update", yscale="log")
        ax.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        ax.yaxis.set_minor_formatter(StrMethodFormatter("{x:g}") if name == "next character" else NullFormatter())
    axes[0].set_ylabel("training loss, median of 7 seeds")
    axes[0].legend(title="parameters")
    figure.savefig(path, dpi=110)


def write(section: str, text: str) -> None:
    """Replace a section of the page."""
    head, begin, rest = PAGE.read_text(encoding="utf-8").partition(f"<!-- {section}:begin -->\n")
    _, end, tail = rest.partition(f"<!-- {section}:end -->")
    if not (begin and end):
        raise ValueError(f"{PAGE} must have a section <!-- {section}:begin --> ... <!-- {section}:end -->")
    PAGE.write_text(f"{head}{begin}{text}\n{end}{tail}", encoding="utf-8")


def main() -> None:
    """Write the pictures and the tables."""
    found = results()
    draw(found, PAGE.with_suffix(".png"))
    write("models", table(found, "state", NAMES))
    found |= results_of_parameters()
    draw_parameters(found, PAGE.with_name("low_precision_parameters.png"))
    write("parameters", table(found, "parameters", PARAMETERS))


if __name__ == "__main__":
    main()
