"""A C program that runs every case of tests/cases.py with the C library, and what the Python classes give.

The program reads the parameters, gradients and factors of the rate, and writes the parameters and states of each run.
Every buffer ends where the next page can neither be read nor written. A step is made in two parts, at another place in
each update. With the argument `tensors`, it is made over a table of three tensors instead.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from bench.capi import hyperparameters
from cases import CASES, Case
from pyfastlr.capi.source_classes import CLASSES, Class

SIZE = 67  # not a multiple of any vector's length
CUTS = (0, 20, 20)  # where the three tensors begin; the second is empty
DTYPES = {"float32": "", "float64": "_f64"}  # and the functions' suffixes
KINDS = ("coupled", "decoupled", "independent")


STEPS = {x.prefix: x for x in CLASSES}  # by the optimizers' names in C


@dataclass(frozen=True)
class Run:
    """One case with its arguments."""

    case: Case
    options: tuple[tuple[str, Any], ...]

    @property
    def name(self) -> str:
        """Name in messages."""
        return " ".join([f"{self.case.name} {self.case.convention}", *(f"{x}={y}" for x, y in self.options)])

    @property
    def c_name(self) -> str:
        """Name in the library."""
        return self.case.cls.lower()

    def make(self, p: Any, rate: Any = None) -> Any:
        """The Python optimizer; `rate(n)` multiplies its rate."""
        lr = self.case.lr if rate is None or self.case.row.lr == "start" else lambda n: self.case.lr * rate[n]
        return self.case.make(p, lr, **dict(self.options))


def _runs() -> list[Run]:
    found = []
    for case in CASES:
        options: list[dict[str, Any]] = [{}, {"maximize": True}]
        options += [{"weight_decay": 0.1, "decay": kind} for kind in KINDS if kind in case.row.decays]
        options += [{"weight_decay": 0.1, "lr_scale": 0.5}, {"weight_decay": 0.1, "lr_scale": 0.0}]
        found += [Run(case, tuple(x.items())) for x in options]
    return found


RUNS = _runs()


# --- The data ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Data:
    """Parameters, gradients and factors of the rate, as float64 and rounded to float32."""

    steps: int
    p: Any
    g: Any
    rate: Any

    def write(self, path: Any) -> None:
        """Write the file that the program reads."""
        with open(path, "wb") as file:
            file.write(np.int64(self.steps).tobytes() + self.rate.tobytes())
            for dtype in DTYPES:
                file.write(self.p.astype(dtype).tobytes() + self.g.astype(dtype).tobytes())


def data(steps: int) -> Data:
    """Gradients of many magnitudes, some of them zero."""
    rng = np.random.default_rng(8)
    g = rng.standard_normal((steps, SIZE)) * 10.0 ** rng.uniform(-6, 1, (steps, SIZE))
    g[rng.random((steps, SIZE)) < 0.05] = 0.0
    return Data(steps, rng.standard_normal(SIZE), g, 0.6 + 0.4 * np.cos(np.arange(steps) * 0.01))


def expected(given: Data) -> dict[tuple[str, str], bytes]:
    """Parameters and used states after the steps of the Python classes, by the run's name and the dtype."""
    found = {}
    for run in RUNS:
        for dtype in DTYPES:
            p, g = given.p.astype(dtype), given.g.astype(dtype)
            opt = run.make(p, given.rate)
            for row in g:
                opt.step(row)
            found[run.name, dtype] = b"".join(x.tobytes() for x in [p, *states(opt)])
    return found


def states(opt: Any) -> list[Any]:
    """Arrays of the state, in the order of the rule."""
    return [x if isinstance(x, np.ndarray) else x[0] for x in opt.state_dict()["state"].values()]


def read(output: bytes) -> dict[tuple[str, str], bytes]:
    """What the program wrote, as `expected` gives it."""
    found, at = {}, 0
    for run in RUNS:
        for dtype in DTYPES:
            size = (1 + len(run.case.state)) * SIZE * np.dtype(dtype).itemsize
            found[run.name, dtype] = output[at : at + size]
            at += size
    assert at == len(output)
    return found


