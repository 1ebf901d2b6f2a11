"""Every optimizer's fold under each convention: arithmetic of the host, once per step, group and update number.

``fold(c, t, carry) -> (h, r, carry)`` on float64 scalars: ``c`` has the hyperparameters as attributes, ``t`` is the
number of this update from 1, as a float (``b ** int`` is repeated multiplication in numba: 4e-11 off at b = .999999).
``r`` are the numbers proportional to the rate, ``h`` all others that the rule needs, ``carry`` a few numbers that are
saved with the state (NAdam's running product; for most, none). A convention is another fold, not another rule.

Sources: torch 2.13 (torch/optim), Keras 3.15 (keras/src/optimizers), optax 0.2.8 (optax/_src, optax/transforms). The
tests compare with all three, live, over thousands of updates.
"""

from math import sqrt

# --- SGD ---------------------------------------------------------------------------------------------------------


def sgd_fold(c, t, carry):
    """Plain gradient descent."""
    return (), (c.lr,), carry


# The rate is outside of the momentum buffer (torch, optax's sgd) or inside (Keras, optax's rmsprop), which is the same
# only while it is constant.


def momentum_fold(c, t, carry):
    """Momentum, the rate outside. The first gradient enters undampened, as in torch."""
    w = 1.0 if t == 1.0 else 1.0 - c.dampening
    return (c.momentum, w, 0.0, c.tiny), (c.lr, 0.0, c.lr), carry


def momentum_inside_fold(c, t, carry):
    """Momentum, the rate inside: Keras."""
    return (c.momentum, 0.0, 1.0, c.tiny), (c.lr, c.lr, 0.0), carry


# --- RMSProp: eps outside of the root or inside: both are added, one of them is zero ---------------------------------


def rmsprop_fold(c, t, carry):
    """Plain and centered RMSProp, eps outside: torch."""
    return (c.alpha, 1.0 - c.alpha, 0.0, c.eps, c.tiny), (c.lr,), carry


def rmsprop_inside_fold(c, t, carry):
    """Plain and centered RMSProp, eps inside: Keras, optax."""
    return (c.alpha, 1.0 - c.alpha, c.eps, 0.0, c.tiny), (c.lr,), carry


def rmsprop_momentum_fold(c, t, carry):
    """RMSProp with momentum, eps and the rate outside: torch."""
    return (c.alpha, 1.0 - c.alpha, 0.0, c.eps, c.momentum, 1.0, 0.0, c.tiny), (0.0, c.lr), carry


def rmsprop_momentum_inside_fold(c, t, carry):
    """RMSProp with momentum, eps and the rate inside: Keras, optax."""
    return (c.alpha, 1.0 - c.alpha, c.eps, 0.0, c.momentum, 0.0, 1.0, c.tiny), (c.lr, 0.0), carry


# --- AdaGrad, AdaDelta ---------------------------------------------------------------------------------------------


def adagrad_fold(c, t, carry):
    """AdaGrad with eps outside of the root and a decay of the rate: torch."""
    return (0.0, c.eps, c.tiny), (c.lr / (1.0 + (t - 1.0) * c.lr_decay),), carry


def adagrad_inside_fold(c, t, carry):
    """AdaGrad with eps inside of the root: Keras, optax."""
    return (c.eps, 0.0, c.tiny), (c.lr,), carry


def adadelta_fold(c, t, carry):
    """AdaDelta."""
    return (c.rho, 1.0 - c.rho, c.eps, c.tiny), (c.lr,), carry


# --- Lion ----------------------------------------------------------------------------------------------------------


def lion_fold(c, t, carry):
    """Sign of an interpolated momentum."""
    return (c.beta1, 1.0 - c.beta1, c.beta2, 1.0 - c.beta2, c.tiny), (c.lr,), carry


# --- Adam and its family -------------------------------------------------------------------------------------------


def adam_fold(c, t, carry):
    """Adam: m / c1 over sqrt(v / c2) + eps: torch, optax."""
    c1 = 1.0 - c.beta1**t
    c2 = 1.0 - c.beta2**t
    return (c.beta1, 1.0 - c.beta1, c.beta2, 1.0 - c.beta2, 1.0 / sqrt(c2), c.eps, c.tiny), (c.lr / c1,), carry


def adam_hat_fold(c, t, carry):
    """Adam with the paper's eps hat, sqrt(c2) / c1 m over sqrt(v) + eps, which is eps / sqrt(c2) above: Keras."""
    c1 = 1.0 - c.beta1**t
    root = sqrt(1.0 - c.beta2**t)
    return (c.beta1, 1.0 - c.beta1, c.beta2, 1.0 - c.beta2, 1.0 / root, c.eps / root, c.tiny), (c.lr / c1,), carry


