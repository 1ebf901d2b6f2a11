"""States of optimizers in a form that can be compared."""

import numpy as np


def plainly(x):
    """Values of a state as bytes and types, because pickles of equal dicts differ in what they share."""
    if isinstance(x, dict):
        return [(repr(key), plainly(value)) for key, value in sorted(x.items(), key=lambda item: repr(item[0]))]
    if isinstance(x, np.ndarray):
        return [x.dtype.str, x.shape, x.tobytes()]
    if isinstance(x, list | tuple):
        return [type(x).__name__, *map(plainly, x)]
    return [type(x).__name__, repr(x)]
