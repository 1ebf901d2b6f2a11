"""Runs of Keras' optimizers and ours, in float64, in a process of its own for each backend of Keras."""

import importlib
import os
import re
import tempfile
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

SHAPES = ((3, 4), (5,), ())
STEPS = 200


def start(backend: str) -> Any:
    """Keras on this backend, in float64."""
    os.environ["KERAS_BACKEND"] = backend
    if backend == "jax":
        import jax

        jax.config.update("jax_enable_x64", True)
    import keras

    assert keras.backend.backend() == backend
    keras.config.set_floatx("float64")
    warnings.simplefilter("error")
    warnings.filterwarnings("ignore", "__array__ implementation")  # Keras 3.15 itself with numpy 2
    return keras


def classes(backend: str, name: str) -> tuple[Any, Any]:
    """Keras' class and ours."""
    theirs = getattr(start(backend).optimizers, name)
    return theirs, getattr(importlib.import_module("pyfastlr.interop.keras"), name)


def gradients(steps: int = STEPS) -> list[list[np.ndarray]]:
    rng = np.random.default_rng(3)
    return [[rng.normal(size=shape) * 10.0 ** rng.uniform(-3, 1) for shape in SHAPES] for _ in range(steps)]


def variables(keras: Any) -> list[Any]:
    rng = np.random.default_rng(1)
    values = [rng.choice([-1, 1], shape) * rng.uniform(1.5, 3, shape) for shape in SHAPES]
    return [keras.Variable(x, dtype="float64", name=f"v{k}") for k, x in enumerate(values)]


def apply(keras: Any, optimizer: Any, given: list[Any], g: list[Any]) -> None:
    optimizer.apply([None if x is None else keras.ops.convert_to_tensor(x, "float64") for x in g], given)


def compiled(keras: Any, optimizer: Any, params: list[Any]) -> Any:
    """A step by a compiled program, as Keras' `fit` on JAX makes one."""
    import jax

    program = jax.jit(optimizer.stateless_apply, donate_argnums=(0, 2))

    def step(g: list[np.ndarray]) -> None:
        state = [x.value for x in optimizer.variables]
        new, state = program(state, [keras.ops.convert_to_tensor(x) for x in g], [x.value for x in params])
        for x, y in zip([*params, *optimizer.variables], [*new, *state], strict=True):
            x.assign(y)

    return step


def numbers(found: Any) -> list[np.ndarray]:
    import keras

    return [np.array(keras.ops.convert_to_numpy(x.value)) for x in found]


def decoded(arguments: dict[str, Any]) -> dict[str, Any]:
    """Arguments with schedules, which are given as texts."""
    import keras

    from pyfastlr import schedules as S

    names = {"keras": keras.optimizers.schedules, "S": S}
    return {name: eval(x, {}, names) if isinstance(x, str) else x for name, x in arguments.items()}


def both(backend: str, name: str, arguments: dict[str, Any], ours: dict[str, Any] | None = None) -> Any:
    """Parameters after every step, and the state at the end, of both. `ours` are our arguments, if they differ."""
    keras = start(backend)
    found = []
    for cls, given in zip(classes(backend, name), (arguments, ours or arguments), strict=True):
        params, out = variables(keras), []
        optimizer = cls(**decoded(given))
        optimizer.build(params)
        step = compiled(keras, optimizer, params) if backend == "jax" else partial(apply, keras, optimizer, params)
        for g in gradients():
            step(g)
            out.append(np.concatenate([x.reshape(-1) for x in numbers(params)]))
        names = [x.path.partition("/")[2].rstrip("_0123456789") for x in optimizer.variables]
        found.append((np.array(out), dict(enumerate(numbers(optimizer.variables))), names))
    return found


