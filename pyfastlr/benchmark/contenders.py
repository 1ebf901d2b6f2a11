"""The contenders: each does the same steps as ours, on equal data, in the best way that its library has.

Each gets new parameters, the same pool of gradients and a rate that changes at every step. torch and pyfastlr take the
rate from our Schedule; optax computes its own in the jitted step. A library is imported by name when its contender
starts, because it may not be installed.
"""

import os
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from itertools import count, cycle
from pathlib import Path
from typing import Any

import numpy as np

from pyfastlr.numpy_reference import B1, B2, EPS, PLAIN

from .interleave import Run
from .work import EMA_DECAY, INV_SCALES, STEPS, Gradients, Work


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
    extra: bool = False  # whether it can do more than the update (work.EXTRAS)

    def can(self, work: Work) -> bool:
        """Return whether it can do this work."""
        return self.takes(work) and (self.extra or not work.extra)


# --- Ours ------------------------------------------------------------------------------------------------------------


def ours(work: Work, gradients: Gradients, threads: int | None = None) -> Run:
    """Run the public step, over one array or a list of arrays."""
    params = work.params()
    single = len(params) == 1
    options = {"clip_norm": work.max_norm, "ema_decay": EMA_DECAY}
    opt = work.variant.make(
        params[0] if single else params, work.rate, weight_decay=work.weight_decay, threads=threads or work.threads,
        **{name: options[name] for name in work.extra if name in options},
    )  # fmt: skip
    pool, scales = [grads[0] if single else grads for grads in gradients], cycle(INV_SCALES)

    def turn(k: int) -> Callable[[], None]:
        if "inv_scale" in work.extra:
            return lambda: opt.step(pool[k], inv_scale=next(scales))
        return partial(opt.step, pool[k])

    def result() -> list[Any]:
        if "ema_decay" not in work.extra:
            return params
        return [*params, *([opt.ema] if single else opt.ema)]

    return Run(turn, result)


def _without_extra(work: Work, gradients: Gradients) -> Run:
    """Run the update alone, to show what the rest costs."""
    return Run(ours(replace(work, extra=()), gradients).turn)


OURS = Contender("pyfastlr", ours, lambda work: True, extra=True)


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
    return driven_as_torch(torch, work, gradients, lambda tensors: make(tensors, lr=variant.lr, **options))


def driven_as_torch(torch: Any, work: Work, gradients: Gradients, make: Callable[[Any], Any]) -> Run:
    """Run an optimizer of torch, which `make` gets from its tensors, over numpy's memory."""
    if work.extra:
        return _with_extra_in_torch(torch, work, gradients, make)
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


def _with_extra_in_torch(torch: Any, work: Work, gradients: Gradients, make: Callable[[Any], Any]) -> Run:
    """Run it with what torch has for the rest, over all arrays at once: unscaled and clipped in place, averaged.

    So it has gradients of its own. Every turn starts with the given ones again, which is not timed.
    """
    params, rate, updates, scales = work.params(), work.rate, count(), cycle(INV_SCALES)
    tensors = [torch.from_numpy(p) for p in params]
    averages = [p.clone() for p in tensors]
    opt = make(tensors)
    (group,) = opt.param_groups
    for p in tensors:
        p.grad = torch.empty_like(p)
    grads = [p.grad for p in tensors]
    average = torch.optim.swa_utils.get_ema_multi_avg_fn(EMA_DECAY)

    def step() -> None:
        k = next(updates)
        group["lr"] = rate(k)
        if "inv_scale" in work.extra:
            torch._foreach_mul_(grads, next(scales))
        if "clip_norm" in work.extra:
            torch.nn.utils.clip_grad_norm_(tensors, work.max_norm)
        opt.step()
        if "ema_decay" in work.extra:
            if k == 0:  # as in AveragedModel
                torch._foreach_copy_(averages, tensors)
            else:
                average(averages, tensors, None)

    def turn(k: int) -> Callable[[], None]:
        for own, g in zip(grads, gradients[k], strict=True):
            own.copy_(torch.from_numpy(g))
        return step

    return Run(turn, lambda: [*params, *(x.numpy() for x in averages if "ema_decay" in work.extra)])


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
    if work.extra:
        return _with_extra_in_optax(jax, optax, transform, work, gradients)
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


