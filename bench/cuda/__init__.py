"""The benchmark on a CUDA device: `python -m bench.cuda`."""
