"""Memory of objects with the buffer protocol, and of cffi's arrays: shared, never copied, checked at every step."""

import array
import ctypes
import mmap

import numpy as np
import pytest
from cffi import FFI

import pyfastlr as flr

ffi = FFI()
CODES = {"f": np.float32, "d": np.float64}
CTYPES = {"f": ctypes.c_float, "d": ctypes.c_double}
NAMES = {"f": "float", "d": "double"}


def by_array(code, values):
    return array.array(code, values)


def by_memoryview(code, values):
    return memoryview(bytearray(np.array(values, code).tobytes())).cast(code)


def by_ctypes(code, values):
    return (CTYPES[code] * len(values))(*values)


def by_cffi(code, values):
    return ffi.new(f"{NAMES[code]}[]", values)


def by_cffi_buffer(code, values):
    memory = ffi.new(f"{NAMES[code]}[]", values)
    return memoryview(ffi.buffer(memory)).cast(code)


MAKERS = [by_array, by_memoryview, by_ctypes, by_cffi, by_cffi_buffer]
each_maker = pytest.mark.parametrize("make", MAKERS, ids=[x.__name__ for x in MAKERS])
each_code = pytest.mark.parametrize("code", CODES)


@each_code
@each_maker
def test_one_buffer_is_updated_in_place(make, code):
    p = make(code, [1.0, 2.0, 3.0])
    opt = flr.SGD(p, lr=0.5)
    opt.step(make(code, [2.0, 0.0, -2.0]))
    opt.step(np.ones(3, code))
    assert list(p) == [-0.5, 1.5, 3.5]
    assert opt.steps == 2


@each_code
@each_maker
def test_buffers_in_containers_have_the_bits_of_arrays(make, code):
    rng = np.random.default_rng(3)
    start, grads = rng.standard_normal((2, 5)).astype(code), rng.standard_normal((3, 5)).astype(code)
    ours = {"x": make(code, start[0].tolist()), "y": start[1].copy()}
    plain = {"x": start[0].copy(), "y": start[1].copy()}
    opt, reference = flr.Adam(ours, 0.1, clip_norm=0.5), flr.Adam(plain, 0.1, clip_norm=0.5)
    for g in grads:
        opt.step({"x": make(code, g.tolist()), "y": g})
        reference.step({"x": g, "y": g})
    assert np.array(list(ours["x"]), code).tobytes() == plain["x"].tobytes()
    assert ours["y"].tobytes() == plain["y"].tobytes()


@each_maker
def test_rates_by_element_and_copies(make):
    p, copied = make("d", [0.0, 0.0]), make("d", [9.0, 9.0])
    rates = make("d", [1.0, 0.0])
    opt = flr.SGD(p, lr=1.0, lr_scale=rates, copy_to=copied)
    opt.step(np.ones(2))
    assert list(p) == list(copied) == [-1.0, 0.0]


@pytest.mark.parametrize("kind", ["ctypes", "cffi"])
def test_dimensions(kind):
    p = (ctypes.c_double * 3 * 2)() if kind == "ctypes" else ffi.new("double[2][3]")
    opt = flr.SGD({"w": p}, lr=1.0)
    assert opt.state_dict()["structure"] == [("w", (2, 3))]
    opt.step({"w": np.arange(6.0).reshape(2, 3)})
    assert [list(row) for row in p] == [[0, -1, -2], [-3, -4, -5]]


def test_a_number_of_ctypes_is_a_0_dimensional_array():
    p = ctypes.c_double(2.0)
    flr.SGD(p, lr=0.5).step(np.array(2.0))
    assert p.value == 1.0


def test_the_memory_stays_while_the_optimizer_lives():
    p = array.array("d", [1.0, 2.0])
    opt = flr.SGD(p, lr=1.0)
    with pytest.raises(BufferError):  # Python's own error: the memory is lent
        p.append(3.0)
    opt.step(np.ones(2))
    assert list(p) == [0.0, 1.0]
    del opt
    p.append(3.0)


