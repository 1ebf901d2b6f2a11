"""The arguments that all optimizers share, declared and explained only here."""

import inspect
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Literal, get_args

from pyfastlr.engines.hyper import BELOW_ONE, LIMIT

from .fields import Arrays, Convention, Decay, Declared, GroupList, Number, OptionalNumber, RateScale, argument
from .loss_scale import LossScale

_DECAYS = {
    "coupled": '"coupled" adds ``weight_decay * p`` to the gradient.',
    "decoupled": 'Before the update, "decoupled" multiplies p by ``1 - lr * lr_scale * weight_decay`` with the rate of '
    "this update.",
    "independent": 'Before the update, "independent" multiplies p by ``1 - weight_decay``.',
}
_CLIP_FACTORS = {"torch": "min(1, c / (N + 1e-6))", "keras": "c / max(N, c)", "optax": "c / max(N, c)"}
_LIMIT_KIND = "float > 0, Schedule or callable, optional"


def _set(names: Iterable[str]) -> str:
    """Names as a type in the help."""
    return f"{{{', '.join(_quoted(names))}}}"


def _quoted(names: Iterable[str]) -> list[str]:
    return [f'"{name}"' for name in names]


def _decays_text(kinds: Sequence[str]) -> str:
    """Explain the kinds of weight decay that a class supports. The default depends on the convention."""
    return " ".join(["How weight decay is applied.", *(_DECAYS[kind] for kind in kinds)])


def _conventions_text(conventions: Mapping[str, Mapping[str, Any]]) -> str:
    """Explain the conventions of a class."""
    names = _quoted(conventions)
    without_rate = _quoted(name for name, defaults in conventions.items() if defaults["lr"] is None)
    default = f"The default is {names[0]}." if len(names) > 1 else "The other libraries lack this optimizer."
    needs = [f"With {' or '.join(without_rate)}, `lr` must be given."] if without_rate else []
    return " ".join(["Library whose formula and defaults are used (docs/conventions.md).", default, *needs])


def _clip_text(conventions: Mapping[str, Any]) -> str:
    """Explain how a gradient is clipped under the conventions of a class."""
    factors: dict[str, list[str]] = {}
    for name in conventions or get_args(Convention):
        factors.setdefault(_CLIP_FACTORS[name], []).append(f'"{name}"')
    shown = [
        f"``{factor}``" + (f" ({', '.join(names)})" if len(factors) > 1 else "") for factor, names in factors.items()
    ]
    return (
        f"Largest norm c of the gradient. Its norm N is that of all elements of all arrays, and each element is "
        f"multiplied by {' or '.join(shown)}. A group that sets its own is clipped by its own norm, and left out of N. "
        f"With ``inf``, the norm is only measured: ``opt.stats.grad_norm``."
    )


