"""pyfastlr.interop.keras against Keras' own optimizers, in float64, on its backends torch, jax and numpy."""

import os
import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest

import keras_checks
import keras_runs
from oracles import other_process

BACKENDS = ("torch", "jax", "numpy")
missing = [name for name in ("keras", "torch", "jax") if not find_spec(name)]
pytestmark = pytest.mark.skipif(bool(missing), reason=f"{' and '.join(missing)} not installed")

VARIANTS = {
    "SGD": {},
    "SGD momentum": {"momentum": 0.9},
    "SGD nesterov": {"momentum": 0.9, "nesterov": True},
    "RMSprop": {},
    "RMSprop centered": {"centered": True, "momentum": 0.9},
    "Adagrad": {"initial_accumulator_value": 0.2},
    "Adadelta": {},
    "Adam": {"beta_1": 0.8, "epsilon": 1e-4},
    "Adam amsgrad": {"amsgrad": True},
    "AdamW": {},
    "AdamW amsgrad": {"amsgrad": True},
    "Adamax": {},
    "Nadam": {},
    "Lion": {},
    "Ftrl": {"l1_regularization_strength": 1e-3, "l2_shrinkage_regularization_strength": 1e-3, "beta": 0.1},
}
OPTIONS = {
    "weight_decay": {"weight_decay": 0.05},
    "clipnorm": {"clipnorm": 0.5},
    "global_clipnorm": {"global_clipnorm": 1.0},
    "clipvalue": {"clipvalue": 0.3, "weight_decay": 0.05},
    "ema": {"use_ema": True, "ema_momentum": 0.9, "ema_overwrite_frequency": 7, "loss_scale_factor": 8.0},
    "accumulated": {
        "gradient_accumulation_steps": 3,
        "clipvalue": 0.5,
        "weight_decay": 0.05,
        "learning_rate": "keras.PolynomialDecay(0.01, 150, 1e-3)",
    },
    "accumulated_ema": {"gradient_accumulation_steps": 3, "use_ema": True},
    "schedule": {"learning_rate": "keras.CosineDecay(0.01, 150, 0.1, warmup_steps=20, warmup_target=0.02)"},
}


@pytest.fixture(scope="module")
def on():
    """Processes, one for each backend."""
    executors = {name: other_process() for name in BACKENDS}
    yield lambda backend, f, *given: executors[backend].submit(f, *given).result()
    for executor in executors.values():
        executor.shutdown()


def assert_close(got, want, tolerance=1e-12):
    got, want = np.asarray(got), np.asarray(want)
    scale = 1 + np.abs(want).max(initial=0.0)
    assert np.abs(got - want).max(initial=0.0) <= tolerance * scale


# On torch all; elsewhere, those whose code differs there.
CHECKED = [("torch", option) for option in OPTIONS]
CHECKED += [("jax", x) for x in ("weight_decay", "global_clipnorm", "accumulated_ema", "schedule")]
CHECKED += [("numpy", "weight_decay")]


@pytest.mark.parametrize(("backend", "option"), CHECKED)
@pytest.mark.parametrize("variant", VARIANTS)
def test_every_step_is_keras_s(variant, option, backend, on):
    arguments = {"learning_rate": 0.01, **VARIANTS[variant], **OPTIONS[option]}
    theirs, ours = on(backend, keras_runs.both, backend, variant.split()[0], arguments)
    # Without JAX, Keras takes float64 with a Python number for float32: on torch in the clipping of a norm, on numpy
    # everywhere.
    in_float32 = backend == "numpy" or (backend == "torch" and "clipnorm" in option)
    tolerance = 1e-4 if in_float32 else 1e-12
    assert_close(ours[0], theirs[0], tolerance)
    assert ours[2] == theirs[2]
    for k, x in theirs[1].items():
        assert_close(ours[1][k], x, tolerance)
    assert not np.array_equal(ours[0][0], ours[0][-1])


@pytest.mark.parametrize("name", ["SGD", "Adam", "Nadam", "Adagrad", "Lion"])
def test_attributes_may_change_and_gradients_be_missing(name, on):
    theirs, ours = on("torch", keras_runs.changed_on_the_way, "torch", name)
    for got, want in zip(ours, theirs, strict=True):
        assert_close(got, want)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("accumulate", [None, 3])
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("S.Exponential(0.01, 0.9, steps=10)", "keras.ExponentialDecay(0.01, 10, 0.9)"),
        ("S.keras.CosineDecay(0.01, 150, 0.1)", "keras.CosineDecay(0.01, 150, 0.1)"),
    ],
)
def test_our_schedules_are_taken(ours, theirs, accumulate, backend, on):
    options = {"gradient_accumulation_steps": accumulate}
    a, b = on(
        backend, keras_runs.both, backend, "Adam", {"learning_rate": theirs, **options},
        {"learning_rate": ours, **options},
    )  # fmt: skip
    # On JAX, Keras computes its cosine in float32: the rates differ by up to 1.2e-9.
    rounded = backend == "jax" and "Cosine" in theirs
    assert_close(b[0], a[0], 1e-5 if backend == "numpy" else 1e-8 if rounded else 1e-12)


def test_float32_on_jax_is_keras_s(on):
    """Nadam's product is a float32 then, and our rule carries a float64."""
    for got, want in on("jax", keras_runs.in_float32):
        assert_close(got, want, 2e-6)


@pytest.mark.parametrize("f", keras_checks.CHECKS, ids=lambda f: f.__name__)
def test_on_torch(f, on):
    on("torch", f)


def test_unknown_backends_are_refused():
    program = (
        "import keras\nkeras.backend.backend = lambda: 'tensorflow'\n"
        "try:\n    import pyfastlr.interop.keras\nexcept ImportError as error:\n    print(error)"
    )
    environment = os.environ | {"KERAS_BACKEND": "numpy", "PYTHONPATH": os.pathsep.join(sys.path)}
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=True
    )
    assert "needs Keras' backend 'torch', 'jax' or 'numpy', got 'tensorflow'" in result.stdout


FITS = [(variant, "torch") for variant in VARIANTS] + [("Adam", "jax"), ("SGD nesterov", "jax"), ("Nadam", "jax")]


@pytest.mark.parametrize(("variant", "backend"), FITS)
def test_fit_is_keras_s(variant, backend, on):
    arguments = {"learning_rate": 0.01, "weight_decay": 0.01, **VARIANTS[variant]}
    theirs, ours = on(backend, keras_runs.fits, backend, variant.split()[0], arguments)
    assert_close(ours[0], theirs[0])
    for got, want in zip(ours[1], theirs[1], strict=True):
        assert_close(got, want)


@pytest.mark.parametrize("name", sorted({variant.split()[0] for variant in VARIANTS}))
def test_nothing_is_copied_on_torch(name, on):
    kept, views = on("torch", keras_runs.in_place, name)
    assert len(kept) == 4
    assert all(kept)
    assert all(views)
    assert len(views) == 0 if name == "SGD" else len(views) >= 4


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_run_goes_on_from_files(variant, on):
    arguments = {"learning_rate": 0.01, "weight_decay": 0.01, **VARIANTS[variant]}
    went_on, others = on("torch", keras_runs.saved_and_loaded, variant.split()[0], arguments)
    for what, weights in others.items():
        for got, want in zip(weights, went_on, strict=True):
            assert np.abs(got - want).max() <= 1e-12, what
