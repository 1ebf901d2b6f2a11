"""Runs of Keras' optimizers and ours, in float64, in a process of its own for each backend of Keras."""

import importlib
import os
import tempfile
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

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
