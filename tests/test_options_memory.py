"""Memory that options write: gradients that are zeroed, and arrays of copy_to, are checked as parameters are."""

import numpy as np
import pytest

import pyfastlr as flr
from step_options import moment
from test_bad_input import read_only, unaligned

P = np.ones(8)
BAD_COPIES = {
    "the parameters": (lambda p: p, ValueError, "`params` and `copy_to` must not overlap"),
    "read-only": (lambda p: read_only(np.ones(8)), ValueError, "`copy_to` must be writeable, got a read-only"),
    "float32": (
        lambda p: np.ones(8, "f4"),
        TypeError,
        "`copy_to` must be a float64 ndarray like the parameters, got float32[8]",
    ),
    "short": (lambda p: np.ones(7), ValueError, "`copy_to` must be float64[8], got float64[7]"),
    "2-d": (lambda p: np.ones((2, 4)), ValueError, "`copy_to` must be float64[8], got float64[2, 4]"),
    "strided": (lambda p: np.ones(16)[::2], ValueError, "`copy_to` must be C-contiguous"),
    "misaligned": (lambda p: unaligned(8, "f8"), ValueError, "`copy_to` must be aligned"),
    "dict": (lambda p: {"w": np.ones(8)}, TypeError, "`copy_to`"),
    "number": (lambda p: 1.0, TypeError, "`copy_to` must be a float64 ndarray like the parameters, got float"),
    "scalar": (lambda p: np.float64(1), TypeError, "`copy_to` must be"),
    "big-endian": (lambda p: np.ones(8, ">f8"), ValueError, "`copy_to` must be in native byte order"),
    "masked": (lambda p: np.ma.masked_array(np.ones(8)), TypeError, "MaskedArray"),
}


@pytest.mark.parametrize("name", BAD_COPIES)
def test_bad_copy_to(name):
    make, error, words = BAD_COPIES[name]
    p = np.ones(8)
    with pytest.raises(error, match="`copy_to") as caught:
        flr.SGD(p, 0.5, copy_to=make(p))
    assert words in str(caught.value)
    assert "w.astype(np.float64)" not in str(caught.value)


def test_copies_that_overlap():
    x, p = np.ones(12), {"a": np.ones(8), "b": np.ones(8)}
    with pytest.raises(ValueError, match=r"`copy_to\['a'\]` and `copy_to\['b'\]` must not overlap"):
        flr.SGD(p, 0.5, copy_to={"a": x[:8], "b": x[4:]})
    with pytest.raises(ValueError, match=r"`params\['b'\]` and `copy_to\['a'\]` must not overlap"):
        flr.SGD(p, 0.5, copy_to={"a": p["b"], "b": np.ones(8)})
    flat = flr.Flat(p)
    with pytest.raises(ValueError, match=r"`params` and `copy_to"):
        flr.SGD(flat, 0.5, copy_to={"a": flat["b"], "b": np.ones(8)})
    with pytest.raises(ValueError, match=r"missing keys \['b'\]"):
        flr.SGD(p, 0.5, copy_to={"a": np.ones(8)})


@pytest.mark.parametrize("later", [False, True])
@pytest.mark.usefixtures("either_launch")
def test_copies_that_overlap_rates(later):
    """An update would make the parameters the rates of the next."""
    memory = np.full(20, 0.5)
    p, c, rates = ({"a": x[:8], "b": x[8:16]} for x in (np.ones(16), memory, memory[4:].copy()))
    opt = flr.SGD(p, 1.0, copy_to=c, lr_scale=rates)
    g = {"a": np.ones(8), "b": np.ones(8)}
    if later:
        opt.step(g)
    opt.lr_scale = {"a": memory[12:20], "b": rates["b"]}
    before = moment(opt, g)
    with pytest.raises(ValueError, match=r"`lr_scale\['a'\]` and `copy_to\['b'\]` must not overlap"):
        opt.step(g)
    assert moment(opt, g) == before
    opt.lr_scale = {"a": np.full(8, 0.5), "b": rates["b"]}
    opt.step(g)
    assert opt.steps == 1 + later


def resized(c):
    c["b"].resize(100_000, refcheck=False)


def replaced(c):
    c["b"] = np.ones(8)


def missing(c):
    del c["b"]


