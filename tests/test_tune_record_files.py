"""Files of records: whole lines whatever happens, what is read is what was recorded, and nothing else is touched."""

import json
import math
import os
import struct
import sys
import types

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from interrupts import everywhere, interrupted, needs_faithful_traces
from processes import in_threads, run
from pyfastlr import tune

NAN, INF = math.nan, math.inf


def bits(r):
    """Records, each number as its bits. All NaNs are equal."""

    def of(x):
        return x if isinstance(x, int) else "NaN" if math.isnan(x) else struct.pack("d", x)

    return [{name: of(x) for name, x in record.items()} for record in r]


def sample():
    r = tune.Recorder()
    r.record(loss=0.1, lr=1e-300)
    r.record(7, loss=NAN, lr=-0.0)
    r.record(**{'a "b", c': INF, "d\ne": -INF, "ö": 5e-324})
    r.record()
    r.record(2**53, loss=1 / 3)
    return r


@pytest.fixture(params=["csv", "jsonl", "log"])
def written(request, tmp_path):
    """Function that writes a recorder's records to a file in one way, and returns its path."""

    def write(r, name="run"):
        path = tmp_path / f"{name}.{'csv' if request.param == 'csv' else 'jsonl'}"
        if request.param != "log":
            r.save(path)
            return path
        with tune.Recorder(file=path) as log:
            for record in r:
                log.record(**record)
        return path

    return write


def test_what_is_read_is_what_was_recorded(written):
    r = sample()
    twin = tune.Recorder.read(written(r))
    assert bits(twin) == bits(r)
    assert sorted(twin.names) == sorted(r.names)
    kept = tune.Recorder.read(written(r, "again"), capacity=2)
    assert (bits(kept), kept.total) == (bits(r)[-2:], 5)


def test_an_empty_one_is_read_as_an_empty_one(written):
    assert len(tune.Recorder.read(written(tune.Recorder()))) == 0


@given(
    records=st.lists(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=5), st.floats())),
    end=st.sampled_from([".csv", ".jsonl"]),
)
def test_any_names_and_numbers(tmp_path_factory, records, end):
    r = tune.Recorder()
    for numbers in records:
        numbers.pop("step", None)
        r.record(**numbers)
    path = tmp_path_factory.mktemp("records") / f"run{end}"
    r.save(path)
    assert bits(tune.Recorder.read(path)) == bits(r)


def test_lines_are_json_that_others_read(tmp_path):
    sample().save(tmp_path / "run.jsonl")

    def refuse(constant):
        raise ValueError(constant)

    lines = (tmp_path / "run.jsonl").read_text().splitlines()
    records = [json.loads(line, parse_constant=refuse) for line in lines]  # no NaN, no Infinity
    assert records[0] == {"step": 0, "loss": 0.1, "lr": 1e-300}
    assert records[1] == {"step": 7, "loss": None, "lr": 0.0}
    assert records[2]["d\ne"] == -INF


def test_a_csv_that_others_read(tmp_path):
    r = tune.Recorder()
    r.record(loss=0.5)
    r.record(lr=0.1, loss=NAN)
    r.save(tmp_path / "run.csv")
    assert (tmp_path / "run.csv").read_text() == "step,loss,lr\n0,0.5,\n1,nan,0.1\n"
    table = np.genfromtxt(tmp_path / "run.csv", delimiter=",", names=True)
    np.testing.assert_array_equal(table["lr"], [NAN, 0.1])


# --- As they come -----------------------------------------------------------------------------------------------------


def test_each_record_is_in_the_file_when_record_returns(tmp_path):
    path = tmp_path / "run.jsonl"
    r = tune.Recorder(2, file=path)
    for n in range(5):
        r.record(loss=float(n))
        lines = path.read_text().splitlines(keepends=True)
        assert lines == [f'{{"step": {k}, "loss": {float(k)}}}\n' for k in range(n + 1)]
    r.record(val=1.0)  # another name
    assert path.read_text().endswith('{"step": 5, "val": 1.0}\n')
    r.close()
    r.close()
    r.record(loss=9.0)  # stays in memory
    assert len(path.read_text().splitlines()) == 6
    assert r.total == 7


