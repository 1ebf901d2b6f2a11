"""Run PTX on the CPU: what the compiler wrote for the device, before the assembler, on numpy arrays over all threads.

It checks each access to memory for bounds, natural alignment (16 bytes for .v4.f32) and races between threads, rounds
as the PTX manual says, and counts bytes. The thread with the lowest program counter goes first, which brings divergent
threads of structured code together again. What a kernel of this library never has raises NotImplementedError.
It was never compared with a device.
"""

import re
from collections import Counter
from dataclasses import dataclass, field

import numpy as np

import ptxops
from ptxmemory import Region, access
from ptxops import TYPES

_RAW = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64}


@dataclass
class Instruction:
    guard: str | None
    negated: bool
    name: str
    parts: tuple[str, ...]
    operands: list[str]


@dataclass
class Function:
    name: str
    params: list[tuple[str, str]]  # name and type
    returns: list[str]
    code: list[Instruction] = field(default_factory=list)
    labels: dict[str, int] = field(default_factory=dict)


@dataclass
class Trace:
    """Bytes by access ("ld", "st") and start of the array, and how often each instruction ran, over all threads."""

    bytes: Counter[tuple[str, int]] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)


_HEAD = re.compile(
    r"\.(entry|func)\s+(?:\(([^)]*)\)\s*)?(\w+)\s*\(([^)]*)\)\s*((?:\.\w+[^{;]*)?)\{(.*?)\n\}", re.DOTALL
)
_SHARED = re.compile(r"\.shared\s+\.align\s+(\d+)\s+\.b8\s+(\w+)\[(\d+)\]")
_GLOBAL = re.compile(r"\.global\s+\.align\s+\d+\s+\.b8\s+(\w+)\[\d+\]\s*=\s*\{([^}]*)\}")
_OPERAND = re.compile(r"\{[^}]*\}|\[[^\]]*\]|\([^)]*\)|[^,\s]+")


def _parameters(text):
    """Names and types of .param declarations."""
    return [(name, kind) for kind, name in re.findall(r"\.param\s+(?:\.align\s+\d+\s+)?\.(\w+)\s+(\w+)", text)]


