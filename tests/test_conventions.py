"""Differences between torch, Keras and optax, each with numbers calculated by hand."""

import pickle
import runpy
from math import nextafter, sqrt
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import pyfastlr as flr
from cases import CASES, DEFAULTS, ROWS, decay_kind
from pyfastlr.optimizers.functions import FUNCTIONS
from pyfastlr_kernels.rules import RULES

PAIRS = [(cls, convention) for cls in DEFAULTS for convention in DEFAULTS[cls]]
each_pair = pytest.mark.parametrize(("cls", "convention"), PAIRS)
each_convention = pytest.mark.parametrize("convention", ["torch", "keras", "optax"])


def make(cls, convention, p, lr=0.1, **options):
    return getattr(flr, cls)(p, lr, convention=convention, **options)


def descents(cls, convention, gradients, lr=0.1, start=0.0, **options):
    """How far each update of one parameter moves down. `lr` is a number or a list of rates."""
    p, out = np.array([start]), []
    opt = make(cls, convention, p, (lambda n: lr[n]) if isinstance(lr, list) else lr, **options)
    for g in gradients:
        before = p[0]
        opt.step(np.array([g]))
        out.append(before - p[0])
    return out


def close(want):
    return pytest.approx(want, rel=1e-12, abs=1e-16)


# --- Defaults and what a library lacks -------------------------------------------------------------------------------


@each_pair
def test_unset_arguments_are_the_library_s(cls, convention):
    defaults = {"weight_decay": 0.0, "decay": decay_kind(cls, convention), **DEFAULTS[cls][convention]}
    given = {} if "lr" in defaults else {"lr": ROWS[cls].usual_lr}
    moving = {"momentum": 0.9} if "momentum" in defaults else {}  # without, the group has no such keys
    opt = getattr(flr, cls)(np.zeros(2), convention=convention, **given, **moving)
    case = next(case for case in CASES if (case.cls, case.convention) == (cls, convention))
    start = case.start(np.zeros(2), opt.lr)
    assert defaults.pop("initial_accumulator_value", 0.0) in (0.0, *(x[0] for x in start.values()))
    assert {name: getattr(opt, name) for name in defaults} == defaults | moving
    assert all((x == start[name]).all() for name, x in opt.state.items() if name in start)
    assert getattr(flr, cls)(np.zeros(2), convention=convention, **given).rule == cls.lower().replace("adamw", "adam")


@pytest.mark.parametrize("cls", DEFAULTS)
def test_no_convention_is_torch_s_or_the_source_s(cls):
    assert getattr(flr, cls)(np.zeros(2), 0.1).convention == next(iter(DEFAULTS[cls]))


@pytest.mark.parametrize("cls", [cls for cls in DEFAULTS if "optax" in DEFAULTS[cls]])
def test_rate_must_be_given_under_optax(cls):
    with pytest.raises(ValueError, match="`lr` must be given"):
        getattr(flr, cls)(np.zeros(2), convention="optax")


@pytest.mark.parametrize(("cls", "convention"), [("RAdam", "keras"), ("Lion", "torch"), ("Adam", "tensorflow")])
def test_library_without_the_optimizer_is_refused(cls, convention):
    with pytest.raises(ValueError, match=f"`convention` of {cls} must be .* got '{convention}'"):
        make(cls, convention, np.zeros(2))


LACKING = [
    (cls, convention, name)
    for cls, convention in PAIRS
    for name in dict.fromkeys(name for own in DEFAULTS[cls].values() for name in own)
    if name not in DEFAULTS[cls][convention] and name not in ("lr", "weight_decay")
]


def test_what_is_lacking():
    assert {(cls, name) for cls, _, name in LACKING} == {
        ("SGD", "dampening"), ("AdaGrad", "lr_decay"), ("NAdam", "momentum_decay"),
    }  # fmt: skip


@pytest.mark.parametrize(("cls", "convention", "name"), LACKING)
def test_argument_that_the_library_lacks_is_refused(cls, convention, name):
    with pytest.raises(ValueError, match=name):
        make(cls, convention, np.zeros(2), **{name: 0.5})
    moving = {"momentum": 0.9} if cls == "SGD" else {}
    with pytest.raises(ValueError, match=name):
        make(cls, convention, np.zeros(2), **{name: 0.5}, **moving)
    with pytest.raises(ValueError, match=name):
        make(cls, convention, np.zeros(2), groups=[{"params": 0, name: 0.5}], **moving)
    opt = make(cls, convention, np.zeros(2), **moving)
    with pytest.raises(ValueError, match=name):
        opt.groups[0][name] = 0.5


