"""Write the README's generated tables, or check them: `python scripts/readme_tables.py [--check]`.

Each table is between `<!-- NAME:begin -->` and `<!-- NAME:end -->`.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "kernels")]

from pyfastlr.optimizers import registry  # noqa: E402 - found by the line above
from pyfastlr_kernels.rules import RULES  # noqa: E402


def optimizers() -> str:
    """Return the table of classes, with their state and their names in other libraries, as the classes declare them."""
    rows = ["| pyfastlr | state | torch | Keras | optax |", "|---|---|---|---|---|"]
    for cls in registry:
        state = dict.fromkeys(name for rule in cls.rules for name in RULES[rule].state_names)
        names = [cls.peers.get(library, "") for library in ("torch", "keras", "optax")]
        peers = [f"`{name}`" if name else "" for name in names]
        rows.append("| " + " | ".join([f"`{cls.__name__}`", ", ".join(state) or "none", *peers]) + " |")
    return "\n".join(rows)


TABLES = {"optimizers": optimizers}


def render(text: str) -> str:
    """Return a Markdown text with up-to-date tables."""
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
        sys.exit("README.md differs from the classes: run python scripts/readme_tables.py")
