"""Training loops around our optimizers for torch: schedulers, scaled losses, closures, gradients, graphs, refusals."""

import copy
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch.optim import lr_scheduler as L  # noqa: E402

import pyfastlr.interop.torch as ours  # noqa: E402
from interrupts import interrupted, needs_faithful_traces  # noqa: E402
from pyfastlr import schedules as S  # noqa: E402
from pyfastlr.interop.torch import shim  # noqa: E402
from torch_pairs import CLASSES, Pair, assert_same_state  # noqa: E402


def network():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1)).double()


def trained(make, steps=60, after=lambda k, loss: None, make_after=None):
    """Parameters after a loop as users write it: new gradients at each step."""
    model = network()
    opt = make(model.parameters())
    control = make_after(opt) if make_after else None
    rates, rng = [], np.random.default_rng(0)
    for _ in range(steps):
        x = torch.tensor(rng.normal(size=(16, 6)))
        loss = (model(x) - x.sum(1, keepdim=True)).pow(2).mean()
        opt.zero_grad()
        loss.backward()
        opt.step()
        if control is not None:
            control.step(loss.detach()) if isinstance(control, L.ReduceLROnPlateau) else control.step()
        rates.append(float(opt.param_groups[0]["lr"]))
    return torch.cat([p.detach().reshape(-1) for p in model.parameters()]).numpy(), rates


# --- Schedulers -------------------------------------------------------------------------------------------------------


SCHEDULERS = {
    "LambdaLR": lambda opt: L.LambdaLR(opt, lambda n: 0.95**n),
    "MultiplicativeLR": lambda opt: L.MultiplicativeLR(opt, lambda n: 0.95),
    "StepLR": lambda opt: L.StepLR(opt, 7, 0.5),
    "MultiStepLR": lambda opt: L.MultiStepLR(opt, [5, 20], 0.3),
    "ConstantLR": lambda opt: L.ConstantLR(opt, 0.5, 10),
    "LinearLR": lambda opt: L.LinearLR(opt, 0.1, 1.0, 20),
    "ExponentialLR": lambda opt: L.ExponentialLR(opt, 0.97),
    "SequentialLR": lambda opt: L.SequentialLR(opt, [L.ConstantLR(opt, 0.1), L.ExponentialLR(opt, 0.9)], [10]),
    "PolynomialLR": lambda opt: L.PolynomialLR(opt, 50, 2.0),
    "CosineAnnealingLR": lambda opt: L.CosineAnnealingLR(opt, 25),
    "ChainedScheduler": lambda opt: L.ChainedScheduler([L.ConstantLR(opt, 0.5, 5), L.ExponentialLR(opt, 0.9)]),
    "ReduceLROnPlateau": lambda opt: L.ReduceLROnPlateau(opt, patience=2),
    "CyclicLR": lambda opt: L.CyclicLR(opt, 1e-4, 1e-2, 10, cycle_momentum=cycles(opt)),
    "CosineAnnealingWarmRestarts": lambda opt: L.CosineAnnealingWarmRestarts(opt, 10, 2),
    "OneCycleLR": lambda opt: L.OneCycleLR(opt, 1e-2, 60, cycle_momentum=cycles(opt)),
}


def cycles(opt):
    return opt.param_groups[0].get("momentum", 0.0) > 0 or "betas" in opt.param_groups[0]


def test_every_scheduler_of_torch_is_tried():
    known = {name for name in dir(L) if isinstance(x := getattr(L, name), type) and issubclass(x, L.LRScheduler)}
    assert known - {"LRScheduler", "_LRScheduler"} | {"ReduceLROnPlateau"} == set(SCHEDULERS)


