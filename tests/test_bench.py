"""The benchmark times what it claims, alternates contenders, and refuses a contender that does different work."""

import gc
import os
import re
import subprocess
import sys
from dataclasses import replace
from functools import partial
from itertools import cycle
from pathlib import Path

import numpy as np
import pytest

import pyfastlr
from bench import __main__ as command
from bench import all_optimizers, subnormal
from bench.all_optimizers import LOOPS, against_bytes, against_peers, slower_than, summary
from bench.options import ADAMW, WORKS, costs
from bench.scaling import PARALLEL, busy_neighbour, crossover, quantiles, sweep
from bench.targets import LAYOUTS, RATIOS, SECONDS, judge, show
from cases import CASES
from pyfastlr.benchmark.compare import Comparison, Mismatch, _difference, compare
from pyfastlr.benchmark.contenders import CONTENDERS, LIMIT, OURS, PLAIN_LIMIT, PLAIN_OURS, Contender
from pyfastlr.benchmark.interleave import MIN_ROUNDS, SAMPLE, Run, Times, interleave, order
from pyfastlr.benchmark.report import Row, read, rows
from pyfastlr.benchmark.roofline import CALL, UNIT, Loop
from pyfastlr.benchmark.variants import VARIANTS
from pyfastlr.benchmark.work import EXTRAS, POOL, TINY, TRANSFORMER, Work, one
from pyfastlr.engines import host
from pyfastlr_kernels.rules import RULES

ROOT = Path(__file__).resolve().parents[1]
VARIANT = {variant.name: variant for variant in VARIANTS}
ADAM = VARIANT["adam"]
MACHINE = {"cpu": "Z80", "pyfastlr": "0.0", "load": 0.0, "threads": 2, "caches": {}}
NUMPY = [contender for contender in CONTENDERS if contender.name.startswith(("pyfastlr", "numpy"))]


# --- The timing ------------------------------------------------------------------------------------------------------


class FakeTime:
    """A clock that only steps move."""

    def __init__(self):
        self.now = 0.0
        self.log = []

    def run(self, name, *costs):
        """A contender whose calls cost these seconds, over and over."""
        costs = cycle(costs)

        def step():
            self.now += next(costs)

        def turn(k):
            self.log.append((name, k, gc.isenabled()))
            return step

        return Run(turn)

    def interleave(self, seconds, **runs):
        return interleave(runs, seconds, POOL, clock=lambda: self.now, sleep=lambda _: None)


def test_order_rotates_and_every_second_round_runs_backwards():
    assert [order("abc", k) for k in range(4)] == [list("abc"), list("cba"), list("bca"), list("acb")]


@pytest.mark.parametrize("names", ["a", "ab", "abc", "abcd"])
def test_order_gives_every_place_to_everyone(names):
    orders = [order(names, k) for k in range(2 * len(names))]
    assert all({row[place] for row in orders} == set(names) for place in range(len(names)))


def test_contenders_take_turns_and_gradients():
    time = FakeTime()
    time.interleave(0.0, a=time.run("a", 1.0), b=time.run("b", 1.0), c=time.run("c", 1.0))
    assert time.log[9:] == [  # behind the calibration, three times each; the garbage collector is off
        (name, k % POOL, False) for k in range(MIN_ROUNDS) for name in order("abc", k)
    ]


def test_times_are_seconds_per_call():
    time, microsecond = FakeTime(), 2.0**-20
    times = time.interleave(60.0, slow=time.run("slow", 2.0), quick=time.run("quick", microsecond))
    assert (times["slow"].calls, times["quick"].calls) == (1, round(SAMPLE / microsecond))
    # 60 s of rounds of 4 s: before each call that counts there is one that does not. A quick turn's 2 ms are 9 samples.
    assert times["slow"].samples == (2.0,) * 15
    assert times["quick"].samples == (microsecond,) * 15 * 9


def test_an_interrupted_calibration_does_not_count():
    time = FakeTime()
    times = time.interleave(0.0, a=time.run("a", 1.0, *[1e-6] * 1_000_000))
    assert times["a"].calls > 1


def test_statistics_of_the_samples():
    times = Times((4.0, 1.0, 2.0, 3.0, 100.0), calls=1)
    assert (times.minimum, times.median, times.spread) == (1.0, 3.0, 2.0)


