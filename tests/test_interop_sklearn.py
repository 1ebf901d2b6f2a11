"""scikit-learn's perceptrons with our optimizers, against scikit-learn's own and against our own loop."""

import copy
import io
import pickle
import threading
import warnings

import joblib
import numpy as np
import pytest
from scipy import sparse
from sklearn import neural_network
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV
from sklearn.utils.estimator_checks import check_estimator

import pyfastlr as flr
from pyfastlr import schedules as S
from pyfastlr.interop import sklearn as adapter
from pyfastlr.interop.sklearn_updates import Updates
from pyfastlr.optimizers import registry

X, Y = (x[:600] for x in load_digits(return_X_y=True))
X = X / 16
TARGET = np.sin(X.sum(axis=1))
PAIRS = {
    "classifier": (neural_network.MLPClassifier, adapter.MLPClassifier, Y),
    "regressor": (neural_network.MLPRegressor, adapter.MLPRegressor, TARGET),
}
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

SOLVERS = {
    "adam": {},
    "adam, other numbers": {"beta_1": 0.7, "beta_2": 0.9, "epsilon": 1e-3, "learning_rate_init": 0.01},
    "nesterov": {"solver": "sgd", "learning_rate_init": 0.02},
    "momentum": {"solver": "sgd", "learning_rate_init": 0.02, "nesterovs_momentum": False},
    "no momentum": {"solver": "sgd", "learning_rate_init": 0.1, "momentum": 0.0},
    "momentum 1": {"solver": "sgd", "learning_rate_init": 1e-4, "momentum": 1.0, "nesterovs_momentum": False},
    "invscaling": {"solver": "sgd", "learning_rate": "invscaling", "learning_rate_init": 0.5, "power_t": 0.3},
    "adaptive": {"solver": "sgd", "learning_rate": "adaptive", "tol": 1e-2, "n_iter_no_change": 2, "max_iter": 80,
                 "learning_rate_init": 0.05},
    "early stopping": {"early_stopping": True, "n_iter_no_change": 2},
    "early stopping, adaptive": {"solver": "sgd", "learning_rate": "adaptive", "early_stopping": True, "max_iter": 60,
                                 "n_iter_no_change": 1, "learning_rate_init": 0.1},
    "tanh, no shuffle, batches": {"activation": "tanh", "shuffle": False, "batch_size": 77},
    "deep": {"hidden_layer_sizes": (9, 8, 7), "alpha": 0.1},
}  # fmt: skip


def arguments(**more):
    return {"max_iter": 25, "random_state": 0, "hidden_layer_sizes": (20,), **more}


def same_training(theirs, ours):
    np.testing.assert_allclose(ours.loss_curve_, theirs.loss_curve_, rtol=1e-12)
    assert (ours.n_iter_, ours.t_) == (theirs.n_iter_, theirs.t_)
    if theirs.validation_scores_ is not None:
        np.testing.assert_allclose(ours.validation_scores_, theirs.validation_scores_, rtol=1e-12)
    for a, b in zip(ours.coefs_ + ours.intercepts_, theirs.coefs_ + theirs.intercepts_, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11)


# --- In place of scikit-learn's own -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", PAIRS)
@pytest.mark.parametrize("solver", SOLVERS)
def test_solvers_are_scikit_learns(kind, solver):
    theirs, ours, y = PAIRS[kind]
    theirs, ours = (cls(**arguments(**SOLVERS[solver])).fit(X, y) for cls in (theirs, ours))
    same_training(theirs, ours)
    assert isinstance(ours.optimizer_, flr.SGD if "sgd" in SOLVERS[solver].values() else flr.Adam)


def test_adaptive_reaches_the_smallest_rate_and_says_so(capsys):
    found = []
    for cls in (neural_network.MLPClassifier, adapter.MLPClassifier):
        cls(**arguments(**SOLVERS["adaptive"] | {"tol": 10.0, "verbose": True, "n_iter_no_change": 1})).fit(X, Y)
        found.append([line for line in capsys.readouterr().out.splitlines() if "loss =" not in line])
    assert found[0] == found[1]
    assert "Learning rate too small. Stopping." in found[0][-1]
    assert len(found[0]) > 3


