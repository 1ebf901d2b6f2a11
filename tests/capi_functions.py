"""A C program that calls every function of the C library but the steps, with usual and extreme arguments.

It writes each result. Its arrays end where memory ends (capi_programs.py). The arguments of schedules come from the
header: a function that is added there is called here too.
"""

import re
from functools import cache

from capi_programs import HEAD, SIZE
from pyfastlr.capi.source import header

SIZES = (0, 1, 15, 17, 67, 1023, 1025, 2049)
INDICES = ("-1", "0", "1", "2", "9", "10", "11", "55", "12345", "9007199254740992", "INT64_MAX", "INT64_MIN")
NUMBERS = ("0.5", "0.0", "1.0", "3.0", "-1.0", "1e300", "NAN", "INFINITY")
COUNTS = ("10", "0", "1", "3", "-5", "INT64_MAX")

_HEAD = """
#include <math.h>

static double base_at(const void *data, int64_t n)
{
    return *(const double *)data * (double)(n % 17);
}

static void give(double x)
{
    if (isnan(x))
        x = NAN; /* without its sign */
    save(&x, sizeof x);
}

static void give_code(int code)
{
    give(code);
}
"""

_ARRAYS = """
static void arrays_%(real)s(size_t n)
{
    const size_t bytes = n * sizeof(%(real)s);
    %(real)s *x = (%(real)s *)buffer(0, bytes), *out = (%(real)s *)buffer(1, bytes);
    %(real)s *average = (%(real)s *)buffer(2, bytes);
    const size_t blocks = fastlr_blocks(n);
    double *squares = (double *)buffer(3, 2 * blocks * sizeof(double)), norm = -1.0, factor = -1.0;
    size_t count = 99;
    fastlr_tensor tensors[2];
    memset(tensors, 0, sizeof tensors);
    for (size_t i = 0; i < n; i++) {
        x[i] = (%(real)s)((double)((i * 7919 + 31) %% 1009) / 64.0 - 7.0);
        out[i] = average[i] = (%(real)s)((double)i / 16.0);
    }
    if (n > 20)
        x[n - 1] = (%(real)s)INFINITY;
    for (int round = 0; round < 3; round++) {
        give_code(fastlr_squares%(suffix)s(x, n, 0, blocks / 2, squares));
        give_code(fastlr_squares%(suffix)s(x, n, blocks / 2, blocks, squares));
        give_code(fastlr_norm(squares, blocks, 0.5, &norm));
        give(norm);
        tensors[0].size = tensors[1].size = n;
        tensors[0].g = tensors[1].g = x;
        give_code(fastlr_global_norm%(suffix)s(tensors, 2, 0.5, &norm));
        give(norm);
        for (int convention = -1; convention < 4; convention++) {
            give_code(fastlr_clip_factor(convention, norm, 1.0, &factor));
            give(factor);
        }
        give_code(fastlr_count_nonfinite%(suffix)s(x, 0, n, &count));
        give((double)count);
        give_code(fastlr_accumulate%(suffix)s(out, x, 0.25, 0, n));
        give_code(fastlr_ema_update%(suffix)s(average, out, round, 0.75, 0, n));
        give_code(fastlr_clip_value%(suffix)s(out, x, 0.5, 2.0, 0, n));
        give_code(fastlr_scale%(suffix)s(out, 3.0, 0, n));
        save(x, bytes);
        save(out, bytes);
        save(average, bytes);
        if (round == 0 && n > 0)
            x[n - 1] = (%(real)s)1e30; /* its square is infinite in float */
        if (round == 1)
            give_code(fastlr_zero%(suffix)s(x, 0, n));
    }
}
"""

_LOSS_SCALE = """
static void loss_scale(void)
{
    fastlr_loss_scale scale;
    give_code(fastlr_loss_scale_init(&scale));
    scale.interval = 3;
    for (int i = 0; i < 40; i++) {
        give_code(i % 7 == 5 ? fastlr_loss_scale_skip(&scale, 1 + i % 2) : fastlr_loss_scale_update(&scale));
        give(scale.scale);
        give((double)scale.finite);
        give((double)scale.skipped);
    }
}
"""

_MAIN = """
int main(void)
{
    static const int64_t places[] = {10, 20, 40};
    static const double values[] = {1.0, 0.5, 0.25, 0.125};
    static const double lr = 0.01;
    const fastlr_schedule base = {base_at, &lr};
    (void)steps, (void)by_tensors, (void)rate, (void)p_f32, (void)g_f32, (void)p_f64, (void)g_f64;
    (void)load, (void)check, (void)places, (void)values, (void)base;
    allocate();
    loss_scale();
    for (int code = -1; code < 200; code++)
        save(fastlr_error_text(code), strlen(fastlr_error_text(code)));
%s
    return fflush(stdout) == 0 ? 0 : 2;
}
"""


def _argument(declared: str, k: int) -> str:
    """A value for a parameter of a schedule, as its type needs it: the k-th."""
    words = declared.replace("*", " ").split()
    if "*" in declared:
        return "places" if "int64_t" in words else "values"
    if words[-1] == "n":
        return INDICES[k % len(INDICES)]
    if words[-1].endswith("_length"):
        return "4" if words[-1].startswith("values") else "3"
    if words[0] in ("fastlr_schedule", "fastlr_shape"):
        return {"fastlr_schedule": "base", "fastlr_shape": "fastlr_shape_cosine"}[words[0]]
    given = {"int64_t": COUNTS, "int": ("1", "0"), "double": NUMBERS}[words[0]]
    return given[k % len(given)]


def schedules() -> dict[str, list[str]]:
    """Functions of the header that return a double, with their parameters."""
    found = re.findall(r"^FASTLR_API double (\w+)\(([^)]*)\);", header(), re.MULTILINE)
    return {name: [" ".join(x.split()) for x in arguments.split(",")] for name, arguments in found}


@cache
def program() -> str:
    """Text of the program, valid as C99 and as C++."""
    text = HEAD % {"size": SIZE} + _HEAD + _LOSS_SCALE
    text += "".join(_ARRAYS % {"real": x, "suffix": y} for x, y in (("float", ""), ("double", "_f64")))
    calls = [f"arrays_{real}({n});" for n in SIZES for real in ("float", "double")]
    for name, parameters in schedules().items():
        for k in range(len(INDICES)):
            # The first few calls have usual numbers, the others strange ones at changing places.
            for strange in (0, 1, 2, 3, 5, 7):
                values = [_argument(x, k if j == 0 else strange * (j + k)) for j, x in enumerate(parameters)]
                calls.append(f"give({name}({', '.join(values)}));")
    return text + _MAIN % "".join(f"    {x}\n" for x in dict.fromkeys(calls))
