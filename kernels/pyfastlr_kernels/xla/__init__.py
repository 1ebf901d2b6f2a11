"""Steps and schedules as custom calls of XLA, the compiler of JAX: handlers of its foreign function interface (FFI).

layout.py has XLA's records and ours, handler.py the compiled code that reads them, targets.py the functions that XLA
calls, and frames.py calls them from Python as XLA does.
"""
