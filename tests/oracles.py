"""Float64 runs of the live libraries, for the golden files and for the tests that need the libraries installed."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Any

import numpy as np

from cases import DECAYS, Case

STEPS = 2_100
KINDS = ("none", *DECAYS)  # of decay of a run


@dataclass(frozen=True)
class Problem:
    """Gradients of a run, taken in cyclic order from the rows of a bank, and a rate for every step."""

    p: np.ndarray  # float64[n], the initial parameters
    bank: np.ndarray  # float64[k, n]
    schedule: np.ndarray  # float64[STEPS]: the rate is `run_lr` times this

    def gradient(self, step: int) -> np.ndarray:
        return self.bank[step % len(self.bank)]


def problem(n: int, bank: int, seed: int) -> Problem:
    """Parameters away from zero; gradients from 1e-9 to 1e2, and zeros; a rate that warms up, pauses at 0 and falls."""
    rng = np.random.default_rng(seed)
    size = 10.0 ** rng.uniform(-9, 2, n)
    gradients = rng.choice([-1.0, 1.0], (bank, n)) * np.clip(size * 10.0 ** rng.uniform(-1, 1, (bank, n)), 1e-9, 1e2)
    gradients[rng.random((bank, n)) < 0.02] = 0.0
    step = np.arange(STEPS)
    schedule = np.minimum((step + 1) / 100, 0.5 + 0.5 * np.cos(np.pi * step / STEPS))
    schedule[600:620] = 0.0
    return Problem(rng.choice([-1.0, 1.0], n) * rng.uniform(1.5, 3.0, n), gradients, schedule)


def run_lr(case: Case) -> float:
    """The case's rate, reduced for RMSProp with momentum, which is chaotic near zero under coupled decay."""
    return 1e-4 if {"square_avg", "momentum_buffer"} <= {*case.state} else case.lr


def runs(case: Case) -> tuple[str, ...]:
    """Kinds of decay that a case supports."""
    return tuple(kind for kind in KINDS if kind == "none" or kind in case.row.decays)


def rates(case: Case, problem: Problem) -> np.ndarray:
    """Rate for every step, float64[STEPS]. It is positive or constant if the case needs that."""
    if case.row.lr == "start":
        return np.full(STEPS, run_lr(case))
    least = 0.01 if case.row.lr == "positive" else 0.0
    return run_lr(case) * np.maximum(problem.schedule, least)


def weight_decay(case: Case, decay: str) -> float:
    """A weight decay that removes only a part of the parameters over a run."""
    return {"none": 0.0, "coupled": 0.05, "decoupled": 5e-4 / run_lr(case), "independent": 5e-4}[decay]


def run_of(case: Case, problem: Problem, decay: str) -> np.ndarray:
    """The same run in pyfastlr, with the rate as a schedule and the convention's kind of decay by default."""
    p, out = problem.p.copy(), np.empty((STEPS, problem.p.size))
    options = {} if decay in ("none", case.decay) else {"decay": decay}
    lr, wd = rates(case, problem), weight_decay(case, decay)
    opt = case.make(p, case.schedule(lambda n: lr[n]), weight_decay=wd, **options)
    for k in range(STEPS):
        opt.step(problem.gradient(k))
        out[k] = p
    return out


def assert_same_run(got: np.ndarray, want: np.ndarray, start: np.ndarray) -> None:
    """Agree to 1e-10 of each parameter's greatest distance from its start, plus the rounding of its sums."""
    got, want = np.atleast_2d(got), np.atleast_2d(want)
    distance = np.abs(want - start).max(axis=0)
    rounding = STEPS * np.spacing(np.abs(np.concatenate([want, start[None]])).max(axis=0))
    error = np.abs(got - want).max(axis=0)
    worst = (error / (1e-10 * distance + rounding)).max()
    assert worst <= 1, f"{worst:.3g} of what is allowed"


def other_process() -> ProcessPoolExecutor:
    """Separate process, for libraries whose float64 mode is global to the process."""
    return ProcessPoolExecutor(1, mp_context=get_context("spawn"))


def trajectories(case: Case, problem: Problem) -> dict[str, np.ndarray]:
    """Parameters after every step, float64[STEPS, n], of a run of the live library for each of `runs`.

    The library's own kind of decay is its own doing where it takes a weight decay; the others are done here, before its
    step. All runs go side by side as parameters of one optimizer.
    """
    start = {"torch": _torch, "keras": _keras, "optax": _optax}[case.convention]
    return start(case, problem, case.decay if case.live.decayed else None)


def _decayed(decays: dict[str, float], p: Any, g: Any, lr: Any) -> tuple[Any, Any]:
    """Parameters and gradients by run, with the decay of `decays` applied by hand."""
    p, g = dict(p), dict.fromkeys(p, g)
    for kind, wd in decays.items():
        if kind == "coupled":
            g[kind] = g[kind] + wd * p[kind]
        else:
            p[kind] = p[kind] * (1.0 - (lr * wd if kind == "decoupled" else wd))
    return p, g


