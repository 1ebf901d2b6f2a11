"""Benchmarks on the engine of `pyfastlr bench`: every optimizer, targets, scaling. docs/benchmarks.md says how."""
