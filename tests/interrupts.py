"""Interrupt a call at each place in turn where CPython may deliver Ctrl-C."""

import dis
import linecache
import sys
from functools import cache
from itertools import count, pairwise
from pathlib import Path

import pytest

import pyfastlr
import pyfastlr_kernels

# From 3.12 on, if a trace function raises inside a comprehension, the enclosing `with` block does not run its exit, so
# a lock stays taken. Real signals do not do this (220,000 of them on 3.12.1 and on 3.13.0 left none taken).
needs_faithful_traces = pytest.mark.skipif(
    sys.version_info >= (3, 12), reason="traces raise where no signal is handled"
)
LIBRARY = tuple(str(Path(module.__file__).parent) for module in (pyfastlr, pyfastlr_kernels))

# CPython checks for signals after calls, at the start of functions and at the end of each loop iteration. A C call that
# waits, for a lock or asleep, returns on a signal: that is an interrupt before its line.
_CALLS, _LOOPS = ("CALL", "RESUME"), ("JUMP_BACKWARD", "POP_JUMP_BACKWARD")


_known = {}  # by id: to hash a code object takes longer than all else that is done for an instruction


def _places(code):
    """Offsets of the instructions before which a signal is handled."""
    if id(code) not in _known:
        _known[id(code)] = code, _find_places(code)
    return _known[id(code)][1]


def _find_places(code):
    steps = dis.Bytecode(code)

    def handler(offset):
        return next((x.target for x in steps.exception_entries if x.start <= offset < x.end), None)

    # The exception is the call's: where the next instruction is behind the end of a block, it cannot stand for that.
    pairs = list(pairwise(steps))
    before = {b.offset: a.offset for a, b in pairs}
    places = {b.offset for a, b in pairs if a.opname.startswith(_CALLS)}
    places |= {a.argval for a in steps if a.opname.startswith(_LOOPS)}
    return {x for x in places if handler(x) == handler(before[x])}


@cache
def _is_with(file, line):
    return linecache.getline(file, line).lstrip().startswith("with ")


def interrupted(work, k, inside=LIBRARY, visits=1):
    """Call `work` with a KeyboardInterrupt at place k, from 0, of this thread. Return the place, None beyond the last.

    Only places in files below `inside` count, and of a place in a loop only the first `visits`.
    """
    left, found, seen = k, None, {}

    def counts(frame, event):
        """Whether this is a place that counts."""
        if event == "opcode":
            if frame.f_lasti not in _places(frame.f_code):
                return False
        elif event != "line":
            return False
        elif _is_with(frame.f_code.co_filename, frame.f_lineno):
            # Its line comes again when the block is done, and no signal is handled there.
            if (frame, frame.f_lineno) in seen:
                return False
            seen[frame, frame.f_lineno] = 1
        here = id(frame.f_code), frame.f_lasti, event
        seen[here] = seen.get(here, 0) + 1
        return seen[here] <= visits

    def local(frame, event, argument):
        nonlocal left, found
        if counts(frame, event):
            if not left:
                sys.settrace(None)
                found = f"{frame.f_code.co_filename}:{frame.f_lineno} {frame.f_code.co_qualname}, {event}"
                raise KeyboardInterrupt
            left -= 1
        return local

    def start(frame, event, argument):
        if not frame.f_code.co_filename.startswith(inside):
            return None
        frame.f_trace_opcodes = True
        return local

    before = sys.gettrace()
    try:
        sys.settrace(start)
        work()
    except KeyboardInterrupt:
        if found is None:
            raise
    finally:
        sys.settrace(before)
    return found


def everywhere(attempt):
    """Call `attempt(k)` for k = 0, 1, ... until it returns None: there is no place k. Return the number of places."""
    return next(k for k in count() if attempt(k) is None)
