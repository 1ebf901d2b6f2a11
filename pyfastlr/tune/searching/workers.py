"""Trials in worker processes. The parent decides what runs next and keeps the book; workers only evaluate."""

from __future__ import annotations

import contextlib
import os
import secrets
import threading
import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, wait
from multiprocessing.connection import Client, Connection, Listener
from typing import Any

from .ledger import Ledger, Task
from .outcomes import Outcome, evaluated

TRIES = 2  # of a trial whose worker dies


def need_loky() -> Any:
    """Return the module, or raise an error that says what needs it."""
    try:
        import loky
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError('`jobs` > 1 needs loky: pip install "pyfastlr[tune]"') from error
    return loky


def run(
    ledger: Ledger,
    objective: Callable[..., Any],
    values: Callable[[Task], dict[str, Any]],
    mode: str,
    jobs: int,
    ended: Callable[[], None],
) -> None:
    """Run all trials, `jobs` at once.

    An exception of the objective, or Ctrl-C, ends the workers. Their trials are failed.
    """
    loky = need_loky()
    threads = max(1, _cores() // jobs)
    executor = loky.ProcessPoolExecutor(jobs, timeout=60, initializer=_begin, initargs=(os.getpid(), threads))
    tasks: dict[int, Task] = {}
    tries: dict[int, int] = {}
    futures: dict[Any, int] = {}
    reports = _Reports(ledger, tasks)
    try:
        while True:
            while len(futures) < jobs and (task := ledger.take()) is not None:
                tasks[task.number] = task
                call = (objective, values(task), mode, reports.address, reports.key, task.number)
                futures[executor.submit(_evaluate, *call)] = task.number
            if not futures:
                return
            done, _ = wait(futures, return_when=FIRST_COMPLETED)
            lost = []
            for future in done:
                task = tasks[futures[future]]
                error = future.exception()
                if isinstance(error, loky.process_executor.BrokenProcessPool):
                    lost.append(future)
                    continue
                if error is not None:
                    add_note(error, task, values(task))
                    raise error
                ledger.finish(task, future.result())
                del tasks[futures.pop(future)]
                ended()
            if lost:  # all of the pool's futures are lost with one worker
                _fail_all(ledger, tasks, tries, futures)
                executor.shutdown(wait=True, kill_workers=True)
                executor = loky.ProcessPoolExecutor(
                    jobs, timeout=60, initializer=_begin, initargs=(os.getpid(), threads)
                )
    finally:
        try:
            executor.shutdown(wait=True, kill_workers=True)
        finally:
            reports.close()
            for task in tasks.values():
                ledger.fail(task)


def add_note(error: BaseException, task: Task, values: dict[str, Any]) -> None:
    """Say in an exception which trial it is from."""
    shown = ", ".join(f"{name}={value!r:.80}" for name, value in values.items())
    error.add_note(f"in trial {task.number} of a search, with {shown}")


def _fail_all(ledger: Ledger, tasks: dict[int, Task], tries: dict[int, int], futures: dict[Any, int]) -> None:
    """Fail the trials of a pool that has lost a worker. They are taken again, but not for ever."""
    numbers = sorted(tasks)
    futures.clear()
    for number in numbers:
        ledger.fail(tasks.pop(number))
        tries[number] = tries.get(number, 0) + 1
    often = [number for number in numbers if tries[number] >= TRIES]
    if often:
        raise RuntimeError(
            f"a worker process ended {TRIES} times while trials {', '.join(map(str, often))} were running: it was "
            "killed, perhaps because memory ran out, or it crashed"
        )


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


# --- In a worker ------------------------------------------------------------------------------------------------------


def _begin(parent: int, threads: int) -> None:
    """Share the cores with the other workers, and end with the parent: it may be killed."""
    os.environ.setdefault("PYFASTLR_NUM_THREADS", str(threads))
    try:
        from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]
    except ModuleNotFoundError:
        pass
    else:
        threadpool_limits(threads)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    if os.name == "posix":
        threading.Thread(target=watch, daemon=True, name="pyfastlr-search-parent").start()


def _evaluate(
    objective: Callable[..., Any], values: dict[str, Any], mode: str, address: Any, key: bytes, number: int
) -> Outcome:
    connection: list[Connection] = []

    def ask(loss: float, step: int) -> bool:
        if not connection:
            connection.append(Client(address, authkey=key))
        connection[0].send((number, loss, step))
        return bool(connection[0].recv())

    try:
        return evaluated(objective, values, mode, ask)
    finally:
        for each in connection:
            each.close()


# --- Reports, in the parent -------------------------------------------------------------------------------------------


class _Reports:
    """Answers the reports of workers, in a thread for each."""

    def __init__(self, ledger: Ledger, tasks: dict[int, Task]) -> None:
        self._ledger, self._tasks = ledger, tasks
        self.key = secrets.token_bytes(32)
        self._listener = Listener(authkey=self.key)
        self.address = self._listener.address
        self._is_open = True
        self._thread = threading.Thread(target=self._accept, daemon=True, name="pyfastlr-search-reports")
        self._thread.start()

    def _accept(self) -> None:
        while self._is_open:
            try:
                connection = self._listener.accept()
            except (OSError, EOFError):  # closed, or a worker that has died
                continue
            except Exception:  # noqa: BLE001  # a wrong key: somebody else
                continue
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: Connection) -> None:
        with connection:
            while True:
                try:
                    number, loss, step = connection.recv()
                    task = self._tasks.get(number)
                    connection.send(task is not None and self._ledger.should_stop(task, loss, step))
                except (OSError, EOFError):  # the trial has ended
                    return

    def close(self) -> None:
        """Stop listening. A connection of our own wakes the thread."""
        self._is_open = False
        with contextlib.suppress(OSError, EOFError):
            Client(self.address, authkey=self.key).close()
        self._thread.join(5)
        self._listener.close()
