"""`S.torch`, `S.keras`, ... beside the libraries themselves: names, arguments, defaults and values."""

import importlib.util
import inspect
import random

import numpy as np
import pytest

from foreign_schedules import (
    FASTAI,
    INDICES,
    KERAS,
    OPTAX,
    STEPS,
    TIMM,
    TORCH,
    TRANSFORMERS,
    evaluate,
    ours,
    run_torch,
    torch_scheduler,
)
from pyfastlr import schedules as S


def needs(*modules):  # importing keras here would choose a backend
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    return pytest.mark.skipif(bool(missing), reason=f"needs {', '.join(missing)}")


needs_torch, needs_keras, needs_optax = needs("torch"), needs("keras", "torch"), needs("jax", "optax")


def agree(s, n, theirs, ulps=0.0):
    """Within 1e-12 of the highest rate. `ulps` allows for larger known rounding errors in their values."""
    got = s(np.array(n))
    np.testing.assert_allclose(got, theirs, rtol=0, atol=(1e-12 + ulps * 2.0**-52) * max(np.max(theirs), 1e-300))


def arguments(function):
    return [[p.name, repr(p.default) if p.default is not p.empty else ""]
            for p in inspect.signature(function).parameters.values()]  # fmt: skip


# --- torch -----------------------------------------------------------------------------------------------------------


@needs_torch
@pytest.mark.parametrize("row", TORCH)
def test_torch(row):
    """A rising CosineAnnealingLR gathers two roundings a step."""
    agree(ours("torch", row), range(STEPS), run_torch(row)[0], 2 * STEPS if "CosineAnnealingLR(" in row else 0)


@needs_torch
@pytest.mark.parametrize("row", [row for row in TORCH if row.startswith(("CyclicLR", "OneCycleLR"))])
def test_torch_momentum(row):
    agree(ours("torch", row).momentum(), range(STEPS), run_torch(row)[1])


@needs_torch
def test_torch_names_and_arguments():
    from torch.optim import lr_scheduler, swa_utils

    names = {*lr_scheduler.__all__, "SWALR"} - {"LRScheduler", "ReduceLROnPlateau"}
    assert names == set(S.torch.__all__)
    for name in names:
        theirs = arguments(getattr(lr_scheduler, name, None) or swa_utils.SWALR)
        theirs = [x for x in theirs if x[0] != "last_epoch"]
        if name in ("CyclicLR", "OneCycleLR", "SequentialLR", "ChainedScheduler"):
            theirs = [x for x in theirs if x[0] != "optimizer"]
        else:
            assert theirs[0][0] == "optimizer"
            theirs[0][0] = "lr"
        assert arguments(getattr(S.torch, name)) == theirs, name


@needs_torch
def test_torch_one_cycle_past_the_end():
    """torch goes one step further, here below zero, and then raises; ours stays constant."""
    row = "OneCycleLR(0.3, 20, anneal_strategy='linear')"
    scheduler, _ = torch_scheduler(row)
    scheduler.optimizer.step()
    for _ in range(20):
        scheduler.step()
    assert scheduler.get_last_lr()[0] < 0
    with pytest.raises(ValueError, match="total steps"):
        scheduler.step()
    s = ours("torch", row)
    assert s(19) == s(20) == s(10**12) == 0.3 / 25 / 1e4


@needs_torch
@pytest.mark.parametrize("row", ["OneCycleLR(0.3, 10, pct_start=0.1)", "OneCycleLR(0.3, 4, pct_start=0.25)"])
def test_torch_one_cycle_with_a_rise_of_one_update(row):
    with pytest.raises(ZeroDivisionError):
        torch_scheduler(row)
    with pytest.raises(ValueError, match="`pct_start` must not be 1/total_steps"):
        ours("torch", row)


@needs_torch
def test_torch_one_cycle_in_a_sequence_overwrites_the_initial_rate():
    rates, _ = run_torch("SequentialLR([ExponentialLR(lr, 0.9), (c := OneCycleLR(0.5, 50))], [10])", 60)
    s = S.torch.SequentialLR([S.torch.ExponentialLR(0.5 / 25, 0.9), S.torch.OneCycleLR(0.5, 50)], [10])
    agree(s, range(60), rates)


def nest(draw, depth, chained):
    """A random torch scheduler. In a chain all of them multiply the rate, and a CosineAnnealingLR only falls."""
    kind = draw.random()
    if depth == 0 or kind < 0.3:
        n = draw.randint(1, 40)
        leaves = [
            f"StepLR(lr, {n}, 0.9)", f"MultiStepLR(lr, [0, {n}, {n}, {2 * n}], 0.8)", f"ConstantLR(lr, 0.6, {n})",
            f"LinearLR(lr, 0.4, 0.9, {n})", "ExponentialLR(lr, 0.97)", f"PolynomialLR(lr, {n + 60}, 1.5)",
            "CosineAnnealingLR(lr, 400)", "MultiplicativeLR(lr, lambda n: 1 - 1 / (n + 3) ** 2)",
            f"LinearLR(lr, 0.7, 0.0, {n + 130})",
        ]  # fmt: skip
        overwriting = ["LambdaLR(lr, lambda n: 1 / (1 + n))", f"CosineAnnealingWarmRestarts(lr, {n})"]
        return draw.choice(leaves if chained else leaves + overwriting)
    if kind < 0.6:
        return f"ChainedScheduler([{', '.join(nest(draw, depth - 1, True) for _ in range(draw.randint(1, 3)))}])"
    first, count = nest(draw, depth - 1, chained), draw.randint(1, 2)
    later = [nest(draw, 0, chained) for _ in range(count)]  # torch refuses anything else after a milestone
    return f"SequentialLR([{', '.join([first, *later])}], {sorted(draw.randint(1, 60) for _ in range(count))})"