# --- The program ------------------------------------------------------------------------------------------------------

HEAD = """
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fastlr.h"

enum { SIZE = %(size)d, BUFFERS = 8, PAGES = 8 };

static int64_t steps;
static int by_tensors;
static const double *rate;
static const float *p_f32, *g_f32;
static const double *p_f64, *g_f64;
static unsigned char *ends[BUFFERS]; /* each at the end of memory, before a page that is none */

static void fail(const char *what)
{
    fprintf(stderr, "%%s\\n", what);
    exit(2);
}

static void check(int code)
{
    if (code != FASTLR_OK)
        fail(fastlr_error_text(code));
}

static void allocate(void)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    for (int i = 0; i < BUFFERS; i++) {
        void *memory = mmap(NULL, (PAGES + 1) * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (memory == MAP_FAILED || mprotect((unsigned char *)memory + PAGES * page, page, PROT_NONE) != 0)
            fail("no memory");
        ends[i] = (unsigned char *)memory + PAGES * page;
    }
}

/* The buffers hold NaN, so that one that is not initialized shows. */
static void *buffer(int i, size_t bytes)
{
    memset(ends[i] - bytes, 0xff, bytes);
    return ends[i] - bytes;
}

static void *load(const char *path)
{
    FILE *file = fopen(path, "rb");
    void *memory;
    long size = 0;
    if (file == NULL || fseek(file, 0, SEEK_END) != 0 || (size = ftell(file)) < 0 || fseek(file, 0, SEEK_SET) != 0)
        fail("the data cannot be read");
    memory = malloc((size_t)size);
    if (memory == NULL || fread(memory, 1, (size_t)size, file) != (size_t)size)
        fail("the data cannot be read");
    fclose(file);
    return memory;
}

static void save(const void *memory, size_t bytes)
{
    if (memory != NULL && fwrite(memory, 1, bytes, stdout) != bytes)
        fail("the result cannot be written");
}
"""

_RUN = """
static void %(name)s_%(real)s(fastlr_%(name)s_config *config, unsigned used)
{
    const size_t bytes = SIZE * sizeof(%(c)s);
    const double lr = config->lr;
    %(c)s *p = (%(c)s *)buffer(0, bytes), *g = (%(c)s *)buffer(1, bytes);
    %(declare)s(void)used;
    memcpy(p, p_%(dtype)s, bytes);
    %(start)s
    for (int64_t t = 1; t <= steps; t++) {
        const size_t k = (size_t)(t %% (SIZE + 1));
        memcpy(g, g_%(dtype)s + (t - 1) * SIZE, bytes);
        config->lr = %(lr)s;
        if (by_tensors) {
            fastlr_tensor tensors[3];
            memset(tensors, 0, sizeof tensors);
            for (int i = 0; i < 3; i++) {
                static const size_t first[] = {%(cuts)s, SIZE};
                tensors[i].size = first[i + 1] - first[i];
                tensors[i].p = p + first[i];
                tensors[i].g = g + first[i];
                %(table)s
            }
            check(fastlr_%(name)s_step_tensors%(suffix)s(config, t, %(carry)stensors, 3, 0, k));
            check(fastlr_%(name)s_step_tensors%(suffix)s(config, t, %(carry)stensors, 3, k, SIZE));
        } else {
            check(fastlr_%(name)s_step%(suffix)s(config, t, %(carry)sp, g, %(states)s0, k));
            check(fastlr_%(name)s_step%(suffix)s(config, t, %(carry)sp, g, %(states)sk, SIZE));
        }
        %(next)s
    }
    config->lr = lr;
    save(p, bytes);
    %(save)s
}
"""

