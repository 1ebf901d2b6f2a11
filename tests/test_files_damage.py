"""Damaged and hostile files: each is refused by name or harmless, and nothing is allocated or written before."""

import json
import os
import random
import struct
import tracemalloc

import numpy as np
import pytest
from safetensors import numpy as safetensors

from pyfastlr.files import BadFile, Reader, checksums, layout, write
from test_files import arrays, crafted, read, same

EDITS = int(os.environ.get("PYFASTLR_TEST_EDITS", "2000"))  # the promise was checked with 10,000


@pytest.fixture
def small(tmp_path):
    """A small file, its contents and its arrays."""
    need = {
        "params.w": np.arange(6.0).reshape(2, 3),
        "state.exp_avg.w": np.arange(6, dtype="f4"),
        "counts": np.ones(1, int),
    }
    write(tmp_path / "f", need, {"state": '{"steps": 3}'})
    return tmp_path / "f", (tmp_path / "f").read_bytes(), need


def outcome(path, content, need):
    """`None` if the file is refused, else whether what was read is what was written."""
    with open(path, "r+b") as file:  # in place: ext4 waits for the disk when a file that was emptied is closed
        file.write(content)
        file.truncate()
    try:
        with Reader(path) as file:
            return same(file.read(), need) and file.layout.metadata == {"pyfastlr": "1", "state": '{"steps": 3}'}
    except BadFile as error:
        return None if str(error).startswith(f"{path}: ") else False


def test_every_flipped_bit_is_refused(small):
    path, content, need = small
    assert outcome(path, content, need) is True
    for at in range(len(content)):
        for bit in range(8):
            changed = bytearray(content)
            changed[at] ^= 1 << bit
            assert outcome(path, changed, need) is None, (at, bit)


def test_every_truncation_and_extension_is_refused(small):
    path, content, need = small
    for n in range(len(content)):
        assert outcome(path, content[:n], need) is None, n
    for more in (b"\0", b" ", content, b"\0" * 64):
        assert outcome(path, content + more, need) is None


def test_random_edits_are_refused_or_harmless(small):
    """Bytes, runs, swaps, holes, repeats, and digits and names of the header."""
    path, content, need = small
    rng, kinds = random.Random(0), {None: 0, True: 0, False: 0}
    start = 8 + int.from_bytes(content[:8], "little")
    for _ in range(EDITS):
        x = bytearray(content)
        for _ in range(rng.choice((1, 1, 2, 5))):
            a, b = sorted(rng.randrange(min(len(x), rng.choice((start, len(content))))) for _ in range(2))
            kind = rng.randrange(7)
            if kind == 0:
                x[a] = rng.randrange(256)
            elif kind == 1:
                x[a : a + 8] = rng.randbytes(min(8, len(x) - a))
            elif kind == 2:
                x[a:b] = b"\0" * (b - a)
            elif kind == 3:
                del x[a:b]
            elif kind == 4:
                x[a:a] = x[a:b]
            elif kind == 5:
                x[a], x[b] = x[b], x[a]
            else:
                digits = [k for k in range(min(start, len(x))) if 48 <= x[k] < 58] or [0]
                x[rng.choice(digits)] = rng.randrange(48, 58)
            if len(x) < 9:
                break
        kinds[outcome(path, x, need)] += 1
    assert kinds[False] == 0
    assert kinds[None] > 0.9 * EDITS


def test_names_of_what_is_damaged(tmp_path):
    path = tmp_path / "f"
    write(
        path,
        {"params.a": np.ones(300_000), "params.b": np.ones(300_000), **{f"c{k}": np.ones(9) for k in range(9)}},
        {},
    )
    with Reader(path) as file:
        start = file.layout.start
    content = bytearray(path.read_bytes())
    for at, said in [
        (5, "bytes 0 to 1,048,576 of the data are damaged, of 'params.a'"),
        (2_400_001, "of 'params.a', 'params.b': their checksum differs"),
        (4_799_999, "of 'params.b', 'c0', 'c1' and 7 more"),
        (-1, "the checksums themselves, in"),
    ]:
        at += start if at >= 0 else 0
        content[at] ^= 1
        path.write_bytes(content)
        with pytest.raises(BadFile, match=said):
            read(path)
        content[at] ^= 1