def test_state_of_another_convention_is_refused():
    opt = make("Adam", "keras", np.zeros(2))
    with pytest.raises(ValueError, match="convention"):
        opt.load_state_dict(make("Adam", "optax", np.zeros(2)).state_dict())


# --- Momentum --------------------------------------------------------------------------------------------------------


def test_first_gradient_is_undampened_under_torch():
    assert descents("SGD", "torch", [1.0, 1.0], momentum=0.5, dampening=0.2) == close([0.1, 0.1 * (0.5 + 0.8)])


RATES, ONES = [0.1, 0.0, 0.2], [1.0, 1.0, 1.0]
INSIDE = [0.1, 0.05, 0.025 + 0.2]  # b = b/2 + lr g: a rate of 0 does not stop it
OUTSIDE = [0.1, 0.0, 0.2 * 1.75]  # lr times 1, 1.5, 1.75


@pytest.mark.parametrize(("convention", "want"), [("torch", OUTSIDE), ("keras", INSIDE), ("optax", OUTSIDE)])
def test_rate_is_inside_of_sgd_s_momentum_under_keras(convention, want):
    assert descents("SGD", convention, ONES, RATES, momentum=0.5) == close(want)


@pytest.mark.parametrize(
    ("convention", "want"),
    [
        ("torch", [0.1 * 1.5, 0.0, 0.2 * 1.875]),
        ("keras", [0.1 + 0.05, 0.025, 0.2 + 0.225 / 2]),
        ("optax", [0.1 * 1.5, 0.0, 0.2 * 1.875]),
    ],
)
def test_rate_is_inside_of_nesterov_s_momentum_under_keras(convention, want):
    assert descents("SGD", convention, ONES, RATES, momentum=0.5, nesterov=True) == close(want)


@pytest.mark.parametrize("centered", [False, True])
@pytest.mark.parametrize(("convention", "want"), [("torch", OUTSIDE), ("keras", INSIDE), ("optax", INSIDE)])
def test_rate_is_inside_of_rmsprop_s_momentum_under_keras_and_optax(convention, want, centered):
    """The state is set so that v = 1 and the variance 1/4: the direction is 1, centered 2."""
    p, out = np.zeros(1), []
    opt = make("RMSProp", convention, p, lambda n: RATES[n], momentum=0.5, alpha=0.5, eps=0.0, centered=centered)
    for g in ONES:
        before = p[0]
        opt.state["square_avg"][0] = 1.0
        if centered:
            opt.state["grad_avg"][0] = 2 * sqrt(0.75) - 1.0  # whose mean with g is sqrt(3/4)
        opt.step(np.array([g]))
        out.append(before - p[0])
    assert out == close([2 * x for x in want] if centered else want)


@each_convention
def test_rate_per_element_is_where_the_rate_is(convention):
    """If lr_scale changes, Keras's buffer keeps the old factor. Zero freezes in all conventions."""
    p, scale = np.zeros(2), np.array([1.0, 3.0])
    opt = make("SGD", convention, p, momentum=0.5, lr_scale=scale)
    opt.step(np.ones(2))
    assert p == close([-0.1, -0.3])
    scale[:] = 1e-300
    opt.step(np.ones(2))
    assert p == close([-0.15, -0.45] if convention == "keras" else [-0.1, -0.3])
    scale[:] = 0.0
    before = p.copy()
    opt.step(np.ones(2))
    assert p.tobytes() == before.tobytes()


# --- Places of eps, for gradients of its size ------------------------------------------------------------------------


@pytest.mark.parametrize("cls", ["Adam", "AdamW", "AMSGrad"])
@pytest.mark.parametrize(
    ("convention", "want"),
    [("torch", 1 / 1.01), ("keras", sqrt(1e-3) / (sqrt(1e-3) + 0.1)), ("optax", 1 / 1.01)],
)
def test_adam_s_first_update_for_a_gradient_of_a_millionth(cls, convention, want):
    """0.990 of the rate in torch and optax (eps 1e-8), 0.240 in Keras (1e-7, added before v is corrected)."""
    assert descents(cls, convention, [1e-6], lr=1.0) == close([want])


@each_convention
def test_eps_of_nadam_is_added_after_the_correction(convention):
    (with_eps,) = descents("NAdam", convention, [1e-6], lr=1.0, eps=1e-6)
    (without,) = descents("NAdam", convention, [1e-6], lr=1.0, eps=0.0)
    assert with_eps == close(without / 2)


