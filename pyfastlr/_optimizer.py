"""What all optimizers share. A step is `Optimizer.step` -> the compiled drive (cpu.py) -> a rule (rules.py)."""

import os
import threading
import time
import weakref
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, NamedTuple

import numpy as np

from pyfastlr_kernels import chunks, pool
from pyfastlr_kernels.chunks import BAD_SCALE, BUSY, MOVED, NO_WORKERS, OK
from pyfastlr_kernels.rules import RULES

from . import _state
from ._arrays import Array, shaped
from ._groups import Group, Groups, membership
from ._hyper import DECAYS, RANGES, boolean, inverse_scale, number, thread_count
from ._params import Parameters
from ._state import State
from ._table import Asked, Table
from .flat import Flat
from .schedules import Schedule

NOT_COMPILED = 1 << 62


def _not_compiled(*arguments: Any) -> int:
    """Stand in for the launch until the first step."""
    return NOT_COMPILED


class Stats(NamedTuple):
    """What the last step did; None where it was not measured.

    Attributes
    ----------
    lr : float or None
        Rate of the base group; None before the first step.
    grad_norm, update_norm : float or None
        Global norms, where an option asks for them.
    clipped, skipped : bool or None
        Whether the gradient was clipped, and whether the step was left out.

    Examples
    --------
    >>> import numpy as np, pyfastlr as flr
    >>> opt = flr.SGD(np.ones(3), lr=0.1)
    >>> opt.step(np.ones(3))
    >>> opt.stats.lr
    0.1
    """

    lr: float | None = None
    grad_norm: float | None = None
    update_norm: float | None = None
    clipped: bool | None = None
    skipped: bool | None = None


