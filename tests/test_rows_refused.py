"""What a step over rows refuses, by name, and before anything is written."""

from functools import partial

import numpy as np
import pytest

import pyfastlr as flr
from row_runs import raw

ONE = np.ones((1, 2))


def run(**options):
    params = {"t": np.arange(8.0).reshape(4, 2), "w": np.zeros(2), "x": np.array(1.0)}
    return params, flr.Adam(params, lr=0.1, **options)


def refused(opt, params, work, error, *words):
    """It raises an error with these words, and changes nothing."""
    arrays = params.values() if isinstance(params, dict) else [params]
    before = [x.tobytes() for x in arrays], opt.steps, str(opt.state_dict()["state"])
    with pytest.raises(error) as caught:
        work()
    for word in words:
        assert word in str(caught.value)
    assert ([x.tobytes() for x in arrays], opt.steps, str(opt.state_dict()["state"])) == before


ROWS = {
    "beyond the end": ([0, 4], ValueError, ("from 0 to 3", "got 4 at index 1")),
    "negative": ([0, -1], ValueError, ("from 0 to 3", "got -1 at index 1")),
    "huge": (np.array([0, 2**64 - 1], np.uint64), ValueError, (f"got {2**64 - 1} at index 1",)),
    "floats": ([0.0, 1.0], TypeError, ("row numbers", "float64[2]")),
    "a number": (1, TypeError, ("row numbers", "got int")),
    "text": ("01", TypeError, ("row numbers", "got str")),
    "None": (None, TypeError, ("row numbers", "got None")),
    "two dimensions": ([[0, 1]], ValueError, ("one dimension", "int64[1, 2]")),
    "ragged": ([[0], [1, 2]], TypeError, ("row numbers",)),
    "a short mask": (np.ones(3, bool), ValueError, ("bool[4]", "bool[3]")),
    "a long mask": ([True] * 5, ValueError, ("bool[4]", "bool[5]")),
}


@pytest.mark.parametrize("catch_up", [False, True])
@pytest.mark.parametrize(("rows", "error", "words"), ROWS.values(), ids=ROWS)
def test_rows(rows, error, words, catch_up):
    params, opt = run(catch_up=catch_up)
    opt.step_rows("t", [1], ONE)
    values = np.ones((2, 2))
    refused(opt, params, lambda: opt.step_rows("t", rows, values), error, "`rows`", *words)
    g = {"t": flr.Rows(rows, values), "w": np.ones(2), "x": None}
    refused(opt, params, lambda: opt.step(g), error, "`grads['t'].rows`", *words)
    if rows is not None:
        refused(opt, params, lambda: opt.sync_rows("t", rows), error, "`rows`", *words)


VALUES = {
    "dtype": (np.ones((2, 2), np.float32), TypeError, ("float64[2, 2]", "float32[2, 2]")),
    "rows": (np.ones((3, 2)), ValueError, ("float64[2, 2]", "float64[3, 2]")),
    "width": (np.ones((2, 3)), ValueError, ("float64[2, 2]", "float64[2, 3]")),
    "order": (np.ones((2, 2)).T, ValueError, ("C-contiguous",)),
    "strides": (np.ones((2, 4))[:, ::2], ValueError, ("C-contiguous",)),
    "a list": ([[1.0, 1.0], [1.0, 1.0]], TypeError, ("float64[2, 2]", "list")),
    "None": (None, TypeError, ("float64[2, 2]", "None")),
}


@pytest.mark.parametrize(("values", "error", "words"), VALUES.values(), ids=VALUES)
def test_values(values, error, words):
    params, opt = run()
    refused(opt, params, lambda: opt.step_rows("t", [0, 1], values), error, "`values`", *words)
    g = {"t": flr.Rows([0, 1], values), "w": None, "x": None}
    refused(opt, params, lambda: opt.step(g), error, "`grads['t'].values`", *words)


def test_values_that_share_memory_with_what_is_written():
    params, opt = run()
    refused(opt, params, lambda: opt.step_rows("t", [0], params["t"][1:2]), ValueError, "must not overlap `params`")
    opt.step_rows("t", [0], ONE)
    state = opt.state["exp_avg"]["t"]
    refused(opt, params, lambda: opt.step_rows("t", [0], state[:1]), ValueError, "must not overlap `state['exp_avg']`")
    refused(
        opt, params, lambda: opt.step({"t": flr.Rows([0], ONE), "w": params["t"][0], "x": None}), ValueError,
        "`grads['w']` must not overlap",
    )  # fmt: skip


