"""A run that is saved at any step and goes on in a new optimizer equals the uninterrupted one, to the bit.

The state goes through `flatten_state` and npz. Everything that a run may contain is drawn by hypothesis.
"""

import copy
import io
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pyfastlr as flr
from pyfastlr import schedules as S
from states import plainly

CALLS = 200
SHAPES = {"w": (5, 7), "head": {"w": (3,), "b": ()}, "big": (1100,)}
MAKE = {  # rates, made anew for each optimizer, because controllers have state
    "number": lambda: 0.05,
    "schedule": lambda: 0.5 * S.Cosine(0.1, steps=150).warmup(20).clip(0.0, 0.09),
    "optax": lambda: S.optax.warmup_cosine_decay_schedule(0.0, 0.1, 20, 120),
    "torch": lambda: S.torch.OneCycleLR(0.1, CALLS),
    "callable": lambda: lambda n: 0.05 / (1 + n / 50),
    "plateau": lambda: S.Plateau(S.Linear(0.1, 0.0, 250), factor=0.5, patience=3),
    "adjustable": lambda: S.Adjustable(0.05),
}
RATES = st.sampled_from(sorted(MAKE))
CHANGES = {
    "lr": lambda opt: setattr(opt, "lr", 0.02),
    "schedule": lambda opt: setattr(opt, "lr", S.Exponential(0.05, 0.99)),
    "group": lambda opt: opt.groups[1].update(lr=S.Linear(0.03, 0.01, 90), weight_decay=0.125),
    "frozen": lambda opt: opt.groups[1].update(lr_scale=0.0),
    "thawed": lambda opt: opt.groups[1].update(lr_scale=0.5),
    "clip": lambda opt: setattr(opt, "clip_norm", 0.75),
    "no clip": lambda opt: setattr(opt, "clip_norm", None),
    "average": lambda opt: setattr(opt, "ema_decay", 0.5),
    "no average": lambda opt: setattr(opt, "ema_decay", None),
    "decay": lambda opt: setattr(opt, "weight_decay", S.Constant(0.25)),
    "observe": lambda opt: isinstance(opt.groups[0]["lr"], S.Adjustable) and opt.groups[0]["lr"].observe(scale=0.5),
}
CLASSES = {
    "Adam": (flr.Adam, {"betas": (S.Linear(0.8, 0.95, 100), 0.99)}),
    "NAdam": (flr.NAdam, {}),
    "SGD": (flr.SGD, {"momentum": S.Cosine(0.9, 150, 0.5)}),
    "RMSProp": (flr.RMSProp, {"centered": True, "momentum": 0.5}),
}


def arrays(shapes, rng, absent=0.0):
    if isinstance(shapes, dict):
        return {key: arrays(x, rng, absent) for key, x in shapes.items()}
    x = np.asarray(rng.standard_normal(shapes).astype(np.float32))
    return None if rng.random() < absent else x


def leaves(x):
    return [leaf for part in x.values() for leaf in leaves(part)] if isinstance(x, dict) else [x]


@st.composite
def plans(draw):
    name = draw(st.sampled_from(sorted(CLASSES)))
    options = {
        "weight_decay": draw(st.sampled_from([0.0, 0.01])),
        "decay": draw(st.sampled_from([None, "decoupled"])),
        "clip_norm": draw(st.sampled_from([None, 0.5, math.inf])),
        "clip_value": draw(st.sampled_from([None, 1.0])),
        "ema_decay": draw(st.sampled_from([None, 0.9])),
        "accumulate": draw(st.sampled_from([1, 3])),
        "maximize": draw(st.booleans()),
        "nonfinite": draw(st.sampled_from(["propagate", "skip"])),
        "measure": draw(st.sampled_from([(), ("update_norm", "param_norm", "per_tensor")])),
    }
    return {
        "class": name,
        "options": options,
        "rates": [draw(RATES), draw(RATES)],
        "loss_scale": draw(st.booleans()),
        "absent": draw(st.sampled_from([0.0, 0.3])),
        "seed": draw(st.integers(0, 2**32 - 1)),
        "overflows": draw(st.sets(st.integers(0, CALLS - 1), max_size=4)),
        "changes": draw(st.dictionaries(st.integers(0, CALLS - 1), st.sampled_from(sorted(CHANGES)), max_size=6)),
        "saved": draw(st.integers(0, CALLS - 1)),
    }


