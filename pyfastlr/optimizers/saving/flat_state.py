"""`flatten_state` and `unflatten_state`: a `state_dict` as named arrays, and back."""

import math
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

import numpy as np

from pyfastlr.arrays import tree
from pyfastlr.arrays.flat import Flat
from pyfastlr.arrays.host import Array, describe
from pyfastlr.engines.packed import FORMATS, PackedArray, check_parts, code_dtype, scale_count
from pyfastlr_kernels.packing import BFLOAT16

from . import containers, plain, reading
from .packed import has_packed, restored, stored
from .plain import short

STATE = "__state__"
_LIKE_PARAMETERS = {"average": "updates", "accumulated": "calls"}  # keys with arrays like the parameters, and a count
_ARRAYS = ("counts", "carry", "accumulated_used")
_OTHERS = ("params", "params.", "extra.", "__checksums__")  # of the same file, but no part of a state


def flatten_state(state: Mapping[str, Any]) -> dict[str, Array]:
    """Convert an optimizer's `state_dict` to arrays by name, for `np.savez`, safetensors or JSON. Nothing is pickled.

    Parameters
    ----------
    state : dict
        From `state_dict`.

    Returns
    -------
    dict of str to ndarray
        ``state.<slot>.<name>`` for each state array, with the dotted name of its parameter (a single array has no name:
        ``state.<slot>``), ``average.<name>`` and ``accumulated.<name>`` if there are any, ``counts`` (int64, one
        per array), ``carry`` (float64), and ``__state__``, uint8: everything else as JSON in UTF-8. The arrays are
        those of `state`, not copies.

    Raises
    ------
    TypeError, ValueError
        If `state` is not from `state_dict`.

    Examples
    --------
    >>> import io, numpy as np, pyfastlr as flr
    >>> opt = flr.SGD({"w": np.ones(3), "b": np.zeros(2)}, lr=0.1, momentum=0.9)
    >>> opt.step({"w": np.ones(3), "b": np.ones(2)})
    >>> arrays = flr.flatten_state(opt.state_dict())
    >>> list(arrays)
    ['counts', 'carry', 'state.momentum_buffer.w', 'state.momentum_buffer.b', '__state__']
    >>> file = io.BytesIO()  # or a path
    >>> np.savez(file, **arrays)
    >>> loaded = opt.load_state_dict(flr.unflatten_state(np.load(io.BytesIO(file.getvalue()))))

    Notes
    -----
    A `Flat` is stored by its names, so its state also loads into a dict. In JSON, store ``x.tolist()`` of each array.
    Floats that JSON lacks are ``{"float": "inf"}``, "-inf" and "nan" in ``__state__``; integers are exact.

    Other libraries: torch saves with pickle. flax's ``flatten_dict`` joins the names of a tree of arrays; numbers and
    structure are not stored.
    """
    data, arrays = split(state)
    return {**arrays, STATE: plain.dump(data, "state")}


def unflatten_state(arrays: Mapping[str, Any]) -> dict[str, Any]:
    """Convert the output of `flatten_state` back to a `state_dict`, for `load_state_dict`.

    Parameters
    ----------
    arrays : mapping of str to ndarray
        From `flatten_state`, also as `np.load` or safetensors return it. Lists of numbers, as JSON has them, are
        converted to the array's dtype, if that is exact. The other names of a file from `save` (``params``,
        ``extra``, ``__checksums__``) are ignored.

    Returns
    -------
    dict
        Its values are the given arrays, not copies. Arrays of a `Flat` are copied to one buffer.

    Raises
    ------
    TypeError, ValueError
        If an array is missing, unknown or of the wrong shape, or if the text is not what `flatten_state` wrote. The
        error names it. `load_state_dict` checks the rest.

    Examples
    --------
    >>> import json, numpy as np, pyfastlr as flr
    >>> opt = flr.Adam([np.ones(2), np.ones(3)], lr=0.1)
    >>> opt.step([np.ones(2), None])
    >>> text = json.dumps({name: x.tolist() for name, x in flr.flatten_state(opt.state_dict()).items()})
    >>> state = flr.unflatten_state(json.loads(text))
    >>> state["counts"], state["state"]["exp_avg"]
    (array([1, 0]), [array([0.1, 0.1]), array([0., 0., 0.])])
    """
    if not isinstance(arrays, Mapping):
        raise TypeError(f"`arrays` must be a mapping of names to arrays from flatten_state, got {describe(arrays)}")
    if STATE not in arrays:
        raise ValueError(f"`arrays` must have the key {STATE!r}, got {short(list(arrays))}")
    given = {name: arrays[name] for name in arrays if name != STATE and not _is_other(name)}
    text = reading.array(arrays[STATE], STATE, np.dtype(np.uint8), None)
    return join(plain.parse(text.tobytes(), f"arrays[{STATE!r}]"), given)