def changed_on_the_way(backend: str, name: str) -> Any:
    """Runs in which the attributes change, and gradients are missing."""
    keras, found = start(backend), []
    for cls in classes(backend, name):
        params = variables(keras)
        optimizer = cls(learning_rate=0.01, weight_decay=0.05)
        optimizer.exclude_from_weight_decay(var_names=["v1"])
        for k, g in enumerate(gradients(60)):
            if k == 10:
                optimizer.learning_rate = 0.02
            if k == 20:
                optimizer.weight_decay = 0.1
            if k == 25 and hasattr(optimizer, "beta_1"):
                optimizer.beta_1 = 0.8
            if k == 30:
                optimizer.clipvalue = 0.5
            if k == 40:
                optimizer.learning_rate = keras.optimizers.schedules.ExponentialDecay(0.01, 5, 0.9)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # about missing gradients
                apply(keras, optimizer, params, [None if 15 <= k < 18 and i == 0 else x for i, x in enumerate(g)])
        found.append(numbers(params))
    return found


def in_float32() -> Any:
    """Parameters and product of Nadam after a run in float32, ours and Keras'."""
    keras, found = start("jax"), []
    for cls in classes("jax", "Nadam"):
        params = [keras.Variable(x.value, dtype="float32") for x in variables(keras)]
        optimizer = cls(learning_rate=0.01)
        optimizer.build(params)
        step = compiled(keras, optimizer, params)
        for g in gradients(100):
            step([x.astype(np.float32) for x in g])
        found.append([*numbers(params), *numbers([optimizer._u_product])])
    return list(zip(*found, strict=True))


# --- Whole models -----------------------------------------------------------------------------------------------------


def model(keras: Any, optimizer: Any) -> Any:
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Input((4,)), keras.layers.Dense(8, activation="tanh"), keras.layers.Dense(1)]
    found = keras.Sequential(layers)
    found.compile(optimizer, "mse")
    return found


def data() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(5)
    x = rng.normal(size=(64, 4))
    return x, np.sin(x.sum(axis=1, keepdims=True))


def fits(backend: str, name: str, arguments: dict[str, Any]) -> Any:
    """Losses and weights of both, by `fit`."""
    keras, found = start(backend), []
    for cls in classes(backend, name):
        net = model(keras, cls(**decoded(arguments)))
        history = net.fit(*data(), epochs=5, batch_size=16, shuffle=False, verbose=0)
        found.append((np.array(history.history["loss"]), net.get_weights()))
    return found


def in_place(name: str) -> tuple[list[bool], list[bool]]:
    """Whether the variables kept their memory, and whether Keras' state variables are views of ours."""
    keras = start("torch")
    net = model(keras, classes("torch", name)[1]())
    before = [x.value.data_ptr() for x in net.trainable_variables]
    net.fit(*data(), epochs=2, verbose=0)
    (binding,) = net.optimizer._noted.bindings.values()
    kept = [x.value.data_ptr() == place for x, place in zip(net.trainable_variables, before, strict=True)]
    views = [
        np.shares_memory(x._value.numpy(), ours)
        for theirs, arrays, _ in binding.slots
        for x, ours in zip(theirs, arrays, strict=True)
    ]
    return kept, views


def saved_and_loaded(name: str, arguments: dict[str, Any]) -> Any:
    """Weights of a run that goes on, and of those that a file of the model, and of weights, continue.

    The weights go from Keras' class to ours and back.
    """
    keras = start("torch")
    theirs, ours = classes("torch", name)
    x, y = data()

    def train(net: Any) -> list[np.ndarray]:
        net.fit(x, y, epochs=3, shuffle=False, verbose=0)
        return net.get_weights()

    def continued(cls: Any, path: Path) -> list[np.ndarray]:
        net = model(keras, cls(**arguments))
        net.optimizer.build(net.trainable_variables)
        net.load_weights(path)
        return train(net)

    with tempfile.TemporaryDirectory() as folder:
        whole = {cls: Path(folder) / f"{cls.__module__}.keras" for cls in (theirs, ours)}
        weights = {cls: Path(folder) / f"{cls.__module__}.weights.h5" for cls in (theirs, ours)}
        went_on = {}
        for cls in (theirs, ours):
            net = model(keras, cls(**arguments))
            train(net)
            net.save(whole[cls])
            net.save_weights(weights[cls])
            went_on[cls] = train(net)
        loaded = keras.saving.load_model(whole[ours])
        assert type(loaded.optimizer) is ours
        return went_on[ours], {
            "Keras": went_on[theirs],
            "the model": train(loaded),
            "the weights": continued(ours, weights[ours]),
            "Keras' weights": continued(ours, weights[theirs]),
            "our weights in Keras": continued(theirs, weights[ours]),
        }