def test_lbfgs_stays_scikit_learns():
    theirs, ours = (PAIRS["classifier"][k](**arguments(solver="lbfgs")).fit(X, Y) for k in (0, 1))
    assert all(np.array_equal(a, b) for a, b in zip(theirs.coefs_, ours.coefs_, strict=True))
    with pytest.raises(AttributeError, match="not fitted"):
        _ = ours.optimizer_


@pytest.mark.parametrize("solver", ["adam", "nesterov", "invscaling"])
def test_partial_fits_and_warm_starts(solver):
    both = []
    for cls in PAIRS["classifier"][:2]:
        model = cls(**arguments(**SOLVERS[solver]))
        for _ in range(7):
            model.partial_fit(X[:300], Y[:300], classes=np.unique(Y))
        model.set_params(warm_start=True, max_iter=5).fit(X, Y).fit(X, Y)
        both.append(model.partial_fit(X, Y))
    same_training(*both)


def test_sample_weights_and_sparse_inputs():
    weights = np.random.default_rng(0).uniform(0.1, 2.0, len(X))
    theirs, ours = (
        cls(**arguments()).fit(sparse.csr_matrix(X), Y, sample_weight=weights) for cls in PAIRS["classifier"][:2]
    )
    same_training(theirs, ours)


def test_float32_with_weights_in_float64():
    weights = np.random.default_rng(0).uniform(0.1, 2.0, len(X))
    theirs, ours = (cls(**arguments()).fit(X.astype("f4"), Y, sample_weight=weights) for cls in PAIRS["classifier"][:2])
    assert ours.coefs_[0].dtype == np.float32
    np.testing.assert_allclose(ours.loss_curve_, theirs.loss_curve_, rtol=1e-4)


@pytest.mark.parametrize("kind", PAIRS)
def test_estimator_checks_are_those_of_the_parent(kind):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs, ours = (
            {x["check_name"]: x["status"] for x in check_estimator(cls(), on_fail=None, on_skip=None)}
            for cls in PAIRS[kind][:2]
        )
    assert ours == theirs
    assert list(ours.values()).count("passed") > 40


@pytest.mark.parametrize("kind", PAIRS)
def test_signature_is_the_parents_and_two_arguments(kind):
    theirs, ours, _ = PAIRS[kind]
    added = {name: x for name, x in ours().get_params().items() if name not in theirs().get_params()}
    assert added == {"optimizer": None, "optimizer_args": None}
    assert {name: ours().get_params()[name] for name in theirs().get_params()} == theirs().get_params()
    given = {"optimizer": flr.Lion, "optimizer_args": {"lr": 1e-3}, "alpha": 0.5}
    assert given.items() <= ours(**given).get_params().items()
    with pytest.raises(TypeError, match="unexpected keyword"):
        ours(optimiser=flr.Lion)


# --- Our optimizers ---------------------------------------------------------------------------------------------------

RATES = {"Rprop": {"lr": 1e-3}, "AdaDelta": {"lr": 1.0}, "SGD": {"lr": 0.05, "momentum": 0.9}}


@pytest.fixture
def recorded(monkeypatch):
    """Parameters before the first update, and the gradients of all."""
    found, update = [], Updates.update_params

    def recording(self, params, grads):
        if not found:
            found.append([x.copy() for x in params])
        found.append([x.copy() for x in grads])
        update(self, params, grads)

    monkeypatch.setattr(Updates, "update_params", recording)
    return found


@pytest.mark.parametrize("cls", registry, ids=lambda cls: cls.__name__)
def test_every_optimizer_makes_its_own_updates(cls, recorded):
    given = RATES.get(cls.__name__, {"lr": S.Cosine(3e-3, steps=200).warmup(5, start=1e-4)})
    model = adapter.MLPClassifier(**arguments(max_iter=6), optimizer=cls, optimizer_args=given).fit(X, Y)
    params, *gradients = recorded
    opt = cls(params, **given)
    for g in gradients:
        opt.step(g)
    assert opt.steps == model.optimizer_.steps == 18
    assert all(np.array_equal(a, b) for a, b in zip(params, model.coefs_ + model.intercepts_, strict=True))
    assert model.loss_curve_[-1] < model.loss_curve_[0]


