"""How an optimizer class declares its arguments: once, for the constructor, attributes, help and type checkers.

A class body has one line per argument, ``eps: Number = Number(default=1e-8)``. These lines define the constructor's
signature (`Declared`), for type checkers too (`dataclass_transform`), and an attribute each. The attribute of a
hyperparameter reads and sets the value of the base group; the others are read-only.
"""

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, dataclass_transform, overload, runtime_checkable

import numpy as np

from pyfastlr.engines.hyper import AT_LEAST_ZERO, Range, declare_pair
from pyfastlr.schedules.checks import suggestion

Convention = Literal["torch", "keras", "optax"]
DecayKind = Literal["coupled", "decoupled", "independent"]
NumberLike = float | Callable[[int], float]  # a number, a schedule or any callable n -> float


@runtime_checkable
class _OnHost(Protocol):
    def __dlpack__(self) -> Any: ...


@runtime_checkable
class _OnDevice(Protocol):
    @property
    def __cuda_array_interface__(self) -> Any: ...


Arrays = np.ndarray[Any, Any] | Sequence[Any] | Mapping[Any, Any] | _OnHost | _OnDevice
NOT_GIVEN: Any = inspect.Parameter.empty


class Argument:
    """An argument of the constructor, and a read-only attribute.

    Parameters
    ----------
    default
        Value if the argument is left out.
    kw_only
        Whether it must be given by name.
    allowed
        Range of a number.
    of_convention
        Whether only conventions that have it accept it. None is the convention's default.
    kind, text
        Type and explanation in the help.
    described_for
        Gives both for a class, if they depend on the class.
    """

    is_hyperparameter = False

    def __init__(
        self,
        *,
        default: Any = NOT_GIVEN,
        kw_only: bool = True,
        allowed: Range = AT_LEAST_ZERO,
        of_convention: bool = False,
        kind: str = "",
        text: str = "",
        described_for: Callable[[Any], tuple[str, str]] | None = None,
    ) -> None:
        self.default, self.kw_only, self.allowed, self.kind, self.text = default, kw_only, allowed, kind, text
        self.of_convention, self.described_for = of_convention, described_for
        self.name = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def described(self, cls: type) -> tuple[str, str]:
        """Type and explanation in the help of a class."""
        return self.described_for(cls) if self.described_for else (self.kind, self.text)

    def ranges(self) -> dict[str, Range]:
        """Range of each row field that the argument sets."""
        return {self.name: self.allowed}

    def __get__(self, obj: Any, cls: Any = None) -> Any:
        return self if obj is None else obj._given[self.name]

    def __set__(self, obj: Any, value: Any) -> None:
        raise AttributeError(f"`{self.name}` of {type(obj).__name__} cannot be changed: build a new optimizer")


@overload
def argument(*, kw_only: bool = True, kind: str = "", text: str = "") -> Any: ...
@overload
def argument(
    *,
    default: Any,
    kw_only: bool = True,
    allowed: Range = ...,
    of_convention: bool = False,
    kind: str = "",
    text: str = "",
    described_for: Callable[[Any], tuple[str, str]] | None = None,
) -> Any: ...
def argument(**options: Any) -> Any:
    """Declare an argument that is not a hyperparameter. The annotation is its type."""
    return Argument(**options)


class _Hyperparameter(Argument):
    """A hyperparameter. The attribute is the base group's value for the next update."""

    is_hyperparameter = True

    what = ""

    def __init__(self, *, default: Any = None, kw_only: bool = True, **options: Any) -> None:
        super().__init__(default=default, kw_only=kw_only, of_convention=default is None and kw_only, **options)
        self.kind = self.kind or self.what.format(
            self.allowed.words.replace("a finite number", "float").replace("a number", "float")
        )

    def __get__(self, obj: Any, cls: Any = None) -> Any:
        if obj is None:
            return self
        hyper, name = obj._hyper, self.name
        if name not in hyper.known:
            raise obj._missing_error(name)
        return hyper.number(0, name)

    def __set__(self, obj: Any, value: Any) -> None:
        hyper, name = obj._hyper, self.name
        # Fast path: replace a number by a number, by one store. It takes 0.3 us, `assign` 2 to 10.
        if type(value) is float and not hyper.owner[0] and hyper.notify is None:
            with hyper.lock.held:
                settings = hyper.current
                quick = settings.quick.get(name)
                if quick is not None and quick.low <= value <= quick.high:
                    settings.view[quick.cell] = value
                    return
        if name not in hyper.known:
            raise obj._missing_error(name)
        hyper.assign(0, name, value)


