"""`Sharpness.bound` is where the real optimizer turns unstable: stepped at 0.97 and 1.03 of it on a quadratic.

What the bound holds fixed is held fixed here: after each step the second moments are written back, and the parameters
are so small that their squares change nothing. Momentum runs as it does.
"""

import numpy as np
import pytest

import pyfastlr as flr
from pyfastlr import tune
from pyfastlr.optimizers import registry
from reference import nadam_product

SIZE, COUNT = 12, 1_000_000
DENOMINATORS = ("square_avg", "grad_avg", "sum", "acc_delta", "exp_avg_sq", "max_exp_avg_sq", "exp_inf", "exp_avg_var",
                "accumulator")  # fmt: skip
CLASSES = {cls.__name__: cls for cls in registry}
SIGNS = {"Lion", "Rprop"}


def quadratic(seed=0):
    """Symmetric matrix with eigenvalues from 0.5 to 10, rotated at random."""
    rng = np.random.default_rng(seed)
    basis = np.linalg.qr(rng.standard_normal((SIZE, SIZE)))[0]
    return basis @ np.diag(np.geomspace(0.5, 10.0, SIZE)) @ basis.T


def leaves(x):
    return list(x.values()) if isinstance(x, dict) else [x]


class Frozen:
    """An optimizer with fixed denominators, on a quadratic of all its parameters."""

    def __init__(self, cls, params=None, seed=0, count=COUNT, sign=1.0, **arguments):
        rng = np.random.default_rng(seed)
        self.h, self.sign = quadratic(seed), sign
        self.params = np.zeros(SIZE) if params is None else params
        arguments.setdefault("lr", 1e-3)
        self.opt = cls(self.params, **arguments)
        state = self.opt.state_dict()
        state["counts"] = np.full_like(state["counts"], count)
        state["steps"] = count
        if cls is flr.NAdam:
            state["carry"][:, 0] = self.product_of_momenta(count)
        self.opt.load_state_dict(state)
        self.kept = []
        for name, value in self.opt.state.items():
            for x in leaves(value) if name in DENOMINATORS else []:
                x[...] = rng.uniform(0.5, 2.0, x.shape) if name != "grad_avg" else rng.uniform(-0.5, 0.5, x.shape)
                self.kept.append((x, x.copy()))
        if "max_exp_avg_sq" in self.opt.state:
            self.opt.state["max_exp_avg_sq"][...] += 2.0
            self.kept.append((self.opt.state["max_exp_avg_sq"], self.opt.state["max_exp_avg_sq"].copy()))
        for x in leaves(self.params):
            x[...] = 1e-7 * rng.standard_normal(x.shape)
        if "linear" in self.opt.state:
            self.opt.state["linear"][...] = 1e-7 * rng.standard_normal(SIZE)

    def product_of_momenta(self, count):
        group = self.opt.groups[0]
        decay = {"torch": group.get("momentum_decay"), "keras": 1.0, "optax": 0.0}[self.opt.state_dict()["convention"]]
        return nadam_product(count, self.opt.state_dict()["convention"], group["betas"], decay)

    def product(self, params, batch, v):
        whole = np.concatenate([x.ravel() for x in leaves(v)])
        out, start = [], 0
        for x in leaves(v):
            out.append((self.sign * self.h @ whole)[start : start + x.size].reshape(x.shape))
            start += x.size
        return dict(zip(v, out, strict=True)) if isinstance(v, dict) else out[0]

    def loss_and_grad(self, params, batch):
        gradient = self.product(params, batch, params)
        return 0.0, gradient

    def sharpness(self, **more):
        return tune.sharpness(self.loss_and_grad, self.params, None, self.product, self.opt, 1e-6, **more)

    def norm(self):
        return np.sqrt(sum(float((x**2).sum()) for x in leaves(self.params)))

    def grows(self, steps=600):
        """Whether the distance from the minimum grows by a factor of 100. If not, it must shrink."""
        first = self.norm()
        for _ in range(steps):
            self.opt.step(self.loss_and_grad(self.params, None)[1])
            for x, before in self.kept:
                x[...] = before
            if self.norm() > 100 * first:
                return True
        assert self.norm() < first
        return False


