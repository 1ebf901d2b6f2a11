"""`pyfastlr bench`: what it measures, shows, saves, draws and compares; the README's section from a saved run."""

import errno
import json
import os
import runpy
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread
from typer.testing import CliRunner

from pyfastlr.benchmark import compare, contenders, memory, report
from pyfastlr.benchmark.changes import changes
from pyfastlr.benchmark.compare import Mismatch
from pyfastlr.benchmark.contenders import ABOVE_LIMIT, Absent
from pyfastlr.benchmark.report import Report, Row, caches, duration, read, times
from pyfastlr.benchmark.variants import VARIANTS
from pyfastlr.benchmark.work import Work, one
from pyfastlr.cli import bench as command
from pyfastlr.cli import tables
from pyfastlr.cli.commands import app
from pyfastlr.cli.files import check_writable

ROOT = Path(__file__).resolve().parents[1]
OURS = [x for x in contenders.CONTENDERS if x.name in ("pyfastlr", "pyfastlr threads=1", "numpy", "empty loop")]


@pytest.fixture
def few(monkeypatch):
    """Only contenders that start no threads, which must not exist in the fork tests."""
    monkeypatch.setattr(report, "CONTENDERS", OURS)


def invoke(*arguments):
    return CliRunner().invoke(app, ["bench", *map(str, arguments)], env={"COLUMNS": "110"})


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
    assert [line.partition(", best of ")[0] for line in lines if line.startswith("lion, ")] == [
        f"lion, {size} x float64, 2 threads" for size in ("64", "1,000")
    ]
    names = ["pyfastlr", "pyfastlr threads=1", "numpy", "empty loop"]
    assert [name for line in lines for name in names if line.startswith(f"{name}  ")] == 2 * names
    again = read(out)
    assert [(x.size, x.contender, x.bytes) for x in again.rows] == [
        (size, name, 5 * 8 * size) for size in (64, 1000) for name in names
    ]
    assert {"cpu", "pyfastlr", "numpy", "numba", "caches", "threads", "load"} <= again.machine.keys()
    for x in again.rows:
        loop = next(y for y in again.rows if y.size == x.size and y.contender == "empty loop")
        assert x.share == pytest.approx(loop.minimum / x.minimum)
    assert imread(picture).shape[2] == 4


def test_measures_the_options_of_a_step(few, tmp_path):
    out = tmp_path / "out.json"
    result = invoke(
        "--optimizer", "adamw", "--sizes", 64, "--seconds", 0, "--json", out, "--extra", "EMA_decay, clip_norm"
    )
    assert result.exit_code == 0, result.output
    assert "adamw + clip_norm + ema_decay, 64 x float32" in result.output
    assert [(x.contender, x.bytes) for x in read(out).rows] == [
        (name, 64 * 40) for name in ("pyfastlr", "pyfastlr threads=1", "empty loop")
    ]
    refused = invoke("--extra", "clip")
    assert refused.exit_code == 2
    assert "`extra` must be one of clip_norm, inv_scale, ema_decay, got 'clip'" in refused.output


def test_loads_and_compares(tmp_path):
    old = write(tmp_path / "old.json", saved(row(), row("numpy", 4e-6, 4.0), row("thinc", 1e-5, 10.0)))
    new = write(tmp_path / "new.json", saved(row(minimum=2e-6), row("numpy", 6e-6, 3.0), cpu="6502"))
    result = invoke("--load", new, "--compare", old)
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    start = lines.index(next(line for line in lines if line.startswith("adam 64 ")))
    assert [line.split() for line in lines[start + 1 : start + 4]] == [
        ["pyfastlr", "1", "µs", "2", "µs", "+100", "%", "+100", "%", "0", "%", "worse"],
        ["numpy", "4.00x", "3.00x", "-25", "%", "-25", "%", "0", "%", "worse"],
        [],
    ]
    assert "another machine: Z80" in result.output
    other = write(tmp_path / "other.json", saved(row(size=65)))
    assert "no measurement in common" in invoke("--load", new, "--compare", other).output


