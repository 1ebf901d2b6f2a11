"""The contenders: each does the same steps as ours, on equal data, in the best way that its library has.

Each gets new parameters, the same pool of gradients and a rate that changes at every step. torch and pyfastlr take the
rate from our Schedule; optax computes its own in the jitted step. A library is imported by name when its contender
starts, because it may not be installed.
"""

import os
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from pyfastlr.numpy_reference import B1, B2, EPS, PLAIN

from .interleave import Run
from .work import STEPS, Gradients, Work


class Absent(Exception):
    """The reason why a contender cannot take part."""


def _need_all_cores(work: Work, who: str) -> None:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    if work.threads != cores:
        raise Absent(f"{who} uses all {cores} cores, not {work.threads}: restrict the process with taskset")


@dataclass(frozen=True)
class Contender:
    """A library's way to do a step."""

    name: str
    start: Callable[[Work, Gradients], Run]  # raises ImportError or Absent if it cannot take part
    takes: Callable[[Work], bool]  # whether it has this optimizer with this formula; imports nothing
    large: bool = True  # False: it makes many passes or temporaries, so large work is left out


# --- Ours ------------------------------------------------------------------------------------------------------------


def ours(work: Work, gradients: Gradients, threads: int | None = None) -> Run:
    """Run the public step, over one array or a list of arrays."""
    params = work.params()
    single = len(params) == 1
    opt = work.variant.make(
        params[0] if single else params, work.rate, weight_decay=work.weight_decay, threads=threads or work.threads
    )
    pool = [grads[0] if single else grads for grads in gradients]
    return Run(lambda k: partial(opt.step, pool[k]), lambda: params)


OURS = Contender("pyfastlr", ours, lambda work: True)


# --- numpy -----------------------------------------------------------------------------------------------------------


def _by_hand(work: Work, gradients: Gradients) -> Run:
    """Run the obvious numpy expressions, array by array."""
    options = {"weight_decay": work.weight_decay} if work.weight_decay else {}
    update = partial(PLAIN[work.variant.cls].update, **options)
    return _array_by_array(work, gradients, update, [defaultdict(float) for _ in work.layout.shapes])


def _in_plain(work: Work) -> bool:
    return work.variant.name in map(str.lower, PLAIN)  # variants without options that choose another rule


def _without_temporaries(work: Work, gradients: Gradients) -> Run:
    """Run the same with `out=`: longer code, but less new memory."""
    states = [[np.zeros(shape, work.dtype) for _ in range(3)] for shape in work.layout.shapes]
    return _array_by_array(work, gradients, partial(_IN_PLACE[work.variant.name], work.weight_decay), states)


def _array_by_array(work: Work, gradients: Gradients, update: Callable[..., None], states: list[Any]) -> Run:
    params, rate, updates = work.params(), work.rate, count(1)

    def step(grads: list[Any]) -> None:
        t = next(updates)
        lr = rate(t - 1)
        for p, g, s in zip(params, grads, states, strict=True):
            update(p, g, s, t, lr)

    return Run(lambda k: partial(step, gradients[k]), lambda: params)


def _sgd_in_place(decay: float, p: Any, g: Any, s: Any, t: int, lr: float) -> None:
    p -= np.multiply(g, lr, out=s[0])


def _adam_in_place(decay: float, p: Any, g: Any, s: Any, t: int, lr: float) -> None:
    m, v, a = s
    m *= B1
    m += np.multiply(g, 1 - B1, out=a)
    v *= B2
    np.multiply(g, g, out=a)
    a *= 1 - B2
    v += a
    np.sqrt(v, out=a)
    a *= 1 / np.sqrt(1 - B2**t)
    a += EPS
    np.divide(m, a, out=a)
    a *= lr / (1 - B1**t)
    if decay:
        p *= 1 - lr * decay
    p -= a


_IN_PLACE = {"sgd": _sgd_in_place, "adam": _adam_in_place, "adamw": _adam_in_place}


# --- torch -----------------------------------------------------------------------------------------------------------

_FUSED = {"SGD", "AdaGrad", "Adam", "AdamW", "AMSGrad"}  # our names for torch's optimizers with fused=True on the CPU


def _torch(work: Work, gradients: Gradients, **implementation: bool) -> Run:
    """Run torch.optim over numpy's memory, with as many threads as ours and the rate set in param_groups."""
    torch: Any = import_module("torch")
    torch.set_num_threads(work.threads)
    variant = work.variant
    options = {**variant.kwargs, **implementation}
    if work.weight_decay:  # Rprop takes none
        options["weight_decay"] = work.weight_decay
    if variant.cls == "AMSGrad":
        options["amsgrad"] = True
    make = getattr(torch.optim, str(variant.torch))
    return _driven_as_torch(torch, work, gradients, lambda tensors: make(tensors, lr=variant.lr, **options))


def _driven_as_torch(torch: Any, work: Work, gradients: Gradients, make: Callable[[Any], Any]) -> Run:
    params, rate, updates = work.params(), work.rate, count()
    tensors = [torch.from_numpy(p) for p in params]
    pool = [[torch.from_numpy(g) for g in grads] for grads in gradients]
    opt = make(tensors)
    (group,) = opt.param_groups

    def step() -> None:
        group["lr"] = rate(next(updates))
        opt.step()

    def turn(k: int) -> Callable[[], None]:
        for tensor, grad in zip(tensors, pool[k], strict=True):
            tensor.grad = grad
        return step

    return Run(turn, lambda: params)


def _of_torch(work: Work) -> bool:
    return work.variant.torch is not None


def _foreach_in_torch(work: Work) -> bool:
    return _of_torch(work) and not work.variant.kwargs.get("nesterov")  # with nesterov it writes into the gradients