def test_the_other_gradients_are_checked_too():
    params, opt = run()
    rows = flr.Rows([0], ONE)
    refused(opt, params, lambda: opt.step({"t": rows, "w": np.ones(3), "x": None}), ValueError, "`grads['w']`")
    refused(opt, params, lambda: opt.step({"t": rows, "w": None}), ValueError, "missing keys ['x']")


def test_arrays_without_rows_and_names_that_are_none():
    params, opt = run()
    refused(opt, params, lambda: opt.step_rows("x", [0], ONE), ValueError, "`params['x']` must have rows", "0-dim")
    for name in ("q", 0, None):
        words = "`name`", "'t', 'w', 'x'", repr(name)
        refused(opt, params, partial(opt.step_rows, name, [0], ONE), ValueError, *words)
        refused(opt, params, partial(opt.sync_rows, name), ValueError, *words)
    buffer = flr.Flat({"t": np.ones((4, 2))})
    opt = flr.SGD(buffer, 0.1)
    refused(opt, buffer.buffer, lambda: opt.step(flr.Rows([0], ONE)), TypeError, "a dict with Rows", "Flat")


OPTIONS = {
    "clip_norm": {"clip_norm": 1.0},
    "clip_norm_each": {"clip_norm_each": 1.0},
    "clip_value": {"clip_value": 1.0},
    "ema_decay": {"ema_decay": 0.9},
    "nonfinite": {"nonfinite": "raise"},
    "zero_grad": {"zero_grad": True},
    "accumulate": {"accumulate": 2},
    "measure": {"measure": ("update_norm",)},
    "copy_to": {"copy_to": {"t": np.zeros((4, 2)), "w": np.zeros(2), "x": np.zeros(())}},
    "a group's": {"groups": [{"params": "w", "clip_norm": 1.0}]},
}


@pytest.mark.parametrize(("name", "options"), OPTIONS.items(), ids=OPTIONS)
def test_options_that_need_the_whole_gradient(name, options):
    params, opt = run(**options)
    word = "`clip_norm`" if name == "a group's" else f"`{name}` must be left out for a step with rows"
    refused(opt, params, lambda: opt.step_rows("t", [0], ONE), ValueError, word)
    refused(opt, params, lambda: opt.step({"t": flr.Rows([0], ONE), "w": None, "x": None}), ValueError, word)


def test_a_loss_scale():
    params, opt = run(loss_scale=flr.LossScale())
    refused(opt, params, lambda: opt.step_rows("t", [0], ONE), ValueError, "must be left out for a step with rows")


def test_rates_by_element():
    params, opt = run(lr_scale={"t": np.ones((4, 2)), "w": np.ones(2), "x": np.array(1.0)})
    refused(opt, params, lambda: opt.step_rows("t", [0], ONE), TypeError, "`lr_scale`", "got arrays")
    opt.lr_scale = 1.0
    opt.step_rows("t", [0], ONE)


@pytest.mark.parametrize("value", [0.0, -1.0, np.inf, np.nan, "1", None])
def test_inv_scale(value):
    params, opt = run()
    error = TypeError if value is None or isinstance(value, str) else ValueError
    refused(opt, params, lambda: opt.step_rows("t", [0], ONE, inv_scale=value), error, "`inv_scale`")


def test_catch_up_is_a_flag():
    with pytest.raises(TypeError, match="`catch_up` must be True or False"):
        run(catch_up=1)
    _, opt = run(catch_up=True)
    assert opt.catch_up is True
    with pytest.raises(AttributeError, match="`catch_up` of Adam cannot be changed"):
        opt.catch_up = False


@pytest.mark.parametrize("catch_up", [False, True])
def test_a_parameter_that_was_changed_in_place(catch_up):
    params, opt = run(catch_up=catch_up)
    opt.step_rows("t", [0], ONE)
    table = params["t"]
    params["t"] = table.copy()
    refused_without_state(opt, lambda: opt.step_rows("t", [0], ONE), "got another")
    params["t"] = table
    opt.step_rows("t", [0], ONE)
    table.shape = (2, 4)
    refused_without_state(opt, lambda: opt.step_rows("t", [0], ONE), "same address")
    if catch_up:
        refused_without_state(opt, lambda: opt.sync_rows("t"), "same address")
        refused_without_state(opt, opt.state_dict, "same address")
    table.shape = (4, 2)
    opt.sync_rows("t")


