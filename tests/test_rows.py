"""Steps over some rows of an array: lazily as if the others were not there, exactly as if they had a zero gradient."""

import copy
import pickle
import tempfile
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pyfastlr as flr
from cases import CASES
from pyfastlr import schedules as S
from pyfastlr.engines import rows as engine_rows
from pyfastlr.tune.guarding import rollback
from row_runs import SHAPE, Twins, drawn, raw, summed

pytestmark = pytest.mark.usefixtures("parallel_from_the_first_chunk")
EACH_CASE = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
LAZY = pytest.mark.parametrize("lazy", [True, False], ids=["lazy", "exact"])
DTYPES = ("float32", "float64")


# --- Every optimizer --------------------------------------------------------------------------------------------------


@EACH_CASE
@LAZY
def test_every_optimizer_equals_whole_gradients(case, lazy):
    for dtype in DTYPES:
        for kind in ("none", *case.row.decays):
            decay = {} if kind == "none" else {"weight_decay": 0.1, "decay": kind}
            t = Twins(lambda p, **k: case.make(p, **k), dtype, (case.name, kind), lazy, **decay)
            for k in range(12):
                (t.step_rows, t.step_both, t.step_rows, t.step_vector if k % 2 else t.step_dense)[k % 4]()
                if not lazy:
                    t.check_rows([3, 3, 7])
            t.check()


MAKERS = {
    "sgd": lambda p, **k: flr.SGD(p, **{"lr": 0.1, **k}),
    "momentum": lambda p, **k: flr.SGD(p, **{"lr": 0.1, "momentum": 0.9, "dampening": 0.5, **k}),
    "nesterov": lambda p, **k: flr.SGD(p, **{"lr": 0.1, "momentum": 0.5, "nesterov": True, **k}),
    "keras momentum": lambda p, **k: flr.SGD(p, **{"lr": 0.1, "momentum": 0.9, "convention": "keras", **k}),
    "adagrad": lambda p, **k: flr.AdaGrad(p, **{"lr": 0.1, "lr_decay": 0.1, **k}),
    "adam": lambda p, **k: flr.Adam(p, **{"lr": 0.1, **k}),
    "adamw": lambda p, **k: flr.AdamW(p, **{"lr": 0.1, "weight_decay": 0.1, **k}),
}
EACH_MAKER = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
OPTIONS = {
    "maximize": {"maximize": True},
    "schedules": {"lr": S.Linear(0.5, 0.01, steps=30), "weight_decay": S.Linear(0.0, 0.1, steps=20)},
    "callable": {"lr": lambda n: 0.5 / (1 + n), "lr_scale": lambda n: float(n % 3)},
    "groups": {"groups": [{"params": "table", "lr": S.Linear(0.3, 0.1, steps=9), "weight_decay": 0.01}]},
    "frozen": {"groups": [{"params": "table", "lr_scale": 0.0}]},
    "independent": {"weight_decay": 0.1, "decay": "independent"},
    "coupled": {"weight_decay": 0.1, "decay": "coupled"},
    "threads": {"threads": 2},
}


@EACH_MAKER
@LAZY
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_options_that_need_no_whole_gradient(make, lazy, options):
    for dtype in DTYPES:
        t = Twins(make, dtype, repr(list(options)), lazy, **options)
        for k in range(20):
            (t.step_rows, t.step_both, t.step_rows, t.step_dense)[k % 4](inv_scale=(1.0, 0.125)[k % 2])
        t.check()


ACTIONS = ("step_rows", "step_both", "step_dense", "step_vector", "some", "all", "lr", "decay", "frozen", "schedule",
           "load", "reset", "copy", "state", "ema", "maximum")  # fmt: skip


