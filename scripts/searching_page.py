"""Write the picture and the table of docs/searching.md: `python scripts/searching_page.py`.

The table goes between `<!-- found:begin -->` and `<!-- found:end -->`. tests/test_tune_search.py checks its claim.
"""

import sys
from pathlib import Path

import numpy as np

from pyfastlr import tune
from pyfastlr.cli.search_model import make_objective

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "searching.md"
sys.path.insert(0, str(ROOT / "tests"))

from search_problems import LOADERS, objective  # noqa: E402  # found by the line above

SEEDS, TRIALS, RATES = range(5), 40, (1e-5, 10.0)


def draw(path: Path) -> None:
    """Draw a search on the demo's network."""
    space = {"optimizer": ["SGD", "AdamW"], "schedule": ["constant", "cosine", "one-cycle"], "lr": RATES}
    found = tune.search(make_objective(300, 0), space, trials=60, seed=0)
    axes = found.plot()
    axes[0].figure.savefig(path)  # type: ignore[index,union-attr]
    print(found)


def table() -> str:
    """Return how far the rates found are from the best of 200."""
    lines = ["| data | best rate of 200 | bayesian | random | grid |", "|---|--:|--:|--:|--:|"]
    for name in LOADERS:
        loss = objective(name)
        dense = np.geomspace(*RATES, 200)
        best = dense[np.nanargmin([loss({"lr": lr}) for lr in dense])]
        cells = []
        for method in ("bayesian", "random", "grid"):
            found = [tune.search(loss, {"lr": RATES}, method, TRIALS, seed=seed).best["lr"] for seed in SEEDS]
            cells.append(f"{max(max(x / best, best / x) for x in found):.2f}")
        lines.append(f"| {name} | {best:.2g} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Write the picture and the table."""
    draw(PAGE.with_suffix(".png"))
    head, begin, rest = PAGE.read_text(encoding="utf-8").partition("<!-- found:begin -->\n")
    _, end, tail = rest.partition("<!-- found:end -->")
    PAGE.write_text(f"{head}{begin}{table()}\n{end}{tail}", encoding="utf-8")


if __name__ == "__main__":
    main()
