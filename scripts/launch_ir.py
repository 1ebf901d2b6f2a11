"""Write the IR of the launch and the stages, which a first step compiles instead of their text (cpu/prebuilt.py).

    python scripts/launch_ir.py            # after a change of one of LAUNCH_SOURCES or STAGES_SOURCES in cpu/load.py

The IR is for a generic CPU of this architecture, without the vector instructions of the CPU that runs the script. The
launch needs none. The stages' loops are vectorised when they are loaded, for the CPU that runs them.
"""

import os
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "kernels"))
GENERIC = {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""}
SCALAR = {"NUMBA_OPT": "0", "NUMBA_LOOP_VECTORIZE": "0", "NUMBA_SLP_VECTORIZE": "0"}


def files() -> list[tuple[object, dict[str, str]]]:
    """Return all files, and the variables of numba for each; numba reads them when it is imported."""
    from pyfastlr_kernels.cpu import load

    return [(load.LAUNCH_CODE, GENERIC), *((x, GENERIC | SCALAR) for x in load.STAGES_CODE.values())]


def made(name: str) -> str:
    """Return the IR of a file with its stamp, in a process with its variables."""
    from pyfastlr_kernels.compile import codegen

    (prebuilt,) = (x for x, _ in files() if x.file == name)
    entries = prebuilt.entries()
    code = codegen.module(entries, codegen.machine(), finish=prebuilt.is_finished)
    for k, function in enumerate(code.functions):
        if not function.is_declaration and function.name not in entries:
            function.name = f"f{k}"  # numba's names are 200 characters long
    lines = str(code).splitlines(keepends=True)
    return prebuilt.stamp() + "".join(x for x in lines if not x.startswith(("; ModuleID", "source_filename")))


def main() -> None:
    """Write the files, each in a process of its own."""
    if len(sys.argv) == 2:
        sys.stdout.write(made(sys.argv[1]))
        return
    for prebuilt, variables in files():
        command = [sys.executable, __file__, prebuilt.file]
        text = subprocess.run(command, env=os.environ | variables, check=True, stdout=subprocess.PIPE).stdout
        prebuilt.path.write_bytes(text)
        print(f"{prebuilt.path}: {len(text):,} bytes")


if __name__ == "__main__":
    main()
