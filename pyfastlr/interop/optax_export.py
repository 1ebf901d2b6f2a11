"""Export the state of an optimizer to optax."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import numpy as np

from pyfastlr.arrays.host import describe, shaped
from pyfastlr.engines.hyper import boolean
from pyfastlr.optimizers import Optimizer
from pyfastlr.optimizers.fields import StartNumber

from . import optax_names as names
from .moment import check_formula, moment_of
from .reading import converted, count, number


def to_optax(opt: Optimizer, like: Any, *, hyperparameters: bool = True, cast: bool = False) -> Any:
    """Export the state for the ``update`` of the same optimizer in optax.

    The parameters are not part of it. optax's next update is then the one that `opt` would make.

    Parameters
    ----------
    opt : Optimizer
        In optax's convention, or one with the same formula.
    like
        An example of the state: ``optimizer.init(params)``. It may be as `from_optax` accepts it. It is not changed.
    hyperparameters : bool, default True
        Whether the numbers of ``inject_hyperparams`` are those of the base group of `opt` for the next update, except
        those that follow a schedule in optax.
    cast : bool, default False
        Convert to another dtype of an array in `like`.

    Returns
    -------
    state
        With the structure and types of `like`. Its arrays are of jax, or of numpy where those of `like` are. All counts
        of schedules are ``opt.steps``.

    Raises
    ------
    TypeError, ValueError
        If optax lacks the optimizer or has another formula; if `like` is of another class, or has other arrays; if
        arrays have different counts that optax would keep in one.

    Examples
    --------
    >>> import numpy as np, pyfastlr as flr
    >>> opt = flr.Adam({"w": np.zeros(2)}, 0.1, convention="optax")
    >>> opt.step({"w": np.ones(2)})
    >>> like = {"count": np.int32(0), "mu": {"w": np.zeros(2)}, "nu": {"w": np.zeros(2)}}  # in optax: a NamedTuple
    >>> flr.to_optax(opt, (like, ()))
    ({'count': array(1, dtype=int32), 'mu': {'w': array([0.1, 0.1])}, 'nu': {'w': array([0.001, 0.001])}}, ())
    """
    check_formula(opt, "optax")
    hyperparameters, cast = boolean(hyperparameters, "hyperparameters"), boolean(cast, "cast")
    writer = _Writer(opt, hyperparameters, cast)
    state = names.walk(like, "like", writer.write)
    writer.coverage.check("like")
    return state


class _Writer:
    """Values for the fields of a state."""

    def __init__(self, opt: Optimizer, hyperparameters: bool, cast: bool) -> None:
        self.opt, self.hyperparameters, self.cast = opt, hyperparameters, cast
        self.moment, self.coverage = moment_of(opt), names.Coverage(opt)

    def write(self, fields: Mapping[str, Any], type_name: str, label: str) -> Mapping[str, Any]:
        """New values for the fields of one NamedTuple."""
        keys, steps = set(fields), self.moment.steps
        if keys == names.SCHEDULE:
            return {"count": _scalar(steps, fields["count"], f"{label}.count")}
        if keys >= names.INJECTED:
            new = {"count": _scalar(steps, fields["count"], f"{label}.count")}
            return {**new, "hyperparams": self._numbers(fields, label)} if self.hyperparameters else new
        if keys == names.ACCUMULATING:
            if count(fields["mini_step"], f"{label}.mini_step"):
                raise ValueError(f"`{label}.mini_step` must be 0, got {fields['mini_step']}: pass a new state")
            return {"gradient_step": _scalar(steps, fields["gradient_step"], f"{label}.gradient_step")}
        return self._part(names.part_for(self.opt, fields, type_name, label), fields, label)

    def _part(self, part: names.Part, fields: Mapping[str, Any], label: str) -> dict[str, Any]:
        counts: dict[int, str] = {}
        new = {}
        for field, (slot, sign) in part.slots.items():

            def make(k: int, x: Any, where: str, slot: str = slot, sign: float = sign) -> Any:
                self.coverage.add(slot, k, where)
                counts.setdefault(self.moment.counts[k], self.opt._parameters.names[k])
                return _array(sign * self.moment.state[slot][k], x, where, self.cast)

            new[field] = names.fill(self.opt, fields[field], f"{label}.{field}", make)
        if part.counts:
            if len(counts) > 1:
                raise ValueError(
                    f"`opt` must have the same count for all arrays of `{label}`, because optax has one for all, got "
                    f"{ {name: n for n, name in counts.items()} }"
                )
            new["count"] = _scalar(next(iter(counts), 0), fields["count"], f"{label}.count")
        return new

    def _numbers(self, fields: Mapping[str, Any], label: str) -> dict[str, Any]:
        """All hyperparameters, with ours for those that optax does not schedule."""
        hyper, new = self.opt._hyper, {}
        for name, x in names.injected(fields, label).items():
            field = names.ARGUMENTS.get(name)
            is_start = field == "lr" and isinstance(self.opt.fields["lr"], StartNumber)
            if field in hyper.current.own[0] and not is_start:
                new[name] = _scalar(hyper.evaluated(0, field, self.moment.steps), x, f"{label}.hyperparams[{name!r}]")
        return {**fields["hyperparams"], **new}


def _array(x: Any, like: Any, label: str, cast: bool) -> Any:
    """Array of the kind and dtype of another."""
    if not hasattr(like, "dtype") or not hasattr(like, "shape"):
        raise TypeError(f"`{label}` must be an array, got {describe(like)}")
    got = f"{like.dtype}[{', '.join(map(str, like.shape))}]"
    if tuple(like.shape) != x.shape:
        raise ValueError(f"`{label}` must be {shaped(x.dtype, x.shape)}, got {got}")
    if like.dtype != x.dtype:
        if not cast:
            raise ValueError(f"`{label}` must be {shaped(x.dtype, x.shape)}, got {got}: cast=True converts to it")
        x = converted(x, label, like.dtype)
    return x if isinstance(like, np.ndarray) else _jax_numpy().asarray(x)


def _scalar(value: float, like: Any, label: str) -> Any:
    """Number of the kind and dtype of another. A count that is too large becomes the largest, as in optax."""
    number(like, label)
    dtype = np.dtype(getattr(like, "dtype", type(like)))
    if dtype.kind in "iu":
        value = min(value, np.iinfo(dtype).max)
    x = np.array(value, dtype).reshape(getattr(like, "shape", ()))
    return x if isinstance(like, np.ndarray | np.generic | int | float) else _jax_numpy().asarray(x)


def _jax_numpy() -> Any:
    return import_module("jax.numpy")
