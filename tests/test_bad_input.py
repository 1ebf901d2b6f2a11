"""Bad input raises an error that names the argument, what it needs and what it got, and changes nothing."""

import numpy as np
import pytest

import pyfastlr as flr
from pyfastlr import schedules as S


def photograph(opt, *arrays):
    """Bytes of everything that a step may change."""
    state = opt.state_dict()
    return (
        [x.tobytes() for x in arrays],
        [x.tobytes() for x in flat_arrays(state["state"])],
        state["steps"],
        state["counts"].tolist(),
    )


def flat_arrays(x):
    if isinstance(x, np.ndarray):
        return [x]
    return [y for part in (x.values() if isinstance(x, dict) else x) for y in flat_arrays(part)]


def unaligned(n, dtype):
    raw = np.zeros(n * np.dtype(dtype).itemsize + 1, np.uint8)
    return raw[1:].view(dtype)


def read_only(x):
    x.flags.writeable = False
    return x


F4 = "float32"
BAD_GRADIENTS = {
    "float64": (lambda p: p.astype("f8"), TypeError, "got float64[8]"),
    "longdouble": (lambda p: p.astype("g"), TypeError, f"got {np.dtype('g')}[8]"),
    "integers": (lambda p: np.ones(8, "i4"), TypeError, "got int32[8]"),
    "booleans": (lambda p: np.ones(8, bool), TypeError, "got bool[8]"),
    "complex": (lambda p: np.ones(8, "c8"), TypeError, "got complex64[8]"),
    "objects": (lambda p: np.ones(8, object), TypeError, "got object[8]"),
    "list": (lambda p: [1.0] * 8, TypeError, "got list"),
    "number": (lambda p: 1.0, TypeError, "got float"),
    "numpy scalar": (lambda p: np.float32(1.0), TypeError, "got float32"),
    "None": (lambda p: None, TypeError, "got None"),
    "string": (lambda p: "grads", TypeError, "got str"),
    "dict": (lambda p: {"w": p.copy()}, TypeError, "got dict"),
    "short": (lambda p: np.ones(7, F4), ValueError, "got float32[7]"),
    "long": (lambda p: np.ones(9, F4), ValueError, "got float32[9]"),
    "empty": (lambda p: np.ones(0, F4), ValueError, "got float32[0]"),
    "0-d": (lambda p: np.array(1.0, F4), ValueError, "got 0-dimensional float32"),
    "2-d": (lambda p: np.ones((2, 4), F4), ValueError, "got float32[2, 4]"),
    "strided": (lambda p: np.ones(16, F4)[::2], ValueError, "C-contiguous"),
    "reversed": (lambda p: np.ones(8, F4)[::-1], ValueError, "C-contiguous"),
    "broadcast": (lambda p: np.broadcast_to(np.float32(1), 8), ValueError, "C-contiguous"),
    "big-endian": (lambda p: np.ones(8, ">f4"), ValueError, "byte order"),
    "misaligned": (lambda p: unaligned(8, F4), ValueError, "aligned"),
    "masked": (lambda p: np.ma.masked_array(np.ones(8, F4), mask=[True] * 8), TypeError, "MaskedArray"),
    "the parameters": (lambda p: p, ValueError, "overlap"),
}


@pytest.mark.parametrize("first", [True, False], ids=["first step", "later step"])
@pytest.mark.parametrize("name", BAD_GRADIENTS)
def test_bad_gradient(name, first):
    make, error, words = BAD_GRADIENTS[name]
    p = np.linspace(1, 2, 8, dtype=F4)
    opt = flr.Adam(p, lr=0.1)
    if not first:
        opt.step(np.ones(8, F4))
    before = photograph(opt, p)
    with pytest.raises(error, match=r"`grads`") as caught:
        opt.step(make(p))
    assert words in str(caught.value)
    assert photograph(opt, p) == before
    opt.step(np.ones(8, F4))  # and goes on


# There, None means no gradient, and a container is a wrong structure; both are tested below.
@pytest.mark.parametrize("name", [name for name in BAD_GRADIENTS if name not in ("None", "list", "dict")])
def test_bad_gradient_in_a_dict(name):
    make, error, words = BAD_GRADIENTS[name]
    p = {"a": np.ones((3, 2), F4), "w": np.linspace(1, 2, 8, dtype=F4)}
    opt = flr.Adam(p, lr=0.1)
    opt.step({"a": np.ones((3, 2), F4), "w": np.ones(8, F4)})
    before = photograph(opt, *p.values())
    with pytest.raises(error, match=r"`grads\['w'\]`") as caught:
        opt.step({"a": np.ones((3, 2), F4), "w": make(p["w"])})
    assert words in str(caught.value)
    assert photograph(opt, *p.values()) == before