def check_bound(make, groups=False):
    """Stable at 0.97 of the bound, unstable at 1.03."""
    frozen = make()
    bound = None
    for _ in range(80 if type(frozen.opt) in (flr.ASGD, flr.FTRL) else 1):  # theirs is the fixed point of the rate
        bound = frozen.sharpness().bound
        if not groups:
            frozen.opt.lr = bound
    for factor, unstable in ((0.97, False), (1.03, True)):
        frozen = make()
        rates = frozen.opt.lrs
        for group, lr in zip(frozen.opt.groups, rates, strict=True):
            group["lr"] = factor * bound * lr / rates[0]
        assert frozen.grows() is unstable, (factor, bound)


@pytest.mark.parametrize(
    ("name", "convention"), [(name, x) for name, cls in CLASSES.items() if name not in SIGNS for x in cls.conventions]
)
def test_every_optimizer_and_convention(name, convention):
    arguments = {"lr": 1e-3, "convention": convention}
    if name in ("RMSProp", "SGD"):
        arguments["momentum"] = 0.8
    if name in ("RMSProp", "AdaDelta"):  # else one update already changes the denominators by 5 %
        arguments["alpha" if name == "RMSProp" else "rho"] = 0.9999
    check_bound(lambda: Frozen(CLASSES[name], **arguments))


