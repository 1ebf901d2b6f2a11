"""Compare Adam with its targets: ``python -m bench``."""

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pyfastlr.benchmark.compare import compare
from pyfastlr.benchmark.contenders import OURS
from pyfastlr.benchmark.interleave import DISTURBED
from pyfastlr.benchmark.report import (
    PEERS,
    Report,
    Row,
    contenders,
    disturbed,
    duration,
    load_words,
    machine,
    warning,
)  # fmt: skip
from pyfastlr.benchmark.work import Work
from pyfastlr.cli.files import check_writable
from pyfastlr.engines import host

from . import adapters, subnormal, torch_adapter
from .all_optimizers import BYTES_SIZE, against_bytes, against_peers, slower_than, summary
from .first_step import first_step
from .in_jax import OURS as OURS_IN_JAX
from .in_jax import in_jax
from .keras_fit import against_keras
from .options import costs
from .scaling import ADAM, DEFAULT_MAX, QUANTILES, beside_neighbour, crossover, sweep
from .targets import LAYOUTS, RATIOS, SECONDS, Verdict, judge, show

HOW = f"""\
Adam, float32. Ratio: time divided by pyfastlr's, for the best times and for the medians. The empty loop's ratio is the
share of the limit that pyfastlr reaches. Spread: interquartile range.
disturbed: {DISTURBED},
in this row or in pyfastlr's. Something else ran on the machine, so no verdict is given.
"""
HEAD = "{:<21}{:>9}{:>10}{:>10}{:>8}{:>9}{:>9}  {:>10}"


def against_targets(report: Report, seconds: float, max_n: int) -> None:
    """Measure every layout, and print its table."""
    for layout in LAYOUTS:
        if layout.size > max_n:
            continue
        comparison = compare(Work(ADAM, layout), seconds, contenders(layout.size, RATIOS[layout.name]))
        found = report.take(comparison)
        ours = next(row for row in found if row.contender == OURS.name)
        print(f"best of {min(row.samples for row in found)} samples or more")
        print(HEAD.format(layout.name, "best", "median", "spread", "GB/s", "ratio", "medians", "target"))
        print("\n".join(show(row, judge(row, ours)) for row in found))
        if any((row.share or 0) > 1 for row in found):
            print("  Faster than the empty loop: it is not a bound here. On busy cores, its threads lose more time.")
        for name, reason in comparison.absent.items():
            print(f"  {name:<19} skipped: {reason}")
        print(flush=True)


def against_sizes(seconds: float, max_n: int) -> list[Row]:
    """Measure every size, and print GB/s by contender and where a second thread pays."""
    found: list[Row] = []
    print("Throughput in GB/s")
    for at_size in sweep(seconds, max_n):
        found += at_size
        speeds = ", ".join(f"{row.contender} {row.gigabytes_per_second:.1f}" for row in at_size)
        print(f"  {at_size[0].size:>11,}  {speeds}", flush=True)
    bounds = ("never" if x is None else f"{x:,}" for x in crossover(found))
    print("All threads are faster from this many bytes on, by minima and by medians: {}, {}".format(*bounds))
    print(f"  (pyfastlr uses them from {host.PARALLEL_ABOVE:,} on)\n")
    return found


def beside(seconds: float) -> dict[str, Any]:
    """Measure with a busy process on one of the cores, and print quantiles."""
    found = beside_neighbour(seconds)
    print("A step of 1,000,000 elements")
    for where, by_contender in found.items():
        for name, seconds_at in by_contender.items():
            print(f"  {where:<24}{name:<19}" + "".join(f"{q:>6}{duration(seconds_at[q]):>9}" for q in QUANTILES))
    print()
    return found


