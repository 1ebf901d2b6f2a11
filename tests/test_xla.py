"""The functions that XLA calls, called as XLA calls them, without jax: bits, checks, XLA's questions, threads."""

import ctypes

import numpy as np
import pytest

import pyfastlr as flr
from cases import CASES
from processes import in_threads
from pyfastlr_kernels import tables
from pyfastlr_kernels.cpu import pool
from pyfastlr_kernels.rules import RULES
from pyfastlr_kernels.xla import frames, layout, targets

SHAPES = ((3, 5), (), (0, 4), (2000,))


def bits(numbers):
    return np.array(numbers, np.float64).view(np.uint32).reshape(-1, 2)


class Run:
    """Adam over arrays through a target, beside the optimizer of the same arrays."""

    def __init__(self, kind, dtype="float64", shapes=SHAPES, threads=1, n_rows=1, rows=None, operands=0, cells=()):
        self.rng, self.kind, self.dtype = np.random.default_rng(5), kind, dtype
        self.params = [np.array(self.rng.normal(size=s), dtype) for s in shapes]
        self.theirs = [p.copy() for p in self.params]
        self.opt = flr.Adam(self.theirs, 0.1, convention="optax")
        self.state = [[np.zeros_like(p) for p in self.params] for _ in range(2)]
        self.count = np.zeros((), np.int32)
        self.plan = layout.Plan(rows or (0,) * len(shapes), n_rows, operands, cells, threads, kind == "update")
        self.target = targets.step_target("adam", "optax", dtype, kind)
        fields = layout.row_fields("adam")
        values = {"lr": 0.1, "lr_scale": 1.0, "decay": tables.DECOUPLED, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8}
        values |= tables.constants(dtype)
        row = [values.get(name, 0.0) for name in fields]
        self.numbers = bits([*row * n_rows, 1.0])

    def gradients(self):
        return [np.array(self.rng.normal(size=p.shape), self.dtype) for p in self.params]

    def frame(self, grads, results=None, operands=()):
        states = [x for slot in self.state for x in slot]
        if self.kind == "update":
            arguments, out = [*self.params, *grads, *states], [*self.params, *states]
        else:
            arguments, out = [*grads, *states], [*grads, *states]
        frame = frames.Frame(
            [self.count, self.numbers, *operands, *arguments],
            [self.count, *(out if results is None else results)],
            self.plan.numbers(),
        )
        return frame

    def step(self, operands=()):
        grads = self.gradients()
        self.opt.step(grads)
        changes = [g.copy() for g in grads]
        self.frame(changes, operands=operands).call(self.target)
        if self.kind == "change":
            for p, change in zip(self.params, changes, strict=True):
                p += change

    def check(self):
        for ours, theirs in zip(self.params, self.theirs, strict=True):
            assert ours.tobytes() == theirs.tobytes()
        for slot, tensors in zip(self.state, self.opt.state.values(), strict=True):
            for ours, theirs in zip(slot, tensors, strict=True):
                assert ours.tobytes() == theirs.tobytes()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", ["update", "change"])
def test_bits_of_the_driver(kind, dtype):
    run = Run(kind, dtype)
    for _ in range(20):
        run.step()
    run.check()
    assert run.count == 20


def test_results_elsewhere_leave_the_arguments_alone():
    run = Run("update")
    grads = run.gradients()
    before = [p.copy() for p in run.params]
    out = [np.full_like(p, np.nan) for p in (*run.params, *run.params, *run.params)]
    run.frame(grads, results=out).call(run.target)
    run.opt.step(grads)
    assert [p.tobytes() for p in run.params] == [p.tobytes() for p in before]
    assert not any(x.any() for slot in run.state for x in slot)
    assert [p.tobytes() for p in out[: len(before)]] == [p.tobytes() for p in run.theirs]


@pytest.mark.parametrize(
    "value", [np.array(0.25, np.float32), np.array(0.25), bits([0.25])[0]], ids=["float32", "float64", "bits"]
)
def test_operands_replace_numbers(value):
    run = Run("update", operands=1, cells=((0, 0),))  # the first field is the rate
    run.opt.lr = 0.25
    for _ in range(3):
        run.step(operands=(value,))
    run.check()


def test_two_rows():
    run = Run(
        "update", shapes=((40,), (50,)), n_rows=2, rows=(0, 1), operands=1, cells=((0, len(layout.row_fields("adam"))),)
    )
    grads = run.gradients()
    run.frame(grads, operands=(np.array(0.0),)).call(run.target)
    run.opt.step(grads)
    assert run.params[0].tobytes() == run.theirs[0].tobytes()
    assert run.params[1].tobytes() != run.theirs[1].tobytes()  # its rate is 0
    assert run.state[0][1].tobytes() == run.opt.state["exp_avg"][1].tobytes()