@pytest.mark.parametrize("rate", ["number", "tensor"])
@pytest.mark.parametrize("name", ["SGD", "Adam", "RMSprop"])
@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_schedulers_of_torch(scheduler, name, rate):
    options = {"momentum": 0.9} if name == "SGD" else {}

    def run(module):
        lr = torch.tensor(1e-3, dtype=torch.float64) if rate == "tensor" else 1e-3
        return trained(lambda params: getattr(module, name)(params, lr=lr, **options), make_after=SCHEDULERS[scheduler])

    (got, rates), (want, others) = run(ours), run(torch.optim)
    assert rates == others
    assert len(set(rates)) > 1
    np.testing.assert_allclose(got, want, rtol=1e-10)


@pytest.mark.parametrize("name", [*CLASSES, "Lion", "CPUAdam"])
def test_our_schedules_as_rate(name):
    schedule = S.Cosine(1e-2, steps=50).warmup(5)
    scheduled, rates = trained(lambda params: getattr(ours, name)(params, lr=schedule))
    assert rates == [schedule(k) for k in range(60)]
    by_hand, _ = (
        trained(
            lambda params: getattr(ours, name)(params, lr=schedule(0)),
            make_after=lambda opt: L.LambdaLR(opt, lambda n: schedule(n) / schedule(0) if schedule(0) else 0.0),
        )
        if schedule(0)
        else trained_by_hand(name, schedule)
    )
    np.testing.assert_array_equal(scheduled, by_hand)


def trained_by_hand(name, schedule):
    class ByHand:
        def __init__(self, opt):
            self.opt, self.n = opt, 0
            self.write()

        def write(self):
            for group in self.opt.param_groups:
                group["lr"] = schedule(self.n)

        def step(self):
            self.n += 1
            self.write()

    return trained(lambda params: getattr(ours, name)(params, lr=0.5), make_after=ByHand)


def test_groups_have_schedules_of_their_own():
    p, q, r = (torch.nn.Parameter(torch.ones(2)) for _ in range(3))
    opt = ours.SGD([{"params": [p]}, {"params": [q], "lr": 0.5}], lr=S.Linear(1.0, 0.0, steps=4))
    opt.add_param_group({"params": [r], "lr": lambda n: 10.0 + n})
    found = []
    for _ in range(3):
        for x in (p, q, r):
            x.grad = torch.ones(2)
        opt.step()
        found.append([group["lr"] for group in opt.param_groups])
    assert found == [[1.0, 0.5, 10.0], [0.75, 0.5, 11.0], [0.5, 0.5, 12.0]]
    assert ours.SGD([p], lr=S.Constant(0.3)).param_groups[0]["lr"] == 0.3


def test_a_number_in_the_group_goes_before_its_schedule():
    """Until it is what the schedule gave last, as after a step at rate 0 for a checkpoint."""
    p = torch.nn.Parameter(torch.zeros(1))
    opt = ours.SGD([p], lr=lambda n: float(n + 1))
    p.grad = torch.ones(1)
    for lr, moved in ((None, 1.0), (None, 2.0), (0.0, 0.0), (2.0, 3.0), (0.25, 0.25)):
        before = float(p.detach())
        if lr is not None:
            opt.param_groups[0]["lr"] = lr
        opt.step()
        assert before - float(p.detach()) == moved


@pytest.mark.parametrize(
    ("lr", "message"),
    [
        (S.Plateau(0.1), "`lr` must be .* a schedule without state, got the controller Plateau"),
        ("0.1", "`lr` must be a number, a tensor or a schedule, got '0.1'"),
        (True, "`lr` must be a number, a tensor or a schedule, got True"),
    ],
    ids=["controller", "text", "bool"],
)
def test_rates_that_are_refused(lr, message):
    p = torch.nn.Parameter(torch.ones(3))
    with pytest.raises(TypeError, match=message):
        ours.SGD([p], lr=lr)
    opt = ours.SGD([p], lr=0.1)
    with pytest.raises(TypeError, match=r"`.*lr.*` must be"):
        opt.add_param_group({"params": [torch.nn.Parameter(torch.ones(2))], "lr": lr})
    assert len(opt.param_groups) == 1