@pytest.mark.parametrize("parts", [np.ones, lambda shape: [np.ones(shape)], lambda shape: flr.Flat([np.ones(shape)])])
def test_gradient_of_the_same_size_in_another_shape(parts):
    p = parts((2, 3))
    opt = flr.SGD(p, lr=0.5)
    g = [np.ones((3, 2))] if not isinstance(p, np.ndarray) else np.ones((3, 2))
    with pytest.raises(ValueError, match=r"must be float64\[2, 3\], got float64\[3, 2\]"):
        opt.step(g)
    assert opt.steps == 0
    opt.step([np.ones((2, 3))] if not isinstance(p, np.ndarray) else np.ones((2, 3)))
    assert (np.asarray(p[0]) == 0.5).all()


@pytest.mark.parametrize("shift", [-7, -3, -1, 1, 3, 7])
def test_gradient_that_partly_overlaps_the_parameters(shift):
    buffer = np.ones(40, F4)
    p, g = buffer[16:24], buffer[16 + shift : 24 + shift]
    opt = flr.SGD(p, lr=0.1)
    with pytest.raises(ValueError, match="overlap"):
        opt.step(g)
    assert (buffer == 1).all()


@pytest.mark.parametrize("shift", [-8, 8])
def test_neighbours_do_not_overlap(shift):
    buffer = np.ones(40, F4)
    p, g = buffer[16:24], buffer[16 + shift : 24 + shift]
    flr.SGD(p, lr=0.5).step(g)
    assert (p == 0.5).all()
    assert (g == 1).all()


def test_gradient_that_is_the_state():
    p = np.ones(8, F4)
    opt = flr.Adam(p, lr=0.1)
    with pytest.raises(ValueError, match=r"`grads` must not overlap `state\['exp_avg_sq'\]`"):
        opt.step(opt.state["exp_avg_sq"])
    assert opt.steps == 0


def test_gradient_of_one_that_is_another_parameter():
    p = {"a": np.ones(8, F4), "b": np.ones(8, F4)}
    opt = flr.SGD(p, lr=0.1)
    with pytest.raises(ValueError, match=r"`grads\['a'\]` must not overlap"):
        opt.step({"a": p["b"], "b": np.ones(8, F4)})
    assert (p["a"] == 1).all()


def test_one_array_as_gradient_of_two():
    p = [np.ones(8, F4), np.ones(8, F4)]
    g = np.ones(8, F4)
    flr.SGD(p, lr=0.5).step([g, g])
    assert (p[0] == 0.5).all()
    assert (p[1] == 0.5).all()


STRUCTURES = {
    "missing key": ({"a": 1}, ValueError, "missing keys ['b']"),
    "unknown key": ({"a": 1, "b": 1, "c": 1}, ValueError, "unknown keys ['c']"),
    "other key": ({"a": 1, "c": 1}, ValueError, "missing keys ['b'] and unknown keys ['c']"),
    "list": ([1, 1], TypeError, "must be a dict"),
    "array": (1, TypeError, "must be a dict"),
    "None": (None, TypeError, "must be a dict like the parameters, got None"),
    "deeper": ({"a": {"x": 1}, "b": 1}, TypeError, "got dict"),
}


@pytest.mark.parametrize("name", STRUCTURES)
def test_wrong_structure(name):
    tree, error, words = STRUCTURES[name]
    p = {"a": np.ones(4, F4), "b": np.ones(4, F4)}
    opt = flr.Adam(p, lr=0.1)
    with pytest.raises(error, match="`grads") as caught:
        opt.step(filled(tree))
    assert words in str(caught.value)
    assert opt.steps == 0
    assert (p["a"] == 1).all()


def filled(tree):
    if isinstance(tree, dict):
        return {key: filled(value) for key, value in tree.items()}
    if isinstance(tree, list):
        return [filled(value) for value in tree]
    return None if tree is None else np.ones(4, F4)


def test_list_of_wrong_length():
    opt = flr.Adam([np.ones(4, F4)] * 1, lr=0.1)
    with pytest.raises(ValueError, match="must have 1 entries like the parameters, got 2"):
        opt.step([np.ones(4, F4), np.ones(4, F4)])


