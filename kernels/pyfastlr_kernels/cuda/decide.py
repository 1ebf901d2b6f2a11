"""What one thread block decides between measuring and updating: norms, and each tensor's numbers for the update.

As `decide` and `set_factors` of cpu/stages.py. The total is a chain of n/1024 additions by one thread, about 10 cycles
each: 0.5 ms for 100 million elements on a device of 2 GHz. The other chains are a thread's each, and only made if asked
for: those of single tensors, and those of groups with a norm of their own.
"""

from typing import Any

import numpy as np

from pyfastlr_kernels import stage_rules
from pyfastlr_kernels.tables import HELD, NOT_FINITE, NOT_MEASURED, OK, RAISE, TENSOR, field_offset

from .compiler import SIMULATED, cuda, device_function, types
from .tables import AT, BINDING, CHECKED, CHECKING, ROW_AT, SCALE_AT, THREADS, Around

if SIMULATED:
    from .simulated_memory import add_exactly, load, put_numbers, put_word, word
else:
    from .memory import add_exactly, load, put_numbers, put_word, word

_WORD = 8  # bytes
_TENSOR, _ROW, _BINDING = TENSOR.itemsize, field_offset(TENSOR, "row"), BINDING.itemsize
_NONE = 1 << 62  # more than there are tensors


def make_norms(dtype: str) -> Any:
    """Make the norms ``norm(where, factor)`` of all tensors, one or a group, from a table of squares."""
    may_vanish = np.dtype(dtype).itemsize == 8
    rescaled = device_function(stage_rules.make_rescaled(device_function))

    def of_block(squares, second, j, scale):
        """Block j's part of a sum of elements multiplied by a scale."""
        x = load(squares + _WORD * j, 0.0)
        return x if scale == 1.0 else rescaled(x, load(second + _WORD * j, 0.0), scale)

    of_block = device_function(of_block)

    def sum_all(where, scale):
        """The sum over n blocks in their order, for all threads."""
        squares, second, n, lanes = where
        thread, total, base = cuda.threadIdx.x, 0.0, 0
        while base < n:
            if base + thread < n:
                lanes[thread] = of_block(squares, second, base + thread, scale)
            cuda.syncthreads()
            if thread == 0:
                for j in range(min(THREADS, n - base)):
                    total = add_exactly(total, lanes[j])
            cuda.syncthreads()
            base += THREADS
        if thread == 0:
            lanes[0] = total
        cuda.syncthreads()
        total = lanes[0]
        cuda.syncthreads()
        return total

    def chain(firsts, squares, second, k, total, scale):
        """Add a tensor's blocks to a total."""
        for j in range(word(firsts + _WORD * k), word(firsts + _WORD * (k + 1))):
            total = add_exactly(total, of_block(squares, second, j, scale))
        return total

    chain = device_function(chain)

    def sum_tensor(where, scale):
        firsts, squares, second, k = where
        return chain(firsts, squares, second, k, 0.0, scale)

    def sum_group(where, scale):
        """The sum over the tensors that are clipped with row r."""
        o, second, tensors, n_tensors, r = where
        firsts, squares, clip_rows, total = word(o + AT.first_blocks), word(o + AT.squares), word(o + AT.clip_rows), 0.0
        for k in range(n_tensors):
            if word(clip_rows + _WORD * word(tensors + _TENSOR * k + _ROW)) == r:
                total = chain(firsts, squares, second, k, total, scale)
        return total

    return tuple(
        device_function(stage_rules.make_norm(device_function, device_function(x), may_vanish))
        for x in (sum_all, sum_tensor, sum_group)
    )


def make_finish(dtype: str) -> Any:
    """Make the kernel of one block and its signature: ``(n_tensors, options, each)``.

    After an update and its `measure_after`, it writes the norms of the update and the parameters.
    """
    norm_of_all, norm_of_tensor, _ = make_norms(dtype)

    def write_norms(n_tensors, o, squares, norm_at, out, each, lanes):
        firsts = word(o + AT.first_blocks)
        n_blocks = word(firsts + _WORD * n_tensors)
        second = squares + _WORD * n_blocks
        norm = norm_of_all((squares, second, n_blocks, lanes), 1.0)
        if cuda.threadIdx.x == 0:
            put_numbers(o + norm_at, (norm,), 0.0)
        if each != 0:
            for k in range(cuda.threadIdx.x, n_tensors, THREADS):
                put_numbers(out + _WORD * k, (norm_of_tensor((firsts, squares, second, k), 1.0),), 0.0)

    write_norms = device_function(write_norms)

    def finish(n_tensors, options, each):
        lanes = cuda.shared.array(THREADS, types.float64)
        o = options
        if word(o + AT.status) == OK:
            if word(o + AT.update_norms) != 0:
                out = word(o + AT.tensor_update_norms)
                write_norms(n_tensors, o, word(o + AT.update_squares), AT.update_norm, out, each, lanes)
            if word(o + AT.param_norms) != 0:
                out = word(o + AT.tensor_param_norms)
                write_norms(n_tensors, o, word(o + AT.param_squares), AT.param_norm, out, each, lanes)

    return finish, types.void(*(types.int64,) * 3)


