"""The optimizer that thinc calls, and its subclasses: one for each optimizer of pyfastlr."""

import inspect
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import numpy as np
from thinc import optimizers as theirs

from pyfastlr.engines.hyper import PAIRS
from pyfastlr.interop.renaming import renamed
from pyfastlr.optimizers import Optimizer as Ours
from pyfastlr.optimizers import registry as all_ours
from pyfastlr.optimizers.fields import StartNumber
from pyfastlr.optimizers.options import Options
from pyfastlr.schedules import Constant

from .keys import Key
from .schedules import THEIR_CLASS, as_theirs

_CLOCK = ("_step", "_last_score")  # what thinc 9's schedules depend on
_ATTRIBUTES = {"beta1": "b1", "beta2": "b2"}  # thinc's attributes that are not named as its arguments
_UNUSED = ("mom1", "mom2", "nr_update", "last_seen", "_radam_buffer")  # of thinc's: they would stay empty
_NO_KEY = (0, "")
#: Arguments of ours that are not the class's own.
_OPTIONS: dict[str, Any] = {"convention": None, "nonfinite": "propagate", "threads": None}
_THEIR_DEFAULTS = {"L2": 0.0, "L2_is_weight_decay": True, "grad_clip": 1.0, "use_averages": True}
#: Defaults that make thinc's formula, where it is one of ours.
_LIKE_THEIRS: dict[str, dict[str, Any]] = {"Adam": {"convention": "keras", "eps": 1e-8}}
_THEIR_NAMES = {
    "lr": "learn_rate", "weight_decay": "L2", "decay": "L2_is_weight_decay", "clip_norm": "grad_clip",
    "params": "weights", "grads": "gradient",
    **{f"{pair}[{k}]": name for pair, names in PAIRS.items() for k, name in enumerate(names)},
}  # fmt: skip


