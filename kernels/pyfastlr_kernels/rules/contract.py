"""Definition of rules and folds, and the functions that they share: pure math.

A rule is the update of one element
-----------------------------------
``rule(p, g, s, h, r) -> (d, s)``, in the dtype of the parameters. ``s`` is the tuple of the element's state, in the
order of the rule's slots. ``h`` and ``r`` are NamedTuples of numbers that a fold made from the hyperparameters; ``r``
has those proportional to the learning rate. ``d`` is the descent: the driver writes ``p - (decay*p + d)``, so that
weight decay is in one place (`prologue`, `epilogue`), p is rounded once, and ``d`` is available for norms.

A rule that sets the parameter instead of moving it (`Rule.sets`) returns the new parameter instead of ``d``:
``p - (p - new)`` would lose zeros and up to half an ulp of p. Its ``p`` is already decayed (`shrunk`).

- No number literals: ``1 - b`` or ``0.5 * x`` would make numba compute in float64.
- No step count and no branches on configuration: both belong in the fold.
- ``sqrt(a) * g / sqrt(b)``, never a quotient of two roots: `math.sqrt` returns a float64 in plain Python, so rule and
  compiled code would differ by a rounding.

A fold runs once per step, in float64
-------------------------------------
``fold(c, t, carry) -> (h, r, carry)``. ``c`` has the hyperparameters as attributes. ``t`` is the number of the tensor's
update, counting from 1, as a float (``b ** int`` is repeated multiplication in numba: 4e-11 off at b = 0.999999).
``carry`` is a tuple of a few numbers that are saved with the state, such as NAdam's running product. Each convention
(torch, keras, optax) has its own fold of the same rule.

Both are straight-line plain Python. The same text runs in plain Python on numpy scalars, compiled for the CPU, inside
users' jitted loops and on a CUDA device.

Where to put what a new optimizer needs
---------------------------------------
- More numbers in ``h``, ``r`` or ``carry``: tables.FOLD_WIDTH and tables.MAX_CARRY have room.
- A rate that is used one update later: a number in ``carry``, computed from this update's rate.
- State that does not start at zero: `Slot.initial`, a number or the name of a constructor argument. If that argument is
  a hyperparameter, each group uses its own value.
- State with another dtype or length than its parameter: `Slot.storage`, which tells the drive how to load and store it.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from pyfastlr_kernels.packing import BFLOAT16, E4M4, SIGNED
from pyfastlr_kernels.tables import COUPLED, DECOUPLED, INDEPENDENT

# Without weight decay, the driver leaves out the terms with p. They would be a fifth of Adam's operations (12.2 instead
# of 9.6 cycles for 8 elements on a Zen 3 core), and 0*p is NaN for an infinite parameter.


def prologue(p, g, grad_scale, l2):
    """Gradient for the rule: loss scale removed, sign flipped to maximize, coupled weight decay added."""
    return grad_scale * g + l2 * p


def prologue_undecayed(p, g, grad_scale):
    """Gradient for the rule without weight decay."""
    return grad_scale * g


def epilogue(p, d, decay):
    """Parameter after decoupled or independent decay and the descent; p is rounded once."""
    return p - (decay * p + d)


def epilogue_undecayed(p, d):
    """Parameter after the descent, without weight decay."""
    return p - d


def change(p, d, decay):
    """What the epilogue adds to the parameter, for a caller that adds it: the sum has the same bits."""
    return -(decay * p + d)


def change_undecayed(p, d):
    """What the epilogue adds to the parameter without weight decay."""
    return -d


def difference(q, p):
    """What a rule that sets the parameter to q changes it by, rounded: p + (q - p) is not always q."""
    return q - p


def shrunk(p, decay):
    """Parameter after decoupled or independent decay: the input of a rule that sets the parameter."""
    return p - decay * p


# Zero of the narrowest dtype, so that it promotes nothing. A constant zero lets LLVM clear with a mask; `x - x` takes a
# subtraction and a blend (13.9 instead of 12.2 cycles for 8 elements of Adam on a Zen 3 core).
ZERO = np.float32(0)


def flush(x, tiny):
    """Set a number below tiny to zero: subnormal numbers slow a step up to ten times. NaN compares false and stays."""
    return ZERO if abs(x) < tiny else x


def maximum(a, b):
    """Larger of two numbers, or NaN if either is NaN: Python's and numba's max(u, nan) is u, torch's is NaN."""
    larger = a if a > b else b  # one instruction; b where either is NaN
    return larger if a == a else a


# --- Weight decay and freezing ----------------------------------------------------------------------------------------


class Common(NamedTuple):
    """The driver's numbers. At most one of the three kinds of weight decay is nonzero."""

    l2: float  # added to the gradient, times p
    decoupled: float  # proportional to the rate
    independent: float
    moves: float  # 0 if the group's lr_scale is zero, else 1


def common_numbers(c):
    """Weight decay of this update, and whether the parameters move."""
    return Common(
        l2=c.weight_decay if c.decay == COUPLED else 0.0,
        decoupled=c.lr * c.lr_scale * c.weight_decay if c.decay == DECOUPLED else 0.0,
        independent=c.weight_decay if c.decay == INDEPENDENT else 0.0,
        moves=0.0 if c.lr_scale == 0.0 else 1.0,
    )


