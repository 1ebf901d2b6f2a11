"""The range test: train a little while the rate grows, and see from the losses which rate to take."""

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
    r"""Sweep the rate from `start` to `stop` while training, and suggest one from the losses; everything is restored.

    With i from 0 to ``steps - 1``, each step takes a batch, records its loss and updates with the rate

    .. math:: r_i = start \cdot (stop / start)^{i / (steps - 1)} \quad\text{or, linear,}\quad
              r_i = start + (stop - start) \cdot i / (steps - 1)

    The first loss is that of the untouched parameters. The sweep ends early at a loss that is not finite, or where the
    smoothed loss has diverged.

    Parameters
    ----------
    loss_and_grad : callable
        ``loss_and_grad(params, batch) -> (loss, gradient)``: a float, and a gradient like the parameters. numpy's
        floating-point warnings are off while it runs: a sweep is meant to overflow.
    params : array, Flat, dict or list
        What the optimizer updates, float32 or float64, in host memory.
    make_optimizer : callable
        ``make_optimizer(params) -> Optimizer`` over the memory of `params`, called once. It may return one that is in
        use: its state, counts and hyperparameters are restored too. The sweep sets its `lr`, a schedule included;
        groups that have their own keep the ratio that they have to the base group's now. `lr_scale` stays.
    batches : sequence, iterable, iterator or None
        Begin again when they end. None: `loss_and_grad` gets None each time. Of an iterator or a generator what is
        drawn is used up, so give a list or another object that can be iterated again where that matters.
    start, stop : float > 0
        The first rate and the last, which is larger.
    steps : int >= 2
        Losses of a sweep.
    mode : {"exponential", "linear"}
        How the rate grows.
    repeats : int >= 1
        Sweeps, each from the same parameters and state; batches and random numbers go on from one to the next, and in a
        sequence each sweep begins at another batch. A suggestion is then the median of the sweeps'.
    beta : float in 0..1, not 1
        Weight of the past in the smoothed loss (`Smoothing`); 0 is no smoothing.
    divergence : float > 1
        The sweep ends where the smoothed loss is above `divergence` times the best one. Where the best is zero or less:
        above it by ``divergence - 1`` times the larger of the sizes of the best and the first.

    Returns
    -------
    RangeTest
        Rates, losses, suggestions by five rules, and why; `print` it, or `plot` it.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range; if `loss_and_grad` does not return a number and a gradient
        like the parameters, or changes their container; if the optimizer is over other arrays, or its rate cannot be
        set.
    Exception
        What the functions and the batches raise, with a note of the step.

    Notes
    -----
    Restored, whatever ends the test, Ctrl-C included: the parameters and the container that they are in; the optimizer;
    the state of numpy's and Python's global random numbers, of torch's if it is imported, and of the generators that
    the two functions and the batches hold in attributes, items, closures, local and global variables. Two tests in a
    row give the same result.

    A suggestion is never NaN: where a rule has nothing to go by it is None. fastai's sweep ends one step before `stop`,
    because its exponent is ``i / steps``.

    A sweep sees single steps from one place. The rate that is best for a whole training may be several times larger or
    smaller, above all with a schedule: see docs/finding.md.

    References
    ----------
    Leslie N. Smith, "Cyclical Learning Rates for Training Neural Networks", 2017, section 3.3. The rules: fastai 2.8,
    ``Learner.lr_find``; torch-lr-finder 0.2, ``LRFinder.plot``. PyTorch, Keras and optax have no range test. fastai's
    takes a Learner, torch-lr-finder's a module, and restores when ``reset()`` is called.

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
        borrowed.set_rate(start)  # first of all: not every rate can be set
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
    """Return the optimizer, if it is one over the arrays of the problem."""
    if not isinstance(optimizer, Optimizer):
        raise TypeError(
            f"`make_optimizer` must return an optimizer of pyfastlr, such as flr.Adam(params, lr=1e-3), got "
            f"{type(optimizer).__name__}"
        )
    if optimizer._parameters.addresses != problem.parameters.addresses:
        raise ValueError("`make_optimizer` must return an optimizer over `params`, got one over other arrays")
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
    """Losses of one sweep."""
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
            if k + 1 < len(rates):  # nobody would see what the last does
                borrowed.set_rate(float(lr))
                borrowed.optimizer.step(gradient)
        except Exception as error:
            error.add_note(f"at rate {lr:.3g}, loss {k + 1} of {len(rates)} of a range test; everything was restored")
            raise
    return Sweep(rates[: len(losses)].copy(), np.array(losses), np.array(smoothed), ended, len(rates))
