"""Files of arrays: what is written is read, by us and by safetensors, and replaced as a whole."""

import json
import os
import stat
import struct
import sys
import threading
import tracemalloc
import unicodedata
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from safetensors import numpy as safetensors

from processes import run
from pyfastlr.files import BadFile, Reader, checksums, layout, write

DTYPES = [np.dtype(x) for x in layout.DTYPES.values()]


def arrays(seed=0):
    """One of everything."""
    rng = np.random.default_rng(seed)
    return {
        "params.w": rng.random((3, 5)), "params.b": rng.random(7).astype("f4"), "n": np.array(2**62 + 1),
        "empty": np.zeros((0, 3, 0), "f4"), "flags": np.array([True, False, True]), "big": np.arange(4, dtype=">i4"),
        "turned": rng.random((600, 700)).T, "strided": rng.random((9, 4))[::-2, 1::2], "half": np.ones(3, "f2"),
        "complex": np.array([1 + 2j, 3], "c8"), "bytes": np.arange(255, dtype="u1"), "ünï/code": np.ones((1, 1, 1)),
    }  # fmt: skip


def same(found, need):
    return list(found) != [] and set(found) == set(need) and all(
        found[name].shape == x.shape and found[name].dtype == x.dtype.newbyteorder("=")
        and found[name].tobytes() == x.astype(x.dtype.newbyteorder("=")).tobytes() for name, x in need.items()
    )  # fmt: skip


def read(path, **options):
    with Reader(path, **options) as file:
        return file.read()


def crafted(entries, data=b"", length=None):
    """A file with that header: a dict, text or bytes."""
    text = (
        entries if isinstance(entries, bytes) else (entries if type(entries) is str else json.dumps(entries)).encode()
    )
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def test_all_kinds_of_arrays_go_through_a_file(tmp_path):
    path = tmp_path / "a file, ünï.safetensors"
    write(path, arrays(), {"text": "é\n\0"})
    with Reader(path) as file:
        file.verify()
        assert same(file.read(), arrays())
        assert file.layout.metadata == {"pyfastlr": "1", "text": "é\n\0"}
        assert file.size == path.stat().st_size
        assert set(file.read(["n", "half"])) == {"n", "half"}
    assert os.listdir(tmp_path) == [path.name]


SHAPES = hnp.array_shapes(min_dims=0, max_dims=5, min_side=0, max_side=6)


