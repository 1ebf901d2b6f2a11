"""What a tool draws from: batches that begin again, and the random generators that a user's objects hold."""

import random
import weakref
from functools import partial
from itertools import cycle, islice

import numpy as np
import pytest

from pyfastlr.tune.finding.batches import Batches
from pyfastlr.tune.finding.randomness import generators
from range_problem import BATCHES, Again, Ended, adam, loss_and_grad, new_params, run


def drawn(batches, n):
    source = Batches(batches)
    return [next(source) for _ in range(n)]


def test_batches_begin_again_when_they_end():
    assert drawn([1, 2, 3], 7) == [1, 2, 3, 1, 2, 3, 1]
    assert drawn((1, 2), 3) == [1, 2, 1]
    assert drawn(range(2), 3) == [0, 1, 0]
    assert drawn(iter([1, 2, 3]), 7) == [1, 2, 3, 1, 2, 3, 1]
    assert drawn((x for x in "ab"), 5) == list("ababa")
    assert drawn({7: "x"}.keys(), 2) == [7, 7]
    assert drawn(None, 2) == [None, None]
    rng = np.random.default_rng(5)
    assert drawn(Again(4, 5), 10) == [*rng.permutation(4), *rng.permutation(4), *rng.permutation(4)[:2]]


def test_what_can_only_be_indexed_is_a_sequence():
    class Indexed:
        def __len__(self):
            return 3

        def __getitem__(self, k):
            return 10 * k  # of any k: iter() would never end

    assert drawn(Indexed(), 5) == [0, 10, 20, 0, 10]


def test_an_iterator_is_drawn_from_no_more_than_needed():
    taken = []
    endless = (taken.append(k) for k in range(1000))
    drawn(endless, 5)
    assert taken == [0, 1, 2, 3, 4]


def test_an_iterable_that_is_empty_the_second_time_is_refused():
    class Once:
        def __init__(self):
            self.inside = iter([1, 2])

        def __iter__(self):
            return (x for x in self.inside)

    with pytest.raises(ValueError, match="`batches` must have at least one batch each time"):
        drawn(Once(), 3)


def test_a_sequence_that_is_emptied_is_told():
    batches = list(BATCHES)

    def function(params, batch):
        batches.clear()
        return loss_and_grad(params, batch)

    with pytest.raises(ValueError, match="`batches` must keep at least one batch"):
        run(function, batches=batches)


def test_an_error_of_the_batches_is_theirs():
    def broken():
        yield BATCHES[0]
        raise Ended("no more")

    params = new_params()
    with pytest.raises(Ended, match="no more") as caught:
        run(params=params, batches=broken())
    assert "loss 2 of 100" in caught.value.__notes__[0]
    assert params["w"].tolist() == [0.5] * 4


def test_sweeps_over_a_sequence_begin_at_other_batches():
    """Otherwise five sweeps of 99 steps over three batches would be identical, with no spread."""
    test = run(steps=99, repeats=3)
    assert [x.losses[0] for x in test.sweeps] == [loss_and_grad(new_params(), b)[0] for b in BATCHES]


def test_sweeps_are_spread_over_the_whole_sequence():
    """With ten batches the second of two sweeps begins in the middle."""
    source = Batches(list(range(10)))
    begins = []
    for sweep in range(4):
        source.begin(sweep, 4)
        begins.append(next(source))
    assert begins == [0, 2, 5, 7]


def test_without_batches_the_function_gets_none():
    got = []

    def function(params, batch):
        got.append(batch)
        return loss_and_grad(params, batch)

    run(function, batches=None, steps=4, stop=1e-5)
    assert got == [None] * 4


# --- Random numbers --------------------------------------------------------------------------------------------------

shared = np.random.default_rng(6)


class Nothing:
    pass


class Loader:
    __slots__ = ("rng",)

    def __init__(self, rng):
        self.rng = rng

    def draw(self):
        return self.rng.random()

    def __call__(self, params, batch):
        return self.draw()


def test_generators_are_found_wherever_they_are_held():
    rng = np.random.default_rng(1)

    def closure():
        return rng.random()

    def default(r=rng):
        return r

    def keyword(*, r=rng):
        return r

    def generator():
        inner = Loader(rng)
        yield inner.draw()
        yield inner.draw()

    def nested():
        return [rng for _ in range(3)]

    def unset():
        return later

    started = generator()
    next(started)
    roots = [
        closure, default, keyword, nested, started, Loader(rng), Loader(rng).draw, lambda: closure(), partial(closure),
        partial(print, rng), map(float, started), zip([1], (x for x in [closure]), strict=False), [[{"a": (rng,)}]],
        {"k": Loader(rng)}, enumerate(islice(iter([rng]), 2)), cycle([Loader(rng)]),
    ]  # fmt: skip
    for root in roots:
        assert generators(root) == [rng], root
    assert generators(unset) == []  # a variable without a value yet
    later = 3
    assert generators(unset) == []
    assert generators(lambda: shared.random()) == [shared]
    legacy, bits, python = np.random.RandomState(0), np.random.PCG64(0), random.Random(0)
    assert set(map(id, generators([legacy, bits, python, legacy]))) == {id(legacy), id(bits), id(python)}


def test_no_generator_is_found_where_nobody_holds_one():
    """Not through modules, nor through globals that a function does not name."""
    assert generators(loss_and_grad, adam, BATCHES, None, np, 3) == []
    assert generators([1.0] * 200_000) == []


def test_what_looks_like_nothing_or_like_everything_is_passed_over():
    class Odd:
        @property
        def __class__(self):
            raise ReferenceError("gone")

    target = Nothing()
    proxy = weakref.proxy(target)
    del target
    rng = np.random.default_rng(0)
    assert generators([proxy, Odd(), random.SystemRandom(), rng]) == [rng]


def test_looking_for_generators_ends():
    endless = []
    endless.append(endless)
    many = [[k] for k in range(200_000)]
    assert generators(endless, many) == []
