"""Fit the constants of a driven, damped spring to noisy positions: examples/physics_fit.py [--steps N] [--plot F.png].

The motion m x'' + c x' + k x + b x^3 = F cos(w t), from rest, is observed at 201 times with noise. The unknowns are
mass m, damping c, stiffness k and hardening b. The gradient of the squared error comes from sensitivities: for a
parameter p, s = dx/dp solves the equation's derivative with respect to p, so x and all s are integrated together.

The constants differ by six orders of magnitude. Adam moves every parameter by about the rate, in the parameter's units,
so no single rate suits all. An `lr_scale` array makes the rate a diagonal matrix. Adam treats each element separately,
so one optimizer runs all the fits that are compared: they are the rows of one array.
"""

import argparse

import numpy as np

import pyfastlr as flr
from pyfastlr import schedules as S

NAMES = ["mass (kg)", "damping (N s/m)", "stiffness (N/m)", "hardening (N/m^3)"]
TRUE = np.array([0.05, 0.2, 80.0, 1e5])
GUESS = np.array([0.06, 0.1, 70.0, 0.5e5])  # what a data sheet might say
FORCE, FREQUENCY = 0.5, 35.0  # N, rad/s
TIME = np.linspace(0, 1, 201)  # s
NOISE = 5e-4  # m, standard deviation; the motion's amplitude is 0.02 m


def derivative(t, z, params):
    """Return the time derivative of z, float64[2, 5, fits]: position and velocity, each with its four sensitivities."""
    m, c, k, b = params.T
    x, v = z[:, 0]
    a = (FORCE * np.cos(FREQUENCY * t) - c * v - (k + b * x**2) * x) / m
    direct = -np.stack([a, v, x, x**3]) / m
    through = -(c * z[1, 1:] + (k + 3 * b * x**2) * z[0, 1:]) / m
    return np.stack([z[1], np.concatenate([a[None], direct + through])])


def simulate(params, substeps=1):
    """Return positions, float64[201, fits], and sensitivities, float64[201, 4, fits], by the Runge-Kutta method."""
    h = TIME[1] / substeps
    z = np.zeros((2, 5, len(params)))
    positions = [z[0]]
    for n in range((len(TIME) - 1) * substeps):
        t = n * h
        k1 = derivative(t, z, params)
        k2 = derivative(t + h / 2, z + h / 2 * k1, params)
        k3 = derivative(t + h / 2, z + h / 2 * k2, params)
        k4 = derivative(t + h, z + h * k3, params)
        z = z + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        if (n + 1) % substeps == 0:
            positions.append(z[0])
    out = np.array(positions)
    return out[:, 0], out[:, 1:]


def fit(data, scales, steps):
    """Fit one row of constants per row of scales; return constants and chi^2 before each update and at the end."""
    params = np.tile(GUESS, (len(scales), 1))
    optimizer = flr.Adam(params, lr=S.Cosine(0.05, steps), betas=(0.9, 0.9), lr_scale=scales)
    path, chi2 = [], []
    for step in range(steps + 1):
        x, s = simulate(params)
        residual = (x - data[:, None]) / NOISE
        path.append(params.copy())
        chi2.append((residual**2).sum(axis=0))
        if step < steps:
            optimizer.step(np.einsum("tf,tpf->fp", residual, s, order="C") / (NOISE * len(data)))
    return np.array(path), np.array(chi2)


def plot(file, data, path, chi2, sigma):
    """Draw the data with the guessed and the fitted motion, chi^2 of all fits, and the deviations of the constants."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 6.5), dpi=72, layout="constrained")
    axes = figure.subplot_mosaic("mm;ed")
    guessed, fitted = simulate(path[[0, -1], 0])[0].T
    axes["m"].plot(TIME, 1e3 * data, ".", color="0.6", label="data")
    axes["m"].plot(TIME, 1e3 * guessed, color="#d55e00", linestyle="--", label="guess")
    axes["m"].plot(TIME, 1e3 * fitted, color="#0072b2", label="fit")
    axes["m"].set(xlabel="time (s)", ylabel="position (mm)", xlim=(0, 1), title="A driven spring that hardens")
    axes["e"].plot(chi2[:, 0] / len(data), label="each constant's guess")
    for k, scale in enumerate(GUESS, 1):
        # Two pairs of curves nearly coincide: draw the first of each wide and the second dashed.
        style = {"linestyle": "--"} if k % 2 == 0 else {"linewidth": 4, "alpha": 0.5}
        axes["e"].plot(chi2[:, k] / len(data), label=f"{scale:g} for all", **style)
    axes["e"].set(xlabel="update", ylabel=r"$\chi^2$ / number of data", yscale="log")
    axes["e"].set(title="error, for five choices of lr_scale")
    for number, name in enumerate(NAMES):
        (line,) = axes["d"].plot(100 * (path[:, 0, number] / TRUE[number] - 1), label=name)
        axes["d"].axhspan(*(100 * sigma[number] / TRUE[number] * np.array([-1, 1])), color=line.get_color(), alpha=0.15)
    axes["d"].set(xlabel="update", ylabel="deviation from the truth (%)", title="constants (band: standard error)")
    for ax in axes.values():
        ax.legend(frameon=False)
        ax.grid(alpha=0.25)
    axes["e"].legend(frameon=False, loc="center right", bbox_to_anchor=(1, 0.67), fontsize=9, labelspacing=0.2)
    figure.savefig(file)


def main():
    """Make the data, fit them with five choices of lr_scale, and check the constants against their standard errors."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=200, help="updates (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the noise (default: %(default)s)")
    parser.add_argument("--plot", help="file for a picture")
    options = parser.parse_args()

    noise = np.random.default_rng(options.seed).normal(0, NOISE, len(TIME))
    data = simulate(TRUE[None], substeps=10)[0][:, 0] + noise
    scales = np.vstack([GUESS, np.repeat(GUESS[:, None], 4, axis=1)])  # one per constant, then one for all
    path, chi2 = fit(data, scales, options.steps)

    fitted = path[-1, 0]
    s = simulate(fitted[None])[1][:, :, 0] / NOISE
    sigma = np.sqrt(np.diag(np.linalg.inv(s.T @ s)))  # of the least-squares fit, to first order
    if options.plot:
        plot(options.plot, data, path, chi2, sigma)
    for name, value, error, true in zip(NAMES, fitted, sigma, TRUE, strict=True):
        print(f"{name:18} {value:10.5g} +- {error:<7.2g} (true: {true:g})")
    for scale, value in zip(GUESS, chi2[-1, 1:], strict=True):
        print(f"lr_scale = {scale:g} for all: chi^2 = {value:.0f}")

    spread = np.sqrt(2 * (len(data) - 4))  # of chi^2, whose mean is the number of data minus that of constants
    worst = max(np.abs((fitted - TRUE) / sigma).max(), abs(chi2[-1, 0] - len(data) + 4) / spread)
    ratio = chi2[-1, 1:].min() / chi2[-1, 0]
    print(f"lr_scale = each constant's guess: chi^2 = {chi2[-1, 0]:.0f} for {len(data)} data")
    print(f"one scale for all: chi^2 is at least {ratio:.1f} times as large (expected: at least 5)")
    print(f"largest deviation of a constant or chi^2: {worst:.2f} standard errors (expected: at most 3)")
    if not (worst <= 3 and ratio >= 5):
        raise SystemExit("the result is not as expected")


if __name__ == "__main__":
    main()
