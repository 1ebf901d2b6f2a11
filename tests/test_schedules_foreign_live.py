"""`S.torch`, `S.keras` and `S.optax` beside the libraries themselves: names, arguments, defaults and values."""

import importlib.util
import inspect

import numpy as np
import pytest

from foreign_schedules import INDICES, KERAS, OPTAX, STEPS, TORCH, evaluate, ours, run_torch, torch_scheduler
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
    # In float32, Keras' default, log(7**3)/log(7) < 3: the end of the cycle in the place of the next one's start.
    float32 = "(keras.config.set_floatx('float32'), at(CosineDecayRestarts(0.3, 10, t_mul=7.0), [570, 571]))[1]"
    names, *theirs, (end, after) = evaluate("keras", [public, *rows, *signatures(S.keras), float32])
    for row, rates in zip(KERAS, theirs, strict=False):
        agree(ours("keras", row), INDICES, rates)
    for name, signature in zip(S.keras.__all__, theirs[len(rows) :], strict=True):
        assert arguments(getattr(S.keras, name)) == [x for x in signature if x[0] != "name"], name
    assert {*names} - {"LearningRateSchedule"} == {*S.keras.__all__}
    s = S.keras.CosineDecayRestarts(0.3, 10, t_mul=7.0)
    assert (s(570), end) == (0.3, pytest.approx(0.0, abs=1e-6))
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
