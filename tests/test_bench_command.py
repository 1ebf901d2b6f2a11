"""`pyfastlr bench`: what it measures, shows, saves, draws and compares; the README's section from a saved run."""

import json
import os
import runpy
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread
from typer.testing import CliRunner

from pyfastlr.benchmark import contenders, report
from pyfastlr.benchmark.contenders import Absent
from pyfastlr.benchmark.report import Report, Row, caches, changes, duration, read, times
from pyfastlr.benchmark.variants import VARIANTS
from pyfastlr.benchmark.work import Work, one
from pyfastlr.cli.commands import app

ROOT = Path(__file__).resolve().parents[1]
OURS = [x for x in contenders.CONTENDERS if x.name in ("pyfastlr", "pyfastlr threads=1", "numpy", "empty loop")]


@pytest.fixture
def few(monkeypatch):
    """Only contenders that bring no threads, which tests of forks must not meet."""
    monkeypatch.setattr(report, "CONTENDERS", OURS)


def invoke(*arguments):
    return CliRunner().invoke(app, ["bench", *map(str, arguments)], env={"COLUMNS": "90"})


def row(contender="pyfastlr", minimum=1e-6, ratio=1.0, size=64, **options):
    given = {"optimizer": "adam", "layout": f"n{size}", "size": size, "dtype": "float32", "threads": 2}
    given |= {"median": minimum, "spread": 0.0, "samples": 1, "bytes": 28 * size, "ratio_of_medians": ratio}
    return Row(**given | {"contender": contender, "minimum": minimum, "ratio": ratio, "share": None} | options)


def saved(*rows, **machine):
    facts = {"cpu": "Z80", "pyfastlr": "0.0", "python": "3", "load": 0.0, "threads": 2, "caches": {"L1": 1 << 15}}
    return Report(facts | machine, list(rows))


def write(path, found):
    path.write_text(json.dumps(found.as_json()))
    return path


def test_measures_shows_saves_and_draws(few, tmp_path):
    out, picture = tmp_path / "out.json", tmp_path / "out.png"
    result = invoke("--optimizer", "lion", "--sizes", "64,1000", "--seconds", 0, "--json", out, "--plot", picture,
                    "--dtype", "float64", "--threads", 2)  # fmt: skip
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert [line.strip() for line in lines if line.startswith("lion, ")] == [
        f"lion, {size} x float64, 2 threads" for size in ("64", "1,000")
    ]
    names = ["pyfastlr", "pyfastlr threads=1", "numpy", "empty loop"]
    assert [name for line in lines for name in names if line.startswith(f"  {name}  ")] == 2 * names
    again = read(out)
    assert [(x.size, x.contender, x.bytes) for x in again.rows] == [
        (size, name, 5 * 8 * size) for size in (64, 1000) for name in names
    ]
    assert {"cpu", "pyfastlr", "numpy", "numba", "caches", "threads", "load"} <= again.machine.keys()
    for x in again.rows:
        loop = next(y for y in again.rows if y.size == x.size and y.contender == "empty loop")
        assert x.share == pytest.approx(loop.minimum / x.minimum)
    assert imread(picture).shape[2] == 4


def test_loads_and_compares(tmp_path):
    old = write(tmp_path / "old.json", saved(row(), row("numpy", 4e-6, 4.0), row("thinc", 1e-5, 10.0)))
    new = write(tmp_path / "new.json", saved(row(minimum=2e-6), row("numpy", 6e-6, 3.0), cpu="6502"))
    result = invoke("--load", new, "--compare", old)
    assert result.exit_code == 0, result.output
    words = [line.split() for line in result.output.splitlines() if line.split()[:2] == ["adam", "64"]]
    assert words == [
        ["adam", "64", "pyfastlr", "1", "µs", "2", "µs", "+100", "%"],
        ["adam", "64", "numpy", "4.00x", "3.00x", "-25", "%"],
    ]
    assert "another machine: Z80" in result.output
    other = write(tmp_path / "other.json", saved(row(size=65)))
    assert "Nothing in common" in invoke("--load", new, "--compare", other).output


