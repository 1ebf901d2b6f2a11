"""The engine of `pyfastlr bench`: contenders do the same work in turns, in one process, checked and then timed.

It is not a public interface and may change with what is worth measuring.
"""
