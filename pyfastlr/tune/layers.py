"""A rate for each layer: groups for `groups=`, with `lr_scale` falling from the last layer to the first."""

from collections.abc import Callable, Hashable, Sequence
from typing import TYPE_CHECKING, Any

from pyfastlr import schedules as S
from pyfastlr.arrays.parameters import Parameters
from pyfastlr.engines.hyper import UP_TO_ONE, number
from pyfastlr.optimizers.groups import select

from .values import count

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class LayerGroups(list[dict[str, Any]]):
    """List of groups for an optimizer's ``groups=``, from the first layer to the last, with a `plot`.

    Attributes
    ----------
    layers : dict
        Names of each layer's arrays, from the first layer to the last.
    factors : dict
        Factor of the rate for each layer, once it is unfrozen.

    Examples
    --------
    >>> import numpy as np
    >>> from pyfastlr import tune
    >>> groups = tune.layerwise({"body": np.ones(3), "head": np.ones(3)}, decay=0.5)
    >>> groups.layers, groups.factors
    ({'body': ['body'], 'head': ['head']}, {'body': 0.5, 'head': 1.0})
    """

    def __init__(self, groups: Sequence[dict[str, Any]], layers: dict[Any, list[str]], factors: dict[Any, float]):
        super().__init__(groups)
        self.layers, self.factors = layers, factors

    def plot(self, ax: "Axes | None" = None) -> "Axes":
        """Draw the factor of each layer as a point, the first layer at the top.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Where to draw. By default the axes of a new figure.

        Returns
        -------
        matplotlib.axes.Axes

        Raises
        ------
        ModuleNotFoundError
            If matplotlib is not installed.

        Examples
        --------
        >>> import numpy as np
        >>> from pyfastlr import tune
        >>> groups = tune.layerwise({"body": np.ones(3), "head": np.ones(3)}, decay=0.5)
        >>> groups.plot().get_xlabel()
        'factor of the learning rate'
        """
        from .layers_drawing import draw_layers

        return draw_layers(self, ax)


def layerwise(
    params: Any,
    decay: float = 0.75,
    *,
    layers: Callable[[str], Hashable] | Sequence[Any] | None = None,
    no_decay: Any = None,
    unfreeze: int | None = None,
) -> LayerGroups:
    r"""Make groups that give each layer its own rate: the farther from the output, the smaller.

    Layer :math:`l` of :math:`L`, counted from 1 at the input, gets the factor

    .. math:: s_l = \mathrm{decay}^{L - l},

    so the last layer, the head, has the full rate. The factor is the group's `lr_scale`. The optimizer's `lr`, a number
    or a schedule, applies to all layers.

    Parameters
    ----------
    params : array, Flat, dict or list
        The parameters, in the order from input to output. A layer is one top-level entry (the part of a name before the
        first "."). If that entry is a list of containers, each container is a layer: "blocks.3.attn.w" belongs to
        "blocks.3".
    decay : float in [0, 1]
        Factor between a layer and the layer before it. 1 gives all layers the same rate, 0 freezes all but the last.
    layers : callable, or list, optional
        Assigns arrays to layers if their names and order do not. A function of the name returns the depth, an int (0 is
        the input, the largest is the head, gaps count), or a key, a str. Keys are ordered by their first array. A list
        has one entry per layer, from the input to the head, with the same values as a group's "params": a name, glob,
        index or function, or a list of these. If several match an array, the first is used.
    no_decay : str, int, callable, or list of these, optional
        Arrays without weight decay, selected as in a group's "params", such as ``["*.b", "*.norm.*"]``. A layer that
        contains such arrays and others becomes two groups.
    unfreeze : int > 0, optional
        Number of updates after which one more layer is unfrozen: the last layer is trained from the start, the layer
        before it from update `unfreeze` on, and so on. Until then a layer's bits do not change. By default all layers
        are trained from the start.

    Returns
    -------
    LayerGroups
        A list of groups for ``groups=``, from the first layer to the last, with a `plot`.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range, if a function returns neither an int nor a str, or if
        `layers` matches no layer for an array.

    Examples
    --------
    >>> import numpy as np, pyfastlr as flr
    >>> from pyfastlr import tune
    >>> net = {name: {"w": np.ones((4, 4)), "b": np.ones(4)} for name in ("embed", "body", "head")}
    >>> for group in tune.layerwise(net, decay=0.5, no_decay="*.b"):
    ...     print(group)
    {'params': ['embed.w'], 'lr_scale': 0.25}
    {'params': ['embed.b'], 'lr_scale': 0.25, 'weight_decay': 0.0}
    {'params': ['body.w'], 'lr_scale': 0.5}
    {'params': ['body.b'], 'lr_scale': 0.5, 'weight_decay': 0.0}
    {'params': ['head.w'], 'lr_scale': 1.0}
    {'params': ['head.b'], 'lr_scale': 1.0, 'weight_decay': 0.0}
    >>> opt = flr.AdamW(net, lr=1e-3, groups=tune.layerwise(net, decay=0.5))
    >>> [group["lr_scale"] for group in opt.groups[1:]]
    [0.25, 0.5, 1.0]

    Notes
    -----
    The factor scales coupled and decoupled weight decay, as the rate does. A group's `lr_scale` replaces the
    optimizer's; to use both, multiply the groups' values. With `unfreeze` the factor is a schedule, and the optimizer's
    state accumulates the gradients of frozen layers.

    References
    ----------
    Jeremy Howard and Sebastian Ruder, Universal Language Model Fine-tuning for Text Classification, 2018: a factor of
    1/2.6 from layer to layer, and gradual unfreezing. Kevin Clark, Minh-Thang Luong, Quoc V. Le and Christopher D.
    Manning, ELECTRA: Pre-training Text Encoders as Discriminators Rather Than Generators, 2020: 0.8 and 0.9. timm's
    `param_groups_layer_decay` uses 0.75. It also sets an `lr_scale` on groups, but only timm's schedulers read it. It
    counts layers by the model's rules and turns off weight decay for all vectors (here: ``no_decay=``). torch, Keras
    and optax have no such function.
    """
    parameters, decay = Parameters(params), number(decay, "decay", UP_TO_ONE)
    wait = None if unfreeze is None else count(unfreeze, "unfreeze")
    names = parameters.names
    found, distances = _grouped(names, layers)
    plain = {names[k] for k in ([] if no_decay is None else select(no_decay, names, "no_decay"))}
    groups: list[dict[str, Any]] = []
    factors = {key: decay**distance for key, distance in distances.items()}
    for place, (key, members) in enumerate(found.items()):
        scale: Any = factors[key]
        behind = len(found) - 1 - place
        if wait is not None and behind and scale:
            scale = S.Piecewise([behind * wait], [0.0, scale])
        for without in (False, True):
            chosen = [name for name in members if (name in plain) == without]
            if chosen:
                groups.append({"params": chosen, "lr_scale": scale} | ({"weight_decay": 0.0} if without else {}))
    return LayerGroups(groups, found, factors)