def test_a_buffer_that_was_replaced_in_its_container():
    params = {"w": array.array("d", [1.0])}
    opt = flr.SGD(params, lr=1.0)
    params["w"] = array.array("d", [1.0])
    with pytest.raises(ValueError, match=r"`params\['w'\]` must be the array that the optimizer was built with"):
        opt.step({"w": np.ones(1)})
    assert opt.steps == 0


REFUSED = {
    "bytearray": (lambda: bytearray(8), TypeError, 'it has bytes, not floats: pass memoryview(x).cast("f")'),
    "cffi's bytes": (lambda: ffi.buffer(ffi.new("float[2]")), TypeError, "it has bytes, not floats"),
    "mmap": (lambda: mmap.mmap(-1, 16), TypeError, "it has bytes, not floats"),
    "integers": (lambda: array.array("i", [1]), TypeError, "got int32[1]"),
    "cffi's integers": (lambda: ffi.new("int[3]"), TypeError, "its elements are int, not float or double"),
    "ctypes' integers": (lambda: (ctypes.c_int * 2)(), TypeError, "got int32[2]"),
    "pointer": (lambda: ffi.cast("float *", ffi.new("float[2]")), TypeError, "'float *' has no length"),
    "new pointer": (lambda: ffi.new("float *"), TypeError, "'float *' has no length"),
    "read-only": (lambda: memoryview(bytes(8)).cast("f"), ValueError, "must be writeable, got a read-only memoryview"),
    "strided": (lambda: memoryview(array.array("d", range(6)))[::2], ValueError, "C-contiguous"),
    "text": (lambda: "text", TypeError, "got str"),
    "other byte order": (lambda: (ctypes.c_float.__ctype_be__ * 2)(), ValueError, "must be in native byte order"),
}


@pytest.mark.parametrize(("make", "error", "words"), REFUSED.values(), ids=REFUSED)
def test_memory_that_cannot_be_taken(make, error, words):
    with pytest.raises(error) as caught:
        flr.Adam([make()], lr=0.1)
    assert str(caught.value).startswith("`params[0]` must be")
    assert words in str(caught.value)


def test_gradients_may_be_read_only_and_are_checked():
    p = np.zeros(2)
    opt = flr.SGD(p, lr=1.0)
    opt.step(memoryview(np.ones(2).tobytes()).cast("d"))
    assert p.tolist() == [-1.0, -1.0]
    with pytest.raises(TypeError, match=r"`grads` must be float64\[2\], got float32\[2\]"):
        opt.step(array.array("f", [1.0, 1.0]))
    with pytest.raises(ValueError, match=r"`grads` must be float64\[2\], got float64\[3\]"):
        opt.step(array.array("d", [1.0, 1.0, 1.0]))
    with pytest.raises(TypeError, match=r"`grads` must be .* it has bytes"):
        opt.step(bytes(16))
    with pytest.raises(ValueError, match="must not overlap `params`"):
        opt.step(memoryview(p))
    assert opt.steps == 1


class Column:
    """A column of a table, as in pandas, polars and Arrow."""

    def to_numpy(self):
        return np.ones(2)


def test_columns_of_tables():
    with pytest.raises(TypeError, match=r"got Column: such columns may be shared or read-only; keep a copy"):
        flr.SGD(Column(), lr=0.1)


class OldLender:
    """Array of a library whose DLPack has no versions, and so cannot say that its memory is writeable."""

    def __init__(self, memory):
        self.memory = memory

    def __dlpack__(self, *, stream=None):
        return self.memory.__dlpack__()  # numpy's own capsule without a version

    def __dlpack_device__(self):
        return 1, 0


def test_dlpack_without_versions():
    with pytest.raises(
        ValueError, match=r"read-only OldLender \(its library lends it so; numpy also takes memory from"
    ):
        flr.SGD(OldLender(np.ones(2)), lr=0.1)
    p = np.zeros(2)
    flr.SGD(p, lr=1.0).step(OldLender(np.ones(2)))
    assert p.tolist() == [-1.0, -1.0]
