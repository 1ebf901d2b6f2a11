"""Write the picture and the table of models in docs/low_precision.md: `python scripts/low_precision_page.py`.

The table goes between `<!-- models:begin -->` and `<!-- models:end -->`. `python -m bench.low_precision` prints the
table of times, between `<!-- times:begin -->` and `<!-- times:end -->`.
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

from packed_models import DTYPES, MODELS, Result, train  # noqa: E402  # found by the line above

SEEDS = range(7)
NAMES = {None: "float32", "bfloat16": "bfloat16", "int8": "8 bits"}
WIDTHS = {None: 5, "bfloat16": 2.5, "int8": 2.5}  # the curves lie on each other
COLORS = {None: "#c9ced6", "bfloat16": "#c8551b", "int8": "#1f3d7a"}


def results() -> dict[tuple[str, str | None], list[Result]]:
    """Train each model with each dtype from each seed."""
    return {(name, dtype): [train(name, dtype, seed) for seed in SEEDS] for name in MODELS for dtype in DTYPES}


def table(found: dict[tuple[str, str | None], list[Result]]) -> str:
    """Return accuracies and losses on held-out data: median, and the range over the seeds."""
    lines = ["| model | state | accuracy | held-out loss |", "|---|---|---|---|"]
    for name in MODELS:
        for dtype in DTYPES:
            runs = found[name, dtype]
            a, b = [100 * x.accuracy for x in runs], [x.test_loss for x in runs]
            accuracy = f"{median(a):.1f} % ({min(a):.1f} to {max(a):.1f})"
            lines.append(f"| {name} | {NAMES[dtype]} | {accuracy} | {median(b):.3f} ({min(b):.3f} to {max(b):.3f}) |")
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


def main() -> None:
    """Write the picture and the table."""
    found = results()
    draw(found, PAGE.with_suffix(".png"))
    head, begin, rest = PAGE.read_text(encoding="utf-8").partition("<!-- models:begin -->\n")
    _, end, tail = rest.partition("<!-- models:end -->")
    if not (begin and end):
        raise ValueError(f"{PAGE} must have a section <!-- models:begin --> ... <!-- models:end -->")
    PAGE.write_text(f"{head}{begin}{table(found)}\n{end}{tail}", encoding="utf-8")


if __name__ == "__main__":
    main()