def _with_extra_in_optax(jax: Any, optax: Any, transform: Any, work: Work, gradients: Gradients) -> Run:
    """Run one jitted function that also unscales, clips and averages."""
    if "clip_norm" in work.extra:
        transform = optax.chain(optax.clip_by_global_norm(work.max_norm), transform)
    keeps = "ema_decay" in work.extra
    params = [jax.numpy.array(p) for p in work.params()]
    average = [jax.numpy.array(p) for p in work.params()] if keeps else []
    pool = [[jax.numpy.asarray(g) for g in grads] for grads in gradients]
    state, scales, updates = transform.init(params), cycle(INV_SCALES), count()

    @partial(jax.jit, donate_argnums=(0, 2, 3))
    def update(params: Any, grads: Any, state: Any, average: Any, scale: Any, share: Any) -> Any:
        if "inv_scale" in work.extra:
            grads = [g * scale for g in grads]
        change, state = transform.update(grads, state, params)
        params = optax.apply_updates(params, change)
        return params, state, optax.incremental_update(params, average, share) if keeps else average

    def step(grads: Any) -> None:
        nonlocal params, state, average
        share = 1.0 - EMA_DECAY if next(updates) else 1.0  # the first average is the parameters after the update
        params, state, average = update(params, grads, state, average, next(scales), share)
        params[0].block_until_ready()

    return Run(lambda k: partial(step, pool[k]), lambda: [np.asarray(p) for p in (*params, *average)])


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
    return driven_as_torch(torch, work, gradients, lambda tensors: make(tensors, lr=variant.lr, **options))


def _in_deepspeed(work: Work) -> bool:
    return work.variant.cls in ("Adam", "AdamW") and work.dtype == "float32"


def _plain_adam(work: Work) -> bool:
    return work.variant.name == "adam" and work.dtype == "float32"


def _empty_loop(work: Work, gradients: Gradients) -> Run:
    from .roofline import Loop

    loop = Loop(work, gradients)
    return Run(loop.turn, updates=loop.updates)


def _empty_loop_without_extra(work: Work, gradients: Gradients) -> Run:
    return _empty_loop(replace(work, extra=()), gradients)


#: What reports say about the limit, and about a step above it.
LIMIT_IS = "a loop that moves the same bytes and computes almost nothing"
ABOVE_LIMIT = (
    "The loop is measured too. With one thread it is a bound, to a few per cent. With several, which are Python "
    "threads, it loses more time than a step when something else runs on the cores. So a step above the limit means "
    "that the loop was held up, not that the step is faster than the memory."
)
LIMIT = Contender("empty loop", _empty_loop, lambda work: len(work.layout.shapes) == 1, extra=True)
# The same without what the step does besides the update. Their results are others, so they are not compared.
PLAIN_OURS = Contender("pyfastlr plain", _without_extra, lambda work: bool(work.extra), extra=True)
PLAIN_LIMIT = Contender(
    "empty loop plain", _empty_loop_without_extra, lambda work: bool(work.extra) and LIMIT.takes(work), extra=True
)

CONTENDERS = (
    OURS,
    Contender("pyfastlr threads=1", partial(ours, threads=1), lambda work: work.threads > 1, extra=True),
    PLAIN_OURS,
    Contender("numpy", _by_hand, _in_plain, large=False),
    Contender("numpy out=", _without_temporaries, lambda work: work.variant.name in _IN_PLACE, large=False),
    Contender("torch for-loop", partial(_torch, foreach=False), _of_torch, large=False, extra=True),
    Contender("torch foreach", partial(_torch, foreach=True), _foreach_in_torch, large=False, extra=True),
    Contender("torch fused", partial(_torch, fused=True), _fused_in_torch, extra=True),
    Contender("optax jit", _optax, _in_optax, extra=True),
    Contender("scikit-learn", _sklearn, _plain_adam, large=False),
    Contender("thinc", _thinc, _plain_adam, large=False),
    Contender("DeepSpeedCPUAdam", _deepspeed, _in_deepspeed),
    LIMIT,
    PLAIN_LIMIT,
)
