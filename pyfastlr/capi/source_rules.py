"""C text of every rule: its folds, its element and its loops, printed from the rules' Python text."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from pyfastlr_kernels.printing import (
    FLOAT32,
    FLOAT64,
    INT64,
    C,
    Printed,
    Printer,
    Record,
    Scalar,
    Struct,
    Tuple,
    scaled,
)
from pyfastlr_kernels.printing.expressions import Value
from pyfastlr_kernels.printing.statements import wrapped
from pyfastlr_kernels.rules import RULES, Rule, asgd, contract, ftrl, rmsprop, sgd
from pyfastlr_kernels.rules.contract import Common, make_element, numbers_like

REALS = {FLOAT32: "float", FLOAT64: "double"}
# Fields that folds read, of all rules together: a fold is printed once, and rules share them.
HYPER = (
    "lr",
    "lr_scale",
    "weight_decay",
    "tiny",
    "half_ulp",
    *sorted({x for rule in RULES.values() for x in rule.hyper}),
)
ROW = Struct("const struct hyper *", {"decay": INT64, **dict.fromkeys(HYPER, FLOAT64)})
NAMES = {  # of structures whose own names are taken twice, or are hard to read in small letters
    Common: "common",
    asgd.Rates: "asgd_rates",
    ftrl.Rates: "ftrl_rates",
    rmsprop.BufferRates: "buffer_rates",
    rmsprop.RMSPropMomentum: "rmsprop_momentum",
    sgd.MomentumRates: "momentum_rates",
}
MAX_STATES = 3


def hyper_text() -> str:
    """Return the structure that folds read."""
    lines = "".join(f"    double {name};\n" for name in HYPER)
    return (
        "/* What the folds read: a configuration's numbers, and two that follow from the type of the parameters. */\n"
        f"struct hyper {{\n    int32_t decay;\n{lines}}};\n"
    )


def make_printer() -> Printer:
    """Return a printer for C that knows the constants and the structures of this library."""
    constants = {name: Value(f"FASTLR_{name}", INT64) for name in ("COUPLED", "DECOUPLED", "INDEPENDENT")}
    return Printer(replace(C, linkage="FASTLR_INLINE"), constants=constants, names=NAMES)


def name_tuples(printer: Printer) -> None:
    """Name the tuples of states, and those of a number with states."""
    for kind in REALS:
        suffix, two, three = C.suffixes[kind], Tuple((kind,) * 2), Tuple((kind,) * 3)
        printer.name_tuple(two, f"two{suffix}", ["x", "y"])
        printer.name_tuple(three, f"three{suffix}", ["x", "y", "z"])
        for states, name in ((two, "two"), (three, "three")):
            printer.name_tuple(Tuple((kind, states)), f"one_and_{name}{suffix}", ["x", "s"])


def itself(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function: what `make_element` calls is printed as it is."""
    return function


@dataclass(frozen=True)
class Form:
    """How a loop runs: with weight decay or without, with a rate per element or without."""

    decays: bool
    by_element: bool

    @property
    def suffix(self) -> str:
        """Part of a loop's name."""
        return f"{'_decayed' if self.decays else ''}{'_scaled' if self.by_element else ''}"


FORMS = tuple(Form(decays, by_element) for by_element in (False, True) for decays in (False, True))


