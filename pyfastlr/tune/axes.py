"""Axes and their style, shared by the pictures of all tools."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def need_matplotlib() -> None:
    """If matplotlib is not installed, raise an error that says how to install it."""
    try:
        import matplotlib  # noqa: F401
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError('plot needs matplotlib: pip install "pyfastlr[demo]"') from error


def given_or_new(ax: Any, panels: int, size: tuple[float, float]) -> list[Axes]:
    """Return the caller's axes, one per panel, or the axes of a new figure, which pyplot does not keep."""
    need_matplotlib()
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    if ax is None:
        figure = Figure(figsize=size, dpi=120, layout="constrained")
        grid = figure.subplots(panels, 1, sharex=True, squeeze=False, height_ratios=[3, *[2] * (panels - 1)])
        axes: list[Axes] = list(grid[:, 0])
        for each in axes:
            each.grid(alpha=0.25)
            each.spines[["top", "right"]].set_visible(False)
        return axes
    axes = [ax] if isinstance(ax, Axes) else list(ax) if hasattr(ax, "__iter__") else [ax]
    if not all(isinstance(each, Axes) for each in axes):
        raise TypeError(f"`ax` must be matplotlib Axes, a list of them, or None, got {ax!r:.60}")
    if len(axes) != panels:
        raise ValueError(f"`ax` must be {panels} Axes, one for each panel, got {len(axes)}")
    return axes
