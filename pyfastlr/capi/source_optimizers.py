"""C text of each optimizer class: its configuration, and its functions."""

import math

from pyfastlr.engines.hyper import Range
from pyfastlr_kernels.printing import FLOAT32, FLOAT64
from pyfastlr_kernels.printing.statements import wrapped
from pyfastlr_kernels.tables import constants

from .source_classes import (
    CLASSES,
    COMMON_NUMBERS,
    DECAYS,
    INV_SCALE,
    Class,
)
from .source_errors import code
from .source_rules import REALS

_LARGEST = 1.7976931348623157e308
# What a class checks besides the ranges of its arguments (its `_choose_rule`), as C: when it is an error.
_ALSO = {
    "SGD": [
        ("c->nesterov && (c->dampening != 0.0 || (c->momentum == 0.0 && c->convention == FASTLR_TORCH))", "nesterov"),
    ],
}


def number_text(x: float) -> str:
    """Return a number in C."""
    return "NAN" if x is None or math.isnan(x) else "INFINITY" if math.isinf(x) else repr(float(x))


def within(text: str, allowed: Range) -> str:
    """Return the C condition that a number is in a range. It is false for NaN."""
    if allowed.low == allowed.high:
        return f"{text} == {number_text(allowed.low)}"
    low = f"{text} >= {number_text(allowed.low)}"
    for whole in (0.0, 1.0):
        if allowed.low == math.nextafter(whole, math.inf):
            low = f"{text} > {number_text(whole)}"
    if allowed.low == -_LARGEST:
        low = f"{text} >= -DBL_MAX"
    high = f"{text} <= {number_text(allowed.high)}"
    if allowed.high == math.nextafter(1.0, 0.0):
        high = f"{text} < 1.0"
    if allowed.high == _LARGEST:
        high = f"{text} <= DBL_MAX"
    return f"{low} && {high}"


# --- Parts of a class -------------------------------------------------------------------------------------------------


def init_text(c: Class) -> str:
    """Return the functions that fill a configuration with a convention's defaults."""
    cases = []
    for convention, defaults in c.conventions.items():
        sets = []
        for name in (*(x for x, _ in COMMON_NUMBERS), *c.own_numbers):
            value = c.default(name, convention)
            places = [f"{name}[0]", f"{name}[1]"] if c.is_pair(name) else [name]
            values = value if isinstance(value, tuple) else (value,) * len(places)
            sets += [f"        c.{x} = {number_text(y)};" for x, y in zip(places, values, strict=True) if y != 0.0]
        body = "\n".join([f"        c.decay = FASTLR_{defaults['decay'].upper()};", *sets])
        cases.append(f"    case FASTLR_{convention.upper()}:\n{body}\n        break;")
    first = f"FASTLR_{next(iter(c.conventions)).upper()}"
    listed = "\n".join(cases)
    return f"""\
int fastlr_{c.prefix}_config_init_sized({c.config} *config, size_t struct_size, int convention)
{{
    {c.config} c;
    if (config == NULL)
        return FASTLR_ERROR_CONFIG;
    if (struct_size != sizeof c)
        return FASTLR_ERROR_STRUCT_SIZE;
    memset(&c, 0, sizeof c);
    c.struct_size = struct_size;
    c.convention = convention;
    switch (convention) {{
{listed}
    default:
        return FASTLR_ERROR_CONVENTION;
    }}
    memcpy(config, &c, sizeof c);
    return FASTLR_OK;
}}

int fastlr_{c.prefix}_config_init_for({c.config} *config, int convention)
{{
    return fastlr_{c.prefix}_config_init_sized(config, sizeof *config, convention);
}}

int fastlr_{c.prefix}_config_init({c.config} *config)
{{
    return fastlr_{c.prefix}_config_init_for(config, {first});
}}
"""


