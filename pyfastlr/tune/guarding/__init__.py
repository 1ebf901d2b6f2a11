"""Early stopping, and protection against spikes of the loss."""
