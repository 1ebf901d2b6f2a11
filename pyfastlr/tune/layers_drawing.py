"""The picture of `LayerGroups`: one point per layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .axes import given_or_new

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from .layers import LayerGroups

SPAN = 30  # largest factor divided by the smallest; above it, the axis is logarithmic
NAMED = 40  # with more layers, names would overlap


def draw_layers(groups: LayerGroups, ax: Axes | None) -> Axes:
    """Draw the factor of each layer, labelled with its value and the update from which it applies."""
    factors = groups.factors
    (axes,) = given_or_new(ax, 1, (8, min(10, max(2.4, 1.2 + 0.34 * len(factors)))))
    from pyfastlr.plot import BLUE, plain

    rows = range(len(factors))
    trained = [factor for factor in factors.values() if factor > 0]
    if max(trained) / min(trained) > SPAN:
        axes.set(xscale="log", xlim=(min(trained) / 2, max(trained) * 4))
        plain(axes.xaxis)
    else:
        axes.set_xlim(0, 1.3 * max(trained))
    places = [factor or axes.get_xlim()[0] for factor in factors.values()]  # a frozen layer is at the edge
    axes.plot(places, rows, color=BLUE, marker="o", markersize=7, linestyle="none", clip_on=False)
    if len(factors) <= NAMED:
        axes.set_yticks(rows, [str(key).replace("$", r"\$") or "all" for key in factors])
        for row, (key, factor), at in zip(rows, factors.items(), places, strict=True):
            axes.annotate(
                _words(groups, key, factor), (at, row), (8, 0), textcoords="offset points", va="center", fontsize=9
            )
    axes.set(xlabel="factor of the learning rate", ylabel="layer", ylim=(len(factors) - 0.5, -0.5))
    return axes


def _words(groups: LayerGroups, key: object, factor: float) -> str:
    """Label of a layer: its factor, and the update from which it applies."""
    (scale, *_) = (group["lr_scale"] for group in groups if group["params"][0] in groups.layers[key])
    if factor == 0:
        return "frozen"
    return f"{factor:.3g}" + (f", from update {scale.parameters['boundaries'][0]}" if callable(scale) else "")
