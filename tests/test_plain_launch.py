"""If arrays are not in the form that the compiled launch reads, pyfastlr warns once and steps give the same result."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import pyfastlr as flr
from cases import CASES
from processes import run
from pyfastlr import schedules as S
from pyfastlr.engines import plain_launch
from pyfastlr_kernels import python_side

ROOT = Path(__file__).resolve().parents[1]
FIELDS = ["TYPE_AT", "DATA_AT", "NDIM_AT", "SHAPE_AT", "STRIDES_AT", "DESCR_AT", "FLAGS_AT"]


@pytest.fixture
def plain(monkeypatch):
    monkeypatch.setattr(plain_launch, "is_needed", lambda: True)


def test_this_numpy_is_as_expected():
    assert python_side.ndarray_record_fits()
    assert not plain_launch.is_needed()


@pytest.mark.parametrize("field", FIELDS)
def test_a_field_elsewhere_is_noticed(monkeypatch, field):
    monkeypatch.setattr(python_side, field, getattr(python_side, field) + 8)
    assert not python_side.ndarray_record_fits()


def test_a_float_elsewhere_is_noticed(monkeypatch):
    monkeypatch.setattr(python_side, "HEAD", python_side.HEAD + 8)
    assert not python_side.ndarray_record_fits()


def test_it_is_said_once():
    script = """
        import warnings
        import numpy as np, pyfastlr as flr
        from pyfastlr.cli.info import collect
        from pyfastlr_kernels import python_side
        python_side.NDIM_AT += 8
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            for _ in range(2):
                p = np.zeros(3)
                flr.SGD(p, lr=0.5).step(np.ones(3))
        said = [(w.category.__name__, "10 µs longer" in str(w.message)) for w in caught]
        print(p.tolist(), said, collect()["launch"])
    """
    assert run(script) == "[-0.5, -0.5, -0.5] [('RuntimeWarning', True)] plain Python: 10 µs a step more"


def trained(case, dtype):
    """Parameters and state after some steps over a nested container, with schedules, groups, None and a callable."""
    rng = np.random.default_rng(3)
    params = {
        "a": rng.standard_normal(37).astype(dtype),
        "b": [rng.standard_normal((3, 5)).astype(dtype), np.ones(1, dtype)],
    }
    k = np.linspace(0, 2, 37).astype(dtype)
    scale = {"a": k, "b": [np.ones((3, 5), dtype), np.zeros(1, dtype)]}
    opt = case.make(params, lr=case.schedule(S.Cosine(0.05, steps=9)), weight_decay=lambda n: 0.01 * n, lr_scale=scale)
    for n in range(6):
        grads = {"a": rng.standard_normal(37).astype(dtype), "b": [rng.standard_normal((3, 5)).astype(dtype), None]}
        if n == 3:
            grads["a"] = None
        opt.step(grads, inv_scale=0.5)
        opt.step({"a": None, "b": [None, None]})
    state = opt.state_dict()
    moments = [x for slot in state["state"].values() for x in (slot["a"], *slot["b"])]
    return [x.tobytes() for x in (params["a"], *params["b"], *moments, state["counts"], state["carry"])], state["steps"]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_same_bits(monkeypatch, case, dtype):
    expected = trained(case, dtype)
    monkeypatch.setattr(plain_launch, "is_needed", lambda: True)
    assert trained(case, dtype) == expected


def test_helpers_take_part(plain):
    p = np.zeros(600_000)
    opt = flr.SGD(p, lr=1.0, threads=3)
    for _ in range(3):
        opt.step(np.ones(600_000))
    assert type(opt._engine.launch) is plain_launch.PlainLaunch
    assert (p == -3).all()


def test_an_interrupt_in_a_step_leaves_the_optimizer_free(plain):
    """Also between the step and the removal of its mark, which counts only under the lock."""
    p = np.zeros(3)
    opt = flr.SGD(p, lr=1.0)
    opt.step(np.ones(3))
    opt._lock.own()  # as if left so
    opt.lr = 0.5
    opt.step(np.ones(3))
    opt.state_dict()
    assert p.tolist() == [-1.5] * 3


def test_what_holds_for_the_compiled_launch_holds_for_this_one(tmp_path):
    """The tests of lifetimes, groups, containers and wrong arguments, in a process that uses this launch."""
    (tmp_path / "steps_plainly.py").write_text(
        "from pyfastlr.engines import plain_launch\nplain_launch.is_needed = lambda: True\n"
    )
    files = [ROOT / "tests" / f"test_{name}.py" for name in ("lifetimes", "groups", "structures", "bad_input")]
    path = os.pathsep.join([str(tmp_path), *sys.path])
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "steps_plainly", *files], cwd=ROOT, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": path}, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:]
