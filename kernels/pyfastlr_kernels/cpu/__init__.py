"""The CPU target: the inner loop, the drive of a rule, a whole step, the thread pool."""
