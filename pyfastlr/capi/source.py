"""The C library's two files, ``fastlr.h`` and ``fastlr.c``, from the Python text of rules, folds and options."""

import textwrap

import pyfastlr
from pyfastlr_kernels import tables
from pyfastlr_kernels.printing.statements import wrapped

from .source_classes import CLASSES
from .source_errors import NAMES, code, number, texts
from .source_header import header_text
from .source_optimizers import classes_text
from .source_options import options_text
from .source_options_header import options_header
from .source_rules import MAX_STATES, make_printer, rules_text
from .source_schedules import schedules_header, schedules_text
from .source_steps import steps_text

_HEAD = """\
/*
 * fastlr: optimizer steps over flat arrays of float or double.
 *
 *     fastlr_adamw_config config;
 *     fastlr_adamw_config_init(&config);
 *     config.lr = 1e-3;
 *     fastlr_adamw_state_init(&config, m, v, 0, n);
 *     for (int64_t t = 1; t <= updates; t++)
 *         fastlr_adamw_step(&config, t, p, g, m, v, 0, n);
 *
 * A step updates the elements from `begin` to `end` (not included) of the parameters p and of the state, by the
 * gradient g. t is the number of the update, from 1; a schedule or a bias correction needs it. Functions whose names
 * end in _f64 take arrays of double, the others arrays of float. All numbers of a configuration are double.
 *
 * Every element is updated on its own: any split of a range among calls or threads gives the same bits. The library
 * has no threads, no global state and allocates nothing. Any number of threads may call it, for ranges that do not
 * overlap. The arrays of a call must not overlap each other.
 *
 * Every function that returns an int returns FASTLR_OK or the number of an error, which fastlr_error_text explains.
 * After an error, nothing has been written. Nothing is printed, and nothing aborts.
 *
 * A structure begins with its own size. A later version may add fields at its end: it accepts the size of this version,
 * and gives the fields that it lacks their defaults. A size that the library does not know is an error.
 *
 * The bits are those of the Python package pyfastlr, from whose text this library is printed, in the default
 * floating-point mode. Compile fastlr.c without contraction and without fast-math:
 *
 *     cc -std=c99 -O3 -ffp-contract=off -fno-math-errno -fno-trapping-math -c fastlr.c
 */
#ifndef FASTLR_H
#define FASTLR_H

#include <stddef.h>
#include <stdint.h>

#define FASTLR_VERSION {version}

#ifndef FASTLR_API
#if defined(_WIN32) && defined(FASTLR_BUILD)
#define FASTLR_API __declspec(dllexport)
#elif defined(__GNUC__)
#define FASTLR_API __attribute__((visibility("default")))
#else
#define FASTLR_API
#endif
#endif

#ifdef __cplusplus
extern "C" {{
#endif

/* Whose formula and defaults an optimizer has. */
enum {{ FASTLR_TORCH = 0, FASTLR_KERAS = 1, FASTLR_OPTAX = 2 }};

/*
 * What weight_decay does. Coupled: g + weight_decay*p is the gradient. Before the update, decoupled multiplies p by
 * 1 - lr*lr_scale*weight_decay, independent by 1 - weight_decay.
 */
enum {{ FASTLR_COUPLED = 0, FASTLR_DECOUPLED = 1, FASTLR_INDEPENDENT = 2 }};

/* Errors: what is wrong, by the name of the argument. */
enum {{
    FASTLR_OK = 0,
{errors}
}};

/* Version of the library: 10000*major + 100*minor + patch, as FASTLR_VERSION of the header. */
FASTLR_API int fastlr_version(void);

/* Text of an error: the name of the argument, and what it needs. It is never NULL. */
FASTLR_API const char *fastlr_error_text(int error);

/*
 * One array of parameters among many, for the functions whose names have _tensors. This structure never changes.
 * `state` has the states in the order of the step's arguments. A tensor whose g is NULL is left as it is. `lr_scale`
 * has a factor of the rate for each element, or is NULL.
 */
typedef struct fastlr_tensor {{
    size_t size;           /* elements */
    void *p;               /* float or double, as the function */
    const void *g;
    void *state[{states}];
    const void *lr_scale;
}} fastlr_tensor;

"""
_FUNCTIONS = """\
/*
 * Every optimizer has these functions, here with the name x:
 *
 * fastlr_x_config_init        fills a configuration with the defaults of the library that has the optimizer first
 * fastlr_x_config_init_for    the same with the defaults of a convention
 * fastlr_x_config_init_sized  the same for a structure of that size
 * fastlr_x_state_init         gives the states their values before the first update
 * fastlr_x_step               updates the elements from begin to end
 * fastlr_x_step_scaled        the same with a factor of the rate for each element; where it is 0, p keeps its bits
 * fastlr_x_step_tensors       the same for the elements of many tensors, counted as if they were one array
 *
 * Where there is no default, as of lr under FASTLR_OPTAX, the number is NaN, and a step is an error.
 */

"""
_SOURCE = """\
/*
 * fastlr: see fastlr.h. This file is printed from the Python text of pyfastlr {version}: edit that text, not this one.
 *
 * A fold turns a configuration into the few numbers that an update needs, once per call, in double. A rule is the
 * update of one element. A loop is a rule over the elements of a range.
 */
#include "fastlr.h"

#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>

#if defined(__FAST_MATH__) || (defined(__FINITE_MATH_ONLY__) && __FINITE_MATH_ONLY__)
#error "fastlr needs IEEE arithmetic: compile it without -ffast-math"
#endif
/* gcc 12 and later name the parts of fast-math. */
#if defined(__ASSOCIATIVE_MATH__) || defined(__RECIPROCAL_MATH__) || defined(__NO_SIGNED_ZEROS__)
#error "fastlr needs IEEE arithmetic: compile it without -funsafe-math-optimizations and without its parts"
#endif
#if defined(__clang__) || !defined(__GNUC__)
#pragma STDC FP_CONTRACT OFF
#endif

#if defined(__GNUC__)
#define FASTLR_INLINE static inline __attribute__((always_inline))
#else
#define FASTLR_INLINE static inline
#endif

/* Loops are compiled for each level of x86-64. The first call finds the best one that the processor has. */
#if !defined(FASTLR_NO_CLONES) && defined(__x86_64__) && defined(__linux__) && defined(__GLIBC__)
#if defined(__clang__) ? __clang_major__ >= 18 : __GNUC__ >= 12
#define FASTLR_CLONES \\
    __attribute__((target_clones("default", "arch=x86-64-v2", "arch=x86-64-v3", "arch=x86-64-v4")))
#endif
#endif
#ifndef FASTLR_CLONES
#define FASTLR_CLONES
#endif

/* gcc does not unroll vectorised loops. Without this, SGD takes 1.4 times as long with decay, 1.2 with momentum. */
#if defined(__GNUC__) && !defined(__clang__)
#define FASTLR_UNROLL _Pragma("GCC unroll 4")
#else
#define FASTLR_UNROLL
#endif

#define FASTLR_STATES {states} /* of a rule, at most */
#define FASTLR_TENSOR_STATES {tensor_states} /* that a fastlr_tensor has room for */
#define FASTLR_KEPT 256 /* elements of a frozen group that are set aside at once */

int fastlr_version(void)
{{
    return FASTLR_VERSION;
}}

const char *fastlr_error_text(int error)
{{
    switch (error) {{
    case FASTLR_OK:
        return "no error";
{texts}
    default:
        return "unknown error";
    }}
}}

"""
_BEGIN_LOOPS = """\
/*
 * gcc does not know the pragma against contraction, and contracts unless -std is that of the standard. And it would
 * follow a number that is set to zero into all that is computed from it, and vectorise both paths: a loop takes up to
 * twice the time.
 */
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC push_options
#pragma GCC optimize("fp-contract=off", "no-thread-jumps")
#endif
"""
_END_LOOPS = """\
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC pop_options
#endif
"""