def test_a_schedule_and_a_scheduler_of_torch_are_refused_together():
    p = torch.nn.Parameter(torch.ones(1))
    opt = ours.SGD([p], lr=S.Constant(0.1))
    L.StepLR(opt, 3)
    p.grad = torch.ones(1)
    with pytest.raises(ValueError, match="`lr` must be a number if a scheduler of torch sets it, got Constant"):
        opt.step()


@pytest.mark.parametrize(
    ("lr", "message"),
    [
        (lambda n: -1.0, "`lr` must be a finite number >= 0, got -1.0 from its schedule at update 0"),
        (lambda n: "fast", "`lr` must be a finite number >= 0"),
    ],
)
def test_wrong_values_of_schedules(lr, message):
    with pytest.raises((TypeError, ValueError), match=message):
        ours.Adam([torch.nn.Parameter(torch.ones(1))], lr=lr)


def test_a_schedule_that_fails_changes_nothing():
    p = torch.nn.Parameter(torch.ones(1))
    opt = ours.Adam([p], lr=lambda n: 1 / (2 - n) if n < 2 else {}[n])
    for _ in range(2):
        p.grad = torch.ones(1)
        opt.step()
    before = copy.deepcopy((p.data, opt.state_dict()))
    with pytest.raises(KeyError):
        opt.step()
    assert str((p.data, opt.state_dict())) == str(before)


def test_a_schedule_must_not_step():
    p = torch.nn.Parameter(torch.ones(1))
    opt = ours.Adam([p], lr=lambda n: opt.step() or 0.1 if n else 0.1)
    p.grad = torch.ones(1)
    opt.step()
    with pytest.raises(RuntimeError, match="must not call step"):
        opt.step()


# --- Scaled losses ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["step", "unscale_", "clipped"])
@pytest.mark.parametrize("name", CLASSES)
def test_grad_scaler(name, path):
    """Both of its paths, with gradients that overflow now and then: torch's run with the same scales."""
    runs = []
    for module in (torch.optim, ours):
        torch.manual_seed(0)
        p = torch.nn.Parameter(torch.randn(50))
        opt = getattr(module, name)([p], lr=0.01)
        scaler = torch.amp.GradScaler("cpu", init_scale=2.0**12, growth_interval=5)
        scales = []
        for k in range(40):
            opt.zero_grad()
            x = torch.randn(50) * (float("inf") if k in (4, 17, 18) else 1.0)
            scaler.scale((p * x).sum()).backward()
            if path != "step":
                scaler.unscale_(opt)
            if path == "clipped":
                torch.nn.utils.clip_grad_norm_([p], 0.5)
            scaler.step(opt)
            scaler.update()
            scales.append(scaler.get_scale())
        runs.append((p.detach().numpy(), scales, opt))
        assert not hasattr(opt, "found_inf")
    (want, scales, theirs), (got, others, mine) = runs
    assert scales == others
    assert len(set(scales)) > 2
    np.testing.assert_allclose(got, want, rtol=2e-5, atol=1e-7)
    assert_same_state(mine, theirs, rtol=1e-4)


def test_a_skipped_step_moves_no_schedule():
    p = torch.nn.Parameter(torch.ones(2))
    opt = ours.Adam([p], lr=lambda n: 0.1 * (n + 1))
    scaler = torch.amp.GradScaler("cpu")
    for bad in (False, True, False):
        p.grad = torch.full((2,), float("nan") if bad else 1.0)
        scaler.scale(torch.ones(()))
        scaler.step(opt)
        scaler.update()
    assert opt.param_groups[0]["schedule_step"] == 2
    assert float(opt.state[p]["step"]) == 2


# --- Gradients and memory ---------------------------------------------------------------------------------------------


def test_gradients_that_move_at_each_step():
    pair = Pair("Adam", "groups")
    held = []
    for k in range(30):
        gradients = pair.gradients()
        pair.give(gradients)
        for p in pair.params[1]:
            held.append(torch.empty(k + 1))  # so that no address comes twice
            p.grad = p.grad.clone()
        for opt in pair.opts:
            opt.step()
    got, want = pair.both()
    np.testing.assert_allclose(got, want, rtol=1e-11)


