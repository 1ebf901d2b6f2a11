"""Groups, per-element rates and rates set by hand give the same as separate optimizers with these hyperparameters."""

import copy
import pickle

import numpy as np
import pytest

import pyfastlr as flr
from pyfastlr import schedules as S


def arrays():
    rng = np.random.default_rng(3)
    return {name: rng.standard_normal(size) for name, size in (("body.w", 20), ("body.b", 4), ("head.w", 9))}


def gradients(seed):
    rng = np.random.default_rng(seed)
    return {name: rng.standard_normal(x.size) for name, x in arrays().items()}


def separate(options_of, steps=4):
    """Update each array with a separate optimizer."""
    p = arrays()
    opts = {name: flr.AdamW(x, **options_of(name)) for name, x in p.items()}
    for n in range(steps):
        for name, g in gradients(n).items():
            opts[name].step(g)
    return p


def together(steps=4, flat=False, **options):
    p = flr.Flat(arrays()) if flat else arrays()
    opt = flr.AdamW(p, **options)
    for n in range(steps):
        g = gradients(n)
        if flat:
            like = p.like()
            for name in like:
                like[name] = g[name]
            g = like
        opt.step(g)
    return dict(p), opt


def equal(p, q):
    return all(p[name].tobytes() == q[name].tobytes() for name in q)


@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize(
    "params",
    ["head.*", ["head.w"], 2, [2], "head.w", lambda name: name.startswith("head"), [lambda name: name[0] == "h"]],
)
def test_group_by_name_glob_index_and_function(params, flat):
    p, opt = together(
        flat=flat, lr=0.1, groups=[{"params": params, "lr": 0.01, "weight_decay": 0.0, "betas": (0.5, 0.9)}]
    )
    special = {"lr": 0.01, "weight_decay": 0.0, "betas": (0.5, 0.9)}
    assert equal(p, separate(lambda name: special if name == "head.w" else {"lr": 0.1}))
    assert opt.lrs == [0.1, 0.01]
    assert opt.groups[1]["params"] == ("head.w",)
    assert opt.groups[0]["params"] == ("body.w", "body.b")


def test_a_name_is_itself_before_it_is_a_glob():
    """As a glob "w[0]" matches "w0" alone."""
    p = {"w[0]": np.zeros(2), "w0": np.zeros(2)}
    opt = flr.SGD(p, lr=1.0, groups=[{"params": "w[0]", "lr": 0.5}])
    opt.step({"w[0]": np.ones(2), "w0": np.ones(2)})
    assert opt.groups[1]["params"] == ("w[0]",)
    assert (p["w[0]"].tolist(), p["w0"].tolist()) == ([-0.5] * 2, [-1.0] * 2)


def test_first_match_wins():
    p, opt = together(lr=0.1, groups=[{"params": "*.b", "lr": 0.5}, {"params": "body.*", "lr": 0.25}])
    rates = {"body.w": 0.25, "body.b": 0.5, "head.w": 0.1}
    assert equal(p, separate(lambda name: {"lr": rates[name]}))
    assert opt.groups[2]["params"] == ("body.w",)


def test_kind_of_decay_by_group():
    p, _ = together(lr=0.1, weight_decay=0.1, groups=[{"params": "head.w", "decay": "coupled"}])
    kind = {"head.w": "coupled"}
    assert equal(p, separate(lambda name: {"lr": 0.1, "weight_decay": 0.1, "decay": kind.get(name, "decoupled")}))


def test_schedules_by_group_and_one_call_an_update():
    calls = []

    def rate(n):
        calls.append(n)
        return 0.1 / (n + 1)

    p, _ = together(
        lr=rate, groups=[{"params": "head.*", "weight_decay": 0.5}, {"params": "*.b", "lr": S.Linear(1, 0, 8)}]
    )
    assert calls == [0, 1, 2, 3]

    def options(name):
        if name == "body.b":
            return {"lr": S.Linear(1, 0, 8)}
        return {"lr": lambda n: 0.1 / (n + 1), "weight_decay": 0.5 if name == "head.w" else 1e-2}

    assert equal(p, separate(options))


@pytest.mark.parametrize("flat", [False, True])
def test_rate_of_a_group_by_number(flat):
    p, _ = together(flat=flat, lr=0.125, groups=[{"params": "head.*", "lr_scale": 0.25}])
    assert equal(p, separate(lambda name: {"lr": 0.125, "lr_scale": 0.25 if name == "head.w" else 1.0}))