class Options(Declared):
    """Arguments of every optimizer. `documented` adds their explanations to each class's help."""

    __slots__ = ()

    conventions: ClassVar[Mapping[str, Mapping[str, Any]]] = {}  # and their defaults; the first one is the default
    decays: ClassVar[Sequence[str]] = tuple(_DECAYS)  # kinds of weight decay that it supports

    params: Arrays = argument(
        kw_only=False,
        kind="array, dict or list of arrays, or Flat",
        text="Parameters to update in place: an array, a dict or list of arrays, nested freely (names are joined by "
        '"."), or a `Flat`. The arrays must be C-contiguous and writeable, of any shape, and all float32, float64, '
        "float16 or bfloat16 (ml_dtypes'). With float32, gradients may be float16 or bfloat16 too. Arrays of "
        "other libraries are accepted through DLPack or ``__cuda_array_interface__``. Nothing is copied.",
    )
    lr: Number = Number(
        default=None,
        kw_only=False,
        kind="float >= 0, Schedule or callable",
        text="Learning rate. A schedule or callable is called once per update with the update's index, from 0. The "
        "attribute is the rate of the next update, before `lr_scale`. ``opt.lr *= 0.5`` therefore replaces a schedule "
        'by a number; ``opt.groups[0]["lr"] *= 0.5`` scales the schedule.',
    )
    weight_decay: Number = Number(
        default=None,
        kind="float >= 0, Schedule or callable",
        text="Strength of the weight decay. `decay` says how it is applied.",
    )
    decay: Decay = Decay(
        default=None,
        described_for=lambda cls: (_set(cls.decays), _decays_text(cls.decays)),
    )
    lr_scale: RateScale = RateScale(
        default=1.0,
        kind="float >= 0, Schedule, callable, or arrays like params",
        text="Factor of the rate: one for all elements, or arrays with one per element (the rate as a diagonal "
        "matrix). Arrays are read at every step, never copied. Where the factor is 0, the parameter keeps its exact "
        "bits, whatever the gradient and the decay.",
    )
    clip_norm: OptionalNumber = OptionalNumber(
        default=None,
        allowed=LIMIT,
        described_for=lambda cls: (_LIMIT_KIND, _clip_text(cls.conventions)),
    )
    clip_norm_each: OptionalNumber = OptionalNumber(
        default=None,
        allowed=LIMIT,
        text="Largest norm of the gradient of each array. It is multiplied by the factor of `clip_norm`, with its "
        "own norm as N, after `clip_norm`. A group may set its own.",
    )
    clip_value: OptionalNumber = OptionalNumber(
        default=None,
        allowed=LIMIT,
        text="Clip each element of the gradient to ``[-clip_value, clip_value]``, before `clip_norm`. NaN stays NaN. A "
        "group may set its own.",
    )
    ema_decay: OptionalNumber = OptionalNumber(
        default=None,
        allowed=BELOW_ONE,
        text="Decay d of an exponential moving average of the parameters, ``opt.ema``. After the first update, the "
        "average is p. After each later one, it is ``d * average + (1 - d) * p``. A group may set its own; for arrays "
        "that have none, d is 0, so the average is p. If you set the attribute to None, the average stays as it is "
        "until a number or schedule continues it.",
    )
    groups: GroupList = GroupList(
        default=None,
        kind="list of dict",
        text='Hyperparameters for some of the arrays: ``{"params": "head.*", "lr": 1e-4}``. "params" is a name, a '
        "glob, an index, a function of the name that returns True or False, or a list of these. If several groups "
        "match an array, the first is used. Arrays in no group use the optimizer's settings. In ``opt.groups``, these "
        "settings come first, then your groups. A function is called once per name, by the constructor.",
    )
    convention: Convention | None = argument(
        default=None,
        described_for=lambda cls: (_set(cls.conventions or get_args(Convention)), _conventions_text(cls.conventions)),
    )
    nonfinite: Literal["propagate", "raise", "skip"] = argument(
        default="propagate",
        kind='{"propagate", "raise", "skip"}',
        text="What a step does if an element of the gradient is infinite or NaN: update with it, raise "
        "FloatingPointError, or skip the step. A step that raises or is skipped is not counted: parameters, state, "
        "schedules and average stay as they are.",
    )
    zero_grad: bool = argument(
        default=False,
        kind="bool",
        text="Set the gradients to zero once they have been used, for code that adds to them. A skipped step also sets "
        "them to zero; a step that raises does not. They must be writeable, and no two of them may share memory.",
    )
    accumulate: int = argument(
        default=1,
        kind="int >= 1",
        text="Number of calls of `step` that make one update, from the mean of their gradients. ``opt.steps``, counts "
        "and schedules count updates. A skipped call is not one of the calls. If an array has None in some of them, "
        "that is a gradient of zero; if in all, the array is not updated.",
    )
    accumulate_mode: Literal["mean", "sum"] = argument(
        default="mean", kind='{"mean", "sum"}', text="Whether an update uses the mean or the sum of the gradients."
    )
    copy_to: Arrays | None = argument(
        default=None,
        kind="like params, optional",
        text="Arrays to which each update also writes the parameters, with their dtype. Those of float32 parameters "
        "may be bfloat16 or float16 too, and get the nearest numbers; those of parameters of 16 bits are float32 or "
        "of 16 bits. They are not written before the first update, or by loading a state. They may not overlap the "
        "parameters or each other.",
    )
    loss_scale: LossScale | None = argument(
        default=None,
        kind="LossScale, optional",
        text="Dynamic scale of the loss, such as ``LossScale()``. Multiply each loss by ``opt.loss_scale.scale``. The "
        'step divides the gradient by it. It implies ``nonfinite="skip"``, and a skipped step lowers the scale.',
    )
    measure: Sequence[str] = argument(
        default=(),
        kind="sequence of str",
        text='What else to measure for ``opt.stats``: "update_norm", "param_norm", and "per_tensor", which gives the '
        "numbers of each array. The norm of the gradient is then measured too.",
    )
    state_dtype: Literal["bfloat16", "int8"] | None = argument(
        default=None,
        kind='{"bfloat16", "int8"}, optional',
        text="Store the state in fewer bytes: 2 per number, or 1 and a scale per 256 numbers. Updates are computed in "
        "float32, and the state is rounded stochastically. Arrays of fewer than 4,096 elements stay in float32 with "
        '"int8". For float32 parameters in host memory, and for optimizers whose state are averages. A group may set '
        "its own in the constructor (docs/low_precision.md).",
    )
    precision: Literal["master", "stochastic", "kahan"] | None = argument(
        default=None,
        kind='{"master", "stochastic", "kahan"}, optional',
        text="How parameters of 16 bits keep what an update adds below their last place. Updates are computed in "
        'float32. "master", the default: the state has the parameters in float32, and the arrays have the nearest '
        'numbers. "stochastic": they are rounded up or down at random, so that the mean is exact. "kahan": the state '
        "has what rounding to nearest has lost, as int16; with bfloat16, both together are exactly the float32. A "
        "number that you write into the parameters is used by the next step (docs/low_precision.md).",
    )
    uint16_as: Literal["bfloat16", "float16"] | None = argument(
        default=None,
        kind='{"bfloat16", "float16"}, optional',
        text="What arrays of uint16 among parameters, gradients and `copy_to` have: the bits of such numbers. For "
        "bfloat16 without the package ml_dtypes.",
    )
    seed: int = argument(
        default=0,
        kind="int",
        text="Seed of the stochastic rounding. The rounding depends on it, the array, its update count and the "
        "element, so the results are the same, bit for bit, for any number of threads and after a resume.",
    )
    maximize: bool = argument(default=False, kind="bool", text="Ascend the gradient instead of descending it.")
    catch_up: bool = argument(
        default=False,
        kind="bool",
        text="How a step with `Rows` treats the other rows of that array. False: they keep value and state. True: they "
        "get what a gradient of zero would have done, when they are next needed or by ``sync_rows``. Then the results "
        "are those of a gradient with zeros in these rows, bit for bit.",
    )
    threads: int | None = argument(
        default=None,
        kind="int from 1 to 1024",
        text="Maximum number of threads for a step. The default is PYFASTLR_NUM_THREADS, or else the number of cores "
        "that the process may use, at most NUMBA_NUM_THREADS and OMP_NUM_THREADS. The results are the same, bit for "
        "bit, for any number.",
    )
    capturable: bool = argument(
        default=False,
        kind="bool",
        text="For parameters on a CUDA device: keep counts and hyperparameters on the device and evaluate schedules "
        "there, so that a CUDA graph can replay the step.",
    )


