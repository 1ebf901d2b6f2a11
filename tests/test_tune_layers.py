"""tune.layerwise: which arrays are a layer, the factors, and what an optimizer does with them."""

import copy
import pickle
import sys

import numpy as np
import pytest
from matplotlib.figure import Figure

import pyfastlr as flr
from pictures import assert_fits
from pyfastlr import schedules as S
from pyfastlr import tune


def arrays(names):
    return {name: np.ones(2) for name in names}


def layer():
    return {"w": np.ones((2, 2)), "b": np.ones(2)}


def block():
    return {"attn": layer(), "mlp": layer()}


TRANSFORMER = {"embed": np.ones(3), "blocks": [block() for _ in range(12)], "norm": np.ones(2), "head": layer()}
NESTED = {"body": layer(), "head": [np.ones(2), np.ones(2)]}


@pytest.mark.parametrize(
    ("params", "layers"),
    [
        (NESTED, {"body": ["body.w", "body.b"], "head": ["head.0", "head.1"]}),
        (flr.Flat(NESTED), {"body": ["body.w", "body.b"], "head": ["head.0", "head.1"]}),
        ([layer(), layer()], {"0": ["0.w", "0.b"], "1": ["1.w", "1.b"]}),
        ([np.ones(2), np.ones(2)], {"0": ["0"], "1": ["1"]}),
        (arrays(["body.w", "head.w", "body.b"]), {"body": ["body.w", "body.b"], "head": ["head.w"]}),
        (arrays(["0.weight", "0.bias", "2.weight"]), {"0": ["0.weight", "0.bias"], "2": ["2.weight"]}),
        (arrays(["x.0.w", "x.1.w", "x.10.w"]), {"x.0": ["x.0.w"], "x.1": ["x.1.w"], "x.10": ["x.10.w"]}),
        (np.ones(3), {"": [""]}),
    ],
    ids=["dict", "flat", "list", "list of arrays", "dotted", "sequential", "stack", "array"],
)
def test_a_layer_is_a_top_level_entry_and_so_is_each_container_of_a_list(params, layers):
    groups = tune.layerwise(params, 0.5)
    assert groups.layers == layers
    assert list(groups.layers) == list(layers)  # the order, which == of dicts does not see
    assert [*groups] == [
        {"params": own, "lr_scale": 0.5 ** (len(layers) - 1 - k)} for k, own in enumerate(layers.values())
    ]
    flr.SGD(params, lr=0.1, groups=groups)


def test_of_a_transformer():
    factors = tune.layerwise(TRANSFORMER).factors
    assert list(factors) == ["embed", *(f"blocks.{k}" for k in range(12)), "norm", "head"]
    np.testing.assert_allclose(list(factors.values()), 0.75 ** np.arange(14, -1, -1), rtol=1e-15)


def test_depths_as_timm_counts_them():
    """timm's example for a ViT: 0 for the embedding, k + 1 for block k, and for norm and head one more than the last.

    Its factors are decay ** (greatest depth - depth), also where a depth has no parameter of its own.
    """

    def depth(name):
        parts = name.split(".")
        return int(parts[1]) + 1 if parts[0] == "blocks" else 0 if parts[0] == "embed" else 13

    groups = tune.layerwise(TRANSFORMER, 0.9, layers=depth)
    assert list(groups.factors) == list(range(14))
    assert groups.layers[13] == ["norm", "head.w", "head.b"]
    assert [group["lr_scale"] for group in groups] == [0.9 ** (13 - k) for k in range(14)]
    gap = tune.layerwise(arrays("ab"), 0.5, layers={"a": np.int64(7), "b": 4}.__getitem__)
    assert gap == [{"params": ["b"], "lr_scale": 0.125}, {"params": ["a"], "lr_scale": 1.0}]


def test_keys_are_in_the_order_of_their_first_array():
    groups = tune.layerwise(arrays(["w1", "b1", "w2", "b2"]), 0.5, layers=lambda name: name[1])
    assert groups == [{"params": ["w1", "b1"], "lr_scale": 0.5}, {"params": ["w2", "b2"], "lr_scale": 1.0}]


