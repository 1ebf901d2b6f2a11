"""Are suggested rates good? Networks on four data sets of scikit-learn, at the suggestion and at 13 rates of a grid."""

import math

import numpy as np
from sklearn import datasets
from sklearn.model_selection import train_test_split
from threadpoolctl import threadpool_limits

import pyfastlr as flr
from pyfastlr import demo, tune

EPOCHS = {"digits": 15, "breast_cancer": 30, "wine": 60, "iris": 60}
GRID = np.geomspace(1e-5, 10, 13)
SEEDS = {"digits": 3, "breast_cancer": 5, "wine": 5, "iris": 5}  # of split, weights and batches: small parts need more
BATCH, HIDDEN = 32, 32
OPTIMIZERS = {
    "Adam": flr.Adam,
    "SGD": lambda params, lr: flr.SGD(params, lr=lr, momentum=0.9),
}


def data(name, seed):
    """Training and test part, standardised by the training part."""
    x, y = getattr(datasets, f"load_{name}")(return_X_y=True)
    train, test, labels, test_labels = train_test_split(x, y, test_size=1 / 3, stratify=y, random_state=seed)
    mean, scale = (0.0, 16.0) if name == "digits" else (train.mean(axis=0), train.std(axis=0))
    parts = [((part - mean) / scale).astype(np.float32) for part in (train, test)]
    return (parts[0], labels), (parts[1], test_labels)


def problem(name, seed):
    """Loss with its gradient, new weights, endless batches, and both parts."""
    train, test = data(name, seed)
    rng = np.random.default_rng(seed)
    sizes = [train[0].shape[1], HIDDEN, int(train[1].max()) + 1]
    params = flr.Flat(
        {
            "w1": (rng.standard_normal(sizes[:2]) * math.sqrt(2 / sizes[0])).astype(np.float32),
            "b1": np.zeros(HIDDEN, np.float32),
            "w2": (rng.standard_normal(sizes[1:]) * math.sqrt(2 / HIDDEN)).astype(np.float32),
            "b2": np.zeros(sizes[2], np.float32),
        }
    )
    grads = params.like()

    def loss_and_grad(params, batch):
        return demo.loss_and_gradient(params, grads, *batch), grads

    return loss_and_grad, params, demo.mini_batches(train, BATCH, rng), train, test


def suggested(name, optimizer, seed):
    """Suggestion of "valley", the median of 5 sweeps."""
    loss_and_grad, params, batches, _, _ = problem(name, seed)
    test = tune.range_test(loss_and_grad, params, lambda p: OPTIMIZERS[optimizer](p, 1e-3), batches, repeats=5)
    return test.suggestions["valley"]


@np.errstate(all="ignore")
def accuracy(name, optimizer, seed, lr):
    """Test accuracy after training at a constant rate."""
    loss_and_grad, params, batches, train, test = problem(name, seed)
    opt = OPTIMIZERS[optimizer](params, lr)
    for _ in range(EPOCHS[name] * (len(train[1]) // BATCH)):
        opt.step(loss_and_grad(params, next(batches))[1])
    return demo.evaluate(params, test)[1]


def compare(name, optimizer):
    """(suggested rates, mean accuracy at these, mean accuracy at each rate of the grid)."""
    with threadpool_limits(1, user_api="blas"):
        seeds = range(SEEDS[name])
        rates = [suggested(name, optimizer, seed) for seed in seeds]
        at = np.mean([accuracy(name, optimizer, seed, lr) for seed, lr in zip(seeds, rates, strict=True)])
        grid = [np.mean([accuracy(name, optimizer, seed, lr) for seed in seeds]) for lr in GRID]
    return rates, float(at), np.array(grid)
