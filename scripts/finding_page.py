"""Write the picture and the table of docs/finding.md: `python scripts/finding_page.py`.

The table goes between `<!-- found:begin -->` and `<!-- found:end -->`. tests/test_tune_found.py checks its claim.
"""

import sys
from pathlib import Path

from threadpoolctl import threadpool_limits

import pyfastlr as flr
from pyfastlr import demo, tune

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "finding.md"
sys.path.insert(0, str(ROOT / "tests"))

from found_rates import EPOCHS, GRID, OPTIMIZERS, compare  # noqa: E402


def draw(path: Path) -> None:
    """Draw the range test of the demo's network."""
    loss_and_grad, params, batches = demo.problem()
    with threadpool_limits(1, user_api="blas"):
        test = tune.range_test(loss_and_grad, params, lambda p: flr.AdamW(p, lr=1e-3), batches, repeats=5)
    test.plot().figure.savefig(path)


def table() -> str:
    """Return the accuracies at the suggested rates and at the best of the grid."""
    lines = [
        "| data, optimizer | suggested | its accuracy | best of the grid | its accuracy |",
        "|---|---|--:|---|--:|",
    ]
    for optimizer in OPTIMIZERS:
        for name in EPOCHS:
            rates, at, grid = compare(name, optimizer)
            low, high, best = f"{min(rates):.2g}", f"{max(rates):.2g}", GRID[grid.argmax()]
            lines.append(
                f"| {name}, {optimizer} | {low} to {high} | {100 * at:.1f} % | {best:.2g} | {100 * grid.max():.1f} % |"
            )
    return "\n".join(lines)


def main() -> None:
    """Write the picture and the table."""
    draw(PAGE.with_suffix(".png"))
    text = PAGE.read_text(encoding="utf-8")
    head, begin, rest = text.partition("<!-- found:begin -->\n")
    _, end, tail = rest.partition("<!-- found:end -->")
    if not (begin and end):
        raise ValueError(f"{PAGE} must have a section <!-- found:begin --> ... <!-- found:end -->")
    PAGE.write_text(f"{head}{begin}{table()}\n{end}{tail}", encoding="utf-8")


if __name__ == "__main__":
    main()
