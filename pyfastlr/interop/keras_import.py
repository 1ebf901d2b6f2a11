"""Import the state of an optimizer of Keras."""

from collections.abc import Sequence
from typing import Any

from pyfastlr.arrays.host import Array
from pyfastlr.engines.hyper import boolean
from pyfastlr.engines.hyper import number as in_range
from pyfastlr.optimizers import Optimizer

from .keras_names import AVERAGE, KEPT
from .keras_variables import Sorted, sort_variables
from .moment import Moment, check_formula, write
from .reading import all_names, array, count, finite, number


def from_keras(
    variables: Any,
    opt: Optimizer,
    *,
    names: Sequence[str] | None = None,
    hyperparameters: bool = True,
    cast: bool = False,
) -> None:
    """Continue a run of Keras 3: load the variables of its optimizer. After an error, nothing is changed.

    The parameters are not part of it: copy them too. The next update is then the one that Keras would make.

    Parameters
    ----------
    variables : list or dict
        ``optimizer.variables``, the optimizer itself, or a dict of arrays. Its keys are the paths of the variables, or
        "0", "1", ..., as in ``optimizer.save_own_variables`` and Keras' files. From SGD, RMSprop, Adagrad, Adam,
        AdamW, Nadam, Adamax, Adadelta, Lion or Ftrl. Averages (``use_ema=True``) become ``opt.ema``; without them, the
        average starts anew, as a partly accumulated gradient does. The loss scale and controllers stay.
    opt : Optimizer
        Of the same class (`AMSGrad` for ``amsgrad=True``), in Keras' convention or one with the same formula. Whether
        it has Nesterov momentum is up to you: the variables do not say it.
    names : sequence of str, optional
        Names of the arrays of `opt`, in the order of the model's trainable variables. Without it, arrays are matched by
        names if the paths have those of `opt` (with "_" for "."), and otherwise by order.
    hyperparameters : bool, default True
        Whether the base group of `opt` takes over the learning rate, the only hyperparameter among the variables. If
        `opt` has a schedule, the schedule stays.
    cast : bool, default False
        Convert state of another dtype, such as bfloat16.

    Raises
    ------
    TypeError, ValueError
        If the variables are of another class or formula; if some are missing or unknown; if shapes or dtypes differ; if
        gradients are being accumulated; if the count or rate is invalid.
    RuntimeError
        If the average is swapped in (`swap_ema`).

    Examples
    --------
    >>> import numpy as np, pyfastlr as flr
    >>> variables = {
    ...     "adam/iteration": 7, "adam/learning_rate": 0.1, "adam/w_momentum": np.full(2, 0.5),
    ...     "adam/w_velocity": np.ones(2),
    ... }
    >>> opt = flr.Adam({"w": np.zeros(2)}, convention="keras")
    >>> flr.from_keras(variables, opt)
    >>> opt.steps, opt.lr, opt.state["exp_avg"]["w"]
    (7, 0.1, array([0.5, 0.5]))
    """
    check_formula(opt, "keras")
    hyperparameters, cast = boolean(hyperparameters, "hyperparameters"), boolean(cast, "cast")
    found, kept = sort_variables(variables, opt), KEPT[opt.rule]
    order = _order(found, opt, names)
    slots = {ending: entry for block in kept.blocks for ending, entry in block.items()}
    values: dict[str, list[Array]] = {}
    for ending, (slot, sign) in slots.items():
        arrays = _arrays(found, ending, opt, order, cast)
        values[slot] = arrays if sign == 1.0 else [-x for x in arrays]
    done = count(found.iteration[1], found.iteration[0])
    average = None
    if AVERAGE in found.arrays and done:
        average = done, _arrays(found, AVERAGE, opt, order, cast)
    n = len(order)
    carry = [finite(found.product[1], found.product[0])] * n if found.product else None
    numbers = {}
    if hyperparameters and found.rate:
        label, rate = found.rate
        numbers["lr"] = in_range(number(rate, label), "lr", opt._hyper.ranges["lr"], where=f" in `{label}`")
    write(opt, Moment(done, [done] * n, values, carry, average), {0: numbers}, "from_keras()")


def _arrays(found: Sorted, ending: str, opt: Optimizer, order: Sequence[int], cast: bool) -> list[Array]:
    """Arrays of one kind, in the order of the optimizer's."""
    entries, params = found.arrays.get(ending, []), opt._parameters
    if len(entries) != len(order):
        raise ValueError(
            f"`variables` must have {len(order)} with names that end in '_{ending}', one for each array of `opt`, got "
            f"{len(entries)}"
        )
    return [array(entries[i][1], entries[i][0], params.dtype, params.shapes[k], cast) for k, i in enumerate(order)]


def _order(found: Sorted, opt: Optimizer, names: Sequence[str] | None) -> list[int]:
    """Index, among the model's variables, of each array of the optimizer."""
    ours = list(opt._parameters.names)
    flat = [name.replace(".", "_") for name in ours]
    if names is not None:
        theirs = all_names(names, ours, "names")
    elif sorted(found.models) == sorted(flat) and len(set(flat)) == len(flat):
        ours, theirs = flat, found.models
    else:
        return list(range(len(ours)))
    places = {name: k for k, name in enumerate(theirs)}
    return [places[name] for name in ours]
