"""One update with every option, and with options drawn at random, against the formula in float64."""

import math
import zlib

import numpy as np
import pytest

from pyfastlr import schedules as S
from step_options import CONTAINERS, Meant, contained, drawn, drawn_gradients, expected, leaves, names_in, norm, resumed
from test_updates import assert_parameter, assert_state, each_case, each_dtype, origin

pytestmark = pytest.mark.usefixtures("parallel_from_the_first_chunk")

INF, RARE = math.inf, 12  # combinations of each optimizer and dtype


class Falling(S.Controller):
    """A controller: 3, 2, 1.5, ..."""

    def __call__(self, n):
        return 3.0 * (1 + n) / (1 + n) ** 2 if n else 3.0

    def observe(self, **what):
        """Take no notice."""

    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        pass


# Values of each option. A callable is a schedule of its number.
VALUES = {
    "clip_norm": (2.0, 1e9, INF, S.Linear(4.0, 1.0, 2), lambda n: 0.5 / (1 + n), "controller"),
    "clip_norm_each": (0.5, 30.0, INF, lambda n: 1.0 + n),
    "clip_value": (0.25, 1e-7, INF, S.Linear(1.0, 0.5, 2), lambda n: 3.0),
    "ema_decay": (0.9, 0.0, S.Linear(0.9, 0.5, 2), lambda n: 0.25),
    "nonfinite": ("raise", "skip"),
    "zero_grad": (True,),
    "accumulate": (2, 3),
    "accumulate_mode": ("sum", "mean"),
    "copy_to": (True,),
    "measure": (("update_norm", "param_norm", "per_tensor"), ("update_norm",)),
    "maximize": (True,),
    "inv_scale": (0.3, 2.0**-16),
    "lr_scale": ("arrays", 0.5),
    "own norm": (0.7, INF, lambda n: 0.1),
    "own value": (0.125, 1e9),
    "own each": (0.25,),
    "frozen": (True,),
    "missing": (True,),
}
GROUPS = ("own norm", "own value", "own each", "frozen")


def value_of(x, n):
    return float(x(n)) if callable(x) else x