def test_a_run_that_resumes_goes_on_in_its_file(tmp_path):
    path = tmp_path / "run.jsonl"
    for start in (0, 2):
        with tune.Recorder(file=str(path)) as r:
            r.record(start, loss=1.0)
            r.record(loss=2.0)
    assert tune.Recorder.read(path).steps.tolist() == [0, 1, 2, 3]


def test_a_process_that_is_killed_leaves_whole_lines(tmp_path):
    path = tmp_path / "run.jsonl"
    program = """
        import os, signal, sys
        from pyfastlr import tune
        r = tune.Recorder(file=sys.argv[1])
        for n in range(1000):
            r.record(loss=n / 3)
        if sys.argv[2] == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
    """
    with pytest.raises(AssertionError, match="-9"):
        run(program, path, "kill")
    run(program, path, "end")  # without close
    assert tune.Recorder.read(path)["loss"].tolist() == 2 * [n / 3 for n in range(1000)]


def test_half_a_line_is_not_read_and_is_cut_off_when_the_run_goes_on(tmp_path):
    path = tmp_path / "run.jsonl"
    whole = '{"step": 0, "loss": 1.0}\n{"step": 1, "loss": 2.0}\n'
    for cut in range(1, 24):
        path.write_text(whole + whole[25 : 25 + cut])
        assert tune.Recorder.read(path)["loss"].tolist() == [1.0, 2.0]
        with tune.Recorder(file=path) as r:
            assert path.read_text() == whole
            r.record(2, loss=3.0)
        assert tune.Recorder.read(path)["loss"].tolist() == [1.0, 2.0, 3.0]
    for cut in range(1, 10):  # of the first line
        path.write_text(whole[:cut])
        with tune.Recorder(file=path) as r:
            r.record(loss=3.0)
        assert path.read_text() == '{"step": 0, "loss": 3.0}\n'


@pytest.mark.parametrize("text", ["notes without an end", "step,loss\n0,1.0\n", '{"other": 1}\n', "\n", "[]"])
def test_a_file_of_something_else_is_refused_and_left_alone(tmp_path, text):
    path = tmp_path / "run.jsonl"
    path.write_text(text)
    with pytest.raises(ValueError, match="`file` must be new or a file of records"):
        tune.Recorder(file=path)
    assert path.read_text() == text


def test_threads_write_whole_lines(tmp_path):
    path = tmp_path / "run.jsonl"
    with tune.Recorder(50, file=path) as r:

        def work(k):
            return lambda: [r.record(n, **{f"t{k}": float(n)}) for n in range(500)]

        in_threads([work(k) for k in range(3)])
    read = tune.Recorder.read(path)
    assert read.total == 1500
    for k in range(3):
        x = read[f"t{k}"]
        assert x[~np.isnan(x)].tolist() == list(range(500))


@needs_faithful_traces
def test_an_interrupt_anywhere_leaves_whole_lines_in_order(tmp_path):
    path = tmp_path / "run.jsonl"

    def attempt(k):
        path.unlink(missing_ok=True)
        with tune.Recorder(2, file=path) as r:
            r.record(a=1.0)
            found = interrupted(lambda: r.record(a=2.0, b=NAN), k)
            assert r.total in (1, 2)
            r.record(a=3.0)
            want = [1.0, 2.0, 3.0][: r.total] if r.total == 3 else [1.0, 3.0]
        assert tune.Recorder.read(path)["a"].tolist() == want, found
        return found

    assert everywhere(attempt) > 10


def test_a_full_disk_is_an_oserror_and_what_was_lost_is_written_later(tmp_path):
    path = tmp_path / "run.jsonl"
    out = run(
        """
        import resource, signal, sys
        from pyfastlr import tune
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        path, errors = sys.argv[1], 0
        r = tune.Recorder(file=path)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
        for n in range(100):
            try:
                r.record(loss=float(n))
            except OSError:
                errors += 1
            twin = tune.Recorder.read(path)
            assert twin["loss"].tolist() == [float(k) for k in range(len(twin))]
        assert r.total == 100
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        r.close()
        assert bytes(open(path, "rb").read()).count(b"\\n") == 100
        print(errors, tune.Recorder.read(path)["loss"].tolist() == [float(n) for n in range(100)])
        """,
        path,
    )
    errors, is_whole = out.split()
    assert int(errors) > 50
    assert is_whole == "True"