def make_decide(dtype: str) -> Any:
    """Make the kernel of one block and its signature.

    ``(tensors, n_tensors, bindings, rows, options, found, around, each, check, inv_scale, sign)``, where `each` is not
    0 if the tensors' own norms are asked for. It writes `around`. If `check` is CHECKING, it only looks for elements
    that are not finite, by the sums of the gradient as it was passed, and writes the status; what follows is CHECKED,
    and does nothing unless the status is OK.
    """
    real, itemsize = np.dtype(dtype).type, np.dtype(dtype).itemsize
    zero, one = real(0), real(1)
    norm_of_all, norm_of_tensor, norm_of_group = make_norms(dtype)
    tensor_factor = device_function(stage_rules.make_factor(device_function))
    unscale_of, continues = device_function(stage_rules.unscale), device_function(stage_rules.continues)
    after_skip, after_update = (device_function(x) for x in stage_rules.make_scaling(device_function))

    def count(n_tensors, o, found, lanes, firsts):
        """Count what is not finite, per thread; clear the counters."""
        thread, bad, n, first = cuda.threadIdx.x, word(o + AT.bad), 0, _NONE
        for k in range(thread, n_tensors, THREADS):
            here = word(found + _WORD * k)
            put_word(bad + _WORD * k, here)
            put_word(found + _WORD * k, 0)
            if here != 0:
                n += here
                first = min(first, k)
        lanes[thread], firsts[thread] = n, first

    def norms_of_groups(tensors, n_tensors, o, second, norm, factor):
        """The norm of the tensors that are clipped together, for the row whose limit it is, by a thread for each."""
        n_rows, clip_rows, out = word(o + AT.n_rows), word(o + AT.clip_rows), word(o + AT.row_norms)
        groups = 0
        for r in range(n_rows):
            groups += 1 if word(clip_rows + _WORD * r) == r else 0
        for r in range(cuda.threadIdx.x, n_rows, THREADS):
            if word(clip_rows + _WORD * r) == r:
                if groups > 1:
                    norm = norm_of_group((o, second, tensors, n_tensors, r), factor)
                put_numbers(out + _WORD * r, (norm,), 0.0)

    count, norms_of_groups = device_function(count), device_function(norms_of_groups)

    def put_around(tensors, n_tensors, bindings, rows, o, around, inv_scale, sign, averaged):
        """Write each tensor's numbers; return whether this thread has clipped a norm."""
        clipped = 0.0
        unscale = unscale_of(word(o + AT.every), word(o + AT.mean), inv_scale)
        clamps = word(o + AT.value) != 0
        for k in range(cuda.threadIdx.x, n_tensors, THREADS):
            r = word(tensors + _TENSOR * k + _ROW)
            row, factor = rows + r * word(o + AT.row_size), 1.0
            if word(o + AT.norms) != 0 and word(bindings + _BINDING * k) != 0:
                clip_row = word(word(o + AT.clip_rows) + _WORD * r)
                factor = tensor_factor(
                    word(o + AT.convention), load(word(o + AT.row_norms) + _WORD * clip_row, 0.0),
                    load(rows + clip_row * word(o + AT.row_size) + ROW_AT.clip_norm, 0.0), word(o + AT.each),
                    load(word(o + AT.tensor_norms) + _WORD * k, 0.0), load(row + ROW_AT.clip_norm_each, 0.0),
                )  # fmt: skip
                if factor != 1.0:
                    clipped = 1.0
            scale = sign * factor if clamps else sign * unscale * factor
            decay = real(load(row + ROW_AT.ema_decay, 0.0))
            started = 1.0 if continues(averaged, decay) else 0.0
            x = Around(
                scale=scale, unscale=unscale, limit=load(row + ROW_AT.clip_value, 0.0), decay=np.float64(decay),
                rest=np.float64(one - decay), started=started,
            )  # fmt: skip
            put_numbers(around + itemsize * len(x) * k, x, zero)
        return clipped

    put_around = device_function(put_around)

    def put_scale(s, after):
        """Write the loss scale and its counts."""
        put_numbers(s + SCALE_AT.scale, (after[0],), 0.0)
        put_word(s + SCALE_AT.finite, after[1])
        put_word(s + SCALE_AT.skipped, after[2])

    def count_skipped(s, scale, every):
        if s != 0:
            backoff = load(s + SCALE_AT.backoff, 0.0)
            finite, skipped = word(s + SCALE_AT.finite), word(s + SCALE_AT.skipped)
            put_scale(s, after_skip(scale, finite, skipped, every, backoff))

    def count_update(s, scale):
        if s != 0:
            backoff = load(s + SCALE_AT.backoff, 0.0)
            finite, skipped = word(s + SCALE_AT.finite), word(s + SCALE_AT.skipped)
            growth, interval = load(s + SCALE_AT.growth, 0.0), word(s + SCALE_AT.interval)
            put_scale(s, after_update(scale, finite, skipped, growth, backoff, interval))

    put_scale = device_function(put_scale)
    count_skipped, count_update = device_function(count_skipped), device_function(count_update)

    def decide(tensors, n_tensors, bindings, rows, options, found, around, each, check, inv_scale, sign):
        lanes = cuda.shared.array(THREADS, types.float64)  # the simulator takes arrays on one line for the same one
        firsts = cuda.shared.array(THREADS, types.int64)
        thread, o = cuda.threadIdx.x, options
        if thread == 0:  # which may change it at the end
            scale = word(o + AT.loss_scale)
            lanes[0] = load(scale + SCALE_AT.scale, 0.0) if scale != 0 else 1.0
        cuda.syncthreads()
        loss_scale = lanes[0]
        inv_scale = inv_scale / loss_scale
        cuda.syncthreads()
        if check != CHECKED or word(o + AT.status) == OK:
            unscales = word(o + AT.value) == 0 or check == CHECKING
            factor = unscale_of(word(o + AT.every), word(o + AT.mean), inv_scale) if unscales else 1.0
            norm, nonfinite, first_bad = NOT_MEASURED, 0, _NONE
            if word(o + AT.norms) != 0 or check == CHECKING:
                squares, n_blocks = word(o + AT.squares), word(word(o + AT.first_blocks) + _WORD * n_tensors)
                second = squares + _WORD * n_blocks
                norm = norm_of_all((squares, second, n_blocks, lanes), factor)
                if each != 0:
                    for k in range(thread, n_tensors, THREADS):
                        own = norm_of_tensor((word(o + AT.first_blocks), squares, second, k), factor)
                        put_numbers(word(o + AT.tensor_norms) + _WORD * k, (own,), 0.0)
                norms_of_groups(tensors, n_tensors, o, second, norm, factor)
            count(n_tensors, o, found, lanes, firsts)
            cuda.syncthreads()
            if thread == 0:
                for j in range(THREADS):
                    nonfinite += int(lanes[j])
                    first_bad = min(first_bad, firsts[j])
                put_word(o + AT.nonfinite, nonfinite)
                put_word(o + AT.first_bad, first_bad if nonfinite != 0 else -1)
                put_numbers(o + AT.grad_norm, (norm,), 0.0)
                put_numbers(o + AT.update_norm, (NOT_MEASURED,), 0.0)
                put_numbers(o + AT.param_norm, (NOT_MEASURED,), 0.0)
            cuda.syncthreads()
            if check == CHECKING:
                if thread == 0:
                    refused = NOT_FINITE if word(o + AT.policy) == RAISE else HELD
                    put_word(o + AT.status, refused if nonfinite != 0 else OK)
                    put_word(o + AT.clipped, 0)
                    if nonfinite != 0:
                        count_skipped(word(o + AT.loss_scale), loss_scale, word(o + AT.every))
            else:
                if thread == 0:
                    averaged = word(o + AT.averaged)
                    firsts[0] = averaged
                    put_word(o + AT.averaged, averaged + (1 if word(o + AT.averages) != 0 else 0))
                cuda.syncthreads()
                lanes[thread] = put_around(tensors, n_tensors, bindings, rows, o, around, inv_scale, sign, firsts[0])
                cuda.syncthreads()
                if thread == 0:
                    clipped = 0.0
                    for j in range(THREADS):
                        clipped = max(clipped, lanes[j])
                    put_word(o + AT.clipped, int(clipped))
                    if check != CHECKED:
                        put_word(o + AT.status, OK)
                    count_update(word(o + AT.loss_scale), loss_scale)

    return decide, types.void(*(types.int64,) * 9, types.float64, types.float64)
