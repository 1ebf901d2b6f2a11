"""Record the numbers of a run, and watch them while it goes on."""
