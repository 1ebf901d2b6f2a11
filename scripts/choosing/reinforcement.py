"""Reinforcement learning: values that change under way, and policies whose data come from themselves."""

import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from matplotlib.figure import Figure

import pyfastlr as flr
from pyfastlr import schedules as S
from pyfastlr.plot import plain

from .common import BLUE, COLORS, GREEN, GREY, RED, figure, middle, number, table

EXAMPLE = runpy.run_path(str(Path(__file__).resolve().parents[2] / "examples" / "cartpole_policy_gradient.py"))

# --- FrozenLake: the value of a policy, learned by TD(0) --------------------------------------------------------------

WALKERS, UPDATES, SEEDS, GAMMA = 16, 4000, range(5), 0.95
TRACKING: dict[str, tuple[Callable[[], Any], str]] = {
    "fixed 0.5": (lambda: 0.5, BLUE),
    "fixed 0.05": (lambda: 0.05, GREEN),
    "0.5/(1 + n/100)": (lambda: S.InverseTime(0.5, 1 / 100), RED),
}


def lake(right: float) -> tuple[Any, Any, Any]:
    """Return the transitions of a walker that goes right or down with probability `right`, else left or up."""
    table_of = gym.make("FrozenLake-v1", is_slippery=False).unwrapped.P  # type: ignore[attr-defined]
    weights = {0: (1 - right) / 2, 1: right / 2, 2: right / 2, 3: (1 - right) / 2}
    chance, reward, end = np.zeros((16, 16)), np.zeros((16, 16)), np.zeros((16, 16), bool)
    for state, actions in table_of.items():
        for action, outcomes in actions.items():
            for p, following, gain, ends in outcomes:
                chance[state, following] += p * weights[action]
                reward[state, following], end[state, following] = gain, ends
    return chance, reward, end


def values(chance: Any, reward: Any, end: Any) -> Any:
    """Return the true values: the solution of Bellman's equations."""
    return np.linalg.solve(np.eye(16) - GAMMA * chance * ~end, (chance * reward).sum(axis=1))


def track(rate: Any, seed: int) -> Any:
    """Return the error of the values over the true ones (root mean square, relative) at each update."""
    rng, value = np.random.default_rng(seed), np.zeros(16)
    opt, errors, state = flr.SGD(value, lr=rate), np.empty(UPDATES), np.zeros(WALKERS, int)
    worlds = [lake(0.6), lake(0.9)]  # the policy changes half-way, so the values do
    truths = [values(*world) for world in worlds]
    living = [s for s in range(16) if s not in (5, 7, 11, 12, 15)]  # neither a hole nor the goal
    for n in range(UPDATES):
        half = 2 * n // UPDATES
        chance, reward, end = worlds[half]
        following = (rng.random((WALKERS, 1)) > chance[state].cumsum(axis=1)[:, :-1]).sum(axis=1)
        ends = end[state, following]
        target = reward[state, following] + GAMMA * ~ends * value[following]
        gradient = np.zeros(16)
        np.add.at(gradient, state, (value[state] - target) / WALKERS)
        opt.step(gradient)
        state = np.where(ends, rng.choice(living, WALKERS), following)  # a new episode starts anywhere
        errors[n] = np.sqrt(np.mean((value - truths[half])[living] ** 2) / np.mean(truths[half][living] ** 2))
    return errors


def tracking(results: dict[str, Any]) -> str:
    """Return the table: errors before the change and at the end, and the updates until a tenth of the jump is left."""
    rows, half = [], UPDATES // 2
    for name, errors in results.items():
        before, end = errors[:, half - 200 : half].mean(axis=1), errors[:, -200:].mean(axis=1)
        below = [np.flatnonzero(e[half:] < 0.1) for e in errors]
        after = np.median([x[0] if len(x) else UPDATES for x in below])
        rows.append([name, middle(100 * before), middle(100 * end), f"{after:.0f}" if after < UPDATES else "not yet"])
    head = ["rate", "error before the change (%)", "error at the end (%)", "updates from the change to 10 %"]
    return table(head, rows)


# --- CartPole: a policy gradient --------------------------------------------------------------------------------------

