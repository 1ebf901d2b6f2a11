"""The demo: the network's gradient is right, every optimizer and schedule learns, and plain numpy agrees."""

from itertools import islice

import numpy as np
import pytest

import pyfastlr as flr
from pyfastlr import demo
from pyfastlr.demo import SCHEDULES, Training


def train(*arguments, **options):
    training = Training(*arguments, **options)
    for _ in training:
        pass
    return training


def test_gradient_is_that_of_the_loss():
    rng = np.random.default_rng(0)
    params = flr.Flat({name: array.astype(np.float64) for name, array in demo.initial(5, rng).items()})
    x, y = rng.random((7, 64)), rng.integers(10, size=7)
    params.buffer[:] += 0.1 * rng.standard_normal(params.buffer.size)  # biases too
    grads, unused, h = params.like(), params.like(), 1e-6
    demo.loss_and_gradient(params, grads, x, y)
    for i in range(params.buffer.size):
        value = params.buffer[i]
        params.buffer[i] = value + h
        above = demo.loss_and_gradient(params, unused, x, y)
        params.buffer[i] = value - h
        below = demo.loss_and_gradient(params, unused, x, y)
        params.buffer[i] = value
        assert grads.buffer[i] == pytest.approx((above - below) / (2 * h), abs=1e-8)


def test_split_keeps_the_digits_apart_and_in_proportion():
    (x, y), (x_test, y_test) = demo.digits(3)
    assert x.dtype == np.float32
    assert (x.min(), x.max()) == (0, 1)
    assert not {image.tobytes() for image in x} & {image.tobytes() for image in x_test}
    np.testing.assert_allclose(np.bincount(y) / len(y), np.bincount(y_test) / len(y_test), atol=2e-3)
    assert not np.array_equal(x, demo.digits(4)[0][0])


def test_an_epoch_has_every_image_at_most_once():
    images = np.arange(10, dtype=np.float32)[:, None], np.arange(10)
    batches = list(islice(demo.mini_batches(images, 4, np.random.default_rng(0)), 4))
    epochs = [np.concatenate([y for _, y in batches[k : k + 2]]) for k in (0, 2)]
    assert all(len(set(epoch)) == 8 for epoch in epochs)
    assert not np.array_equal(*epochs)
    assert all(np.array_equal(x[:, 0], y) for x, y in batches)


def test_every_optimizer_is_offered_or_has_a_reason():
    assert {*demo.OPTIMIZERS, *demo.UNSUITABLE} == {cls.__name__ for cls in flr.optimizers.registry}
    assert demo.UNSUITABLE.keys() == {"FTRL", "Rprop"}


def test_defaults_reach_95_per_cent():
    assert train().points[-1].accuracy >= 0.95


@pytest.mark.parametrize("name", demo.OPTIMIZERS)
def test_every_optimizer_learns_and_agrees_with_plain_numpy(name):
    training = train(name.lower(), steps=300)
    assert training.points[-1].accuracy >= 0.9
    assert training.plain is None or training.largest_difference() < 1e-5  # of weights up to 1


@pytest.mark.parametrize("steps", [1, 2, 200])
@pytest.mark.parametrize("name", SCHEDULES)
def test_every_schedule_has_the_peak_it_is_given(name, steps):
    rates = SCHEDULES[name](0.25, steps)(np.arange(steps))
    assert rates.shape == (steps,)
    assert rates.min() >= 0
    assert rates.max() <= 0.25
    assert steps < 200 or rates.max() == pytest.approx(0.25)


def test_same_seed_same_run_whatever_the_threads():
    runs = [train(steps=60, seed=1, threads=threads) for threads in (1, 2)]
    np.testing.assert_array_equal(*(run.losses for run in runs))
    np.testing.assert_array_equal(*(run.params.buffer for run in runs))
    assert not np.array_equal(runs[0].losses, train(steps=60, seed=2).losses)


def test_points_tell_the_run():
    training = train(steps=250)
    assert [point.step for point in training.points] == [*range(2, 251, 2)]
    assert training.points[3].loss == pytest.approx(training.losses[6:8].mean())
    assert training.points[3].lr == training.rates[7]
    assert training.points[-1].accuracy == demo.evaluate(training.params, training.test_images)[1]


@pytest.mark.parametrize("bad", [{"steps": 0}, {"hidden": 0}, {"batch": 0}, {"batch": 1348}])
def test_numbers_out_of_range(bad):
    ((name, value),) = bad.items()
    with pytest.raises(ValueError, match=rf"`{name}` must be in 1\.\..*, got {value}"):
        Training(**bad)


def test_a_run_that_diverges_says_so():
    with pytest.raises(FloatingPointError, match="use a smaller `lr`"):
        train("SGD", "constant", lr=1e20, steps=50)