def documented(cls: type[Options]) -> str:
    """Docstring of a class with all arguments: the class's own line and remarks, and the explanation from its field."""
    doc, fields = cls.__doc__ or "", cls.fields
    head, mark, rest = inspect.cleandoc(doc).partition("\nRaises\n------\n")  # Python 3.13 has removed the indent
    intro, title, entries = head.partition("Parameters\n----------\n")
    own: dict[str, list[str]] = {}
    for entry in re.split(r"\n(?=\w)", entries.strip()):
        own[entry.split(" : ")[0]] = entry.splitlines()
    first = [name for name, x in fields.items() if not x.kw_only]
    special = [name for name in fields if name not in Options.fields]
    lines = []
    for name in dict.fromkeys([*first, *special, *fields]):
        x = fields[name]
        kind, text = x.described(cls)
        default = f", default {x.default}" if isinstance(x.default, bool) else ""
        line, *remarks = own.get(name) or [f"{name} : {kind}{default}"]
        lines += [line, *_wrapped(text), *remarks]
    title = title or "\n\nParameters\n----------\n"
    return intro + title + "\n".join(lines) + "\n" + mark + rest


def _wrapped(text: str) -> list[str]:
    import textwrap

    return textwrap.wrap(text, width=116, initial_indent=" " * 4, subsequent_indent=" " * 4)
