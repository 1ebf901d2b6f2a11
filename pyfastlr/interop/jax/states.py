"""States moved between the functions here and pyfastlr's classes."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pyfastlr.interop.moment import Moment, moment_of, write
from pyfastlr.optimizers import Optimizer
from pyfastlr_kernels.rules import RULES

from .transformation import State


def state_of(opt: Optimizer, params: Any) -> State:
    """Return the state of an optimizer of pyfastlr as the state of the same optimizer here: a run goes on in JAX.

    Parameters
    ----------
    opt : Optimizer
        All arrays must have the same count. Hyperparameters, averages and controllers are not part of the state.
    params : tree of arrays
        The parameters in JAX. Its arrays have the names, shapes and dtypes of those of `opt`.

    Returns
    -------
    State

    Raises
    ------
    TypeError, ValueError
        If the arrays differ, or their counts.

    Examples
    --------
    A state of optax goes on here by way of a class:

    >>> import numpy as np, optax, jax.numpy as jnp
    >>> import pyfastlr as flr, pyfastlr.interop.jax as fj
    >>> params = {"w": jnp.ones(3)}
    >>> theirs = optax.adam(0.1)
    >>> _, theirs_state = theirs.update(params, theirs.init(params))
    >>> opt = flr.Adam({"w": np.ones(3, np.float32)}, 0.1, convention="optax")
    >>> flr.from_optax(theirs_state, opt)
    >>> state = fj.state_of(opt, params)
    >>> print(state.count, state.moments["exp_avg"]["w"])
    1 [0.1 0.1 0.1]
    """
    if not isinstance(opt, Optimizer):
        raise TypeError(f"`opt` must be an optimizer of pyfastlr, got {type(opt).__name__}")
    moment, rule = moment_of(opt), RULES[opt.rule]
    shapes = dict(zip(opt._parameters.names, opt._parameters.shapes, strict=True))
    leaves, structure = _named(params)
    for name, x in leaves.items():
        if shapes.get(name) != x.shape or x.dtype != opt._parameters.dtype:
            need = f"{opt._parameters.dtype}{list(shapes[name])}" if name in shapes else f"one of {list(shapes)[:5]}"
            raise ValueError(f"`params` must have the arrays of `opt`: {name!r} must be {need}, got {x.dtype}{x.shape}")
    if missing := sorted(shapes.keys() - leaves.keys()):
        raise ValueError(f"`params` must have the arrays of `opt`, {missing[:5]} are missing")
    carries = [moment.carry[0]] if moment.carry else list(rule.carry)
    if len(set(moment.counts)) > 1 or len(set(moment.carry or [0.0])) > 1:
        raise ValueError(f"`opt` must have one count for all arrays, got {sorted(set(moment.counts))}")
    order = {name: k for k, name in enumerate(shapes)}
    moments = {
        slot: jax.tree_util.tree_unflatten(structure, [jnp.array(arrays[order[name]]) for name in leaves])
        for slot, arrays in moment.state.items()
    }
    carry = jnp.asarray(np.array(carries, np.float64).view(np.uint32).reshape(-1, 2)) if rule.carry else None
    return State(jnp.asarray(moment.counts[0] if moment.counts else 0, jnp.int32), carry, moments)


def load_state(opt: Optimizer, state: State) -> None:
    """Continue a run of JAX: load a state from here into an optimizer of pyfastlr. After an error, nothing is changed.

    The parameters are not part of it: copy them too.

    Parameters
    ----------
    opt : Optimizer
        Of the same class and convention, with arrays of the same names, shapes and dtypes. Its schedules continue at
        the count; an average of the parameters starts anew.
    state : State

    Raises
    ------
    TypeError, ValueError
        If the state is not of this optimizer, or its arrays differ.

    Examples
    --------
    >>> import numpy as np, jax.numpy as jnp
    >>> import pyfastlr as flr, pyfastlr.interop.jax as fj
    >>> optimizer, params = fj.adam(0.1), {"w": jnp.ones(3)}
    >>> params, state = optimizer.apply(params, optimizer.init(params), params)
    >>> opt = flr.Adam({"w": np.array(params["w"])}, 0.1, convention="optax")
    >>> fj.load_state(opt, state)
    >>> opt.steps
    1
    """
    if not isinstance(opt, Optimizer):
        raise TypeError(f"`opt` must be an optimizer of pyfastlr, got {type(opt).__name__}")
    rule, names = RULES[opt.rule], opt._parameters.names
    if not isinstance(state, State) or sorted(state.moments) != sorted(rule.state_names):
        need = ", ".join(rule.state_names) or "no moments"
        raise ValueError(
            f"`state` must be the State of {type(opt).__name__} ({opt.rule}), with {need}, got {state!r:.80}"
        )
    if (0 if state.carry is None else len(state.carry)) != len(rule.carry):
        raise ValueError(f"`state.carry` must have {len(rule.carry)} numbers, got {state.carry!r:.80}")
    moments = {}
    for slot in rule.state_names:
        leaves, _ = _named(state.moments[slot])
        if leaves.keys() != set(names):
            raise ValueError(f"`state.moments[{slot!r}]` must have the arrays {names[:5]}, got {list(leaves)[:5]}")
        moments[slot] = [np.asarray(leaves[name]) for name in names]
    count = int(state.count)
    carry = None
    if state.carry is not None:
        carry = [float(np.ascontiguousarray(state.carry).view(np.float64)[0, 0])] * len(names)
    write(opt, Moment(count, [count] * len(names), moments, carry), {}, "load_state()")


def _named(tree: Any) -> tuple[dict[str, Any], Any]:
    """Return the arrays of a tree by the names that pyfastlr gives them, in the tree's order, and its structure."""
    leaves, structure = jax.tree_util.tree_flatten_with_path(tree)
    return {".".join(map(_part, path)): jnp.asarray(x) for path, x in leaves}, structure


def _part(key: Any) -> str:
    for field in ("key", "idx", "name"):
        if hasattr(key, field):
            return str(getattr(key, field))
    return str(key)
