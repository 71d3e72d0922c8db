"""What the command ``ttc-fast fit`` tells: the forecasts and what follows from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

# numpy is imported in functions: it waits until the command line is understood.
if TYPE_CHECKING:
    from ..experiments.log_config import FitConfig
    from ..logs.fit import Fit
    from ..logs.laboratory import Likeness
    from ..logs.worth import Purchase, Unsolved


@dataclass(frozen=True)
class Answer:
    """All that the command tells."""

    fit: Fit
    passes: int | None
    saturates: int | None
    never: list[Unsolved]
    worth: list[Purchase]
    """Empty without prices."""
    likenesses: tuple[Likeness, ...] | None
    """The nearest laboratory of each kind, the nearest first; None if they were not asked for."""


def find(config: FitConfig) -> Answer:
    """Read, fit, and answer.

    Args:
        config: the settings.

    Returns:
        All that the command tells.

    Raises:
        ValueError, OSError: with a message for the user.
    """
    from ..experiments.log_config import fitted, read_log
    from ..logs.laboratory import nearest_settings
    from ..logs.worth import Prices, cost_of_sample, never_solved, votes_to_pass, votes_to_saturate, worth_buying
    from ..numerics.progress import reporting

    prices = Prices(config.token_price, config.verifier_price, config.right_worth)
    with reporting(not config.quiet) as report:
        found = fitted(config, read_log(config, report), report)
        costs = any(cost_of_sample(found, prices, metric) for metric in found.prompt_values)
        return Answer(
            found,
            votes_to_pass(found, config.greedy),
            votes_to_saturate(found),
            never_solved(found),
            worth_buying(found, prices) if costs else [],
            nearest_settings(found) if config.simulate else None,
        )