BAD_PARAMETERS = {
    "longdouble": (lambda: np.ones(8, "g"), TypeError, f"got {np.dtype('g')}[8]"),
    "integers": (lambda: np.ones(8, "i4"), TypeError, "got int32[8]"),
    "objects": (lambda: np.ones(8, object), TypeError, "got object[8]"),
    "numbers": (lambda: [1.0, 2.0], TypeError, "`params[0]`"),
    "None": (lambda: None, TypeError, "got None"),
    "string": (lambda: "w", TypeError, "got str"),
    "numpy scalar": (lambda: np.float32(1), TypeError, "got the numpy scalar float32; it cannot be updated in place"),
    "scalar in a dict": (
        lambda: {"b": np.float64(1)},
        TypeError,
        "`params['b']` must be a float32, float64, bfloat16 or float16 ndarray",
    ),
    "scalar in a list": (lambda: [X, X.sum()], TypeError, "`params[1]` must be a float32 ndarray, got the numpy sc"),
    "empty dict": (dict, ValueError, "empty dict"),
    "empty list": (list, ValueError, "empty list"),
    "read-only": (lambda: read_only(np.ones(8, F4)), ValueError, "writeable"),
    "strided": (lambda: np.ones(16, F4)[::2], ValueError, "C-contiguous"),
    "Fortran": (lambda: np.ones((4, 4), F4, order="F"), ValueError, "C-contiguous"),
    "big-endian": (lambda: np.ones(8, ">f4"), ValueError, "byte order"),
    "misaligned": (lambda: unaligned(8, F4), ValueError, "aligned"),
    "masked": (lambda: np.ma.masked_array(np.ones(8, F4)), TypeError, "MaskedArray"),
    "mixed dtypes": (lambda: [np.ones(8, F4), np.ones(8)], TypeError, "`params[1]`"),
    "same array twice": (lambda: [X, X], ValueError, "overlap"),
    "overlapping": (lambda: {"a": X[:5], "b": X[4:]}, ValueError, "`params['a']` and `params['b']`"),
    "itself": (lambda: CYCLE, ValueError, "contains itself"),
    "one name twice": (lambda: {"a": {"b": X.copy()}, "a.b": X.copy()}, ValueError, "'a.b'"),
    "odd key": (lambda: {1.5: X.copy()}, TypeError, "1.5"),
}
X = np.ones(8, F4)
CYCLE: list = []
CYCLE.append(CYCLE)


@pytest.mark.parametrize("name", BAD_PARAMETERS)
def test_bad_parameters(name):
    make, error, words = BAD_PARAMETERS[name]
    with pytest.raises(error, match="`params") as caught:
        flr.Adam(make(), lr=0.1)
    assert words in str(caught.value)