@pytest.mark.parametrize("convention", ["torch", "optax"])
def test_eps_of_radam(convention):
    """Torch adds it to sqrt(v), optax to sqrt(v / c2). For a constant gradient, v / c2 is the gradient's square."""
    eps, c2 = 1e-6, 1 - 0.999**7
    with_eps = descents("RAdam", convention, [1e-6] * 7, lr=1.0, eps=eps)[-1]
    without = descents("RAdam", convention, [1e-6] * 7, lr=1.0, eps=0.0)[-1]
    root = sqrt(c2) if convention == "torch" else 1.0
    assert with_eps == pytest.approx(without * root / (root + 1.0), rel=1e-10)


@pytest.mark.parametrize("centered", [False, True])
@pytest.mark.parametrize(("convention", "outside"), [("torch", True), ("keras", False), ("optax", False)])
def test_eps_of_rmsprop(convention, outside, centered):
    g, eps = 1e-4, 1e-6
    v = 0.1 * g * g - (0.1 * g) ** 2 * centered
    want = g / (sqrt(v) + eps) if outside else g / sqrt(v + eps)
    assert descents("RMSProp", convention, [g], lr=1.0, alpha=0.9, eps=eps, centered=centered) == close([want])


@pytest.mark.parametrize(("convention", "outside"), [("torch", True), ("keras", False), ("optax", False)])
def test_eps_and_initial_sum_of_adagrad(convention, outside):
    g, eps, start = 1e-2, 1e-6, 0.0 if outside else 0.1
    root = sqrt(start + g * g) + eps if outside else sqrt(start + g * g + eps)
    assert descents("AdaGrad", convention, [g], lr=1.0, eps=eps) == close([g / root])


@each_convention
def test_eps_of_adadelta_is_inside_of_both_roots(convention):
    g, eps = 1e-2, 1e-6
    want = sqrt(eps) * g / sqrt(0.1 * g * g + eps)
    assert descents("AdaDelta", convention, [g], lr=1.0, rho=0.9, eps=eps) == close([want])


@pytest.mark.parametrize("convention", ["torch", "keras", "optax"])
def test_eps_of_adamax(convention):
    """Inside the maximum it decays with it; in Keras's denominator it does not."""
    g, eps, b2 = 1e-3, 1e-3, 0.5
    largest = b2 * g + eps if convention == "keras" else max(b2 * (g + eps), eps)
    second = descents("Adamax", convention, [g, 0.0], lr=1.0, betas=(0.9, b2), eps=eps)[1]
    assert second == close(0.9 * 0.1 * g / (1 - 0.9**2) / largest)


# --- Maxima, schedules of the momentum, thresholds -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("convention", "maximum", "root"),
    [
        ("torch", 1e-3, sqrt(1e-3 / (1 - 0.999**2))),
        ("keras", 1e-3, sqrt(1e-3 / (1 - 0.999**2))),
        ("optax", 1.0, 1.0),
    ],
)
def test_amsgrad_s_maximum_is_of_the_corrected_v_under_optax(convention, maximum, root):
    """In torch and Keras it is over v: a large first gradient is forgotten as the correction fades. Not in optax."""
    p = np.zeros(1)
    opt = make("AMSGrad", convention, p, 1.0, eps=0.0)
    for g in (1.0, 0.0):
        before = p[0]
        opt.step(np.array([g]))
    assert opt.state["max_exp_avg_sq"] == close([maximum])
    assert before - p[0] == close(0.9 * 0.1 / (1 - 0.9**2) / root)


@pytest.mark.parametrize(("convention", "psi"), [("torch", 4e-3), ("keras", 1.0)])
def test_nadam_s_momentum_follows_a_schedule(convention, psi):
    mu = [0.9 * (1 - 0.5 * 0.96 ** (t * psi)) for t in (1, 2, 3)]
    now = (1 - mu[1]) / (1 - mu[0] * mu[1])
    ahead = mu[2] * 0.9 * 0.1 + mu[2] * 0.1  # times m after two gradients of 1
    want = now + ahead / (1 - mu[0] * mu[1] * mu[2])
    assert descents("NAdam", convention, [1.0, 1.0], lr=1.0, eps=0.0)[1] == close(want)


def test_nadam_s_momentum_is_constant_under_optax():
    m = 0.9 * 0.1 + 0.1
    want = 0.9 * m / (1 - 0.9**3) + 0.1 / (1 - 0.9**2)
    assert descents("NAdam", "optax", [1.0, 1.0], lr=1.0, eps=0.0)[1] == close(want)


