"""Keras' backend, which is chosen when keras is imported."""

import keras

BACKENDS = ("torch", "jax", "numpy")
BACKEND = keras.backend.backend()

if BACKEND not in BACKENDS:
    raise ImportError(
        f"pyfastlr.interop.keras needs Keras' backend 'torch', 'jax' or 'numpy', got {BACKEND!r}: set the environment "
        f"variable KERAS_BACKEND before the first import of keras"
    )