def test_changes_are_of_the_same_work():
    old = saved(row(), row(dtype="float64"), row("numpy"))
    (change,) = changes(old, saved(row(threads=1), row("numpy", 3.0)))
    assert (change.old, change.new) == (row("numpy"), row("numpy", 3.0))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--optimizer", "Adamm"), "Adamm"),
        (("--dtype", "float16"), "float16"),
        (("--sizes", "64,x"), "got 'x'"),
        (("--sizes", "0"), "integers >= 1"),
        (("--plot", "out.txt"), "out.txt"),
        (("--json", "no/such/folder.json"), "folder.json"),
        (("--compare", "no-such.json"), "no-such.json"),
        (("--compare", "no-such.json"), "No such file or directory"),
        (("--load", __file__), "it is not JSON (line 1)"),
        (("--sizes", "99999999999"), "need about"),
        (("--sizes", "1e400"), "integers >= 1"),
        (("--sizes", "64,1.5"), "integers >= 1"),
        (("--sizes", "nan"), "integers >= 1"),
        (("--seconds", "inf"), "`seconds` must be a finite number"),
        (("--json", f"{__file__}/out.json"), "Not a directory"),
    ],
)
def test_refuses_before_it_measures(arguments, words, monkeypatch):
    monkeypatch.setattr(report, "machine", lambda: pytest.fail("measures"))
    result = CliRunner().invoke(app, ["bench", *arguments], env={"COLUMNS": "300"})
    assert result.exit_code == 2
    assert words in result.output
    assert "Error(" not in result.output  # words, not an exception's repr


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
    assert [duration(x) for x in (0.9996, 999.4e-6, 1234.0)] == ["1000 ms", "999 µs", "1234 s"]
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


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("optimizer", "adam"),
        ("sizes", "64"),
        ("dtype", "float32"),
        ("threads", "2"),
        ("seconds", "1.5"),
        ("extra", "clip_norm"),
    ],
)
def test_load_refuses_what_it_would_ignore(option, value, tmp_path):
    """Also if it is the default value, because a user who gives it expects it to have an effect."""
    result = invoke("--load", write(tmp_path / "x.json", saved(row())), f"--{option}", value)
    assert result.exit_code == 2
    assert f"`{option}` must be left out with `load`" in result.output


@pytest.mark.parametrize(
    ("text", "sizes"), [("1e3,1_000", [1000]), ("64, 1.5e2", [64, 150]), ("2e0", [2]), ("+7,0_0_3", [7, 3])]
)
def test_sizes_are_numbers_as_python_writes_them(text, sizes):
    assert [work.layout.size for work in command._works(["Adam"], text, "float32", 1, None)] == sizes


def test_says_what_it_measures_and_prints_each_table_at_once(few, monkeypatch):
    """On stderr, so that stdout has only the tables; and nothing is buffered during measurement."""
    events = []
    monkeypatch.setattr(report.Report, "take", lambda self, comparison: events.append("measured") or [row()])
    monkeypatch.setattr(tables, "work", lambda rows: events.append("printed") or "TABLE")
    result = invoke("--sizes", "64,100", "--seconds", 0)
    assert result.exit_code == 0, result.output
    assert events == ["measured", "printed"] * 2
    assert result.stderr.splitlines() == ["1/2  adam-n64-float32", "2/2  adam-n100-float32"]
    assert "n64-float32" not in result.stdout


def test_a_contender_that_does_other_work_is_told_not_traced(few, monkeypatch):
    def wrong(*_):
        raise Mismatch("numpy does not do the same work as pyfastlr")

    monkeypatch.setattr(compare, "compare", wrong)
    result = invoke("--sizes", "64", "--seconds", 0)
    assert result.exit_code == 1
    assert result.stderr.endswith("pyfastlr: numpy does not do the same work as pyfastlr\n")


# --- What is so ------------------------------------------------------------------------------------------------------


def shown(found, *arguments, tmp_path):
    result = CliRunner().invoke(
        app, ["bench", "--load", str(write(tmp_path / "shown.json", found)), *arguments], env={"COLUMNS": "150"}
    )
    assert result.exit_code == 0, result.output
    return result.output


def line_of(text, start):
    (line,) = [line for line in text.splitlines() if line.strip().startswith(start)]
    return line.split()