# --- Plain data and arrays --------------------------------------------------------------------------------------------


def split(state: Mapping[str, Any], structure: Any = None) -> tuple[dict[str, Any], dict[str, Any]]:
    """Plain data, ready for JSON, and arrays by name of a `state_dict`.

    Besides the keys of the state, the plain data has "container", which says how the parameters were nested: "array",
    "flat", ``{"list": [...]}`` or ``{"dict": [[key, ...], ...]}``. `structure` is the `Node` of the parameters, or the
    layout of a `Flat`, if they are known; otherwise it is found from the state's arrays.
    """
    if not isinstance(state, Mapping):
        raise TypeError(f"`state` must be a dict from state_dict(), got {describe(state)}")
    missing = [key for key in ("format", "structure", "state", "counts", "carry") if key not in state]
    if missing:
        raise ValueError(f"`state` must have the keys of state_dict(), got missing keys {missing}")
    try:
        return _split(state, structure)
    except RecursionError:
        raise ValueError(f"`state` {plain.TOO_DEEP}") from None


def _split(state: Mapping[str, Any], structure: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    names, shapes = reading.structure(state["structure"], "state['structure']")
    arrays: dict[str, Any] = {}
    data: dict[str, Any] = {"container": None if structure is None else containers.describe(structure)}

    def store(prefix: str, value: Any, label: str) -> str:
        found, kind = _leaves(value, names, shapes, label)
        data["container"] = data["container"] or kind
        arrays.update({joined(prefix, name): x for name, x in found.items()})
        return next(iter(found.values())).dtype.name if found else ""

    def store_slot(slot: str, value: Any, label: str) -> Any:
        if not has_packed(value):
            return store(f"state.{slot}", value, label)
        found, kind = _leaves(value, names, shapes, label)
        data["container"] = data["container"] or kind
        for name, x in found.items():
            arrays[joined(f"state.{slot}", name)] = x.codes if isinstance(x, PackedArray) else x
            if isinstance(x, PackedArray) and x.scales is not None:
                arrays[joined(f"scales.{slot}", name)] = x.scales
        return stored(found)

    for key, value in state.items():
        label = f"state[{key!r}]"
        if not isinstance(key, str) or key in ("container", *_ARRAYS[2:]):
            raise ValueError(f"`state` must have the keys of state_dict(), got the key {key!r}")
        if key == "state":
            slots = reading.mapping(value, label)
            data[key] = {slot: store_slot(slot, x, f"{label}[{slot!r}]") for slot, x in slots.items()}
        elif key in _LIKE_PARAMETERS and value is not None:
            count = _LIKE_PARAMETERS[key]
            entry = reading.mapping(value, label, {count, "values"} | ({"used"} if key == "accumulated" else set()))
            store(key, entry["values"], f"{label}['values']")
            if key == "accumulated":
                arrays["accumulated_used"] = reading.an_array(entry["used"], f"{label}['used']")
            data[key] = reading.integer(entry[count], f"{label}[{count!r}]")
        elif key in _ARRAYS:
            arrays[key] = reading.an_array(value, label)
            data[key] = list(arrays[key].shape)
        elif key == "structure":
            data[key] = [[name, list(shape)] for name, shape in zip(names, shapes, strict=True)]
        else:
            data[key] = plain.encode(value, label, key, arrays)
    if data["container"] is None:
        data["container"] = "array" if names == [""] else {"dict": [[name, "array"] for name in names]}
    return data, arrays


def join(data: Mapping[str, Any], arrays: Mapping[str, Any], buffers: bool = True) -> dict[str, Any]:
    """Return the `state_dict` of plain data and arrays; see `split`.

    `buffers`: copy the arrays of a `Flat` to one buffer, as in its `state_dict`. Otherwise they stay a dict by name,
    which `load_state_dict` takes too.
    """
    label = "__state__"
    data = {**reading.mapping(data, label)}
    missing = [key for key in ("format", "structure", "state", "counts", "carry", "container") if key not in data]
    if missing:
        raise ValueError(f"`{label}` must have the keys of flatten_state, got missing keys {missing}")
    try:
        return _join(data, dict(arrays), label, buffers)
    except RecursionError:
        raise ValueError(f"`{label}` {plain.TOO_DEEP}") from None


def _join(data: dict[str, Any], given: dict[str, Any], label: str, buffers: bool) -> dict[str, Any]:
    names, shapes = reading.structure(data["structure"], f"{label}['structure']")
    node = containers.read(data.pop("container"), names, f"{label}['container']")
    dtype = reading.dtype_of(data.get("dtype"), f"{label}['dtype']")

    def take(name: str, dtype: Any, shape: Any) -> Any:
        if name not in given:
            raise ValueError(f"`arrays` must have the key {name!r}, got {short(list(given))}")
        return reading.array(given.pop(name), name, dtype, shape)

    def take_named(name: Any, dtype: Any, shape: Any, label: str) -> Any:
        if not isinstance(name, str):
            raise ValueError(f"`{label}` must have the name of an array, got {short(name)}")
        return take(name, reading.dtype_of(dtype, label), reading.shape_of(shape, label))

    def fetch(prefix: str, dtype: Any) -> Any:
        found = [take(joined(prefix, name), dtype, shape) for name, shape in zip(names, shapes, strict=True)]
        by_name = dict(zip(names, found, strict=True))
        if node is None:
            return np.concatenate([x.reshape(-1) for x in found]) if buffers else by_name
        return tree.rebuild(node, [by_name[name] for name in containers.names_of(node)])

    def fetch_slot(slot: str, value: Any, where: str) -> Any:
        if not isinstance(value, Mapping):
            return fetch(f"state.{slot}", reading.dtype_of(value, where))
        by_name = {}
        for name, shape in zip(names, shapes, strict=True):
            kind = FORMATS.get(restored(value, names, where)[name])
            place = joined(f"state.{slot}", name)
            if kind is None:
                by_name[name] = take(place, np.dtype(np.float32), shape)
                continue
            codes, n = take(place, code_dtype(kind), shape), scale_count(kind, math.prod(shape))
            scales = take(joined(f"scales.{slot}", name), np.dtype(np.float32), (n,)) if n or kind != BFLOAT16 else None
            by_name[name] = PackedArray(codes, scales, value[name])
        return by_name if node is None else tree.rebuild(node, [by_name[name] for name in containers.names_of(node)])

    state: dict[str, Any] = {}
    for key, value in data.items():
        where = f"{label}[{key!r}]"
        if key == "structure":
            state[key] = list(zip(names, shapes, strict=True))
        elif key == "state":
            slots = reading.mapping(value, where).items()
            state[key] = {slot: fetch_slot(slot, x, f"{where}[{slot!r}]") for slot, x in slots}
        elif key in _LIKE_PARAMETERS and value is not None:
            state[key] = {_LIKE_PARAMETERS[key]: value}
            if key == "accumulated":
                state[key]["used"] = take("accumulated_used", np.dtype(bool), (len(names),))
            state[key]["values"] = fetch(key, dtype)
        elif key in _ARRAYS:
            shape = reading.shape_of(value, where)
            state[key] = take(key, np.dtype(np.int64 if key == "counts" else np.float64), shape)
        elif key not in _LIKE_PARAMETERS:
            state[key] = plain.decode(value, where, take_named)
        else:
            state[key] = None
    if given:
        raise ValueError(f"`arrays` must have the keys of flatten_state, got unknown keys {sorted(map(str, given))}")
    return state


def _array(x: Any, label: str) -> Any:
    if not isinstance(x, PackedArray):
        return reading.an_array(x, label)
    check_parts(x, x.shape, label)
    return x


def joined(prefix: str, name: str) -> str:
    """Name of an array. A single array has no name."""
    return f"{prefix}.{name}" if name else prefix


def _is_other(name: Any) -> bool:
    return isinstance(name, str) and (name in _OTHERS or name.startswith(tuple(x for x in _OTHERS if x[-1] == ".")))


def _leaves(
    value: Any, names: Sequence[str], shapes: Sequence[tuple[int, ...]], label: str
) -> tuple[dict[str, Any], Any]:
    """Arrays by name of a container like the parameters, and the description of the container."""
    if isinstance(value, Flat):
        value = value.buffer
    if tree.kind_of(value) == "leaf" and names != [""]:
        buffer, sizes = reading.an_array(value, label), [math.prod(shape) for shape in shapes]
        if buffer.shape != (sum(sizes),):
            raise ValueError(f"`{label}` must have {sum(sizes)} elements in one dimension, got {describe(value)}")
        starts = accumulate(sizes, initial=0)
        cut = [buffer[a : a + n].reshape(shape) for a, n, shape in zip(starts, sizes, shapes, strict=False)]
        return dict(zip(names, cut, strict=True)), "flat"
    node, found, leaves = tree.flatten(value, label)
    if sorted(found) != sorted(names):
        raise ValueError(f"`{label}` must have arrays with the names {short(list(names))}, got {short(found)}")
    arrays = {name: _array(x, tree.label(label, name)) for name, x in zip(found, leaves, strict=True)}
    for name, shape in zip(names, shapes, strict=True):
        if arrays[name].shape != shape:
            raise ValueError(f"`{tree.label(label, name)}` must have shape {shape}, got {describe(arrays[name])}")
    return arrays, containers.describe(node)
