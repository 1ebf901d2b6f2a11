"""Objects can be loaded wherever memory is: nothing in them reaches another section by 32 bits."""

import re
import shutil
import subprocess

import pytest

from pyfastlr_kernels.cpu import load


@pytest.mark.skipif(shutil.which("readelf") is None, reason="readelf (binutils) is not installed")
@pytest.mark.parametrize("name", ["launch", "adam-float32", "adam-float64"])
def test_every_relocation_has_64_bits(tmp_path, name):
    if name == "launch":
        image = load._emit_launch()
    else:
        rule, dtype = name.split("-")
        image = load.drive_object(rule, "torch", dtype, True)
    path = tmp_path / "object.o"
    path.write_bytes(image)
    text = subprocess.run(["readelf", "-rW", path], capture_output=True, text=True, check=True).stdout
    kinds = set(re.findall(r"R_X86_64_\w+", text))
    assert kinds  # with the small code model R_X86_64_PC32 is among them
    assert kinds <= {"R_X86_64_64", "R_X86_64_PC64", "R_X86_64_GOTOFF64", "R_X86_64_GOTPC64", "R_X86_64_GOT64"}
