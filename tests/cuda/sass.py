"""What the machine code of a kernel says without running it: registers, spills, float64, access widths, occupancy.

PTX is linked by nvJitLink, as at a first step on a device, and taken apart by nvdisasm. Another assembler may use other
numbers of registers (ptxas 13.0: some ten less).
"""

import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from pyfastlr_kernels.cuda import compiler

REGISTERS, WARP, GRANULE = 65536, 32, 256  # of a multiprocessor; threads; registers that a warp is given at once
_F64 = re.compile(r"D(ADD|MUL|FMA|SETP|MNMX)|MUFU\.\w*64H|F2F\.(\w+\.)?F64|F2F\.F32\.F64|[IU]2F\.F64|F2I\.\w*F64")
_INSTRUCTION = re.compile(r"^\s*/\*[0-9a-f]+\*/\s+(?:\{\s*)?(?:@!?U?P\w+\s+)?([A-Z][A-Z0-9_.]*)\s*([^;]*);")


def nvdisasm():
    """Path of the disassembler, of its wheel or in PATH; None if there is none."""
    wheels = (path for folder in sys.path for path in Path(folder).glob("nvidia/cu1*/bin/nvdisasm"))
    return next(map(str, wheels), shutil.which("nvdisasm"))


@dataclass
class Code:
    """Facts of a kernel; `loop` are the instructions of the loop that moves most bytes."""

    registers: int
    spilled: int
    float64: int
    loop: list[str]

    def bytes(self, kind):
        """Bytes that a pass of the loop loads (LDG) or stores (STG)."""
        return sum(width(x) for x in self.loop if x.startswith(kind))

    def blocks(self, threads):
        """Blocks of so many threads that fit a multiprocessor by their registers."""
        warp = -(-self.registers * WARP // GRANULE) * GRANULE
        return REGISTERS // (warp * (threads // WARP))


def width(operation):
    """Bytes that a thread moves."""
    parts = operation.split(".")
    return next((int(bits) // 8 for bits in ("256", "128", "64") if bits in parts), 4)


def code(ptx, cc, folder):
    """Link and take apart; `folder` is for the file that nvdisasm reads."""
    cubin, log = compiler.link(ptx, cc)
    path = folder / "kernel.cubin"
    path.write_bytes(cubin)
    text = subprocess.run([nvdisasm(), "-c", path], capture_output=True, text=True, check=True).stdout
    lines, places, jumps = [], {}, []
    for line in text.splitlines():
        if label := re.match(r"(\.L_x_\d+):", line):
            places[label[1]] = len(lines)
        elif found := _INSTRUCTION.match(line):
            if found[1].startswith("BRA") and (target := re.search(r"`\((\.L_x_\d+)\)", found[2])):
                jumps.append((target[1], len(lines)))
            lines.append(found[1])
    loops = [lines[places[target] : at + 1] for target, at in jumps if places.get(target, at) < at]
    moved = [sum(width(x) for x in loop if x.startswith(("LDG", "STG"))) for loop in loops]
    return Code(
        registers=int(re.search(r"Used (\d+) registers", log)[1]),
        spilled=sum(map(int, re.findall(r"(\d+) bytes (?:spill|stack)", log))),
        float64=sum(bool(_F64.match(x)) for x in lines),
        loop=loops[moved.index(max(moved))] if loops else [],
    )


def faults(found, itemsize, read, written, threads, blocks):
    """The gates that a kernel fails; besides p and g it reads and writes so many arrays."""
    elements = found.bytes("STG") / ((1 + written) * itemsize) or 1.0
    accesses = [x for x in found.loop if x.startswith(("LDG", "STG"))]
    gates = {
        "float64": itemsize == 8 or found.float64 == 0,
        "spills": found.spilled == 0,
        "lines": bool(accesses) and all(width(x) >= 16 for x in accesses),
        "bytes": found.bytes("LDG") / elements == (2 + read) * itemsize,
        "occupancy": found.blocks(threads) >= blocks,
    }
    return [name for name, passed in gates.items() if not passed]