def _by_hand(case: Case, own: str | None) -> dict[str, float]:
    return {kind: weight_decay(case, kind) for kind in runs(case) if kind not in ("none", own)}


@contextmanager
def torch_scalars_in_float64() -> Iterator[None]:
    """Make torch's NAdam keep its running product in float64. By default it is float32 for any dtype of parameters."""
    import torch

    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


def _torch(case: Case, problem: Problem, own: str | None) -> dict[str, np.ndarray]:
    import torch

    tensors = {run: torch.tensor(problem.p) for run in runs(case)}
    groups = [
        {"params": [x], "weight_decay": weight_decay(case, run) if run == own else 0.0} for run, x in tensors.items()
    ]
    optimizer = case.live(groups, case.lr)
    hand = _by_hand(case, own)
    out = {run: np.empty((STEPS, problem.p.size)) for run in runs(case)}
    for k, lr in enumerate(rates(case, problem)):
        p, g = _decayed(hand, tensors, torch.from_numpy(problem.gradient(k)), lr)
        for run, x in tensors.items():
            x.copy_(p[run])
            x.grad = g[run].clone()
        for group in optimizer.param_groups:
            group["lr"] = lr
        with torch_scalars_in_float64():
            optimizer.step()
        for run, x in tensors.items():
            out[run][k] = x.numpy()
    return out


def jax_in_float64() -> Any:
    import jax

    jax.config.update("jax_enable_x64", True)  # for the whole process: tests run this in one of its own
    return jax


def _scan(case: Case, problem: Problem, own: str | None, state: Any, update: Callable[..., Any]) -> Any:
    """Run ``update(g, state, p, lr) -> (p, state)`` over all steps as one compiled loop."""
    jax = jax_in_float64()
    hand = _by_hand(case, own)

    def step(carry, x):
        g, lr = x
        p, g = _decayed(hand, carry[0], g, lr)
        p, state = update(g, carry[1], p, lr)
        return (p, state), p

    gradients = np.array([problem.gradient(k) for k in range(STEPS)])
    start = dict.fromkeys(runs(case), jax.numpy.asarray(problem.p))
    _, out = jax.jit(lambda *carry: jax.lax.scan(step, carry, (gradients, rates(case, problem))))(start, state)
    return {run: np.asarray(x) for run, x in out.items()}


def _optax(case: Case, problem: Problem, own: str | None) -> dict[str, np.ndarray]:
    jax = jax_in_float64()
    import optax

    rate = jax.numpy.asarray(rates(case, problem))
    masks = {"weight_decay_mask" if case.cls == "AdaDelta" else "mask": {run: run == own for run in runs(case)}}
    options = {"weight_decay": weight_decay(case, own), **masks} if own else {}
    transform = case.live(case.schedule(lambda count: rate[count]), **options)

    def update(g, state, p, _):
        change, state = transform.update(g, state, p)
        return optax.apply_updates(p, change), state

    start = dict.fromkeys(runs(case), jax.numpy.asarray(problem.p))
    return _scan(case, problem, own, transform.init(start), update)


def keras_in_float64() -> Any:
    """Run Keras on JAX, with the run compiled to one loop, because single steps take milliseconds each."""
    os.environ["KERAS_BACKEND"] = "jax"
    jax_in_float64()
    import keras

    keras.config.set_floatx("float64")
    return keras


def _keras(case: Case, problem: Problem, own: str | None) -> dict[str, np.ndarray]:
    keras = keras_in_float64()
    variables = {run: keras.Variable(problem.p, name=run) for run in runs(case)}
    optimizer = case.live(case.lr, weight_decay=weight_decay(case, own))
    optimizer.exclude_from_weight_decay(var_list=[x for run, x in variables.items() if run != own])
    optimizer.build(list(variables.values()))
    rate = [x.name for x in optimizer.variables].index("learning_rate")

    def update(g, state, p, lr):
        state = [*state[:rate], lr, *state[rate + 1 :]]
        new, state = optimizer.stateless_apply(state, [g[run] for run in variables], [p[run] for run in variables])
        return dict(zip(variables, new, strict=True)), state

    return _scan(case, problem, own, [x.value for x in optimizer.variables], update)


def default_run(case: Case, problem: Problem, steps: int) -> np.ndarray:
    """Parameters after some steps of Keras or optax with default arguments (except optax's rate): float64[n]."""
    if case.convention == "keras":
        keras = keras_in_float64()
        variable = keras.Variable(problem.p)
        optimizer = case.live()
        for k in range(steps):
            optimizer.apply([keras.ops.convert_to_tensor(problem.gradient(k))], [variable])
        return np.asarray(variable.value)
    jax = jax_in_float64()
    transform, p = case.live(case.lr), jax.numpy.asarray(problem.p)
    state = transform.init(p)
    for k in range(steps):
        change, state = transform.update(problem.gradient(k), state, p)
        p = p + change
    return np.asarray(p)
