"""Parameters in bfloat16 and float16 in the optimizers for torch, and torch's tensors of 16 bits in ours."""

import copy
import pickle

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import pyfastlr as flr  # noqa: E402  # torch may be missing
from pyfastlr.interop import torch as ours  # noqa: E402

DTYPES = (torch.bfloat16, torch.float16)
CLASSES = {name: {"lr": 0.01} for name in ours.__all__} | {"SGD": {"lr": 0.01, "momentum": 0.9}}
each_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=str)


def parameters(dtype, seed=0):
    random = torch.Generator().manual_seed(seed)
    shapes = ((70, 80), (3,), (), (0, 4))
    return [torch.nn.Parameter(torch.randn(shape, generator=random).to(dtype)) for shape in shapes]


def give_gradients(params, others=(), seed=1):
    random = torch.Generator().manual_seed(seed)
    for k, p in enumerate(params):
        p.grad = torch.randn(p.shape, generator=random).to(p.dtype)
        for q in others[k : k + 1]:
            q.grad = p.grad.float()


def same(a, b):
    assert a.dtype == b.dtype
    assert a.shape == b.shape
    assert bytes(a.detach().contiguous().flatten().view(torch.uint8)) == bytes(
        b.detach().contiguous().flatten().view(torch.uint8)
    )


@pytest.mark.parametrize("name", CLASSES)
@each_dtype
def test_the_master_is_the_float32_parameter_of_the_same_gradients(name, dtype):
    params = parameters(dtype)
    wide = [torch.nn.Parameter(p.detach().float()) for p in params]
    opt, plain = (getattr(ours, name)(x, **CLASSES[name]) for x in (params, wide))
    for n in range(5):
        give_gradients(params, wide, seed=n)
        opt.step()
        plain.step()
        for p, q in zip(params, wide, strict=True):
            same(opt.state[p]["master"], q)
            same(p, q.to(dtype))
            for key, x in plain.state[q].items():
                same(opt.state[p][key], x)


@each_dtype
def test_dtypes_may_be_mixed(dtype):
    params = [*parameters(dtype), *parameters(torch.float32)]
    opt = ours.AdamW(params, lr=0.1)
    give_gradients(params)
    opt.step()
    assert ["master" in opt.state[p] for p in params] == [True] * 4 + [False] * 4


@each_dtype
@pytest.mark.parametrize("way", ["state_dict", "pickle", "deepcopy"])
def test_a_resumed_run_goes_on_bit_for_bit(dtype, way):
    params = parameters(dtype)
    opt = ours.AdamW(params, lr=0.01, amsgrad=True)
    for n in range(3):
        give_gradients(params, seed=n)
        opt.step()
    if way == "state_dict":
        others = copy.deepcopy(params)
        twin = ours.AdamW(others, lr=0.01, amsgrad=True)
        twin.load_state_dict(copy.deepcopy(opt.state_dict()))
    else:
        twin = copy.deepcopy(opt) if way == "deepcopy" else pickle.loads(pickle.dumps(opt))
        others = twin.param_groups[0]["params"]
    for n in range(3, 6):
        for x, optimizer in ((params, opt), (others, twin)):
            give_gradients(x, seed=n)
            optimizer.step()
    for p, q in zip(params, others, strict=True):
        same(p, q)
        for key, x in opt.state[p].items():
            same(twin.state[q][key], x)


@each_dtype
def test_states_of_torch_s_class_and_back(dtype):
    params = parameters(dtype)
    theirs = torch.optim.AdamW(params, lr=0.01, eps=1e-3)  # the default is 0 in float16
    give_gradients(params)
    theirs.step()
    opt = ours.AdamW(params, lr=0.01)
    opt.load_state_dict(copy.deepcopy(theirs.state_dict()))
    before = theirs.state[params[0]]["exp_avg"].float()
    give_gradients(params)
    opt.step()
    x = opt.state[params[0]]["exp_avg"]
    assert x.dtype == torch.float32
    torch.testing.assert_close(x, before * 0.9 + params[0].grad.float() * 0.1, rtol=1e-6, atol=1e-7)
    theirs.load_state_dict(copy.deepcopy(opt.state_dict()))
    same(theirs.state[params[0]]["exp_avg"], x.to(dtype))


@each_dtype
def test_what_is_written_into_a_parameter_counts(dtype):
    p = torch.nn.Parameter(torch.full((5,), 1.5, dtype=dtype))
    opt = ours.SGD([p], lr=0.5)
    p.grad = torch.ones_like(p)
    opt.step()
    with torch.no_grad():
        p.fill_(3)
    opt.step()
    assert p.tolist() == [2.5] * 5


@each_dtype
def test_strides_and_gaps(dtype):
    base = torch.ones(4, 6, dtype=dtype)
    last = torch.ones(1, 2, 3, 4, dtype=dtype).to(memory_format=torch.channels_last)
    for given in (base.clone().T, base.clone()[:, ::2], last):
        p = torch.nn.Parameter(given)
        opt = ours.SGD([p], lr=0.5)
        p.grad = torch.ones(p.shape, dtype=dtype)
        opt.step()
        assert (p == 0.5).all()
        p.grad = torch.ones(p.shape, dtype=dtype)
        opt.step()
        assert (p == 0).all()


