"""C text of the schedules: every curve of pyfastlr_kernels, behind a function that checks its arguments."""

import inspect
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from pyfastlr_kernels import compat_curves, curves
from pyfastlr_kernels.printing import BOOL, FLOAT64, INT64, Array, Callback, Printer
from pyfastlr_kernels.printing.statements import wrapped


class Kind(NamedTuple):
    """A parameter: its type for the printer, what it needs, and the condition of C under which it is refused."""

    type: Any
    words: str
    refused: str


SCHEDULE = Callback("fastlr_schedule", INT64, FLOAT64, "{f}.at({f}.data, {x})")
SHAPE = Callback("fastlr_shape", FLOAT64, FLOAT64, "{f}({x})")
_RATE = Kind(FLOAT64, "finite, >= 0", "!is_rate({x})")
_POSITIVE = Kind(FLOAT64, "finite, > 0", "!is_positive({x})")
_NUMBER = Kind(FLOAT64, "finite", "!isfinite({x})")
_COUNT = Kind(INT64, "1 to 2^53", "!is_count({x})")
_NATURAL = Kind(INT64, "0 to 2^53", "!is_index({x})")
_FLAG = Kind(BOOL, "0 or 1", "!is_flag({x})")
_SCHEDULE = Kind(SCHEDULE, "a schedule", "{x}.at == NULL")
_SHAPE = Kind(SHAPE, "a shape", "{x} == NULL")
_INDICES = Kind(Array(INT64), "in increasing order", "!are_indices({x}, {x}_length)")
_RATES = Kind(Array(FLOAT64), "one more than there are boundaries", "{x} == NULL")

# By the parameter's name, or by the curve's and the parameter's where the name means something else there.
KINDS = {
    **dict.fromkeys(("lr", "start", "end", "base", "peak", "low", "high", "first", "middle", "floor"), _RATE),
    **dict.fromkeys(("decay", "drop", "gamma", "height", "scale", "cycles"), _RATE),
    **dict.fromkeys(("rate", "growth", "exponent", "power", "k_decay", "timescale", "ratio"), _POSITIVE),
    **dict.fromkeys(("lower", "upper"), _NUMBER),
    **dict.fromkeys(("steps", "every", "period", "half", "mult", "last", "up", "down", "width"), _COUNT),
    **dict.fromkeys(("n", "at", "stable", "warmup", "limit"), _NATURAL),
    "per_cycle": _FLAG, "s": _SCHEDULE, "t": _SCHEDULE, "fall": _SHAPE,
    "milestones": _INDICES, "boundaries": _INDICES, "values": _RATES,
    # Lengths that need not be integers.
    **dict.fromkeys((f"{curve}.steps" for curve in (
        "linear", "polynomial", "cosine", "exponential", "staircase_fractional", "polynomial_delayed", "cosine_delayed",
        "tanh_decay", "rex", "cosine_power", "polynomial_cycle_fractional",
    )), _POSITIVE),
    "cosine_restarts_fractional.period": _POSITIVE, "scaled_restarts.period": _POSITIVE,
    "three_phases.up": _NUMBER, "three_phases.down": _NUMBER,
    # Lengths that may be zero, or not.
    "inverse_sqrt.warmup": _COUNT, "noam.warmup": _COUNT, "one_cycle.up": _NATURAL,
    "warmup_stable_decay.decay": _NATURAL, "warmup.steps": _NATURAL, "delay.steps": _NATURAL, "advance.steps": _NATURAL,
}  # fmt: skip
PARTS = (  # of curves
    curves.lerp,
    curves.grown,
    curves.passed,
    curves.peak_of,
    curves.atanh_rest,
    curves.stirling,
    compat_curves.cycle_at,
    compat_curves.cycle_fraction,
    compat_curves.window,
)
_SHAPES = {
    name.removesuffix("_fall"): f
    for name, f in vars(curves).items()
    if name.endswith("_fall") and inspect.isfunction(f)
}


@dataclass(frozen=True)
class Curve:
    """A curve, and its function in C."""

    name: str
    function: Callable[..., float]

    @property
    def parameters(self) -> dict[str, Kind]:
        """Each parameter's kind, n first."""
        names = inspect.signature(self.function).parameters
        return {x: KINDS.get(f"{self.name}.{x}") or KINDS[x] for x in names}

    @property
    def prototype(self) -> str:
        """The function's head."""
        given = ", ".join(_declared(x, kind) for x, kind in self.parameters.items())
        return f"double fastlr_schedule_{self.name}({given})"

    @property
    def comment(self) -> str:
        """What it is, and what its arguments need."""
        needs: dict[str, list[str]] = {}
        for x, kind in list(self.parameters.items())[1:]:
            if kind not in (_SCHEDULE, _SHAPE):
                needs.setdefault(kind.words, []).append(x)
        lines = textwrap.wrap(inspect.getdoc(self.function).partition("\n\n")[0], 114)  # type: ignore[union-attr]
        said = "; ".join(f"{', '.join(names)}: {words}" for words, names in needs.items())
        lines += textwrap.wrap(said, 114)
        return f"/* {lines[0]} */" if len(lines) == 1 else "\n".join(["/*", *(f" * {x}" for x in lines), " */"])


