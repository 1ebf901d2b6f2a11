"""State in bfloat16 and 8 bits: its bits, its statistics, and that everything else is as with float32 state."""

import copy
import pickle

import numpy as np
import pytest

import packed_models
import packing
import pyfastlr as flr
from cases import CASES
from pyfastlr import schedules as S
from pyfastlr.arrays import tree
from pyfastlr_kernels.rules import RULES
from states import plainly

SIZES = (0, 1, 7, 255, 257, 1025, 4096, 5003, 33_000)
DTYPES = ("bfloat16", "int8")
ADAM = {"exp_avg": "int8", "exp_avg_sq": "e4m4"}


def allowed(case, state_dtype):
    rule = RULES[case.make(np.zeros(1, np.float32)).rule]
    return rule.slots and all(getattr(slot.packed, state_dtype) is not None for slot in rule.slots)


PACKED = [(case, dtype) for case in CASES for dtype in DTYPES if allowed(case, dtype)]
RULED = list({(case.make(np.zeros(1)).rule, dtype): (case, dtype) for case, dtype in PACKED[::-1]}.values())[::-1]
REFUSED = [(case, dtype) for case in CASES for dtype in DTYPES if not allowed(case, dtype)]


def names(pairs):
    return {"argvalues": pairs, "ids": [f"{case.name}-{dtype}" for case, dtype in pairs]}


def arrays(sizes, rng, scale=1.0):
    return [(scale * rng.standard_normal(n)).astype(np.float32) for n in sizes]


def gradients(sizes, rng):
    """From 1e-12 to 1e2, with zeros."""
    return [
        (rng.standard_normal(n) * 10.0 ** rng.uniform(-12, 2, n) * (rng.random(n) > 0.1)).astype(np.float32)
        for n in sizes
    ]


def leaves(value):
    return tree.flatten(value, "state")[2]


def check_step(make, state_dtype, params, grads, seed=0):
    """One step equals that of float32 state from the same numbers, whose state is then packed by numpy."""
    opt, own = make(params, state_dtype=state_dtype, seed=seed), [p.copy() for p in params]
    plain = make(own)
    for g in grads:
        for p, q in zip(own, params, strict=True):
            p[:] = q
        counts = opt.state_dict()["counts"]
        plain.load_state_dict(opt.state_dict(), cast=True)
        opt.step(g)
        plain.step(g)
        for k, (p, q) in enumerate(zip(own, params, strict=True)):
            np.testing.assert_array_equal(p.view(np.uint32), q.view(np.uint32), err_msg=f"parameter {k}")
            random = packing.words(seed, k, int(counts[k]), p.size)
            for slot, name in enumerate(opt.state):
                found, exact = leaves(opt.state[name])[k], leaves(plain.state[name])[k]
                if isinstance(found, np.ndarray):
                    assert state_dtype == "int8"
                    assert p.size < 4096
                    np.testing.assert_array_equal(found, exact)
                    continue
                codes, scales = packing.packed(exact, found.format, packing.halves(random, slot))
                np.testing.assert_array_equal(found.codes, codes, err_msg=f"{name} {k}")
                if scales is not None:
                    np.testing.assert_array_equal(found.scales, scales, err_msg=f"{name} {k}")


@pytest.mark.parametrize(("case", "state_dtype"), **names(RULED))  # conventions share a rule's loops
def test_a_step_is_that_of_float32_state_packed(case, state_dtype):
    rng = np.random.default_rng(1)
    options = {"weight_decay": 0.1} if case.name.startswith(("adamw", "lion")) else {}
    check_step(
        lambda params, **own: case.make(params, **options, **own), state_dtype, arrays(SIZES, rng),
        [gradients(SIZES, rng) for _ in range(3)], seed=7,
    )  # fmt: skip


