"""Write tests/golden/range_test.json: what fastai and torch-lr-finder suggest on the curves of tests/range_curves.py.

Run it in an environment with both. Nothing else in the project needs them.
"""

import json
import sys
from contextlib import nullcontext
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

from fastai.callback.schedule import minimum, slide, steep, valley
from fastai.learner import Learner
from matplotlib.figure import Figure
from torch_lr_finder import LRFinder

TESTS = Path(__file__).parents[1] / "tests"
sys.path.insert(0, str(TESTS))

from range_curves import COUNT, checksum, curve  # noqa: E402


def by_fastai(rule, steps, lrs, losses):
    """Return what `Learner.lr_find` returns after a sweep that recorded this, or None if it raises."""
    learner = SimpleNamespace(
        dls=SimpleNamespace(train=[None]),
        no_logging=nullcontext,
        fit=lambda *_, **__: None,
        recorder=SimpleNamespace(lrs=lrs, losses=losses),
    )
    try:
        return Learner.lr_find(learner, num_it=steps, show_plot=False, suggest_funcs=rule)[0]
    except (IndexError, ValueError, RuntimeError):
        return None


def by_torch_lr_finder(lrs, losses):
    """Return what `LRFinder.plot` suggests after a sweep that recorded this, or None if it raises."""
    finder = object.__new__(LRFinder)
    finder.history = {"lr": lrs, "loss": losses}
    try:
        return float(finder.plot(ax=Figure().add_subplot())[1])
    except RuntimeError:
        return None


def main() -> None:
    """Ask both and write the file."""
    rules = [valley, steep, slide, minimum]
    rows = []
    for k in range(COUNT):
        steps, lrs, losses = curve(k)
        found = [by_fastai(rule, steps, lrs, losses) for rule in rules] + [by_torch_lr_finder(lrs, losses)]
        rows.append([checksum(losses), *found])
    about = {
        "versions": {name: version(name) for name in ("fastai", "torch-lr-finder", "torch")},
        "columns": ["checksum", *(rule.__name__ for rule in rules), "gradient"],
    }
    lines = ",\n".join(json.dumps(row) for row in rows)
    path = TESTS / "golden" / "range_test.json"
    path.write_text(f'{{"about": {json.dumps(about)},\n"rows": [\n{lines}\n]}}\n', encoding="utf-8")
    print(f"{path}: {len(rows)} curves, {path.stat().st_size / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
