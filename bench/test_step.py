"""Time every optimizer over every layout with every contender: ``pytest bench --benchmark-only``.

pytest-benchmark times one test after the other. Here the contenders of one work are timed together, in turns, and each
test passes its samples on. Tables, JSON and `--benchmark-compare` come from pytest-benchmark, the samples do not.
"""

from functools import lru_cache

import pytest

from pyfastlr.benchmark.compare import compare
from pyfastlr.benchmark.contenders import CONTENDERS
from pyfastlr.benchmark.variants import VARIANTS
from pyfastlr.benchmark.work import Work

from .targets import LAYOUTS

measured = lru_cache(maxsize=1)(compare)  # the tests of one work run one after another


def pytest_generate_tests(metafunc):
    max_n = metafunc.config.getoption("--max-n")
    works = [Work(x, layout) for x in VARIANTS for layout in LAYOUTS if layout.size <= max_n]
    found = [(x, y) for x in works for y in CONTENDERS if y.can(x)]
    names = [f"{work.name}-{contender.name}" for work, contender in found]
    metafunc.parametrize(("work", "contender"), found, ids=names)


def test_step(benchmark, work, contender, pytestconfig):
    benchmark.group = work.name
    comparison = measured(work, pytestconfig.getoption("--seconds") if benchmark.enabled else 0.0)
    if contender.name in comparison.absent:
        pytest.skip(comparison.absent[contender.name])
    times = comparison.times[contender.name]
    by_minima, by_medians = comparison.ratios(contender.name)
    benchmark.extra_info |= {"bytes": work.bytes, "ratio_of_minima": by_minima, "ratio_of_medians": by_medians}
    benchmark.pedantic(lambda: None)  # creates the record for the samples
    if benchmark.enabled:
        benchmark.stats.iterations = times.calls
        benchmark.stats.stats.data[:] = times.samples