def test_groups_options_and_averages():
    given = {"lr": 1e-2, "weight_decay": 0.1, "clip_norm": 0.5, "ema_decay": 0.9, "measure": ["update_norm"],
             "groups": [{"params": "intercepts.*", "weight_decay": 0}, {"params": "coefs.1", "lr": 0.001}]}  # fmt: skip
    model = adapter.MLPClassifier(**arguments(), optimizer=flr.AdamW, optimizer_args=given).fit(X, Y)
    opt = model.optimizer_
    assert opt.lrs == [1e-2, 1e-2, 1e-3]
    assert opt.groups[1]["params"] == ("intercepts.0", "intercepts.1")
    assert opt.stats.update_norm > 0
    before = model.predict_proba(X)
    with opt.averaged():
        assert not np.array_equal(model.predict_proba(X), before)
    assert np.array_equal(model.predict_proba(X), before)


def momentum_sgd(params, lr=0.1):
    return flr.SGD(params, lr=lr, momentum=0.9, nesterov=True, convention="keras")


@pytest.mark.parametrize("given", [None, {}, {"lr": 0.02}])
def test_a_function_builds_the_optimizer(given):
    ours = adapter.MLPClassifier(**arguments(), optimizer=momentum_sgd, optimizer_args=given).fit(X, Y)
    lr = (given or {}).get("lr", 0.1)
    theirs = neural_network.MLPClassifier(**arguments(solver="sgd", learning_rate_init=lr)).fit(X, Y)
    same_training(theirs, ours)


def test_schedules_count_updates():
    rate = S.OneCycle(1e-2, steps=100)
    model = adapter.MLPClassifier(**arguments(), optimizer=flr.Adam, optimizer_args={"lr": rate}).fit(X, Y)
    assert model.optimizer_.steps == 3 * model.n_iter_ == 75
    assert model.optimizer_.stats.lr == rate(74)
    again = adapter.MLPClassifier(**arguments(), optimizer=flr.Adam, optimizer_args={"lr": rate})
    for _ in range(4):
        again.partial_fit(X, Y, classes=np.unique(Y))
    assert again.optimizer_.lr == rate(12)


def test_controllers_observe_each_epoch_and_start_anew_in_each_training():
    plateau = S.Plateau(S.Constant(0.5), factor=0.5, patience=1, threshold=0.5)
    model = adapter.MLPClassifier(**arguments(), optimizer=flr.SGD, optimizer_args={"lr": plateau})
    rates = [model.fit(X, Y).optimizer_.lr for _ in range(2)]
    expected = S.Plateau(S.Constant(0.5), factor=0.5, patience=1, threshold=0.5)
    for loss in model.loss_curve_:
        expected.observe(loss=loss)
    assert rates == [expected(0)] * 2
    assert rates[0] < 0.25
    assert plateau(0) == 0.5


@pytest.mark.parametrize(
    "lr", [0.3, S.Linear(0.3, 0.1, steps=200), lambda n: 0.3 / (n + 1)], ids=["number", "schedule", "callable"]
)
def test_rates_scaled_by_epoch_under_any_optimizer(lr):
    more = {"optimizer": flr.AdaGrad, "optimizer_args": {"lr": lr, "groups": [{"params": "coefs.0", "lr": 0.01}]}}
    model = adapter.MLPClassifier(**arguments(max_iter=4, learning_rate="invscaling"), **more).fit(X, Y)
    factor = (4 * len(X) + 1) ** -0.5
    at = lr(12) if callable(lr) else lr
    np.testing.assert_allclose(model.optimizer_.lrs, [at * factor, 0.01 * factor], rtol=1e-14)

    given = arguments(learning_rate="adaptive", tol=10.0, n_iter_no_change=1, max_iter=5)
    model = adapter.MLPClassifier(**given, **more).fit(X, Y)  # no epoch is an improvement, so each second one cuts it
    at = lr(15) if callable(lr) else lr
    np.testing.assert_allclose(model.optimizer_.lrs, [at / 25, 0.01 / 25], rtol=1e-14)


