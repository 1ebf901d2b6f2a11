"""Runs that start in another library and go on in pyfastlr, or the other way, for the live tests of interop.

Each function returns the parameters of two runs that must be equal: one that moved, and one that stayed. Those of jax
and Keras run in a process of their own, because the float64 mode of both is global.
"""

import doctest
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pyfastlr as flr
from cases import CASES, Case
from oracles import jax_in_float64, keras_in_float64, problem, rates, weight_decay

RUN = problem(n=257, bank=101, seed=7)
N, M = 9, 8  # updates before and after the move
SHAPES = ((8, 16), (), (128,))
NAMES = ("layer.w", "layer.s", "b")
CONTAINERS = ("dict", "list", "flat", "array")


def parts(container: str, x: np.ndarray) -> list[np.ndarray]:
    """Copies of the arrays of the container from a vector of 257 elements."""
    if container == "array":
        return [x.copy()]
    ends = np.cumsum([int(np.prod(shape)) for shape in SHAPES])
    return [part.reshape(shape).copy() for part, shape in zip(np.split(x, ends[:-1]), SHAPES, strict=True)]


def build(container: str, arrays: Any) -> Any:
    """Container of arrays of any library."""
    if container == "array":
        return arrays[0]
    if container == "list":
        return list(arrays)
    w, s, b = arrays
    tree = {"layer": {"w": w, "s": s}, "b": b}
    return flr.Flat(tree) if container == "flat" and isinstance(b, np.ndarray) else tree


def vector(arrays: Any) -> np.ndarray:
    """Elements of arrays, one after the other."""
    return np.concatenate([np.asarray(x).reshape(-1) for x in arrays])


def decay_of(case: Case) -> dict[str, float]:
    """A weight decay, if the library takes one."""
    return {"weight_decay": weight_decay(case, case.decay)} if case.live.decayed else {}


class Here:
    """A run in pyfastlr. Its rate is RUN's schedule."""

    def __init__(self, case: Case, container: str, arrays: Any, first: int = 0, **options: Any) -> None:
        self.container = container
        self.params = build(container, [np.array(x) for x in arrays])
        rate = rates(case, RUN)
        self.opt = case.make(self.params, case.schedule(lambda n: rate[n + first]), **{**decay_of(case), **options})

    def steps(self, begin: int, end: int) -> None:
        for k in range(begin, end):
            g = parts(self.container, RUN.gradient(k))
            self.opt.step(
                {"layer": {"w": g[0], "s": g[1]}, "b": g[2]} if self.container == "flat" else build(self.container, g)
            )

    def arrays(self) -> list[np.ndarray]:
        if self.container == "flat":
            return [self.params[name] for name in NAMES]
        if self.container == "dict":
            return [self.params["layer"]["w"], self.params["layer"]["s"], self.params["b"]]
        return list(self.params) if self.container == "list" else [self.params]


class Torch:
    """A run in torch."""

    def __init__(self, case: Case, container: str, arrays: Any, **options: Any) -> None:
        import torch

        self.torch, self.container = torch, container
        self.rates = rates(case, RUN)
        self.tensors = [torch.tensor(x) for x in arrays]
        self.opt = case.live(self.tensors, float(self.rates[0]), **{**decay_of(case), **options})

    def steps(self, begin: int, end: int) -> None:
        for k in range(begin, end):
            for tensor, g in zip(self.tensors, parts(self.container, RUN.gradient(k)), strict=True):
                tensor.grad = self.torch.tensor(g)
            for group in self.opt.param_groups:
                group["lr"] = float(self.rates[k])
            self.opt.step()

    def arrays(self) -> list[np.ndarray]:
        return [x.detach().numpy() for x in self.tensors]

    def export(self) -> Any:
        return self.opt.state_dict()

    def load(self, opt: Any) -> None:
        self.opt.load_state_dict(flr.to_torch(opt))

    @staticmethod
    def take(exported: Any, opt: Any) -> None:
        flr.from_torch(exported, opt, steps=N)