def test_a_list_of_patterns_the_first_match_wins():
    groups = tune.layerwise(arrays(["a", "b", "c", "d"]), 0.5, layers=["a", [lambda name: name < "c", 2], "*"])
    assert groups.layers == {0: ["a"], 1: ["b", "c"], 2: ["d"]}
    assert groups.factors == {0: 0.25, 1: 0.5, 2: 1.0}


def test_no_decay_splits_the_layers_that_have_some():
    groups = tune.layerwise({"a": layer(), "norm": np.ones(2), "head": layer()}, 0.5, no_decay=["a.b", "norm"])
    assert groups == [
        {"params": ["a.w"], "lr_scale": 0.25},
        {"params": ["a.b"], "lr_scale": 0.25, "weight_decay": 0.0},
        {"params": ["norm"], "lr_scale": 0.5, "weight_decay": 0.0},
        {"params": ["head.w", "head.b"], "lr_scale": 1.0},
    ]


@pytest.mark.parametrize("flat", [False, True])
def test_an_optimizer_with_them_is_one_for_each_layer_at_its_own_rate(flat):
    """The rate may be a schedule that all groups share."""
    rng = np.random.default_rng(0)
    start = {"a": rng.normal(size=5), "b": rng.normal(size=3), "c": rng.normal(size=4)}
    gradients = [{name: rng.normal(size=x.shape) for name, x in start.items()} for _ in range(6)]
    together, apart = ({name: x.copy() for name, x in start.items()} for _ in range(2))
    rate = S.Cosine(0.5, 6)
    container = flr.Flat(together) if flat else together
    opt = flr.AdamW(container, lr=rate, weight_decay=0.1, groups=tune.layerwise(container, 0.5, no_decay="b"))
    own = {
        name: flr.AdamW(x, lr=rate * 0.5 ** (2 - k), weight_decay=0.0 if name == "b" else 0.1)
        for k, (name, x) in enumerate(apart.items())
    }
    for g in gradients:
        opt.step(g)
        for name, each in own.items():
            each.step(g[name])
    for name, x in apart.items():
        np.testing.assert_allclose(container[name], x, rtol=1e-14)


def test_unfreezing_from_the_head_down():
    """Howard and Ruder (2018): the last layer first, one more after each period."""
    params = arrays("abc")
    opt = flr.SGD(params, lr=1.0, groups=tune.layerwise(params, 0.5, unfreeze=2))
    moved = []
    for _ in range(6):
        before = {name: x.copy() for name, x in params.items()}
        opt.step(arrays("abc"))
        moved.append({name: float((before[name] - x)[0]) for name, x in params.items()})
    head, both = {"a": 0.0, "b": 0.0, "c": 1.0}, {"a": 0.0, "b": 0.5, "c": 1.0}
    assert moved == [head, head, both, both, {**both, "a": 0.25}, {**both, "a": 0.25}]


def test_a_layer_that_never_moves_has_a_number_and_no_schedule():
    groups = tune.layerwise({"a": np.ones(1), "b": np.ones(1)}, decay=0.0, unfreeze=2)
    assert [group["lr_scale"] for group in groups] == [0.0, 1.0]


