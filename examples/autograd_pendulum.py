"""Swing a pendulum up with autograd's gradients: examples/autograd_pendulum.py [--steps N].

The torque on a damped pendulum is piecewise constant in time. autograd differentiates the simulation, over a tree of
parameters: the torques, and the logarithm of the pendulum's length, which is free within limits. pyfastlr updates the
arrays in place. Where your script calls autograd.misc.optimizers.adam, change the import:

    from pyfastlr.interop.autograd import adam
"""

import argparse
import sys

import numpy

import pyfastlr as flr
from pyfastlr import schedules as S

try:
    import autograd.numpy as np
    from autograd import value_and_grad
except ModuleNotFoundError:
    print('this example needs autograd: pip install "pyfastlr[interop]"', file=sys.stderr)
    raise SystemExit(2) from None

PIECES, SUBSTEPS, DT = 20, 5, 0.03  # 3 s
GRAVITY, DAMPING = 9.81, 0.1


def simulate(params):
    """Return angle and speed at the end. The pendulum hangs at angle 0 at the start."""
    length = np.exp(params["log_length"])
    angle, speed = 0.0, 0.0
    for torque in params["torques"]:
        for _ in range(SUBSTEPS):
            speed = speed + DT * (torque - GRAVITY / length * np.sin(angle) - DAMPING * speed)
            angle = angle + DT * speed
    return angle, speed


def loss(params):
    """Distance from resting upright, and a small cost of the torques and of a length other than 1 m."""
    angle, speed = simulate(params)
    effort = np.mean(params["torques"] ** 2)
    return (1 + np.cos(angle)) + 0.05 * speed**2 + 1e-3 * effort + params["log_length"] ** 2


def main():
    """Optimize the torques, and report how far from upright the pendulum ends."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--steps", type=int, default=200)
    steps = parser.parse_args().steps

    params = {"torques": numpy.full(PIECES, 0.5), "log_length": numpy.zeros(())}
    optimizer = flr.Adam(
        params, lr=S.Cosine(0.3, steps=steps).warmup(10), groups=[{"params": "log_length", "lr": 0.01}]
    )
    gradient = value_and_grad(loss)
    for step in range(steps):
        value, grads = gradient(params)
        optimizer.step(grads)
        if step % 50 == 0:
            print(f"step {step:>4}  loss {value:.4f}")

    angle, speed = simulate(params)
    off = float(numpy.degrees(abs(numpy.arccos(-numpy.cos(angle)))))
    print(
        f"{off:.1f} degrees from upright, at {abs(float(speed)):.2f} rad/s (expected: at most 10 degrees and 1 rad/s)"
    )
    return 0 if off <= 10 and abs(speed) <= 1 else 1


if __name__ == "__main__":
    raise SystemExit(main())
