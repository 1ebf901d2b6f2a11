"""Curves that only other libraries have, under the contract of `curves`: pure math."""

from math import cos, exp, log, log1p, pi

from pyfastlr_kernels.curves import cosine_fall, grown, lerp, passed, peak_of


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


def polynomial_cycle_fractional(n, lr, steps, end, exponent):
    """The same where `steps` is not an integer (Keras)."""
    whole = steps * max(-(-n / steps // 1.0), 1.0)
    return lerp(end, lr, (max(whole - n, 0.0) / whole) ** exponent)


def scaled_restarts(n, lr, period, growth, height, end):
    """Cosine with restarts: each cycle is `growth` times as long and `height` times as high above end (Keras)."""
    if growth == 1.0:
        cycle, length = n / period // 1.0, float(period)
        at = max(n - cycle * period, 0.0)
    else:  # the logarithm gives the cycle; start one cycle lower, because it is rounded: the loop runs at most twice
        cycle = max(log1p(n / period * (growth - 1.0)) / log(growth) // 1.0 - 1.0, 0.0)
        length = period * growth**cycle
        at = n - (length - period) / (growth - 1.0)
        while at >= length:
            cycle, at, length = cycle + 1.0, at - length, length * growth
    peak = (
        lerp(end, lr, height**cycle)
        if height <= 1.0
        else min(end + (lr - end) * grown(1.0, height, cycle), 1.7976931348623157e308)
    )
    return lerp(end, peak, cosine_fall(at / length))


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


def cosine_waves(n, lr, steps, cycles, end):
    """Cosine from lr to end and back, `cycles` times in `steps` updates and so on (transformers)."""
    return lerp(end, lr, 0.5 * (1.0 + cos(pi * cycles * 2.0 * (n / steps))))


def hard_restarts(n, lr, steps, cycles):
    """Cosine to 0 with `cycles` equal cycles in `steps` updates; then 0 (transformers)."""
    x = cycles * (n / steps)
    return lr * cosine_fall(x - x // 1.0) if n < steps else 0.0


# --- timm: cycles that are found with a logarithm, rounded as there, until the last one ends --------------------------


def cycle_at(n, steps, growth):
    """Number of the cycle, from 0; the first has `steps` updates, each next one `growth` times as many."""
    if growth == 1.0:
        return float(n // steps)
    return log(1.0 - n / steps * (1.0 - growth)) / log(growth) // 1.0


def cycle_fraction(n, steps, growth, cycle):
    """Elapsed fraction of the cycle. Rounding may leave [0, 1], where timm raises an error."""
    if growth == 1.0:
        return (n - steps * cycle) / steps
    length = growth**cycle * steps
    x = (n - (1.0 - growth**cycle) / (1.0 - growth) * steps) / length
    return 0.0 if x < 0.0 else 1.0 if x > 1.0 else x


def limited_cosine(n, lr, steps, end, growth, decay, limit, k_decay):
    """Cosine cycles with k-decay, then end (timm)."""
    cycle = cycle_at(n, steps, growth)
    if cycle >= limit:
        return end
    x = cycle_fraction(n, steps, growth, cycle)
    return lerp(end, peak_of(lr, decay, cycle), cosine_fall(x**k_decay))


def limited_polynomial(n, lr, steps, end, growth, decay, limit, k_decay, exponent):
    """Polynomial cycles with k-decay, then end (timm)."""
    cycle = cycle_at(n, steps, growth)
    if cycle >= limit:
        return end
    x = cycle_fraction(n, steps, growth, cycle)
    return lerp(end, peak_of(lr, decay, cycle), (1.0 - x**k_decay) ** exponent)


def limited_tanh(n, lr, steps, end, growth, decay, limit, lower, upper):
    """Cycles of the hyperbolic tangent, then end (timm)."""
    cycle = cycle_at(n, steps, growth)
    if cycle >= limit:
        return end
    x = cycle_fraction(n, steps, growth, cycle)
    return lerp(end, peak_of(lr, decay, cycle), 1.0 / (1.0 + exp(2.0 * (lower * (1.0 - x) + upper * x))))


def floored_power(n, lr, timescale, exponent, floor):
    """Rate divided by a power of 1 + n/timescale, not below a bound (timm)."""
    return max(lr * (1.0 / (1.0 + n / timescale)) ** exponent, floor)


def power_approach(n, start, end, steps, exponent):
    """From start to end with a power of the elapsed fraction, then end."""
    return lerp(start, end, (n / steps) ** exponent) if n < steps else end


def blended(n, s, t, end):
    """Value between end (where t is 0) and s (where t is 1)."""
    return lerp(end, s(n), t(n))


def normalized_exponential(n, steps, ratio):
    """Exponential decay from 1 to `ratio`, shifted and scaled so that it ends at 0 (timm)."""
    return (ratio ** (n / steps) - ratio) / (1.0 - ratio) if n < steps else 0.0


# --- fastai: the elapsed fraction of all updates, within the window of one of several parts ---------------------------


def window(n, steps, low, high):
    """Fraction of the window from low to high that n/steps has passed, at most 1."""
    x = (n / steps - low) / (high - low)
    return 0.0 if x < 0.0 else 1.0 if x > 1.0 else x


def window_linear(n, start, end, steps, low, high):
    """Straight line within a window."""
    return lerp(start, end, window(n, steps, low, high))


def window_cosine(n, start, end, steps, low, high):
    """Half a period of the cosine within a window."""
    return lerp(end, start, cosine_fall(window(n, steps, low, high)))


def window_exponential(n, start, end, steps, low, high):
    """Constant factor per update within a window."""
    x = window(n, steps, low, high)
    return start * (end / start) ** x if x < 1.0 else end


def window_power(n, start, end, steps, low, high, exponent):
    """Power of the elapsed fraction within a window."""
    return lerp(start, end, window(n, steps, low, high) ** exponent)
