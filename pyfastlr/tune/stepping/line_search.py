"""`tune.line_search`: what its arguments mean."""

from collections.abc import Callable
from typing import Any

from pyfastlr.arrays.host import describe
from pyfastlr.optimizers.base import Optimizer
from pyfastlr.schedules import checks
from pyfastlr.tune.problem import LossAndGrad, Problem

from .search import LineSearch, Rule

Loss = Callable[[Any, Any], Any]

_condition = checks.choice("armijo", "strong_wolfe")
_reset = checks.choice("initial", "keep", "grow")
_growth = checks.number("a finite number >= 1", 1.0)
_high = checks.optional(checks.positive)


def line_search(
    loss_and_grad: LossAndGrad,
    params: Any,
    optimizer: Optimizer | None = None,
    *,
    condition: str = "armijo",
    lr: float = 1.0,
    reset: str = "initial",
    growth: float = 2.0,
    high: float | None = None,
    c1: float = 1e-4,
    c2: float = 0.9,
    factor: float = 0.5,
    trials: int = 25,
    fallback: float = 0.0,
    loss: Loss | None = None,
) -> LineSearch:
    r"""Make a rule that searches the rate of each step along its direction.

    ``search.step(batch)`` evaluates loss f and gradient g, and moves the parameters by :math:`\eta d`. The direction d
    is -g, or the whole step of `optimizer`, or one that you pass. "armijo" tries :math:`\eta, \eta \cdot factor,
    \eta \cdot factor^2, \dots` until

    .. math::
        f(p + \eta d) \le f(p) + c_1 \, \eta \, g \cdot d

    "strong_wolfe" may also go beyond the first trial, and needs :math:`|g(p + \eta d) \cdot d| \le c_2 |g \cdot d|` in
    addition.

    Parameters
    ----------
    loss_and_grad : callable
        ``loss_and_grad(params, batch) -> (loss, gradient)``.
    params : array, Flat, dict or list
        Arrays in host memory, float32 or float64, updated in place.
    optimizer : Optimizer, optional
        An optimizer of the same `params`. Its step, with its own rate, is the direction, so that its state advances
        once per step. It must have no `ema_decay` and no `copy_to`: they would see the step before the search.
    condition : {"armijo", "strong_wolfe"}
    lr : float > 0
        First trial of the first step. With an optimizer it is a factor of its step, and 1 is its own rate.
    reset : {"initial", "keep", "grow"}
        First trial of the next steps: `lr` again; the last rate, so that "armijo" never raises it; or the last rate
        times `growth`.
    growth : float >= 1
        For ``reset="grow"``. Vaswani et al. use 2**(batch size / number of examples).
    high : float > 0 or None
        Upper bound of the first trials.
    c1 : float in (0, 1)
        Part of the fall along the slope that a step must have. For mini-batches, Vaswani et al. use 0.1.
    c2 : float in (c1, 1)
        For "strong_wolfe": the part of the slope that may be left.
    factor : float in (0, 1)
        For "armijo": factor from one trial to the next. For mini-batches, Vaswani et al. use 0.9.
    trials : int >= 1
        Most trials of a step.
    fallback : float >= 0
        Rate of a step for which no trial fulfils the condition, or whose direction does not point downhill. 0 leaves
        the parameters where they are. "strong_wolfe" takes the trial with the lowest loss, if that is below the first.
    loss : callable, optional
        ``loss(params, batch) -> loss``, for the trials of "armijo", which need no gradient.

    Returns
    -------
    LineSearch
        Call its `step`.

    Raises
    ------
    TypeError, ValueError
        If an argument is invalid, or if the optimizer has other parameters.

    Examples
    --------
    >>> import numpy as np, pyfastlr as flr
    >>> from pyfastlr import tune
    >>> h, p = np.array([1.0, 10.0, 100.0]), np.ones(3)
    >>> search = tune.line_search(lambda p, batch: (0.5 * h @ (p * p), h * p), p)
    >>> search.step()
    LineStep(lr=0.015625, loss=55.5, new_loss=19.8..., evaluations=8, accepted=True)
    >>> p = np.ones(3)
    >>> opt = flr.SGD(p, lr=1.0, momentum=0.9)  # 50 times too high
    >>> search = tune.line_search(lambda p, batch: (0.5 * h @ (p * p), h * p), p, opt, reset="grow")
    >>> for _ in range(200):
    ...     step = search.step()
    >>> step.new_loss < 1e-3
    True

    Notes
    -----
    A line search pays if the gradient costs more than a few losses, and for losses without noise. On mini-batches it
    searches the loss of the batch: that works if the model can fit every batch, and otherwise the rate does not fall as
    a schedule's would.

    With an optimizer, each step copies its state, to restore it after an exception. Where its step does not point
    downhill, as momentum may, its state advances all the same.

    In one step, all evaluations draw the same random numbers (dropout): the states of numpy's and Python's global
    generators, of torch's, and of those that the functions hold, are set back before each trial.

    Sources: L. Armijo, 1966; J. Nocedal and S. Wright, Numerical Optimization, 2006, section 3.1; S. Vaswani, A.
    Mishkin, I. Laradji, M. Schmidt, G. Gidel and S. Lacoste-Julien, Painless Stochastic Gradient: Interpolation,
    Line-Search, and Convergence Rates, 2019, algorithms 1 and 2, whose options 0, 1 and 2 are "keep", "initial" and
    "grow". optax has `scale_by_backtracking_linesearch` and `scale_by_zoom_linesearch`; torch has a search in LBFGS
    only; Keras has none.
    """
    problem = Problem(loss_and_grad, params)
    if loss is not None and not callable(loss):
        raise TypeError(f"`loss` must be a function (params, batch) -> loss or None, got {type(loss).__name__}")
    condition = _condition(condition, "condition")
    if loss is not None and condition == "strong_wolfe":
        raise ValueError('`loss` must be left out with condition="strong_wolfe", which needs gradients')
    if optimizer is not None:
        _check(optimizer, problem)
    c1, c2 = checks.fraction(c1, "c1"), checks.fraction(c2, "c2")
    if condition == "strong_wolfe" and c2 <= c1:
        raise ValueError(f"`c2` must be above `c1` ({c1}), got {c2}")
    rule = Rule(
        condition, checks.positive(lr, "lr"), _reset(reset, "reset"), _growth(growth, "growth"), _high(high, "high"),
        c1, c2, checks.fraction(factor, "factor"), checks.positive_integer(trials, "trials"),
        checks.nonnegative(fallback, "fallback"),
    )  # fmt: skip
    return LineSearch(problem, optimizer, rule, loss)


def _check(optimizer: Any, problem: Problem) -> None:
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"`optimizer` must be an optimizer of pyfastlr or None, got {describe(optimizer)}")
    if not problem.is_of(optimizer):
        raise ValueError("`optimizer` must have the parameters `params`, got one with others")
    extras = optimizer._extras
    for name, has in (("ema_decay", extras.has_average), ("copy_to", extras.options.copies is not None)):
        if has or (name == "ema_decay" and optimizer.ema_decay is not None):
            raise ValueError(f"`optimizer` must have no `{name}`: it would see the step before the search")
