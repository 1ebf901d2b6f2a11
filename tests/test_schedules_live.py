"""Schedules beside torch's, optax's and Keras' own, where the formulas agree: within 1e-12 of the highest rate."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from pyfastlr import schedules as S

N = 200


def agree(s, theirs):
    ours = s(np.arange(len(theirs)))
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-12 * ours.max())


def cycles(mode):
    return S.Cyclic(0.01, 0.1, 7, 12, mode, 0.99 if mode == "exp_range" else 1.0)


TORCH = {  # with lr=0.1, and torch.optim.lr_scheduler as L
    "L.StepLR(o, 7, 0.3)": S.Exponential(0.1, 0.3, 7, staircase=True),
    "L.MultiStepLR(o, [3, 50, 120], 0.3)": S.MultiStep(0.1, [3, 50, 120], 0.3),
    "L.ExponentialLR(o, 0.97)": S.Exponential(0.1, 0.97),
    "L.LinearLR(o, 0.25, 0.75, 60)": S.Linear(0.025, 0.075, 60),
    "L.PolynomialLR(o, 90, 1.7)": S.Polynomial(0.1, 90, power=1.7),
    "L.CosineAnnealingLR(o, N, 0.02)": S.Cosine(0.1, N, 0.02),
    "L.CosineAnnealingWarmRestarts(o, 9, 2, 0.02)": S.CosineRestarts(0.1, 9, 2, end=0.02),
    "L.CosineAnnealingWarmRestarts(o, 9)": S.CosineRestarts(0.1, 9),
    "L.CyclicLR(o, 0.01, 0.1, 7, 12, cycle_momentum=False)": cycles("triangular"),
    "L.CyclicLR(o, 0.01, 0.1, 7, 12, 'triangular2', cycle_momentum=False)": cycles("triangular2"),
    "L.CyclicLR(o, 0.01, 0.1, 7, 12, 'exp_range', 0.99, cycle_momentum=False)": cycles("exp_range"),
    "L.SequentialLR(o, [L.LinearLR(o, 0.1, 1, 9), L.ExponentialLR(o, 0.9)], [9])": S.Exponential(0.1, 0.9).warmup(
        9, 0.01
    ),
    "L.LambdaLR(o, lambda n: 1 / (1 + 0.1 * n))": S.InverseTime(0.1, 0.1),
}


@pytest.mark.parametrize("theirs", TORCH)
def test_torch(theirs):
    torch = pytest.importorskip("torch")
    o = torch.optim.SGD([torch.zeros(1, dtype=torch.float64, requires_grad=True)], lr=0.1)
    scheduler = eval(theirs, {"L": torch.optim.lr_scheduler, "o": o, "N": N})
    rates = []
    for _ in range(N):
        rates.append(o.param_groups[0]["lr"])
        o.step()
        scheduler.step()
    agree(TORCH[theirs], rates)


OPTAX = {
    "constant_schedule(0.1)": S.Constant(0.1),
    "exponential_decay(0.1, 30, 0.5)": S.Exponential(0.1, 0.5, 30),
    "exponential_decay(0.1, 30, 0.5, staircase=True)": S.Exponential(0.1, 0.5, 30, staircase=True),
    "exponential_decay(0.1, 30, 0.5, end_value=0.03)": S.Exponential(0.1, 0.5, 30).clip(0.03, 1.0),
    "linear_schedule(0.1, 0.02, 60)": S.Linear(0.1, 0.02, 60),
    "polynomial_schedule(0.1, 0.02, 1.7, 60)": S.Polynomial(0.1, 60, 0.02, 1.7),
    "polynomial_schedule(0.1, 0.02, 1, 60, 20)": S.Polynomial(0.1, 60, 0.02).delay(20),
    "piecewise_constant_schedule(0.1, {20: 0.5, 90: 0.1})": S.Piecewise([20, 90], [0.1, 0.05, 0.005]),
    "cosine_decay_schedule(0.1, 90, 0.2)": S.Cosine(0.1, 90, 0.02),
    "cosine_onecycle_schedule(110, 0.1)": S.OneCycle(0.1, 110),
    "cosine_onecycle_schedule(110, 0.1, 0.4, 10, 100)": S.OneCycle(0.1, 110, 0.4, 10.0, 100.0),
    "join_schedules([linear_schedule(0.1, 0.2, 9), exponential_decay(0.1, 9, 0.5)], [20])": S.join(
        [S.Linear(0.1, 0.2, 9), S.Exponential(0.1, 0.5, 9)], [20]
    ),
    "warmup_cosine_decay_schedule(0.01, 0.1, 20, 120, 0.002)": S.Cosine(0.1, 100, 0.002).warmup(20, 0.01),
    "warmup_exponential_decay_schedule(0.01, 0.1, 20, 30, 0.5)": S.Exponential(0.1, 0.5, 30).warmup(20, 0.01),
}
KERAS = {
    "ExponentialDecay(0.1, 30, 0.5)": S.Exponential(0.1, 0.5, 30),
    "ExponentialDecay(0.1, 30, 0.5, staircase=True)": S.Exponential(0.1, 0.5, 30, staircase=True),
    "PiecewiseConstantDecay([19, 89], [0.1, 0.05, 0.01])": S.Piecewise([20, 90], [0.1, 0.05, 0.01]),  # theirs: n > 19
    "PolynomialDecay(0.1, 60, 0.02, 1.7)": S.Polynomial(0.1, 60, 0.02, 1.7),
    "InverseTimeDecay(0.1, 10, 0.5)": S.InverseTime(0.1, 0.05),
    "CosineDecay(0.1, 90, 0.2)": S.Cosine(0.1, 90, 0.02),
    "CosineDecay(0.01, 90, 0.2, warmup_target=0.1, warmup_steps=20)": S.Cosine(0.1, 90, 0.02).warmup(20, 0.01),
    "CosineDecayRestarts(0.1, 9, 2.0, 0.8)": S.CosineRestarts(0.1, 9, 2, 0.8),
    "CosineDecayRestarts(0.1, 9, 1.0, 1.0, 0.2)": S.CosineRestarts(0.1, 9, end=0.02),
}
PREPARE = {  # both need float64 for the whole process, so each has its own
    "optax": "import jax; jax.config.update('jax_enable_x64', True); from optax import *",
    "keras": "import keras; keras.config.set_floatx('float64'); from keras.optimizers.schedules import *",
}


@pytest.mark.parametrize(("library", "rows"), [("optax", OPTAX), ("keras", KERAS)])
def test_optax_and_keras(library, rows):
    pytest.importorskip("jax" if library == "optax" else "torch")
    if library == "optax":
        pytest.importorskip("optax")
    elif not any(os.path.isdir(os.path.join(p, "keras")) for p in sys.path):  # importing it here would choose a backend
        pytest.skip("keras is not installed")
    code = f"import json; {PREPARE[library]}; n = range({N}); f = lambda s: [float(s(i)) for i in n]\n"
    code += f"print(json.dumps([{', '.join(f'f({row})' for row in rows)}]))"
    environment = os.environ | {"KERAS_BACKEND": "torch", "JAX_PLATFORMS": "cpu"}
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    for ours, theirs in zip(rows.values(), json.loads(run.stdout.splitlines()[-1]), strict=True):
        agree(ours, theirs)
