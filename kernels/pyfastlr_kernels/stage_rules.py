"""What the options of a step compute, as plain functions of numbers: one text for the CPU's stages and the device's.

`compiled` brings a plain function into the form that the target's code calls, as in `contract.make_element`.
"""

import numpy as np

from .reduce import FACTORS, INFINITY, norm_of

_FLOAT32_MAX = float(np.finfo(np.float32).max)

# --- Elements, in the dtype of the parameters -------------------------------------------------------------------------


def clamped(x, scale, limit):
    """Return x * scale, limited to [-limit, limit]; NaN remains."""
    y = x * scale
    y = limit if y > limit else y
    return -limit if y < -limit else y


def moved_average(average, p, d, rest):
    """Return the average after an update; rest is 1 - d."""
    return d * average + rest * p


# --- A call -----------------------------------------------------------------------------------------------------------


def unscale(every, mean, inv_scale):
    """Return the factor that makes the gradient in memory the one that the user means: unscaled, or the mean."""
    if every > 1:
        return 1.0 / every if mean != 0 else 1.0
    return inv_scale


def make_norm(compiled):
    """Make ``norm(known, total, scale, factor)``: a norm, or the known one if that is better.

    A second sum, whose elements were made smaller, may have lost a norm that the first one found.
    """
    new = compiled(norm_of)

    def norm(known, total, scale, factor):
        return new(total, scale, factor) if scale >= 1.0 or known == INFINITY else known

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
    """Return the scale after a skipped call, and no counts. It stays above zero, from where it could not recover."""
    new = np.float64(np.float32(scale * backoff))
    return new if new > 0.0 else scale, 0, 0


def make_scaling(compiled):
    """Make ``after_skip(scale, finite, skipped, every, backoff)`` and ``after_update(..., growth, backoff, interval)``.

    As many skipped calls as an update takes lower the scale at once: it may be why none succeeds. An update lowers it
    if a call was skipped, or raises it after enough updates.
    """
    lower = compiled(lowered)

    def after_skip(scale, finite, skipped, every, backoff):
        return lower(scale, backoff) if skipped + 1 >= every else (scale, finite, skipped + 1)

    def after_update(scale, finite, skipped, growth, backoff, interval):
        if skipped != 0:
            return lower(scale, backoff)
        if finite + 1 < interval:
            return scale, finite + 1, 0
        new = np.float64(np.float32(scale * growth))
        return new if new <= _FLOAT32_MAX else scale, 0, 0

    return after_skip, after_update