def test_shows_medians_beside_best_times_and_how_many_samples(tmp_path):
    rows = row(median=1.2e-6, spread=0.3e-6, samples=9), row("thinc", 4e-6, 4.0, ratio_of_medians=3.0, samples=5)
    text = shown(saved(*rows), tmp_path=tmp_path)
    assert "adam, 64 x float32, 2 threads, best of 5 to 9" in text
    assert line_of(text, "pyfastlr  ") == ["pyfastlr", "1", "µs", "1.2", "µs", "25", "%", "1.8", "1.00x", "1.00x"]
    assert line_of(text, "thinc")[-2:] == ["4.00x", "3.00x"]
    assert "*" not in text
    assert "limit" not in text.partition("best, median:")[2]
    assert "spread: their interquartile range" in " ".join(text.split())


def test_tables_fit_into_80_columns_and_keep_every_name(tmp_path):
    """The width of most terminals, which rich also assumes for a pipe."""
    widest = {"minimum": 123e-3, "median": 987e-3, "spread": 65.0, "size": 10**7, "bytes": 28 * 10**7, "samples": 10**4}
    names = [x.name for x in contenders.CONTENDERS]
    found = saved(*(row(**widest, contender=name, ratio=23456.0, share=2.93) for name in names))
    path = write(tmp_path / "x.json", found)
    text = CliRunner().invoke(app, ["bench", "--load", str(path), "--compare", str(path)], env={"COLUMNS": "80"}).stdout
    tables, changed = text[: text.index("best, median:")], text[text.index("Since pyfastlr") :]
    for part, mark in ((tables, "*"), (changed, "disturbed")):
        lines = [line.strip() for line in part.splitlines()]
        for name in names:
            assert [line.split()[-1] for line in lines if line.startswith(f"{name}  ") or f"{name} 1" in line] == [mark]
        assert "…" not in part


@pytest.mark.parametrize("whose", ["pyfastlr", "thinc", "empty loop"])
@pytest.mark.parametrize(("figure", "times"), [("median", 1.51), ("spread", 0.51)])
def test_marks_what_was_disturbed(whose, figure, times, tmp_path):
    rows = [row(share=0.5), row("thinc", 4e-6, 4.0, share=0.125), row("empty loop", 5e-7, 0.5, share=1.0)]
    rows = [replace(x, **{figure: times * x.minimum}) if x.contender == whose else x for x in rows]
    text = shown(saved(*rows), tmp_path=tmp_path)
    marked = {x.contender for x in rows if line_of(text, f"{x.contender}  ")[-1] == "*"}
    assert marked == ({x.contender for x in rows} if whose == "pyfastlr" else {whose})
    shares = {x.contender for x in rows if "%*" in line_of(text, f"{x.contender}  ")}
    assert shares == ({x.contender for x in rows} if whose == "empty loop" else {whose})
    assert (
        "* disturbed: the median is above 1.5 times the best time, or the interquartile range is above 0.5 times it,"
        in " ".join(text.split())
    )


def flowing(text):
    """Text without its line breaks."""
    return " ".join(text.split())


def test_explains_the_limit_and_why_a_share_may_pass_it(tmp_path):
    below = shown(saved(row(share=0.9), row("thinc", share=0.001)), tmp_path=tmp_path)
    assert "limit: the best time of a loop" in below
    assert max(map(len, below[below.index("best, median:") :].splitlines())) <= 80
    assert "Above 100 %" not in below
    assert ABOVE_LIMIT not in flowing(below)
    assert "< 1 %" in below
    above = shown(saved(row(share=2.93)), tmp_path=tmp_path)
    assert "293 %" in above
    assert f"Above 100 %: {ABOVE_LIMIT}" in flowing(above)


@pytest.mark.parametrize(("load", "warned"), [(1.0, False), (1.1, True), (None, False)])
def test_warns_of_load(load, warned, tmp_path):
    text = shown(saved(row(), load=load), tmp_path=tmp_path)
    assert ("The machine was busy (load 1.1 for 2 threads)" in text) is warned
    assert (f"load {load}" if load else "load unknown") in text


