"""Checks of a picture without looking at it: all text is inside the figure and no texts overlap."""

from itertools import combinations

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text


def texts(figure):
    """Visible texts of a figure: [(text, its box in pixels)]."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    out_of_sight = unseen(figure)
    found = [t for t in figure.findobj(Text) if t.get_visible() and t.get_text().strip() and t not in out_of_sight]
    return [(t.get_text(), t.get_window_extent(canvas.get_renderer())) for t in found]


def unseen(figure):
    """Labels that axes have but do not draw: beyond their limits, or inside a grid of axes."""
    axes_and_ticks = [
        (axis, tick) for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)
        for tick in axis.get_major_ticks() + axis.get_minor_ticks()
    ]  # fmt: skip
    result = set()
    for axis, tick in axes_and_ticks:
        low, place, high = axis.get_transform().transform([*sorted(axis.get_view_interval()), tick.get_loc()])[
            [0, 2, 1]
        ]
        margin = 1e-9 * (high - low)
        if not low - margin <= place <= high + margin:
            result |= {tick.label1, tick.label2}
    return result


def assert_fits(figure):
    """Check that all texts are inside the figure and do not overlap; return them."""
    found = texts(figure)
    box = figure.bbox
    assert [t for t, b in found if b.x0 < 0 or b.y0 < 0 or b.x1 > box.width or b.y1 > box.height] == []
    cores = [(t, b.padded(-0.15 * min(b.width, b.height))) for t, b in found]  # a box has some room around its letters
    assert [(t, u) for (t, a), (u, b) in combinations(cores, 2) if a.overlaps(b)] == []
    return [t for t, _ in found]