def test_no_decay_at_all_and_decay_to_nothing():
    params = arrays("abc")
    assert [group["lr_scale"] for group in tune.layerwise(params, 1)] == [1.0] * 3
    opt = flr.SGD(params, lr=1.0, groups=tune.layerwise(params, 0, unfreeze=1))
    opt.step(arrays("abc"))
    opt.step(arrays("abc"))
    assert [x[0] for x in params.values()] == [1.0, 1.0, -1.0]


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"decay": 1.5}, ValueError, "`decay` must be a number in [0, 1], got 1.5"),
        ({"decay": float("nan")}, ValueError, "`decay`"),
        ({"decay": "0.5"}, TypeError, "`decay`"),
        ({"unfreeze": 0}, ValueError, "`unfreeze` must be an integer >= 1, got 0"),
        ({"unfreeze": 1.5}, TypeError, "`unfreeze`"),
        ({"unfreeze": True}, TypeError, "`unfreeze`"),
        ({"layers": "a*"}, TypeError, "`layers` must be a function of a name or a list"),
        ({"layers": []}, TypeError, "`layers`"),
        ({"layers": ["a", "x*"]}, ValueError, "`layers[1]` must match one of ['a', 'b', 'c'], got 'x*'"),
        ({"layers": ["a", 2]}, ValueError, "`layers` must match every parameter, got none for ['b']"),
        ({"layers": lambda name: None}, TypeError, "`layers` must return an int or a str, got None for 'a'"),
        ({"layers": lambda name: True}, TypeError, "got True for 'a'"),
        ({"layers": lambda name: 0.5}, TypeError, "got 0.5 for 'a'"),
        ({"layers": {"a": 0, "b": "x", "c": 1}.get}, TypeError, "only ints or only strs, got both: [0, 'x', 1]"),
        ({"no_decay": "x*"}, ValueError, "`no_decay` must match one of"),
        ({"no_decay": lambda name: 1}, TypeError, "`no_decay` must return True or False, got 1 for 'a'"),
    ],
)
def test_errors_name_the_argument(options, error, words):
    with pytest.raises(error) as caught:
        tune.layerwise(arrays("abc"), **options)
    assert words in str(caught.value)


def test_an_error_of_the_user_s_function_names_the_array():
    with pytest.raises(KeyError) as caught:
        tune.layerwise(arrays("abc"), layers={"a": 0}.__getitem__)
    assert caught.value.__notes__ == ["`layers` was called with 'b'"]


def test_groups_are_a_list_that_can_be_added_to_and_pickled():
    params = arrays(["a.w", "a.b", "c.w"])
    groups = tune.layerwise(params, 0.5)
    for twin in (pickle.loads(pickle.dumps(groups)), copy.deepcopy(groups)):
        assert (twin, twin.layers, twin.factors) == (groups, groups.layers, groups.factors)
    opt = flr.SGD(params, lr=0.1, groups=[{"params": lambda name: name.endswith(".b"), "lr_scale": 0.125}, *groups])
    assert [group["params"] for group in opt.groups[1:]] == [("a.b",), ("a.w",), ("c.w",)]
    assert [group["lr_scale"] for group in opt.groups[1:]] == [0.125, 0.5, 1.0]


# --- The picture ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("params", "options"),
    [
        (TRANSFORMER, {}),
        (TRANSFORMER, {"unfreeze": 100, "decay": 0.9}),
        (arrays("abc"), {"decay": 0}),
        (np.ones(3), {}),
        ({"a$b$": np.ones(2), "head": np.ones(2)}, {"decay": 0.01}),
        ([layer() for _ in range(60)], {"decay": 0.9}),
    ],
    ids=["stack", "unfreeze", "frozen", "one", "small", "many"],
)
def test_the_picture_fits(params, options):
    groups = tune.layerwise(params, **options)
    axes = groups.plot()
    words = assert_fits(axes.figure)
    assert "factor of the learning rate" in words
    assert len(axes.lines[0].get_ydata()) == len(groups.layers)
    if options.get("decay") == 0:
        assert words.count("frozen") == 2
    if "unfreeze" in options:
        assert "0.9, from update 100" in words


def test_the_picture_goes_where_it_is_told():
    axes = Figure().add_subplot()
    groups = tune.layerwise(arrays("abc"))
    assert groups.plot(axes) is axes
    with pytest.raises(TypeError, match="`ax` must be matplotlib Axes"):
        groups.plot("axes")
    with pytest.raises(ValueError, match="`ax` must be 1 Axes"):
        groups.plot(Figure().subplots(2))


def test_without_matplotlib_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "pyfastlr\[demo\]"'):
        tune.layerwise(arrays("abc")).plot()