@pytest.mark.parametrize("threads", [1, 2, 5, 64])
def test_any_number_of_threads_gives_the_same_bits(threads):
    pool.shared().ensure(3)
    run = Run("update", "float32", ((100_003,), (7,), (50, 700)), threads)
    for _ in range(5):
        run.step()
    run.check()
    assert pool.shared()._block[pool.NATIVE // 8] == 0


def test_calls_side_by_side():
    pool.shared().ensure(2)
    runs = [Run("update", "float32", ((60_000,),), 2) for _ in range(6)]

    def steps(run):
        for _ in range(10):
            run.step()
        run.check()

    in_threads([lambda run=run: steps(run) for run in runs])


def test_the_largest_count_stays():
    run = Run("update")
    run.count[...] = np.iinfo(np.int32).max
    run.frame(run.gradients()).call(run.target)
    assert run.count == np.iinfo(np.int32).max


def test_rounding_mode_of_the_caller_changes_nothing():
    """XLA's threads set subnormal numbers to zero; here they are kept, as everywhere else."""
    libm = ctypes.CDLL(None)
    if not hasattr(libm, "fesetround"):
        pytest.skip("no fesetround")
    run = Run("update")
    libm.fesetround(0x800)  # upwards on x86
    try:
        grads = run.gradients()
        run.frame(grads).call(run.target)
    finally:
        libm.fesetround(0)
    run.opt.step(grads)
    run.check()


# --- Calls that do not fit: refused, and nothing is written -----------------------------------------------------------


def spoil_version(run, frame):
    frame.api["major"] = 1


def spoil_frame_size(run, frame):
    frame.frame["struct_size"] = 80


def spoil_plan(run, frame):
    frame.frame["attrs_size"] = 0


def spoil_plan_size(run, frame):
    frame.attribute["size"] = 3


def spoil_plan_dtype(run, frame):
    frame.attribute["dtype"] = layout.F64


def spoil_count_of_arguments(run, frame):
    frame.frame["args_size"] -= 1


def spoil_count_of_results(run, frame):
    frame.frame["rets_size"] += 1


def spoil_dtype(run, frame):
    frame.arguments[2][0]["dtype"] = layout.F32


def spoil_size_of_a_gradient(run, frame):
    frame.arguments[2 + len(SHAPES)][1][0] += 1


def spoil_size_of_a_state(run, frame):
    frame.results[1 + len(SHAPES)][1][0] += 1


def spoil_count(run, frame):
    frame.arguments[0][0]["dtype"] = layout.S64


def spoil_numbers(run, frame):
    frame.arguments[1][1][0] -= 1


SPOILT = {
    spoil_version: layout.OLD,
    spoil_frame_size: layout.OLD,
    spoil_plan: layout.NO_PLAN,
    spoil_plan_size: layout.NO_PLAN,
    spoil_plan_dtype: layout.NO_PLAN,
    spoil_count_of_arguments: layout.WRONG_COUNT,
    spoil_count_of_results: layout.WRONG_COUNT,
    spoil_dtype: layout.WRONG_ARRAY,
    spoil_size_of_a_gradient: layout.WRONG_ARRAY,
    spoil_size_of_a_state: layout.WRONG_ARRAY,
    spoil_count: layout.WRONG_NUMBER,
    spoil_numbers: layout.WRONG_NUMBER,
}


@pytest.mark.parametrize("spoil", SPOILT, ids=lambda spoil: spoil.__name__)
def test_a_call_that_does_not_fit_is_refused(spoil):
    run = Run("update")
    frame = run.frame(run.gradients())
    before = [x.tobytes() for x in (run.count, *run.params, *run.state[0], *run.state[1])]
    spoil(run, frame)
    with pytest.raises(RuntimeError, match="pyfastlr"):
        frame.call(run.target)
    ((code, message),) = frame.messages
    assert (code, message) == (layout.INVALID_ARGUMENT, layout.MESSAGES[SPOILT[spoil]].decode())
    assert [x.tobytes() for x in (run.count, *run.params, *run.state[0], *run.state[1])] == before


def test_an_operand_of_another_dtype_is_refused():
    run = Run("update", operands=1, cells=((0, 0),))
    frame = run.frame(run.gradients(), operands=(np.array(1, np.int32),))
    with pytest.raises(RuntimeError, match="rates float32, float64"):
        frame.call(run.target)


@pytest.mark.parametrize("size", [40, 48])
def test_xla_s_question_for_the_version(size):
    """XLA asks when a target is registered, with an extension and without arguments; older ones know fewer fields."""
    run = Run("update")
    metadata = np.full(1, 7, np.int64).repeat(6).view(layout.METADATA)
    metadata["struct_size"] = size
    extension = np.zeros(1, layout.EXTENSION)
    extension["type"], extension["metadata"] = layout.METADATA_EXTENSION, tables.address(metadata)
    frame = run.frame(run.gradients())
    frame.frame["extension"], frame.frame["api"] = tables.address(extension), 0
    frame.call(run.target)
    assert (metadata["major"], metadata["minor"], metadata["traits"]) == (0, 1, 0)
    assert metadata["state_type"] == (0 if size == 48 else 7)
    assert run.count == 0


def test_other_stages_do_nothing():
    run = Run("update")
    frame = run.frame(run.gradients())
    frame.frame["stage"] = 1
    frame.call(run.target)
    assert run.count == 0


@pytest.mark.parametrize("record", [layout.FRAME, layout.BUFFER, layout.ERROR, layout.METADATA, layout.API])
def test_records_have_no_holes(record):
    offsets = sorted(field[1] for field in record.fields.values())
    sizes = [record.fields[name][0].itemsize for name in record.names]
    assert offsets == list(np.cumsum([0, *sizes[:-1]]))


def test_a_name_is_for_one_rule_and_fold():
    """A compiled program that a cache keeps has the name, and finds the code of the process that runs it."""
    pairs = [(case.make(np.zeros(1)).rule, case.convention) for case in CASES[:8]]
    names = {targets.step_target(*pair, "float32", "update").name for pair in pairs}
    assert len(names) == len({(rule, RULES[rule].folds[convention]) for rule, convention in pairs}) == 5
