"""Measure and draw what docs/choosing.md says: `python scripts/choosing_page.py [SECTION ...]`.

Each section's tables go between `<!-- NAME:begin -->` and `<!-- NAME:end -->`, its picture to docs/choosing_NAME.png.
All sections together take some minutes on one core. The last digits depend on the processor and on numpy's build.
"""

import sys
from importlib import import_module
from pathlib import Path
from time import perf_counter

from threadpoolctl import threadpool_limits

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "choosing.md"
SECTIONS = ("ranges", "decays", "plateaus", "overfitting", "batches", "transfer", "reinforcement", "strategies")
sys.path.insert(0, str(Path(__file__).resolve().parent))


def replace(text: str, name: str, content: str) -> str:
    """Return the page with a new text between the markers of `name`."""
    begin, end = f"<!-- {name}:begin -->\n", f"<!-- {name}:end -->"
    head, found, rest = text.partition(begin)
    _, ended, tail = rest.partition(end)
    if not (found and ended):
        raise ValueError(f"the page needs the markers {begin.strip()} and {end}")
    return f"{head}{begin}{content}\n{end}{tail}"


def main(names: list[str]) -> None:
    """Write the tables and pictures of the named sections, or of all."""
    if unknown := {*names} - {*SECTIONS}:
        raise SystemExit(f"sections are {', '.join(SECTIONS)}, got {', '.join(sorted(unknown))}")
    for section in names or SECTIONS:
        start = perf_counter()
        with threadpool_limits(1, user_api="blas"):  # small products: more threads are slower, and change last digits
            tables, pictures = import_module(f"choosing.{section}").make()
        text = PAGE.read_text(encoding="utf-8")
        for name, content in tables.items():
            text = replace(text, name, content)
            print(f"\n{name}\n{content}")
        PAGE.write_text(text, encoding="utf-8")
        for name, picture in pictures.items():
            picture.savefig(PAGE.parent / f"choosing_{name}.png")
        print(f"\n{section}: {perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main(sys.argv[1:])
