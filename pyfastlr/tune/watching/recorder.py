"""`Recorder`: keeps the numbers of a run by update, and can append them to a file."""

import os
import weakref
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

from pyfastlr.optimizers.base import Optimizer
from pyfastlr.tune.values import count, real

from . import files as record_files
from .records import Records
from .table import LARGEST_STEP, MISSING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_WATCHED = ("lr", "grad_norm", "update_norm", "param_norm")  # fields of an optimizer's stats; None is left out
_LOOK_BACK = 256  # records at a time


class Recorder(Records):
    """Numbers of a run by update: loss, learning rate, norms, sharpness or any other name.

    Each record has a step and any numbers by name. A missing number is NaN in arrays, and empty in files.

    Parameters
    ----------
    capacity : int > 0, optional
        Number of latest records to keep. By default all, in memory that doubles when it is full.
    file : str or path, optional
        A ``.jsonl`` file to which each record is appended at once, as one line of JSON. A resumed run continues its
        file. An incomplete last line, as a crash of the machine may leave it, is removed. The folder must exist.

    Attributes
    ----------
    names : tuple of str
        Names, in order of their first record.
    steps : int64 array[len]
        Step of each kept record.
    total : int
        Number of records so far, including those that are no longer kept.
    latest : dict
        Last number of each name, and "step".

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range, or `file` is not a file of records.
    OSError
        If the file cannot be opened.

    Examples
    --------
    >>> import numpy as np, pyfastlr as flr
    >>> from pyfastlr import schedules as S, tune
    >>> p = np.ones(3)
    >>> opt = flr.SGD(p, lr=S.Linear(0.5, 0.25, steps=2))
    >>> r = tune.Recorder().watch(opt)  # adds the rate of the last step and its index to each record
    >>> for _ in range(3):
    ...     loss, gradient = p @ p / 2, p.copy()
    ...     opt.step(gradient)
    ...     r.record(loss=loss, grad_norm=tune.norm(gradient))
    >>> r["loss"]
    array([1.5       , 0.375     , 0.14648438])
    >>> r["lr"], r.steps
    (array([0.5  , 0.375, 0.25 ]), array([0, 1, 2]))
    >>> r.record(val_loss=0.25)
    >>> r.latest
    {'step': 2, 'loss': 0.146484375, 'grad_norm': 0.541265877..., 'lr': 0.25, 'val_loss': 0.25}

    Notes
    -----
    `record` takes about a microsecond. Several threads may record at the same time, and no record is lost. An interrupt
    during `record` leaves that record whole or absent, and all others whole. The file has whole lines, in the order of
    the records. If a record cannot be written (the disk is full), `record` raises OSError; the record stays in memory,
    and is written with the next one. Two processes should not share a file.

    Copies and pickles have the records, but neither the file nor the watched optimizer.

    Keras has `History` and CSVLogger, per epoch; torch has SummaryWriter for TensorBoard; optax has no recorder.
    """

    def __init__(self, capacity: int | None = None, *, file: "str | os.PathLike[str] | None" = None) -> None:
        super().__init__(None if capacity is None else count(capacity, "capacity"))
        self._optimizer: Optimizer | None = None
        self._log: record_files.Log | None = None
        if file is not None:
            self._log = record_files.Log(file)
            self._close = weakref.finalize(self, self._log.close)

    # --- Writing ------------------------------------------------------------------------------------------------------

    def watch(self, optimizer: Optimizer | None) -> Self:
        """From now on, add the optimizer's measurements of its last step to each record.

        These are `lr`, the base group's rate, and `grad_norm`, `update_norm` and `param_norm` if the optimizer measures
        them. Numbers passed to `record` take precedence. The default step is the index of the last update, as in
        schedules: ``optimizer.steps - 1``.

        Parameters
        ----------
        optimizer : Optimizer or None
            None stops watching.

        Returns
        -------
        Recorder
            This recorder.

        Examples
        --------
        >>> import numpy as np, pyfastlr as flr
        >>> from pyfastlr import tune
        >>> opt = flr.SGD(np.ones(2), lr=0.5)
        >>> r = tune.Recorder().watch(opt)
        >>> opt.step(np.ones(2))
        >>> r.record(loss=2.0)
        >>> r.latest
        {'step': 0, 'loss': 2.0, 'lr': 0.5}
        """
        if optimizer is not None and not isinstance(optimizer, Optimizer):
            raise TypeError(f"`optimizer` must be an optimizer of pyfastlr or None, got {type(optimizer).__name__}")
        self._optimizer = optimizer
        return self

    def record(self, step: int | None = None, /, **numbers: float | None) -> None:
        """Add a record.

        Parameters
        ----------
        step : int from 0 to 2**53, optional
            Index of the update that the numbers belong to; positional or by name. By default the last record's step
            plus 1, or the last update of a watched optimizer.
        **numbers : float or None
            Real numbers of Python, numpy, torch or jax. True and False become 1 and 0, and None is a missing number.
            Pass names that are not identifiers in a dict: ``r.record(**{"loss/train": 0.5})``.

        Raises
        ------
        TypeError, ValueError
            If a value is not a number (such as an array), or the step is not an integer. Nothing is recorded then.
        OSError
            If the file could not be written.

        Examples
        --------
        >>> from pyfastlr import tune
        >>> r = tune.Recorder()
        >>> r.record(loss=1.0)
        >>> r.record(10, loss=0.5, lr=0.1)
        >>> list(r)
        [{'step': 0, 'loss': 1.0}, {'step': 10, 'loss': 0.5, 'lr': 0.1}]
        """
        if "step" in numbers:
            if step is not None:
                raise TypeError("`step` must be given once, got it both by position and by name")
            step = numbers.pop("step")  # type: ignore[assignment]
        optimizer = self._optimizer
        if optimizer is not None:
            stats = optimizer.stats
            for name in _WATCHED:
                if name not in numbers and (value := getattr(stats, name, None)) is not None:
                    numbers[name] = value
            if step is None:
                step = max(0, optimizer.steps - 1)
        values = [x if type(x) is float else _number(x, name) for name, x in numbers.items()]
        if step is not None and (type(step) is not int or not 0 <= step <= LARGEST_STEP):
            step = _step(step)
        with self._lock:
            self._append(step, tuple(numbers), values)
            if self._log is not None:
                self._log.catch_up(self._table, self._count)

    def __repr__(self) -> str:
        of = "" if len(self) == self.total else f" of {self.total}"
        return f"Recorder({len(self)}{of} records, {list(self.names)})"

    # --- Files --------------------------------------------------------------------------------------------------------

    def save(self, path: "str | os.PathLike[str]") -> None:
        """Write the kept records to a file. An existing file is replaced only when the new one is complete.

        Parameters
        ----------
        path : str or path
            ``.csv``: a header and one row per record, with empty fields for missing numbers; or ``.jsonl``: one line of
            JSON per record, with null for NaN and 1e999 for infinity, because JSON has neither. Numbers are written
            exactly, to the last bit.

        Raises
        ------
        ValueError
            If the path has another ending.
        OSError
            If the file cannot be written.

        Examples
        --------
        >>> import tempfile, pathlib
        >>> from pyfastlr import tune
        >>> r = tune.Recorder()
        >>> r.record(loss=1.0)
        >>> r.record(loss=0.5, lr=0.1)
        >>> path = pathlib.Path(tempfile.mkdtemp(), "run.csv")
        >>> r.save(path)
        >>> print(path.read_text())
        step,loss,lr
        0,1.0,
        1,0.5,0.1
        """
        record_files.save(path, *self._kept())

    @classmethod
    def read(cls, path: "str | os.PathLike[str]", capacity: int | None = None) -> Self:
        """Make a recorder with the records of a ``.csv`` or ``.jsonl`` file.

        Parameters
        ----------
        path : str or path
            A file written by `save` or, during a run, by ``file=``. An incomplete last line, as a crash of the machine
            may leave it, is ignored.
        capacity : int > 0, optional
            As in the constructor.

        Raises
        ------
        ValueError
            If it is not a file of records. The error names the line.
        OSError
            If the file cannot be read.

        Examples
        --------
        >>> import tempfile, pathlib
        >>> from pyfastlr import tune
        >>> path = pathlib.Path(tempfile.mkdtemp(), "run.jsonl")
        >>> with tune.Recorder(file=path) as r:
        ...     r.record(loss=1.0)
        ...     r.record(loss=0.5, lr=0.1)
        >>> print(path.read_text())
        {"step": 0, "loss": 1.0}
        {"step": 1, "loss": 0.5, "lr": 0.1}
        >>> tune.Recorder.read(path)
        Recorder(2 records, ['loss', 'lr'])
        """
        recorder = cls(capacity)
        record_files.read(path, recorder.record)
        return recorder

    def to_tensorboard(self, folder: "str | os.PathLike[str]") -> None:
        """Write the kept records as scalars for TensorBoard, to a new event file in a folder.

        Parameters
        ----------
        folder : str or path
            Created if it does not exist. If you call this twice, TensorBoard shows all points twice.

        Raises
        ------
        ModuleNotFoundError
            If neither tensorboardX nor tensorboard is installed.
        """
        record_files.to_tensorboard(folder, *self._kept())

    def close(self) -> None:
        """Write the remaining records to the file, and close it. Later records stay in memory. May be called twice."""
        with self._lock:
            if self._log is not None:
                self._log.catch_up(self._table, self._count)
                self._log = None
                self._close()

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        super().__setstate__(state)
        self._optimizer = self._log = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- The picture ------------------------------------------------------------------------------------------

    def plot(
        self, ax: "Axes | list[Axes] | None" = None, names: Any = None, *, smooth: int | None = None
    ) -> "list[Axes]":
        """Draw the numbers against the steps: losses on top, rates below, then a panel for each other name.

        An axis is logarithmic if all its numbers are positive and span a wide range. Crosses at the top mark NaN and
        infinity.

        Parameters
        ----------
        ax : matplotlib.axes.Axes or list of Axes, optional
            Where to draw, one Axes per panel. By default a new figure (``[0].figure`` of the result), which pyplot does
            not keep.
        names : list of str or list of str, optional
            The panels: each is a name, or a list of names that share a panel. By default all names: those that contain
            "loss" share a panel, those that begin with "lr" share another, and each other name has its own.
        smooth : int >= 0, optional
            Window of the moving average, in records; 0 draws none. By default a fiftieth of the numbers if there are
            more than 100, but none for rates.

        Returns
        -------
        list of Axes
            One per panel.

        Raises
        ------
        TypeError, ValueError
            If an argument has the wrong type, or nothing was recorded.
        KeyError
            If a name was never recorded.
        ModuleNotFoundError
            If matplotlib is not installed.

        Examples
        --------
        >>> from pyfastlr import tune
        >>> r = tune.Recorder()
        >>> for n in range(200):
        ...     r.record(loss=0.99**n, lr=0.1)
        >>> [axes.get_ylabel() for axes in r.plot()]
        ['loss', 'learning rate']
        """
        from .drawing import draw_records

        return draw_records(self, ax, names, None if smooth is None else count(smooth, "smooth", 0))


def _number(value: Any, name: str) -> float:
    return MISSING if value is None else real(value, name)


def _step(step: Any) -> int:
    checked = count(step, "step", 0)
    if checked > LARGEST_STEP:
        raise ValueError(f"`step` must be an integer <= 2**53, got {step!r:.60}")
    return checked