@pytest.mark.parametrize("state_dtype", DTYPES)
@pytest.mark.parametrize(
    "options",
    [
        {"clip_norm": 0.5, "ema_decay": 0.9, "measure": ("update_norm",)},
        {"clip_value": 1e-3, "nonfinite": "skip"},
        {"maximize": True, "weight_decay": 0.1, "decay": "independent", "threads": 1},
        {"lr": S.Cosine(1e-2, steps=10), "groups": [{"params": [6, 8], "lr": 1e-3}]},
        {"groups": [{"params": 7, "lr_scale": 0.0}]},
        {"zero_grad": True, "lr_scale": [np.linspace(0, 2, n, dtype=np.float32) for n in SIZES]},
    ],
    ids=str,
)
def test_with_options(options, state_dtype):
    rng = np.random.default_rng(2)
    lr = options.get("lr", 1e-2)
    rest = {name: x for name, x in options.items() if name != "lr"}

    def step_grads():
        return [gradients(SIZES, rng) for _ in range(3)]

    if options.get("zero_grad"):  # each optimizer needs its own
        opt = flr.Adam(arrays(SIZES, rng), lr, state_dtype=state_dtype, **rest)
        plain = flr.Adam([p.copy() for p in opt.params], lr, **rest)
        plain.load_state_dict(opt.state_dict(), cast=True)
        g = gradients(SIZES, rng)
        opt.step([x.copy() for x in g])
        plain.step(g)
        assert not any(x.any() for x in g)
        for p, q in zip(opt.params, plain.params, strict=True):
            np.testing.assert_array_equal(p, q)
        return
    check_step(lambda params, **own: flr.Adam(params, lr, **rest, **own), state_dtype, arrays(SIZES, rng), step_grads())


# --- Refused ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("case", "state_dtype"), **names(REFUSED))
def test_refused_by_name(case, state_dtype):
    params = [np.zeros(5000, np.float32)]
    with pytest.raises(ValueError, match=rf"`state_dtype` of (this )?{case.cls} must be None.*got '{state_dtype}': "):
        case.make(params, state_dtype=state_dtype)


def test_which_are_refused():
    refused = {(case.cls, dtype) for case, dtype in REFUSED} - {(case.cls, dtype) for case, dtype in PACKED}
    both = {(cls, dtype) for cls in ("ASGD", "FTRL", "Rprop") for dtype in DTYPES}
    assert refused == {*both, ("AdaGrad", "int8"), ("AMSGrad", "int8")}


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (
            {"state_dtype": "float16"},
            ValueError,
            "`state_dtype` must be None or one of 'bfloat16', 'int8', got 'float16'",
        ),
        ({"state_dtype": np.int8}, ValueError, "`state_dtype` must be None or one of .*got <class"),
        ({"state_dtype": True}, ValueError, "`state_dtype` must be None or one of .*got True"),
        ({"seed": 0.5}, TypeError, r"`seed` must be an integer from 0 to 2\*\*64 - 1, got 0.5"),
        ({"seed": True}, TypeError, "`seed` must be an integer .*, got True"),
        ({"seed": None}, TypeError, "`seed` must be an integer .*, got None"),
        ({"seed": -1}, ValueError, "`seed` must be an integer .*, got -1"),
        ({"seed": 2**64}, ValueError, "`seed` must be an integer .*, got 18446744073709551616"),
        (
            {"groups": [{"params": "w", "state_dtype": "int4"}]},
            ValueError,
            r"`groups\[0\]\['state_dtype'\]` must be None or one of",
        ),
    ],
)  # fmt: skip
def test_bad_arguments(options, error, message):
    with pytest.raises(error, match=message):
        flr.Adam({"w": np.zeros(3, np.float32)}, 1e-3, **options)


def test_float64_is_refused():
    with pytest.raises(
        ValueError, match="`state_dtype` must be None for parameters of float64, got 'int8': use float32"
    ):
        flr.Adam(np.zeros(3), 1e-3, state_dtype="int8")


