"""`pyfastlr search`: a search on the demo's network, or on a user's function."""

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Column, Table

import pyfastlr
from pyfastlr.schedules.names import written

from . import targets
from .console import check_picture, fail, usage_errors, writing

if TYPE_CHECKING:
    from pyfastlr.tune import Search, Trial

SHOWN = 5  # best trials
NOTHING = (-1.0, -1.0)


def search(
    target: Annotated[
        str | None,
        typer.Argument(
            metavar="MODULE:FUNCTION",
            help="Your function, in a module or a file.py. It takes no arguments and returns (objective, space), the "
            "arguments of pyfastlr.tune.search. By default the demo's network on scikit-learn's digits.",
        ),
    ] = None,
    optimizer: Annotated[
        list[str] | None,
        typer.Option(help="Optimizer class, in upper or lower case. Repeat it to compare. By default AdamW."),
    ] = None,
    schedule: Annotated[
        list[str] | None,
        typer.Option(help="Schedule, as in `pyfastlr demo`. Repeat it to compare. By default cosine."),
    ] = None,
    lr: Annotated[tuple[float, float], typer.Option(metavar="LOW HIGH", help="Range of the peak learning rate.")] = (
        1e-5,
        10.0,
    ),
    weight_decay: Annotated[
        tuple[float, float],
        typer.Option(metavar="LOW HIGH", show_default=False, help="Range of the weight decay, if it is searched."),
    ] = NOTHING,
    steps: Annotated[int, typer.Option(min=1, help="Updates of each training.")] = 300,
    method: Annotated[str, typer.Option(help="bayesian (needs Optuna), random or grid.")] = "bayesian",
    trials: Annotated[int, typer.Option(min=1, help="Number of trials, with those in the storage.")] = 40,
    jobs: Annotated[int, typer.Option(min=1, help="Number of processes.")] = 1,
    storage: Annotated[
        Path | None, typer.Option(help="Database (SQLite). The same command goes on where the last one ended.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Seed of the search, the data and the weights.")] = 0,
    plot: Annotated[
        Path | None, typer.Option(dir_okay=False, help="Draw the objective against each parameter to this file.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print all trials as JSON.")] = False,
) -> None:
    """Search the learning rate, and optimizer, schedule and weight decay if several are given.

    For the demo's network, the objective is the loss on 300 images that are held out of the training images.
    """
    with usage_errors():
        if plot is not None:
            check_picture(plot)  # before the trials
        if target is None:
            from . import search_model as model

            objective, space = model.make_objective(steps, seed), _space(optimizer, schedule, lr, weight_decay)
        else:
            objective, space = _of_user(target)
    found = _run(target, objective, space, method=method, trials=trials, storage=storage, seed=seed, jobs=jobs)
    if as_json:
        typer.echo(json.dumps(_as_json(found), indent=2, allow_nan=False))
    else:
        console = Console()
        console.print(_table(found))
        if any(x.state == "finished" for x in found.trials):
            console.print(f"best: {_best(found, target is None, steps)}", highlight=False, markup=False, soft_wrap=True)
            if target is None:
                accuracy = model.test_accuracy(found.best, steps, seed)
                console.print(f"trained with these on all training images: test accuracy {accuracy:.4f}")
    if plot is not None:
        with writing("plot", plot):
            axes = found.plot()
            (axes[0] if isinstance(axes, list) else axes).figure.savefig(plot)  # type: ignore[union-attr]
        if not as_json:
            typer.echo(f"picture: {plot}")
    if not any(x.state == "finished" for x in found.trials):
        raise fail("no trial has finished: all of them diverged")