@pytest.mark.parametrize("cls", [flr.SGD, flr.Adam, flr.AdamW])
@pytest.mark.parametrize("threads", [1, 3])
def test_rate_by_element_is_the_rate_of_that_element(cls, threads):
    rng = np.random.default_rng(5)
    n = 5000
    rates = rng.choice([0.0, 0.25, 1.0, 4.0], n)
    start, g = rng.standard_normal(n), rng.standard_normal((3, n))
    p = start.copy()
    opt = cls(p, lr=0.125, weight_decay=0.1, lr_scale=rates, threads=threads)
    for x in g:
        opt.step(x)
    for rate in set(rates):
        q = start.copy()
        other = cls(q, lr=0.125, weight_decay=0.1, lr_scale=float(rate))
        for x in g:
            other.step(x)
        np.testing.assert_allclose(p[rates == rate], q[rates == rate], rtol=1e-15, atol=1e-16)
    assert p[rates == 0].tobytes() == start[rates == 0].tobytes()


@pytest.mark.parametrize("threads", [1, 3])
def test_rates_by_element_reach_every_chunk(threads):
    """The rate of SGD's element i is k[i]; 50,000 elements are several chunks, and more than a MiB to move."""
    k, g = np.arange(1.0, 50_001.0), np.random.default_rng(6).standard_normal(50_000)
    p = np.zeros(50_000)
    flr.SGD(p, lr=1.0, lr_scale=k, threads=threads).step(g)
    assert (p == -k * g).all()


def test_rates_by_element_are_read_at_every_step():
    p, rates = np.ones(4), np.array([1.0, 0.0, 1.0, 0.0])
    opt = flr.SGD(p, lr=0.5, lr_scale=rates)
    opt.step(np.ones(4))
    rates[:] = 1.0 - rates
    opt.step(np.ones(4))
    assert p.tolist() == [0.5] * 4


def test_rates_by_element_in_a_dict_a_flat_and_a_group():
    rates = {name: np.linspace(0, 1, x.size) for name, x in arrays().items()}
    p, _ = together(lr=0.1, lr_scale=rates)
    q, _ = together(lr=0.1, lr_scale=np.concatenate(list(rates.values())), flat=True)
    r, opt = together(lr=0.1, lr_scale=rates, groups=[{"params": "head.w", "lr_scale": rates["head.w"]}])
    assert equal(p, q)
    assert equal(p, r)
    s, _ = together(lr=0.1, groups=[{"params": "*", "lr_scale": rates}])
    assert equal(p, s)
    assert opt.groups[1]["lr_scale"] is rates["head.w"]


def test_rates_by_element_of_the_base_hold_in_groups_without_their_own():
    rates = {name: np.linspace(0.25, 2, x.size) for name, x in arrays().items()}
    groups = [{"params": "head.w", "lr": 0.5}, {"params": "body.b", "lr_scale": 0.125}]
    own = {
        "body.w": {"lr": 0.1, "lr_scale": rates["body.w"]},
        "body.b": {"lr": 0.1, "lr_scale": 0.125},
        "head.w": {"lr": 0.5, "lr_scale": rates["head.w"]},
    }
    p, opt = together(lr=0.1, lr_scale=rates, groups=groups)
    assert equal(p, separate(own.get))
    q, later = together(lr=0.1, groups=groups, steps=0)
    later.groups[0]["lr_scale"] = rates
    for n in range(4):
        later.step(gradients(n))
    assert equal(p, q)
    for o in (opt, later):
        o.groups[0]["lr_scale"] = 1.0
        o.step(gradients(4))
    assert equal(p, q)
    assert all(rates is None for rates in opt._hyper.current.rates)


def test_setting_rates_by_element_keeps_state_and_counts():
    p, q = np.ones(6), np.ones(6)
    opt, need = flr.Adam(p, lr=0.1), flr.Adam(q, lr=0.1, lr_scale=np.full(6, 0.5))
    need.groups[0]["lr_scale"] = 1.0
    for o in (opt, need):
        o.step(np.full(6, 0.25))
    for o in (opt, need):
        o.groups[0]["lr_scale"] = np.full(6, 0.5)
        o.step(np.full(6, 0.75))
    assert p.tobytes() == q.tobytes()
    assert opt.steps == 2