@needs_torch
@pytest.mark.parametrize("seed", range(150))
def test_torch_random_nests(seed):
    row = nest(random.Random(seed), 3, False)
    agree(ours("torch", row), range(150), run_torch(row, 150)[0])


@needs_torch
@pytest.mark.parametrize("inner", ["SequentialLR([StepLR(lr, 3), ExponentialLR(lr, 0.9)], [5])",
                                   "ChainedScheduler([StepLR(lr, 3), ExponentialLR(lr, 0.9)])"])  # fmt: skip
def test_torch_nested_after_a_milestone(inner):
    """torch raises an error there. Ours starts with its own first rate."""
    row = f"SequentialLR([ConstantLR(lr, 0.5, 3), {inner}], [10])"
    with pytest.raises(NotImplementedError):
        run_torch(row, 12)
    assert ours("torch", row)(np.arange(10, 40)).tolist() == ours("torch", inner)(np.arange(30)).tolist()


@needs_torch
def test_torch_chained_cosine_forgets_the_other_factors():
    """When it rises again. Ours is the product of all factors at every n."""
    row = "ChainedScheduler([ExponentialLR(lr, 0.9), CosineAnnealingLR(lr, 10)])"
    rates, s = run_torch(row, 13)[0], ours("torch", row)
    agree(s, range(11), rates[:11])
    assert rates[12] / s(12) == pytest.approx(0.9**-11, rel=1e-9)


@needs_torch
@pytest.mark.parametrize(("row", "error"), [
    ("ConstantLR(lr, 0.0)", ZeroDivisionError), ("ConstantLR(lr, 1.5)", ValueError),
    ("LinearLR(lr, 0.0)", ValueError), ("LinearLR(lr, end_factor=1.5)", ValueError),
    ("SequentialLR([StepLR(lr, 3), LinearLR(lr, total_iters=0)], [2])", ZeroDivisionError),
    ("SequentialLR([StepLR(lr, 3), PolynomialLR(lr, total_iters=0)], [2])", ZeroDivisionError),
    ("SequentialLR([StepLR(lr, 3)], [2])", ValueError), ("SequentialLR([], [])", ValueError),
    ("ChainedScheduler([])", ValueError), ("CosineAnnealingLR(lr, 0)", ZeroDivisionError),
    ("CosineAnnealingWarmRestarts(lr, 0)", ValueError), ("CyclicLR(0.1, 0.2, mode='sine')", ValueError),
    ("OneCycleLR(0.3)", ValueError), ("OneCycleLR(0.3, 10, pct_start=1.5)", ValueError),
])  # fmt: skip
def test_torch_refuses_too(row, error):
    with pytest.raises(error):
        run_torch(row, 8)
    with pytest.raises((TypeError, ValueError)):
        ours("torch", row)


# --- Keras and optax: one process each, which takes some seconds to import -------------------------------------------


def signatures(module):
    return [f"[[p.name, repr(p.default) if p.default is not p.empty else ''] "
            f"for p in inspect.signature({name}).parameters.values()]" for name in module.__all__]  # fmt: skip


@needs_keras
def test_keras():
    rows = [f"at({row}, N)" for row in KERAS]
    public = "[name for name in dir(keras.optimizers.schedules) if name[0].isupper()]"
    # In float32, Keras' default, log(7**3)/log(7) may be below 3: the end of the cycle in the place of the next one's
    # start. That depends on the CPU, whose vector instructions compute the logarithm (AMD Zen 5 below, Ice Lake 3).
    float32 = "(keras.config.set_floatx('float32'), at(CosineDecayRestarts(0.3, 10, t_mul=7.0), [570, 571]))[1]"
    names, *theirs, (end, after) = evaluate("keras", [public, *rows, *signatures(S.keras), float32])
    for row, rates in zip(KERAS, theirs, strict=False):
        agree(ours("keras", row), INDICES, rates)
    for name, signature in zip(S.keras.__all__, theirs[len(rows) :], strict=True):
        assert arguments(getattr(S.keras, name)) == [x for x in signature if x[0] != "name"], name
    assert {*names} - {"LearningRateSchedule"} == {*S.keras.__all__}
    s = S.keras.CosineDecayRestarts(0.3, 10, t_mul=7.0)
    assert s(570) == 0.3
    assert end == pytest.approx(0.0 if end < 0.15 else 0.3, abs=1e-6)
    assert s(571) == pytest.approx(after, rel=1e-6)


