"""The arguments that all optimizers share: declared and explained here alone."""

from collections.abc import Mapping
from typing import Any

from .fields import Arrays, Convention, Decay, Declared, GroupList, Number, RateScale, argument


class Options(Declared):
    """Arguments of every optimizer. Their explanations become part of each class's help (`documented`)."""

    __slots__ = ()

    params: Arrays = argument(
        kw_only=False,
        kind="array, dict or list of arrays, or Flat",
        text="What is updated in place: C-contiguous, writeable float32 or float64 arrays of any shape, one, or in "
        'dicts and lists nested at will (names join by "."), or a `Flat`. Arrays of other libraries are taken by '
        "DLPack or "
        "``__cuda_array_interface__``. Never copied.",
    )
    lr: Number = Number(
        default=None,
        kw_only=False,
        kind="float >= 0, Schedule or callable",
        text="Learning rate. A schedule or callable is called once per update with the update's index, from 0. The "
        "attribute is the rate of the next update, before lr_scale: ``opt.lr *= 0.5`` replaces a schedule by a number, "
        'where ``opt.groups[0]["lr"] *= 0.5`` scales it.',
    )
    weight_decay: Number = Number(
        default=None, kind="float >= 0, Schedule or callable", text="How much the parameters decay."
    )
    decay: Decay = Decay(
        default=None,
        kind='{"coupled", "decoupled", "independent"}',
        text="How: coupled adds ``weight_decay * p`` to the gradient; decoupled multiplies p by ``1 - lr * lr_scale * "
        "weight_decay`` with this update's rate before the update; independent multiplies it by ``1 - weight_decay``.",
    )
    lr_scale: RateScale = RateScale(
        default=1.0,
        kind="float >= 0, Schedule, callable, or arrays like params",
        text="Factor of the rate, for all elements or for each its own: the rate as a diagonal matrix. Arrays are read "
        "at every step, never copied. Where it is 0 the parameter keeps its bits, whatever the gradient and the decay.",
    )
    groups: GroupList = GroupList(
        default=None,
        kind="list of dict",
        text='Hyperparameters for some of the arrays: ``{"params": "head.*", "lr": 1e-4}``. "params" is a name, a '
        "glob, an index or a list of these. If several groups match an array, the first is used.",
    )
    convention: Convention | None = argument(
        default=None,
        kind='{"torch", "keras", "optax"}',
        text="Which library's formula and defaults are used (docs/conventions.md). By default torch's; optax's, "
        'or else Keras\', where torch lacks the optimizer. Under "optax" `lr` must be given.',
    )
    maximize: bool = argument(default=False, kind="bool", text="Ascend instead of descend.")
    threads: int | None = argument(
        default=None,
        kind="int from 1 to 1024",
        text="Most threads that a step may use. By default PYFASTLR_NUM_THREADS, or the cores that the process may "
        "use, at most NUMBA_NUM_THREADS and OMP_NUM_THREADS. The results have the same bits for any number.",
    )
    capturable: bool = argument(
        default=False,
        kind="bool",
        text="For parameters on a CUDA device: keep counts and hyperparameters there and evaluate schedules there, so "
        "that a CUDA graph can replay the step.",
    )


def documented(doc: str, fields: Mapping[str, Any]) -> str:
    """Docstring of a class with the arguments that it has not explained itself, behind those that it has."""
    head, mark, rest = doc.partition("\n    Raises\n")
    lines = [""]
    for name, x in fields.items():
        if f"\n    {name} : " not in head:
            default = "" if x.default in (None, 1.0) or not isinstance(x.default, bool) else f", default {x.default}"
            lines += [f"    {name} : {x.kind}{default}", *_wrapped(x.text)]
    return head.rstrip() + "\n".join(lines) + "\n" + mark + rest


def _wrapped(text: str) -> list[str]:
    import textwrap

    return textwrap.wrap(text, width=112, initial_indent=" " * 8, subsequent_indent=" " * 8)
