"""Float64 runs of the live optax and Keras with their clipping, averaging, accumulation and skipping.

Each function returns the parameters after every call, and the averages, as float64[calls, n].
"""

from typing import Any

import numpy as np

from cases import Case
from oracles import jax_in_float64, keras_in_float64

CUTS, N = (5, 12), 13  # tensors of 5, 7 and 1 elements


def problem(calls: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Parameters away from zero, and a gradient for each call: float64[n] and float64[calls, n]."""
    rng = np.random.default_rng(seed)
    g = rng.choice([-1.0, 1.0], (calls, N)) * 10.0 ** rng.uniform(-4, 1, (calls, N))
    return rng.choice([-1.0, 1.0], N) * rng.uniform(1.5, 3.0, N), g


def parts(x: np.ndarray) -> list[np.ndarray]:
    """Tensors of the problem."""
    return [part.copy() for part in np.split(x, CUTS)]


def assert_close(got: np.ndarray, want: np.ndarray, start: np.ndarray) -> None:
    """Agree to 1e-12 of the distance from the start, and the rounding of as many sums as there are calls."""
    distance = np.abs(want - start).max(axis=0)
    rounding = 2 * len(want) * np.spacing(np.abs(np.concatenate([want, start[None]])).max(axis=0))
    worst = (np.abs(got - want).max(axis=0) / (1e-12 * distance + rounding)).max()
    assert worst <= 1, f"{worst:.3g} of what is allowed"


def optax_run(case: Case, options: dict[str, Any], start: np.ndarray, g: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Run optax with the transformations that stand for these options."""
    jax = jax_in_float64()
    import optax

    chain = []
    if "clip_value" in options:
        chain.append(optax.clip(options["clip_value"]))
    if "clip_norm" in options:
        chain.append(optax.clip_by_global_norm(options["clip_norm"]))
    undecayed = {"weight_decay": 0.0} if case.cls in ("AdamW", "Lion") else {}
    transform = optax.chain(*chain, case.live(case.lr, **undecayed))
    if "accumulate" in options:
        # In float32 by default.
        transform = optax.MultiSteps(transform, options["accumulate"], accumulator_dtype=jax.numpy.float64)
    if options.get("nonfinite") == "skip":
        transform = optax.apply_if_finite(transform, 10**6)

    @jax.jit
    def call(g, state, p):
        change, state = transform.update(g, state, p)
        return optax.apply_updates(p, change), state

    p = parts(start)
    state, average, out, averages = transform.init(p), None, [], []
    for row in g:
        p, state = call(parts(row), state, p)
        d = options.get("ema_decay", 0.0)
        average = p if average is None else optax.incremental_update(p, average, 1 - d)
        out.append(np.concatenate(p))
        averages.append(np.concatenate(average))
    return np.array(out), np.array(averages)


KERAS = {
    "clip_norm": "global_clipnorm",
    "clip_norm_each": "clipnorm",
    "clip_value": "clipvalue",
    "ema_decay": "ema_momentum",
    "accumulate": "gradient_accumulation_steps",
    "overwrite": "ema_overwrite_frequency",  # ours is to copy `opt.ema` to the parameters
}


def keras_run(case: Case, options: dict[str, Any], start: np.ndarray, g: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Run Keras with the arguments that stand for these options."""
    keras = keras_in_float64()
    theirs = {KERAS[name]: x for name, x in options.items()}
    optimizer = case.live(case.lr, weight_decay=0.0, use_ema="ema_decay" in options, **theirs)
    variables = [keras.Variable(x) for x in parts(start)]
    out, averages = [], []
    for row in g:
        optimizer.apply([keras.ops.convert_to_tensor(x) for x in parts(row)], variables)
        out.append(np.concatenate([np.asarray(x.value) for x in variables]))
        if "ema_decay" in options:
            averages.append(np.concatenate([np.asarray(x.value) for x in optimizer._model_variables_moving_average]))
    return np.array(out), np.array(averages or out)


def our_run(case: Case, options: dict[str, Any], start: np.ndarray, g: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Run pyfastlr with these options. With "overwrite", each such update ends with the average as the parameters."""
    p, out, averages = parts(start), [], []
    opt = case.make(p, **{name: x for name, x in options.items() if name != "overwrite"})
    for row in g:
        opt.step(parts(row))
        if "overwrite" in options and opt.steps % options["overwrite"] == 0:
            for x, average in zip(p, opt.ema, strict=True):
                x[...] = average
        out.append(np.concatenate(p))
        if "ema_decay" in options and opt.steps:
            averages.append(np.concatenate(opt.ema))
    return np.array(out), np.array(averages or out)
