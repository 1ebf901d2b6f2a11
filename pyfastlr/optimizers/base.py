"""What all optimizers share: arguments, groups, state, and the step, which an engine runs."""

import copy
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np

from pyfastlr.arrays.flat import Flat
from pyfastlr.arrays.host import shaped
from pyfastlr.arrays.parameters import Parameters
from pyfastlr.engines.extras import extras_of
from pyfastlr.engines.hyper import DECAYS, PAIRS, Range, boolean, label, number, source, thread_count
from pyfastlr.engines.interface import engine_class
from pyfastlr.engines.lock import StepLock
from pyfastlr.engines.option_checks import check_options
from pyfastlr.engines.settings import Hyperparameters
from pyfastlr.engines.state import State
from pyfastlr.schedules.controller import copied, is_controller, load_checked, saved_state
from pyfastlr_kernels.rules import RULES
from pyfastlr_kernels.tables import COMMON

from . import average, snapshot
from .fields import Argument, StartNumber, hint
from .groups import Group, membership
from .loss_scale import policy_with
from .options import Options, documented


class Stats(NamedTuple):
    """Measurements of the last call of `step`; None for what was not measured.

    Attributes
    ----------
    lr : float or None
        Rate of the last update, for arrays in no group, before `lr_scale`. None before the first update.
    grad_norm : float or None
        Euclidean norm of the gradient over all arrays, after `inv_scale`, `loss_scale`, `accumulate` and `clip_value`,
        before `clip_norm`. It is measured with `clip_norm` (``inf`` only measures), `clip_norm_each`, `measure` or
        `loss_scale`, and for a skipped step. None after a call that was only accumulated.
    update_norm, param_norm : float or None
        Norms of the change of the parameters, and of the parameters after it. Measured if `measure` names them; None
        after a call that made no update.
    clipped : bool or None
        Whether `clip_norm` or `clip_norm_each` made a gradient shorter. None if `grad_norm` is not measured.
    skipped : bool or None
        Whether the step was skipped because its gradient was not finite. None without options.
    nonfinite : int or None
        Number of elements of the gradient that are infinite or NaN. Counted where `grad_norm` is measured, and with
        `nonfinite` "skip" or "raise". With "propagate", not counted beside `clip_value`.
    per_tensor : dict or None
        `Stats` of each array by its name (nested names are joined by ".", a single array has the name ""), with its
        norms and `nonfinite`. Measured if `measure` names it.

    Examples
    --------
    >>> import numpy as np, pyfastlr as flr
    >>> opt = flr.SGD(np.zeros(2), lr=0.1, clip_norm=1.0, measure=("update_norm",))
    >>> opt.step(np.array([3.0, 4.0]))
    >>> opt.stats.grad_norm, opt.stats.clipped, round(opt.stats.update_norm, 6)
    (5.0, True, 0.1)
    """

    lr: float | None = None
    grad_norm: float | None = None
    update_norm: float | None = None
    param_norm: float | None = None
    clipped: bool | None = None
    skipped: bool | None = None
    nonfinite: int | None = None
    per_tensor: "dict[str, Stats] | None" = None


registry: list[type["Optimizer"]] = []  # all optimizer classes, in order of definition


