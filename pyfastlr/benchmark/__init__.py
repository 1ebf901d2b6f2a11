"""The engine of `pyfastlr bench`: contenders that do the same work take turns in one process, checked, then timed.

It is no public interface: it changes with what is worth measuring.
"""
