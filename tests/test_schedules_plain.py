"""Schedules as plain data: each comes back equal, to the bit, and nothing but a schedule is made from data."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foreign_schedules import INDICES, ROWS, ours
from pyfastlr import schedules as S
from pyfastlr.schedules import base, plain
from pyfastlr.schedules.compat import Translated
from pyfastlr.schedules.plain import from_plain, to_plain
from test_schedules import EXAMPLES
from test_schedules_properties import schedules

FOREIGN = [ours(library, row) for library, rows in ROWS.items() for row in rows if "lambda" not in row]
MOMENTA = [S.torch.CyclicLR(0.1, 0.3, 5).momentum(), S.torch.OneCycleLR(0.3, 40, three_phase=True).momentum()]
NATIVE = [s.native() for s in FOREIGN if isinstance(s, Translated)]
ALL = [*(s for s, _ in EXAMPLES), *{repr(s): s for s in (*FOREIGN, *NATIVE)}.values(), *MOMENTA]
WITH_CALLABLES = {"Custom", "MultiplicativeLR"}
AT = [*INDICES, *range(64, 3000, 7), 10**6, 2**40]


def inside(s):
    yield type(s)
    for x in [*base.inside(s), *([s.native()] if isinstance(s, Translated) else [])]:
        yield from inside(x)


def test_every_class_is_here():
    """A new class needs an example, in tests/test_schedules.py or tests/foreign_schedules.py."""
    ours = "pyfastlr."
    here = {name for name, c in base._types.items() if issubclass(c, S.Schedule) and c.__module__.startswith(ours)}
    assert here - {c.__name__ for s in ALL for c in inside(s)} == WITH_CALLABLES


@pytest.mark.parametrize("s", ALL, ids=repr)
def test_back_to_the_bit(s):
    data = json.loads(json.dumps(to_plain(s), allow_nan=False))
    again = from_plain(data)
    assert again == s
    assert type(again) is type(s)
    assert [again(n).hex() for n in AT] == [s(n).hex() for n in AT]


@settings(deadline=None, max_examples=150)
@given(schedules, st.lists(st.integers(0, 2**53), min_size=1, max_size=20))
def test_any_schedule_to_the_bit(s, at):
    again = from_plain(json.loads(json.dumps(to_plain(s))))
    assert again == s
    assert [again(n).hex() for n in at] == [s(n).hex() for n in at]


class Own(S.Schedule):
    """A class of the user's."""

    def __init__(self, lr, width=3):
        super().__init__(lr=lr, width=width)

    @staticmethod
    def curve(n, lr, width):
        return lr * width / (n + width)


class Changed(Own):
    """A class whose constructor does not take what it stores."""

    def __init__(self, rate):
        S.Schedule.__init__(self, lr=2 * rate, width=1)


def test_classes_of_the_users():
    s = 0.5 * Own(0.1).warmup(3)
    assert from_plain(to_plain(s)) == s
    with pytest.raises(TypeError, match="Changed"):
        to_plain(Changed(0.1))


@pytest.mark.parametrize(
    "s",
    [S.as_schedule(lambda n: 1.0), 0.5 * S.as_schedule(abs), S.torch.CyclicLR(0.1, 0.2, 5, scale_fn=abs)],
    ids=["Custom", "Product", "CyclicLR"],
)
def test_callables_have_no_data(s):
    with pytest.raises(TypeError, match="JSON"):
        to_plain(s)


@pytest.mark.parametrize("value", [0.1, None, S.Plateau(0.1), abs, S.Cosine], ids=repr)
def test_only_schedules_have_data(value):
    with pytest.raises(TypeError, match="`schedule` must be a schedule"):
        to_plain(value)


def deep(levels):
    s = S.Constant(0.1)
    for _ in range(levels):
        s = s.warmup(1)
    return s


def test_depth():
    s = deep(plain.DEPTH - 1)
    assert from_plain(to_plain(s)) == s
    with pytest.raises(ValueError, match="at most 100 schedules inside each other"):
        to_plain(deep(plain.DEPTH))
    data = {"type": "Constant", "lr": 0.1}
    for _ in range(10_000):
        data = {"type": "Warmup", "schedule": data, "steps": 1, "start": 0.0}
    with pytest.raises(ValueError, match="at most 100 schedules inside each other"):
        from_plain(data)


