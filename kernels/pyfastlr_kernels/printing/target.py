"""A target language as a table of names."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from .types import BOOL, FLOAT32, FLOAT64, INT64, Scalar


@dataclass(frozen=True)
class Target:
    """What the printer needs to know of a language with C's operators and statements."""

    types: Mapping[Scalar, str]
    suffixes: Mapping[Scalar, str]  # of names, where one text is printed for several types
    functions: Mapping[str, Mapping[Scalar, str]]  # Python's name: name for each type of the first argument
    constants: Mapping[float, str]  # floats that have no literal
    literal: Callable[[int | float, Scalar], str]
    cast: str  # places {type} and {x}
    construct: str  # a structure from its fields; places {type} and {fields}
    field: str  # one of these; places {name} and {x}
    linkage: str  # of a printed function
    helpers: Mapping[str, str]  # text of functions that the language lacks, by their names in `functions`
    reserved: frozenset[str]  # names that a variable must not have


def _c_literal(x: int | float, kind: Scalar) -> str:
    if kind == INT64:
        return str(x) if abs(x) < 2**31 else f"INT64_C({x})"
    text = repr(float(x))
    return f"{text}f" if kind == FLOAT32 else text


_FLOOR_INT = """\
/* Python's a // b for integers: rounds down. */
{linkage} int64_t floor_quotient(int64_t a, int64_t b)
{{
    return a / b - (a % b != 0 && (a < 0) != (b < 0));
}}
"""
_MODULO_INT = """\
/* Python's a % b for integers: has the sign of b. */
{linkage} int64_t floor_remainder(int64_t a, int64_t b)
{{
    const int64_t r = a % b;
    return r != 0 && (r < 0) != (b < 0) ? r + b : r;
}}
"""
_FLOOR_FLOAT = """\
/* Python's a // b for floats. */
{linkage} double floor_quotient_f64(double a, double b)
{{
    const double r = fmod(a, b);
    double q = (a - r) / b;
    if (r != 0.0 && (b < 0.0) != (r < 0.0))
        q -= 1.0;
    if (q == 0.0)
        return copysign(0.0, a / b);
    const double whole = floor(q);
    return q - whole > 0.5 ? whole + 1.0 : whole;
}}
"""
_LARGER = """\
/* Python's max(a, b): a if they are not in order. */
{linkage} {type} larger{suffix}({type} a, {type} b)
{{
    return b > a ? b : a;
}}
"""
_SMALLER = """\
/* Python's min(a, b): a if they are not in order. */
{linkage} {type} smaller{suffix}({type} a, {type} b)
{{
    return b < a ? b : a;
}}
"""

_SELECT = """\
/*
 * a if the test is true, else b. Of integers, gcc makes a choice; of floats, it may make branches that it cannot
 * vectorise.
 */
{linkage} {type} select{suffix}(bool test, {type} a, {type} b)
{{
#if defined(__GNUC__) && !defined(__clang__)
    {bits} x, y;
    memcpy(&x, &a, sizeof x);
    memcpy(&y, &b, sizeof y);
    x = test ? x : y;
    memcpy(&a, &x, sizeof a);
    return a;
#else
    return test ? a : b;
#endif
}}
"""
_RESERVED = """
auto bool break case char const continue default do double else enum extern false float for goto if inline int long
register restrict return short signed sizeof static struct switch true typedef union unsigned void volatile while
INFINITY NAN NULL I
"""
_LINKAGE = "static inline"
_TYPES = {BOOL: "bool", INT64: "int64_t", FLOAT32: "float", FLOAT64: "double"}
_SUFFIXES = {BOOL: "_bool", INT64: "_i64", FLOAT32: "_f32", FLOAT64: "_f64"}
_ORDERED = (INT64, FLOAT32, FLOAT64)


_BITS = {FLOAT32: "uint32_t", FLOAT64: "uint64_t"}


def _of_each(name: str, text: str) -> dict[str, str]:
    """Text of a function for each type of numbers."""
    made = {}
    for kind in _ORDERED:
        words = {"linkage": _LINKAGE, "type": _TYPES[kind], "suffix": _SUFFIXES[kind], "bits": _BITS.get(kind)}
        made[name + _SUFFIXES[kind]] = text.format(**words)
    return made


C = Target(
    types=_TYPES,
    suffixes=_SUFFIXES,
    functions={
        "sqrt": {FLOAT32: "sqrtf", FLOAT64: "sqrt"},
        "abs": {FLOAT32: "fabsf", FLOAT64: "fabs"},
        **{name: {FLOAT64: name} for name in ("exp", "log", "log1p", "cos", "pow")},
        "max": {kind: "larger" + _SUFFIXES[kind] for kind in _ORDERED},
        "min": {kind: "smaller" + _SUFFIXES[kind] for kind in _ORDERED},
        "select": {kind: "select" + _SUFFIXES[kind] for kind in _BITS},
        "floor quotient": {INT64: "floor_quotient", FLOAT64: "floor_quotient_f64"},
        "floor remainder": {INT64: "floor_remainder"},
    },
    constants={float("inf"): "INFINITY"},
    literal=_c_literal,
    cast="({type}){x}",
    construct="({type}){{{fields}}}",
    field=".{name} = {x}",
    linkage=_LINKAGE,
    helpers={
        **_of_each("larger", _LARGER),
        **_of_each("smaller", _SMALLER),
        **_of_each("select", _SELECT),
        "floor_quotient": _FLOOR_INT.format(linkage=_LINKAGE),
        "floor_remainder": _MODULO_INT.format(linkage=_LINKAGE),
        "floor_quotient_f64": _FLOOR_FLOAT.format(linkage=_LINKAGE),
    },
    reserved=frozenset(_RESERVED.split()),
)
