"""The command ``ttc-fast fit``: samples of real language models in, what more of them would give out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..experiments.log_config import FitConfig as FitConfig

# numpy and rich are imported in functions: they wait until the command line is understood.
if TYPE_CHECKING:
    from .fit_answer import Answer


def main(config: FitConfig) -> None:
    """Read, fit, write, print.

    Args:
        config: the settings.

    Raises:
        ValueError, OSError: with a message for the user.
    """
    from ..experiments.files import check_outputs
    from ..experiments.plot import check_possible
    from .fit_answer import find
    from .fit_screen import show
    from .streams import deliver

    inputs = {"files": config.files, "gold": [config.gold] if config.gold else []}
    check_outputs({"json": config.json, "save": config.save, "plot": config.plot}, inputs)
    if config.save is not None and config.save.suffix != ".parquet":
        raise ValueError(f"save: expected a file that ends in .parquet, got {config.save}")
    if config.plot is not None:
        check_possible(config.plot)
    _check_numbers(config)
    answer = find(config)
    deliver(*_writers(config, answer), screen=None if config.quiet else lambda: show(config, answer))


def _check_numbers(config: FitConfig) -> None:
    from ..numerics import check

    for name in ("token_price", "verifier_price", "right_worth"):
        check.number(name, getattr(config, name), low=0.0)
    if config.greedy is not None:
        check.number("greedy", config.greedy, 0.0, 1.0)
    check.integer("seed", config.seed, 0, 2**63 - 1)


def _writers(config: FitConfig, answer: Answer) -> list[Any]:
    from ..experiments.plot_forecast import draw_forecast
    from ..logs.table import forecast_table
    from .analyze_document import write
    from .fit_document import document

    json, save, plot = config.json, config.save, config.plot
    writers: list[Any] = []
    if json is not None:
        writers.append(lambda: write(json, document(config, answer)))
    if save is not None:
        writers.append(lambda: forecast_table(answer.fit).save(save))
    if plot is not None:
        writers.append(lambda: draw_forecast(answer.fit, plot, answer.likenesses or ()))
    return writers