def test_it_is_fixed():
    opt = flr.Adam({"w": np.zeros(3, np.float32)}, 1e-3, state_dtype="bfloat16", groups=[{"params": "w"}])
    assert (opt.state_dtype, opt.seed) == ("bfloat16", 0)
    with pytest.raises(AttributeError, match="`state_dtype` of Adam cannot be changed"):
        opt.state_dtype = None
    with pytest.raises((ValueError, KeyError), match="fixed when the optimizer is built"):
        opt.groups[1]["state_dtype"] = None


# --- Numbers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state_dtype", DTYPES)
def test_bits_do_not_depend_on_threads_or_chunks(state_dtype):
    rng, results = np.random.default_rng(3), []
    p, g = arrays([400_001], rng)[0], [arrays([400_001], rng)[0] for _ in range(3)]
    for threads in (1, 2, 5):
        opt = flr.AdamW(p.copy(), 1e-2, state_dtype=state_dtype, threads=threads)
        for x in g:
            opt.step(x)
        results.append((opt.params, plainly(opt.state_as("float32"))))
    for params, state in results[1:]:
        np.testing.assert_array_equal(params, results[0][0])
        assert state == results[0][1]


def test_the_seed_and_the_tensor_matter():
    g = arrays([5000], np.random.default_rng(4))[0]
    codes = []
    for seed in (0, 0, 1, 2**32, 2**64 - 1):
        opt = flr.Adam([np.zeros(5000, np.float32), np.zeros(5000, np.float32)], 1e-3, state_dtype="int8", seed=seed)
        opt.step([g, g])
        codes.append([x.codes.tobytes() for x in opt.state["exp_avg"]])
        assert codes[-1][0] != codes[-1][1]
    assert codes[0] == codes[1]
    assert len({x[0] for x in codes}) == 4


@pytest.mark.parametrize("state_dtype", DTYPES)
@pytest.mark.parametrize("scale", [1e-4, 1e-2, 1.0, 1e2])
def test_a_constant_gradient_does_not_stand_still(scale, state_dtype):
    n = 8192
    p = np.zeros(n, np.float32)
    opt, g = flr.Adam(p, 1e-3, state_dtype=state_dtype), np.full(n, scale, np.float32)
    for _ in range(3000):
        opt.step(g)
    v = opt.state_as("float64")["exp_avg_sq"] / (1 - 0.999**3000)
    assert abs(v.mean() / np.float64(np.float32(scale)) ** 2 - 1) < 0.02
    assert abs(p.mean() / -3 - 1) < 0.01  # Adam moves by lr at each update
    np.testing.assert_allclose(p, -3.0, rtol=0.1)


@pytest.mark.parametrize("state_dtype", DTYPES)
@pytest.mark.parametrize("rate", [0.9995, 1.0005])
def test_second_moments_follow_a_gradient(rate, state_dtype):
    """10,000 steps of a gradient that falls or rises by a factor of 148, with noise, elements of many sizes."""
    n, rng = 8192, np.random.default_rng(5)
    size = (10.0 ** rng.uniform(-1, 0, n)).astype(np.float32)
    opt = flr.Adam(np.zeros(n, np.float32), 1e-3, state_dtype=state_dtype)
    exact, noise, worst = np.zeros(n), arrays([n], rng)[0], 0.0
    for t in range(10_000):
        g = np.roll(noise, 17 * t) * size * np.float32(rate**t)
        opt.step(g)
        exact = 0.999 * exact + 0.001 * g.astype(np.float64) ** 2
        if t % 500 == 499:
            found = opt.state_as("float64")["exp_avg_sq"]
            worst = max(worst, abs((found / exact).mean() - 1))
    assert worst < 0.02


@pytest.mark.parametrize("state_dtype", DTYPES)
def test_updates_stay_bounded(state_dtype):
    """Elements of very different sizes share blocks: no update is far above the rate."""
    n, rng = 8192, np.random.default_rng(6)
    size = (10.0 ** rng.uniform(-6, 1, n)).astype(np.float32)
    p = np.zeros(n, np.float32)
    opt, largest = flr.Adam(p, 1e-3, state_dtype=state_dtype), 0.0
    for _ in range(500):
        before = p.copy()
        opt.step(arrays([n], rng)[0] * size)
        largest = max(largest, float(np.abs(p - before).max()) / 1e-3)
    assert largest < 8  # float32 state: 4.6


