"""Input from users: arrays on the host or on a device, containers of arrays, and `Flat`."""