@cache
def _optax_of(name: str, wrap: str) -> tuple[Any, Any]:
    """The optimizer of a case, and its compiled update: one for all runs, because compiling takes long."""
    jax = jax_in_float64()
    import optax

    (case,) = (case for case in CASES if case.name == name)
    rate = jax.numpy.asarray(rates(case, RUN))
    lr = case.schedule(lambda count: rate[count])

    def make(learning_rate: Any = lr) -> Any:
        return case.live(learning_rate, **decay_of(case))

    opt = {
        "": make,
        "chain": lambda: optax.chain(optax.clip(1e9), optax.chain(make(), optax.identity())),
        "inject": lambda: optax.inject_hyperparams(make)(lr),
        "multi": lambda: optax.multi_transform({"one": make(), "two": make()}, {"layer": "one", "b": "two"}),
        "finite": lambda: optax.apply_if_finite(make(), 3),
        "multisteps": lambda: optax.MultiSteps(make(), 1).gradient_transformation(),
    }[wrap]()

    def update(g: Any, state: Any, params: Any) -> tuple[Any, Any]:
        change, state = opt.update(g, state, params)
        return optax.apply_updates(params, change), state

    return opt, jax.jit(update)


class Optax:
    """A run in optax. `wrap` may put the optimizer into a chain or the like."""

    def __init__(self, case: Case, container: str, arrays: Any, wrap: str = "") -> None:
        jnp = jax_in_float64().numpy
        self.container = container
        opt, self.update = _optax_of(case.name, wrap)
        self.params = build(container, [jnp.asarray(x) for x in arrays])
        self.state = opt.init(self.params)

    def steps(self, begin: int, end: int) -> None:
        jnp = jax_in_float64().numpy
        for k in range(begin, end):
            g = build(self.container, [jnp.asarray(x) for x in parts(self.container, RUN.gradient(k))])
            self.params, self.state = self.update(g, self.state, self.params)

    def arrays(self) -> list[np.ndarray]:
        if self.container in ("dict", "flat"):
            found = [self.params["layer"]["w"], self.params["layer"]["s"], self.params["b"]]
        else:
            found = self.params if self.container == "list" else [self.params]
        return [np.asarray(x) for x in found]

    def export(self) -> Any:
        return self.state

    def load(self, opt: Any) -> None:
        self.state = flr.to_optax(opt, self.state)

    @staticmethod
    def take(exported: Any, opt: Any) -> None:
        flr.from_optax(exported, opt, steps=N)


class Keras:
    """A run in Keras."""

    def __init__(self, case: Case, container: str, arrays: Any, **options: Any) -> None:
        keras = keras_in_float64()
        self.container = container
        names = ["array"] if container == "array" else [name.replace(".", "_") for name in NAMES]
        self.variables = [keras.Variable(x, name=name) for x, name in zip(arrays, names, strict=True)]
        self.rates = rates(case, RUN)
        self.opt = case.live(float(self.rates[0]), **{**decay_of(case), **options})
        self.opt.build(self.variables)

    def steps(self, begin: int, end: int) -> None:
        jnp = jax_in_float64().numpy
        for k in range(begin, end):
            self.opt.learning_rate = float(self.rates[k])
            g = [jnp.asarray(x) for x in parts(self.container, RUN.gradient(k))]
            self.opt.apply(g, self.variables)

    def arrays(self) -> list[np.ndarray]:
        return [np.asarray(x.value) for x in self.variables]

    def export(self) -> Any:
        return self.opt.variables

    def load(self, opt: Any) -> None:
        self.opt.load_own_variables(flr.to_keras(opt, learning_rate=True))

    @staticmethod
    def take(exported: Any, opt: Any) -> None:
        flr.from_keras(exported, opt)


THERE = {"torch": Torch, "optax": Optax, "keras": Keras}


