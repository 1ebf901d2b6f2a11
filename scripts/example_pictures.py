"""Draw the pictures of docs/examples.md: `python scripts/example_pictures.py`.

Set OPENBLAS_NUM_THREADS=1 on a busy machine.
"""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

for example in sorted((ROOT / "examples").glob("*.py")):
    if '"--plot"' in example.read_text(encoding="utf-8"):
        picture = ROOT / "docs" / "examples" / f"{example.stem}.png"
        picture.parent.mkdir(exist_ok=True)
        subprocess.run([sys.executable, example, "--plot", picture], check=True)
