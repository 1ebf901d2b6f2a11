"""Table of schedules of other libraries: one expression per row, evaluated with our classes and with theirs."""

import json
import os
import subprocess
import sys
from functools import partial

from pyfastlr import schedules as S

STEPS = 3_000
LR = 0.3
# torch runs through all of them; of the pure functions and in the golden file these are enough.
INDICES = sorted({*range(64), *range(64, STEPS, 83), *(n + d for n in (90, 100, 110, 120, 1_000) for d in (-1, 0, 1))})

WARMUP = "LinearLR(lr, 0.25, 1.0, 9)"
TORCH = [
    "LambdaLR(lr, lambda n: 0.95 ** n)",
    "LambdaLR(lr, lambda n: 1 / (1 + n))",
    "MultiplicativeLR(lr, lambda n: 0.999)",
    "MultiplicativeLR(lr, lambda n: 1 - 1 / (n + 1) ** 2)",
    "StepLR(lr, 30)",
    "StepLR(lr, 1, 0.9)",
    "StepLR(lr, 300, 1.5)",
    "MultiStepLR(lr, [30, 80])",
    "MultiStepLR(lr, [80, 0, 1, 2, 30, 30], gamma=0.7)",
    "MultiStepLR(lr, [], 0.5)",
    "MultiStepLR(lr, [10, 20, 40], 2.0)",
    "ConstantLR(lr)",
    "ConstantLR(lr, 0.7, 1000)",
    "ConstantLR(lr, total_iters=0)",
    "ConstantLR(lr, 1.0, 1)",
    "LinearLR(lr)",
    "LinearLR(lr, 0.001, 0.9, 1000)",
    "LinearLR(lr, 1.0, 0.0, 777)",
    "LinearLR(lr, start_factor=0.2, total_iters=0)",
    "LinearLR(lr, end_factor=0.1, total_iters=1)",
    "ExponentialLR(lr, 0.99)",
    "ExponentialLR(lr, 1.002)",
    "PolynomialLR(lr)",
    "PolynomialLR(lr, 1000, 2.5)",
    "PolynomialLR(lr, 2999, 0.5)",
    "PolynomialLR(lr, total_iters=0)",
    "CosineAnnealingLR(lr, 40)",
    "CosineAnnealingLR(lr, 1)",
    "CosineAnnealingLR(lr, 17, 0.02)",
    "CosineAnnealingLR(lr, 3000, eta_min=0.01)",
    "CosineAnnealingLR(lr, 50, 0.7)",
    "CosineAnnealingWarmRestarts(lr, 10)",
    "CosineAnnealingWarmRestarts(lr, 7, 2, 0.02)",
    "CosineAnnealingWarmRestarts(lr, T_0=1, T_mult=3)",
    "CyclicLR(0.01, 0.3)",
    "CyclicLR(0.01, 0.3, 7, 12, gamma=0.5)",
    "CyclicLR(0.01, 0.3, 50, 1, 'triangular2')",
    "CyclicLR(0.01, 0.3, 13, mode='exp_range', gamma=0.999)",
    "CyclicLR(0.01, 0.3, 13, 4, scale_fn=lambda k: 1 / (5 + k), mode='exp_range', gamma=0.9)",
    "CyclicLR(0.3, 0.01, 13, 4, scale_fn=lambda n: 1 / (5 + n), scale_mode='iterations')",
    "OneCycleLR(0.3, 3000)",
    "OneCycleLR(0.3, epochs=15, steps_per_epoch=200, anneal_strategy='linear')",
    "OneCycleLR(0.3, 3000, three_phase=True)",
    "OneCycleLR(0.3, 3000, pct_start=0.45, anneal_strategy='linear', div_factor=7, final_div_factor=11, "
    "three_phase=True)",
    "OneCycleLR(0.3, 3000, pct_start=0.7, three_phase=True)",
    "OneCycleLR(0.3, 3000, pct_start=0.0)",
    "OneCycleLR(0.3, 3000, pct_start=0.0, three_phase=True)",
    "OneCycleLR(0.3, 3000, pct_start=1.0)",
    "OneCycleLR(0.3, 3000, pct_start=0.12345)",
    "SWALR(lr, 0.05)",
    "SWALR(lr, 0.05, 100, 'linear')",
    "SWALR(lr, 0.5, anneal_epochs=0)",
    "SWALR(lr, 0.05, anneal_epochs=1)",
    f"SequentialLR([{WARMUP}, ExponentialLR(lr, 0.99)], [9])",
    f"SequentialLR([{WARMUP}, CosineAnnealingLR(lr, 40)], milestones=[5])",
    f"SequentialLR([{WARMUP}, StepLR(lr, 30)], [0])",
    "SequentialLR([LinearLR(lr, 0.1, total_iters=0), MultiplicativeLR(lr, lambda n: 0.99)], [0])",
    f"SequentialLR([{WARMUP}, StepLR(lr, 30), MultiStepLR(lr, [0, 4, 4], 0.5), ExponentialLR(lr, 0.9)], [9, 100, 101])",
    f"SequentialLR([{WARMUP}, StepLR(lr, 30), PolynomialLR(lr, 0), LambdaLR(lr, lambda n: 1 / (n + 1))], [9, 99, 99])",
    f"SequentialLR([{WARMUP}, StepLR(lr, 30), ExponentialLR(lr, 0.9)], [0, 0])",
    f"SequentialLR([{WARMUP}, MultiplicativeLR(lr, lambda n: 1 - 1 / (n + 2))], [4])",
    "SequentialLR([ExponentialLR(lr, 0.99), SWALR(lr, 0.05)], [100])",
    "SequentialLR([ExponentialLR(lr, 0.99), ConstantLR(lr, total_iters=0), ConstantLR(lr, 0.5, 7)], [100, 120])",
    f"SequentialLR([{WARMUP}, CosineAnnealingWarmRestarts(lr, 10, 2)], [9])",
    f"SequentialLR([{WARMUP}, PolynomialLR(lr, 500, 2.0), CyclicLR(0.01, 0.3, 7, 12)], [9, 300])",
    f"ChainedScheduler([{WARMUP}, ExponentialLR(lr, 0.99)])",
    "ChainedScheduler([StepLR(lr, 30, 0.5), MultiStepLR(lr, [0, 4, 4], 0.5), ConstantLR(lr, 0.5, 3)])",
    f"ChainedScheduler([{WARMUP}, PolynomialLR(lr, 1000), MultiplicativeLR(lr, lambda n: 0.999)])",
    f"ChainedScheduler([{WARMUP}, CosineAnnealingLR(lr, 3000)])",
]  # fmt: skip
KERAS = [
    "ExponentialDecay(0.3, 30, 0.5)",
    "ExponentialDecay(0.3, 30, 0.5, True)",
    "ExponentialDecay(0.3, 300, 1.5, staircase=True)",
    "PiecewiseConstantDecay([19], [0.3, 0.05])",
    "PiecewiseConstantDecay([0, 1, 19, 89, 90], [0.3, 0.05, 0.7, 0.01, 0.2, 0.1])",
    "PolynomialDecay(0.3, 1000)",
    "PolynomialDecay(0.3, 60, 0.02, 1.7)",
    "PolynomialDecay(0.3, 60, end_learning_rate=0.0, power=2.0, cycle=True)",
    "PolynomialDecay(0.02, 7, 0.3, 0.5, True)",
    "InverseTimeDecay(0.3, 10, 0.5)",
    "InverseTimeDecay(0.3, 7, 0.5, True)",
    "CosineDecay(0.3, 90)",
    "CosineDecay(0.3, 1000, 0.2, warmup_steps=10)",
    "CosineDecay(0.01, 90, 0.2, warmup_target=0.3, warmup_steps=20)",
    "CosineDecay(0.5, 90, warmup_target=0.3, warmup_steps=0)",
    "CosineDecayRestarts(0.3, 10)",
    "CosineDecayRestarts(0.3, 9, 2.0, 0.8)",
    "CosineDecayRestarts(0.3, 10, t_mul=1.0, m_mul=0.9, alpha=0.2)",
    "CosineDecayRestarts(0.3, 8, 1.5, 0.9, 0.1)",
    "CosineDecayRestarts(0.3, 7, 2.71, 0.7, 0.1)",
]  # fmt: skip
OPTAX = [
    "constant_schedule(0.3)",
    "polynomial_schedule(0.3, 0.02, 1.7, 60)",
    "polynomial_schedule(0.02, 0.3, 2, 60, 20)",
    "polynomial_schedule(0.3, 0.02, power=0.5, transition_steps=0, transition_begin=3)",
    "linear_schedule(0.3, 0.02, 60)",
    "linear_schedule(0.3, 0.02, 60, transition_begin=5)",
    "exponential_decay(0.3, 30, 0.5)",
    "exponential_decay(0.3, 30, 0.5, 7, True)",
    "exponential_decay(0.3, 30, 0.5, end_value=0.03)",
    "exponential_decay(0.3, 30, 0.5, 5, end_value=0.4)",
    "exponential_decay(0.3, 30, 1.5, end_value=0.4)",
    "exponential_decay(0.3, 300, 1.5)",
    "exponential_decay(0.3, 0, 0.5)",
    "exponential_decay(0.3, 30, 0, end_value=0.4)",
    "piecewise_constant_schedule(0.3)",
    "piecewise_constant_schedule(0.3, {90: 0.1, 20: 0.5, 0: 2.0})",
    "piecewise_interpolate_schedule('linear', 0.3)",
    "piecewise_interpolate_schedule('linear', 0.3, {90: 0.1, 20: 0.5, 21: 3.0})",
    "piecewise_interpolate_schedule('cosine', 0.3, {0: 0.5, 90: 0.0})",
    "cosine_decay_schedule(0.3, 90)",
    "cosine_decay_schedule(0.3, 1000, 0.2, 1.7)",
    "linear_onecycle_schedule(110, 0.3)",
    "linear_onecycle_schedule(2000, 0.3, 0.25, 0.5, 10, 100)",
    "cosine_onecycle_schedule(110, 0.3)",
    "cosine_onecycle_schedule(2000, 0.3, 0.4, 10, 100)",
    "warmup_constant_schedule(0.01, 0.3, 20)",
    "warmup_constant_schedule(0.01, 0.3, 0)",
    "warmup_cosine_decay_schedule(0.01, 0.3, 20, 120, 0.002)",
    "warmup_cosine_decay_schedule(0.01, 0.3, 0, 1000, exponent=2.0)",
    "warmup_cosine_decay_schedule(0.3, 0.0, 20, 120, 0.2)",
    "warmup_exponential_decay_schedule(0.01, 0.3, 20, 30, 0.5)",
    "warmup_exponential_decay_schedule(0.01, 0.3, 20, 30, 0.5, 7, True, 0.1)",
    "warmup_exponential_decay_schedule(0.01, 0.3, 20, 30, 0.5, end_value=0.4)",
    "warmup_exponential_decay_schedule(0.01, 0.3, 0, 30, 0.5)",
    "sgdr_schedule([dict(init_value=0.0, peak_value=p, warmup_steps=9, decay_steps=k) for p, k in "
    "((0.3, 100), (0.2, 50), (0.1, 200))])",
    "join_schedules([linear_schedule(0.3, 0.2, 9), exponential_decay(0.3, 9, 0.5), constant_schedule(0.1)], [20, 60])",
]  # fmt: skip
ROWS = {"torch": TORCH, "keras": KERAS, "optax": OPTAX}
PACKAGES = {"torch": ["torch"], "keras": ["keras", "torch"], "optax": ["optax", "jax"]}