def rho(b2, t):
    return 2.0 / (1.0 - b2) - 1.0 - 2.0 * t * b2**t / (1.0 - b2**t)


def test_radam_at_a_rho_of_exactly_5_is_rectified_under_optax_alone():
    low, high = 0.7, 0.999  # rho grows with b2; among the numbers around the crossing one gives exactly 5
    while high - low > 1e-13:
        middle = (low + high) / 2
        low, high = (middle, high) if rho(middle, 9.0) < 5.0 else (low, middle)
    b2 = low
    while rho(b2, 9.0) != 5.0:
        b2 = nextafter(b2, 1.0)
        assert b2 < high + 1e-12
    c = SimpleNamespace(lr=1.0, beta1=0.9, beta2=b2, eps=1e-8, tiny=0.0, half_ulp=2.0**-53)
    steps = {convention: fold(c, 9.0, ())[1][0] for convention, fold in RULES["radam"].folds.items()}
    limit, plain = 2.0 / (1.0 - b2) - 1.0, 1.0 / (1.0 - 0.9**9.0)
    assert steps["torch"] == close(plain)
    assert steps["optax"] == close(plain * sqrt(3.0 * limit / ((limit - 4.0) * (limit - 2.0) * 5.0)))


@pytest.mark.parametrize("convention", ["torch", "optax"])
def test_radam_is_rectified_from_the_sixth_update_on(convention):
    steps = descents("RAdam", convention, [1.0] * 6, lr=1.0, eps=0.0)
    limit, now = 1999.0, rho(0.999, 6)
    factor = sqrt((now - 4) * (now - 2) * limit / ((limit - 4) * (limit - 2) * now))
    assert steps == pytest.approx([1.0] * 5 + [factor], rel=1e-9)


@pytest.mark.parametrize("convention", ["keras", "optax"])
def test_lion_does_not_move_for_a_zero(convention):
    """DeepSpeed's moves down by the rate."""
    assert descents("Lion", convention, [0.0, -2.0, 1e-300], weight_decay=0.0) == close([0.0, -0.1, -0.1])


# --- Weight decay ----------------------------------------------------------------------------------------------------


@each_convention
def test_decay_comes_before_the_update_with_its_rate(convention):
    """p (1 - lr wd) - lr g, not (p - lr g) (1 - lr wd), and not with the previous rate."""
    rates, p = [0.1, 0.4], 2.0
    want = [0.1 * 0.5 * p + 0.1]
    p -= want[0]
    want.append(0.4 * 0.5 * p + 0.4)
    assert descents("SGD", convention, [1.0, 1.0], rates, start=2.0, weight_decay=0.5, decay="decoupled") == close(want)


@pytest.mark.parametrize(("convention", "coupled"), [("torch", True), ("keras", False), ("optax", True)])
def test_decay_of_adadelta_is_coupled_under_optax_too(convention, coupled):
    """All other weight decay in optax is decoupled."""
    want = sqrt(1e-6) / sqrt(0.1 + 1e-6) if coupled else 1.0  # a gradient of 1 * p, or lr * 1 * p
    assert descents("AdaDelta", convention, [0.0], lr=1.0, start=1.0, weight_decay=1.0, rho=0.9, eps=1e-6) == close(
        [want]
    )


@pytest.mark.parametrize(("convention", "coupled"), [("torch", True), ("keras", False), ("optax", False)])
def test_decay_of_adam_is_coupled_under_torch_alone(convention, coupled):
    (got,) = descents("Adam", convention, [0.0], start=2.0, weight_decay=0.5, eps=0.1)
    assert got == close(0.1 / 1.1 if coupled else 0.1 * 0.5 * 2.0)


@each_convention
def test_each_array_counts_its_own_updates(convention):
    """As in torch. In Keras, the count of an array without a gradient increases too. optax has no such array."""
    p = [np.zeros(1), np.zeros(1)]
    opt = make("Adam", convention, p)
    for g in (None, None, np.array([2.0])):
        opt.step([np.array([2.0]), g])
    assert -p[1] == close(descents("Adam", convention, [2.0]))