@pytest.mark.parametrize("mu", [0.0, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("nesterov", [False, True])
def test_momentum(mu, nesterov):
    if mu == 0.0 and nesterov:
        return
    make = lambda: Frozen(flr.SGD, momentum=mu, nesterov=nesterov)  # noqa: E731
    L = make().sharpness()
    assert float(L) == pytest.approx(10.0, rel=1e-6)
    formula = 2 * (1 + mu) / (1 + 2 * mu) / 10 if nesterov else 2 * (1 + mu) / 10
    assert L.bound == pytest.approx(formula, rel=1e-6)
    check_bound(make)


@pytest.mark.parametrize(("mu", "dampening"), [(0.5, 0.3), (0.5, 0.9), (0.9, 0.3), (0.9, 0.9)])
def test_dampening(mu, dampening):
    make = lambda: Frozen(flr.SGD, momentum=mu, dampening=dampening)  # noqa: E731
    assert make().sharpness().bound == pytest.approx(2 * (1 + mu) / ((1 - dampening) * 10), rel=1e-6)
    check_bound(make)


@pytest.mark.parametrize("beta1", [0.0, 0.5, 0.9, 0.95])
@pytest.mark.parametrize("name", ["Adam", "AMSGrad", "NAdam", "AdaBelief"])
def test_betas(name, beta1):
    make = lambda: Frozen(CLASSES[name], betas=(beta1, 0.999))  # noqa: E731
    L = make().sharpness()
    if name == "Adam":
        assert L.bound == pytest.approx(2 * (1 + beta1) / ((1 - beta1) * L), rel=1e-9)
    check_bound(make)


@pytest.mark.parametrize("count", [0, 1])
def test_dampening_counts_from_the_second_update_on(count):
    """The first gradient enters undampened; the later ones decide."""
    frozen = Frozen(flr.SGD, momentum=0.9, dampening=0.5, count=count)
    assert frozen.sharpness().bound == pytest.approx(2 * 1.9 / (0.5 * 10), rel=1e-6)


def test_the_decay_of_asgd():
    check_bound(lambda: Frozen(flr.ASGD, lambd=3.0, alpha=0.0))
    assert Frozen(flr.ASGD, lambd=3.0, alpha=0.0).sharpness().bound == pytest.approx(2 / 13, rel=1e-6)


@pytest.mark.parametrize("name", ["Adam", "AMSGrad", "NAdam", "RAdam", "Adamax", "RMSProp", "AdaDelta"])
def test_elements_that_never_had_a_gradient_are_left_out(name):
    """Their denominator would be eps alone, and weight decay would count 1 / eps times."""
    frozen = Frozen(CLASSES[name], weight_decay=1e-3, decay="coupled")
    for slot in set(frozen.opt.state) & set(DENOMINATORS) - {"acc_delta"}:
        frozen.opt.state[slot][3:] = 0.0
    L = frozen.sharpness()
    assert 0.1 < L < 100
    frozen.opt.groups[0]["lr_scale"] = np.repeat([1.0, 0.0], [3, SIZE - 3])
    assert float(frozen.sharpness()) == pytest.approx(L, rel=1e-6)


def test_adam_is_38_over_the_preconditioned_sharpness():
    frozen = Frozen(flr.Adam)
    d = 1 / (np.sqrt(frozen.opt.state["exp_avg_sq"]) + 1e-8)
    exact = np.linalg.eigvalsh(np.sqrt(d)[:, None] * frozen.h * np.sqrt(d))[-1]
    L = frozen.sharpness()
    assert float(L) == pytest.approx(exact, rel=1e-6)
    assert L.bound == pytest.approx(38 / exact, rel=1e-6)


@pytest.mark.parametrize("count", [1, 3, 20])
@pytest.mark.parametrize("name", ["Adam", "RAdam", "Adamax"])
def test_bias_corrections_are_those_of_the_last_update(name, count):
    """By the direction that the rule itself takes: P from a gradient that changes neither moment."""
    frozen = Frozen(CLASSES[name], count=count, betas=(0.9, 0.99))
    L = frozen.sharpness()
    again = Frozen(CLASSES[name], count=count - 1, betas=(0.9, 0.99), lr=1.0)
    second = "exp_inf" if name == "Adamax" else "exp_avg_sq"
    fixed = again.opt.state[second].copy()
    again.opt.state[second][...] = fixed / 0.99
    again.opt.state["exp_avg"][...] = 1.0
    before = again.params.copy()
    again.opt.step(np.full(SIZE, 1e-12))
    d = (before - again.params) / 0.9  # the moment is 0.9 now
    exact = np.linalg.eigvalsh(np.sqrt(d)[:, None] * again.h * np.sqrt(d))[-1]
    assert float(L) == pytest.approx(exact, rel=1e-5)


@pytest.mark.parametrize("count", [1, 3, 50])
@pytest.mark.parametrize("convention", ["torch", "keras", "optax"])
def test_the_two_weights_of_nadam_are_those_of_the_last_update(convention, count):
    """The direction is a g + c m: two steps of the rule, one with a gradient alone, one with a moment alone."""
    L = Frozen(flr.NAdam, count=count, convention=convention).sharpness()
    moves = []
    for m, g in ((0.0, 1e-10), (1e-10, 0.0)):
        again = Frozen(flr.NAdam, count=count - 1, convention=convention, lr=1.0)
        v = again.opt.state["exp_avg_sq"]
        v[...] /= 0.999
        again.opt.state["exp_avg"][...] = m
        before = again.params.copy()
        again.opt.step(np.full(SIZE, g))
        denominator = np.sqrt(again.opt.state["exp_avg_sq"] / (1 - 0.999**count))
        moves.append(np.mean((before - again.params) * denominator) / 1e-10)
    c = moves[1] / 0.9
    a = moves[0] - 0.1 * c
    assert L.bound * L == pytest.approx(2 / (a + c * 0.1 / 1.9), rel=1e-3)


@pytest.mark.parametrize("decay", ["coupled", "decoupled", "independent"])
@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("SGD", {}),
        ("SGD", {"momentum": 0.9}),
        ("SGD", {"momentum": 0.9, "nesterov": True}),
        ("Adam", {}),
        ("RMSProp", {}),
    ],
)
def test_weight_decay(name, arguments, decay):
    weight_decay = 0.5 if decay == "independent" else 4.0
    make = lambda: Frozen(CLASSES[name], weight_decay=weight_decay, decay=decay, **arguments)  # noqa: E731
    plain = Frozen(CLASSES[name], **arguments).sharpness().bound
    assert make().sharpness().bound < 0.9 * plain  # so that a test at 3 % sees it
    check_bound(make)


def test_formulas_of_weight_decay():
    bound = {
        decay: Frozen(flr.SGD, momentum=0.9, weight_decay=0.5, decay=decay).sharpness().bound
        for decay in ("coupled", "decoupled", "independent")
    }
    assert bound["coupled"] == pytest.approx(2 * 1.9 / (10 + 0.5), rel=1e-6)
    assert bound["decoupled"] == pytest.approx(2 * 1.9 / (10 + 1.9 * 0.5), rel=1e-6)
    assert bound["independent"] == pytest.approx(1.9 * (2 - 0.5) / 10, rel=1e-6)


