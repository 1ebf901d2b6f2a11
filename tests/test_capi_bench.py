"""`python -m bench --capi`: what it measures, and how it judges."""

import numpy as np
import pytest

import pyfastlr as flr
from bench import __main__ as command
from bench import capi as bench
from pyfastlr import capi
from pyfastlr.benchmark.interleave import Times
from pyfastlr.benchmark.variants import VARIANTS
from test_capi_build import needs_cc

ADAM, NADAM = (next(x for x in VARIANTS if x.name == name) for name in ("adam", "nadam"))


def against(size, c, driver=100e-9, bare=50e-9, spread=1.0):
    times = [Times((x, spread * x), 1) for x in (c, driver, bare)]
    return bench.Against("adam", size, *times)


@pytest.mark.parametrize(
    ("size", "c", "reached"),
    [(64, 109e-9, True), (64, 111e-9, False), (1000, 114e-9, True), (10_000, 116e-9, False)],
)
def test_targets(size, c, reached):
    found = against(size, c)
    assert found.reached is reached
    assert str(found).endswith("  reached" if reached else "  NOT REACHED")
    assert found.as_json()["reached"] is reached


def test_no_verdict_where_something_else_ran():
    found = against(1000, 50e-9, spread=3.0)
    assert found.reached is None
    assert str(found).endswith("  disturbed")


@needs_cc
@pytest.mark.parametrize("variant", [ADAM, NADAM], ids=lambda x: x.name)
def test_the_three_are_measured(variant):
    (found,) = bench.against_driver(0.0, 64, sizes=(64, 1000), variants=[variant])
    assert (found.name, found.size) == (variant.name, 64)
    assert all(x.minimum > 0 for x in (found.c, found.driver, found.bare))


@needs_cc
def test_the_configuration_is_that_of_the_optimizer():
    config = bench.configured(flr.SGD(np.ones(3), lr=0.25, momentum=0.5, nesterov=True, convention="keras"))
    assert (config.lr, config.momentum, config.nesterov) == (0.25, 0.5, 1)
    assert (config.convention, config.decay) == (capi.lib.FASTLR_KERAS, capi.lib.FASTLR_DECOUPLED)


@needs_cc
def test_command_prints_every_rule(monkeypatch, capsys):
    monkeypatch.setattr(bench, "against_driver", lambda seconds, max_n: iter([against(64, 1e-7), against(1000, 1e-6)]))
    found = command.every_c_step(1.0, 1000)
    assert [x["size"] for x in found] == [64, 1000]
    assert capsys.readouterr().out.count("adam") == 2
