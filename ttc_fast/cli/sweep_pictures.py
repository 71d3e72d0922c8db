"""The commands ``ttc-fast plot`` and ``ttc-fast report``: pictures and a page about a sweep."""

from __future__ import annotations

import io
import shlex
from typing import TYPE_CHECKING

from ..experiments.config import PlotConfig, ReportConfig

if TYPE_CHECKING:
    from ..experiments.sweep_table import SweepTable


def _loaded(folder: object) -> SweepTable:
    from ..experiments.plot import check_matplotlib
    from ..experiments.sweep_table import load

    check_matplotlib()
    return load(str(folder))


def plot(config: PlotConfig) -> None:
    """Draw.

    Args:
        config: the settings.

    Raises:
        ValueError, OSError: with a message for the user.
    """
    from ..experiments.sweep_figures import pictures
    from ..numerics import check
    from ..numerics.files import write
    from . import console

    found = pictures(_loaded(config.folder))
    for name in config.only:
        check.choice("only", name, [picture.name for picture in found])
    folder = config.folder / "figures" if config.to is None else config.to
    folder.mkdir(parents=True, exist_ok=True)
    chosen = [picture for picture in found if not config.only or picture.name in config.only]
    for picture in chosen:
        figure, _ = picture.figure()
        for ending in config.format:
            content = io.BytesIO()
            figure.savefig(content, format=ending, dpi=300)
            write(folder / f"{picture.name}.{ending}", content.getvalue(), "to")
    if not config.quiet:
        console.show(f"{len(chosen)} pictures are in {folder}: {', '.join(picture.name for picture in chosen)}")


def report(config: ReportConfig) -> None:
    """Write the page.

    Args:
        config: the settings.

    Raises:
        ValueError, OSError: with a message for the user.
    """
    from ..experiments.report import report as page
    from ..experiments.report import study_text
    from ..numerics.files import check_outputs, write
    from . import console

    check_outputs({"output": config.output}, {"folder": [config.folder / "table.parquet"]})
    study, folder = study_text(config.folder), shlex.quote(str(config.folder))
    again = [f"ttc-fast sweep study.toml --out {folder}"] if study is not None else []
    title = f"ttc-fast: {config.folder.resolve().name}" if config.title is None else config.title
    text = page(_loaded(config.folder), title, study, [*again, f"ttc-fast plot {folder}"])
    write(config.output, text, "output")
    if not config.quiet:
        console.show(f"{len(text.encode()) / 1e6:.2f} MB in {config.output}")