@pytest.mark.parametrize("state_dtype", DTYPES)
def test_rounding_is_unbiased(state_dtype):
    """The mean of many roundings of a number is the number, for each slot."""
    n, g = 200_000, np.float32(0.7)
    opt = flr.Adam(np.zeros(n, np.float32), 0.0, state_dtype=state_dtype)
    for slot, share in (("exp_avg", 0.1), ("exp_avg_sq", 0.001)):
        opt.reset()
        x = np.full(n, g)
        x[::256] = 1.0  # the largest of each block
        opt.step(x)
        found = np.delete(opt.state_as("float64")[slot], np.s_[::256])
        exact = share * g ** (1 if slot == "exp_avg" else 2)
        assert len(np.unique(found)) == 2
        step = np.ptp(found)
        assert abs(found.mean() - exact) < 5 * step / np.sqrt(found.size)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, np.array(0xFFFFFFFF, np.uint32).view(np.float32)])
def test_values_that_are_not_finite(value):
    """With bfloat16, an element; with 8 bits, its block. They stay, as with float32 state."""
    for state_dtype, bad in (("bfloat16", 1), ("int8", 256)):
        p, g = np.zeros(8192, np.float32), np.ones(8192, np.float32)
        opt = flr.Adam(p, 1e-3, state_dtype=state_dtype)
        opt.step(g)
        g[1000] = value
        opt.step(g)
        g[1000] = 1
        opt.step(g)
        state = opt.state_as("float32")
        assert not np.isfinite(state["exp_avg"][1000])
        assert (~np.isfinite(state["exp_avg"])).sum() == bad
        assert np.isfinite(p).sum() == 8192 - bad


@pytest.mark.parametrize("state_dtype", DTYPES)
@pytest.mark.parametrize("scale", [1e-44, 1e-38, 1e-30, 1e-20, 3e38])
def test_the_ends_of_float32(scale, state_dtype):
    g = (np.linspace(-1, 1, 8192) * scale).astype(np.float32)
    opt = flr.SGD(np.zeros(8192, np.float32), 1.0, momentum=1.0, state_dtype=state_dtype)
    opt.step(g)
    b = opt.state_as("float64")["momentum_buffer"]
    bound = np.abs(g).astype(np.float64) / 128 if state_dtype == "bfloat16" else np.float64(scale) / 127
    tiny = np.float64(np.finfo(np.float32).tiny)  # smaller ones are flushed
    assert (np.abs(b - g) <= np.maximum(bound, tiny) * 1.01).all()


@pytest.mark.parametrize("name", ["digits", "breast cancer"])  # docs/low_precision.md has three
def test_models_learn_as_with_float32_state(name):
    """Held-out losses of short trainings: the medians differ by less than the range over the seeds."""
    losses = {
        dtype: [packed_models.train(name, dtype, seed, epochs=2).test_loss for seed in range(5)]
        for dtype in packed_models.DTYPES
    }
    spread = np.ptp(losses[None])
    for dtype in DTYPES:
        assert abs(np.median(losses[dtype]) - np.median(losses[None])) < spread, dtype
        assert losses[dtype] != losses[None]


# --- Everything around the step -----------------------------------------------------------------------------------


def trained(state_dtype, params=None, steps=3, **options):
    rng = np.random.default_rng(8)
    params = {"a": np.zeros((70, 80), np.float32), "b": np.zeros(9, np.float32)} if params is None else params
    opt = flr.AdamW(params, S.Cosine(1e-2, steps=20), state_dtype=state_dtype, seed=5, **options)
    train(opt, rng, steps)
    return opt, rng


