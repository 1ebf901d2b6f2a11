"""A rate for each step, by a search along its direction."""
