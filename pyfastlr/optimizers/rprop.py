"""Rprop."""

from typing import final

from pyfastlr.engines.hyper import ABOVE_ONE, ABOVE_ZERO_BELOW_ONE, AT_LEAST_ZERO

from .base import Optimizer
from .fields import Pair, StartNumber


@final
class Rprop(
    Optimizer,
    rules={"rprop": {}},
    conventions={
        "torch": {
            "lr": 1e-2,
            "etas": (0.5, 1.2),
            "step_sizes": (1e-6, 50.0),
            "weight_decay": 0.0,
            "decay": "coupled",
        },
        "optax": {
            "lr": None,
            "etas": (0.5, 1.2),
            "step_sizes": (1e-6, 50.0),
            "weight_decay": 0.0,
            "decay": "coupled",
        },
    },
    peers={"torch": "Rprop", "optax": "rprop"},
    decays=("coupled", "independent"),
    demo_lr="it needs gradients over all data, and the demo trains with mini-batches; it takes no schedule either",
    formulas={
        "": {
            "torch": "p -= sign(g) s; s times 1.2 if g keeps its sign; s times 0.5 and no move if it changes",
            "optax": "the same, but each move is made one update later, so the first update moves nothing",
        }
    },
):
    r"""Sign of the gradient times a step size per element, which grows until the gradient changes sign.

    .. math::
        s_t &= \begin{cases}
            \min(\max(\eta^+ s_{t-1}, s_{\min}), s_{\max}) & g_t\, g_{t-1} > 0 \\
            \min(\max(\eta^- s_{t-1}, s_{\min}), s_{\max}) \text{ and then } g_t := 0 & g_t\, g_{t-1} < 0 \\
            s_{t-1} & \text{else} \end{cases} \\
        p_t &= p_{t-1} - \mathrm{sign}(g_t)\, s_t, \qquad \mathrm{sign}(0) = 0

    Rprop is meant for gradients over all data. The signs of mini-batch gradients are too noisy.

    Parameters
    ----------
    lr : float >= 0, default 1e-2
        :math:`s_0`, the initial step size. Each group may have its own. It is not used again, so it cannot be a
        schedule or be changed. `lr_scale` multiplies the moves.
    etas : pair of float, 0 < etas[0] < 1 < etas[1], Schedule or callable, default (0.5, 1.2)
        :math:`\eta^-` and :math:`\eta^+`.
    step_sizes : pair of float >= 0, Schedule or callable, default (1e-6, 50)
        :math:`s_{\min}` and :math:`s_{\max}`. If the first is larger, the second is used.
    weight_decay : float >= 0, Schedule or callable, default 0 (coupled)
        "decoupled" is not supported, because it would need a rate.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> import numpy as np, pyfastlr as flr
    >>> p = np.array([1.0, 2.0])
    >>> opt = flr.Rprop(p, lr=0.1)
    >>> for g in ([5.0, -1e-9], [5.0, 1.0], [5.0, 1.0]):
    ...     opt.step(np.array(g))
    >>> p.round(6), opt.state["step_size"].round(6)
    (array([0.636, 2.05 ]), array([0.144, 0.05 ]))

    Notes
    -----
    State: prev, step_size. Riedmiller and Braun, "A direct adaptive method for faster backpropagation learning: the
    RPROP algorithm", 1993. Same as torch. optax stores the move in prev and makes it in the next update, so its first
    update moves nothing; it limits a step size only when that changes. Both multiply a gradient by the previous one, so
    the product of two tiny gradients is zero. Neither has weight decay. Keras has no Rprop.
    """

    __slots__ = ()

    lr: StartNumber = StartNumber(
        kw_only=False, why="it is the initial step size and is not used again; build a new optimizer"
    )
    etas: Pair = Pair(
        default=None,
        fields=("eta_minus", "eta_plus"),
        allowed=(ABOVE_ZERO_BELOW_ONE, ABOVE_ONE),
        kind="pair of float, 0 < etas[0] < 1 < etas[1], Schedule or callable",
    )
    step_sizes: Pair = Pair(default=None, fields=("step_size_min", "step_size_max"), allowed=AT_LEAST_ZERO)