def train(opt, rng, steps):
    for _ in range(steps):
        if isinstance(opt.params, flr.Flat):
            opt.step(rng.standard_normal(opt.params.buffer.size).astype(np.float32))
        else:
            opt.step({name: rng.standard_normal(p.shape).astype(np.float32) for name, p in opt.params.items()})


def everything(opt):
    params = opt.params.buffer if isinstance(opt.params, flr.Flat) else opt.params
    return plainly([params, opt.state_as("float32"), opt.state_dict()["counts"]])


def through_flat(opt, fresh):
    fresh.load_state_dict(flr.unflatten_state(flr.flatten_state(opt.state_dict())))


def through_file(opt, fresh, folder):
    opt.save(folder / "x.safetensors")
    fresh.load(folder / "x.safetensors")


def flat():
    return flr.Flat({"a": np.zeros((70, 80), np.float32), "b": np.zeros(9, np.float32)})


@pytest.mark.parametrize("make", [lambda: None, flat], ids=["dict", "flat"])
@pytest.mark.parametrize("state_dtype", DTYPES)
@pytest.mark.parametrize("way", ["dict", "flat state", "file", "used file", "pickle", "copy", "deepcopy"])
def test_a_resumed_run_has_the_same_bits(way, state_dtype, make, tmp_path):
    opt, rng = trained(state_dtype, make())
    if way in ("pickle", "copy", "deepcopy"):
        other = {"pickle": lambda x: pickle.loads(pickle.dumps(x)), "copy": copy.copy, "deepcopy": copy.deepcopy}[way](
            opt
        )
        if way == "copy":  # it shares the parameters
            before = everything(opt)
            assert everything(other) == before
            return
    else:
        other, _ = trained(state_dtype, make(), steps=2 if way == "used file" else 0)
        if way == "dict":
            other.load_state_dict(opt.state_dict())
        elif way == "flat state":
            through_flat(opt, other)
        else:
            through_file(opt, other, tmp_path)
        if isinstance(opt.params, flr.Flat):
            other.params.buffer[:] = opt.params.buffer
        else:
            for name, p in opt.params.items():
                other.params[name][...] = p
    assert everything(other) == everything(opt)
    state = rng.bit_generator.state
    train(opt, rng, 3)
    rng.bit_generator.state = state
    train(other, rng, 3)
    assert everything(other) == everything(opt)


def test_a_state_of_another_dtype_needs_cast():
    for source, target in (("int8", None), (None, "int8"), ("bfloat16", "int8"), ("int8", "bfloat16")):
        opt, _ = trained(source)
        fresh, _ = trained(target, steps=0)
        before = everything(fresh)
        with pytest.raises(
            ValueError, match=r"`state\['state'\]\['exp_avg'\]\['a'\]` must be .*: cast=True converts it"
        ):
            fresh.load_state_dict(opt.state_dict())
        assert everything(fresh) == before
        fresh.load_state_dict(opt.state_dict(), cast=True)
        for slot, x in opt.state_as("float32").items():
            scale = np.abs(x["a"]).max()
            np.testing.assert_allclose(fresh.state_as("float32")[slot]["a"], x["a"], atol=scale / 100, rtol=0.04)


def test_damaged_states_are_refused():
    opt, _ = trained("int8")
    fresh, _ = trained("int8", steps=0)
    for damage, message in (
        (lambda x: setattr(x, "codes", x.codes[:1]), r"codes` must be int8\[70, 80\], got int8\[1, 80\]"),
        (lambda x: setattr(x, "codes", x.codes.astype(np.int16)), "codes` must be int8"),
        (lambda x: setattr(x, "scales", x.scales[:-1]), r"scales` must be float32\[22\], got float32\[21\]"),
        (lambda x: setattr(x, "scales", None), "scales` must be float32"),
        (lambda x: setattr(x, "format", "int9"), "must be int8, got int9"),
    ):
        state = opt.state_dict()
        damage(state["state"]["exp_avg"]["a"])
        before = everything(fresh)
        with pytest.raises(ValueError, match=message):
            fresh.load_state_dict(state)
        assert everything(fresh) == before


