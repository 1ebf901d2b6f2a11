"""Write the README's generated tables, or compare them: `python scripts/readme_tables.py [--check]`.

A table stands between `<!-- NAME:begin -->` and `<!-- NAME:end -->`.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

import cases  # noqa: E402 - from tests/, found by the line above

TABLES = {"optimizers": cases.table}


def render(text: str) -> str:
    """Return a Markdown text with every table as it must be."""
    for name, table in TABLES.items():
        head, begin, rest = text.partition(f"<!-- {name}:begin -->\n")
        _, end, tail = rest.partition(f"<!-- {name}:end -->")
        if not end:
            raise ValueError(f"need a section from <!-- {name}:begin --> to <!-- {name}:end -->, got none")
        text = f"{head}{begin}{table()}\n{end}{tail}"
    return text


if __name__ == "__main__":
    readme = ROOT / "README.md"
    before = readme.read_text(encoding="utf-8")
    after = render(before)
    if "--check" not in sys.argv[1:]:
        readme.write_text(after, encoding="utf-8")
    elif before != after:
        sys.exit("README.md differs from tests/cases.py: run python scripts/readme_tables.py")