class Run:
    """An optimizer with options, beside its formula in float64."""

    def __init__(self, case, kind, dtype, rng, chosen, threads):
        self.case, self.kind, self.dtype, self.rng, self.chosen = case, kind, dtype, rng, dict(chosen)
        self.names, self.t = names_in(kind), int(rng.choice([1, 7]))
        self.p, state = drawn(case, rng, self.names, self.t, dtype)
        options = {name: x for name, x in chosen.items() if name in VALUES and name not in (*GROUPS, "missing")}
        options.pop("inv_scale", None)
        self.scale = dict.fromkeys(self.names, 1.0)
        if options.get("lr_scale") == "arrays":
            self.scale = {name: rng.choice([0.5, 2.0], x.shape).astype(dtype) for name, x in self.p.items()}
            options["lr_scale"] = contained(kind, self.scale)
        elif "lr_scale" in options:
            self.scale = dict.fromkeys(self.names, options["lr_scale"])
        keys = {"own norm": "clip_norm", "own value": "clip_value", "own each": "clip_norm_each"}
        self.own = {keys[name]: x for name, x in chosen.items() if name in keys}
        self.members = ()
        if "frozen" in chosen:
            self.own["lr_scale"] = 0.0
        if self.own and kind != "array":
            self.members = tuple(self.names[k] for k in (0, 3))
            options["groups"] = [{"params": [0, 3], **self.own}]
            for name in self.members if "frozen" in chosen else ():
                self.scale[name] = 0.0
        else:
            self.own = {}
        self.copies = contained(kind, {name: np.full_like(x, 5) for name, x in self.p.items()})
        if "copy_to" in chosen:
            options["copy_to"] = self.copies
        self.params = contained(kind, self.p)
        self.opt = resumed(case, kind, self.params, state, self.t, threads=threads, weight_decay=0.1, decay=case.decay,
                           **options)  # fmt: skip
        self.average = None

    def limits(self, n):
        """Limits of each tensor at update n: value, each norm, and norm with its group."""
        base = {key: value_of(self.chosen.get(key, INF), n) for key in ("clip_value", "clip_norm_each", "clip_norm")}
        found = {}
        for name in self.names:
            own = {key: value_of(x, n) for key, x in self.own.items()} if name in self.members else {}
            group = 1 if "clip_norm" in own else 0
            both = {**base, **own}
            found[name] = both["clip_value"], both["clip_norm_each"], (both["clip_norm"], group)
        return found

    def update(self, n):
        """Make an update and check everything."""
        chosen, kind, opt = self.chosen, self.kind, self.opt
        every, missing = chosen.get("accumulate", 1), ()
        before = {name: x.copy() for name, x in leaves(kind, self.params).items()}
        state = {name: {slot: leaves(kind, x)[name].copy() for slot, x in opt.state.items()} for name in self.names}
        calls = []
        for k in range(every):
            g = drawn_gradients(self.rng, self.names, self.dtype)
            if "missing" in chosen and kind not in ("array", "flat"):
                missing = self.names[(k * (1 - n) + 1) % 2 :: 2]  # in the second update, these have none at all
                g.update(dict.fromkeys(missing))
            calls.append({name: None if x is None else x.copy() for name, x in g.items()})
            given = contained(kind, g)
            opt.step(given, inv_scale=float(chosen.get("inv_scale", 1.0)))
            for name, x in leaves(kind, given).items():
                want = None if calls[-1][name] is None else calls[-1][name] * (not chosen.get("zero_grad"))
                assert (x is None) == (want is None)
                assert x is None or np.array_equal(x, want), name
            if k + 1 < every:
                assert opt.steps == n
                for name, x in leaves(kind, self.params).items():
                    assert x.tobytes() == before[name].tobytes()
        mean = chosen.get("accumulate_mode", "mean") == "mean"
        meant = Meant(self.case.convention, calls, chosen.get("inv_scale", 1.0), mean and every > 1, self.limits(n))
        assert opt.steps == n + 1
        self.check_parameters(n, meant, before, state)
        self.check_copies(n)
        self.check_stats(meant, before)

    def check_parameters(self, n, meant, before, state):
        case, sign = self.case, -1.0 if self.chosen.get("maximize") else 1.0
        counts = dict(zip(self.names, self.opt.state_dict()["counts"].tolist(), strict=True))
        for name, p in leaves(self.kind, self.params).items():
            if name not in meant.g or (np.ndim(self.scale[name]) == 0 and self.scale[name] == 0.0):
                assert p.tobytes() == before[name].tobytes(), name
                for slot, x in self.opt.state.items() if name not in meant.g else ():
                    assert leaves(self.kind, x)[name].tobytes() == state[name][slot].tobytes()
                continue
            t = counts[name]
            rate = case.rate(case.lr, t) * np.float64(self.scale[name])
            want, want_state = expected(case, before[name], sign * meant.g[name], state[name], t, rate,
                                        weight_decay=0.1, decay=case.decay)  # fmt: skip
            assert_parameter(p, want, origin(case, before[name]))
            for slot, x in self.opt.state.items():
                if name in meant.g:
                    assert_state(leaves(self.kind, x)[name], want_state[slot], case.row, slot)

    def check_copies(self, n):
        now = leaves(self.kind, self.params)
        for name, x in leaves(self.kind, self.copies).items():
            assert x.tobytes() == (now[name] if "copy_to" in self.chosen else np.full_like(x, 5)).tobytes()
        if "ema_decay" not in self.chosen:
            return
        found, d = leaves(self.kind, self.opt.ema), value_of(self.chosen["ema_decay"], n)
        for name, x in found.items():
            p = now[name].astype(np.float64)
            want = p if self.average is None else d * self.average[name] + (1 - d) * p
            size = np.abs(p) if self.average is None else d * np.abs(self.average[name]) + (1 - d) * np.abs(p)
            assert (np.abs(x - want) <= (0 if self.average is None else 3) * np.finfo(self.dtype).eps * size).all()
        self.average = {name: x.astype(np.float64) for name, x in found.items()}

    def check_stats(self, meant, before):
        chosen, stats = self.chosen, self.opt.stats
        close = 1e-5 if self.dtype == np.float32 else 1e-12
        assert stats.lr == self.opt.lr == self.case.lr
        measured = {"clip_norm", "clip_norm_each", "own norm", "own each", "measure"} & chosen.keys()
        if measured and (self.own or measured & VALUES.keys() - {*GROUPS}):
            assert stats.grad_norm == pytest.approx(meant.norm, rel=close)
            assert stats.clipped == meant.clipped
            unseen = "nonfinite" not in chosen and ("clip_value" in chosen or "clip_value" in self.own)
            assert stats.nonfinite == (None if unseen else 0)
        elif not chosen.keys() & {"nonfinite"}:
            assert stats.grad_norm is None
        measure = chosen.get("measure", ())
        now = leaves(self.kind, self.params)
        moved = [now[name] - before[name] for name in meant.g]
        assert stats.update_norm == (pytest.approx(norm(moved), rel=close) if "update_norm" in measure else None)
        assert stats.param_norm == (pytest.approx(norm(now.values()), rel=close) if "param_norm" in measure else None)
        assert (stats.per_tensor is None) == ("per_tensor" not in measure)
        for mine, one in zip(self.names, (stats.per_tensor or {}).values(), strict=False):
            assert one.grad_norm == pytest.approx(meant.norms.get(mine, 0.0), rel=close)
            assert one.param_norm == pytest.approx(norm([now[mine]]), rel=close)


def combinations(rng):
    """Each option alone, with one of its values, then several drawn at random."""
    for name, values in VALUES.items():
        yield {name: values[rng.integers(len(values))]}
    for _ in range(RARE):
        names = rng.choice(list(VALUES), rng.integers(2, 6), replace=False)
        yield {name: VALUES[name][rng.integers(len(VALUES[name]))] for name in names}


@each_dtype
@each_case
def test_every_option_and_combinations(case, dtype):
    rng = np.random.default_rng(zlib.crc32(f"{case.name} {dtype.__name__}".encode()))
    for k, chosen in enumerate(combinations(rng)):
        if chosen.get("clip_norm") == "controller":
            chosen["clip_norm"] = Falling()
        if case.row.lr == "positive":  # FTRL
            chosen.pop("frozen", None)
        kind, threads = CONTAINERS[rng.integers(len(CONTAINERS))], int(rng.choice([1, 2, 5]))
        try:
            run = Run(case, kind, dtype, rng, chosen, threads)
            for n in range(2):
                run.update(n)
        except Exception as error:
            error.add_note(f"combination {k}: {chosen} over {kind}, {threads} threads")
            raise
