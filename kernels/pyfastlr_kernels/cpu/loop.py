"""The inner loop: a rule over n elements of a chunk. One text is compiled with and without weight decay.

Each loop is a separate function over range(n) from 0; otherwise it does not vectorise (20 instead of 110 GB/s).
"""

from functools import cache
from types import FunctionType

from numba import njit

from pyfastlr_kernels.compile.intrinsics import load, put, scaled, store
from pyfastlr_kernels.compile.options import INLINED, PARTS, USER_PARTS
from pyfastlr_kernels.rules import RULES, contract
from pyfastlr_kernels.rules.contract import make_element

HELPERS = {*contract.RULE_HELPERS, *contract.FOLD_HELPERS, *(x for rule in RULES.values() for x in rule.helpers)}


def _linked(function):
    """Return the function with its helpers as text that numba inlines: compiled separately, each takes 20 ms."""
    there = function.__globals__
    helpers = {name: inlined(there[name]) for name in function.__code__.co_names if there.get(name) in HELPERS}
    return FunctionType(function.__code__, {**there, **helpers}, function.__name__) if helpers else function


@cache
def inlined(function):
    return njit(**INLINED)(_linked(function))


@cache
def _once(function):
    """Compile a rule once per dtype for all loops, users' too. As inlined text, each loop types it (8 % of a drive)."""
    return njit(**USER_PARTS)(_linked(function))


def make_rule_element(update, by_element, sets=False, changes=False):
    """Make the update of one element (contract.py) as text that numba inlines."""
    return inlined(make_element(_once(update), scaled, by_element, inlined, sets, changes))


def make_loop(update, by_element, decays, options=PARTS, sets=False, changes=False):
    """Make the loop over n elements at pointers; with `by_element`, the rate has a factor k per element.

    With `changes`, it leaves the parameters alone, and stores what must be added to them at k.
    """
    element = make_rule_element(update, by_element, sets, changes)

    @njit(**options)
    def loop(n, p, g, k, s, h, r, grad_scale, common):
        for i in range(n):
            q, t = element(p[i], g[i], k[i], load(s, i, p[i]), h, r, grad_scale, common, decays)
            put(k if changes else p, i, q)
            store(s, i, t)

    return loop


def make_update(update, by_element, options=PARTS, sets=False, changes=False):
    """Make the update of n elements, which uses the loop without decay if nothing decays."""
    decayed = make_loop(update, by_element, True, options, sets, changes)
    undecayed = make_loop(update, by_element, False, options, sets, changes)

    @njit(**{**options, "inline": "always"})
    def update_elements(n, p, g, k, s, h, r, grad_scale, common):
        if common.l2 != 0 or common.decoupled != 0 or common.independent != 0:
            decayed(n, p, g, k, s, h, r, grad_scale, common)
        else:
            undecayed(n, p, g, k, s, h, r, grad_scale, common)

    return update_elements