@settings(max_examples=50, deadline=None)
@given(x=st.lists(st.sampled_from(DTYPES).flatmap(lambda d: hnp.arrays(d, SHAPES)), max_size=4))
def test_any_arrays_go_through_a_file(x, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "any"
    write(path, {f"{k}": array for k, array in enumerate(x)}, {})
    assert {name: array.tobytes() for name, array in read(path).items()} == {
        f"{k}": array.tobytes() for k, array in enumerate(x)
    }


def test_safetensors_reads_our_files(tmp_path):
    write(tmp_path / "ours", arrays(), {"text": "é"})
    found = safetensors.load_file(tmp_path / "ours")
    assert found.pop(checksums.NAME).dtype == np.uint8
    assert same(found, arrays())
    assert safetensors.load((tmp_path / "ours").read_bytes()).keys() == {*arrays(), checksums.NAME}


def test_we_read_safetensors_files_if_asked(tmp_path):
    need = {name: np.ascontiguousarray(x.astype(x.dtype.newbyteorder("="))) for name, x in arrays().items()}
    need["n"] = need["n"].reshape(())
    safetensors.save_file(need, tmp_path / "theirs", {"format": "np"})
    assert same(read(tmp_path / "theirs", foreign=True), need)
    with pytest.raises(BadFile, match=r"theirs: it has no checksums"):
        read(tmp_path / "theirs")


def test_a_dtype_that_numpy_lacks_is_shown_but_not_read(tmp_path):
    path = tmp_path / "f8"
    path.write_bytes(crafted({"a": {"dtype": "F8_E4M3", "shape": [2], "data_offsets": [0, 2]}}, b"\0" * 2))
    with Reader(path, foreign=True) as file, pytest.raises(BadFile, match=r"f8: 'a' .* no dtype for F8_E4M3"):
        file.read()


def test_data_are_aligned_and_little_endian(tmp_path):
    write(tmp_path / "f", arrays(), {})
    with Reader(tmp_path / "f") as file:
        assert file.layout.start % 64 == 0
        for name, x in file.layout.payload.items():
            assert x.start % arrays()[name].itemsize == 0
        place = file.layout.tensors["big"]
    content = (tmp_path / "f").read_bytes()[file.layout.start :]
    assert content[place.start : place.stop] == np.arange(4, dtype="<i4").tobytes()


def test_checksums_are_crc32_of_header_and_mebibytes(tmp_path):
    """As the format says, so that another program can check them."""
    x = np.random.default_rng(0).integers(0, 256, 2 * checksums.CHUNK + 5, np.uint8)
    write(tmp_path / "f", {"x": x}, {})
    content = (tmp_path / "f").read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    pieces = [content[:start], x[: 1 << 20], x[1 << 20 : 2 << 20], x[2 << 20 :]]
    body = b"flrcrc32v001" + struct.pack("<4I", *map(zlib.crc32, pieces))
    assert content[start + len(x) :] == body + struct.pack("<I", zlib.crc32(body))


def test_memory_is_bounded(tmp_path):
    """A buffer of a mebibyte, whatever the strides."""
    x = {"a": np.ones(4 << 20), "b": np.ones((2 << 10, 2 << 10)).T, "c": np.ones(1 << 20, ">f8")}
    targets = {name: np.empty(array.shape) for name, array in x.items()}
    tracemalloc.start()
    try:
        write(tmp_path / "f", x, {})
        with Reader(tmp_path / "f") as file:
            file.verify()
            file.read_into(targets)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4 << 20
    assert same(targets, x)


def test_progress_ends_when_all_is_on_the_disk(tmp_path):
    path, calls = tmp_path / "f", []
    write(path, {"x": np.ones(400_000)}, {}, lambda *numbers: calls.append((*numbers, path.exists())))
    size = path.stat().st_size
    assert [done for done, *_ in calls] == sorted({done for done, *_ in calls})
    assert len(calls) == 5
    assert calls[-1] == (size, size, False)
    with Reader(path) as file:
        file.verify(lambda *numbers: calls.append(numbers))
    assert calls[-1] == (size, size)


def test_an_error_in_progress_leaves_the_old_file(tmp_path):
    path = tmp_path / "f"
    write(path, arrays(), {})
    before = path.read_bytes()
    for last in range(5):

        def progress(done, total, left=[last]):  # noqa: B006
            left[0] -= 1
            if left[0] < 0:
                raise InterruptedError("of the user")

        with pytest.raises(InterruptedError, match="of the user"):
            write(path, {"x": np.ones(400_000)}, {}, progress)
        assert path.read_bytes() == before
        assert os.listdir(tmp_path) == ["f"]


def test_an_array_that_changes_meanwhile_gives_a_consistent_file(tmp_path):
    x, ends = np.zeros(1 << 20), threading.Event()

    def change():
        while not ends.is_set():
            x[...] += 1

    thread = threading.Thread(target=change)
    thread.start()
    try:
        for _ in range(5):
            write(tmp_path / "f", {"x": x}, {})
            with Reader(tmp_path / "f") as file:
                file.verify()
    finally:
        ends.set()
        thread.join()


# --- The place of the file --------------------------------------------------------------------------------------------


@pytest.mark.skipif(os.name != "posix", reason="POSIX modes")
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o664, 0o755])
def test_a_replaced_file_keeps_its_mode(tmp_path, mode):
    path = tmp_path / "f"
    write(path, arrays(), {})
    path.chmod(mode)
    write(path, arrays(1), {})
    assert stat.S_IMODE(path.stat().st_mode) == mode
    assert same(read(path), arrays(1))


@pytest.mark.skipif(os.name != "posix", reason="POSIX modes")
@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_a_new_file_has_the_mode_of_the_umask(tmp_path, mask):
    before = os.umask(mask)
    try:
        write(tmp_path / "f", arrays(), {})
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "f").stat().st_mode) == 0o666 & ~mask


@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() != 0, reason="only root can give a file away")
def test_a_replaced_file_keeps_its_owner(tmp_path):
    write(tmp_path / "f", arrays(), {})
    os.chown(tmp_path / "f", 1234, 4321)
    write(tmp_path / "f", arrays(1), {})
    status = (tmp_path / "f").stat()
    assert (status.st_uid, status.st_gid) == (1234, 4321)