@pytest.mark.parametrize("state_dtype", DTYPES)
def test_arrays_without_dimensions(state_dtype):
    params = {"a": np.zeros((), np.float32), "b": np.zeros(5000, np.float32)}
    opt = flr.Adam(params, 0.1, state_dtype=state_dtype)
    opt.step({name: np.ones_like(p) for name, p in params.items()})
    for dtype in (None, *DTYPES):
        other = flr.Adam({name: p.copy() for name, p in params.items()}, 0.1, state_dtype=dtype)
        other.load_state_dict(opt.state_dict(), cast=True)
        found = other.state_as("float32")["exp_avg"]["a"]
        assert found.shape == ()
        assert found == pytest.approx(0.1, rel=0.01)
    flr.from_torch(flr.to_torch(opt), opt)


@pytest.mark.parametrize(("source", "target"), [("int8", None), (None, "int8"), ("int8", "bfloat16")])
def test_a_file_is_converted_after_it_was_read(source, target, tmp_path):
    """Into a new optimizer too, whose arrays are otherwise read in place."""
    opt, _ = trained(source)
    opt.save(tmp_path / "x.safetensors")
    fresh, twin = (trained(target, steps=0)[0] for _ in range(2))
    before = everything(fresh)
    with pytest.raises(ValueError, match="cast=True converts it"):
        fresh.load(tmp_path / "x.safetensors")
    assert everything(fresh) == before
    fresh.load(tmp_path / "x.safetensors", cast=True)
    twin.load_state_dict(opt.state_dict(), cast=True)
    assert plainly(fresh.state_as("float32")) == plainly(twin.state_as("float32"))


def test_numbers_that_do_not_fit_are_refused():
    def refused(target, state, message):
        before = everything(target)
        with pytest.raises(ValueError, match=message):
            target.load_state_dict(state, cast=True)
        assert everything(target) == before

    wide, p = flr.AdamW({"a": np.zeros(5000)}, 0.1), {"a": np.zeros(5000, np.float32)}
    wide.step({"a": np.full(5000, 1e100)})
    plain, state = flr.AdamW(p, 0.1), None
    for state_dtype in DTYPES:
        packed = flr.AdamW(p, 0.1, state_dtype=state_dtype)
        refused(
            packed, wide.state_dict(), r"`state\['state'\]\['exp_avg'\]\['a'\]` must have numbers in the range of flo"
        )
    state = plain.state_dict()
    state["state"]["exp_avg_sq"]["a"][7] = -1
    refused(packed, state, r"`state\['state'\]\['exp_avg_sq'\]\['a'\]` must have numbers >= 0, got -1")
    state = packed.state_dict()
    state["state"]["exp_avg_sq"]["a"].scales[3] = -1
    refused(packed, state, r"scales` must be >= 0, got -1")


def test_parts_of_other_layouts():
    opt = flr.Adam(np.zeros(5000, np.float32), 0.1, state_dtype="int8")
    opt.step(np.random.default_rng(0).standard_normal(5000).astype(np.float32))
    state = opt.state_dict()
    x = state["state"]["exp_avg"]
    wide, codes = np.zeros(2 * x.scales.size, np.float32), np.zeros(10_000, np.int8)
    wide[::2], codes[::2] = x.scales, x.codes
    state["state"]["exp_avg"] = flr.PackedArray(codes[::2], wide[::2], "int8")
    other = flr.Adam(np.zeros(5000, np.float32), 0.1, state_dtype="int8")
    other.load_state_dict(state)
    assert plainly(other.state_as("float32")) == plainly(opt.state_as("float32"))
    state["state"]["exp_avg"] = flr.PackedArray(np.zeros(3, np.int8), np.zeros(20, np.float32), "int8")
    for cast in (False, True):
        with pytest.raises(ValueError, match=r"codes` must be int8\[5000\], got int8\[3\]"):
            other.load_state_dict(state, cast=cast)


