"""Triton side of ttc-fast, imported as ``ttc_fast.kernels``: the only place that imports triton.

Its modules are loaded by name, so that the library can be imported where Triton is missing.
"""

from __future__ import annotations

import importlib.util
import os

import torch

MAX_DIM = 256
"""Largest number of coefficients that the kernels decode."""


PRECISIONS = ("fp32", "ieee", "tf32")
"""Of the matrix product, see :func:`ttc_fast.decode`."""


LEAST_CAPABILITY = 8, 0
"""Compute capability of NVIDIA's GPUs from which on their tensor cores multiply bfloat16."""


class Unusable(RuntimeError):
    """A kernel cannot be compiled for a GPU, or not be loaded there."""


_INSTALLED = importlib.util.find_spec("triton") is not None


def available() -> bool:
    """Whether Triton is installed."""
    return _INSTALLED


def interpreted() -> bool:
    """Whether Triton runs its kernels in Python, on the CPU (environment variable TRITON_INTERPRET)."""
    return os.environ.get("TRITON_INTERPRET", "0").lower() in ("1", "true", "yes", "on", "y")


def target() -> str:
    """What kernels are compiled for here: ``"cuda"``, ``"hip"``, or ``"interpreter"``."""
    if interpreted():
        return "interpreter"
    return "hip" if torch.version.hip else "cuda"


def too_old(device: torch.device) -> str:
    """Why the kernels cannot run on a GPU of this capability; empty if they can."""
    if interpreted() or torch.version.hip or device.type != "cuda":
        return ""
    major, minor = torch.cuda.get_device_capability(device)
    if (major, minor) >= LEAST_CAPABILITY:
        return ""
    least = ".".join(map(str, LEAST_CAPABILITY))
    return f"the kernels need compute capability {least}, {device} has {major}.{minor}"


def padded(dim: int) -> int:
    """The dimension a decode of ``dim`` coefficients is padded to."""
    return max(16, 1 << (dim - 1).bit_length())
