"""The command ``ttc-fast analyze``: samples of real language models in, figures with intervals out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .analyze_config import AnalyzeConfig as AnalyzeConfig

# numpy and rich are imported in functions: they wait until the command line is understood.
if TYPE_CHECKING:
    from ..logs.analysis import Analysis
    from ..logs.comparison import LogComparison
    from ..logs.log import SampleLog


def main(config: AnalyzeConfig) -> None:
    """Read, estimate, write, print.

    Args:
        config: the settings.

    Raises:
        ValueError, OSError: with a message for the user.
    """
    from ..experiments.files import check_outputs
    from .streams import deliver

    inputs = {"files": config.files, "against": config.against or (), "gold": [config.gold] if config.gold else []}
    check_outputs({"json": config.json, "save": config.save}, inputs)
    _check(config)
    results, comparison = _estimate(config)
    deliver(
        *_writers(config, results, comparison),
        screen=None if config.quiet else lambda: _show(config, results, comparison),
    )


def _check(config: AnalyzeConfig) -> None:
    if config.save is not None and config.save.suffix != ".parquet":
        raise ValueError(f"save: expected a file that ends in .parquet, got {config.save}")
    if config.group_by is not None and (config.against is not None or config.save is not None):
        name = "against" if config.against is not None else "save"
        raise ValueError(f"{name}: expected no group-by beside it, got {config.group_by}; analyse one group at a time")
    if config.worst < 0:
        raise ValueError(f"worst: expected a number of prompts from 0, got {config.worst}")


def _estimate(config: AnalyzeConfig) -> tuple[dict[str, Analysis], LogComparison | None]:
    """The analysis of every group, and the comparison with the files of ``--against``."""
    from ..experiments.log_config import reading
    from ..logs.analysis import analyze
    from ..logs.comparison import compare_logs, match_prompts
    from ..logs.reader import read_groups
    from ..numerics.progress import reporting

    with reporting(not config.quiet) as report:

        def report_against(stage: str, share: float) -> None:
            report(f"{stage} against", share)

        options = reading(config)
        rules: dict[str, Any] = {"ties": config.ties, "no_answer": config.no_answer}

        def analyzed(log: SampleLog) -> Analysis:
            return analyze(log, config.budgets, **rules, progress=report)

        how: dict[str, Any] = {"options": options, "progress": report}
        logs = read_groups(config.files, config.format, group_by=config.group_by, **how)
        if config.against is None:
            return {name: analyzed(log) for name, log in logs.items()}, None
        other = read_groups(config.against, config.format, options=options, progress=report_against)[""]
        match_prompts(logs[""], other)  # logs that do not belong together end here, before minutes of votes
        result = analyzed(logs[""])
        return {"": result}, compare_logs(result, other, **rules, progress=report_against)


def _writers(config: AnalyzeConfig, results: dict[str, Analysis], comparison: LogComparison | None) -> list[Any]:
    from ..logs.table import to_table
    from .analyze_document import document, write

    json, save = config.json, config.save
    writers: list[Any] = []
    if json is not None:
        writers.append(lambda: write(json, document(config, results, comparison)))
    if save is not None:
        writers.append(lambda: to_table(results[""]).save(save))
    return writers


def _show(config: AnalyzeConfig, results: dict[str, Analysis], comparison: LogComparison | None) -> None:
    from .analyze_screen import show

    for name, result in results.items():
        show(config, result, comparison, None if config.group_by is None else f"{config.group_by} = {name}")
