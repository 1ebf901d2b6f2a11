"""The C library's steps against the driver's: the same work, called from compiled loops, in turns in one process.

Of each rule there are three: the C step, the driver's whole step by addresses, and the bare loop of the driver, which
neither folds nor counts. No call goes through Python, whose 0.3 us would hide what is measured.
"""

import ctypes
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numba import njit

from pyfastlr import capi
from pyfastlr.benchmark.interleave import Run, Times, interleave
from pyfastlr.benchmark.report import disturbed, times
from pyfastlr.benchmark.variants import Variant
from pyfastlr.capi.source_classes import CLASSES
from pyfastlr.optimizers import Optimizer
from pyfastlr_kernels import python_side, tables
from pyfastlr_kernels.compile.intrinsics import call_drive
from pyfastlr_kernels.cpu import load

from .all_optimizers import LOOPS

SIZES = (64, 1000, 10_000)
RATIO = 1.15  # time of the C step / the driver's, at 1,000 and 10,000 elements
OVERHEAD = 60e-9  # seconds that a C step of 64 elements may take more than the bare loop
SMALL = 64
WORK = 20_000  # elements that one timed call updates: the call from Python then costs nothing
AT = 1000  # the update's number
C, DRIVER, BARE = "C", "driver", "bare loop"


class Against(NamedTuple):
    """Times of one rule at one size."""

    name: str
    size: int
    c: Times
    driver: Times
    bare: Times

    @property
    def ratio(self) -> float:
        """Minimum of C / the driver's."""
        return self.c.minimum / self.driver.minimum

    @property
    def overhead(self) -> float:
        """Seconds that C takes more than the bare loop, by minima."""
        return self.c.minimum - self.bare.minimum

    @property
    def reached(self) -> bool | None:
        """Whether the target is reached; None if something else ran on the machine."""
        if disturbed(self.c, self.bare if self.size <= SMALL else self.driver):
            return None
        return self.overhead <= OVERHEAD if self.size <= SMALL else self.ratio <= RATIO

    def as_json(self) -> dict[str, Any]:
        """The figures by name."""
        kinds = ((C, self.c), (DRIVER, self.driver), (BARE, self.bare))
        figures = {name: {"minimum": x.minimum, "median": x.median, "spread": x.spread} for name, x in kinds}
        return {"optimizer": self.name, "size": self.size, "reached": self.reached, **figures}

    def __str__(self) -> str:
        verdict = {None: "disturbed", True: "reached", False: "NOT REACHED"}[self.reached]
        ratio, medians = times(self.ratio), times(self.c.median / self.driver.median)
        target = f"<= {1e9 * OVERHEAD:.0f} ns" if self.size <= SMALL else f"<= {RATIO}x"
        return (
            f"  {self.size:>7,}  {self.name:<28}{1e9 * self.c.minimum:>9.0f} ns{ratio:>9}{medians:>8}"
            f"{1e9 * self.overhead:>8.0f} ns{1e9 * (self.c.median - self.bare.median):>7.0f} ns  {target}  {verdict}"
        )


HEAD = f"  {'size':>7}  {'':<28}{'C':>12}{'/ driver':>9}{'medians':>8}{'- bare':>11}{'medians':>10}"


def against_driver(
    seconds: float, max_n: int, sizes: Sequence[int] = SIZES, variants: Sequence[Variant] = LOOPS
) -> Iterator[Against]:
    """Yield every rule at every size, float32."""
    for size in sizes:
        if size <= max_n:
            for variant in variants:
                runs, keep = contenders(variant, size)
                found = interleave(runs, seconds, 1)
                yield Against(variant.name, size, found[C], found[DRIVER], found[BARE])
                del keep