def odd(x):
    """Gradients with the values of x in unusual memory."""
    wide = torch.zeros(*x.shape, 2, dtype=x.dtype)
    wide[..., 0] = x
    yield "with gaps", wide[..., 0]
    yield "transposed", x.t().contiguous().t() if x.ndim == 2 else x
    yield "expanded", x[:1].expand(x.shape) if x.ndim and len(x) else x
    yield "negated lazily", torch.complex(torch.zeros_like(x), -x).conj().imag
    yield "with a graph", (x.clone().requires_grad_() * 1.0)
    raw = torch.zeros(x.numel() * x.element_size() + 1, dtype=torch.uint8).numpy()
    inside = np.frombuffer(raw.data, x.detach().numpy().dtype, x.numel(), 1) if x.numel() else None
    if inside is not None:
        y = torch.from_numpy(inside).view(x.shape)
        y.copy_(x)
        yield "misaligned", y


@pytest.mark.parametrize(
    "what", ["with gaps", "transposed", "expanded", "negated lazily", "with a graph", "misaligned"]
)
@pytest.mark.parametrize("kind", ["numbers", "plain", "list"])  # in the list, one gradient is always copied
@pytest.mark.parametrize("compiled", [True, False])
def test_gradients_in_unusual_memory(what, compiled, kind, monkeypatch):
    if not compiled:
        monkeypatch.setattr(shim, "functions", lambda: None)
    pair = Pair("Adam", kind)
    for k in range(9):
        pair.give(pair.gradients())
        for p, q in zip(*pair.params, strict=True):
            if k % 3:
                q.grad = dict(odd(q.grad)).get(what, q.grad)
                p.grad = q.grad.detach().clone()
        for opt in pair.opts:
            opt.step()
    got, want = pair.both()
    np.testing.assert_allclose(got, want, rtol=1e-11)


def test_a_gradient_in_the_parameter_s_own_memory():
    """It is read as it was before the step."""
    p = torch.nn.Parameter(torch.arange(1.0, 5.0))
    q = torch.nn.Parameter(torch.arange(1.0, 5.0))
    one, other = (ours.SGD([x], lr=0.1, momentum=0.9, weight_decay=0.1) for x in (p, q))
    for _ in range(4):
        p.grad, q.grad = p.detach().clone(), q.detach()
        one.step()
        other.step()
        assert torch.equal(p, q)


@pytest.mark.parametrize("compiled", [True, False])
def test_parameters_that_move(compiled, monkeypatch):
    """``p.data = other``, a storage that is resized, a parameter that is replaced in its group."""
    if not compiled:
        monkeypatch.setattr(shim, "functions", lambda: None)
    pair = Pair("AdamW", "list")
    for k in range(12):
        pair.step()
        for params, opt in zip(pair.params, pair.opts, strict=True):
            if k % 3 == 0:
                for p in params:
                    p.data = p.data.clone()
            if k == 5:
                new = torch.nn.Parameter(params[0].detach().clone())
                opt.state[new] = opt.state.pop(params[0])
                opt.param_groups[0]["params"][0] = params[0] = new
            if k == 7:
                opt.param_groups[0]["params"].reverse()
    got, want = pair.both()
    np.testing.assert_allclose(got, want, rtol=1e-11)


