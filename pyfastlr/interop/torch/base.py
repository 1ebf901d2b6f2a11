"""What all optimizers for torch share: the constructor, the step, and what happens to the state when it is loaded."""

import inspect
from collections.abc import Callable
from functools import partial
from operator import itemgetter
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch.autograd.profiler import record_function
from torch.optim.optimizer import _global_optimizer_post_hooks, _global_optimizer_pre_hooks

from pyfastlr.engines import hyper
from pyfastlr.engines.lock import StepLock

from .job import local
from .plan import Kind, Plan, checked_group, keys_of, number
from .tensors import HALVES, check_parameter, names_of

_SCHEDULE, _INDEX = "schedule", "schedule_step"


class Scheduled:
    """A schedule of the rate, in its group, and the rate that it gave last."""

    __slots__ = ("rate", "source")

    def __init__(self, source: Any) -> None:
        self.source, self.rate = source, self.at(source, 0)

    def __repr__(self) -> str:
        return repr(self.source)

    @staticmethod
    def at(source: Any, n: int) -> float:
        """Rate of an update."""
        where = f" from its schedule at update {n}"
        return hyper.number(hyper.evaluation(source)(n), "lr", hyper.AT_LEAST_ZERO, where)

    def next(self, group: dict[str, Any]) -> float | None:
        """Rate for the next update, None if another number has been set in the group."""
        return self.at(self.source, group[_INDEX]) if group["lr"] == self.rate else None

    def store(self, rate: float) -> None:
        """Note the rate of an update."""
        self.rate = rate


def _is_schedule(x: Any) -> bool:
    return callable(x) and not isinstance(x, torch.Tensor)


def _source(lr: Any) -> Any:
    """Return a checked schedule. A controller is refused: torch's `state_dict` would not have its state."""
    if hasattr(lr, "observe"):
        raise TypeError(
            f"`lr` must be a number, a tensor or a schedule without state, got the controller {type(lr).__name__}: "
            "torch.optim.lr_scheduler has ReduceLROnPlateau"
        )
    return hyper.source(lr, "lr", hyper.AT_LEAST_ZERO)


@torch._disable_dynamo
def _outside_of_graph(optimizer: Any, closure: Any) -> Any:
    """Make a step that torch.compile must not trace: the graph is broken here."""
    return optimizer.step(closure)


