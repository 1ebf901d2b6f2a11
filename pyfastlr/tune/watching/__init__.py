"""Record the numbers of a run, and show them during the run."""