def test_groups_that_share_their_parameters_in_another_way():
    """The parameters and their order stay, only their groups change."""
    pair = Pair("AdamW", "plain")
    for params, opt in zip(pair.params, pair.opts, strict=True):
        opt.add_param_group({"params": [torch.nn.Parameter(params[0].detach().clone())], "lr": 0.5})
        params.append(opt.param_groups[1]["params"][0])
    for k in range(6):
        pair.step()
        for opt in pair.opts:
            first, *others = opt.param_groups
            if k == 1:
                others[0]["params"].insert(0, first["params"].pop())
            if k == 3:
                opt.param_groups.append({**first, "lr": 0.01, "params": others[0]["params"][1:]})
                del others[0]["params"][1:]
    got, want = pair.both()
    np.testing.assert_allclose(got, want, rtol=1e-11)


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("change", [torch.clone, torch.t, lambda x: x.clone().t(), torch.neg_])
def test_a_parameter_with_gaps_that_gets_other_memory_or_strides(change, compiled, monkeypatch):
    if not compiled:
        monkeypatch.setattr(shim, "functions", lambda: None)
    memory = [torch.arange(36.0, dtype=torch.float64).view(6, 6) for _ in range(2)]
    p, q = (torch.nn.Parameter(x[:3, ::2]) for x in memory)
    opts = torch.optim.AdamW([p], lr=0.1), ours.AdamW([q], lr=0.1)
    for k in range(6):
        for x, opt in zip((p, q), opts, strict=True):
            x.grad = torch.arange(9.0, dtype=torch.float64).view(3, 3) - k
            opt.step()
            if k % 2:
                x.data = change(x.data)
    np.testing.assert_allclose(q.detach(), p.detach(), rtol=1e-11)


@pytest.mark.parametrize("compiled", [True, False])
def test_a_dense_parameter_whose_axes_are_swapped_in_place(compiled, monkeypatch):
    if not compiled:
        monkeypatch.setattr(shim, "functions", lambda: None)
    p, q = (torch.nn.Parameter(torch.arange(8.0).view(2, 2, 2).permute(0, 2, 1)) for _ in range(2))
    opts = torch.optim.SGD([p], lr=0.1), ours.SGD([q], lr=0.1)
    gradient = torch.arange(8.0).view(2, 2, 2).permute(0, 2, 1)
    for _ in range(3):
        for x, opt in zip((p, q), opts, strict=True):
            x.grad = gradient
            opt.step()
            x.data = x.data.permute(1, 0, 2)
    np.testing.assert_allclose(q.detach(), p.detach(), rtol=1e-6)


def test_a_parameter_without_state_that_is_replaced():
    p, q = (torch.nn.Parameter(torch.ones(2)) for _ in range(2))
    opt = ours.SGD([p], lr=1.0)
    for x in (p, q):
        p.grad, q.grad = torch.ones(2), torch.full((2,), 3.0)
        opt.param_groups[0]["params"][0] = x
        opt.step()
    assert (p.tolist(), q.tolist()) == ([0.0, 0.0], [-2.0, -2.0])


def test_a_gradient_of_another_dtype_is_refused():
    """torch allows one, if its parameter says so."""
    p = torch.nn.Parameter(torch.ones(2))
    opt = ours.Adam([("w", p)])
    p.grad = torch.ones(2)
    opt.step()
    p.grad = None
    p.grad_dtype = None
    p.grad = torch.ones(2, dtype=torch.float64)
    before = p.detach().clone()
    with pytest.raises(TypeError, match=r"the gradient of `w` must be float32\[2\] on cpu, got float64\[2\] on cpu"):
        opt.step()
    assert torch.equal(p, before)


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("kind", ["one", "plain"])
def test_a_parameter_without_state_that_becomes_smaller_in_place(kind, compiled, monkeypatch):
    """Its address is the same, and there is no state that tells."""
    if not compiled:
        monkeypatch.setattr(shim, "functions", lambda: None)
    pair = Pair("SGD", kind, lr=0.1)
    pair.step()
    whole = [params[0].data for params in pair.params]
    for params in pair.params:
        params[0].grad = None
        params[0].data = params[0].data[:2]
    for _ in range(3):
        pair.step()
    got, want = pair.both()
    np.testing.assert_allclose(got, want, rtol=1e-12)
    assert torch.equal(*(x[2] for x in whole))


