"""The range test: train while the learning rate grows, and suggest one from the losses."""

import contextlib
from collections.abc import Callable
from typing import Any

import numpy as np

from pyfastlr.optimizers import Optimizer
from pyfastlr.optimizers.borrowed import Borrowed
from pyfastlr.schedules import checks
from pyfastlr.tune.problem import LossAndGrad, Problem
from pyfastlr.tune.restoring import Saved, SavedParameters, SavedRandom, restored

from .batches import Batches
from .curve import Divergence, Smoothing
from .randomness import generators
from .ranges import RangeTest, Sweep
from .rules import Floats


def range_test(
    loss_and_grad: LossAndGrad,
    params: Any,
    make_optimizer: Callable[[Any], Optimizer],
    batches: Any,
    start: float = 1e-7,
    stop: float = 10.0,
    steps: int = 100,
    mode: str = "exponential",
    repeats: int = 1,
    *,
    beta: float = 0.98,
    divergence: float = 4.0,
) -> RangeTest:
    r"""Train while the learning rate grows from `start` to `stop`, suggest one from the losses, and restore everything.

    For i from 0 to ``steps - 1``, a sweep takes a batch, records its loss and makes an update with the rate

    .. math:: r_i = start \cdot (stop / start)^{i / (steps - 1)} \quad\text{or, linear,}\quad
              r_i = start + (stop - start) \cdot i / (steps - 1)

    The first loss is that of the untouched parameters. The sweep ends early if a loss is not finite, or if the smoothed
    loss diverges.

    Parameters
    ----------
    loss_and_grad : callable
        ``loss_and_grad(params, batch) -> (loss, gradient)``: a float, and a gradient like the parameters. numpy's
        floating-point warnings are off while it runs, because overflow is expected at large rates.
    params : array, Flat, dict or list
        Parameters that the optimizer updates: float32 or float64, in host memory.
    make_optimizer : callable
        ``make_optimizer(params) -> Optimizer`` over the memory of `params`, called once. It may return an optimizer
        that is in use: its state, counts and hyperparameters are restored too. The sweep replaces its `lr`, even if
        that is a schedule. Groups with their own `lr` keep their current ratio to the base group's. `lr_scale` stays.
    batches : sequence, iterable, iterator or None
        They start again when they end. None: `loss_and_grad` gets None each time. The batches that the test draws from
        an iterator or a generator are lost to it. If that matters, pass a list or another reusable iterable.
    start, stop : float > 0
        The first and the last rate, with ``start < stop``.
    steps : int >= 2
        Number of losses in a sweep.
    mode : {"exponential", "linear"}
        How the rate grows.
    repeats : int >= 1
        Number of sweeps, each from the same parameters and state. Batches and random numbers continue from one sweep to
        the next; in a sequence, each sweep starts at a different batch. A suggestion is the median over the sweeps.
    beta : float in 0..1, not 1
        Decay of the exponential moving average that smooths the loss; 0 turns smoothing off.
    divergence : float > 1
        The sweep ends when the smoothed loss exceeds `divergence` times the best one, or, if the best is zero or
        negative, ``best + (divergence - 1) * max(|best|, |first|)``.

    Returns
    -------
    RangeTest
        Rates, losses, and the suggestions of five rules with their reasons. `print` it, or call its `plot`.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range; if `loss_and_grad` does not return a number and a gradient
        like the parameters, or changes their container; if the optimizer has other parameters, or its rate cannot be
        set.
    Exception
        Any exception of the functions and the batches, with a note that names the rate and the step.

    Notes
    -----
    Restored, whatever ends the test, Ctrl-C included: the parameters and the container that they are in; the optimizer;
    the state of numpy's and Python's global random numbers, of torch's if it is imported, and of the generators that
    the two functions and the batches hold in attributes, items, closures, local and global variables. Two tests in a
    row give the same result. numpy does not let anybody set back how many generators another has spawned
    (``rng.spawn``): those of the second test are others.

    A suggestion is never NaN. If a rule finds no rate, its suggestion is None. fastai's sweep ends one step before
    `stop`, because its exponent is ``i / steps``.

    A sweep makes few updates at each rate, from one starting point. The best rate for a whole training may be several
    times larger or smaller, especially with a schedule: see docs/finding.md.

    References
    ----------
    Leslie N. Smith, "Cyclical Learning Rates for Training Neural Networks", 2017, section 3.3. The rules: fastai 2.8,
    ``Learner.lr_find``; torch-lr-finder 0.2, ``LRFinder.plot``. PyTorch, Keras and optax have no range test. fastai's
    takes a Learner. torch-lr-finder's takes a module, and restores it when ``reset()`` is called.

    Examples
    --------
    >>> import numpy as np, pyfastlr as flr
    >>> from pyfastlr import tune
    >>> x = np.random.default_rng(0).standard_normal((200, 5))
    >>> y = x @ np.arange(5.0)
    >>> def loss_and_grad(w, rows):
    ...     error = x[rows] @ w - y[rows]
    ...     return np.mean(error**2), 2 * x[rows].T @ error / len(error)
    >>> w = np.zeros(5)
    >>> batches = np.split(np.arange(200), 10)
    >>> test = tune.range_test(loss_and_grad, w, lambda w: flr.SGD(w, lr=0.1), batches, start=1e-4)
    >>> print(f"{test.suggestions['valley']:.3f}", test.lrs[0], w)
    0.060 0.0001 [0. 0. 0. 0. 0.]
    """
    start, stop = checks.positive(start, "start"), checks.positive(stop, "stop")
    if not start < stop:
        raise ValueError(f"`stop` must be larger than `start`, {start}, got {stop}")
    steps, repeats = checks.integer(2)(steps, "steps"), checks.positive_integer(repeats, "repeats")
    mode = checks.choice("exponential", "linear")(mode, "mode")
    beta = checks.number("a number >= 0 and < 1", 0.0, np.nextafter(1.0, 0.0))(beta, "beta")
    divergence = checks.number("a finite number > 1", np.nextafter(1.0, 2.0))(divergence, "divergence")
    if not callable(make_optimizer):
        raise TypeError(f"`make_optimizer` must be a function params -> Optimizer, got {type(make_optimizer).__name__}")
    problem, source = Problem(loss_and_grad, params), Batches(batches)
    rates = (np.geomspace if mode == "exponential" else np.linspace)(start, stop, steps)
    parameters = SavedParameters(problem.parameters)
    saved: list[Saved] = [parameters, SavedRandom(*generators(loss_and_grad, make_optimizer, batches))]

    def work() -> RangeTest:
        optimizer = _checked(make_optimizer(params), problem)
        borrowed = Borrowed(optimizer)
        saved.append(borrowed)
        borrowed.set_rate(start)  # first, because some optimizers refuse it
        sweeps = []
        for k in range(repeats):
            if k:
                parameters.restore()
                borrowed.restore()
            source.begin(k, repeats)
            sweeps.append(_sweep(problem, borrowed, source, rates, Smoothing(beta), Divergence(divergence)))
        return RangeTest(tuple(sweeps), mode)

    return restored(saved, work)


