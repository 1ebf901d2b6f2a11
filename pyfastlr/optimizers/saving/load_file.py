"""`Optimizer.load`: read a state from a file straight into the optimizer's arrays, all of it or nothing.

First the small arrays are read, and the state is checked against the optimizer, with large arrays that have no values
yet: their memory is never touched, so it takes no room. Then the file is read once, and each chunk's checksum compared.

- Into a new optimizer, which has made no updates and whose state nobody has asked for, it is read without a copy. If
  that fails (a damaged chunk, a disk that fails, Ctrl-C), the optimizer gets its initial state again, which it had.
- Into any other, it is read to new arrays, which take the place of the state at once when all are there.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

from pyfastlr.arrays.host import address
from pyfastlr.files import BadFile, Reader
from pyfastlr.files.errors import Path

from . import loading, writing
from .files import Contents
from .matching import Loaded

if TYPE_CHECKING:
    from pyfastlr.optimizers.base import Optimizer

_LARGE = ("state", "average")  # parts of a name before its first dot: arrays whose values are not needed for the checks


def load_state(optimizer: "Optimizer", path: Path, hyperparameters: bool, strict: bool, cast: bool) -> Loaded:
    """`Optimizer.load`."""
    writing.check_outside(optimizer)
    with Reader(path) as file:
        try:
            return _load(optimizer, file, hyperparameters, strict, cast)
        except (TypeError, ValueError) as error:
            if not isinstance(error, BadFile):  # which names the file itself
                error.add_note(f"`state` was read from the file {file.path}")
            raise


def _load(optimizer: "Optimizer", file: Reader, hyperparameters: bool, strict: bool, cast: bool) -> Loaded:
    contents = Contents(file)
    if "state" not in contents.data:
        raise ValueError(f"{file.path}: it must have the state of an optimizer, got a file that was saved without one")
    arrays = _empty(file)
    large = {name: x for name, x in arrays.items() if name.partition(".")[0] in _LARGE}
    file.read_into({name: x for name, x in arrays.items() if name not in large}, everything=False)
    with optimizer._lock.held:
        optimizer._lock.pause()
        same = contents.data["state"].get("dtype") == optimizer._parameters.dtype.name
        in_place = _is_new(optimizer) and same and not cast  # to convert packed state needs its values
        if not in_place:
            file.read_into(large)
        found = loading.checked(optimizer, contents.state(arrays, buffers=False), hyperparameters, strict, cast)
        if in_place:
            _read_in_place(optimizer, file, large, found)
        else:
            writing.write(optimizer, found.pairs, found.controllers, found.settings, "load()", found.loaded.missing)
        return found.loaded


def _empty(file: Reader) -> dict[str, Any]:
    """New arrays for the state's tensors, without values."""
    names = [name for name in file.layout.payload if name.partition(".")[0] not in ("params", "extra")]
    return {name: np.empty(file.layout.tensors[name].shape, file.numpy_dtype(name)) for name in names}


def _is_new(optimizer: "Optimizer") -> bool:
    """Whether the optimizer is on the host, and all its state is certainly the initial one."""
    optimizer._engine.refresh()
    return bool(
        optimizer._parameters.device is None
        and not optimizer._lock.steps[0]
        and not optimizer._state.counts["count"].any()
        and not optimizer._extras.has_average
        and not optimizer._state.is_shared
    )


def _read_in_place(optimizer: "Optimizer", file: Reader, large: dict[str, Any], found: loading.Checked) -> None:
    """Read the large arrays into the optimizer's, and write everything else. The caller has the lock."""
    optimizer._extras.check_not_swapped("load()")
    names = {address(x): name for name, x in large.items() if x.size}
    targets, rest = {}, []
    for x, y in found.pairs:
        name = names.get(address(y)) if y.size else None
        if name is None:
            rest.append((x, y))
        else:
            targets[name] = x
    written = np.zeros(1, np.bool_)  # by the C call that writes everything else: the whole state is there then
    try:
        file.read_into(targets)
        pairs = [*rest, (written, np.ones(1, np.bool_))]
        writing.write(optimizer, pairs, found.controllers, found.settings, "load()", found.loaded.missing)
    except BaseException:
        if not written[0]:
            optimizer._engine.write(optimizer._state.fresh())
        raise
