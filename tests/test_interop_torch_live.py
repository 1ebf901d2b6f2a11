"""States move to and from the live torch: the run goes on as if it had stayed."""

import io
import json

import numpy as np
import pytest

import pyfastlr as flr
from cases import CASES
from moving import (
    CONTAINERS,
    RUN,
    Here,
    N,
    Torch,
    failures_of_page,
    from_here,
    leaves,
    parts,
    there_and_back,
    to_here,
    vector,
)
from oracles import assert_same_run, torch_scalars_in_float64

torch = pytest.importorskip("torch")

TORCH = [case for case in CASES if case.convention == "torch"]
BY_NAME = {case.name: case for case in TORCH}


@pytest.fixture(autouse=True)
def _scalars_in_float64():
    with torch_scalars_in_float64():
        yield


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("case", TORCH, ids=lambda case: case.name)
def test_a_run_of_torch_goes_on_here(case, container):
    got, want, lost = to_here(case, container)
    assert_same_run(got, want, RUN.p)
    if case.state:  # the test sees a state that is lost
        with pytest.raises(AssertionError, match="of what is allowed"):
            assert_same_run(lost, want, RUN.p)


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("case", TORCH, ids=lambda case: case.name)
def test_a_run_goes_on_in_torch(case, container):
    got, want = from_here(case, container)
    assert_same_run(got, want, RUN.p)


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("case", TORCH, ids=lambda case: case.name)
def test_there_and_back_to_the_bit(case, container):
    for before, after in there_and_back(case, container):
        assert before == after


@pytest.mark.parametrize("case", TORCH, ids=lambda case: case.name)
def test_exported_state_has_the_form_of_torch_s(case):
    """The same keys in the same order, types, dtypes and shapes."""
    there, here = (x(case, "dict", parts("dict", RUN.p)) for x in (Torch, Here))
    there.steps(0, N)
    here.steps(0, N)
    theirs, ours = there.export(), flr.to_torch(here.opt)
    assert list(ours) == list(theirs)
    assert [list(group) for group in ours["param_groups"]] == [list(group) for group in theirs["param_groups"]]
    theirs["param_groups"][0]["lr"] = ours["param_groups"][0]["lr"]  # theirs has the last rate, ours the next one
    assert ours["param_groups"] == theirs["param_groups"]
    assert {k: {key: (x.dtype, x.shape) for key, x in entry.items()} for k, entry in ours["state"].items()} == {
        k: {key: (x.dtype, x.shape) for key, x in entry.items()} for k, entry in theirs["state"].items()
    }


@pytest.mark.parametrize("case", TORCH, ids=lambda case: case.name)
def test_exported_state_without_tensors(case):
    """The same keys and numbers as with tensors."""
    here = Here(case, "dict", parts("dict", RUN.p))
    here.steps(0, N)
    tensors, arrays = flr.to_torch(here.opt), flr.to_torch(here.opt, tensors=False)
    assert [{**group} for group in arrays["param_groups"]] == tensors["param_groups"]
    assert {k: {key: np.asarray(x).tolist() for key, x in entry.items()} for k, entry in arrays["state"].items()} == {
        k: {key: x.tolist() for key, x in entry.items()} for k, entry in tensors["state"].items()
    }


@pytest.mark.parametrize("case", TORCH, ids=lambda case: case.name)
def test_float32_there_and_back_to_the_bit(case):
    """Through torch's own loading, which casts all but the count to the parameters' dtype: carried numbers too."""
    p = {name: x.astype(np.float32) for name, x in zip("abc", parts("list", RUN.p), strict=True)}
    one, other = (case.make({name: x.copy() for name, x in p.items()}) for _ in range(2))
    for k in range(N):
        one.step({name: x.astype(np.float32) for name, x in zip("abc", parts("list", RUN.gradient(k)), strict=True)})
    theirs = case.live([torch.from_numpy(x) for x in p.values()], 0.5)
    theirs.load_state_dict(flr.to_torch(one))
    flr.from_torch(theirs.state_dict(), other, steps=N)
    before, after = one.state_dict(), other.state_dict()
    assert before["carry"].astype(np.float32).tolist() == after["carry"].tolist()
    assert leaves({**before, "carry": after["carry"]}) == leaves(after)


OTHER = {"betas": (0.5, 0.6), "etas": (0.4, 1.3), "step_sizes": (1e-3, 2.0), "weight_decay": 0.3, "momentum": 0.3}
NUMBERS = ("eps", "alpha", "rho", "lambd", "t0", "lr_decay", "momentum_decay", "momentum", *OTHER)