def to_here(case: Case, container: str, **options: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """N updates there and M here; N + M there; and N there and M here without the state."""
    there = THERE[case.convention](case, container, parts(container, RUN.p), **options)
    there.steps(0, N)
    lost, here = (Here(case, container, there.arrays(), first) for first in (N, 0))
    there.take(there.export(), here.opt)
    here.steps(N, N + M)
    lost.steps(N, N + M)
    there.steps(N, N + M)
    return vector(here.arrays()), vector(there.arrays()), vector(lost.arrays())


def from_here(case: Case, container: str, **options: Any) -> tuple[np.ndarray, np.ndarray]:
    """N updates here and M there; N + M here."""
    here = Here(case, container, parts(container, RUN.p))
    here.steps(0, N)
    there = THERE[case.convention](case, container, here.arrays(), **options)
    there.load(here.opt)
    there.steps(N, N + M)
    here.steps(N, N + M)
    return vector(there.arrays()), vector(here.arrays())


def there_and_back(case: Case, container: str, **options: Any) -> list[tuple[Any, Any]]:
    """Pairs that must be equal to the bit: a state, and what is left of it after an export and an import."""
    here = Here(case, container, parts(container, RUN.p))
    here.steps(0, N)
    there = THERE[case.convention](case, container, here.arrays(), **options)
    there.load(here.opt)
    other = Here(case, container, here.arrays())
    there.take(there.export(), other.opt)
    return list(zip(leaves(here.opt.state_dict()), leaves(other.opt.state_dict()), strict=True))


def leaves(state: dict[str, Any]) -> list[Any]:
    """Counts, carry and arrays of a state, as bytes."""

    def flat(x: Any) -> list[Any]:
        if isinstance(x, dict):
            return [y for value in x.values() for y in flat(value)]
        return [y for value in x for y in flat(value)] if isinstance(x, list) else [x]

    arrays = [state["counts"], state["carry"], *flat(state["state"])]
    return [state["steps"], *(x.tobytes() for x in arrays)]


def failures_of_page(library: str) -> tuple[int, str]:
    """Examples of docs/states.md that import a library, and what is wrong with them. Without it, they are skipped."""
    text = (Path(__file__).resolve().parents[1] / "docs" / "states.md").read_text(encoding="utf-8")
    (block,) = (x for x in text.split("```") if x.startswith("python\n>>> import " + library))
    block = block.removeprefix("python\n").replace("# doctest: +SKIP", "")
    report: list[str] = []
    if library == "keras":
        keras_in_float64()
    test = doctest.DocTestParser().get_doctest(block, {}, library, None, 0)
    result = doctest.DocTestRunner(verbose=False).run(test, out=report.append)
    return result.attempted, "".join(report)


# --- What only one library has: each function asserts by itself, in the process of the library ------------------------


def keras_model() -> None:
    """A model's optimizer: variables with paths of layers, averages, a schedule, and the forms of its variables."""
    keras = keras_in_float64()
    jax = jax_in_float64()
    rng = np.random.default_rng(5)
    for form in ("variables", "optimizer", "paths", "own"):
        layers = [keras.layers.Dense(4, activation="tanh"), keras.layers.Dense(1)]
        model = keras.Sequential([keras.layers.Input((3,)), *layers])
        lr = keras.optimizers.schedules.ExponentialDecay(0.1, 2, 0.5, staircase=True)
        there = keras.optimizers.Nadam(lr, use_ema=form != "own", ema_momentum=0.8, weight_decay=0.01)
        there.build(model.trainable_variables)
        ours_lr = flr.schedules.keras.ExponentialDecay(0.1, 2, 0.5, staircase=True)
        names = [x.path for x in model.trainable_variables]
        ema = {"ema_decay": 0.8} if form != "own" else {}

        def grads(k: int, model: Any = model) -> list[Any]:
            del k
            return [rng.normal(size=x.shape) for x in model.trainable_variables]

        for k in range(5):
            there.apply([jax.numpy.asarray(g) for g in grads(k)])
        params = {name: np.array(x.value) for name, x in zip(names, model.trainable_variables, strict=True)}
        opt = flr.NAdam(params, ours_lr, weight_decay=0.01, convention="keras", **ema)
        own: dict[str, Any] = {}
        there.save_own_variables(own)
        given = {"variables": there.variables, "optimizer": there, "own": own}
        given["paths"] = {x.path: np.asarray(x.value) for x in there.variables}
        flr.from_keras(given[form], opt)
        assert opt.steps == 5
        again = keras.optimizers.Nadam(lr, use_ema=form != "own", ema_momentum=0.8, weight_decay=0.01)
        copies = [keras.Variable(x.value, name=x.name) for x in model.trainable_variables]
        again.build(copies)
        again.load_own_variables(flr.to_keras(opt))
        for k in range(4):
            g = grads(k)
            there.apply([jax.numpy.asarray(x) for x in g])
            again.apply([jax.numpy.asarray(x) for x in g], copies)
            opt.step(dict(zip(names, g, strict=True)))
        for name, x, y in zip(names, model.trainable_variables, copies, strict=True):
            np.testing.assert_allclose(params[name], x.value, rtol=1e-12, atol=1e-14)
            np.testing.assert_allclose(y.value, x.value, rtol=1e-12, atol=1e-14)
        if ema:
            averages = [np.asarray(x.value) for x in there.variables if x.name.endswith("_average")]
            for name, average in zip(names, averages, strict=True):
                np.testing.assert_allclose(opt.ema[name], average, rtol=1e-12, atol=1e-14)


def keras_accumulation_is_refused() -> None:
    """Accumulated gradients cannot be moved."""
    keras = keras_in_float64()
    there = keras.optimizers.Adam(gradient_accumulation_steps=2)
    there.build([keras.Variable(np.ones(2), name="w")])
    with pytest.raises(ValueError, match="must not be there: gradients that are being accumulated cannot be moved"):
        flr.from_keras(there.variables, flr.Adam({"w": np.ones(2)}, convention="keras"))


def optax_refusals() -> dict[str, str]:
    """Message for each state that is of another optimizer than `opt`, or has a part that `opt` has no place for."""
    import optax

    params = {"w": jax_in_float64().numpy.ones(2)}
    states = {
        "adabelief": optax.adabelief(0.1),
        "sgd": optax.sgd(0.1, momentum=0.9),
        "bias": optax.rmsprop(0.1, bias_correction=True),
        "ema": optax.chain(optax.adam(0.1), optax.ema(0.9)),
        "plateau": optax.chain(optax.adam(0.1), optax.contrib.reduce_on_plateau()),
        "masked": optax.masked(optax.adam(0.1), {"w": False}),
        "twice": optax.chain(optax.scale_by_adam(), optax.adam(0.1)),
        "array": optax.adam(0.1),
    }
    found = {}
    for name, opt in states.items():
        ours = flr.Adam({"v" if name == "array" else "w": np.ones(2)}, 0.1, convention="optax")
        for call in (lambda: flr.from_optax(opt.init(params), ours), lambda: flr.to_optax(ours, opt.init(params))):  # noqa: B023
            with pytest.raises(ValueError) as caught:  # noqa: PT011
                call()
            found.setdefault(name, str(caught.value))
    return found


def optax_dtypes() -> None:
    """Counts, hyperparameters and arrays keep the dtypes of the example; numpy's stay numpy's."""
    jax = jax_in_float64()
    import optax

    jnp = jax.numpy
    params = {"w": jnp.ones(2, jnp.float32)}
    opt = flr.Adam({"w": np.ones(2, np.float32)}, 0.25, convention="optax")
    opt.step({"w": np.ones(2, np.float32)})
    like = optax.inject_hyperparams(partial(optax.adam, mu_dtype="bfloat16"))(0.5).init(params)
    with pytest.raises(ValueError, match=r"got bfloat16\[2\]: cast=True converts to it"):
        flr.to_optax(opt, like)
    new = flr.to_optax(opt, like, cast=True)
    assert jax.tree.structure(new) == jax.tree.structure(like)
    for x, y in zip(jax.tree.leaves(new), jax.tree.leaves(like), strict=True):
        assert (type(x), x.dtype, x.shape) == (type(y), y.dtype, y.shape)
    assert float(new.hyperparams["learning_rate"]) == 0.25
    other = flr.Adam({"w": np.ones(2, np.float32)}, 0.5, convention="optax")
    flr.from_optax(new, other, cast=True)
    assert (other.steps, other.lr) == (1, 0.25)
    np.testing.assert_allclose(other.state["exp_avg"]["w"], opt.state["exp_avg"]["w"], rtol=2**-8)
    assert other.state["exp_avg_sq"]["w"].tobytes() == opt.state["exp_avg_sq"]["w"].tobytes()
    plain = flr.to_optax(opt, jax.tree.map(np.asarray, like), cast=True)
    assert {type(x) for x in jax.tree.leaves(plain)} == {np.ndarray}