def act(t, action, make, k):
    if action.startswith("step"):
        getattr(t, action)()
    elif action == "some":
        t.check_rows(t.rng.random(SHAPE[0]) < 0.3)
    elif action == "all":
        t.opt.sync_rows("table")
        t.check()
    elif action in ("lr", "schedule"):
        t.change("lr", 0.1 / (1 + k) if action == "lr" else S.Linear(0.2, 0.1, 5))
    elif action == "decay":
        t.change("weight_decay", 0.1 * (k % 2))
    elif action == "frozen":
        t.change("lr_scale", float(k % 2))
    elif action == "load":
        for opt in (t.opt, t.dense):
            d = opt.state_dict()
            opt.load_state_dict({**d, "steps": d["steps"] + 2, "counts": d["counts"] + 3})
    elif action == "reset":
        t.opt.sync_rows("table")
        t.opt.reset()
        t.dense.reset()
    elif action == "copy":
        t.mine, t.opt = pickle.loads(pickle.dumps((t.mine, t.opt))) if k % 2 else copy.deepcopy((t.mine, t.opt))
    elif action == "state":
        for opt in (t.opt, t.dense):
            for x in opt.state.values():
                x["table"][:3] *= 0.5
    elif action == "ema":  # an ordinary step with an average reads every array
        t.change("ema_decay", 0.5)
        t.step_vector()
        assert t.opt.ema["table"].tobytes() == t.dense.ema["table"].tobytes()
        t.change("ema_decay", None)


@EACH_MAKER
@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_any_sequence_equals_whole_gradients(make, data):
    actions = data.draw(st.lists(st.sampled_from(ACTIONS[:-1]), max_size=25))
    dtype, seed = data.draw(st.sampled_from(DTYPES)), data.draw(st.integers(0, 99))
    t = Twins(make, dtype, seed, lazy=False)
    for k, action in enumerate(actions):
        act(t, action, make, k)
    t.check()


# --- What a gradient of rows is ---------------------------------------------------------------------------------------


@given(
    rows=st.lists(st.integers(0, 8), max_size=30),
    shape=st.sampled_from([(9,), (9, 1), (9, 3), (9, 2, 2), (9, 0)]),
    kind=st.sampled_from(["list", "tuple", *"bhilqBHILQ"]),
    dtype=st.sampled_from(DTYPES),
    seed=st.integers(0, 99),
)
@settings(max_examples=150, deadline=None)
def test_rows_are_summed_in_their_order(rows, shape, kind, dtype, seed):
    rng = np.random.default_rng(seed)
    p, values = drawn(rng, shape, dtype), drawn(rng, (len(rows), *shape[1:]), dtype)
    given_rows = {"list": list, "tuple": tuple}.get(kind, lambda x: np.array(x, kind))(rows)
    expected = p - np.asarray(0.5, dtype) * summed(shape, rows, values)
    opt = flr.SGD(p, lr=0.5)
    opt.step(flr.Rows(given_rows, values))
    assert p.tobytes() == expected.tobytes()
    assert (opt.steps, opt.state_dict()["counts"].tolist()) == (1, [1])


@given(mask=st.lists(st.booleans(), min_size=9, max_size=9), as_list=st.booleans())
def test_a_mask_means_its_true_rows(mask, as_list):
    p, q, g = np.zeros((9, 2)), np.zeros((9, 2)), np.arange(1.0, 2 * sum(mask) + 1).reshape(-1, 2)
    flr.SGD(p, lr=1.0).step_rows("", mask if as_list else np.array(mask), g)
    q[mask] -= g
    assert (p == q).all()


def test_order_matters():
    p = np.zeros((2, 1), np.float32)
    values = np.array([[1e8], [1.0], [-1e8], [1.0]], np.float32)
    flr.SGD(p, lr=1.0).step_rows("", [1, 1, 1, 1], values)
    assert p[1] == -1.0
    flr.SGD(p, lr=1.0).step_rows("", [0, 0, 0, 0], values[[0, 2, 1, 3]])
    assert p[0] == -2.0