def test_changes_are_of_the_same_work():
    old = saved(row(), row(dtype="float64"), row("numpy"))
    assert list(changes(old, saved(row(threads=1), row("numpy", 3.0)))) == [(row("numpy"), row("numpy", 3.0))]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--optimizer", "Adamm"), "Adamm"),
        (("--dtype", "float16"), "float16"),
        (("--sizes", "64,x"), "64,x"),
        (("--sizes", "0"), "integers from 1 on"),
        (("--plot", "out.txt"), "out.txt"),
        (("--json", "no/such/folder.json"), "folder.json"),
        (("--compare", "no-such.json"), "no-such.json"),
        (("--load", __file__), "JSONDecodeError"),
    ],
)
def test_refuses_before_it_measures(arguments, words, monkeypatch):
    monkeypatch.setattr(report, "machine", lambda: pytest.fail("measures"))
    result = invoke(*arguments)
    assert result.exit_code == 2
    assert words in result.output


def test_large_work_is_for_those_who_can():
    assert {x.name for x in contenders.CONTENDERS} > {x.name for x in report.contenders(report.LARGE + 1)}
    assert "numpy" not in {x.name for x in report.contenders(report.LARGE + 1)}
    assert "numpy" in {x.name for x in report.contenders(report.LARGE + 1, ("numpy",))}
    assert report.contenders(report.LARGE) == list(contenders.CONTENDERS)


@pytest.mark.parametrize("name", ["optax jit", "DeepSpeedCPUAdam"])
def test_who_takes_all_cores_stays_away_from_fewer_threads(name):
    work = Work(VARIANTS[[x.name for x in VARIANTS].index("adam")], one(64), threads=1 + len(os.sched_getaffinity(0)))
    contender = next(x for x in contenders.CONTENDERS if x.name == name)
    with pytest.raises(Absent, match="taskset"):
        contender.start(work, work.gradients())


def test_caches(tmp_path):
    for k, content in enumerate([("1", "Data", "48K"), ("1", "Instruction", "32K"), ("3", "Unified", "32768K")]):
        index = tmp_path / f"index{k}"
        index.mkdir()
        for name, text in zip(("level", "type", "size"), content, strict=True):
            (index / name).write_text(text + "\n")
    assert caches(tmp_path) == {"L1": 48 << 10, "L3": 32 << 20}
    assert caches(tmp_path / "none") == {}


def test_words():
    assert [duration(x) for x in (2.0, 1.234e-3, 5e-6, 7.89e-9)] == ["2 s", "1.23 ms", "5 µs", "7.89 ns"]
    assert [times(x) for x in (1.234, 123.4)] == ["1.23x", "123x"]


def test_picture_marks_caches_and_limit():
    from pyfastlr.benchmark.picture import throughput

    rows = [row(name, size=size) for name in ("pyfastlr", "empty loop") for size in (64, 4096)]
    (axes,) = throughput(saved(*rows)).axes
    assert [line.get_label() for line in axes.lines[:2]] == ["pyfastlr", "limit (empty loop)"]
    np.testing.assert_allclose(axes.lines[0].get_ydata(), [28 * 64 / 1e3, 28 * 4096 / 1e3])
    assert axes.lines[2].get_xdata()[0] == (1 << 15) / 16  # Adam touches 16 bytes an element
    with pytest.raises(ValueError, match="got none"):
        throughput(saved())


# --- The README ------------------------------------------------------------------------------------------------------

PERFORMANCE = runpy.run_path(str(ROOT / "scripts" / "readme_performance.py"))


def test_readme_section_is_that_of_its_saved_run():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (source,) = PERFORMANCE["SOURCE"].findall(text)
    assert PERFORMANCE["render"](text, ROOT / source) == text
    assert PERFORMANCE["render"](text.replace("pyfastlr | of the limit", "ours"), ROOT / source) == text
    assert (ROOT / "docs" / "performance.png").exists()
    with pytest.raises(ValueError, match="need a section"):
        PERFORMANCE["render"]("none here", ROOT / source)


def test_readme_section_takes_its_numbers_from_the_rows():
    found = [row(), row("numpy", 4e-6, 4.0), row("empty loop", 5e-7, 0.5), row(size=100, layout="tiny-226")]
    lines = PERFORMANCE["section"](saved(*found), "z80.json").splitlines()
    assert lines[0].endswith("2 threads of Z80: the time of ours,")
    assert lines[3:7] == [
        "| parameters | pyfastlr | of the limit | numpy |",
        "|---|--:|--:|--:|",
        "| 64 elements | 1 µs | 50 % | 4.00x |",
        "| 226 arrays of 64 elements | 1 µs |  |  |",
    ]
    assert "busy" not in "".join(lines)
    assert "busy (load 1.5)" in PERFORMANCE["section"](saved(*found, load=1.5), "z80.json")