def _checked(optimizer: Any, problem: Problem) -> Optimizer:
    """Return the optimizer if it updates the arrays of the problem."""
    if not isinstance(optimizer, Optimizer):
        raise TypeError(
            f"`make_optimizer` must return an optimizer of pyfastlr, such as flr.Adam(params, lr=1e-3), got "
            f"{type(optimizer).__name__}"
        )
    if not problem.is_of(optimizer):
        raise ValueError("`make_optimizer` must return an optimizer over `params`, got one over other arrays")
    mine, theirs = problem.parameters, optimizer._parameters
    if mine.layout is None and mine.node != theirs.node:  # gradients would not fit
        raise ValueError(
            f"`make_optimizer` must return an optimizer over `params`, got one over their arrays in another container, "
            f"with the names {theirs.names}"
        )
    return optimizer


@np.errstate(all="ignore")
def _sweep(
    problem: Problem,
    borrowed: Borrowed,
    batches: Batches,
    rates: Floats,
    smoothing: Smoothing,
    divergence: Divergence,
) -> Sweep:
    """Run one sweep."""
    losses, smoothed, ended = [], [], "steps"
    for k, lr in enumerate(rates):
        try:
            loss, gradient = problem(next(batches))
            losses.append(loss)
            smoothed.append(smoothing.add(loss))
            if not np.isfinite(smoothed[-1]):
                ended = "nonfinite"
                break
            if divergence.reached(smoothed[-1]):
                ended = "diverged"
                break
            if k + 1 < len(rates):  # the last update would have no effect on any loss
                borrowed.set_rate(float(lr))
                borrowed.optimizer.step(gradient)
        except Exception as error:
            with contextlib.suppress(Exception):  # an exception of the user's may refuse attributes
                error.add_note(
                    f"at rate {lr:.3g}, loss {k + 1} of {len(rates)} of a range test; everything was restored"
                )
            raise
    return Sweep(rates[: len(losses)].copy(), np.array(losses), np.array(smoothed), ended, len(rates))
