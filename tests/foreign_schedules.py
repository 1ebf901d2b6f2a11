"""Table of schedules of other libraries: one expression per row, evaluated with our classes and with theirs."""

import json
import os
import subprocess
import sys
import warnings
from functools import partial

from foreign_libraries import PREPARE
from pyfastlr import schedules as S

STEPS = 3_000
LR = 0.3
# torch runs through all of them; of the pure functions and in the golden file these are enough.
INDICES = sorted({*range(64), *range(64, STEPS, 83), *(n + d for n in (90, 100, 110, 120, 1_000) for d in (-1, 0, 1))})

WARMUP = "LinearLR(lr, 0.25, 1.0, 9)"
NESTED = [
    f"SequentialLR([SequentialLR([{WARMUP}, StepLR(lr, 30)], [9]), ExponentialLR(lr, 0.99)], [100])",
    f"SequentialLR([SequentialLR([ExponentialLR(lr, 0.9), {WARMUP}], [9]), StepLR(lr, 30)], [100])",
    "SequentialLR([SequentialLR([SequentialLR([PolynomialLR(lr, 500, 2.0), ConstantLR(lr, 0.5, 7)], [40]), "
    "ExponentialLR(lr, 0.99), MultiStepLR(lr, [0, 5], 0.5)], [60, 90]), CosineAnnealingLR(lr, 40)], [100])",
    "SequentialLR([SequentialLR([StepLR(lr, 30), ExponentialLR(lr, 0.99)], [1]), StepLR(lr, 7)], [100])",
    "SequentialLR([SequentialLR([SequentialLR([StepLR(lr, 30), ExponentialLR(lr, 0.99)], [1]), StepLR(lr, 7)], [50]), "
    "StepLR(lr, 9)], [80])",
    "SequentialLR([SequentialLR([StepLR(lr, 30), ExponentialLR(lr, 0.99)], [0]), StepLR(lr, 7)], [100])",
    "SequentialLR([SequentialLR([StepLR(lr, 30), ExponentialLR(lr, 0.99)], [150]), StepLR(lr, 7)], [100])",
    "SequentialLR([SequentialLR([MultiplicativeLR(lr, lambda n: 1 - 1 / (n + 2)), StepLR(lr, 30)], [20]), "
    "MultiplicativeLR(lr, lambda n: 0.999)], [100])",
    "SequentialLR([SequentialLR([CosineAnnealingLR(lr, 17, 0.02), StepLR(lr, 30)], [60]), StepLR(lr, 7)], [100])",
    "SequentialLR([SequentialLR([CosineAnnealingLR(lr, 1, 0.02), StepLR(lr, 30)], [60]), StepLR(lr, 7)], [100])",
    "SequentialLR([SequentialLR([LambdaLR(lr, lambda n: 1 / (1 + n)), CyclicLR(0.01, 0.3, 7, 12)], [20]), "
    "CosineAnnealingWarmRestarts(lr, 10)], [100])",
    f"SequentialLR([SequentialLR([{WARMUP}, StepLR(lr, 30)], [9]), SWALR(lr, 0.05)], [100])",
    f"SequentialLR([ChainedScheduler([{WARMUP}, ExponentialLR(lr, 0.99)]), StepLR(lr, 30)], [100])",
    "SequentialLR([ChainedScheduler([ConstantLR(lr, 0.5, 20), PolynomialLR(lr, 500, 2.0), MultiStepLR(lr, [0, 9])]), "
    "StepLR(lr, 30)], [100])",
    "SequentialLR([ChainedScheduler([MultiplicativeLR(lr, lambda n: 1 - 1 / (n + 2)), CosineAnnealingLR(lr, 3000)]), "
    "StepLR(lr, 30)], [2000])",
    "SequentialLR([ChainedScheduler([ExponentialLR(lr, 0.9)]), StepLR(lr, 30)], [100])",
    "ChainedScheduler([ChainedScheduler([StepLR(lr, 30, 0.5), ConstantLR(lr, 0.5, 3)]), ExponentialLR(lr, 0.99)])",
    f"ChainedScheduler([SequentialLR([{WARMUP}, StepLR(lr, 30)], [9]), ExponentialLR(lr, 0.99)])",
    f"ChainedScheduler([ExponentialLR(lr, 0.99), SequentialLR([{WARMUP}, StepLR(lr, 30)], [9])])",
    f"ChainedScheduler([ConstantLR(lr, 0.5, 20), SequentialLR([{WARMUP}, StepLR(lr, 30)], [9])])",
    f"ChainedScheduler([LinearLR(lr, 0.5, 0.9, 40), SequentialLR([{WARMUP}, StepLR(lr, 30)], [9]), "
    "PolynomialLR(lr, 1000, 2.0), MultiStepLR(lr, [5, 9, 15, 2000], 0.5)])",
    "ChainedScheduler([PolynomialLR(lr, 5), SequentialLR([ExponentialLR(lr, 0.9), StepLR(lr, 30)], [9])])",
    "ChainedScheduler([LinearLR(lr, 1.0, 0.0, 5), SequentialLR([ExponentialLR(lr, 0.9), StepLR(lr, 30)], [9])])",
    "ChainedScheduler([MultiplicativeLR(lr, lambda n: 0.999), "
    "SequentialLR([ExponentialLR(lr, 0.9), MultiplicativeLR(lr, lambda n: 1 - 1 / (n + 2))], [9])])",
    "ChainedScheduler([StepLR(lr, 7, 0.9), CosineAnnealingLR(lr, 3000), "
    "SequentialLR([ExponentialLR(lr, 0.99), ConstantLR(lr, 0.5, 7), StepLR(lr, 30)], [9, 100])])",
    "ChainedScheduler([SequentialLR([ExponentialLR(lr, 0.99), StepLR(lr, 30)], [50]), "
    "SequentialLR([ConstantLR(lr, 0.5, 7), ExponentialLR(lr, 0.98)], [70])])",
    f"ChainedScheduler([SequentialLR([SequentialLR([{WARMUP}, StepLR(lr, 30)], [9]), StepLR(lr, 7)], [60]), "
    "ExponentialLR(lr, 0.99)])",
    f"SequentialLR([ChainedScheduler([LinearLR(lr, 0.5, 0.9, 40), SequentialLR([{WARMUP}, StepLR(lr, 30)], [9]), "
    "ExponentialLR(lr, 0.99)]), StepLR(lr, 30)], [100])",
    "SequentialLR([ChainedScheduler([ConstantLR(lr, 0.5, 20), SequentialLR([StepLR(lr, 9), ExponentialLR(lr, 0.9)], "
    "[1]), StepLR(lr, 13)]), StepLR(lr, 30)], [100])",
]  # fmt: skip
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
    *NESTED,
]  # fmt: skip
KERAS = [
    "ExponentialDecay(0.3, 30, 0.5)",
    "ExponentialDecay(0.3, 30, 0.5, True)",
    "ExponentialDecay(0.3, 300, 1.5, staircase=True)",
    "ExponentialDecay(0.3, 2.4, 0.9)",
    "ExponentialDecay(0.3, 2.4, 0.9, True)",
    "PiecewiseConstantDecay([19], [0.3, 0.05])",
    "PiecewiseConstantDecay([0.0, 19.5, 19.7, 90.0], [0.3, 0.05, 0.7, 0.2, 0.1])",
    "PiecewiseConstantDecay([0, 1, 19, 89, 90], [0.3, 0.05, 0.7, 0.01, 0.2, 0.1])",
    "PolynomialDecay(0.3, 1000)",
    "PolynomialDecay(0.3, 60, 0.02, 1.7)",
    "PolynomialDecay(0.3, 60, end_learning_rate=0.0, power=2.0, cycle=True)",
    "PolynomialDecay(0.02, 7, 0.3, 0.5, True)",
    "PolynomialDecay(0.3, 60.5, 0.02, 1.7)",
    "PolynomialDecay(0.3, 10 / 3, 0.02, 0.5, True)",
    "InverseTimeDecay(0.3, 10, 0.5)",
    "InverseTimeDecay(0.3, 2.4, 0.5)",
    "InverseTimeDecay(0.3, 7, 0.5, True)",
    "CosineDecay(0.3, 90)",
    "CosineDecay(0.3, 1000, 0.2, warmup_steps=10)",
    "CosineDecay(0.3, 90.5, 1.5)",
    "CosineDecay(0.01, 90, 0.2, warmup_target=0.3, warmup_steps=20)",
    "CosineDecay(0.5, 90, warmup_target=0.3, warmup_steps=0)",
    "CosineDecayRestarts(0.3, 10)",
    "CosineDecayRestarts(0.3, 9, 2.0, 0.8)",
    "CosineDecayRestarts(0.3, 10, t_mul=1.0, m_mul=0.9, alpha=0.2)",
    "CosineDecayRestarts(0.3, 8, 1.5, 0.9, 0.1)",
    "CosineDecayRestarts(0.3, 7, 2.71, 0.7, 0.1)",
    "CosineDecayRestarts(0.3, 900 / 7, 1.0, 0.9, 0.1)",
    "CosineDecayRestarts(0.3, 90 / 7, 1.5, 0.9)",
    "CosineDecayRestarts(0.3, 100, 1.0, 1.1, 0.2)",
    "CosineDecayRestarts(0.3, 10, m_mul=1.5)",
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
    "exponential_decay(0.3, 2.4, 0.9, 7, True)",
    "linear_schedule(0.3, 0.02, 60.5, 3)",
    "polynomial_schedule(0.3, 0.02, 1.7, 60.5)",
    "cosine_decay_schedule(0.3, 90.5, 0.2)",
    "cosine_decay_schedule(0.3, 90.5, 0.2, 1.7)",
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
TIMM = [
    "CosineLRScheduler(lr, 1000)",
    "CosineLRScheduler(lr, 1000, 0.02, warmup_t=20)",
    "CosineLRScheduler(lr, 1000, 0.02, warmup_t=20, warmup_lr_init=0.01, warmup_prefix=True)",
    "CosineLRScheduler(lr, 1000, warmup_t=1500, k_decay=1.7)",
    "CosineLRScheduler(lr, 100, 0.02, cycle_decay=0.5, cycle_limit=7, k_decay=0.7)",
    "CosineLRScheduler(lr, 100, 0.02, cycle_decay=1.5, cycle_limit=3, warmup_t=130, warmup_lr_init=0.01)",
    "CosineLRScheduler(lr, 9, 0.02, 2.0, 0.9, 20)",
    "CosineLRScheduler(lr, 9, 0.02, 3.0, 0.9, 4, warmup_t=5, warmup_prefix=True)",
    "CosineLRScheduler(lr, 7, cycle_mul=1.5, cycle_limit=100)",
    "CosineLRScheduler(lr, 10, cycle_mul=7.0, cycle_decay=0.8, cycle_limit=100, k_decay=1.3)",
    "CosineLRScheduler(lr, 10, 0.02, cycle_limit=0)",
    "PolyLRScheduler(lr, 1000)",
    "PolyLRScheduler(lr, 1000, 2.5, 0.02, warmup_t=20, warmup_lr_init=0.01, k_decay=1.7)",
    "PolyLRScheduler(lr, 100, 0.7, 0.02, 1.0, 0.5, 7, warmup_t=20, warmup_prefix=True)",
    "PolyLRScheduler(lr, 16, 2.0, 0.02, 2.0, 0.9, 20)",
    "TanhLRScheduler(lr, 1000)",
    "TanhLRScheduler(lr, 1000, -4.0, 2.0, 0.02, warmup_t=20, warmup_lr_init=0.01)",
    "TanhLRScheduler(lr, 1000, lr_min=0.02, warmup_t=20, warmup_prefix=True)",
    "TanhLRScheduler(lr, 100, cycle_decay=0.5, cycle_limit=7, warmup_t=130)",
    "TanhLRScheduler(lr, 9, -3.0, 1.0, 0.02, 2.0, 0.9, 20)",
    "StepLRScheduler(lr, 30, 0.5)",
    "StepLRScheduler(lr, 30)",
    "StepLRScheduler(lr, 2.4, 0.99, warmup_t=9, warmup_lr_init=0.01)",
    "StepLRScheduler(lr, 30, 0.5, warmup_t=40, warmup_prefix=False)",
    "StepLRScheduler(lr, 300, 1.5)",
    "MultiStepLRScheduler(lr, [30, 80], 0.5)",
    "MultiStepLRScheduler(lr, [0, 1, 2, 30, 30, 80.5, 81], 0.7, warmup_t=9, warmup_lr_init=0.01)",
    "MultiStepLRScheduler(lr, [30, 80], 0.5, 40, warmup_prefix=False)",
    "MultiStepLRScheduler(lr, [], 0.5)",
    "WSDLRScheduler(lr, 1000, 200)",
    "WSDLRScheduler(lr, 1000, 200, 0.02, decay_fn='linear', warmup_t=20, warmup_lr_init=0.01)",
    "WSDLRScheduler(lr, 1000, 1000, 0.02, decay_fn='cosine', warmup_t=20)",
    "WSDLRScheduler(lr, 1000, 200, 0.02, decay_fn='power', decay_power=1.7)",
    "WSDLRScheduler(lr, 1000, 200, 0.02, decay_fn='exp', decay_ratio=0.05, warmup_t=20)",
    "WSDLRScheduler(lr, 1000, 200, 0.02, 'rsqrt', warmup_t=20, decay_fn='linear')",
    "WSDLRScheduler(lr, 1000, 200, 0.1, 'power', 50.0, 1.5, 'exp', warmup_lr_init=0.01, warmup_t=20)",
    "WSDLRScheduler(lr, 1000, 1000, 0.0, 'rsqrt', 100.0)",
    "WSDLRScheduler(lr, 1000, 200, 0.5, warmup_t=20)",
]  # fmt: skip
TRANSFORMERS = [
    "get_constant_schedule(lr)",
    "get_constant_schedule_with_warmup(lr, 20)",
    "get_constant_schedule_with_warmup(lr, 0)",
    "get_linear_schedule_with_warmup(lr, 20, 1000)",
    "get_linear_schedule_with_warmup(lr, 0, 1000)",
    "get_linear_schedule_with_warmup(lr, 20, 20)",
    "get_linear_schedule_with_warmup(lr, 20, 9)",
    "get_cosine_schedule_with_warmup(lr, 20, 1000)",
    "get_cosine_schedule_with_warmup(lr, 0, 1000, num_cycles=2.3)",
    "get_cosine_schedule_with_warmup(lr, 20, 9)",
    "get_cosine_with_hard_restarts_schedule_with_warmup(lr, 20, 1000)",
    "get_cosine_with_hard_restarts_schedule_with_warmup(lr, 100, 1000, num_cycles=7)",
    "get_cosine_with_hard_restarts_schedule_with_warmup(lr, 0, 900, num_cycles=30)",
    "get_cosine_with_hard_restarts_schedule_with_warmup(lr, 5, 2900, num_cycles=193)",
    "get_polynomial_decay_schedule_with_warmup(lr, 20, 1000)",
    "get_polynomial_decay_schedule_with_warmup(lr, 0, 1000, lr_end=0.02, power=2.5)",
    "get_inverse_sqrt_schedule(lr, 20)",
    "get_inverse_sqrt_schedule(lr, 0)",
    "get_inverse_sqrt_schedule(lr, 20, timescale=7)",
    "get_inverse_sqrt_schedule(lr, 20, 300)",
    "get_cosine_with_min_lr_schedule_with_warmup(lr, 20, 1000, min_lr=0.02)",
    "get_cosine_with_min_lr_schedule_with_warmup(lr, 0, 1000, num_cycles=1.7, min_lr_rate=0.1)",
    "get_cosine_with_min_lr_schedule_with_warmup_lr_rate(lr, 20, 1000, min_lr=0.02)",
    "get_cosine_with_min_lr_schedule_with_warmup_lr_rate(lr, 20, 1000, 1.7, min_lr_rate=0.1, warmup_lr_rate=0.3)",
    "get_cosine_with_min_lr_schedule_with_warmup_lr_rate(lr, 1, 1000, min_lr=0.02, warmup_lr_rate=0.3)",
    "get_cosine_with_min_lr_schedule_with_warmup_lr_rate(lr, 0, 1000, min_lr=0.0)",
    "get_wsd_schedule(lr, 20, 200, num_training_steps=1000)",
    "get_wsd_schedule(lr, 20, 200, num_stable_steps=500, warmup_type='cosine', decay_type='1-sqrt', min_lr_ratio=0.1)",
    "get_wsd_schedule(lr, 20, 200, 300, warmup_type='1-sqrt', decay_type='linear', min_lr_ratio=0.1)",
    "get_wsd_schedule(lr, 0, 200, 200, num_cycles=1.5, min_lr_ratio=0.1)",
    "get_wsd_schedule(lr, 20, 0, 300, min_lr_ratio=0.1)",
    "get_wsd_schedule(lr, 20, 0, 20, min_lr_ratio=0.1)",
    "get_scheduler('linear', lr, 20, 1000)",
    "get_scheduler('cosine', lr, 20, 1000)",
    "get_scheduler('cosine_with_restarts', lr, 100, 1000, {'num_cycles': 7})",
    "get_scheduler('polynomial', lr, 20, 1000, {'power': 2.0})",
    "get_scheduler('constant', lr)",
    "get_scheduler('constant_with_warmup', lr, 20)",
    "get_scheduler('inverse_sqrt', lr, 20)",
    "get_scheduler('cosine_with_min_lr', lr, 20, 1000, {'min_lr': 0.02})",
    "get_scheduler('cosine_warmup_with_min_lr', lr, 20, 1000, {'min_lr_rate': 0.1})",
    "get_scheduler('warmup_stable_decay', lr, 20, 1000, {'num_decay_steps': 200})",
]  # fmt: skip
FASTAI = [
    "SchedLin(0.3, 0.02, 1000)",
    "SchedCos(0.3, 0.02, 1000)",
    "SchedCos(0.02, 0.3, 7)",
    "SchedNo(0.3, 0.02, 1000)",
    "SchedExp(0.3, 0.02, 1000)",
    "SchedExp(1e-7, 10, 100)",
    "SchedPoly(0.3, 0.02, 2.5, 1000)",
    "SchedPoly(0.02, 0.3, 0.5, 1000)",
    "combined_cos(0.25, 0.01, 0.3, 0.001, 1000)",
    "combined_cos(0.3, 0.95, 0.85, 0.95, 777)",
    "combine_scheds([0.3, 0.7], [SchedCos(0.3, 0.6), SchedCos(0.6, 0.2)], 1000)",
    "combine_scheds([0.125, 0.25, 0.375, 0.25], [SchedExp(0.01, 0.3), SchedNo(0.3, 0.3), SchedPoly(0.3, 0.1, 2), "
    "SchedLin(0.1, 0.05)], 1001)",
    "combine_scheds([0.5, 0.0, 0.5], [SchedLin(0.0, 0.3), SchedNo(0.9, 0.9), SchedCos(0.3, 0.0)], 90)",
    "fit_one_cycle(0.3, 1000)",
    "fit_one_cycle(0.3, 777, div=10.0, div_final=100.0, pct_start=0.4)",
    "fit_flat_cos(0.3, 1000)",
    "fit_flat_cos(0.3, 777, 100.0, 0.5)",
    "fit_sgdr(0.3, 3, 2, 100)",
    "fit_sgdr(0.3, 4, 1, 7, cycle_mult=3)",
    "fine_tune(0.3, 5, 100)",
    "fine_tune(0.3, 3, 77, freeze_epochs=2, pct_start=0.4, div=10.0)",
]  # fmt: skip
ROWS = {
    "torch": TORCH, "keras": KERAS, "optax": OPTAX, "timm": TIMM, "transformers": TRANSFORMERS, "fastai": FASTAI,
}  # fmt: skip
PACKAGES = {
    "torch": ["torch"], "keras": ["keras", "torch"], "optax": ["optax", "jax"], "timm": ["timm", "torch"],
    "transformers": ["transformers", "torch"], "fastai": ["fastai", "torch"],
}  # fmt: skip


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
    with warnings.catch_warnings():  # nesting makes first steps before the optimizer's
        warnings.filterwarnings("ignore", "Detected call of `lr_scheduler.step", UserWarning)
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


def evaluate(library, expressions, indices=INDICES):
    """Values of expressions, in a process with a library's names, inspect, and ``at(schedule, n)``."""
    code = f"import inspect, json\n{PREPARE[library]}\nN = {indices}\nprint(json.dumps([{', '.join(expressions)}]))"
    environment = os.environ | {"KERAS_BACKEND": "torch", "JAX_PLATFORMS": "cpu", "OMP_NUM_THREADS": "1"}
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    return json.loads(run.stdout.splitlines()[-1])


def run_library(library):
    """Rates of every row of a library at `INDICES`."""
    if library == "torch":
        rates = [run_torch(row)[0] for row in TORCH]
        return [[run[n] for n in INDICES] for run in rates]
    return evaluate(library, [f"at({row}, N)" for row in ROWS[library]])