def nested(depth):
    x = []
    for _ in range(depth):
        x = [x]
    return x


def warmup(schedule):
    return {"type": "Warmup", "schedule": schedule, "steps": 3}


WRONG = [
    (None, TypeError, "`x` must be a dict"),
    ([], TypeError, "`x` must be a dict"),
    ({1: 2}, TypeError, "`x` must be a dict"),
    ({}, ValueError, r"`x\['type'\]`"),
    ({"type": ["Constant"]}, ValueError, r"`x\['type'\]`"),
    ({"type": "constant", "lr": 0.1}, ValueError, "did you mean `Constant`"),
    ({"type": "os.system", "lr": "ls"}, ValueError, r"`x\['type'\]`"),
    ({"type": "Custom", "function": "abs"}, ValueError, r"`x\['type'\]`"),
    ({"type": "Plateau", "base": 0.1}, ValueError, r"`x\['type'\]`"),
    ({"type": "_OnStagnation"}, ValueError, r"`x\['type'\]`"),
    ({"type": "Constant"}, TypeError, "`x` must be a Constant: .*lr"),
    ({"type": "Constant", "lr": 0.1, "gamma": 1}, TypeError, "`x` must be a Constant: .*gamma"),
    ({"type": "Constant", "lr": -0.1}, ValueError, "`x` must be a Constant: `lr` must be"),
    ({"type": "Constant", "lr": float("nan")}, ValueError, "lr"),
    ({"type": "Constant", "lr": 10**400}, ValueError, "lr"),
    ({"type": "Constant", "lr": True}, TypeError, "lr"),
    ({"type": "Constant", "lr": {"type": "Constant", "lr": 0.1}}, TypeError, "lr"),
    ({"type": "Cosine", "lr": 0.1, "steps": 2**60}, ValueError, "steps"),
    ({"type": "OneCycle", "peak": 0.1, "steps": 1.5}, TypeError, "steps"),
    ({"type": "MultiStep", "lr": 0.1, "milestones": [3, 2]}, ValueError, "milestones"),
    ({"type": "MultiStep", "lr": 0.1, "milestones": [3, None]}, TypeError, "milestones"),
    ({"type": "MultiStep", "lr": 0.1, "milestones": nested(10_000)}, TypeError, "milestones"),
    (warmup({"type": "Plateau", "base": 0.1}), ValueError, r"`x\['schedule'\]\['type'\]`"),
    (warmup("abs"), TypeError, "schedule"),
    ({"type": "ChainedScheduler", "schedulers": [{"type": "Plateau", "base": 0.1}]}, ValueError,
     r"`x\['schedulers'\]\[0\]\['type'\]`"),
    ({"type": "ChainedScheduler", "schedulers": [["StepLR"]]}, TypeError, "schedulers"),
    ({"type": "Piecewise", "boundaries": [], "values": [{"type": "Constant", "lr": 0.1}]}, TypeError, "values"),
    (warmup({"type": "Constant", "lr": "0.1"}), TypeError, r"`x\['schedule'\]`.*lr"),
    ({"type": "MultiplicativeLR", "lr": 0.1, "lr_lambda": "abs"}, TypeError, "lr_lambda"),
]  # fmt: skip


@pytest.mark.parametrize(("data", "error", "match"), WRONG, ids=lambda x: None)
def test_wrong_data_is_refused_by_name(data, error, match):
    with pytest.raises(error, match=match):
        from_plain(data, "x")


_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.sampled_from([*base._types, "cos", ""]),
    lambda x: st.lists(x, max_size=3) | st.dictionaries(st.sampled_from(["type", "lr", "steps", "schedule"]), x),
    max_leaves=5,
)


@settings(deadline=None, max_examples=400)
@given(st.sampled_from(ALL), st.data())
def test_any_argument_is_checked(s, data):
    """Data with one argument replaced by anything makes a schedule that gives floats, or an error."""
    plainly = to_plain(s)
    plainly[data.draw(st.sampled_from(sorted(plainly)))] = data.draw(_values)
    try:
        made = from_plain(plainly)
    except (TypeError, ValueError):
        return
    assert isinstance(made, S.Schedule)
    assert made(np.arange(3)).dtype == np.float64
