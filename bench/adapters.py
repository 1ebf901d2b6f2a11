"""The adapters for scikit-learn and thinc against those libraries' own optimizers."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from pyfastlr.benchmark.interleave import Run, Times, interleave
from pyfastlr.benchmark.report import duration, times

HEAD = f"  {'':<59}{'theirs':>9}{'median':>10}{'ours':>10}{'median':>10}{'ratio':>9}{'medians':>9}  "


class Contest(NamedTuple):
    """Times of the same work with the library's own optimizer and with ours."""

    name: str
    theirs: Times
    ours: Times

    @property
    def ratios(self) -> tuple[float, float]:
        """Their time divided by ours: of the minima, of the medians."""
        return self.theirs.minimum / self.ours.minimum, self.theirs.median / self.ours.median

    def __str__(self) -> str:
        disturbed = self.theirs.disturbed or self.ours.disturbed
        verdict = "disturbed" if disturbed else "ahead" if min(self.ratios) > 1.0 else "NOT AHEAD"
        figures = (f"{duration(y):>10}" for x in (self.theirs, self.ours) for y in (x.minimum, x.median))
        ratios = (f"{times(x):>9}" for x in self.ratios)
        return f"  {self.name:<58}{''.join(figures)}{''.join(ratios)}  {verdict}"

    def as_json(self) -> dict[str, Any]:
        """Return all figures."""
        found: dict[str, Any] = {"name": self.name, "ratio": self.ratios[0], "ratio_of_medians": self.ratios[1]}
        for who, x in (("theirs", self.theirs), ("ours", self.ours)):
            found[who] = {"minimum": x.minimum, "median": x.median, "spread": x.spread, "samples": len(x.samples)}
        return found


def _contest(name: str, theirs: Run, ours: Run, seconds: float) -> Contest:
    found = interleave({"theirs": theirs, "ours": ours}, seconds, 1)
    return Contest(name, found["theirs"], found["ours"])


# --- scikit-learn: a whole fit ----------------------------------------------------------------------------------------

FITS: Mapping[str, tuple[tuple[int, int, int], dict[str, Any]]] = {  # images, pixels, classes; arguments
    "fit: 150 x 4, (16,), 100 epochs": ((150, 4, 3), {"hidden_layer_sizes": (16,), "max_iter": 100}),
    "fit: 1,797 x 64, (100,), 10 epochs": ((1797, 64, 10), {"hidden_layer_sizes": (100,), "max_iter": 10}),
    "fit: 1,797 x 64, (100,), batches of 32": (
        (1797, 64, 10),
        {"hidden_layer_sizes": (100,), "max_iter": 3, "batch_size": 32},
    ),
    "fit: 4,000 x 784, (256, 128), 2 epochs": ((4000, 784, 10), {"hidden_layer_sizes": (256, 128), "max_iter": 2}),
    "fit: 4,000 x 784, (256, 128), sgd": (
        (4000, 784, 10),
        {"hidden_layer_sizes": (256, 128), "max_iter": 2, "solver": "sgd"},
    ),
}


def fits(seconds: float) -> list[Contest]:
    """Time whole fits of MLPClassifier in float32: scikit-learn's own solver, and ours in the same formula."""
    from sklearn.neural_network import MLPClassifier as Theirs

    from pyfastlr.interop.sklearn import MLPClassifier as Ours

    found = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # no fit converges
        for name, ((n, width, classes), given) in FITS.items():
            rng = np.random.default_rng(0)
            x, y = rng.normal(size=(n, width)).astype("f4"), rng.integers(classes, size=n)
            theirs, ours = (cls(**given, random_state=0) for cls in (Theirs, Ours))
            losses = [model.fit(x, y).loss_curve_ for model in (theirs, ours)]
            np.testing.assert_allclose(losses[1], losses[0], rtol=1e-3)
            runs = [Run(partial(_step, partial(model.fit, x, y))) for model in (theirs, ours)]
            found.append(_contest(name, *runs, seconds))
            print(found[-1], flush=True)
    return found


def _step(step: Callable[[], Any], k: int) -> Callable[[], Any]:
    """Return the only step."""
    del k
    return step


# --- thinc: updates ---------------------------------------------------------------------------------------------------

#: Parameters of spaCy's default tok2vec (HashEmbedCNN: width 96, depth 4, 4 tables) and a tagger's softmax.
TOK2VEC = (
    (5000, 96), (1000, 96), (2500, 96), (2500, 96), (96, 3, 384), (96, 3), (96,), (96,),
    *[(96, 3, 288), (96, 3), (96,), (96,)] * 4, (50, 96), (50,),
)  # fmt: skip
SHAPES: Mapping[str, Sequence[tuple[int, ...]]] = {
    "96": ((96,),),
    "50 x 96": ((50, 96),),
    "96 x 3 x 288": ((96, 3, 288),),
    "5,000 x 96": ((5000, 96),),
    f"spaCy's tok2vec and tagger, {len(TOK2VEC)} arrays": TOK2VEC,
}
#: The arguments in spaCy's default config, and thinc's defaults.
SETTINGS: Mapping[str, dict[str, Any]] = {
    "spaCy's settings": {"L2": 0.01, "grad_clip": 1.0, "use_averages": False},
    "averages": {},
}


def updates(seconds: float) -> list[Contest]:
    """Time Adam's updates of all arrays of a model, with a rate that changes at each step."""
    from thinc import api

    from pyfastlr.interop import thinc as adapter

    found = []
    for settings, given in SETTINGS.items():
        for name, shapes in SHAPES.items():
            results, runs = [], []
            for module in (api, adapter):
                opt = module.Adam(api.warmup_linear(1e-3, 250, 1_000_000_000), **given)
                weights, step = _updates(opt, shapes)
                for _ in range(5):
                    step()
                results.append([w.copy() for w in weights])
                runs.append(Run(partial(_step, step)))
            for a, b in zip(*results, strict=True):
                np.testing.assert_allclose(b, a, atol=1e-5)
            found.append(_contest(f"{settings}: {name}", *runs, seconds))
            print(found[-1], flush=True)
    return found


def _updates(opt: Any, shapes: Sequence[tuple[int, ...]]) -> tuple[list[Any], Callable[[], None]]:
    """Return weights, and a step for all of them. An update zeroes its gradient, so each has a new copy."""
    rng = np.random.default_rng(0)
    weights = [rng.normal(size=shape).astype("f4") for shape in shapes]
    gradients = [rng.uniform(0.1, 1.0, size=shape).astype("f4") for shape in shapes]
    scratch = [np.empty_like(g) for g in gradients]
    keys = [(k, "W") for k in range(len(shapes))]
    together = list(zip(keys, weights, gradients, scratch, strict=True))

    def step() -> None:
        for key, w, g, own in together:
            np.copyto(own, g)
            opt(key, w, own)
        opt.step_schedules()

    return weights, step
