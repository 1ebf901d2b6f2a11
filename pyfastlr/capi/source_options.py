"""C text of the options of a step as functions: norms, clipping, averaging, counting, the scale of the loss."""

import inspect
from collections.abc import Callable
from typing import Any

from pyfastlr_kernels import reduce, stage_rules
from pyfastlr_kernels.printing import FLOAT64, INT64, C, Native, Opaque, Printer, Tuple

from .source_rules import REALS
from .source_steps import of_each

_LANES = """\
/* Elements of a table's squares, or of tensors themselves: what `sum_of` adds. */
struct summed {
    const double *squares;
    size_t blocks;
    const fastlr_tensor *tensors;
    size_t count;
    int is_double;
};

static double sum_of(const struct summed *where, double scale);

"""
_BLOCK = """\
/* Sum of the squares of n <= FASTLR_BLOCK elements, each multiplied by a scale: {lanes} sums, then their sum. */
static FASTLR_CLONES double block_sum_fX(const REAL *x, size_t n, double scale)
{{
    double lanes[{lanes}] = {{0.0}};
    const size_t whole = n - n % {lanes};
    if (scale == 1.0) {{
        for (size_t i = 0; i < whole; i += {lanes})
            for (size_t j = 0; j < {lanes}; j++)
                lanes[j] += (double)x[i + j] * (double)x[i + j];
    }} else {{
        for (size_t i = 0; i < whole; i += {lanes})
            for (size_t j = 0; j < {lanes}; j++) {{
                const double y = (double)x[i + j] * scale;
                lanes[j] += y * y;
            }}
    }}
    for (size_t i = whole; i < n; i++) {{
        const double y = (double)x[i] * scale;
        lanes[i - whole] += y * y;
    }}
    double total = lanes[0];
    for (size_t j = 1; j < {lanes}; j++)
        total += lanes[j];
    return total;
}}

int fastlr_squares_tX(const REAL *x, size_t size, size_t begin, size_t end, double *squares)
{{
    if (begin > end || end > fastlr_blocks(size))
        return FASTLR_ERROR_RANGE;
    if (begin == end)
        return FASTLR_OK;
    if (x == NULL)
        return FASTLR_ERROR_X;
    if (squares == NULL)
        return FASTLR_ERROR_SQUARES;
    for (size_t k = begin; k < end; k++) {{
        const size_t first = k * FASTLR_BLOCK, n = size - first < FASTLR_BLOCK ? size - first : FASTLR_BLOCK;
        const double sum = block_sum_fX(x + first, n, 1.0), scale = scale_for(sum);
        squares[2 * k] = sum;
        squares[2 * k + 1] = scale != 1.0 ? block_sum_fX(x + first, n, scale) : 0.0;
    }}
    return FASTLR_OK;
}}

/* Add the squares of an array to a total, block by block. */
static double add_blocks_fX(double total, const REAL *x, size_t size, double scale)
{{
    for (size_t first = 0; first < size; first += FASTLR_BLOCK)
        total += block_sum_fX(x + first, size - first < FASTLR_BLOCK ? size - first : FASTLR_BLOCK, scale);
    return total;
}}

int fastlr_global_norm_tX(const fastlr_tensor *tensors, size_t count, double factor, double *result)
{{
    if (tensors == NULL && count != 0)
        return FASTLR_ERROR_TENSORS;
    if (result == NULL)
        return FASTLR_ERROR_NORM;
    const struct summed where = {{NULL, 0, tensors, count, sizeof(REAL) == sizeof(double)}};
    *result = norm(&where, factor);
    return FASTLR_OK;
}}
"""
_SUMS = """\
static double sum_of(const struct summed *where, double scale)
{
    double total = 0.0;
    for (size_t k = 0; k < where->blocks; k++) {
        const double x = where->squares[2 * k];
        total += scale != 1.0 ? rescaled(x, where->squares[2 * k + 1], scale) : x;
    }
    for (size_t k = 0; k < where->count; k++) {
        const fastlr_tensor *const t = &where->tensors[k];
        if (t->g == NULL)
            continue;
        total = where->is_double ? add_blocks_f64(total, t->g, t->size, scale)
                                 : add_blocks_f32(total, t->g, t->size, scale);
    }
    return total;
}

int fastlr_norm(const double *squares, size_t blocks, double factor, double *result)
{
    if (squares == NULL && blocks != 0)
        return FASTLR_ERROR_SQUARES;
    if (result == NULL)
        return FASTLR_ERROR_NORM;
    const struct summed where = {squares, blocks, NULL, 0, 0};
    *result = norm(&where, factor);
    return FASTLR_OK;
}

int fastlr_clip_factor(int convention, double norm, double max_norm, double *result)
{
    if (convention != FASTLR_TORCH && convention != FASTLR_KERAS && convention != FASTLR_OPTAX)
        return FASTLR_ERROR_CONVENTION;
    if (!(max_norm > 0.0))
        return FASTLR_ERROR_MAX_NORM;
    if (result == NULL)
        return FASTLR_ERROR_FACTOR;
    *result = FACTOR;
    return FASTLR_OK;
}
"""
_LOOPS = """\
static FASTLR_CLONES void scale_loop_fX(size_t n, REAL *x, REAL scale)
{
    for (size_t i = 0; i < n; i++)
        x[i] = x[i] * scale;
}

static FASTLR_CLONES void clip_loop_fX(size_t n, REAL *restrict out, const REAL *restrict x, REAL scale, REAL limit)
{
    for (size_t i = 0; i < n; i++)
        out[i] = clamped_fX(x[i], scale, limit);
}

static FASTLR_CLONES void clip_in_place_loop_fX(size_t n, REAL *x, REAL scale, REAL limit)
{
    for (size_t i = 0; i < n; i++)
        x[i] = clamped_fX(x[i], scale, limit);
}

static FASTLR_CLONES void accumulate_loop_fX(size_t n, REAL *restrict out, const REAL *restrict x, REAL scale)
{
    for (size_t i = 0; i < n; i++)
        out[i] = out[i] + x[i] * scale;
}

static FASTLR_CLONES void average_loop_fX(size_t n, REAL *restrict average, const REAL *restrict x, REAL d, REAL rest)
{
    for (size_t i = 0; i < n; i++)
        average[i] = moved_average_fX(average[i], x[i], d, rest);
}

static FASTLR_CLONES size_t count_loop_fX(size_t n, const REAL *x)
{
    size_t found = 0;
    for (size_t i = 0; i < n; i++)
        found += x[i] - x[i] != 0; /* a finite number's difference is 0, another's is NaN */
    return found;
}

int fastlr_scale_tX(REAL *x, double scale, size_t begin, size_t end)
{
    if (begin > end)
        return FASTLR_ERROR_RANGE;
    if (begin == end)
        return FASTLR_OK;
    if (x == NULL)
        return FASTLR_ERROR_X;
    scale_loop_fX(end - begin, x + begin, (REAL)scale);
    return FASTLR_OK;
}

int fastlr_clip_value_tX(REAL *out, const REAL *x, double scale, double limit, size_t begin, size_t end)
{
    if (!(limit > 0.0))
        return FASTLR_ERROR_LIMIT;
    if (begin > end)
        return FASTLR_ERROR_RANGE;
    if (begin == end)
        return FASTLR_OK;
    if (out == NULL)
        return FASTLR_ERROR_OUT;
    if (x == NULL)
        return FASTLR_ERROR_X;
    if (out == x)
        clip_in_place_loop_fX(end - begin, out + begin, (REAL)scale, (REAL)limit);
    else
        clip_loop_fX(end - begin, out + begin, x + begin, (REAL)scale, (REAL)limit);
    return FASTLR_OK;
}

int fastlr_accumulate_tX(REAL *out, const REAL *x, double scale, size_t begin, size_t end)
{
    if (begin > end)
        return FASTLR_ERROR_RANGE;
    if (begin == end)
        return FASTLR_OK;
    if (out == NULL)
        return FASTLR_ERROR_OUT;
    if (x == NULL)
        return FASTLR_ERROR_X;
    accumulate_loop_fX(end - begin, out + begin, x + begin, (REAL)scale);
    return FASTLR_OK;
}

int fastlr_ema_update_tX(
        REAL *average, const REAL *x, int64_t updates, double ema_decay, size_t begin, size_t end)
{
    const REAL d = (REAL)ema_decay;
    if (updates < 0)
        return FASTLR_ERROR_UPDATES;
    if (!(ema_decay >= 0.0 && ema_decay < 1.0))
        return FASTLR_ERROR_EMA_DECAY;
    if (begin > end)
        return FASTLR_ERROR_RANGE;
    if (begin == end)
        return FASTLR_OK;
    if (average == NULL)
        return FASTLR_ERROR_AVERAGE;
    if (x == NULL)
        return FASTLR_ERROR_X;
    if (continues_fX(updates, d))
        average_loop_fX(end - begin, average + begin, x + begin, d, 1 - d);
    else
        memcpy(average + begin, x + begin, (end - begin) * sizeof(REAL));
    return FASTLR_OK;
}

int fastlr_zero_tX(REAL *x, size_t begin, size_t end)
{
    if (begin > end)
        return FASTLR_ERROR_RANGE;
    if (begin == end)
        return FASTLR_OK;
    if (x == NULL)
        return FASTLR_ERROR_X;
    for (size_t i = begin; i < end; i++)
        x[i] = 0;
    return FASTLR_OK;
}

int fastlr_count_nonfinite_tX(const REAL *x, size_t begin, size_t end, size_t *count)
{
    if (begin > end)
        return FASTLR_ERROR_RANGE;
    if (count == NULL)
        return FASTLR_ERROR_COUNT;
    if (x == NULL && begin != end)
        return FASTLR_ERROR_X;
    *count = begin == end ? 0 : count_loop_fX(end - begin, x + begin);
    return FASTLR_OK;
}
"""
_LOSS_SCALE = """\
int fastlr_loss_scale_init(fastlr_loss_scale *loss_scale)
{
    if (loss_scale == NULL)
        return FASTLR_ERROR_LOSS_SCALE;
    memset(loss_scale, 0, sizeof *loss_scale);
    loss_scale->struct_size = sizeof *loss_scale;
    loss_scale->scale = 65536.0;
    loss_scale->growth = 2.0;
    loss_scale->backoff = 0.5;
    loss_scale->interval = 2000;
    return FASTLR_OK;
}

static int check_loss_scale(const fastlr_loss_scale *s)
{
    if (s == NULL)
        return FASTLR_ERROR_LOSS_SCALE;
    if (s->struct_size != sizeof *s)
        return FASTLR_ERROR_STRUCT_SIZE;
    if (!(s->scale >= FLT_MIN && s->scale <= FLT_MAX))
        return FASTLR_ERROR_SCALE;
    if (!(s->growth > 1.0 && s->growth <= DBL_MAX))
        return FASTLR_ERROR_GROWTH;
    if (!(s->backoff > 0.0 && s->backoff < 1.0))
        return FASTLR_ERROR_BACKOFF;
    if (s->interval < 1)
        return FASTLR_ERROR_INTERVAL;
    return FASTLR_OK;
}

int fastlr_loss_scale_skip(fastlr_loss_scale *loss_scale, int64_t every)
{
    fastlr_loss_scale *const s = loss_scale;
    const int error = check_loss_scale(s);
    if (error != FASTLR_OK)
        return error;
    if (every < 1)
        return FASTLR_ERROR_EVERY;
    const struct scaling x = after_skip(s->scale, s->finite, s->skipped, every, s->backoff);
    s->scale = x.scale;
    s->finite = x.finite;
    s->skipped = x.skipped;
    return FASTLR_OK;
}

int fastlr_loss_scale_update(fastlr_loss_scale *loss_scale)
{
    fastlr_loss_scale *const s = loss_scale;
    const int error = check_loss_scale(s);
    if (error != FASTLR_OK)
        return error;
    const struct scaling x = after_update(s->scale, s->finite, s->skipped, s->growth, s->backoff, s->interval);
    s->scale = x.scale;
    s->finite = x.finite;
    s->skipped = x.skipped;
    return FASTLR_OK;
}
"""


