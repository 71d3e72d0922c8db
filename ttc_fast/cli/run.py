"""The command ``ttc-fast run``, also ``python -m ttc_fast.run``."""

from __future__ import annotations

from collections.abc import Callable

from ..experiments.config import RunConfig


def main(config: RunConfig) -> None:
    """Run, write, print.

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
    from .streams import deliver

    files.check_outputs(
        {"json": config.json, "save": config.save, "plot": config.plot},
        {
            name: [] if path is None else [path]
            for name, path in (("prompts_file", config.prompts_file), ("model", config.model))
        },
    )
    if config.save is not None and config.save.suffix != ".parquet":
        raise ValueError(f"save: expected a file that ends in .parquet, got {config.save}")
    if config.plot is not None:
        plot.check_possible(config.plot)
    if not config.quiet:
        _note_interpreter(config.backend)
    result = run(config, progress=not config.quiet)
    json, save, picture = config.json, config.save, config.plot
    writers: list[Callable[[], None]] = []
    if json is not None:
        writers.append(lambda: files.write(json, run_json(result)))
    if save is not None:
        writers.append(lambda: result.table.save(save))
    if picture is not None:
        writers.append(lambda: plot.draw_run(result, picture))
    show = None if config.quiet else lambda: console.show((full if config.full else screen).text(result))
    deliver(*writers, screen=show)


def _note_interpreter(backend: str) -> None:
    """Why the run will be slow, if Triton interprets its kernels."""
    from ..decoding.backends import backends
    from .console import notice

    triton = next(one for one in backends() if one.name == "triton")
    if backend == "triton" and "interpreted" in triton.reason:
        notice("Triton interprets its kernels in Python (TRITON_INTERPRET is set): slow, to check them")
