"""Benchmarks: every optimizer against other libraries, in one process, in turns. docs/benchmarks.md says how."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))  # cases.py, the one table of optimizers