def ours(library, row):
    """Evaluate a row with our schedules."""
    return eval(row, {"lr": LR, **vars(getattr(S, library))})


def torch_scheduler(row):
    """Evaluate a row with torch; return the scheduler and its optimizer."""
    import torch
    from torch.optim import lr_scheduler

    p = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.SGD([p], lr=LR, momentum=0.9)
    names = vars(lr_scheduler) | {"lr": optimizer, "SWALR": torch.optim.swa_utils.SWALR}
    for name in ("CyclicLR", "OneCycleLR", "SequentialLR"):  # these set the rate themselves: ours have no lr
        names[name] = partial(names[name], optimizer)
    return eval(row, names), optimizer


def run_torch(row, steps=STEPS):
    """Rates and momenta of a whole run in torch."""
    scheduler, optimizer = torch_scheduler(row)
    rates, momenta = [], []
    for n in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        momenta.append(optimizer.param_groups[0]["momentum"])
        if n == 0:
            optimizer.step()  # or torch warns
        if n < steps - 1:
            scheduler.step()
    return rates, momenta


PREPARE = {  # both need float64 for the whole process
    "keras": """
import keras
keras.config.set_floatx("float64")
from keras.optimizers.schedules import *
def at(s, n):
    return [float(s(i)) for i in n]
""",
    "optax": """
import jax
import numpy as np
import optax
jax.config.update("jax_enable_x64", True)
from optax.schedules import *
def at(s, n):
    return np.broadcast_to(np.array(jax.vmap(s)(np.array(n)), float), len(n)).tolist()
""",
}


def evaluate(library, expressions):
    """Values of expressions, in a process with a library's names, inspect, and ``at(schedule, n)``."""
    code = f"import inspect, json\n{PREPARE[library]}\nN = {INDICES}\nprint(json.dumps([{', '.join(expressions)}]))"
    environment = os.environ | {"KERAS_BACKEND": "torch", "JAX_PLATFORMS": "cpu", "OMP_NUM_THREADS": "1"}
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    return json.loads(run.stdout.splitlines()[-1])


def run_library(library):
    """Rates of every row of a library at `INDICES`."""
    if library == "torch":
        rates = [run_torch(row)[0] for row in TORCH]
        return [[run[n] for n in INDICES] for run in rates]
    return evaluate(library, [f"at({row}, N)" for row in ROWS[library]])
