"""Benchmarks on the engine of `pyfastlr bench`: every optimizer, targets, scaling. See docs/benchmarks.md."""
