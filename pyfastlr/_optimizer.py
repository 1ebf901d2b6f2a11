"""What all optimizers share. A step is `Optimizer.step` -> the compiled drive (cpu.py) -> a rule (rules.py)."""

import os
import threading
import weakref
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import numpy as np

from pyfastlr_kernels import chunks, pool
from pyfastlr_kernels.rules import RULES

from . import _state
from ._arrays import Array, shaped
from ._groups import Group, Groups, membership
from ._hyper import DECAYS, RANGES, boolean, inverse_scale, number, thread_count
from ._params import Parameters
from ._state import State
from ._table import Table
from .flat import Flat

OK, STALE, NO_WORKERS, MOVED = 0, -1, -2, -3  # what a launch answers: see kernels/pyfastlr_kernels/launch.py


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
        initial: Mapping[str, float] | None = None,
    ) -> None:
        self._convention = self._choose_convention(convention)
        self._rule = rule
        self._sign = -1.0 if boolean(maximize, "maximize") else 1.0
        self._threads = thread_count(threads)
        self._parameters = Parameters(params)
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

    def _complete(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Arguments of the caller, and the convention's defaults for those that are None."""
        defaults = self._defaults[self._convention]
        values = {name: defaults.get(name) if value is None else value for name, value in given.items()}
        if values["lr"] is None:
            raise ValueError(f"`lr` must be given: {type(self).__name__} has no default in {self._convention!r}")
        return values

    def _make_groups(self, rows: list[int], count: int) -> None:
        fields = ("lr", "lr_scale", "weight_decay", *RULES[self._rule].hyper)
        self._groups = Groups(self._parameters, rows, count, fields, self._assign)
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
        self._numbers = self._table.numbers()
        self._steps = self._table.field("steps")
        self._launch: Any = None  # found by the first step
        self._lock = threading.RLock()
        self._set_inv_scale(1.0)
        self._forget_counts()
        self._fill_rows()
        _live.add(self)

    def _forget_counts(self) -> None:
        carry = RULES[self._rule].carry
        n = len(self._parameters.names)
        self._restore_counts(np.zeros(n, np.int64), np.tile(np.array(carry), (n, 1)), 0)

    def _restore_counts(self, counts: Array, carry: Array, steps: int) -> None:
        self._table.counts["count"] = counts
        self._table.counts["carry"][:, : carry.shape[1]] = carry
        self._steps[0] = steps
        self._used_lr: float | None = None

    def _fill_rows(self) -> None:
        """Write the numbers into the config rows, and list what is asked for a number at each update."""
        asked: dict[tuple[int, str], tuple[Any, str, list[int]]] = {}
        for row, group in enumerate(self.groups):
            self._numbers[self._table.place(row, "tiny")] = float(np.finfo(self._parameters.dtype).tiny)
            self._numbers[self._table.place(row, "decay")] = DECAYS[group.source("decay")]
            for field in group.fields[:-1]:
                value, place = group.source(field), self._table.place(row, field)
                if callable(value):
                    asked.setdefault((id(value), field), (value, field, []))[2].append(place)
                else:
                    self._numbers[place] = value if isinstance(value, float) else 1.0  # an lr_scale per element
        self._asked = [(call, *RANGES[field][:2], field, tuple(places)) for call, field, places in asked.values()]

    def _assign(self, group: Group, fields: dict[str, Any]) -> None:
        """Take checked fields into a group, for the next step."""
        with self._lock:
            scales = self._groups.scales
            self._groups.take(group, fields)
            if all(a is b for a, b in zip(scales, self._groups.scales, strict=True)):
                self._fill_rows()
            else:
                counts, steps, used = self._table.counts.copy(), self.steps, self._used_lr
                self._make_table()
                self._restore_counts(counts["count"], counts["carry"], steps)
                self._used_lr = used

    # --- The step ----------------------------------------------------------------------------------------------------

    def step(self, grads: Any, *, inv_scale: float = 1.0) -> None:
        """Update the parameters in place.

        Parameters
        ----------
        grads
            Gradients with the structure, shapes and dtype of the parameters; for a `Flat` a `Flat` or its buffer. An
            entry of a dict or list may be None: that array keeps its value, state and count. Read, never written.
        inv_scale : float > 0
            The gradients are multiplied by it first: the inverse of a loss scale.

        Raises
        ------
        TypeError, ValueError
            If a gradient, a parameter that was replaced, or a schedule's value is not what it must be. Nothing is
            changed then: parameters, state and counts are as before the call.
        """
        with self._lock:
            n = self._steps[0]
            if inv_scale != self._inv_scale or type(inv_scale) is not float:
                self._set_inv_scale(inv_scale)
            numbers = self._numbers
            for call, low, high, field, places in self._asked:
                value = call(n)
                if type(value) is not float or not low <= value <= high:
                    value = number(value, field, f" from its schedule at update {n}")
                for place in places:
                    numbers[place] = value
            if self._parameters.one:
                leaves, held = (grads.buffer if type(grads) is Flat else grads), None
            else:
                leaves, held = self._parameters.leaves(grads, "grads"), self._held()
            if self._launch is None or (status := self._launch(leaves, n, held)):
                self._recover(OK if self._launch is None else status, leaves, n, held)
            self._used_lr = numbers[0]

    def _held(self) -> list[Any]:
        """What the caller's container holds now: it must still be what the table was built for."""
        return self._parameters.leaves(self._parameters.params, "params")

    def _set_inv_scale(self, value: Any) -> None:
        self._inv_scale = inverse_scale(value)
        self._table.field("grad_scale")[0] = self._sign * self._inv_scale

    def _recover(self, status: int, leaves: Any, n: int, held: Any) -> None:
        """Do what the compiled step asked for and have it try again, or say what is wrong."""
        if self._launch is None:
            self._launch = self._table.launch(self._drive())
            status = self._launch(leaves, n, held)
        if status == NO_WORKERS:
            if not pool.shared().ensure(self._table.threads):
                self._table.single_thread()
            status = self._launch(leaves, n, held)
        if status > OK:
            leaves = self._parameters.checked(leaves)
            status = self._launch(leaves, n, held)
        if status == STALE:
            raise RuntimeError(f"a schedule or callable that is asked for update {n} must not call step()")
        if status <= MOVED:
            self._parameters.explain_moved(MOVED - status, held)
        if status > OK:
            self._parameters.explain_overlap(leaves, self._state.slots)

    def _drive(self) -> int:
        from pyfastlr_kernels import jit

        by_element = any(scale is not None for scale in self._groups.scales)
        return jit.drive(self._rule, self._convention, self._parameters.dtype.name, by_element)

    # --- What there is to see ----------------------------------------------------------------------------------------

    @property
    def steps(self) -> int:
        """Updates done."""
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
        return Stats(lr=self._used_lr)

    @property
    def state(self) -> dict[str, Any]:
        """Views of the live state by torch's names, each like the parameters."""
        return self._state.views()

    def reset(self) -> None:
        """Forget all updates: state, counts and steps are those of a new optimizer; parameters and rates stay."""
        with self._lock:
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
        with self._lock:
            return _state.export(self, RULES[self._rule])

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` returned, after checking all of it.

        Raises
        ------
        TypeError, ValueError
            If it is of another class, convention, structure or dtype, or damaged. Nothing is written then.
        """
        with self._lock:
            _state.restore(self, state, RULES[self._rule])

    def __repr__(self) -> str:
        what = shaped(self._parameters.dtype, [self._parameters.size])
        return f"{type(self).__name__}({what}, steps={self.steps}, groups={self.groups!r})"

    # --- Copies ------------------------------------------------------------------------------------------------------

    def __getstate__(self) -> dict[str, Any]:
        with self._lock:
            return {
                **{name: getattr(self, name) for name in ("_convention", "_rule", "_sign", "_threads")},
                "params": self._parameters.params,
                "rows": self._groups.rows,
                "groups": [group.own for group in self.groups],
                "initial": self._state.initial,
                "slots": self._state.slots,
                "counts": self._table.counts,
                "steps": self.steps,
                "used_lr": self._used_lr,
            }

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name in ("_convention", "_rule", "_sign", "_threads"):
            setattr(self, name, state[name])
        self._parameters = Parameters(state["params"])
        self._make_groups(state["rows"], len(state["groups"]))
        for group, own in zip(self.groups, state["groups"], strict=True):
            self._groups.take(group, own)
        self._state = State(self._parameters, RULES[self._rule], state["initial"])
        for name, buffer in self._state.slots.items():
            buffer[:] = state["slots"][name]
        self._make_table()
        self._restore_counts(state["counts"]["count"], state["counts"]["carry"], state["steps"])
        self._used_lr = state["used_lr"]


_live: "weakref.WeakSet[Optimizer]" = weakref.WeakSet()


def _after_fork() -> None:
    """Renew the locks: one that another thread held when the process forked would be held for ever in the child."""
    for optimizer in _live:
        optimizer._lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
