"""Every optimizer with every option, and with options drawn at random: the bits of the same steps composed by hand.

By hand means: numpy unscales, accumulates, clips and averages, in the parameters' dtype, and an optimizer without
options takes the gradient that results. Norms are those of tests/sums.py.
"""

import math
import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pyfastlr as flr
import sums
from cases import CASES
from step_options import CONTAINERS, contained, drawn_gradients, factor, leaves, names_in

pytestmark = pytest.mark.usefixtures("parallel_from_the_first_chunk")

ASKED = os.environ.get("PYFASTLR_EXAMPLES")
few = settings(max_examples=int(ASKED or 4), deadline=None, derandomize=not ASKED)
INF = math.inf
HYPER = ("clip_norm", "clip_norm_each", "clip_value", "ema_decay")

# Each option with its values; a callable is a schedule.
VALUES = {
    "clip_norm": (0.75, INF, lambda n: 2.0 / (1 + n)),
    "clip_norm_each": (0.5, lambda n: 0.25 * (1 + n)),
    "clip_value": (0.125, lambda n: 1.0 / (1 + n)),
    "ema_decay": (0.75, 0.0, lambda n: 0.9 / (1 + n)),
    "nonfinite": ("skip", "raise"),
    "zero_grad": (True,),
    "accumulate": (2, 3),
    "accumulate_mode": ("sum",),
    "copy_to": (True,),
    "loss_scale": ((16.0, 2.0, 0.5, 2), (3.0, 1.5, 0.25, 1)),
    "measure": (("update_norm", "param_norm", "per_tensor"),),
    "maximize": (True,),
    "inv_scale": (0.3, 4.0),
    "own clip_norm": (0.2, INF, lambda n: 0.5 / (1 + n)),
    "own clip_norm_each": (0.1,),
    "own clip_value": (0.0625, INF),
    "own ema_decay": (0.5,),
}


# Pairs of which one changes what the other must do.
PAIRS = (
    ("maximize", "clip_value"),
    ("maximize", "accumulate"),
    ("zero_grad", "accumulate"),
    ("own clip_value", "clip_norm"),
    ("clip_value", "measure"),
    ("clip_norm", "clip_norm_each"),
    ("loss_scale", "accumulate"),
)


def now(x, n):
    return float(x(n)) if callable(x) else x


