"""torch's own suite: its lists of valid and invalid arguments, and what its test_optim.py asks of every optimizer."""

import copy
import io
import pickle
import warnings

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("expecttest", reason="torch.testing's own suite imports it")

from torch.testing._internal import common_optimizers as suite  # noqa: E402

import pyfastlr.interop.torch as ours  # noqa: E402
from torch_pairs import CLASSES  # noqa: E402

INFOS = {info.optim_cls.__name__: info for info in suite.optim_db if info.optim_cls.__name__ in CLASSES}
IMPLEMENTATIONS = ({}, {"foreach": True}, {"foreach": False}, {"fused": True})


def valid(name):
    """Arguments of the suite, with each way in which torch's class can run a step."""
    info = INFOS[name]
    for given in info.optim_inputs_func(device="cpu"):
        for way in IMPLEMENTATIONS:
            if ("fused" in way and "cpu" not in info.supports_fused_on) or (
                way.get("foreach") and any(isinstance(x, torch.Tensor) for x in flat(given.kwargs.values()))
            ):
                continue
            yield pytest.param(name, {**given.kwargs, **way}, id=f"{name}-{given.desc}-{way}")


def flat(values):
    return [x for value in values for x in (value if isinstance(value, tuple) else (value,))]


def invalid():
    for name, info in INFOS.items():
        for given in info.optim_error_inputs_func(device="cpu", dtype=torch.float32):
            yield pytest.param(name, given, id=f"{name}-{given.optimizer_error_input.desc}")


VALID = [x for name in CLASSES for x in valid(name)]


def made(name, params, options):
    """New tensors as numbers, because an optimizer keeps them."""
    return getattr(ours, name)(params, **copy.deepcopy(options))


@pytest.mark.parametrize(("name", "given"), list(invalid()))
def test_errors(name, given):
    """Each invalid argument is refused by the same error."""
    assert given.error_on is suite.OptimizerErrorEnum.CONSTRUCTION_ERROR
    params, options = given.optimizer_error_input.params, given.optimizer_error_input.kwargs
    if params is None:
        params = [torch.nn.Parameter(torch.randn(3))]
    if issubclass(given.error_type, Warning):
        with pytest.warns(given.error_type, match=given.error_regex):
            made(name, params, options)
    else:
        with pytest.raises(given.error_type, match=given.error_regex):
            made(name, params, options)


@pytest.mark.parametrize(("name", "options"), VALID)
def test_every_valid_argument_gives_torch_s_update(name, options):
    torch.manual_seed(0)
    start = [torch.randn(4, 3, dtype=torch.float64), torch.randn(5, dtype=torch.float64)]
    pairs = [[torch.nn.Parameter(x.clone()) for x in start] for _ in range(2)]
    theirs = getattr(torch.optim, name)(pairs[0], **copy.deepcopy(options))
    mine = made(name, pairs[1], options)
    for _ in range(20):
        for p, q in zip(*pairs, strict=True):
            p.grad = torch.randn_like(p)
            q.grad = p.grad.clone()
        theirs.step()
        mine.step()
    for p, q in zip(*pairs, strict=True):
        # torch's NAdam has a float32 product, which its implementations round differently
        torch.testing.assert_close(q, p, rtol=1e-6 if name == "NAdam" else 1e-11, atol=1e-12)


@pytest.mark.parametrize("schedulers", [False, True])
@pytest.mark.parametrize("contiguous", [True, False])
@pytest.mark.parametrize("groups", [False, True])
@pytest.mark.parametrize("name", CLASSES)
def test_goes_in_the_right_direction(name, groups, contiguous, schedulers):
    """A least-squares problem with a closure that counts its calls, under each list of schedulers of the suite."""
    info = INFOS[name]
    for make_schedulers in info.scheduler_inputs if schedulers else [()]:
        for given in info.optim_inputs_func(device="cpu"):
            torch.manual_seed(1)
            weight = torch.randn(10, 5) if contiguous else torch.randn(10, 5, 2)[..., 0]
            weight, bias = torch.nn.Parameter(weight), torch.nn.Parameter(torch.randn(10))
            data, calls = torch.randn(5), []
            params = [{"params": [weight]}, {"params": [bias], "lr": 0.01}] if groups else [weight, bias]
            opt = made(name, params, {"lr": 0.01, **given.kwargs})
            controls = [make(opt) for make in make_schedulers]

            def closure(opt=opt, weight=weight, bias=bias, data=data, calls=calls):
                calls.append(1)
                opt.zero_grad()
                loss = (weight.mv(data) + bias).pow(2).sum()
                loss.backward()
                return loss.detach()

            first = closure().item()
            for _ in range(20):
                loss = opt.step(closure)
                for control in controls:
                    control.step(loss) if isinstance(
                        control, torch.optim.lr_scheduler.ReduceLROnPlateau
                    ) else control.step()
            assert len(calls) == 21
            last = closure().item()
            assert last > first if given.kwargs.get("maximize") else last < first