BAD_ARGUMENTS = {
    "negative lr": ({"lr": -1e-3}, ValueError, "`lr`"),
    "NaN lr": ({"lr": float("nan")}, ValueError, "`lr`"),
    "infinite lr": ({"lr": float("inf")}, ValueError, "`lr`"),
    "lr beyond all floats": ({"lr": 10**400}, ValueError, "`lr`"),
    "string lr": ({"lr": "0.1"}, TypeError, "`lr`"),
    "True as lr": ({"lr": True}, TypeError, "`lr`"),
    "array as lr": ({"lr": np.ones(2)}, TypeError, "`lr`"),
    "betas of one": ({"betas": (0.9,)}, TypeError, "`betas`"),
    "beta of one": ({"betas": (0.9, 1.0)}, ValueError, "`betas[1]`"),
    "negative beta": ({"betas": (-0.1, 0.9)}, ValueError, "`betas[0]`"),
    "negative eps": ({"eps": -1e-8}, ValueError, "`eps`"),
    "negative decay": ({"weight_decay": -0.1}, ValueError, "`weight_decay`"),
    "complex decay": ({"weight_decay": 1j}, TypeError, "`weight_decay`"),
    "unknown kind": ({"decay": "l2"}, ValueError, "`decay`"),
    "unknown convention": ({"convention": "mxnet"}, ValueError, "`convention`"),
    "negative lr_scale": ({"lr_scale": -1.0}, ValueError, "`lr_scale`"),
    "short lr_scale": ({"lr_scale": np.ones(7, F4)}, ValueError, "`lr_scale`"),
    "float64 lr_scale": ({"lr_scale": np.ones(8)}, TypeError, "`lr_scale`"),
    "negative in lr_scale": ({"lr_scale": np.array([1] * 7 + [-0.5], F4)}, ValueError, "got -0.5"),
    "NaN in lr_scale": ({"lr_scale": np.full(8, np.nan, F4)}, ValueError, "`lr_scale`"),
    "threads 0": ({"threads": 0}, ValueError, "`threads`"),
    "threads 1025": ({"threads": 1025}, ValueError, "`threads` must be None or an integer from 1 to 1024, got 1025"),
    "threads True": ({"threads": True}, TypeError, "`threads`"),
    "threads 1.5": ({"threads": 1.5}, TypeError, "`threads`"),
    "maximize 1": ({"maximize": 1}, TypeError, "`maximize`"),
    "groups of a dict": ({"groups": {"params": "*"}}, TypeError, "`groups`"),
    "group without params": ({"groups": [{"lr": 0.1}]}, ValueError, "`groups[0]`"),
    "pattern without match": ({"groups": [{"params": "head.*"}]}, ValueError, "'head.*'"),
    "index without match": ({"groups": [{"params": 1}]}, ValueError, "must be 0, the index of the single array, got 1"),
    "params of a number": ({"groups": [{"params": 0.0}]}, TypeError, "a list of these, got 0.0"),
    "params of a flag": ({"groups": [{"params": False}]}, TypeError, "a list of these, got False"),
    "params of nothing": ({"groups": [{"params": []}]}, TypeError, "a list of these, got []"),
    "params of flags": ({"groups": [{"params": [False]}]}, TypeError, "names, globs, indices or functions, got False"),
    "params of numbers": ({"groups": [{"params": [0.0]}]}, TypeError, "names, globs, indices or functions, got 0.0"),
    "function without match": ({"groups": [{"params": lambda name: False}]}, ValueError, "must be 0, the index of"),
    "function without an answer": (
        {"groups": [{"params": lambda name: None}]},
        TypeError,
        "`groups[0]['params']` must return True or False, got None for ''",
    ),
    "function of no argument": ({"groups": [{"params": lambda: True}]}, TypeError, "takes 0 positional arguments"),
    "a function and a name": ({"groups": [{"params": [lambda name: True, 0]}]}, ValueError, "twice"),
    "named twice": ({"groups": [{"params": [0, 0]}]}, ValueError, "twice"),
    "unknown in a group": ({"groups": [{"params": 0, "rate": 1}]}, ValueError, "'rate'"),
    "bad lr in a group": ({"groups": [{"params": 0, "lr": -1.0}]}, ValueError, "`groups[0]['lr']` must be"),
    "class as lr": ({"lr": S.Cosine}, TypeError, "callable, got the class Cosine: call it, as in Cosine(...)"),
    "class as beta": (
        {"betas": (S.Cosine, 0.9)},
        TypeError,
        "`betas[0]` must be a number in [0, 1), a schedule or a c",
    ),
    "class as betas": (
        {"betas": S.Cosine},
        TypeError,
        "`betas` must be a pair of numbers in [0, 1), schedules or c",
    ),
    "class as lr_scale": ({"lr_scale": S.Cosine}, TypeError, "or arrays like params, got the class Cosine: call it"),
    "list as lr": ({"lr": [0.1]}, TypeError, "`lr` must be a finite number >= 0, a schedule or a callable, got [0.1]"),
    "text as eps": ({"eps": "1"}, TypeError, "`eps` must be a finite number >= 0, a schedule or a callable, got '1'"),
    "text as beta": (
        {"betas": ("1", 0)},
        TypeError,
        "`betas[0]` must be a number in [0, 1), a schedule or a call",
    ),
    "text as lr_scale": ({"lr_scale": "1"}, TypeError, "a schedule, a callable or arrays like params, got '1'"),
    "list as lr_scale": ({"lr_scale": [1.0] * 8}, TypeError, "a schedule, a callable or arrays like params, got list"),
}