@pytest.mark.parametrize(
    ("contender", "minima", "medians", "spread", "verdict"),
    [
        ("pyfastlr", 0.8, 0.8, 0.0, "better"),
        ("pyfastlr", 1.2, 1.2, 0.0, "worse"),
        ("numpy", 0.8, 0.8, 0.0, "worse"),
        ("numpy", 1.2, 1.2, 0.0, "better"),
        ("numpy", 1.2, 1.2, 0.15, "noise"),  # four spreads of 15 %: 30 %
        ("pyfastlr", 0.8, 0.8, 0.15, "noise"),  # two: 21 %
        ("pyfastlr", 0.75, 0.75, 0.15, "better"),
        ("pyfastlr", 0.8, 1.2, 0.0, "noise"),  # they disagree
        ("pyfastlr", 1.0, 1.2, 0.0, "noise"),
    ],
)
def test_a_change_is_judged_beyond_its_noise(contender, minima, medians, spread, verdict):
    ours = row(minimum=1.0, spread=spread)
    old = [ours, row("numpy", 4.0, 4.0, spread=4 * spread)]
    if contender == "pyfastlr":
        new = [replace(ours, minimum=minima, median=medians, spread=medians * spread), old[1]]
    else:
        new = [ours, replace(old[1], ratio=4 * minima, ratio_of_medians=4 * medians)]
    found = {x.new.contender: x for x in changes(saved(*old), saved(*new))}[contender]
    assert found.of_minima == pytest.approx(minima - 1)
    assert found.of_medians == pytest.approx(medians - 1)
    assert found.noise == pytest.approx(spread * (2 if contender == "numpy" else 2**0.5))
    assert found.verdict == verdict


@pytest.mark.parametrize("when", ["old", "new"])
@pytest.mark.parametrize("whose", [0, 1])
def test_no_verdict_on_a_change_of_what_was_disturbed(when, whose):
    reports = {x: [row(), row("numpy", 4e-6, 4.0)] for x in ("old", "new")}
    reports["new"][1] = replace(reports["new"][1], ratio=9.0, ratio_of_medians=9.0)
    reports[when][whose] = replace(reports[when][whose], median=1.0)
    ours, numpy = changes(saved(*reports["old"]), saved(*reports["new"]))
    assert numpy.verdict == "disturbed"  # a ratio has a part of both
    assert (ours.verdict == "disturbed") is (whose == 0)


# --- Files and memory ------------------------------------------------------------------------------------------------


def spoil(key, value, part=None):
    """A saved report with one thing wrong; `...` removes it."""
    found = saved(row(), row("numpy")).as_json()
    place = found if part is None else found[part] if part != "rows" else found["rows"][1]
    place[key] = value
    if value is ...:
        del place[key]
    return found


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        ([], "it has no 'machine'"),
        (spoil("rows", ...), "it has no 'rows'"),
        (spoil("rows", 3), "its 'rows' is '3'"),
        (spoil("cpu", ..., "machine"), "it has no 'cpu'"),
        (spoil("load", "much", "machine"), "its 'load' is 'much'"),
        (spoil("median", ..., "rows"), "it has no 'median'"),
        (spoil("minimum", "1 s", "rows"), "its 'minimum' is '1 s'"),
        (spoil("minimum", 0, "rows"), "its 'minimum' is 0"),
        (spoil("ratio", float("nan"), "rows"), "its 'ratio' is nan"),
        (spoil("samples", True, "rows"), "its 'samples' is 'True'"),
        (spoil("size", None, "rows"), "its 'size' is None"),
    ],
)
def test_a_file_that_is_none_of_ours_is_named_with_its_reason(found, reason, tmp_path):
    (tmp_path / "x.json").write_text(json.dumps(found))
    with pytest.raises(ValueError, match="must be a file that `pyfastlr bench --json` wrote: ") as problem:
        read(tmp_path / "x.json")
    assert str(problem.value).endswith(reason)


def test_a_file_that_is_no_text_is_named_with_its_reason(tmp_path):
    (tmp_path / "x.json").write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match="it is not text"):
        read(tmp_path / "x.json")


def test_a_failed_save_is_told_not_traced(tmp_path, monkeypatch):
    found = write(tmp_path / "x.json", saved(row()))

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    result = invoke("--load", found, "--json", tmp_path / "y.json")
    assert result.exit_code == 1
    assert result.stderr.endswith("y.json' could not be written: No space left on device\n")


