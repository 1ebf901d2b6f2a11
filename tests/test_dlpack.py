"""Memory shared through DLPack, tested without another library: shared, never copied, checked at every step."""

import numpy as np
import pytest

import pyfastlr as flr

CPU, CUDA, ROCM = 1, 2, 10  # device types of DLPack


class Lent:
    """Array of another library."""

    def __init__(self, memory, device=CPU):
        self.memory, self.device = memory, device

    def __dlpack__(self, **options):
        return self.memory.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.device, 0


def test_one_array_is_updated_in_place():
    p = Lent(np.zeros(3))
    opt = flr.SGD(p, lr=1.0)
    opt.step(Lent(np.ones(3)))
    opt.step(np.ones(3))
    assert p.memory.tolist() == [-2.0] * 3
    assert opt.steps == 2


def test_containers_of_lent_and_plain_arrays():
    p = {"lent": Lent(np.zeros((2, 2), "f4")), "plain": np.zeros(3, "f4")}
    opt = flr.SGD(p, lr=1.0, momentum=0.5)
    opt.step({"lent": np.ones((2, 2), "f4"), "plain": Lent(np.ones(3, "f4"))})
    opt.step({"lent": Lent(np.ones((2, 2), "f4")), "plain": None})
    assert p["lent"].memory.tolist() == [[-2.5] * 2] * 2
    assert p["plain"].tolist() == [-1.0] * 3
    assert opt.state_dict()["counts"].tolist() == [2, 1]


def test_gradient_of_a_flat():
    p = flr.Flat({"w": np.zeros(2), "b": np.zeros(1)})
    opt = flr.SGD(p, lr=1.0)
    opt.step(Lent(np.array([1.0, 2.0, 3.0])))
    opt.step({"w": Lent(np.ones(2)), "b": Lent(np.ones(1))})
    assert p.buffer.tolist() == [-2.0, -3.0, -4.0]


class Copied(Lent):
    """Array whose library copies it for each request."""

    def __dlpack__(self, **options):
        return self.memory.copy().__dlpack__(**options)


def test_parameter_that_is_copied_is_refused():
    """Its updates would be lost. A gradient may be a copy."""
    with pytest.raises(TypeError, match=r"`params\['b'\]` must be a float64 ndarray, got Copied that gives a copy of"):
        flr.SGD({"w": np.ones(2), "b": Copied(np.ones(3))})
    flr.SGD([Copied(np.ones(0)), np.ones(1)])  # without elements, nothing can be lost
    p = np.ones(3)
    flr.SGD(p, lr=0.5).step(Copied(np.ones(3)))
    assert p.tolist() == [0.5] * 3


def test_rates_by_element():
    p = np.zeros(3)
    flr.SGD(p, lr=1.0, lr_scale=Lent(np.array([1.0, 0.5, 0.0]))).step(np.ones(3))
    assert p.tolist() == [-1.0, -0.5, 0.0]


def strided(x):
    return np.repeat(x, 2)[::2]


def read_only(x):
    x.flags.writeable = False
    return x


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: Lent(np.ones(3, "i4")), TypeError, "got int32[3]"),
        (lambda: Lent(strided(np.ones(3))), ValueError, "C-contiguous"),
        (lambda: Lent(read_only(np.ones(3))), (TypeError, ValueError), ""),  # numpy's: cannot be lent, or read-only
        (lambda: Lent(np.ones(3), ROCM), TypeError, "neither in host memory nor on a CUDA device"),
    ],
    ids=["integers", "strided", "read-only", "on another device"],
)
def test_memory_that_cannot_be_taken(make, error, words):
    with pytest.raises(error, match="`params`") as caught:
        flr.Adam(make(), lr=0.1)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda p: Lent(np.ones(3, "f4")), TypeError, "`grads` must be float64[3], got float32[3]"),
        (lambda p: Lent(np.ones(4)), ValueError, "`grads` must be float64[3], got float64[4]"),
        (lambda p: Lent(strided(np.ones(3))), ValueError, "C-contiguous"),
        (lambda p: Lent(np.ones(3), ROCM), TypeError, "neither in host memory nor on a CUDA device"),
        (lambda p: Lent(p.memory), ValueError, "must not overlap `params`"),
        (lambda p: p, ValueError, "must not overlap `params`"),
    ],
    ids=["dtype", "shape", "strided", "on another device", "the parameters' memory", "the parameters"],
)
def test_gradients_that_cannot_be_taken(make, error, words):
    p = Lent(np.zeros(3))
    opt = flr.SGD(p, lr=1.0)
    with pytest.raises(error) as caught:
        opt.step(make(p))
    assert words in str(caught.value)
    assert opt.steps == 0
    assert p.memory.tolist() == [0.0] * 3


def test_parameter_whose_memory_moved():
    p = Lent(np.zeros(3))
    opt = flr.SGD(p, lr=1.0)
    opt.step(np.ones(3))
    old, p.memory = p.memory, np.zeros(3)
    with pytest.raises(ValueError, match="`params` must stay as it was when the optimizer was built"):
        opt.step(np.ones(3))
    assert (old.tolist(), p.memory.tolist(), opt.steps) == ([-1.0] * 3, [0.0] * 3, 1)


def test_parameter_that_was_replaced():
    params = {"w": Lent(np.zeros(3))}
    opt = flr.SGD(params, lr=1.0)
    params["w"] = Lent(params["w"].memory)
    with pytest.raises(ValueError, match=r"`params\['w'\]` must be the array that the optimizer was built with"):
        opt.step({"w": np.ones(3)})


class OnDevice:
    """Array on a CUDA device."""

    @property
    def __cuda_array_interface__(self):
        return {"shape": (3,), "typestr": "<f8", "data": (4096, False), "version": 3}


@pytest.mark.parametrize("x", [OnDevice(), Lent(np.ones(3), CUDA)], ids=["interface", "DLPack"])
def test_what_arrays_on_a_device_need_is_said(monkeypatch, x):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    install = r'in host memory, got a CUDA array: numba-cuda is not installed; pip install "pyfastlr\[cuda13\]"'
    with pytest.raises(TypeError, match=install):
        flr.Adam(x, lr=0.1)
    p = np.zeros(3)
    opt = flr.SGD(p, lr=1.0)
    with pytest.raises(TypeError, match="`grads` must be"):
        opt.step(x)
    assert p.tolist() == [0.0] * 3
