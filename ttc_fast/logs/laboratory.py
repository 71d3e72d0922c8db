"""The in-context regression whose exact laws come nearest to a log's curves.

Both are repeated samples of prompts of different difficulty, and both have right answers. A setting tells of each of
its prompts the probability p that an answer is right, so that pass@k is the mean of 1 - (1-p)^k; and, where answers can
agree, those of the wrong ones, so that maj@k is the probability that the right one is the plurality of k answers, ties
by a fair draw. Distances are root mean squares over metrics and budgets. The settings that are compared, unless you
bring yours, are those of theory/regressions.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..estimators.arrays import Array
from ..numerics import check
from ..numerics.protocols import complete
from .fit import Fit

if TYPE_CHECKING:
    from ..theory.regressions import Answers, Setting

MOST_VOTES = 16
"""Votes are compared up to here: their law costs the square of their number."""

SHORTLIST = 6
"""Settings of a kind nearest by pass@k and the limit of votes, whose votes are compared one by one."""


@dataclass(frozen=True)
class Likeness:
    """A setting, its curves, and how far they are from those of a log."""

    setting: Setting
    curves: dict[str, dict[int, float]]
    """By metric and budget."""
    distance: float
    """Root mean square of the differences over metrics and budgets."""
    largest: float
    """The largest difference."""
    outside: int
    """Budgets at which the law is outside the interval of the log."""
    compared: int
    """Budgets of all metrics together."""


def nearest_settings(fit: Fit, settings: Iterable[Setting] | None = None) -> tuple[Likeness, ...]:
    """Of each kind of setting the one whose laws are nearest to the forecasts of pass@k and, if it has votes, of maj@k.

    Args:
        fit: of a log.
        settings: default :func:`~ttc_fast.theory.regressions.usual_settings`.

    Returns:
        They, and how far they are, the nearest first.

    Raises:
        TypeError: a setting tells no law of its answers.
        ValueError: there is none, or its answers have no probabilities.
    """
    from ..theory.overlay import one_thread  # not at the top: they wait for torch
    from ..theory.regressions import Setting, usual_settings

    asked = usual_settings() if settings is None else [complete(one, Setting, "settings") for one in settings]
    if not asked:
        raise ValueError("settings: expected at least one, got none")
    kinds = dict.fromkeys(one.kind for one in asked)
    with one_thread():
        found = [_nearest(fit, [one for one in asked if one.kind == kind]) for kind in kinds]
    return tuple(sorted(found, key=lambda one: one.distance))


def _nearest(fit: Fit, settings: Sequence[Setting]) -> Likeness:
    """By pass@k and the limit of votes, which are quick, a few; of these by all curves."""
    forecast = fit.of("pass@k")
    target, budgets = np.array([point.mean for point in forecast.values()]), np.array(list(forecast))
    limit = None if fit.vote_limit is None else fit.vote_limit[0]
    single = float(fit.law.mean_pass([1])[0])
    rough: list[tuple[float, Setting, Answers]] = []
    for setting in settings:
        tuned = setting.tuned(single)
        answers = _checked(tuned)
        gaps = _passed(answers, budgets) - target
        lost = 0.0
        if limit is not None and answers.wrong is not None:
            lost = float((answers.right > answers.wrong.max(axis=1)).mean()) - limit
        rough.append((float((gaps**2).mean()) + lost**2, tuned, answers))
    rough.sort(key=lambda one: one[0])
    return min((_likeness(fit, *one) for _, *one in rough[:SHORTLIST]), key=lambda one: one.distance)  # type: ignore[arg-type]


def _checked(setting: Setting) -> Answers:
    answers = setting.answers()
    for name, p in zip(("right", "wrong"), answers):
        given = np.asarray([0.0] if p is None else p)
        if given.dtype.kind != "f" or given.ndim != (1 if name == "right" or p is None else 2):
            wanted = "[B]" if name == "right" else "[B, A]"
            raise ValueError(f"settings: expected floats {wanted} as {name} of answers(), got {check.shown(p)}")
        if not ((given > -1e-9) & (given < 1 + 1e-9)).all():
            raise ValueError(f"settings: expected probabilities as {name} of answers(), got {check.shown(p)}")
    return answers


def _passed(answers: Answers, budgets: Array) -> Array:
    return np.asarray((1 - (1 - answers.right[:, None]) ** budgets).mean(axis=0))


def _likeness(fit: Fit, setting: Setting, answers: Answers) -> Likeness:
    budgets = list(fit.of("pass@k"))
    curves = {"pass@k": dict(zip(budgets, _passed(answers, np.array(budgets)).tolist()))}
    votes = [k for k in fit.of("maj@k") if k <= MOST_VOTES]
    if votes and answers.wrong is not None:
        curves["maj@k"] = {k: _voted(answers.right, answers.wrong, k) for k in votes}
    pairs = [(value, fit.of(metric)[k]) for metric, curve in curves.items() for k, value in curve.items()]
    gaps = np.array([value - point.mean for value, point in pairs])
    outside = sum(not point.low <= value <= point.high for value, point in pairs)
    distance = float(np.sqrt((gaps**2).mean()))
    return Likeness(setting, curves, distance, float(np.abs(gaps).max()), int(outside), len(pairs))


def _voted(right: Array, wrong: Array, votes: int) -> float:
    """P(the right answer is the plurality), the mean over prompts."""
    from ..theory.binary_techniques import plurality_right

    laws = [np.append(others[others > 1e-9], own) for own, others in zip(right, wrong)]
    return float(np.mean([plurality_right(law / law.sum(), len(law) - 1, votes) for law in laws]))
