"""From N samples of every prompt to what more of them would give: pass@K, maj@K and best@K, with intervals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ..estimators.arrays import Array, Integers
from ..estimators.intervals import PowerLaw, fit_coverage
from ..estimators.score_levels import score_levels
from ..estimators.selection import pass_at_k
from ..estimators.success_law import Beta, SuccessLaw, fit_beta, fit_success_law, pass_of, usual_pull
from ..estimators.votes import NoAnswer, Ties
from ..numerics import check
from ..numerics.progress import Report, reporting
from .answer_law import NewAnswers, Votes, answers_of, draw_votes, fit_new_answers, right_samples
from .best_law import forecast_best, orders_tell
from .curves import metric_curves
from .first import first_samples
from .log import SampleLog
from .log_checks import asked_budgets, check_log

PULLS = (0.1, 0.3, 1.0, 3.0)
"""Of the fits again, in turn, over the usual one: what the samples do not show is decided in several ways."""

BEYOND = 8
"""By default forecasts go to so many times the samples."""


class Forecast(NamedTuple):
    """A metric at one budget, over prompts like those of the log."""

    metric: str
    k: int
    mean: float
    low: float
    high: float
    seen: float
    """What the samples show, all of them, over all subsets of k; NaN where a prompt has fewer."""
    power_law: float
    """pass@k by the power law of the coverage; else NaN."""
    beta: float
    """pass@k by the beta law; else NaN."""


@dataclass(frozen=True)
class Fit:
    """What :func:`fit` returns."""

    log: SampleLog
    """The samples that were fitted."""
    budgets: tuple[int, ...]
    law: SuccessLaw
    """Of the probability that a sample succeeds, over prompts."""
    law_quantiles: dict[float, tuple[float, float, float]]
    """By level: the quantile of that law, and its interval."""
    beta: Beta
    power_law: PowerLaw | None
    forecasts: tuple[Forecast, ...]
    prompt_values: dict[str, Array]
    """By metric: the forecast of every prompt, given its own samples ``[P, K]``."""
    new_answers: NewAnswers | None
    """How soon new wrong answers turn up; None without answers."""
    vote_limit: tuple[float, float, float] | None
    """Where maj@k tends as k grows, and its interval."""
    unsolved: Array | None
    """Of every prompt the probability that its most likely answer is wrong ``[P]``: then no votes solve it."""
    notes: tuple[str, ...]

    def of(self, metric: str) -> dict[int, Forecast]:
        """The forecasts of a metric by budget; empty where the log does not allow it."""
        return {point.k: point for point in self.forecasts if point.metric == metric}


def fit(
    log: SampleLog,
    budgets: Sequence[int] | None = None,
    *,
    first: int | None = None,
    ties: Ties = "random",
    no_answer: NoAnswer = "fail",
    resamples: int = 200,
    seed: int = 0,
    progress: bool | Report = False,
) -> Fit:
    """Fit the law of success, the answers and the verifier, and forecast what more samples would give.

    pass@k follows from the law of success over prompts, maj@k from the laws of each prompt's answers, best@k from the
    law of success and the ROC of the scores within prompts (see estimators/success_law.py, answer_law.py and
    estimators/roc.py). The intervals are of the mean over prompts like these, 95 %: everything that depends on prompts
    is fitted again to prompts (or clusters of them) with random weights (Rubin, Annals of Statistics 1981), with one
    prompt more that fails for the lower and succeeds for the upper limit.

    Args:
        log: the samples, as :func:`~ttc_fast.logs.reader.read` gives them.
        budgets: the k; default powers of two up to 8 times the samples.
        first: fit the first samples only, so many of each prompt, and show what all of them give beside it.
        ties: who wins a tied vote: a fair draw, which the answer sampled first amounts to, or nobody.
        no_answer: samples without answer vote for failure, or do not vote.
        resamples: how often it is fitted again.
        seed: of what is drawn.
        progress: True shows how far it is; see :mod:`ttc_fast.numerics.progress`.

    Returns:
        The fits and the forecasts.

    Raises:
        TypeError, ValueError: an argument is not as described.

    >>> import numpy as np
    >>> log = SampleLog("counts", np.arange(3), np.array([8, 8, 8]), np.array([0, 3, 8]), *[None] * 4, 0, 0, ())
    >>> [(point.k, round(point.seen, 2)) for point in fit(log, [1, 8, 64], resamples=20).forecasts]
    [(1, 0.46), (8, 0.67), (64, nan)]
    """
    check_log("log", log)
    if str(ties) == "score":
        raise ValueError(
            "ties: expected random, fail or first, got 'score': how the scores of answers go on beyond the samples is "
            "not known; take random, or ttc-fast analyze, which has it for the samples"
        )
    check.choice("ties", ties, ("random", "fail", "first"))
    check.choice("no_answer", no_answer, ("fail", "ignore"))
    resamples, seed = check.integer("resamples", resamples, 2, 100_000), check.integer("seed", seed, 0, 2**63)
    used = log if first is None else first_samples(log, first, seed)
    ks = _budgets(log, used, budgets)
    with reporting(progress) as report:
        weights = _prompt_weights(used, resamples, seed)
        report("fitting", 0.1)
        model = _Model(used, weights, ks, ties, no_answer, seed, report)
        report("fitting", 1.0)
    seen = _seen(log, ks, ties, no_answer)
    return Fit(
        used,
        ks,
        model.law,
        {level: model.quantile(level) for level in (0.1, 0.25, 0.5, 0.75, 0.9)},
        model.beta,
        model.power_law,
        tuple(_forecasts(model, ks, seen)),
        model.values,
        model.new_answers,
        model.vote_limit,
        model.unsolved,
        (*log.notes, *_notes(log, used, ks, first)),
    )


def _budgets(log: SampleLog, used: SampleLog, budgets: Sequence[int] | None) -> tuple[int, ...]:
    asked = asked_budgets(budgets)
    if not asked:
        most = max(BEYOND * int(used.samples.min()), int(log.samples.min()))
        asked = [2**i for i in range(most.bit_length())]
    if min(asked) < 1 or max(asked) > 2**20:
        raise ValueError(f"budgets: expected numbers from 1 to {2**20}, got {sorted(set(asked))}")
    return tuple(sorted(set(asked)))


def _prompt_weights(log: SampleLog, resamples: int, seed: int) -> Array:
    """Random weights of the prompts, those of a cluster alike: ``[R, P]``, sums of P."""
    count = len(log.samples)
    units = np.arange(count) if log.clusters is None else np.unique(log.clusters, return_inverse=True)[1].reshape(-1)
    drawn = np.random.default_rng([seed, 1]).standard_exponential((resamples, int(units.max()) + 1))[:, units]
    return np.asarray(drawn * (count / drawn.sum(axis=1, keepdims=True)))


class _Model:
    """Everything fitted, to the prompts as they are and to their random weights."""

    def __init__(
        self,
        log: SampleLog,
        weights: Array,
        budgets: tuple[int, ...],
        ties: Ties,
        no_answer: NoAnswer,
        seed: int,
        report: Report,
    ) -> None:
        self.log, self.weights, self.budgets = log, weights, budgets
        units = len(log.samples) if log.clusters is None else len(np.unique(log.clusters))
        self._extra = np.random.default_rng([seed, 2]).beta(1.0, max(units, 1), len(weights))  # weight of one more
        self.law, self.again = self._laws(log.correct)
        self.beta = fit_beta(log.samples, log.correct)
        self.values = {"pass@k": self.law.posterior(log.samples, log.correct) @ pass_of(budgets)}
        self.means = {"pass@k": (self.law.mean_pass(budgets), self.again.mean_pass(budgets))}
        common = [2**i for i in range(int(log.samples.min()).bit_length())]
        self.power_law = fit_coverage(pass_at_k(log.samples, log.correct, common), common)
        report("fitting", 0.4)
        self.new_answers: NewAnswers | None = None
        self.vote_limit: tuple[float, float, float] | None = None
        self.unsolved: Array | None = None
        if log.answers is not None and log.labels is not None:
            self._add_votes(ties, no_answer, seed)
        report("fitting", 0.8)
        if log.scores is not None and log.labels is not None:
            self._add_best()

    def _laws(self, correct: Integers) -> tuple[SuccessLaw, SuccessLaw]:
        weights = np.vstack((np.ones(len(correct)), self.weights))
        pulls = usual_pull(len(correct)) * np.append(1.0, np.resize(PULLS, len(self.weights)))
        fitted = fit_success_law(self.log.samples, correct, weights, pull=pulls)
        return SuccessLaw(fitted.weights[0]), SuccessLaw(fitted.weights[1:])

    def _add_votes(self, ties: Ties, no_answer: NoAnswer, seed: int) -> None:
        answers = answers_of(self.log)
        right = right_samples(answers)
        same = bool((right == self.log.correct).all())
        law, again = (self.law, self.again) if same else self._laws(right)
        self.new_answers = fit_new_answers(answers)
        votes = draw_votes(
            answers, self.log.samples, law, self.new_answers, self.budgets, ties=ties, no_answer=no_answer, seed=seed
        )
        self.values["maj@k"], limit = votes.means(np.ones_like(law.weights))
        again_means, again_limit = self._votes_again(votes, law, again)
        self.means["maj@k"] = (self.values["maj@k"].mean(axis=0), again_means)
        self.vote_limit = (float(limit.mean()), *self.interval(again_limit))
        self.unsolved = np.clip(1 - limit, 0.0, 1.0)

    def _votes_again(self, votes: Votes, law: SuccessLaw, again: SuccessLaw) -> tuple[Array, Array]:
        means, limits = [], []
        for weights, other in zip(self.weights / self.weights.shape[1], again.weights):
            ratio = np.where(law.weights > 0, other / np.maximum(law.weights, 1e-300), 0.0)
            of_prompts, limit = votes.means(np.minimum(ratio, 1e6))
            means.append(weights @ of_prompts)
            limits.append(float(weights @ limit))
        return np.array(means), np.array(limits)

    def _add_best(self) -> None:
        if not orders_tell(self.log):
            return
        values, again = forecast_best(self.law, self.again, self.weights, self.log, self.budgets)
        self.values["best@k"] = values
        self.means["best@k"] = (values.mean(axis=0), again)

    def interval(self, again: Array) -> tuple[float, float]:
        """95 %, of a mean over prompts that was fitted again ``[R]``, with one prompt more at 0 or at 1."""
        low, high = again * (1 - self._extra), again * (1 - self._extra) + self._extra
        return float(np.quantile(low, 0.025)), float(np.quantile(high, 0.975))

    def quantile(self, level: float) -> tuple[float, float, float]:
        """Of the law of success, and its interval."""
        found = [SuccessLaw(weights).quantile(level) for weights in self.again.weights]
        low, high = np.quantile(found, (0.025, 0.975)).tolist()
        return self.law.quantile(level), low, high


def _seen(log: SampleLog, budgets: tuple[int, ...], ties: Ties, no_answer: NoAnswer) -> dict[tuple[str, int], float]:
    """What all samples show at the budgets that every prompt has."""
    possible = tuple(k for k in budgets if k <= log.samples.min())
    if not possible:
        return {}
    curves = metric_curves(log, possible, ties=ties, no_answer=no_answer)
    return {(c.metric, k): float(c.values[:, i].mean()) for c in curves for i, k in enumerate(possible)}


def _forecasts(model: _Model, budgets: tuple[int, ...], seen: dict[tuple[str, int], float]) -> list[Forecast]:
    law, nan = model.power_law, float("nan")
    power: Callable[[int], float] = lambda k: nan if law is None else float(np.exp(-law.scale * k**-law.exponent))  # noqa: E731
    found = []
    for metric, (mean, again) in model.means.items():
        for i, k in enumerate(budgets):
            rivals = (power(k), float(model.beta.mean_pass(k))) if metric == "pass@k" else (nan, nan)
            low, high = model.interval(again[:, i])
            found.append(Forecast(metric, k, float(mean[i]), low, high, seen.get((metric, k), nan), *rivals))
    return found


def _notes(whole: SampleLog, log: SampleLog, budgets: tuple[int, ...], first: int | None) -> list[str]:
    least, told = int(log.samples.min()), []
    if first is not None and first > whole.samples.max():
        told.append(f"first: no prompt has {first:,} samples, all are fitted, so that what is seen is no test of them")
    if budgets[-1] > 8 * least:
        told.append(
            f"of k above {8 * least:,}, 8 times the samples, the law of success near 0 decides, which they do not show"
        )
    if log.scores is not None and budgets[-1] > least:
        rests = "on its being binormal" if score_levels(log.scores) is None else "on the samples of the best score"
        told.append(f"best@k beyond the samples rests on the ROC near 0, of which they show little: {rests}")
    return told
