"""Every call to the system fails in turn while a file is saved: the old file stays whole, and nothing is left."""

import errno
import os
import resource
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from interrupts import everywhere, interrupted, needs_faithful_traces
from processes import run
from pyfastlr.files import remove_leftovers, replacing, write
from test_files import arrays, read, same

OLD, NEW = arrays(0), {**arrays(1), "long": np.arange(400_000.0)}


class System:
    """`os`, whose call number `at` of one function, counted from 0, behaves as `instead(function, *arguments)`."""

    def __init__(self, name, at, instead):
        self._name, self._left, self._instead, self.happened = name, at, instead, False

    def __getattr__(self, name):
        function = getattr(os, name)
        return self._call if name == self._name else function

    def _call(self, *arguments):
        self._left -= 1
        if self._left == -1:
            self.happened = True
            return self._instead(getattr(os, self._name), *arguments)
        return getattr(os, self._name)(*arguments)


def raising(number):
    def instead(function, *arguments):
        raise OSError(number, os.strerror(number))

    return instead


def short(function, handle, content):
    return function(handle, content[: len(content) // 3 + 1])


def with_every(monkeypatch, name, instead, attempt, prepare=lambda: None):
    """Call `attempt(system)` with each call of a function failing in turn, until there is no such call."""
    for at in range(100):
        prepare()
        system = System(name, at, instead)
        with monkeypatch.context() as patch:
            patch.setattr(replacing, "os", system)
            attempt(system)
        if not system.happened:
            return at
    raise AssertionError("it never ends")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EROFS])
@pytest.mark.parametrize("name", ["open", "write", "fsync", "replace", "stat", "fstat", "fchmod"])
@pytest.mark.parametrize("old", [True, False], ids=["old", "none"])
def test_every_failing_call_leaves_the_old_file(tmp_path, monkeypatch, name, number, old):
    path = tmp_path / "f"

    def prepare():
        path.unlink(missing_ok=True)
        if old:
            write(path, OLD, {})
            path.chmod(0o755)

    def attempt(system):
        caught = None
        try:
            write(path, NEW, {})
        except OSError as error:
            caught = error
        if caught is not None:
            assert system.happened
            assert (caught.errno, caught.filename) == (number, str(path))
            assert str(path) in str(caught)
        assert os.listdir(tmp_path) == (["f"] if path.exists() else [])
        if path.exists():
            assert same(read(path), NEW) or (old and system.happened and same(read(path), OLD))
        else:
            assert system.happened
            assert not old

    expected = {"write": 5, "open": 2, "fsync": 2, "replace": 1, "stat": 1, "fchmod": int(old)}
    assert with_every(monkeypatch, name, raising(number), attempt, prepare) >= expected.get(name, 0)


@pytest.mark.parametrize("name", ["open", "write", "fsync", "replace", "stat", "fchmod"])
def test_interrupted_calls_are_made_again(tmp_path, monkeypatch, name):
    def attempt(system):
        write(tmp_path / "f", NEW, {})
        assert same(read(tmp_path / "f"), NEW)
        assert os.listdir(tmp_path) == ["f"]

    write(tmp_path / "f", OLD, {})
    (tmp_path / "f").chmod(0o755)
    assert with_every(monkeypatch, name, raising(errno.EINTR), attempt) > 0


def test_short_writes_are_continued(tmp_path, monkeypatch):
    def attempt(system):
        write(tmp_path / "f", NEW, {})
        assert same(read(tmp_path / "f"), NEW)

    assert with_every(monkeypatch, "write", short, attempt) > 4
    monkeypatch.setattr(replacing, "os", System("write", 2, lambda *arguments: 0))
    with pytest.raises(OSError, match="the system wrote nothing") as caught:
        write(tmp_path / "f", NEW, {})
    assert caught.value.filename == str(tmp_path / "f")


def test_a_folder_that_cannot_be_synced_is_accepted(tmp_path, monkeypatch):
    """Some network file systems say EINVAL. Any other error is raised, and the new file is there."""
    monkeypatch.setattr(replacing, "os", System("fsync", 1, raising(errno.EINVAL)))
    write(tmp_path / "f", NEW, {})
    monkeypatch.setattr(replacing, "os", System("fsync", 1, raising(errno.EIO)))
    with pytest.raises(OSError, match="Input/output error"):
        write(tmp_path / "f", OLD, {})
    assert same(read(tmp_path / "f"), OLD)


def test_the_order_of_the_calls(tmp_path, monkeypatch):
    """Content, sync, rename, sync of the folder: what a power failure leaves depends on it."""
    calls = []

    class Recorder:
        def __getattr__(self, name):
            function = getattr(os, name)
            if name not in ("open", "write", "fsync", "replace", "close", "unlink"):
                return function

            def call(*arguments):
                calls.append((name, os.path.isdir(arguments[0]) if name == "open" else None))
                return function(*arguments)

            return call

    monkeypatch.setattr(replacing, "os", Recorder())
    write(tmp_path / "f", OLD, {})
    writes = [x for x in calls if x[0] == "write"]
    no = None
    assert calls == [("open", False), *writes, ("fsync", no), ("replace", no), ("close", no),
                     ("open", True), ("fsync", no), ("close", no)]  # fmt: skip