@pytest.mark.parametrize("case", TORCH, ids=lambda case: case.name)
@pytest.mark.parametrize("maximize", [False, True])
def test_hyperparameters_move(case, maximize):
    """Into an optimizer that was built with other numbers, and back into a new one of torch."""
    there = Torch(case, "dict", parts("dict", RUN.p), maximize=maximize)
    there.steps(0, N)
    there.rates[:] = there.rates[N]
    there.opt.param_groups[0]["lr"] = float(there.rates[N])
    here = Here(case, "dict", there.arrays())
    here.opt = getattr(flr, case.cls)(here.params, maximize=maximize, **case.kwargs)
    for name in NUMBERS:
        if name in here.opt.groups[0] and not (name == "weight_decay" and case.cls == "Rprop"):
            here.opt.groups[0][name] = OTHER.get(name, 0.25)
    flr.from_torch(there.export(), here.opt, steps=N)
    here.steps(N, N + 5)
    there.steps(N, N + 5)
    assert_same_run(vector(here.arrays()), vector(there.arrays()), RUN.p)
    again = Torch(case, "dict", here.arrays(), maximize=maximize)
    again.load(here.opt)
    groups = [x.export()["param_groups"][0] for x in (there, again)]
    for group in groups:
        group.pop("initial_accumulator_value", None)  # the constructor's, and in the state
        if case.cls == "Rprop":
            group.pop("lr")  # likewise
    assert groups[0] == groups[1]


@pytest.mark.parametrize("case", TORCH, ids=lambda case: case.name)
def test_parameters_without_a_gradient_so_far(case):
    """The third has none until the move, the second one only in part of the updates."""
    there = Torch(case, "list", parts("list", RUN.p))
    here = Here(case, "list", parts("list", RUN.p))

    def steps(begin, end):
        for k in range(begin, end):
            g = parts("list", RUN.gradient(k))
            there.tensors[0].grad = torch.tensor(g[0])
            there.tensors[1].grad = torch.tensor(g[1]) if k % 3 == 1 else None
            there.tensors[2].grad = torch.tensor(g[2]) if k >= N else None
            for group in there.opt.param_groups:
                group["lr"] = float(there.rates[k])
            there.opt.step()
            if k >= N:
                here.opt.step([g[0], g[1] if k % 3 == 1 else None, g[2]])

    steps(0, N)
    for x, y in zip(here.params, there.arrays(), strict=True):
        x[...] = y
    flr.from_torch(there.export(), here.opt, steps=N)
    assert here.opt.steps == N
    if case.cls != "SGD":
        assert here.opt.state_dict()["counts"].tolist() == [N, 3, 0]
    exported = flr.to_torch(here.opt)["state"]
    assert 2 not in exported or case.cls in ("SGD", "AdaGrad")
    steps(N, N + 8)
    for x, y, start in zip(here.params, there.arrays(), parts("list", RUN.p), strict=True):
        assert_same_run(x.ravel(), y.ravel(), start.ravel())


def saved(state):
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def as_json(state):
    """Through JSON, with ints as keys and arrays beside it."""
    arrays = []

    def packed(x):
        if torch.is_tensor(x):
            if not x.ndim and float(x).is_integer():
                return int(x)
            arrays.append(x.numpy())
            return {"array": len(arrays) - 1}
        raise TypeError

    def unpacked(x):
        return arrays[x["array"]] if set(x) == {"array"} else x

    return json.loads(json.dumps(state, default=packed), object_hook=unpacked)


@pytest.mark.parametrize("through", [saved, as_json])
@pytest.mark.parametrize("case", TORCH, ids=lambda case: case.name)
def test_states_from_files(case, through):
    there = Torch(case, "dict", parts("dict", RUN.p))
    there.steps(0, N)
    one, other = (Here(case, "dict", there.arrays()) for _ in range(2))
    flr.from_torch(there.export(), one.opt, steps=N)
    flr.from_torch(through(there.export()), other.opt, steps=N)
    one.steps(N, N + 3)
    other.steps(N, N + 3)
    assert [x.tobytes() for x in one.arrays()] == [x.tobytes() for x in other.arrays()]


def model():
    layers = [torch.nn.Linear(3, 4), torch.nn.Linear(4, 4), torch.nn.Linear(4, 1)]
    return torch.nn.Sequential(*layers).double()


def both(net, opt, theirs, xs, step):
    """One update here and there, with the gradients there."""
    loss = (net(xs[step]) ** 2).mean()
    theirs.zero_grad()
    loss.backward()
    opt.step({name: x.grad.numpy() for name, x in net.named_parameters()})
    theirs.step()


@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize("how", ["names", "order"])
def test_groups_of_a_model(named, how):
    """Two groups, weights with a decay and biases without, in another order than the model's."""
    torch.manual_seed(1)
    net, xs = model(), torch.randn(20, 8, 3)
    split = [[(n, x) for n, x in net.named_parameters() if n.endswith(end)] for end in ("weight", "bias")]
    groups = [{"params": entries if named else [x for _, x in entries]} for entries in split]
    groups[0] |= {"weight_decay": 0.1, "lr": 0.02}
    groups[1] |= {"weight_decay": 0.0, "betas": (0.8, 0.9)}
    theirs = torch.optim.AdamW(groups, lr=0.01)
    first = {name: x.detach().clone() for name, x in net.named_parameters()}
    for step in range(6):
        theirs.zero_grad()
        (net(xs[step]) ** 2).mean().backward()
        theirs.step()
    params = {name: x.detach().numpy().copy() for name, x in net.named_parameters()}
    ours = flr.AdamW(params, groups=[{"params": "*.bias"}])
    if how == "names":
        names = [n for entries in split for n, _ in entries]
        flr.from_torch(theirs.state_dict(), ours, names=None if named else names)
    else:
        flr.from_torch(theirs.state_dict(), ours)
    assert ours.lrs == [0.02, 0.01]
    assert ours.groups[1]["betas"] == (0.8, 0.9)
    assert ours.groups[0]["weight_decay"] == 0.1
    for step in range(6, 14):
        both(net, ours, theirs, xs, step)
    for name, x in net.named_parameters():
        assert_same_run(params[name].ravel(), x.detach().numpy().ravel(), first[name].numpy().ravel())
    again = torch.optim.AdamW(groups, lr=0.5)
    again.load_state_dict(flr.to_torch(ours))
    assert [{**g, "param_names": None} for g in again.state_dict()["param_groups"]] == [
        {**g, "param_names": None} for g in theirs.state_dict()["param_groups"]
    ]