class ByHand:
    """Gradients, average and loss scale, as the options are explained, around an optimizer without options."""

    def __init__(self, case, kind, arrays, chosen, members, threads):
        self.case, self.kind, self.chosen, self.members = case, kind, chosen, members
        self.params = contained(kind, {name: x.copy() for name, x in arrays.items()})
        self.opt = case.make(self.params, weight_decay=0.1, decay=case.decay, threads=threads,
                             maximize=chosen.get("maximize", False))  # fmt: skip
        self.dtype = next(iter(arrays.values())).dtype.type
        self.every, self.sums, self.calls, self.average = chosen.get("accumulate", 1), {}, 0, None
        self.scale, self.finite, self.skipped = 1.0, 0, 0
        if "loss_scale" in chosen:
            self.scale, self.growth, self.backoff, self.interval = chosen["loss_scale"]
        self.stats = {}

    def limit(self, name, option, n, off=INF):
        own = f"own {option}"
        found = self.chosen.get(own if own in self.chosen and name in self.members else option, off)
        return now(found, n)

    def step(self, g):
        """One call. Return whether it was skipped."""
        n, unscale = self.opt.steps, float(self.chosen.get("inv_scale", 1.0)) / self.scale
        given = {name: x for name, x in g.items() if x is not None}
        bad = sum(int((~np.isfinite(x)).sum()) for x in given.values())
        if bad and ("loss_scale" in self.chosen or "nonfinite" in self.chosen):
            self.skipped += 1
            if self.skipped >= self.every:
                self.lower()
            return True
        if self.every > 1:
            for name, x in given.items():
                self.sums[name] = self.sums.get(name, np.zeros_like(x)) + x * self.dtype(unscale)
            self.calls += 1
            if self.calls < self.every:
                return False
            given = {name: self.sums[name] for name in g if name in self.sums}  # in the arrays' order
            self.sums, self.calls = {}, 0
            unscale = 1.0 if "accumulate_mode" in self.chosen else 1.0 / self.every
        if given:
            self.update(given, unscale, n)
        return False

    def update(self, g, unscale, n):
        values = {"clip_value", "own clip_value"} & self.chosen.keys()
        if values:
            for name, x in g.items():
                limit = self.dtype(self.limit(name, "clip_value", n))
                g[name] = np.minimum(np.maximum(x * self.dtype(unscale), -limit), limit)
            unscale = 1.0
        final, own = {}, "own clip_norm" in self.chosen
        self.stats = {"grad_norm": self.norm(g) * unscale, "clipped": False}
        for name, x in g.items():
            mine = own and name in self.members
            together = {key: y for key, y in g.items() if (own and key in self.members) == mine}
            by = factor(self.case.convention, self.norm(together) * unscale, self.limit(name, "clip_norm", n))
            if {"clip_norm_each", "own clip_norm_each"} & self.chosen.keys():
                size = self.norm({name: x}) * unscale * by
                by *= factor(self.case.convention, size, self.limit(name, "clip_norm_each", n))
            self.stats["clipped"] |= by != 1.0
            final[name] = x * self.dtype(unscale * by)
        before = {name: x.copy() for name, x in leaves(self.kind, self.params).items()}
        if self.kind in ("array", "flat"):
            self.opt.step(contained(self.kind, final))
        else:
            self.opt.step(contained(self.kind, {name: final.get(name) for name in before}))
        p = {name: x.copy() for name, x in leaves(self.kind, self.params).items()}
        with np.errstate(invalid="ignore"):
            self.stats["update_norm"] = self.norm({name: p[name] - before[name] for name in final})
        self.stats["param_norm"] = self.norm(p)
        if {"ema_decay", "own ema_decay"} & self.chosen.keys():
            for name, x in p.items() if self.average is not None else ():
                d = self.dtype(self.limit(name, "ema_decay", n, 0.0))
                p[name] = d * self.average[name] + (self.dtype(1) - d) * x
            self.average = p
        self.grow()

    def norm(self, arrays):
        return sums.norm([x.ravel() for x in arrays.values()])

    def lower(self):
        if "loss_scale" in self.chosen:
            self.scale, self.finite, self.skipped = float(np.float32(self.scale * self.backoff)), 0, 0

    def grow(self):
        if "loss_scale" not in self.chosen:
            return
        if self.skipped:
            self.lower()
            return
        self.finite += 1
        if self.finite >= self.interval:
            self.scale, self.finite = float(np.float32(self.scale * self.growth)), 0


def both(case, kind, dtype, rng, chosen, threads):
    """The optimizer with these options, what its steps are by hand, and its arrays of `copy_to`."""
    names = names_in(kind)
    arrays = drawn_gradients(rng, names, dtype, -2, 1)
    own = {name.removeprefix("own "): x for name, x in chosen.items() if name.startswith("own ")}
    members = tuple(names[k] for k in (0, 3)) if own and kind != "array" else ()
    if not members:
        chosen = {name: x for name, x in chosen.items() if not name.startswith("own ")}
    copies = contained(kind, {name: np.full_like(x, 5) for name, x in arrays.items()})
    options = {name: x for name, x in chosen.items() if name != "inv_scale" and not name.startswith("own ")}
    if "copy_to" in options:
        options["copy_to"] = copies
    if "loss_scale" in options:
        options["loss_scale"] = flr.LossScale(*options["loss_scale"])
        options.pop("nonfinite", None)
    if members:
        options["groups"] = [{"params": [0, 3], **own}]
    hand = ByHand(case, kind, arrays, chosen, members, threads)
    params = contained(kind, arrays)
    opt = case.make(params, weight_decay=0.1, decay=case.decay, threads=threads, **options)
    return opt, hand, copies, chosen


