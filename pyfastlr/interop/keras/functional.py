"""The update on Keras' JAX backend: a pure function of values, by XLA's foreign function interface (interop.jax)."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from pyfastlr.interop import jax as fj
from pyfastlr.interop.keras_names import KEPT
from pyfastlr_kernels.rules import RULES

from .binding import Kind, Trained


class Functional:
    """An update from the variables' current values, traced or not, to new ones."""

    def __init__(self, kind: Kind, trained: Trained) -> None:
        self.kind, self.trained = kind, trained

    def step(self, gradients: Sequence[Any], rate: Any, steps: Any, numbers: Mapping[str, Any]) -> None:
        """Assign new values to the variables that have a gradient."""
        state, product, undecayed = self.trained.state, self.trained.product, set(self.trained.undecayed)
        present = [k for k, g in enumerate(gradients) if g is not None]
        variables = [self.trained.variables[k] for k in present]
        values = [v.value for v in variables]
        factory = fj.OPTIMIZERS[self.kind.cls.__name__.lower()]
        mask = [k not in undecayed for k in present]
        optimizer = factory(_value(rate), convention="keras", mask=mask, **self.kind.chosen, **numbers)
        rule = optimizer.update.__self__.settings.rule_name
        slots = {slot: (ending, sign) for block in KEPT[rule].blocks for ending, (slot, sign) in block.items()}
        moments = {
            slot: [state[ending][k].value if sign == 1.0 else -state[ending][k].value for k in present]
            for slot, (ending, sign) in slots.items()
        }
        carry = to_bits(product.value) if RULES[rule].carry else None
        before = fj.State(jnp.asarray(_value(steps), jnp.int32), carry, {name: moments[name] for name in slots})
        new, after = optimizer.apply([jnp.asarray(gradients[k], x.dtype) for k, x in zip(present, values, strict=True)],
                                     before, values)  # fmt: skip
        for v, x in zip(variables, new, strict=True):
            v.assign(x)
        for slot, (ending, sign) in slots.items():
            for k, x in zip(present, after.moments[slot], strict=True):
                state[ending][k].assign(x if sign == 1.0 else -x)
        if carry is not None:
            product.assign(from_bits(after.carry, product.value.dtype))


def _value(x: Any) -> Any:
    """Value of a variable. Numbers and arrays are values."""
    return getattr(x, "value", x)


def to_bits(x: Any) -> Any:
    """Bits of a float in [0, 1] as a float64, uint32[1, 2], also in a program without float64."""
    if x.dtype == jnp.float64:
        return jax.lax.bitcast_convert_type(x.reshape(1), jnp.uint32)
    bits = jax.lax.bitcast_convert_type(x.astype(jnp.float32), jnp.uint32)
    high = jnp.where(bits >> 23 == 0, 0, (((bits >> 23) + 896) << 20) | ((bits & 0x7FFFFF) >> 3))  # bias 1023 for 127
    low = jnp.where(bits >> 23 == 0, 0, (bits & 7) << 29)
    return jnp.stack([low, high]).astype(jnp.uint32).reshape(1, 2)


def from_bits(bits: Any, dtype: Any) -> Any:
    """Return the float in [0, 1] with these bits of a float64, rounded to a dtype. Subnormal ones become 0."""
    if dtype == jnp.float64:
        return jax.lax.bitcast_convert_type(bits, jnp.float64).reshape(())
    low, high = bits[0, 0], bits[0, 1]
    cut = (((high >> 20) - 896) << 23) | ((high & 0xFFFFF) << 3) | (low >> 29)
    rounded = cut + ((low >> 28) & 1)  # halves go up; a carry into the exponent is right
    return jax.lax.bitcast_convert_type(jnp.where(high >> 20 <= 896, 0, rounded).astype(jnp.uint32), jnp.float32)
