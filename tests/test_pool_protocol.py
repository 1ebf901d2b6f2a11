"""The pool's protocol, explored in every order in which its threads can run, from the source that is compiled.

Each function of the launch becomes a generator that stops before each atomic access, so that a scheduler decides whose
access comes next. It visits all states that callers and helpers can reach once. A caller's job is freed as soon as its
step has returned; then no thread may touch it. Nothing here runs in parallel or uses a clock.
"""

import ast
import inspect
import textwrap
from itertools import count
from types import SimpleNamespace

import pytest

from pyfastlr_kernels.cpu import launch, pool
from pyfastlr_kernels.tables import LINE

# Operations that other threads can see, done one at a time. The rest read memory that no other thread writes meanwhile.
VISIBLE = {"atomic_add", "atomic_swap", "atomic_take", "atomic_read", "call_drive", "PyThread_acquire_lock",
           "PyThread_release_lock"}  # fmt: skip
PARTS = {"walk": launch.walk, "wake_helpers": launch.wake_helpers, "walk_shared": launch.walk_shared}
SPINS = 1


class Broken(AssertionError):
    """An order of accesses breaks a guarantee of the protocol."""


# --- From the source to generators ------------------------------------------------------------------------------------


class Stops(ast.NodeTransformer):
    """Yield at calls in VISIBLE; delegate to calls of parts."""

    def visit_Call(self, node):
        self.generic_visit(node)
        if isinstance(node.func, ast.Name) and node.func.id in VISIBLE:
            return ast.Yield(ast.Tuple([ast.Constant(node.func.id), *node.args], ast.Load()))
        if isinstance(node.func, ast.Name) and node.func.id in PARTS:
            return ast.YieldFrom(node)
        return node


def texts():
    """Definitions of the parts and of `help`."""
    for function in PARTS.values():
        yield ast.parse(textwrap.dedent(inspect.getsource(function.py_func))).body[0]
    maker = ast.parse(textwrap.dedent(inspect.getsource(launch.make_help))).body[0]
    yield next(x for x in maker.body if isinstance(x, ast.FunctionDef))


def compiled():
    """Code of the generators, which needs the names of the launch's module."""
    body = []
    for definition in texts():
        definition.decorator_list = []
        body.append(Stops().visit(definition))
    return compile(ast.fix_missing_locations(ast.Module(body, [])), "the protocol", "exec")


CODE = compiled()


# --- The machine ------------------------------------------------------------------------------------------------------


class Job:
    """A caller's tables: alive until its step has returned."""

    def __init__(self, number, threads, chunks):
        self.address, self.threads, self.n_chunks = number, threads, chunks
        self.pool = self.tensors = self.chunks = self.drive = self.stages = self.what = 0
        self.cursors = number + LINE
        self.alive, self.done = True, [0] * chunks

    def __eq__(self, other):
        return self.address == other.address

    def __hash__(self):
        return hash(self.address)