# --- Details, on torch ------------------------------------------------------------------------------------------------


def refused(words: str, f: Any, *given: Any, **named: Any) -> None:
    """Check that a call raises an error with these words."""
    with pytest.raises((TypeError, ValueError), match=re.escape(words)):
        f(*given, **named)


def signatures_and_configs() -> None:
    keras = start("torch")
    import inspect

    from pyfastlr.interop import keras as fk

    for name in fk.__all__:
        if name != "Schedule":
            theirs, ours = classes("torch", name)
            assert inspect.signature(ours) == inspect.signature(theirs)
            assert issubclass(ours, theirs)
            config = ours(name="x").get_config()
            assert config == theirs(name="x").get_config()
            again = keras.optimizers.deserialize(keras.optimizers.serialize(ours(learning_rate=0.5)))
            assert type(again) is ours
            assert again.get_config()["learning_rate"] == 0.5


def our_schedules_are_saved() -> None:
    keras = start("torch")
    from pyfastlr import schedules as S
    from pyfastlr.interop.keras import Adam, Schedule

    optimizer = Adam(S.Cosine(0.1, steps=10).warmup(3))
    again = Adam.from_config(optimizer.get_config())
    assert isinstance(again._learning_rate, Schedule)
    assert again._learning_rate.schedule == S.Cosine(0.1, steps=10).warmup(3)
    with tempfile.TemporaryDirectory() as folder:
        net = model(keras, optimizer)
        net.fit(*data(), epochs=1, verbose=0)
        net.save(Path(folder) / "net.keras")
        loaded = keras.saving.load_model(Path(folder) / "net.keras")
    assert float(loaded.optimizer.learning_rate) == float(net.optimizer.learning_rate) != 0.1
    refused("without state", Adam, S.Plateau(0.1))
    changed = Adam(0.1)
    changed.learning_rate = S.Constant(0.5)
    assert changed.learning_rate == 0.5


def what_cannot_be_is_refused_and_changes_nothing() -> None:
    keras = start("torch")
    import torch

    from pyfastlr.interop.keras import SGD, Adam

    mixed = [keras.Variable([1.0], dtype="float64"), keras.Variable([1.0], dtype="float32")]
    refused("must all be float32, or all float64, got float32 and float64", Adam().build, mixed)
    refused("got float16", Adam().build, [keras.Variable([1.0], dtype="float16")])
    x = keras.Variable(np.ones((2, 3)), dtype="float64")
    x.value.data = x.value.data.t()
    refused("must be contiguous and on the CPU", Adam().apply, [torch.ones(3, 2)], [x])
    p = [keras.Variable([1.0, 2.0], dtype="float64")]
    optimizer = SGD(0.1, momentum=0.9)
    apply(keras, optimizer, p, [np.ones(2)])
    before = numbers([*p, *optimizer.variables])
    optimizer.nesterov = True
    refused("must keep the arguments that it was built with", apply, keras, optimizer, p, [np.ones(2)])
    optimizer.nesterov = False
    for name, value, words in [("momentum", -1.0, "`momentum`"), ("weight_decay", -1.0, "`weight_decay`")]:
        kept = getattr(optimizer, name)
        setattr(optimizer, name, value)
        refused(words, apply, keras, optimizer, p, [np.ones(2)])
        setattr(optimizer, name, kept)
    optimizer.learning_rate = -1.0
    refused("`lr`", apply, keras, optimizer, p, [np.ones(2)])
    optimizer.learning_rate = 0.1
    refused("grads", optimizer.apply, [torch.ones(3, dtype=torch.float64)], p)
    for got, want in zip(numbers([*p, *optimizer.variables]), before, strict=True):
        assert np.array_equal(got, want)