def test_a_file_that_can_be_written_keeps_its_content(tmp_path):
    new, old = tmp_path / "new", tmp_path / "old"
    old.write_text("content")
    for path in (new, old):
        check_writable("json", path)
    assert not new.exists()
    assert old.read_text() == "content"
    with pytest.raises(ValueError, match=r"`json` must be a file that can be written, got .*: Not a directory"):
        check_writable("json", old / "below")


def test_memory(tmp_path, monkeypatch):
    work = Work(VARIANTS[[x.name for x in VARIANTS].index("adam")], one(1000))
    assert memory.needed(work, OURS[:1]) == 4000 * (2 * 2 + 2 + 4)  # gradients; compared; p, m, v and a temporary
    assert memory.needed(work, OURS) > memory.needed(work, OURS[:1])
    (tmp_path / "meminfo").write_text("MemTotal:  9 kB\nMemAvailable:   39 kB\n")
    assert memory.available(tmp_path / "meminfo") == 39 << 10
    assert memory.available(tmp_path / "none") is None
    for free, fits in ((39_999, False), (40_000, True), (None, True)):
        monkeypatch.setattr(memory, "available", lambda free=free: free)
        with nullcontext() if fits else pytest.raises(ValueError, match=r"1,000 elements of adam need about 0\.0 GB"):
            memory.check(work, OURS[:1])


# --- The README ------------------------------------------------------------------------------------------------------

PERFORMANCE = runpy.run_path(str(ROOT / "scripts" / "readme_performance.py"))


def test_readme_section_is_that_of_its_saved_run():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (source,) = PERFORMANCE["SOURCE"].findall(text)
    assert PERFORMANCE["render"](text, ROOT / source) == text
    assert PERFORMANCE["render"](text.replace("pyfastlr | samples", "ours"), ROOT / source) == text
    assert (ROOT / "docs" / "performance.png").exists()
    with pytest.raises(ValueError, match="need a section"):
        PERFORMANCE["render"]("none here", ROOT / source)


def test_readme_section_takes_its_numbers_from_the_rows():
    found = [
        row(median=1.4e-6, samples=7),
        row("numpy", 4e-6, 4.0, ratio_of_medians=3.0),
        row("empty loop", 5e-7, 0.5),
        row(size=100, layout="tiny-226"),
    ]
    lines = PERFORMANCE["section"](saved(*found), "z80.json").splitlines()
    assert lines[0].startswith("One step of Adam, float32, 2 threads of Z80: the best time, with the median in")
    assert lines[3:7] == [
        "| parameters | pyfastlr | samples | share of limit | numpy |",
        "|---|--:|--:|--:|--:|",
        "| 64 elements | 1 µs (1.4 µs) | 7 | 50 % (50 %) | 4.00x (3.00x) |",
        "| 226 arrays of 64 elements | 1 µs (1 µs) | 1 |  |  |",
    ]
    for word in ("busy", "†", ABOVE_LIMIT[:40]):
        assert word not in "".join(lines)
    assert "busy (load 1.5 for 2 threads)" in PERFORMANCE["section"](saved(*found, load=1.5), "z80.json")


@pytest.mark.parametrize("disturbed", ["pyfastlr", "numpy", "empty loop"])
def test_readme_section_marks_what_was_disturbed(disturbed):
    found = [row(), row("numpy", 4e-6, 4.0), row("empty loop", 5e-7, 0.5)]
    found = [replace(x, median=1.51 * x.minimum) if x.contender == disturbed else x for x in found]
    text = PERFORMANCE["section"](saved(*found), "z80.json")
    cells = [cell.strip() for cell in text.splitlines()[5].split("|")[1:-1]]
    marked = {"pyfastlr": 0, "empty loop": 3, "numpy": 4}
    assert [k for k, cell in enumerate(cells) if cell.endswith("†")] == [marked[disturbed]]
    assert "† Disturbed: the median is above 1.5 times the best time" in text


def test_readme_section_says_why_a_share_passes_the_limit():
    text = PERFORMANCE["section"](saved(row(), row("empty loop", 1.2e-6, 1.2)), "z80.json")
    assert "| 120 % (120 %) |" in text
    assert ABOVE_LIMIT in flowing(text)