@pytest.mark.parametrize("l2", [0.0, 0.5])
@pytest.mark.parametrize("shrinkage", [0.0, 0.5])
def test_regularization_of_ftrl(l2, shrinkage):
    check_bound(
        lambda: Frozen(
            flr.FTRL, l2_regularization_strength=l2, l2_shrinkage_regularization_strength=shrinkage, beta=0.3
        )
    )


@pytest.mark.parametrize("decay", ["coupled", "decoupled", "independent"])
@pytest.mark.parametrize("shrinkage", [0.0, 1.0])
def test_weight_decay_of_ftrl(decay, shrinkage):
    """FTRL sets the parameters: what decay takes from them is felt by the shrinkage alone."""
    arguments = {"weight_decay": 0.9, "decay": decay, "l2_shrinkage_regularization_strength": shrinkage}
    check_bound(lambda: Frozen(flr.FTRL, **arguments))


@pytest.mark.parametrize("name", ["SGD", "Adam"])
def test_rates_by_element_are_part_of_it(name):
    scale = np.linspace(0.1, 1.5, SIZE)
    make = lambda: Frozen(CLASSES[name], lr_scale=scale)  # noqa: E731
    assert make().sharpness().bound != pytest.approx(Frozen(CLASSES[name]).sharpness().bound, rel=0.05)
    check_bound(make)


def test_frozen_elements_are_left_out():
    scale = np.ones(SIZE)
    scale[:5] = 0.0
    frozen = Frozen(flr.SGD, lr_scale=scale)
    assert float(frozen.sharpness()) == pytest.approx(np.linalg.eigvalsh(frozen.h[5:, 5:])[-1], rel=1e-6)


def two():
    return {"a": np.zeros((2, 3)), "b": np.zeros(6)}


GROUPS = {
    "rates": {"lr": 3e-3},
    "scale": {"lr_scale": 0.2},
    "decoupled decay": {"weight_decay": 4.0, "decay": "decoupled"},
    "coupled decay": {"weight_decay": 4.0},
    "rates, decay": {"lr": 3e-3, "weight_decay": 3.0, "decay": "decoupled"},
}


@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize("name", ["SGD", "Adam"])
def test_groups(name, group):
    check_bound(lambda: Frozen(CLASSES[name], two(), groups=[{"params": "b", **GROUPS[group]}]), groups=True)


def test_groups_with_momentum_of_their_own():
    make = lambda: Frozen(flr.SGD, two(), momentum=0.9, groups=[{"params": "b", "momentum": 0.2, "lr": 3e-3}])  # noqa: E731
    check_bound(make, groups=True)


def test_a_frozen_group_is_left_out():
    frozen = Frozen(flr.Adam, two(), groups=[{"params": "b", "lr_scale": 0.0}])
    alone = np.sqrt(1 / (np.sqrt(frozen.opt.state["exp_avg_sq"]["a"].ravel()) + 1e-8))
    exact = np.linalg.eigvalsh(alone[:, None] * frozen.h[:6, :6] * alone)[-1]
    assert float(frozen.sharpness()) == pytest.approx(exact, rel=1e-6)


def test_ascent():
    """`maximize`: the sharpness is that of the negative loss."""
    make = lambda: Frozen(flr.SGD, momentum=0.5, maximize=True, sign=-1.0)  # noqa: E731
    assert make().sharpness().bound == pytest.approx(2 * 1.5 / 10, rel=1e-6)
    check_bound(make)


@pytest.mark.parametrize("name", sorted(SIGNS))
def test_there_is_no_bound_for_signs(name):
    frozen = Frozen(CLASSES[name])
    L = frozen.sharpness()
    assert L.bound is None
    assert "sign" in L.reason
    assert float(L) == pytest.approx(10.0, rel=1e-6)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"momentum": 1.0}, "momentum of 1"),
        ({"momentum": 0.9, "dampening": 1.5}, "ascends"),
        ({"weight_decay": 2.5, "decay": "independent"}, "weight decay of 2"),
    ],
)
def test_there_is_no_bound_for_what_is_never_stable(arguments, words):
    L = Frozen(flr.SGD, **arguments).sharpness()
    assert L.bound is None
    assert words in L.reason


