"""scikit-learn's multilayer perceptrons with pyfastlr's optimizers. docs/sklearn.md shows how to use them.

Examples
--------
>>> import pyfastlr as flr
>>> from sklearn.datasets import load_iris
>>> from pyfastlr import schedules as S
>>> from pyfastlr.interop.sklearn import MLPClassifier
>>> x, y = load_iris(return_X_y=True)
>>> rate = S.Cosine(0.02, steps=400).warmup(20)  # in updates: here one per epoch
>>> model = MLPClassifier((16,), optimizer=flr.AdamW, optimizer_args={"lr": rate}, max_iter=500, random_state=0)
>>> model.fit(x, y).score(x, y) > 0.95
True
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from sklearn import neural_network

from pyfastlr.optimizers import SGD, Adam, Optimizer

from .sklearn_updates import Recipe, Updates

__all__ = ["MLPClassifier", "MLPRegressor"]

#: What scikit-learn's optimizers take. An optimizer of ours has its own arguments.
_OF_SOLVERS = ("learning_rate_init", "momentum", "nesterovs_momentum", "beta_1", "beta_2", "epsilon")
_ADDED = {"optimizer": None, "optimizer_args": None}


class _NotBuilt(Exception):
    """The optimizer could not be built. Users get the reason."""

    def __init__(self, reason: Exception) -> None:
        super().__init__(reason)
        self.reason = reason


class _OwnOptimizer:
    """The attribute `_optimizer`, to which scikit-learn assigns a new optimizer of its own for each training.

    The estimator gets an `Updates` instead. This is the only hook: no function and no class of scikit-learn is
    replaced, so other estimators and other threads are not affected.
    """

    def __get__(self, model: Any, cls: Any = None) -> Any:
        if model is None:
            return self
        try:
            return vars(model)["_optimizer"]
        except KeyError:
            raise AttributeError(f"this {type(model).__name__} is not fitted yet") from None

    def __set__(self, model: Any, theirs: Any) -> None:
        del theirs
        try:
            updates = Updates(_recipe(model), [*model.coefs_, *model.intercepts_], model.loss_curve_)
        except Exception as error:
            raise _NotBuilt(error) from error
        vars(model)["_optimizer"] = updates


class _WithOptimizer:
    """What both estimators add to scikit-learn's."""

    _optimizer = _OwnOptimizer()
    optimizer: Callable[..., Optimizer] | None
    optimizer_args: Mapping[str, Any] | None

    def _fit(self, *args: Any, **kwargs: Any) -> Any:
        """Train. If the optimizer cannot be built, the estimator stays as it was."""
        before = vars(self).copy()
        try:
            _check(self)
            fitted = super()._fit(*args, **kwargs)  # type: ignore[misc]
        except _NotBuilt as error:
            vars(self).clear()
            vars(self).update(before)
            raise error.reason from None
        if self.solver != "lbfgs" and "_optimizer" not in vars(self):  # type: ignore[attr-defined]
            raise RuntimeError("this version of scikit-learn does not assign its optimizer to `_optimizer`")
        return fitted

    @property
    def optimizer_(self) -> Optimizer:
        """The optimizer of the last training, with its state and statistics. It updates the weights in place.

        Raises
        ------
        AttributeError
            Before the first training, and with ``solver="lbfgs"``.
        """
        updates: Updates = self._optimizer
        return updates.over([*self.coefs_, *self.intercepts_])  # type: ignore[attr-defined]


def _check(model: Any) -> None:
    """Check what scikit-learn does not check: the arguments besides each other."""
    if model.optimizer is None:
        if model.optimizer_args:
            raise ValueError(f"`optimizer_args` needs an `optimizer`, got {sorted(model.optimizer_args)} without one")
        return
    if model.solver == "lbfgs":
        raise ValueError("`optimizer` must be None with `solver='lbfgs'`, which is not stochastic")
    defaults = inspect.signature(type(model)).parameters
    changed = [name for name in _OF_SOLVERS if getattr(model, name) != defaults[name].default]
    if changed:
        raise ValueError(
            f"`{changed[0]}` must be left out with an `optimizer`, got {getattr(model, changed[0])!r}: give the "
            f"optimizer's own arguments in `optimizer_args`"
        )
    if "params" in (model.optimizer_args or {}):
        raise ValueError("`optimizer_args` must not have 'params': they are the estimator's weights")


def _recipe(model: Any) -> Recipe:
    """Return the recipe of the optimizer: the user's, or that of the solver in scikit-learn's own formula."""
    if model.optimizer is not None:
        return Recipe(model.optimizer, dict(model.optimizer_args or {}), model.learning_rate, model.power_t)
    # Keras' formulas are scikit-learn's: eps is not bias-corrected, the rate is inside the momentum buffer.
    own = {"lr": float(model.learning_rate_init), "convention": "keras"}
    if model.solver == "adam":
        own |= {"betas": (model.beta_1, model.beta_2), "eps": model.epsilon}
        return Recipe(Adam, own, "constant", 0.0)
    own |= {"momentum": model.momentum, "nesterov": bool(model.nesterovs_momentum)}
    return Recipe(SGD, own, model.learning_rate, model.power_t)