def contenders(variant: Variant, size: int) -> tuple[dict[str, Run], Any]:
    """Return the three, each over arrays of its own, and what must stay alive."""
    count = max(1, WORK // size)
    rng = np.random.default_rng(0)
    p, g = rng.standard_normal(size, dtype=np.float32), rng.standard_normal(size, dtype=np.float32)
    c_step, c_keep = in_c(variant, p.copy(), g)
    driver, bare, driver_keep = in_driver(variant, p.copy(), g)
    steps = {C: c_step, DRIVER: driver, BARE: bare}
    for step in steps.values():
        step(1)  # compiles
    return {name: Run(lambda k, step=step: partial(step, count), None, count) for name, step in steps.items()}, (
        c_keep, driver_keep,
    )  # fmt: skip


def in_c(variant: Variant, p: Any, g: Any) -> tuple[Callable[[int], None], Any]:
    """Return a compiled loop of C steps."""
    opt = variant.make(p, variant.lr)
    name = variant.cls.lower()
    config = configured(opt)
    states = {x: y if isinstance(y, np.ndarray) else y[0] for x, y in opt.state_dict()["state"].items()}
    arrays = [p, g, *states.values()]
    function = getattr(capi.lib, f"fastlr_{name}_step")
    kinds = [x.cname for x in capi.ffi.typeof(function).args]
    carry = np.array([1.0, *[0.0] * 3])
    given: list[int] = [int(capi.ffi.cast("intptr_t", config)), AT]
    if kinds[2] == "double *":  # float32 has no other double
        getattr(capi.lib, f"fastlr_{name}_carry_init")(capi.ffi.from_buffer("double[]", carry))
        given.append(carry.ctypes.data)
    names = next(x for x in CLASSES if x.prefix == name).states
    given += [p.ctypes.data, g.ctypes.data, *(states[x].ctypes.data if x in states else 0 for x in names), 0, p.size]
    assert len(given) == len(kinds), kinds
    prototype = ctypes.CFUNCTYPE(ctypes.c_int, *(ctypes.c_int64,) * len(kinds))
    step = prototype(int(capi.ffi.cast("intptr_t", capi.ffi.addressof(capi.lib, f"fastlr_{name}_step"))))
    assert step(*given) == 0, name
    arguments = tuple(given)

    @njit
    def repeat(count):
        for _ in range(count):
            step(*arguments)

    return repeat, (config, arrays, carry, opt)


def configured(opt: Optimizer) -> Any:
    """Return the C config with the hyperparameters of an optimizer."""
    name = type(opt).__name__.lower()
    config = capi.ffi.new(f"fastlr_{name}_config *")
    convention = getattr(capi.lib, f"FASTLR_{opt.convention.upper()}")
    code = getattr(capi.lib, f"fastlr_{name}_config_init_for")(config, convention)
    assert code == 0, name
    for field, value in hyperparameters(opt, [name for name, _ in capi.ffi.typeof(config[0]).fields]):
        setattr(config, field, getattr(capi.lib, f"FASTLR_{value.upper()}") if field == "decay" else value)
    return config


def hyperparameters(opt: Optimizer, fields: Iterable[str]) -> Iterator[tuple[str, Any]]:
    """Yield names and values of the fields of a C config that a Python optimizer has too."""
    group = opt.groups[0]
    for field in fields:
        if field in group:
            yield field, group[field]
        elif field in type(opt).fields and field != "convention" and getattr(opt, field, None) is not None:
            yield field, getattr(opt, field)


@njit
def _repeat_update(count, drive, job):
    for _ in range(count):
        call_drive(drive, job, tables.UPDATE, 0)


def in_driver(variant: Variant, p: Any, g: Any) -> tuple[Callable[[int], None], Callable[[int], None], Any]:
    """Return compiled loops of the driver's whole step and of its bare loop."""
    opt = variant.make(p, variant.lr, threads=1)
    opt.step(g)
    binding = _record(python_side.BINDING, opt._engine.launch.__self__[0])
    job = _record(tables.JOB, int(binding["job"]))
    address, drive = int(binding["job"]), int(job["drive"])
    run = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)(load.step_addresses()[load.RUN])
    before = p.copy()
    assert run(address) == tables.OK
    assert not np.array_equal(p, before), variant.name

    @njit
    def repeat(count):
        for _ in range(count):
            run(address)

    return repeat, partial(_repeat_loop, drive, address), (opt, g)


def _repeat_loop(drive: int, job: int, count: int) -> None:
    _repeat_update(count, drive, job)


def _record(dtype: Any, address: int) -> Any:
    """Return the record at an address."""
    return np.frombuffer((ctypes.c_char * dtype.itemsize).from_address(address), dtype)[0]
