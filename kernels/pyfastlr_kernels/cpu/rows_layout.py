"""The tables of a step over some rows of a tensor, without their code: the host fills them before anything is compiled.

A step over rows (cpu/rows.py) has a job like any other, and a ROWS_CALL with one GIVEN for each tensor whose gradient
has only some of its rows. With `catch_up`, such a tensor has a HISTORY for life: the folded numbers of its updates
since the oldest row was up to date, and how many of them each row has had.
"""

import numpy as np

from pyfastlr_kernels.tables import LINE, MAX_STATES

_I = np.int64

LONGEST = 4096  # updates in a history: 1 MiB of folded numbers for each tensor
STEP, SYNC = 0, 1  # what a call does: one update, or only bring rows up to date

ROWS_CALL = np.dtype(
    [
        ("what", _I),
        ("steps", _I),  # updates so far, for which the host has called the schedules
        ("given", _I),
        ("n_given", _I),
        ("dense", _I),  # 1: other tensors have a gradient of all their elements
        ("walk", _I),  # address of a copy of the job, by which threads share a tensor's rows
        ("piece", _I),  # address of the code for a piece
    ]
)
GIVEN = np.dtype(
    [
        ("tensor", _I),
        ("n", _I),  # rows of the gradient
        ("rows", _I),  # address: int64 for each, all different and in range; to synchronize, 0 for all
        ("values", _I),  # address of the first row's gradient
        ("width", _I),  # elements of a row
        ("itemsize", _I),
        ("n_states", _I),
        ("threads", _I),
        ("piece", _I),  # rows that one thread updates at once
        ("private", _I),  # address: for each thread a JOB, a TENSOR and a CHUNK (stages_layout.py), to call a drive by
        ("history", _I),  # address, 0 without `catch_up`
    ]
)
HISTORY = np.dtype(
    [
        ("entries", _I),
        ("numbers", _I),  # address: FOLD_WIDTH float64 per update
        ("scales", _I),  # address: for each update, the float64 by which the gradients were multiplied
        ("done", _I),  # address: int64 per row, entries that the row has had
        ("zeros", _I),  # address: a chunk of zeros
        ("probe", _I),  # address: PROBE bytes
        ("n_states", _I),
        ("rest", _I),  # at which state a zero gradient may be without effect
        # Entries before these may move a row whose state is at rest: any row, or only one with -0.0 among its elements.
        ("quiet", _I),
        ("still", _I),
    ]
)
# At rest is a state of zeros, or one that is nowhere negative (a sum of squares, which a zero gradient leaves as it
# is); or never.
ZEROS, SQUARES, NEVER = range(3)
PROBE = (MAX_STATES + 2) * LINE  # bytes: a line for the parameter, its gradient, each state