class Optimizer:
    """Base of all optimizers: parameters, groups, state and the step. Use one of its final classes.

    A class has its conventions' defaults in `_defaults` (the first is the default convention) and picks its rule.

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

    _defaults: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    _rules: ClassVar[tuple[str, ...]] = ()  # those it may run, by its arguments

    def __init__(
        self,
        params: Any,
        rule: str,
        given: Mapping[str, Any],
        *,
        convention: str | None,
        groups: Any,
        maximize: bool,
        threads: int | None,
        capturable: bool,
        initial: Mapping[str, float] | None = None,
    ) -> None:
        self._convention = self._choose_convention(convention)
        self._rule = rule
        self._sign = -1.0 if boolean(maximize, "maximize") else 1.0
        self._threads = thread_count(threads)
        self._capturable = boolean(capturable, "capturable")
        self._parameters = Parameters(params)
        if self._capturable and self._parameters.device is None:
            raise ValueError("`capturable` needs parameters on a CUDA device, got parameters in host memory")
        values = self._complete(given)
        groups = [] if groups is None else groups
        self._make_groups(membership(groups, self._parameters.names), len(groups) + 1)
        for group, own in zip(self.groups, (values, *groups), strict=True):
            self._groups.take(group, group.checked({name: value for name, value in own.items() if name != "params"}))
        self._state = State(self._parameters, RULES[rule], initial or {})
        self._make_table()

    def _choose_convention(self, convention: str | None) -> str:
        known = list(self._defaults)
        if convention is None:
            return known[0]
        if not isinstance(convention, str) or convention not in known:
            raise ValueError(
                f"`convention` of {type(self).__name__} must be {' or '.join(map(repr, known))}, got {convention!r}"
            )
        return convention

    def _refuse_lacking(self, convention: str, given: Mapping[str, Any]) -> None:
        for name, value in given.items():
            if value is not None and name not in self._defaults[convention] and name != "lr_scale":
                raise ValueError(f"`{name}` must be left out: {convention}'s {type(self).__name__} has none")

    def _complete(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Arguments of the caller, and the convention's defaults for those that are None."""
        self._refuse_lacking(self._convention, given)
        defaults = self._defaults[self._convention]
        values = {name: defaults.get(name) if value is None else value for name, value in given.items()}
        if values["lr"] is None:
            raise ValueError(f"`lr` must be given: {self._convention}'s {type(self).__name__} has no default")
        return {name: value for name, value in values.items() if value is not None}

    def _make_groups(self, rows: list[int], count: int) -> None:
        known = {*self._defaults[self._convention], "beta1", "beta2"}
        fields = ("lr", "lr_scale", "weight_decay", *(field for field in RULES[self._rule].hyper if field in known))
        weak = weakref.proxy(self)
        self._groups = Groups(self._parameters, rows, count, fields, lambda group, fields: weak._assign(group, fields))
        self.groups = self._groups.list

    def _make_table(self) -> None:
        """Build the tables, the counts at zero, for the state and the groups as they are."""
        params, rule = self._parameters, RULES[self._rule]
        states = [self._state.tensors(name) for name in rule.slots]
        self._table = Table(
            params.buffers,
            params.given,
            [(*extent, row) for extent, row in zip(params.extents, self._groups.rows, strict=True)],
            [[tensors[k] for tensors in states] for k in range(len(params.names))],
            self._groups.scales,
            chunks.row_dtype(rule.hyper),
            len(self.groups),
            params.one,
            self._threads or pool.default_threads(),
        )
        self._table.field("sign")[0] = self._sign
        self._steps, self._owner = self._table.field("steps"), self._table.field("owner")
        self._launch: Any = _not_compiled
        self._device_step: Any = None  # made by the first step
        self._one = params.one
        self._exclusive = _Exclusive(self)
        self._forget_counts()
        self._fill_rows()
        _live.add(self)

    def _forget_counts(self) -> None:
        carry = RULES[self._rule].carry
        n = len(self._parameters.names)
        self._restore_counts(np.zeros(n, np.int64), np.tile(np.array(carry), (n, 1)), 0, None)

    def _restore_counts(self, counts: Array, carry: Array, steps: int, used_lr: float | None) -> None:
        self._table.counts["count"] = counts
        self._table.counts["carry"][:, : carry.shape[1]] = carry
        self._steps[0] = steps
        self._table.field("used_lr")[0] = np.nan if used_lr is None else used_lr
        if self._device_step is not None:
            self._device_step.changed()

    def _refresh(self) -> None:
        """Have counts and steps on the host, where a graph may have counted on the device."""
        if self._device_step is not None:
            self._device_step.refresh()

    def _fill_rows(self) -> None:
        """Write the numbers into the config rows, and list what is asked for a number at each update."""
        weak = weakref.proxy(self)  # no cycles: the state of a dropped optimizer is freed at once
        asked: dict[tuple[int, str], Asked] = {}
        for row, group in enumerate(self.groups):
            self._table.write(row, "tiny", float(np.finfo(self._parameters.dtype).tiny))
            self._table.write(row, "decay", DECAYS[group.source("decay")])
            for field in group.fields[:-1]:
                value = group.source(field)
                if callable(value):
                    at = value._at if isinstance(value, Schedule) else value
                    entry: Asked = (at, _convert(weak, field), *RANGES[field][:2], [])
                    asked.setdefault((id(value), field), entry)[-1].append(self._table.place(row, field))
                else:
                    self._table.write(row, field, value if isinstance(value, float) else 1.0)  # an array: lr_scale
        self._table.ask(list(asked.values()))

    def _assign(self, group: Group, fields: dict[str, Any]) -> None:
        """Take checked fields into a group, for the next step."""
        if self._owner[0] == threading.get_ident():
            raise RuntimeError("a schedule or callable must not set hyperparameters of the optimizer that asks it")
        with self._exclusive:
            self._refresh()
            if self._capturable and self._device_step is not None:
                _refuse_compiled(group, fields)
            scales = self._groups.scales
            self._groups.take(group, fields)
            if all(a is b for a, b in zip(scales, self._groups.scales, strict=True)):
                self._fill_rows()
                if self._device_step is not None:
                    self._device_step.changed()
                return
            kept = (self._table.counts["count"], self._table.counts["carry"], self.steps, self.stats.lr)
            self._make_table()
            self._restore_counts(*kept)

    # --- The step ----------------------------------------------------------------------------------------------------

    def step(self, grads: Any, *, inv_scale: float = 1.0, stream: Any = None) -> None:
        """Update the parameters in place.

        Parameters
        ----------
        grads
            Gradients with the structure, shapes and dtype of the parameters; for a `Flat` a `Flat` or its buffer. An
            entry of a dict or list may be None: that array keeps its value, state and count. Read, never written.
        inv_scale : float > 0
            The gradients are multiplied by it first: the inverse of a loss scale.
        stream
            For parameters on a CUDA device: the stream to run in (of torch, CuPy, cuda.core, or its handle). None is
            the current one of the library that the gradients come from, else the default stream. Never waited for.

        Raises
        ------
        TypeError, ValueError
            If a gradient, a parameter that was replaced, or a schedule's value is not what it must be. Nothing is
            changed then: parameters, state and counts are as before the call.
        """
        if stream is not None and self._parameters.device is None:
            raise TypeError(f"`stream` must be None for parameters in host memory, got {type(stream).__name__}")
        if self._one:
            leaves, held = (grads.buffer if type(grads) is Flat else grads), None
        else:
            leaves = self._parameters.leaves(grads, "grads")
            held = self._parameters.leaves(self._parameters.params, "params")
        if status := self._launch(leaves, inv_scale, held):
            self._recover(status, leaves, inv_scale, held, stream)

    def _recover(self, status: int, leaves: Any, inv_scale: Any, held: Any, stream: Any) -> None:
        """Do what the compiled step asked for and have it try again, or say what is wrong."""
        if self._parameters.device is not None:
            self._step_on_device(leaves, inv_scale, held, stream)
            return
        checked = False
        while status != OK:
            if status == NOT_COMPILED:
                self._compile()
            elif status == BUSY:
                self._wait()
            elif status == NO_WORKERS:
                if not pool.shared().ensure(self._table.threads):
                    self._table.single_thread()
            elif status == BAD_SCALE:
                inv_scale = inverse_scale(inv_scale)
            elif status <= MOVED:
                self._parameters.explain_moved(MOVED - status, held)
            elif checked:
                self._parameters.explain_overlap(leaves, self._state.slots)
            else:
                leaves, checked = self._parameters.checked(leaves), True
            status = self._launch(leaves, inv_scale, held)

    def _compile(self) -> None:
        """Compile the step, or load it."""
        from pyfastlr_kernels import jit

        by_element = any(scale is not None for scale in self._groups.scales)
        drive = jit.drive(self._rule, self._convention, self._parameters.dtype.name, by_element)
        with self._exclusive:
            self._launch = self._table.launch(drive)

    def _step_on_device(self, leaves: Any, inv_scale: Any, held: Any, stream: Any) -> None:
        """Do the step; nothing is compiled for the host, so every call comes here."""
        if self._owner[0] == threading.get_ident():
            raise RuntimeError("step() must not be called from what runs inside of it: a schedule or callable")
        with self._exclusive:
            if self._device_step is None:
                from ._device_step import DeviceStep

                self._device_step = DeviceStep(
                    self._parameters, self._table, self._state.slots, RULES[self._rule], self._convention,
                    self.groups if self._capturable else None,
                )  # fmt: skip
            self._owner[0] = threading.get_ident()
            try:
                self._device_step(leaves, inv_scale, held, stream)
            finally:
                self._owner[0] = 0

    def _wait(self) -> None:
        """Wait while another thread is in the step or reads what it changes."""
        if self._owner[0] == threading.get_ident():
            raise RuntimeError("step() must not be called from what runs inside of it: a schedule or callable")
        time.sleep(5e-5)

    # --- What there is to see ----------------------------------------------------------------------------------------

    @property
    def steps(self) -> int:
        """Updates done."""
        self._refresh()
        return int(self._steps[0])

    @property
    def rule(self) -> str:
        """Name of the rule in pyfastlr_kernels.rules that this optimizer runs."""
        return self._rule

    @property
    def convention(self) -> str:
        """Whose formula and defaults these are."""
        return self._convention

    @property
    def lr(self) -> float:
        """Rate of the base group for the next update, before lr_scale. Set it to a number, a schedule or a callable."""
        return self._rate(self.groups[0])

    @lr.setter
    def lr(self, value: Any) -> None:
        self.groups[0]["lr"] = value

    @property
    def lrs(self) -> list[float]:
        """Rate of every group for the next update, before lr_scale."""
        return [self._rate(group) for group in self.groups]

    def _rate(self, group: Group) -> float:
        value, n = group.source("lr"), self.steps
        return number(value(n), "lr", f" from its schedule at update {n}") if callable(value) else value

    @property
    def stats(self) -> Stats:
        """What the last step did."""
        lr = self._table.field("used_lr")[0]
        return Stats(lr=None if np.isnan(lr) else lr)

    @property
    def state(self) -> dict[str, Any]:
        """Views of the live state by torch's names, each like the parameters."""
        return self._state.views()

    def reset(self) -> None:
        """Forget all updates: state, counts and steps are those of a new optimizer; parameters and rates stay."""
        with self._exclusive:
            self._state.clear()
            self._forget_counts()

    def state_dict(self) -> dict[str, Any]:
        """Copy all that an exact resume needs beside the parameters and the arguments of the constructor.

        Returns
        -------
        dict
            format, class, convention, rule, dtype, structure (name and shape of each array), steps, counts (int64, one
            for each array), carry (float64), state (by slot, each like the parameters; a `Flat`'s as its buffer).
        """
        with self._exclusive:
            return _state.export(self, RULES[self._rule])

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` returned, after checking all of it.

        Raises
        ------
        TypeError, ValueError
            If it is of another class, convention, structure or dtype, or damaged. Nothing is written then.
        """
        with self._exclusive:
            _state.restore(self, state, RULES[self._rule])

    def __repr__(self) -> str:
        what = shaped(self._parameters.dtype, [self._parameters.size])
        return f"{type(self).__name__}({what}, steps={self.steps}, groups={self.groups!r})"

    # --- Copies ------------------------------------------------------------------------------------------------------

    def __getstate__(self) -> dict[str, Any]:
        with self._exclusive:
            self._refresh()
            return {
                **{name: getattr(self, name) for name in ("_convention", "_rule", "_sign", "_threads", "_capturable")},
                "params": self._parameters.params,
                "rows": self._groups.rows,
                "groups": [group.own for group in self.groups],
                "initial": self._state.initial,
                "slots": self._state.slots,
                "counts": self._table.counts,
                "steps": self.steps,
                "used_lr": self.stats.lr,
            }

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name in ("_convention", "_rule", "_sign", "_threads", "_capturable"):
            setattr(self, name, state[name])
        self._parameters = Parameters(state["params"])
        self._make_groups(state["rows"], len(state["groups"]))
        for group, own in zip(self.groups, state["groups"], strict=True):
            self._groups.take(group, own)
        self._state = State(self._parameters, RULES[self._rule], state["initial"])
        for name, buffer in self._state.slots.items():
            buffer[:] = state["slots"][name]
        self._make_table()
        counts = state["counts"]
        self._restore_counts(counts["count"], counts["carry"], state["steps"], state["used_lr"])


def _convert(optimizer: Optimizer, field: str) -> Callable[[Any], float]:
    """Make what turns a schedule's value that is no float in its range into one, or raises the error."""
    return lambda value: number(value, field, f" from its schedule at update {optimizer.steps}")


def _refuse_compiled(group: Group, fields: Mapping[str, Any]) -> None:
    """Refuse to replace, or to be replaced by, what is part of a captured graph."""
    for field, value in fields.items():
        if not all(isinstance(x, float | str) for x in (group.source(field), value)):
            raise ValueError(
                f"`{field}` must stay as it is after the first step where `capturable` is set: graphs have schedules "
                f"and arrays in them, and only a number can be replaced, by a number"
            )


class _Exclusive:
    """Keep steps out while a thread reads or writes what they change; a thread may enter again."""

    def __init__(self, optimizer: Optimizer) -> None:
        self._optimizer: Optimizer = weakref.proxy(optimizer)
        self.renew()

    def renew(self) -> None:
        """Be free, whoever held it."""
        self._lock = threading.RLock()  # between those who are here; a step looks at the job's owner alone
        self._depth = 0
        self._taken = False

    def __enter__(self) -> None:
        self._lock.acquire()
        self._depth += 1
        if self._depth == 1:
            self._taken = self._take()

    def _take(self) -> bool:
        """Own the job, unless nobody else can: before the first step, and inside of this thread's own."""
        optimizer = self._optimizer
        while optimizer._launch is not _not_compiled and optimizer._owner[0] != threading.get_ident():
            if optimizer._launch() == OK:
                return True
            time.sleep(5e-5)
        return False

    def __exit__(self, *exception: object) -> None:
        self._depth -= 1
        if self._depth == 0 and self._taken:
            self._taken = False
            self._optimizer._owner[0] = 0
        self._lock.release()


_live: "weakref.WeakSet[Optimizer]" = weakref.WeakSet()


def _after_fork() -> None:
    """Renew the locks: one that another thread held when the process forked would be held for ever in the child."""
    for optimizer in _live:
        optimizer._owner[0] = 0
        optimizer._exclusive.renew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