class RuleText:
    """The C text of one update function with the folds of all rules that have it."""

    def __init__(self, printer: Printer, update: Callable[..., Any]) -> None:
        self.printer = printer
        self.rules = {name: rule for name, rule in RULES.items() if rule.update is update}
        self.rule: Rule = next(iter(self.rules.values()))
        self.name = update.__name__
        h, r = numbers_like(self.rule, next(iter(self.rule.folds.values())), float)
        self.h: Any = type(h)
        self.r: Any = type(r)
        self.folds = {
            (name, convention): printer.function(fold, [ROW, FLOAT64, Tuple((FLOAT64,) * len(rule.carry))])
            for name, rule in self.rules.items()
            for convention, fold in rule.folds.items()
        }

    def numbers(self, kind: Scalar) -> list[tuple[str, Any]]:
        """Return names and types of the numbers of an update."""
        named: tuple[tuple[str, Any], ...] = (("common", Common), ("h", self.h), ("r", self.r))
        return [(x, Record(cls, kind)) for x, cls in named if cls._fields]

    def struct(self, kind: Scalar) -> str:
        """Return the structure of the numbers of an update."""
        fields = "".join(f"    {self.printer.declared(x, name)};\n" for name, x in self.numbers(kind))
        return (
            f"/* Numbers of one update by {self.name}. */\n"
            f"struct {self.name}_update{C.suffixes[kind]} {{\n    {REALS[kind]} grad_scale;\n{fields}}};\n"
        )

    def rounding(self) -> str:
        """Return the function that rounds the numbers of an update to float."""
        lines = ["    to->grad_scale = (float)from->grad_scale;"]
        for name, record in self.numbers(FLOAT64):
            lines += [f"    to->{name}.{x} = (float)from->{name}.{x};" for x in record.fields]
        body = "\n".join(lines)
        return (
            f"static void round_{self.name}(const union update_f64 *given, union update_f32 *out)\n{{\n"
            f"    const struct {self.name}_update_f64 *from = &given->{self.name};\n"
            f"    struct {self.name}_update_f32 *to = &out->{self.name};\n{body}\n}}\n"
        )

    # --- Folds --------------------------------------------------------------------------------------------------------

    def fold(self, name: str) -> str:
        """Return the function that folds a configuration for one update by a rule."""
        rule = self.rules[name]
        by_text: dict[Printed, list[str]] = {}
        for convention in rule.folds:
            by_text.setdefault(self.folds[name, convention], []).append(convention)
        *others, last = by_text
        lines = [f"    struct {self.name}_update_f64 *u = &out->{self.name};"]
        lines += ["    u->grad_scale = grad_scale;", "    u->common = common_numbers(c);"]
        inside: list[str] = []
        for printed in others:
            test = " || ".join(f"convention == FASTLR_{x.upper()}" for x in by_text[printed])
            word = "} else if" if inside else "if"
            inside += [f"    {word} ({test}) {{", *self.folded(printed, rule, 8)]
        if inside:
            lines += [*inside, "    } else {", *self.folded(last, rule, 8), "    }"]
        else:
            lines += ["    (void)convention;", *self.folded(last, rule, 4)]
        if not any(printed.uses[1] for printed in by_text):
            lines.append("    (void)t;")
        if not any(printed.uses[2] for printed in by_text) and not rule.carry:
            lines.append("    (void)carry;")
        head = f"static void fold_{name}(int convention, const struct hyper *c, double t, double *carry,"
        return f"{head}\n        double grad_scale, union update_f64 *out)\n{{\n" + "\n".join(lines) + "\n}\n"

    def folded(self, printed: Printed, rule: Rule, indent: int) -> list[str]:
        """Return the lines that call a fold and keep what it returns."""
        call = printed.call("c", "t", "*carry")
        text = self.printer.type_text(printed.returns)
        lines = [f"const {text} f = {call};"]
        h, r, carry = (x for x, _ in self.printer.items(printed.returns, "f"))
        scale = self.printer.scaling(Record(self.r, FLOAT64))
        lines += [f"u->h = {h};"] if self.h._fields else []
        lines += [f"u->r = {scale}({r}, c->lr_scale);"]
        lines += [f"*carry = {carry};"] if rule.carry else []
        return [" " * indent + x for x in lines]

    # --- Loops --------------------------------------------------------------------------------------------------------

    def loops(self, kind: Scalar) -> Iterator[str]:
        """Print the element in each form, and return the loops."""
        for form in FORMS:
            element = make_element(  # type: ignore[no-untyped-call]
                self.rule.update, scaled, form.by_element, itself, self.rule.sets
            )
            state = Tuple((kind,) * len(self.rule.slots))
            said = f"One element's parameter{' and state' if self.rule.slots else ''} after an update by {self.name}."
            printed = self.printer.function(
                element,
                [kind, kind, kind, state, Record(self.h, kind), Record(self.r, kind), kind, Record(Common, kind)],
                name=f"{self.name}_element{form.suffix}{C.suffixes[kind]}",
                bound={"decays": form.decays},
                comment=said,
            )
            yield self.loop(printed, kind, form)

    def loop(self, element: Printed, kind: Scalar, form: Form) -> str:
        """Return the loop over the elements of a range."""
        real, suffix, n = REALS[kind], C.suffixes[kind], len(self.rule.slots)
        loaded = [f"s{j}[i]" for j in range(n)]
        state = f"(struct {('two', 'three')[n - 2]}{suffix}){{{', '.join(loaded)}}}" if n > 1 else "".join(loaded)
        arrays = [f"{real} *restrict s{j}" for j in range(MAX_STATES)]
        head = (
            f"static FASTLR_CLONES void {self.loop_name(kind, form)}(const union update{suffix} *update, size_t n, "
            f"{real} *restrict p, const {real} *restrict g, const {real} *restrict k, {', '.join(arrays)})"
        )
        unused = ([] if form.by_element else ["k"]) + [f"s{j}" for j in range(n, MAX_STATES)]
        lines = [
            f"const struct {self.name}_update{suffix} u = update->{self.name};",
            *(f"(void){x};" for x in unused),
            *(["FASTLR_UNROLL"] if n < 2 else []),  # bound by loads and stores
            "for (size_t i = 0; i < n; i++) {",
        ]
        call = element.call("p[i]", "g[i]", "k[i]", state, "u.h", "u.r", "u.grad_scale", "u.common")
        if n:
            lines.append(f"    const {self.printer.type_text(element.returns)} e = {call};")
            (p, _), (s, states) = self.printer.items(element.returns, "e")
            lines.append(f"    p[i] = {p};")
            lines += [f"    s{j}[i] = {x};" for j, (x, _) in enumerate(self.printer.items(states, s))]
        else:
            lines.append(f"    p[i] = {call};")
        body = "\n".join(y for x in [*lines, "}"] for y in wrapped(f"    {x}"))
        return "\n".join([*wrapped(head), "{", body, "}", ""])

    def loop_name(self, kind: Scalar, form: Form) -> str:
        """Return the name of a loop."""
        return f"update_{self.name}{form.suffix}{C.suffixes[kind]}"

    def table(self, name: str) -> str:
        """Return the table with the functions of a rule."""
        loops = [
            "{" + ",\n        ".join(self.loop_name(kind, form) for form in FORMS) + "}" for kind in (FLOAT32, FLOAT64)
        ]
        listed = ",\n    ".join([f"fold_{name}", f"round_{self.name}", *loops])
        return f"static const struct rule rule_{name} = {{\n    {listed},\n}};\n"


