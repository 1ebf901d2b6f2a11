"""Curves that only other libraries have, under the contract of `curves`: pure math."""

from math import log, log1p

from pyfastlr_kernels.curves import cosine_fall, lerp, passed


def cosine_wave(n, lr, half, end):
    """Cosine from lr to end in `half` updates, back in `half` updates, and so on (torch)."""
    at = n % (2 * half)
    return lerp(end, lr, cosine_fall(min(at, 2 * half - at) / half))


def cyclic_scaled(n, s, base, peak, up, down, per_cycle):
    """Triangular cycles, scaled by a function of the cycle, counting from 1, or of the update (torch)."""
    cycle, at = n // (up + down), n % (up + down)
    height = at / up if at < up else (up + down - at) / down
    return lerp(base, peak, height * s(cycle + 1 if per_cycle else n))


def three_phases(n, fall, first, peak, middle, end, up, down, last):
    """From first to peak to middle to end, reached at `up`, `down` and `last`; only `last` is an integer (torch)."""
    at = min(n, last)
    if at <= up:
        return lerp(peak, first, fall(at / up))
    if at <= down:
        return lerp(middle, peak, fall((at - up) / (down - up)))
    return lerp(end, middle, fall((at - down) / (last - down)))


def polynomial_cycle(n, lr, steps, end, exponent):
    """Power of the remaining fraction of the smallest multiple of `steps` that is >= n (Keras)."""
    whole = steps * max((n + steps - 1) // steps, 1)
    return lerp(end, lr, ((whole - n) / whole) ** exponent)


def scaled_restarts(n, lr, period, growth, height, end):
    """Cosine with restarts: each cycle is `growth` times as long and `height` times as high above end (Keras)."""
    if growth == 1.0:
        cycle, at, length = float(n // period), float(n % period), float(period)
    else:  # the logarithm gives the cycle; start one cycle lower, because it is rounded: the loop runs at most twice
        cycle = max(log1p(n / period * (growth - 1.0)) / log(growth) // 1.0 - 1.0, 0.0)
        length = period * growth**cycle
        at = n - (length - period) / (growth - 1.0)
        while at >= length:
            cycle, at, length = cycle + 1.0, at - length, length * growth
    return lerp(end, lerp(end, lr, height**cycle), cosine_fall(at / length))


def cosine_power(n, lr, steps, end, exponent):
    """Cosine decay, raised to a power (optax)."""
    return lerp(end, lr, cosine_fall(n / steps) ** exponent) if n < steps else end


def interpolated(n, fall, boundaries, values):
    """Interpolation between values, each but the first reached at its boundary (optax)."""
    i = passed(n, boundaries)
    if i == len(boundaries):
        return values[i]
    begin = boundaries[i - 1] if i > 0 else 0
    return lerp(values[i + 1], values[i], fall((n - begin) / (boundaries[i] - begin)))
