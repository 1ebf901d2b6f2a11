"""Two runs with the same gradients: one with `Rows`, one with arrays that have zeros in the other rows."""

import zlib

import numpy as np

import pyfastlr as flr

SHAPE = (23, 5)


def drawn(rng, shape, dtype):
    """Numbers of many sizes."""
    x = rng.standard_normal(shape) * 10.0 ** rng.integers(-3, 3, shape)
    return x.astype(dtype)


def summed(shape, rows, values):
    """Gradient with these rows. Each row's values are added in their order, by a literal loop; zeros elsewhere."""
    g, seen = np.zeros(shape, values.dtype), set()
    for row, value in zip(rows, values, strict=True):
        g[row] = g[row] + value if row in seen else value
        seen.add(row)
    return g


def raw(opt, *arrays):
    """Everything that there is of a run, to be compared."""
    d = opt.state_dict()
    leaves = [*arrays, d["counts"], d["carry"], *_leaves(d["state"])]
    return d["steps"], [x.tobytes() for x in leaves]


def _leaves(x):
    if isinstance(x, dict):
        return [leaf for value in x.values() for leaf in _leaves(value)]
    return [leaf for value in x for leaf in _leaves(value)] if isinstance(x, list) else [x]


class Twins:
    """An optimizer that gets `Rows`, and one that gets whole gradients, over a table and a vector.

    `lazy`: after each step of the second one, the rows without a gradient are put back.
    """

    def __init__(self, make, dtype, seed, lazy, **options):
        self.rng, self.dtype, self.lazy = np.random.default_rng(zlib.crc32(repr(seed).encode())), np.dtype(dtype), lazy
        table, vector = drawn(self.rng, SHAPE, dtype), drawn(self.rng, (6,), dtype)
        table[self.rng.random(SHAPE) < 0.1] = -0.0
        self.mine, self.other = ({"table": table.copy(), "vector": vector.copy()} for _ in range(2))
        self.opt = make(self.mine, catch_up=not lazy, **options)
        self.dense = make(self.other, **options)

    def gradient(self, n=None):
        """Row numbers, which may occur several times, their gradients, and the whole gradient."""
        rows = self.rng.integers(0, SHAPE[0], self.rng.integers(0, 6) if n is None else n)
        values = drawn(self.rng, (len(rows), SHAPE[1]), self.dtype)
        return rows, values, summed(SHAPE, rows, values)

    def step(self, whole, rows, **options):
        """A whole gradient for the twin. Without `lazy`, that is all."""
        if not self.lazy:
            self.dense.step(whole, **options)
            return
        others = np.setdiff1d(np.arange(SHAPE[0]), rows)
        live = [self.other["table"], *(x["table"] for x in self.dense.state.values())]
        before = [x[others].copy() for x in live]
        self.dense.step(whole, **options)
        for x, kept in zip(live, before, strict=True):
            x[others] = kept

    def step_rows(self, **options):
        rows, values, g = self.gradient()
        self.opt.step_rows("table", rows, values, **options)
        self.step({"table": g, "vector": None}, rows, **options)

    def step_both(self, **options):
        rows, values, g = self.gradient()
        vector = drawn(self.rng, (6,), self.dtype)
        self.opt.step({"table": flr.Rows(rows, values), "vector": vector}, **options)
        self.step({"table": g, "vector": vector}, rows, **options)

    def step_dense(self, **options):
        g = {"table": drawn(self.rng, SHAPE, self.dtype), "vector": drawn(self.rng, (6,), self.dtype)}
        self.opt.step(g, **options)
        self.dense.step(g, **options)

    def step_vector(self, **options):
        g = {"table": None, "vector": drawn(self.rng, (6,), self.dtype)}
        self.opt.step(g, **options)
        self.dense.step(g, **options)

    def change(self, name, value):
        for opt in (self.opt, self.dense):
            setattr(opt, name, value)

    def check(self):
        assert raw(self.opt, *self.mine.values()) == raw(self.dense, *self.other.values())

    def check_rows(self, rows):
        """Some rows, after `sync_rows`."""
        self.opt.sync_rows("table", rows)
        assert self.mine["table"][rows].tobytes() == self.other["table"][rows].tobytes()
