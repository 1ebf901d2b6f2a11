"""Sizes of the stages' memory, without their code: the host reads them before anything is compiled."""

from pyfastlr_kernels.tables import CHUNK, CHUNK_LENGTH, JOB, LINE, TENSOR_SIZE

WORD = 8  # bytes
# Each thread's own job, tensor and chunk, by which it calls a drive.
TENSOR_AT, CHUNK_AT = JOB.itemsize, JOB.itemsize + TENSOR_SIZE
PRIVATE = -(-(JOB.itemsize + TENSOR_SIZE + CHUNK.itemsize) // LINE) * LINE  # bytes per thread

# A thread's scratch memory, in numbers: the clipped gradient, the parameters before the update; and if there are
# numbers of 16 bits (halves.py), the gradient and the parameters as float32.
SCRATCH, GRADIENT_AT, PARAMETER_AT, SCRATCH_OF_HALVES = (k * CHUNK_LENGTH for k in (2, 2, 3, 4))
