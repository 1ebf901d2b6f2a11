"""The state of `LBFGS` as a dict, in files, and in copies."""

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from pyfastlr.arrays.host import Array, describe
from pyfastlr.engines.hyper import AT_LEAST_ZERO, Source, boolean, source
from pyfastlr.files.errors import Path
from pyfastlr.linesearch.vectors import max_abs
from pyfastlr.optimizers.saving.files import load as load_file
from pyfastlr.optimizers.saving.hyperparameters import kind_of, plain_of, read_one
from pyfastlr.optimizers.saving.matching import Match, numbers
from pyfastlr.optimizers.saving.plain import short
from pyfastlr.schedules.controller import copied, is_controller, load_checked, saved_state, trial

from .arguments import settings_of
from .memory import Memory, Pair

if TYPE_CHECKING:
    from .optimizer import LBFGS

VERSION = 1
_KEYS = {
    "format", "class", "dtype", "structure", "state", "counts", "carry", "hyperparameters", "controllers",
}  # fmt: skip
_DTYPES = ("float32", "float64")


def export(optimizer: "LBFGS", live: bool = False) -> dict[str, Any]:
    """Copy the state to a dict. `live`: with the vectors themselves, which are never written again."""
    parameters, memory, space = optimizer._parameters, optimizer._memory, optimizer._space

    def like_parameters(vector: Array) -> Any:
        own = vector if live else space.joined(space.views(vector))
        return parameters.like(space.views(own), own)

    vectors = {"gradient": memory.gradient, "step": memory.step}
    for k, pair in enumerate(memory.pairs):
        vectors |= {f"s{k}": pair.s, f"y{k}": pair.y}
    settings, lr = optimizer._settings._asdict(), optimizer._lr
    return {
        "format": VERSION,
        "class": "LBFGS",
        "dtype": parameters.dtype.name,
        "structure": list(zip(parameters.names, parameters.shapes, strict=True)),
        "state": {name: like_parameters(x) for name, x in vectors.items() if x is not None},
        "counts": np.array([memory.steps, memory.iterations, memory.evaluations], np.int64),
        "carry": np.array([memory.scale, *(pair.rho for pair in memory.pairs)], np.float64),
        "hyperparameters": [{"params": list(parameters.names), "lr": plain_of(lr, "lr"), **settings}],
        "controllers": [{"group": 0, "name": "lr", "state": saved_state(lr)}] if _is_controller(lr) else [],
    }


def _is_controller(lr: Any) -> bool:
    return callable(lr) and is_controller(lr)


# --- Loading ----------------------------------------------------------------------------------------------------------


def load(optimizer: "LBFGS", given: Any, hyper: bool, strict: bool, cast: bool) -> None:
    """Check a state and restore it. The caller has the optimizer's lock."""
    for name, value in (("hyperparameters", hyper), ("strict", strict), ("cast", cast)):
        boolean(value, name)
    if not isinstance(given, Mapping):
        raise TypeError(f"`state` must be a dict from state_dict(), got {describe(given)}")
    if given.get("class") != "LBFGS":
        raise ValueError(f"`state['class']` must be 'LBFGS', got {short(given.get('class'))}")
    if given.get("format") != VERSION:
        raise ValueError(f"`state['format']` must be {VERSION}, got {short(given.get('format'))}")
    if set(given) != _KEYS:
        missing, unknown = sorted(_KEYS - set(given)), sorted(map(str, set(given) - _KEYS))
        raise ValueError(f"`state` must have the keys of state_dict(), got missing {missing} and unknown {unknown}")
    memory = _memory(optimizer, given, cast)
    lr, settings = optimizer._lr, optimizer._settings
    if hyper:
        lr, settings = _hyperparameters(optimizer, given["hyperparameters"])
    controllers = _controllers(lr, given["controllers"], hyper)
    for controller, state in controllers:
        trial(controller, state)
    memory = memory._replace(pairs=memory.pairs[-settings.history :])
    before = [(controller, saved_state(controller)) for controller, _ in controllers]
    try:
        load_checked(controllers)
        optimizer._memory, optimizer._lr, optimizer._settings = memory, lr, settings
        optimizer.loss = optimizer.stopped = None
    except BaseException:  # an interrupt: none arrives between the assignments
        if optimizer._memory is not memory:
            for controller, state in before:
                controller.load_state_dict(state)
        raise