def every_rule(seconds: float, max_n: int) -> list[dict[str, Any]]:
    """Compare every optimizer's time with that of its bytes, and print."""
    size = max(1, min(BYTES_SIZE, max_n))
    print(f"Every optimizer, {size:,} elements: time / time of its bytes at Adam's bandwidth, by minima and medians")
    found = against_bytes(seconds, size)
    print("\n".join(map(str, found)), end="\n\n", flush=True)
    return [share._asdict() for share in found]


def every_peer(seconds: float, max_n: int) -> list[Row]:
    """Measure every optimizer at every size against every peer, and print the fastest peer."""
    print("Every optimizer: our time, and the fastest peer's time divided by ours, by minima and medians")
    found: list[Row] = []
    slower = 0
    for at_size in against_peers(seconds, max_n):
        print(summary(at_size), flush=True)
        found += at_size
        slower += len(slower_than(at_size))
    print(f"Slower than a peer by more than the spread (disturbed rows left out): {slower or 'never'}\n")
    return found


def every_option(seconds: float, max_n: int) -> list[Row]:
    """Measure clipping, unscaling and averaging in the step, and print their targets."""
    print("Options of a step")
    found: list[Row] = []
    for cost in costs(seconds, max_n):
        ours = next(row for row in cost.found if row.contender == OURS.name)
        print(f"  {ours.optimizer}, {ours.size:,} elements")
        print("\n".join(show(row, Verdict(None, None, disturbed(row, ours))) for row in cost.found))
        print(cost, end="\n\n", flush=True)
        found += cost.found
    return found


def every_small_gradient() -> list[dict[str, Any]]:
    """Measure long runs of zero and tiny gradients, and print."""
    print("Long runs of zero and tiny gradients: time / time with normal ones")
    print(subnormal.HEAD)
    found = []
    for x in subnormal.slowdowns():
        print(x, flush=True)
        found.append(x._asdict())
    print()
    return found


def every_c_step(seconds: float, max_n: int) -> list[dict[str, Any]]:
    """Compare the C library's steps with the driver's, and print their targets."""
    from . import capi  # compiles the library

    print("The C library: time of a step / the driver's, and what it takes more than the bare loop, each with medians")
    print(capi.HEAD)
    found = []
    for x in capi.against_driver(seconds, max_n):
        print(x, flush=True)
        found.append(x.as_json())
    return found


def in_keras() -> list[dict[str, Any]]:
    """Measure AdamW inside Keras on torch, and print."""
    print("AdamW in Keras on torch: our time, Keras', and the ratios of minima and medians")
    found = against_keras()
    if isinstance(found, str):
        print(f"  skipped: {found}\n")
        return []
    print("\n".join(map(str, found)), end="\n\n", flush=True)
    return [x._asdict() for x in found]


def every_step_in_jax(seconds: float, max_n: int) -> list[dict[str, Any]]:
    """Measure steps inside programs of JAX, and print them beside optax."""
    print(f"Steps jitted by JAX: best and median times (time divided by that of {OURS_IN_JAX})")
    found = []
    for x in in_jax(seconds, max_n):
        print(x, flush=True)
        figures = {name: {"minimum": t.minimum, "median": t.median, "spread": t.spread} for name, t in x.times.items()}
        found.append({"optimizer": x.optimizer, "layout": x.layout, "verdict": x.verdict, "times": figures})
    print()
    return found


def every_adapter(seconds: float, names: list[str]) -> dict[str, Any]:
    """Measure the adapters for other libraries against those libraries' own optimizers, and print."""
    found: dict[str, Any] = {}
    for name in names:
        measure, what = ADAPTERS[name]
        print(f"{name}: {what}")
        print(adapters.HEAD)
        try:
            found[name] = [x.as_json() for x in measure(seconds)]
        except ImportError as missing:
            print(f"  skipped: {missing}")
        print()
    return found


ADAPTERS = {
    "sklearn": (adapters.fits, "whole fits of MLPClassifier, float32, with scikit-learn's solver and with ours"),
    "thinc": (adapters.updates, "Adam's updates, float32, with thinc's and with ours"),
}