def _grouped(names: Sequence[str], layers: Any) -> tuple[dict[Any, list[str]], dict[Any, int]]:
    """Names by layer, from the first to the last, and the distance of each layer from the last."""
    if layers is None:
        keys: list[Any] = list(map(_entry, names))
    elif callable(layers):
        keys = [_key(layers, name) for name in names]
    else:
        keys = _of_list(names, layers)
    order = list(dict.fromkeys(keys))
    kinds = {isinstance(key, str) for key in order}
    if len(kinds) > 1:
        raise TypeError(f"`layers` must return only ints or only strs, got both: {order}")
    if kinds == {False}:
        order.sort()
    found = {key: [name for name, own in zip(names, keys, strict=True) if own == key] for key in order}
    distances = {key: len(order) - 1 - k if kinds == {True} else order[-1] - key for k, key in enumerate(order)}
    return found, distances


def _entry(name: str) -> str:
    """Default layer of a name: its first part, plus the index if that entry is a list of containers."""
    first, *rest = name.split(".")
    return f"{first}.{rest[0]}" if len(rest) > 1 and rest[0].isdecimal() else first


def _key(layers: Callable[[str], Any], name: str) -> Any:
    """Layer that a user's function returns for a name: an int or a str."""
    try:
        key = layers(name)
    except Exception as error:
        error.add_note(f"`layers` was called with {name!r}")
        raise
    if isinstance(key, str):
        return key
    if isinstance(key, bool) or not hasattr(key, "__index__"):
        raise TypeError(f"`layers` must return an int or a str, got {key!r} for {name!r}")
    return key.__index__()


def _of_list(names: Sequence[str], layers: Any) -> list[int]:
    """For each name, the index of the first entry of `layers` that matches."""
    if not isinstance(layers, list | tuple) or not layers:
        raise TypeError(f"`layers` must be a function of a name or a list with one entry per layer, got {layers!r}")
    keys: dict[int, int] = {}
    for index, patterns in enumerate(layers):
        for k in select(patterns, names, f"layers[{index}]"):
            keys.setdefault(k, index)
    left = [name for k, name in enumerate(names) if k not in keys]
    if left:
        raise ValueError(f"`layers` must match every parameter, got none for {left}")
    return [keys[k] for k in range(len(names))]