CURVES = tuple(
    Curve(name, function)
    for module in (curves, compat_curves)
    for name, function in vars(module).items()
    if inspect.isfunction(function) and function.__module__ == module.__name__
    if function not in PARTS and not name.endswith("_fall")
)

_HEAD = """\
/*
 * Schedules: the learning rate of update n, which counts from 0. (t counts from 1: `config.lr` of update t is the
 * schedule at t - 1.) A schedule is NaN if an argument is out of the range that is given here, or if n is not between 0
 * and 2^53. A step then returns FASTLR_ERROR_LR.
 *
 * A schedule that is built from another one takes it as a function with the data that it needs:
 *
 *     static double decay(const void *data, int64_t n) { return fastlr_schedule_cosine(n, 1e-3, 1000, 0.0); }
 *     ...
 *     const fastlr_schedule base = {decay, NULL};
 *     config.lr = fastlr_schedule_warmup(t - 1, base, 100, 0.0);
 */
typedef struct fastlr_schedule {
    double (*at)(const void *data, int64_t n);
    const void *data;
} fastlr_schedule;

/* How a schedule falls: from 1 at x = 0 to 0 at x = 1. */
typedef double (*fastlr_shape)(double x);

"""
_CHECKS = """\
/* --- Schedules --------------------------------------------------------------------------------------------------- */

/* Integers up to 2^53 are exact in double, and their sums do not overflow. */
static bool is_index(int64_t n)
{
    return n >= 0 && n <= INT64_C(9007199254740992);
}

static bool is_count(int64_t n)
{
    return n >= 1 && is_index(n);
}

static bool is_rate(double x)
{
    return x >= 0.0 && x <= DBL_MAX;
}

static bool is_positive(double x)
{
    return x > 0.0 && x <= DBL_MAX;
}

static bool is_flag(int x)
{
    return x == 0 || x == 1;
}

static bool are_indices(const int64_t *x, int64_t length)
{
    return length == 0 || (is_index(length) && x != NULL);
}

"""


def _declared(name: str, kind: Kind) -> str:
    """Return the declaration of a parameter. The length of values follows from that of boundaries."""
    if kind is _INDICES:
        return f"const int64_t *{name}, int64_t {name}_length"
    if kind is _RATES:
        return f"const double *{name}"
    text = {INT64: "int64_t", FLOAT64: "double", BOOL: "int"}.get(kind.type) or kind.type.text
    return f"{text} {name}"


def schedules_header() -> str:
    """Return the part of the header with the schedules."""
    shapes = [
        f"/* {inspect.getdoc(f)} */\nFASTLR_API double fastlr_shape_{name}(double x);\n" for name, f in _SHAPES.items()
    ]
    functions = ["\n".join([c.comment, *wrapped(f"FASTLR_API {c.prototype};"), ""]) for c in CURVES]
    return _HEAD + "\n".join([*shapes, *functions])


def schedules_text(printer: Printer) -> str:
    """Return the text of the schedules."""
    before = len(printer.parts)
    functions = []
    for name, f in _SHAPES.items():
        called = printer.function(f, [FLOAT64]).call("x")
        functions.append(f"double fastlr_shape_{name}(double x)\n{{\n    return {called};\n}}\n")
    for c in CURVES:
        parameters = c.parameters
        printed = printer.function(c.function, [kind.type for kind in parameters.values()])
        given = [f"{x} != 0" if kind is _FLAG else x for x, kind in parameters.items()]
        refused = " || ".join(kind.refused.format(x=x) for x, kind in parameters.items())
        lines = [*wrapped(c.prototype), "{", *textwrap.wrap(f"    if ({refused})", 119, subsequent_indent=" " * 12)]
        lines.append("        return NAN;")
        lines += [*wrapped(f"    return {printed.call(*given)};"), "}", ""]
        functions.append("\n".join(lines))
    texts, printer.parts[before:] = printer.parts[before:], []
    return _CHECKS + "\n".join([*texts, *functions])
