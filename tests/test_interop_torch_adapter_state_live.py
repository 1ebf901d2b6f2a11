"""States move between torch's optimizers and ours, also by torch's distributed checkpoints."""

import copy

import numpy as np
import pytest

from oracles import torch_scalars_in_float64

torch = pytest.importorskip("torch")

import pyfastlr as flr  # noqa: E402
import pyfastlr.interop.torch as ours  # noqa: E402
from pyfastlr import schedules as S  # noqa: E402
from torch_pairs import CLASSES, KINDS, ROWS, Pair, assert_same_state, state_tensors  # noqa: E402

# The loaded groups would make torch's run fused, which is wrong for the layouts here (torch_pairs.Pair).
WITHOUT_FUSED = [(name, options) for name, options in ROWS if "fused" not in options]


@pytest.fixture
def _scalars_in_float64():
    with torch_scalars_in_float64():
        yield


@pytest.mark.usefixtures("_scalars_in_float64")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("name", "options"), WITHOUT_FUSED, ids=str)
def test_a_run_changes_sides_and_back(name, options, kind):
    """Three times in a run, each optimizer goes on with the other's state. A step without any would show."""
    pair = Pair(name, kind, **options)
    for k in range(40):
        if k % 10 == 9:
            states = [copy.deepcopy(opt.state_dict()) for opt in pair.opts]
            for opt, state in zip(pair.opts, reversed(states), strict=True):
                opt.load_state_dict(state)
        gradients = pair.gradients()
        gradients[k % len(gradients)] = None if k % 4 == 1 else gradients[k % len(gradients)]
        pair.step(gradients)
    got, want = pair.both()
    np.testing.assert_allclose(got, want, rtol=1e-11)
    assert_same_state(pair.ours, pair.theirs, rtol=1e-9)


@pytest.mark.parametrize("name", CLASSES)
def test_state_is_where_torch_has_it(name):
    """Made at the first gradient, in the parameter's layout; counts are float32."""
    p = torch.nn.Parameter(torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last))
    options = {"momentum": 0.9} if name in ("SGD", "RMSprop") else {}
    opt, theirs = (getattr(module, name)([p], **options) for module in (ours, torch.optim))
    assert len(opt.state) == len(theirs.state)
    p.grad = torch.randn_like(p)
    opt.step()
    theirs.step()
    a, b = opt.state[p], theirs.state[p]
    assert set(a) == set(b)
    for key, x in b.items():
        assert (a[key].dtype, a[key].shape, a[key].stride()) == (x.dtype, x.shape, x.stride())


def test_a_wider_number_of_the_state_keeps_its_precision():
    """torch's load_state_dict casts all but the count to the parameter's dtype."""
    with torch_scalars_in_float64():
        pairs = [torch.nn.Parameter(torch.ones(3)) for _ in range(2)]
        opt, other = (ours.NAdam([p]) for p in pairs)
        pairs[0].grad = torch.ones(3)
        for _ in range(3):
            opt.step()
        other.load_state_dict(opt.state_dict())
        x, y = opt.state[pairs[0]]["mu_product"], other.state[pairs[1]]["mu_product"]
        assert y.dtype == torch.float64
        assert torch.equal(x, y)


@pytest.mark.parametrize("how", ["replaced", "in place", "dict", "cleared"])
def test_state_written_by_the_user_is_used(how):
    pair = Pair("Adam", "list")
    pair.step()
    for opt in pair.opts:
        for p in opt.param_groups[0]["params"]:
            entry = opt.state[p]
            if how == "replaced":
                entry["exp_avg"] = torch.full_like(p, 0.25).detach()
                entry["step"] = torch.tensor(41.0)
            elif how == "in place":
                entry["exp_avg"].fill_(0.25)
                entry["step"].fill_(41.0)
            elif how == "dict":
                opt.state[p] = {**entry, "exp_avg": torch.full_like(p, 0.25).detach(), "step": torch.tensor(41.0)}
        if how == "cleared":
            opt.state.clear()
    for _ in range(3):
        pair.step()
    got, want = pair.both()
    np.testing.assert_allclose(got, want, rtol=1e-12)
    assert_same_state(pair.ours, pair.theirs)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("exp_avg", torch.ones(2), r"state of param_groups\[0\]\['params'\]\[0\]\['exp_avg'\]. must be a tensor like"),
        ("exp_avg", torch.ones(3, dtype=torch.float64), r"got float64\[3\] on cpu"),
        ("exp_avg", 7.0, "got float"),
        ("step", torch.tensor(0.5), r"\['step'\]. must be an integer >= 0, got 0.5"),
        ("step", torch.tensor(-1.0), r"\['step'\]. must be an integer >= 0, got -1.0"),
        ("step", torch.ones(3), "must be a number or a tensor without dimensions"),
    ],
)
def test_wrong_state_is_refused_and_nothing_changes(key, value, message):
    p = torch.nn.Parameter(torch.ones(3))
    opt = ours.Adam([p])
    p.grad = torch.ones(3)
    opt.step()
    before, count = p.detach().clone(), opt.state[p]["step"].clone()
    good = opt.state[p][key]
    opt.state[p][key] = value
    for _ in range(2):
        with pytest.raises((TypeError, ValueError), match=message):
            opt.step()
    assert torch.equal(p, before)
    opt.state[p][key] = good
    opt.step()
    assert float(opt.state[p]["step"]) == float(count) + 1


