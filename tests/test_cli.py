"""The command line: its output, the input that it refuses, and its messages if an extra is missing."""

import io
import json
import os
import re
import subprocess
import sys
import time

import numpy as np
import pytest
from matplotlib.image import imread
from typer.testing import CliRunner

import pyfastlr
from pyfastlr import demo, plot
from pyfastlr.cli import commands, info
from pyfastlr.cli.commands import app


def invoke(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments], env={"COLUMNS": "200"})


def run(*arguments, missing=()):
    """Run `main` in a separate process without the packages `missing`."""
    code = f"""
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {missing!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Missing())
sys.argv = ["pyfastlr", *{arguments!r}]
from pyfastlr.cli import main
main()
"""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=300)


def test_version_in_a_process_of_its_own():
    result = run("--version")
    assert (result.returncode, result.stdout, result.stderr) == (0, f"pyfastlr {pyfastlr.__version__}\n", "")


@pytest.mark.parametrize(
    ("arguments", "missing", "extra"),
    [
        (("info",), ("typer", "rich"), "cli"),
        (("info",), ("typer",), "cli"),
        (("demo",), ("rich", "typer"), "cli"),
        (("demo",), ("sklearn",), "demo"),
        (("demo", "--plot", "demo.png"), ("matplotlib",), "demo"),
    ],
)
def test_missing_extra_is_named(arguments, missing, extra):
    result = run(*arguments, missing=missing)
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    assert f'pip install "pyfastlr[{extra}]"' in result.stderr


def test_another_missing_package_is_not_blamed_on_an_extra():
    result = run("info", missing=("llvmlite",))
    assert result.returncode == 1
    assert "ModuleNotFoundError: No module named 'llvmlite'" in result.stderr


def test_without_plot_the_demo_needs_no_matplotlib():
    result = run("demo", "--steps", "2", missing=("matplotlib",))
    assert result.returncode == 0, result.stderr


def test_help_lists_the_commands():
    result = invoke("--help")
    assert result.exit_code == 0
    assert "demo" in result.output
    assert "info" in result.output


def test_help_names_every_schedule():
    words = set(re.findall(r"[a-z-]+", invoke("demo", "--help").output))
    assert set(demo.SCHEDULES) <= words


def test_info():
    result = invoke("info")
    facts = dict(re.split(r"  +", line, maxsplit=1) for line in result.output.splitlines())
    assert result.exit_code == 0
    assert facts["pyfastlr"] == pyfastlr.__version__
    assert facts["numpy"] == np.__version__


def test_info_says_what_the_cuda_target_would_need(monkeypatch):
    monkeypatch.setattr(info, "missing", lambda: "no compiler")
    assert info.collect()["cuda"] == "no compiler"


def test_info_says_which_cuda_compiler_there_is(monkeypatch):
    versions = {"numba-cuda": "1.2.3"}
    monkeypatch.setattr(info, "missing", lambda: None)
    monkeypatch.setattr(info, "version_of", lambda name: versions.get(name, "other"))
    assert info.collect()["cuda"] == "numba-cuda 1.2.3; never run on a device: docs/cuda.md"


def test_info_as_json(tmp_path, monkeypatch):
    monkeypatch.setenv("PYFASTLR_CACHE_DIR", str(tmp_path / "none" / "yet"))
    monkeypatch.setenv("PYFASTLR_NUM_THREADS", "3")
    facts = json.loads(invoke("info", "--json").output)
    assert facts == info.collect()
    assert facts["threads"] == 3
    assert facts["cache_directory"] == str(tmp_path / "none" / "yet")
    assert (facts["cache_writable"], facts["cache_size"], facts["cached_kernels"]) == (True, 0, 0)
    assert not (tmp_path / "none").exists()  # it was looked at, not made


def test_info_counts_the_kernels(tmp_path):
    program = "import numpy, pyfastlr; pyfastlr.SGD(numpy.zeros(3), lr=0.1).step(numpy.ones(3))"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "PYFASTLR_CACHE_DIR": str(tmp_path)}
    subprocess.run([sys.executable, "-c", program], check=True, env=environment, timeout=300)
    (tmp_path / "sgd-of-another-version.o").write_bytes(b"")
    result = subprocess.run(
        [sys.executable, "-c", "from pyfastlr.cli import main; main()", "info", "--json"],
        check=True, capture_output=True, env=environment, timeout=300,
    )  # fmt: skip
    facts = json.loads(result.stdout)
    assert facts["cached_kernels"] == len(list(tmp_path.glob("*.o"))) - 1 >= 1
    assert facts["cache_size"] == sum(file.stat().st_size for file in tmp_path.iterdir()) > 1000


def test_prune_deletes_what_is_no_longer_used(tmp_path, monkeypatch):
    monkeypatch.setenv("PYFASTLR_CACHE_DIR", str(tmp_path))
    for name, age in [("old", 31), ("new", 29)]:
        (tmp_path / f"{name}.o").write_bytes(bytes(1_500_000))
        then = time.time() - age * 24 * 3600
        os.utime(tmp_path / f"{name}.o", (then, then))
    assert invoke("warmup", "--prune").output == f"1 files of 1.5 MB deleted: {tmp_path}\n"
    assert [file.name for file in tmp_path.iterdir()] == ["new.o"]


