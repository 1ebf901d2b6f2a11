"""What the options of a step compute, as plain functions of numbers: one text for the CPU's stages and the device's.

`compiled` brings a plain function into the form that the target's code calls, as in `contract.make_element`.
"""

import numpy as np

from .reduce import FACTORS, norm_of, scale_for

_FLOAT32_MIN, _FLOAT32_MAX = float(np.finfo(np.float32).tiny), float(np.finfo(np.float32).max)

# --- Elements, in the dtype of the parameters -------------------------------------------------------------------------


def clamped(x, scale, limit):
    """Return x * scale, limited to [-limit, limit]; NaN remains."""
    y = x * scale
    y = limit if y > limit else y
    return -limit if y < -limit else y


def continues(averaged, d):
    """Whether an average is moved. Otherwise it is the parameters: at first, and with d = 0 even where it is NaN."""
    return averaged != 0 and d != 0


def moved_average(average, p, d, rest):
    """Return the average after an update; rest is 1 - d."""
    return d * average + rest * p


# --- A call -----------------------------------------------------------------------------------------------------------


def unscale(every, mean, inv_scale):
    """Return the factor that makes the gradient in memory the one that the user means: unscaled, or the mean."""
    if every > 1:
        return 1.0 / every if mean != 0 else 1.0
    return inv_scale


# A table of squares has the partial sum of each block of all tensors (reduce.py), and after these a second number for
# each block. If a block's sum of float64 squares has overflowed, or may have lost bits, this is its sum with the
# elements multiplied by the power of two that such a sum needs. It is made while the block is in the cache. So each
# norm, of one tensor or of many, has the scale that its own total needs, and no norm needs a second walk.


def make_rescaled(compiled):
    """Make ``rescaled(x, second, scale)``, a block's part of a sum of elements multiplied by a scale that is not 1.

    A block that needs another scale is far smaller than the total: what it loses is below the total's last bit.
    """
    scale_of = compiled(scale_for)

    def rescaled(x, second, scale):
        return second if scale_of(x) == scale else x * scale * scale

    return rescaled


def make_norm(compiled, sum_of, may_vanish):
    """Make ``norm(where, factor)``, a norm times a factor, from ``sum_of(where, scale)``.

    Squares of float32 numbers neither overflow nor vanish: `may_vanish` is false for them.
    """
    scale_of, root = compiled(scale_for), compiled(norm_of)

    def norm(where, factor):
        total, scale = sum_of(where, 1.0), 1.0
        if may_vanish:
            scale = scale_of(total)
            if scale != 1.0:
                total = sum_of(where, scale)
        return root(total, scale, factor)

    return norm


def make_factor(compiled):
    """Make ``factor(convention, norm, limit, each, own, own_limit)``, by which a tensor's gradient is multiplied.

    It clips the norm of the tensors that are clipped together, then, if `each` is not zero, the tensor's own. It is
    never 1 for a NaN norm, and always 1 for infinite limits.
    """
    torch, keras, optax = (compiled(FACTORS[name]) for name in FACTORS)

    def clip(convention, norm, limit):
        if convention == 0:
            return torch(norm, limit)
        return keras(norm, limit) if convention == 1 else optax(norm, limit)

    clip = compiled(clip)

    def factor(convention, norm, limit, each, own, own_limit):
        first = clip(convention, norm, limit)
        return first * clip(convention, own * first, own_limit) if each != 0 else first

    return factor


# --- The scale of the loss --------------------------------------------------------------------------------------------
#
# It changes as in torch's GradScaler, in float32, once per update. `finite` counts updates since its last change, and
# `skipped` the calls skipped since the last update or change. Each function returns the three.


def lowered(scale, backoff):
    """Return the scale after a skipped call, and no counts.

    It stays where its inverse is finite: from zero it could not recover.
    """
    new = np.float64(np.float32(scale * backoff))
    return new if new >= _FLOAT32_MIN else scale, 0, 0


def make_scaling(compiled):
    """Make ``after_skip(scale, finite, skipped, every, backoff)`` and ``after_update(..., growth, backoff, interval)``.

    As many skipped calls as an update takes lower the scale at once: it may be why none succeeds. An update lowers it
    if a call was skipped, or raises it after enough updates. No sum overflows: `every` and
    `interval` are at least 1.
    """
    lower = compiled(lowered)

    def after_skip(scale, finite, skipped, every, backoff):
        if skipped < every - 1:
            return scale, finite, skipped + 1
        return lower(scale, backoff)

    def after_update(scale, finite, skipped, growth, backoff, interval):
        if skipped != 0:
            return lower(scale, backoff)
        if finite < interval - 1:
            return scale, finite + 1, 0
        new = np.float64(np.float32(scale * growth))
        return new if new <= _FLOAT32_MAX else scale, 0, 0

    return after_skip, after_update
