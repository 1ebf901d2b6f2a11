"""An optimizer as JAX code has one: pure functions of gradients, state and parameters."""

from importlib.util import find_spec
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from pyfastlr.engines.host import PARALLEL_ABOVE
from pyfastlr.engines.hyper import inverse_scale
from pyfastlr.schedules import Schedule
from pyfastlr_kernels import tables
from pyfastlr_kernels.cpu import pool
from pyfastlr_kernels.xla.layout import Plan

from . import calls
from .settings import Settings
from .trees import HALVES, Leaves, check_like, check_on_cpu, leaves_of

MASTER = "master"  # the state of parameters of 16 bits that has them in float32


class State(NamedTuple):
    """State of an optimizer: a tree with arrays only.

    Attributes
    ----------
    count : int32[]
        Updates done.
    carry : uint32[k, 2] or None
        The k float64 numbers that some rules carry from update to update, as their bits: a program without float64
        keeps them exactly too. ``np.asarray(carry).view(np.float64)`` shows them.
    moments : dict
        A tree like the parameters for each state, by its name in pyfastlr: "exp_avg", "exp_avg_sq", ... For parameters
        in bfloat16 or float16, they are float32, and "master" has the parameters in float32.
    """

    count: Any
    carry: Any
    moments: dict[str, Any]


class _Pair(NamedTuple):
    """What optax calls a GradientTransformationExtraArgs, for when optax is not installed."""

    init: Any
    update: Any


def _base() -> Any:
    if find_spec("optax") is None:
        return _Pair
    import optax

    return optax.GradientTransformationExtraArgs


class Transformation(_base()):  # type: ignore[misc]
    """An optimizer: `init`, `update` and `apply`. With optax installed, it is a GradientTransformationExtraArgs.

    - ``init(params) -> state``
    - ``update(grads, state, params=None, *, inv_scale=1.0, **extra) -> (updates, state)``, as in optax: the parameters
      become ``params + updates`` (`optax.apply_updates`). `params` is needed for weight decay, and by FTRL and ASGD.
    - ``apply(grads, state, params, *, inv_scale=1.0, **extra) -> (params, state)``: the same update in one pass. If the
      caller donates state and parameters to `jax.jit`, they are updated in place.

    `inv_scale` multiplies the gradients: 1/1024 if the loss was multiplied by 1024. Other extra arguments are ignored.
    """

    __slots__ = ()

    @property
    def apply(self) -> Any:
        """The fused form: new parameters instead of updates."""
        return self.update.__self__.apply

    def __repr__(self) -> str:
        return repr(self.update.__self__)


def transformation(settings: Settings) -> Transformation:
    """Return the optimizer with these settings."""
    step = Step(settings)
    return Transformation(step.init, step.update)


