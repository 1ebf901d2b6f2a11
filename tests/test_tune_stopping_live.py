"""tune.EarlyStopping against the live Keras' callback on random losses, NaN among them; numbers of torch and jax."""

import json
import math
import os
import subprocess
import sys
import warnings
from importlib.util import find_spec

import numpy as np
import pytest

from pyfastlr import tune

# Keras decides in another process: there it is in float64, and its backend is chosen there.
KERAS = """
import json, sys
import keras
keras.config.set_floatx("float64")
from keras.callbacks import EarlyStopping

class Model:
    def __init__(self):
        self.stop_training, self.weights = False, None
    def get_weights(self):
        return self.weights
    def set_weights(self, weights):
        self.weights = weights

result = []
for options, losses in json.load(sys.stdin):
    callback, model = EarlyStopping("val_loss", restore_best_weights=True, **options), Model()
    callback.set_model(model)
    callback.on_train_begin()
    epoch = None
    for epoch, loss in enumerate(losses):
        model.weights = epoch
        callback.on_epoch_end(epoch, {"val_loss": loss})
        if model.stop_training:
            break
    callback.on_train_end()
    result.append([epoch, model.stop_training, callback.best_epoch, model.weights])
print(json.dumps(result))
"""


def runs():
    """Options in Keras' names, and losses: on a grid, so that there are ties, and that thresholds are met exactly."""
    rng = np.random.default_rng(5)
    for _ in range(1000):
        n = int(rng.integers(1, 40))
        losses = np.round(rng.normal(0, 2, n).cumsum() / 4) / 4 + rng.choice([0, 0.1], n)
        losses[rng.random(n) < 0.1] = np.nan
        losses[rng.random(n) < 0.03] = np.inf
        losses[rng.random(n) < 0.01] = -np.inf
        options = {
            "patience": int(rng.integers(0, 6)),
            "mode": str(rng.choice(["min", "max"])),
            "min_delta": float(rng.choice([0, 0.1, 0.25, 1])),
            "start_from_epoch": int(rng.integers(0, 4)),
        }
        start = options["start_from_epoch"]
        if start < n and not math.isfinite(losses[start]):
            losses[start] = 0.0  # the first that counts: NaN would be the best for ever in Keras
        yield options, losses.tolist()


@pytest.mark.skipif(not (find_spec("keras") and find_spec("torch")), reason="keras or torch is not installed")
def test_every_decision_is_keras_s():
    every = list(runs())
    environment = os.environ | {"KERAS_BACKEND": "torch"}
    command = [sys.executable, "-W", "ignore", "-c", KERAS]
    done = subprocess.run(command, input=json.dumps(every), capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    stops = 0
    for (options, losses), theirs in zip(every, json.loads(done.stdout.splitlines()[-1]), strict=True):
        epoch, stopped, best_epoch, weights = theirs
        params = np.zeros(1)
        stop = tune.EarlyStopping(
            options["patience"], mode=options["mode"], threshold=options["min_delta"],
            min_updates=options["start_from_epoch"], params=params,
        )  # fmt: skip
        for k, loss in enumerate(losses):
            params[0] = k
            if stop.observe(loss):
                break
        assert (k, stop.stopped) == (epoch, stopped), options
        if stop.best is not None:
            assert stop.best_index == best_epoch
            stop.restore()
            assert params[0] == weights
        stops += stopped
    assert 200 < stops < 900  # both happen


def test_numbers_of_torch_are_numbers():
    torch = pytest.importorskip("torch")
    stop = tune.EarlyStopping()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        stop.observe(torch.tensor(2.0))
        stop.observe(torch.tensor(1.5, requires_grad=True) * 1)
    assert stop.best == 1.5
    with pytest.raises(TypeError, match="got an array: Tensor of"):
        stop.observe(torch.ones(1))


def test_numbers_of_jax_are_numbers():
    jax = pytest.importorskip("jax")
    stop = tune.EarlyStopping()
    stop.observe(jax.numpy.float32(1.5))
    assert stop.best == 1.5
    with pytest.raises(TypeError, match="got an array"):
        stop.observe(jax.numpy.ones(2))
