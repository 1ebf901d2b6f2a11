"""What users hand over: arrays on the host or on a device, containers of them, and `Flat`."""
