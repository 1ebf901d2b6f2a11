"""For PyInstaller: the IR of the package, and the version metadata that names cached code without importing numba."""

from PyInstaller.utils.hooks import collect_data_files, copy_metadata

datas = [
    *collect_data_files("pyfastlr_kernels", includes=["cpu/*.ll"]),
    *copy_metadata("numba"),
    *copy_metadata("llvmlite"),
]
