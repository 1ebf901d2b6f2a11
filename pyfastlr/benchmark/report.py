"""Reports: measurements as rows that can be shown, saved, drawn and compared."""

import json
import math
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from importlib import metadata
from pathlib import Path
from typing import Any

from pyfastlr.cli.info import collect

from . import interleave
from .compare import Comparison
from .contenders import CONTENDERS, LIMIT, PLAIN_LIMIT, PLAIN_OURS, Contender
from .interleave import Times
from .variants import VARIANTS
from .work import Work, one

PEERS = ("torch", "jax", "optax", "scikit-learn", "thinc", "deepspeed")  # distributions
BUSY = 0.5  # load per thread before the run; above it, peers that wait for all their threads look arbitrarily slow
LARGE = 10_000_000  # elements; above it, contenders with many passes and temporaries are left out, for time and memory
WORDS = ("optimizer", "layout", "dtype", "contender")  # text fields of a row; all others are numbers
FACTS = {"pyfastlr": str, "cpu": str, "load": (int, float, type(None)), "caches": dict}  # facts that are shown
CACHES = Path("/sys/devices/system/cpu/cpu0/cache")


@dataclass(frozen=True)
class Row:
    """One contender at one work. Times are in seconds per update."""

    optimizer: str
    layout: str
    size: int
    dtype: str
    threads: int
    contender: str
    minimum: float
    median: float
    spread: float  # interquartile range
    samples: int
    bytes: int  # that the update must move
    ratio: float  # this contender's minimum divided by ours
    ratio_of_medians: float
    share: float | None  # of the empty loop's speed; None if the loop did not run

    @property
    def key(self) -> tuple[str, str, str, int]:
        """Key that is equal for rows that were measured together."""
        return self.optimizer, self.layout, self.dtype, self.threads

    @property
    def gigabytes_per_second(self) -> float:
        """Bytes that the update must move, divided by the best time, in GB/s."""
        return self.bytes / self.minimum / 1e9

    @property
    def noise(self) -> float:
        """Spread as a fraction of the median."""
        return self.spread / self.median

    @property
    def disturbed(self) -> bool:
        """Whether something else ran on the machine at the same time; if so, no verdict is given."""
        return interleave.disturbed(self.minimum, self.median, self.spread)


def disturbed(*together: Row | Times | None) -> bool:
    """Return whether a figure made from these times is disturbed: one of them is enough."""
    return any(x is not None and x.disturbed for x in together)


def rows(comparison: Comparison) -> list[Row]:
    """Return a row for each contender."""
    work, times = comparison.work, comparison.times
    alone = replace(work, extra=())
    found = []
    for name, x in times.items():
        is_plain = name in (PLAIN_OURS.name, PLAIN_LIMIT.name)
        limit = times.get(PLAIN_LIMIT.name if is_plain else LIMIT.name)
        found.append(
            Row(
                work.optimizer, work.layout.name, work.layout.size, work.dtype, work.threads,
                name, x.minimum, x.median, x.spread, len(x.samples), (alone if is_plain else work).bytes,
                *comparison.ratios(name), limit.minimum / x.minimum if limit else None,
            )
        )  # fmt: skip
    return found


@dataclass(frozen=True)
class Report:
    """Rows, and the machine that they were measured on."""

    machine: Mapping[str, Any]
    rows: list[Row] = field(default_factory=list)
    absent: dict[str, str] = field(default_factory=dict)  # contender -> why

    def take(self, comparison: Comparison) -> list[Row]:
        """Add a comparison; return its rows."""
        found = rows(comparison)
        self.rows.extend(found)
        self.absent.update(comparison.absent)
        return found

    def works(self) -> list[list[Row]]:
        """Return the rows grouped by work, in the order of the works."""
        found: dict[Any, list[Row]] = {}
        for row in self.rows:
            found.setdefault(row.key, []).append(row)
        return list(found.values())

    def as_json(self) -> dict[str, Any]:
        """Return the report as values for `json.dump`."""
        return {"machine": self.machine, "rows": [asdict(row) for row in self.rows], "absent": self.absent}