def test_a_symbolic_link_stays_and_its_file_is_replaced(tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to(Path("there", "second"))
    (tmp_path / "there" / "second").symlink_to("file")
    for seed in (0, 1):  # the first creates what a dangling link means
        write(tmp_path / "link", arrays(seed), {})
        assert same(read(tmp_path / "there" / "file"), arrays(seed))
        assert same(read(tmp_path / "link"), arrays(seed))
    assert (tmp_path / "link").is_symlink()
    assert sorted(os.listdir(tmp_path / "there")) == ["file", "second"]


def test_other_places_are_refused(tmp_path):
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "circle").symlink_to("circle")
    write(tmp_path / "file", arrays(), {})
    for name, error in {"folder": IsADirectoryError, "folder/": IsADirectoryError, "nowhere/": IsADirectoryError,
                        "nowhere/f": FileNotFoundError, "pipe": ValueError, "circle": OSError,
                        "file/f": NotADirectoryError, "x" * 300: OSError}.items():  # fmt: skip
        with pytest.raises(error, match=name) as caught:
            write(f"{tmp_path}/{name}", arrays(), {})
        assert not isinstance(caught.value, OSError) or caught.value.filename == f"{tmp_path}/{name}"
    for name, error in {"folder": IsADirectoryError, "pipe": BadFile, "nowhere": FileNotFoundError}.items():
        with pytest.raises(error, match=name):
            Reader(tmp_path / name)
    for path in (3, None, b"bytes"):
        with pytest.raises(TypeError, match=r"`path` must be a str or os\.PathLike, got"):
            write(path, arrays(), {})
    for path in ("", "a\0b"):
        with pytest.raises(ValueError, match=r"`path` must be the path of a file, got"):
            write(path, arrays(), {})
    assert sorted(os.listdir(tmp_path)) == ["circle", "file", "folder", "pipe"]


def test_control_characters_are_those_of_unicode():
    found = {x for x in map(chr, range(sys.maxunicode + 1)) if layout._CONTROL.search(x)}
    assert found == {
        x for x in map(chr, range(sys.maxunicode + 1)) if unicodedata.category(x) in ("Cc", "Cs", "Zl", "Zp")
    }


@pytest.mark.parametrize("name", [
    "", "a\nb", "a\0", "a\x7f", "\ud800", "../x", "..", "params.../x", "a/../b", "a\\..\\b", "x" * 1001, checksums.NAME,
    layout.METADATA,
])  # fmt: skip
def test_names_that_would_be_refused_are_not_written(tmp_path, name):
    with pytest.raises(ValueError, match="name"):
        write(tmp_path / "f", {name: np.ones(2)}, {})
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", ["a.b", "a..b", "params.x..", "/a", "a/b", "a b", "ключ", "{}", "'\"", "x" * 1000])
def test_other_names_are_written(tmp_path, name):
    write(tmp_path / "f", {name: np.ones(2)}, {})
    assert list(read(tmp_path / "f")) == [name]


@pytest.mark.parametrize(
    "x",
    [
        np.ones(2, "c16"),
        np.array(["a"]),
        np.array([None]),
        np.ones(2, "M8[s]"),
        np.ones((1,) * 33) if np.lib.NumpyVersion(np.__version__) >= "2.0.0" else np.ones(2, "O"),
    ],
)
def test_arrays_that_a_file_cannot_have(tmp_path, x):
    with pytest.raises((TypeError, ValueError), match=r"`x` must have"):
        write(tmp_path / "f", {"x": x}, {})
    assert os.listdir(tmp_path) == []


def test_two_processes_saving_to_the_same_place(tmp_path):
    """Each reader sees one of their files, whole."""
    script = """
    import sys, numpy as np
    from pyfastlr.files import Reader, write
    path, who = sys.argv[1], float(sys.argv[2])
    for k in range(40):
        write(path, {"x": np.full(200_000, who), "y": np.full(5, who)}, {})
        with Reader(path) as file:
            found = file.read()
        assert len({*found["x"].tolist(), *found["y"].tolist()}) == 1
    """
    works = [threading.Thread(target=run, args=(script, tmp_path / "f", who)) for who in (1, 2)]
    errors, before = [], threading.excepthook
    threading.excepthook = lambda caught: errors.append(caught.exc_value)
    try:
        for work in works:
            work.start()
        for work in works:
            work.join()
    finally:
        threading.excepthook = before
    assert not errors
    assert os.listdir(tmp_path) == ["f"]


def test_no_warning_in_development_mode(tmp_path):
    """No file is left open, no byte of memory is misused."""
    script = """
    import sys, warnings
    warnings.simplefilter("error")
    sys.path.insert(0, sys.argv[2])
    assert sys.flags.dev_mode
    from test_files import arrays, same, read, write
    write(sys.argv[1], arrays(), {})
    assert same(read(sys.argv[1]), arrays())
    """
    assert run(script, tmp_path / "f", Path(__file__).parent, PYTHONDEVMODE="1") == ""
    assert sys.byteorder == "little"  # else the test of the byte order above would be one of swapping