CHANGES = {
    "read-only": lambda c: read_only(c["b"]),
    "resized": resized,
    "replaced": replaced,
    "missing": missing,
    "reshaped": lambda c: setattr(c["b"], "shape", (2, 4)),
    "reinterpreted": lambda c: setattr(c["b"], "dtype", np.int64),
    "another container": lambda c: c.update(b=[np.ones(8)]),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("first", [True, False], ids=["first step", "later step"])
@pytest.mark.usefixtures("either_launch")
def test_a_copy_that_has_changed(change, first):
    p, g, c = ({"a": np.ones(8), "b": np.ones(8)} for _ in range(3))
    opt = flr.SGD(p, 0.5, momentum=0.9, copy_to=c)
    if not first:
        opt.step(g)
    CHANGES[change](c)
    before = [x.tobytes() for x in (*p.values(), *opt.state["momentum_buffer"].values())]
    with pytest.raises((ValueError, TypeError), match=r"`copy_to.*(\['b'\]|'b')"):
        opt.step(g)
    assert [x.tobytes() for x in (*p.values(), *opt.state["momentum_buffer"].values())] == before
    assert opt.steps == (not first)


@pytest.mark.usefixtures("either_launch")
def test_a_callable_cannot_move_a_copy_under_a_step():
    c = np.zeros(8)

    def rate(n):
        if n:
            c.resize(100_000, refcheck=False)
        return 0.5

    p = np.ones(8)
    opt = flr.SGD(p, rate, copy_to=c)
    opt.step(np.ones(8))
    with pytest.raises(ValueError, match="`copy_to` must stay as it was"):
        opt.step(np.ones(8))
    assert (opt.steps, p.tolist()) == (1, [0.5] * 8)


def test_copies_of_each_kind():
    """A Flat may be copied to a Flat, its buffer or a dict; torch's memory is written too."""
    p = {"a": np.ones((2, 3)), "b": np.ones(2)}
    for make in (lambda: flr.Flat(p), lambda: np.zeros(8), lambda: {"b": np.zeros(2), "a": np.zeros((2, 3))}):
        flat, c = flr.Flat(p), make()
        opt = flr.SGD(flat, 0.5, copy_to=c)
        opt.step(np.ones(8))
        parts = c.buffer if isinstance(c, flr.Flat) else c if isinstance(c, np.ndarray) else np.concatenate(
            [c["a"].ravel(), c["b"]])  # fmt: skip
        assert (parts == 0.5).all()
    torch = pytest.importorskip("torch")
    tensor = torch.zeros(2, 3, dtype=torch.float64)
    opt = flr.SGD([p["a"]], 0.5, copy_to=[tensor])
    opt.step([np.ones((2, 3))])
    opt.step([np.ones((2, 3))])
    assert (tensor == 0).all()


# --- Gradients --------------------------------------------------------------------------------------------------------

WRITTEN = {
    "ema": ({"ema_decay": 0.5}, lambda opt, c: opt.ema, "`grads` must not overlap `ema`"),
    "copy_to": ({"copy": True}, lambda opt, c: c, "`grads` must not overlap `copy_to`"),
    "the sum": (
        {"accumulate": 2},
        lambda opt, c: opt._extras.buffers["accumulated"],
        "`grads` must not overlap `the accumulated gradient`",
    ),
    "part of copy_to": ({"copy": True, "zero_grad": True}, lambda opt, c: c.base[4:12], "must not overlap `copy_to`"),
    "state": ({"zero_grad": True}, lambda opt, c: opt.state["momentum_buffer"], "must not overlap `state["),
}


@pytest.mark.parametrize("name", WRITTEN)
@pytest.mark.usefixtures("either_launch")
def test_a_gradient_in_memory_that_the_step_writes(name):
    options, find, words = WRITTEN[name]
    p, c = np.ones(8), np.zeros(16)[:8]
    options = {**options, **({"copy_to": c} if options.get("copy") else {})}
    options.pop("copy", None)
    opt = flr.SGD(p, 0.5, momentum=0.5, **options)
    for _ in range(2):
        opt.step(np.ones(8))
    g = find(opt, c)
    before = moment(opt, g)
    with pytest.raises(ValueError, match="overlap") as caught:
        opt.step(g)
    assert words in str(caught.value)
    assert moment(opt, g) == before
    opt.step(np.ones(8))


@pytest.mark.usefixtures("either_launch")
def test_gradients_that_are_zeroed_are_apart():
    """One array for two parameters would be zero for the second. Without zero_grad it is allowed."""
    p = {name: np.ones(8) for name in "abcd"}
    x = np.ones(40)
    opt = flr.SGD(p, 0.5, zero_grad=True, threads=2)
    apart = {"a": x[24:32], "b": x[:8], "c": None, "d": x[8:16]}
    opt.step(apart)
    assert x.tolist() == [0.0] * 16 + [1.0] * 8 + [0.0] * 8 + [1.0] * 8
    for one, other, third in ("abd", "adb", "bda"):
        for shift in (0, 1, -1, 7, -7):
            g = {one: x[16:24], other: x[16 + shift : 24 + shift], third: x[:8], "c": None}
            before = moment(opt, x)
            with pytest.raises(ValueError, match=r"`grads\['.'\]` must not overlap `grads\['.'\]` with zero_grad"):
                opt.step(g)
            assert moment(opt, x) == before
    g = np.ones(8)
    flr.SGD(p, 0.5).step(dict.fromkeys(p, g))
    assert (g == 1).all()


@pytest.mark.usefixtures("either_launch")
def test_many_gradients_in_any_order_of_memory():
    rng = np.random.default_rng(3)
    for n in (1, 2, 3, 10, 100, 257):
        p, x = [np.zeros(2) for _ in range(n)], np.zeros(2 * n + 1)
        opt = flr.SGD(p, 1.0, zero_grad=True)
        for k in range(1, 8):
            order = rng.permutation(n)
            x[:] = 1.0
            opt.step([x[2 * j : 2 * j + 2] for j in order])
            assert (np.array(p) == -k).all()
            assert not x[: 2 * n].any()
        if n > 1:
            for _ in range(20):
                order, moved = rng.permutation(n), int(rng.integers(n))
                x[:] = 1.0
                g = [x[2 * j : 2 * j + 2] for j in order]
                start = 2 * int(order[moved]) + (1 if order[moved] + 1 < n else -1)
                g[moved] = x[start : start + 2]
                with pytest.raises(ValueError, match="must not overlap"):
                    opt.step(g)
                assert x.all()
                assert opt.steps == 7


READ_ONLY = {
    "array": lambda: read_only(np.ones(8)),
    "broadcast of one": lambda: read_only(np.ones((1, 8)))[0],
}


@pytest.mark.parametrize("name", READ_ONLY)
@pytest.mark.usefixtures("either_launch")
def test_a_gradient_that_cannot_be_zeroed(name):
    p = np.ones(8)
    opt = flr.SGD(p, 0.5, zero_grad=True)
    with pytest.raises(ValueError, match="`grads` must be writeable with zero_grad=True, got a read-only float64"):
        opt.step(READ_ONLY[name]())
    assert (opt.steps, p.tolist()) == (0, [1.0] * 8)
    flr.SGD(p, 0.5).step(READ_ONLY[name]())
    assert p.tolist() == [0.5] * 8


@pytest.mark.usefixtures("either_launch")
def test_rates_are_not_zeroed():
    """Without zero_grad, a gradient may be the rates."""
    p, rates = np.ones(8), np.full(8, 0.5)
    flr.SGD(p, 1.0, lr_scale=rates).step(rates)
    opt = flr.SGD(p, 1.0, lr_scale=rates, zero_grad=True)
    with pytest.raises(ValueError, match="`grads` must not overlap `lr_scale` with zero_grad=True"):
        opt.step(rates)
    assert (rates == 0.5).all()
    assert opt.steps == 0
    opt.lr_scale = 1.0
    opt.step(rates)
    assert not rates.any()


@pytest.mark.parametrize("first", [True, False], ids=["first step", "later step"])
@pytest.mark.usefixtures("either_launch")
def test_rates_that_have_moved(first):
    """Since they were set, and before the first step as well: their memory may be free."""
    p, rates = np.ones(8), np.full(8, 0.5)
    opt = flr.SGD(p, 1.0, lr_scale=rates)
    if not first:
        opt.step(np.ones(8))
    before = p.copy()
    rates.resize(100_000, refcheck=False)
    with pytest.raises(ValueError, match="`lr_scale` must keep the memory"):
        opt.step(np.ones(8))
    assert p.tobytes() == before.tobytes()


def test_torch_gradients_are_zeroed_in_place():
    torch = pytest.importorskip("torch")
    p, g = np.ones(3), torch.ones(3, dtype=torch.float64)
    opt = flr.SGD(p, 0.5, zero_grad=True)
    opt.step(g)
    assert not g.any()
    assert p.tolist() == [0.5] * 3


def test_bad_options():
    p = np.ones(3)
    bad = [
        ("nonfinite", "ignore", ValueError), ("nonfinite", None, ValueError), ("accumulate", 0, ValueError),
        ("accumulate", 1.5, TypeError), ("accumulate", True, TypeError), ("accumulate_mode", "max", ValueError),
        ("zero_grad", 1, TypeError), ("measure", "update_norm", TypeError), ("measure", ("norm",), ValueError),
        ("measure", None, TypeError), ("clip_norm", 0.0, ValueError), ("clip_norm", -1.0, ValueError),
        ("clip_norm", float("nan"), ValueError), ("clip_norm", "1", TypeError), ("clip_norm", True, TypeError),
        ("clip_norm_each", 0, ValueError), ("clip_value", -0.5, ValueError), ("clip_value", [1.0], TypeError),
        ("ema_decay", 1.0, ValueError), ("ema_decay", -0.1, ValueError), ("ema_decay", "0.9", TypeError),
    ]  # fmt: skip
    for name, value, error in bad:
        with pytest.raises(error, match=f"`{name}` must") as caught:
            flr.SGD(p, 0.5, **{name: value})
        assert repr(value) in str(caught.value) or "got" in str(caught.value)
        if name in ("clip_norm", "clip_norm_each", "clip_value", "ema_decay"):
            opt = flr.SGD(p, 0.5, groups=[{"params": 0}])
            with pytest.raises(error, match=f"`{name}` must"):
                setattr(opt, name, value)
            with pytest.raises(error, match=rf"`groups\[1\]\['{name}'\]` must"):
                opt.groups[1][name] = value
            assert getattr(opt, name) is None
        else:
            with pytest.raises(AttributeError, match=f"`{name}` of SGD cannot be changed"):
                setattr(flr.SGD(p, 0.5), name, value)
            with pytest.raises(ValueError, match=f"got '{name}'"):
                flr.SGD(p, 0.5, groups=[{"params": 0, name: value}])


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("clipnorm", "use `clip_norm_each`, or `clip_norm`"), ("global_clipnorm", "use `clip_norm`"),
        ("clipvalue", "use `clip_value`"), ("max_norm", "use `clip_norm`"), ("use_ema", "use `ema_decay`"),
        ("gradient_accumulation_steps", "use `accumulate`"), ("loss_scale_factor", "pass its inverse to `step`"),
    ],
)  # fmt: skip
def test_names_of_other_libraries_have_hints(name, words):
    with pytest.raises(TypeError, match=f"unexpected argument `{name}`: {words}"):
        flr.Adam(np.ones(3), **{name: 1})


def test_asking_for_the_gradient_norm_says_how():
    with pytest.raises(ValueError, match=r"got 'grad_norm': that is measured with clip_norm=inf$"):
        flr.SGD(np.ones(3), 0.5, measure=("grad_norm",))


def test_error_counts_what_is_not_finite():
    p = {"w": np.ones(3), "x": np.ones(3)}
    opt = flr.SGD(p, 0.5, nonfinite="raise")
    one, more = np.array([1.0, np.nan, 1.0]), np.array([np.inf, np.nan, 1.0])
    for g, words in [
        (
            {"w": one, "x": np.ones(3)},
            r"`grads\['w'\]` .*, got 1 element that is infinite or NaN; nothing was changed$",
        ),
        ({"w": one, "x": more}, r"got 1 element that is infinite or NaN \(and 2 in other arrays\); nothing"),
        ({"w": np.ones(3), "x": more}, r"`grads\['x'\]` .*, got 2 elements that are infinite or NaN; nothing"),
    ]:
        with pytest.raises(FloatingPointError, match=words):
            opt.step(g)
