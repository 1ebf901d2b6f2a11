"""`Flat`: one aligned buffer without padding, and views of it."""

import copy
import pickle

import numpy as np
import pytest

import pyfastlr as flr


def test_layout():
    arrays = {
        "a": np.ones((2, 3), "f4"),
        "empty": np.ones((0, 4), "f4"),
        "n": {"b": np.full((), 2, "f4"), "c": [np.zeros(2, "f4")]},
    }
    flat = flr.Flat(arrays)
    assert flat.names == ("a", "empty", "n.b", "n.c.0")
    assert flat.buffer.tolist() == [1, 1, 1, 1, 1, 1, 2, 0, 0]
    assert flat.buffer.ctypes.data % 64 == 0
    assert [flat[name].shape for name in flat] == [(2, 3), (0, 4), (), (2,)]
    assert all(np.shares_memory(flat[name], flat.buffer) for name in ("a", "n.b", "n.c.0"))
    arrays["a"][:] = 5
    assert (flat["a"] == 1).all()  # copied once
    assert repr(flat).startswith("Flat(float32[9], {'a': [2, 3]")


def test_list_and_tree():
    flat = flr.Flat([np.zeros(2), [np.ones(3)]])
    assert flat.names == ("0", "1.0")
    assert flat[0] is flat["0"]
    tree = flat.tree()
    assert tree[1][0] is flat["1.0"]
    assert list(flr.Flat(flat)) == ["0", "1.0"]


def test_writing_by_name_writes_the_buffer():
    flat = flr.Flat({"w": np.zeros((2, 2)), "b": np.zeros(2)})
    flat["w"] = [[1, 2], [3, 4]]
    flat["b"] -= 1
    flat["b"] = 7
    assert flat.buffer.tolist() == [1, 2, 3, 4, 7, 7]
    for other in (np.zeros(4), np.zeros(2), np.zeros((1, 2)), [[3.0], [4.0]]):  # numpy would spread all but the first
        with pytest.raises(ValueError, match=r"`w` must have shape \(2, 2\), got \("):
            flat["w"] = other
    assert flat.buffer.tolist() == [1, 2, 3, 4, 7, 7]
    with pytest.raises(AttributeError):
        flat.buffer = np.zeros(6)


def test_like_is_zero_and_of_the_same_layout():
    flat = flr.Flat({"w": np.ones((2, 2), "f4")})
    like = flat.like()
    assert like.buffer.tolist() == [0] * 4
    assert like.buffer.dtype == np.float32
    assert not np.shares_memory(like.buffer, flat.buffer)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_copies_have_views_of_their_own_buffer(duplicate):
    flat = flr.Flat({"n": {"w": np.ones((2, 2))}})
    other = duplicate(flat)
    other["n.w"][:] = 3
    assert other.buffer.tolist() == [3] * 4
    assert flat.buffer.tolist() == [1] * 4
    assert other.buffer.ctypes.data % 64 == 0
    assert list(other.tree()) == ["n"]


def test_step_takes_a_flat_or_its_buffer():
    p = [flr.Flat({"w": np.ones(3), "b": np.ones(2)}) for _ in range(2)]
    opts = [flr.Adam(x, lr=0.1) for x in p]
    g = p[0].like()
    g.buffer[:] = np.arange(5)
    opts[0].step(g)
    opts[1].step(g.buffer)
    assert p[0].buffer.tobytes() == p[1].buffer.tobytes()
    assert opts[0].state["exp_avg"]["b"].shape == (2,)
    with pytest.raises(ValueError, match=r"`grads` must be float64\[5\], got float64\[4\]"):
        opts[0].step(np.ones(4))
    with pytest.raises(ValueError, match=r"`grads` must have the layout of the parameters, .* got a Flat with"):
        opts[0].step(flr.Flat([np.ones(4)]))


@pytest.mark.parametrize(
    ("arrays", "error"),
    [
        (np.ones(3), TypeError),
        ({}, ValueError),
        ({"a": 1.0}, TypeError),
        ({"a": np.ones(3, "i4")}, TypeError),
        ({"a": np.ones(3, "f4"), "b": np.ones(3)}, TypeError),
        ({"a": np.ones(6)[::2]}, ValueError),
        ({"a": np.ma.masked_array(np.ones(3))}, TypeError),
    ],
)
def test_bad_arrays(arrays, error):
    with pytest.raises(error, match="`arrays"):
        flr.Flat(arrays)


def test_read_only_arrays_are_only_copied():
    x = np.ones(3)
    x.flags.writeable = False
    flat = flr.Flat([x])
    flat.buffer[:] = 2
    assert x.tolist() == [1] * 3


def test_unknown_name():
    with pytest.raises(KeyError):
        flr.Flat([np.ones(2)])["w"]
    assert "w" not in flr.Flat([np.ones(2)])