def _signature(parent: type) -> inspect.Signature:
    """Signature of the installed scikit-learn's estimator with our two arguments."""
    theirs = inspect.signature(parent.__init__)  # type: ignore[misc]
    added = [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=x) for name, x in _ADDED.items()]
    return theirs.replace(parameters=[*theirs.parameters.values(), *added])


def _constraints(parent: Any) -> dict[str, list[Any]]:
    return {**parent._parameter_constraints, "optimizer": [callable, None], "optimizer_args": [dict, None]}


def _initialized(parent: Any) -> Callable[..., None]:
    """Constructor with the parent's arguments and ours. Its signature is what scikit-learn reads the names from."""

    def __init__(self: Any, *args: Any, optimizer: Any = None, optimizer_args: Any = None, **kwargs: Any) -> None:
        parent.__init__(self, *args, **kwargs)
        self.optimizer, self.optimizer_args = optimizer, optimizer_args

    __init__.__signature__ = _signature(parent)  # type: ignore[attr-defined]
    return __init__


class MLPClassifier(_WithOptimizer, neural_network.MLPClassifier):  # type: ignore[misc]
    """`sklearn.neural_network.MLPClassifier` with any optimizer and schedule of pyfastlr.

    Parameters
    ----------
    *args, **kwargs
        The arguments of scikit-learn's class, with its defaults. Without `optimizer`, ``solver="adam"`` and "sgd" are
        run by pyfastlr in scikit-learn's formulas; "lbfgs" is scikit-learn's own.
    optimizer : class or callable, optional
        A class such as `pyfastlr.AdamW`, or a function that returns an optimizer:
        ``optimizer(params, **optimizer_args)``. `params` is ``{"coefs": [...], "intercepts": [...]}``, so a group
        can select "intercepts.*". It is called at the start of each training. A class or a function of a module can be
        pickled, a lambda cannot. `learning_rate_init`, `momentum`, `nesterovs_momentum`, `beta_1`, `beta_2` and
        `epsilon` must then be left out.
    optimizer_args : dict, optional
        Its arguments. Schedules count updates, not epochs: ``schedule.every(k)`` for k updates per epoch. Each training
        starts with a copy of a controller. After each epoch, controllers observe its training loss.
    learning_rate : {"constant", "invscaling", "adaptive"}
        scikit-learn's argument. With an `optimizer`, it works for all of them: "invscaling" divides the rates of all
        groups, numbers or schedules, by ``(samples + 1)**power_t`` after each epoch, and "adaptive" by 5 where
        scikit-learn would stop.

    Attributes
    ----------
    optimizer_ : Optimizer
        The optimizer of the last training.

    Raises
    ------
    TypeError, ValueError
        From `fit` and `partial_fit`: if an argument of the optimizer is wrong, or two arguments exclude each other. The
        estimator stays as it was.

    Examples
    --------
    >>> import pyfastlr as flr
    >>> from sklearn.datasets import load_iris
    >>> from pyfastlr.interop.sklearn import MLPClassifier
    >>> x, y = load_iris(return_X_y=True)
    >>> lion = MLPClassifier(optimizer=flr.Lion, optimizer_args={"lr": 3e-3}, max_iter=40, tol=0, random_state=0)
    >>> for _ in range(40):
    ...     lion = lion.partial_fit(x, y, classes=[0, 1, 2])
    >>> lion.score(x, y) > 0.95, lion.optimizer_.steps
    (True, 40)

    Notes
    -----
    Different from scikit-learn: the Adam and SGD of the solvers update in one compiled call, so the last bits differ
    (tested to 1e-12 in `loss_curve_`). The attribute `_optimizer` has no `ms`, `vs` and `velocities`:
    `optimizer_.state` has the state.
    """

    _parameter_constraints = _constraints(neural_network.MLPClassifier)
    __init__ = _initialized(neural_network.MLPClassifier)


class MLPRegressor(_WithOptimizer, neural_network.MLPRegressor):  # type: ignore[misc]
    """`sklearn.neural_network.MLPRegressor` with any optimizer and schedule of pyfastlr.

    Parameters, attributes and errors are those of `MLPClassifier`, with the arguments of scikit-learn's regressor.

    Examples
    --------
    >>> import numpy as np, pyfastlr as flr
    >>> from pyfastlr import schedules as S
    >>> from pyfastlr.interop.sklearn import MLPRegressor
    >>> x = np.linspace(-3, 3, 200)[:, None]
    >>> model = MLPRegressor(
    ...     hidden_layer_sizes=(32,), activation="tanh", max_iter=1000, random_state=0,
    ...     optimizer=flr.NAdam, optimizer_args={"lr": S.OneCycle(0.03, steps=600), "clip_norm": 1.0},
    ... )
    >>> model.fit(x, np.sin(x[:, 0])).score(x, np.sin(x[:, 0])) > 0.99
    True
    """

    _parameter_constraints = _constraints(neural_network.MLPRegressor)
    __init__ = _initialized(neural_network.MLPRegressor)