class Number(_Hyperparameter):
    """A hyperparameter that is a number or a schedule. Reading it gives the number for the next update."""

    what = "{}, Schedule or callable"

    if TYPE_CHECKING:

        @overload
        def __get__(self, obj: None, cls: Any = None) -> "Number": ...
        @overload
        def __get__(self, obj: object, cls: Any = None) -> float: ...
        def __get__(self, obj: Any, cls: Any = None) -> Any: ...
        def __set__(self, obj: Any, value: NumberLike | None) -> None: ...


class OptionalNumber(Number):
    """A number, a schedule, or None for an option that is off."""

    what = "{}, Schedule or callable, optional"

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.of_convention = False

    if TYPE_CHECKING:

        @overload  # type: ignore[override]  # a number, but for None
        def __get__(self, obj: None, cls: Any = None) -> "OptionalNumber": ...
        @overload
        def __get__(self, obj: object, cls: Any = None) -> float | None: ...
        def __get__(self, obj: Any, cls: Any = None) -> Any: ...
    else:

        def __get__(self, obj: Any, cls: Any = None) -> Any:
            if obj is None:
                return self
            return obj._hyper.number(0, self.name) if obj._hyper.has(0, self.name) else None


class StartNumber(Number):
    """A number per group that initializes state. It cannot be a schedule or change; `why` is the reason in errors."""

    what = "{}"

    def __init__(self, *, why: str, default: Any = None, kw_only: bool = True, **options: Any) -> None:
        super().__init__(default=default, kw_only=kw_only, **options)
        self.why = why

    if not TYPE_CHECKING:

        def __set__(self, obj: Any, value: Any) -> None:
            raise AttributeError(f"`{self.name}` of {type(obj).__name__} cannot be changed: {self.why}")


class Pair(_Hyperparameter):
    """A pair of hyperparameters, stored in two row fields, each with its range."""

    what = "pair of {}, Schedule or callable"

    def __init__(
        self,
        *,
        default: Any = None,
        fields: tuple[str, str] = ("beta1", "beta2"),
        allowed: Range | tuple[Range, Range] = AT_LEAST_ZERO,
        **options: Any,
    ) -> None:
        both = (allowed, allowed) if isinstance(allowed, Range) else allowed
        super().__init__(default=default, allowed=both[0], **options)
        self.fields, self.both = fields, both

    def __set_name__(self, owner: type, name: str) -> None:
        super().__set_name__(owner, name)
        first, second = (
            x.words.replace("a number", "numbers").replace("a finite number", "finite numbers") for x in self.both
        )
        declare_pair(
            name, self.fields, first if first == second else f"numbers, {self.both[0].words} and {self.both[1].words}"
        )

    def ranges(self) -> dict[str, Range]:
        """Range of each of the two fields."""
        return dict(zip(self.fields, self.both, strict=True))

    if TYPE_CHECKING:

        @overload
        def __get__(self, obj: None, cls: Any = None) -> "Pair": ...
        @overload
        def __get__(self, obj: object, cls: Any = None) -> tuple[float, float]: ...
        def __get__(self, obj: Any, cls: Any = None) -> Any: ...
        def __set__(self, obj: Any, value: tuple[NumberLike, NumberLike] | Sequence[float] | None) -> None: ...


class RateScale(_Hyperparameter):
    """A factor of the rate: a number, a schedule, or arrays like the parameters. Reading it gives what was set."""

    @overload
    def __get__(self, obj: None, cls: Any = None) -> "RateScale": ...
    @overload
    def __get__(self, obj: object, cls: Any = None) -> Any: ...
    def __get__(self, obj: Any, cls: Any = None) -> Any:
        return self if obj is None else obj.groups[0][self.name]

    def __set__(self, obj: Any, value: NumberLike | Arrays) -> None:
        super().__set__(obj, value)


class Decay(_Hyperparameter):
    """The kind of weight decay."""

    @overload
    def __get__(self, obj: None, cls: Any = None) -> "Decay": ...
    @overload
    def __get__(self, obj: object, cls: Any = None) -> DecayKind: ...
    def __get__(self, obj: Any, cls: Any = None) -> Any:
        return self if obj is None else obj.groups[0][self.name]

    def __set__(self, obj: Any, value: DecayKind | None) -> None:
        super().__set__(obj, value)


