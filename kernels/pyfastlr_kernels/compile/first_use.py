"""One-time work in a process (imports, compilation, linking, the pool's start) runs once, and to its end.

Ctrl-C in the middle of it would leave half an import or a taken name, and no later step in that process would work.
So it runs in its own thread, which Python's interrupts never reach, while the caller waits. An interrupt is delivered
when the work is done. A second interrupt is delivered at once, and the work continues without the caller.

One lock guards all of it. A fork waits for that lock, so no child inherits numba, LLVM or an import half-done.
"""

import _thread
import atexit
import contextvars
import logging  # noqa: F401  # before our fork hooks, see the end of this file
import operator
import os
import threading
from collections import deque
from collections.abc import Callable
from functools import partial, wraps
from typing import Any, NamedTuple, TypeVar

T = TypeVar("T")

_lock = threading.RLock()
_STACK = 16 << 20  # bytes, whatever the user has set for threads: numba and LLVM recurse deeply
# Seconds. A signal that arrives after CPython's last check and before the wait does not end the wait.
_LISTEN = 0.05


def whole(work: Callable[[], T]) -> T:
    """Run `work` to its end despite interrupts; return its result or raise its exception.

    Calls from several threads run one after another. A call from inside `work` runs at once.
    """
    if _lock._is_owned():  # type: ignore[attr-defined]
        return work()
    outcome: list[tuple[Any, BaseException | None]] = []
    done = _thread.allocate_lock()
    done.acquire()

    def run() -> None:
        try:
            with _lock:
                outcome.append((_with_room(work), None))
        except BaseException as error:  # noqa: BLE001  # raised again in the caller's thread
            outcome.append((None, error))
        finally:
            done.release()

    interrupt: BaseException | None = None
    started: list[bool] = []
    try:
        _start(partial(contextvars.copy_context().run, run), started)
        while not outcome:
            done.acquire(timeout=_LISTEN)
    except BaseException as caught:
        if not started:
            if isinstance(caught, RuntimeError):  # the system has no more threads, or the interpreter is shutting down
                with _lock:
                    return work()
            raise
        interrupt = caught
        while not outcome:  # a second interrupt ends the wait
            done.acquire(timeout=_LISTEN)
    value, error = outcome[0]
    if interrupt is not None:
        raise interrupt
    if error is not None:
        raise error
    result: T = value
    return result


def _with_room(work: Callable[[], T]) -> T:
    """Call `work` with a megabyte for the Python frames that it makes.

    CPython keeps frames in blocks of 16 KB. A loop whose calls cross from one block into the next maps and unmaps
    memory each time: depending on its depth alone, a cold first step took 0.73 to 0.90 s. A very large frame gets its
    own block, of a power of two, and leaves the rest of it to the frames that follow.
    """
    return work()


_with_room.__code__ = _with_room.__code__.replace(co_stacksize=140_000)  # words: 1.1 of 2 MB, none of it touched


def _start(work: Callable[[], None], started: list[bool]) -> None:
    """Start a thread with a large stack, and note it in `started`.

    The four calls are C functions, so Ctrl-C cannot come between them.
    """
    was = threading.stack_size()
    calls: tuple[Callable[[], Any], ...] = (
        partial(threading.stack_size, max(was, _STACK)),
        partial(_thread.start_new_thread, work, ()),
        partial(started.append, True),
        partial(threading.stack_size, was),
    )
    try:
        deque(map(operator.call, calls), maxlen=0)
    except BaseException:
        threading.stack_size(was)
        raise


def once(make: Callable[..., T]) -> Callable[..., T]:
    """Wrap `make` so that it makes one value per set of arguments, for all threads, and keeps it forever."""
    values: dict[tuple[Any, ...], T] = {}

    @wraps(make)
    def get(*arguments: Any) -> T:
        if arguments in values:
            return values[arguments]

        def work() -> T:
            if arguments not in values:
                values[arguments] = make(*arguments)
            return values[arguments]

        return whole(work)

    get.forget = values.clear  # type: ignore[attr-defined]
    return get


# --- Forks and the end ------------------------------------------------------------------------------------------------


class ForkHooks(NamedTuple):
    """Functions to call around a fork. `before` runs while no other thread forks or uses `whole`."""

    before: Callable[[], None]
    in_parent: Callable[[], None]
    in_child: Callable[[], None]


_hooks: list[ForkHooks] = []
_forking: list[bool] = []  # one entry while this process forks: whether an interrupt came while it waited


def at_fork(hooks: ForkHooks) -> None:
    """Call these hooks around every fork from now on."""
    _hooks.append(hooks)


def _before_fork() -> None:
    interrupted = _waited(_lock.acquire)
    for hooks in _hooks:  # under the lock, so none is added before the fork has ended
        interrupted |= _waited(hooks.before)
    _forking.append(interrupted)


def _waited(wait: Callable[[], Any]) -> bool:
    """Wait to the end; return whether an interrupt came. It could not stop the fork, so it is delivered after it."""
    interrupted = False
    while True:
        try:
            wait()
            return interrupted
        except KeyboardInterrupt:
            interrupted = True


def _after_fork_in_parent() -> None:
    for hooks in _hooks:
        hooks.in_parent()
    interrupted = _forking.pop()
    _lock.release()
    if interrupted:
        _thread.interrupt_main()


def _after_fork_in_child() -> None:
    global _lock
    _forking.clear()
    _lock = threading.RLock()
    for hooks in _hooks:
        hooks.in_child()


# CPython calls before-fork hooks in reverse order of registration. The hook of `logging` takes its lock, which numba's
# imports take too: a fork that held that lock while it waited for ours would wait forever. So logging is imported
# above, and our hook runs first. Nothing else that we import waits in a hook (a test checks this).
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)


@atexit.register
def _wait_for_the_last() -> None:
    """Let work that was interrupted twice end before the interpreter does."""
    with _lock:
        pass
