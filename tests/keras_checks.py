"""Details of pyfastlr.interop.keras on torch, checked in a process of its own."""

import re
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from keras_runs import apply, classes, data, gradients, model, numbers, start, variables


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


def compiled_steps_are_the_same() -> None:
    keras = start("torch")
    import torch

    found = []
    for is_compiled in (False, True):
        p, optimizer = variables(keras), classes("torch", "Adam")[1](0.1)

        def step(g: list[Any], optimizer: Any = optimizer, p: list[Any] = p) -> None:
            with torch.no_grad():
                optimizer.apply(g, p)

        run = torch.compile(step, backend="eager") if is_compiled else step
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's, about what it does not compile
            for g in gradients(5):
                run([torch.from_numpy(np.array(x)) for x in g])
        found.append(numbers([*p, *optimizer.variables]))
    for a, b in zip(*found, strict=True):
        assert np.array_equal(a, b)


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
    compiled_steps_are_the_same,
    signatures_and_configs, our_schedules_are_saved, what_cannot_be_is_refused_and_changes_nothing,
    memory_may_be_swapped_and_graphs_know_of_updates, stateless_calls_change_no_variable, wrapped_by_other_optimizers,
    one_variable_by_update_step, excluded_after_the_first_update, mixed_precision_fits,
]  # fmt: skip