@needs_optax
def test_optax():
    rows = [f"at({row}, N)" for row in OPTAX]
    public = "[name for name, f in vars(optax.schedules).items() if inspect.isfunction(f)]"
    names, *theirs = evaluate("optax", [public, *rows, *signatures(S.optax)])
    for row, rates in zip(OPTAX, theirs, strict=False):
        agree(ours("optax", row), INDICES, rates)
    for name, signature in zip(S.optax.__all__, theirs[len(rows) :], strict=True):
        assert arguments(getattr(S.optax, name)) == signature, name
    assert {name for name in names if not name.startswith("inject")} == {*S.optax.__all__}


# --- timm, transformers and fastai: one process each, at every update -------------------------------------------------


def at_every_step(library, rows, *further):
    """Compare all rows at every update; return the values of further expressions."""
    values = evaluate(library, [*(f"at({row}, N)" for row in rows), *further], range(STEPS))
    for row, rates in zip(rows, values, strict=False):
        agree(ours(library, row), range(STEPS), rates)
    return values[len(rows) :]


def with_rate(signature, left_out):
    """Arguments with `lr` for the optimizer and without those left out; 0 and 0.0 are the same default."""
    return [["lr" if name == "optimizer" else name, default] for name, default in signature if name not in left_out]


@needs("timm", "torch")
def test_timm():
    names = "[x for x in dir(library) if x.endswith('LRScheduler')]"
    names, *theirs = at_every_step("timm", TIMM, names, *signatures(S.timm))
    assert {*names} - {"PlateauLRScheduler"} == {*S.timm.__all__}
    noise = {"noise_range_t", "noise_pct", "noise_std", "noise_seed"}
    for name, signature in zip(S.timm.__all__, theirs, strict=True):
        assert arguments(getattr(S.timm, name)) == with_rate(signature, {"t_in_epochs", "initialize", *noise}), name


@needs("timm", "torch")
def test_timm_uses_lr_until_the_first_call():
    """Where the docstrings say so: before step(0), the rate is the optimizer's."""
    made = (
        "(TanhLRScheduler(lr, 100), lr.param_groups[0]['lr'])[1]",
        "(s := TanhLRScheduler(lr, 100), at(s, [0])[0])[1]",
    )
    before, after = evaluate("timm", made)
    assert before == 0.3
    assert after == pytest.approx(ours("timm", "TanhLRScheduler(lr, 100)")(0), rel=1e-15)
    assert after < before


@needs("timm", "torch")
def test_timm_rounds_a_logarithm_at_restarts():
    """log(243)/log(3) is below 5: timm is at the end of a cycle instead of at the next one's start, and so are we."""
    row = "CosineLRScheduler(lr, 2, cycle_mul=3.0, cycle_limit=9)"
    (theirs,) = evaluate("timm", [f"at({row}, N)"], [242])
    assert theirs == pytest.approx([0.0], abs=1e-12)
    agree(ours("timm", row), [242], theirs)


@needs("transformers", "torch")
def test_transformers():
    names = "[x for x in dir(optimization) if x.startswith('get_')]"
    names, types, *theirs = at_every_step(
        "transformers", TRANSFORMERS, names, "[x.value for x in SchedulerType]", *signatures(S.transformers)
    )
    of_the_run = {"get_reduce_on_plateau_schedule", "get_greedy_schedule", "get_adafactor_schedule"}
    assert {*names} - of_the_run == {*S.transformers.__all__}
    for name, signature in zip(S.transformers.__all__, theirs, strict=True):
        assert arguments(getattr(S.transformers, name)) == with_rate(signature, {"last_epoch"}), name
    with pytest.raises(ValueError, match="`name` must be one of") as refused:
        S.transformers.get_scheduler("x", 0.1)
    assert [x for x in types if x not in str(refused.value)] == ["reduce_lr_on_plateau", "greedy"]


@needs("fastai", "torch")
def test_fastai():
    functions = [x for x in S.fastai.__all__ if x.startswith(("Sched", "comb"))]
    names = "[x.name for x in ast.parse(source).body if isinstance(x, ast.FunctionDef)]"
    signature = "[x for x in inspect.signature(theirs['{}']).parameters]"
    names, *theirs = at_every_step("fastai", FASTAI, names, *map(signature.format, functions))
    assert {*S.fastai.__all__} == {x for x in names if x.startswith(("Sched", "comb", "fit_", "fine_"))}
    for name, signature in zip(functions, theirs, strict=True):
        assert [x for x, _ in arguments(getattr(S.fastai, name))] == [*signature, "steps"], name


@needs("fastai", "torch")
def test_fastai_itself_computes_positions_in_float32():
    row = "fit_one_cycle(0.3, 777)"
    prepared = f"(globals().update(KIND=torch.float32), at({row}, N))[1]"
    (theirs,) = evaluate("fastai", [prepared], range(777))
    difference = np.abs(ours("fastai", row)(np.arange(777)) - theirs).max() / 0.3
    assert 1e-9 < difference < 1e-6