def version_number() -> int:
    """Return the version as a number."""
    major, minor, patch = (int(x) for x in pyfastlr.__version__.split(".")[:3])
    return 10000 * major + 100 * minor + patch


def _quoted(text: str) -> str:
    """Return a text as a literal, in lines of its own if it is long."""
    lines = textwrap.wrap(text, 100, drop_whitespace=False)
    return "\n               ".join(f'"{line}"' for line in lines)


def header() -> str:
    """Return the text of ``fastlr.h``."""
    errors = "\n".join(f"    FASTLR_ERROR_{name} = {number(name)}," for name in NAMES).removesuffix(",")
    parts = [_HEAD.format(version=version_number(), errors=errors, states=tables.MAX_STATES), _FUNCTIONS]
    parts += [header_text(c) + "\n" for c in CLASSES]
    parts += [options_header(), schedules_header() + "\n"]
    parts.append("#ifdef __cplusplus\n}\n#endif\n\n#endif\n")
    return "".join(parts)


def source() -> str:
    """Return the text of ``fastlr.c``."""
    said = "\n".join(f"    case {code(name)}:\n        return {_quoted(text)};" for name, text in texts().items())
    printer = make_printer()
    head = _SOURCE.format(version=pyfastlr.__version__, states=MAX_STATES, tensor_states=tables.MAX_STATES, texts=said)
    loops = [_BEGIN_LOOPS, rules_text(printer), options_text(printer), schedules_text(printer), _END_LOOPS]
    text = "\n".join([head, *loops, steps_text(), classes_text()])
    return "\n".join(y for x in text.split("\n") for y in wrapped(x))
