"""`S.Polyak` and `tune.line_search` against optax; and the page of all of them."""

import runpy
from pathlib import Path

import numpy as np
import pytest

import pyfastlr as flr
from pictures import assert_fits
from pyfastlr import schedules as S
from pyfastlr import tune

jax = pytest.importorskip("jax", reason="needs jax")
optax = pytest.importorskip("optax", reason="needs optax")

H = np.array([1.0, 10.0, 100.0])


def quadratic(p, batch=None):
    return 0.5 * H @ (p * p), H * p


@pytest.mark.parametrize(("c", "f_min", "largest"), [(1.0, 0.0, 1.0), (0.5, -0.1, 0.02), (2.0, 0.0, 10.0)])
def test_polyak_is_optaxs(c, f_min, largest):
    """optax scales the gradient, whose square is in the denominator, and then the bounded rate."""
    with jax.enable_x64(True):
        theirs = optax.polyak_sgd(max_learning_rate=largest / c, scaling=c, f_min=f_min)
        w = jax.numpy.ones(3)
        state = theirs.init(w)
        p = np.ones(3)
        rate = S.Polyak(largest, f_min=f_min, c=c)
        opt = flr.SGD(p, lr=rate)
        for _ in range(30):
            loss, g = quadratic(np.asarray(w))
            updates, state = theirs.update(jax.numpy.asarray(g), state, w, value=loss)
            w = optax.apply_updates(w, updates)
            loss, g = quadratic(p)
            rate.observe(loss=loss, grads=g)
            opt.step(g)
            np.testing.assert_allclose(p, np.asarray(w), rtol=1e-9, atol=1e-12)


def test_the_page_has_all_runs_of_its_script():
    """If not: python scripts/line_search_page.py."""
    root = Path(__file__).resolve().parents[1]
    script = runpy.run_path(str(root / "scripts" / "line_search_page.py"))
    text = (root / "docs" / "line_search.md").read_text(encoding="utf-8")

    def first_column(name):
        rows = text.split(f"<!-- {name}:begin -->\n")[1].split(f"\n<!-- {name}:end -->")[0].splitlines()[2:]
        return [row.split(" | ")[0].removeprefix("| ") for row in rows]

    assert first_column("minima") == [name.replace("_", " ") for name in script["FUNCTIONS"]]
    assert first_column("all") == [run.label for run in script["ALL"]]
    assert first_column("batches") == [run.label for run in script["BATCHES"]]
    result = script["Result"]([2.0, 0.5] * 50, [0.1, 0.2] * 50, [2.0, 0.5, 1e-5] * 50, 0.1, 0.9)
    assert_fits(script["picture"](*({run.label: [result] for run in script[name]} for name in ("ALL", "BATCHES"))))


@pytest.mark.parametrize(("factor", "c1"), [(0.8, 1e-4), (0.5, 0.3)])
def test_backtracking_is_optaxs(factor, c1):
    """optax grows the rate before each search, up to its largest one, and compares with an absolute tolerance of 0."""
    with jax.enable_x64(True):
        theirs = optax.chain(
            optax.sgd(1.0),
            optax.scale_by_backtracking_linesearch(
                100, slope_rtol=c1, decrease_factor=factor, increase_factor=1.5, max_learning_rate=1.0
            ),
        )
        h = jax.numpy.asarray(H)

        def value(w):
            return 0.5 * h @ (w * w)

        w = jax.numpy.ones(3)
        state = theirs.init(w)
        p = np.ones(3)
        search = tune.line_search(
            quadratic, p, c1=c1, factor=factor, reset="grow", growth=1.5, lr=1.0, high=1.0, trials=100
        )
        for _ in range(30):
            loss, g = quadratic(np.asarray(w))
            updates, state = theirs.update(jax.numpy.asarray(g), state, w, value=loss, grad=g, value_fn=value)
            w = optax.apply_updates(w, updates)
            search.step()
            np.testing.assert_allclose(p, np.asarray(w), rtol=1e-9, atol=1e-12)