@pytest.mark.parametrize("name", BAD_ARGUMENTS)
def test_bad_argument(name):
    options, error, words = BAD_ARGUMENTS[name]
    with pytest.raises(error) as caught:
        flr.AdamW(np.ones(8, F4), **{"lr": 0.1, **options})
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("rates", "got"),
    [
        (np.ones(3, F4), "float32[3]"),
        ({"a": np.ones(3, F4)}, "dict"),
        ({"a": np.ones(3, F4), "b": np.ones(2, F4), "c": np.ones(4, F4)}, "dict"),
    ],
    ids=["array", "too few", "too many"],
)
def test_rates_of_a_group_that_are_not_one_for_each_of_its_arrays(rates, got):
    p = {"a": np.ones(3, F4), "b": np.ones(2, F4), "c": np.ones(4, F4)}
    with pytest.raises(ValueError, match=r"`groups\[0\]\['lr_scale'\]` must be .* for each of \['a', 'b'\], got ") as c:
        flr.SGD(p, lr=0.1, groups=[{"params": ["a", "b"], "lr_scale": rates}])
    assert str(c.value).endswith(got)


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda p: flr.Lion(p), ValueError, "`lr` must be given"),
        (lambda p: flr.Lion(p, lr=1.0, convention="torch"), ValueError, "`convention`"),
        (lambda p: flr.SGD(p, nesterov=True), ValueError, "`nesterov`"),
        (lambda p: flr.SGD(p, momentum=0.9, dampening=0.1, nesterov=True), ValueError, "`dampening`"),
        (lambda p: flr.SGD(p, momentum=-0.1), ValueError, "`momentum`"),
        (lambda p: flr.SGD(p, momentum=0.9, nesterov=True, groups=[3]), TypeError, "`groups`"),
        (lambda p: flr.SGD(p, groups=3), TypeError, "`groups`"),
        (lambda p: flr.RMSProp(p, groups=[3]), TypeError, "`groups`"),
        (lambda p: flr.SGD(p, dampening=float("nan")), ValueError, "`dampening`"),
        (lambda p: flr.RMSProp(p, alpha=1.1), ValueError, "`alpha`"),
        (lambda p: flr.RMSProp(p, centered=1), TypeError, "`centered`"),
        (lambda p: flr.AdaGrad(p, initial_accumulator_value=-1.0), ValueError, "`initial_accumulator_value`"),
        (lambda p: flr.AdaGrad(p, lr_decay=-1.0), ValueError, "`lr_decay`"),
        (lambda p: flr.AdaDelta(p, rho=-0.5), ValueError, "`rho`"),
        (lambda p: flr.NAdam(p, momentum_decay=-1.0), ValueError, "`momentum_decay`"),
    ],
)
def test_bad_argument_of_one_class(make, error, words):
    with pytest.raises(error) as caught:
        make(np.ones(3))
    assert words in str(caught.value)


BAD_VALUES = {
    "NaN": (float("nan"), ValueError),
    "infinity": (float("inf"), ValueError),
    "negative": (-1e-9, ValueError),
    "beyond all floats": (10**400, ValueError),
    "None": (None, TypeError),
    "string": ("0.1", TypeError),
    "True": (True, TypeError),
    "complex": (0.1j, TypeError),
    "array": (np.ones(2), TypeError),
}


@pytest.mark.parametrize("field", ["lr", "weight_decay", "beta", "group"])
@pytest.mark.parametrize("name", BAD_VALUES)
def test_schedule_with_a_bad_value_is_refused_at_its_step(name, field):
    bad, error = BAD_VALUES[name]
    good = 0.5
    values = [good, good, bad, good]
    call = values.__getitem__
    options = {
        "lr": {"lr": call},
        "weight_decay": {"weight_decay": call},
        "beta": {"betas": (call, 0.999)},
        "group": {"groups": [{"params": "1", "lr": call}]},
    }[field]
    called = {"beta": r"`betas\[0\]`", "group": r"`groups\[1\]\['lr'\]`"}.get(field, f"`{field}`")
    p = [np.ones(5), np.ones(5)]
    opt = flr.Adam(p, **{"lr": 0.1, **options})
    g = [np.full(5, 0.3), np.full(5, 0.3)]
    opt.step(g)
    opt.step(g)
    before = photograph(opt, *p)
    for _ in range(2):
        with pytest.raises(error, match=called + ".*at update 2"):
            opt.step(g)
    assert photograph(opt, *p) == before
    values[2] = good
    opt.step(g)
    assert opt.steps == 3


def test_numbers_that_other_libraries_return_are_taken():
    p = np.ones(5)
    opt = flr.SGD(p, lr=lambda n: [np.float32(0.5), np.array(0.5), 1][n])
    for _ in range(3):
        opt.step(np.full(5, 0.25))
    assert p.tolist() == [0.5] * 5