def test_a_full_disk_and_a_limit_of_file_sizes(tmp_path):
    """By the real system: a limit of file sizes (EFBIG) in a child."""
    script = """
    import os, resource, signal, sys
    import numpy as np
    from pyfastlr.files import Reader, write
    path = sys.argv[1]
    write(path, {"x": np.zeros(10)}, {})
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_500_000, resource.RLIM_INFINITY))
    try:
        write(path, {"x": np.ones(1_000_000)}, {})
    except OSError as error:
        print(error.filename == path, os.listdir(os.path.dirname(path)))
    with Reader(path) as file:
        print(file.read()["x"].tolist() == [0.0] * 10)
    """
    (tmp_path / "d").mkdir()
    assert run(script, tmp_path / "d" / "f") == "True ['f']\nTrue"
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 1_500_000


@needs_faithful_traces
def test_an_interrupt_anywhere_leaves_the_old_or_the_new_file(tmp_path, monkeypatch):
    path, old, new = tmp_path / "f", {"x": np.arange(5.0)}, {"x": np.arange(6.0), "y": np.arange(9.0)[::2]}
    monkeypatch.setattr(replacing.os, "fsync", lambda handle: None)  # it takes most of the time

    def attempt(k):
        write(path, old, {})
        place = interrupted(lambda: write(path, new, {}), k)
        assert os.listdir(tmp_path) == ["f"], place
        found = read(path)
        assert same(found, new) or (place and same(found, old)), place
        return place

    assert everywhere(attempt) > 50


def test_real_signals_while_files_are_written(tmp_path):
    """Ctrl-C at any time, also inside a system call, and a handler that only returns."""
    script = """
    import os, random, signal, sys
    import numpy as np
    from pyfastlr.files import Reader, write
    path, count = sys.argv[1], 0
    x = [np.full(300_000, float(k)) for k in range(2)]
    write(path, {"x": x[0]}, {})
    signal.signal(signal.SIGALRM, signal.default_int_handler)
    rng = random.Random(0)
    for k in range(60):
        try:
            try:
                signal.setitimer(signal.ITIMER_REAL, rng.uniform(1e-5, 6e-3))
                write(path, {"x": x[k % 2]}, {})
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)  # the signal may come just before
        except KeyboardInterrupt:
            count += 1
        with Reader(path) as file:
            assert len(set(file.read()["x"].tolist())) == 1
        assert os.listdir(os.path.dirname(path)) == ["f"]
    signal.signal(signal.SIGALRM, lambda *arguments: None)
    signal.setitimer(signal.ITIMER_REAL, 1e-4, 1e-4)
    for k in range(20):
        write(path, {"x": x[k % 2]}, {})
    signal.setitimer(signal.ITIMER_REAL, 0)
    print(count)
    """
    (tmp_path / "d").mkdir()
    assert int(run(script, tmp_path / "d" / "f")) > 3


# --- Leftovers --------------------------------------------------------------------------------------------------------

WRITER = """
import sys, time, numpy as np
from pyfastlr.files import write
def wait(done, total):
    print("begun", flush=True)
    time.sleep(100)
write(sys.argv[1], {"x": np.ones(300_000)}, {}, wait)
"""


def leftovers(folder):
    return [name for name in os.listdir(folder) if name.endswith(".tmp")]


def age(folder):
    """Make all temporary files old."""
    for name in leftovers(folder):
        os.utime(folder / name, (time.time() - 1000,) * 2)


def test_leftovers_of_killed_writers_are_removed_and_those_of_living_ones_stay(tmp_path):
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, tmp_path / "f"], stdout=subprocess.PIPE) for _ in range(2)
    ]
    for writer in writers:
        assert writer.stdout.readline() == b"begun\n"
    assert len(leftovers(tmp_path)) == 2
    age(tmp_path)
    assert remove_leftovers(str(tmp_path)) == []
    writers[0].kill()
    writers[0].communicate()
    (removed,) = remove_leftovers(str(tmp_path))
    assert not os.path.exists(removed)
    assert len(leftovers(tmp_path)) == 1
    writers[1].send_signal(signal.SIGINT)
    writers[1].communicate()
    assert os.listdir(tmp_path) == []


def test_other_files_are_no_leftovers(tmp_path):
    names = [
        ".pyfastlr-1234.tmp",
        "x.tmp",
        ".pyfastlr-0123456789abcdef.tmp.safetensors",
        ".pyfastlr-0123456789ABCDEF.tmp",
    ]
    for name in names:
        (tmp_path / name).write_bytes(b"")
    young, link, folder = (f".pyfastlr-{k:016x}.tmp" for k in range(3))
    (tmp_path / link).symlink_to(names[0])
    (tmp_path / folder).mkdir()
    age(tmp_path)
    (tmp_path / young).write_bytes(b"")
    before = sorted(os.listdir(tmp_path))
    assert remove_leftovers(str(tmp_path)) == []
    assert sorted(os.listdir(tmp_path)) == before
    assert remove_leftovers(str(tmp_path / "nowhere")) == []


def test_a_writer_whose_file_was_taken_for_a_leftover_makes_another(tmp_path, monkeypatch):
    """Between its creation and its lock."""
    taken = []

    class System:
        def __getattr__(self, name):
            return self._open if name == "open" else getattr(os, name)

        def _open(self, path, flags, *mode):
            handle = os.open(path, flags, *mode)
            if flags & os.O_EXCL and not taken:
                taken.append(path)
                os.unlink(path)
            return handle

    monkeypatch.setattr(replacing, "os", System())
    write(tmp_path / "f", NEW, {})
    assert len(taken) == 1
    assert os.listdir(tmp_path) == ["f"]
    assert same(read(tmp_path / "f"), NEW)