def test_independent_decay_is_not_scaled():
    p = np.ones(2)
    opt = flr.SGD(p, lr=0.5, weight_decay=0.25, decay="independent", lr_scale=np.array([1e-9, 1.0]))
    opt.step(np.zeros(2))
    assert p.tolist() == [0.75, 0.75]


def test_setting_the_rate_by_hand_and_back_to_a_schedule():
    p = np.zeros(1)
    opt = flr.SGD(p, lr=S.Constant(1.0))
    seen = []
    for value in (None, 0.5, 0.25, S.Linear(8.0, 0.0, 8)):
        if value is not None:
            opt.lr = value
        seen.append(opt.lr)
        opt.step(np.ones(1))
    assert seen == [1.0, 0.5, 0.25, 5.0]  # a schedule runs on opt.steps
    assert p.tolist() == [-6.75]


def test_a_function_is_called_once_with_every_name_and_not_kept():
    """Pickles of an optimizer hold the names, so a lambda does not stand in their way."""
    seen = []
    opt = flr.SGD(
        arrays(), lr=0.1, groups=[{"params": lambda name: bool(seen.append(name)) or ".b" in name, "lr": 0.5}]
    )
    assert seen == list(arrays())
    for twin in (opt, pickle.loads(pickle.dumps(opt)), copy.copy(opt), copy.deepcopy(opt)):
        assert twin.groups[1]["params"] == ("body.b",)
        assert twin.lrs == [0.1, 0.5]
        twin.step(gradients(0))
    assert seen == list(arrays())


def test_a_function_may_answer_with_numpy_s_bool_and_its_error_names_the_group():
    opt = flr.SGD(arrays(), lr=0.1, groups=[{"params": lambda name: np.bool_(name == "head.w")}])
    assert opt.groups[1]["params"] == ("head.w",)
    with pytest.raises(ZeroDivisionError) as caught:
        flr.SGD(arrays(), lr=0.1, groups=[{"params": 0}, {"params": lambda name: 1 / 0}])
    assert caught.value.__notes__ == ["`groups[1]['params']` was called with 'body.w'"]


def test_groups_that_inherit_follow_the_base():
    opt = flr.AdamW([np.ones(2), np.ones(2)], lr=0.1, groups=[{"params": 1, "weight_decay": 0.0}])
    opt.lr = 0.5
    assert opt.lrs == [0.5, 0.5]
    opt.groups[1]["lr"] = 0.25
    opt.lr = 1.0
    assert opt.lrs == [1.0, 0.25]


def test_group_with_a_momentum_of_its_own():
    p = [np.ones(2), np.ones(2)]
    opt = flr.SGD(p, lr=0.5, groups=[{"params": 1, "momentum": 0.5}])
    for _ in range(2):
        opt.step([np.ones(2), np.ones(2)])
    assert p[0].tolist() == [0.0, 0.0]
    assert p[1].tolist() == [-0.25, -0.25]


@pytest.mark.parametrize("where", ["base", "group"])
@pytest.mark.parametrize(
    ("cls", "options"), [(flr.SGD, {}), (flr.RMSProp, {"alpha": 0.0, "eps": 0.0})], ids=["SGD", "RMSProp"]
)
def test_scheduled_momentum(cls, options, where):
    """It has a buffer whatever its first value is: b = g, then g/2 + g. RMSProp first divides g by its magnitude."""
    momentum = {"momentum": S.Piecewise([1], [0.0, 0.5])}
    groups = [{"params": 0, **momentum}] if where == "group" else []
    p = [np.zeros(2)]
    opt = cls(p, lr=0.5, **options, **(momentum if where == "base" else {}), groups=groups)
    for _ in range(2):
        opt.step([np.ones(2)])
    assert list(opt.state)[-1] == "momentum_buffer"
    assert p[0].tolist() == [-0.5 * 1.0 - 0.5 * 1.5] * 2


def test_running_means_may_keep_their_first_value():
    """With a weight of one, v stays zero, so the root is only eps (RMSProp) or cancels (AdaDelta)."""
    p, q = np.zeros(2), np.zeros(2)
    flr.RMSProp(p, lr=0.5, alpha=1.0, eps=0.25).step(np.ones(2))
    flr.AdaDelta(q, lr=0.5, rho=1.0).step(np.ones(2))
    assert (p.tolist(), q.tolist()) == ([-2.0] * 2, [-0.5] * 2)


def test_views_of_one_buffer_may_touch():
    buffer = np.zeros(7)
    flr.SGD([buffer[4:], buffer[:4]], lr=1.0).step([np.ones(3), np.full(4, 2.0)])
    assert buffer.tolist() == [-2.0] * 4 + [-1.0] * 3


