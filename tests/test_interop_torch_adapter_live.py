"""Our optimizers for torch against torch's own: every class, option and structure of groups, in float64 and float32."""

import inspect

import numpy as np
import pytest

from oracles import STEPS, assert_same_run, torch_scalars_in_float64

torch = pytest.importorskip("torch")

import pyfastlr as flr  # noqa: E402
import pyfastlr.interop.torch as ours  # noqa: E402
from torch_pairs import CLASSES, IDS, KINDS, ROWS, Pair, assert_same_state  # noqa: E402


@pytest.fixture
def _scalars_in_float64():
    with torch_scalars_in_float64():
        yield


@pytest.mark.parametrize("name", CLASSES)
def test_arguments_are_torch_s(name):
    theirs = getattr(torch.optim, name)
    assert inspect.signature(getattr(ours, name)) == inspect.signature(theirs)
    assert issubclass(getattr(ours, name), theirs)
    p = [torch.nn.Parameter(torch.ones(2)) for _ in range(2)]
    assert getattr(ours, name)([p[0]]).defaults == theirs([p[1]]).defaults


@pytest.mark.usefixtures("_scalars_in_float64")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("name", "options"), ROWS, ids=IDS)
def test_one_step(name, options, kind):
    pair = Pair(name, kind, **options)
    pair.step()
    got, want = pair.both()
    np.testing.assert_allclose(got, want, rtol=1e-13, atol=0)
    assert not np.array_equal(got, pair.start)


@pytest.mark.usefixtures("_scalars_in_float64")
@pytest.mark.parametrize(("name", "options"), ROWS, ids=IDS)
def test_a_long_run(name, options):
    """Gradients that are missing now and then, and a rate that changes and pauses at 0."""
    pair = Pair(name, "groups", **options)
    bank = [pair.gradients() for _ in range(37)]
    got, want = [], []
    base = 0.1 if name == "Adadelta" else 1e-3
    for k in range(STEPS):
        gradients = list(bank[k % len(bank)])
        if k % 11 == 3:
            gradients[k % len(gradients)] = None
        pair.rate(0.0 if 600 <= k < 620 else base * min((k + 1) / 100, 0.5 + 0.5 * np.cos(np.pi * k / STEPS)))
        pair.step(gradients)
        if k % 50 == 49:
            for values, x in zip((got, want), pair.both(), strict=True):
                values.append(x)
    assert_same_run(np.array(got), np.array(want), pair.start)
    assert_same_state(pair.ours, pair.theirs, rtol=1e-9)


@pytest.mark.parametrize(("name", "options"), ROWS, ids=IDS)
def test_float32(name, options):
    """As near to a float64 run as torch's own float32 run is, or within a few roundings."""
    near, far = [], []
    runs = {dtype: Pair(name, "groups", dtype, **options) for dtype in (torch.float64, torch.float32)}
    wide, narrow = runs.values()
    for params, exact in zip(narrow.params, wide.params, strict=True):
        for p, q in zip(params, exact, strict=True):
            q.data.copy_(p.data)
    for _ in range(200):
        gradients = [g.float() for g in narrow.gradients()]
        narrow.step(gradients)
        wide.step([g.double() for g in gradients])
        exact = wide.flat(0)
        near.append(np.abs(narrow.flat(1) - exact).max())
        far.append(np.abs(narrow.flat(0) - exact).max())
    assert max(near) <= 2 * max(far) + 200 * np.spacing(np.float32(3))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", CLASSES)
def test_the_bits_are_those_of_the_optimizer_for_arrays(name, dtype):
    """One rule, one code: whatever calls it."""
    rng = np.random.default_rng(1)
    kind = {"RMSprop": "RMSProp", "Adagrad": "AdaGrad", "Adadelta": "AdaDelta"}.get(name, name)
    p = rng.normal(size=(50, 41)).astype(str(dtype).removeprefix("torch."))
    tensor = torch.nn.Parameter(torch.tensor(p))
    one, other = getattr(flr, kind)(p, lr=0.01), getattr(ours, name)([tensor], lr=0.01)
    for _ in range(30):
        g = rng.normal(size=p.shape).astype(p.dtype)
        one.step(g)
        tensor.grad = torch.from_numpy(g)
        other.step()
    if name == "NAdam":  # torch keeps its product in float32
        np.testing.assert_allclose(tensor.detach().numpy(), p, rtol=1e-5)
    else:
        assert tensor.detach().numpy().tobytes() == p.tobytes()


@pytest.mark.parametrize("options", [{}, {"weight_decay": 0.1}, {"betas": (0.5, 0.6), "maximize": True}])
def test_lion_is_that_for_arrays(options):
    rng = np.random.default_rng(2)
    p = rng.normal(size=99)
    tensor = torch.nn.Parameter(torch.tensor(p))
    one, other = flr.Lion(p, 1e-3, **options), ours.Lion([tensor], 1e-3, **options)
    for _ in range(50):
        g = rng.normal(size=99)
        one.step(g)
        tensor.grad = torch.from_numpy(g)
        other.step()
    assert tensor.detach().numpy().tobytes() == p.tobytes()
    np.testing.assert_array_equal(other.state[tensor]["exp_avg"].numpy(), one.state["exp_avg"])


@pytest.mark.parametrize("adamw_mode", [True, False])
def test_cpu_adam_is_adam(adamw_mode):
    rng = np.random.default_rng(3)
    start = torch.tensor(rng.normal(size=99))
    p, q = (torch.nn.Parameter(start.clone()) for _ in range(2))
    theirs = (torch.optim.AdamW if adamw_mode else torch.optim.Adam)([p], weight_decay=0.1)
    mine = ours.CPUAdam([q], weight_decay=0.1, adamw_mode=adamw_mode)
    for _ in range(50):
        p.grad = torch.tensor(rng.normal(size=99))
        q.grad = p.grad.clone()
        theirs.step()
        mine.step()
    np.testing.assert_allclose(q.detach().numpy(), p.detach().numpy(), rtol=1e-12)


def test_cpu_adam_has_deepspeed_s_arguments():
    parameters = inspect.signature(ours.CPUAdam).parameters.values()
    assert [(x.name, x.default) for x in parameters][1:] == [
        ("lr", 1e-3), ("bias_correction", True), ("betas", (0.9, 0.999)), ("eps", 1e-8), ("weight_decay", 0),
        ("amsgrad", False), ("adamw_mode", True), ("fp32_optimizer_states", True),
    ]  # fmt: skip
    with pytest.raises(ValueError, match="`bias_correction` must be True, got False"):
        ours.CPUAdam([torch.nn.Parameter(torch.ones(1))], bias_correction=False)


@pytest.mark.parametrize("cls", [ours.Lion, ours.CPUAdam])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lr": -1.0}, "`lr` must be a finite number >= 0, got -1.0"),
        ({"lr": 0.1, "betas": (1.0, 0.5)}, r"`betas\[0\]` must be a number in \[0, 1\), got 1.0"),
        ({"lr": 0.1, "betas": (0.5,)}, r"`betas` must be a pair of numbers, got \(0.5,\)"),
        ({"lr": 0.1, "weight_decay": float("nan")}, "`weight_decay` must be a finite number, got nan"),
        ({"lr": "fast"}, "`lr` must be a number, a tensor or a schedule, got 'fast'"),
    ],
)
def test_wrong_arguments_of_own_classes(cls, options, message):
    with pytest.raises((TypeError, ValueError), match=message):
        cls([torch.nn.Parameter(torch.ones(1))], **options)
