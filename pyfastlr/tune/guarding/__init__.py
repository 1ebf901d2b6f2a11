"""End a run in time, and keep spikes of the loss from ruining it."""
