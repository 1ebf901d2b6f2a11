"""`pyfastlr checkpoint inspect` and `verify`."""

import json

import numpy as np
import pytest

import pyfastlr as flr
from pyfastlr import schedules as S
from pyfastlr.files import write
from test_cli import invoke
from test_files import crafted


@pytest.fixture
def path(tmp_path):
    params = {"layer": {"w": np.ones((3, 4), np.float32), "[b]": np.zeros(4, np.float32)}}
    opt = flr.Adam(params, S.Cosine(0.5, 100), groups=[{"params": "layer.[b]", "lr": 0.25}])
    opt.step({"layer": {"w": np.ones((3, 4), np.float32), "[b]": None}})
    flr.save(tmp_path / "run.safetensors", params, opt, epoch=3, note="two\nlines \x1b[31m", best=float("inf"))
    return tmp_path / "run.safetensors"


def test_inspect(path):
    result = invoke("checkpoint", "inspect", path)
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    for name, value in {
        "file": str(path), "bytes": f"{path.stat().st_size:,}", "checksums": "CRC-32; the header is whole",
        "class": "Adam", "steps": "1", "extra epoch": "3", "extra note": json.dumps("two\nlines \x1b[31m"),
    }.items():  # fmt: skip
        assert f"{name:<20} {value}" in lines
    assert any(line.startswith("group 0 ") and "Cosine" in line for line in lines)
    assert any(line.startswith("group 1 ") and "0.25" in line for line in lines)
    assert not any("null" in line or "false" in line for line in lines)
    assert f"{'last rate':<20} 0.5" in lines
    assert any(line.split()[1:8:2] == ["params.layer.w", "F32", "3x4", "48"] for line in lines)
    assert "state.exp_avg.layer.[b]" in result.stdout
    assert "\x1b" not in result.stdout


def test_inspect_as_json(path):
    found = json.loads(invoke("checkpoint", "inspect", path, "--json").stdout)
    assert found["bytes"] == path.stat().st_size
    assert found["checksums"] == "crc32"
    assert (found["optimizer"]["class"], found["optimizer"]["steps"]) == ("Adam", 1)
    assert found["extra"] == {"epoch": 3, "note": "two\nlines \x1b[31m", "best": {"float": "inf"}}
    assert {"name": "params.layer.w", "dtype": "F32", "shape": [3, 4], "bytes": 48} in found["arrays"]
    assert "__checksums__" not in {x["name"] for x in found["arrays"]}


def test_inspect_of_another_programs_file(tmp_path):
    (tmp_path / "f").write_bytes(
        crafted(
            {"__metadata__": {"state": "no JSON"}, "a": {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]}},
            b"0123",
        )
    )
    result = invoke("checkpoint", "inspect", tmp_path / "f")
    assert result.exit_code == 0
    assert "none: it is from another program" in result.stdout
    assert "BF16" in result.stdout
    assert json.loads(invoke("checkpoint", "inspect", tmp_path / "f", "--json").stdout)["checksums"] is None
    result = invoke("checkpoint", "verify", tmp_path / "f")
    assert (result.exit_code, result.stdout) == (1, "")
    assert f"pyfastlr: {tmp_path}/f: it has no checksums" in result.stderr


def test_verify(path, tmp_path):
    result = invoke("checkpoint", "verify", path)
    assert (result.exit_code, result.stdout, result.stderr) == (0, f"{path}: whole\n", "")
    bad = tmp_path / "bad"
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    bad.write_bytes(content)
    result = invoke("checkpoint", "verify", path, bad, tmp_path / "nowhere")
    assert (result.exit_code, result.stdout) == (1, f"{path}: whole\n")
    damaged, missing = result.stderr.splitlines()
    assert damaged.startswith(f"pyfastlr: {bad}: bytes 0 to ")
    assert str(tmp_path / "nowhere") in missing
    found = json.loads(invoke("checkpoint", "verify", path, bad, "--json").stdout)
    assert [(x["file"], x["whole"]) for x in found] == [(str(path), True), (str(bad), False)]
    assert found[0]["problem"] is None
    assert "damaged" in found[1]["problem"]


@pytest.mark.parametrize("command", ["inspect", "verify"])
def test_what_is_no_file(tmp_path, command):
    (tmp_path / "text").write_text("hello, this is no such file")
    write(tmp_path / "wrong", {}, {"state": "[]"})
    for name, said in {
        "text": "header must be at most",
        "wrong": "JSON object",
        "none": "No such file",
        ".": "director",
    }.items():
        result = invoke("checkpoint", command, tmp_path / name)
        assert (result.exit_code, result.stdout) == (1, "")
        assert result.stderr.startswith("pyfastlr: ")
        assert str(tmp_path) in result.stderr
        assert said in result.stderr
        assert result.stderr.count("\n") == 1
    assert invoke("checkpoint", command).exit_code == 2


def test_help(path):
    assert "inspect" in invoke("checkpoint", "--help").stdout


def test_names_of_values_cannot_control_the_terminal(tmp_path):
    names = {"\x1b[31mred": 1, "two\nlines": 2, "\x9b0m": 3, "a\u2028b": 4, "\ud800": 5, "[bold]x[/bold]": 6}
    flr.save(tmp_path / "f", [np.ones(1)], **names)
    shown = invoke("checkpoint", "inspect", tmp_path / "f").stdout
    assert [ascii(x) for x in shown if not x.isprintable() and x != "\n"] == []
    for text in (r"\u001b[31mred", r"two\nlines", r"\u009b0m", r"a\u2028b", r"\ud800", "[bold]x[/bold]"):
        assert text in shown
