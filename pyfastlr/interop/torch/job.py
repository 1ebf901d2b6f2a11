"""Tensors that one native call updates, and what is compared at each step so that their addresses may be trusted."""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import chain, compress
from operator import attrgetter
from typing import Any

import numpy as np
import torch
from torch.autograd.graph import increment_version

from pyfastlr.engines.by_address import AddressStep
from pyfastlr_kernels.rules import RULES

from .tensors import (
    DTYPES,
    HALVES,
    as_usable,
    check_gradient,
    check_parameter,
    check_state,
    is_aligned,
    is_dense,
    overlaps,
    same_order,
    scalar_dtype,
)
from .watch import Gradients, Watch

MASTER = "master"  # key in the state of a parameter of 16 bits: the parameter in float32
_grad = attrgetter("grad")


def local(x: Any) -> Any:
    """Tensor with the memory: of a DTensor the part of this process, of any other tensor itself."""
    return x._local_tensor if hasattr(x, "_local_tensor") and hasattr(x, "placements") else x


def local_gradient(g: Any, p: Any) -> Any:
    """Gradient for the memory of `local(p)`."""
    if g is None or not hasattr(g, "placements"):
        return g
    if g.placements != p.placements:
        g = g.redistribute(placements=p.placements)
    return local(g)


class Member:
    """A parameter in a job: its group, its state, and what a step will add to that."""

    __slots__ = ("entry", "has_begun", "name", "new", "owner", "p", "row", "staged", "state")

    def __init__(self, owner: Any, name: str, row: int, entry: dict[str, Any]) -> None:
        self.owner, self.name, self.row, self.entry = owner, name, row, entry
        given = local(owner)
        check_parameter(given, name)
        # A parameter with gaps in its memory is updated in a dense copy.
        self.staged = None if is_dense(given) and is_aligned(given) else given.detach()
        self.p = given.detach() if self.staged is None else torch.empty_like(given.detach())
        self.new: dict[str, Any] = {}
        self.state: list[Any] = []
        self.has_begun = False

    def has_new_strides(self) -> bool:
        """Whether the parameter's elements are in another order than the tables have them, at the same address."""
        now, then = local(self.owner), self.p if self.staged is None else self.staged
        return bool(now.shape != then.shape or now.stride() != then.stride())

    def take_state(self, slots: Sequence[str], initial: dict[str, float]) -> None:
        """Check the state arrays, make those that are missing, and bring them into the order of the parameter."""
        self.has_begun = all(self.entry.get(slot) is not None for slot in slots)
        dtype = DTYPES[self.p.dtype]
        for slot in (*slots, MASTER) if self.p.dtype in HALVES else slots:
            x = self.entry.get(slot)
            if x is None:
                zeros = partial(torch.zeros_like, memory_format=torch.preserve_format)
                x = self.new[slot] = zeros(self.owner.detach(), dtype=dtype)
                if initial.get(slot):
                    x.fill_(initial[slot])
            else:
                check_state(local(x), local(self.owner), f"state of {self.name}[{slot!r}]")
                if x.dtype != dtype:  # of torch's class
                    x = self.new[slot] = x.to(dtype)
                inner = local(x)
                if not (is_dense(inner) and same_order(inner, self.p) and is_aligned(inner)):
                    x = self.new[slot] = torch.empty_like(self.owner.detach(), dtype=dtype).copy_(x)
            self.state.append(local(x))


class Scalars:
    """One number of the state for each member, as torch keeps it: a tensor without dimensions, here views of one."""

    def __init__(self, key: str, members: Sequence[Member], initial: float) -> None:
        self.key = key
        self.values = torch.full((len(members),), initial, dtype=scalar_dtype())
        self.numbers: Any = self.values.numpy()
        for x, member, view in zip(range(len(members)), members, self.values.unbind(), strict=True):
            if key in member.entry:
                self.numbers[x] = _number(member.entry[key], f"state of {member.name}[{key!r}]")
            member.new[key] = view

        self._stored = b""  # the numbers as the last step left them

    def note(self) -> None:
        """Note what was stored."""
        self._stored = self.numbers.tobytes()

    def have_changed(self) -> bool:
        """Whether torch's tensors have other numbers than the last step has stored."""
        return bool(self.numbers.tobytes() != self._stored)


def _number(x: Any, name: str) -> float:
    if getattr(x, "ndim", 0) != 0 or not hasattr(x, "__float__"):
        raise ValueError(f"`{name}` must be a number or a tensor without dimensions, got {x!r:.60}")
    return float(x)


