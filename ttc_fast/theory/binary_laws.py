"""Laws of techniques under :class:`BernoulliSampling`, from the Markov chain on all 2^d thoughts."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from ..decoding.rules import BernoulliSampling
from ..estimators.arrays import Array
from ..tasks import metrics as all_metrics
from .binary import binary_law, bit_strings, marginals, string_index
from .binary_techniques import binary_best_of_n, majority_probability, majority_recovery, plurality_right
from .laws import Problem, law

MAX_DIM = 10
"""Above it there is no law: 4^d multiplications for every step and prompt."""

MAX_PROMPTS = 256
"""Above it there is no law of best-of-N and of plurality."""

MAJORITY_COUNTS = 2**16
"""Largest (k + 1)^d for the exact recovery of majorities: some 2 milliseconds for every prompt, step and budget."""

PLURALITY_WORK = 2**14
"""Largest 2^d k^2 for the plurality of whole answers: some 7 milliseconds likewise."""

_EVERY_METRIC = "every metric"
_SUMS = "squared error, prediction risk, hamming"


def _law_of_answers(problem: Problem, step: int, *, greedy: bool = False) -> Array | None:
    """``[B, 2^d]``."""
    rule, state = problem.rule.greedy() if greedy else problem.rule, problem.state
    if state is None:
        return None
    return problem.cached(("binary", step, greedy), lambda: binary_law(state, rule, step))


def _all_answers(problem: Problem) -> Tensor:
    """``[B, 2^d, d]``."""
    strings = torch.from_numpy(bit_strings(problem.model.dim)).to(problem.prompts.x)
    return strings.expand(len(problem.prompts), -1, -1)


def _values(problem: Problem, metrics: Sequence[str]) -> dict[str, Array]:
    """Metrics of all answers ``[B, 2^d]``."""

    def make() -> dict[str, Array]:
        names = all_metrics.applicable(problem.seen, True)
        measured = all_metrics.measure(problem.seen, _all_answers(problem), names, bits=True)
        return {name: value.double().numpy() for name, value in measured.items()}

    return {name: value for name, value in problem.cached("values", make).items() if name in metrics}


def _expectations(problem: Problem, law: Array | None, metrics: Sequence[str]) -> dict[str, Tensor]:
    if law is None:
        return {}
    return {name: torch.from_numpy((law * value).sum(1))[:, None] for name, value in _values(problem, metrics).items()}


@law("greedy", BernoulliSampling, about="the noise-free chain", metrics=_EVERY_METRIC, max_dim=MAX_DIM)
def _binary_greedy(problem: Problem, step: int, budgets: Sequence[int], metrics: Sequence[str]) -> Mapping[str, Tensor]:
    return _expectations(problem, _law_of_answers(problem, step, greedy=True), metrics)


@law("single", BernoulliSampling, about="the chain on 2^d thoughts", metrics=_EVERY_METRIC, max_dim=MAX_DIM)
def _binary_single(problem: Problem, step: int, budgets: Sequence[int], metrics: Sequence[str]) -> Mapping[str, Tensor]:
    return _expectations(problem, _law_of_answers(problem, step), metrics)


def _binary_selected(
    problem: Problem, step: int, budgets: Sequence[int], metrics: Sequence[str], score: Array | None
) -> dict[str, Tensor]:
    law = _law_of_answers(problem, step)
    if law is None or score is None:
        return {}
    return {
        name: torch.from_numpy(np.stack([binary_best_of_n(*prompt, budgets) for prompt in zip(law, score, value)]))
        for name, value in _values(problem, metrics).items()
    }


@law(
    "best_of_n",
    BernoulliSampling,
    about="powers of the law of the score, for scores without noise",
    metrics=_EVERY_METRIC,
    max_dim=MAX_DIM,
    max_prompts=MAX_PROMPTS,
    uses_score=True,
)
def _binary_best(problem: Problem, step: int, budgets: Sequence[int], metrics: Sequence[str]) -> Mapping[str, Tensor]:
    score = None
    if problem.verifier.deterministic:
        score = problem.cached(
            "score",
            lambda: problem.verifier.score(problem.prompts, _all_answers(problem)).double().numpy(),
        )
    return _binary_selected(problem, step, budgets, metrics, score)


@law(
    "oracle_best_of_n",
    BernoulliSampling,
    about="as best_of_n, with the squared error as the score",
    metrics=_EVERY_METRIC,
    max_dim=MAX_DIM,
    max_prompts=MAX_PROMPTS,
)
def _binary_oracle(problem: Problem, step: int, budgets: Sequence[int], metrics: Sequence[str]) -> Mapping[str, Tensor]:
    error = _values(problem, ["squared_error"]).get("squared_error")
    return _binary_selected(problem, step, budgets, metrics, None if error is None else -error)


def _metric_weights(problem: Problem, metrics: Sequence[str]) -> dict[str, Array]:
    """Metrics that add up over the coefficients, with their weights ``[d]``."""
    prompts = problem.seen
    if prompts.w_star is None:
        return {}
    equal = np.full(prompts.x.shape[2], 1 / prompts.x.shape[2])
    weights = {"squared_error": equal, "hamming": equal}
    if prompts.covariance.ndim == 1:
        weights["prediction_risk"] = prompts.covariance.double().numpy()
    return {name: weight for name, weight in weights.items() if name in metrics}


def _wrong_votes(problem: Problem, law: Array, budgets: Sequence[int]) -> Array:
    """Probability that the majority of k is wrong, coefficient by coefficient ``[K, B, d]``."""
    q, w_star = marginals(law), all_metrics.truth(problem.seen)[:, 0].double().numpy()
    return np.stack([np.abs(w_star - majority_probability(q, k)) for k in budgets])


def _binary_truth(problem: Problem) -> Array | None:
    """w* ``[B, d]``; None where it is unknown or not of bits."""
    if problem.seen.w_star is None:
        return None
    w_star = problem.seen.w_star.double().numpy()
    return w_star if bool(np.isin(w_star, (0.0, 1.0)).all()) else None


def _exact_recovery(
    problem: Problem, law: Array, budgets: Sequence[int], recovery: Callable[[Array, Array, int], float]
) -> dict[str, Tensor]:
    """P(the answer of k votes is w*), given each prompt's law and w*; the function gives NaN where it would take too
    long."""
    w_star = _binary_truth(problem)
    if w_star is None:
        return {}
    found = [[recovery(p, truth, k) for k in budgets] for p, truth in zip(law, w_star)]
    return {"exact_recovery": torch.tensor(found, dtype=torch.float64)}


def _recovery_by_majority(law: Array, w_star: Array, votes: int) -> float:
    return majority_recovery(law, w_star, votes) if (votes + 1) ** len(w_star) <= MAJORITY_COUNTS else math.nan


def _recovery_by_plurality(law: Array, w_star: Array, votes: int) -> float:
    if len(law) * votes**2 > PLURALITY_WORK:
        return math.nan
    return plurality_right(law, int(string_index(w_star)), votes)


@law(
    "majority_vote",
    BernoulliSampling,
    about="binomial tail of every coefficient, half of a tie; exact recovery by Fourier transform",
    metrics=f"{_SUMS}; exact recovery where (k+1)^d <= 2^16",
    max_dim=MAX_DIM,
)
def _binary_majority(
    problem: Problem, step: int, budgets: Sequence[int], metrics: Sequence[str]
) -> Mapping[str, Tensor]:
    law = _law_of_answers(problem, step)
    if law is None:
        return {}
    weights, found = _metric_weights(problem, metrics), {}
    if weights:
        wrong = _wrong_votes(problem, law, budgets)
        found = {name: torch.from_numpy(np.asarray((wrong @ weight).T)) for name, weight in weights.items()}
    if "exact_recovery" in metrics:
        found |= _exact_recovery(problem, law, budgets, _recovery_by_majority)
    return found


@law(
    "plurality",
    BernoulliSampling,
    about="P(w* is the most frequent whole answer), a tie by a fair draw",
    metrics="exact recovery where 2^d k^2 <= 2^14",
    max_dim=MAX_DIM,
    max_prompts=MAX_PROMPTS,
)
def _binary_plurality(
    problem: Problem, step: int, budgets: Sequence[int], metrics: Sequence[str]
) -> Mapping[str, Tensor]:
    law = _law_of_answers(problem, step)
    if law is None or "exact_recovery" not in metrics:
        return {}
    return _exact_recovery(problem, law, budgets, _recovery_by_plurality)


@law(
    "mean",
    BernoulliSampling,
    about="(q - w*)^2 + q (1 - q) / k of every coefficient; read at 1/2, a majority",
    metrics=_SUMS,
    max_dim=MAX_DIM,
)
def _binary_mean(problem: Problem, step: int, budgets: Sequence[int], metrics: Sequence[str]) -> Mapping[str, Tensor]:
    law = _law_of_answers(problem, step)
    if law is None:
        return {}
    found = {}
    for name, weight in _metric_weights(problem, metrics).items():
        if name == "hamming":
            wrong = _wrong_votes(problem, law, budgets)
        else:
            q, w_star = marginals(law), all_metrics.truth(problem.seen)[:, 0].double().numpy()
            wrong = np.stack([(q - w_star) ** 2 + q * (1 - q) / k for k in budgets])
        found[name] = torch.from_numpy(np.asarray((wrong @ weight).T))
    return found