def test_maximize_and_inv_scale():
    """As in torch, the gradient's sign is flipped before coupled decay is added."""
    p, q = np.full(3, 2.0), np.full(3, 2.0)
    flr.SGD(p, lr=0.5, weight_decay=0.5, maximize=True).step(np.full(3, 1024.0), inv_scale=1 / 1024)
    flr.SGD(q, lr=0.5, weight_decay=0.5).step(np.full(3, -1.0))
    assert p.tolist() == q.tolist() == [2.0] * 3


def test_inv_scale_holds_for_one_step():
    p = np.zeros(1)
    opt = flr.SGD(p, lr=1.0)
    opt.step(np.ones(1), inv_scale=0.5)
    opt.step(np.ones(1))
    opt.step(np.ones(1), inv_scale=np.float32(0.25))
    assert p.tolist() == [-1.75]


def test_counts_are_each_arrays_own_and_schedules_run_on_steps():
    """An array without a gradient keeps its count, as in torch. The schedule advances."""
    p = {"a": np.zeros(3), "b": np.zeros(3)}
    opt = flr.Adam(p, lr=S.Linear(1.0, 0.0, 10), groups=[{"params": "b"}])
    opt.step({"a": np.ones(3), "b": None})
    assert (p["b"] == 0).all()
    assert opt.state_dict()["counts"].tolist() == [1, 0]
    opt.step({"a": None, "b": np.ones(3)})
    np.testing.assert_allclose(p["b"], -0.9, rtol=1e-7)  # a first step: its bias is corrected with t = 1
    opt.step({"a": None, "b": None})  # no update at all
    assert opt.steps == 2
    assert opt.state_dict()["counts"].tolist() == [1, 1]


def test_empty_arrays_count():
    opt = flr.Adam(np.zeros((0, 3)), lr=0.1)
    opt.step(np.zeros((0, 3)))
    assert opt.steps == 1
    p = {"none": np.zeros(0), "some": np.zeros(2)}
    opt = flr.Adam(p, lr=0.5)
    opt.step({"none": np.zeros(0), "some": np.ones(2)})
    assert opt.state_dict()["counts"].tolist() == [1, 1]
    np.testing.assert_allclose(p["some"], -0.5, rtol=1e-7)


@pytest.mark.parametrize("shape", [(), (1,), (2, 3, 4)])
def test_any_number_of_dimensions(shape):
    p = np.ones(shape)
    opt = flr.SGD(p, lr=0.5)
    opt.step(np.ones(shape))
    assert (p == 0.5).all()
    assert p.shape == shape


def test_scheduled_betas_correct_with_the_current_ones():
    """As in torch: 1 - b_t**t."""
    beta = S.Piecewise([1], [0.5, 0.75])
    p = np.zeros(1)
    opt = flr.Adam(p, lr=1.0, betas=(beta, beta), eps=0.0)
    opt.step(np.array([2.0]))
    opt.step(np.array([1.0]))
    m = 0.75 * (0.5 * 2.0) + 0.25 * 1.0
    v = 0.75 * (0.5 * 4.0) + 0.25 * 1.0
    need = -1.0 - (m / (1 - 0.75**2)) / np.sqrt(v / (1 - 0.75**2))
    np.testing.assert_allclose(p, need, rtol=1e-14)


def test_any_number_of_schedules_are_the_numbers_set_by_hand():
    """In the base and in a group, whichever is evaluated first."""
    base = {
        "lr": S.Linear(0.5, 0.1, 4),
        "betas": (S.Linear(0.5, 0.9, 4), S.Linear(0.9, 0.99, 4)),
        "eps": S.Linear(1e-3, 1e-2, 4),
        "weight_decay": S.Linear(0.0, 0.5, 4),
        "lr_scale": S.Linear(1.0, 0.5, 4),
    }
    own = {"lr": S.Linear(0.1, 0.5, 4), "weight_decay": S.Linear(0.5, 0.25, 4)}
    p, _ = together(**base, groups=[{"params": "head.*", **own}])
    q, opt = together(steps=0, lr=0.0, groups=[{"params": "head.*", "lr": 0.0, "weight_decay": 0.0}])
    for n in range(4):
        for group, fields in zip(opt.groups, (base, own), strict=True):
            for name, x in fields.items():
                group[name] = tuple(y(n) for y in x) if name == "betas" else x(n)
        opt.step(gradients(n))
    assert equal(p, q)


