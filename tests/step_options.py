"""What the options of a step make of gradients, as their definitions say, in float64."""

import math

import numpy as np

import pyfastlr as flr
import reference
from pyfastlr.arrays import tree
from reference import Terms
from test_updates import SIGNED, magnitudes

SIZES = {"a": 1025, "b": 7, "c": 0, "d": 3, "e": 4097}
SHAPES = {"a": (5, 205), "b": (7,), "c": (0, 2), "d": (3, 1), "e": (4097,)}
CONTAINERS = ("array", "dict", "nested", "list", "flat")


def contained(kind, arrays):
    """The container of that kind, which holds these arrays; a `Flat` copies them."""
    if kind == "array":
        return arrays["e"]
    if kind == "nested":
        return {"first": {"a": arrays["a"], "b": [arrays["b"], arrays["c"]]}, "d": arrays["d"], "e": arrays["e"]}
    if kind == "flat":
        return flr.Flat(dict(arrays))
    return list(arrays.values()) if kind == "list" else dict(arrays)


def names_in(kind):
    return ("e",) if kind == "array" else tuple(SIZES)


def leaves(kind, container):
    """Arrays in a container by our names."""
    if container is None or (isinstance(container, np.ndarray) and kind == "flat"):
        raise TypeError(container)
    if isinstance(container, flr.Flat):
        return dict(zip(names_in(kind), (container[name] for name in SIZES), strict=True))
    return dict(zip(names_in(kind), tree.flatten(container, "x")[2], strict=True))


def drawn(case, rng, names, t, dtype):
    """Parameters and a state that a run may have come to before its update t, by name."""
    p, state = {}, {}
    for name in names:
        shape = SHAPES[name]
        n = math.prod(shape)
        p[name] = magnitudes(rng, n, -6, 2).astype(dtype).reshape(shape)
        own = {slot: magnitudes(rng, n, -6, 2) for slot in case.state}
        for slot in own.keys() - SIGNED:
            own[slot] = np.abs(own[slot]) if slot == "exp_inf" else own[slot] ** 2
        if "grad_avg" in own:
            own["square_avg"] = own["grad_avg"] ** 2 * (1 + 10.0 ** rng.uniform(-1, 2, n))
        if t == 1:
            own = case.start(p[name].astype(np.float64).ravel(), case.lr)
        state[name] = {slot: x.astype(dtype).reshape(shape) for slot, x in own.items()}
    return p, state


def drawn_gradients(rng, names, dtype, low=-12, high=2):
    return {name: magnitudes(rng, math.prod(SHAPES[name]), low, high).astype(dtype).reshape(SHAPES[name])
            for name in names}  # fmt: skip


def norm(arrays):
    """Euclidean norm in float64, without overflow."""
    parts = [np.abs(x.astype(np.float64)).ravel() for x in arrays if x.size]
    largest = max((x.max() for x in parts), default=0.0)
    if largest in (0.0, math.inf) or largest != largest:
        return float(largest)
    return float(largest * math.sqrt(sum(float(((x / largest) ** 2).sum()) for x in parts)))


def factor(convention, size, limit):
    """What a gradient of that norm is multiplied by."""
    if limit == math.inf:
        return 1.0
    if convention == "torch":
        return min(1.0, limit / (size + 1e-6))
    return limit / max(size, limit)


class Meant:
    """What the options make of the gradients of one update: values with the terms that rounding allows for.

    Parameters
    ----------
    calls
        Gradients of each call, by name; an array may be None or left out.
    limits
        By name: clip_value, clip_norm_each, and the pair of clip_norm and its group (0: the base).
    """

    def __init__(self, convention, calls, inv_scale, mean, limits):
        self.g, found = {}, {}
        for name in limits:
            given = [call[name] for call in calls if call.get(name) is not None]
            if given:
                total = sum((Terms(x) * inv_scale for x in given[1:]), Terms(given[0]) * inv_scale)
                total = total / len(calls) if mean else total
                limit = limits[name][0]
                found[name] = total if limit == math.inf else np.minimum(np.maximum(total, -limit), limit)
        self.norm = norm([x.value for x in found.values()])
        self.norms = {name: norm([x.value]) for name, x in found.items()}
        self.clipped = False
        for name, x in found.items():
            limit, group = limits[name][2]
            size = norm([y.value for other, y in found.items() if limits[other][2][1] == group])
            by = factor(convention, size, limit)
            by *= factor(convention, self.norms[name] * by, limits[name][1])
            self.clipped |= by != 1.0
            self.g[name] = Terms(x.value * by, 1.5 * x.terms * by)


def expected(case, p, g, state, t, lr, **options):
    """The formula's result with its terms, for a gradient with terms."""
    state = {slot: Terms(x) for slot, x in state.items()}
    return reference.update(case.row.formula, Terms(p), g, state, t, lr, **options, **case.hyper)


def resumed(case, kind, params, state, t, **options):
    """An optimizer whose next update of each tensor is number t."""
    opt = case.make(params, **options)
    for slot, view in opt.state.items():
        for name, x in leaves(kind, view).items():
            x[...] = state[name][slot]
    saved = opt.state_dict()
    saved["counts"][...] = t - 1
    if case.row.carry:
        saved["carry"][..., 0] = case.row.carry(t, case.lr, **case.hyper)
    opt.load_state_dict(saved)
    return opt


def moment(opt, *containers):
    """Bytes of all that a step may change: parameters and state, counts, average, accumulated gradient, copies."""
    extras = opt._extras
    arrays = [*opt._parameters.arrays, *opt._state.buffers.values()]
    # The first step makes the buffers. Without an update, an average is nothing, and a sum is zero.
    arrays += [x for name, x in extras.buffers.items() if name != "average" or extras.record["averaged"][0]]
    arrays += extras.copied
    for container in containers:
        buffer = isinstance(container, flr.Flat)
        found = [container.buffer] if buffer else tree.flatten(container, "x")[2]
        arrays += [x for x in found if x is not None]
    counters = [int(extras.record[name][0]) for name in ("calls", "averaged")]
    summed = extras.summed.tolist()
    return [x.tobytes() for x in arrays], opt._state.counts.tobytes(), opt.steps, counters, summed
