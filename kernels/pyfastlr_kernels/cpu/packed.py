"""Updates of chunks whose state is packed (packing.py).

With bfloat16, the rule's loop itself unpacks and packs each number: Adam's divisions take so long that the rest runs
beside them. With 8 bits, a block's scale is known only when all of it was updated, so its new state goes through memory
on the stack, which stays in the first-level cache, and a second loop packs it.
"""

import numpy as np
from numba import njit

from pyfastlr_kernels.compile.intrinsics import addresses, load, pointer, pointers, put, record, store
from pyfastlr_kernels.compile.narrow import (
    block_pointers,
    from_bits,
    largest_of,
    make_code,
    make_load,
    make_stack,
    mixed,
    noise_of,
    products,
    store_bfloat16,
)
from pyfastlr_kernels.compile.options import INLINED, PARTS
from pyfastlr_kernels.packing import BFLOAT16, BLOCK, CODES, NATIVE, STEPS
from pyfastlr_kernels.tables import COUNT, COUNT_SIZE, PACKING, SCALES_AT

from .loop import make_rule_element

FORMS = {"float32": NATIVE, "bfloat16": BFLOAT16, "int8": None}  # the first slot's format; with 8 bits, any other
ROOM = 1024  # elements with random numbers of their own in a chunk, before they are changed by a block's key
_ZERO, _ONE, _NAN = np.float32(0), np.float32(1), np.float32(np.nan)
_ZERO_U32 = np.uint32(0)
_LIFT, _SMALL = np.float32(2.0**64), np.float32(2.0**-64)
_INFINITY = np.uint32(0x7F800000)  # bits
_ITEM = 4  # bytes


@njit(**PARTS)
def fill_noise(n, noise, key):
    for i in range(n):
        put(noise, i, noise_of(key, i))


# --- bfloat16 ---------------------------------------------------------------------------------------------------------


def make_bfloat16_loop(update, by_element, decays, sets, n_slots):
    """Make the loop over n elements whose state is bfloat16."""
    element, load = make_rule_element(update, by_element, sets), make_load((BFLOAT16,) * n_slots)

    @njit(**PARTS)
    def loop(n, p, g, k, s, h, r, grad_scale, common, noise, key):
        for i in range(n):
            q, t = element(p[i], g[i], k[i], load(s, i, ()), h, r, grad_scale, common, decays)
            put(p, i, q)
            store_bfloat16(s, i, t, noise[i], key)

    return loop


# --- 8 bits -----------------------------------------------------------------------------------------------------------


def make_int8_loop(update, by_element, decays, sets, kinds):
    """Make the loop over n elements whose state is codes of 8 bits; it stores the new state at `out`, unpacked.

    It returns the bits of each slot's largest absolute value.
    """
    element, load = make_rule_element(update, by_element, sets), make_load(kinds)
    none = (_ZERO_U32,) * len(kinds)

    @njit(**PARTS)
    def loop(n, p, g, k, s, steps, out, h, r, grad_scale, common):
        tops = none
        for i in range(n):
            q, t = element(p[i], g[i], k[i], load(s, i, steps), h, r, grad_scale, common, decays)
            put(p, i, q)
            store(out, i, t)
            tops = largest_of(tops, t)
        return tops

    return loop


def make_packer(kind, k):
    """Make the function that packs slot k of a block: ``pack(n, out, x, noise, key, top, scale)``.

    `top` has the bits of the largest absolute value, and the new scale is stored at `scale`.
    """
    code, code_zero, filler = make_code(kind, k), CODES[kind].type(0), CODES[kind].type(1)

    @njit(**PARTS)
    def loop(n, out, x, noise, key, rest):
        for i in range(n):
            put(out, i, code(x[i] * rest, noise[i], key))

    @njit(**PARTS)
    def pack(n, out, x, noise, key, top, scale_at):
        scale = _NAN if top >= _INFINITY else from_bits(top)
        put(pointer(scale_at, _ZERO), 0, scale)
        out, x = pointer(out, code_zero), pointer(x, _ZERO)
        if not scale > _ZERO:  # zero or NaN, and so is each product with it
            for i in range(n):
                put(out, i, filler)
            return
        if scale < _SMALL:  # its inverse would be infinite
            scale *= _LIFT
            for i in range(n):
                put(x, i, x[i] * _LIFT)
        loop(n, out, x, noise, key, _ONE / scale)

    return pack


