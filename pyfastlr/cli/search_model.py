"""What `pyfastlr search` trains: the demo's network, with a part of the training images to compare rates on."""

import math
from collections.abc import Callable
from itertools import islice
from typing import Any

import numpy as np

import pyfastlr as flr
from pyfastlr import demo
from pyfastlr.schedules import Schedule

HELD_OUT = 300  # of the 1,347 training images; never a test image


def schedule(values: dict[str, Any], steps: int) -> Schedule:
    """Return the schedule of a trial."""
    return demo.SCHEDULES[values["schedule"]](values["lr"], steps)


def make_objective(steps: int, seed: int) -> Callable[..., float]:
    """Return the objective: the cross-entropy in nats of the images that are held out, after a training."""

    def objective(values: dict[str, Any], report: Callable[[float], None]) -> float:
        (x, y), _ = demo.digits(seed)
        order = np.random.default_rng(seed).permutation(len(y))
        kept, held = order[HELD_OUT:], order[:HELD_OUT]
        params = train(values, (x[kept], y[kept]), steps, seed, report)
        return demo.evaluate(params, (x[held], y[held]))[0]

    return objective


def train(
    values: dict[str, Any],
    images: demo.Images,
    steps: int,
    seed: int,
    report: Callable[[float], None] = lambda loss: None,
) -> flr.Flat:
    """Return the weights after a training.

    Raises
    ------
    FloatingPointError
        If the loss is not finite.
    """
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # comes with scikit-learn

    rng = np.random.default_rng(seed)
    params = flr.Flat(demo.initial(128, rng))
    grads = params.like()
    options = {name: values[name] for name in ("weight_decay",) if name in values}
    optimizer = getattr(flr, values["optimizer"])(params, lr=schedule(values, steps), **options)
    every, losses = max(1, steps // 10), []
    with threadpool_limits(1, user_api="blas"), np.errstate(all="ignore"):
        for x, y in islice(demo.mini_batches(images, 64, rng), steps):
            losses.append(demo.loss_and_gradient(params, grads, x, y))
            if not math.isfinite(losses[-1]):
                raise FloatingPointError(f"the loss is {losses[-1]} at update {len(losses)}")
            optimizer.step(grads)
            if len(losses) % every == 0:
                report(float(np.mean(losses[-every:])))
    return params


def test_accuracy(values: dict[str, Any], steps: int, seed: int) -> float:
    """Return the accuracy on the test images after a training on all training images."""
    images, test = demo.digits(seed)
    return demo.evaluate(train(values, images, steps, seed), test)[1]
