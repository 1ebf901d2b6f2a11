"""The same run by torch's own optimizer and by ours of the same name."""

import itertools
import warnings

import numpy as np
import pytest

torch = pytest.importorskip("torch")
ours = pytest.importorskip("pyfastlr.interop.torch")

CLASSES = ("SGD", "RMSprop", "Adagrad", "Adam", "AdamW", "NAdam", "RAdam", "Adamax", "Adadelta")
_ADAM = ({}, {"betas": (0.8, 0.95), "eps": 1e-3}, {"weight_decay": 0.1}, {"maximize": True, "weight_decay": 0.1})
_DECOUPLED = {"weight_decay": 0.1, "decoupled_weight_decay": True}
OPTIONS = {
    "SGD": (
        {}, {"weight_decay": 0.1, "maximize": True}, {"momentum": 0.9}, {"momentum": 0.9, "dampening": 0.3},
        {"momentum": 0.9, "nesterov": True, "weight_decay": 0.1}, {"momentum": 0.5, "fused": True},
    ),
    "RMSprop": (
        {}, {"alpha": 0.9, "eps": 1e-3, "weight_decay": 0.1}, {"centered": True, "eps": 1e-3}, {"momentum": 0.9},
        {"momentum": 0.5, "centered": True, "maximize": True, "eps": 1e-3, "weight_decay": 0.1},
    ),
    "Adagrad": (
        {}, {"lr_decay": 0.01, "weight_decay": 0.1}, {"initial_accumulator_value": 0.5, "maximize": True},
        {"foreach": True, "eps": 1e-3},
    ),
    "Adam": (*_ADAM, {"amsgrad": True}, {"amsgrad": True, "weight_decay": 0.1}, _DECOUPLED, {"fused": True}),
    "AdamW": (*_ADAM, {"amsgrad": True}, {"amsgrad": True, "maximize": True, "foreach": True}),
    "NAdam": (*_ADAM, {"momentum_decay": 0.1}, _DECOUPLED),
    "RAdam": (*_ADAM, _DECOUPLED),
    "Adamax": _ADAM,
    "Adadelta": ({}, {"rho": 0.8, "eps": 1e-3}, {"weight_decay": 0.1}, {"maximize": True, "weight_decay": 0.1}),
}  # fmt: skip
ROWS = [(name, options) for name in CLASSES for options in OPTIONS[name]]
IDS = [f"{name}-{'-'.join(f'{k}={v}' for k, v in options.items())}" for name, options in ROWS]


def shapes_of(kind):
    """Parameters of every layout: matrices, a number, none, channels last, with gaps."""
    return {"one": [(3, 5)], "plain": [(3, 5), (), (7,), (1, 1)], "numbers": [(), (1, 1)]}.get(
        kind, [(3, 5), (), (0, 4), "channels_last", (7,), "gaps"]
    )


def tensor(shape, dtype, rng):
    made = {"channels_last": (2, 3, 4, 5), "gaps": (4, 6, 2)}.get(shape, shape)
    x = torch.tensor(rng.choice([-1.0, 1.0], made) * rng.uniform(1.5, 3.0, made), dtype=dtype)
    if shape == "channels_last":
        x = x.to(memory_format=torch.channels_last)
    return x[..., 0] if shape == "gaps" else x


def copy_of(x):
    """Parameter with the same values, strides and gaps."""
    storage = x.detach().untyped_storage().clone()
    whole = torch.empty(0, dtype=x.dtype).set_(storage, x.storage_offset(), x.shape, x.stride())
    return torch.nn.Parameter(whole)


def grouped(params, kind, options):
    """Argument `params` of a constructor."""
    if kind in ("one", "plain", "numbers", "list"):
        return params
    if kind == "named":
        return [(f"p{k}", p) for k, p in enumerate(params)]
    half = len(params) // 2
    other = {"lr": 3e-3, "weight_decay": 0.02}
    if "betas" in options:
        other["betas"] = (0.5, 0.7)
    return [{"params": params[:half]}, {"params": params[half:], **other}]


KINDS = ("one", "list", "named", "groups")


class Pair:
    """Both optimizers, and their parameters."""

    def __init__(self, name, kind="list", dtype=torch.float64, seed=0, **options):
        self.rng = np.random.default_rng(seed)
        self.shapes = shapes_of(kind)
        start = [tensor(shape, dtype, self.rng) for shape in self.shapes]
        self.params = [[copy_of(x) for x in start] for _ in range(2)]
        self.start = self.flat(0)
        # torch's fused kernels are wrong for gradients and parameters whose strides differ.
        theirs = {key: x for key, x in options.items() if key != "fused"}
        self.opts = [
            getattr(module, name)(grouped(params, kind, options), **given)
            for module, params, given in zip((torch.optim, ours), self.params, (theirs, options), strict=True)
        ]
        self.theirs, self.ours = self.opts

    def flat(self, k):
        return np.concatenate([p.detach().double().numpy().reshape(-1) for p in self.params[k]])

    def gradients(self):
        """Gradients over many magnitudes, with zeros."""
        found = []
        for p in self.params[0]:
            x = self.rng.choice([-1.0, 1.0], p.shape) * 10.0 ** self.rng.uniform(-5, 1, p.shape)
            found.append(torch.tensor(np.where(self.rng.random(p.shape) < 0.02, 0.0, x), dtype=p.dtype))
        return found

    def give(self, gradients):
        for params in self.params:
            for p, g in zip(params, gradients, strict=True):
                p.grad = None if g is None else g.clone()

    def step(self, gradients=None):
        self.give(self.gradients() if gradients is None else gradients)
        for opt in self.opts:
            opt.step()

    def rate(self, value):
        for opt in self.opts:
            for group in opt.param_groups:
                group["lr"] = value

    def both(self):
        return self.flat(1), self.flat(0)


def state_tensors(opt):
    """All of a state dict: tensors by place and key, and the groups without the parameters."""
    found = opt.state_dict()
    return {(k, key): x for k, entry in found["state"].items() for key, x in entry.items()}, found["param_groups"]


def assert_same_state(got, want, rtol=1e-10):
    (a, groups), (b, others) = state_tensors(got), state_tensors(want)
    assert set(a) == set(b)
    for key, x in b.items():
        y = a[key]
        if x is None or not isinstance(x, torch.Tensor):
            assert x == y
            continue
        assert (y.dtype, y.shape, y.device) == (x.dtype, x.shape, x.device), key
        scale = float(x.abs().max()) if x.numel() else 0.0
        np.testing.assert_allclose(y.double().numpy(), x.double().numpy(), rtol=rtol, atol=rtol * scale)
    assert [list(group) for group in groups] == [list(group) for group in others]
    assert [{**group, "fused": None} for group in groups] == [{**group, "fused": None} for group in others]


def unwarned(make):
    """Call what warns that a scheduler ran before a step, where that is not what is tested."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return make()


def product(*lists):
    return list(itertools.product(*lists))