@pytest.mark.parametrize("kind", ["plain", "list"])
@pytest.mark.parametrize("compiled", [True, False])
def test_a_square_parameter_that_is_transposed_in_place(kind, compiled, monkeypatch):
    """Address, size and shape are the same: only the order of its elements changes."""
    if not compiled:
        monkeypatch.setattr(shim, "functions", lambda: None)
    pair = Pair("SGD", kind, lr=0.1)
    for params in pair.params:
        params[0].data = torch.arange(16.0, dtype=torch.float64).reshape(4, 4)
    for k in range(6):
        pair.step()
        if k % 2:
            for params in pair.params:
                params[0].data = params[0].data.t()
    got, want = pair.both()
    np.testing.assert_allclose(got, want, rtol=1e-12)


def test_a_parameter_that_becomes_smaller_in_place():
    pair = Pair("Adam", "one")
    pair.step()
    for params, opt in zip(pair.params, pair.opts, strict=True):
        params[0].grad = None
        params[0].data = params[0].data[:2]
        for key in ("exp_avg", "exp_avg_sq"):
            opt.state[params[0]][key] = opt.state[params[0]][key][:2].clone()
    for _ in range(3):
        pair.step()
    got, want = pair.both()
    np.testing.assert_allclose(got, want, rtol=1e-12)


def test_autograd_sees_the_update():
    """A tensor that was saved for backward has changed: torch's error, not a wrong gradient."""
    p = torch.nn.Parameter(torch.ones(3))
    opt = ours.SGD([p], lr=0.1)
    loss = (p * p).sum()
    p.grad = torch.ones(3)
    version = p._version
    opt.step()
    assert p._version > version
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_parameters_without_elements_or_gradient():
    empty, still, moved = (torch.nn.Parameter(torch.ones(n)) for n in (0, 2, 3))
    opt = ours.Adam([empty, still, moved])
    empty.grad, moved.grad = torch.ones(0), torch.ones(3)
    for _ in range(2):
        opt.step()
    assert float(opt.state[empty]["step"]) == 2
    assert still not in opt.state
    still.grad = torch.ones(2)
    opt.step()
    assert [float(opt.state[p]["step"]) for p in (empty, still, moved)] == [3, 1, 3]


def test_optimizers_in_hooks_of_the_backward_pass():
    """One optimizer for each parameter, called while gradients are computed."""
    runs = []
    for module in (torch.optim, ours):
        model = network()
        opts = {p: module.Adam([p], lr=0.01) for p in model.parameters()}

        def update(p, opts=opts):
            opts[p].step()
            opts[p].zero_grad()

        for p in model.parameters():
            p.register_post_accumulate_grad_hook(update)
        rng = np.random.default_rng(0)
        for _ in range(10):
            model(torch.tensor(rng.normal(size=(4, 6)))).pow(2).mean().backward()
        runs.append(torch.cat([p.detach().reshape(-1) for p in model.parameters()]))
    torch.testing.assert_close(*runs, rtol=1e-10, atol=0)