_UNION = """\
/* Numbers of one update by any rule; all begin as `any` does. */
union update{suffix} {{
    struct {{
        {real} grad_scale;
        struct common{suffix} common;
    }} any;
{members}}};
"""
_RULE = """\
typedef void loop_f32(const union update_f32 *update, size_t n, float *restrict p, const float *restrict g,
        const float *restrict k, float *restrict s0, float *restrict s1, float *restrict s2);
typedef void loop_f64(const union update_f64 *update, size_t n, double *restrict p, const double *restrict g,
        const double *restrict k, double *restrict s0, double *restrict s1, double *restrict s2);

/* A rule. Its loops are without weight decay, with it, and both again with a rate per element. */
struct rule {
    void (*fold)(int convention, const struct hyper *c, double t, double *carry, double grad_scale,
            union update_f64 *out);
    void (*round)(const union update_f64 *given, union update_f32 *out);
    loop_f32 *loops_f32[4];
    loop_f64 *loops_f64[4];
};
"""


def rules_text(printer: Printer) -> str:
    """Return the text of all rules. What it needs is printed before it."""
    parts = [hyper_text()]
    start = len(printer.parts)
    updates = dict.fromkeys(rule.update for rule in RULES.values())
    printer.function(contract.common_numbers, [ROW])
    texts = [RuleText(printer, update) for update in updates]
    printer.parts.append("")
    for text in texts:
        for kind in (FLOAT32, FLOAT64):
            for _, record in text.numbers(kind):
                printer.record_name(record)
            printer.parts.append(text.struct(kind))
    for kind in REALS:
        suffix = C.suffixes[kind]
        members = "".join(f"    struct {text.name}_update{suffix} {text.name};\n" for text in texts)
        printer.parts.append(_UNION.format(suffix=suffix, real=REALS[kind], members=members))
    printer.parts.append(_RULE)
    name_tuples(printer)
    for text in texts:
        printer.parts.append(f"/* --- {text.name} {'-' * (110 - len(text.name))} */\n")
        for kind in (FLOAT32, FLOAT64):
            printer.suffix, printer.selects = C.suffixes[kind], True
            for loop in text.loops(kind):
                printer.parts.append(loop)
        printer.suffix, printer.selects = "", False
        printer.parts.append(text.rounding())
        for name in text.rules:
            fold = text.fold(name)
            printer.parts += [fold, text.table(name)]
    parts += printer.parts[start:]
    del printer.parts[start:]
    return "\n".join(x for x in parts if x)
