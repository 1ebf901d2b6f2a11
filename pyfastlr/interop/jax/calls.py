"""Calls of compiled code from a program of JAX: through XLA's foreign function interface, else through Python."""

import ctypes
import sys
import threading
import warnings
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple, NoReturn

import jax
import jax.numpy as jnp
import numpy as np

from pyfastlr_kernels.compile.first_use import whole
from pyfastlr_kernels.xla import frames, targets
from pyfastlr_kernels.xla.layout import Plan


class Call(NamedTuple):
    """What a step is compiled for."""

    rule: str
    convention: str
    dtype: str
    kind: str  # "update" or "change"
    plan: Plan
    direct: bool  # whether XLA calls the code itself

    def target(self) -> targets.Target:
        """Return the function that XLA calls."""
        return targets.step_target(self.rule, self.convention, self.dtype, self.kind)


class _Registry:
    """The targets that XLA knows."""

    def __init__(self) -> None:
        self.names: set[str] = set()
        self.problem: str | None = None  # why XLA cannot call our code
        self.lock = threading.Lock()

    def find_problem(self) -> str | None:
        """Return why XLA cannot call our code in this process, or None."""
        if not hasattr(jax, "ffi"):
            return f"jax {jax.__version__} has no jax.ffi"
        if sys.maxsize < 2**32 or sys.byteorder != "little":
            return "this machine is not a little-endian one of 64 bits"
        return self.problem

    def add(self, target: targets.Target) -> None:
        """Register a target, once."""
        with self.lock:
            if target.name not in self.names:
                function = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)(target.address)
                jax.ffi.register_ffi_target(target.name, jax.ffi.pycapsule(function), platform="cpu")
                self.names.add(target.name)


registry = _Registry()
_warned: list[str] = []


def is_direct(target: targets.Target) -> bool:
    """Register a target; return whether XLA can call it. If not, warn once that Python is called instead."""
    problem = registry.find_problem()
    if problem is None:
        try:
            registry.add(target)
        except Exception as error:  # noqa: BLE001 - whatever this jaxlib does not like, Python can do instead
            problem = registry.problem = f"jaxlib refuses the code: {error}"
    if problem is not None and not _warned:
        _warned.append(problem)
        warnings.warn(
            f"pyfastlr.interop.jax calls Python from compiled programs, which is slow: {problem}",
            RuntimeWarning,
            stacklevel=_levels_to_user(),
        )
    return problem is None


def _levels_to_user() -> int:
    """Return the stack level, counted from the caller, of the first line outside this package and JAX."""
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith(("pyfastlr.", "jax.", "optax.")):
        frame, level = frame.f_back, level + 1
    return level


def launch(call: Call, count: Any, carry: Any, numbers: Any, operands: Any, blocks: Sequence[Any]) -> Any:
    """Return the new count, the new carry, and the blocks of the result: parameters or changes, then states.

    `blocks` are the tuples of the arrays of all tensors: parameters and gradients, or gradients and perhaps parameters,
    then each state.
    """
    return _launch(call, count, carry, numbers, operands, tuple(map(tuple, blocks)))


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _call(call: Call, count: Any, carry: Any, numbers: Any, operands: Any, blocks: Any) -> Any:
    """Call the target on flat lists of arguments and results, and tell XLA which share their memory."""
    carried = () if carry is None else (carry,)
    n_states = len(blocks) - 1 - int(call.kind == "update" or call.plan.has_parameters)
    written = (blocks[0], *blocks[len(blocks) - n_states :])
    arguments = [count, *carried, numbers, *operands, *(x for block in blocks for x in block)]
    outputs = [count, *carried, *(x for block in written for x in block)]
    shapes = [jax.ShapeDtypeStruct(x.shape, x.dtype) for x in outputs]
    n, first = len(blocks[0]), 2 + len(carried) + len(operands)
    aliases = {k: k for k in range(1 + len(carried))}
    # A change has memory of its own: gradients are seldom donated, so XLA would copy them.
    for place, block in enumerate([0, *range(len(blocks) - n_states, len(blocks))]):
        if place or call.kind == "update":
            source, output = first + n * block, 1 + len(carried) + n * place
            aliases |= {source + k: output + k for k in range(n)}
    results = _invoke(call.target(), arguments, shapes, aliases, call.plan.numbers(), call.direct)
    rest = results[1 + len(carried) :]
    return results[0], results[1] if carried else None, [tuple(rest[n * j : n * (j + 1)]) for j in range(1 + n_states)]


def _refuse(call: Call, primals: Any, tangents: Any) -> NoReturn:
    raise NotImplementedError(
        f"a step of pyfastlr ({call.rule}) cannot be differentiated: where gradients must flow through an update, use "
        "optax's own optimizer there; where not, apply `jax.lax.stop_gradient` to what is given to the step"
    )


_call.defjvp(_refuse)
_launch = partial(jax.jit, static_argnums=0, inline=True)(_call)


def _invoke(
    target: targets.Target,
    arguments: Sequence[Any],
    shapes: Sequence[Any],
    aliases: dict[int, int],
    plan: np.ndarray | None,
    direct: bool,
) -> Sequence[Any]:
    """Call a target from a program: `aliases` has the result that shares the memory of an argument."""
    attributes = {} if plan is None else {"plan": plan}
    if direct:
        call = jax.ffi.ffi_call(target.name, shapes, input_output_aliases=aliases, vmap_method="sequential")
        found: Sequence[Any] = call(*arguments, **attributes)
        return found

    def host(*given: Any) -> list[np.ndarray]:
        inside = [np.array(x, order="C") for x in given]
        back = {output: source for source, output in aliases.items()}
        results = [inside[back[k]] if k in back else np.empty(x.shape, x.dtype) for k, x in enumerate(shapes)]
        frames.Frame(inside, results, plan).call(target)
        return results

    found = jax.pure_callback(host, list(shapes), *arguments, vmap_method="sequential")
    return found


# --- Schedules --------------------------------------------------------------------------------------------------------

_schedules: dict[Any, targets.Target] = {}


def schedule_target(schedule: Any) -> targets.Target:
    """Return the target of one of our schedules, which are equal if they have the same class and parameters."""

    def work() -> None:
        if schedule not in _schedules:
            _schedules[schedule] = _new_schedule_target(schedule)

    if schedule not in _schedules:
        compiled = schedule.compiled  # takes the same lock, and may raise
        assert compiled is not None
        whole(work)
    return _schedules[schedule]


def _new_schedule_target(schedule: Any) -> targets.Target:
    from .curves import curve_address, name_of

    return targets.schedule_target(name_of(schedule), curve_address(schedule))


def schedule_bits(schedule: Any, count: Any) -> Any:
    """Return a schedule's float64 at the count as two uint32, whether or not this process has float64 in JAX."""
    target = schedule_target(schedule)
    shape = jax.ShapeDtypeStruct((*count.shape, 2), jnp.uint32)
    return _invoke(target, [count], [shape], {}, None, is_direct(target))[0]


def schedule_values(schedule: Any, count: Any) -> Any:
    """Return a schedule at the counts, in JAX's default dtype of floats."""
    target = schedule_target(schedule)
    shape = jax.ShapeDtypeStruct(count.shape, jax.dtypes.canonicalize_dtype(np.float64))
    return _invoke(target, [count], [shape], {}, None, is_direct(target))[0]