def test_threads_step_one_optimizer():
    p = torch.nn.Parameter(torch.zeros(70_000))
    opt = ours.SGD([p], lr=1.0)
    p.grad = torch.ones(70_000)
    threads = [threading.Thread(target=lambda: [opt.step() for _ in range(50)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert torch.equal(p.detach(), torch.full((70_000,), -200.0))


# --- torch.compile ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["SGD", "AdamW", "NAdam", "Lion"])
def test_compiled_training_step(name):
    """The graph is broken at the step, which runs as it is."""
    runs = []
    for is_compiled in (False, True):
        model = network()
        opt = getattr(ours, name)(model.parameters(), lr=0.01)

        def train(x, model=model, opt=opt):
            opt.zero_grad()
            loss = model(x).pow(2).mean()
            loss.backward()
            opt.step()
            return loss

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's own, at import
            call = torch.compile(train, backend="aot_eager") if is_compiled else train
            rng = np.random.default_rng(0)
            losses = [float(call(torch.tensor(rng.normal(size=(4, 6)))).detach()) for _ in range(6)]
        runs.append((losses, torch.cat([p.detach().reshape(-1) for p in model.parameters()])))
    np.testing.assert_allclose(runs[1][0], runs[0][0], rtol=1e-10)
    torch.testing.assert_close(runs[1][1], runs[0][1], rtol=1e-10, atol=0)
    torch._dynamo.reset()


# --- Refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("p", "message"),
    [
        (
            torch.ones(2).to(torch.float8_e5m2),
            r"`w` must be a float32, float64, bfloat16 or float16 tensor .*, got float8_e5m2\[2\] on cpu",
        ),
        (torch.ones(2, dtype=torch.complex64), r"got complex64\[2\] on cpu"),
        (torch.ones(2, device="meta"), r"got float32\[2\] on meta"),
        (torch.ones(2).to_sparse(), r"got sparse_coo float32\[2\] on cpu"),
        (torch._neg_view(torch.ones(2)), "got a view of another tensor's negative"),
    ],
)
def test_parameters_that_are_refused(p, message):
    good = torch.nn.Parameter(torch.ones(1))
    with pytest.raises(TypeError, match=message):
        ours.Adam([("v", good), ("w", p)])
    opt = ours.Adam([("v", good)])
    with pytest.raises(TypeError, match=message):
        opt.add_param_group({"params": [("w", p)]})
    assert len(opt.param_groups) == 1
    with pytest.raises(TypeError, match=r"`param_groups\[0\]\['params'\]\[1\]` must be"):
        ours.Adam([good, p])


FLAGS = [
    (name, flag)
    for name in CLASSES
    for flag in ("capturable", "differentiable")
    if flag in getattr(ours, name).__signature__.parameters
]


@pytest.mark.parametrize(("name", "flag"), FLAGS)
def test_flags_that_are_refused(name, flag):
    p = torch.nn.Parameter(torch.ones(2))
    with pytest.raises(ValueError, match=rf"`param_groups\[0\]\['{flag}'\]` must be False, .*, got True"):
        getattr(ours, name)([p], **{flag: True})


@pytest.mark.parametrize("name", ["Adam", "NAdam", "Adamax", "Lion"])
@pytest.mark.parametrize("betas", [(1.0, 0.9), (0.9, 1.0), (-0.1, 0.9)])
def test_betas_of_groups_are_checked(name, betas):
    """torch checks those of the constructor, and later divides by zero."""
    p, q = (torch.nn.Parameter(torch.ones(2)) for _ in range(2))
    p.grad = torch.ones(2)
    opt = getattr(ours, name)([p], lr=0.1)
    with pytest.raises(ValueError, match=r"`param_groups\[1\]\['betas'\]\[[01]\]` must be a number in \[0, 1\), got"):
        opt.add_param_group({"params": [q], "betas": betas})
    opt.param_groups[0]["betas"] = betas
    with pytest.raises(ValueError, match=r"`param_groups\[0\]\['betas'\]\[[01]\]` must be a number in \[0, 1\), got"):
        opt.step()
    assert (p.tolist(), len(opt.param_groups), dict(opt.state)) == ([1.0, 1.0], 1, {})


def test_what_a_step_refuses_changes_nothing():
    p, q = (torch.nn.Parameter(torch.ones(2)) for _ in range(2))
    opt = ours.Adam([("p", p), ("q", q)])
    p.grad, q.grad = torch.ones(2), torch.ones(2).to_sparse()
    before = str(opt.state_dict())

    def refused(error, message):
        with pytest.raises(error, match=message):
            opt.step()
        assert str(opt.state_dict()) == before
        assert torch.equal(p, torch.ones(2))
        assert not opt.state

    refused(TypeError, r"the gradient of `q` must be float32\[2\] on cpu, got sparse_coo float32\[2\] on cpu")
    q.grad = torch.ones(2)
    for key, value, error, message in (
        ("lr", float("nan"), ValueError, r"`param_groups\[0\]\['lr'\]` must be a finite number, got nan"),
        ("eps", "small", TypeError, r"`param_groups\[0\]\['eps'\]` must be a finite number, got 'small'"),
        ("betas", 0.9, TypeError, r"`param_groups\[0\]\['betas'\]` must be a pair of numbers, got 0.9"),
        ("lr", torch.ones(2), TypeError, r"`param_groups\[0\]\['lr'\]` must be a finite number"),
        ("capturable", True, ValueError, r"`param_groups\[0\]\['capturable'\]` must be False"),
    ):
        good = opt.param_groups[0][key]
        opt.param_groups[0][key] = value
        with pytest.raises(error, match=message):
            opt.step()
        opt.param_groups[0][key] = good
        assert not opt.state
    whole = torch.ones(4)
    shared = ours.SGD([("a", whole[:3].requires_grad_()), ("b", whole[1:].requires_grad_())], lr=0.1)
    for x in shared.param_groups[0]["params"]:
        x.grad = torch.ones(3)
    with pytest.raises(ValueError, match="`a` and `b` must not share memory"):
        shared.step()
    opt.step()
    assert not torch.equal(p, torch.ones(2))


def test_the_module_is_loaded_only_by_its_own_import():
    code = "import sys, pyfastlr, pyfastlr.interop; assert 'torch' not in sys.modules; import pyfastlr.interop.torch"
    subprocess.run([sys.executable, "-c", code + "; assert 'numba' not in sys.modules"], check=True)


def test_torch_s_c_interface_is_used():
    """With the pinned version. Without it a step asks in Python, and is slower."""
    assert shim.functions() is not None


def test_the_example_of_offloading():
    """tests/test_examples.py runs it too, but not where torch is installed only for the live tests."""
    script = Path(__file__).parents[1] / "examples" / "torch_offload.py"
    result = subprocess.run([sys.executable, "-W", "error", script], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "(expected: at least 0.95)" in result.stdout.splitlines()[-1]


def test_the_benchmark_runs():
    from bench import torch_adapter

    found = torch_adapter.measured(0.0, 100_000)
    assert {row["contender"] for row in found["steps"]} == {"pyfastlr", "torch fused", "torch foreach"}
    assert [x["loop"] for x in found["loops"]] == ["MLP"] * 3 + ["transformer"] * 3


# --- Interrupts -------------------------------------------------------------------------------------------------------


@needs_faithful_traces
@pytest.mark.parametrize("started", [0, 2])
@pytest.mark.parametrize(
    ("name", "options"),
    [("Adam", {}), ("SGD", {"momentum": 0.9, "dampening": 0.5}), ("NAdam", {}), ("AdamW", {"lr": S.Linear(1, 0, 9)})],
    ids=["Adam", "SGD", "NAdam", "scheduled"],
)
def test_an_interrupt_leaves_the_old_or_the_new_state(name, options, started):
    """At any place of a step, the first one or a later one. The run then goes on as if nothing had happened."""

    def begun(steps):
        p, q = torch.nn.Parameter(torch.arange(1.0, 5.0)), torch.nn.Parameter(torch.ones(6)[::2])
        opt = getattr(ours, name)([p, q], **options)
        for _ in range(steps):
            step(opt)
        return opt

    def step(opt):
        for p in opt.param_groups[0]["params"]:
            p.grad = 0.1 + p.detach().clone()
        opt.step()

    def state(opt):
        entries = [{key: x.tolist() for key, x in opt.state.get(p, {}).items()} for p in opt.param_groups[0]["params"]]
        parameters = [p.tolist() for p in opt.param_groups[0]["params"]]
        return parameters, entries, opt.param_groups[0]["lr"], opt.param_groups[0].get("schedule_step")

    old, new, last = (state(begun(n)) for n in (started, started + 1, started + 2))
    k, seen = 0, set()
    while True:
        opt = begun(started)
        place = interrupted(lambda opt=opt: step(opt), k)
        if place is None:
            break
        now = state(opt)
        assert now in (old, new), place
        seen.add(now == new)
        for _ in range(1 if now == new else 2):
            step(opt)
        assert state(opt) == last, place
        k += 1
    assert k > 50
    assert seen == {False, True}