class Job:
    """The members that have one rule, dtype and sign, and their native step."""

    def __init__(
        self, rule: str, convention: str, maximize: bool, members: Sequence[Member], is_counted: bool,
        carried: str | None, initial: dict[str, float], n_rows: int, threads: int,
    ) -> None:  # fmt: skip
        self.members = members
        slots = RULES[rule].state_names
        self._counted = Scalars("step", members, 0.0) if is_counted else None
        self._carried = Scalars(carried, members, RULES[rule].carry[0]) if carried else None
        for x in members:
            x.take_state(slots, initial)
        half = HALVES.get(members[0].p.dtype)
        slots = slots if half is None else (*slots, MASTER)
        states = [[x.state[k] for x in members] for k in range(len(slots))]
        params, arrays = [local(x.owner) for x in members], list(chain.from_iterable(states))
        self._storages = [
            x.untyped_storage() for x in (*params, *arrays)
        ]  # so that no other memory gets their addresses
        self._staged = [(x.staged, x.p) for x in members if x.staged is not None]
        dtype = str(DTYPES[members[0].p.dtype]).removeprefix("torch.")
        places = [[x.data_ptr() for x in state] for state in states]
        masters = () if half is None else places.pop()
        self.step = AddressStep(
            rule, convention, dtype, [x.p.numel() for x in members], [x.row for x in members], n_rows,
            [x.p.data_ptr() for x in members], places, maximize, threads, half, masters,
        )  # fmt: skip
        self.step.counts[:] = [int(x.has_begun) for x in members]  # all that matters where torch does not count
        self._owners = [x.owner for x in members]
        self._itemsize = members[0].p.element_size()
        self._lengths = np.array([x.p.nbytes for x in members], np.int64)
        names = [x.key for x in (self._counted, self._carried) if x is not None] + list(slots)
        values = [{**x.entry, **x.new}[name] for x in members for name in names]
        self._watch = Watch([x.entry for x in members], names, values, params, arrays)
        self.is_current = self._watch.is_current
        pairs = ((self._counted, self.step.counts), (self._carried, self.step.carry[:, 0]))
        self._after = [partial(np.copyto, x.numbers, mine, "unsafe") for x, mine in pairs if x is not None]
        self._publish = [partial(x.entry.update, x.new) for x in members if x.new]
        self._gradients, self._is_stale = Gradients([x.p for x in members]), True
        self._updated: list[Any] = []
        self._copies: list[Any] = []

    def written(self) -> list[tuple[int, int, str]]:
        """Address ranges that a step writes, with their names."""
        return [
            (x.data_ptr(), x.data_ptr() + x.numel() * x.element_size(), member.name)
            for member in self.members
            for x in (member.p, *member.state)
            if x.numel()
        ]

    # --- Gradients ----------------------------------------------------------------------------------------------------

    def bind(self, gradients: list[Any], starts: Any, ends: Any) -> bool | None:
        """Put the gradients' addresses into the table. Return whether there is any gradient.

        None: a parameter has got another shape in the same memory, so the tables do not fit.
        """
        changed = self._gradients.take(gradients)
        if changed < 0:
            if any(x.has_new_strides() for x in self.members):
                return None
            gradients = self._usable(gradients)
        if changed or self._is_stale:
            self._store(gradients, starts, ends)
        return bool(self._updated)

    def _usable(self, gradients: Sequence[Any]) -> list[Any]:
        """Check each gradient; copy one whose memory is not in its parameter's order."""
        for g, x in zip(gradients, self.members, strict=True):
            if g is not None:
                check_gradient(g, local(x.owner), x.name)
        usable = [None if g is None else as_usable(g, x.p) for g, x in zip(gradients, self.members, strict=True)]
        self._copies = [x for x, g in zip(usable, gradients, strict=True) if x is not g]
        self._gradients.addresses[:] = [0 if x is None else x.data_ptr() or -1 for x in usable]
        return usable

    def _store(self, gradients: Sequence[Any], starts: Any, ends: Any) -> None:
        """Put addresses into the table: of gradients, or of copies of those that share memory with what is written."""
        addresses = self._gradients.addresses.copy()
        lengths = np.where(addresses != 0, self._lengths, 0)
        misaligned = np.flatnonzero((addresses % self._itemsize != 0) & (lengths > 0))
        for k in {*overlaps(starts, ends, addresses, addresses + lengths).tolist(), *misaligned.tolist()}:
            self._copies.append(gradients[k].detach().clone())
            addresses[k] = self._copies[-1].data_ptr()
        self.step.gradients[:] = addresses
        self._updated = list(compress(self._owners, addresses.tolist()))
        self._is_stale = bool(self._copies)

    # --- The step -----------------------------------------------------------------------------------------------------

    def take_scalars(self) -> None:
        """Take over counts and carried numbers that were changed in torch's tensors."""
        if self._counted is not None and self._counted.have_changed():
            given, counts = self._counted.numbers, self.step.counts
            wrong = np.flatnonzero(~((given >= 0) & (given == np.floor(given)) & np.isfinite(given)))
            if len(wrong):
                name = self.members[wrong[0]].name
                raise ValueError(f"`state of {name}['step']` must be an integer >= 0, got {given[wrong[0]]}")
            changed = given != counts.astype(given.dtype)
            counts[changed] = given[changed]
        if self._carried is not None:  # rounded at each update as in torch, so that a loaded state goes on to the bit
            self.step.carry[:, 0] = self._carried.numbers

    def calls(self, inv_scale: float) -> list[Callable[[], Any]]:
        """Functions of C that make the step. `together` makes it whole."""
        for given, copy in self._staged:
            copy.copy_(given)
        found: list[Callable[[], Any]] = [*self._publish, *self.step.calls(inv_scale)]
        return found + self._after + [partial(given.copy_, copy) for given, copy in self._staged]

    def finish(self) -> None:
        """Tell autograd which parameters have changed, and let copies go."""
        self._publish = []
        if self._counted is not None:
            self._counted.note()
        increment_version(self._updated)
        self._copies = []  # the table has their addresses, so it is stale


def gradients_of(params: Sequence[Any], has_wrappers: bool) -> list[Any]:
    """Gradient of each parameter, None where there is none."""
    found = list(map(_grad, params))
    return [local_gradient(g, p) for g, p in zip(found, params, strict=True)] if has_wrappers else found