@pytest.mark.parametrize("collecting", [True, False])
def test_garbage_collector_is_left_as_it_was(collecting):
    def fail():
        raise RuntimeError

    before = gc.isenabled()
    (gc.enable if collecting else gc.disable)()
    try:
        with pytest.raises(RuntimeError):
            interleave({"a": Run(lambda k: fail)}, 0.0, POOL)
        time = FakeTime()
        time.interleave(0.0, a=time.run("a", 1.0))
        assert gc.isenabled() == collecting
    finally:
        (gc.enable if before else gc.disable)()


# --- The work --------------------------------------------------------------------------------------------------------


def test_layouts():
    assert [(len(x.shapes), x.size) for x in (TRANSFORMER, TINY)] == [(226, 5_005_760), (226, 226 * 64)]


def test_bytes_come_from_the_slots():
    assert Work(ADAM, one(1000)).bytes == 28_000
    assert Work(VARIANT["sgd"], one(1000)).bytes == 12_000
    assert Work(ADAM, one(1000), "float64").bytes == 56_000


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.name)
def test_variant_is_that_of_the_cases(variant):
    case = next(case for case in CASES if case.name == variant.name)
    assert (variant.cls, variant.convention, variant.kwargs) == (case.cls, case.convention, case.kwargs)
    assert variant.states == len(case.state)
    if case.convention != "keras":  # Keras is not measured
        assert case.live.name == {"torch": variant.torch, "optax": variant.optax}[case.convention]
    if variant.torch and variant.optax:
        optax = next(x for x in CASES if x.name == f"{variant.name}-optax")
        assert (variant.optax, variant.kwargs) == (optax.live.name, optax.kwargs)


def test_every_optimizer_is_measured():
    assert {variant.cls for variant in VARIANTS} == {case.cls for case in CASES}
    first = {case.name for case in CASES if not case.name.endswith(("-keras", "-optax"))}
    choose = {case.name for case in CASES if case.kwargs in getattr(pyfastlr, case.cls).rules.values()}
    assert {"sgd-momentum", "rmsprop-centered"} <= choose
    assert not {"adagrad-lr-decay", "sgd-dampening"} & choose  # the rule of another variant
    assert {variant.name for variant in VARIANTS} & first == first & choose


@pytest.mark.parametrize(
    "work",
    [x for variant in VARIANTS if NUMPY[2].can(x := Work(variant, one(64)))]
    + [Work(ADAM, TINY), Work(ADAM, one(64), "float64")],
    ids=lambda x: x.name,
)
def test_numpy_does_our_work(work):
    comparison = compare(work, 0.0, [x for x in NUMPY if x.can(work)])
    assert "numpy" in comparison.times


def test_every_contender_does_our_work():
    """In a separate process, because jax and torch start threads that must not exist in the fork tests."""
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "bench",
            "--benchmark-disable",
            "--max-n=20000",
            "-q",
            "-k",
            "adam-n64 or sgd-t",
        ],
        cwd=ROOT,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("states", [0, 1, 2, 3])