class Optimizer(theirs.Optimizer):  # type: ignore[misc]
    """Base of the classes for thinc: an optimizer of pyfastlr for each key, and thinc's schedules.

    It is one of thinc's, because spaCy's configs ask for that, and inherits its schedules: `step_schedules`,
    `last_score`, and attributes such as `learn_rate`, which can be set.

    Attributes
    ----------
    averages : dict or None
        The average of each key's weights.
    """

    ours: ClassVar[type[Ours]]
    _own: ClassVar[frozenset[str]] = frozenset()  # names of the class's own hyperparameters
    #: Hyperparameters by our names, with the attributes here that have their values: numbers or thinc's schedules.
    _hyper: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    _fixed: ClassVar[tuple[str, ...]] = ()  # what only the constructor takes

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        cls = type(self)
        try:
            bound = inspect.signature(cls).bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{cls.__name__}() {error}") from None
        bound.apply_defaults()
        given = self._completed(bound.arguments)
        self.__dict__.update(_keys={}, _changing=(), _clock=_CLOCK, _version=None, _turn=None)
        common = {name: given[name] for name in ("L2", "grad_clip", "beta1", "beta2", "eps") if name in given}
        # thinc's SGD has betas of 0 too.
        super().__init__(
            given["learn_rate"],
            **{"beta1": 0.0, "beta2": 0.0, **common},
            use_averages=given["use_averages"],
            L2_is_weight_decay=given["L2_is_weight_decay"],
        )
        for attribute in _UNUSED:
            if hasattr(self, attribute):
                delattr(self, attribute)
        for name, value in given.items():
            if name in self._own and name not in common and value is not None:
                self._set_attr_or_schedule(name, value)
        self._given = {name: given[name] for name in self._fixed if given[name] is not None}
        if "lr" not in self._hyper:
            if not isinstance(given["learn_rate"], int | float):
                raise TypeError(f"`learn_rate` of {cls.__name__} must be a number, because it only initializes state")
            self._given["lr"] = given["learn_rate"]
        with renamed(_THEIR_NAMES):  # so that wrong arguments are errors here
            self._build(np.zeros(1, "f4"), self._values(_NO_KEY))

    def _completed(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Arguments with the convention's numbers for those that are None, and schedules in thinc's form."""
        cls = self.ours
        convention = cls._choose_convention(given["convention"])
        defaults = dict(cls.conventions[convention])
        defaults["learn_rate"] = defaults.pop("lr")
        for pair, names in PAIRS.items():
            defaults.update(zip(names, defaults.pop(pair, ()), strict=False))
        if given["learn_rate"] is None and defaults["learn_rate"] is None:
            raise ValueError(f"`learn_rate` must be given: {convention}'s {cls.__name__} has no default")
        complete = {name: defaults.get(name) if value is None else value for name, value in given.items()}
        complete["convention"] = convention
        return {name: x if _is_theirs(x) or not callable(x) else as_theirs(x) for name, x in complete.items()}

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute. The next call of each key sets the hyperparameters that depend on it."""
        super().__setattr__(name, value)
        own = self.__dict__
        if name in own.get("_clock", _CLOCK):
            if own.get("_changing"):
                own["_turn"] = object()
            return
        scheduled = {x: names for x, names in self._hyper.items() if any(map(self._is_scheduled, names))}
        # thinc 8 steps its schedules by setting these attributes.
        stepped = () if THEIR_CLASS else (x for names in scheduled.values() for x in names)
        own.update(_version=object(), _turn=object(), _changing=tuple(scheduled), _clock={*_CLOCK, *stepped})

    # --- What thinc calls ---------------------------------------------------------------------------------------------

    def __call__(self, key: Any, weights: Any, gradient: Any, *, lr_scale: float = 1.0) -> tuple[Any, Any]:
        """Update an array in place, and set its gradient to zero.

        Parameters
        ----------
        key : tuple
            Thinc's node and parameter. State and count belong to the key.
        weights : array
            C-contiguous, float32 or float64. It may be another array than in the call before, with the same shape and
            dtype.
        gradient : array
            Like weights. It is copied if it is strided or has another dtype.
        lr_scale : float >= 0
            Factor of the rate of this update.

        Returns
        -------
        tuple
            `weights` and `gradient`.
        """
        own = self._keys.get(key)
        if own is None or own.weights is not weights or own.turn is not self._turn or own.lr_scale != lr_scale:
            if not len(gradient):
                return weights, gradient
            own = self._ready(key, weights, lr_scale)
        averages = self.averages
        if averages is not None:
            own.set_average_decay()
        try:
            own.step(gradient)
        except (TypeError, ValueError):
            with renamed(_THEIR_NAMES):
                own.step_copied(gradient)
        if averages is not None and key not in averages and own.optimizer._extras.has_average:  # not yet if skipped
            averages[key] = own.optimizer.ema
        return weights, gradient

    @property
    def by_key(self) -> dict[Any, Ours]:
        """The pyfastlr optimizer of each key that this object has updated."""
        return {key: own.optimizer for key, own in self._keys.items() if own.weights is not None}

    # --- Keys and hyperparameters -------------------------------------------------------------------------------------

    def _ready(self, key: Any, weights: Any, lr_scale: float) -> Key:
        """Return the key's entry, with these weights and the current hyperparameters."""
        own: Key | None = self._keys.get(key)
        turn, version = self._turn, self._version
        with renamed(_THEIR_NAMES):
            if own is None:
                own = Key(weights, self._build(weights, self._values(key)))
            elif own.weights is not weights and own.move(weights) and self.averages is not None:
                self.averages.pop(key, None)  # a view of the state before; the call enters the new one
            values = self._values(key, self._changing if own.version is version else None)
            own.set(values, lr_scale)
        own.turn, own.version = turn, version
        kept: Key = self._keys.setdefault(key, own)  # another thread may have been first
        return kept

    def _build(self, weights: Any, values: Mapping[str, Any]) -> Ours:
        """Build the optimizer of an array."""
        options = {**values, **self._given, "zero_grad": True}
        if self.averages is not None:
            options["ema_decay"] = 0.0
        if "momentum" in self._changing:  # else a first momentum of 0 would mean no buffer
            options["momentum"] = Constant(values["momentum"])
        return self.ours(weights, **options)

    def _values(self, key: Any, names: Iterable[str] | None = None) -> dict[str, Any]:
        """Return hyperparameters now, all or some. A schedule of thinc 9 may depend on the key."""
        values: dict[str, Any] = {}
        for name in self._hyper if names is None else names:
            found = [self._at(attribute, key) for attribute in self._hyper[name]]
            if None not in found:  # the convention has it
                values[name] = found[0] if len(found) == 1 else tuple(found)
        if values.get("clip_norm") == 0.0:  # thinc's word for none
            values["clip_norm"] = None
        if names is None:
            kind = "decoupled" if self.L2_is_weight_decay else "coupled"
            if kind in self.ours.decays:
                values["decay"] = kind
            elif values["weight_decay"] != 0.0:
                raise ValueError(
                    f"`L2_is_weight_decay` of {type(self).__name__} must be {not self.L2_is_weight_decay} with an "
                    f"`L2`, got {self.L2_is_weight_decay}"
                )
        return values

    def _at(self, attribute: str, key: Any) -> Any:
        value: Any = getattr(self, attribute, None)
        return value(self.step, key=key, last_score=self.last_score) if _is_theirs(value) else value

    def _is_scheduled(self, attribute: str) -> bool:
        if THEIR_CLASS is None:
            return attribute in getattr(self, "schedules", ())
        value: Any = getattr(self, attribute, None)
        return _is_theirs(value) and value.name != "constant"


def _is_theirs(value: Any) -> bool:
    """Whether a value is a schedule of thinc 9."""
    return THEIR_CLASS is not None and isinstance(value, THEIR_CLASS)


def _adapter(cls: type[Ours]) -> type[Optimizer]:
    """Make the class for thinc: thinc's arguments, and those of the optimizer's own."""
    name, keyword = cls.__name__, inspect.Parameter.KEYWORD_ONLY
    fields = {x: field for x, field in cls.fields.items() if x not in Options.fields}
    hyper = {x: PAIRS.get(x, (x,)) for x, field in fields.items() if field.is_hyperparameter}
    fixed = [x for x in fields if x not in hyper]
    if not isinstance(cls.fields["lr"], StartNumber):
        hyper = {"lr": ("learn_rate",), **hyper}
    own = [x for names in hyper.values() for x in names if x != "learn_rate"]
    defaults = dict.fromkeys(own) | {x: fields[x].default for x in fixed} | _THEIR_DEFAULTS | _OPTIONS
    defaults |= _LIKE_THEIRS.get(name, {})
    first = inspect.Parameter("learn_rate", inspect.Parameter.POSITIONAL_OR_KEYWORD, default=None)
    others = [inspect.Parameter(x, keyword, default=value) for x, value in defaults.items()]
    hyper |= {"weight_decay": ("L2",), "clip_norm": ("grad_clip",)}
    return type(
        name,
        (Optimizer,),
        {
            "__module__": __package__,
            "__doc__": _DOC.format(name=name, own=", ".join(f"`{x}`" for x in [*own, *fixed]) or "none"),
            "__signature__": inspect.Signature([first, *others]),
            "ours": cls,
            "_own": frozenset(own),
            "_hyper": {x: tuple(_ATTRIBUTES.get(y, y) for y in names) for x, names in hyper.items()},
            "_fixed": (*fixed, *_OPTIONS),
        },
    )


_DOC = """`pyfastlr.{name}` for thinc and spaCy, registered as "pyfastlr.{name}.v1".

Parameters
----------
learn_rate : float, schedule of thinc or of pyfastlr, or callable
    Schedules count calls of `step_schedules`: batches. The default is the convention's.
L2 : float or schedule, default 0
    Weight decay.
L2_is_weight_decay : bool, default True
    Decoupled weight decay, before the update. False adds ``L2 * weights`` to the gradient, after it was clipped.
grad_clip : float or schedule, default 1
    Largest norm of each array's gradient; 0 for no limit.
use_averages : bool, default True
    Average the weights, with thinc's decay.
convention, nonfinite, threads
    As in `pyfastlr.{name}`.
**others
    Hyperparameters of `pyfastlr.{name}`, with its defaults: {own}.
"""

#: By name; `pyfastlr.interop.thinc` has them as attributes.
CLASSES = {cls.__name__: _adapter(cls) for cls in all_ours}
