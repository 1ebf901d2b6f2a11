"""Every schedule as a scalar function of the update index: pure math.

The contract
------------
``curve(n, *functions, *parameters) -> float`` for 0 <= n < 2**53, the 0-based index of the update. Parameters are
numbers and tuples of numbers (in compiled code: arrays); the schedules and shapes that a curve calls come before them.
The same text runs in Python, compiled for the CPU and on the device, so:

- an exponent is a float: ``x ** int`` is repeated multiplication in numba, with other bits;
- nothing here raises in Python where compiled code returns infinity (`grown`);
- only functions that CPython takes unchanged from the C library: sqrt, exp, log, log1p, cos (it has its own gamma).

``lerp(a, b, 0)`` is a and ``lerp(a, b, 1)`` is b, to the bit, so the first and last rates of a schedule are exact.
"""

from math import cos, exp, inf, log, log1p, pi, sqrt

# --- Parts -----------------------------------------------------------------------------------------------------------


def lerp(a, b, x):
    """Value between a (x = 0) and b (x = 1): exact at both, never outside, and constant if a equals b."""
    return a + (b - a) * x if x < 0.5 else b - (b - a) * (1.0 - x)


def grown(lr, base, x):
    """Rate lr * base**x for base > 0, infinite where Python would raise OverflowError; a rate of zero stays zero."""
    if base > 1.0 and x * log(base) > 709.0:
        return inf if lr > 0.0 else lr
    return lr * base**x


def peak_of(lr, decay, cycle):
    """Peak of a cycle. It stays finite, because interpolation from infinity would be NaN."""
    return min(grown(lr, decay, float(cycle)), 1.7976931348623157e308)


def passed(n, boundaries):
    """Number of the increasing boundaries that are <= n, by bisection."""
    low, high = 0, len(boundaries)
    while low < high:
        middle = (low + high) // 2
        if boundaries[middle] <= n:
            low = middle + 1
        else:
            high = middle
    return low


# --- Shapes: from 1 at x = 0 to 0 at x = 1 ----------------------------------------------------------------------------


def linear_fall(x):
    """Straight line."""
    return 1.0 - x


def cosine_fall(x):
    """Half a period of the cosine."""
    return 0.5 * (1.0 + cos(pi * x))


def sqrt_fall(x):
    """One minus the square root: steep at first, then flatter."""
    return 1.0 - sqrt(x)


def square_fall(x):
    """One minus the square: flat at first, then steeper."""
    return 1.0 - x * x


def root_fall(x):
    """Square root of what remains: flat at first, then steeper without bound."""
    return sqrt(1.0 - x)


# --- Schedules, from simple to complex --------------------------------------------------------------------------------


def constant(n, lr):
    """Rate lr at every update."""
    return lr


def inverse_time(n, lr, decay):
    """Rate divided by a linearly growing number."""
    return lr / (1.0 + decay * n)


def inverse_power(n, lr, decay, power):
    """Rate times a power of the inverse of a linearly growing number, which cannot overflow."""
    return lr * (1.0 / (1.0 + decay * n)) ** power


def noam(n, scale, width, warmup):
    """Linear warm-up, then the inverse square root, both counted from 1 and scaled by the width's inverse root."""
    factor = 1.0 / sqrt(n + 1.0) if n + 1 >= warmup else (n + 1.0) / (warmup * sqrt(warmup))
    return scale / sqrt(width) * factor


def inverse_sqrt(n, lr, warmup):
    """Linear warm-up to lr, then decay with the inverse square root of the index."""
    return lr * (n / warmup) if n < warmup else lr * sqrt(warmup / n)


