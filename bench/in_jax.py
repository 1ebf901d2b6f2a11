"""Steps inside programs of JAX: pyfastlr.interop.jax against optax, both jitted with donated parameters and state."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np

from pyfastlr.benchmark.compare import Mismatch, _difference
from pyfastlr.benchmark.interleave import Run, Times, interleave
from pyfastlr.benchmark.report import disturbed, duration, times
from pyfastlr.benchmark.variants import VARIANTS
from pyfastlr.benchmark.work import POOL, TRANSFORMER, Gradients, Layout, Work, one

OURS, ADDED, THEIRS = "pyfastlr apply", "pyfastlr update", "optax"
NAMES = ("adam", "adamw", "sgd")
LAYOUTS: Mapping[str, tuple[Layout, bool]] = {  # whether we must be ahead
    "1,000": (one(1_000), True),
    "1,000,000": (one(1_000_000), True),
    "226 arrays": (TRANSFORMER, False),
}


class Found(NamedTuple):
    """Times of an optimizer at a layout."""

    optimizer: str
    layout: str
    must_lead: bool
    times: Mapping[str, Times]

    def ratio(self, name: str) -> tuple[float, float]:
        """Time of a contender divided by ours: of the minima, of the medians."""
        ours, other = self.times[OURS], self.times[name]
        return other.minimum / ours.minimum, other.median / ours.median

    @property
    def disturbed(self) -> bool:
        """Whether something else ran on the machine at the same time; if so, no verdict is given."""
        return disturbed(self.times[OURS], self.times[THEIRS])

    @property
    def verdict(self) -> str:
        """Whether we are ahead of optax."""
        if not self.must_lead:
            return ""
        if self.disturbed:
            return "disturbed"
        return "ahead" if min(self.ratio(THEIRS)) > 1.0 else "NOT AHEAD"

    def __str__(self) -> str:
        figures = "".join(
            f"  {name} {duration(x.minimum)} {duration(x.median)}"
            + (f" ({times(self.ratio(name)[0])} {times(self.ratio(name)[1])})" if name != OURS else "")
            for name, x in self.times.items()
        )
        return f"  {self.optimizer:<7}{self.layout:>11}{figures}  {self.verdict}".rstrip()


def contender(work: Work, gradients: Gradients, optimizer: Any, fused: bool) -> Run:
    """Return one jitted function that makes a step with donated arrays."""
    jax, optax = import_module("jax"), import_module("optax")
    params = [jax.numpy.array(p) for p in work.params()]
    pool = [[jax.numpy.asarray(g) for g in grads] for grads in gradients]
    state = optimizer.init(params)

    @partial(jax.jit, donate_argnums=(0, 1))
    def update(params: Any, state: Any, grads: Any) -> Any:
        if fused:
            return optimizer.apply(grads, state, params)
        change, state = optimizer.update(grads, state, params)
        return optax.apply_updates(params, change), state

    def step(grads: Any) -> None:
        nonlocal params, state
        params, state = update(params, state, grads)
        params[0].block_until_ready()

    return Run(lambda k: partial(step, pool[k]), lambda: [np.asarray(p) for p in params])


def runs(work: Work) -> dict[str, Run]:
    """Return the contenders, which have the same parameters, gradients and rate."""
    fj, optax = import_module("pyfastlr.interop.jax"), import_module("optax")
    name, gradients = work.variant.name, work.gradients()
    options = {"weight_decay": work.weight_decay} if work.weight_decay else {}
    ours, theirs = (getattr(x, name)(work.variant.lr, **options) for x in (fj, optax))
    return {
        OURS: contender(work, gradients, ours, True),
        ADDED: contender(work, gradients, ours, False),
        THEIRS: contender(work, gradients, theirs, False),
    }


def check(work: Work, found: Mapping[str, Run], steps: int = 3) -> None:
    """Make some steps of each contender and compare the parameters."""
    for run in found.values():
        for k in range(steps):
            run.turn(k % POOL)()
    start = work.params()
    results = {name: run.result() for name, run in found.items() if run.result is not None}
    for name, theirs in results.items():
        for k, (p, mine, other) in enumerate(zip(start, results[OURS], theirs, strict=True)):
            if problem := _difference(p, mine, other):
                raise Mismatch(f"{name} does not do the same work as {OURS} ({work.name}): array {k} {problem}")


def in_jax(seconds: float, max_n: int, measure: Callable[..., dict[str, Times]] = interleave) -> Iterator[Found]:
    """Measure every optimizer at every layout."""
    variants = {variant.name: variant for variant in VARIANTS}
    for label, (layout, must_lead) in LAYOUTS.items():
        if layout.size <= max_n:
            for name in NAMES:
                work = Work(variants[name], layout)
                these = runs(work)
                check(work, these)
                yield Found(name, label, must_lead, measure(these, seconds, POOL))
