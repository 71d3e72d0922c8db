"""The C++ extension ``ttc_fast._C``; all else is in pyproject.toml."""

from __future__ import annotations

import os
import platform
import sys
from glob import glob

from pybind11.setup_helpers import Pybind11Extension, build_ext
from setuptools import setup
from setuptools.errors import CompileError

FLAGS = ["-O3", "-ffp-contract=off", "-fno-math-errno"]
VARIANTS = {
    "AVX512": ("x86_64", ["-mavx512f", "-mavx512dq", "-mavx512bw", "-mavx512vl", "-mavx2", "-mfma"]),
    # GCC would put exclusive ors in an order in which they wait for each other: random words take a tenth longer.
    "AVX2": ("x86_64", ["-mavx2", "-mfma", "-fno-tree-reassoc"]),
    "NEON": ("arm64", []),
}
"""Instruction sets for which csrc/kernel.cpp is compiled once more: machine and flags of GCC and Clang."""
SOURCES = ("bindings", "decode", "aggregate", "answers", "medians", "kernel", "votes", "first_votes")


class BuildVariants(build_ext):
    """Compiles the kernel for every instruction set; one that the compiler does not know is left out."""

    def build_extension(self, ext: Pybind11Extension) -> None:
        machine = {"amd64": "x86_64", "aarch64": "arm64"}.get(platform.machine().lower(), platform.machine().lower())
        for name, (only_on, flags) in VARIANTS.items():
            if machine != only_on:
                continue
            try:
                ext.extra_objects += self.compiler.compile(
                    ["csrc/kernel.cpp"],
                    output_dir=os.path.join(self.build_temp, name),
                    macros=[(f"TTC_FAST_ISA_{name}", None)],
                    extra_postargs=["-std=c++17", *FLAGS, *flags],
                    depends=ext.depends,
                )
                ext.define_macros.append((f"TTC_FAST_HAVE_{name}", None))
            except CompileError:
                self.announce(f"the compiler does not know {name}: built without it", level=3)
        super().build_extension(ext)


extension = Pybind11Extension(
    "ttc_fast._C",
    [f"csrc/{name}.cpp" for name in SOURCES],
    depends=sorted(glob("csrc/*.h")),
    cxx_std=17,
    extra_compile_args=FLAGS,
    # Without a working compiler the install goes on, and the library says what is missing.
    optional=True,
)

if __name__ == "__main__":
    # Microsoft's compiler lacks the vectors of GCC and Clang; ttc_fast/numerics/extension.py says so.
    setup(ext_modules=[] if sys.platform == "win32" else [extension], cmdclass={"build_ext": BuildVariants})