def refused_without_state(opt, work, words):
    steps = opt.steps
    with pytest.raises(ValueError, match=words):
        work()
    assert opt.steps == steps


def test_while_the_average_is_swapped_in():
    params, opt = run(ema_decay=0.5, catch_up=True)
    opt.step({"t": np.ones((4, 2)), "w": None, "x": None})
    opt.ema_decay = None
    opt.step_rows("t", [0], ONE)
    with opt.averaged():
        for work in (lambda: opt.step_rows("t", [0], ONE), lambda: opt.sync_rows("t")):
            with pytest.raises(RuntimeError, match="swapped in"):
                work()
    opt.step_rows("t", [0], ONE)
    assert opt.steps == 3
    opt.sync_rows("t")
    assert np.isfinite(params["t"]).all()


def test_schedules_must_not_step_but_may_read():
    seen = []

    def rate(n):
        if n:
            seen.append(raw(opt)[0])
            for work in (lambda: opt.step_rows("t", [0], ONE), lambda: opt.step(whole), opt.reset):
                with pytest.raises(RuntimeError, match="a schedule or callable must not"):
                    work()
        return 0.1

    whole = {"t": flr.Rows([1], ONE), "w": None, "x": None}
    params, _ = run()
    opt = flr.Adam(params, lr=rate, catch_up=True)
    twin = {name: x.copy() for name, x in params.items()}
    dense = flr.Adam(twin, lr=0.1)
    for row in (0, 1, 0):
        opt.step_rows("t", [row], ONE)
        g = np.zeros((4, 2))
        g[row] = 1
        dense.step({"t": g, "w": None, "x": None})
    assert seen == [1, 2]
    assert raw(opt, params["t"]) == raw(dense, twin["t"])


def test_a_schedule_that_raises_or_changes_the_arrays():
    broken = [False]

    def rate(n):
        if broken[0]:
            values.resize((1, 1), refcheck=False)
            raise ZeroDivisionError
        return 0.1

    params, _ = run()
    opt, values = flr.Adam(params, lr=rate), np.ones((1, 2))
    opt.step_rows("t", [0], values)
    broken[0] = True
    refused(opt, params, lambda: opt.step_rows("t", [0], values), ZeroDivisionError)

    def shrink(n):
        values.resize((1, 1), refcheck=False)
        return 0.1

    values = np.ones((1, 2))
    opt.lr = shrink
    refused(opt, params, lambda: opt.step_rows("t", [0], values), ValueError, "`values`")


def test_repr():
    assert repr(flr.Rows([1], ONE)) == "Rows(rows=list, values=float64[1, 2])"
    assert repr(flr.Rows(np.array([1]), ONE)) == "Rows(rows=int64[1], values=float64[1, 2])"


@pytest.mark.parametrize("state_dtype", ["bfloat16", "int8"])
def test_packed_state_has_no_rows(state_dtype):
    params = {"table": np.zeros((100, 60), np.float32), "w": np.zeros(5000, np.float32)}
    opt = flr.Adam(params, 1e-3, groups=[{"params": "w", "state_dtype": state_dtype}], catch_up=True)
    with pytest.raises(ValueError, match=f"`state_dtype` must be None for a step with rows, .*, got '{state_dtype}'"):
        opt.step_rows("table", [1], np.ones((1, 60), np.float32))
    assert opt.steps == 0
    assert not any(x.any() for x in params.values())
    opt.step({"table": np.ones((100, 60), np.float32), "w": None})
    assert opt.steps == 1


def test_rows_of_bools_and_integers():
    p = np.zeros((10, 3))
    opt = flr.Adam(p, 0.1)
    for rows in ([True, 2], (1, False), [np.True_, 3]):
        with pytest.raises(TypeError, match=r"`rows` must be row numbers.* or a mask.*, got a (list|tuple) of both"):
            opt.step_rows("", rows, np.ones((2, 3)))
    with pytest.raises(ValueError, match="`rows` must be empty for an array without rows, got 0 at index 0"):
        flr.SGD(np.zeros((0, 3)), 0.1).step_rows("", [0], np.ones((1, 3)))
    assert opt.steps == 0
    assert not p.any()
