"""What ``ttc-fast fit --json`` writes: all that the screen shows, the fitted laws, the forecasts of every prompt."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..experiments.log_config import FitConfig
    from ..logs.fit import Fit
    from ..logs.laboratory import Likeness
    from .fit_answer import Answer

_SETTINGS = (
    "first", "ties", "no_answer", "equal", "extract", "aggregate", "cluster", "greedy", "token_price", "verifier_price",
    "right_worth", "seed",
)  # fmt: skip


def document(config: FitConfig, answer: Answer) -> dict[str, Any]:
    """The answer as a document for JSON; what is not known becomes None.

    Args:
        config: the settings.
        answer: of the command.

    Returns:
        The document, by names.
    """
    from ..experiments.files import finite
    from .analyze_document import of_log

    fit, limit = answer.fit, answer.fit.vote_limit
    return of_log(config, fit.log, fit.budgets, _SETTINGS) | {
        "notes": list(fit.notes),
        "success_law": _law(fit),
        "power_law": fit.power_law and finite(asdict(fit.power_law)),
        "new_answers": fit.new_answers and asdict(fit.new_answers),
        "forecasts": [finite(point._asdict()) for point in fit.forecasts],
        "votes": limit
        and {
            "limit": {"mean": limit[0], "low": limit[1], "high": limit[2]},
            "pass_greedy_at": answer.passes,
            "saturate_at": answer.saturates,
            "never_solved": [one._asdict() for one in answer.never],
        },
        "worth": [finite(one._asdict()) for one in answer.worth],
        "laboratories": answer.likenesses and [_laboratory(one) for one in answer.likenesses],
        "prompt_forecasts": _of_prompts(fit),
    }


def _laboratory(likeness: Likeness) -> dict[str, Any]:
    return {
        "kind": likeness.setting.kind,
        "setting": likeness.setting.facts(),
        "curves": likeness.curves,
        "distance": likeness.distance,
        "largest_difference": likeness.largest,
        "outside_intervals": likeness.outside,
        "compared": likeness.compared,
    }


def _law(fit: Fit) -> dict[str, Any]:
    from ..estimators.success_law import GRID

    return {
        "points": GRID.tolist(),
        "weights": fit.law.weights.tolist(),
        "quantiles": [
            {"level": level, "value": value, "low": low, "high": high}
            for level, (value, low, high) in fit.law_quantiles.items()
        ],
        "beta": fit.beta._asdict(),
    }


def _of_prompts(fit: Fit) -> dict[str, Any] | None:
    """The forecasts of every prompt; None where there are too many prompts."""
    from .analyze_document import MOST_PROMPTS

    log = fit.log
    if len(log.samples) > MOST_PROMPTS:
        return None
    return {
        "prompts": [str(name) for name in log.prompts],
        "samples": log.samples.tolist(),
        "correct": log.correct.tolist(),
        "budgets": list(fit.budgets),
        "values": {metric: values.tolist() for metric, values in fit.prompt_values.items()},
        "unsolved_by_votes": None if fit.unsolved is None else fit.unsolved.tolist(),
    }