def bits(kind, container):
    return [np.where(np.isnan(x), np.nan, x).tobytes() for x in leaves(kind, container).values()]


def compare(case, kind, dtype, rng, chosen, threads, calls):
    """Make calls with both, some without a gradient for some arrays, and one that is not finite; compare the bits."""
    opt, hand, copies, chosen = both(case, kind, dtype, rng, chosen, threads)
    names = names_in(kind)
    for k in range(calls):
        g = drawn_gradients(rng, names, dtype, -4, 1)
        if ("nonfinite" in chosen and k == 1) or ("loss_scale" in chosen and k in (2, 4)):
            g[names[0]].flat[-1] = (np.nan, np.inf)[k % 2]
        if kind not in ("array", "flat"):
            g.update(dict.fromkeys(names[k % 2 :: 3] if k % 3 else names[4:]))
        before = {name: None if x is None else x.copy() for name, x in g.items()}
        given = contained(kind, g)
        skipped = hand.step(before)
        if skipped and chosen.get("nonfinite") == "raise" and "loss_scale" not in chosen:
            with pytest.raises(FloatingPointError, match=r"`grads.* must be finite"):
                opt.step(given, inv_scale=float(chosen.get("inv_scale", 1.0)))
            for name, x in leaves(kind, given).items():
                assert x is None or x.tobytes() == before[name].tobytes()
            continue
        opt.step(given, inv_scale=float(chosen.get("inv_scale", 1.0)))
        assert bool(opt.stats.skipped) == skipped
        for name, x in leaves(kind, given).items():
            if x is not None:
                assert x.tobytes() == (np.zeros_like(x) if "zero_grad" in chosen else before[name]).tobytes()
        assert bits(kind, opt.params) == bits(kind, hand.params), f"call {k}"
        assert opt.steps == hand.opt.steps
        for slot, x in opt.state.items():
            assert bits(kind, x) == bits(kind, hand.opt.state[slot]), f"call {k}: {slot}"
        if hand.average is not None:
            assert bits(kind, opt.ema) == [x.tobytes() for x in hand.average.values()], f"call {k}: ema"
        if "copy_to" in chosen and opt.steps:
            assert bits(kind, copies) == bits(kind, opt.params)
        if "loss_scale" in chosen:
            assert opt.loss_scale.scale == hand.scale
        updated = hand.stats and not skipped and not hand.calls
        for name, want in hand.stats.items() if updated else ():
            got = getattr(opt.stats, name)
            assert got is None or got == want, f"call {k}: {name}"
        if "measure" in chosen and updated:
            assert None not in (opt.stats.update_norm, opt.stats.param_norm, opt.stats.grad_norm)


each_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


@each_case
def test_each_option(case):
    """With one of its values, which differ from optimizer to optimizer, and some pairs."""
    rng = np.random.default_rng([3, *case.name.encode()])
    for k, names in enumerate([*((name,) for name in VALUES), *PAIRS]):
        kind, dtype = CONTAINERS[rng.integers(1, 5)], (np.float32, np.float64)[(k + len(case.name)) % 2]
        chosen = {name: VALUES[name][rng.integers(len(VALUES[name]))] for name in names}
        if names == ("accumulate_mode",):
            chosen["accumulate"] = 2
        compare(case, kind, dtype, rng, chosen, 1, 5)


@few
@given(
    names=st.lists(st.sampled_from(sorted(VALUES)), min_size=2, max_size=3, unique=True),
    kind=st.sampled_from(CONTAINERS),
    dtype=st.sampled_from([np.float32, np.float64]),
    threads=st.sampled_from([1, 2, 5]),
    seed=st.integers(0, 2**32 - 1),
)
@each_case
def test_pairs_and_triples(case, names, kind, dtype, threads, seed):
    rng = np.random.default_rng([seed, *case.name.encode()])
    names = [*names, *rng.choice(sorted(VALUES), 1)]
    compare(case, kind, dtype, rng, {name: VALUES[name][rng.integers(len(VALUES[name]))] for name in names}, threads, 6)
