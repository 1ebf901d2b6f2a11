"""Files of every released version are read, and their runs continue."""

import json
from pathlib import Path

import numpy as np
import pytest

import pyfastlr as flr
from golden_files import RUNS, continued, described, leaves, trained

FOLDER = Path(__file__).parent / "golden" / "files"
FILES = sorted(FOLDER.glob("*/*.safetensors"))


def test_each_version_has_its_files():
    assert {path.stem for path in FILES if path.parent.name == flr.__version__} == set(RUNS)


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_a_file_is_read_and_its_run_continues(path):
    expected = json.loads((path.parent / "contents.json").read_text(encoding="utf-8"))[path.stem]
    saved = flr.load(path)
    then = expected.pop("next", None)
    assert json.loads(json.dumps(described(saved))) == expected
    assert type(saved.params) is type(RUNS[path.stem].params())
    if then is None:
        return
    for load in (lambda opt: opt.load_state_dict(saved.state), lambda opt: opt.load(path)):
        params = flr.load(path).params
        opt = RUNS[path.stem].make(params)
        load(opt)
        tolerance = 1e-5 if leaves(params)[0].dtype == np.float32 else 1e-12
        for x, y in zip(continued(params, opt), then, strict=True):
            np.testing.assert_allclose(x, y, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", RUNS)
def test_the_files_of_this_version_are_up_to_date(name, tmp_path):
    """What is saved now is what is in them. After a change of the format, run scripts/make_golden_files.py."""
    params, opt = trained(name)
    flr.save(tmp_path / "f", params, opt, **RUNS[name].extra())
    expected = json.loads((FOLDER / flr.__version__ / "contents.json").read_text(encoding="utf-8"))[name]
    expected.pop("next", None)
    found = json.loads(json.dumps(described(flr.load(tmp_path / "f"))))
    arrays, before = found.pop("arrays"), expected.pop("arrays")
    params, old = found.pop("params"), expected.pop("params")
    assert found == expected
    assert {name: x[:2] for name, x in arrays.items()} == {name: x[:2] for name, x in before.items()}
    for x, y in zip(params, old, strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-6)
