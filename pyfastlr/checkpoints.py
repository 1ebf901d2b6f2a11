"""A folder with the last few checkpoints of a run."""

import errno
import os
import re
import threading
import warnings
from typing import Any

from .arrays.host import describe
from .files import BadFile, remove_leftovers
from .files.errors import Path, path_text
from .optimizers import Saved, load, save
from .optimizers.saving.stateful import Stateful

_NAME = re.compile(r"checkpoint-(0[0-9]{11}|[1-9][0-9]{11,18})\.safetensors")  # as `_name` makes them
_DAMAGE = (errno.EIO, getattr(errno, "EUCLEAN", errno.EIO), getattr(errno, "EBADMSG", errno.EIO))


class Checkpoints:
    """A folder with the last few checkpoints of a run, each in a file named by its number of updates.

    Parameters
    ----------
    folder : str or os.PathLike
        The first `save` creates it.
    keep : int >= 1, optional
        Number of checkpoints to keep. None keeps all. While one is being saved, there is one more.
    every : int >= 1, optional
        `save` does nothing until the optimizer has made that many updates since the last checkpoint. If None, each call
        saves.

    Examples
    --------
    >>> import os, tempfile, numpy as np, pyfastlr as flr
    >>> folder = tempfile.TemporaryDirectory()
    >>> checkpoints = flr.Checkpoints(folder.name, keep=2, every=10)
    >>> saved = checkpoints.latest()  # None: a new run
    >>> params = {"w": np.ones(3)} if saved is None else saved.params
    >>> opt = flr.SGD(params, lr=0.1, momentum=0.9)
    >>> if saved is not None:
    ...     opt.load_state_dict(saved.state)
    >>> while opt.steps < 35:
    ...     opt.step({"w": np.ones(3)})
    ...     path = checkpoints.save(params, opt, loss=0.5)
    >>> sorted(os.listdir(folder.name))
    ['checkpoint-000000000020.safetensors', 'checkpoint-000000000030.safetensors']
    >>> checkpoints.latest().state["steps"]
    30
    >>> folder.cleanup()

    Notes
    -----
    Old checkpoints are removed only when a newer one is on the disk, whole. A save that fails removes none.

    Other libraries: ``keras.callbacks.ModelCheckpoint`` and ``torch.save`` overwrite in place or keep every file;
    Orbax's ``CheckpointManager`` keeps the last few in folders of their own.
    """

    def __init__(self, folder: Path, keep: int | None = 3, every: int | None = None) -> None:
        self._folder = os.path.abspath(path_text(folder, "folder", "folder"))
        self._keep, self._every = _natural(keep, "keep"), _natural(every, "every")
        self._known: set[int] = set()  # numbers that this run wrote or was resumed from
        self._last = 0
        self._lock = threading.RLock()  # taken after the optimizer's, whose steps may call a schedule that reads us

    @property
    def folder(self) -> str:
        """Absolute path of the folder."""
        return self._folder

    def paths(self) -> list[str]:
        """Paths of the checkpoints, the oldest first. They may be damaged: only `latest` checks."""
        return [self._path(name) for _, name in sorted(self._found().items())]

    def save(self, params: Any, opt: Stateful, **extra: Any) -> str | None:
        """Save a checkpoint, if it is due, and remove the oldest ones beyond `keep`.

        Parameters
        ----------
        params, opt, **extra
            As in `pyfastlr.save`, including `progress`.

        Returns
        -------
        str or None
            Path of the file. None if fewer than `every` updates were made since the last one. After a rollback to an
            earlier update, a checkpoint is always due. This run's checkpoints of later updates are then removed, so
            that `latest` finds the new one.

        Raises
        ------
        ValueError
            If the folder has checkpoints of later updates that this run neither wrote nor was resumed from. Nothing is
            saved: to continue that run, load `latest`; for a new one, use another folder.
        OSError, TypeError, RuntimeError
            As in `pyfastlr.save`. No checkpoint is removed.

        Notes
        -----
        Only files with names like those of this class are checkpoints. Any other file in the folder is left alone.
        """
        if not isinstance(opt, Stateful):
            raise TypeError(f"`opt` must be an optimizer of pyfastlr, got {describe(opt)}")
        if not self._is_due(opt.steps):
            return None
        opt._check_outside("save the state of")
        with opt._lock.held:
            opt._lock.pause()  # so that the name has the number of updates in the file
            with self._lock:
                return self._save(opt.steps, params, opt, extra) if self._is_due(opt.steps) else None

    def _is_due(self, steps: int) -> bool:
        return self._every is None or not self._last <= steps < self._last + self._every

    def _save(self, steps: int, params: Any, opt: Stateful, extra: dict[str, Any]) -> str:
        try:
            os.makedirs(self._folder, exist_ok=True)
        except FileExistsError:  # it is a file
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), self._folder) from None
        later = {n: name for n, name in self._found().items() if n > steps}
        if not later.keys() <= self._known:
            name = max(later.items())[1]
            raise ValueError(
                f"`folder` must have no checkpoints of later updates than {steps}, got {self._path(name)}: to continue "
                f"that run, load latest(); for a new run, use another folder"
            )
        remove_leftovers(self._folder)
        path = self._path(_name(steps))
        save(path, params, opt, **extra)
        self._last = steps
        self._known.add(steps)
        found = sorted(n for n in self._found() if n not in later)
        gone = found[: -self._keep] if self._keep is not None else []
        names = {**self._found(), **later}
        for n in [*gone, *later]:
            self._remove(names.get(n))
        return path

    def _remove(self, name: str | None) -> None:
        """Remove a checkpoint. If that fails, the new one is saved all the same."""
        try:
            if name is not None:
                os.unlink(self._path(name))
        except FileNotFoundError:
            pass
        except OSError as error:
            warnings.warn(f"an old checkpoint could not be removed: {error}", RuntimeWarning, stacklevel=4)

    def latest(self) -> Saved | None:
        """Load the newest checkpoint that is whole. A `RuntimeWarning` names each damaged one that is newer.

        Returns
        -------
        Saved or None
            None if the folder has no checkpoint, or does not exist: a new run.

        Raises
        ------
        BadFile
            If all checkpoints are damaged.
        OSError
            If a file cannot be read for another reason, such as its permissions.
        """
        with self._lock:
            damaged: list[str] = []
            while True:
                found = {n: name for n, name in self._found().items() if self._path(name) not in damaged}
                if not found:
                    break
                n = max(found)
                path = self._path(found[n])
                try:
                    saved = load(path)
                except FileNotFoundError:  # another process has just removed it; the folder is looked at anew
                    if os.path.lexists(path):
                        damaged.append(path)
                    continue
                except (BadFile, OSError) as error:
                    if isinstance(error, OSError) and error.errno not in _DAMAGE:
                        raise
                    warnings.warn(f"a damaged checkpoint is skipped: {error}", RuntimeWarning, stacklevel=2)
                    damaged.append(path)
                    continue
                self._known |= {*self._found()}
                self._last = n
                return saved
            if damaged:
                raise BadFile(
                    f"{self._folder}: all checkpoints are damaged: {', '.join(map(os.path.basename, damaged))}"
                )
            return None

    def _path(self, name: str) -> str:
        return os.path.join(self._folder, name)

    def _found(self) -> dict[int, str]:
        """Names of the checkpoints in the folder by their number of updates."""
        try:
            names = sorted(os.listdir(self._folder))
        except FileNotFoundError:
            return {}
        found = {int(match[1]): name for name in names if (match := _NAME.fullmatch(name))}
        return {n: name for n, name in found.items() if not os.path.isdir(self._path(name))}

    def __repr__(self) -> str:
        return f"Checkpoints({self._folder!r}, keep={self._keep}, every={self._every})"


def _name(steps: int) -> str:
    return f"checkpoint-{steps:012d}.safetensors"


def _natural(value: Any, name: str) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"`{name}` must be None or an integer >= 1, got {value!r:.80}")
    if value.__index__() < 1:
        raise ValueError(f"`{name}` must be None or an integer >= 1, got {value!r:.80}")
    return int(value.__index__())
