"""What an optimizer saves, and how it is read back: states, flat states, loading and copies."""
