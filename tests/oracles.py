"""Runs of the live libraries in float64, for the golden files and for the tests that have the libraries at hand."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from cases import DECAYS, Case

STEPS = 2_100
RUNS = ("none", *DECAYS)  # the kinds of decay of a run


@dataclass(frozen=True)
class Problem:
    """Gradients for a run: the rows of a bank, one after the other, over and over; and a rate for every step."""

    p: np.ndarray  # float64[n], the initial parameters
    bank: np.ndarray  # float64[k, n]
    schedule: np.ndarray  # float64[STEPS]: the rate is the case's times this

    def gradient(self, step: int) -> np.ndarray:
        return self.bank[step % len(self.bank)]


def problem(n: int, bank: int, seed: int) -> Problem:
    """Normal parameters; gradients of magnitudes from 1e-4 to 10, with zeros; a warm-up, then a cosine to zero."""
    rng = np.random.default_rng(seed)
    gradients = rng.standard_normal((bank, n)) * 10.0 ** rng.uniform(-4, 1, n)
    gradients[rng.random((bank, n)) < 0.02] = 0.0
    step = np.arange(STEPS)
    schedule = np.minimum((step + 1) / 100, 0.5 + 0.5 * np.cos(np.pi * step / STEPS))
    return Problem(rng.standard_normal(n), gradients, schedule)


def weight_decay(case: Case, decay: str) -> float:
    """A weight decay that takes a part of the parameters over a run, and leaves the rest to the gradients."""
    return {"none": 0.0, "coupled": 0.05, "decoupled": 5e-4 / case.lr, "independent": 5e-4}[decay]


def trajectory(case: Case, problem: Problem, decay: str) -> np.ndarray:
    """Parameters after every step of a run of the convention's live library: float64[STEPS, n].

    ``decay`` is "none" or a kind. The convention's own kind is the library's doing; the others are done by hand before
    the library's step.
    """
    wd, own = weight_decay(case, decay), decay in ("none", case.decay)
    step = {"torch": _start_torch, "optax": _start_optax}[case.convention](case, problem, wd if own else 0.0)
    out = np.empty((STEPS, problem.p.size))
    p = problem.p
    for k in range(STEPS):
        g, lr = problem.gradient(k), case.lr * problem.schedule[k]
        if not own:
            g = g + wd * p if decay == "coupled" else g
            p = p * {"coupled": 1.0, "decoupled": 1.0 - lr * wd, "independent": 1.0 - wd}[decay]
        p = out[k] = step(p, g, lr)
    return out


@contextmanager
def torch_scalars_in_float64() -> Iterator[None]:
    """Within, torch's NAdam keeps its running product in float64; else in float32 for parameters of any dtype."""
    import torch

    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


def _start_torch(case, problem, wd):
    import torch

    tensor = torch.tensor(problem.p)
    optimizer = case.torch([tensor], case.lr, weight_decay=wd)

    def step(p, g, lr):
        optimizer.param_groups[0]["lr"] = lr
        tensor.copy_(torch.from_numpy(p))
        tensor.grad = torch.from_numpy(g)
        with torch_scalars_in_float64():
            optimizer.step()
        return tensor.numpy().copy()

    return step


def _start_optax(case, problem, wd):
    import jax

    jax.config.update("jax_enable_x64", True)  # for the whole process: tests run this in one of its own
    import optax

    rates = jax.numpy.asarray(case.lr * problem.schedule)
    transform = case.optax(lambda count: rates[count], weight_decay=wd)
    state = transform.init(problem.p)

    @jax.jit
    def update(p, g, state):
        change, state = transform.update(g, state, p)
        return optax.apply_updates(p, change), state

    def step(p, g, lr):
        nonlocal state
        p, state = update(p, g, state)
        return np.asarray(p)

    return step
