"""The C library for the tests, through ctypes."""

import ctypes
import os
import shutil
from functools import cache

import numpy as np

from pyfastlr.capi import loading
from pyfastlr.capi.source_classes import CLASSES, COMMON_FLAGS, COMMON_NUMBERS, CONVENTIONS, DECAYS
from pyfastlr.capi.source_errors import NAMES

OK = 0
ERRORS = {name: k + 1 for k, name in enumerate(NAMES)}
BY_NAME = {c.name: c for c in CLASSES}
REALS = {"float32": ctypes.c_float, "float64": ctypes.c_double}
TAILS = {"float32": "", "float64": "_f64"}


def compiler():
    """The machine's C compiler, or None."""
    return os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc")


@cache
def library():
    """The loaded library, which `pyfastlr.capi.lib` uses too: compiled once, and kept in the cache."""
    return ctypes.CDLL(str(loading.library().path))


@cache
def config_type(c):
    """The ctypes structure of a class's configurations."""
    fields = [("struct_size", ctypes.c_size_t)]
    fields += [(name, ctypes.c_int32) for name, _ in COMMON_FLAGS]
    fields += [(name, ctypes.c_int32) for name in c.flags]
    for name in (*(x for x, _ in COMMON_NUMBERS), *c.own_numbers):
        fields.append((name, ctypes.c_double * 2 if c.is_pair(name) else ctypes.c_double))
    return type(c.config, (ctypes.Structure,), {"_fields_": fields})


class Tensor(ctypes.Structure):
    """fastlr_tensor."""

    _fields_ = (
        ("size", ctypes.c_size_t),
        ("p", ctypes.c_void_p),
        ("g", ctypes.c_void_p),
        ("state", ctypes.c_void_p * 4),
        ("lr_scale", ctypes.c_void_p),
    )


def at(array):
    """Address of an array's first element, or None."""
    return None if array is None else ctypes.c_void_p(array.ctypes.data)


class Optimizer:
    """One configuration of a class, with the functions for a dtype."""

    def __init__(self, name, dtype="float32", convention=None, **values):
        self.c, self.dtype, self.lib = BY_NAME[name], dtype, library()
        self.config = config_type(self.c)()
        by = CONVENTIONS.index(convention or next(iter(self.c.conventions)))
        assert self.call("config_init_for", by) == OK
        self.set(**values)
        self.carry = (ctypes.c_double * 1)()
        if self.c.carry:
            assert getattr(self.lib, f"fastlr_{self.c.prefix}_carry_init")(self.carry) == OK

    def set(self, **values):
        """Set fields by Python's names."""
        for name, value in values.items():
            if name == "decay":
                value = DECAYS.index(value)
            if isinstance(value, tuple):
                value = (ctypes.c_double * 2)(*value)
            setattr(self.config, name, value)

    def call(self, name, *given):
        """Call a function of the class on this configuration."""
        return getattr(self.lib, f"fastlr_{self.c.prefix}_{name}")(ctypes.byref(self.config), *given)

    def state(self, size):
        """New states, as the library gives them their values."""
        state = [np.full(size, np.nan, self.dtype) for _ in self.c.states]
        given = [at(x) for x in state]
        error = self.call(f"state_init{TAILS[self.dtype]}", *given, *span(0, size))
        assert error == OK, error
        return state

    def step(self, t, p, g, state, begin=0, end=None, lr_scale=None):
        """One step; returns the error."""
        end = p.size if end is None else end
        arrays = [at(p), at(g), *map(at, state)]
        name = "step" if lr_scale is None else "step_scaled"
        arrays += [] if lr_scale is None else [at(lr_scale)]
        return self.call(f"{name}{TAILS[self.dtype]}", *self.time(t), *arrays, *span(begin, end))

    def step_tensors(self, t, tensors, begin, end):
        """One step of a table of tensors; returns the error."""
        table = (Tensor * len(tensors))(*tensors)
        return self.call(
            f"step_tensors{TAILS[self.dtype]}", *self.time(t), table, ctypes.c_size_t(len(tensors)), *span(begin, end)
        )

    def time(self, t):
        """What a step takes before its arrays."""
        return (ctypes.c_int64(t), self.carry) if self.c.carry else (ctypes.c_int64(t),)

    def next(self, t):
        """Carry on to the next update."""
        if self.c.carry:
            assert self.call("next", ctypes.c_int64(t), self.carry) == OK


def span(begin, end):
    """The range of a call."""
    return ctypes.c_size_t(begin), ctypes.c_size_t(end)


def tensor(p, g, state, lr_scale=None):
    """A row of a table of tensors."""
    states = (ctypes.c_void_p * 4)(*(None if x is None else x.ctypes.data for x in state))
    scale = None if lr_scale is None else lr_scale.ctypes.data
    return Tensor(p.size, p.ctypes.data, None if g is None else g.ctypes.data, states, scale)