def test_exception_of_a_callable_passes_through():
    def rate(n):
        if n == 1:
            raise ZeroDivisionError("mine")
        return 0.1

    p = np.ones(5)
    opt = flr.Adam(p, lr=rate)
    opt.step(np.ones(5))
    before = photograph(opt, p)
    with pytest.raises(ZeroDivisionError, match="mine"):
        opt.step(np.ones(5))
    assert photograph(opt, p) == before


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf"), 10**400, "1", True, None])
def test_bad_inv_scale(value):
    error = ValueError if isinstance(value, float) or value == 10**400 else TypeError
    p = np.ones(5)
    opt = flr.SGD(p, lr=0.5)
    with pytest.raises(error, match="`inv_scale`"):
        opt.step(np.ones(5), inv_scale=value)
    opt.step(np.ones(5))
    assert p.tolist() == [0.5] * 5


def test_parameter_replaced_in_its_dict():
    """After ``params["w"] = params["w"] - x`` the optimizer would update an array that the user no longer has."""
    p = {"w": np.ones(4), "b": np.ones(2)}
    opt = flr.SGD(p, lr=0.1)
    g = {"w": np.ones(4), "b": np.ones(2)}
    opt.step(g)
    p["w"] = p["w"] - 1.0
    with pytest.raises(ValueError, match=r"`params\['w'\]`.*another"):
        opt.step(g)
    assert opt.steps == 1


@pytest.mark.parametrize("nested", [False, True])
def test_parameter_replaced_in_its_list(nested):
    p = [[np.ones(4)], np.ones(2)] if nested else [np.ones(4), np.ones(2)]
    g = [[np.ones(4)], np.ones(2)] if nested else [np.ones(4), np.ones(2)]
    opt = flr.SGD(p, lr=0.1)
    p[1] = np.ones(2)
    with pytest.raises(ValueError, match=r"`params\[1\]`.*another"):
        opt.step(g)


@pytest.mark.filterwarnings("ignore:Setting the shape:DeprecationWarning")
def test_gradients_replaced_and_reshaped_in_their_list_are_seen():
    p = [np.ones(6), np.ones(2)]
    opt = flr.SGD(p, lr=0.5)
    g = [np.ones(6), np.ones(2)]
    opt.step(g)
    g[0] = np.full(6, 0.5)
    opt.step(g)
    assert p[0].tolist() == [0.25] * 6
    g[0].shape = (2, 3)
    with pytest.raises(ValueError, match=r"`grads\[0\]` must be float64\[6\], got float64\[2, 3\]"):
        opt.step(g)


@pytest.mark.filterwarnings("ignore:Setting the shape:DeprecationWarning")
def test_parameter_reshaped_or_resized_in_place():
    p = np.ones(6)
    opt = flr.SGD(p, lr=0.5)
    opt.step(np.ones(6))
    p.shape = (2, 3)
    with pytest.raises(ValueError, match="`params` must stay as it was"):
        opt.step(np.ones(6))
    p.shape = (6,)
    opt.step(np.ones(6))
    p.resize(4, refcheck=False)
    with pytest.raises(ValueError, match="`params` must stay as it was"):
        opt.step(np.ones(6))
    assert opt.steps == 2


@pytest.mark.parametrize("resized", [0, 1, 2])
@pytest.mark.parametrize("kind", [list, dict])
def test_error_names_the_parameter_that_was_resized(kind, resized):
    names = ["0", "1", "2"] if kind is list else ["'a'", "'b'", "'c'"]
    x = [np.ones(6), np.ones(5), np.ones(4)]
    p, g = (list(y) if kind is list else dict(zip("abc", y, strict=True)) for y in (x, [np.ones_like(y) for y in x]))
    opt = flr.SGD(p, lr=0.5)
    opt.step(g)
    x[resized].resize(3, refcheck=False)
    with pytest.raises(ValueError, match=rf"`params\[{names[resized]}\]` must stay as it was"):
        opt.step(g)
    assert opt.steps == 1


@pytest.mark.parametrize("resized", [0, 1])
def test_error_names_the_rates_that_were_resized(resized):
    rates = [np.ones(6), np.ones(5)]
    opt = flr.SGD([np.ones(6), np.ones(5)], lr=0.5, lr_scale=list(rates))
    opt.step([np.ones(6), np.ones(5)])
    rates[resized].resize(3, refcheck=False)
    with pytest.raises(ValueError, match=rf"`lr_scale\[{resized}\]` must keep the memory, shape and dtype"):
        opt.step([np.ones(6), np.ones(5)])
    assert opt.steps == 1