def test_one_group_of_torch_for_several_here():
    tensors = [torch.ones(2), torch.ones(2)]
    theirs = torch.optim.SGD(tensors, lr=0.25, momentum=0.5)
    for x, g in zip(tensors, (1.0, 2.0), strict=True):
        x.grad = torch.full((2,), g)
    theirs.step()
    params = {"a": np.ones(2, np.float64), "b": np.ones(2, np.float64)}
    ours = flr.SGD(params, lr=0.1, momentum=0.9, groups=[{"params": "a", "lr": 3.0}])
    flr.from_torch(theirs.state_dict(), ours)
    assert (ours.lrs, ours.momentum) == ([0.25, 0.25], 0.5)
    assert ours.state["momentum_buffer"]["b"].tolist() == [2.0, 2.0]


@pytest.mark.parametrize("decoupled", [False, True])
@pytest.mark.parametrize(
    ("cls", "name"), [("Adam", "Adam"), ("AMSGrad", "Adam"), ("NAdam", "NAdam"), ("RAdam", "RAdam")]
)
def test_kinds_of_decay(cls, name, decoupled):
    kwargs = {"amsgrad": True} if cls == "AMSGrad" else {}
    x = torch.ones(3)
    theirs = getattr(torch.optim, name)([x], weight_decay=0.5, decoupled_weight_decay=decoupled, **kwargs)
    p = np.ones(3)
    kinds = ("coupled", "decoupled") if decoupled else ("decoupled", "coupled")
    wrong, right = (getattr(flr, cls)(p, weight_decay=0.1, decay=kind) for kind in kinds)
    for grad in (1.0, -3.0):
        x.grad = torch.full((3,), grad)
        theirs.step()
        right.step(np.full(3, grad))
        right.weight_decay = 0.5
    with pytest.raises(ValueError, match=r"\['decoupled_weight_decay'\]` must be (True|False), because the decay"):
        flr.from_torch(theirs.state_dict(), wrong)
    p[...] = x.numpy()
    flr.from_torch(theirs.state_dict(), right)
    x.grad = torch.ones(3)
    theirs.step()
    right.step(np.ones(3))
    assert_same_run(p, x.numpy(), np.ones(3))
    exported = flr.to_torch(right)
    assert exported["param_groups"][0]["decoupled_weight_decay"] == decoupled


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
def test_other_dtypes_need_cast(dtype):
    x = torch.ones(3, dtype=getattr(torch, dtype))
    theirs = torch.optim.Adam([x])
    x.grad = torch.tensor([0.1, 0.2, 0.3], dtype=x.dtype)
    theirs.step()
    opt = flr.Adam(np.ones(3))
    with pytest.raises(ValueError, match=rf"\['exp_avg'\]` must be float64\[3\], got {dtype}\[3\]: cast=True"):
        flr.from_torch(theirs.state_dict(), opt)
    assert opt.steps == 0
    flr.from_torch(theirs.state_dict(), opt, cast=True)
    assert opt.state["exp_avg"].tolist() == theirs.state[x]["exp_avg"].double().tolist()


def test_channels_last_states_and_tensors_as_hyperparameters():
    x = torch.arange(24.0).reshape(1, 2, 3, 4).to(memory_format=torch.channels_last)
    theirs = torch.optim.Adam([x], lr=torch.tensor(0.5))
    x.grad = x.clone()
    theirs.step()
    opt = flr.Adam(np.zeros((1, 2, 3, 4), np.float64))
    flr.from_torch(theirs.state_dict(), opt, cast=True)
    assert np.array_equal(opt.state["exp_avg"], theirs.state[x]["exp_avg"].numpy())
    assert opt.lr == 0.5


def test_export_in_float32_has_torch_s_default_scalars():
    torch.set_default_dtype(torch.float32)
    opt = flr.NAdam(np.ones(3, np.float32))
    opt.step(np.ones(3, np.float32))
    entry = flr.to_torch(opt)["state"][0]
    assert (entry["step"].dtype, entry["mu_product"].dtype) == (torch.float32, torch.float32)
    assert not entry["step"].ndim


def test_the_page_s_example():
    assert failures_of_page("torch") == (9, "")