def test_offloaded_state_comes_back_at_other_addresses():
    """``x.data = x.data.clone()`` is how offloading moves state."""
    pair = Pair("Adam", "list")
    for _ in range(4):
        for opt in pair.opts:
            for entry in opt.state.values():
                for x in entry.values():
                    x.data = x.data.clone()
        pair.step()
    got, want = pair.both()
    np.testing.assert_allclose(got, want, rtol=1e-12)


def test_states_of_torch_and_arrays_are_the_same_states():
    """`flr.from_torch` reads what ours saves for torch."""
    rng = np.random.default_rng(0)
    p = rng.normal(size=7)
    tensor = torch.nn.Parameter(torch.tensor(p))
    opt = ours.AdamW([tensor], lr=0.01)
    for _ in range(3):
        tensor.grad = torch.tensor(rng.normal(size=7))
        opt.step()
    arrays = flr.AdamW([tensor.detach().numpy().copy()], lr=0.5)
    flr.from_torch(opt.state_dict(), arrays)
    assert (arrays.steps, arrays.lr) == (3, 0.01)
    assert arrays.state["exp_avg"][0].tobytes() == opt.state[tensor]["exp_avg"].numpy().tobytes()


@pytest.mark.parametrize("name", [*CLASSES, "Lion", "CPUAdam"])
@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_distributed_checkpoints_make_state_without_moving_anything(name, decay):
    """They step with zero gradients at a rate of 0, and then load into the state that this has made."""
    from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict, set_optimizer_state_dict

    torch.manual_seed(0)
    model, other = (torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 1)) for _ in range(2))
    options = {"momentum": 0.9} if name == "SGD" else {}
    opt, fresh = (getattr(ours, name)(x.parameters(), lr=0.01, weight_decay=decay, **options) for x in (model, other))
    for _ in range(3):
        model(torch.randn(8, 3)).sum().backward()
        opt.step()
        opt.zero_grad()
    saved = copy.deepcopy(get_optimizer_state_dict(model, opt))
    assert set(saved["state"]) == {"0.weight", "0.bias", "1.weight", "1.bias"}
    other.load_state_dict(model.state_dict())
    before = [p.detach().clone() for p in other.parameters()]
    set_optimizer_state_dict(other, fresh, saved)
    assert all(torch.equal(p, x) for p, x in zip(other.parameters(), before, strict=True))
    assert fresh.param_groups[0]["lr"] == 0.01
    (a, _), (b, _) = state_tensors(fresh), state_tensors(opt)
    assert all(torch.equal(a[key], x) for key, x in b.items())
    for x, o in ((model, opt), (other, fresh)):
        torch.manual_seed(5)
        x(torch.randn(8, 3)).sum().backward()
        o.step()
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize("name", CLASSES)
def test_checkpoints_of_torch_s_class_load_into_ours(name):
    from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict, set_optimizer_state_dict

    torch.manual_seed(0)
    model = torch.nn.Linear(3, 4).double()
    theirs = getattr(torch.optim, name)(model.parameters(), lr=0.01)
    for _ in range(3):
        model(torch.randn(8, 3).double()).sum().backward()
        theirs.step()
        theirs.zero_grad()
    other = copy.deepcopy(model)
    mine = getattr(ours, name)(other.parameters(), lr=0.5)
    set_optimizer_state_dict(other, mine, copy.deepcopy(get_optimizer_state_dict(model, theirs)))
    data = torch.randn(8, 3).double()
    for x, opt in ((model, theirs), (other, mine)):
        x(data).sum().backward()
        opt.step()
    for p, q in zip(model.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(q, p, rtol=1e-6, atol=1e-9)


def test_a_sharded_parameter_is_updated_in_its_own_part(tmp_path):
    """A DTensor, here on a mesh of one process."""
    import torch.distributed as dist
    from torch.distributed.tensor import Shard, distribute_tensor

    dist.init_process_group("gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1)
    try:
        mesh = dist.device_mesh.init_device_mesh("cpu", (1,))
        start = torch.randn(4, 3)
        p = torch.nn.Parameter(start.clone())
        q = torch.nn.Parameter(distribute_tensor(start.clone(), mesh, [Shard(0)]))
        theirs, mine = torch.optim.AdamW([p]), ours.AdamW([q])
        for _ in range(5):
            p.grad = torch.randn(4, 3)
            q.grad = distribute_tensor(p.grad.clone(), mesh, [Shard(0)])
            theirs.step()
            mine.step()
        torch.testing.assert_close(q.full_tensor().detach(), p.detach(), rtol=1e-6, atol=1e-7)
        assert type(mine.state[q]["exp_avg"]) is type(q.data)
        assert float(mine.state[q]["step"]) == 5
    finally:
        dist.destroy_process_group()


def test_schedules_are_saved_by_their_place():
    """The schedule itself is the constructor's; torch's class ignores the place."""
    schedule = S.Cosine(0.1, steps=20)
    runs = []
    for stop in (None, 7):
        p = torch.nn.Parameter(torch.ones(3))
        opt = ours.Adam([p], lr=schedule)
        for k in range(15):
            if k == stop:
                state = copy.deepcopy(opt.state_dict())
                assert state["param_groups"][0]["schedule_step"] == 7
                assert "schedule" not in state["param_groups"][0]
                torch.optim.Adam([torch.nn.Parameter(torch.ones(3))]).load_state_dict(copy.deepcopy(state))
                opt = ours.Adam([p], lr=schedule)
                opt.load_state_dict(state)
            p.grad = torch.arange(3.0) + k
            opt.step()
            assert opt.param_groups[0]["lr"] == schedule(k)
        runs.append(p.detach().numpy().tobytes())
    assert runs[0] == runs[1]
    plain = ours.Adam([p], lr=0.5)
    plain.load_state_dict(opt.state_dict())
    assert "schedule_step" not in plain.param_groups[0]


def test_a_schedule_goes_on_from_torch_s_counts():
    p = torch.nn.Parameter(torch.ones(3))
    theirs = torch.optim.Adam([p])
    p.grad = torch.ones(3)
    for _ in range(4):
        theirs.step()
    schedule = S.Linear(1.0, 0.0, steps=10)
    opt = ours.Adam([p], lr=schedule)
    opt.load_state_dict(theirs.state_dict())
    opt.step()
    assert opt.param_groups[0]["lr"] == schedule(4)


@pytest.mark.parametrize("wrong", ["rate", "count"])
def test_a_state_that_a_schedule_cannot_take_changes_nothing(wrong):
    params = [torch.nn.Parameter(torch.ones(2)) for _ in range(2)]
    opt = ours.AdamW([{"params": [p]} for p in params], lr=S.Linear(1.0, 0.0, steps=10))
    for p in params:
        p.grad = torch.ones(2)
    opt.step()
    given = copy.deepcopy(opt.state_dict())
    if wrong == "rate":
        given["param_groups"][1]["lr"] = "fast"
    else:
        del given["param_groups"][1]["schedule_step"]
        given["state"][1]["step"] = torch.ones(2)
    given["param_groups"][0]["lr"] = 0.125
    before = copy.deepcopy(opt.state_dict())
    with pytest.raises((TypeError, ValueError, RuntimeError)):
        opt.load_state_dict(given)
    assert repr(opt.state_dict()) == repr(before)
    opt.step()
    assert [group["lr"] for group in opt.param_groups] == [0.9, 0.9]
    assert f"schedule: {S.Linear(1.0, 0.0, steps=10)}\n" in repr(opt)


def test_adagrad_s_initial_value_is_that_of_the_optimizer():
    """In torch, a group that is added has none of its own, nor has one that was loaded."""
    pairs = []
    for cls in (torch.optim.Adagrad, ours.Adagrad):
        p, q = (torch.nn.Parameter(torch.ones(2, dtype=torch.float64)) for _ in range(2))
        opt = cls([p], lr=0.1, initial_accumulator_value=0.5)
        opt.add_param_group({"params": [q], "initial_accumulator_value": 3.0})
        for _ in range(3):
            p.grad, q.grad = p.detach().clone(), q.detach().clone()
            opt.step()
        pairs.append(torch.cat([p, q]).detach())
    np.testing.assert_allclose(*pairs, rtol=1e-12)
