"""Print a command of the README, so that CI runs what the README says: `python scripts/readme_commands.py demo|test`.

A command is the only line of the sh block after its marker, `<!-- command: NAME -->`. The script uses the standard
library only, because CI runs it before anything is installed.
"""

import re
import sys
from pathlib import Path

README = Path(__file__).resolve().parents[1] / "README.md"


def commands(text: str) -> dict[str, str]:
    """Return every marked command of a Markdown text, by name."""
    return dict(re.findall(r"^<!-- command: (\w+) -->\n```sh\n(.+)\n```$", text, re.MULTILINE))


if __name__ == "__main__":
    print(commands(README.read_text(encoding="utf-8"))[sys.argv[1]])