class Optimizer(Options):
    """Base class of all optimizers: parameters, groups, state and the step. Use one of its subclasses.

    A subclass declares its arguments as fields (fields.py). Its class statement declares the rest: the rules that it
    can run, each convention's defaults, its names in other libraries.

    Examples
    --------
    >>> import numpy as np, pyfastlr as flr
    >>> opt = flr.Adam({"w": np.zeros((3, 4)), "b": np.zeros(4)}, lr=1e-3, groups=[{"params": "b", "lr": 1e-2}])
    >>> isinstance(opt, flr.Optimizer), opt.steps, opt.lrs
    (True, 0, [0.001, 0.01])
    >>> opt.step({"w": np.ones((3, 4)), "b": None})  # b keeps its value, state and count
    >>> opt.steps, opt.state_dict()["counts"]
    (1, array([1, 0]))
    """

    __slots__ = ("__weakref__", "_convention", "_engine", "_extras", "_given",
                  "_groups", "_hyper", "_lock", "_parameters",
                 "_rule", "_state")  # fmt: skip

    rules: ClassVar[Mapping[str, Mapping[str, Any]]] = {}  # by name, with the arguments that select each
    peers: ClassVar[Mapping[str, str]] = {}  # its name in each library
    limits: ClassVar[Mapping[str, Mapping[str, Range]]] = {}  # ranges specific to a convention
    missing: ClassVar[Mapping[str, str]] = {}  # why an instance may lack a hyperparameter of its class
    formulas: ClassVar[Mapping[str, Mapping[str, str]]] = {}  # by variant and convention, for docs/conventions.md
    demo_lr: ClassVar[float | str] = 1e-3  # peak rate in the demo, or why the demo does not offer the class

    def __init_subclass__(
        cls,
        rules: Mapping[str, Mapping[str, Any]] | None = None,
        conventions: Mapping[str, Mapping[str, Any]] | None = None,
        peers: Mapping[str, str] | None = None,
        limits: Mapping[str, Mapping[str, Range]] | None = None,
        missing: Mapping[str, str] | None = None,
        decays: Sequence[str] | None = None,
        formulas: Mapping[str, Mapping[str, str]] | None = None,
        demo_lr: float | str = 1e-3,
    ) -> None:
        cls.rules, cls.conventions, cls.peers = rules or {}, conventions or {}, peers or {}
        cls.limits, cls.missing, cls.formulas = limits or {}, missing or {}, formulas or {}
        cls.decays, cls.demo_lr = tuple(decays or DECAYS), demo_lr
        super().__init_subclass__()  # builds the signature, from these too
        if cls.__doc__ and cls.rules:
            cls.__doc__ = documented(cls)
            registry.append(cls)

    if not TYPE_CHECKING:  # type checkers build it from the fields

        def __init__(self, *positional: Any, **named: Any) -> None:
            given = self._arguments(positional, named)
            for name, field in self.fields.items():
                if isinstance(field.default, bool):
                    given[name] = boolean(given[name], name)
                elif isinstance(field.default, float) and not field.is_hyperparameter:
                    given[name] = number(given[name], name, field.allowed)
            given["threads"] = thread_count(given["threads"])
            check_options(given)
            given["nonfinite"] = policy_with(given["loss_scale"], given["nonfinite"])
            convention = self._choose_convention(given["convention"])
            values = self._complete(convention, given)
            groups = [] if given["groups"] is None else given["groups"]
            rule, values, groups = self._choose_rule(convention, given, values, groups)
            parameters = Parameters(given["params"])
            if given["capturable"] and parameters.device is None:
                raise ValueError("`capturable` needs parameters on a CUDA device, got parameters in host memory")
            members = membership(groups, parameters.names)
            initial = self._initial(rule, convention, given, [values, *groups], members)
            given = {name: x for name, x in given.items() if not self.fields[name].is_hyperparameter}
            given = {**given, "convention": convention, "groups": None}
            self._build(given, rule, parameters, members, len(groups) + 1, initial)
            labels = ["", *(f"groups[{k}]" for k in range(len(groups)))]  # in errors
            self._hyper.begin(
                self._hyper.checked({key: x for key, x in own.items() if key != "params"}, label)
                for label, own in zip(labels, (values, *groups), strict=True)
            )
            self._start()

    # --- Construction -------------------------------------------------------------------------------------------------

    @classmethod
    def _choose_convention(cls, convention: str | None) -> str:
        """Check a convention. None is the class's default."""
        known = list(cls.conventions)
        if convention is None:
            return known[0]
        if not isinstance(convention, str) or convention not in known:
            raise ValueError(
                f"`convention` of {cls.__name__} must be {' or '.join(map(repr, known))}, got {convention!r}"
            )
        return convention

    def _complete(self, convention: str, given: Mapping[str, Any]) -> dict[str, Any]:
        """Fill in the convention's default for each hyperparameter that is None."""
        defaults = self.conventions[convention]
        values = {}
        for name, field in self.fields.items():
            value = given[name]
            if value is not None and field.of_convention and name not in defaults:
                raise ValueError(f"`{name}` must be left out: {convention}'s {type(self).__name__} does not have it")
            if field.is_hyperparameter:
                values[name] = defaults.get(name) if value is None else value
        if values["lr"] is None:
            raise ValueError(f"`lr` must be given: {convention}'s {type(self).__name__} has no default")
        return {name: value for name, value in values.items() if value is not None}

    def _choose_rule(
        self, convention: str, given: Mapping[str, Any], values: dict[str, Any], groups: Any
    ) -> tuple[str, dict[str, Any], Any]:
        """Choose the rule, and drop the hyperparameters that it lacks. Classes with several rules override this."""
        return next(iter(self.rules)), values, groups

    def _initial(
        self, rule: str, convention: str, given: Mapping[str, Any], groups: Sequence[Any], members: Sequence[int]
    ) -> dict[str, list[float]]:
        """Each tensor's initial state, by the argument that sets it. A group may set its own."""
        initial = {}
        for name in (slot.initial for slot in RULES[rule].slots if isinstance(slot.initial, str)):
            base = self.conventions[convention][name] if given[name] is None else given[name]
            takes = self.fields[name].is_hyperparameter
            values = [
                self._start_value(name, group[name], f"groups[{k - 1}]")
                if takes and k and name in group
                else self._start_value(name, base)
                for k, group in enumerate(groups)
            ]
            initial[name] = [values[k] for k in members]
        return initial

    def _start_value(self, name: str, value: Any, group: str = "") -> float:
        field = self.fields[name]
        if callable(value) and isinstance(field, StartNumber):
            raise TypeError(
                f"`{label(name, group)}` of {type(self).__name__} must be {field.allowed.words}, got {value!r}: "
                f"{field.why}"
            )
        return number(value, name, field.allowed, group=group)

    def _build(
        self,
        given: dict[str, Any],
        rule: str,
        parameters: Parameters,
        members: Sequence[int],
        n_groups: int,
        initial: Mapping[str, Sequence[float]],
    ) -> None:
        """Create everything except the hyperparameters' values and the engine."""
        self._given, self._rule, self._convention = given, rule, given["convention"]
        self._parameters, self._lock = parameters, StepLock()
        hyper = RULES[rule].hyper
        known = {field for name in self.conventions[self._convention] for field in PAIRS.get(name, (name,))}
        common = [field for field in COMMON if field in Options.fields and field != "decay"]
        fields = (*common, *(field for field in hyper if field in known), "decay")
        ranges = {**self._ranges(), **self.limits.get(self._convention, {})}
        fixed = {name: x.why for name, x in self.fields.items() if isinstance(x, StartNumber)}
        self._hyper = Hyperparameters(
            parameters, self._lock, fields, hyper, ranges, members, self._advice, self.decays, fixed,
            type(self).__name__,
        )  # fmt: skip
        self._groups = tuple(
            Group(self._hyper, row, [name for name, k in zip(parameters.names, members, strict=True) if k == row])
            for row in range(n_groups)
        )
        self._state = State(parameters, RULES[rule], initial)
        self._extras = extras_of(given, parameters, self._convention)

    def _start(self) -> None:
        """Create the engine."""
        common = (self._parameters, self._state, self._hyper, self._lock, self._rule, self._convention,
                  -1.0 if self._given["maximize"] else 1.0)  # fmt: skip
        on_device = self._parameters.device is not None
        own = self._given["capturable" if on_device else "threads"]
        self._engine: Any = engine_class(on_device)(*common, own, self._extras)
        self._hyper.watch(self._engine)
        if self.loss_scale is not None:
            self.loss_scale._belong_to(self)

    @classmethod
    def _advice(cls, name: str, known: Sequence[str]) -> str:
        """End of the error for a name that a group may not set."""
        return f": {cls.missing[name]}" if name in cls.missing else hint(name, known)

    # --- The step -----------------------------------------------------------------------------------------------------

    def step(self, grads: Any, *, inv_scale: float = 1.0, stream: Any = None) -> None:
        """Update the parameters in place.

        Parameters
        ----------
        grads : like params
            Gradients with the structure, shapes and dtype of the parameters. For a `Flat`: a `Flat` with the same
            layout, its buffer, or a dict with its names. An entry of a dict or list may be None: that array keeps its
            value, state and count. If all are None, the step is not counted and no schedule is called. The gradients
            are never written, unless `zero_grad` sets them to zero.
        inv_scale : float > 0
            Factor by which the gradients are multiplied before anything else, such as 1 / 1024 if you multiplied the
            loss by 1024. A `loss_scale` divides them in addition.
        stream
            For parameters on a CUDA device: the stream to run in (a stream of torch, CuPy or cuda.core, or a handle).
            None is the current stream of the library that the gradients come from, or else the default stream. The
            step does not wait for the stream.

        Raises
        ------
        TypeError, ValueError
            If a gradient, a schedule's value or `inv_scale` is invalid, or if a parameter was replaced, resized or made
            read-only after the optimizer was built. Nothing is changed in that case.
        FloatingPointError
            If an element of the gradient is infinite or NaN and `nonfinite` is "raise". Nothing is changed.
        RuntimeError
            If the average is swapped in (`swap_ema`).

        Notes
        -----
        The gradient is unscaled, checked for infinities and NaN (`nonfinite`), accumulated, clipped by value, then by
        its global norm, then array by array. `maximize` changes its sign, and coupled weight decay is added. After
        the update follow the average and `copy_to`. All of it is one call, atomic for exceptions and interrupts.
        """
        parameters = self._parameters
        if parameters.is_single:
            gradients, held = grads, None
        elif type(grads) is Flat and grads._layout is parameters.layout:
            gradients, held = grads._buffer, None
        else:
            gradients, hold = parameters.gather(grads), parameters.hold
            held = parameters.held if hold is None else hold()
        engine = self._engine
        launch = engine.launch if stream is None else engine.in_stream(stream)
        status = launch(gradients, inv_scale, held, grads)
        if status:
            engine.settle(status, gradients, inv_scale, held, grads)

    # --- Properties ---------------------------------------------------------------------------------------------------

    @property
    def steps(self) -> int:
        """Number of updates done."""
        self._engine.refresh()
        return int(self._lock.steps[0])

    @property
    def rule(self) -> str:
        """Name of the rule in pyfastlr_kernels.rules that this optimizer runs."""
        return self._rule

    @property
    def lrs(self) -> list[float]:
        """Rate of each group for the next update, before lr_scale."""
        return [self._hyper.number(row, "lr") for row in range(len(self._groups))]

    def _missing_error(self, name: str) -> AttributeError:
        why = f"{self._convention}'s {type(self).__name__} does not have it"
        if name in self.conventions[self._convention]:
            why = self.missing.get(name, why)
        return AttributeError(f"this {type(self).__name__} has no `{name}`: {why}")

    @property
    def stats(self) -> Stats:
        """Measurements of the last call of `step`, a `Stats`."""
        lr = self._lock.used_lr[0]
        more: dict[str, Any] = self._extras.results()
        per_tensor = more.pop("per_tensor", None)
        if per_tensor is not None:
            more["per_tensor"] = {name: Stats(**values) for name, values in per_tensor.items()}
        return Stats(lr=None if np.isnan(lr) else lr, **more)

    @property
    def ema(self) -> Any:
        """Average of the parameters (`ema_decay`), with their structure. The arrays are views that steps update.

        While the average is swapped in, they have the parameters' values. Before the first update with `ema_decay`,
        there is no average: AttributeError.
        """
        if not self._extras.has_average:
            raise AttributeError("`ema` needs an average: set `ema_decay`, and make an update")
        return self._parameters.like(self._extras.tensors("average"), self._extras.buffers["average"])

    def swap_ema(self) -> None:
        """Exchange the values of the parameters and of their average, in place. A second call exchanges them again.

        Between the two calls, `step`, `reset`, `load_state_dict`, `state_dict` and copies of the optimizer raise a
        RuntimeError, in all threads. `averaged` makes both calls.

        Raises
        ------
        RuntimeError
            If there is no average yet (no update with `ema_decay`), or if a schedule calls it.
        ValueError
            If an array of the parameters was replaced, resized or made read-only. Nothing is changed in that case.
        """
        average.swap(self)

    def averaged(self) -> AbstractContextManager[None]:
        """Return a context in which the parameters have the values of their average, as for a validation.

        At the end they have their own values again, also after an exception or an interrupt. In the block, `step`,
        `reset`, `load_state_dict`, `state_dict` and copies of the optimizer raise a RuntimeError.

        Raises
        ------
        RuntimeError, ValueError
            As `swap_ema`, and if the average is already swapped in.

        Examples
        --------
        >>> import numpy as np, pyfastlr as flr
        >>> p = np.zeros(2)
        >>> opt = flr.SGD(p, lr=1.0, ema_decay=0.5)
        >>> for _ in range(2):
        ...     opt.step(np.ones(2))
        >>> with opt.averaged():
        ...     print(p)
        [-1.5 -1.5]
        >>> p
        array([-2., -2.])
        """
        return average.averaged(self)

    @property
    def state(self) -> dict[str, Any]:
        """Live views of the state under torch's names, each with the structure of the parameters."""
        return self._state.views()

    def __repr__(self) -> str:
        what = shaped(self._parameters.dtype, [self._parameters.size])
        return f"{type(self).__name__}({what}, steps={self.steps}, groups={list(self._groups)!r})"

    # --- Saving and restoring -----------------------------------------------------------------------------------------

    def reset(self) -> None:
        """Reset state, counts and steps to those of a new optimizer. Keep parameters and hyperparameters.

        The average and the accumulated gradient start anew, and the loss scale is its initial one.
        """
        progress = self._progress_pairs(self._state.fresh_counts(), 0, float("nan"))
        self._write([*self._state.fresh(), *self._extras.fresh(), *progress], what="reset()")

    def state_dict(self) -> dict[str, Any]:
        """Copy everything that an exact resume needs besides the parameters and the constructor's arguments.

        Returns
        -------
        dict
            Its keys: format, class, convention, rule, dtype, structure (name and shape of each array), steps, counts
            (int64, one per array), carry (float64), state (by slot, each with the structure of the parameters; for a
            `Flat`, its buffer), controllers (a list), average, accumulated and loss_scale (dicts, or None where there
            is nothing to save). All values are from the same moment, even while another thread steps.

        Raises
        ------
        RuntimeError
            If the average is swapped in (`swap_ema`).
        """
        with self._lock.held:
            self._lock.pause()
            self._extras.check_not_swapped("state_dict()")
            self._engine.refresh()
            return snapshot.export(self)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned. After an error, nothing is changed.

        Parameters
        ----------
        state : dict
            From an optimizer of the same class, convention and dtype, over arrays with the same names and shapes. The
            container may be of another kind. An average is loaded with or without `ema_decay`, and without one in the
            dict, the average starts anew. A loss scale, or a gradient of which part has been accumulated, needs an
            optimizer with that option; a dict without a loss scale leaves the optimizer's as it is.

        Raises
        ------
        TypeError, ValueError
            If the dict does not match the optimizer, or is damaged.
        RuntimeError
            If the average is swapped in (`swap_ema`).
        """
        pairs = snapshot.checked(self, state)
        self._write(pairs, snapshot.controllers(self, state), what="load_state_dict()")

    def _progress_pairs(self, counts: Any, steps: int, used_lr: float) -> list[tuple[Any, Any]]:
        progress = self._lock.progress
        return [
            (self._state.counts, counts),
            (progress["steps"], np.array([steps])),
            (progress["used_lr"], np.array([used_lr])),
        ]

    def _write(
        self, pairs: Sequence[tuple[Any, Any]], controllers: Sequence[tuple[Any, Any]] = (), what: str = ""
    ) -> None:
        """Write arrays and controllers' states into the optimizer. If a controller refuses, nothing changes."""
        if self._engine.is_inside():
            raise RuntimeError("a schedule or callable must not change the state of the optimizer that calls it")
        with self._lock.held:
            self._lock.pause()
            self._extras.check_not_swapped(what)
            if controllers:
                self._write_both(pairs, controllers)
            else:
                self._engine.write(pairs)
                self._engine.changed()
            self._extras.last = {}

    def _write_both(self, pairs: Sequence[tuple[Any, Any]], controllers: Sequence[tuple[Any, Any]]) -> None:
        """Write arrays and controllers' states, or neither. The caller has the lock.

        Not in `whole`: code that has the optimizer's lock may wait for that of `whole`, so nobody may do the reverse.
        """
        before = [(controller, saved_state(controller)) for controller, _ in controllers]
        written = np.zeros(1, np.bool_)  # by the C call that writes the arrays: an interrupt may come right after it
        try:
            load_checked(controllers)  # first, because they may refuse
            self._engine.write([*pairs, (written, np.ones(1, np.bool_))])
            self._engine.changed()
        except BaseException:
            if written[0]:
                self._engine.changed()
            else:
                for controller, state in before:
                    controller.load_state_dict(state)
            raise

    # --- Copies -------------------------------------------------------------------------------------------------------

    def __getstate__(self) -> dict[str, Any]:
        """Copy everything at one moment, including the parameters' values."""
        with self._lock.held:
            self._lock.pause()
            self._extras.check_not_swapped("copying the optimizer")
            self._engine.refresh()
            settings = self._hyper.current
            return {
                "given": self._given,
                "rule": self._rule,
                "members": self._hyper.members,
                "own": [{x: settings.source(row, x) for x in own} for row, own in enumerate(settings.own)],
                "initial": self._state.arguments,
                "arrays": [x.copy() for x in self._parameters.arrays],
                "buffers": {name: x.copy() for name, x in self._state.buffers.items()},
                "counts": self._state.counts.copy(),
                "steps": self._lock.steps[0],
                "used_lr": self._lock.used_lr[0],
                "extras": self._extras.snapshot(),
            }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._restore(state, state["given"]["params"], state["arrays"])

    def _restore(self, state: dict[str, Any], params: Any, arrays: Sequence[Any]) -> None:
        parameters = Parameters(params)
        given = {**state["given"], "params": params}
        self._build(given, state["rule"], parameters, state["members"], len(state["own"]), state["initial"])
        self._hyper.begin(state["own"])
        self._start()
        pairs = [*zip(parameters.arrays, arrays, strict=False)]
        pairs += [(x, state["buffers"][name]) for name, x in self._state.buffers.items()]
        pairs += self._extras.pairs_from(state["extras"])
        self._write([*pairs, *self._progress_pairs(state["counts"], state["steps"], state["used_lr"])])
        self._extras.last = state["extras"]["last"]

    def __copy__(self) -> "Optimizer":
        """Return an optimizer that shares parameters, schedules and `copy_to`, but has its own state and loss scale."""
        twin: Optimizer = object.__new__(type(self))
        state = self.__getstate__()
        copies: dict[int, Any] = {}  # one for all places: controllers may share one that is inside them
        state["own"] = [{x: _own(value, copies) for x, value in fields.items()} for fields in state["own"]]
        state["given"] = {**state["given"], "loss_scale": copy.copy(self.loss_scale)}
        state["extras"]["copies"] = []  # they are shared, so they may be newer by now
        twin._restore(state, self._parameters.params, ())
        return twin

    def __deepcopy__(self, memo: dict[int, Any]) -> "Optimizer":
        twin: Optimizer = object.__new__(type(self))
        memo[id(self)] = twin
        state = self.__getstate__()
        params = copy.deepcopy(self._parameters.params, memo)
        given = {**state["given"], "params": None}
        state = {**state, "given": copy.deepcopy(given, memo), "own": copy.deepcopy(state["own"], memo)}
        twin._restore(state, params, state["arrays"])
        return twin