class Machine:
    """Memory, locks and threads."""

    def __init__(self, callers, helpers, chunks, steps):
        self.memory = {}
        self.locks = {}
        self.jobs = {}
        self.numbers = count(10**6, 10**4)
        names = {**vars(launch), "SPINS": SPINS, "record": self.record, "word": self.word,
                 **dict.fromkeys(("pause", "call_plain", "default_mode", "set_float_mode"), lambda *_: 0)}  # fmt: skip
        exec(CODE, names)
        self.names, self.threads = names, {}
        words = (pool.OWNER, pool.GENERATION, pool.JOB_AT, pool.TICKETS, pool.RUNNING, pool.STOP, pool.YIELD)
        self.memory.update(dict.fromkeys(words, 0))
        self.memory[pool.ALIVE] = helpers
        for k in range(helpers):
            line = pool.HELPERS + k * LINE
            self.memory[line + pool.STATE], self.memory[line + pool.LOCK] = pool.AWAKE, 10 + k
            self.locks[10 + k] = 0  # taken
        for k in range(callers):
            self.threads[f"caller {k}"] = self.caller(helpers + 1, chunks, steps)
        for k in range(helpers):
            self.threads[f"helper {k}"] = names["help"](0, k)
        self.threads["end"] = self.stop(helpers)
        self.waiting = {}
        for name in list(self.threads):
            self.go(name, None)

    def caller(self, threads, chunks, steps):
        """What `launch.update` does, and what comes behind it."""
        for _ in range(steps):
            job = Job(next(self.numbers), threads, chunks)
            self.jobs[job.address] = job
            for k in range(threads):
                self.memory[job.cursors + k * LINE] = k * chunks // threads
            yield from self.names["walk_shared"](job.address, job)
            yield ("end", job)

    def stop(self, helpers):
        """What `Pool._end` does, when all callers have returned."""
        yield ("callers_are_done",)
        yield ("atomic_swap", pool.STOP, 1)
        yield ("atomic_add", pool.GENERATION, 1)
        for k in range(helpers):
            state = pool.HELPERS + k * LINE + pool.STATE
            if (yield ("atomic_read", state)) == pool.ASLEEP:
                yield ("atomic_swap", state, pool.AWAKE)
                yield ("PyThread_release_lock", 10 + k)

    # What is read without a stop.

    def record(self, address, index, dtype):
        if dtype is launch.JOB:
            return self.alive(address)
        return SimpleNamespace(tensor=0, fold_index=0)  # a chunk, a tensor

    def word(self, address):
        return self.memory[address]

    def alive(self, address):
        if address not in self.jobs or not self.jobs[address].alive:
            raise Broken(f"the job at {address} is gone")
        return self.jobs[address]

    # One access at a time.

    def enabled(self):
        """Threads that can go on."""
        calling = any(name.startswith("caller") for name in self.threads)
        blocked = {"callers_are_done": lambda: calling, "PyThread_acquire_lock": lambda lock, _: not self.locks[lock]}
        return [
            name
            for name, (what, *arguments) in self.waiting.items()
            if what not in blocked or not blocked[what](*arguments)
        ]

    def step(self, name):
        """Let a thread make its access and come to the next."""
        what, *arguments = self.waiting[name]
        self.go(name, getattr(self, what)(name, *arguments))

    def go(self, name, value):
        try:
            self.waiting[name] = self.threads[name].send(value)
        except StopIteration:
            del self.waiting[name]
            del self.threads[name]

    def place(self, address):
        if address not in self.memory:
            raise Broken(f"a cursor at {address} of a job that is gone")
        return address

    def atomic_read(self, name, address):
        return self.memory[self.place(address)]

    def atomic_add(self, name, address, value):
        before = self.memory[self.place(address)]
        self.memory[address] = before + value
        return before

    def atomic_swap(self, name, address, value):
        before = self.memory[self.place(address)]
        self.memory[address] = value
        return before

    def atomic_take(self, name, address, value):
        free = self.memory[self.place(address)] == 0
        if free:
            self.memory[address] = value
        return free

    def PyThread_acquire_lock(self, name, lock, wait):
        self.locks[lock] = 0

    def PyThread_release_lock(self, name, lock):
        if self.locks[lock]:
            raise Broken("a helper is woken twice")
        self.locks[lock] = 1

    def call_drive(self, name, drive, address, what, index):
        job = self.alive(address)
        job.done[index] += 1
        if job.done[index] > 1:
            raise Broken(f"chunk {index} is updated twice")

    def callers_are_done(self, name):
        if self.memory[pool.OWNER]:
            raise Broken("the pool is not as it was")

    def end(self, name, job):
        if job.done != [1] * job.n_chunks:
            raise Broken(f"a step returned with chunks {job.done}")
        job.alive = False
        for k in range(job.threads):
            del self.memory[job.cursors + k * LINE]

    # What tells states apart.

    def key(self):
        return (
            tuple(self.memory.items()),
            tuple(self.locks.values()),
            tuple((job.alive, *job.done) for job in self.jobs.values()),
            tuple((name, self.waiting[name], frames(thread)) for name, thread in self.threads.items()),
        )

    def check_rest(self):
        """Nobody can go on: all must have returned."""
        if self.threads:
            raise Broken(f"{', '.join(self.threads)} never wake")


def frames(generator):
    """Where a generator is, with its variables."""
    found = []
    while generator is not None:
        frame = generator.gi_frame
        local = {**frame.f_locals, "self": None}
        local["spins"] = min(local.get("spins", 0), SPINS)
        found.append((frame.f_lasti, frozenset(local.items())))
        generator = generator.gi_yieldfrom
    return tuple(found)


# --- The search -------------------------------------------------------------------------------------------------------


def explore(**sizes):
    """Visit every state; the number of them. From each it must be possible to come to the end."""
    ids, back, ends, seen, todo = {}, [], [], set(), [()]

    def number(machine):
        key = machine.key()
        if key not in ids:
            ids[key] = len(ids)
            back.append([])
        return ids[key]

    while todo:
        way = list(todo.pop())
        machine, last = Machine(**sizes), None
        for k, name in enumerate(way):
            if k == len(way) - 1:
                last = number(machine)
            machine.step(name)
        while True:
            state = number(machine)
            if last is not None:
                back[state].append(last)
            if state in seen:
                break
            seen.add(state)
            names = machine.enabled()
            if not names:
                machine.check_rest()
                ends.append(state)
                break
            todo += [(*way, name) for name in names[1:]]
            last = state
            way.append(names[0])
            machine.step(names[0])
    reached, new = set(ends), list(ends)
    while new:
        for state in back[new.pop()]:
            if state not in reached:
                reached.add(state)
                new.append(state)
    if len(reached) < len(seen):
        raise Broken("some threads wait for each other, or spin, for ever")
    return len(seen)


@pytest.mark.parametrize(
    "sizes",
    [
        {"callers": 1, "helpers": 1, "chunks": 2, "steps": 2},
        {"callers": 2, "helpers": 1, "chunks": 0, "steps": 1},
    ],
    ids=["one caller", "two callers"],
)
def test_every_order_updates_each_chunk_once_and_comes_to_an_end(sizes):
    assert explore(**sizes) > 1000
