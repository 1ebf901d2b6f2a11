"""Sizes of the stages' memory, without their code: the host reads them before anything is compiled."""

from pyfastlr_kernels.tables import CHUNK, JOB, LINE, TENSOR_SIZE

WORD = 8  # bytes
# Each thread's own job, tensor and chunk, by which it calls a drive.
TENSOR_AT, CHUNK_AT = JOB.itemsize, JOB.itemsize + TENSOR_SIZE
PRIVATE = -(-(JOB.itemsize + TENSOR_SIZE + CHUNK.itemsize) // LINE) * LINE  # bytes per thread
