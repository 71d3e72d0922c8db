"""The parts of the C++ decode by themselves: ``parts.cpp``, compiled here with the extension's own flags when it is
first needed, so that the extension has nothing for benchmarks."""

from __future__ import annotations

import ctypes
import functools
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from ttc_fast.numerics import extension


@functools.cache
def library(isa: str) -> ctypes.CDLL:
    """``parts.cpp`` for one instruction set."""
    from setup import FLAGS, VARIANTS  # needs pybind11

    flags = ["-std=c++17", *FLAGS, *VARIANTS.get(isa.upper(), ("", []))[1], f"-DTTC_FAST_ISA_{isa.upper()}"]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "parts.so"
        source = str(Path(__file__).with_name("parts.cpp"))
        subprocess.run(["c++", *flags, "-fvisibility=default", "-shared", "-fPIC", source, "-o", str(path)], check=True)
        found = ctypes.CDLL(str(path))
    found.run_part.restype = ctypes.c_bool
    found.run_part.argtypes = [ctypes.c_char_p, ctypes.c_bool, *[ctypes.c_int64] * 3]
    return found


def tile_samples() -> int:
    """Samples that a part is run for, with the instruction set in use."""
    return int(library(extension.isa()).tile_samples())


def part(name: str, dim: int, steps: int, *, bits: bool = False, keys: int = 1) -> Callable[[int], None]:
    """What runs one part of so many steps of a tile, whatever the number it is given.

    Args:
        name: "words", "draws" (of normals, or of uniforms for ``bits``), "products" or "links" of linear attention;
            "attention products", "powers" or "multiply-adds" of one softmax head; see ``parts.cpp``.
        dim: coefficients.
        steps: a multiple of 4.
        bits: thoughts of bits.
        keys: of the head.
    """
    run = library(extension.isa()).run_part

    def of_steps(_: int) -> None:
        if not run(name.encode(), bits, dim, keys, steps):
            raise ValueError(f"name: expected that of a part, got {name!r}")

    return of_steps