def _memory(optimizer: "LBFGS", given: Mapping[str, Any], cast: bool) -> Memory:
    parameters, dtype = optimizer._parameters, given["dtype"]
    if dtype not in _DTYPES or (dtype != parameters.dtype.name and not cast):
        need = f"{parameters.dtype.name!r}" if dtype in _DTYPES else " or ".join(map(repr, _DTYPES))
        more = ": cast=True converts it" if dtype in _DTYPES else ""
        raise ValueError(f"`state['dtype']` must be {need}, got {short(dtype)}{more}")
    match = Match(parameters, given["structure"], np.dtype(dtype), strict=False)
    if any(match.loaded):
        missing, unknown = map(list, match.loaded)
        raise ValueError(
            f"`state['structure']` must have the arrays of the optimizer, got missing names {short(missing)} and "
            f"unknown names {short(unknown)}: a pair of L-BFGS is of all arrays together, so none can be left out"
        )
    counts = numbers(given["counts"], "counts", np.dtype(np.int64), (3,))
    slots, carry = given["state"], given["carry"]
    n = max(0, len(carry) - 1) if isinstance(carry, np.ndarray) and carry.ndim == 1 else 0
    carry = numbers(carry, "carry", np.dtype(np.float64), (n + 1,))
    if not 0 <= counts.min() <= counts.max() <= 2**62 or not (np.isfinite(carry) & (carry > 0)).all():
        raise ValueError(f"`state` must have counts >= 0 and positive finite numbers in 'carry', got {counts}, {carry}")
    keys = {"gradient", *(f"{x}{k}" for x in "sy" for k in range(n))} if counts[1] else set()
    if not isinstance(slots, Mapping) or set(slots) - ({"step"} if keys else set()) != keys:
        found = short(sorted(map(str, slots))) if isinstance(slots, Mapping) else describe(slots)
        raise ValueError(f"`state['state']` must have the keys {sorted(keys)}, and may have 'step', got {found}")

    def vector(name: str) -> Array | None:
        if name not in slots:
            return None
        label = f"state['state'][{name!r}]"
        found = optimizer._space.joined(match.tensors(slots[name], label))
        if not np.isfinite(max_abs(found)):
            raise ValueError(f"`{label}` must have finite numbers, got others")
        return found

    def some(name: str) -> Array:
        found = vector(name)
        assert found is not None
        return found

    pairs = tuple(Pair(some(f"s{k}"), some(f"y{k}"), float(carry[k + 1])) for k in range(n))
    steps, iterations, evaluations = map(int, counts)
    return Memory(steps, iterations, evaluations, pairs, float(carry[0]), vector("gradient"), vector("step"))


def _hyperparameters(optimizer: "LBFGS", saved: Any) -> tuple[Source, Any]:
    label, names = "state['hyperparameters']", {"params", "lr", *optimizer._settings._fields}
    if not isinstance(saved, list | tuple) or len(saved) != 1 or not isinstance(saved[0], Mapping):
        raise TypeError(f"`{label}` must be a list of one dict, got {short(saved)}")
    if set(saved[0]) != names:
        raise ValueError(f"`{label}[0]` must have the keys {sorted(names)}, got {short(sorted(map(str, saved[0])))}")
    lr = source(read_one(optimizer._lr, saved[0]["lr"], f"{label}[0]['lr']"), "lr", AT_LEAST_ZERO)
    if _is_controller(optimizer._lr) and lr is not optimizer._lr:
        raise ValueError(
            f"`{label}[0]['lr']` must be a controller, got {short(saved[0]['lr'])}: the optimizer has "
            f"{kind_of(optimizer._lr)}, which would be lost: load with hyperparameters=False"
        )
    return lr, settings_of(saved[0], f"{label}[0]['{{}}']")


def _controllers(lr: Any, given: Any, hyper: bool) -> list[tuple[Any, Any]]:
    """The rate, if it is a controller, with its saved state."""
    if not isinstance(given, list | tuple) or not all(isinstance(x, Mapping) and "state" in x for x in given):
        raise TypeError(f"`state['controllers']` must be a list of dicts with a state, got {short(given)}")
    if not given:
        return []
    if not _is_controller(lr):
        if hyper:
            raise ValueError(f"`state['controllers']` needs a controller as `lr`, got {lr!r:.60}")
        return []
    return [(lr, given[0]["state"])]


def state_in(path: Path) -> dict[str, Any]:
    """State in a file."""
    found = load_file(path).state
    if found is None:
        raise ValueError(f"{path}: it must have the state of an optimizer, got a file that was saved without one")
    return found


# --- Copies -----------------------------------------------------------------------------------------------------------


def snapshot(optimizer: "LBFGS") -> dict[str, Any]:
    """Copy everything at one moment, including the parameters' values."""
    optimizer._check_outside("copy")
    with optimizer._lock.held:
        return {
            "params": optimizer._parameters.params,
            "arrays": [x.copy() for x in optimizer._parameters.arrays],
            "memory": optimizer._memory,  # never written again
            "lr": optimizer._lr,
            "settings": optimizer._settings,
            "last": (optimizer.loss, optimizer.stopped),
        }


def rebuild(optimizer: "LBFGS", state: dict[str, Any], params: Any, arrays: Any) -> None:
    """Build an optimizer over these parameters from the output of `snapshot`."""
    optimizer._settings, optimizer._lr = state["settings"], state["lr"]
    optimizer._build(params)
    for x, values in zip(optimizer._parameters.arrays, arrays, strict=False):
        x[...] = values
    optimizer._memory = state["memory"]
    optimizer.loss, optimizer.stopped = state["last"]


def shallow(optimizer: "LBFGS") -> "LBFGS":
    """Return an optimizer that shares parameters and schedules, but has its own state."""
    twin: LBFGS = object.__new__(type(optimizer))
    state = snapshot(optimizer)
    rebuild(
        twin,
        {**state, "lr": copied(state["lr"], {}) if _is_controller(state["lr"]) else state["lr"]},
        state["params"],
        (),
    )
    return twin


def deep(optimizer: "LBFGS", memo: dict[int, Any]) -> "LBFGS":
    """Return an optimizer that shares nothing but the vectors of its state, which are never written again."""
    twin: LBFGS = object.__new__(type(optimizer))
    memo[id(optimizer)] = twin
    state = snapshot(optimizer)
    params = copy.deepcopy(state["params"], memo)
    rebuild(twin, {**state, "lr": copy.deepcopy(state["lr"], memo)}, params, state["arrays"])
    return twin
