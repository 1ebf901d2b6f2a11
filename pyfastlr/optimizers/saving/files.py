"""`save` and `load`: parameters, an optimizer's state and anything plain, in one file.

A file has the tensors ``params.<name>``, those of `flatten_state`, and ``extra.<key>``. Its metadata has JSON texts:
``params``, how the parameters are nested, ``state``, the plain data of the state, and ``extra``.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from pyfastlr.arrays import flat, tree
from pyfastlr.arrays.flat import Flat
from pyfastlr.arrays.host import DTYPES, as_ndarray, describe
from pyfastlr.files import BadFile, Reader, write
from pyfastlr.files.errors import Path

from . import containers, plain
from .flat_state import join, joined, split
from .stateful import Stateful

_PARTS = ("params", "state", "extra")  # keys of the metadata
Progress = Callable[[int, int], Any]


class Saved(NamedTuple):
    """Contents of a file.

    Attributes
    ----------
    params : array, dict, list or Flat
        New arrays, nested as they were saved; None if the file has no parameters.
    state : dict or None
        Pass it to `load_state_dict`. None if the file was saved without an optimizer.
    extra : dict
        The extra keyword arguments of `save`.

    Examples
    --------
    >>> import os, tempfile, numpy as np, pyfastlr as flr
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "weights.safetensors")
    ...     flr.save(path, [np.ones(2), np.zeros(3)])
    ...     flr.load(path)
    Saved(params=[array([1., 1.]), array([0., 0., 0.])], state=None, extra={})
    """

    params: Any
    state: dict[str, Any] | None
    extra: dict[str, Any]


# --- Saving -----------------------------------------------------------------------------------------------------------


def save(
    path: Path, params: Any, opt: Stateful | None = None, *, progress: Progress | None = None, **extra: Any
) -> None:
    """Save parameters, an optimizer's state and extra values to one file. It replaces an older file.

    After a crash at any moment, even of the machine, the old file or the new one is there, whole. Everything in the
    file is from one moment: steps in other threads wait until it is written.

    Parameters
    ----------
    path : str or os.PathLike
        A symbolic link is followed. A file that is replaced keeps its mode. By convention the name ends in
        ``.safetensors``.
    params : array, dict, list or Flat
        Arrays of bools, integers, float16, bfloat16, float32, float64 or complex64, nested freely. Arrays of other
        libraries (torch, ...) are loaded as numpy arrays; bfloat16 as ml_dtypes' or, without that package, as uint16.
    opt : Optimizer or LBFGS, optional
        Its state is saved, with everything that `state_dict` returns.
    progress : callable, optional
        Called as ``progress(done, total)`` with bytes while the file is written, and once when it is on the disk. An
        exception in it ends the call; the old file stays.
    **extra
        Numbers, strings, None, numpy arrays, and lists, tuples and dicts of these. `load` returns equal values.

    Raises
    ------
    OSError
        If the file cannot be written (the disk is full, ...). It names the path; the old file is whole.
    TypeError, ValueError
        If something cannot be saved. The error names it.
    RuntimeError
        If the average of `opt` is swapped in (`swap_ema`); if a schedule of `opt` calls it; if `progress` changes the
        optimizer or saves it.

    Examples
    --------
    >>> import os, tempfile, numpy as np, pyfastlr as flr
    >>> params = {"w": np.ones((2, 3), np.float32), "b": np.zeros(3, np.float32)}
    >>> opt = flr.AdamW(params, lr=1e-3)
    >>> opt.step({"w": np.ones((2, 3), np.float32), "b": None})
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = os.path.join(folder.name, "run.safetensors")
    >>> flr.save(path, params, opt, epoch=3)
    >>> saved = flr.load(path)  # in another process
    >>> resumed = flr.AdamW(saved.params, lr=1e-3)
    >>> resumed.load_state_dict(saved.state)
    Loaded(missing=(), unexpected=())
    >>> resumed.steps, saved.extra
    (1, {'epoch': 3})
    >>> folder.cleanup()

    Notes
    -----
    The file has safetensors' layout, so ``safetensors.numpy.load_file(path)`` reads it too: the arrays of the
    parameters are ``params.<name>``, those of the state ``state.<slot>.<name>``. The last array has checksums (CRC-32)
    of the header and of each mebibyte. Nothing is pickled. The arrays are written piece by piece, which needs a few
    mebibytes of memory. docs/saving.md has the exact format, and what an exact resume needs.

    Other libraries: ``torch.save`` and ``np.savez`` overwrite the old file in place, so a crash or a full disk leaves
    neither file; safetensors renames, but does not sync, and has no checksums.
    """
    if isinstance(params, Stateful):
        raise TypeError(
            f"`params` must be arrays, got the optimizer {type(params).__name__}: save(path, params, opt) saves both, "
            f"and opt.save(path) the state alone"
        )
    if not (opt is None or isinstance(opt, Stateful)):
        raise TypeError(f"`opt` must be an optimizer of pyfastlr or None, got {describe(opt)}")
    arrays, metadata = _of_params(params)
    _save(path, opt, arrays, metadata, progress, extra)


def save_state(path: Path, opt: Stateful, progress: Progress | None) -> None:
    """`Optimizer.save`."""
    _save(path, opt, {}, {}, progress, {})


def _save(
    path: Path,
    opt: Stateful | None,
    arrays: dict[str, Any],
    metadata: dict[str, str],
    progress: Progress | None,
    extra: Mapping[str, Any],
) -> None:
    if not (progress is None or callable(progress)):
        raise TypeError(f"`progress` must be callable or None, got {plain.short(progress)}")
    if extra:
        metadata["extra"] = _text({"extra": plain.encode(dict(extra), "extra", "extra", arrays)}, "extra")
    if opt is None:
        write(path, arrays, metadata, progress)
        return
    if not isinstance(opt, Stateful):
        raise TypeError(f"`opt` must be an optimizer of pyfastlr or None, got {plain.short(opt)}")
    opt._check_outside("save the state of")
    with opt._lock.held:
        opt._lock.pause()
        state, structure = opt._live_state()
        data, found = split(state, structure)
        try:
            write(path, {**arrays, **found}, {**metadata, "state": _text(data, "state")}, _inside(opt, progress))
        finally:
            opt._lock.disown()  # if an interrupt has stopped that of the callback


def _inside(opt: Stateful, progress: Progress | None) -> Progress | None:
    """The callback, to which everything is refused that is refused to a schedule: a file shows one moment."""
    if progress is None:
        return None

    def call(done: int, total: int) -> None:
        try:
            opt._lock.own()
            progress(done, total)
        finally:
            opt._lock.disown()

    return call


def _text(data: Mapping[str, Any], label: str) -> str:
    return plain.dump(data, label).tobytes().decode()


def _of_params(params: Any) -> tuple[dict[str, Any], dict[str, str]]:
    """Arrays of the parameters by name, and how they are nested."""
    structure: Any
    if isinstance(params, Flat):
        structure, names, leaves = params._layout, list(params.names), list(params.values())
    else:
        structure, names, leaves = tree.flatten(params, "params")
    arrays = {}
    for name, leaf in zip(names, leaves, strict=True):
        arrays[joined("params", name)] = as_ndarray(leaf, tree.label("params", name), "an array")
    return arrays, {"params": _text({"container": containers.describe(structure)}, "params")}


# --- Loading ----------------------------------------------------------------------------------------------------------


def load(path: Path) -> Saved:
    """Load a file that `save` wrote, into new arrays. Every checksum is compared.

    Parameters
    ----------
    path : str or os.PathLike
        A file from `save`, `Optimizer.save` or `Checkpoints`.

    Returns
    -------
    Saved
        Its attributes are params, state and extra.

    Raises
    ------
    BadFile
        If the file is damaged, incomplete, of an unknown version or from another program. Nothing of the file is
        trusted, and nothing is unpickled.
    OSError
        If the file cannot be read.

    Examples
    --------
    >>> import os, tempfile, numpy as np, pyfastlr as flr
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = os.path.join(folder.name, "run.safetensors")
    >>> flr.save(path, {"w": np.arange(3.0)}, best=0.25, random=np.random.default_rng(0).bit_generator.state)
    >>> params, state, extra = flr.load(path)
    >>> params, state, extra["best"], extra["random"]["bit_generator"]
    ({'w': array([0., 1., 2.])}, None, 0.25, 'PCG64')
    >>> folder.cleanup()

    Notes
    -----
    Files of safetensors without checksums are refused: ``safetensors.numpy.load_file`` reads them.
    """
    with Reader(path) as file:
        found = Contents(file)
        params, arrays = found.empty_params()
        others = {name: _empty(file, name) for name in file.layout.payload if name not in arrays}
        file.read_into({**arrays, **others})
        extra = found.extra(others)
        return Saved(params, found.state(others), extra)


def _empty(file: Reader, name: str) -> Any:
    return np.empty(file.layout.tensors[name].shape, file.numpy_dtype(name))


class Contents:
    """Plain data of a file. One from another program has none that we know.

    Attributes
    ----------
    data : dict
        By key of the metadata: "params", "state", "extra".
    """

    def __init__(self, file: Reader) -> None:
        self._file = file
        with self._of_file():
            texts = file.layout.metadata if file.layout.is_ours else {}
            self.data = {key: plain.parse(texts[key].encode(), f"metadata[{key!r}]") for key in _PARTS if key in texts}

    @contextmanager
    def _of_file(self) -> Iterator[None]:
        """Errors in the block name the file."""
        try:
            yield
        except BadFile:
            raise
        except (TypeError, ValueError, LookupError, OverflowError, RecursionError) as error:
            raise BadFile(f"{self._file.path}: {error}") from error

    def empty_params(self) -> tuple[Any, dict[str, Any]]:
        """Container like the saved parameters, with new arrays, and these by name in the file."""
        with self._of_file():
            if "params" not in self.data:
                return None, {}
            tensors = self._file.layout.payload
            names = [name[len("params.") :] for name in tensors if name == "params" or name.startswith("params.")]
            node = containers.read(self.data["params"].get("container"), names, "metadata['params']['container']")
            if node is None:
                params = self._empty_flat(names)
                return params, {joined("params", name): params[name] for name in names}
            arrays = {joined("params", name): _empty(self._file, joined("params", name)) for name in names}
            return tree.rebuild(node, [arrays[joined("params", name)] for name in containers.names_of(node)]), arrays

    def _empty_flat(self, names: list[str]) -> Flat:
        tensors = [joined("params", name) for name in names]
        dtypes = {self._file.numpy_dtype(name).name for name in tensors}
        if len(dtypes) != 1 or not dtypes <= {*DTYPES}:
            raise ValueError(f"the arrays of a Flat must all be float32 or all float64, got {sorted(dtypes)}")
        return flat.zeros(names, [self._file.layout.tensors[name].shape for name in tensors], dtypes.pop())

    def extra(self, arrays: dict[str, Any]) -> dict[str, Any]:
        """The other arguments of `save`. Their arrays are removed from `arrays`."""

        def take(name: Any, dtype: Any, shape: Any, label: str) -> Any:
            found = arrays.get(name) if isinstance(name, str) and name.startswith("extra") else None
            if found is None or [found.dtype.name, list(found.shape)] != [dtype, shape]:
                raise ValueError(f"`{label}` must have an array {name!r:.80}, {dtype!r:.20} of shape {shape!r:.80}")
            del arrays[name]
            return found

        with self._of_file():
            if "extra" not in self.data:
                return {}
            extra = plain.decode(self.data["extra"].get("extra"), "extra", take)
            if not isinstance(extra, dict):
                raise ValueError(f"`metadata['extra']` must be a dict, got {extra!r:.80}")
            return extra

    def state(self, arrays: dict[str, Any], buffers: bool = True) -> dict[str, Any] | None:
        """The state, with the arrays that are left. `buffers`: as of `join`."""
        with self._of_file():
            if "state" not in self.data:
                if arrays:
                    raise ValueError(f"it must have no other arrays, got {plain.short(sorted(arrays))}")
                return None
            return join(self.data["state"], arrays, buffers)
