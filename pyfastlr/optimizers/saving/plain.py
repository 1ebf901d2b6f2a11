"""Values as JSON, and back, exactly.

Numbers, strings, None, lists and dicts with string keys stay what they are. The rest becomes a dict with one key:

- ``{"float": "inf"}``, "-inf" or "nan": floats that JSON lacks
- ``{"tuple": [...]}``
- ``{"dict": [[key, value], ...]}``: a dict with other keys, or one that looks like an entry of this list
- ``{"array": [name, dtype, shape]}``, and the same with "scalar" for a numpy scalar: stored among the arrays
"""

import json
import math
import reprlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from pyfastlr.arrays.host import describe, is_native
from pyfastlr.files import strict_json

_TAGS = ("float", "tuple", "dict", "array", "scalar")
_FLOATS = {"inf": math.inf, "-inf": -math.inf, "nan": math.nan}
_NEED = "numbers, strings, None, numpy arrays, lists, tuples or dicts"
TOO_DEEP = "must not be nested so deeply"
_DEPTH = 200  # containers inside each other; more could perhaps be saved, but not read back by a deeper stack
_DIGITS = 4300  # Python's own limit for text
_LARGEST = 10**_DIGITS
_shorter = reprlib.Repr()
_shorter.maxstring = _shorter.maxother = 80


def short(value: Any) -> str:
    """Repr for an error: its length is limited, and so is the time that it takes for a large or deep value."""
    return _shorter.repr(value)


def encode(value: Any, label: str, name: str, arrays: dict[str, Any], depth: int = 0) -> Any:
    """Convert a value to what JSON has. `label` is its name in errors; arrays go to `arrays`, under `name`."""
    if depth > _DEPTH:
        raise ValueError(f"`{label[:40]}...` {TOO_DEEP}: at most {_DEPTH} lists, tuples and dicts inside each other")
    if isinstance(value, np.ndarray | np.generic):
        if value.dtype.kind not in "biuf" or not (isinstance(value, np.generic) or is_native(value)):
            raise TypeError(f"`{label}` must be {_NEED}, got {describe(value)}")
        while name in arrays:  # as for the keys "a.b" and "a" with "b" inside
            name += "_"
        arrays[name] = np.asarray(value)
        kind = "array" if isinstance(value, np.ndarray) else "scalar"
        return {kind: [name, value.dtype.name, list(value.shape)]}
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        if abs(value) >= _LARGEST:
            raise ValueError(f"`{label}` must have integers of at most {_DIGITS} digits, got a larger one")
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else {"float": repr(float(value))}
    if isinstance(value, list | tuple):
        parts = [encode(x, f"{label}[{k}]", f"{name}.{k}", arrays, depth + 1) for k, x in enumerate(value)]
        return {"tuple": parts} if isinstance(value, tuple) else parts
    if isinstance(value, Mapping):
        items = [
            [encode(key, f"a key of {label}", f"{name}.{k}.key", arrays, depth + 1),
             encode(x, f"{label}[{key!r}]", f"{name}.{key if type(key) is str else k}", arrays, depth + 1)]
            for k, (key, x) in enumerate(value.items())
        ]  # fmt: skip
        if _looks_tagged(value) or not all(type(key) is str for key in value):
            return {"dict": items}
        return dict(items)
    raise TypeError(f"`{label}` must be {_NEED}, got {short(value)}")


def decode(value: Any, label: str, take: Callable[..., Any]) -> Any:
    """Convert back what `encode` returned. It trusts nothing: ValueError for what it cannot have returned.

    `take` returns the array with a name, dtype and shape, or raises the error.
    """
    if isinstance(value, list):
        return [decode(x, f"{label}[{k}]", take) for k, x in enumerate(value)]
    if not isinstance(value, dict):
        return value
    if not _looks_tagged(value):
        return {key: decode(x, f"{label}[{key!r}]", take) for key, x in value.items()}
    ((tag, content),) = value.items()
    if tag == "float" and isinstance(content, str) and content in _FLOATS:
        return float(content)  # a new object, because a dict may have several keys that are NaN
    if tag == "tuple" and isinstance(content, list):
        return tuple(decode(content, label, take))
    if tag == "dict" and isinstance(content, list) and all(isinstance(x, list) and len(x) == 2 for x in content):
        items = [(decode(key, label, take), decode(x, f"{label}[{short(key)}]", take)) for key, x in content]
        try:
            found = dict(items)
        except TypeError:
            raise ValueError(f"`{label}` must have keys that a dict can have, got {short(content)}") from None
        if len(found) < len(items):
            raise ValueError(f"`{label}` must have each key once, got {short([key for key, _ in items])}")
        return found
    if tag in ("array", "scalar") and isinstance(content, list) and len(content) == 3:
        found = take(*content, label)
        if tag == "array" or found.ndim == 0:
            return found if tag == "array" else found[()]
    raise ValueError(f"`{label}` must be what flatten_state wrote, got {short(value)}")


def _looks_tagged(value: Mapping[Any, Any]) -> bool:
    return len(value) == 1 and next(iter(value)) in _TAGS


def dump(plain: Mapping[str, Any], label: str) -> np.ndarray[Any, Any]:
    """JSON text of encoded values, UTF-8, as uint8. `label` is their name in errors."""
    try:
        text = json.dumps(plain, allow_nan=False, ensure_ascii=True, separators=(",", ":"))
    except RecursionError:
        raise ValueError(f"`{label}` {TOO_DEEP}") from None
    return np.array(np.frombuffer(text.encode("ascii"), np.uint8))  # a copy, because bytes are read-only


def parse(text: bytes, label: str) -> dict[str, Any]:
    """Read JSON text: one dict."""
    try:
        found = strict_json.loads(text)
    except ValueError as error:  # not UTF-8, not JSON, an integer of thousands of digits
        raise ValueError(f"`{label}` must be JSON in UTF-8, got {text[:40]!r}: {error}") from None
    if not isinstance(found, dict):
        raise ValueError(f"`{label}` must be a JSON object, got {short(found)}")
    return found
