"""The header's text of the options of a step."""

from pyfastlr_kernels.reduce import UNIT

_HEADER = """\
/* --- What else a step may need --- */

/*
 * Norms. The squares of an array's elements are added in double and in a fixed order: block by block of FASTLR_BLOCK
 * elements. So threads may share the blocks in any way, and the norm has the same bits.
 *
 * fastlr_squares writes two numbers for each of the blocks from begin to end: squares[2*k] is the sum of block k, and
 * squares[2*k + 1] is used where that sum would overflow or vanish. fastlr_norm returns the norm of the elements of all
 * blocks, times the factor; the blocks of several arrays follow each other. Infinite elements make it infinite, NaN
 * makes it NaN.
 *
 * fastlr_global_norm is the same for the gradients of a table of tensors, in one call and without memory.
 */
enum { FASTLR_BLOCK = {unit} };
FASTLR_API size_t fastlr_blocks(size_t size);
FASTLR_API int fastlr_squares(const float *x, size_t size, size_t begin, size_t end, double *squares);
FASTLR_API int fastlr_squares_f64(const double *x, size_t size, size_t begin, size_t end, double *squares);
FASTLR_API int fastlr_norm(const double *squares, size_t blocks, double factor, double *norm);
FASTLR_API int fastlr_global_norm(const fastlr_tensor *tensors, size_t count, double factor, double *norm);
FASTLR_API int fastlr_global_norm_f64(const fastlr_tensor *tensors, size_t count, double factor, double *norm);

/*
 * The factor that clips a gradient of that norm, for a configuration's clip_factor or fastlr_scale. torch: min(1,
 * max_norm / (norm + 1e-6)); keras, optax: max_norm / max(norm, max_norm). It is never 1 for a NaN norm. An infinite
 * norm gives 0 (torch, optax) or NaN (keras).
 */
FASTLR_API int fastlr_clip_factor(int convention, double norm, double max_norm, double *factor);

/* x *= scale, rounded to the type of x. */
FASTLR_API int fastlr_scale(float *x, double scale, size_t begin, size_t end);
FASTLR_API int fastlr_scale_f64(double *x, double scale, size_t begin, size_t end);

/* out = x * scale, limited to [-limit, limit]; NaN remains. `out` may be x. */
FASTLR_API int fastlr_clip_value(float *out, const float *x, double scale, double limit, size_t begin, size_t end);
FASTLR_API int fastlr_clip_value_f64(
        double *out, const double *x, double scale, double limit, size_t begin, size_t end);

/* out += x * scale: accumulates gradients. */
FASTLR_API int fastlr_accumulate(float *out, const float *x, double scale, size_t begin, size_t end);
FASTLR_API int fastlr_accumulate_f64(double *out, const double *x, double scale, size_t begin, size_t end);

/*
 * Exponential moving average of parameters. `updates` is the number of updates that it has had: with 0, it becomes x,
 * else ema_decay * average + (1 - ema_decay) * x.
 */
FASTLR_API int fastlr_ema_update(
        float *average, const float *x, int64_t updates, double ema_decay, size_t begin, size_t end);
FASTLR_API int fastlr_ema_update_f64(
        double *average, const double *x, int64_t updates, double ema_decay, size_t begin, size_t end);

/* x = 0. */
FASTLR_API int fastlr_zero(float *x, size_t begin, size_t end);
FASTLR_API int fastlr_zero_f64(double *x, size_t begin, size_t end);

/* Number of elements that are infinite or NaN. */
FASTLR_API int fastlr_count_nonfinite(const float *x, size_t begin, size_t end, size_t *count);
FASTLR_API int fastlr_count_nonfinite_f64(const double *x, size_t begin, size_t end, size_t *count);

/*
 * A dynamic scale of the loss, in float32 as torch's GradScaler has it. Multiply the loss by `scale`, and set inv_scale
 * to 1/scale. If the gradient is not finite, leave the step out and call fastlr_loss_scale_skip; after each update,
 * call fastlr_loss_scale_update. `every` is the number of gradients that make one update, usually 1.
 */
typedef struct fastlr_loss_scale {
    size_t struct_size; /* size of this structure, in bytes */
    double scale;       /* in the normal range of float32 */
    int64_t finite;     /* updates since the scale was last changed */
    int64_t skipped;    /* calls of fastlr_loss_scale_skip since the last update or change */
    double growth;      /* > 1: factor after `interval` updates without a skipped one */
    double backoff;     /* in (0, 1): factor after a skipped one */
    int64_t interval;   /* >= 1 */
} fastlr_loss_scale;

/* Fills the structure with torch's defaults: scale 65536, growth 2, backoff 0.5, interval 2000. */
FASTLR_API int fastlr_loss_scale_init(fastlr_loss_scale *loss_scale);
FASTLR_API int fastlr_loss_scale_skip(fastlr_loss_scale *loss_scale, int64_t every);
FASTLR_API int fastlr_loss_scale_update(fastlr_loss_scale *loss_scale);

"""


def options_header() -> str:
    """Return the header's text of the options."""
    return _HEADER.replace("{unit}", str(UNIT))
