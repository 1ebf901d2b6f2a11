"""What all optimizers share: arguments, groups, state, and the step, which an engine runs."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from pyfastlr.arrays.flat import Flat
from pyfastlr.arrays.host import Halves, shaped
from pyfastlr.arrays.parameters import Parameters
from pyfastlr.arrays.rows import Rows
from pyfastlr.engines.extras import extras_of
from pyfastlr.engines.halves import check_precision, check_uint16_as
from pyfastlr.engines.hyper import DECAYS, PAIRS, Range, boolean, label, number, source, thread_count
from pyfastlr.engines.interface import engine_class
from pyfastlr.engines.lock import StepLock
from pyfastlr.engines.option_checks import check_options
from pyfastlr.engines.packed import check_seed, state_dtypes_of
from pyfastlr.engines.row_gradients import GivenRows
from pyfastlr.engines.settings import Hyperparameters
from pyfastlr.engines.state import State
from pyfastlr.files.errors import Path
from pyfastlr_kernels.rules import RULES
from pyfastlr_kernels.tables import COMMON

from . import adding, average
from .fields import Argument, StartNumber, hint
from .groups import Group, membership
from .loss_scale import policy_with
from .options import Options, documented
from .saving import copies, loading, snapshot, writing
from .saving.files import save_state
from .saving.load_file import load_state
from .saving.matching import Loaded
from .saving.stateful import Stateful
from .stats import Stats

registry: list[type["Optimizer"]] = []  # all optimizer classes, in order of definition


class Optimizer(Options, Stateful):
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
            given["threads"], given["seed"] = thread_count(given["threads"]), check_seed(given["seed"])
            check_options(given)
            given["nonfinite"] = policy_with(given["loss_scale"], given["nonfinite"])
            convention = self._choose_convention(given["convention"])
            values = self._complete(convention, given)
            groups = [] if given["groups"] is None else given["groups"]
            rule, values, groups = self._choose_rule(convention, given, values, groups)
            check_uint16_as(given["uint16_as"])
            parameters = Parameters(given["params"], halves=Halves(given["uint16_as"]))
            given["precision"] = check_precision(given["precision"], parameters)
            if given["capturable"] and parameters.device is None:
                raise ValueError("`capturable` needs parameters on a CUDA device, got parameters in host memory")
            members = membership(groups, parameters.names)
            initial = self._initial(rule, convention, given, [values, *groups], members)
            state_dtypes = state_dtypes_of(
                given["state_dtype"], groups, members, type(self).__name__, RULES[rule], parameters
            )
            given = {name: x for name, x in given.items() if not self.fields[name].is_hyperparameter}
            given = {**given, "convention": convention, "groups": None}
            self._build(given, rule, parameters, members, len(groups) + 1, initial, state_dtypes)
            labels = ["", *(f"groups[{k}]" for k in range(len(groups)))]  # in errors
            self._hyper.begin(
                self._hyper.checked({key: x for key, x in own.items() if key not in ("params", "state_dtype")}, label)
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
        state_dtypes: Sequence[str | None],
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
        self._state = State(parameters, RULES[rule], initial, state_dtypes, given["seed"], given["precision"])
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
        if name in cls.missing:
            return f": {cls.missing[name]}"
        if name == "state_dtype":
            return ": it is fixed when the optimizer is built"
        if name in cls.fields and not cls.fields[name].is_hyperparameter:
            return f": `{name}` is the whole optimizer's, so give it to the constructor"
        return hint(name, known)

    # --- The step -----------------------------------------------------------------------------------------------------

    def step(self, grads: Any, *, inv_scale: float = 1.0, stream: Any = None) -> None:
        """Update the parameters in place.

        Parameters
        ----------
        grads : like params
            Gradients with the structure, shapes and dtype of the parameters. For a `Flat`: a `Flat` with the same
            layout, its buffer, or a dict with its names. An entry of a dict or list may be None: that array keeps its
            value, state and count. An entry may be `Rows`: then only these rows are updated. If all are None, the step
            is not counted and no schedule is called. The gradients are never written, unless `zero_grad` sets them to
            zero.
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

    def step_rows(self, name: str, rows: Any, values: Any, *, inv_scale: float = 1.0) -> None:
        """Update some rows of one array in place. No other array takes part.

        It is ``step`` with `Rows` for that array and None for all others, without the time for the others.

        Parameters
        ----------
        name : str
            The array's name: nested names are joined by ".", a single array has the name "".
        rows, values
            As in `Rows`.
        inv_scale : float > 0
            As in `step`.

        Raises
        ------
        TypeError, ValueError, RuntimeError
            As `step` and `Rows`, and if there is no such array. Nothing is changed.

        Examples
        --------
        >>> import numpy as np, pyfastlr as flr
        >>> table = np.zeros((4, 2))
        >>> opt = flr.SGD(table, lr=0.5)
        >>> opt.step_rows("", [1, 3], np.ones((2, 2)))
        >>> table[:, 0], opt.steps
        (array([ 0. , -0.5,  0. , -0.5]), 1)
        """
        self._engine.step_rows(GivenRows(name, Rows(rows, values)), inv_scale)

    def sync_rows(self, name: str, rows: Any = None) -> None:
        """Bring rows of an array up to date that steps with `Rows` have left behind (``catch_up=True``).

        Call it before you read or write them, in a forward pass or elsewhere. Steps, `state`, `state_dict`, `save` and
        copies do it themselves; `load_state_dict`, `load` and `reset` drop what rows have missed. Without `catch_up`,
        no row is ever behind, and nothing happens.

        Parameters
        ----------
        name : str
            The array's name, as in `step_rows`.
        rows : array or list of int, or array of bool, optional
            As in `Rows`. None is all rows.

        Raises
        ------
        TypeError, ValueError, RuntimeError
            If there is no such array or row, if an array was changed in place, or if the average is swapped in.

        Examples
        --------
        >>> import numpy as np, pyfastlr as flr
        >>> table = np.ones((3, 2))
        >>> opt = flr.SGD(table, lr=0.5, momentum=0.5, catch_up=True)
        >>> for row in (0, 1, 1):
        ...     opt.step_rows("", [row], np.ones((1, 2)))
        >>> table[:, 0]  # row 0 has missed two updates, with its momentum
        array([ 0.5 , -0.25,  1.  ])
        >>> opt.sync_rows("", [0])
        >>> table[:, 0]
        array([ 0.125, -0.25 ,  1.   ])
        """
        self._engine.sync_rows(name, rows)

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
        """Live views of the state under torch's names, each with the structure of the parameters.

        With `state_dtype`, the arrays that are stored in fewer bytes are `PackedArray`, in a dict by name for a `Flat`.
        """
        if self.catch_up:
            with self._lock.reading():
                self._lock.pause()
                self._engine.sync()
        self._state.is_shared = True
        return self._state.views()

    def state_as(self, dtype: Literal["float32", "float64"]) -> dict[str, Any]:
        """Copies of the state as numbers of a dtype, whatever `state_dtype` is. All are from the same moment.

        Parameters
        ----------
        dtype : {"float32", "float64"}

        Returns
        -------
        dict
            By torch's names, each with the structure of the parameters.

        Raises
        ------
        ValueError
            If `dtype` is another.

        Examples
        --------
        >>> import numpy as np, pyfastlr as flr
        >>> opt = flr.Adam({"w": np.zeros(3, np.float32)}, lr=0.1, state_dtype="bfloat16")
        >>> opt.step({"w": np.full(3, 0.5, np.float32)})
        >>> opt.state["exp_avg"]
        {'w': PackedArray(bfloat16, shape=(3,))}
        >>> opt.state_as("float32")["exp_avg"]["w"].round(3)
        array([0.05, 0.05, 0.05], dtype=float32)
        """
        if not isinstance(dtype, str) or dtype not in ("float32", "float64"):
            raise ValueError(f"`dtype` must be 'float32' or 'float64', got {dtype!r}")
        with self._lock.reading():
            self._lock.pause()
            self._engine.refresh()
            if self.catch_up:
                self._engine.sync()
            return self._state.unpacked(np.dtype(dtype))

    def __repr__(self) -> str:
        what = shaped(self._parameters.memory, [self._parameters.size])
        return f"{type(self).__name__}({what}, steps={self.steps}, groups={list(self._groups)!r})"

    # --- More arrays --------------------------------------------------------------------------------------------------

    def add(self, params: Any, **group: Any) -> None:
        """Add arrays to a running optimizer, as a group of their own. After an error, nothing is changed.

        The arrays are entered in the dict or list that the optimizer was built with. The gradients of the next step
        must have them too. State, counts and values of the other arrays stay as they are, bit for bit.

        Parameters
        ----------
        params : dict or list of arrays, nested freely
            For an optimizer over a dict, a dict with new keys; over a list, a list, which is appended. The names are
            those that the arrays would have had in the constructor. All have the dtype of the others.
        **group
            The group's hyperparameters: numbers, schedules, callables or controllers, as in the constructor's `groups`.
            The base group's values apply to what is left out. With `copy_to`, give the arrays of `copy_to` too. They
            are entered in the same way. If the base group's `lr_scale` has arrays, the new group needs an `lr_scale`.

        Raises
        ------
        TypeError, ValueError
            If a name exists already, or an array or hyperparameter is invalid; for an optimizer over a `Flat`, over
            one array or over a container that cannot grow, or with `capturable`.
        RuntimeError
            If the average is swapped in, or if a schedule calls it.

        Examples
        --------
        >>> import numpy as np, pyfastlr as flr
        >>> params = {"body": np.ones(2)}
        >>> opt = flr.Adam(params, lr=1e-3)
        >>> opt.step({"body": np.ones(2)})
        >>> opt.add({"head": np.zeros(3)}, lr=1e-2)
        >>> sorted(params), opt.lrs
        (['body', 'head'], [0.001, 0.01])
        >>> opt.step({"body": np.ones(2), "head": np.ones(3)})
        >>> opt.state_dict()["counts"]
        array([2, 1])

        Notes
        -----
        The new arrays have update count 0. Schedules go on with `opt.steps`. An average of the new arrays starts with
        their values, and a gradient that is being accumulated has no part of theirs. Views of `opt.state` and `opt.ema`
        from before are not live any more. A state saved later loads into an optimizer whose constructor has the group.
        A `SpikeGuard` that rolls back needs a new snapshot: call its `forget`.

        Other libraries: torch's ``add_param_group`` does the same, without names. Keras and optax build a new state.
        """
        adding.add(self, params, group)

    # --- Saving and restoring -----------------------------------------------------------------------------------------

    def save(self, path: Path, *, progress: Callable[[int, int], Any] | None = None) -> None:
        """Save the state to a file. It replaces an older file. `pyfastlr.save` saves the parameters too.

        After a crash at any moment, even of the machine, the old file or the new one is there, whole. Steps in other
        threads wait until the file is written.

        Parameters
        ----------
        path : str or os.PathLike
            A symbolic link is followed. By convention the name ends in ``.safetensors``.
        progress : callable, optional
            Called as ``progress(done, total)`` with bytes while the file is written, and once when it is on the disk.
            An exception in it ends the call; the old file stays.

        Raises
        ------
        OSError
            If the file cannot be written. It names the path; the old file is whole.
        RuntimeError
            If the average is swapped in (`swap_ema`); if a schedule calls it; if `progress` changes the optimizer.
        ValueError
            If `path` is not the path of a file, or if an array's name has ".." or control characters.

        Examples
        --------
        >>> import os, tempfile, numpy as np, pyfastlr as flr
        >>> opt = flr.Adam({"w": np.ones(3)}, lr=0.1)
        >>> opt.step({"w": np.ones(3)})
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = os.path.join(folder, "adam.safetensors")
        ...     opt.save(path)
        ...     resumed = flr.Adam({"w": np.ones(3)}, lr=0.1)
        ...     resumed.load(path)
        Loaded(missing=(), unexpected=())
        >>> resumed.steps
        1
        """
        save_state(path, self, progress)

    def load(self, path: Path, hyperparameters: bool = True, strict: bool = True, cast: bool = False) -> Loaded:
        """Restore the state from a file that `save` or `pyfastlr.save` wrote. After an error, nothing is changed.

        Parameters
        ----------
        path : str or os.PathLike
        hyperparameters, strict, cast : bool
            As in `load_state_dict`.

        Returns
        -------
        Loaded
            As in `load_state_dict`.

        Raises
        ------
        BadFile
            If the file is damaged, incomplete, of an unknown version or from another program.
        OSError
            If the file cannot be read.
        TypeError, ValueError
            If the state does not match the optimizer, or if the file has none.
        RuntimeError
            If the average is swapped in (`swap_ema`).

        Examples
        --------
        >>> import os, tempfile, numpy as np, pyfastlr as flr
        >>> opt = flr.SGD(np.zeros(2), lr=0.1, momentum=0.9)
        >>> opt.step(np.ones(2))
        >>> folder = tempfile.TemporaryDirectory()
        >>> path = os.path.join(folder.name, "sgd.safetensors")
        >>> opt.save(path)
        >>> resumed = flr.SGD(np.zeros(2), lr=0.5, momentum=0.9)
        >>> resumed.load(path)
        Loaded(missing=(), unexpected=())
        >>> resumed.steps, resumed.lr  # the saved rate
        (1, 0.1)
        >>> folder.cleanup()

        Notes
        -----
        Parameters in the file are not loaded: `pyfastlr.load` returns them.

        Loading into a new optimizer needs a few mebibytes of memory. If the optimizer has made updates, or its `state`
        was used, loading needs memory for a second state, because the old one must stay until the whole file was read.
        """
        return load_state(self, path, hyperparameters, strict, cast)

    def reset(self) -> None:
        """Reset state, counts and steps to those of a new optimizer. Keep parameters and hyperparameters.

        The average and the accumulated gradient start anew, and the loss scale is its initial one.
        """
        progress = self._progress_pairs(self._state.fresh_counts(), 0, float("nan"))
        writing.write(self, [*self._state.fresh(), *self._extras.fresh(), *progress], what="reset()")

    def state_dict(self) -> dict[str, Any]:
        """Copy everything that an exact resume needs besides the parameters.

        Returns
        -------
        dict
            Its keys: format, class, convention, rule, dtype, structure (name and shape of each array), steps, counts
            (int64, one per array), carry (float64), state (by slot, each with the structure of the parameters; for a
            `Flat`, its buffer), controllers (a list), average, accumulated and loss_scale (dicts, or None where there
            is nothing to save), used_lr (the rate of the last update, or None), hyperparameters (a list of dicts, one
            per group, the base group first), maximize. All values are from the same moment, even while another thread
            steps.

        Raises
        ------
        RuntimeError
            If the average is swapped in (`swap_ema`).

        Examples
        --------
        >>> import numpy as np, pyfastlr as flr
        >>> from pyfastlr import schedules as S
        >>> opt = flr.SGD(np.ones(3), lr=S.Linear(0.1, 0.0, steps=5), momentum=0.9)
        >>> opt.state_dict()["hyperparameters"][0]["lr"]
        {'schedule': {'type': 'Linear', 'start': 0.1, 'end': 0.0, 'steps': 5}}

        Notes
        -----
        Hyperparameters that are numbers or schedules are saved, including schedules of S.torch, S.keras, S.optax and
        your own classes. For another callable, arrays of `lr_scale` or a controller, the dict says only that there was
        one; the state of a controller is saved. The constructor's other arguments (accumulate, nonfinite, threads, ...)
        are not saved. `save` writes the state to a file, and `flatten_state` converts the dict for other formats.
        """
        with self._lock.reading():
            self._lock.pause()
            self._extras.check_not_swapped("state_dict()")
            self._engine.refresh()
            self._engine.sync()
            return snapshot.export(self)

    def load_state_dict(
        self, state: Mapping[str, Any], hyperparameters: bool = True, strict: bool = True, cast: bool = False
    ) -> Loaded:
        """Restore what `state_dict` returned. The next update is, bit for bit, that of the saved optimizer.

        After an error, nothing is changed.

        Parameters
        ----------
        state : dict
            From an optimizer of the same class, convention and dtype, over arrays with the same names and shapes. The
            container may be of another kind (dict, list or `Flat`) and in other memory. An average is loaded even if
            `ema_decay` is None. If the dict has no average, the average starts anew. A saved loss scale or partly
            accumulated gradient needs an optimizer with that option. If the dict has no loss scale, the optimizer's
            stays as it is.
        hyperparameters : bool
            Restore the hyperparameters of all groups. The saved numbers and schedules replace the optimizer's own. What
            cannot be saved must be in the optimizer at the same place: a callable where there was one, arrays of
            `lr_scale`, or a controller of the same class. The controller stays the same object and gets the saved
            state. The groups must have the same arrays, in any order. False keeps the optimizer's own hyperparameters;
            a saved controller where it has none of that class is left out then. States from before hyperparameters were
            saved keep them too.
        strict : bool
            Whether the state must have exactly the optimizer's arrays. If False, the arrays that both have are loaded.
            Those that the state lacks keep their state and counts. An array of another shape is always an error.
        cast : bool
            Convert a state of float64 to float32, or of float32 to float64. Counts are exact.

        Returns
        -------
        Loaded
            The names of the arrays that were left out with ``strict=False``: `missing` and `unexpected`.

        Raises
        ------
        TypeError, ValueError
            If the dict does not match the optimizer, or is damaged. The error names the key.
        RuntimeError
            If the average is swapped in (`swap_ema`).

        Examples
        --------
        >>> import numpy as np, pyfastlr as flr
        >>> p = np.ones(3)
        >>> opt = flr.SGD(p, lr=0.1, momentum=0.9)
        >>> opt.step(np.ones(3))
        >>> opt.lr = 0.01
        >>> resumed = flr.SGD(p.copy(), lr=0.1, momentum=0.9)
        >>> resumed.load_state_dict(opt.state_dict())
        Loaded(missing=(), unexpected=())
        >>> resumed.lr
        0.01

        Notes
        -----
        The arrays of `state` are not copied first, unless they overlap the optimizer's. Of `stats`, only the rate is
        restored. The next step measures the rest again.

        Other libraries: torch also restores the hyperparameters of all groups, matches arrays by their order alone, and
        casts without asking. Keras matches by order too, and optax's state has no hyperparameters unless
        ``inject_hyperparams`` puts them there.
        """
        writing.check_outside(self)
        with self._lock.held:
            found = loading.checked(self, state, hyperparameters, strict, cast)
            writing.write(
                self, found.pairs, found.controllers, found.settings, "load_state_dict()", found.loaded.missing
            )
        return found.loaded

    def _check_outside(self, what: str) -> None:
        writing.check_outside(self, what)

    def _live_state(self) -> tuple[dict[str, Any], Any]:
        self._extras.check_not_swapped("saving")
        self._engine.refresh()
        self._engine.sync()
        return snapshot.export(self, live=True), self._parameters.layout or self._parameters.node

    def _progress_pairs(self, counts: Any, steps: int, used_lr: float) -> list[tuple[Any, Any]]:
        progress = self._lock.progress
        return [
            (self._state.counts, counts),
            (progress["steps"], np.array([steps])),
            (progress["used_lr"], np.array([used_lr])),
        ]

    # --- Copies -------------------------------------------------------------------------------------------------------

    def __getstate__(self) -> dict[str, Any]:
        """Copy everything at one moment, including the parameters' values."""
        return copies.export(self)

    def __setstate__(self, state: dict[str, Any]) -> None:
        copies.restore(self, state, state["given"]["params"], state["arrays"])

    def __copy__(self) -> "Optimizer":
        """Return an optimizer that shares parameters, schedules and `copy_to`, but has its own state and loss scale."""
        return copies.shallow(self)

    def __deepcopy__(self, memo: dict[int, Any]) -> "Optimizer":
        return copies.deep(self, memo)


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