EPISODES, STEPS, RUNS, LAST = 8, 60, range(5), 20
POLES: dict[str, tuple[float, bool]] = {  # rate, and whether it falls linearly to 0
    "0.001": (1e-3, False),
    "0.01": (1e-2, False),
    "0.1": (1e-1, False),
    "0.1, linear to 0": (1e-1, True),
    "1": (1.0, False),
}


def balance(lr: float, falls: bool, seed: int) -> Any:
    """Train with AdamW; return the mean return of the episodes of each update."""
    rng = np.random.default_rng(seed)
    network = EXAMPLE["network"]
    params = flr.Flat({"policy": network(2, rng), "value": network(1, rng)})
    grads = params.like()
    opt = flr.AdamW(params, lr=S.Linear(lr, 0.0, STEPS) if falls else lr)
    envs = gym.make_vec("CartPole-v1", num_envs=EPISODES, vectorization_mode="vector_entry_point")
    envs.reset(seed=seed)
    returns = np.empty(STEPS)
    for step in range(STEPS):
        states, actions, alive, *end = EXAMPLE["play"](params, envs, rng)
        EXAMPLE["gradients"](params, grads, states, actions, alive, *end)
        opt.step(grads)
        returns[step] = alive.sum(axis=0).mean()
    return returns


def cartpole(results: dict[str, Any]) -> str:
    """Return the table: how soon the pole is balanced, and how well it stays so."""
    rows = []
    for name, returns in results.items():
        soon = np.median([np.flatnonzero(r >= 475)[0] + 1 if (r >= 475).any() else STEPS + 1 for r in returns])
        rows.append(
            [
                name, f"{soon:.0f}" if soon <= STEPS else "never",
                number(float(np.median(returns[:, -LAST:].mean(axis=1))), ".0f"),
                ", ".join(f"{x:.0f}" for x in sorted(returns[:, -LAST:].min(axis=1))),
            ]
        )  # fmt: skip
    head = [
        "rate", "updates to a return of 475", f"mean return, last {LAST} updates",
        f"lowest of the last {LAST}, each seed",
    ]  # fmt: skip
    return table(head, rows)


def draw(lakes: dict[str, Any], poles: dict[str, Any]) -> Figure:
    """Draw the errors of the values, and the returns of the policies."""
    picture, ((left, right),) = figure(12, 4.8, 1, 2)
    for name, (_, color) in TRACKING.items():
        low, median, high = np.quantile(100 * lakes[name], (0, 0.5, 1), axis=0)
        left.plot(median, color=color, label=name, linewidth=1)
        left.fill_between(range(UPDATES), low, high, color=color, alpha=0.15, linewidth=0)
    left.axvline(UPDATES // 2, color=GREY, linestyle=":")
    left.set(yscale="log", xlabel="updates", ylabel="error of the values (%)", xlim=(0, UPDATES))
    left.set_title("FrozenLake, TD(0): the policy changes half-way", fontsize=11)
    plain(left.yaxis, "{:g}".format)
    left.legend(frameon=False, fontsize=9, loc="lower left")
    for color, (name, (_, falls)) in zip(COLORS, POLES.items(), strict=False):
        right.plot(np.median(poles[name], axis=0), "--" if falls else "-", color=color, label=name)
    right.set(xlabel="updates", ylabel=f"mean return of {EPISODES} episodes", xlim=(0, STEPS - 1), ylim=(0, 510))
    right.set_title(f"CartPole, policy gradient, median of {len(RUNS)} seeds", fontsize=11)
    right.legend(frameon=False, fontsize=9, loc="lower right", bbox_to_anchor=(1, 0.13))
    return picture


def make() -> tuple[dict[str, str], dict[str, Figure]]:
    """Return the tables and the picture."""
    lakes = {name: np.array([track(rate(), seed) for seed in SEEDS]) for name, (rate, _) in TRACKING.items()}
    poles = {name: np.array([balance(*spec, seed) for seed in RUNS]) for name, spec in POLES.items()}
    return {"tracking": tracking(lakes), "cartpole": cartpole(poles)}, {"reinforcement": draw(lakes, poles)}
