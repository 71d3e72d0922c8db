"""The versions of Triton that the kernels are proved with, and what is said of others."""

from __future__ import annotations

import functools
import warnings

import numpy as np

PROVED = (3, 5), (3, 9)
"""First and last version with which all tests of ``tests/kernels`` and ``tests/ptx`` pass, as do those between."""


def version() -> str:
    """Triton's, such as ``"3.7.1"``."""
    import triton

    return str(triton.__version__).split("+")[0]


def _release() -> tuple[int, ...]:
    return tuple(int(part) for part in version().split(".")[:2])


@functools.cache
def warn_unproved() -> None:
    """Say once that the kernels are not proved with this Triton, if they are not."""
    first, last = (".".join(map(str, release)) for release in PROVED)
    if not PROVED[0] <= _release() <= PROVED[1]:
        warnings.warn(
            f"the kernels are proved with Triton {first} to {last}, here is {version()}: hold them against the "
            "reference (python -m bench.gpu, or backend='reference') before you rely on them",
            stacklevel=3,
        )


def interpreter_obstacle() -> str:
    """Why Triton's interpreter cannot run the kernels here; empty if it can."""
    numpy = tuple(int(part) for part in np.__version__.split(".")[:2])
    if _release() < (3, 7) and numpy >= (2, 4):  # it makes an integer of an array with one element
        return (
            f"the interpreter of Triton {version()} needs NumPy below 2.4, here is {np.__version__}: "
            "pip install 'numpy<2.4' or 'triton>=3.7'"
        )
    return ""
