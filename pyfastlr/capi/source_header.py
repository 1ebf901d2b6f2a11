"""What the header has of each optimizer class: comment, configuration and functions."""

import re
import textwrap
from typing import Any

from .source_classes import COMMON_FLAGS, COMMON_NUMBERS, CONVENTIONS, DECAYS, Class
from .source_optimizers import prototypes


def config_text(c: Class) -> str:
    """Return the type of a class's configurations."""
    flags = [*((x, f"{_values(c, x)}{said}") for x, said in COMMON_FLAGS), *((x, _explained(c, x)) for x in c.flags)]
    numbers = [*COMMON_NUMBERS, *((x, _explained(c, x)) for x in c.own_numbers)]
    rows = [("size_t struct_size;", "size of this structure, in bytes")]
    rows += [(f"int32_t {name};", said) for name, said in flags]
    rows += [(f"double {name}{'[2]' if c.is_pair(name) else ''};", said) for name, said in numbers]
    width = 26
    lines = "\n".join(f"    {text:{width}} {f'/* {said} */' if said else ''}".rstrip() for text, said in rows)
    return f"typedef struct {c.config} {{\n{lines}\n}} {c.config};\n"


def _explained(c: Class, name: str) -> str:
    if name in c.flags:
        return "0 or 1"
    owners: dict[str, list[str]] = {}
    for convention in c.conventions:
        words = {x.words: None for _, x in c.ranges(name, convention)}  # of a pair, of both or of each
        owners.setdefault(", then ".join(words), []).append(convention)
    said = [text if len(owners) == 1 else f"{', '.join(by)}: {text}" for text, by in owners.items()]
    return "; ".join(said)


def _values(c: Class, flag: str) -> str:
    """Return the constants that a flag of all classes may be in this class."""
    allowed = {
        "convention": [x for x in CONVENTIONS if x in c.conventions],
        "decay": [x for x in DECAYS if x in c.cls.decays],
    }.get(flag, [])
    *first, last = [f"FASTLR_{x.upper()}" for x in allowed] or [""]
    return f"{', '.join(first)} or {last}: " if first else last and f"{last}: "


def header_text(c: Class) -> str:
    """Return the header's text of a class."""
    name, config = f"fastlr_{c.prefix}", c.config
    heads = prototypes(c, "", "float")
    doubles = prototypes(c, "_f64", "double")
    both = ("carry_init", "next")
    lines = [
        f"FASTLR_API int {name}_config_init({config} *config);",
        f"FASTLR_API int {name}_config_init_for({config} *config, int convention);",
        f"FASTLR_API int {name}_config_init_sized({config} *config, size_t struct_size, int convention);",
        *(f"FASTLR_API {head};" for head in heads.values()),
        *(f"FASTLR_API {doubles[key]};" for key in doubles if key not in both),
    ]
    return f"{described(c)}\n{config_text(c)}\n" + "\n".join(lines) + "\n"


_LETTERS = {
    "\N{GREEK SMALL LETTER ETA}": "lr",
    "\N{GREEK SMALL LETTER EPSILON}": "eps",
    "\N{GREEK SMALL LETTER ALPHA}": "alpha",
    "\N{GREEK SMALL LETTER BETA}": "beta",
    "\N{GREEK SMALL LETTER LAMDA}": "lambda",
    "\N{GREEK SMALL LETTER MU}": "mu",
    "\N{GREEK SMALL LETTER PSI}": "psi",
}
_SMALL = {
    "\N{SUBSCRIPT ZERO}": "0",
    "\N{SUBSCRIPT ONE}": "1",
    "\N{SUBSCRIPT TWO}": "2",
    "\N{LATIN SUBSCRIPT SMALL LETTER T}": "_t",
}
_SIGNS = {
    "\N{SQUARE ROOT}": "sqrt ",
    "\N{MIDDLE DOT}": "*",
    "\N{PLUS-MINUS SIGN}": "+-",
    "\N{SUPERSCRIPT TWO}": "^2",
    "\N{SUBSCRIPT MINUS}": "-",
    "\N{MODIFIER LETTER SMALL T}\N{SUPERSCRIPT PLUS SIGN}\N{SUPERSCRIPT ONE}": "^(t + 1)",
}


def ascii_text(text: str) -> str:
    """Return the text with names for symbols."""
    # A product without a sign: Greek letters become words, which need one.
    text = re.sub(rf"([{''.join(_LETTERS)}][{''.join(_SMALL)}]?)(?=[{''.join(_LETTERS)}a-z(])", r"\1*", text)
    for symbol, name in {**_LETTERS, **_SMALL, **_SIGNS}.items():
        text = text.replace(symbol, name)
    return text


def described(c: Class) -> str:
    """Return the comment before a class in the header: what it does, its formulas and its states."""
    lines = [f"{c.name}: {(c.cls.__doc__ or '').partition(chr(10))[0]}", ""]
    for variant, formulas in c.cls.formulas.items():
        head = f"  {variant}: " if variant else "  "
        by_text: dict[str, list[str]] = {}
        for convention, formula in formulas.items():
            by_text.setdefault(formula, []).append(convention)
        for formula, owners in by_text.items():
            said = formula if len(formulas) == 1 or len(by_text) == 1 else f"{', '.join(owners)}: {formula}"
            lines.append(ascii_text(f"{head}{said}"))
    states = ", ".join(c.states)
    lines += ["", f"States: {states}."]
    if len(c.rules) > 1:
        lines.append("A state that the configuration does not use may be NULL (without momentum, there is no buffer).")
    if c.carry:
        name = f"fastlr_{c.prefix}"
        lines.append(f"`carry` is a double from {name}_carry_init. Call {name}_next once after each update.")
    lines += ["", *_defaults(c)]
    broken = [y for x in lines for y in textwrap.wrap(ascii_text(x), 112, subsequent_indent="    ") or [""]]
    return "/*\n" + "\n".join(f" * {x}".rstrip() for x in broken) + "\n */"


def _defaults(c: Class) -> list[str]:
    """Return the defaults of a class, a line for each convention."""
    lines = []
    for convention, given in c.conventions.items():
        said = [f"{name} {_shown(c.default(name, convention))}" for name in ("lr", "weight_decay", *c.own_numbers)]
        lines.append(f"{convention}: {', '.join(said)}; decay {given['decay']}")
    return lines


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return f"{{{', '.join(map(_shown, value))}}}"
    return "must be given" if value is None else f"{value:g}"
