"""The edits that add an option, a phase of the step or a kind of state, in a copy of the packages."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = {"pyfastlr": ROOT / "pyfastlr", "pyfastlr_kernels": ROOT / "kernels" / "pyfastlr_kernels"}

# An option of every optimizer and group, `gain`, and a phase that multiplies each tensor's folded rates by it.
EDITS = {
    "pyfastlr/optimizers/options.py": (
        "    maximize: bool = argument(",
        '    gain: Number = Number(default=1.0, kind="float", text="Factor of the step.")\n'
        "    maximize: bool = argument(",
    ),
    "pyfastlr_kernels/tables.py": ('"weight_decay", "decay",', '"weight_decay", "decay", "gain",'),
    "pyfastlr_kernels/cpu/launch.py": (
        "PHASES = (prepare, fold, update, commit)",
        "from .gain import apply_gain\n\nPHASES = (prepare, fold, apply_gain, update, commit)",
    ),
}
PHASE = '''"""A phase: the gain of each group multiplies the gradients' scale; one group here."""

from numba import njit

from ..compile.intrinsics import pointer
from ..compile.options import PARTS
from ..tables import COMMON, OK

_AT = 8 * COMMON.index("gain")


@njit(**PARTS)
def apply_gain(address, job):
    job.grad_scale = job.grad_scale * pointer(job.rows + _AT, 0.0)[0]
    return OK
'''
SCRIPT = """
import pickle, sys
import numpy as np, pyfastlr as flr
from pyfastlr import schedules as S
p = np.zeros(3)
opt = flr.SGD(p, lr=1.0, gain=0.5)
opt.step(np.ones(3))
assert p.tolist() == [-0.5] * 3, p
opt.gain = 2.0
opt.step(np.ones(3))
assert p.tolist() == [-2.5] * 3, p
opt.gain = S.Linear(0.0, 4.0, steps=4)
opt.step(np.ones(3))
assert p.tolist() == [-4.5] * 3, p
assert opt.groups[0]["gain"] == S.Linear(0.0, 4.0, steps=4) and opt.gain == 3.0
assert pickle.loads(pickle.dumps(opt)).gain == 3.0
q = np.zeros(70_000)
flr.Adam(q, lr=0.1, threads=2).step(np.ones(70_000))
assert abs(q + 0.1).max() < 1e-9
try:
    flr.SGD(p, gain=-1.0)
except ValueError as error:
    assert "`gain` must be a finite number >= 0" in str(error)
assert "gain : float" in flr.Adam.__doc__ and "gain" in str(flr.Adam.__signature__)
print("done")
"""


# A slot that is stored in another dtype than its parameter: a word in the rule's declaration.
NARROW = {
    "pyfastlr_kernels/rules/lion.py": (
        'Slot("exp_avg", packed=MOMENT)',
        'Slot("exp_avg", initial=0.5, storage="float32")',
    )
}
NARROW_SCRIPT = """
import pickle
import numpy as np, pyfastlr as flr
rng = np.random.default_rng(0)
p = {"a": rng.normal(size=(5, 7)), "b": rng.normal(size=20_001)}
opt = flr.Lion(p, lr=0.25, weight_decay=0.0, threads=2)
m = {name: np.full(x.shape, 0.5, np.float32) for name, x in p.items()}
want = {name: x.copy() for name, x in p.items()}
for _ in range(5):
    g = {name: rng.normal(size=x.shape) for name, x in p.items()}
    opt.step(g)
    for name in p:
        want[name] -= 0.25 * np.sign(0.9 * m[name].astype(np.float64) + (1 - 0.9) * g[name])
        m[name] = (0.99 * m[name].astype(np.float64) + (1 - 0.99) * g[name]).astype(np.float32)
for name in p:
    state = opt.state["exp_avg"][name]
    assert state.dtype == np.float32 and state.tobytes() == m[name].tobytes()
    assert p[name].tobytes() == want[name].tobytes()
twin = pickle.loads(pickle.dumps(opt))
other = flr.Lion({name: x.copy() for name, x in p.items()}, lr=0.25)
other.load_state_dict(opt.state_dict())
for x in (twin, other):
    assert x.state["exp_avg"]["b"].tobytes() == m["b"].tobytes()
opt.reset()
assert (opt.state["exp_avg"]["a"] == 0.5).all()
print("done")
"""


@pytest.mark.parametrize(
    ("edits", "files", "script"),
    [(EDITS, {"pyfastlr_kernels/cpu/gain.py": PHASE}, SCRIPT), (NARROW, {}, NARROW_SCRIPT)],
    ids=["an option and a phase", "state in another dtype"],
)
def test_edits_are_all_it_takes(tmp_path, edits, files, script):
    for name, folder in PACKAGES.items():
        shutil.copytree(folder, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name, (old, new) in edits.items():
        text = (tmp_path / name).read_text(encoding="utf-8")
        assert text.count(old) == 1
        (tmp_path / name).write_text(text.replace(old, new), encoding="utf-8")
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "PYFASTLR_CACHE_DIR": str(tmp_path / "cache")}
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("done\n", 0), done.stderr