def test_a_file_that_another_program_wrote_again_is_refused(small, tmp_path):
    """safetensors keeps our tensor of checksums, which then does not fit."""
    path, _, _ = small
    found = safetensors.load_file(path)
    for metadata in (None, {"pyfastlr": "1"}):
        safetensors.save_file(found, path, metadata)
        with pytest.raises(BadFile, match=r"f: "):
            read(path)
    del found[checksums.NAME]
    safetensors.save_file(found, path, {"pyfastlr": "1"})
    with pytest.raises(BadFile, match="it must have the checksums"):
        read(path)


OURS = {"__metadata__": {"pyfastlr": "1"}}


def f32(start, stop, shape=None):
    return {"dtype": "F32", "shape": [(stop - start) // 4] if shape is None else shape, "data_offsets": [start, stop]}


HOSTILE = {  # what the header is, the data, what is said
    "too short": (b"\1\0\0", "at least 8 bytes"),
    "empty": (b"", "at least 8 bytes"),
    "only a length": (struct.pack("<Q", 0), "must begin with"),
    "huge length": (crafted("{}", length=2**63), "at most 2 bytes, got 9,223,372,036,854,775,808"),
    "length beyond the file": (crafted("{}", length=3), "at most 2 bytes, got 3"),
    "length near 2**64": (crafted("{}", length=2**64 - 1), "at most 2 bytes"),
    "no JSON": (crafted("{]"), "must be JSON"),
    "not UTF-8": (crafted(b'{"\xff": 1}'), "must be JSON: 'utf-8'"),
    "byte order mark": (crafted(b"\xef\xbb\xbf{}"), "must begin with"),
    "UTF-16": (crafted("{}".encode("utf-16-le")), "must be JSON"),
    "a list": (crafted("[]"), "must begin with"),
    "text behind": (crafted("{} x"), "must be JSON"),
    "two objects": (crafted("{}{}"), "must be JSON"),
    "deep": (crafted('{"a":' + "[" * 100_000 + "]" * 100_000 + "}"), "nested so deeply"),
    "deep objects": (crafted('{"a":' * 50_000 + "1" + "}" * 50_000), "nested so deeply"),
    "NaN": (crafted('{"a": NaN}'), "JSON has no NaN"),
    "Infinity": (crafted('{"a": -Infinity}'), "JSON has no -Infinity"),
    "long integer": (crafted('{"a": ' + "9" * 5000 + "}"), "must be JSON"),
    "key twice": (crafted('{"a": 1, "a": 1}'), "'a' is there twice"),
    "key twice inside": (crafted('{"a": {"dtype": "F32", "dtype": "F32"}}'), "'dtype' is there twice"),
    "key twice by escape": (crafted('{"a": 1, "\\u0061": 1}'), "'a' is there twice"),
    "metadata twice": (crafted('{"__metadata__": {}, "__metadata__": {}}'), "twice"),
    "metadata list": (crafted({"__metadata__": []}), "strings by name"),
    "metadata numbers": (crafted({"__metadata__": {"a": 1}}), "strings by name"),
    "metadata surrogate": (crafted('{"__metadata__": {"a": "\\ud800"}}'), "Unicode"),
    "entry null": (crafted({"a": None}), "must have dtype, shape and data_offsets"),
    "entry lacks": (crafted({"a": {"dtype": "F32", "shape": []}}), "must have dtype, shape and data_offsets"),
    "entry has more": (crafted({"a": {**f32(0, 4), "x": 1}}, b"\0" * 4), "must have dtype, shape and data_offsets"),
    "dtype unknown": (crafted({"a": {**f32(0, 4), "dtype": "F31"}}, b"\0" * 4), "must be one of .*got 'F31'"),
    "dtype number": (crafted({"a": {**f32(0, 4), "dtype": 5}}, b"\0" * 4), "must be one of .*got 5"),
    "dtype list": (crafted({"a": {**f32(0, 4), "dtype": ["F32"]}}, b"\0" * 4), "must be one of"),
    "dtype object": (crafted({"a": {**f32(0, 8), "dtype": "O"}}, b"\0" * 8), "must be one of"),
    "shape float": (crafted({"a": f32(0, 4, [1.0])}, b"\0" * 4), "integers >= 0"),
    "shape bool": (crafted({"a": f32(0, 4, [True])}, b"\0" * 4), "integers >= 0"),
    "shape negative": (crafted({"a": f32(0, 4, [-1, -1])}, b"\0" * 4), "integers >= 0"),
    "shape text": (crafted({"a": f32(0, 4, "1")}, b"\0" * 4), "integers >= 0"),
    "33 dimensions": (crafted({"a": f32(0, 4, [1] * 33)}, b"\0" * 4), "at most 32"),
    "shape overflows to 0": (crafted({"a": f32(0, 0, [2**62, 4])}), r"fewer than 2\*\*63"),
    "shape overflows to 4": (crafted({"a": f32(0, 4, [2**62 + 1, 2**32])}, b"\0" * 4), r"fewer than 2\*\*63"),
    "huge and empty": (crafted({"a": f32(0, 0, [0, 2**70])}), r"fewer than 2\*\*63"),
    "4 TiB": (crafted({"a": f32(0, 2**42)}), "cut off"),
    "too small for the shape": (crafted({"a": f32(0, 4, [2])}, b"\0" * 4), "must have 8 bytes"),
    "offsets float": (crafted({"a": {**f32(0, 4), "data_offsets": [0, 4.0]}}, b"\0" * 4), "two integers"),
    "offsets negative": (crafted({"a": {**f32(0, 4), "data_offsets": [-4, 0]}}, b"\0" * 4), "two integers"),
    "offsets reversed": (crafted({"a": {**f32(0, 4), "data_offsets": [4, 0]}}, b"\0" * 4), "two integers"),
    "three offsets": (crafted({"a": {**f32(0, 4), "data_offsets": [0, 4, 4]}}, b"\0" * 4), "two integers"),
    "overlap": (crafted({"a": f32(0, 16), "b": f32(0, 16)}, b"\0" * 16), "'b' must begin at byte 16 .*overlaps"),
    "part overlap": (crafted({"a": f32(0, 8), "b": f32(4, 16)}, b"\0" * 16), "'b' must begin at byte 8 .*overlaps"),
    "gap": (crafted({"a": f32(0, 4), "b": f32(8, 12)}, b"\0" * 12), "'b' must begin at byte 4 .*gap"),
    "gap in front": (crafted({"a": f32(4, 8)}, b"\0" * 8), "gap"),
    "bytes behind": (crafted({"a": f32(0, 4)}, b"\0" * 5), "something follows"),
    "cut": (crafted({"a": f32(0, 4)}, b"\0" * 3), "cut off"),
    "no name": (crafted({"": f32(0, 4)}, b"\0" * 4), "1 to 1000 characters"),
    "control character": (crafted({"a\u001b[31m": f32(0, 4)}, b"\0" * 4), "control characters"),
    "line separator": (crafted('{"a\\u2028": {}}'), "control characters"),
    "surrogate": (crafted('{"\\udc00": {}}'), "control characters"),
    "traversal": (crafted({"params.../../etc/passwd": f32(0, 4)}, b"\0" * 4), "'..' as a folder"),
    "long name": (crafted({"x" * 2000: f32(0, 4)}, b"\0" * 4), "1 to 1000 characters, got 2000"),
    "version": (crafted({"__metadata__": {"pyfastlr": "2"}}), "'1', the version that this pyfastlr reads, got '2'"),
    "marked without checksums": (crafted(OURS), "must have the checksums"),
    "checksums without mark": (crafted({checksums.NAME: f32(0, 4)}, b"\0" * 4), "must be '1', .* got None"),
    "checksums of another kind": (crafted({**OURS, checksums.NAME: f32(0, 20)}, b"\0" * 20), "must be the last tensor"),
    "checksums too few": (
        crafted({**OURS, checksums.NAME: {"dtype": "U8", "shape": [19], "data_offsets": [0, 19]}}, b"\0" * 19),
        "must be the last tensor, U8 of 20 bytes",
    ),
    "foreign": (crafted({"a": f32(0, 4)}, b"\0" * 4), "has no checksums, so it is not from pyfastlr"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_refused_by_name(tmp_path, name):
    content, said = HOSTILE[name]
    (tmp_path / "f").write_bytes(content)
    tracemalloc.start()
    try:
        with pytest.raises(BadFile, match=f"(?s)^{tmp_path}/f: .*{said}") as caught:
            read(tmp_path / "f")
        assert tracemalloc.get_traced_memory()[1] < 100_000 + 40 * len(content)
    finally:
        tracemalloc.stop()
    assert len(str(caught.value)) < 500 + len(str(tmp_path))


def resealed(path, change):
    """Change the checksums' tensor and seal it anew, as a later version might."""
    content = bytearray(path.read_bytes())
    at = content.index(checksums.MAGIC)
    change(content, at)
    body = bytes(content[at:-4])
    path.write_bytes(bytes(content[:-4]) + struct.pack("<I", checksums.crc32(body)))


def test_unknown_version_of_the_checksums(small):
    def change(content, at):
        content[at + 11] += 1

    resealed(small[0], change)
    with pytest.raises(BadFile, match=r"must begin with b'flrcrc32v001', the version that this pyfastlr reads"):
        read(small[0])


def test_header_is_covered_although_its_checksum_comes_after_it(small):
    path, content, _ = small
    assert content.count(b"3}") == 1
    path.write_bytes(content.replace(b"3}", b"4}"))
    with pytest.raises(BadFile, match="the header is damaged"):
        read(path)


def test_bools_that_are_none(tmp_path):
    write(tmp_path / "f", {"x": np.array([1, 7], np.uint8).view(bool)}, {})
    with pytest.raises(BadFile, match="f: 'x' must have the bytes 0 and 1, got 7"):
        read(tmp_path / "f")


def test_the_largest_header(tmp_path, monkeypatch):
    monkeypatch.setattr(layout, "LARGEST_HEADER", 1000)
    monkeypatch.setattr("pyfastlr.files.reading.LARGEST_HEADER", 1000)
    with pytest.raises(ValueError, match="at most 1,000 bytes, got"):
        write(tmp_path / "f", {"x": np.ones(1)}, {"a": "b" * 1000})
    assert os.listdir(tmp_path) == []
    (tmp_path / "f").write_bytes(crafted(json.dumps({}) + " " * 1000))
    with pytest.raises(BadFile, match="header must be at most 1,000 bytes, got 1,002"):
        read(tmp_path / "f")


def test_a_file_that_is_cut_or_changed_while_it_is_read(tmp_path):
    path, x = tmp_path / "f", np.arange(400_000.0)
    for change, said in [
        (lambda: os.truncate(path, 1_500_000), "it was cut off while it was read"),
        (lambda: path.write_bytes(path.read_bytes().replace(x[-5:].tobytes(), b"x" * 40)), "damaged"),
    ]:
        write(path, {"x": x}, {})
        with Reader(path) as file:
            file.verify()
            change()
            with pytest.raises(BadFile, match=said):
                file.read()


def test_a_reader_keeps_its_file_when_another_takes_its_place(tmp_path):
    write(tmp_path / "f", arrays(0), {})
    with Reader(tmp_path / "f") as file:
        write(tmp_path / "f", arrays(1), {})
        assert same(file.read(), arrays(0))
    assert same(read(tmp_path / "f"), arrays(1))


def test_some_arrays_are_read_with_their_chunks(tmp_path):
    """Any subset, at any place in the chunks. Damage elsewhere is not seen, damage in the same chunk is."""
    rng = np.random.default_rng(0)
    sizes = [3, 100_000, 131_072, 7, 0, 131_072 - 10, 300_000, 2, 131_072, 5]
    need = {f"x{k}": rng.random(n) for k, n in enumerate(sizes)}
    write(tmp_path / "f", need, {})
    with Reader(tmp_path / "f") as file:
        for subset in range(1, 1 << len(sizes), 7):
            found = {name: np.empty(x.shape) for k, (name, x) in enumerate(need.items()) if subset >> k & 1}
            file.read_into(found, everything=False)
            assert same(found, {name: need[name] for name in found})
        places = {name: file.layout.start + x.start for name, x in file.layout.tensors.items()}
    for damaged, wanted, is_seen in [("x6", "x0", False), ("x0", "x6", False), ("x6", "x9", False), ("x0", "x1", True),
                                     ("x7", "x8", True), ("x9", "x8", True), ("x0", "x2", True)]:  # fmt: skip
        content = bytearray((tmp_path / "f").read_bytes())
        content[places[damaged] + (1_100_000 if damaged == "x6" else 0)] ^= 1
        (tmp_path / "g").write_bytes(content)
        with Reader(tmp_path / "g") as file:
            found = {wanted: np.empty(need[wanted].shape)}
            if is_seen:
                with pytest.raises(BadFile, match=f"of .*'{damaged}'"):
                    file.read_into(found, everything=False)
            else:
                file.read_into(found, everything=False)
                assert same(found, {wanted: need[wanted]})
            with pytest.raises(BadFile, match="damaged"):
                file.read_into(found)