def read(path: Path) -> Report:
    """Read a report from a file that was saved with `as_json`.

    Raises
    ------
    ValueError
        If the file cannot be read or is not such a file.
    """
    try:
        saved = json.loads(path.read_text(encoding="utf-8"))
        machine = _part(saved, "machine", dict)
        for name, kind in FACTS.items():
            _part(machine, name, kind)
        return Report(machine, [_row(row) for row in _part(saved, "rows", list)], _part(saved, "absent", dict))
    except OSError as problem:
        reason = problem.strerror or str(problem)
    except UnicodeDecodeError:
        reason = "it is not text"
    except json.JSONDecodeError as problem:
        reason = f"it is not JSON (line {problem.lineno})"
    except ValueError as problem:
        reason = str(problem)
    raise ValueError(f"{str(path)!r} must be a file that `pyfastlr bench --json` wrote: {reason}")


def _part(saved: Any, name: str, kind: Any) -> Any:
    """Return a value of the file."""
    if not isinstance(saved, dict) or name not in saved:
        raise ValueError(f"it has no {name!r}")
    if not isinstance(found := saved[name], kind) or isinstance(found, bool):
        raise ValueError(f"its {name!r} is {str(found)[:40]!r}")
    return found


def _row(saved: Any) -> Row:
    values = {x.name: _part(saved, x.name, str if x.name in WORDS else FACTS["load"]) for x in fields(Row)}
    for name in ("size", "threads", "minimum", "median", "samples", "bytes", "ratio", "ratio_of_medians"):
        if (value := values[name]) is None or not 0 < value < math.inf:
            raise ValueError(f"its {name!r} is {value!r}")
    return Row(**values)


def works(
    names: Sequence[str], sizes: Sequence[int], dtype: str, threads: int, extra: tuple[str, ...] = ()
) -> list[Work]:
    """Return the plain variants of these optimizer classes, over one buffer of each size."""
    chosen = [x for name in names for x in VARIANTS if x.cls == name and not x.kwargs]
    return [Work(variant, one(size), dtype, threads, extra) for variant in chosen for size in sizes]


def contenders(size: int, wanted: Collection[str] = ()) -> list[Contender]:
    """Return all contenders that suit this many elements, and those wanted by name."""
    return [x for x in CONTENDERS if x.large or size <= LARGE or x.name in wanted]


# --- The machine -----------------------------------------------------------------------------------------------------


def machine() -> dict[str, Any]:
    """Return facts about the machine and the libraries."""
    threading = {k: v for k, v in os.environ.items() if k.startswith(("OMP_", "GOMP_", "KMP_", "XLA_"))}
    return {
        **{name: value for name, value in collect().items() if not name.startswith("cache")},
        **{name: found for name in PEERS if (found := _version(name))},
        "caches": caches(),
        "environment": threading,
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,  # Windows has none
    }


def load_words(machine: Mapping[str, Any]) -> str:
    """Return the load as text."""
    return "load unknown" if machine["load"] is None else f"load {machine['load']:.1f}"


def warning(machine: Mapping[str, Any]) -> str:
    """Return a warning if the machine was busy before the measurement, or an empty string."""
    load, threads = machine["load"], machine.get("threads", 1)
    if load is None or load <= BUSY * threads:
        return ""
    return (
        f"The machine was busy (load {load:.1f} for {threads} threads): do not rely on these numbers. "
        "Measure again when it is quiet."
    )


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def caches(folder: Path = CACHES) -> dict[str, int]:
    """Return the bytes of data cache by level ("L1", ...) for one core; empty if the system does not say."""
    found = {}
    for index in sorted(folder.glob("index*")):
        level, kind, size = ((index / name).read_text().strip() for name in ("level", "type", "size"))
        if kind != "Instruction" and size.endswith("K"):
            found[f"L{level}"] = int(size[:-1]) << 10
    return found


# --- Words -----------------------------------------------------------------------------------------------------------


def duration(seconds: float) -> str:
    """Return seconds as three digits and a unit."""
    factor, unit = next((x for x in ((1.0, "s"), (1e3, "ms"), (1e6, "µs")) if seconds * x[0] >= 1.0), (1e9, "ns"))
    return f"{seconds * factor:{'.3g' if seconds * factor < 999.5 else '.0f'}} {unit}"


def times(ratio: float) -> str:
    """Return a ratio with two decimals, or without from 100 on."""
    return f"{ratio:.2f}x" if ratio < 100 else f"{ratio:.0f}x"


def percent(fraction: float) -> str:
    """Return a percentage without decimals; "< 1 %" instead of 0."""
    return f"{100 * fraction:.0f} %" if fraction >= 0.005 else "< 1 %"