class Step:
    """The functions of an optimizer."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def __repr__(self) -> str:
        x = self.settings
        return f"<pyfastlr.interop.jax {x.cls.__name__} ({x.rule_name}, {x.convention})>"

    def init(self, params: Any) -> State:
        """Return the state before the first update."""
        leaves, rule = leaves_of(params, "params", halves=True), self.settings.rule
        dtype = jnp.float32 if _is_half(leaves) else None
        carry = None
        if rule.carry:
            carry = jnp.asarray(np.array(rule.carry, np.float64).view(np.uint32).reshape(-1, 2))
        moments = {
            name: leaves.like([jnp.full_like(x, self.settings.initial[name], dtype=dtype) for x in leaves.arrays])
            for name in rule.state_names
        }
        if dtype is not None:
            moments[MASTER] = leaves.like([x.astype(dtype) for x in leaves.arrays])
        return State(jnp.zeros((), jnp.int32), carry, moments)

    def update(self, grads: Any, state: State, params: Any = None, *, inv_scale: Any = 1.0, **extra: Any) -> Any:
        """Return what to add to the parameters, and the new state."""
        if params is None and self.settings.needs_parameters:
            why = "weight decay" if self.settings.decays else self.settings.cls.__name__
            raise ValueError(f"`params` must be given to `update`, because {why} needs the parameters, got None")
        found = leaves_of(grads, "grads", halves=True)
        parameters = None if params is None else leaves_of(params, "params", halves=True)
        return self._run("change", found, parameters, state, inv_scale)

    def apply(self, grads: Any, state: State, params: Any, *, inv_scale: Any = 1.0, **extra: Any) -> Any:
        """Return the new parameters and the new state."""
        if params is None:
            raise ValueError("`params` must be a tree of arrays, got None")
        found, parameters = (leaves_of(x, name, halves=True) for x, name in ((grads, "grads"), (params, "params")))
        return self._run("update", found, parameters, state, inv_scale)

    # --- One update ---------------------------------------------------------------------------------------------------

    def _run(self, kind: str, grads: Leaves, params: Leaves | None, state: State, inv_scale: Any) -> Any:
        first = grads if params is None else params
        if _is_half(first):
            return self._run_half(kind, grads, params, state, inv_scale)
        moments = self._checked(grads, params, state)
        if not first.arrays:
            return first.tree, state._replace(count=_next(state.count))
        used = params if kind == "update" or self.settings.needs_parameters else None
        ordered = [grads, used] if kind == "change" else [used, grads]
        blocks = [x.arrays for x in (*(x for x in ordered if x is not None), *moments)]
        numbers, operands, cells = self._numbers(first.dtype, state.count, inv_scale)
        rows = self._rows(first if params is None else params)
        plan = Plan(rows, 2, len(operands), cells, self._threads(first, len(blocks)), used is not None)
        call = calls.Call(self.settings.rule_name, self.settings.convention, first.dtype, kind, plan, True)
        call = call._replace(direct=calls.is_direct(call.target()))
        count, carry, results = calls.launch(call, state.count, state.carry, numbers, operands, blocks)
        names = self.settings.rule.state_names
        new = {name: x.like(y) for name, x, y in zip(names, moments, results[1:], strict=True)}
        return first.like(results[0]), State(count, carry, new)

    def _run_half(self, kind: str, grads: Leaves, params: Leaves | None, state: State, inv_scale: Any) -> Any:
        """Update the float32 parameters in the state, and round them to the user's."""
        if params is None:
            raise ValueError(f"`params` must be given to `update` with gradients of {grads.dtype}, got None")
        check_like(grads, params)
        if not hasattr(state, "moments") or MASTER not in state.moments:
            raise ValueError(
                f"`state` must be the state that `init` returns for parameters of {params.dtype}, with {MASTER!r} in "
                f"its moments, got {_short(state)}"
            )
        masters = leaves_of(state.moments[MASTER], f"state.moments[{MASTER!r}]")
        wide = [x._replace(arrays=[y.astype(jnp.float32) for y in x.arrays]) for x in (grads, params)]
        check_like(masters, wide[1])
        current = [  # a number that was written into the parameters replaces its master
            jnp.where(_bits(m.astype(p.dtype)) == _bits(p), m, q)
            for m, p, q in zip(masters.arrays, params.arrays, wide[1].arrays, strict=True)
        ]
        inner = state._replace(moments={name: x for name, x in state.moments.items() if name != MASTER})
        new, inner = self._run("update", wide[0], wide[1]._replace(arrays=current), inner, inv_scale)
        rounded = [x.astype(params.dtype) for x in jax.tree_util.tree_leaves(new)]
        if kind == "change":  # in float32: bfloat16 plus bfloat16 would be rounded twice
            rounded = [x.astype(jnp.float32) - p for x, p in zip(rounded, wide[1].arrays, strict=True)]
        return params.like(rounded), inner._replace(moments={**inner.moments, MASTER: new})

    def _checked(self, grads: Leaves, params: Leaves | None, state: State) -> list[Leaves]:
        """Check that gradients, parameters and state fit each other; return the leaves of the states."""
        names, carries = self.settings.rule.state_names, len(self.settings.rule.carry)
        if not hasattr(state, "moments") or tuple(sorted(state.moments)) != tuple(sorted(names)):
            raise ValueError(
                f"`state` must be the state that `init` of this optimizer returns, with {', '.join(names) or 'no'} "
                f"moments, got {_short(state)}"
            )
        if not _is_array(state.carry, jnp.uint32, (carries, 2)) if carries else state.carry is not None:
            raise ValueError(
                f"`state.carry` must have {carries} numbers, each as two uint32, got {_short(state.carry)}"
                if carries
                else f"`state.carry` must be None, got {_short(state.carry)}"
            )
        if not _is_array(state.count, jnp.int32, ()):
            raise ValueError(f"`state.count` must be an int32 scalar, got {_short(state.count)}")
        if params is not None:
            check_like(grads, params)
        moments = [leaves_of(state.moments[name], f"state.moments[{name!r}]") for name in names]
        for x in moments:
            check_like(x, grads)
        check_on_cpu(grads, *moments, *([] if params is None else [params]))
        return moments

    def _numbers(self, dtype: str, count: Any, inv_scale: Any) -> tuple[np.ndarray, tuple[Any, ...], Any]:
        """Return all numbers of a step, the operands, and the places in the numbers that the operands fill.

        There are two rows: the second is of the parameters that do not decay.
        """
        fields = {**self.settings.fields, **tables.constants(dtype)}
        operands: list[Any] = []
        cells: list[tuple[int, int]] = []
        numbers = np.zeros((2, len(fields)))
        for place, (name, value) in enumerate(fields.items()):
            own_rows = (0,) if name == "weight_decay" else (0, 1)
            if isinstance(value, float):
                numbers[list(own_rows), place] = value
            else:
                cells += [(len(operands), row * len(fields) + place) for row in own_rows]
                operands.append(_operand(value, name, count))
        factor = self.settings.sign
        if isinstance(inv_scale, jax.Array):
            cells.append((len(operands), numbers.size))
            operands.append(factor * _scalar(inv_scale, "inv_scale"))
        else:
            factor *= inverse_scale(inv_scale)
        pairs = np.array([*numbers.ravel(), factor]).view(np.uint32).reshape(-1, 2)
        return pairs, tuple(operands), tuple(cells)

    def _rows(self, params: Leaves) -> tuple[int, ...]:
        """Return the row of each tensor: 1 for those that `mask` leaves without decay."""
        mask = self.settings.mask
        if mask is None:
            return (0,) * len(params.arrays)
        flags, structure = jax.tree_util.tree_flatten(mask(params.tree) if callable(mask) else mask)
        if structure != params.structure:
            raise ValueError(f"`mask` must have the structure of `params`, {params.structure}, got {structure}")
        for flag in flags:
            if not isinstance(flag, bool | np.bool_):
                raise TypeError(f"`mask` must have True or False for each array, got {_short(flag)}")
        return tuple(0 if flag else 1 for flag in flags)

    def _threads(self, leaves: Leaves, n_blocks: int) -> int:
        """Return how many threads a step may use, and start them."""
        moved = (n_blocks + len(self.settings.rule.slots)) * sum(x.nbytes for x in leaves.arrays)
        threads = (self.settings.threads or pool.default_threads()) if moved >= PARALLEL_ABOVE else 1
        if threads > 1 and not pool.shared().ensure(threads):
            return 1
        return threads