def test_arrays_with_equal_counts_keep_products_of_their_own():
    """NAdam's running product is of the momenta at an array's own updates, so equal counts do not make it equal."""
    momenta = [0.9, 0.5, 0.7]
    p, g = [np.ones(3), np.ones(3)], np.array([1.0, -2.0, 0.5])
    opt = flr.NAdam(p, lr=0.1, betas=(lambda n: momenta[n], 0.999))
    for at in ((0,), (1,), (0, 1)):
        opt.step([g if k in at else None for k in range(2)])
    assert opt.state_dict()["counts"].tolist() == [2, 2]
    for k, own in enumerate(([0.9, 0.7], [0.5, 0.7])):
        q = np.ones(3)
        alone = flr.NAdam(q, lr=0.1, betas=(own.__getitem__, 0.999))
        alone.step(g)
        alone.step(g)
        assert p[k].tobytes() == q.tobytes()
        assert opt.state_dict()["carry"][k] == alone.state_dict()["carry"][0]


def two(**options):
    return {"w": np.ones(3), "b": np.ones(2)}, [{"params": "w"}, {"params": "b", **options}]


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("learning_rate", 1.0, " may only set 'lr', 'lr_scale', .*, got 'learning_rate': use `lr`$"),
        ("lrs", 1.0, " may only set 'lr', 'lr_scale', .*, got 'lrs': did you mean `lr`\\?$"),
        ("zzz", 1.0, " may only set 'lr', 'lr_scale', .*, got 'zzz'$"),
        (
            "loss_scale",
            flr.LossScale(),
            " may only set .*, got 'loss_scale': `loss_scale` is the whole optimizer's, so",
        ),
        ("accumulate", 2, " may only set .*, got 'accumulate': .* so give it to the constructor$"),
        ("lr", -1.0, r"\['lr'\]` must be a finite number >= 0, got -1.0$"),
        ("lr", "1", r"\['lr'\]` must be a finite number >= 0, a schedule or a callable, got '1'$"),
        ("lr", S.Cosine, r"\['lr'\]` must be .* got the class Cosine: call it, as in Cosine\(...\)$"),
        ("betas", (0.9, 2.0), r"\['betas'\]\[1\]` must be a number in \[0, 1\), got 2.0$"),
        ("betas", 0.9, r"\['betas'\]` must be a pair of numbers .* got 0.9$"),
        ("decay", "l2", r"\['decay'\]` must be one of 'coupled', .* got 'l2'$"),
        (
            "lr_scale",
            [1.0],
            r"\['lr_scale'\]` must be a number, a schedule, a callable or .* each of \['b'\], got list$",
        ),
    ],
)
def test_error_says_which_group(key, value, words):
    """In the constructor, groups[1] is the second of the list; in an assignment, it is opt.groups[1], the first."""
    p, groups = two(**{key: value})
    with pytest.raises((TypeError, ValueError), match=rf"`groups\[1\]`?{words}"):
        flr.Adam(p, groups=groups)
    p, groups = two()
    opt = flr.Adam(p, groups=groups[1:])
    with pytest.raises((TypeError, ValueError), match=rf"`groups\[1\]`?{words}"):
        opt.groups[1][key] = value


def test_error_of_an_optimizers_own_hyperparameters_says_which_group():
    for cls, options in [(flr.SGD, {"momentum": -1.0}), (flr.SGD, {"dampening": float("nan")}),
                         (flr.RMSProp, {"momentum": "1"}), (flr.Rprop, {"lr": -1.0})]:  # fmt: skip
        (key,) = options
        p, groups = two(**options)
        with pytest.raises((TypeError, ValueError), match=rf"`groups\[1\]\['{key}'\]` must be"):
            cls(p, lr=0.1, groups=groups)


def test_error_of_a_groups_schedule_says_which_group():
    """Of opt.groups, as for the optimizer's lrs."""
    p, groups = two(lr=lambda n: -1.0)
    opt = flr.SGD(p, lr=0.1, groups=groups)
    words = r"`groups\[2\]\['lr'\]` must be a finite number >= 0, got -1.0 from its schedule at update 0"
    with pytest.raises(ValueError, match=words):
        opt.step({name: np.ones_like(x) for name, x in p.items()})
    with pytest.raises(ValueError, match=words):
        opt.lrs  # noqa: B018