@LAZY
@pytest.mark.parametrize("shape", [(3, 40_000), (70_000,), (20_000, 3), (0, 4)], ids=str)
def test_sizes(shape, lazy):
    """Rows that are longer than a chunk, neighbours of several chunks, no rows."""
    rng = np.random.default_rng(3)
    p = drawn(rng, shape, "float32")
    q = p.copy()
    opt, dense = flr.Adam(p, catch_up=not lazy, threads=2), flr.Adam(q)
    for k in range(4):
        rows = np.arange(shape[0]) if k % 2 else rng.permutation(shape[0])[: shape[0] // 2]
        rows = np.sort(rows) if k < 2 else rows
        values = drawn(rng, (len(rows), *shape[1:]), "float32")
        g = np.zeros_like(q)
        g[rows] = values
        before, others = q.copy(), np.setdiff1d(np.arange(shape[0]), rows)
        states = [x.copy() for x in dense.state.values()]
        opt.step_rows("", rows, values)
        dense.step(g)
        if lazy:
            for x, y in zip((q, *dense.state.values()), (before, *states), strict=True):
                x[others] = y[others]
    assert raw(opt, p) == raw(dense, q)


@pytest.mark.parametrize("kind", ["flat", "nested", "list"])
@LAZY
def test_containers(kind, lazy):
    def container(table, b):
        if kind == "flat":
            return flr.Flat({"emb": table, "b": b})
        return {"emb": {"table": table}, "b": b} if kind == "nested" else [table, b]

    def grads(x, b):
        if kind == "flat":
            return {"emb": x, "b": b}
        return {"emb": {"table": x}, "b": b} if kind == "nested" else [x, b]

    name = {"flat": "emb", "nested": "emb.table", "list": "0"}[kind]
    p, q = container(np.ones((4, 3)), np.ones(2)), container(np.ones((4, 3)), np.ones(2))
    opt, dense = flr.SGD(p, 0.1, momentum=0.9, catch_up=not lazy), flr.SGD(q, 0.1, momentum=0.9)
    rows = np.arange(4) if lazy else np.array([2, 1])
    for k in range(3):
        values = np.full((len(rows), 3), 1.0 + k)
        g = summed((4, 3), rows, values)
        opt.step_rows(name, rows, values)
        dense.step(grads(g, None))
        opt.step(grads(flr.Rows(rows, values), np.ones(2)))
        dense.step(grads(g, np.ones(2)))
    state = opt.state_dict()
    assert str(state["state"]) == str(dense.state_dict()["state"])
    assert str(p) == str(q)
    assert (opt.steps, state["counts"].tolist()) == (6, [6, 3])


def test_a_step_counts_only_for_its_arrays():
    params = {"a": np.zeros((3, 2)), "b": np.zeros(2)}
    opt = flr.Adam(params)
    opt.step_rows("a", [], np.zeros((0, 2)))  # no row: still a step, as with a gradient of zeros
    opt.step({"a": None, "b": np.ones(2)})
    opt.step({"a": flr.Rows([0], np.ones((1, 2))), "b": None})
    assert (opt.steps, opt.state_dict()["counts"].tolist()) == (3, [2, 1])
    assert opt.stats.lr == 1e-3


def test_two_tables():
    a, b = ({"x": np.ones((5, 2)), "y": np.ones((4, 3)), "w": np.ones(2)} for _ in range(2))
    opt, dense = flr.Adam(a, 0.1, catch_up=True), flr.Adam(b, 0.1)
    for k in range(5):
        x, y = np.full((1, 2), 1.0 + k), np.full((2, 3), 2.0 - k)
        opt.step({"x": flr.Rows([k], x), "y": flr.Rows([k % 4, 3], y), "w": np.ones(2)})
        dense.step({"x": summed((5, 2), [k], x), "y": summed((4, 3), [k % 4, 3], y), "w": np.ones(2)})
    assert raw(opt, *a.values()) == raw(dense, *b.values())


# --- Rows that are behind ---------------------------------------------------------------------------------------------


def test_a_row_that_is_named_twice_is_brought_up_to_date_once():
    found = set()
    for rows in (np.arange(3000), np.tile(np.arange(3000), 20), np.repeat(np.arange(3000), 2)):
        p = np.ones((3000, 64), np.float32)
        opt = flr.SGD(p, 0.1, momentum=0.9, catch_up=True, threads=2)
        opt.step(np.ones_like(p))
        for _ in range(8):
            opt.step_rows("", [0], np.ones((1, 64), np.float32))
        opt.sync_rows("", rows)
        found.add(p.tobytes())
        opt.sync_rows("", [])
        opt.sync_rows("")
        found.add(p.tobytes())
    assert len(found) == 1


def test_a_full_history_starts_anew(monkeypatch):
    monkeypatch.setattr(engine_rows, "LONGEST", 5)
    t = Twins(MAKERS["adam"], "float32", 1, lazy=False)
    for _ in range(23):
        t.step_rows()
        t.step_both()
        assert len(t.opt._engine._rows._histories[0]) <= 5
    t.check()


@pytest.mark.parametrize("name", ["momentum", "nesterov", "adagrad", "sgd"])
def test_replays_end_where_nothing_moves(name):
    """A history of thousands of updates, after which a zero gradient has long been without effect."""
    t = Twins(MAKERS[name], "float32", 2, lazy=False)
    t.step_dense()
    for _ in range(1100):
        t.opt.step_rows("table", [0], np.zeros((1, 5), np.float32))
        t.dense.step({"table": np.zeros(SHAPE, np.float32), "vector": None})
    t.check()


def test_rows_that_never_had_a_gradient_cost_nothing():
    p = np.ones((100_000, 8), np.float32)
    opt = flr.Adam(p, catch_up=True)
    for _ in range(1000):
        opt.step_rows("", [5], np.ones((1, 8), np.float32))
    start = time.perf_counter()
    opt.sync_rows("")  # 8e8 updates of an element, if it made them all: more than half a second
    assert time.perf_counter() - start < 0.3
    assert (np.delete(p, 5, 0) == 1).all()


EDGES = {
    "a descent of -0": (flr.SGD, {"lr": 0.1, "maximize": True}),
    "no eps": (flr.AdaGrad, {"lr": 0.1, "eps": 0.0}),
    "eps that goes": (flr.AdaGrad, {"lr": 0.1, "eps": lambda n: 0.1 if n < 9 else 0.0}),
    "decay that comes": (flr.SGD, {"lr": 0.1, "weight_decay": lambda n: 0.0 if n < 9 else 0.5}),
    "no eps in Adam": (flr.Adam, {"lr": 0.1, "eps": 0.0}),
    "a rate that is infinite in float32": (flr.SGD, {"lr": lambda n: 1e300 if n == 7 else 0.1}),
    "a momentum that grows": (flr.SGD, {"lr": 0.1, "momentum": lambda n: 0.0 if n < 9 else 2.0, "dampening": 2.0}),
}


@pytest.mark.parametrize(("cls", "options"), EDGES.values(), ids=EDGES)
def test_replays_do_not_end_too_early(cls, options):
    with np.errstate(all="ignore"):
        t = Twins(lambda p, **k: cls(p, **{**options, **k}), "float32", 5, lazy=False)
        for k in range(15):
            rows, values = np.array([k]), drawn(t.rng, (1, 5), "float32")
            t.opt.step_rows("table", rows, values)
            t.dense.step({"table": summed(SHAPE, rows, values), "vector": None})
        t.check()


@pytest.mark.parametrize("value", [-1.0, np.nan, np.inf])
def test_a_sum_that_is_no_sum_of_squares(value):
    with np.errstate(all="ignore"):
        t = Twins(MAKERS["adagrad"], "float64", 7, lazy=False)
        for opt in (t.opt, t.dense):
            opt.state["sum"]["table"][4] = value
        for _ in range(3):
            t.step_rows()
        t.check()


def test_everything_that_shows_the_state_is_up_to_date():
    def run():
        t = Twins(MAKERS["adam"], "float64", 4, lazy=False)
        for _ in range(5):
            t.step_rows()
        return t

    t = run()
    assert t.opt.state["exp_avg"]["table"].tobytes() == t.dense.state["exp_avg"]["table"].tobytes()
    assert t.mine["table"].tobytes() == t.other["table"].tobytes()
    with tempfile.TemporaryDirectory() as folder:
        t = run()
        flr.save(f"{folder}/x.safetensors", t.mine, t.opt)
        saved = flr.load(f"{folder}/x.safetensors")
        assert saved.params["table"].tobytes() == t.other["table"].tobytes()
        assert saved.state["state"]["exp_avg_sq"]["table"].tobytes() == t.dense.state["exp_avg_sq"]["table"].tobytes()
    t = run()
    t.opt.add({"more": np.ones(2)})
    t.dense.add({"more": np.ones(2)})
    t.check()
    t.opt.step_rows("table", [1], np.ones((1, 5)))
    t.dense.step({"table": summed(SHAPE, [1], np.ones((1, 5))), "vector": None, "more": None})
    t.check()
    t = run()
    twin = copy.copy(t.opt)  # shares the parameters, has its own state
    assert raw(twin, t.mine["table"]) == raw(t.dense, t.other["table"])


@pytest.mark.parametrize("first", ["parameters", "state"])
@pytest.mark.parametrize("how", ["load_state_dict", "load", "guard"])
def test_an_old_state_and_its_parameters_are_put_back(first, how, tmp_path):
    """Nothing that rows have missed since is left."""
    t = Twins(MAKERS["adam"], "float32", 3, lazy=False)
    for _ in range(3):
        t.step_rows()
    snapshot = rollback.take(t.opt, {})
    t.opt.save(tmp_path / "x")
    state, params = t.opt.state_dict(), t.mine["table"].copy()
    for _ in range(4):
        t.opt.step_rows("table", *t.gradient()[:2])

    def put_back():
        t.mine["table"][...] = params

    if first == "parameters":
        put_back()
    if how == "guard":
        rollback.restore(t.opt, snapshot)
    else:
        t.opt.load(tmp_path / "x") if how == "load" else t.opt.load_state_dict(state)
    put_back()
    t.check()
    t.step_rows()
    t.check()


def test_arrays_whose_state_is_not_loaded_keep_what_they_have_missed():
    t = Twins(MAKERS["adam"], "float32", 3, lazy=False)
    other = flr.Adam({"vector": np.ones(6, np.float32)}, 0.1)
    for _ in range(3):
        t.step_rows()
    for opt in (t.opt, t.dense):
        opt.load_state_dict(other.state_dict(), hyperparameters=False, strict=False)
    t.check()


def test_sync_rows_without_catch_up_does_nothing():
    p = np.ones((3, 2))
    opt = flr.SGD(p, 0.5, momentum=0.5)
    opt.step_rows("", [0], np.ones((1, 2)))
    opt.step_rows("", [1], np.ones((1, 2)))
    opt.sync_rows("")
    opt.sync_rows("", [0, 2])
    assert p[:, 0].tolist() == [0.5, 0.5, 1.0]


def test_another_arrays_step_does_not_bring_rows_up_to_date():
    t = Twins(MAKERS["adam"], "float32", 9, lazy=False)
    t.step_rows()
    t.step_vector()
    assert len(t.opt._engine._rows._histories[0]) == 1
    t.step_dense()
    assert len(t.opt._engine._rows._histories[0]) == 0
    t.check()


@pytest.mark.usefixtures("either_launch")
def test_either_launch():
    for lazy in (True, False):
        t = Twins(MAKERS["adamw"], "float32", 6, lazy, lr=lambda n: 0.1 / (n + 1))
        for _ in range(4):
            t.step_rows()
            t.step_both()
            t.step_vector()
            t.step_dense()
        t.check()


def test_any_number_of_threads_gives_the_same_bits():
    found = set()
    for threads in (1, 2, 3):
        rng = np.random.default_rng(8)
        p = drawn(rng, (5000, 16), "float32")
        opt = flr.Adam({"p": p, "w": np.zeros(40_000, np.float32)}, 0.1, threads=threads, catch_up=True)
        for _ in range(6):
            rows = rng.integers(0, 5000, 3000)
            opt.step({"p": flr.Rows(rows, drawn(rng, (3000, 16), "float32")), "w": np.ones(40_000, np.float32)})
        opt.sync_rows("p")
        found.add(p.tobytes())
    assert len(found) == 1