def _own(value: Any, copies: dict[int, Any]) -> Any:
    """Copy of a controller, one per object. Any other value is returned unchanged."""
    return copied(value, copies) if callable(value) and is_controller(value) else value


def uses_momentum(field: Argument, values: Mapping[str, Any], groups: Any) -> bool:
    """Whether any group has, or may get, momentum and so needs a buffer."""
    return any(x != 0.0 for x in sources(field, values, groups))


def sources(field: Argument, values: Mapping[str, Any], groups: Any) -> list[Any]:
    """Numbers and callables of one hyperparameter: the optimizer's own, if it has one, and those of the groups.

    A `groups` that is not a list of dicts is refused later, with a better error.
    """
    name, listed = field.name, groups if isinstance(groups, list | tuple) else ()
    own = [("", values), *((f"groups[{k}]", x) for k, x in enumerate(listed) if isinstance(x, Mapping))]
    return [source(x[name], name, field.allowed, group) for group, x in own if name in x]


def without(names: Sequence[str], values: Mapping[str, Any], groups: Any) -> tuple[dict[str, Any], Any]:
    """Remove these names, which the rule does not have, from the hyperparameters and groups."""

    def stripped(fields: Mapping[str, Any]) -> dict[str, Any]:
        return {name: x for name, x in fields.items() if name not in names}

    if isinstance(groups, list | tuple):
        groups = [stripped(group) if isinstance(group, Mapping) else group for group in groups]
    return stripped(values), groups