def make_packers(kinds, k=0):
    """Make ``pack(n, states, scales, e, fresh, noise, key, tops)``, which packs all slots of a block from element e.

    `states` and `scales` are tuples of addresses, and `fresh` is the address of the new state.
    """
    pack_one, itemsize, place = make_packer(kinds[k], k), CODES[kinds[k]].itemsize, k * BLOCK * _ITEM
    rest = make_packers(kinds, k + 1) if k + 1 < len(kinds) else None

    @njit(**PARTS)
    def pack_last(n, states, scales, e, fresh, noise, key, tops):
        pack_one(n, states[k] + e * itemsize, fresh + place, noise, key, tops[k], scales[k] + e // BLOCK * _ITEM)

    @njit(**PARTS)
    def pack(n, states, scales, e, fresh, noise, key, tops):
        pack_last(n, states, scales, e, fresh, noise, key, tops)
        rest(n, states, scales, e, fresh, noise, key, tops)

    return pack_last if rest is None else pack


# --- A chunk ----------------------------------------------------------------------------------------------------------


@njit(**INLINED)
def update_key(job, t):
    """Key of the random numbers of a tensor's update."""
    packing = record(t.packing, 0, PACKING)
    return mixed(packing.key, record(job.counts + packing.index * COUNT_SIZE, 0, COUNT).count)


def make_bfloat16_update(rule, by_element):
    """Make ``update(job, t, states, first, size, p, g, k, h, r, grad_scale, common)`` of a chunk in bfloat16.

    `states` is the address of the tensor's addresses; p, g and k are addresses too.
    """
    n_slots = len(rule.slots)
    likes, stack = (CODES[BFLOAT16].type(0),) * n_slots, make_stack(ROOM * _ITEM)
    decayed, undecayed = (make_bfloat16_loop(rule.update, by_element, x, rule.sets, n_slots) for x in (True, False))

    @njit(**PARTS)
    def update(job, t, states, first, size, p, g, k, h, r, grad_scale, common):
        key, noise = update_key(job, t), pointer(stack(), _ZERO_U32)
        fill_noise(min(size, ROOM), noise, key)
        decays = common.l2 != 0 or common.decoupled != 0 or common.independent != 0
        for start in range(0, size, ROOM):
            n, at, own = min(ROOM, size - start), start * _ITEM, mixed(key, (first + start) // ROOM)
            s = pointers(addresses(states, likes), first + start, likes)
            q, f, factor = pointer(p + at, _ZERO), pointer(g + at, _ZERO), pointer(k + at, _ZERO)
            if decays:
                decayed(n, q, f, factor, s, h, r, grad_scale, common, noise, own)
            else:
                undecayed(n, q, f, factor, s, h, r, grad_scale, common, noise, own)

    return update


def make_int8_update(rule, by_element):
    """Make ``update(job, t, states, first, size, p, g, k, h, r, grad_scale, common)`` of a chunk in 8 bits."""
    kinds = tuple(slot.packed.int8 for slot in rule.slots)
    likes, numbers = tuple(CODES[kind].type(0) for kind in kinds), (_ZERO,) * len(kinds)
    parts = tuple(_ONE / STEPS[kind] for kind in kinds)
    stack, fresh_stack = make_stack(ROOM * _ITEM), make_stack(len(kinds) * BLOCK * _ITEM)
    decayed, undecayed = (make_int8_loop(rule.update, by_element, x, rule.sets, kinds) for x in (True, False))
    pack = make_packers(kinds)

    @njit(**PARTS)
    def update(job, t, states, first, size, p, g, k, h, r, grad_scale, common):
        key, noise, fresh = update_key(job, t), stack(), fresh_stack()
        fill_noise(min(size, ROOM), pointer(noise, _ZERO_U32), key)
        out = block_pointers(fresh, numbers)
        places, scales = addresses(states, likes), addresses(t.packing + SCALES_AT, likes)
        decays = common.l2 != 0 or common.decoupled != 0 or common.independent != 0
        for start in range(0, size, BLOCK):
            n, at, e = min(BLOCK, size - start), start * _ITEM, first + start
            s = pointers(places, e, likes)
            steps = products(load(pointers(scales, e // BLOCK, numbers), 0, _ZERO), parts)
            q, f, factor = pointer(p + at, _ZERO), pointer(g + at, _ZERO), pointer(k + at, _ZERO)
            if decays:
                tops = decayed(n, q, f, factor, s, steps, out, h, r, grad_scale, common)
            else:
                tops = undecayed(n, q, f, factor, s, steps, out, h, r, grad_scale, common)
            words = pointer(noise + e % ROOM * _ITEM, _ZERO_U32)
            pack(n, places, scales, e, fresh, words, mixed(key, e // ROOM), tops)

    return update


def make_packed(rule, by_element, forms, update_native):
    """Make the update of a chunk whose state has one of these forms: "float32", "bfloat16" and "int8", in this order.

    Each is compiled only if it is used.
    """

    def made(make):
        plain = make(rule, False)
        return _make_choice(make(rule, True), plain) if by_element else plain

    makers = {
        "float32": lambda: update_native,
        "bfloat16": lambda: made(make_bfloat16_update),
        "int8": lambda: made(make_int8_update),
    }
    return _make_switch([(FORMS[form], makers[form]()) for form in forms])


def _make_switch(updates):
    """Make the update of a chunk by the one for its form; the last is for what the others are not for."""
    (form, first), *others = updates
    if not others:
        return first
    rest = _make_switch(others)

    @njit(**INLINED)
    def update(job, t, states, start, size, p, g, k, h, r, grad_scale, common):
        if (record(t.packing, 0, PACKING).format0 if t.packing != 0 else NATIVE) == form:
            first(job, t, states, start, size, p, g, k, h, r, grad_scale, common)
        else:
            rest(job, t, states, start, size, p, g, k, h, r, grad_scale, common)

    return update


def _make_choice(by_element, plain):
    """Make the update of a chunk that has a rate per element or none."""

    @njit(**INLINED)
    def update(job, t, states, first, size, p, g, k, h, r, grad_scale, common):
        if k != 0:
            by_element(job, t, states, first, size, p, g, k, h, r, grad_scale, common)
        else:
            plain(job, t, states, first, size, p, g, k, h, r, grad_scale, common)

    return update
