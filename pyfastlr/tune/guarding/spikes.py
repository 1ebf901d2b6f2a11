"""`SpikeGuard`: skips steps, rolls back or cuts the rate when a run becomes unstable."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pyfastlr.optimizers.base import Optimizer
from pyfastlr.schedules import checks
from pyfastlr.schedules.controller import Adjustable, observed
from pyfastlr.schedules.gradients import dot
from pyfastlr_kernels.compile.first_use import whole

from . import state as spike_state
from .judge import WATCHED, Judge, SpikeEvent
from .rollback import Snapshot, check_in_place, restore, take
from .unrest import FEWEST, LEAST_LIKELY

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ACTIONS = ("skip", "rollback", "cut")
_KEPT = 100_000  # losses for `plot`


class SpikeGuard:
    """Makes a run's steps, and acts when the loss or gradient spikes, is not finite, or oscillates.

    Call ``guard.step(loss, grads)`` instead of ``opt.step(grads)``. It returns "step" if it made the step, "skip" if it
    skipped it, and "rollback" if it restored parameters and optimizer from a snapshot.

    - A *spike* is a loss, or a norm of the gradient, above median + threshold·σ of the last `window` good values, where
      σ is 1.4826 times the median absolute deviation, and above the median by more than the fraction `rise`. If the
      loss is falling, both are computed around a line. Logarithms are compared. Values that are *not finite* are always
      spikes.
    - A run *oscillates* if 32 successive losses switch between rising and falling more often than independent losses do
      with probability `oscillation`; or, with "cosine" in `watch`, if the mean cosine of 32 successive gradients is so
      low that it has at most that probability by chance. This happens if the rate is near or above 2/L, where L is the
      largest curvature.

    Parameters
    ----------
    opt : Optimizer
        An optimizer with parameters in host memory.
    action : {"skip", "rollback", "cut"} or several of them
        - "skip" skips the step.
        - "rollback" also restores the parameters, and the optimizer's state including its controllers, from a snapshot
          that was followed by at least `every` good steps. With "skip" too, only after `max_skips` spikes in a row.
        - "cut" also multiplies the rate by `factor`: at each rollback if "rollback" is given, otherwise at each spike;
          and at each oscillation. To do so, the guard wraps the rate of every group that has one in an `S.Adjustable`.
    threshold : float > 0
        False alarms per loss, for independent normal noise on the logarithmic scale without a trend: 2e-8 at 8 with a
        `window` of 64; 3e-6 at 6, 4e-4 at 4; with only 32 losses, 3e-6 at 8.
    rise : float >= 0
        A value up to ``1 + rise`` times the median is never a spike.
    window : int >= 32
        Number of good losses to compare with.
    log : bool
        Whether logarithms of losses are compared. Losses must then be >= 0. Use False for losses of any sign.
    watch : "loss", "grad_norm", "cosine" or several of them
        Quantities to watch for spikes. "cosine" is for oscillation, and keeps a copy of one gradient.
    oscillation : float from 2e-6 to 1, or None
        Probability of a false alarm in 32 steps. None turns the detection off.
    early : float > 1 or None
        Before there are 32 good losses, a value above `early` times the largest of them is a spike. None: never.
        Only used if logarithms are compared.
    every : int >= 1
        Good steps between two snapshots.
    factor : float in (0, 1)
    recovery : int >= 1 or None
        Good steps since the last change of the rate after which one cut is undone (times 1/factor). None: never.
    max_skips : int >= 1
        Most steps to skip in a row.
    max_rollbacks : int >= 0
        Most rollbacks to the same snapshot.

    Attributes
    ----------
    events : list of SpikeEvent
        The last 1,000: call, kind, what, value, bound, actions.
    scale : float
        Product of the cuts in force.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> import numpy as np, pyfastlr as flr
    >>> from pyfastlr import tune
    >>> p = np.ones(3)
    >>> opt = flr.SGD(p, lr=0.1)
    >>> guard = tune.SpikeGuard(opt, action=("skip", "cut"))
    >>> guard.step(0.5, np.ones(3)), guard.step(float("nan"), np.ones(3)), opt.steps, opt.lr
    ('step', 'skip', 1, 0.05)
    >>> guard.events[0].kind, guard.events[0].what, guard.events[0].actions
    ('not finite', 'loss', ('skip', 'cut'))

    Notes
    -----
    Memory: "rollback" keeps two copies of parameters and optimizer state, "cosine" one copy of the gradient. Time: one
    pass over the gradient for its norm, in float64, and one pass over parameters and state per snapshot.

    A rollback also restores the optimizer's count, and so its schedule. Your loop continues with the next batches, so
    the batches since the snapshot are not seen again. Cuts stay in force. A loss that is higher for a good reason (new
    data, another term) also counts as a spike: call `forget` first.

    A gradient whose square overflows float64 counts as not finite. ``opt.lr = x`` sets a new rate, without cuts.

    With a `loss_scale`, norms are those of the unscaled gradient, and a gradient that is not finite is no spike: the
    optimizer skips it and lowers the scale. A rollback restores the average, the accumulated gradient and the loss
    scale too, and writes the parameters to `copy_to`. With `zero_grad`, all gradients are set to zero, whatever the
    guard does.

    Instead of exceeding `max_skips` or `max_rollbacks`, the guard raises a RuntimeError, and nothing changes.

    Sources: A. Chowdhery et al., PaLM: Scaling Language Modeling with Pathways, 2022, section 5.1: back by 100 steps,
    and 200 to 500 batches skipped; S. Zhang et al., OPT: Open Pre-trained Transformer Language Models, 2022, section
    2.5: back to an earlier checkpoint, with a lower rate; D. André, Étude sur les maxima, minima et séquences des
    permutations, 1884, for the number of turning points. Other libraries: Keras' TerminateOnNaN ends the run; optax's
    apply_if_finite and skip_large_updates skip steps. None of them restores an earlier state or cuts the rate.
    """

    def __init__(
        self,
        opt: Optimizer,
        action: str | Sequence[str] = "skip",
        *,
        threshold: float = 8.0,
        rise: float = 0.1,
        window: int = 64,
        log: bool = True,
        watch: str | Sequence[str] = ("loss", "grad_norm"),
        oscillation: float | None = 1e-4,
        early: float | None = 4.0,
        every: int = 100,
        factor: float = 0.5,
        recovery: int | None = None,
        max_skips: int = 10,
        max_rollbacks: int = 10,
    ) -> None:
        if not isinstance(opt, Optimizer):
            raise TypeError(f"`opt` must be an optimizer of pyfastlr, got {type(opt).__name__}")
        if opt._parameters.device is not None:
            raise ValueError("`opt` must have its parameters in host memory, got arrays on a CUDA device")
        self.opt = opt
        self.actions = _several(action, "action", ACTIONS)
        chance = checks.number("a number from 2e-6 to 1, or None", LEAST_LIKELY, 1.0)
        self._judge = Judge(
            checks.positive(threshold, "threshold"), checks.nonnegative(rise, "rise"),
            checks.integer(FEWEST)(window, "window"), checks.flag(log, "log"), _several(watch, "watch", WATCHED),
            checks.optional(chance)(oscillation, "oscillation"),
            checks.optional(checks.number("a finite number > 1, or None", 1.0 + 1e-9))(early, "early"),
        )  # fmt: skip
        self._every, self._factor = checks.positive_integer(every, "every"), checks.fraction(factor, "factor")
        self._recovery = checks.optional(checks.positive_integer)(recovery, "recovery")
        self._max_skips = checks.positive_integer(max_skips, "max_skips")
        self._max_rollbacks = checks.natural(max_rollbacks, "max_rollbacks")
        self.state: dict[str, Any] = dict(spike_state.START)
        self.history: deque[tuple[float, float, str]] = deque(maxlen=_KEPT)  # for `plot`: loss, bound, action
        if "cut" in self.actions:
            try:
                whole(self._adjustables)
            except ValueError as error:
                raise ValueError(f"`action` must not contain 'cut' for this optimizer: {error}") from None
        if "rollback" in self.actions:
            self.state["snapshot"] = self._snapshot(self.state)

    # --- A step -------------------------------------------------------------------------------------------------------

    def step(self, loss: float, grads: Any, *, inv_scale: float = 1.0) -> str:
        """Make the optimizer's step, or act on a spike instead.

        Parameters
        ----------
        loss : float
            Loss of the batch of `grads`. NaN and infinity are spikes.
        grads : like the parameters
            As for the optimizer's `step`.
        inv_scale : float > 0
            As for the optimizer's `step`: a factor for the gradients. The loss is not multiplied.

        Returns
        -------
        {"step", "skip", "rollback"}

        Raises
        ------
        TypeError, ValueError
            If an argument is wrong. Nothing changes then.
        RuntimeError
            If the step would exceed `max_skips` or `max_rollbacks`. Nothing changes then.
        """
        value = observed(loss, "loss")
        self._judge.check(value)
        inv_scale = checks.positive(inv_scale, "inv_scale")
        arrays, zeroed, loss_scale = self._arrays(grads), self.opt.zero_grad, self.opt.loss_scale
        square = dot(arrays, arrays)
        overflow = loss_scale is not None and not math.isfinite(square) and not _are_finite(arrays)
        norm = 0.0 if overflow else math.sqrt(square) * inv_scale / (1.0 if loss_scale is None else loss_scale.scale)
        alarm, bound = self._judge.spike(self.state, value, norm)
        if alarm is not None:
            done = self._react(alarm, value, bound)
            for x in arrays if zeroed else ():
                if x is not None:
                    x[...] = 0
            return done
        if zeroed and self._judge.keeps_gradient:
            arrays = [None if x is None else x.copy() for x in arrays]
        self.opt.step(grads, inv_scale=inv_scale)
        if overflow:  # the optimizer has skipped the step and lowered its scale
            self.state = {**self.state, "calls": self.state["calls"] + 1}
            self.history.append((value, bound, "skip"))
            return "skip"
        self._after(value, bound, norm, arrays)
        return "step"

    def _arrays(self, grads: Any) -> list[Any]:
        """Gradients, 1-D. With `zero_grad`, they must be writeable."""
        parameters = self.opt._parameters
        leaves = parameters.checked(parameters.gather(grads))
        if self.opt.zero_grad:
            parameters.check_zeroed(leaves)
        several = type(leaves) is list and not parameters.is_leaf
        return [None if x is None else x.reshape(-1) for x in (leaves if several else [leaves])]

    # --- Spikes -------------------------------------------------------------------------------------------------------

    def _react(self, alarm: SpikeEvent, value: float, bound: float) -> str:
        """React to a spike. If the guard gives up, nothing changes."""
        state, actions = self.state, self.actions
        in_a_row = state["skips"] + 1
        back = "rollback" in actions and ("skip" not in actions or in_a_row > self._max_skips)
        if not back and in_a_row > self._max_skips:
            raise RuntimeError(self._gives_up(alarm, f"`max_skips` ({self._max_skips}) steps in a row were skipped"))
        if back and state["rollbacks"] >= self._max_rollbacks:
            raise RuntimeError(
                self._gives_up(alarm, f"the run was rolled back `max_rollbacks` ({self._max_rollbacks}) times in a row")
            )
        cut = "cut" in actions and (back or "rollback" not in actions)
        done = tuple(name for name, holds in (("skip", not back), ("rollback", back), ("cut", cut)) if holds)
        new = {**self._noted(state, alarm._replace(actions=done)), "calls": state["calls"] + 1, "skips": in_a_row}
        if cut:
            new |= {"cuts": state["cuts"] + 1, "since": 0}
        if back:
            snapshot: Snapshot = state["snapshot"]
            new |= {**snapshot.levels, "skips": 0, "rollbacks": state["rollbacks"] + 1, "candidate": None, "good": 0,
                    "block": (), "cosines": (), "last": None}  # fmt: skip
        self._commit(new, self._factor if cut else 1.0, state["snapshot"] if back else None)
        self.history.append((value, bound, done[0]))
        return done[0]

    def _gives_up(self, alarm: SpikeEvent, why: str) -> str:
        name = {"loss": "a loss", "grad_norm": "a gradient of norm"}[alarm.what]
        return (
            f"{why}, and the next step has {name} {alarm.value:.6g} ({alarm.kind}"
            + (f", bound {alarm.bound:.6g}" if alarm.kind == "spike" else "")
            + "): lower the rate, look at the last batches, or, if the loss is higher for a good reason, call forget()"
        )

    # --- Good steps ---------------------------------------------------------------------------------------------------

    def _after(self, value: float, bound: float, norm: float, arrays: Sequence[Any]) -> None:
        """Update the state after a step."""
        state = self.state
        new = {**state, "calls": state["calls"] + 1, "skips": 0, "good": state["good"] + 1, "since": state["since"] + 1}
        new |= self._judge.levels(state, value, norm)
        factor = 1.0
        seen, alarm = self._judge.oscillation(state, value, arrays)
        new |= seen
        if alarm is not None:
            cut = "cut" in self.actions
            new = self._noted(new, alarm._replace(actions=("cut",) if cut else ()))
            if cut:
                new |= {"cuts": new["cuts"] + 1, "since": 0}
                factor = self._factor
        if self._recovery is not None and new["cuts"] and new["since"] >= self._recovery:
            new |= {"cuts": new["cuts"] - 1, "since": 0}
            factor = 1.0 / self._factor
            scale = self._factor ** new["cuts"]
            new = self._noted(new, SpikeEvent(state["calls"], "recovery", "rate", scale, 1.0, ()))
        if "rollback" in self.actions and new["good"] >= self._every:
            confirmed = new["candidate"]
            new |= {"good": 0, "candidate": self._snapshot(new)}
            if confirmed is not None:
                new |= {"snapshot": confirmed, "rollbacks": 0}
        self._commit(new, factor, None)
        self.history.append((value, bound, "step"))

    # --- What changes -------------------------------------------------------------------------------------------------

    def _noted(self, state: Mapping[str, Any], event: SpikeEvent) -> dict[str, Any]:
        return {**state, "events": (*state["events"], event)[-spike_state.EVENTS :]}

    def _snapshot(self, state: Mapping[str, Any]) -> Snapshot:
        return take(self.opt, {"loss": state["loss"], "grad_norm": state["grad_norm"]})

    def _adjustables(self) -> tuple[list[Adjustable], bool]:
        """The Adjustable of each group that has its own rate, and whether any had to be created."""
        found: dict[int, Adjustable] = {}
        fresh = False
        for row, own in enumerate(self.opt._hyper.current.own):
            if "lr" not in own:
                continue
            rate = self.opt.groups[row]["lr"]
            key = id(rate) if callable(rate) else -row - 1  # a schedule shared by two groups stays shared
            if isinstance(rate, Adjustable):
                found[key] = rate
                continue
            fresh = True
            found.setdefault(key, Adjustable(rate))
            self.opt.groups[row]["lr"] = found[key]
        return list(found.values()), fresh

    def _commit(self, new: dict[str, Any], factor: float, snapshot: Snapshot | None) -> None:
        """Store the new state, change the rate, and restore a snapshot: all of it or nothing."""
        if factor == 1.0 and snapshot is None:
            self.state = new
            return
        if snapshot is not None:
            check_in_place(self.opt)

        def work() -> None:
            adjustables, fresh = self._adjustables() if "cut" in self.actions else ([], False)
            kept = [(x, x.scale, x.limit) for x in adjustables]
            if snapshot is not None:
                restore(self.opt, snapshot)
            raised = factor > 1.0 and fresh  # the user has set a new rate, so there is no cut to undo
            for x, scale, limit in kept:  # a rollback does not undo the cuts
                x.observe(scale=scale if raised else scale * factor, limit=limit)
            self.state = {**new, "cuts": 1 if factor < 1.0 else 0} if fresh else new

        whole(work)

    def forget(self) -> None:
        """Forget all losses and norms. Call it when the next losses differ for a good reason.

        It also replaces the snapshots by one of the current state.
        """
        new = {**self.state, **{x: spike_state.START[x] for x in ("loss", "grad_norm", "block", "cosines", "last")}}
        new |= {"skips": 0, "rollbacks": 0, "good": 0, "candidate": None}
        if "rollback" in self.actions:
            new["snapshot"] = self._snapshot(new)
        self.state = new

    # --- What there is to see -----------------------------------------------------------------------------------------

    @property
    def events(self) -> list[SpikeEvent]:
        """The last 1,000 events."""
        return list(self.state["events"])

    @property
    def scale(self) -> float:
        """Product of the cuts in force."""
        scale: float = self._factor ** self.state["cuts"]
        return scale

    def __repr__(self) -> str:
        return f"SpikeGuard({type(self.opt).__name__}, action={self.actions!r}, calls={self.state['calls']})"

    def state_dict(self) -> dict[str, Any]:
        """Copy the state, including snapshots, as numbers, strings, None, lists, dicts and numpy arrays.

        ``opt.state_dict()`` has the optimizer's state and the cuts in its rates.
        """
        return spike_state.export(self.state)

    def load_state_dict(self, d: Mapping[str, Any]) -> None:
        """Load the output of `state_dict`. If an error is raised, nothing has changed.

        Build optimizer and guard first, then load both, because the guard wraps the rates that it cuts.

        Raises
        ------
        TypeError, ValueError
            If the state does not fit or is damaged.
        """
        new = spike_state.checked(d, self.opt, self._judge.window, "rollback" in self.actions)
        self.history.clear()
        self.state = new

    def plot(self, ax: Axes | None = None, **kwargs: Any) -> Axes:
        """Draw the losses since the guard was built or loaded, the bound for spikes, and the actions.

        After more than 100,000 calls, only the latest are drawn.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Where to draw. By default a new pyplot figure.
        **kwargs
            Keywords of `matplotlib.lines.Line2D` for the losses.

        Returns
        -------
        matplotlib.axes.Axes

        Raises
        ------
        ModuleNotFoundError
            If matplotlib is not installed.
        """
        try:
            import matplotlib  # noqa: F401
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError('plot needs matplotlib: pip install "pyfastlr[demo]"') from error
        from .drawing import draw

        return draw(self, ax, kwargs)


def _are_finite(arrays: Sequence[Any]) -> bool:
    return all(bool(np.isfinite(x).all()) for x in arrays if x is not None)


def _several(given: Any, name: str, known: Sequence[str]) -> tuple[str, ...]:
    """Check one name or several different names; return them in the order of `known`."""
    listed = [given] if isinstance(given, str) else given
    if not isinstance(listed, list | tuple) or not listed or len(set(map(str, listed))) < len(listed):
        raise TypeError(f"`{name}` must be one of {', '.join(map(repr, known))}, or several of them, got {given!r:.60}")
    found = [checks.choice(*known)(x, name) for x in listed]
    return tuple(x for x in known if x in found)
