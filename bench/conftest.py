"""Options of `pytest bench`."""

import os


def pytest_addoption(parser):
    group = parser.getgroup("bench")
    group.addoption(
        "--max-n",
        type=int,
        default=int(os.environ.get("BENCH_MAX_N", "10000000")),
        help="leave out work with more elements (BENCH_MAX_N; %(default)s)",
    )
    group.addoption(
        "--seconds",
        type=float,
        default=float(os.environ.get("BENCH_SECONDS", "0.5")),
        help="seconds of measurement for each work, shared by its contenders (BENCH_SECONDS; %(default)s)",
    )