def check_text(c: Class) -> str:
    """Return the function that checks a configuration."""
    lines = [
        "if (c == NULL)\n    return FASTLR_ERROR_CONFIG;",
        "if (c->struct_size != sizeof *c)\n    return FASTLR_ERROR_STRUCT_SIZE;",
        _unless(" || ".join(f"c->convention == FASTLR_{x.upper()}" for x in c.conventions), "convention"),
        _unless(" || ".join(f"c->decay == FASTLR_{x.upper()}" for x in DECAYS if x in c.cls.decays), "decay"),
    ]
    lines += [_unless(f"c->{x} == 0 || c->{x} == 1", x) for x in ("maximize", *c.flags)]
    for name in c.numbers:
        conditions: dict[str, list[str]] = {}
        for convention in c.conventions:
            parts = [within(f"c->{place}", allowed) for place, allowed in _places(c, name, convention)]
            conditions.setdefault(" && ".join(parts), []).append(convention)
        first, *others = sorted(conditions, key=lambda text: -len(conditions[text]))
        if not others:
            lines.append(_unless(first, name))
            continue
        test = " || ".join(f"c->convention == FASTLR_{x.upper()}" for x in conditions[others[0]])
        assert len(others) == 1
        lines.append(_unless(f"{test} ? {others[0]} : {first}", name))
    lines.append(_unless(within("c->inv_scale", INV_SCALE), "inv_scale"))
    lines += [f"if ({test})\n    return {code(name)};" for test, name in _ALSO.get(c.name, ())]
    body = "\n    ".join(y for x in "\n".join(lines).splitlines() for y in wrapped(x))
    return f"""\
/* Check a configuration. NaN is in no range. */
static int check_{c.prefix}(const {c.config} *c)
{{
    {body}
    return FASTLR_OK;
}}
"""


def _places(c: Class, name: str, convention: str) -> list[tuple[str, Range]]:
    texts = c.places(name)
    return [(texts[field], allowed) for field, allowed in c.ranges(name, convention)]


def _unless(condition: str, argument: str) -> str:
    return f"if (!({condition}))\n    return {code(argument)};"


def choose_text(c: Class) -> str:
    """Return the tables of its rules' states, and the function that chooses the rule of a configuration."""
    parts, chosen = [], []
    for name, rule in c.rules.items():
        slots = ", ".join(f"{{{c.states.index(x)}, {code(x)}}}" for x in rule.state_names)
        table = f"{c.prefix}_{name}_slots" if slots else "NULL"
        if slots:
            parts.append(f"static const struct slot {table}[] = {{{slots}}};\n")
        tests = [f"c->{x}" if x in c.flags else f"c->{x} != 0.0" for x in c.cls.rules[name]]
        chosen.append((" && ".join(tests), f"(struct chosen){{&rule_{name}, {table}, {len(rule.slots)}}}"))
    # The last rule whose conditions hold.
    lines = [f"if ({test})\n        return {value};" if test else f"return {value};" for test, value in chosen[::-1]]
    body = "\n    ".join(lines)
    unused = "" if len(chosen) > 1 else "    (void)c;\n"
    parts.append(f"static struct chosen choose_{c.prefix}(const {c.config} *c)\n{{\n{unused}    {body}\n}}\n")
    return "\n".join(parts)


def fold_text(c: Class) -> str:
    """Return the function that checks and folds a configuration for one update."""
    fields = dict.fromkeys(x for rule in c.rules.values() for x in rule.hyper)
    places = {field: text for name in c.own_numbers for field, text in c.places(name).items()}
    lines = [f"row.{x} = c->{x};" for x in ("decay", "lr", "lr_scale", "weight_decay")]
    lines += ["row.tiny = tiny;", "row.half_ulp = half_ulp;"]
    lines += [f"row.{field} = c->{places[field]};" for field in fields]
    body = "\n    ".join(lines)
    return f"""\
/* Check a configuration, and fold it for update t. */
static int prepare_{c.prefix}(const {c.config} *c, int64_t t, double *carry, double tiny, double half_ulp,
        struct chosen *x, union update_f64 *u)
{{
    const int error = check_{c.prefix}(c);
    if (error != FASTLR_OK)
        return error;
    if (t < 1)
        return FASTLR_ERROR_T;
    struct hyper row;
    {body}
    *x = choose_{c.prefix}(c);
    x->rule->fold(c->convention, &row, (double)t, carry, grad_scale_of(c->maximize, c->inv_scale, c->clip_factor), u);
    return FASTLR_OK;
}}
"""


def functions_text(c: Class, suffix: str) -> str:
    """Return the exported functions for one type of elements."""
    kind = FLOAT32 if suffix == "_f32" else FLOAT64
    real, states = REALS[kind], ", ".join(c.states)
    tail = "" if kind == FLOAT32 else suffix
    folded = _folded(c, suffix)
    array = f"{real} *const state[] = {{{states}}};"
    heads = prototypes(c, tail, real)
    slots = {slot.name: slot.initial for rule in c.rules.values() for slot in rule.slots}
    values = ", ".join(
        f"config->{slots[x]}" if isinstance(slots[x], str) else number_text(float(slots[x])) for x in c.states
    )
    lines = []
    for name, call in (
        ("step", f"step{suffix}(&x, &u, p, g, state, NULL, begin, end)"),
        ("step_scaled", f"step_scaled{suffix}(&x, &u, p, g, state, lr_scale, begin, end)"),
        ("step_tensors", f"step_tensors{suffix}(&x, &u, tensors, count, begin, end)"),
    ):
        own = "" if name == "step_tensors" else f"    {array}\n"
        lines.append(f"{heads[name]}\n{{\n{folded}{own}    return {call};\n}}\n")
    lines.append(
        f"{heads['state_init']}\n{{\n    const int error = check_{c.prefix}(config);\n    if (error != FASTLR_OK)\n"
        f"        return error;\n    const struct chosen x = choose_{c.prefix}(config);\n    {array}\n"
        f"    const double values[] = {{{values}}};\n    return fill{suffix}(&x, state, values, begin, end);\n}}\n"
    )
    return "\n".join(lines)


