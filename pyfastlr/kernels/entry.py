"""How `pyfastlr.kernels` functions are built: the checks of argument types, and the choice of the compiled step."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, NoReturn, cast

from numba import njit, types
from numba.extending import overload
from numba.misc.special import literally

from pyfastlr.engines.hyper import DECAYS, PUBLIC_NAMES, spread
from pyfastlr.optimizers.functions import FUNCTIONS, Function
from pyfastlr_kernels import njit as steps
from pyfastlr_kernels.compile.options import USER_OPTIONS
from pyfastlr_kernels.compile.sources import hash_sources
from pyfastlr_kernels.cpu.load import versions
from pyfastlr_kernels.rules import RULES, Rule

# Sources that determine the functions' code besides those of the driver: in the kernels package, and in this one.
_KERNEL_SOURCES = ("njit.py", "njit_norms.py", "reduce.py", "cpu/reduce.py", "compile/lanes.py")
_SOURCES = ("kernels/entry.py", "kernels/norms.py", "optimizers")
_CARRY = types.Array(types.float64, 1, "C")


@cache
def digest() -> str:
    """Hash of everything that determines the code of a step or a norm."""
    key = hashlib.sha256(versions()[0].encode())
    hash_sources(key, _KERNEL_SOURCES)
    hash_sources(key, _SOURCES, Path(__file__).parent.parent)
    return key.hexdigest()


def make(function: Function) -> Any:
    """Dispatcher of a function. It compiles at the first call and gives the same bits whatever the caller's flags."""
    scope: dict[str, Any] = {"pair": pair, "step": step}
    exec(function.text(), scope)  # generated from the library's own declarations
    text = scope[function.name]
    text.__module__, text.__doc__ = "pyfastlr.kernels", function.doc()
    return njit(**USER_OPTIONS)(text)


def pair(betas: Any) -> Any:
    """Unpack a pair; None gives (None, None)."""
    refuse_python()


def step(name: Any, convention: Any, decay: Any, p: Any, g: Any, state: Any, n: Any, given: Any) -> None:
    """One step of that name. `given` has a number or None for each of njit.COMMON and the rule's hyperparameters."""
    refuse_python()


def refuse_python() -> NoReturn:
    """Raise RuntimeError: numba is disabled, so that it calls Python functions as they are."""
    raise RuntimeError("pyfastlr.kernels must be compiled by numba: unset NUMBA_DISABLE_JIT")


def _pair(betas: Any) -> Any:
    if betas == types.none:
        return lambda betas: (None, None)
    if not isinstance(betas, types.BaseTuple) or len(betas) != 2:
        raise TypeError(f"`betas` must be a pair of numbers, got {betas}")
    return lambda betas: betas


def _step(name: Any, convention: Any, decay: Any, p: Any, g: Any, state: Any, n: Any, given: Any) -> Any:
    if isinstance(convention, types.UnicodeType):
        return lambda name, convention, decay, p, g, state, n, given: step(
            name, literally(convention), decay, p, g, state, n, given
        )
    if isinstance(decay, types.UnicodeType):
        return lambda name, convention, decay, p, g, state, n, given: step(
            name, convention, literally(decay), p, g, state, n, given
        )
    function = FUNCTIONS[name.literal_value]
    rule, cls = RULES[function.rule], function.cls
    _check_operands(rule, p, g, state, n)
    chosen = choice(convention, "convention", list(cls.conventions), next(iter(cls.conventions)))
    defaults = cls.conventions[chosen]
    numbers = _defaults(rule, defaults, given, f"{chosen}'s {cls.__name__}")
    kind = DECAYS[choice(decay, "decay", list(cls.decays), defaults["decay"])]
    kernel = steps.make_kernel(function.rule, rule.folds[chosen], p.dtype.name, digest)
    return lambda name, convention, decay, p, g, state, n, given: kernel(p, g, state, n, given, numbers, kind)


for _stub, _make in ((pair, _pair), (step, _step)):
    _make.__annotations__.clear()  # numba requires the same annotations on the lambda
    overload(_stub, prefer_literal=True, jit_options=cast(Any, USER_OPTIONS))(_make)


# --- Checks at compile time. Numba would wrap its own TypingError in twenty lines of text; these errors stay as is. ---


def choice(value: Any, name: str, known: Sequence[str], default: str) -> str:
    """Check a literal string. None gives the default."""
    if value == types.none:
        return default
    word = getattr(value, "literal_value", value)
    if word not in known:
        raise ValueError(f"`{name}` must be {' or '.join(map(repr, known))}, got {word!r}")
    return cast(str, word)


def _check_operands(rule: Rule, p: Any, g: Any, state: Any, n: Any) -> None:
    def need(holds: bool, name: str, what: str, got: Any) -> None:
        if not holds:
            raise TypeError(f"`{name}` must be {what}, got {got}")

    real = isinstance(p, types.Array) and p.dtype in (types.float32, types.float64)
    what = "a C-contiguous, writeable float32 or float64 array"
    need(real and p.layout == "C" and p.mutable and p.aligned, "p", what, p)
    need(isinstance(g, types.Array) and g.copy(readonly=False) == p, "g", f"like `p`, {p}", g)
    names = (*rule.state_names, *("carry" for _ in rule.carry))
    what = f"the tuple of {len(names)} arrays ({', '.join(names)})"
    need(isinstance(state, types.BaseTuple) and len(state) == len(names), "state", what, state)
    for k, (slot, x) in enumerate(zip(names, state, strict=True)):
        like = p if k < len(rule.slots) else _CARRY
        need(x == like, f"state[{k}]", f"{slot}, {like}", x)
    need(isinstance(n, types.Integer), "n", "an integer", n)


def _defaults(rule: Rule, defaults: Any, given: Any, where: str) -> tuple[float, ...]:
    """Default number for each of njit.COMMON and the rule's hyperparameters, used for those that are None."""
    fields = {field: part for key, value in defaults.items() for field, part in spread(key, value).items()}
    fields = {**fields, "lr": None, "lr_scale": None}
    names = (*steps.COMMON, *rule.hyper)
    for name, kind in zip(names, given, strict=True):
        called = PUBLIC_NAMES.get(name, name)
        if name not in fields and kind != types.none:
            raise ValueError(f"`{called}` must be left out: {where} does not have it")
        if not isinstance(kind, types.Integer | types.Float) and (kind != types.none or fields.get(name, 0.0) is None):
            raise TypeError(f"`{called}` must be a number, got {kind}")
    return tuple(float(fields.get(name) or 0.0) for name in names)