@pytest.mark.parametrize("cls", DEFAULTS)
def test_decay_that_an_optimizer_lacks_is_refused(cls):
    """The constructor, groups, assignments and `@njit` code refuse it by name."""
    own = ROWS[cls].decays
    for kind in {"coupled", "decoupled", "independent"} - {*own}:
        words = f" of {cls} must be .*{own[0]}.* got '{kind}'"
        with pytest.raises(ValueError, match=f"`decay`{words}"):
            getattr(flr, cls)(np.zeros(2), 0.1, decay=kind)
        with pytest.raises(ValueError, match=rf"`groups\[0\]\['decay'\]`{words}"):
            getattr(flr, cls)(np.zeros(2), 0.1, groups=[{"params": 0, "decay": kind}])
        opt = getattr(flr, cls)(np.zeros(2), 0.1)
        with pytest.raises(ValueError, match=f"`decay`{words}"):
            opt.decay = kind
        assert opt.decay in own
        for function in FUNCTIONS.values():
            if function.cls is getattr(flr, cls):
                state = (*opt.state.values(), *(np.zeros(1) for _ in RULES[function.rule].carry))
                with pytest.raises(ValueError, match=f"`decay` must be '{own[0]}'.* got '{kind}'"):
                    getattr(flr.kernels, function.name)(np.zeros(2), np.zeros(2), state, 0, 0.1, decay=kind)
    for kind in own:
        getattr(flr, cls)(np.zeros(2), 0.1, decay=kind)


@pytest.mark.parametrize("cls", DEFAULTS)
def test_numbers_that_an_optimizer_lacks_are_refused(cls):
    p = np.ones(2)
    for name, values in ROWS[cls].refused.items():
        for value in values:
            with pytest.raises(ValueError, match=rf"`{name}(\[[01]\])?` must be .* got "):
                getattr(flr, cls)(p, 0.1, **{name: value})
    assert (p == 1.0).all()


@pytest.mark.parametrize("cls", DEFAULTS)
def test_rates_that_an_optimizer_lacks_are_refused(cls):
    """A rate of zero, or a schedule or a change if the rate only initializes state."""
    make, kind, p = getattr(flr, cls), ROWS[cls].lr, np.ones(2)
    if kind == "any":
        make(p, 0.0).step(np.ones(2))
        make(p, lambda n: 0.1).lr = 0.2
        return
    if kind == "positive":
        with pytest.raises(ValueError, match="`lr` must be a finite number > 0, got 0"):
            make(p, 0.0)
        opt = make(p, lambda n: 0.1 * n)
        with pytest.raises(
            ValueError, match=r"`lr` must be a finite number > 0, got 0.0 from its schedule at update 0"
        ):
            opt.step(np.ones(2))
        opt.lr = 0.1
        with pytest.raises(ValueError, match="`lr` must be a finite number > 0, got 0"):
            opt.lr = 0.0
    else:
        for wrong in (lambda n: 0.1, flr.schedules.Constant(0.1)):
            with pytest.raises(TypeError, match=f"`lr` of {cls} must be a finite number"):
                make(p, wrong)
            with pytest.raises(TypeError, match=rf"`groups\[0\]\['lr'\]` of {cls} must be a finite number"):
                make(p, 0.1, groups=[{"params": 0, "lr": wrong}])
        opt = make(p, 0.1)
        with pytest.raises(AttributeError, match=f"`lr` of {cls} cannot be changed"):
            opt.lr = 0.2
        with pytest.raises(ValueError, match=f"`lr` of {cls} cannot be changed"):
            opt.groups[0]["lr"] = 0.2
        (name,) = (name for name, start in ROWS[cls].start.items() if start == "lr")
        opt = make([np.ones(2), np.ones(3)], 0.1, groups=[{"params": 1, "lr": 0.3}])
        assert [x[0] for x in opt.state[name]] == [0.1, 0.3]
        opt.step([np.ones(2), np.ones(3)])
        opt.reset()
        assert [x.tolist() for x in opt.state[name]] == [[0.1] * 2, [0.3] * 3]
        assert [x[0] for x in pickle.loads(pickle.dumps(opt)).state[name]] == [0.1, 0.3]
    assert (p == 1.0).all()


# --- The page --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def script():
    return runpy.run_path(str(Path(__file__).resolve().parents[1] / "scripts" / "conventions_page.py"))


def test_table_of_the_page_is_the_classes(script):
    text = script["PAGE"].read_text(encoding="utf-8")
    assert script["render"](text) == text, "run python scripts/conventions_page.py"


def test_every_optimizer_is_on_the_page_under_every_convention(script):
    described = {
        (cls, convention)
        for cls in DEFAULTS
        for formulas in getattr(flr, cls).formulas.values()
        for convention, formula in formulas.items()
        if formula
    }
    assert described == set(PAIRS)
    assert {cls.__name__ for cls in script["registry"]} == set(DEFAULTS)