def test_there_is_no_bound_without_denominators():
    params = np.ones(3)
    L = tune.sharpness(lambda p, batch: (0.0, 2 * p), params, optimizer=flr.Adam(params))
    assert L.bound is None
    assert "no update" in L.reason
    assert float(L) == pytest.approx(2.0, rel=1e-6)


def test_there_is_no_bound_where_nothing_moves():
    params = np.ones(3)
    L = tune.sharpness(lambda p, batch: (0.0, 2 * p), params, optimizer=flr.SGD(params, lr_scale=0.0))
    assert (L.bound, L.reason) == (None, "nothing moves")


def test_there_is_no_bound_where_all_denominators_are_zero():
    params = np.ones(3)
    opt = flr.FTRL(params, lr=0.1, initial_accumulator_value=0.0)
    opt.step(np.zeros(3))
    L = tune.sharpness(lambda p, batch: (0.0, 2 * p), params, optimizer=opt)
    assert (L.bound, L.reason) == (None, "nothing moves")


def test_there_is_no_bound_relative_to_a_rate_of_zero():
    params = two()
    opt = flr.SGD(params, lr=0.0, groups=[{"params": "b", "lr": 0.1}])
    L = tune.sharpness(lambda p, batch: (0.0, p), params, optimizer=opt)
    assert L.bound is None
    assert "rate is 0" in L.reason


def test_growth_is_one_at_the_bound():
    for arguments in ({}, {"momentum": 0.9}, {"momentum": 0.7, "nesterov": True}):
        L = Frozen(flr.SGD, weight_decay=0.3, **arguments).sharpness()
        assert L.growth(L.bound) == pytest.approx(1.0, abs=1e-9)
        assert L.growth(0.97 * L.bound) < 1 < L.growth(1.03 * L.bound)


def test_elements_that_ftrl_holds_at_zero_are_left_out():
    """Those whose sum of gradients is within the L1 penalty."""
    h = np.array([1.0, 100.0, 10.0])
    opt = flr.FTRL(np.ones(3), lr=0.1, l1_regularization_strength=0.5)
    opt.step(np.ones(3))
    opt.state["linear"][...] = [2.0, 0.4, -2.0]
    opt.state["accumulator"][...] = 1.0
    L = tune.sharpness(lambda p, batch: (0.0, h * p), opt._parameters.params, hvp=lambda p, b, v: h * v, optimizer=opt)
    assert float(L) == pytest.approx(10.0)


def test_what_is_frozen_is_no_flat_direction():
    """Of a loss that curves downwards everywhere: zero is not its largest eigenvalue."""
    h = np.array([-1.0, -2.0, -3.0])
    params = np.ones(3)
    opt = flr.SGD(params, lr=0.1, lr_scale=np.array([0.0, 1.0, 1.0]))
    L = tune.sharpness(lambda p, batch: (0.0, h * p), params, hvp=lambda p, b, v: h * v, optimizer=opt)
    assert float(L) == pytest.approx(-2.0)
    assert L.bound == np.inf


@pytest.mark.parametrize(
    ("name", "decay"), [(name, x) for name, cls in CLASSES.items() if name not in SIGNS for x in cls.decays]
)
def test_differences_of_a_quadratic_are_in_no_doubt(name, decay):
    """What doubling the step changes is nothing, for any preconditioner and weight decay."""
    h = np.geomspace(0.1, 10.0, 40)
    params = np.random.default_rng(0).standard_normal(40)
    opt = CLASSES[name](params, lr=1e-3, weight_decay=0.1, decay=decay)
    for _ in range(3):
        opt.step(h * params)
    found = tune.sharpness(lambda p, batch: (0.0, h * p), params, optimizer=opt)
    exact = tune.sharpness(lambda p, batch: (0.0, h * p), params, None, lambda p, b, v: h * v, opt, 1e-9)
    assert float(found) == pytest.approx(exact, rel=1e-2)
    assert found.reason == ""
    assert found.error <= found.errors[-1] + 1e-5 * found
    assert found.evaluations == 2 * found.iterations + 4  # no other step was tried
