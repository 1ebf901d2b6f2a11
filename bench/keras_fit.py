"""Keras on torch: `fit` of an MLP, and a step of a transformer's variables, with Keras' AdamW and with ours."""

import json
import os
import subprocess
import sys
from typing import Any, NamedTuple

from pyfastlr.benchmark.report import duration

ROUNDS = 7
PROGRAM = """
import json, sys, time
import keras, numpy as np
from pyfastlr.interop import keras as fk
rounds, batches = int(sys.argv[1]), 20
rng = np.random.default_rng(0)
found, classes = {}, (fk.AdamW, keras.optimizers.AdamW)

def measure(name, makes):
    runs = [make() for make in makes]
    for run in runs:
        run()
    times = [[], []]
    for _ in range(rounds):
        for run, out in zip(runs, times):
            start = time.perf_counter()
            run()
            out.append((time.perf_counter() - start) / batches)
    found[name] = times

x, y = rng.normal(size=(64 * batches, 64)).astype("f4"), rng.integers(0, 10, 64 * batches)

def fit(cls, width):
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Dense(width, activation="relu") for _ in range(2)]
    net = keras.Sequential([keras.layers.Input((64,)), *layers, keras.layers.Dense(10)])
    net.compile(cls(1e-3), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return lambda: net.fit(x, y, batch_size=64, epochs=1, verbose=0)

def steps(cls, shapes):
    import torch
    variables = [keras.Variable(np.ones(s, "f4"), name=f"v{k}") for k, s in enumerate(shapes)]
    grads = [torch.from_numpy(rng.normal(size=s).astype("f4")) for s in shapes]
    optimizer = cls(1e-3)
    def run():
        with torch.no_grad():
            for _ in range(batches):
                optimizer.apply(grads, variables)
    return run

for width in (32, 512):
    measure(f"fit, layers of {width}, a batch", [lambda cls=cls: fit(cls, width) for cls in classes])
small = [(64,)] * 226
layer = [(64, 192), (64, 64), (64, 256), (256, 64), (64,), (64,), (256,), (192,)]
large = [(1000, 64), (64,), *20 * layer]
for name, shapes in (("226 variables of 64", small), ("162 variables, 1 M elements", large)):
    measure(f"apply, {name}", [lambda cls=cls: steps(cls, shapes) for cls in classes])
print(json.dumps(found))
"""


class Fit(NamedTuple):
    """Times of one work, in seconds, and how many times as long Keras takes."""

    work: str
    ours: float
    keras: float
    ratio: float
    ratio_of_medians: float

    def __str__(self) -> str:
        times = f"{duration(self.ours):>9}{duration(self.keras):>9}"
        return f"  {self.work:<38}{times}  {self.ratio:>5.2f}x {self.ratio_of_medians:>6.2f}x"


def against_keras(rounds: int = ROUNDS) -> list[Fit] | str:
    """Measure in a process with Keras on torch. Return why not, if that cannot be."""
    environment = os.environ | {"KERAS_BACKEND": "torch", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run([sys.executable, "-c", PROGRAM, str(rounds)], env=environment, capture_output=True, text=True)
    if done.returncode:
        return (done.stderr.strip().splitlines() or ["no message"])[-1]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return [
        Fit(work, min(ours), min(theirs), min(theirs) / min(ours), _median(theirs) / _median(ours))
        for work, (ours, theirs) in found.items()
    ]


def _median(times: list[float]) -> float:
    return sorted(times)[len(times) // 2]
