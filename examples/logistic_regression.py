"""Fit L2-penalised logistic regression to scikit-learn's optimum: python examples/logistic_regression.py [--steps N].

With labels s = +-1 the loss is mean(log(1 + exp(-s (x w + b)))) + |w|^2 / (2 n). It is scikit-learn's loss with C = 1,
divided by the number of samples n. The penalty's gradient, w / n, is coupled weight decay: the optimizer adds it.
"""

import argparse

import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression

import pyfastlr as flr

TOLERANCE = 1e-10  # of a loss of 0.066


def loss(w, b, x, s):
    """Return the penalised loss, which both libraries minimise."""
    return np.logaddexp(0, -s * (x @ w + b)).mean() + w @ w / (2 * len(s))


def main():
    """Descend, with all samples in every gradient, and compare the loss with scikit-learn's."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=1000, help="updates (default: %(default)s)")
    steps = parser.parse_args().steps

    x, y = load_breast_cancer(return_X_y=True)
    x = (x - x.mean(axis=0)) / x.std(axis=0)
    s = 2.0 * y - 1.0
    n, features = x.shape

    params = {"w": np.zeros(features), "b": np.zeros(1)}
    smoothness = np.linalg.norm(np.column_stack([x, np.ones(n)]), 2) ** 2 / (4 * n) + 1 / n  # largest curvature
    optimizer = flr.SGD(
        params,
        lr=1 / smoothness,
        momentum=0.95,
        nesterov=True,
        weight_decay=1 / n,
        groups=[{"params": "b", "weight_decay": 0.0}],  # the intercept is not penalised
    )
    for _ in range(steps):
        dz = -s / (1 + np.exp(s * (x @ params["w"] + params["b"]))) / n
        optimizer.step({"w": x.T @ dz, "b": dz.sum(keepdims=True)})
    ours = loss(params["w"], params["b"], x, s)

    model = LogisticRegression(C=1.0, tol=1e-12, max_iter=10_000).fit(x, y)
    theirs = loss(model.coef_[0], model.intercept_, x, s)
    print(f"loss: pyfastlr {ours:.12f}, scikit-learn {theirs:.12f}")
    print(f"difference: {ours - theirs:.1e} (expected: at most {TOLERANCE:.0e})")
    if abs(ours - theirs) > TOLERANCE:
        raise SystemExit("the difference is too large")


if __name__ == "__main__":
    main()