_MAIN = """
int main(int argc, char **argv)
{
    if (argc < 2)
        fail("the data's path is missing");
    by_tensors = argc > 2;
    unsigned char *at = (unsigned char *)load(argv[1]);
    memcpy(&steps, at, sizeof steps);
    rate = (const double *)(const void *)(at + sizeof steps);
    p_f32 = (const float *)(const void *)(rate + steps);
    g_f32 = p_f32 + SIZE;
    /* Behind an odd number of floats, doubles would not be aligned. */
    const size_t count = (size_t)(SIZE + SIZE * steps);
    double *doubles = (double *)malloc(count * sizeof(double));
    if (doubles == NULL)
        fail("no memory");
    memcpy(doubles, g_f32 + SIZE * steps, count * sizeof(double));
    p_f64 = doubles;
    g_f64 = doubles + SIZE;
    allocate();
%s
    free(doubles);
    free(at);
    return fflush(stdout) == 0 ? 0 : 2;
}
"""


def _functions(name: str, cls: Class) -> str:
    count, text = len(cls.states), ""
    s = [f"s{k}" for k in range(count)]
    for dtype, suffix in DTYPES.items():
        c = {"float32": "float", "float64": "double"}[dtype]
        start = [f"check(fastlr_{name}_carry_init(carry));"] if cls.carry else []
        if s:
            start.append(f"check(fastlr_{name}_state_init{suffix}(config, {', '.join(s)}, 0, SIZE));")
        text += _RUN % {
            "name": name,
            "real": dtype,
            "dtype": dtype.replace("float", "f"),
            "c": c,
            "suffix": suffix,
            "cuts": ", ".join(map(str, CUTS)),
            "declare": "".join([
                *(["double carry[4];\n    "] if cls.carry else []),
                *(f"{c} *s{k} = used >> {k} & 1 ? ({c} *)buffer({2 + k}, bytes) : NULL;\n    " for k in range(count)),
            ]),
            "start": "\n    ".join(start),
            "lr": "lr" if name == "rprop" else "lr * rate[t - 1]",
            "table": "\n                ".join(f"tensors[i].state[{k}] = {x} == NULL ? NULL : {x} + first[i];"
                                               for k, x in enumerate(s)),
            "carry": "carry, " if cls.carry else "",
            "states": "".join(f"{x}, " for x in s),
            "next": f"check(fastlr_{name}_next(config, t, carry));" if cls.carry else "",
            "save": "\n    ".join(f"save({x}, bytes);" for x in s),
        }  # fmt: skip
    return text


def assignments(opt: Any, fields: Any) -> list[str]:
    """C statements that give a config the hyperparameters of a Python optimizer."""
    kinds, lines = {name: field.type for name, field in fields}, []
    for name, value in hyperparameters(opt, kinds):
        if name == "decay":
            lines.append(f"config.decay = FASTLR_{value.upper()};")
        elif kinds[name].kind == "array":
            lines += [f"config.{name}[{k}] = {float(x)!r};" for k, x in enumerate(value)]
        else:
            is_flag = kinds[name].cname.startswith("int")
            lines.append(f"config.{name} = {int(value) if is_flag else float(value)!r};")
    return lines


@cache
def program() -> str:
    """Text of the program, valid as C99 and as C++."""
    from pyfastlr.capi import ffi

    text = HEAD % {"size": SIZE} + "".join(_functions(name, x) for name, x in STEPS.items())
    calls = []
    for run in RUNS:
        opt, name = run.make(np.zeros(SIZE)), run.c_name
        used = sum(1 << STEPS[name].states.index(x) for x in run.case.state)
        lines = [
            f"fastlr_{name}_config config;",
            f"check(fastlr_{name}_config_init_for(&config, FASTLR_{opt.convention.upper()}));",
            *assignments(opt, ffi.typeof(f"fastlr_{name}_config").fields),
            *(f"{name}_{dtype}(&config, {used}u);" for dtype in DTYPES),
        ]
        calls.append("    {\n" + "".join(f"        {x}\n" for x in lines) + "    }\n")
    return text + _MAIN % "".join(calls)
