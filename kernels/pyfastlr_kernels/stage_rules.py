"""What the options of a step compute, as plain functions of numbers: one text for the CPU's stages and the device's.

`compiled` brings a plain function into the form that the target's code calls, as in `contract.make_element`.
"""

from .reduce import FACTORS, INFINITY, norm_of

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
