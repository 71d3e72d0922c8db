"""Our laws, entered in the registry: techniques under :class:`GaussianNoise` and :class:`BernoulliSampling`."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from ..decoding.rules import BernoulliSampling, GaussianNoise
from ..estimators.arrays import Array
from ..tasks import metrics as all_metrics
from ..tasks.quadratic import QUADRATIC, Quadratic, QuadraticMetric, QuadraticScore, quadratic
from ..techniques.verifiers import Oracle
from .binary import binary_law, bit_strings, marginals, string_index
from .binary_techniques import binary_best_of_n, majority_probability, majority_recovery, plurality_right
from .gaussian import GaussianLaw, error_of_mean, gaussian_law
from .laws import Problem, law
from .quadratic import gaussian_best_of_n

T = TypeVar("T")

GAUSSIAN_DIM, SELECTION_PROMPTS = 64, 256
"""Above them there is no law of best-of-N: d^3 and more for every prompt and step, some 10 milliseconds at d = 16."""

BINARY_DIM = 10
"""Above it there is no law of binary coefficients: 4^d multiplications for every step and prompt."""

MAJORITY_COUNTS = 2**16
"""Largest (k + 1)^d for the exact recovery of majorities: some 5 milliseconds for every prompt, step and budget."""

PLURALITY_WORK = 2**14
"""Largest 2^d k^2 for the plurality of whole answers: some 5 milliseconds likewise."""

_QUADRATIC_METRICS = "squared error, prediction risk, in-context loss"
_EVERY_METRIC = "every metric"
_SUMS = "squared error, prediction risk, hamming"


def _cached(problem: Problem, key: Any, make: Callable[[], T]) -> T:
    if key not in problem.cache:
        problem.cache[key] = make()
    value: T = problem.cache[key]
    return value


# Gaussian noise: a thought is Gaussian, errors and scores are quadratic.


def _thought(problem: Problem, step: int, *, greedy: bool = False) -> GaussianLaw | None:
    rule, state = problem.rule.greedy() if greedy else problem.rule, problem.state
    if state is None:
        return None
    return _cached(problem, ("gaussian", step, greedy), lambda: gaussian_law(state, rule, step))


def _form(problem: Problem, metric: QuadraticMetric) -> Quadratic:
    return _cached(problem, metric, lambda: quadratic(problem.seen, metric))


def _error_of_mean(
    problem: Problem, law: GaussianLaw | None, budgets: Sequence[int], metrics: Sequence[str]
) -> dict[str, Tensor]:
    if law is None:
        return {}
    return {name: error_of_mean(law, _form(problem, name), budgets) for name in QUADRATIC if name in metrics}


@law("greedy", GaussianNoise, about="the noise-free chain", metrics=_QUADRATIC_METRICS)
def _gaussian_greedy(
    problem: Problem, step: int, budgets: Sequence[int], metrics: Sequence[str]
) -> Mapping[str, Tensor]:
    return _error_of_mean(problem, _thought(problem, step, greedy=True), [1], metrics)


@law("single", GaussianNoise, about="bias + variance", metrics=_QUADRATIC_METRICS)
def _gaussian_single(
    problem: Problem, step: int, budgets: Sequence[int], metrics: Sequence[str]
) -> Mapping[str, Tensor]:
    return _error_of_mean(problem, _thought(problem, step), [1], metrics)


@law("mean", GaussianNoise, about="bias + variance / k", metrics=_QUADRATIC_METRICS)
def _gaussian_mean(problem: Problem, step: int, budgets: Sequence[int], metrics: Sequence[str]) -> Mapping[str, Tensor]:
    return _error_of_mean(problem, _thought(problem, step), budgets, metrics)


def _gaussian_selected(
    problem: Problem, step: int, budgets: Sequence[int], metrics: Sequence[str], score: QuadraticScore | None
) -> dict[str, Tensor]:
    law, names = _thought(problem, step), [name for name in QUADRATIC if name in metrics]
    if law is None or score is None or not names or not bool(law.root.isfinite().all()):
        return {}
    forms = [_form(problem, name) for name in names]
    return dict(zip(names, gaussian_best_of_n(law, score.form, forms, budgets, noise=score.noise)))


@law(
    "best_of_n",
    GaussianNoise,
    about="inverse Laplace transform of the joint law of score and error; scores quadratic in w, with Gaussian noise",
    metrics=_QUADRATIC_METRICS,
    max_dim=GAUSSIAN_DIM,
    max_prompts=SELECTION_PROMPTS,
)
def _gaussian_best(problem: Problem, step: int, budgets: Sequence[int], metrics: Sequence[str]) -> Mapping[str, Tensor]:
    score = _cached(problem, "score", lambda: problem.verifier.as_quadratic(problem.prompts))
    return _gaussian_selected(problem, step, budgets, metrics, score)


@law(
    "oracle_best_of_n",
    GaussianNoise,
    about="as best_of_n, with the squared error as the score",
    metrics=_QUADRATIC_METRICS,
    max_dim=GAUSSIAN_DIM,
    max_prompts=SELECTION_PROMPTS,
)
def _gaussian_oracle(
    problem: Problem, step: int, budgets: Sequence[int], metrics: Sequence[str]
) -> Mapping[str, Tensor]:
    score = _cached(problem, "oracle", lambda: Oracle().as_quadratic(problem.prompts))
    return _gaussian_selected(problem, step, budgets, metrics, score)


# Binary coefficients: the Markov chain on all 2^d thoughts.


def _law_of_answers(problem: Problem, step: int, *, greedy: bool = False) -> Array | None:
    """``[B, 2^d]``."""
    rule, state = problem.rule.greedy() if greedy else problem.rule, problem.state
    if state is None:
        return None
    return _cached(problem, ("binary", step, greedy), lambda: binary_law(state, rule, step))


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

    return {name: value for name, value in _cached(problem, "values", make).items() if name in metrics}


def _expectations(problem: Problem, law: Array | None, metrics: Sequence[str]) -> dict[str, Tensor]:
    if law is None:
        return {}
    return {name: torch.from_numpy((law * value).sum(1))[:, None] for name, value in _values(problem, metrics).items()}


@law("greedy", BernoulliSampling, about="the noise-free chain", metrics=_EVERY_METRIC, max_dim=BINARY_DIM)
def _binary_greedy(problem: Problem, step: int, budgets: Sequence[int], metrics: Sequence[str]) -> Mapping[str, Tensor]:
    return _expectations(problem, _law_of_answers(problem, step, greedy=True), metrics)


@law("single", BernoulliSampling, about="the chain on 2^d thoughts", metrics=_EVERY_METRIC, max_dim=BINARY_DIM)
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
    max_dim=BINARY_DIM,
    max_prompts=SELECTION_PROMPTS,
)
def _binary_best(problem: Problem, step: int, budgets: Sequence[int], metrics: Sequence[str]) -> Mapping[str, Tensor]:
    score = None
    if problem.verifier.deterministic:
        score = _cached(
            problem,
            "score",
            lambda: problem.verifier.score(problem.prompts, _all_answers(problem)).double().numpy(),
        )
    return _binary_selected(problem, step, budgets, metrics, score)


@law(
    "oracle_best_of_n",
    BernoulliSampling,
    about="as best_of_n, with the squared error as the score",
    metrics=_EVERY_METRIC,
    max_dim=BINARY_DIM,
    max_prompts=SELECTION_PROMPTS,
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
    about="binomial tail of every coefficient, half of a tie; exact recovery by Fourier transform of the counts",
    metrics=f"{_SUMS}; exact recovery where (k+1)^d <= 2^16",
    max_dim=BINARY_DIM,
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
    max_dim=BINARY_DIM,
    max_prompts=SELECTION_PROMPTS,
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
    max_dim=BINARY_DIM,
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