# --- Copies -----------------------------------------------------------------------------------------------------------

COPIES = {
    "pickle": lambda x: pickle.loads(pickle.dumps(x)),
    "deepcopy": copy.deepcopy,
    "pickled twice": lambda x: pickle.loads(pickle.dumps(pickle.loads(pickle.dumps(x)))),
}


@pytest.mark.parametrize("how", COPIES)
@pytest.mark.parametrize(
    "given",
    [{}, {"optimizer": flr.NAdam, "optimizer_args": {"lr": S.Cosine(0.01, steps=30), "ema_decay": 0.5}},
     {"optimizer": flr.SGD, "optimizer_args": {"lr": S.Plateau(0.5, patience=0, threshold=0.5)}}],
    ids=["adam", "nadam", "controller"],
)  # fmt: skip
def test_copies_continue_to_the_bit(how, given):
    model = adapter.MLPClassifier(**arguments(), **given)
    for _ in range(3):
        model.partial_fit(X, Y, classes=np.unique(Y))
    twin = COPIES[how](model)
    for x in (model, twin):
        for _ in range(3):
            x.partial_fit(X, Y)
    assert twin.loss_curve_ == model.loss_curve_
    assert twin.optimizer_.steps == model.optimizer_.steps == 18
    assert twin.optimizer_.lr == model.optimizer_.lr
    assert twin.optimizer_.params["coefs"][0] is twin.coefs_[0]
    assert not np.shares_memory(twin.coefs_[0], model.coefs_[0])


def test_read_only_memory_maps_predict(tmp_path):
    model = adapter.MLPClassifier(**arguments(warm_start=True)).fit(X, Y)
    joblib.dump(model, tmp_path / "model")
    loaded = joblib.load(tmp_path / "model", mmap_mode="r")
    assert np.array_equal(loaded.predict_proba(X), model.predict_proba(X))
    with pytest.raises(ValueError, match=r"params\['coefs.0'\]` must be writeable"):
        loaded.partial_fit(X, Y)


def test_the_optimizer_goes_on_with_the_best_weights():
    model = adapter.MLPClassifier(**arguments(early_stopping=True)).fit(X, Y)
    assert model.optimizer_.params["coefs"][0] is model.coefs_[0]
    theirs = neural_network.MLPClassifier(**arguments(early_stopping=True)).fit(X, Y)
    for x in (theirs, model):
        x.best_loss_ = np.inf  # scikit-learn needs it without early stopping, and does not set it
        x.set_params(early_stopping=False).partial_fit(X, Y)
    same_training(theirs, model)


def test_clones_and_searches():
    model = adapter.MLPClassifier(**arguments(), optimizer=flr.AdamW, optimizer_args={"lr": S.Linear(0.1, 0, steps=9)})
    twin = clone(model)
    assert twin.get_params() == model.get_params()
    grid = {"optimizer_args": [{"lr": 1e-5}, {"lr": 1e-2}], "optimizer": [flr.Adam, flr.Lion, momentum_sgd]}
    search = GridSearchCV(model, grid, cv=2, n_jobs=1).fit(X, Y)
    assert search.best_params_["optimizer_args"] == {"lr": 1e-2}
    assert search.best_estimator_.optimizer_.steps == 75