def step_decay(n, lr, drop, every):
    """Factor every `every` updates, counting from 1."""
    return lr * drop ** float((1 + n) // every)


def multi_step(n, lr, milestones, gamma):
    """Factor at each milestone."""
    return lr * gamma ** float(passed(n, milestones))


def piecewise(n, boundaries, values):
    """Value for each interval between boundaries."""
    return values[passed(n, boundaries)]


def exponential(n, lr, rate, steps):
    """Factor `rate` every `steps` updates, spread over them."""
    return grown(lr, rate, n / steps)


def staircase(n, lr, rate, steps):
    """Factor `rate` every `steps` updates, at once."""
    return grown(lr, rate, float(n // steps))


def staircase_fractional(n, lr, rate, steps):
    """Factor `rate` every `steps` updates, at once; `steps` need not be an integer."""
    return grown(lr, rate, n / steps // 1.0)


def exponential_decay(n, lr, decay):
    """Natural form. It has its own curve because exp(-decay), rounded and raised to n, is off by up to n ulp."""
    return lr * exp(-decay * n)


def linear(n, start, end, steps):
    """Straight line from start to end."""
    return lerp(start, end, n / steps) if n < steps else end


def polynomial(n, lr, steps, end, exponent):
    """Power of the remaining fraction."""
    return lerp(end, lr, ((steps - n) / steps) ** exponent) if n < steps else end


def cosine(n, lr, steps, end):
    """Half a period of the cosine from lr to end."""
    # This is cosine_fall written out: a call of it would be a fifth of the 0.2 us that this takes in Python.
    return lerp(end, lr, 0.5 * (1.0 + cos(pi * (n / steps)))) if n < steps else end


def polynomial_delayed(n, lr, steps, end, exponent, k_decay):
    """Power of one minus a power of the elapsed fraction."""
    return lerp(end, lr, (1.0 - (n / steps) ** k_decay) ** exponent) if n < steps else end


def cosine_delayed(n, lr, steps, end, k_decay):
    """Half a period of the cosine of a power of the elapsed fraction."""
    return lerp(end, lr, cosine_fall((n / steps) ** k_decay)) if n < steps else end


def tanh_decay(n, lr, steps, end, lower, upper):
    """Hyperbolic tangent from `lower` to `upper`: (1 - tanh(x))/2 is 1/(1 + exp(2 x))."""
    x = n / steps
    return lerp(end, lr, 1.0 / (1.0 + exp(2.0 * (lower * (1.0 - x) + upper * x)))) if n < steps else end


def rex(n, lr, steps, end):
    """Remaining fraction z over (1 + z)/2: above the straight line, then steeper."""
    z = (steps - n) / steps
    return lerp(end, lr, z / (0.5 + 0.5 * z)) if n < steps else end


def cosine_restarts(n, lr, period, mult, decay, end):
    """Cosine with restarts: each cycle is `mult` times as long and `decay` times as high as the one before."""
    if mult == 1:
        cycle, at, length = n // period, float(n % period), float(period)
    else:  # floats, exact below 2**53; the length may become larger, where an int64 would overflow
        cycle, at, length = 0, float(n), float(period)
        while at >= length:
            cycle, at, length = cycle + 1, at - length, length * mult
    return lerp(end, peak_of(lr, decay, cycle), cosine_fall(at / length))


def cosine_restarts_fractional(n, lr, period, mult, decay, end):
    """Cosine with restarts whose first period need not be an integer."""
    if mult == 1:  # two roundings are forgiven, so that n = 900 is a restart where the period is 900/7
        cycle = n / period * 1.0000000000000004 // 1.0
        x = max(n / period - cycle, 0.0)
    else:
        cycle, at, length = 0.0, float(n), float(period)
        while at >= length:
            cycle, at, length = cycle + 1.0, at - length, length * mult
        x = at / length
    return lerp(end, peak_of(lr, decay, cycle), cosine_fall(x))


def cyclic(n, base, peak, up, down, gamma, per_cycle):
    """Triangular cycles, scaled by gamma to the power of the cycle or of the update."""
    cycle, at = n // (up + down), n % (up + down)
    height = at / up if at < up else (up + down - at) / down
    return lerp(base, peak, height * gamma ** float(cycle if per_cycle else n))


def one_cycle(n, fall, start, peak, end, up, steps):
    """Up from start to peak, then down to end."""
    if n < up:
        return lerp(peak, start, fall(n / up))
    return lerp(end, peak, fall((n - up) / (steps - up))) if n < steps else end


def warmup_stable_decay(n, fall, lr, warmup, stable, decay, start, end):
    """Linear warm-up, constant rate, then decay with the shape `fall`."""
    if n < warmup:
        return lerp(start, lr, n / warmup)
    at = n - warmup - stable
    if at < 0:
        return lr
    return lerp(end, lr, fall(at / decay)) if at < decay else end


def time_decay(n, lr, decay):
    """Rate divided by 1 + decay*k for every k < n, within 5e-13 of the product and without its loop.

    With a = 1/decay, log prod(1 + k/a) = log(gamma(a + n) / (gamma(a) a**n)). Stirling's series for both gammas, with
    x = decay n, u = x/(2 + x) and log1p(x) = 2 atanh(u), leaves only terms that do not cancel:
    n u (1 + u (1 + u) (atanh(u) - u)/u**3) - log1p(x)/2 + stirling(a + n) - stirling(a).
    """
    product, head = 1.0, 0
    if (
        n <= 16 or decay > 0.0625
    ):  # the series needs a >= 16: multiply the first factors; 1 + 16 decay scales the others
        head = min(n, 16)
        for k in range(head):
            product *= 1.0 + decay * k
        if head == n:
            return lr / product
    scale = 1.0 + decay * head
    q = decay / scale
    tail = n - head
    x = q * tail
    u = x / (2.0 + x)
    half_log = 0.5 * log1p(x)
    series = atanh_rest(u) if u < 0.25 else (half_log - u) / (u * u * u)
    exponent = (
        tail * log(scale) + tail * u * (1.0 + u * (1.0 + u) * series) - half_log + stirling(q / (1.0 + x)) - stirling(q)
    )
    half = exp(-0.5 * exponent)  # used twice: as one factor it could be subnormal, and lose digits of the rate
    return lr / product * half * half


def atanh_rest(u):
    """(atanh(u) - u)/u**3 for u < 1/4, to 1e-16: the difference itself would cancel."""
    z = u * u
    rest = 1 / 15 + z * (1 / 17 + z * (1 / 19 + z * (1 / 21 + z * (1 / 23 + z / 25))))
    return 1 / 3 + z * (1 / 5 + z * (1 / 7 + z * (1 / 9 + z * (1 / 11 + z * (1 / 13 + z * rest)))))


def stirling(q):
    """Stirling's remainder of log(gamma(a)) at a = 1/q >= 16, to 1e-14."""
    z = q * q
    return q * (1 / 12 - z * (1 / 360 - z * (1 / 1260 - z / 1680)))


# --- Algebra: s and t are curves bound to their parameters ------------------------------------------------------------


def warmup(n, s, steps, start):
    """Linear warm-up from start to s(0), then s."""
    if n >= steps:
        return s(n - steps)
    return lerp(start, s(0), n / steps)


def warmup_log(n, s, steps, start):
    """Warm-up with the logarithm of n + 1, from start to s(0) at the last of `steps` >= 2 updates, then s."""
    if n >= steps:
        return s(n - steps)
    return lerp(start, s(0), log(n + 1.0) / log(steps))


def warmup_along(n, s, fall, steps, start):
    """Warm-up whose distance to s(0) has the shape `fall`, then s."""
    if n >= steps:
        return s(n - steps)
    return lerp(s(0), start, fall(n / steps))


def then(n, s, t, at):
    """Schedule s before the index `at`, then t from its own first value."""
    return s(n) if n < at else t(n - at)


def delay(n, s, steps):
    """Schedule s with its first value held longer."""
    return s(max(n - steps, 0))


def advance(n, s, steps):
    """Schedule s without its first updates."""
    return s(n + steps)


def every(n, s, steps):
    """Schedule s with an index that advances once every `steps` updates."""
    return s(n // steps)


def clip(n, s, low, high):
    """Schedule s within bounds; NaN compares false and stays."""
    x = s(n)
    return low if x < low else high if x > high else x


def product(n, s, t):
    """Product of s and t."""
    return s(n) * t(n)


def total(n, s, t):
    """Sum of s and t."""
    return s(n) + t(n)
