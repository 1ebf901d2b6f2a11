"""Engines, which run steps on the host or on a device. `Optimizer` knows only their interface (interface.py)."""