def _folded(c: Class, suffix: str) -> str:
    """Return the lines of a step that check and fold its configuration."""
    kind = FLOAT32 if suffix == "_f32" else FLOAT64
    name = kind.name
    tiny, half_ulp = (number_text(x) for x in constants(name).values())
    lines = ["struct chosen x;", "union update_f64 folded;" if kind == FLOAT32 else "union update_f64 u;"]
    target = "folded" if kind == FLOAT32 else "u"
    carry = "NULL"
    if c.carry:
        copied = ", ".join(f"carry[{k}]" for k in range(len(c.carry)))
        lines += ["if (carry == NULL)\n        return FASTLR_ERROR_CARRY;", f"double carried[] = {{{copied}}};"]
        carry = "carried"
    lines += [
        f"const int error = prepare_{c.prefix}(config, t, {carry}, {tiny}, {half_ulp}, &x, &{target});",
        "if (error != FASTLR_OK)\n        return error;",
    ]
    if kind == FLOAT32:
        lines += ["union update_f32 u;", "x.rule->round(&folded, &u);"]
    return "".join(f"    {x}\n" for x in lines)


def carry_text(c: Class) -> str:
    """Return the functions of what is carried from update to update."""
    if not c.carry:
        return ""
    starts = "".join(f"    carry[{k}] = {number_text(x)};\n" for k, x in enumerate(c.carry))
    heads = prototypes(c, "", "float")
    tiny, half_ulp = (number_text(x) for x in constants("float64").values())
    return (
        f"{heads['carry_init']}\n{{\n    if (carry == NULL)\n        return FASTLR_ERROR_CARRY;\n{starts}"
        "    return FASTLR_OK;\n}\n\n"
        f"{heads['next']}\n{{\n    struct chosen x;\n    union update_f64 u;\n    if (carry == NULL)\n"
        f"        return FASTLR_ERROR_CARRY;\n"
        f"    return prepare_{c.prefix}(config, t, carry, {tiny}, {half_ulp}, &x, &u);\n}}\n"
    )


def prototypes(c: Class, tail: str, real: str) -> dict[str, str]:
    """Return the heads of the functions for one type of elements, and of those for both."""
    config, carry = f"const {c.config} *config", ", const double *carry" if c.carry else ""
    states = "".join(f", {real} *{x}" for x in c.states)
    span = "size_t begin, size_t end"
    name = f"int fastlr_{c.prefix}"
    heads = {
        "state_init": f"{name}_state_init{tail}({config}{states}, {span})",
        "step": f"{name}_step{tail}({config}, int64_t t{carry}, {real} *p, const {real} *g{states}, {span})",
        "step_scaled": f"{name}_step_scaled{tail}({config}, int64_t t{carry}, {real} *p, const {real} *g{states}, "
        f"const {real} *lr_scale, {span})",
        "step_tensors": f"{name}_step_tensors{tail}({config}, int64_t t{carry}, const fastlr_tensor *tensors, "
        f"size_t count, {span})",
    }
    if c.carry:
        heads["carry_init"] = f"{name}_carry_init(double *carry)"
        heads["next"] = f"{name}_next({config}, int64_t t, double *carry)"
    return {key: _broken(head) for key, head in heads.items()}


def _broken(head: str) -> str:
    """Break a head that is longer than a line."""
    lines, rest = [], head
    while len(rest) > 107:  # with FASTLR_API and a semicolon, a line of 119
        at = rest.rindex(", ", 0, 107) + 1
        lines.append(rest[:at])
        rest = f"        {rest[at:].strip()}"
    return "\n".join([*lines, rest])


def class_text(c: Class) -> str:
    """Return the C text of a class."""
    line = f"/* --- {c.name} {'-' * (110 - len(c.name))} */\n"
    parts = [line, init_text(c), check_text(c), choose_text(c), fold_text(c), carry_text(c)]
    return "\n".join(x for x in [*parts, functions_text(c, "_f32"), functions_text(c, "_f64")] if x)


def classes_text() -> str:
    """Return the C text of all classes."""
    return "\n".join(class_text(c) for c in CLASSES)
