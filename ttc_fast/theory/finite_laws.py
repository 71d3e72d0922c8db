"""What techniques make of answers of which there are finitely many: any law of bits, whatever rule drew them.

Each function takes the law of one answer, None where it is not known, and gives expected metrics ``[B, K]`` by name,
with their variance. The k candidates are independent.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from ..estimators.arrays import Array
from ..numerics import sums
from ..tasks import metrics as all_metrics
from ..tasks.quadratic import QUADRATIC, Quadratic
from .binary import string_index
from .binary_techniques import law_of_best, majority_probability, majority_recovery, plurality_right, spread_of_mean
from .laws import Expected, Problem
from .multiplicative import Moments
from .quadratic_laws import QUADRATIC_METRICS, errors_of_mean, form

MAJORITY_COUNTS = 2**16
"""Largest (k + 1)^d for the exact recovery of majorities: some 2 milliseconds for every prompt, step and budget."""

PLURALITY_WORK = 2**14
"""Largest number of answers times k^2 for the plurality of whole answers: some 7 milliseconds likewise."""

EVERY_METRIC = "every metric"
OF_MAJORITY = "squared error, prediction risk, hamming; exact recovery where (k+1)^d <= 2^16"
OF_MEAN = f"{QUADRATIC_METRICS}, hamming"
"""What is known, in words, for the list of laws."""

_TILE = 2**22
"""Coefficients of answers measured at a time."""


@dataclass(frozen=True, eq=False)
class FiniteLaw:
    """Probabilities of answers, the same answers for all prompts."""

    answers: Array
    """Bits ``[M, d]``, no two alike."""
    probability: Array
    """``[B, M]``."""

    @cached_property
    def marginals(self) -> Array:
        """q_i = P(bit i = 1), ``[B, d]``."""
        return np.asarray(self.probability @ self.answers)

    @cached_property
    def moments(self) -> Moments:
        """Mean and covariance of an answer."""
        centred = [self.answers - q for q in self.marginals]
        covariance = [(p[:, None] * w).T @ w for p, w in zip(self.probability, centred)]
        return Moments(torch.from_numpy(self.marginals), torch.from_numpy(np.stack(covariance)))


def _of_answers(
    problem: Problem, law: FiniteLaw, measure: Callable[[slice, Tensor], dict[str, Tensor]]
) -> dict[str, Array]:
    """Figures of all answers ``[B, M]``, for some prompts at a time."""
    answers = torch.from_numpy(law.answers).to(problem.prompts.x)
    parts = [
        measure(tile, answers.expand(tile.stop - tile.start, -1, -1))
        for tile in sums.tiles(len(problem.prompts), _TILE // answers.numel())
    ]
    return {name: torch.cat([part[name] for part in parts]).double().numpy() for name in parts[0]}


def values(problem: Problem, law: FiniteLaw, metrics: Sequence[str]) -> dict[str, Array]:
    """Metrics of all answers ``[B, M]``, made once for these prompts.

    Args:
        problem: the prompts.
        law: the answers.
        metrics: asked for; those that do not apply are left out.
    """
    names = (*all_metrics.applicable(problem.seen, True), *(() if problem.seen.w_star is None else ("error_norm",)))

    def make() -> dict[str, Array]:
        return _of_answers(
            problem,
            law,
            lambda tile, w: all_metrics.measure(problem.seen.part(tile.start, tile.stop), w, names, bits=True),
        )

    return {name: value for name, value in problem.cached("values", make).items() if name in metrics}


def expectations(problem: Problem, law: FiniteLaw | None, metrics: Sequence[str]) -> dict[str, Expected]:
    """Of one answer.

    Args:
        problem: the prompts.
        law: of the answer.
        metrics: asked for.
    """
    if law is None:
        return {}
    found = values(problem, law, metrics)
    if not found:
        return {}
    return _of_laws((p[None] for p in law.probability), found)


def _of_laws(laws: Iterable[Array], found: dict[str, Array]) -> dict[str, Expected]:
    """Of figures ``[B, M]`` by name; the laws are ``[K, M]``, one for each prompt."""
    moments = []
    for p, *of_prompt in zip(laws, *found.values()):
        means = [p @ value for value in of_prompt]
        squares = [(p * (value - mean[:, None]) ** 2).sum(1) for value, mean in zip(of_prompt, means)]
        moments.append((means, squares))
    by_metric = np.array(moments).transpose(2, 1, 0, 3)  # [metrics, 2, B, K]
    return {
        name: _within(by_metric[i, 0], by_metric[i, 1], value.min(1)[:, None], value.max(1)[:, None])
        for i, (name, value) in enumerate(found.items())
    }


def _within(mean: Array, variance: Array, least: Array | float, most: Array | float) -> Expected:
    """Of figures between bounds."""
    return Expected(*map(torch.from_numpy, (mean, variance, np.maximum(most - mean, mean - least) / 3)))


def best_by_verifier(
    problem: Problem, law: FiniteLaw | None, budgets: Sequence[int], metrics: Sequence[str]
) -> dict[str, Expected]:
    """Of the candidate with the highest score, of a verifier whose score depends on prompt and answer alone.

    Args:
        problem: the prompts and the verifier.
        law: of one candidate.
        budgets: the k.
        metrics: asked for.
    """
    if law is None or not problem.verifier.deterministic:
        return {}

    def scores(tile: slice, w: Tensor) -> dict[str, Tensor]:
        return {"score": problem.verifier.score(problem.prompts.part(tile.start, tile.stop), w)}

    score = problem.cached("score", lambda: _of_answers(problem, law, scores)["score"])
    return _selected(problem, law, budgets, metrics, score)


def nearest_to_truth(
    problem: Problem, law: FiniteLaw | None, budgets: Sequence[int], metrics: Sequence[str]
) -> dict[str, Expected]:
    """Of the candidate nearest to w*.

    Args:
        problem: the prompts.
        law: of one candidate.
        budgets: the k.
        metrics: asked for.
    """
    error = None if law is None else values(problem, law, ["squared_error"]).get("squared_error")
    return {} if law is None or error is None else _selected(problem, law, budgets, metrics, -error)


def _selected(
    problem: Problem, law: FiniteLaw, budgets: Sequence[int], metrics: Sequence[str], score: Array
) -> dict[str, Expected]:
    found = values(problem, law, metrics)
    return _of_laws((law_of_best(*prompt, budgets) for prompt in zip(law.probability, score)), found) if found else {}


def majority(
    problem: Problem, law: FiniteLaw | None, budgets: Sequence[int], metrics: Sequence[str]
) -> dict[str, Expected]:
    """Of the majority of k, coefficient by coefficient: metrics that add up over them, and exact recovery.

    The standard deviation of a sum is at most the sum of theirs, however the coefficients depend on each other.

    Args:
        problem: the prompts.
        law: of one candidate.
        budgets: the k.
        metrics: asked for.
    """
    if law is None or problem.seen.w_star is None:
        return {}
    equal = np.full(law.answers.shape[1], 1 / law.answers.shape[1])
    weights = {"squared_error": equal, "hamming": equal}
    if problem.seen.covariance.ndim == 1:
        weights["prediction_risk"] = problem.seen.covariance.double().numpy()
    weights = {name: weight for name, weight in weights.items() if name in metrics}
    found = {}
    if weights:
        w_star = all_metrics.truth(problem.seen)[:, 0].double().numpy()
        ones = np.stack([np.clip(majority_probability(law.marginals, k), 0.0, 1.0) for k in budgets])  # [K, B, d]
        of_one, of_zero = (1 - w_star) ** 2, w_star**2
        error = ones * of_one + (1 - ones) * of_zero
        deviation = np.sqrt(ones * (1 - ones)) * np.abs(of_one - of_zero)
        most = np.maximum(of_one, of_zero)
        found = {
            name: _within((error @ weight).T, (deviation @ weight).T ** 2, 0.0, (most @ weight)[:, None])
            for name, weight in weights.items()
        }
    if "exact_recovery" in metrics:
        found |= _exact_recovery(problem, law, budgets, _recovery_by_majority)
    return found


def mean(
    problem: Problem, law: FiniteLaw | None, budgets: Sequence[int], metrics: Sequence[str]
) -> dict[str, Expected]:
    """Of the mean of k: quadratic metrics, and the Hamming error of its coefficients read at 1/2.

    Args:
        problem: the prompts.
        law: of one candidate.
        budgets: the k.
        metrics: asked for.
    """
    if law is None:
        return {}
    expected = errors_of_mean(problem, law.moments, budgets, metrics)
    found: dict[str, Expected] = {
        name: _spread_of_mean(law, budgets, form(problem, name), expected[name])
        for name in QUADRATIC
        if name in expected
    }
    if "hamming" in metrics:
        found |= majority(problem, law, budgets, ["hamming"])
    return found


def _spread_of_mean(law: FiniteLaw, budgets: Sequence[int], q: Quadratic, mean: Tensor) -> Expected:
    found = [
        spread_of_mean(law.answers, p, q.matrix[b].numpy(), q.centre[b].numpy(), budgets)
        for b, p in enumerate(law.probability)
    ]
    variance, most = (np.stack(part) for part in zip(*found))
    return _within(mean.numpy(), variance, 0.0, most[:, None] + q.constant.numpy()[:, None])


def plurality(
    problem: Problem, law: FiniteLaw | None, budgets: Sequence[int], metrics: Sequence[str]
) -> dict[str, Expected]:
    """Exact recovery of the most frequent whole answer of k.

    Args:
        problem: the prompts.
        law: of one candidate.
        budgets: the k.
        metrics: asked for.
    """
    if law is None or "exact_recovery" not in metrics:
        return {}
    return _exact_recovery(problem, law, budgets, _recovery_by_plurality)


def _exact_recovery(
    problem: Problem,
    law: FiniteLaw,
    budgets: Sequence[int],
    recovery: Callable[[Array, Array, Array, int], float],
) -> dict[str, Expected]:
    """P(the answer of k votes is w*), given each prompt's law and w*; the function gives NaN where it would take too
    long."""
    w_star = _binary_truth(problem)
    if w_star is None:
        return {}
    found = [[recovery(law.answers, p, truth, k) for k in budgets] for p, truth in zip(law.probability, w_star)]
    p = np.clip(np.array(found, dtype=np.float64), 0.0, 1.0)  # rounded
    return {"exact_recovery": _within(p, p * (1 - p), 0.0, 1.0)}


def _binary_truth(problem: Problem) -> Array | None:
    """w* ``[B, d]``; None where it is unknown or not of bits."""
    if problem.seen.w_star is None:
        return None
    w_star = problem.seen.w_star.double().numpy()
    return w_star if bool(np.isin(w_star, (0.0, 1.0)).all()) else None


def _recovery_by_majority(answers: Array, p: Array, w_star: Array, votes: int) -> float:
    if (votes + 1) ** len(w_star) > MAJORITY_COUNTS:
        return math.nan
    of_all = np.zeros(2 ** len(w_star))
    of_all[string_index(answers)] = p
    return majority_recovery(of_all, w_star, votes)


def _recovery_by_plurality(answers: Array, p: Array, w_star: Array, votes: int) -> float:
    if len(p) * votes**2 > PLURALITY_WORK:
        return math.nan
    right = np.flatnonzero((answers == w_star).all(1))
    return plurality_right(p, int(right[0]), votes) if len(right) else 0.0
