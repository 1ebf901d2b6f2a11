"""JSON from a file, of which nothing is trusted."""

import json
import math
from typing import Any


def loads(text: bytes) -> Any:
    """Read JSON text in UTF-8. A name may be there only once in an object, and all numbers are finite.

    Raises
    ------
    ValueError
        If it is anything else, or nested too deeply. The message says what.
    """
    try:
        return json.loads(text.decode("utf-8"), object_pairs_hook=_once, parse_constant=_refused, parse_float=_finite)
    except RecursionError:
        raise ValueError("it must not be nested so deeply") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise ValueError(f"the name {twice[:80]!r} is there twice")
    return found


def _finite(text: str) -> float:
    value = float(text)
    return value if math.isfinite(value) else _refused(text)


def _refused(text: str) -> Any:
    raise ValueError(f"JSON has no {text[:80]}")