def make(plan, params):
    cls, more = CLASSES[plan["class"]]
    base, group = (MAKE[x]() for x in plan["rates"])
    groups = [{"params": "head.*", "lr": group}]
    scale = flr.LossScale(2.0**10, interval=7) if plan["loss_scale"] else None
    return cls(params, lr=base, groups=groups, loss_scale=scale, **plan["options"], **more)


def call(plan, opt, k):
    """One call of the run: what is set by hand, what controllers observe, and a step. Whether there was a gradient."""
    if k in plan["changes"]:
        change = plan["changes"][k]
        base, group = (rate in ("plateau", "adjustable") for rate in plan["rates"])
        if not (base and change in ("lr", "schedule")) and not (group and change == "group"):
            CHANGES[change](opt)  # a controller may not be lost: see test_loading.py
    rng = np.random.default_rng([plan["seed"], k])
    grads = arrays(SHAPES, rng, plan["absent"])
    factor = opt.loss_scale.scale if opt.loss_scale else 1.0
    for x in leaves(grads):
        if x is not None:
            x *= np.float32(factor)
            if k in plan["overflows"] and (opt.loss_scale or opt.nonfinite == "skip"):
                x[...] = np.inf
    opt.step(grads)
    for rate in {id(group["lr"]): group["lr"] for group in opt.groups}.values():
        if isinstance(rate, S.Plateau):
            rate.observe(float(rng.standard_normal()))
    return any(x is not None for x in leaves(grads))


def resumed(plan, opt):
    """A new optimizer over copies of the parameters, with the state that went through a file."""
    file = io.BytesIO()
    np.savez(file, **flr.flatten_state(opt.state_dict()))
    file.seek(0)
    again = make(plan, copy.deepcopy(opt.params))
    again.load_state_dict(flr.unflatten_state(np.load(file)))
    return again


def go_on(plan, one, two, calls):
    """Compare the two after each of the calls. `stats` are those of the last call with a gradient, and not saved."""
    stepped = False
    for k in calls:
        stepped |= call(plan, one, k)
        call(plan, two, k)
        same(one, two)
        if stepped:
            assert repr(two.stats) == repr(one.stats)
        assert two.stats.lr == one.stats.lr
    assert plainly(two.state_dict()) == plainly(one.state_dict())


def same(one, two):
    assert [x.tobytes() for x in leaves(two.params)] == [x.tobytes() for x in leaves(one.params)]
    assert two.lrs == one.lrs
    assert hasattr(two, "ema") == hasattr(one, "ema")
    if hasattr(one, "ema"):
        assert [x.tobytes() for x in leaves(two.ema)] == [x.tobytes() for x in leaves(one.ema)]


@settings(deadline=None, max_examples=20)
@given(plans())
def test_any_run_saved_at_any_step(plan):
    opt = make(plan, arrays(SHAPES, np.random.default_rng(plan["seed"])))
    for k in range(plan["saved"]):
        call(plan, opt, k)
    again = resumed(plan, opt)
    assert plainly(again.state_dict()) == plainly(opt.state_dict())
    go_on(plan, opt, again, range(plan["saved"], CALLS))


@pytest.mark.parametrize("saved", range(13))
def test_saved_at_every_step_of_an_update(saved):
    """With accumulation, loss scale and all options at once, at each of the first calls."""
    plan = {
        "class": "NAdam", "rates": ["plateau", "schedule"], "loss_scale": True, "absent": 0.3, "seed": 1,
        "overflows": {2, 5}, "changes": {3: "average", 7: "decay", 9: "no average"}, "saved": saved,
        "options": {"accumulate": 3, "ema_decay": 0.9, "clip_norm": 0.5, "measure": ("per_tensor", "update_norm")},
    }  # fmt: skip
    opt = make(plan, arrays(SHAPES, np.random.default_rng(0)))
    for k in range(saved):
        call(plan, opt, k)
    again = resumed(plan, opt)
    go_on(plan, opt, again, range(saved, 25))