class CompiledStep:
    """A compiled step in place of the one of torch's class, which is the next base class.

    torch's class checks the arguments, keeps the groups, and moves the state in and out.
    """

    kind: ClassVar[Kind]
    _step_supports_amp_scaling = True  # a GradScaler sets `grad_scale` and `found_inf` before it calls `step`
    _plan: Plan | None = None
    _is_built = False
    _schedule: Any = None  # of groups that do not set `lr`

    if TYPE_CHECKING:
        param_groups: list[dict[str, Any]]
        defaults: dict[str, Any]
        state: Any
        _lock: StepLock
        _keys: list[str]
        _get_values: Callable[[Any], tuple[Any, ...]]
        _optimizer_step_pre_hooks: dict[int, Any]
        _optimizer_step_post_hooks: dict[int, Any]
        _optimizer_step_code: Callable[[], None]

    def __init_subclass__(cls, kind: Kind, **others: Any) -> None:
        super().__init_subclass__(**others)
        cls.kind = kind
        cls.__signature__ = inspect.signature(cls.__mro__[2])  # type: ignore[attr-defined]

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        """Give each optimizer a lock, however it is made."""
        self: Any = super().__new__(cls)
        self._lock = StepLock()
        return self

    if not TYPE_CHECKING:  # type checkers see the one of torch's class

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            given = type(self).__signature__.bind(*args, **kwargs)
            lr = given.arguments.get("lr")
            if _is_schedule(lr):
                self._schedule = _source(lr)
                given.arguments["lr"] = Scheduled(self._schedule).rate
            elif isinstance(lr, str | bytes | bool):  # torch compares it with 0.0
                raise TypeError(f"`lr` must be a number, a tensor or a schedule, got {lr!r}")
            super().__init__(*given.args, **given.kwargs)
            self._is_built = True  # torch's own checks of the arguments come first
            for k, group in enumerate(self.param_groups):
                self._check_group(group, k)

    # --- Groups -------------------------------------------------------------------------------------------------------

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group. Its `lr` may be a schedule."""
        before = len(self.param_groups)
        schedule = param_group.get("lr", self._schedule) if isinstance(param_group, dict) else None
        if _is_schedule(schedule):
            scheduled = Scheduled(_source(schedule))
            param_group = {**param_group, "lr": scheduled.rate, _SCHEDULE: scheduled, _INDEX: 0}
        super().add_param_group(param_group)  # type: ignore[misc]
        if not self._is_built:
            return
        try:
            self._check_group(self.param_groups[-1], before)
        except (TypeError, ValueError):
            self.param_groups.pop()
            raise

    def _check_group(self, group: dict[str, Any], k: int) -> None:
        names = names_of([*({"params": ()} for _ in range(k)), group])
        for p, name in zip(group["params"], names, strict=True):
            check_parameter(local(p), name)
        keys = keys_of(self.kind, self.defaults)
        checked_group(self.kind, keys, [group[key] for key in keys], f"param_groups[{k}]")

    # --- The step -----------------------------------------------------------------------------------------------------

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update all parameters that have a gradient, in place.

        Parameters
        ----------
        closure : callable, optional
            Computes the loss and the gradients. It is called once, before the update.

        Returns
        -------
        The closure's result, or None.

        Raises
        ------
        TypeError, ValueError
            If a parameter, gradient, state tensor or number of a group cannot be used. Nothing is changed then.
        """
        if torch.compiler.is_compiling():
            return _outside_of_graph(self, closure)
        if torch.autograd._profiler_enabled():
            with record_function(f"Optimizer.step#{type(self).__name__}.step"):
                return self._hooked_step(closure)
        return self._hooked_step(closure)

    # torch would wrap `step` at the first construction, to call hooks and to name it for the profiler. That costs 12 us
    # with the profiler off, as much as a small step. `_hooked_step` calls the hooks.
    step.hooked = True  # type: ignore[attr-defined]

    def _hooked_step(self, closure: Any) -> Any:
        """Call hooks before and after the step, as torch does."""
        args: Any = (self,) if closure is None else (self, closure)
        kwargs: Any = {}
        for before in (*_global_optimizer_pre_hooks.values(), *self._optimizer_step_pre_hooks.values()):
            changed = before(self, args, kwargs)
            if changed is None:
                continue
            if not isinstance(changed, tuple) or len(changed) != 2:
                raise RuntimeError(
                    f"a hook before step() must return None or a tuple of (args, kwargs), got {changed!r:.80}"
                )
            args, kwargs = changed
        loss = CompiledStep._own_step(*args, **kwargs)
        self._optimizer_step_code()
        for after in (*self._optimizer_step_post_hooks.values(), *_global_optimizer_post_hooks.values()):
            after(self, args, kwargs)
        return loss

    def _own_step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        found_inf = getattr(self, "found_inf", None)
        if found_inf is None or not float(found_inf):
            grad_scale = getattr(self, "grad_scale", None)
            if self._lock.is_mine():  # asked before the lock is taken: an interrupt may have left its mark
                raise RuntimeError("a schedule must not call step() of the optimizer that calls it")
            with self._lock.held:
                self._update(1.0 if grad_scale is None else 1.0 / float(grad_scale))
        return loss

    def _update(self, inv_scale: float) -> None:
        after: list[Callable[[], Any]] = []
        rates = self._scheduled(after)
        values = [self._values(group) for group in self.param_groups]
        for k, rate in rates.items():
            values[k] = (rate, *values[k][1:])
        plan, has_gradients = self._plan, None
        if plan is not None and plan.is_current(self.param_groups, self.state, values):
            has_gradients = plan.bind()
        if has_gradients is None:
            self._plan = None
            plan = Plan(self, self.kind, values, self._keys)
            has_gradients = plan.bind()
        assert plan is not None
        if has_gradients:
            plan.run(inv_scale, after)
            self._plan = plan

    def _values(self, group: dict[str, Any]) -> tuple[Any, ...]:
        """Values of a group that a step reads."""
        try:
            return self._get_values(group)
        except AttributeError:
            self._keys = keys_of(self.kind, self.defaults)
            get: Callable[[Any], tuple[Any, ...]] = itemgetter(*self._keys)
            self._get_values = get
            return get(group)

    def _scheduled(self, after: list[Callable[[], Any]]) -> dict[int, float]:
        """Rates from schedules, by group. `after` gets what is stored once the update is made."""
        found: dict[int, float] = {}
        for k, group in enumerate(self.param_groups):
            if _SCHEDULE not in group:
                continue
            if getattr(self.__dict__.get("step"), "_wrapped_by_lr_sched", False):
                raise ValueError(
                    f"`lr` must be a number if a scheduler of torch sets it, got {group[_SCHEDULE].source!r}"
                )
            self._lock.own()
            try:
                rate = group[_SCHEDULE].next(group)
            finally:
                self._lock.disown()
            if rate is not None:
                found[k] = rate
                after += [
                    partial(group.update, {"lr": rate, _INDEX: group[_INDEX] + 1}),
                    partial(object.__setattr__, group[_SCHEDULE], "rate", rate),
                ]
        return found

    # --- State --------------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Return what torch's class returns. Of a schedule, it has the index of its next update."""
        found: dict[str, Any] = super().state_dict()  # type: ignore[misc]
        for group in found["param_groups"]:
            group.pop(_SCHEDULE, None)
        return found

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a state of this class or of torch's. Schedules stay, and go on where the state was saved."""
        given: list[dict[str, Any]] = []
        schedules = [group.get(_SCHEDULE) for group in self.param_groups]
        before = {"state": self.state, "param_groups": self.param_groups}  # torch replaces both

        def loaded(_: Any) -> None:
            try:
                self._loaded(given[0], schedules)
            except BaseException:
                self.__setstate__(before)
                raise

        me: Any = self
        last = me.register_load_state_dict_pre_hook(lambda _, final: given.append(final))
        first = me.register_load_state_dict_post_hook(loaded, prepend=True)
        try:
            super().load_state_dict(state_dict)  # type: ignore[misc]
        finally:
            last.remove()
            first.remove()

    def _loaded(self, given: dict[str, Any], schedules: list[Any]) -> None:
        """Undo torch's casts of the state, and bring schedules to their place."""
        ids = [id_ for group in given["param_groups"] for id_ in group["params"]]
        params = [p for group in self.param_groups for p in group["params"]]
        for id_, p in zip(ids, params, strict=True):
            x = given["state"].get(id_, {}).get(self.kind.carried)
            if isinstance(x, torch.Tensor):
                self.state[p][self.kind.carried] = x.detach().clone()
            if p.dtype in HALVES:  # whose state torch casts to 16 bits
                for key, x in given["state"].get(id_, {}).items():
                    if isinstance(x, torch.Tensor) and x.dtype == torch.float32 and x.shape == p.shape:
                        self.state[p][key] = x.detach().clone()
        found: list[tuple[Scheduled, float]] = []
        for group, scheduled in zip(self.param_groups, schedules, strict=True):
            if scheduled is None:
                group.pop(_INDEX, None)
                continue
            if _INDEX not in group:
                counts = [float(self.state[p]["step"]) for p in group["params"] if "step" in self.state.get(p, {})]
                group[_INDEX] = int(max(counts, default=0))
            found.append((scheduled, number(group["lr"], "lr")))
            group[_SCHEDULE] = scheduled
        for scheduled, rate in found:  # after everything that can fail
            scheduled.store(rate)

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_schedule": self._schedule}  # type: ignore[dict-item]

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._plan, self._is_built = None, True
        super().__setstate__(state)  # type: ignore[misc]
