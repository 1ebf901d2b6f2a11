"""How an optimizer class declares its arguments: once, for its constructor, its attributes, its help and type checkers.

A class body has one line for each argument, ``eps: Number = Number(default=1e-8)``. From these lines come the
constructor's signature (`Declared`), for type checkers too (`dataclass_transform`), and an attribute: a hyperparameter
reads and sets the base group's, anything else is read-only.
"""

import difflib
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, dataclass_transform, overload, runtime_checkable

import numpy as np

from pyfastlr.engines.hyper import AT_LEAST_ZERO, Range, declare_pair

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
    """An argument of a constructor, and a read-only attribute.

    Parameters
    ----------
    default
        What leaving it out means.
    kw_only
        Whether it must be given by its name.
    allowed
        Range of a number.
    of_convention
        Whether it may be given only where the convention has it; None for its default.
    kind, text
        Its type and explanation in the help.
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
    ) -> None:
        self.default, self.kw_only, self.allowed, self.kind, self.text = default, kw_only, allowed, kind, text
        self.of_convention = of_convention
        self.name = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def ranges(self) -> dict[str, Range]:
        """Range of each field of a row that it is."""
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
) -> Any: ...
def argument(**options: Any) -> Any:
    """Declare an argument that is not a hyperparameter; its type is the annotation's."""
    return Argument(**options)


class _Hyperparameter(Argument):
    """A hyperparameter: the attribute is the base group's, for the next update."""

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
            raise obj._has_none(name)
        return hyper.number(0, name)

    def __set__(self, obj: Any, value: Any) -> None:
        hyper, name = obj._hyper, self.name
        # Another number for a number, by one store: 0.3 us, where `assign` takes 2 to 10.
        if type(value) is float and not hyper.owner[0] and hyper.notify is None:
            with hyper.lock.held:
                settings = hyper.current
                quick = settings.quick.get(name)
                if quick is not None and quick.low <= value <= quick.high:
                    settings.view[quick.cell] = value
                    return
        if name not in hyper.known:
            raise obj._has_none(name)
        hyper.assign(0, name, value)


class Number(_Hyperparameter):
    """A hyperparameter that is a number or a schedule; read, it is the number for the next update."""

    what = "{}, Schedule or callable"

    if TYPE_CHECKING:

        @overload
        def __get__(self, obj: None, cls: Any = None) -> "Number": ...
        @overload
        def __get__(self, obj: object, cls: Any = None) -> float: ...
        def __get__(self, obj: Any, cls: Any = None) -> Any: ...
        def __set__(self, obj: Any, value: NumberLike | None) -> None: ...


class StartNumber(Number):
    """A number of each group that state starts at: no schedule, and not to be changed; `why` says what it is."""

    what = "{}"

    def __init__(self, *, why: str, default: Any = None, kw_only: bool = True, **options: Any) -> None:
        super().__init__(default=default, kw_only=kw_only, **options)
        self.why = why

    if not TYPE_CHECKING:

        def __set__(self, obj: Any, value: Any) -> None:
            raise AttributeError(f"`{self.name}` of {type(obj).__name__} cannot be changed: {self.why}")


class Pair(_Hyperparameter):
    """Two of them: the fields of a row with these names, each with its range."""

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
    """A factor of the rate: a number, a schedule, or arrays like the parameters; read, it is what was set."""

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
            f"`groups` of {type(obj).__name__} cannot be replaced: set a group's own, as in groups[1]['lr'] = 1e-4"
        )


# What users of other libraries write, and what it is here.
_ELSEWHERE = {
    "learning_rate": "`lr`",
    "amsgrad": "the class `AMSGrad`",
    "beta": "`betas`",
    "beta_1": "`betas`",
    "beta_2": "`betas`",
    "b1": "`betas`",
    "b2": "`betas`",
    "beta1": "`betas`",
    "beta2": "`betas`",
    "epsilon": "`eps`",
    "decay_rate": "`alpha`",
    "parameters": "`params`",
    "foreach": "nothing: all arrays are updated in one call anyway",
    "fused": "nothing: every step is fused",
    "differentiable": "another library: there is no autodiff here",
    "clipnorm": "`pyfastlr` has no clipping yet",
    "scheduler": "`lr`, which takes a schedule",
    "schedule": "`lr`, which takes a schedule",
}


@dataclass_transform(
    kw_only_default=True, field_specifiers=(argument, Number, StartNumber, Pair, RateScale, Decay, GroupList)
)
class Declared:
    """Base of classes whose arguments are their fields."""

    __slots__ = ()
    fields: ClassVar[dict[str, Argument]] = {}

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        own = {name: x for name, x in vars(cls).items() if isinstance(x, Argument)}
        cls.fields = {**cls.fields, **own}
        parameter, shown = inspect.Parameter, []
        # Its own arguments behind `lr`, then those of all classes.
        first = [x for x in cls.fields.values() if not x.kw_only]
        order = [*first, *own.values(), *cls.fields.values()]
        for x in dict.fromkeys(order):
            kind = parameter.KEYWORD_ONLY if x.kw_only else parameter.POSITIONAL_OR_KEYWORD
            annotation = x.kind or NOT_GIVEN
            shown.append(parameter(x.name, kind, default=x.default, annotation=annotation))
        cls.__signature__ = inspect.Signature(shown)  # type: ignore[attr-defined]

    @classmethod
    def ranges(cls) -> dict[str, Range]:
        """Range of each hyperparameter and number, by the field of a row."""
        return {field: allowed for x in cls.fields.values() for field, allowed in x.ranges().items()}

    @classmethod
    def arguments(cls, positional: Sequence[Any], named: Mapping[str, Any]) -> dict[str, Any]:
        """All arguments of a call of the constructor, those left out as their defaults."""
        for name in named:
            if name not in cls.fields:
                raise TypeError(f"{cls.__name__}() got an unexpected argument `{name}`{cls._suggestion(name)}")
        first = [x.name for x in cls.fields.values() if not x.kw_only]
        if len(positional) > len(first):
            takes = f"{len(first)} positional arguments ({', '.join(first)})"
            raise TypeError(f"{cls.__name__}() takes {takes}, got {len(positional)}: give the others by name")
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

    @classmethod
    def _suggestion(cls, name: str) -> str:
        if name in _ELSEWHERE:
            return f": use {_ELSEWHERE[name]}"
        close = difflib.get_close_matches(name, cls.fields, n=1)
        return f": did you mean `{close[0]}`?" if close else ""