def _bits(x: Any) -> Any:
    """Bits of numbers of 16 bits. XLA may leave out a rounding whose result is only compared or widened again."""
    return jax.lax.bitcast_convert_type(x, jnp.uint16)


def _is_half(x: Leaves) -> bool:
    return bool(x.arrays) and x.dtype in HALVES


def _is_array(x: Any, dtype: Any, shape: tuple[int, ...]) -> bool:
    """Return whether an array, of numpy, jax or a trace, has that dtype and shape: compiled code relies on both."""
    return bool(getattr(x, "dtype", None) == dtype) and bool(x.shape == shape)


def _next(count: Any) -> Any:
    """Return the next count; the largest one stays."""
    return jnp.where(count < np.iinfo(np.int32).max, count + 1, count)


def _operand(value: Any, name: str, count: Any) -> Any:
    """Return a number that only the program has: an array's, one of our schedules', or a callable's at the count."""
    if isinstance(value, Schedule):
        return calls.schedule_bits(value, count)
    return _scalar(value(count) if callable(value) else value, name)


def _scalar(value: Any, name: str) -> Any:
    try:
        array = jnp.asarray(value)
    except (TypeError, ValueError):
        raise TypeError(f"`{name}` must be a number at every count, got {_short(value)}") from None
    if array.shape != () or not jnp.issubdtype(array.dtype, np.number) or jnp.iscomplexobj(array):
        raise TypeError(f"`{name}` must be a number at every count, got an array of {array.dtype}{list(array.shape)}")
    return array if str(array.dtype) in ("float32", "float64") else array.astype(jnp.float32)


def _short(x: Any) -> str:
    text = repr(x)
    return text if len(text) < 80 else f"{text[:77]}..."