def amsgrad_fold(c, t, carry):
    """AMSGrad, the maximum of v as it is: torch."""
    h, r, carry = adam_fold(c, t, carry)
    return (*h, 1.0), r, carry


def amsgrad_hat_fold(c, t, carry):
    """AMSGrad, the maximum of v as it is, eps hat: Keras."""
    h, r, carry = adam_hat_fold(c, t, carry)
    return (*h, 1.0), r, carry


def amsgrad_corrected_fold(c, t, carry):
    """AMSGrad, the maximum of v / c2: optax."""
    c1 = 1.0 - c.beta1**t
    c2 = 1.0 - c.beta2**t
    return (c.beta1, 1.0 - c.beta1, c.beta2, 1.0 - c.beta2, 1.0, c.eps, c.tiny, 1.0 / c2), (c.lr / c1,), carry


def rectification(beta2, t):
    """RAdam's rho, and the factor that rectifies the step where rho is above 4 (elsewhere it is not used)."""
    decayed = beta2**t
    limit = 2.0 / (1.0 - beta2) - 1.0
    rho = limit - 2.0 * t * decayed / (1.0 - decayed)
    if rho <= 4.0:
        return rho, 1.0
    return rho, sqrt((rho - 4.0) * (rho - 2.0) * limit / ((limit - 4.0) * (limit - 2.0) * rho))


def radam_fold(c, t, carry):
    """RAdam, rectified from rho > 5 on, with eps hat: torch. Until then the denominator is sqrt(v)*0 + 1."""
    rho, factor = rectification(c.beta2, t)
    step, v_scale, eps = c.lr / (1.0 - c.beta1**t), 0.0, 1.0
    if rho > 5.0:
        step, v_scale, eps = step * factor * sqrt(1.0 - c.beta2**t), 1.0, c.eps
    return (c.beta1, 1.0 - c.beta1, c.beta2, 1.0 - c.beta2, v_scale, eps, c.tiny), (step,), carry


def radam_corrected_fold(c, t, carry):
    """RAdam, rectified from rho >= 5 on, eps added after the correction: optax."""
    rho, factor = rectification(c.beta2, t)
    step, v_scale, eps = c.lr / (1.0 - c.beta1**t), 0.0, 1.0
    if rho >= 5.0:
        step, v_scale, eps = step * factor, 1.0 / sqrt(1.0 - c.beta2**t), c.eps
    return (c.beta1, 1.0 - c.beta1, c.beta2, 1.0 - c.beta2, v_scale, eps, c.tiny), (step,), carry


def nadam_scheduled(c, t, carry, psi):
    """NAdam, its weights on a schedule whose product is carried."""
    (product,) = carry
    mu = c.beta1 * (1.0 - 0.5 * 0.96 ** (t * psi))
    ahead = c.beta1 * (1.0 - 0.5 * 0.96 ** ((t + 1.0) * psi))
    product = product * mu
    c2 = 1.0 - c.beta2**t
    h = (c.beta1, 1.0 - c.beta1, c.beta2, 1.0 - c.beta2, 1.0 / sqrt(c2), c.eps, c.tiny)
    return h, (c.lr * (1.0 - mu) / (1.0 - product), c.lr * ahead / (1.0 - product * ahead)), (product,)


def nadam_fold(c, t, carry):
    """NAdam, the schedule of its weights stretched by momentum_decay: torch."""
    return nadam_scheduled(c, t, carry, c.momentum_decay)


def nadam_unstretched_fold(c, t, carry):
    """NAdam, the schedule of its weights as in the paper: Keras."""
    return nadam_scheduled(c, t, carry, 1.0)


def nadam_constant_fold(c, t, carry):
    """NAdam without a schedule of the weights: optax."""
    c1 = 1.0 - c.beta1**t
    c2 = 1.0 - c.beta2**t
    h = (c.beta1, 1.0 - c.beta1, c.beta2, 1.0 - c.beta2, 1.0 / sqrt(c2), c.eps, c.tiny)
    return h, (c.lr * (1.0 - c.beta1) / c1, c.lr * c.beta1 / (1.0 - c.beta1 ** (t + 1.0))), carry


def adamax_fold(c, t, carry):
    """Adamax, eps inside of the maximum: torch, optax."""
    return (c.beta1, 1.0 - c.beta1, c.beta2, c.eps, 0.0, c.tiny), (c.lr / (1.0 - c.beta1**t),), carry


def adamax_outside_fold(c, t, carry):
    """Adamax, eps added to the maximum: Keras."""
    return (c.beta1, 1.0 - c.beta1, c.beta2, 0.0, c.eps, c.tiny), (c.lr / (1.0 - c.beta1**t),), carry


HELPERS = (rectification, adam_fold, adam_hat_fold, nadam_scheduled)  # what folds call
