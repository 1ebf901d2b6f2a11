"""The command line at the edges of the system: ASCII terminals, full disks, readers that leave, too little memory."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import pyfastlr
from pyfastlr.cli import streams

ROOT = Path(__file__).resolve().parents[1]
SAVED = str(ROOT / "bench" / "results" / "amd-epyc-zen5-2.json")
FULL = Path("/dev/full")
COMMANDS = [
    ("--version",),
    ("--help",),
    ("info",),
    ("info", "--json"),
    ("demo", "--help"),
    ("demo", "--steps", "20"),
    ("bench", "--load", SAVED, "--compare", SAVED),
    ("plot", "StepDecay(0.1, 0.5, 30).warmup(9, shape='1-sqrt')", "--steps", "100"),
    ("plot", "Cosine(1, 90)", "InverseSqrt(1, 20)", "--steps", "100"),
    ("warmup", "--optimizer", "sgd", "--dtype", "float32"),
]


def run(*arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, program="-m pyfastlr", **environment):
    """Run the command in a separate process. Output is bytes, because it need not be UTF-8."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), **environment}
    command = [sys.executable, *program.split(), *arguments]
    return subprocess.run(command, stdout=stdout, stderr=stderr, env=environment, timeout=300)


def test_python_m_is_the_command():
    done = run("--version")
    assert (done.returncode, done.stdout) == (0, f"pyfastlr {pyfastlr.__version__}\n".encode())
    done = run("demo", "--stepps", "3")
    assert done.returncode == 2
    assert b"Usage: python -m pyfastlr demo" in done.stderr


EACH = """
import json, sys
from pyfastlr.cli import main
for arguments in json.loads(sys.argv[1]):
    sys.argv = ["pyfastlr", *arguments]
    try:
        main()
    except SystemExit as end:
        assert not end.code, (arguments, end.code)
print("all done")
"""


@pytest.mark.parametrize(
    "environment",
    [
        {"PYTHONIOENCODING": "ascii"},
        {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
        {"PYTHONIOENCODING": "latin-1"},
    ],
    ids=["ascii", "C", "latin-1"],
)
def test_a_terminal_without_unicode_gets_a_substitute(environment):
    done = run(EACH, json.dumps(COMMANDS), program="-c", **environment)
    assert done.returncode == 0, done.stderr
    assert b"Traceback" not in done.stderr
    assert done.stdout.endswith(b"all done\n")
    if environment.get("PYTHONIOENCODING") != "latin-1":
        assert done.stdout.isascii()
    assert b"?" not in done.stdout.replace(b"??", b"")  # nothing that we print lacks a substitute


def test_an_error_without_unicode_is_whole():
    done = run("demo", "--optimizer", "ädäm", PYTHONIOENCODING="ascii")
    assert done.returncode == 2
    assert b"`optimizer` must be one of" in done.stderr
    assert done.stderr.isascii()


@pytest.mark.parametrize(
    ("character", "encoding", "bytes_"),
    [
        ("µ", "ascii", b"u"),
        ("…", "ascii", b"..."),
        ("語", "ascii", b"?"),
        ("µ", "latin-1", b"\xb5"),
        ("…", "cp1252", b"\x85"),
        ("\udcff", "ascii", b"\xff"),
        ("\udcff", "utf-8", b"\xff"),
        ("語", "utf-8", "語".encode()),
    ],
)
def test_characters(character, encoding, bytes_, monkeypatch):
    for name in ("stdout", "stderr"):
        stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding, newline="")
        monkeypatch.setattr(sys, name, stream)
    streams.accept_every_character()
    for stream in (sys.stdout, sys.stderr):
        stream.write(f"<{character}{character}>")
        stream.flush()
        assert stream.buffer.getvalue() == b"<" + 2 * bytes_ + b">"


@pytest.mark.skipif(not FULL.exists(), reason="the system has no /dev/full")
@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_a_full_disk_is_one_line(arguments):
    with FULL.open("w") as full:
        done = run(*arguments, stdout=full)
        assert done.returncode == 1
        last = done.stderr.decode().splitlines()[-1]
        assert last == "pyfastlr: cannot write output: No space left on device"
        assert b"Traceback" not in done.stderr
        assert b"Exception ignored" not in done.stderr


@pytest.mark.skipif(not FULL.exists(), reason="the system has no /dev/full")
def test_a_full_disk_for_both_streams_and_for_files():
    with FULL.open("w") as full:
        assert run("info", stdout=full, stderr=full).returncode == 1
    done = run("bench", "--load", SAVED, "--json", str(FULL))
    assert done.returncode == 1
    assert done.stderr == b"pyfastlr: `json`: '/dev/full' could not be written: No space left on device\n"


@pytest.mark.parametrize("arguments", [("info",), ("bench", "--load", SAVED)], ids=["info", "bench"])
def test_a_reader_that_leaves_is_no_error_to_tell(arguments):
    read, write = os.pipe()
    os.close(read)
    try:
        done = run(*arguments, stdout=write)
    finally:
        os.close(write)
    assert done.returncode == 1
    assert done.stderr == b""


@pytest.mark.skipif(sys.platform == "win32", reason="a POSIX shell closes the streams")
@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_closed_streams(closed):
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = ["sh", "-c", f'"$0" -m pyfastlr info {closed}', sys.executable]
    done = subprocess.run(command, capture_output=True, env=environment, timeout=300)
    assert done.returncode == 0
    assert done.stderr == b""


@pytest.mark.parametrize(
    "arguments", [("--steps", "100000000000000"), ("--hidden", "100000000000")], ids=["steps", "hidden"]
)
def test_too_little_memory_is_one_line(arguments):
    done = run("demo", *arguments)
    assert done.returncode == 1
    assert done.stderr.startswith(b"pyfastlr: there is not enough memory: Unable to allocate")
    assert done.stderr.count(b"\n") == 1


def test_a_bug_is_a_traceback_and_an_interrupt_none(tmp_path):
    """Internal errors must be reportable. Ctrl-C before the commands are loaded is not a bug."""
    program = tmp_path / "program.py"
    for raised, status, words in (
        ("FileNotFoundError(2, 'no', 'x')", 1, b"Traceback"),
        ("KeyboardInterrupt()", 1, b""),
    ):
        program.write_text(
            f"import sys\nimport pyfastlr.cli as c\n\ndef fail(name):\n    raise {raised}\n\nc._run = fail\nc.main()\n"
        )
        done = run(program=str(program))
        assert done.returncode == status
        assert words in done.stderr
        assert bool(done.stderr) is bool(words)