def memory_may_be_swapped_and_graphs_know_of_updates() -> None:
    keras = start("torch")
    found = []
    for cls in classes("torch", "Adam"):
        p = [keras.Variable([1.0, 2.0], dtype="float64")]
        optimizer = cls(0.1)
        apply(keras, optimizer, p, [np.ones(2)])
        p[0].value.data = p[0].value.data.clone() * 2
        apply(keras, optimizer, p, [np.full(2, -3.0)])
        version = p[0].value._version
        loss = (p[0].value ** 2).sum()
        apply(keras, optimizer, p, [np.ones(2)])
        assert p[0].value._version > version
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            loss.backward()
        found.append(numbers(p)[0])
    assert np.abs(found[0] - found[1]).max() <= 1e-14


def stateless_calls_change_no_variable() -> None:
    keras = start("torch")
    found = []
    for cls in classes("torch", "SGD"):
        p = variables(keras)
        optimizer = cls(0.1, momentum=0.9, weight_decay=0.1)
        optimizer.build(p)
        apply(keras, optimizer, p, gradients(1)[0])
        before = numbers([*p, *optimizer.variables])
        values = [x.value.detach().clone() for x in p]
        state = [x.value.detach().clone() for x in optimizer.variables]
        given = [keras.ops.convert_to_tensor(x) for x in gradients(2)[1]]
        new, state = optimizer.stateless_apply(state, given, values)
        for got, want in zip(numbers([*p, *optimizer.variables]), before, strict=True):
            assert np.array_equal(got, want)
        found.append([x.detach().numpy() for x in (*new, *state)])
    for a, b in zip(*found, strict=True):
        assert np.abs(a - b).max() <= 1e-13


def wrapped_by_other_optimizers() -> None:
    keras = start("torch")
    found = []
    for cls in classes("torch", "Adam"):
        p, optimizer = variables(keras), keras.optimizers.LossScaleOptimizer(cls(0.1), initial_scale=8.0)
        for k, g in enumerate(gradients(10)):
            if k == 5:
                g[0] = g[0] * np.inf
            with np.errstate(invalid="ignore"):
                apply(keras, optimizer, p, g)
        found.append(numbers(p))
    for a, b in zip(*found, strict=True):
        assert np.abs(a - b).max() <= 1e-12


def one_variable_by_update_step() -> None:
    keras = start("torch")
    found = []
    for cls in classes("torch", "AdamW"):
        p, optimizer = variables(keras), cls(0.1, clipnorm=0.1)
        optimizer.build(p)
        optimizer.update_step(keras.ops.convert_to_tensor(gradients(1)[0][1]), p[1], 0.25)
        found.append(numbers([*p, *optimizer.variables]))
    for a, b in zip(*found, strict=True):
        assert np.abs(a - b).max() <= 1e-14


def excluded_after_the_first_update() -> None:
    keras = start("torch")
    found = []
    for cls in classes("torch", "AdamW"):
        p, optimizer = variables(keras), cls(0.1, weight_decay=0.5)
        for k, g in enumerate(gradients(6)):
            if k == 3:
                optimizer.exclude_from_weight_decay(var_list=[p[0]])
            apply(keras, optimizer, p, g)
        found.append(numbers(p))
    for a, b in zip(*found, strict=True):
        assert np.abs(a - b).max() <= 1e-12


def mixed_precision_fits() -> None:
    keras = start("torch")
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        found = []
        for cls in classes("torch", "Adam"):
            net = model(keras, cls(0.01))
            net.fit(*data(), epochs=2, shuffle=False, verbose=0)
            assert net.trainable_variables[0].dtype == "float32"
            found.append(net.get_weights())
        for a, b in zip(*found, strict=True):
            assert np.abs(a - b).max() <= 1e-3
    finally:
        keras.config.set_dtype_policy("float64")


CHECKS = [
    signatures_and_configs, our_schedules_are_saved, what_cannot_be_is_refused_and_changes_nothing,
    memory_may_be_swapped_and_graphs_know_of_updates, stateless_calls_change_no_variable, wrapped_by_other_optimizers,
    one_variable_by_update_step, excluded_after_the_first_update, mixed_precision_fits,
]  # fmt: skip
