"""The command ``ttc-fast build-kernels``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class BuildKernelsConfig:
    """Compile the kernels for GPUs ahead, without a GPU: the first run then compiles none."""

    arch: tuple[str, ...] = ("sm_80", "sm_90", "sm_100")
    """Architectures of the GPUs: sm_80 A100, sm_86, sm_89, sm_90 H100, sm_100 B200, sm_120; gfx942, gfx950."""
    out: Path | None = None
    """Folder for the kernels, for machines where TRITON_CACHE_DIR names it (default Triton's cache here)."""
    quiet: bool = False
    """Print nothing but errors."""


def main(config: BuildKernelsConfig) -> None:
    """Compile, and say how many and where.

    Raises:
        ValueError: with a message for the user.
    """
    from ..decoding.kernels_ahead import build_kernels
    from . import console

    built = build_kernels(config.arch, config.out, progress=not config.quiet)
    if not config.quiet:
        where = "Triton's cache" if config.out is None else f"{config.out}; set TRITON_CACHE_DIR to it where they run"
        console.show(f"{built} kernels for {', '.join(config.arch)} are in {where}")
