"""The pictures of throughput, of the demo and of the architecture: all text is inside and in the right order."""

import dataclasses
import runpy
from itertools import pairwise
from pathlib import Path

import pytest
from matplotlib.patches import FancyBboxPatch

from pictures import assert_fits, texts
from pyfastlr.benchmark.contenders import ABOVE_LIMIT, CONTENDERS, LIMIT_IS
from pyfastlr.benchmark.picture import throughput
from pyfastlr.demo import Training
from pyfastlr.plot import training
from test_bench_command import row, saved

ROOT = Path(__file__).resolve().parents[1]

# --- The throughput picture ------------------------------------------------------------------------------------------


def ticks(axes):
    axis = axes.xaxis, axes.yaxis
    return [label for x in axis for label in (*x.get_majorticklabels(), *x.get_minorticklabels()) if label.get_text()]


def curves(sizes, end=0):
    """A row per contender and size. The order at the last size is that of CONTENDERS, unless `end` gives another."""
    names = [x.name for x in CONTENDERS]
    return [
        row(name, minimum=1e-6 * (1 + (k + end * (size == sizes[-1])) % len(names)), size=size)
        for k, name in enumerate(names) for size in sizes
    ]  # fmt: skip


@pytest.mark.parametrize("end", [0, 5])
def test_legend_is_ordered_as_the_curves_end(end):
    (axes,) = throughput(saved(*curves((64, 4096, 10**6), end))).axes
    lines = {line.get_label(): line.get_ydata()[-1] for line in axes.lines}
    ends = [lines[text.get_text()] for text in axes.get_legend().get_texts()]
    assert len(ends) == len(CONTENDERS)
    assert ends == sorted(ends, reverse=True)


@pytest.mark.parametrize("sizes", [(64,), (300, 700), (16, 4096, 10**6, 10**8), (1000, 29_000)], ids=str)
def test_throughput_fits(sizes):
    rows = curves(sizes)
    cpu = "Intel(R) Xeon(R) Platinum 8480C CPU with a name as long as those of some vendors are today @ 2.00GHz (LLVM)"
    figure = throughput(saved(*rows, cpu=cpu, caches={"L1": 1 << 15, "L2": 1 << 19, "L3": 1 << 25}))
    words = assert_fits(figure)
    assert {"throughput (GB/s)", "adam, float32, 2 threads: 28 bytes for each element and update"} <= {*words}
    assert not any("$" in text for text in words)  # no powers of ten
    (axes,) = figure.axes
    assert len([text for text in words if text in {label.get_text() for label in ticks(axes)}]) >= 2
    for text in axes.texts:
        box = text.get_window_extent()
        assert axes.bbox.x0 <= box.x0
        assert box.x1 <= axes.bbox.x1


def test_a_panel_for_each_optimizer_dtype_and_number_of_threads():
    rows = curves((64, 4096))
    changes = {"threads": 1}, {"dtype": "float64"}, {"optimizer": "lion"}
    others = [dataclasses.replace(x, **change) for x in rows for change in changes]
    figure = throughput(saved(*rows, *others))
    assert [axes.get_title().partition(":")[0] for axes in figure.axes] == [
        "adam, float32, 2 threads", "adam, float32, 1 thread", "adam, float64, 2 threads", "lion, float32, 2 threads",
    ]  # fmt: skip
    assert_fits(figure)


def test_caption_explains_what_is_there():
    def caption(rows, **facts):
        return throughput(saved(*rows, **facts)).get_supxlabel().replace("\n", " ")

    rows = curves((64, 4096))
    assert "divided by the time of the fastest sample" in caption(rows)
    assert f"Dashed, the limit: {LIMIT_IS}. {ABOVE_LIMIT}" in caption(rows)
    assert "Dotted" in caption(rows)
    assert "Dotted" not in caption(rows, caches={})
    assert "On the left, curves rise" in caption(rows)
    assert "On the left, curves rise" not in caption(curves((10**5, 10**6)))
    assert "Dashed" not in caption([x for x in rows if x.contender != "empty loop"])


# --- The demo ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [1, 10, 250])
def test_the_demos_picture_fits(steps):
    run = Training("AdamW", "step", steps=steps)
    assert [*run]
    figure = training(run)
    words = assert_fits(figure)
    assert {"training loss (nats)", "test accuracy (%)", "learning rate", "update (from 1)"} <= {*words}
    assert not any("$" in text for text in words)
    assert ("mean over the last 2 updates" in words) == (steps == 250)
    assert figure.axes[2].lines[0].get_drawstyle() == ("default" if steps == 1 else "steps-post")
    assert all((line.get_marker() == "o") == (steps == 1) for axes in figure.axes for line in axes.lines)


# --- The architecture -------------------------------------------------------------------------------------------------


def test_architecture_picture_fits_in_its_boxes():
    script = runpy.run_path(str(ROOT / "scripts" / "architecture_picture.py"))
    figure = script["draw"]()
    assert_fits(figure)
    extents = dict(texts(figure))
    boxes = [patch.get_window_extent() for patch in figure.axes[0].patches if isinstance(patch, FancyBboxPatch)]
    inside = [words for _, layer in script["LAYERS"] for words in layer]
    assert len(boxes) == len(inside)
    for outer, words in zip(boxes, inside, strict=True):
        for word in words:
            inner = extents[word]
            assert outer.x0 + 8 < inner.x0, word
            assert inner.x1 < outer.x1 - 8, word
    heads = [extents[head.strip()].y0 for head, _ in script["STEP"]]
    assert all(upper > lower for upper, lower in pairwise(heads))
