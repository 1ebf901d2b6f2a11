"""`S.Plateau` against torch's, Keras' and optax's own, live: 1,000 random sequences of losses each, NaN among them."""

import math

import numpy as np
import pytest

from pyfastlr import schedules as S

SEQUENCES = 1000


def draws(seed):
    """Arguments and losses of a run: falls, plateaus, noise, repeated values, NaN and infinities."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 60))
    losses = np.exp(-rng.uniform(0, 0.3) * np.arange(n)) + rng.choice([0.0, 1e-5, 0.1]) * rng.normal(size=n)
    if rng.random() < 0.3:
        losses = np.round(losses, 1)
    if rng.random() < 0.3:
        losses -= 1.0  # negative ones too
    for special in (math.nan, math.inf, -math.inf):
        if rng.random() < 0.2:
            losses[rng.integers(n)] = special
    return rng, {
        "factor": float(rng.choice([0.1, 0.5, 0.9])),
        "patience": int(rng.integers(0, 8)),
        "threshold": float(rng.choice([1e-4, 1e-2, 0.3])),
        "cooldown": int(rng.integers(0, 5)),
    }, float(rng.choice([0.1, 3e-3, 1e-6])), losses.tolist()  # fmt: skip


def rates(plateau, losses):
    found = []
    for loss in losses:
        plateau.observe(loss)
        found.append(plateau(0))
    return found


def test_torch():
    torch = pytest.importorskip("torch")
    reductions = 0
    for seed in range(SEQUENCES):
        rng, arguments, lr, losses = draws(seed)
        arguments |= {
            "mode": str(rng.choice(["min", "max"])), "threshold_mode": str(rng.choice(["rel", "abs"])),
            "min_lr": float(rng.choice([0.0, 1e-3])),
        }  # fmt: skip
        optimizer = torch.optim.SGD([torch.zeros(1)], lr=lr)
        theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, **arguments)
        expected = []
        for loss in losses:
            theirs.step(loss)
            expected.append(optimizer.param_groups[0]["lr"])
        ours = S.Plateau(lr, **arguments)
        assert rates(ours, losses) == expected, (seed, arguments)
        reductions += ours.reductions
    assert reductions > SEQUENCES


def test_keras(monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "numpy")  # compares in float64
    keras = pytest.importorskip("keras")
    if keras.backend.backend() != "numpy":
        pytest.skip("keras was imported with another backend")
    keras.config.set_floatx("float64")
    reductions = 0
    try:
        for seed in range(SEQUENCES):
            rng, arguments, lr, losses = draws(seed)
            mode, low = str(rng.choice(["min", "max"])), float(rng.choice([0.0, 1e-3]))
            theirs = keras.callbacks.ReduceLROnPlateau(
                "loss", arguments["factor"], arguments["patience"], 0, mode, arguments["threshold"],
                arguments["cooldown"], low,
            )  # fmt: skip

            class Optimizer:
                learning_rate = lr

            class Model:
                optimizer = Optimizer()

            theirs.set_model(Model())
            theirs.on_train_begin()
            expected = []
            for epoch, loss in enumerate(losses):
                theirs.on_epoch_end(epoch, {"loss": loss})
                expected.append(Model.optimizer.learning_rate)
            ours = S.Plateau(lr, **arguments, mode=mode, min_lr=low, convention="keras")
            assert rates(ours, losses) == expected, (seed, arguments, mode, low)
            reductions += ours.reductions
    finally:
        keras.config.set_floatx("float32")
    assert reductions > SEQUENCES


def test_optax():
    jax = pytest.importorskip("jax")
    optax = pytest.importorskip("optax")
    import jax.numpy as jnp
    from optax import contrib

    with jax.enable_x64(True) if hasattr(jax, "enable_x64") else jax.experimental.enable_x64():
        compiled = {}
        reductions = 0
        for seed in range(SEQUENCES):
            rng, _, lr, losses = draws(seed)
            k = int(rng.integers(32))  # kinds of arguments: each is compiled
            kind = {
                "factor": (0.1, 0.5)[k % 2], "patience": (0, 1, 4, 7)[k % 4], "cooldown": (0, 2)[k // 4 % 2],
                "accumulation_size": (1, 3)[k // 8 % 2], "min_scale": (0.0, 0.05)[k // 8 % 2],
                **({"rtol": 1e-2, "atol": 0.0} if k < 16 else {"rtol": 0.0, "atol": 0.05}),
            }  # fmt: skip
            key = tuple(kind.items())
            if key not in compiled:
                transform = contrib.reduce_on_plateau(**kind)

                def run(values, transform=transform):
                    def one(state, value):
                        updates, state = transform.update(jnp.float64(1.0), state, value=value)
                        return state, updates

                    return jax.lax.scan(one, transform.init(jnp.float64(0.0)), values)[1]

                compiled[key] = jax.jit(run)
            padded = np.full(64, 0.0)
            padded[: len(losses)] = losses
            scales = np.asarray(compiled[key](jnp.asarray(padded)))[: len(losses)]
            ours = S.Plateau(
                lr, factor=kind["factor"], patience=kind["patience"], cooldown=kind["cooldown"],
                threshold=kind["rtol"] or kind["atol"], threshold_mode="rel" if kind["rtol"] else "abs",
                average=kind["accumulation_size"], min_lr=kind["min_scale"], convention="optax",
            )  # fmt: skip
            assert rates(ours, losses) == [float(scale) * lr for scale in scales], (seed, kind)
            reductions += ours.reductions
    assert optax
    assert reductions > SEQUENCES / 2
