"""The command ``ttc-fast run``, also ``python -m ttc_fast.run``."""

from __future__ import annotations

from ..experiments.config import RunConfig


def main(config: RunConfig) -> None:
    """Run, print, write.

    Args:
        config: the settings.

    Raises:
        ValueError, TypeError, OSError: with a message for the user.
    """
    # torch takes seconds to import: it waits until the command line is understood.
    from ..experiments import files, plot
    from ..experiments.records import run_json
    from ..experiments.run import run
    from . import console, full, screen

    for name, path in (("json", config.json), ("save", config.save)):
        if path is not None:
            files.check_writable(path, name)
    if config.save is not None and config.save.suffix != ".parquet":
        raise ValueError(f"save: expected a file that ends in .parquet, got {config.save}")
    if config.plot is not None:
        plot.check_possible(config.plot)
    if not config.quiet:
        _note_interpreter(config.backend)
    result = run(config, progress=not config.quiet)
    if not config.quiet:
        console.show((full if config.full else screen).text(result))
    if config.json is not None:
        files.write(config.json, run_json(result))
    if config.save is not None:
        result.table.save(config.save)
    if config.plot is not None:
        plot.draw_run(result, config.plot)


def _note_interpreter(backend: str) -> None:
    """Why the run will be slow, if Triton interprets its kernels."""
    from ..decoding.backends import backends
    from .console import notice

    triton = next(one for one in backends() if one.name == "triton")
    if backend == "triton" and "interpreted" in triton.reason:
        notice("Triton interprets its kernels in Python (TRITON_INTERPRET is set): slow, to check them")