class GroupList(Argument):
    """Groups: given as a list of dicts, read as a tuple of `Group`."""

    @overload
    def __get__(self, obj: None, cls: Any = None) -> "GroupList": ...
    @overload
    def __get__(self, obj: object, cls: Any = None) -> tuple[Any, ...]: ...
    def __get__(self, obj: Any, cls: Any = None) -> Any:
        return self if obj is None else obj._groups

    def __set__(self, obj: Any, value: Sequence[Mapping[str, Any]] | None) -> None:
        raise AttributeError(
            f"`groups` of {type(obj).__name__} cannot be replaced: set a group's values, as in groups[1]['lr'] = 1e-4"
        )


# Names of arguments in other libraries, and advice for each.
_FOREIGN_NAMES = {
    "learning_rate": "use `lr`",
    "amsgrad": "use the class `AMSGrad`",
    "beta": "use `betas`",
    "beta_1": "use `betas`",
    "beta_2": "use `betas`",
    "b1": "use `betas`",
    "b2": "use `betas`",
    "beta1": "use `betas`",
    "beta2": "use `betas`",
    "epsilon": "use `eps`",
    "decay_rate": "use `alpha`",
    "parameters": "use `params`",
    "foreach": "leave it out, all arrays are updated in one call",
    "fused": "leave it out, every step is fused",
    "differentiable": "pyfastlr has no autodiff",
    "clipnorm": "use `clip_norm_each`, or `clip_norm` for the norm of all arrays",
    "global_clipnorm": "use `clip_norm`",
    "max_norm": "use `clip_norm`",
    "max_grad_norm": "use `clip_norm`",
    "clipvalue": "use `clip_value`",
    "use_ema": "use `ema_decay`",
    "ema_momentum": "use `ema_decay`",
    "gradient_accumulation_steps": "use `accumulate`",
    "every_k_schedule": "use `accumulate`",
    "loss_scale_factor": "pass its inverse to `step` as `inv_scale`",
    "scheduler": "use `lr`, which accepts a schedule",
    "schedule": "use `lr`, which accepts a schedule",
}


def hint(name: str, known: Iterable[str]) -> str:
    """End of an error about an unknown argument: advice for another library's name, or the closest known one."""
    return f": {_FOREIGN_NAMES[name]}" if name in _FOREIGN_NAMES else suggestion(name, known)


@dataclass_transform(
    kw_only_default=True,
    field_specifiers=(argument, Number, OptionalNumber, StartNumber, Pair, RateScale, Decay, GroupList),
)
class Declared:
    """Base of classes whose fields are the constructor's arguments."""

    __slots__ = ()
    fields: ClassVar[dict[str, Argument]] = {}

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        own = {name: x for name, x in vars(cls).items() if isinstance(x, Argument)}
        cls.fields = {**cls.fields, **own}
        parameter, shown = inspect.Parameter, []
        # The class's own arguments follow `lr`; the common ones come last.
        first = [x for x in cls.fields.values() if not x.kw_only]
        order = [*first, *own.values(), *cls.fields.values()]
        for x in dict.fromkeys(order):
            kind = parameter.KEYWORD_ONLY if x.kw_only else parameter.POSITIONAL_OR_KEYWORD
            annotation = x.described(cls)[0] or NOT_GIVEN
            shown.append(parameter(x.name, kind, default=x.default, annotation=annotation))
        cls.__signature__ = inspect.Signature(shown)  # type: ignore[attr-defined]

    @classmethod
    def _ranges(cls) -> dict[str, Range]:
        """Range of each hyperparameter and number, by row field."""
        return {field: allowed for x in cls.fields.values() for field, allowed in x.ranges().items()}

    @classmethod
    def _arguments(cls, positional: Sequence[Any], named: Mapping[str, Any]) -> dict[str, Any]:
        """All arguments of a constructor call, with the defaults of those left out."""
        for name in named:
            if name not in cls.fields:
                raise TypeError(f"{cls.__name__}() got an unexpected argument `{name}`{hint(name, cls.fields)}")
        first = [x.name for x in cls.fields.values() if not x.kw_only]
        if len(positional) > len(first):
            takes = f"{len(first)} positional arguments ({', '.join(first)})"
            raise TypeError(f"{cls.__name__}() takes {takes}, got {len(positional)}: pass the others by name")
        given = dict(zip(first, positional, strict=False))
        doubled = sorted(given.keys() & named.keys())
        if doubled:
            raise TypeError(f"{cls.__name__}() got `{doubled[0]}` twice")
        given.update(named)
        values = {name: given.get(name, x.default) for name, x in cls.fields.items()}
        for name, value in values.items():
            if value is NOT_GIVEN:
                raise TypeError(f"{cls.__name__}() needs the argument `{name}`")
        return values
