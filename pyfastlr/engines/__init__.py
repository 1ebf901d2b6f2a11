"""What runs a step: on the host or on a device, behind the one interface that `Optimizer` knows (interface.py)."""
