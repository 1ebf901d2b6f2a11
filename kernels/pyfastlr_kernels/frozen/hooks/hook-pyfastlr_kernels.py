"""For PyInstaller: the launch's IR, and the versions by which cached code is named without an import of numba."""

from PyInstaller.utils.hooks import collect_data_files, copy_metadata

datas = [
    *collect_data_files("pyfastlr_kernels", includes=["cpu/launch.ll"]),
    *copy_metadata("numba"),
    *copy_metadata("llvmlite"),
]