def _fused_in_torch(work: Work) -> bool:
    return _of_torch(work) and work.variant.cls in _FUSED


# --- optax -----------------------------------------------------------------------------------------------------------


def _optax(work: Work, gradients: Gradients) -> Run:
    """Run one jitted function with donated arrays, on all cores that jax finds."""
    _need_all_cores(work, "jax")
    jax, optax = (import_module(name) for name in ("jax", "optax"))
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_enable_x64", work.dtype == "float64")
    options = {**work.variant.kwargs, **({"weight_decay": work.weight_decay} if work.weight_decay else {})}
    rate = optax.cosine_decay_schedule(work.variant.lr, STEPS) if work.variant.scheduled else work.variant.lr
    transform = getattr(optax, str(work.variant.optax))(rate, **options)
    params = [jax.numpy.array(p) for p in work.params()]
    pool = [[jax.numpy.asarray(g) for g in grads] for grads in gradients]
    state = transform.init(params)

    @partial(jax.jit, donate_argnums=(0, 2))
    def update(params: Any, grads: Any, state: Any) -> Any:
        change, state = transform.update(grads, state, params)
        return optax.apply_updates(params, change), state

    def step(grads: Any) -> None:
        nonlocal params, state
        params, state = update(params, grads, state)
        params[0].block_until_ready()  # all results of one execution become ready together

    return Run(lambda k: partial(step, pool[k]), lambda: [np.asarray(p) for p in params])


def _in_optax(work: Work) -> bool:
    return work.variant.optax is not None


# --- Others ----------------------------------------------------------------------------------------------------------


def _sklearn(work: Work, gradients: Gradients) -> Run:
    """Run the Adam of scikit-learn's MLPs: plain numpy."""
    from sklearn.neural_network._stochastic_optimizers import AdamOptimizer

    params, rate, updates = work.params(), work.rate, count()
    opt = AdamOptimizer(params)

    def step(grads: list[Any]) -> None:
        opt.learning_rate_init = rate(next(updates))
        opt.update_params(params, grads)

    return Run(lambda k: partial(step, gradients[k]), lambda: params)


def _thinc(work: Work, gradients: Gradients) -> Run:
    """Run thinc's compiled Adam. It clears the gradients that it gets, so each step first copies them."""
    thinc: Any = import_module("thinc.api")
    params, rate = work.params(), work.rate
    opt = thinc.Adam(thinc.Schedule("cosine", lambda schedule, step, **_: rate(step)), L2=0.0, grad_clip=0.0)
    scratch = [np.empty_like(p) for p in params]
    keys = [(k, "") for k in range(len(params))]

    def step(grads: list[Any]) -> None:
        for key, p, g, own in zip(keys, params, grads, scratch, strict=True):
            np.copyto(own, g)
            opt(key, p, own)
        opt.step_schedules()

    return Run(lambda k: partial(step, gradients[k]), lambda: params)


def _deepspeed(work: Work, gradients: Gradients) -> Run:
    """Run DeepSpeedCPUAdam if it is already built: the first use on a machine compiles it for minutes."""
    _need_all_cores(work, "DeepSpeed's OpenMP")
    info: Any = import_module("deepspeed.git_version_info")
    torch, extensions = (import_module(name) for name in ("torch", "torch.utils.cpp_extension"))
    built = Path(extensions._get_build_directory("cpu_adam", verbose=False)) / "cpu_adam.so"
    if not info.installed_ops.get("cpu_adam") and not built.exists():
        raise Absent(f"DeepSpeedCPUAdam is not built: {built} is missing")
    make, variant = import_module("deepspeed.ops.adam").DeepSpeedCPUAdam, work.variant
    options = {"weight_decay": work.weight_decay, "adamw_mode": variant.cls == "AdamW"}
    return _driven_as_torch(torch, work, gradients, lambda tensors: make(tensors, lr=variant.lr, **options))


def _in_deepspeed(work: Work) -> bool:
    return work.variant.cls in ("Adam", "AdamW") and work.dtype == "float32"


def _plain_adam(work: Work) -> bool:
    return work.variant.name == "adam" and work.dtype == "float32"


def _empty_loop(work: Work, gradients: Gradients) -> Run:
    from .roofline import Loop

    loop = Loop(work, gradients)
    return Run(loop.turn, updates=loop.updates)


#: What reports say about the limit, and about a step above it.
LIMIT_IS = "a loop that moves the same bytes and computes almost nothing"
ABOVE_LIMIT = (
    "The loop is measured too. With one thread it is a bound, to a few per cent. With several, which are Python "
    "threads, it loses more time than a step when something else runs on the cores. So a step above the limit means "
    "that the loop was held up, not that the step is faster than the memory."
)
LIMIT = Contender("empty loop", _empty_loop, lambda work: len(work.layout.shapes) == 1)

CONTENDERS = (
    OURS,
    Contender("pyfastlr threads=1", partial(ours, threads=1), lambda work: work.threads > 1),
    Contender("numpy", _by_hand, _in_plain, large=False),
    Contender("numpy out=", _without_temporaries, lambda work: work.variant.name in _IN_PLACE, large=False),
    Contender("torch for-loop", partial(_torch, foreach=False), _of_torch, large=False),
    Contender("torch foreach", partial(_torch, foreach=True), _foreach_in_torch, large=False),
    Contender("torch fused", partial(_torch, fused=True), _fused_in_torch),
    Contender("optax jit", _optax, _in_optax),
    Contender("scikit-learn", _sklearn, _plain_adam, large=False),
    Contender("thinc", _thinc, _plain_adam, large=False),
    Contender("DeepSpeedCPUAdam", _deepspeed, _in_deepspeed),
    LIMIT,
)