def test_estimators_in_threads_keep_to_themselves():
    """Ours and scikit-learn's own train at the same time, so nothing global may be exchanged."""

    def train(cls, out):
        out.append(cls(**arguments()).fit(X, Y))

    both = PAIRS["classifier"][:2]
    alone = [cls(**arguments()).fit(X, Y).loss_curve_ for cls in both]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        found = [[] for _ in range(6)]
        threads = [threading.Thread(target=train, args=(both[k % 2], x)) for k, x in enumerate(found)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for k, (model,) in enumerate(found):
        assert model.loss_curve_ == alone[k % 2]
        assert isinstance(model._optimizer, Updates) == bool(k % 2)


def test_interrupted_training_keeps_whole_updates(monkeypatch):
    update, calls = Updates.update_params, []

    def interrupted(self, params, grads):
        calls.append(None)
        if len(calls) == 8:
            raise KeyboardInterrupt
        update(self, params, grads)

    monkeypatch.setattr(Updates, "update_params", interrupted)
    with pytest.warns(UserWarning, match="interrupted"):
        model = adapter.MLPClassifier(**arguments()).fit(X, Y)
    assert model.optimizer_.steps == 7
    assert model.partial_fit(X, Y).optimizer_.steps == 10


# --- Errors -----------------------------------------------------------------------------------------------------------

WRONG = {
    "an instance": ({"optimizer": flr.Adam(np.zeros(1))}, ValueError, "'optimizer' parameter .* must be a callable"),
    "a name": ({"optimizer": "adam"}, ValueError, "'optimizer' parameter .* must be a callable"),
    "no dict": ({"optimizer": flr.Adam, "optimizer_args": 1e-3}, ValueError, "'optimizer_args' parameter"),
    "unknown": ({"optimizer": flr.Adam, "optimizer_args": {"learning_rate": 1}}, TypeError, ": use `lr`"),
    "out of range": ({"optimizer": flr.Adam, "optimizer_args": {"lr": -1.0}}, ValueError, "`lr` must be .* got -1.0"),
    "no optimizer": ({"optimizer_args": {"lr": 1.0}}, ValueError, r"needs an `optimizer`, got \['lr'\]"),
    "of a solver": ({"optimizer": flr.SGD, "learning_rate_init": 0.5}, ValueError, "`learning_rate_init` must be left"),
    "betas": ({"optimizer": flr.Adam, "beta_1": 0.5}, ValueError, "`beta_1` must be left out"),
    "lbfgs": ({"optimizer": flr.Adam, "solver": "lbfgs"}, ValueError, "must be None with `solver='lbfgs'`"),
    "params": ({"optimizer": flr.Adam, "optimizer_args": {"params": []}}, ValueError, "must not have 'params'"),
    "no result": ({"optimizer": lambda params: None}, TypeError, "must return an optimizer of pyfastlr, got None"),
    "other params": ({"optimizer": lambda params: flr.Adam(np.zeros(2))}, ValueError, "of the parameters that it is"),
    "a start rate": ({"optimizer": flr.Rprop, "learning_rate": "adaptive"}, ValueError, "its rate cannot change"),
    "a controller": ({"optimizer": flr.SGD, "optimizer_args": {"lr": S.Plateau(0.1)}, "learning_rate": "invscaling"},
                     ValueError, "controller, which changes the rate itself"),
    "no group": ({"optimizer": flr.Adam, "optimizer_args": {"groups": [{"params": "coefs.7"}]}}, ValueError, "coefs.7"),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
@pytest.mark.parametrize("fitted", [False, True], ids=["new", "fitted"])
def test_errors_change_nothing(what, fitted):
    given, kind, text = WRONG[what]
    model = adapter.MLPClassifier(**arguments(max_iter=2))
    if fitted:
        model.fit(X, Y)
    model.set_params(**given)
    before = dict(vars(model))
    weights = copy.deepcopy(before.get("coefs_"))
    with pytest.raises(kind, match=text):
        model.fit(X[:, :5], Y)
    assert vars(model) == before
    assert weights is None or all(np.array_equal(a, b) for a, b in zip(weights, model.coefs_, strict=True))


def test_a_scikit_learn_without_the_hook_is_refused(monkeypatch):
    monkeypatch.setattr(neural_network.MLPClassifier, "_fit_stochastic", lambda self, *args: None)
    with pytest.raises(RuntimeError, match="does not assign its optimizer"):
        adapter.MLPClassifier(**arguments()).fit(X, Y)


def test_own_errors_of_a_step_pass_through():
    given = {"optimizer": flr.Adam, "optimizer_args": {"lr": lambda n: "fast" if n == 2 else 0.1}}
    with pytest.raises(TypeError, match="'fast'"):
        adapter.MLPClassifier(**arguments(), **given).fit(X, Y)


def test_html_and_text_representations():
    model = adapter.MLPClassifier(optimizer=flr.Lion, optimizer_args={"lr": 1e-3})
    assert "optimizer_args={'lr': 0.001}" in repr(model)
    assert io.StringIO(model._repr_html_()).getvalue()