@pytest.mark.parametrize(("name", "options"), [x for x in VALID if "fused" not in x.id])
def test_state_dict_goes_on(name, options):
    """A copy that loads the state makes the same run, to the bit; so does one that was pickled or deep-copied."""
    torch.manual_seed(0)

    def step(opt, params, seed):
        torch.manual_seed(seed)
        for p in params:
            p.grad = torch.randn_like(p)
        opt.step()

    params = [torch.nn.Parameter(torch.randn(3, 2)), torch.nn.Parameter(torch.randn(1))]
    opt = made(name, params, options)
    for k in range(5):
        step(opt, params, k)
    saved = io.BytesIO()
    torch.save(opt.state_dict(), saved)
    saved.seek(0)
    runs = []
    others = [torch.nn.Parameter(p.detach().clone()) for p in params]
    loaded = made(name, others, options)
    loaded.load_state_dict(torch.load(saved, weights_only=True))
    runs.append((loaded, others))
    for clone in (copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))):
        both = clone((opt, params))
        runs.append(both)
        assert [id(x) for group in both[0].param_groups for x in group["params"]] == [id(x) for x in both[1]]
    for k in range(5, 10):
        step(opt, params, k)
        for other, ps in runs:
            step(other, ps, k)
    for _, ps in runs:
        for p, q in zip(params, ps, strict=True):
            assert p.detach().numpy().tobytes() == q.detach().numpy().tobytes()


@pytest.mark.parametrize("name", CLASSES)
def test_a_group_can_be_added(name):
    p, q = (torch.nn.Parameter(torch.ones(3)) for _ in range(2))
    opt = getattr(ours, name)([p], lr=0.01)
    p.grad = torch.ones(3)
    opt.step()
    opt.add_param_group({"params": [q], "lr": 0.0})
    p.grad, q.grad = torch.ones(3), torch.ones(3)
    before = q.detach().clone()
    opt.step()
    assert torch.equal(q, before)
    opt.param_groups[1]["lr"] = 0.01
    opt.step()
    assert not torch.equal(q, before)


@pytest.mark.parametrize("name", CLASSES)
def test_no_gradients_no_change(name):
    """Nothing moves, and no state is made, where no parameter has a gradient."""
    params = [torch.nn.Parameter(torch.ones(2)) for _ in range(2)]
    opt = getattr(ours, name)(params, weight_decay=0.1)
    before = copy.deepcopy(opt.state_dict())
    opt.step()
    assert str(opt.state_dict()) == str(before)
    assert all(torch.equal(p, torch.ones(2)) for p in params)
    params[1].grad = torch.ones(2)
    opt.step()
    assert torch.equal(params[0], torch.ones(2))
    assert not torch.equal(params[1], torch.ones(2))


@pytest.mark.parametrize("set_to_none", [True, False])
def test_zero_grad(set_to_none):
    p = torch.nn.Parameter(torch.ones(2))
    opt = ours.Adam([p])
    for _ in range(3):
        (p * 2).sum().backward()
        opt.step()
        opt.zero_grad(set_to_none=set_to_none)
        assert p.grad is None if set_to_none else torch.equal(p.grad, torch.zeros(2))


def test_hooks_of_a_step_are_called_in_torch_s_order():
    """Hooks of all optimizers, then its own, before; the other way round after. They may replace the closure."""
    from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

    orders = []
    for module in (torch.optim, ours):
        order = []
        p = torch.nn.Parameter(torch.ones(2))
        p.grad = torch.ones(2)
        opt = module.SGD([p], lr=0.1)

        def note(what, order=order, opt=opt):
            return lambda optimizer, args, kwargs: order.append((what, optimizer is opt, args[0] is opt, len(args)))

        handles = [register_optimizer_step_pre_hook(note("all before")), opt.register_step_pre_hook(note("before"))]
        handles += [register_optimizer_step_post_hook(note("all after")), opt.register_step_post_hook(note("after"))]
        opt.register_step_pre_hook(lambda optimizer, args, kwargs: ((args[0], lambda: 7.0), kwargs))
        assert opt.step() == 7.0
        for handle in handles:
            handle.remove()
        opt.step()
        orders.append(order)
        wrong = opt.register_step_pre_hook(lambda *_: 3)
        with pytest.raises(RuntimeError, match="must return None or a tuple"):
            opt.step()
        wrong.remove()
    assert orders[0] == orders[1]
    assert len(orders[1]) == 4


def test_hooks_of_states():
    order = []
    p = torch.nn.Parameter(torch.ones(2))
    opt = ours.NAdam([p])
    p.grad = torch.ones(2)
    opt.step()
    opt.register_state_dict_pre_hook(lambda optimizer: order.append("before save"))
    opt.register_state_dict_post_hook(lambda optimizer, state: order.append("after save") or {**state, "more": 1})
    opt.register_load_state_dict_pre_hook(lambda optimizer, state: order.append("before load"))
    opt.register_load_state_dict_post_hook(lambda optimizer: order.append("after load"))
    state = opt.state_dict()
    assert state.pop("more") == 1
    opt.load_state_dict(state)
    assert order == ["before save", "after save", "before load", "after load"]


def test_the_profiler_names_the_step():
    p = torch.nn.Parameter(torch.ones(2))
    p.grad = torch.ones(2)
    opt = ours.Adam([p])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
            opt.step()
    assert "Optimizer.step#Adam.step" in {event.key for event in profile.key_averages()}


@pytest.mark.parametrize("name", CLASSES)
def test_a_scheduler_sees_that_a_step_was_made(name):
    """torch warns if a scheduler goes before the step: it must not here."""
    p = torch.nn.Parameter(torch.ones(2))
    opt = getattr(ours, name)([p])
    control = torch.optim.lr_scheduler.StepLR(opt, 1)
    p.grad = torch.ones(2)
    opt.step()
    control.step()
    late = torch.optim.lr_scheduler.StepLR(getattr(ours, name)([p]), 1)
    with pytest.warns(UserWarning, match="before"):
        late.step()
