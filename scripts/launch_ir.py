"""Write the launch's LLVM IR, which a cold first step compiles instead of the Python text (cpu.load.launch_stamp).

    python scripts/launch_ir.py            # after a change of one of cpu.load.LAUNCH_SOURCES

The IR is for a generic CPU of this architecture, without the vector instructions of the CPU that runs the script.
"""

import os
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "kernels"))
GENERIC = {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""}


def made() -> str:
    """Return the IR with its stamp. Numba reads the variables of GENERIC when it is imported."""
    from pyfastlr_kernels.compile import codegen
    from pyfastlr_kernels.cpu import load

    code = codegen.module(load.launch_entries(), codegen.machine())
    lines = str(code).splitlines(keepends=True)
    return load.launch_stamp() + "".join(x for x in lines if not x.startswith(("; ModuleID", "source_filename")))


def main() -> None:
    """Write the file."""
    if any(os.environ.get(name) != value for name, value in GENERIC.items()):
        subprocess.run([sys.executable, __file__], env=os.environ | GENERIC, check=True)
        return
    from pyfastlr_kernels.cpu import load

    load.LAUNCH_IR.write_text(made(), encoding="utf-8")
    print(f"{load.LAUNCH_IR}: {load.LAUNCH_IR.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
