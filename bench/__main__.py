"""Adam against its targets: ``python -m bench``."""

import argparse
import json
import os
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from cases import CASES
from pyfastlr._info import collect

from .compare import Comparison, compare
from .contenders import CONTENDERS, OURS
from .first_step import first_step
from .work import LAYOUTS, Work

# Each contender's time over ours must reach this, by the minima; for the empty loop it is our share of its speed.
RATIOS = {
    "n64": {"numpy": 5.0, "optax jit": 8.0, "torch fused": 30.0},
    "n10000": {"numpy": 6.0, "optax jit": 4.0, "torch fused": 12.0},
    "n1000000": {"numpy": 15.0, "optax jit": 2.3, "torch fused": 1.5},
    "n40000000": {"numpy": 9.0, "torch fused": 1.05, "empty loop": 0.95},
    "transformer-226": {"torch fused": 1.5},
    "tiny-226": {"torch fused": 25.0},
}
SECONDS = {"n64": 2.0e-6, "cold": 2.0, "warm": 0.3}  # at most
STEADY = 1.5  # median over minimum; above, something else ran on the machine, and the ratio means little
PEERS = ("torch", "jax", "optax", "scikit-learn", "thinc")
MANY = 10_000_000  # elements: above, only contenders with a target and our own, or memory would not do for all

Row = dict[str, Any]


def duration(seconds: float) -> str:
    """Three digits and a unit."""
    scale, unit = (1.0, "s") if seconds >= 1.0 else (1e3, "ms") if seconds >= 1e-3 else (1e6, "us")
    return f"{seconds * scale:.3g} {unit}"


def ratio(x: float) -> str:
    """Two decimals, or none."""
    return f"{x:8.2f}x" if x < 100 else f"{x:8.0f}x"


def rows(comparison: Comparison) -> list[Row]:
    """One for each contender, as JSON can hold it."""
    work, found = comparison.work, []
    targets = RATIOS[work.layout.name]
    for name, times in comparison.times.items():
        by_minima, by_medians = comparison.ratios(name)
        limit = SECONDS.get(work.layout.name) if name == OURS.name else None
        target = targets.get(name)
        reached = by_minima >= target if target else times.minimum <= limit if limit else None
        steady = all(x.median <= STEADY * x.minimum for x in (times, comparison.times[OURS.name]))
        found.append(
            {
                "work": work.name, "contender": name, "minimum": times.minimum, "median": times.median,
                "spread": times.spread, "samples": len(times.samples), "calls": times.calls,
                "bytes_per_second": work.bytes / times.minimum, "ratio_of_minima": by_minima,
                "ratio_of_medians": by_medians, "target": target or limit, "reached": reached,
                "steady": steady,
            }
        )  # fmt: skip
    return found


def show(row: Row) -> str:
    """A line of the table."""
    target = row["target"]
    wanted = "" if target is None else f">= {target:g}x" if target >= 0.1 else f"<= {duration(target)}"
    return (
        f"  {row['contender']:<19}{duration(row['minimum']):>9}{duration(row['median']):>10}"
        f"{duration(row['spread']):>10}{row['bytes_per_second'] / 1e9:8.1f}{ratio(row['ratio_of_minima'])}"
        f"{ratio(row['ratio_of_medians'])}  {wanted:>10}  {verdict(row)}"
    )


def verdict(row: Row) -> str:
    """What became of the target."""
    words = "" if row["reached"] is None else "reached" if row["reached"] else "NOT REACHED"
    return words if row["steady"] else f"{words} (disturbed)".lstrip()


def machine() -> dict[str, Any]:
    """What was measured on and with."""
    installed = {name: metadata.version(name) for name in PEERS if _there(name)}
    openmp = {name: value for name, value in os.environ.items() if name.startswith(("OMP_", "GOMP_", "KMP_", "XLA_"))}
    return {**collect(), **installed, "environment": openmp, "load": os.getloadavg()}


def _there(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def main(arguments: list[str] | None = None) -> int:
    """Measure, print, save."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--max-n", type=int, default=40_000_000, help="leave out work with more elements")
    parser.add_argument("--seconds", type=float, default=10.0, help="of timing for each work")
    parser.add_argument("--json", type=Path, help="save what was measured")
    options = parser.parse_args(arguments)
    (adam,) = (case for case in CASES if case.name == "adam")

    facts = machine()
    print(f"{facts['cpu']}, {facts['threads']} threads (numpy, scikit-learn, thinc: 1), load {facts['load'][0]:.1f}")
    print(", ".join(f"{name} {facts[name]}" for name in ("pyfastlr", "numba", "numpy", *PEERS) if name in facts))
    print("Adam, float32. Ratios: time over pyfastlr's, of minima and of medians; spread: distance of the quartiles.\n")
    head = ("minimum", "median", "spread", "GB/s", "ratios", "", "target")
    found: list[Row] = []
    for layout in LAYOUTS:
        if layout.size > options.max_n:
            continue
        targets = RATIOS[layout.name]
        few = [x for x in CONTENDERS if layout.size <= MANY or x.name in targets or x.name.startswith(OURS.name)]
        comparison = compare(Work(adam, layout), options.seconds, few)
        table = rows(comparison)
        found += table
        print("{:<21}{:>9}{:>10}{:>10}{:>8}{:>9}{:>9}  {:>10}".format(layout.name, *head))
        print("\n".join(map(show, table)))
        for name, reason in comparison.absent.items():
            print(f"  {name:<19} skipped: {reason}")
        print(flush=True)

    first = first_step()
    print("First step in a new process, 1,000,000 elements, after `import numba`")
    print(f"  {'import pyfastlr':<19}{duration(first['import']):>9}")
    for name in ("cold", "warm"):
        reached = "reached" if first[name] <= SECONDS[name] else "NOT REACHED"
        print(f"  {name + ' cache':<19}{duration(first[name]):>9}  {'<= ' + duration(SECONDS[name]):>10}  {reached}")
    if options.json:
        report = {"machine": facts, "rows": found, "first_step": first}
        options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
