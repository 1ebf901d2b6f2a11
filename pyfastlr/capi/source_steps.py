"""C text of what every optimizer shares: running a rule's loops over ranges and tables of tensors."""

from pyfastlr_kernels.printing import FLOAT32, FLOAT64, C

from .source_rules import REALS

# In these texts, REAL is the type of the elements and _fX the suffix of names.
_RUN = """\
/* The arrays of a range: parameters, gradient, factors of the rate (or NULL), states. */
struct arrays_fX {
    size_t n;
    REAL *p;
    const REAL *g;
    const REAL *k;
    REAL *s[FASTLR_STATES];
};

/* Update a range. A frozen group's parameters keep their bits, and its state changes. */
static void run_fX(const struct rule *rule, const union update_fX *u, const struct arrays_fX *a)
{
    const struct common_fX c = u->any.common;
    const int decays = c.l2 != 0 || c.decoupled != 0 || c.independent != 0;
    loop_fX *const loop = rule->loops_fX[decays + (a->k != NULL ? 2 : 0)];
    if (c.moves != 0) {
        loop(u, a->n, a->p, a->g, a->k, a->s[0], a->s[1], a->s[2]);
        return;
    }
    struct arrays_fX b = *a;
    while (b.n > 0) {
        REAL kept[FASTLR_KEPT];
        const size_t n = b.n < FASTLR_KEPT ? b.n : FASTLR_KEPT;
        memcpy(kept, b.p, n * sizeof(REAL));
        loop(u, n, kept, b.g, b.k, b.s[0], b.s[1], b.s[2]);
        b.n -= n;
        b.p += n;
        b.g += n;
        b.k = b.k != NULL ? b.k + n : NULL;
        for (size_t j = 0; j < FASTLR_STATES; j++)
            b.s[j] = b.s[j] != NULL ? b.s[j] + n : NULL;
    }
}

/* Check the arrays of a step, and put what its rule needs of them into `a`, from element `begin` on. */
static int arrays_of_fX(const struct chosen *x, REAL *p, const REAL *g, REAL *const *state, const REAL *lr_scale,
        size_t begin, size_t end, struct arrays_fX *a)
{
    if (p == NULL)
        return FASTLR_ERROR_P;
    if (g == NULL)
        return FASTLR_ERROR_G;
    *a = (struct arrays_fX){end - begin, p + begin, g + begin, lr_scale != NULL ? lr_scale + begin : NULL, {NULL}};
    for (size_t j = 0; j < x->n_slots; j++) {
        REAL *const s = state[x->slots[j].place];
        if (s == NULL)
            return x->slots[j].error;
        a->s[j] = s + begin;
    }
    return FASTLR_OK;
}

/* A step over the elements from `begin` to `end` of one array. */
static int step_fX(const struct chosen *x, const union update_fX *u, REAL *p, const REAL *g, REAL *const *state,
        const REAL *lr_scale, size_t begin, size_t end)
{
    struct arrays_fX a;
    if (begin > end)
        return FASTLR_ERROR_RANGE;
    if (begin == end)
        return FASTLR_OK;
    const int error = arrays_of_fX(x, p, g, state, lr_scale, begin, end, &a);
    if (error == FASTLR_OK)
        run_fX(x->rule, u, &a);
    return error;
}

/* As step_fX, with a rate per element. */
static int step_scaled_fX(const struct chosen *x, const union update_fX *u, REAL *p, const REAL *g,
        REAL *const *state, const REAL *lr_scale, size_t begin, size_t end)
{
    if (lr_scale == NULL && begin < end)
        return FASTLR_ERROR_LR_SCALES;
    return step_fX(x, u, p, g, state, lr_scale, begin, end);
}

/*
 * A step over the elements from `begin` to `end` of the tensors, as if they were one array. First all of it is
 * checked, then all of it is done.
 */
static int step_tensors_fX(const struct chosen *x, const union update_fX *u, const fastlr_tensor *tensors,
        size_t count, size_t begin, size_t end)
{
    if (begin > end)
        return FASTLR_ERROR_RANGE;
    if (tensors == NULL && count != 0)
        return FASTLR_ERROR_TENSORS;
    for (int doing = 0; doing < 2; doing++) {
        size_t first = 0;
        for (size_t k = 0; k < count && first < end; k++) {
            const fastlr_tensor *const t = &tensors[k];
            const size_t from = begin > first ? begin - first : 0, to = end - first < t->size ? end - first : t->size;
            first += to; /* not t->size: the sum of the sizes may overflow */
            if (from >= to || t->g == NULL)
                continue;
            REAL *state[FASTLR_TENSOR_STATES];
            for (size_t j = 0; j < FASTLR_TENSOR_STATES; j++)
                state[j] = t->state[j];
            struct arrays_fX a;
            const int error = arrays_of_fX(x, t->p, t->g, state, t->lr_scale, from, to, &a);
            if (error != FASTLR_OK)
                return error;
            if (doing)
                run_fX(x->rule, u, &a);
        }
        if (first < end)
            return FASTLR_ERROR_RANGE;
    }
    return FASTLR_OK;
}

/* Fill a state that the rule has with its initial value. */
static int fill_fX(const struct chosen *x, REAL *const *state, const double *values, size_t begin, size_t end)
{
    if (begin > end)
        return FASTLR_ERROR_RANGE;
    for (size_t j = 0; j < x->n_slots && begin < end; j++)
        if (state[x->slots[j].place] == NULL)
            return x->slots[j].error;
    for (size_t j = 0; j < x->n_slots; j++) {
        REAL *const s = state[x->slots[j].place];
        const REAL value = (REAL)values[x->slots[j].place];
        for (size_t i = begin; i < end; i++)
            s[i] = value;
    }
    return FASTLR_OK;
}
"""
_CHOSEN = """\
/* A state of a rule: its place among the arguments of the class's functions, and the error if it is missing. */
struct slot {
    size_t place;
    int error;
};

/* The rule of a configuration, its states, and what it has folded for an update. */
struct chosen {
    const struct rule *rule;
    const struct slot *slots;
    size_t n_slots;
};

/* The factor of the gradient in the loop: its sign, the loss scale removed, clipped. */
static double grad_scale_of(int32_t maximize, double inv_scale, double clip_factor)
{
    return (maximize ? -1.0 : 1.0) * inv_scale * clip_factor;
}
"""


def of_each(text: str) -> str:
    """Return the text for both types of elements. _tX is the end of exported names, which float does not have."""
    made = []
    for kind in (FLOAT32, FLOAT64):
        tail = "" if kind == FLOAT32 else C.suffixes[kind]
        made.append(text.replace("REAL", REALS[kind]).replace("_fX", C.suffixes[kind]).replace("_tX", tail))
    return "\n".join(made)


def steps_text() -> str:
    """Return what every optimizer shares."""
    return _CHOSEN + "\n" + of_each(_RUN)
