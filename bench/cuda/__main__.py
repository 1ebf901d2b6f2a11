"""Time Adam on a CUDA device: ``python -m bench.cuda``. It needs a device and torch with CUDA.

Contenders take turns in one process. Times are measured by device events; each is the minimum over many rounds. The
share is relative to the bandwidth of a copy within the device, in the same rounds. The launch cost is the host's time
of a call at n = 64.
"""

import argparse
import json
import platform
import sys
import time
from collections.abc import Callable
from importlib import import_module
from typing import Any

import pyfastlr as flr
from pyfastlr import schedules as S

BYTES = 28  # per element of float32 Adam: reads p, g and two states; writes p and the states
SIZES = (10_000, 1_000_000, 40_000_000, 100_000_000)
ROUNDS, CALLS = 30, 200


def contenders(torch: Any, p: Any, g: Any) -> dict[str, Callable[[], Any]]:
    """Return one step of each installed contender, over its own copy of p."""
    steps: dict[str, Callable[[], Any]] = {}
    ours = flr.Adam(p.clone(), lr=S.Cosine(1e-3, steps=10_000))
    steps["pyfastlr"] = lambda: ours.step(g)
    captured = flr.Adam(p.clone(), lr=S.Cosine(1e-3, steps=10_000), capturable=True)
    steps["pyfastlr capturable"] = lambda: captured.step(g)

    def add(name: str, module: str, cls: str, **options: Any) -> None:
        try:
            make = getattr(import_module(module), cls)
        except (ImportError, AttributeError, RuntimeError):
            return
        weight = torch.nn.Parameter(p.clone())
        weight.grad = g
        steps[name] = make([weight], lr=1e-3, **options).step

    add("torch fused", "torch.optim", "Adam", fused=True)
    add("torch foreach", "torch.optim", "Adam", foreach=True)
    add("apex", "apex.optimizers", "FusedAdam", adam_w_mode=False)
    add("bitsandbytes", "bitsandbytes.optim", "Adam32bit")
    return steps


def device_time(torch: Any, call: Callable[[], Any]) -> float:
    """Return the device's seconds for one call."""
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    call()
    end.record()
    end.synchronize()
    return float(start.elapsed_time(end)) * 1e-3


def measure(torch: Any, n: int) -> dict[str, float]:
    """Return the smallest device time of each contender, and of a copy of n numbers."""
    p, g = torch.randn(n, device="cuda"), torch.randn(n, device="cuda")
    target = torch.empty_like(p)
    steps = {**contenders(torch, p, g), "copy": lambda: target.copy_(p)}
    best = dict.fromkeys(steps, float("inf"))
    for _ in range(ROUNDS):
        for name, call in steps.items():
            best[name] = min(best[name], device_time(torch, call))
    return best


def launch_cost(torch: Any) -> dict[str, float]:
    """Return the host's seconds for a call that does almost nothing on the device."""
    p, g = torch.randn(64, device="cuda"), torch.randn(64, device="cuda")
    cost = {}
    for name, call in contenders(torch, p, g).items():
        best = float("inf")
        for _ in range(5):
            call()
            torch.cuda.synchronize()
            start = time.perf_counter()
            for _ in range(CALLS):
                call()
            best = min(best, (time.perf_counter() - start) / CALLS)
            torch.cuda.synchronize()
        cost[name] = best
    return cost


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--json", metavar="FILE")
    arguments = parser.parse_args()
    try:
        import torch
    except ModuleNotFoundError:
        torch = None
    if torch is None or not torch.cuda.is_available():
        print("bench.cuda needs a CUDA device and torch with CUDA; nothing was measured", file=sys.stderr)
        return 1
    report: dict[str, Any] = {
        "device": torch.cuda.get_device_name(), "torch": torch.__version__, "pyfastlr": flr.__version__,
        "python": platform.python_version(), "sizes": {},
    }  # fmt: skip
    print(f"{report['device']}, torch {report['torch']}")
    for n in arguments.sizes:
        best = report["sizes"][n] = measure(torch, n)
        share = (BYTES * n / best["pyfastlr"]) / (8 * n / best["copy"])
        print(f"n = {n}: {best['pyfastlr'] * 1e6:.1f} us, {share:.0%} of a copy's bandwidth")
        for name, seconds in best.items():
            if name not in ("pyfastlr", "copy"):
                print(f"  {name}: {seconds / best['pyfastlr']:.2f}x our time")
    report["launch"] = launch_cost(torch)
    for name, seconds in report["launch"].items():
        print(f"host time of a call, n = 64, {name}: {seconds * 1e6:.1f} us")
    if arguments.json:
        with open(arguments.json, "w", encoding="utf-8") as file:
            json.dump(report, file, indent=1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