def test_groups_may_differ():
    sizes = {"a": 5000, "b": 5000, "c": 5000, "d": 50}
    params = {name: np.zeros(n, np.float32) for name, n in sizes.items()}
    opt = flr.Adam(
        params, 1e-2, state_dtype="int8",
        groups=[{"params": "b", "state_dtype": None}, {"params": "c", "state_dtype": "bfloat16"}],
    )  # fmt: skip
    train(opt, np.random.default_rng(0), 2)
    shown = {name: getattr(x, "format", "float32") for name, x in opt.state["exp_avg_sq"].items()}
    assert shown == {"a": "e4m4", "b": "float32", "c": "bfloat16", "d": "float32"}
    twin = pickle.loads(pickle.dumps(opt))
    assert everything(twin) == everything(opt)
    other = flr.Adam(
        {name: p.copy() for name, p in params.items()}, 1e-2, state_dtype="int8",
        groups=[{"params": "b", "state_dtype": None}, {"params": "c", "state_dtype": "bfloat16"}],
    )  # fmt: skip
    through_flat(opt, other)
    assert everything(other) == everything(opt)


@pytest.mark.parametrize("state_dtype", DTYPES)
def test_arrays_are_added(state_dtype):
    opt, rng = trained(state_dtype)
    before = {name: np.asarray(x).copy() for name, x in opt.state["exp_avg"].items()}
    opt.add({"c": np.zeros(6000, np.float32)}, lr=1e-3)
    opt.add({"d": np.zeros(6000, np.float32)}, state_dtype=None)
    with pytest.raises(ValueError, match=r"`groups\[3\]\['state_dtype'\]` must be None or"):
        opt.add({"e": np.zeros(6000, np.float32)}, state_dtype="x")
    assert isinstance(opt.state["exp_avg"]["c"], flr.PackedArray)
    assert isinstance(opt.state["exp_avg"]["d"], np.ndarray)
    for name, x in before.items():
        np.testing.assert_array_equal(np.asarray(opt.state["exp_avg"][name]), x)
    train(opt, rng, 2)
    assert np.abs(np.asarray(opt.state["exp_avg"]["c"])).max() > 0


def test_the_views_are_live_and_reset_forgets():
    opt, rng = trained("int8")
    view = opt.state["exp_avg"]["a"]
    before = np.asarray(view).copy()
    train(opt, rng, 1)
    assert not np.array_equal(before, np.asarray(view))
    np.testing.assert_array_equal(np.asarray(view), opt.state_as("float32")["exp_avg"]["a"])
    assert opt.state_as("float64")["exp_avg"]["a"].dtype == np.float64
    with pytest.raises(ValueError, match="`dtype` must be 'float32' or 'float64', got 'int8'"):
        opt.state_as("int8")
    with pytest.raises(ValueError, match="`copy` must be True or None"):
        np.array(view, copy=False)
    opt.reset()
    assert not np.asarray(view).any()


def test_initial_values():
    for cls, options, slot, value in (
        (flr.AdaGrad, {"initial_accumulator_value": 0.5}, "sum", 0.5),
        (flr.Yogi, {}, "exp_avg_sq", 1e-6),
    ):
        for state_dtype in DTYPES if cls is flr.Yogi else DTYPES[:1]:
            opt = cls(np.zeros(5000, np.float32), 1e-2, state_dtype=state_dtype, **options)
            np.testing.assert_allclose(opt.state_as("float64")[slot], value, rtol=4e-3)


def test_bytes():
    n = 1 << 20
    for state_dtype, per_number in (("bfloat16", 4), ("int8", 2 + 2 * 4 / 256)):
        opt = flr.Adam(np.zeros(n, np.float32), 1e-3, state_dtype=state_dtype)
        assert sum(x.nbytes for x in opt.state.values()) == n * per_number