@pytest.mark.parametrize(
    "act",
    [
        lambda opt: opt.step(np.ones(5)),
        lambda opt: setattr(opt, "lr", 0.5),
        lambda opt: opt.groups[0].update(lr=0.5),
    ],
)
def test_callable_that_steps_or_sets_what_asks_it(act):
    p = np.ones(5)
    opt = flr.SGD(p, lr=lambda n: act(opt) or 0.1)
    with pytest.raises(RuntimeError, match="must not"):
        opt.step(np.ones(5))
    assert opt.steps == 0
    assert p.tolist() == [1.0] * 5


def test_callable_may_look_at_what_asks_it():
    seen = []

    def rate(n):
        seen.append((opt.steps, opt.state_dict()["counts"].tolist(), opt.stats.lr))
        return 0.5 / (n + 1)

    p = np.ones(5)
    opt = flr.SGD(p, lr=rate)
    for _ in range(3):
        opt.step(np.ones(5))
    assert seen == [(0, [0], None), (1, [1], 0.5), (2, [2], 0.25)]


def test_callable_that_changes_the_gradients():
    """They are checked again after it has run."""
    g = [np.ones(5)]

    def rate(n):
        g[0] = np.ones(4)
        return 0.5

    p = [np.ones(5)]
    opt = flr.SGD(p, lr=rate)
    with pytest.raises(ValueError, match=r"`grads\[0\]` must be float64\[5\], got float64\[4\]"):
        opt.step(g)
    assert p[0].tolist() == [1.0] * 5


def test_setting_a_group():
    opt = flr.AdamW({"w": np.ones(3), "b": np.ones(3)}, lr=0.1, groups=[{"params": "b"}])
    for key, value, error in [
        ("lr", -1.0, ValueError),
        ("betas", (0.9, 2.0), ValueError),
        ("momentum", 0.9, ValueError),
        ("params", ["w"], ValueError),
        ("decay", "none", ValueError),
    ]:
        before = repr(opt.groups)
        with pytest.raises(error):
            opt.groups[1][key] = value
        assert repr(opt.groups) == before
    with pytest.raises(ValueError, match=r"`groups\[1\]\['lr'\]` can be set but not removed"):
        del opt.groups[1]["lr"]


def test_keys_of_a_group():
    (group,) = flr.Adam(np.ones(3), lr=0.1).groups
    assert sorted(group) == ["betas", "decay", "eps", "lr", "lr_scale", "params", "weight_decay"]
    assert len(group) == 7
    assert group["params"] == (0,)  # a single array has no name
    assert len(flr.SGD(np.ones(3), lr=0.1).groups[0]) == 5
    for key in ("beta1", "momentum", "tiny"):
        assert key not in group
        with pytest.raises(KeyError, match=key):
            group[key]


def test_options_of_a_device_are_refused_on_the_host():
    with pytest.raises(ValueError, match="`capturable` needs parameters on a CUDA device, got parameters in host mem"):
        flr.Adam(np.ones(3), lr=0.1, capturable=True)
    p = np.ones(3)
    opt = flr.SGD(p, lr=0.1)
    with pytest.raises(TypeError, match="`stream` must be None for parameters in host memory, got int"):
        opt.step(np.ones(3), stream=3)
    assert opt.steps == 0
    assert p.tolist() == [1.0] * 3


def test_gradients_that_another_thread_puts_right_during_the_call():
    """The compiled check refused an array that is valid by the time the error is composed."""
    p, g = np.ones(4), np.ones(4)
    parameters = flr.SGD(p, lr=0.1)._parameters
    with pytest.raises(
        RuntimeError, match="another thread or a schedule changed the gradients during the call; nothing was updated"
    ):
        parameters.explain_overlap(g, {})


def test_momentum_that_was_built_away():
    opt = flr.SGD(np.ones(3), lr=0.1)
    with pytest.raises(ValueError, match="momentum"):
        opt.groups[0]["momentum"] = 0.9


def test_arguments_of_later_versions_are_unknown():
    with pytest.raises(TypeError, match="shards"):
        flr.Adam(np.ones(3), lr=S.Constant(0.1), shards=2)
