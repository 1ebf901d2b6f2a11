"""Optimizers for JAX: optax's names, pyfastlr's compiled steps, on the CPU.

Each function returns an object with ``init(params)``, ``update(grads, state, params)`` as in optax, and
``apply(grads, state, params) -> (params, state)``, which updates donated buffers in place. docs/jax.md is the guide.

Importing this module imports jax, and optax if it is installed. ``import pyfastlr`` does not.

Examples
--------
>>> import jax, jax.numpy as jnp
>>> import pyfastlr.interop.jax as fj
>>> optimizer = fj.adam(0.1)
>>> params = {"w": jnp.ones((2, 2)), "b": jnp.zeros(2)}
>>> @jax.jit
... def step(params, state):
...     grads = jax.grad(lambda p: jnp.sum(p["w"] ** 2) + jnp.sum(p["b"] ** 2))(params)
...     return optimizer.apply(grads, state, params)
>>> params, state = step(params, optimizer.init(params))
>>> print(params["w"][0], state.count)
[0.9 0.9] 1
"""

try:
    import jax as _jax  # noqa: F401
except ModuleNotFoundError as error:
    raise ModuleNotFoundError("pyfastlr.interop.jax needs jax: pip install jax") from error

from pyfastlr import optimizers as _classes

from .factories import factory as _factory
from .schedules import schedule as schedule
from .states import load_state as load_state
from .states import state_of as state_of
from .transformation import State as State
from .transformation import Transformation as Transformation

sgd = _factory("sgd", _classes.SGD)
rmsprop = _factory("rmsprop", _classes.RMSProp)
adagrad = _factory("adagrad", _classes.AdaGrad)
adadelta = _factory("adadelta", _classes.AdaDelta)
adam = _factory("adam", _classes.Adam)
adamw = _factory("adamw", _classes.AdamW)
amsgrad = _factory("amsgrad", _classes.AMSGrad)
nadam = _factory("nadam", _classes.NAdam)
nadamw = _factory("nadamw", _classes.NAdam, weight_decay=1e-4)
adamax = _factory("adamax", _classes.Adamax)
adamaxw = _factory("adamaxw", _classes.Adamax, weight_decay=1e-4)
radam = _factory("radam", _classes.RAdam)
lion = _factory("lion", _classes.Lion)
adabelief = _factory("adabelief", _classes.AdaBelief)
yogi = _factory("yogi", _classes.Yogi)
rprop = _factory("rprop", _classes.Rprop)
asgd = _factory("asgd", _classes.ASGD)
ftrl = _factory("ftrl", _classes.FTRL)

OPTIMIZERS = {
    function.__name__: function
    for function in (
        sgd, rmsprop, adagrad, adadelta, adam, adamw, amsgrad, nadam, nadamw, adamax, adamaxw, radam, lion, adabelief,
        yogi, rprop, asgd, ftrl,
    )
}  # fmt: skip

__all__ = [*OPTIMIZERS, "State", "Transformation", "load_state", "schedule", "state_of"]
