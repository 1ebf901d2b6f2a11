"""`pyfastlr find-lr`: a range test of the demo's network, or of a user's function."""

import contextlib
import json
import math
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column, Table

import pyfastlr
from pyfastlr.optimizers import Optimizer, registry

from . import targets
from .console import check_picture, fail, usage_errors, writing
from .lr_picture import picture

if TYPE_CHECKING:
    from pyfastlr.tune import RangeTest

Problem = tuple[Callable[[Any, Any], Any], Any, Any, Callable[[Any], Optimizer]]


def find_lr(
    target: Annotated[
        str | None,
        typer.Argument(
            metavar="MODULE:FUNCTION",
            help="Your function, in a module or a file.py. It takes no arguments and returns (loss_and_grad, params, "
            "batches), the arguments of pyfastlr.tune.range_test, and optionally make_optimizer. By default the "
            "demo's network on scikit-learn's digits.",
        ),
    ] = None,
    optimizer: Annotated[
        str | None,
        typer.Option(help="Optimizer class (AdamW, SGD, Lion, ...), in upper or lower case. By default AdamW."),
    ] = None,
    start: Annotated[float, typer.Option(help="First learning rate.")] = 1e-7,
    stop: Annotated[float, typer.Option(help="Last learning rate.")] = 10.0,
    steps: Annotated[int, typer.Option(min=2, help="Updates per sweep.")] = 100,
    linear: Annotated[
        bool, typer.Option("--linear", help="Grow the rate by a constant step, not by a factor.")
    ] = False,
    repeats: Annotated[int, typer.Option(min=1, help="Number of sweeps. A suggestion is their median.")] = 5,
    seed: Annotated[
        int,
        typer.Option(
            min=0, max=2**32 - 1, help="Random seed, for the demo or for numpy's and Python's global generators."
        ),
    ] = 0,
    plot: Annotated[
        Path | None, typer.Option(dir_okay=False, help="Write the plot to this file instead of the terminal.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print rates, losses, suggestions and reasons as JSON.")
    ] = False,
) -> None:
    """Suggest a learning rate: train for a few updates while the rate grows, and compare the losses.

    Start with the rate of the rule "valley", and look at the curve.
    """
    with usage_errors():
        if not (0 < start < stop < math.inf):
            raise ValueError(f"`start` and `stop` must be 0 < start < stop, got {start} and {stop}")
        cls = _optimizer(optimizer)
        if plot is not None:
            check_picture(plot)  # before the sweeps
        if target is not None:
            problem = _of_user(target, seed, cls, optimizer is not None)
        else:
            from pyfastlr.demo import problem as of_demo

            problem = (*of_demo(seed), lambda params: cls(params, lr=start))
    mode = "linear" if linear else "exponential"
    test = _run(target, problem, steps * repeats, start=start, stop=stop, steps=steps, mode=mode, repeats=repeats)
    if as_json:
        typer.echo(json.dumps(_as_json(test), indent=2, allow_nan=False))
    else:
        console = Console()
        if plot is None:
            console.print(picture(test, console.width) + "\n", highlight=False, markup=False, soft_wrap=True)
        console.print(_table(test))
        console.print(test.verdict, highlight=False)
    if plot is not None:
        with writing("plot", plot):
            test.plot().figure.savefig(plot)  # type: ignore[union-attr]
        if not as_json:
            typer.echo(f"picture: {plot}")


def _optimizer(name: str | None) -> type[Optimizer]:
    """Return the optimizer class with this name. Upper and lower case are equal."""
    for cls in registry:
        if cls.__name__.lower() == (name or "AdamW").lower():
            return cls
    raise ValueError(f"`optimizer` must be one of {', '.join(sorted(x.__name__ for x in registry))}, got {name!r}")


def _of_user(target: str, seed: int, cls: type[Optimizer], is_chosen: bool) -> Problem:
    """Return the problem that the user's function returns, with an optimizer."""
    np.random.seed(seed)  # noqa: NPY002  # users' functions draw from it
    random.seed(seed)
    try:
        given = targets.load(target)()
    except targets.NotFound:
        raise
    except (Exception, SystemExit) as error:  # noqa: BLE001  # from the user's code
        raise fail(f"{target}: {targets.described(error)}") from None
    if not isinstance(given, tuple | list) or len(given) not in (3, 4):
        got = f"{len(given)} values" if isinstance(given, tuple | list) else type(given).__name__
        raise ValueError(
            f"`target` must return (loss_and_grad, params, batches), optionally with make_optimizer, got {got}"
        )
    if len(given) == 4:
        if is_chosen:
            raise ValueError(f"`optimizer` must be left out, because {target} returns an optimizer")
        return given[0], given[1], given[2], given[3]
    return given[0], given[1], given[2], lambda params: cls(params, lr=1e-3)


def _run(target: str | None, problem: Problem, total: int, **options: Any) -> "RangeTest":
    """Run the sweeps, under a progress bar in a terminal."""
    from pyfastlr.tune import range_test

    loss_and_grad, params, batches, make_optimizer = problem
    try:
        with _quiet(target), _progress(total) as advance:

            def counted(params: Any, batch: Any) -> Any:
                advance()
                return loss_and_grad(params, batch)

            # range_test refuses anything that is not a function, and names its type.
            given = counted if callable(loss_and_grad) else loss_and_grad
            return range_test(given, params, make_optimizer, batches, **options)
    except (Exception, SystemExit) as error:  # from the user's functions
        if target is None and not isinstance(error, TypeError | ValueError):
            raise
        raise fail(f"{target}: {targets.described(error)}" if target else str(error)) from None


def _quiet(target: str | None) -> Any:
    """Limit BLAS to one thread for the demo's small products: on busy cores, threads would wait for each other."""
    if target is not None:
        return contextlib.nullcontext()
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # comes with scikit-learn

    return threadpool_limits(1, user_api="blas")


@contextlib.contextmanager
def _progress(total: int) -> Iterator[Callable[[], None]]:
    """Yield a function to call for each loss. It advances a temporary progress bar on stderr."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda: None
        return
    columns = (BarColumn(), TextColumn("{task.completed}/{task.total} losses"), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("", total=total)
        yield lambda: progress.advance(task)


def _table(test: "RangeTest") -> Table:
    table = Table("rule", Column("rate", justify="right"))
    if len(test.sweeps) > 1:
        table.add_column("spread")
    table.add_column("why")
    for rule, lr in test.suggestions.items():
        cells = [rule, "-" if lr is None else f"{lr:.3g}"]
        if len(test.sweeps) > 1:
            low_high = test.spread[rule]
            cells.append(f"{low_high[0]:.2g} to {low_high[1]:.2g}" if low_high else "-")
        table.add_row(*cells, test.reasons[rule])
    return table


def _as_json(test: "RangeTest") -> dict[str, Any]:
    def plain(values: Any) -> list[float | None]:
        return [x if math.isfinite(x) else None for x in values.tolist()]

    return {
        "pyfastlr": pyfastlr.__version__,
        "suggestions": test.suggestions,
        "spread": test.spread,
        "agreement": test.agreement,
        "reasons": test.reasons,
        "sweeps": [
            {
                "lrs": plain(x.lrs),
                "losses": plain(x.losses),
                "smoothed": plain(x.smoothed),
                "ended": x.ended,
            }
            for x in test.sweeps
        ],
    }
