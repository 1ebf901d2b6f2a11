"""The benchmark of steps in JAX: it checks that all do the same work, and judges only what is steady."""

from importlib.util import find_spec

import pytest

from bench import __main__ as command
from bench import in_jax
from pyfastlr.benchmark.compare import Mismatch
from pyfastlr.benchmark.interleave import Times
from pyfastlr.benchmark.work import one

pytestmark = pytest.mark.skipif(not (find_spec("jax") and find_spec("optax")), reason="jax or optax is not installed")


def fake(ours, theirs):
    def measure(runs, seconds, pool):
        costs = {in_jax.OURS: ours, in_jax.ADDED: theirs, in_jax.THEIRS: theirs}
        return {name: Times(tuple(costs[name]), 1) for name in runs}

    return measure


@pytest.mark.parametrize(
    ("ours", "theirs", "verdict"),
    [
        ((1.0,) * 5, (2.0,) * 5, "ahead"),
        ((2.0,) * 5, (1.0,) * 5, "NOT AHEAD"),
        ((1.0, 1.0, 1.3, 1.3, 1.3), (1.1,) * 5, "NOT AHEAD"),  # the median counts too
        ((1.0, 2.0, 3.0, 3.0, 3.0), (9.0,) * 5, "disturbed"),
    ],
)
def test_verdicts(ours, theirs, verdict, monkeypatch):
    monkeypatch.setattr(in_jax, "LAYOUTS", {"64": (one(64), True)})
    found = list(in_jax.in_jax(0.0, 100, fake(ours, theirs)))
    assert [x.verdict for x in found] == [verdict] * len(in_jax.NAMES)
    assert verdict in str(found[0])


def test_larger_work_is_left_out():
    assert list(in_jax.in_jax(0.0, 10)) == []


def test_all_contenders_do_the_same_and_are_timed(monkeypatch, capsys):
    monkeypatch.setattr(in_jax, "LAYOUTS", {"64": (one(64), False)})
    found = command.every_step_in_jax(0.01, 100)
    assert [x["optimizer"] for x in found] == list(in_jax.NAMES)
    assert all(t["minimum"] > 0 for x in found for t in x["times"].values())
    assert "pyfastlr apply" in capsys.readouterr().out


def test_a_contender_that_does_other_work_is_refused(monkeypatch):
    runs = in_jax.runs

    def wrong(work):
        found = runs(work)
        found[in_jax.THEIRS] = found[in_jax.THEIRS]._replace(result=lambda: [p + 1 for p in work.params()])
        return found

    monkeypatch.setattr(in_jax, "runs", wrong)
    with pytest.raises(Mismatch, match="optax does not do the same work as pyfastlr apply"):
        list(in_jax.in_jax(0.0, 1_000))