def _itself(function: Callable[..., Any]) -> Callable[..., Any]:
    return function


def _sum_of(where: Any, scale: Any) -> Any:
    """Stand for the sum of squares that is written in C."""


def options_text(printer: Printer) -> str:
    """Return the C text of the options, with their formulas from stage_rules and reduce."""
    start = len(printer.parts)
    where = Opaque("const struct summed *")
    printer.natives[_sum_of] = Native("sum_of", (where, FLOAT64), FLOAT64)
    printer.parts.append("/* --- Options of a step --- */\n")
    printer.parts.append(
        "size_t fastlr_blocks(size_t size)\n{\n    return size / FASTLR_BLOCK + (size % FASTLR_BLOCK != 0);\n}\n"
    )
    printer.parts.append(_LANES)
    printer.function(stage_rules.make_norm(_itself, _sum_of, True), [where, FLOAT64], comment="A norm times a factor.")  # type: ignore[no-untyped-call]
    said = "A block's part of a sum of elements multiplied by a scale that is not 1."
    printer.function(stage_rules.make_rescaled(_itself), [FLOAT64] * 3, comment=said)  # type: ignore[no-untyped-call]
    clip = inspect.getclosurevars(stage_rules.make_factor(_itself)).nonlocals["clip"]  # type: ignore[no-untyped-call]
    factor = printer.function(
        clip, [INT64, FLOAT64, FLOAT64], name="clip_factor", comment="The factor of a convention."
    )
    printer.parts.append(of_each(_BLOCK.format(lanes=reduce.LANES)))
    printer.parts.append(_SUMS.replace("= FACTOR;", f"= {factor.call('convention', 'norm', 'max_norm')};"))
    for kind in REALS:
        printer.suffix, printer.selects = C.suffixes[kind], True
        printer.function(stage_rules.clamped, [kind] * 3)
        printer.function(stage_rules.continues, [INT64, kind])
        printer.function(stage_rules.moved_average, [kind] * 4)
    printer.suffix, printer.selects = "", False
    printer.parts.append(of_each(_LOOPS))
    after_skip, after_update = stage_rules.make_scaling(_itself)  # type: ignore[no-untyped-call]
    counts = [FLOAT64, INT64, INT64]
    printer.name_tuple(Tuple(tuple(counts)), "scaling", ["scale", "finite", "skipped"], "A scale of the loss.")
    printer.function(after_skip, [*counts, INT64, FLOAT64], comment="After a skipped call.")
    printer.function(after_update, [*counts, FLOAT64, FLOAT64, INT64], comment="After an update.")
    printer.parts.append(_LOSS_SCALE)
    parts = printer.parts[start:]
    del printer.parts[start:]
    return "\n".join(parts)
