"""Ground state energy of a spin chain by a variational circuit: examples/pennylane_vqe.py [--steps N].

The chain is the transverse-field Ising model of four spins, H = -sum Z_i Z_j - g sum X_i on a ring. The circuit has one
angle for all couplings and one for all fields in each layer. PennyLane simulates it and differentiates it; pyfastlr's
optimizer has PennyLane's interface, and takes any optimizer and schedule of pyfastlr.
"""

import argparse
import sys

import numpy

import pyfastlr as flr
from pyfastlr import schedules as S

try:
    import pennylane as qml
    from pennylane import numpy as np
except ModuleNotFoundError:
    print('this example needs PennyLane: pip install "pyfastlr[interop]"', file=sys.stderr)
    raise SystemExit(2) from None

from pyfastlr.interop.pennylane import PyfastlrOptimizer

SPINS, LAYERS, FIELD = 4, 3, 1.0
RING = [(i, (i + 1) % SPINS) for i in range(SPINS)]


def hamiltonian():
    """Return H of the chain."""
    couplings = [-qml.Z(i) @ qml.Z(j) for i, j in RING]
    return qml.sum(*couplings, *(-FIELD * qml.X(i) for i in range(SPINS)))


@qml.qnode(qml.device("default.qubit", wires=SPINS))
def energy(angles):
    """Expectation of H after the circuit with these angles, float64[layers, 2]."""
    for i in range(SPINS):
        qml.Hadamard(i)
    for coupling, field in angles:
        for i, j in RING:
            qml.IsingZZ(coupling, [i, j])
        for i in range(SPINS):
            qml.RX(field, i)
    return qml.expval(hamiltonian())


def main():
    """Train the circuit, and compare its energy with the lowest eigenvalue."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--steps", type=int, default=60)
    steps = parser.parse_args().steps

    start = numpy.random.default_rng(0).uniform(0.1, 0.4, (LAYERS, 2))
    angles = np.array(start, requires_grad=True)
    optimizer = PyfastlrOptimizer(flr.Adam, stepsize=S.Cosine(0.1, steps=steps), betas=(0.9, 0.99))
    for step in range(steps):
        angles, value = optimizer.step_and_cost(energy, angles)
        if step % 10 == 0:
            print(f"step {step:>4}  energy {value:.6f}")

    exact = numpy.linalg.eigvalsh(qml.matrix(hamiltonian(), wire_order=range(SPINS)))[0]
    error = float(energy(angles) - exact)
    print(f"energy above the ground state's {exact:.6f}: {error:.2e} (expected: at most 1e-02)")
    return 0 if error <= 1e-2 else 1


if __name__ == "__main__":
    raise SystemExit(main())
