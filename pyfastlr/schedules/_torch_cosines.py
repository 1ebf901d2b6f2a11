"""torch's schedulers with a cosine: see `pyfastlr.schedules.torch`."""

from __future__ import annotations

from pyfastlr.schedules._algebra import Constant
from pyfastlr.schedules._checks import natural, nonnegative, positive_integer
from pyfastlr.schedules._cycles import CosineRestarts
from pyfastlr.schedules._decays import Cosine, Linear
from pyfastlr.schedules._foreign import Translated, anneal
from pyfastlr.schedules._schedule import Schedule
from pyfastlr_kernels import compat_curves


class CosineAnnealingLR(Schedule):
    """Cosine that falls and rises again: ``eta_min + (lr - eta_min)·(1 + cos(π·n/T_max))/2``.

    Parameters
    ----------
    lr : float
        Rate of the first update, >= 0.
    T_max : int
        Updates of the fall, >= 1.
    eta_min : float
        Rate at its end, >= 0.

    Examples
    --------
    >>> s = CosineAnnealingLR(0.5, T_max=10)
    >>> s(0), s(5), s(10), s(15), s(20)
    (0.5, 0.25, 0.0, 0.25, 0.5)

    Notes
    -----
    Ends: eta_min at n = T_max, 3·T_max, ..., lr at 2·T_max, 4·T_max, ...; never stops.

    Elsewhere: Keras' CosineDecay, optax's cosine_decay_schedule and `S.Cosine` stay at the end. torch computes each
    rate from the last, and drifts from this formula as of the first rise, by some 1e-12 of lr in 3,000 updates.
    """

    __slots__ = ()
    curve = staticmethod(compat_curves.cosine_wave)
    equation = "{eta_min} + ({lr} - {eta_min})·(1 + cos(π·n/{T_max}))/2"

    def __init__(self, lr: float, T_max: int, eta_min: float = 0.0) -> None:
        super().__init__(
            lr=nonnegative(lr, "lr"), T_max=positive_integer(T_max, "T_max"), eta_min=nonnegative(eta_min, "eta_min")
        )


class CosineAnnealingWarmRestarts(Translated, Schedule):
    """Cosine again and again: ``eta_min + (lr - eta_min)·(1 + cos(π·m/(T_0·T_mult^i)))/2`` at update m of cycle i.

    Parameters
    ----------
    lr : float
        Rate at every start, >= 0.
    T_0 : int
        Updates in the first cycle, >= 1.
    T_mult : int
        Each cycle is so many times as long as the last, >= 1.
    eta_min : float
        Rate that each cycle falls towards, >= 0.

    Examples
    --------
    >>> s = CosineAnnealingWarmRestarts(0.5, T_0=10, T_mult=2)
    >>> s(0), s(5), s(10), s(20), s(30)
    (0.5, 0.25, 0.5, 0.25, 0.5)

    Notes
    -----
    Ends: s = lr at a restart, which comes where the cosine would meet eta_min; never stops.

    Elsewhere: Keras' CosineDecayRestarts, optax's sgdr_schedule and `S.CosineRestarts` can also lower the peaks.
    """

    __slots__ = ()

    def __init__(self, lr: float, T_0: int, T_mult: int = 1, eta_min: float = 0.0) -> None:
        super().__init__(
            lr=nonnegative(lr, "lr"),
            T_0=positive_integer(T_0, "T_0"),
            T_mult=positive_integer(T_mult, "T_mult"),
            eta_min=nonnegative(eta_min, "eta_min"),
        )

    def native(self) -> Schedule:
        """Give the same schedule in terms of ours."""
        lr, period, mult, end = self.parameters.values()
        return CosineRestarts(lr, period, mult, end=end)


class SWALR(Translated, Schedule):
    """From the rate of the training to that of the averaging: ``swa_lr + (lr - swa_lr)·f(min(n/anneal_epochs, 1))``.

    Parameters
    ----------
    lr, swa_lr : float
        First and last rate, >= 0.
    anneal_epochs : int
        Calls from one to the other, >= 0.
    anneal_strategy : {"cos", "linear"}
        f(x): (1 + cos(π·x))/2 or 1 - x.

    Examples
    --------
    >>> s = SWALR(0.5, swa_lr=0.25, anneal_epochs=4, anneal_strategy="linear")
    >>> s(0), s(2), s(4)
    (0.5, 0.375, 0.25)

    Notes
    -----
    Ends: lr at n = 0 (swa_lr if anneal_epochs = 0), swa_lr from n = anneal_epochs on.

    Elsewhere: none has it; here it is `S.Cosine` or `S.Linear`.
    """

    __slots__ = ()

    def __init__(self, lr: float, swa_lr: float, anneal_epochs: int = 10, anneal_strategy: str = "cos") -> None:
        super().__init__(
            lr=nonnegative(lr, "lr"),
            swa_lr=nonnegative(swa_lr, "swa_lr"),
            anneal_epochs=natural(anneal_epochs, "anneal_epochs"),
            anneal_strategy=anneal(anneal_strategy, "anneal_strategy"),
        )

    def native(self) -> Schedule:
        """Give the same schedule in terms of ours."""
        lr, swa_lr, epochs, strategy = self.parameters.values()
        if epochs == 0:
            return Constant(swa_lr)
        return Cosine(lr, epochs, swa_lr) if strategy == "cos" else Linear(lr, swa_lr, epochs)
