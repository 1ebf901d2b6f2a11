"""Write tests/golden/files/<version>/: files of the runs in tests/golden_files.py, and what is in them as JSON.

Files of earlier versions stay as they are: later versions must read them. Those of this version are written anew, so
run it before a release, after a change of the format.
"""

import json
import sys
from pathlib import Path

TESTS = Path(__file__).parents[1] / "tests"
sys.path.insert(0, str(TESTS))

import pyfastlr as flr  # noqa: E402
from golden_files import RUNS, continued, described, trained  # noqa: E402


def main() -> None:
    """Write the files of the version that is installed."""
    folder = TESTS / "golden" / "files" / flr.__version__
    folder.mkdir(parents=True, exist_ok=True)
    expected = {}
    for name, run in RUNS.items():
        params, opt = trained(name)
        path = folder / f"{name}.safetensors"
        flr.save(path, params, opt, **run.extra())
        expected[name] = described(flr.load(path))
        if opt is not None:
            expected[name]["next"] = continued(params, opt)
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(x)}" for name, x in expected.items())
    (folder / "contents.json").write_text(f"{{\n{lines}\n}}\n", encoding="utf-8")
    size = sum(path.stat().st_size for path in folder.iterdir())
    print(f"{folder}: {len(expected)} files, {size / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
