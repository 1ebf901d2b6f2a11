"""The demo: a two-layer network in plain numpy learns scikit-learn's digits with an optimizer of this library.

`pyfastlr demo` runs it. After every update, the same optimizer in plain numpy (`pyfastlr.numpy_reference`) applies the
same gradients to its own copy of the weights, so that times and results can be compared.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

import pyfastlr as flr
from pyfastlr import schedules as S
from pyfastlr.numpy_reference import PLAIN
from pyfastlr.optimizers import registry

Floats = npt.NDArray[np.float32]
Labels = npt.NDArray[np.intp]
Images = tuple[Floats, Labels]

#: Choices of `--optimizer`: every optimizer of the library that suits training a network with mini-batches.
OPTIMIZERS = sorted((cls.__name__ for cls in registry if not isinstance(cls.demo_lr, str)), key=str.lower)
#: The other ones, each with the reason.
UNSUITABLE = {cls.__name__: cls.demo_lr for cls in registry if isinstance(cls.demo_lr, str)}

#: Choices of `--schedule`, as functions of the peak rate and the number of updates. Warm-ups take a twentieth of these.
SCHEDULES: dict[str, Callable[[float, int], S.Schedule]] = {
    "constant": lambda lr, n: S.Constant(lr),
    "cosine": lambda lr, n: S.Cosine(lr, n - n // 20).warmup(n // 20),
    "cyclic": lambda lr, n: S.Cyclic(lr / 10, lr, up=max(1, n // 8)),
    "exponential": lambda lr, n: S.Exponential(lr, 0.01, steps=n),
    "inverse-sqrt": lambda lr, n: S.InverseSqrt(lr, warmup=max(1, n // 20)),
    "inverse-time": lambda lr, n: S.InverseTime(lr, 10 / n),
    "linear": lambda lr, n: S.Linear(lr, 0.0, n - n // 20).warmup(n // 20),
    "one-cycle": lambda lr, n: S.OneCycle(lr, n),
    "polynomial": lambda lr, n: S.Polynomial(lr, n, power=2.0),
    "restarts": lambda lr, n: S.CosineRestarts(lr, max(1, n // 3)),
    "step": lambda lr, n: S.StepDecay(lr, 0.5, max(1, n // 5)),
    "wsd": lambda lr, n: S.WSD(lr, warmup=n // 20, stable=n - n // 20 - (n + 4) // 5, decay=(n + 4) // 5),
}


def digits(seed: int = 0) -> tuple[Images, Images]:
    """Return 1,347 training and 450 test images of 8 x 8 pixels in 0..1, float32[n, 64], with their labels 0..9.

    Both parts have the same proportion of each digit. `seed` determines the split.

    Examples
    --------
    >>> (x, y), (x_test, y_test) = digits()
    >>> x.shape, y.shape, x_test.shape
    ((1347, 64), (1347,), (450, 64))
    """
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    pixels, labels = load_digits(return_X_y=True)
    x = (pixels / 16).astype(np.float32)
    x_train, x_test, y_train, y_test = train_test_split(x, labels, test_size=450, stratify=labels, random_state=seed)
    return (x_train, y_train), (x_test, y_test)


def initial(hidden: int, rng: np.random.Generator) -> dict[str, Floats]:
    """Return a 64-`hidden`-10 network: normal weights with variance 2 / inputs (He et al., 2015), zero biases."""

    def normal(inputs: int, outputs: int) -> Floats:
        return rng.standard_normal((inputs, outputs), np.float32) * np.float32(math.sqrt(2 / inputs))

    return {
        "w1": normal(64, hidden),
        "b1": np.zeros(hidden, np.float32),
        "w2": normal(hidden, 10),
        "b2": np.zeros(10, np.float32),
    }


def logits(params: flr.Flat, x: Floats) -> tuple[Floats, Floats]:
    """Return the hidden layer, float32[n, hidden], and the log-probabilities up to a constant, float32[n, 10]."""
    hidden = np.maximum(x @ params["w1"] + params["b1"], 0)
    return hidden, hidden @ params["w2"] + params["b2"]


def log_softmax(z: Floats) -> Floats:
    """Return the log-probabilities of each row of `z`, shifted by its maximum so that no exponential overflows."""
    z = z - z.max(axis=1, keepdims=True)
    total: Floats = np.exp(z).sum(axis=1, keepdims=True)
    return z - np.log(total)


def loss_and_gradient(params: flr.Flat, grads: flr.Flat, x: Floats, y: Labels) -> float:
    """Return the mean cross-entropy of a batch in nats and write its gradient into `grads`."""
    rows = np.arange(len(y))
    hidden, z = logits(params, x)
    log_q = log_softmax(z)
    dz = np.exp(log_q)
    dz[rows, y] -= 1
    dz /= len(y)
    dhidden = (dz @ params["w2"].T) * (hidden > 0)
    np.matmul(hidden.T, dz, out=grads["w2"])
    np.sum(dz, axis=0, out=grads["b2"])
    np.matmul(x.T, dhidden, out=grads["w1"])
    np.sum(dhidden, axis=0, out=grads["b1"])
    return float(-log_q[rows, y].mean())


@np.errstate(all="ignore")  # infinite weights also have an accuracy
def evaluate(params: flr.Flat, images: Images) -> tuple[float, float]:
    """Return the mean cross-entropy in nats and the accuracy, a fraction, over `images`."""
    x, y = images
    z = logits(params, x)[1]
    return float(-log_softmax(z)[np.arange(len(y)), y].mean()), float((z.argmax(axis=1) == y).mean())


def mini_batches(images: Images, size: int, rng: np.random.Generator) -> Iterator[Images]:
    """Yield batches of `size` for ever. Every epoch is shuffled again and drops its incomplete last batch."""
    x, y = images
    while True:
        order = rng.permutation(len(y))
        for start in range(0, len(y) - size + 1, size):
            batch = order[start : start + size]
            yield x[batch], y[batch]


def problem(
    seed: int = 0, hidden: int = 128, batch: int = 64
) -> tuple[Callable[[flr.Flat, Images], tuple[float, flr.Flat]], flr.Flat, Iterator[Images]]:
    """Return the input of the tools in `pyfastlr.tune`: loss_and_grad, new weights, and an endless iterator of batches.

    Examples
    --------
    >>> loss_and_grad, params, batches = problem()
    >>> loss, gradient = loss_and_grad(params, next(batches))
    >>> 2 < loss < 3, gradient["w1"].shape
    (True, (64, 128))
    """
    rng = np.random.default_rng(seed)
    params = flr.Flat(initial(hidden, rng))
    grads = params.like()

    def loss_and_grad(params: flr.Flat, images: Images) -> tuple[float, flr.Flat]:
        return loss_and_gradient(params, grads, *images), grads

    return loss_and_grad, params, mini_batches(digits(seed)[0], batch, rng)


class Point(NamedTuple):
    """Progress after `step` updates: mean loss since the last point, last rate, test accuracy."""

    step: int
    loss: float
    lr: float
    accuracy: float


class Training:
    """One run of the demo. Iterate over it once: this trains, and yields about a hundred `Point` objects.

    Parameters
    ----------
    optimizer : str
        Name of an optimizer class, in upper or lower case. It uses the class's defaults, except for the rate.
    schedule : str
        A key of `SCHEDULES`.
    steps, hidden, batch : int >= 1
        Number of updates, of hidden units, and of images in a mini-batch (at most 1,347).
    lr : float, optional
        Peak rate. The default is from `pyfastlr.numpy_reference.PLAIN` or the class (`demo_lr`).
    seed : int
        Seed of the split, the initial weights and the mini-batches.
    threads : int, optional
        Threads of the optimizer.

    Raises
    ------
    ValueError
        If a name is unknown or a number is out of range.
    FloatingPointError
        During the iteration, if the loss is no longer finite.

    Examples
    --------
    >>> training = Training("Adam", "one-cycle", steps=60)
    >>> points = list(training)
    >>> points[-1].step, points[-1].accuracy > 0.8
    (60, True)
    >>> training.largest_difference() < 1e-3
    True
    """

    def __init__(
        self,
        optimizer: str = "AdamW",
        schedule: str = "cosine",
        *,
        steps: int = 1500,
        lr: float | None = None,
        hidden: int = 128,
        batch: int = 64,
        seed: int = 0,
        threads: int | None = None,
    ) -> None:
        self.name = _choose("optimizer", optimizer, OPTIMIZERS, UNSUITABLE)
        self.schedule = _choose("schedule", schedule, SCHEDULES)
        self.images, self.test_images = digits(seed)
        most = len(self.images[1])
        for name, value, end in (("steps", steps, math.inf), ("hidden", hidden, math.inf), ("batch", batch, most)):
            if not 1 <= value <= end:
                raise ValueError(f"`{name}` must be in 1..{end}, got {value}")
        cls, plain = getattr(flr, self.name), PLAIN.get(self.name)
        if lr is None:
            lr = plain.lr if plain else cls.demo_lr
        self.rng = np.random.default_rng(seed)
        self.batch = batch
        self.params = flr.Flat(initial(hidden, self.rng))
        self.grads = self.params.like()
        self.optimizer: flr.Optimizer = cls(self.params, lr=SCHEDULES[self.schedule](lr, steps), threads=threads)
        self.plain = plain and plain.update
        self.plain_state: defaultdict[str, Any] = defaultdict(float)
        self.plain_params = self.params.like()
        self.plain_params.buffer[:] = self.params.buffer
        self.points: list[Point] = []
        self.losses = np.full(steps, np.nan)  # nats, per update
        self.rates = np.full(steps, np.nan)
        self.seconds = np.full((steps, 2), np.nan)  # in the optimizer: ours, plain numpy's

    def __iter__(self) -> Iterator[Point]:
        from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # comes with scikit-learn

        # Products this small gain nothing from BLAS's threads. On busy cores these threads wait for each other, and a
        # gradient took 8 ms instead of 0.1.
        with threadpool_limits(1, user_api="blas"):
            yield from self._points()

    def _points(self) -> Iterator[Point]:
        steps = len(self.losses)
        every = max(1, steps // 100)
        for n, (x, y) in enumerate(islice(mini_batches(self.images, self.batch, self.rng), steps)):
            self._update(n, x, y)
            if not math.isfinite(self.losses[n]):
                raise FloatingPointError(f"the loss is {self.losses[n]} at update {n + 1}: use a smaller `lr`")
            if (n + 1) % every == 0 or n + 1 == steps:
                loss = float(self.losses[max(0, n + 1 - every) : n + 1].mean())
                accuracy = evaluate(self.params, self.test_images)[1]
                self.points.append(Point(n + 1, loss, float(self.rates[n]), accuracy))
                yield self.points[-1]

    @np.errstate(all="ignore")  # a run that diverges is reported once
    def _update(self, n: int, x: Floats, y: Labels) -> None:
        self.losses[n] = loss_and_gradient(self.params, self.grads, x, y)
        lr = self.rates[n] = self.optimizer.lr
        start = perf_counter()
        self.optimizer.step(self.grads)
        middle = perf_counter()
        if self.plain:
            self.plain(self.plain_params.buffer, self.grads.buffer, self.plain_state, n + 1, lr)
        self.seconds[n] = middle - start, perf_counter() - middle

    def largest_difference(self) -> float:
        """Return the largest distance between a weight and the same weight under plain numpy's updates."""
        return float(np.abs(self.params.buffer - self.plain_params.buffer).max())


def _choose(argument: str, value: str, choices: Iterable[str], unsuitable: Mapping[str, str] | None = None) -> str:
    """Find a choice in any case. An unsuitable one is an error with its reason."""
    for choice in choices:
        if choice.lower() == value.lower():
            return choice
    reasons = {x.lower(): f": the demo does not offer {x}, because {why}" for x, why in (unsuitable or {}).items()}
    because = reasons.get(value.lower(), "")
    raise ValueError(f"`{argument}` must be one of {', '.join(choices)}, got {value!r}{because}")
