"""Our optimizers for torch against torch's own: the step alone, and whole training loops on the CPU."""

from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from importlib import import_module
from typing import Any, NamedTuple

from pyfastlr.benchmark.compare import compare
from pyfastlr.benchmark.contenders import CONTENDERS, OURS, Contender, driven_as_torch
from pyfastlr.benchmark.interleave import Run, Times, interleave
from pyfastlr.benchmark.report import Row, disturbed, duration, rows, times
from pyfastlr.benchmark.variants import VARIANTS
from pyfastlr.benchmark.work import TINY, TRANSFORMER, Gradients, Work
from pyfastlr_kernels.cpu.pool import default_threads

from .targets import Verdict, show

ADAM = next(x for x in VARIANTS if x.name == "adam")
STEPS = {TINY: 8.0, TRANSFORMER: 1.4}  # torch fused divided by ours, at least
NOT_SLOWER = 0.98  # of torch's best loop, whose minima differ by 2 % from run to run
WAYS: dict[str, dict[str, bool]] = {"torch fused": {"fused": True}, "torch foreach": {"foreach": True}}


def _adapter(work: Work, gradients: Gradients) -> Run:
    """Run the adapter as torch's optimizers are run."""
    torch: Any = import_module("torch")
    torch.set_num_threads(work.threads)
    adam = import_module("pyfastlr.interop.torch").Adam
    return driven_as_torch(torch, work, gradients, lambda tensors: adam(tensors, lr=work.variant.lr))


ADAPTER = Contender(OURS.name, _adapter, lambda work: True)


def steps(seconds: float, max_n: int) -> list[Row]:
    """Measure the step of Adam over 226 tensors, and print it."""
    found: list[Row] = []
    for layout, target in STEPS.items():
        if layout.size > max_n:
            continue
        contenders = [ADAPTER, *(x for x in CONTENDERS if x.name in WAYS)]
        at_layout = rows(compare(Work(ADAM, layout), seconds, contenders))
        ours = next(row for row in at_layout if row.contender == OURS.name)
        print(f"  {layout.name}, the optimizers for torch")
        for row in at_layout:
            wanted = target if row.contender == "torch fused" else None
            spoiled = disturbed(row, ours)
            print(show(row, Verdict(wanted, row.ratio >= wanted if wanted and not spoiled else None, spoiled)))
        found += at_layout
    return found


# --- Whole loops ------------------------------------------------------------------------------------------------------


def mlp(torch: Any) -> tuple[Any, Any]:
    """Model and loss of a multi-layer perceptron: 64 inputs, two hidden layers, batches of 64."""
    nn = torch.nn
    model = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 10))
    x, y = torch.randn(64, 64), torch.randint(10, (64,))
    return model, lambda: nn.functional.cross_entropy(model(x), y)


def transformer(torch: Any) -> tuple[Any, Any]:
    """Model and loss of a small transformer: four layers of width 64, batches of four sequences of 32."""
    nn = torch.nn
    layer = nn.TransformerEncoderLayer(64, 4, 256, dropout=0.0, batch_first=True)
    model = nn.Sequential(nn.Embedding(256, 64), nn.TransformerEncoder(layer, 4), nn.Linear(64, 256))
    x = torch.randint(256, (4, 32))
    return model, lambda: nn.functional.cross_entropy(model(x).flatten(0, 1), x.flatten())


LOOPS: dict[str, Callable[[Any], tuple[Any, Any]]] = {"MLP": mlp, "transformer": transformer}


class Loop(NamedTuple):
    """A contender's time for one pass of a loop: forward, backward, step."""

    loop: str
    contender: str
    minimum: float
    median: float
    spread: float
    ratio: float  # this time divided by ours, of the minima and of the medians
    ratio_of_medians: float
    disturbed: bool

    def __str__(self) -> str:
        verdict = "disturbed" if self.disturbed else "reached" if self.ratio >= NOT_SLOWER else "NOT REACHED"
        return (
            f"  {self.contender:<19}{duration(self.minimum):>9}{duration(self.median):>10}{duration(self.spread):>10}"
            f"{times(self.ratio):>17}{times(self.ratio_of_medians):>9}"
            + ("" if self.contender == OURS.name else f"  {'>= ' + times(NOT_SLOWER):>10}  {verdict}")
        )


def _trained(torch: Any, make_model: Callable[[Any], tuple[Any, Any]], make: Callable[[Any], Any]) -> Run:
    torch.manual_seed(0)
    model, loss = make_model(torch)
    opt = make(model.parameters())

    def train() -> None:
        opt.zero_grad()
        loss().backward()
        opt.step()

    return Run(lambda k: train, lambda: list(model.parameters()))


def loops(seconds: float) -> list[Loop]:
    """Measure training loops as users write them, and print them."""
    torch: Any = import_module("torch")
    torch.set_num_threads(default_threads())
    makers = {OURS.name: import_module("pyfastlr.interop.torch").Adam}
    makers |= {name: partial(torch.optim.Adam, **way) for name, way in WAYS.items()}
    found: list[Loop] = []
    for name, make_model in LOOPS.items():
        runs = {who: _trained(torch, make_model, make) for who, make in makers.items()}
        _check(torch, runs)
        measured: dict[str, Times] = interleave(runs, seconds, 1)
        ours = measured[OURS.name]
        print(f"  whole loop of the {name}")
        for who, x in measured.items():
            found.append(
                Loop(name, who, x.minimum, x.median, x.spread, x.minimum / ours.minimum, x.median / ours.median,
                     disturbed(x, ours))
            )  # fmt: skip
            print(found[-1], flush=True)
    return found


def _check(torch: Any, runs: dict[str, Run]) -> None:
    """All contenders make the same updates."""
    results = {}
    for name, run in runs.items():
        for _ in range(3):
            run.turn(0)()
        assert run.result is not None
        results[name] = run.result()
    for name, parameters in results.items():
        for p, q in zip(parameters, results[OURS.name], strict=True):
            if not torch.allclose(p, q, rtol=1e-3, atol=1e-4):
                raise AssertionError(f"{name} does not do the same work as {OURS.name}")


def measured(seconds: float, max_n: int) -> dict[str, Any]:
    """Measure everything, print it, and return it for a file."""
    print("The optimizers for torch (pyfastlr.interop.torch)")
    found = {"steps": [asdict(row) for row in steps(seconds, max_n)], "loops": [x._asdict() for x in loops(seconds)]}
    print()
    return found