def parse(text):
    """All functions of a PTX text, the kernel first, the offsets of the shared arrays, and the constant ones."""
    text = re.sub(r"//[^\n]*", "", text)
    constants = {name: np.array(values.split(","), np.uint8) for name, values in _GLOBAL.findall(text)}
    functions = []
    for kind, returns, name, params, _, body in _HEAD.findall(text):
        function = Function(name, _parameters(params), [n for n, _ in _parameters(returns)])
        for statement in re.split(r"(\$\w+:)|;", body):
            statement = " ".join((statement or "").split()).lstrip("{} ")
            if statement.endswith(":"):
                function.labels[statement[:-1]] = len(function.code)
            elif statement and not statement.startswith("."):
                guard, statement = re.fullmatch(r"(?:@(!?%\w+) )?(.*)", statement).groups()
                name, _, rest = statement.partition(" ")
                name, *parts = name.split(".")
                function.code.append(
                    Instruction(guard and guard.lstrip("!"), bool(guard) and guard[0] == "!", name, tuple(parts),
                                _OPERAND.findall(rest))
                )  # fmt: skip
        functions.insert(0 if kind == "entry" else len(functions), function)
    shared, size = {}, 0
    for align, name, length in _SHARED.findall(text):
        size = -(-size // int(align)) * int(align)
        shared[name], size = size, size + int(length)
    return functions, shared, size, constants


class Kernel:
    """A kernel in PTX, ready to run any number of times."""

    def __init__(self, text):
        functions, self.shared, self.shared_size, self.constants = parse(text)
        self.entry, self.functions = functions[0], {function.name: function for function in functions}

    def run(self, memory, arguments, grid, block, races=True):
        """Run all threads to the end; `arguments` are numpy scalars in the order of the kernel's parameters."""
        assert len(arguments) == len(self.entry.params)
        with np.errstate(all="ignore"):
            return _Run(self, memory, grid, block, races).start(arguments)


class _Run:
    def __init__(self, kernel, memory, grid, block, races):
        self.kernel, self.memory, self.races, self.trace = kernel, memory, races, Trace()
        self.n, self.block = grid * block, block
        self.threads = np.arange(self.n)
        tid, cta = (self.threads % block).astype(np.uint32), (self.threads // block).astype(np.uint32)
        one = np.ones(self.n, np.uint32)
        self.special = {"%tid.x": tid, "%ctaid.x": cta, "%ntid.x": one * np.uint32(block),
                        "%nctaid.x": one * np.uint32(grid), "%laneid": tid % 32}  # fmt: skip
        self.symbols = {**kernel.shared, **{name: memory.map(x) for name, x in kernel.constants.items()}}
        self.regions = memory.regions(block)
        stride = kernel.shared_size + 4096  # so that one block's accesses end up in no other's array
        self.shared_start = cta.astype(np.int64) * stride
        self.shared = [Region(k * stride, np.zeros(kernel.shared_size, np.uint8), block) for k in range(grid)]

    def start(self, arguments):
        entry = self.kernel.entry
        params = {
            name: np.full(self.n, value, value.dtype) for (name, _), value in zip(entry.params, arguments, strict=True)
        }
        self.execute(entry, self.threads, params)
        return self.trace

    def execute(self, function, threads, params):
        """Run a function by those threads until all of them have returned; its parameters, with what it returns."""
        frame = _Frame(self, function, params)
        end = len(function.code)
        pc, waits = np.full(self.n, end), np.zeros(self.n, bool)
        pc[threads] = 0
        while True:
            ready = np.flatnonzero((pc < end) & ~waits)
            if not ready.size:
                if not waits.any():
                    return frame.params
                raise RuntimeError("threads wait at a barrier that others of their block never reach")
            at = int(pc[ready].min())
            active = ready[pc[ready] == at]
            step = function.code[at]
            pc[active] = at + 1
            if step.guard:
                active = active[frame.read(step.guard, "pred", active) != step.negated]
                if not active.size:
                    continue
            self.trace.counts[".".join((step.name, *step.parts))] += active.size
            if step.name == "bra":
                pc[active] = function.labels[step.operands[0]]
            elif step.name in ("ret", "exit"):
                pc[active] = end
            elif step.name in ("bar", "barrier"):
                waits[active] = True
                self.release(pc, waits, end)
            else:
                frame.step(step, active)

    def release(self, pc, waits, end):
        """Let the blocks go whose threads have all come; what they did so far is ordered before what follows."""
        for block in np.unique(self.threads[waits] // self.block):
            mine = self.threads // self.block == block
            if (waits[mine] | (pc[mine] >= end)).all():
                waits[mine] = False
                self.shared[block].forget()
                for region in self.regions:
                    region.barrier(block)


class _Frame:
    """Registers and parameters of one call."""

    def __init__(self, run, function, params):
        self.run, self.function, self.registers, self.params = run, function, {}, dict(params)

    # --- Operands ----------------------------------------------------------------------------------------------------

    def read(self, x, kind, active):
        dtype = TYPES[kind]
        if x in self.run.special:
            return self.run.special[x][active].astype(dtype)
        if x.startswith("%"):
            raw = self.registers[x][active]
            return raw.astype(bool) if kind == "pred" else raw.astype(_RAW[dtype.itemsize]).view(dtype)
        if x[:2] in ("0f", "0d"):
            value = np.frombuffer(bytes.fromhex(x[2:])[::-1], f"u{(len(x) - 2) // 2}").view(dtype)[0]
        elif x in self.run.symbols:
            value = self.run.symbols[x]
        else:
            value = int(x.rstrip("U"), 0)
            if dtype.kind in "iu":
                value = (
                    np.array([value % 2 ** (8 * dtype.itemsize)], np.uint64).astype(_RAW[dtype.itemsize]).view(dtype)
                )
        return np.full(active.size, value, dtype)

    def write(self, x, value, active):
        raw = (
            value.astype(np.uint64) if value.dtype == bool else value.view(_RAW[value.dtype.itemsize]).astype(np.uint64)
        )
        self.registers.setdefault(x, np.zeros(self.run.n, np.uint64))[active] = raw

    def address(self, x, active):
        base, _, offset = x[1:-1].partition("+")
        return self.read(base, "u64", active).astype(np.int64) + (int(offset, 0) if offset else 0)

    # --- Instructions ------------------------------------------------------------------------------------------------

    def step(self, step, active):
        name, parts, x = step.name, step.parts, step.operands
        kind = parts[-1] if parts else ""
        special = getattr(self, f"_{name}", None)
        if special:
            special(parts, kind, x, active)
            return
        if "cc" in parts or name not in ptxops.PURE:
            raise NotImplementedError(".".join((name, *parts)))
        inputs = [self.flushed(self.read(a, kind, active), parts) for a in x[1:]]
        self.write(x[0], self.flushed(ptxops.PURE[name](*inputs).astype(inputs[0].dtype), parts), active)

    @staticmethod
    def flushed(value, parts):
        return ptxops.flush(value) if "ftz" in parts and value.dtype == np.float32 else value

    def _mov(self, parts, kind, x, active):
        if x[1].startswith("{"):  # a pair of halves
            low, high = (self.read(a.strip(), "u32", active).astype(np.uint64) for a in x[1][1:-1].split(","))
            self.write(x[0], low | high << np.uint64(32), active)
        elif x[0].startswith("{"):
            whole = self.read(x[1], "u64", active)
            for a, part in zip(x[0][1:-1].split(","), (whole, whole >> np.uint64(32)), strict=True):
                self.write(a.strip(), part.astype(np.uint32), active)
        else:
            self.write(x[0], self.read(x[1], kind, active), active)

    def _cvta(self, parts, kind, x, active):  # the generic and the global space have the same addresses
        self.write(x[0], self.read(x[1], "u64", active), active)

    def _ld(self, parts, kind, x, active):
        self._memory("ld", parts, kind, x[0], x[1], active)

    def _st(self, parts, kind, x, active):
        self._memory("st", parts, kind, x[1], x[0], active)

    def _memory(self, what, parts, kind, registers, place, active):
        registers = [a.strip() for a in registers.strip("{}").split(",")]
        dtype = TYPES[kind]
        if "param" in parts:
            name = place[1:-1].split("+")[0]
            if what == "ld":
                self.write(registers[0], self.params[name][active].view(dtype), active)
            else:
                self.params.setdefault(name, np.zeros(self.run.n, dtype))[active] = self.read(
                    registers[0], kind, active
                )
            return
        if "local" in parts:
            raise NotImplementedError("local memory")
        run, size, addresses = self.run, dtype.itemsize * len(registers), self.address(place, active)
        regions = run.regions
        if "shared" in parts:
            regions, addresses = run.shared, addresses + run.shared_start[active]
        for region, offsets, inside in access(regions, what, addresses, size, run.threads[active], run.races):
            if "shared" not in parts:
                run.trace.bytes[what, region.base] += size * offsets.size
            for j, register in enumerate(registers):
                at = offsets[:, None] + (j * dtype.itemsize + np.arange(dtype.itemsize))
                if what == "ld":
                    self.write(register, region.data[at].view(dtype)[:, 0], active[inside])
                else:
                    value = self.read(register, kind, active[inside])
                    region.data[at] = value.view(np.uint8).reshape(at.shape)

    def _atom(self, parts, kind, x, active):
        """Only add and inc, one thread after the other."""
        how = next(part for part in parts if part in ("add", "inc"))
        addresses, values = self.address(x[1], active), self.read(x[2], kind, active)
        old = np.zeros(active.size, TYPES[kind])
        for region, offsets, inside in access(self.run.regions, "at", addresses, values.itemsize, active, False):
            words = region.data.view(TYPES[kind])
            for i, offset in zip(np.flatnonzero(inside), offsets // values.itemsize, strict=True):
                old[i] = words[offset]
                wraps = how == "inc" and old[i] >= values[i]
                words[offset] = 0 if wraps else old[i] + (1 if how == "inc" else values[i])
        self.write(x[0], old, active)

    def _membar(self, parts, kind, x, active):
        for region in self.run.regions:
            region.publish(active)

    _fence = _membar

    def _cvt(self, parts, kind, x, active):
        value = self.flushed(self.read(x[1], kind, active), parts)
        self.write(x[0], self.flushed(ptxops.convert(value, TYPES[parts[-2]], parts), parts), active)

    def _setp(self, parts, kind, x, active):
        a, b = (self.flushed(self.read(y, kind, active), parts) for y in x[1:3])
        self.write(x[0], ptxops.compare(parts[0], a, b), active)

    def _selp(self, parts, kind, x, active):
        a, b = (self.read(y, kind, active) for y in x[1:3])
        self.write(x[0], np.where(self.read(x[3], "pred", active), a, b), active)

    def _shl(self, parts, kind, x, active):
        self.write(x[0], ptxops.shift_left(self.read(x[1], kind, active), self.read(x[2], "u32", active)), active)

    def _shr(self, parts, kind, x, active):
        self.write(x[0], ptxops.shift_right(self.read(x[1], kind, active), self.read(x[2], "u32", active)), active)

    def _mul(self, parts, kind, x, active):
        a, b = (self.flushed(self.read(y, kind, active), parts) for y in x[1:3])
        if "wide" in parts:
            wide = TYPES[ptxops.WIDE[kind]]
            a, b = a.astype(wide), b.astype(wide)
        result = ptxops.high_half(a, b) if "hi" in parts else a * b
        self.write(x[0], self.flushed(result, parts), active)

    def _call(self, parts, kind, x, active):
        """``call (returned), function, (given)``."""
        returned, name, given = x if len(x) == 3 else ("()", *x)
        callee = self.run.kernel.functions[name]
        arguments = [self.params[a.strip()] for a in given.strip("()").split(",") if a.strip()]
        params = {n: value for (n, _), value in zip(callee.params, arguments, strict=True)}
        frame_params = self.run.execute(callee, active, params)
        for a, b in zip(returned.strip("()").split(","), callee.returns, strict=True):
            self.params[a.strip()] = frame_params[b]