def test_a_grad_scaler():
    p = torch.nn.Parameter(torch.ones(5, dtype=torch.bfloat16))
    opt, scaler = ours.SGD([p], lr=0.5), torch.amp.GradScaler("cpu", init_scale=1024.0)
    scaler.scale((p.float() * 0.5).sum()).backward()
    scaler.step(opt)
    scaler.update()
    assert p.tolist() == [0.75] * 5
    p.grad = torch.full_like(p, torch.inf)
    scaler.scale(torch.zeros(()))
    scaler.step(opt)
    assert p.tolist() == [0.75] * 5


@each_dtype
@pytest.mark.parametrize("precision", ["master", "stochastic", "kahan"])
def test_tensors_of_16_bits_in_our_own_optimizers(dtype, precision):
    params = {"w": torch.ones(30, 20, dtype=dtype), "b": torch.zeros(20, dtype=dtype)}
    opt = flr.SGD(params, lr=0.5, precision=precision)
    opt.step({"w": torch.full((30, 20), 0.5, dtype=dtype), "b": None})
    assert (params["w"] == 0.75).all()
    with pytest.raises(TypeError, match=r"`grads\['b'\]` must be (bfloat16|float16)\[20\], got float32\[20\]"):
        opt.step({"w": torch.ones(30, 20, dtype=dtype), "b": torch.ones(20)})


@each_dtype
def test_a_master_stays_where_torch_has_no_state(dtype):
    """SGD without momentum; each update is far below the last place."""
    w, v = (torch.nn.Parameter(torch.ones(2, dtype=dtype)) for _ in range(2))
    opt = ours.SGD([w, v], lr=1e-4)
    for i in range(200):  # other gradients than before make another plan
        w.grad, v.grad = (torch.ones(2, dtype=dtype), None) if i % 2 else (None, torch.ones(2, dtype=dtype))
        opt.step()
        if i % 50 == 0:
            opt.load_state_dict(copy.deepcopy(opt.state_dict()))
    for p in (w, v):
        torch.testing.assert_close(opt.state[p]["master"], torch.full((2,), 0.99), rtol=1e-5, atol=0)
        same(p, opt.state[p]["master"].to(dtype))


@each_dtype
def test_a_master_stays_when_momentum_is_set_to_zero(dtype):
    p, q = torch.nn.Parameter(torch.ones(2, dtype=dtype)), torch.nn.Parameter(torch.ones(2))
    opt, plain = (ours.SGD([x], lr=1e-4, momentum=0.9) for x in (p, q))
    for i in range(100):
        for x, optimizer in ((p, opt), (q, plain)):
            optimizer.param_groups[0]["momentum"] = 0.0 if i >= 50 else 0.9
            x.grad = torch.ones_like(x)
            optimizer.step()
    same(opt.state[p]["master"], q)


def test_a_parameter_that_was_reinterpreted():
    p = torch.nn.Parameter(torch.ones(4, dtype=torch.bfloat16))
    opt = ours.SGD([p], lr=0.5)
    p.grad = torch.ones(4, dtype=torch.bfloat16)
    opt.step()
    p.grad = None
    p.data = torch.zeros(4, dtype=torch.bfloat16).view(torch.float16)
    p.grad = torch.ones(4, dtype=torch.float16)
    opt.step()
    assert p.tolist() == [-0.5] * 4


def test_a_master_of_another_dtype_is_refused_by_name():
    p = torch.nn.Parameter(torch.ones(4, dtype=torch.bfloat16))
    opt = ours.SGD([p], lr=0.5)
    p.grad = torch.ones(4, dtype=torch.bfloat16)
    opt.state[p]["master"] = torch.ones(4, dtype=torch.float64)
    with pytest.raises(ValueError, match=r"\['master'\]` must be .* in float32 or that dtype, got float64"):
        opt.step()


@each_dtype
def test_states_of_our_own_optimizers(dtype):
    params = parameters(dtype)[:2]
    opt = ours.AdamW(params, lr=0.01)
    give_gradients(params)
    opt.step()
    theirs = flr.AdamW([p.detach() for p in params], lr=0.01)
    flr.from_torch(copy.deepcopy(opt.state_dict()), theirs)
    others = copy.deepcopy(params)
    back = ours.AdamW(others, lr=0.01)
    back.load_state_dict(flr.to_torch(theirs))
    for p, q in zip(params, others, strict=True):
        for key in ("master", "exp_avg", "exp_avg_sq"):
            same(opt.state[p][key], back.state[q][key])


def test_tensors_beside_arrays_of_ml_dtypes():
    bfloat16 = pytest.importorskip("ml_dtypes").bfloat16
    params = [torch.ones(3, dtype=torch.bfloat16), np.ones(3, bfloat16)]
    opt = flr.SGD(params, 0.5)
    opt.step([np.ones(3, bfloat16), torch.ones(3, dtype=torch.bfloat16)])
    opt.step([torch.ones(3, dtype=torch.bfloat16), np.ones(3, bfloat16)])
    assert [params[0].tolist(), params[1].tolist()] == [[0.0] * 3] * 2
