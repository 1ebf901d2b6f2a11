"""The README's commands, so that what it promises is what CI runs: `python scripts/readme_commands.py demo|test`.

A command is the one line of the sh block that follows its marker, `<!-- command: NAME -->`. Standard library only: CI
runs this before anything is installed.
"""

import re
import sys
from pathlib import Path

README = Path(__file__).resolve().parents[1] / "README.md"


def commands(text: str) -> dict[str, str]:
    """Every marked command of a Markdown text, by name."""
    return dict(re.findall(r"^<!-- command: (\w+) -->\n```sh\n(.+)\n```$", text, re.MULTILINE))


if __name__ == "__main__":
    print(commands(README.read_text(encoding="utf-8"))[sys.argv[1]])