def make_element(update, scaled, by_element, compiled, sets=False, changes=False):
    """Make the update of one element around a rule: the same text for the CPU's loop and for the device.

    ``update`` is the rule in the form that the target's code calls, ``compiled`` brings other plain functions into that
    form, and ``scaled`` multiplies a tuple of numbers. The result is a plain function. With a rate per element, k is
    its factor; where k is zero, the parameter keeps its bits, whatever the gradient is. With ``sets``, the rule returns
    the new parameter. With ``changes``, the result is not the new parameter but what must be added to the old one; then
    the rate has no factor per element.
    """
    before, before_undecayed = compiled(prologue), compiled(prologue_undecayed)
    ends = (change, change_undecayed) if changes else (epilogue, epilogue_undecayed)
    after, after_undecayed = map(compiled, ends)

    def element(p, g, k, s, h, r, grad_scale, common, decays):
        g = before(p, g, grad_scale, common.l2) if decays else before_undecayed(p, g, grad_scale)
        d, t = update(p, g, s, h, scaled(r, k) if by_element else r)
        taken = common.decoupled * k + common.independent if by_element else common.decoupled + common.independent
        q = after(p, d, taken) if decays else after_undecayed(p, d)
        return (p if by_element and k == ZERO else q), t

    if not sets:
        return element
    decayed = compiled(shrunk)

    def set_element(p, g, k, s, h, r, grad_scale, common, decays):
        g = before(p, g, grad_scale, common.l2) if decays else before_undecayed(p, g, grad_scale)
        taken = common.decoupled * k + common.independent if by_element else common.decoupled + common.independent
        q, t = update(decayed(p, taken) if decays else p, g, s, h, scaled(r, k) if by_element else r)
        return (p if by_element and k == ZERO else q), t

    if not changes:
        return set_element
    minus = compiled(difference)

    def change_element(p, g, k, s, h, r, grad_scale, common, decays):
        g = before(p, g, grad_scale, common.l2) if decays else before_undecayed(p, g, grad_scale)
        q, t = update(decayed(p, common.decoupled + common.independent) if decays else p, g, s, h, r)
        return minus(q, p), t

    return change_element


# --- When state may be flushed ----------------------------------------------------------------------------------------
#
# A flushed second moment stays zero while w*g*g < tiny. The exact one grows to g*g, which is at most tiny/w. It may be
# set to zero only if eps hides it to half an ulp (u, `half_ulp`: 2**-24 for float32, 2**-53 for float64).
# Each function returns the limit for `flush`: c.tiny, or 0 to flush nothing.


def flush_limit_outside_root(c, w):
    """Limit for v in sqrt(v) + eps: sqrt(tiny / w) <= u * eps."""
    hidden = c.half_ulp * c.eps
    return c.tiny if hidden * hidden * w >= c.tiny else 0.0


def flush_limit_inside_root(c, w):
    """Limit for v in sqrt(v + eps): tiny / w <= u * eps."""
    return c.tiny if c.half_ulp * c.eps * w >= c.tiny else 0.0


def flush_limit_plain(c):
    """Limit for u in u + eps: tiny <= u * eps."""
    return c.tiny if c.half_ulp * c.eps >= c.tiny else 0.0


RULE_HELPERS = (flush, maximum)
FOLD_HELPERS = (common_numbers, flush_limit_outside_root, flush_limit_inside_root, flush_limit_plain)


# --- Entries of the registry ------------------------------------------------------------------------------------------


class Packed(NamedTuple):
    """Formats of a slot with ``state_dtype="bfloat16"`` and "int8", and the reason in errors where it has none."""

    bfloat16: int | None
    int8: int | None
    why: str = ""


MOMENT, SECOND_MOMENT = Packed(BFLOAT16, SIGNED), Packed(BFLOAT16, E4M4)
NOT_PACKED = Packed(None, None, "rounding its state would change what it computes")


class Slot(NamedTuple):
    """One state array of a rule, by torch's name.

    ``initial`` is its value before the first update, or the name of the constructor argument with that value.
    ``storage`` is the dtype in memory; None means its parameter's dtype. ``packed`` says how it may be packed into
    fewer bytes (packing.py).
    """

    name: str
    initial: float | str = 0.0
    storage: str | None = None
    packed: Packed = NOT_PACKED


class Rule(NamedTuple):
    """A rule with its folds."""

    update: Callable[..., Any]
    folds: dict[str, Callable[..., Any]]  # by convention; the first is the default
    hyper: tuple[str, ...]  # hyperparameters that the folds read, besides tables.COMMON
    slots: tuple[Slot, ...] = ()
    carry: tuple[float, ...] = ()  # initial values
    helpers: tuple[Callable[..., Any], ...] = ()  # plain functions of the same file that rule and folds call
    sets: bool = False  # whether `update` returns the new parameter, not the descent

    @property
    def state_names(self) -> tuple[str, ...]:
        """Names of the state arrays, in the order of ``s``."""
        return tuple(slot.name for slot in self.slots)


class _Halves:
    """Hyperparameters that are all 0.5, to find out how many numbers a fold returns."""

    def __getattr__(self, name: str) -> float:
        return 0.5


def numbers_like(rule: Rule, fold: Callable[..., Any], real: Any) -> tuple[Any, Any]:
    """Return the NamedTuples ``h`` and ``r`` of a fold, filled with zeros of the type `real`."""
    h, r, _ = fold(_Halves(), 1.0, rule.carry)
    return type(h)(*(real(0),) * len(h)), type(r)(*(real(0),) * len(r))


def folds(torch: Any = None, keras: Any = None, optax: Any = None) -> dict[str, Callable[..., Any]]:
    """Return the given folds by convention."""
    given = {"torch": torch, "keras": keras, "optax": optax}
    return {name: fold for name, fold in given.items() if fold is not None}