def first() -> dict[str, float]:
    """Measure new processes, and print."""
    found = first_step()
    print("First step in a new process, 1,000,000 elements, after `import numba`")
    print(f"  {'import pyfastlr':<19}{duration(found['import']):>9}")
    print(f"  {'cold, clip_norm':<19}{duration(found['cold_with_options']):>9}")
    for name in ("cold", "warm"):
        reached = "reached" if found[name] <= SECONDS[name] else "NOT REACHED"
        print(f"  {name + ' cache':<19}{duration(found[name]):>9}  {'<= ' + duration(SECONDS[name]):>10}  {reached}")
    return found


def main(arguments: list[str] | None = None) -> int:
    """Measure, print, save."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--max-n", type=int, default=DEFAULT_MAX, help="leave out work with more elements")
    parser.add_argument("--seconds", type=float, default=10.0, help="seconds of measurement for each work")
    parser.add_argument("--scaling", action="store_true", help="also measure sizes, threads and a busy neighbour")
    parser.add_argument("--rules", action="store_true", help="also compare every optimizer with the time of its bytes")
    parser.add_argument("--peers", action="store_true", help="also compare every optimizer with every peer")
    parser.add_argument("--options", action="store_true", help="also measure clipping, unscaling and averaging")
    parser.add_argument("--capi", action="store_true", help="also compare the C library with the driver")
    parser.add_argument("--subnormal", action="store_true", help="also measure long runs of zero and tiny gradients")
    parser.add_argument("--keras", action="store_true", help="also measure training by Keras on torch")
    parser.add_argument("--jax", action="store_true", help="also compare steps inside programs of JAX with optax")
    for name, (_, what) in ADAPTERS.items():
        parser.add_argument(f"--{name}", action="store_true", help=f"also measure {what}")
    parser.add_argument("--torch", action="store_true", help="also measure the optimizers for torch, and whole loops")
    parser.add_argument("--json", type=Path, help="save the results to this file")
    options = parser.parse_args(arguments)
    if options.json:
        try:
            options.json.parent.mkdir(parents=True, exist_ok=True)
            check_writable("json", options.json)  # before the measurement
        except (OSError, ValueError) as problem:
            parser.error(getattr(problem, "strerror", None) or str(problem))

    report = Report(machine())
    facts = report.machine
    print(f"{facts['cpu']}, {facts['threads']} threads (numpy, scikit-learn, thinc: 1), {load_words(facts)}")
    print(", ".join(f"{name} {facts[name]}" for name in ("pyfastlr", "numba", "numpy", *PEERS) if name in facts))
    if busy := warning(facts):
        print(busy)
    print(HOW)
    against_targets(report, options.seconds, options.max_n)
    more: dict[str, Any] = {}
    if options.scaling:
        more["scaling"] = [asdict(row) for row in against_sizes(options.seconds / 2, options.max_n)]
        more["neighbour"] = beside(options.seconds)
    if options.rules:
        more["rules"] = every_rule(3 * options.seconds, options.max_n)
    if options.peers:
        more["peers"] = [asdict(row) for row in every_peer(options.seconds / 6, options.max_n)]
    if options.options:
        more["options"] = [asdict(row) for row in every_option(options.seconds, options.max_n)]
    if options.capi:
        more["capi"] = every_c_step(options.seconds / 10, options.max_n)
    if options.subnormal:
        more["subnormal"] = every_small_gradient()
    if options.keras:
        more["keras"] = in_keras()
    if options.jax:
        more["jax"] = every_step_in_jax(options.seconds / 2, options.max_n)
    more |= every_adapter(options.seconds, [name for name in ADAPTERS if getattr(options, name)])
    if options.torch:
        more["torch"] = torch_adapter.measured(options.seconds, options.max_n)
    more["first_step"] = first()
    if options.json:
        options.json.write_text(json.dumps(report.as_json() | more, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