def test_cache_that_is_a_file_is_not_writable(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PYFASTLR_CACHE_DIR", str(tmp_path / "file"))
    assert info.collect()["cache_writable"] is False


def test_demo_prints_lines_and_a_table_where_output_is_no_terminal():
    result = invoke("demo", "--steps", 60, "--optimizer", "adamw", "--schedule", "One-Cycle", "--threads", 1)
    assert result.exit_code == 0, result.output
    lines = re.findall(r"^ *(\d+)/60  loss (\S+)  rate (\S+)  test accuracy (\S+)$", result.output, re.MULTILINE)
    assert [int(line[0]) for line in lines] == list(range(6, 61, 6))
    assert float(lines[-1][1]) < float(lines[0][1])
    accuracy = re.search(r"test accuracy +│ +(\S+) +│ +(\S+)", result.output).groups()
    assert accuracy[0] == lines[-1][3]
    for row in ("final training loss", "largest difference", "first update", "the other 59", "median", "speed-up"):
        assert row in result.output


def test_demo_prints_a_line_for_every_tenth():
    lines = re.findall(r"^ *(\d+)/234  loss", invoke("demo", "--steps", 234).output, re.MULTILINE)
    assert [10 * int(line) // 234 for line in lines] == list(range(1, 11))
    assert lines[-1] == "234"


def test_demo_shows_a_progress_bar_in_a_terminal():
    from rich.console import Console

    from pyfastlr.demo import Training

    console = Console(force_terminal=True, width=120, record=True)
    commands._train(Training(steps=40), console)
    assert re.search(r"40/40 +loss \d\.\d{4} +rate \S+ +test accuracy 0\.\d{4}", console.export_text())


def test_demo_of_one_update_has_no_others_to_time():
    result = invoke("demo", "--steps", 1)
    assert result.exit_code == 0, result.output
    assert "first update" in result.output
    assert "speed-up" not in result.output


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (90.0, "90.00 s"),
        (1.0, "1.00 s"),
        (0.25, "250.00 ms"),
        (1.5e-3, "1.50 ms"),
        (0.25e-3, "250.0 µs"),
        (1.5e-6, "1.5 µs"),
        (0.0, "0.0 µs"),
    ],
)
def test_durations_have_a_unit(seconds, text):
    assert commands._duration(seconds) == text


def test_demo_s_table_has_the_times_of_both_and_their_ratio():
    """The second update took plain numpy 20 times as long, the third 3, the fourth 5: the medians are 4 to 40 µs."""
    from rich.console import Console

    training = demo.Training(steps=4)
    training.seconds[:] = [(0.5, 2e-3), (2e-6, 40e-6), (14e-6, 40e-6), (4e-6, 20e-6)]
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(commands._summary(training))
    found = []
    for line in console.export_text().splitlines():
        cells = [cell.strip() for cell in line.split("│")[1:-1]]
        if len(cells) == 3:
            found.append(cells)
    assert ["first update (compiles or loads)", "500.00 ms", "2.00 ms"] in found
    assert found[-4:] == [
        ["the other 3 updates", "20.0 µs", "100.0 µs"],
        ["speed-up", "5.0x", ""],  # of the totals above it
        ["their median", "4.0 µs", "40.0 µs"],
        ["speed-up", "10.0x", ""],
    ]


def test_demo_says_where_there_is_no_plain_numpy_update(monkeypatch):
    monkeypatch.delitem(demo.PLAIN, "AdamW")
    result = invoke("demo", "--steps", 5)
    assert result.exit_code == 0, result.output
    assert "There is no plain numpy AdamW to compare with." in result.output
    assert "nan" not in result.output
    assert "speed-up" not in result.output


def test_demo_writes_a_picture(tmp_path):
    path = tmp_path / "picture.png"
    result = invoke("demo", "--steps", 60, "--plot", path)
    assert result.exit_code == 0, result.output
    assert path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    pixels = (255 * imread(path)[..., :3]).round().astype(int).reshape(-1, 3)
    for colour in (plot.BLUE, plot.GREEN, plot.RED):  # every curve is there
        assert (pixels == list(bytes.fromhex(colour[1:]))).all(axis=1).sum() > 100


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--optimizer", "adamm"], "`optimizer` must be one of "),
        (["--optimizer", "rprop"], "the demo does not offer Rprop, because it needs gradients over all data, "),
        (["--optimizer", "FTRL"], "the demo does not offer FTRL, because its rate must not be 0, "),
        (["--schedule", "sine"], "`schedule` must be one of constant, cosine,"),
        (["--steps", "0"], "Invalid value for '--steps'"),
        (["--steps", "many"], "Invalid value for '--steps'"),
        (["--hidden", "-1"], "Invalid value for '--hidden'"),
        (["--batch", "1348"], "`batch` must be in 1..1347, got 1348"),
        (["--seed", "-1"], "Invalid value for '--seed'"),
        (["--threads", "0"], "Invalid value for '--threads'"),
        (["--lr", "-0.1"], "-0.1"),
        (["--lr", "nan"], "nan"),
        (["--plot", "picture.xyz"], "`plot` must end in one of "),
        (["--plot", "no/such/folder/picture.png"], "`plot` must be a file that can be written"),
        (["--plot", f"{__file__}/picture.png"], "`plot` must be a file that can be written"),
        (["--unknown"], "No such option: --unknown"),
    ],
)
def test_bad_option_is_a_short_error(options, message):
    result = invoke("demo", "--steps", "1", *options)
    assert result.exit_code == 2
    assert message in re.sub(r"[\s│]+", " ", result.output)  # the message is wrapped in a box
    assert "Traceback" not in result.output


def test_bad_environment_is_a_short_error(monkeypatch):
    monkeypatch.setenv("PYFASTLR_NUM_THREADS", "two")
    result = invoke("info")
    assert result.exit_code == 2
    assert "PYFASTLR_NUM_THREADS" in result.output


def test_divergence_is_told_not_traced():
    result = invoke("demo", "--optimizer", "SGD", "--schedule", "constant", "--lr", "1e20", "--steps", "50")
    assert result.exit_code == 1
    assert re.search(
        r"^pyfastlr: the loss is (nan|inf) at update \d+: use a smaller `lr`$", result.output, re.MULTILINE
    )
