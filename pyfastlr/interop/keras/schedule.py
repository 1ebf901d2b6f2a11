"""pyfastlr's schedules as Keras' `LearningRateSchedule`."""

from typing import Any

import keras

from pyfastlr import schedules

from .backend import BACKEND


@keras.saving.register_keras_serializable(package="pyfastlr")
class Schedule(keras.optimizers.schedules.LearningRateSchedule):
    """A schedule of pyfastlr, for any optimizer of Keras. The optimizers here take the schedule itself, too.

    Parameters
    ----------
    schedule : pyfastlr.schedules.Schedule
        Or what its ``to_dict`` returned. It is a function of Keras' ``optimizer.iterations``, from 0. With
        ``gradient_accumulation_steps``, Keras counts every batch.

    Raises
    ------
    TypeError
        If it is no schedule. A `Controller` has state, which Keras would not save; Keras has callbacks for that.
        On the JAX backend: if it is around a Python callable, which cannot be compiled.

    Examples
    --------
    >>> from pyfastlr import schedules as S
    >>> from pyfastlr.interop.keras import Schedule
    >>> rate = Schedule(S.Cosine(0.1, steps=10))
    >>> rate(0), rate(10)
    (0.1, 0.0)
    >>> Schedule.from_config(rate.get_config())(5) == rate(5)
    True
    """

    def __init__(self, schedule: Any) -> None:
        if isinstance(schedule, dict):
            schedule = schedules.from_dict(schedule)
        if not isinstance(schedule, schedules.Schedule):
            raise TypeError(f"`schedule` must be a schedule of pyfastlr without state, got {type(schedule).__name__}")
        self.schedule = schedule

    def __call__(self, step: Any) -> Any:
        """Rate of update `step`, a number, variable or tensor."""
        step = getattr(step, "value", step)
        if BACKEND == "jax":
            from pyfastlr.interop.jax import schedule

            return schedule(self.schedule)(step)
        return float(self.schedule(int(step)))

    def get_config(self) -> dict[str, Any]:
        """Return the schedule as a dict."""
        return {"schedule": self.schedule.to_dict()}


def as_keras(rate: Any) -> Any:
    """Convert a schedule of pyfastlr. Return anything else as it is."""
    is_ours = isinstance(rate, schedules.Schedule | schedules.Controller) and not isinstance(rate, type)
    return Schedule(rate) if is_ours else rate
