"""Triton's kernels compiled before there is a GPU."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..kernels import available, interpreted
from ..numerics import check
from ..numerics.progress import Report, reporting


def build_kernels(arch: Sequence[str], out: Path | None = None, progress: bool | Report = False) -> int:
    """Compile the kernels of every rule and of the sums over candidates for GPUs that need not be there.

    Args:
        arch: their architectures, such as ``"sm_90"``.
        out: a folder for the kernels, made if there is none; TRITON_CACHE_DIR names it to the runs that take them.
            None for Triton's own cache on this machine.
        progress: see ``numerics/progress.py``.

    Returns:
        The number of kernels.

    Raises:
        ValueError: an architecture is not known, ``out`` is no folder, or Triton is missing or only interprets.
    """
    if not available():
        raise ValueError("arch: expected Triton, which compiles the kernels, got none: pip install triton")
    if interpreted():
        raise ValueError("arch: expected Triton to compile, but TRITON_INTERPRET is set: unset it")
    from ..kernels.build import build
    from ..kernels.compiled import SHARED_MEMORY

    for one in arch:
        check.choice("arch", one, tuple(SHARED_MEMORY))
    if out is not None and out.exists() and not out.is_dir():
        raise ValueError(f"out: expected a folder, got the file {out}")
    with reporting(progress) as report:
        built: int = build(arch, out, lambda share: report("kernels", share))
    return built
