"""Balance CartPole's pole by policy gradient: python examples/cartpole_policy_gradient.py [--steps N] [--plot F.png].

The method is REINFORCE with a learned baseline (Williams, Simple statistical gradient-following algorithms for
connectionist reinforcement learning, 1992). Each update plays 16 whole episodes with the policy pi and ascends the mean
of

    (R - V(s)) grad log pi(a | s),    R = r + gamma R': the discounted return from the state s on.

R - V(s) is scaled to mean 0 and standard deviation 1. V, another network, descends on (R - V(s))^2. Both networks are
in one `Flat` and take one step together. V is a group with its own rate.
"""

import argparse
import sys

import numpy as np

import pyfastlr as flr
from pyfastlr import schedules as S

try:
    import gymnasium as gym
except ModuleNotFoundError:
    print('this example needs gymnasium: pip install "pyfastlr[examples]"', file=sys.stderr)
    raise SystemExit(2) from None

EPISODES, DISCOUNT, EXPECTED = 16, 0.99, 475  # 475 of at most 500 is gymnasium's threshold for CartPole-v1


def network(outputs, rng):
    """Return the weights of a network with four inputs and 32 hidden units. The last weights are nearly zero."""
    return {
        "w1": rng.normal(0, 4**-0.5, (4, 32)).astype("f4"),
        "b1": np.zeros(32, "f4"),
        "w2": rng.normal(0, 0.01, (32, outputs)).astype("f4"),
        "b2": np.zeros(outputs, "f4"),
    }


def forward(params, net, x):
    """Return the hidden layer and the outputs of the network `net` for states x, float32[n, 4]."""
    hidden = np.tanh(x @ params[f"{net}.w1"] + params[f"{net}.b1"])
    return hidden, hidden @ params[f"{net}.w2"] + params[f"{net}.b2"]


def backward(params, grads, net, x, hidden, dy):
    """Write the gradient of the network's weights into `grads`, given the gradient `dy` of its outputs."""
    da = dy @ params[f"{net}.w2"].T * (1 - hidden**2)
    for name, gradient in {"w1": x.T @ da, "b1": da.sum(axis=0), "w2": hidden.T @ dy, "b2": dy.sum(axis=0)}.items():
        grads[f"{net}.{name}"][...] = gradient


def play(params, envs, rng, seed=None, greedy=False):
    """Play one episode in every environment.

    Return the states, the actions and whether the episode was still running, per step and episode; then the final
    states, and which episodes were still running at the end. The limit of 500 steps stops those, all at the same time.
    """
    state, _ = envs.reset(seed=seed)
    on, timeout = np.ones(envs.num_envs, bool), np.False_
    steps = []
    while on.any() and not timeout.any():
        scores = forward(params, "policy", state)[1]
        noise = 0 if greedy else rng.gumbel(size=scores.shape)  # the argmax of scores + noise is a sample of pi
        action = (scores + noise).argmax(axis=1)
        steps.append((state, action, on))
        state, _, fallen, timeout, _ = envs.step(action)
        on = on & ~fallen
    return *map(np.array, zip(*steps, strict=True)), state, on


def gradients(params, grads, states, actions, alive, last, stopped):
    """Write the gradients, averaged over the steps of all episodes, into `grads`. Each step's reward is 1."""
    following = stopped * forward(params, "value", last)[1][:, 0]  # estimate of the returns cut off by the limit
    returns = np.empty(alive.shape, "f4")
    for n in reversed(range(len(alive))):
        returns[n] = following = alive[n] * (1 + DISCOUNT * following)
    x, taken, returns = states[alive], actions[alive], returns[alive]

    hidden, value = forward(params, "value", x)
    advantage = returns - value[:, 0]
    backward(params, grads, "value", x, hidden, -advantage[:, None] / len(x))

    hidden, scores = forward(params, "policy", x)
    pi = np.exp(scores - scores.max(axis=1, keepdims=True))
    pi /= pi.sum(axis=1, keepdims=True)
    advantage = (advantage - advantage.mean()) / advantage.std()
    backward(params, grads, "policy", x, hidden, advantage[:, None] * (pi - np.eye(2, dtype="f4")[taken]) / len(x))


def plot(path, returns, rates):
    """Draw the mean return of each update's episodes, and the two rates."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 6), dpi=100, layout="constrained")
    top, bottom = figure.subplots(2, sharex=True, height_ratios=(3, 2))
    top.set_title("REINFORCE with a baseline on CartPole-v1")
    top.plot(returns.min(axis=1), color="#0072b2", alpha=0.3, label="worst")
    top.plot(returns.mean(axis=1), color="#0072b2", label=f"mean of {EPISODES} episodes")
    top.axhline(EXPECTED, color="black", linestyle=":", label=f"expected at the end: {EXPECTED}")
    top.set(ylabel="return of the sampled policy", ylim=(0, 510))
    bottom.plot(rates, label=["policy", "value"])
    bottom.set(xlabel="update", ylabel="rate", xlim=(0, len(rates)), ylim=(0, None))
    for axes in (top, bottom):
        axes.legend(frameon=False)
        axes.grid(alpha=0.25)
    figure.savefig(path)


def main():
    """Train, print the return during training, and check the return of 20 new episodes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=100, help="updates, of 16 episodes each (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of weights, states, actions (default: %(default)s)")
    parser.add_argument("--plot", help="file for a picture")
    options = parser.parse_args()

    rng = np.random.default_rng(options.seed)
    params = flr.Flat({"policy": network(2, rng), "value": network(1, rng)})
    grads = params.like()
    optimizer = flr.AdamW(
        params,
        lr=S.Linear(0.02, 0.0, options.steps),
        groups=[{"params": "value.*", "lr": S.Linear(0.05, 0.0, options.steps)}],
    )
    envs = gym.make_vec("CartPole-v1", num_envs=EPISODES, vectorization_mode="vector_entry_point")
    envs.reset(seed=options.seed)
    returns, rates = [], []
    for step in range(options.steps):
        states, actions, alive, *end = play(params, envs, rng)
        gradients(params, grads, states, actions, alive, *end)
        rates.append(optimizer.lrs)
        optimizer.step(grads)
        returns.append(alive.sum(axis=0))
        if step % 10 == 0:
            print(f"update {step:4d}  rate {rates[-1][0]:.4f}  mean return {returns[-1].mean():5.1f}")

    if options.plot:
        plot(options.plot, np.array(returns), np.array(rates))
    envs = gym.make_vec("CartPole-v1", num_envs=20, vectorization_mode="vector_entry_point")
    reached = play(params, envs, rng, seed=options.seed + 1, greedy=True)[2].sum(axis=0).mean()
    print(f"mean return of 20 new episodes: {reached:.1f} (expected: at least {EXPECTED})")
    if reached < EXPECTED:
        raise SystemExit("the mean return is too low")


if __name__ == "__main__":
    main()