def test_copies_do_not_write_to_the_file(tmp_path):
    import copy

    path = tmp_path / "run.jsonl"
    with tune.Recorder(file=path) as r:
        r.record(a=1.0)
        copy.copy(r).record(a=2.0)
    assert len(path.read_text().splitlines()) == 1


# --- What goes wrong --------------------------------------------------------------------------------------------------


def test_a_file_that_cannot_be_written_leaves_the_old_one(tmp_path, monkeypatch):
    path = tmp_path / "run.csv"
    sample().save(path)
    before = path.read_bytes()

    def fail(*_):
        raise OSError("no")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="no"):
        tune.Recorder().save(path)
    assert path.read_bytes() == before
    assert [x.name for x in tmp_path.iterdir()] == ["run.csv"]


@pytest.mark.parametrize("name", ["run.txt", "run", "run.json", "csv"])
def test_another_ending_is_refused(tmp_path, name):
    for use, called in (
        (sample().save, "path"),
        (tune.Recorder.read, "path"),
        (lambda p: tune.Recorder(file=p), "file"),
    ):
        with pytest.raises(ValueError, match=rf"`{called}` must end in .*\.jsonl, got '{name}'"):
            use(tmp_path / name)
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.csv", "", "the first line must be 'step'"),
        ("a.csv", "loss\n1.0\n", "the first line must be 'step'"),
        ("a.csv", "step,a,a\n", "different names"),
        ("a.csv", "step,a\n0,1.0\n1,x\n", "line 3"),
        ("a.csv", "step,a\n0,1.0,2\n", "there must be 2 fields, got 3"),
        ("a.csv", "step,a\n0.5,1.0\n", "line 2"),
        ("a.csv", "step,a\n-1,1.0\n", "`step` must be an integer >= 0"),
        ("a.jsonl", '{"step": 0}\n{"step": 1\n', "line 2"),
        ("a.jsonl", "[1]\n", 'an integer "step"'),
        ("a.jsonl", '{"loss": 1.0}\n', 'an integer "step"'),
        ("a.jsonl", '{"step": 0, "a": "x"}\n', "`a` must be a real number"),
        ("a.jsonl", '{"step": 0, "a": [1]}\n', "`a` must be a real number"),
        ("a.jsonl", '{"step": true}\n', 'an integer "step"'),
    ],
)
def test_a_file_that_has_no_records_is_an_error_with_the_line(tmp_path, name, text, words):
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match="is not a file of records: line") as caught:
        tune.Recorder.read(tmp_path / name)
    assert words in str(caught.value)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        tune.Recorder.read(tmp_path / "a.csv")
    with pytest.raises(FileNotFoundError):
        tune.Recorder(file=tmp_path / "no" / "a.jsonl")


# --- TensorBoard ------------------------------------------------------------------------------------------------------


def fake_writers(monkeypatch, installed):
    calls = []

    class Writer:
        def __init__(self, folder):
            calls.append(("open", folder))

        def add_scalar(self, name, value, step):
            calls.append((name, value, step))

        def close(self):
            calls.append(("close",))

    for module, attribute in (("tensorboardX", "SummaryWriter"), ("tensorboard.summary", "Writer")):
        found = types.SimpleNamespace(**{attribute: Writer}) if module in installed else None
        monkeypatch.setitem(sys.modules, module, found)
    monkeypatch.setitem(sys.modules, "tensorboard", types.ModuleType("tensorboard"))
    return calls


@pytest.mark.parametrize("installed", ["tensorboardX", "tensorboard.summary"])
def test_scalars_go_to_the_writer_that_is_installed(monkeypatch, tmp_path, installed):
    calls = fake_writers(monkeypatch, [installed])
    r = tune.Recorder()
    r.record(loss=1.0)
    r.record(5, lr=0.1)
    r.to_tensorboard(tmp_path)
    assert calls == [("open", str(tmp_path)), ("loss", 1.0, 0), ("lr", 0.1, 5), ("close",)]


def test_without_a_writer_the_error_says_what_to_install(monkeypatch, tmp_path):
    fake_writers(monkeypatch, [])
    with pytest.raises(ModuleNotFoundError, match="tensorboardX or tensorboard: pip install tensorboardX"):
        tune.Recorder().to_tensorboard(tmp_path)