def test_empty_loop_reads_and_writes_everything_once_in_an_update(states):
    variant = next(variant for variant in VARIANTS if variant.states == states)
    work = Work(variant, one(CALL // 4 + 3), threads=1)
    gradients = [[np.ones(work.layout.size, np.float32)] for _ in range(POOL)]
    loop = Loop(work, gradients)
    start = loop.params.copy()
    loop.turn(0)()
    assert loop.updates == 4
    np.testing.assert_allclose(loop.params, start + loop.updates, atol=1e-5)
    assert [set(np.unique(x)) for x in loop.state] == [{1.0}] * states


@pytest.mark.parametrize("size", [16, UNIT - 1, UNIT + 1, CALL])
def test_empty_loop_has_work_for_a_call(size):
    work = Work(VARIANT["sgd"], one(size), threads=2)
    loop = Loop(work, work.gradients())
    assert CALL // size <= loop.updates <= 1.1 * CALL / size + UNIT / size + 1
    before = loop.params.copy()
    loop.turn(1)()
    assert (loop.params != before).all()


def test_times_of_many_updates_in_a_call_are_those_of_one():
    time = FakeTime()
    times = time.interleave(0.0, one=time.run("one", 1.0), four=time.run("four", 1.0)._replace(updates=4))
    assert (times["one"].minimum, times["four"].minimum) == (1.0, 0.25)


def test_the_limit_is_timed_by_its_updates():
    """A call moves 2**21 elements at least, so 2**18 of them many times."""
    work = Work(VARIANT["sgd"], one(1 << 18), threads=1)
    run = LIMIT.start(work, work.gradients())
    assert run.updates == Loop(work, work.gradients()).updates
    assert run.updates * work.layout.size >= CALL


# --- What is refused -------------------------------------------------------------------------------------------------


def spoiled(spoil, work, gradients):
    """Our contender, with `spoil` applied to the result."""
    run = OURS.start(work, gradients)
    return Run(run.turn, lambda: [spoil(x) for x in run.result()])


def nudge(x):
    x = x.copy()
    x[-1] += 1e-5
    return x


def nan(x):
    x = x.copy()
    x[0] = np.nan
    return x


@pytest.mark.parametrize("spoil", [nudge, nan, np.float64, lambda x: x[:-1], lambda x: 0.99 * x], ids=range(5))
def test_a_wrong_result_is_refused(spoil):
    wrong = Contender("wrong", partial(spoiled, spoil), lambda work: True)
    with pytest.raises(Mismatch, match="wrong does not do the same work as pyfastlr"):
        compare(Work(ADAM, TINY), 0.0, [OURS, wrong])


def test_every_contender_is_checked():
    same, wrong = replace(OURS, name="same"), Contender("wrong", partial(spoiled, nudge), lambda work: True)
    with pytest.raises(Mismatch, match="wrong does not do the same work as pyfastlr"):
        compare(Work(ADAM, one(64)), 0.0, [OURS, same, wrong])


@pytest.mark.parametrize(("size", "off", "refused"), [(999_999, 1, True), (1_000_000, 1, False), (1_000_000, 2, True)])
def test_one_element_of_a_million_may_differ(size, off, refused):
    start, ours = np.zeros(size, np.float32), np.ones(size, np.float32)
    theirs = ours.copy()
    theirs[:off] = 2.0
    assert bool(_difference(start, ours, theirs)) is refused
    assert not _difference(start, ours, ours.copy())


def test_a_contender_that_writes_into_the_gradients_is_refused():
    def start(work, gradients):
        run = OURS.start(work, gradients)
        return Run(lambda k: lambda: gradients[k][0].fill(1.0), run.result)

    with pytest.raises(Mismatch, match="rude writes into the gradients"):
        compare(Work(ADAM, one(64)), 0.0, [OURS, Contender("rude", start, lambda work: True)])


def test_an_absent_library_is_skipped_with_its_reason():
    def start(work, gradients):
        raise ImportError("no such library")

    comparison = compare(Work(ADAM, one(64)), 0.0, [OURS, Contender("absent", start, lambda work: True)])
    assert (set(comparison.times), comparison.absent) == ({"pyfastlr"}, {"absent": "no such library"})


# --- The table -------------------------------------------------------------------------------------------------------


def comparison(medians=1.2, **minima):
    times = {name.replace("_", " "): Times((x, x, medians * x, medians * x, 3 * x), 1) for name, x in minima.items()}
    return Comparison(Work(ADAM, one(64)), times, {})


def test_rows_compare_with_the_targets():
    found = {row.contender: row for row in rows(comparison(pyfastlr=1e-6, numpy=4e-6, optax_jit=8e-6, thinc=1e-3))}
    verdicts = {name: judge(row, found["pyfastlr"]) for name, row in found.items()}
    assert {name: verdict[:2] for name, verdict in verdicts.items()} == {
        "pyfastlr": (2e-6, True),
        "numpy": (5.0, False),
        "optax jit": (8.0, True),
        "thinc": (None, None),
    }
    assert found["numpy"].ratio == found["numpy"].ratio_of_medians == 4.0
    assert show(found["numpy"], verdicts["numpy"]).endswith("NOT REACHED")
    assert show(found["pyfastlr"], verdicts["pyfastlr"]).split()[-4:] == ["<=", "2", "µs", "reached"]


def test_rows_say_when_the_machine_was_disturbed():
    ours, theirs = rows(comparison(pyfastlr=1e-6, numpy=4e-6, medians=2.0))
    for row in (ours, theirs):
        assert judge(row, ours)[:2] == ({"pyfastlr": 2e-6, "numpy": 5.0}[row.contender], None)  # no verdict
        assert str(judge(row, ours)) == "disturbed"


def test_a_peer_that_was_disturbed_gets_no_verdict():
    ours, theirs = rows(comparison(pyfastlr=1e-6, numpy=4e-6))
    assert str(judge(theirs, ours)) == "NOT REACHED"
    assert str(judge(replace(theirs, median=1.51 * theirs.minimum), ours)) == "disturbed"
    assert str(judge(theirs, replace(ours, median=1.51 * ours.minimum))) == "disturbed"
    assert str(judge(replace(theirs, median=1.5 * theirs.minimum), ours)) == "NOT REACHED"
    assert str(judge(replace(theirs, spread=0.51 * theirs.minimum), ours)) == "disturbed"
    assert str(judge(theirs, replace(ours, spread=0.51 * ours.minimum))) == "disturbed"
    assert str(judge(replace(theirs, spread=0.5 * theirs.minimum), ours)) == "NOT REACHED"


def test_targets_name_layouts_and_contenders():
    assert set(RATIOS) == {layout.name for layout in LAYOUTS}
    assert {name for targets in RATIOS.values() for name in targets} <= {contender.name for contender in CONTENDERS}
    assert set(SECONDS) - {"cold", "warm"} <= set(RATIOS)


# --- Scaling ---------------------------------------------------------------------------------------------------------


def test_sweep_forces_threads_where_a_step_takes_one():
    small, large = sweep(0.0, sizes=(64, 65_536), max_n=65_536)
    assert {row.size for row in small} == {64}
    threads = small[0].threads
    assert (PARALLEL.name in {row.contender for row in small}) == (threads > 1)
    assert PARALLEL.name not in {row.contender for row in large}
    assert large[0].bytes >= host.PARALLEL_ABOVE
    assert host.PARALLEL_ABOVE == 1 << 20  # as it was


def at(size, **minima):
    times = {name.replace("_", " ").replace("threads1", "threads=1"): Times((x,), 1) for name, x in minima.items()}
    return rows(Comparison(Work(ADAM, one(size), threads=2), times, {}))


def test_crossover_is_where_all_larger_steps_gain():
    slow = at(10, pyfastlr=1.0, pyfastlr_parallel=3.0, pyfastlr_threads1=1.0)
    lucky = at(20, pyfastlr=1.0, pyfastlr_parallel=0.9, pyfastlr_threads1=1.0)
    unlucky = at(30, pyfastlr=1.0, pyfastlr_parallel=2.0, pyfastlr_threads1=1.0)
    fast = [at(size, pyfastlr=1.0, pyfastlr_threads1=2.0) for size in (40, 50)]
    assert crossover([*slow, *lucky, *unlucky, *fast[1], *fast[0]]) == (40 * 28, 40 * 28)
    assert crossover(slow) == (None, None)


def test_neighbour_holds_a_core_while_it_is_wanted():
    with busy_neighbour() as process:
        assert os.sched_getaffinity(process.pid) == {max(os.sched_getaffinity(0))}
        assert process.poll() is None
    assert process.poll() is not None


def test_quantiles():
    found = quantiles(Comparison(Work(ADAM, one(64)), {"pyfastlr": Times(tuple(range(101)), 1)}, {}))
    assert found == {"pyfastlr": {"p50": 50.0, "p90": 90.0, "p99": 99.0}}


# --- Every optimizer -------------------------------------------------------------------------------------------------


def test_every_optimizer_against_its_bytes():
    found = against_bytes(0.0, 64, [ADAM, VARIANT["sgd"]])
    assert [share.name for share in found] == ["adam", "sgd"]
    assert (found[0].by_minima, found[0].by_medians, found[0].bytes, found[1].bytes) == (1.0, 1.0, 64 * 28, 64 * 12)
    adam, sgd = (share.minimum for share in found)
    assert found[1].by_minima == pytest.approx(sgd / adam * 28 / 12)


@pytest.mark.parametrize(("by_minima", "words"), [(1.15, " reached"), (1.16, "NOT REACHED")])
def test_bytes_are_judged_by_the_minima(by_minima, words):
    assert str(all_optimizers.Share("lion", 20, 2e-6, 3e-6, by_minima, 1.0, False)).endswith(words)
    assert str(all_optimizers.Share("lion", 20, 2e-6, 3e-6, by_minima, 1.0, True)).endswith("x  disturbed")


def test_all_loops_are_measured():
    assert {variant.make(np.zeros(1), 0.1).rule for variant in LOOPS} == set(RULES)


def test_every_optimizer_against_peers(monkeypatch):
    monkeypatch.setattr(all_optimizers, "contenders", lambda size: NUMPY)
    found = list(against_peers(0.0, 100, [16, 1000], [ADAM]))
    assert [[row.size for row in rows] for rows in found] == [[16, 16, 16]]
    assert "SLOWER" not in summary(found[0])


@pytest.mark.parametrize(("minimum", "median", "slower"), [(3.0, 3.0, False), (0.95, 1.4, True), (1.2, 0.95, True)])
def test_slower_than_a_peer_is_by_more_than_the_spread(minimum, median, slower):
    ours = Row("adam", "n16", 16, "float32", 1, "pyfastlr", 2.0, 2.0, 0.9, 9, 448, 1.0, 1.0, None)
    peer = replace(ours, contender="peer", minimum=minimum, median=median, spread=0.1, ratio=minimum / 2.0)
    assert bool(slower_than([ours, peer])) is slower
    assert ("SLOWER than peer" in summary([ours, peer])) is slower


@pytest.mark.parametrize("whose", ["ours", "theirs"])
def test_nobody_is_called_quicker_who_was_disturbed(whose):
    ours = Row("adam", "n16", 16, "float32", 1, "pyfastlr", 2.0, 2.0, 0.1, 9, 448, 1.0, 1.0, None)
    peer = replace(ours, contender="peer", minimum=1.0, median=1.0, ratio=0.5)
    assert "SLOWER" in summary([ours, peer])
    pair = [replace(ours, median=3.1), peer] if whose == "ours" else [ours, replace(peer, median=1.6)]
    assert "SLOWER" not in summary(pair)
    assert summary(pair).endswith("disturbed")


def test_parts_of_the_empty_loop_are_all_moved_when_a_thread_comes_late(monkeypatch):
    """If a helper never runs, the others do its parts."""
    work = Work(VARIANT["sgd"], one(3 * UNIT), threads=3)
    loop = Loop(work, work.gradients())
    before = loop.params.copy()

    class Late:
        def submit(self, call, *arguments):
            return self

        def result(self):
            return None

    monkeypatch.setattr(loop, "_helpers", [Late(), Late()])
    loop.turn(0)()
    assert (loop.params != before).all()


# --- The command -----------------------------------------------------------------------------------------------------


def test_command_prints_the_rule_and_refuses_a_file_that_it_cannot_write(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(command, "first", dict)
    monkeypatch.setattr(command, "contenders", lambda size, wanted: NUMPY)
    monkeypatch.setattr(command, "machine", lambda: dict(MACHINE, load=9.0))
    assert command.main(["--max-n", "64", "--seconds", "0", "--json", str(tmp_path / "new" / "out.json")]) == 0
    out = capsys.readouterr().out
    assert "The machine was busy (load 9.0 for 2 threads)" in out
    assert "so no verdict is given" in out
    assert re.search(r"^best of \d+ samples or more$", out, re.MULTILINE)
    assert read(tmp_path / "new" / "out.json").machine["load"] == 9.0
    (tmp_path / "file").write_text("")
    with pytest.raises(SystemExit) as end:
        command.main(["--json", str(tmp_path / "file" / "out.json")])
    assert end.value.code == 2
    assert re.search("Not a directory|File exists", capsys.readouterr().err)


# --- Options of a step ------------------------------------------------------------------------------------------------


def test_every_contender_does_the_options_of_our_step():
    """Clipping, unscaling and averaging: the parameters and the average are compared, in a process of its own."""
    program = """
from pyfastlr.benchmark.compare import compare
from pyfastlr.benchmark.variants import VARIANTS
from pyfastlr.benchmark.work import EXTRAS, TINY, Work, one
adamw = next(x for x in VARIANTS if x.name == "adamw")
for extra in (EXTRAS, EXTRAS[:1], EXTRAS[1:2], EXTRAS[2:]):
    for layout in (one(1000), TINY):
        found = compare(Work(adamw, layout, extra=extra), 0.0)
print(*found.times, sep=",")
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    assert {"pyfastlr", "pyfastlr plain"} <= set(done.stdout.strip().split(","))


@pytest.mark.parametrize("missing", EXTRAS)
def test_a_contender_without_an_option_of_the_work_is_refused(missing):
    work = Work(ADAMW, one(300), threads=1, extra=EXTRAS)

    def start(work, gradients):
        less = OURS.start(replace(work, extra=tuple(x for x in EXTRAS if x != missing)), gradients)
        return less._replace(result=lambda: (2 * less.result())[: 2 * len(work.layout.shapes)])

    compare(work, 0.0, [OURS, PLAIN_OURS])
    with pytest.raises(Mismatch):
        compare(work, 0.0, [OURS, Contender("less", start, lambda work: True, extra=True)])


def test_bytes_of_options():
    """A clipped norm reads the gradients once more; an average is read and written."""
    work = Work(ADAMW, one(1000), extra=("clip_norm",))
    assert (work.bytes, work.optimizer) == (32_000, "adamw + clip_norm")
    assert Work(ADAMW, one(1000), extra=EXTRAS).bytes == 40_000
    found = rows(Comparison(work, {x: Times((1.0,), 1) for x in ("pyfastlr", "pyfastlr plain")}, {}))
    assert [(x.bytes, x.share) for x in found] == [(32_000, None), (28_000, None)]


def test_empty_loop_reads_the_gradients_once_more_to_clip():
    work = Work(VARIANT["sgd"], one(CALL + 3), threads=2, extra=("clip_norm", "ema_decay"))
    loop = Loop(work, work.gradients())
    before = loop.params.copy()
    loop.turn(0)()
    assert np.array_equal(loop.params, before + loop._gradients[0])
    assert [(x == -1.0).all() for x in loop.state] == [True]  # the average
    read = sorted((first, n) for only_read, n, first in loop._parts if only_read)
    assert sum(n for _, n in read) == CALL + 3
    assert read == sorted((first, n) for only_read, n, first in loop._parts if not only_read)


def test_a_contender_that_only_updates_takes_no_part():
    work = Work(ADAMW, one(64), extra=EXTRAS)
    assert {x.name for x in CONTENDERS if x.can(work)} == {
        "pyfastlr", "pyfastlr plain", *(["pyfastlr threads=1"] if work.threads > 1 else []), "torch for-loop",
        "torch foreach", "torch fused", "optax jit", "empty loop", "empty loop plain",
    }  # fmt: skip
    assert not any(x.can(Work(ADAMW, one(64))) for x in (PLAIN_OURS, PLAIN_LIMIT))


@pytest.mark.parametrize(
    ("size", "seconds", "reached"),
    [
        (10_000_000, {"pyfastlr": 1.0, "torch fused": 1.81}, True),
        (10_000_000, {"pyfastlr": 1.0, "torch fused": 1.79}, False),
        (10_000_000, {"pyfastlr": 1.0}, None),
        (40_000_000, {"pyfastlr": 1.19, "pyfastlr plain": 0.9, "empty loop": 1.14, "empty loop plain": 1.0}, True),
        (40_000_000, {"pyfastlr": 1.21, "pyfastlr plain": 1.1, "empty loop": 1.14, "empty loop plain": 1.0}, False),
        (64, {"pyfastlr": 5.1e-7, "pyfastlr plain": 4e-7}, True),
        (64, {"pyfastlr": 5.6e-7, "pyfastlr plain": 4e-7}, False),
    ],
)
def test_options_are_judged(size, seconds, reached, monkeypatch):
    monkeypatch.setattr("bench.options.WORKS", [x for x in WORKS if x[0] == size])
    times = {name: Times((x,), 1) for name, x in seconds.items()}
    (cost,) = costs(0.0, size, lambda work, seconds, contenders: Comparison(work, times, {}))
    assert cost.reached is reached
    assert str(cost).endswith({True: "  reached", False: "  NOT REACHED", None: "  no verdict"}[reached])


# --- Subnormal numbers ------------------------------------------------------------------------------------------------


def test_a_long_run_is_slowed_by_what_lasts(monkeypatch):
    """A few slow blocks are not the run; a tenth of them is."""

    def ratio(slow):
        monkeypatch.setattr(subnormal, "REPEATS", 1)
        blocks = iter([1.0] * subnormal.NORMAL + slow + [1.0] * subnormal.BLOCKS)
        monkeypatch.setattr(subnormal, "_block", lambda step: next(blocks))
        return subnormal.slowdown(lambda p: pyfastlr.SGD(p, lr=0.1), "float32", 0.0)

    assert ratio([9.0] * 10) == 1.0
    assert ratio([9.0] * 30) == 9.0


def test_kinds_of_small_gradients():
    for dtype in (np.float32, np.float64):
        info = np.finfo(dtype)
        zero, tiny, squares, below = (dtype(f(info)) for f in subnormal.KINDS.values())
        assert zero == 0 < below < info.tiny < tiny < squares
        assert tiny * tiny == 0 < squares * squares < info.tiny


def test_every_optimizer_runs_with_small_gradients(monkeypatch):
    def steps(make, dtype, small):
        return make(np.ones(3, dtype)).step(np.ones(3, dtype)) or 1.31

    monkeypatch.setattr(subnormal, "slowdown", steps)
    found = list(subnormal.slowdowns([ADAM]))
    assert len(found) == 2 * (1 + len(subnormal.OPTIONS))
    assert str(found[0]).endswith("slowed by zero, tiny, subnormal squares, subnormal")
