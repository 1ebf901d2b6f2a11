"""Import the state of an optimizer of optax."""

from collections.abc import Mapping
from typing import Any

from pyfastlr.arrays.host import Array
from pyfastlr.engines.hyper import boolean
from pyfastlr.engines.hyper import number as in_range
from pyfastlr.optimizers import Optimizer
from pyfastlr.optimizers.fields import StartNumber
from pyfastlr_kernels.rules import RULES

from . import optax_names as names
from .moment import Moment, check_formula, steps_of, write
from .reading import array, count, number


def from_optax(
    state: Any, opt: Optimizer, *, steps: int | None = None, hyperparameters: bool = True, cast: bool = False
) -> None:
    """Continue a run of optax: load the state of its optimizer. After an error, nothing is changed.

    The parameters are not part of it: copy them too. The next update is then the one that optax would make.

    Parameters
    ----------
    state
        From sgd, rmsprop, adagrad, adam, adamw, amsgrad, nadam, adamax, radam, adadelta, lion, adabelief, yogi or
        rprop, alone or inside ``chain``, ``masked``, ``multi_transform``, ``inject_hyperparams``, ``apply_if_finite``
        or ``MultiSteps`` (between two updates). Arrays may be of jax or numpy. The trees of arrays must have the names
        of the arrays of `opt`. The average of the parameters and a partly accumulated gradient start anew; the loss
        scale and controllers stay.
    opt : Optimizer
        Of the same class, in optax's convention or one with the same formula. A state does not say whether it is of
        adam, nadam, radam, adamax or yogi: that is up to you.
    steps : int, optional
        Updates done, where the schedules of `opt` continue; 0 restarts them. The default is the count of a schedule in
        the state, or else of the optimizer. If there is none, it is 1, and an optimizer with schedules needs `steps`.
    hyperparameters : bool, default True
        Whether the base group of `opt` takes over the numbers of ``inject_hyperparams``, if the state has them. Where
        `opt` has a schedule, or optax has one, the value of `opt` stays.
    cast : bool, default False
        Convert state of another dtype, such as bfloat16.

    Raises
    ------
    TypeError, ValueError
        If the state is of another class or formula; if arrays are missing, doubled or unknown; if shapes or dtypes
        differ; if there is a state that `opt` has no place for; if a count or hyperparameter is invalid.
    RuntimeError
        If the average is swapped in (`swap_ema`).

    Examples
    --------
    >>> import numpy as np, pyfastlr as flr
    >>> state = {"count": 7, "mu": {"w": np.full(2, 0.5)}, "nu": {"w": np.ones(2)}}  # from optax: a NamedTuple
    >>> opt = flr.Adam({"w": np.zeros(2)}, 0.1, convention="optax")
    >>> flr.from_optax((state, ()), opt)
    >>> opt.steps, opt.state["exp_avg"]["w"]
    (7, array([0.5, 0.5]))
    """
    check_formula(opt, "optax")
    hyperparameters, cast = boolean(hyperparameters, "hyperparameters"), boolean(cast, "cast")
    reader = _Reader(opt, hyperparameters, cast)
    names.walk(state, "state", reader.read)
    write(opt, reader.moment(steps), {0: reader.numbers}, "from_optax()")


class _Reader:
    """What has been found in a state so far."""

    def __init__(self, opt: Optimizer, hyperparameters: bool, cast: bool) -> None:
        self.opt, self.hyperparameters, self.cast = opt, hyperparameters, cast
        self.numbers: dict[str, float] = {}
        n = len(opt._parameters.names)
        self.values: dict[str, dict[int, Array]] = {x: {} for x in RULES[opt.rule].state_names}
        self.coverage = names.Coverage(opt)
        self.counts: list[int | None] = [None] * n
        self.scheduled: list[int] = []

    def read(self, fields: Mapping[str, Any], type_name: str, label: str) -> Mapping[str, Any]:
        """Read one NamedTuple."""
        keys = set(fields)
        if keys == names.SCHEDULE:
            self.scheduled.append(count(fields["count"], f"{label}.count"))
        elif keys >= names.INJECTED:
            self.scheduled.append(count(fields["count"], f"{label}.count"))
            if self.hyperparameters:
                self._read_numbers(names.injected(fields, label), f"{label}.hyperparams")
        elif keys == names.ACCUMULATING:
            if count(fields["mini_step"], f"{label}.mini_step"):
                raise ValueError(
                    f"`{label}.mini_step` must be 0, got {fields['mini_step']}: a part of the gradient has been "
                    f"accumulated, so take the state after the update"
                )
        else:
            self._read_part(names.part_for(self.opt, fields, type_name, label), fields, label)
        return {}

    def _read_part(self, part: names.Part, fields: Mapping[str, Any], label: str) -> None:
        done = count(fields["count"], f"{label}.count") if part.counts else None
        for field, (slot, sign) in part.slots.items():

            def take(k: int, x: Any, where: str, slot: str = slot, sign: float = sign) -> Any:
                params = self.opt._parameters
                self.coverage.add(slot, k, where)
                found = array(x, where, params.dtype, params.shapes[k], self.cast)
                self.values[slot][k] = found if sign == 1.0 else -found
                if done is not None:
                    self.counts[k] = done
                return x

            names.fill(self.opt, fields[field], f"{label}.{field}", take)

    def _read_numbers(self, injected: Mapping[str, Any], label: str) -> None:
        """Take over hyperparameters."""
        hyper = self.opt._hyper
        for name, given in injected.items():
            if name == "learning_rate" and isinstance(self.opt.fields["lr"], StartNumber):
                continue  # it is in the state
            where = f"{label}[{name!r}]"
            value, field = number(given, where), names.ARGUMENTS.get(name)
            if field in hyper.ranges and field in hyper.current.own[0]:
                self.numbers[field] = in_range(value, field, hyper.ranges[field], group=label)
            elif name not in names.FIXED and (field is None or value != 0.0):
                raise ValueError(
                    f"`{where}` must be a hyperparameter of `opt`, a {type(self.opt).__name__} ({self.opt.rule}), got "
                    f"{value!r}; hyperparameters=False leaves all as they are"
                )
            elif names.FIXED.get(name, value) not in (value, None):
                raise ValueError(f"`{where}` must be {names.FIXED[name]}, which `opt` has built in, got {value!r}")

    def moment(self, steps: Any) -> Moment:
        """All that was found, if it is complete."""
        self.coverage.check("state")
        counts = [x for x in self.counts if x is not None]
        if steps is None and self.scheduled:
            steps = max(self.scheduled)
        done = steps_of(self.opt, steps, counts or None, "optax")
        values = {slot: [arrays[k] for k in sorted(arrays)] for slot, arrays in self.values.items()}
        return Moment(done, counts or [done] * len(self.counts), values)