def _space(
    optimizers: list[str] | None,
    schedules: list[str] | None,
    lr: tuple[float, float],
    weight_decay: tuple[float, float],
) -> dict[str, Any]:
    """Return the space of the demo's network."""
    from pyfastlr import demo
    from pyfastlr.tune import Range

    def chosen(option: str, given: list[str], names: Any) -> Any:
        found = []
        for name in given:
            match = [x for x in names if x.lower() == name.lower()]
            if not match:
                raise ValueError(f"`{option}` must be one of {', '.join(names)}, got {name!r}")
            found.append(match[0])
        return found[0] if len(found) == 1 else found

    if not (0 < lr[0] < lr[1] < math.inf):
        raise ValueError(f"`lr` must be 0 < LOW < HIGH, got {lr[0]} and {lr[1]}")
    space = {
        "optimizer": chosen("optimizer", optimizers or ["AdamW"], demo.OPTIMIZERS),
        "schedule": chosen("schedule", schedules or ["cosine"], demo.SCHEDULES),
        "lr": Range(*lr, log=True),
    }
    if weight_decay != NOTHING:
        if not (0 <= weight_decay[0] < weight_decay[1] < math.inf):
            raise ValueError(f"`weight-decay` must be 0 <= LOW < HIGH, got {weight_decay[0]} and {weight_decay[1]}")
        space["weight_decay"] = Range(*weight_decay)
    return space


def _of_user(target: str) -> tuple[Any, Any]:
    """Return what the user's function returns."""
    try:
        given = targets.load(target)()
    except targets.NotFound:
        raise
    except (Exception, SystemExit) as error:  # noqa: BLE001  # from the user's code
        raise fail(f"{target}: {targets.described(error)}") from None
    if not isinstance(given, tuple | list) or len(given) != 2:
        got = f"{len(given)} values" if isinstance(given, tuple | list) else type(given).__name__
        raise ValueError(f"`target` must return (objective, space), got {got}")
    return given[0], given[1]


def _run(target: str | None, objective: Any, space: Any, **options: Any) -> "Search":
    """Run the search. What is wrong with an argument, or in the user's objective, is one line."""
    from pyfastlr import tune

    try:
        return tune.search(objective, space, **options)
    except ModuleNotFoundError as error:
        raise fail(str(error)) from None
    except (Exception, SystemExit) as error:
        if isinstance(error, TypeError | ValueError) and not hasattr(error, "__notes__"):
            raise typer.BadParameter(str(error)) from None
        if target is None:
            raise
        raise fail(f"{target}: {targets.described(error)}") from None


def _ordered(found: "Search") -> list["Trial"]:
    """Finished trials, the best first."""
    finished = [x for x in found.trials if x.state == "finished"]
    return sorted(finished, key=lambda x: x.value, reverse=found.mode == "max")


def _table(found: "Search") -> Table:
    """Return the best trials."""
    table = Table(Column("trial", justify="right"), Column("objective", justify="right"), *found.searched.paths)
    table.title = str(found).splitlines()[0]
    for trial in _ordered(found)[:SHOWN]:
        cells = [_cell(trial.parameters[x]) if x in trial.parameters else "-" for x in found.searched.paths]
        table.add_row(str(trial.number), f"{trial.value:.6g}", *cells)
    return table


def _cell(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _best(found: "Search", is_demo: bool, steps: int) -> str:
    """Return the best values as Python."""
    best = found.best
    if not is_demo:
        return repr(best)
    from .search_model import schedule

    rounded = {**best, "lr": float(f"{best['lr']:.4g}")}
    decay = f", weight_decay={best['weight_decay']:.4g}" if "weight_decay" in best else ""
    return f"{best['optimizer']}(params, lr={written(schedule(rounded, steps))}{decay})"


def _as_json(found: "Search") -> dict[str, Any]:
    def plain(x: float) -> float | None:
        return x if math.isfinite(x) else None

    trials = [
        {"number": x.number, "parameters": dict(x.parameters), "value": plain(x.value), "state": x.state}
        for x in found.trials
    ]
    best = _ordered(found)
    return {
        "pyfastlr": pyfastlr.__version__,
        "method": found.method,
        "best": dict(best[0].parameters) if best else None,
        "best_value": best[0].value if best else None,
        "trials": trials,
    }
