"""A rate for each layer: groups for `groups=`, whose factors of the rate fall from the last layer to the first."""

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
    """Groups for ``groups=`` of an optimizer, from the first layer to the last: a list of dicts that can be drawn.

    Attributes
    ----------
    layers : dict
        For each layer, from the first to the last, the names of its arrays.
    factors : dict
        For each layer its factor of the rate, once it is thawed.

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
    r"""Groups with a rate for each layer: smaller, the farther a layer is from the output.

    Layer :math:`l` of :math:`L`, counted from 1 at the input, gets the factor

    .. math:: s_l = \mathrm{decay}^{L - l},

    so that the last layer, the head, has the whole rate. The factor is the group's `lr_scale`: `lr`, a number or a
    schedule, stays the optimizer's own, and holds for all layers at once.

    Parameters
    ----------
    params : array, Flat, dict or list
        The parameters, in the order from input to output. A layer is what one top-level entry holds (the part of a name
        before the first "."). Where that entry is a list of containers, each of these is a layer: "blocks.3.attn.w"
        belongs to "blocks.3".
    decay : float in [0, 1]
        Factor from one layer to the one before it. 1 gives all layers one rate, 0 freezes all but the last.
    layers : callable, or list, optional
        Which layer an array is in, where names and order do not say it. A function of the name returns the depth, an
        int (0 is the input, the greatest is the head, and a gap counts), or a key, a str: these are ordered by their
        first array. A list has for each layer, from the input to the head, what a group's "params" may be: a name,
        glob, index or function, or a list of these; if several match an array, the first is used.
    no_decay : str, int, callable, or list of these, optional
        Arrays without weight decay, given as a group's "params", such as ``["*.b", "*.norm.*"]``. Each layer that has
        some of them becomes two groups.
    unfreeze : int > 0, optional
        Updates between two layers' first: the last layer is trained from the start, the one before it from update
        `unfreeze` on, and so on. Until then a layer keeps its bits. By default all are trained from the start.

    Returns
    -------
    LayerGroups
        A list of groups for ``groups=``, from the first layer to the last, with a `plot`.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range, a function returns neither an int nor a str, or `layers`
        leaves an array without a layer.

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
    Coupled and decoupled weight decay are multiplied by the factor, as they are by the rate. A group's `lr_scale` takes
    the place of the optimizer's own: where both are wanted, multiply the groups'. With `unfreeze` the factor is a
    schedule, and optimizers gather gradients of frozen layers in their state.

    References
    ----------
    Jeremy Howard and Sebastian Ruder, Universal Language Model Fine-tuning for Text Classification, 2018: a factor of
    1/2.6 from layer to layer, and gradual unfreezing. Kevin Clark, Minh-Thang Luong, Quoc V. Le and Christopher D.
    Manning, ELECTRA: Pre-training Text Encoders as Discriminators Rather Than Generators, 2020: 0.8 and 0.9. timm's
    `param_groups_layer_decay` has 0.75, also by an `lr_scale` of groups, which only its own schedulers read: with
    another schedule it does nothing. It counts layers by the model's own rules and drops weight decay of all vectors
    (here: ``no_decay=``). torch, Keras and optax have no such function.
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
    """Names by layer, from the first to the last, and how far each layer is from the last."""
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
    """Layer of a name by default: its first part, and where a list of containers is inside, the index in it too."""
    first, *rest = name.split(".")
    return f"{first}.{rest[0]}" if len(rest) > 1 and rest[0].isdecimal() else first


def _key(layers: Callable[[str], Any], name: str) -> Any:
    """What a user's function says of a name: an int or a str."""
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
    """Index of the first of `layers` that matches, for each name."""
    if not isinstance(layers, list | tuple) or not layers:
        raise TypeError(f"`layers` must be a function of a name or a list with an entry for each layer, got {layers!r}")
    keys: dict[int, int] = {}
    for index, patterns in enumerate(layers):
        for k in select(patterns, names, f"layers[{index}]"):
            keys.setdefault(k, index)
    left = [name for k, name in enumerate(names) if k not in keys]
    if left:
        raise ValueError(f"`layers` must match every parameter, got none for {left}")
    return [keys[k] for k in range(len(names))]
