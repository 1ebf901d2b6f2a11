"""Runs of pyfastlr.interop.jax for the tests of all optimizers, and the same runs of the classes."""

import numpy as np

NAMES = {"AdaGrad": "adagrad", "AdaDelta": "adadelta"}  # others: the class's name in lower case


def function_of(cls):
    import pyfastlr.interop.jax as fj

    return fj.OPTIMIZERS[cls.lower()]


def make(case, lr=None, **options):
    """The optimizer of a case, without weight decay unless the options have it, as `Case.make`."""
    options = {"weight_decay": 0.0, "convention": case.convention, **case.kwargs, **options}
    return function_of(case.cls)(case.lr if lr is None else lr, **options)


def carry_of(opt):
    """The carry of an optimizer's first array, as the bits that a State has, or None."""
    carry = opt.state_dict()["carry"]
    return None if carry.size == 0 else np.ascontiguousarray(carry[0], np.float64).view(np.uint32).reshape(-1, 2)
