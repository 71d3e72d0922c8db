"""Our laws, entered in the registry: techniques under :class:`GaussianNoise` and :class:`BernoulliSampling`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from ..decoding.rules import BernoulliSampling, GaussianNoise
from ..estimators.arrays import Array
from ..tasks import metrics as all_metrics
from ..tasks.quadratic import QUADRATIC, QuadraticScore, quadratic
from ..techniques.verifiers import Oracle
from . import binary
from .gaussian import GaussianLaw, error_of_mean, gaussian_law
from .laws import Problem, law
from .quadratic import best_of_n

GAUSSIAN_DIM, SELECTION_PROMPTS = 64, 256
"""Above them there is no law of best-of-N: d^3 and more for every prompt and step, some 10 milliseconds at d = 16."""

BINARY_DIM = 10
"""Above it there is no law of binary coefficients: 4^d multiplications for every step and prompt."""

_QUADRATIC = "squared error, prediction risk, in-context loss"
_EVERY = "every metric"
_SUMS = "squared error, prediction risk, hamming"


def _cached(problem: Problem, key: Any, make: Any) -> Any:
    if key not in problem.cache:
        problem.cache[key] = make()
    return problem.cache[key]


# Gaussian noise: a thought is Gaussian, errors and scores are quadratic.


def _thought(problem: Problem, step: int, *, greedy: bool = False) -> GaussianLaw | None:
    rule, state = problem.rule.greedy() if greedy else problem.rule, problem.state
    if state is None:
        return None
    law: GaussianLaw = _cached(problem, ("gaussian", step, greedy), lambda: gaussian_law(state, rule, step))
    return law


def _means(
    problem: Problem, law: GaussianLaw | None, budgets: Sequence[int], metrics: Sequence[str]
) -> dict[str, Tensor]:
    if law is None:
        return {}
    return {
        name: error_of_mean(law, _cached(problem, name, lambda n=name: quadratic(problem.seen, n)), budgets)
        for name in QUADRATIC
        if name in metrics
    }


@law("greedy", GaussianNoise, about="the noise-free chain", metrics=_QUADRATIC)
def _gaussian_greedy(
    problem: Problem, step: int, budgets: Sequence[int], metrics: Sequence[str]
) -> Mapping[str, Tensor]:
    return _means(problem, _thought(problem, step, greedy=True), [1], metrics)


@law("single", GaussianNoise, about="bias + variance", metrics=_QUADRATIC)
def _gaussian_single(
    problem: Problem, step: int, budgets: Sequence[int], metrics: Sequence[str]
) -> Mapping[str, Tensor]:
    return _means(problem, _thought(problem, step), [1], metrics)


@law("mean", GaussianNoise, about="bias + variance / k", metrics=_QUADRATIC)
def _gaussian_mean(problem: Problem, step: int, budgets: Sequence[int], metrics: Sequence[str]) -> Mapping[str, Tensor]:
    return _means(problem, _thought(problem, step), budgets, metrics)


def _selected(
    problem: Problem, step: int, budgets: Sequence[int], metrics: Sequence[str], score: QuadraticScore | None
) -> dict[str, Tensor]:
    law, names = _thought(problem, step), [name for name in QUADRATIC if name in metrics]
    if law is None or score is None or not names or not bool(law.root.isfinite().all()):
        return {}
    forms = [_cached(problem, name, lambda n=name: quadratic(problem.seen, n)) for name in names]
    return dict(zip(names, best_of_n(law, score.form, forms, budgets, noise=score.noise)))


@law(
    "best_of_n",
    GaussianNoise,
    about="inverse Laplace transform of the joint law of score and error; scores quadratic in w, with Gaussian noise",
    metrics=_QUADRATIC,
    max_dim=GAUSSIAN_DIM,
    max_prompts=SELECTION_PROMPTS,
)
def _gaussian_best(problem: Problem, step: int, budgets: Sequence[int], metrics: Sequence[str]) -> Mapping[str, Tensor]:
    score = _cached(problem, "score", lambda: problem.verifier.as_quadratic(problem.prompts))
    return _selected(problem, step, budgets, metrics, score)


@law(
    "oracle_best_of_n",
    GaussianNoise,
    about="as best_of_n, with the squared error as the score",
    metrics=_QUADRATIC,
    max_dim=GAUSSIAN_DIM,
    max_prompts=SELECTION_PROMPTS,
)
def _gaussian_oracle(
    problem: Problem, step: int, budgets: Sequence[int], metrics: Sequence[str]
) -> Mapping[str, Tensor]:
    score = _cached(problem, "oracle", lambda: Oracle().as_quadratic(problem.prompts))
    return _selected(problem, step, budgets, metrics, score)


# Binary coefficients: the Markov chain on all 2^d thoughts.


def _law_of_strings(problem: Problem, step: int, *, greedy: bool = False) -> Array | None:
    """``[B, 2^d]``."""
    rule, state = problem.rule.greedy() if greedy else problem.rule, problem.state
    if state is None:
        return None
    bernoulli = cast(BernoulliSampling, rule)  # it is registered for no other
    law: Array = _cached(problem, ("binary", step, greedy), lambda: binary.binary_law(state, bernoulli, step))
    return law


def _strings(problem: Problem) -> Tensor:
    """All answers ``[B, 2^d, d]``."""
    strings = torch.from_numpy(binary.bit_strings(problem.model.dim)).to(problem.prompts.x)
    return strings.expand(len(problem.prompts), -1, -1)


def _values(problem: Problem, metrics: Sequence[str]) -> dict[str, Array]:
    """Metrics of all answers ``[B, 2^d]``."""

    def make() -> dict[str, Array]:
        names = all_metrics.applicable(problem.seen, True)
        measured = all_metrics.measure(problem.seen, _strings(problem), names, bits=True)
        return {name: value.double().numpy() for name, value in measured.items()}

    values: dict[str, Array] = _cached(problem, "strings", make)
    return {name: value for name, value in values.items() if name in metrics}


def _expectations(problem: Problem, law: Array | None, metrics: Sequence[str]) -> dict[str, Tensor]:
    if law is None:
        return {}
    return {n: torch.from_numpy((law * v).sum(1))[:, None] for n, v in _values(problem, metrics).items()}


@law("greedy", BernoulliSampling, about="the noise-free chain", metrics=_EVERY, max_dim=BINARY_DIM)
def _binary_greedy(problem: Problem, step: int, budgets: Sequence[int], metrics: Sequence[str]) -> Mapping[str, Tensor]:
    return _expectations(problem, _law_of_strings(problem, step, greedy=True), metrics)


@law("single", BernoulliSampling, about="the chain on 2^d thoughts", metrics=_EVERY, max_dim=BINARY_DIM)
def _binary_single(problem: Problem, step: int, budgets: Sequence[int], metrics: Sequence[str]) -> Mapping[str, Tensor]:
    return _expectations(problem, _law_of_strings(problem, step), metrics)


def _binary_selected(
    problem: Problem, step: int, budgets: Sequence[int], metrics: Sequence[str], score: Array | None
) -> dict[str, Tensor]:
    law = _law_of_strings(problem, step)
    if law is None or score is None:
        return {}
    return {
        name: torch.from_numpy(np.stack([binary.best_of_n(p, s, v, budgets) for p, s, v in zip(law, score, value)]))
        for name, value in _values(problem, metrics).items()
    }


@law(
    "best_of_n",
    BernoulliSampling,
    about="powers of the law of the score, for scores without noise",
    metrics=_EVERY,
    max_dim=BINARY_DIM,
    max_prompts=SELECTION_PROMPTS,
)
def _binary_best(problem: Problem, step: int, budgets: Sequence[int], metrics: Sequence[str]) -> Mapping[str, Tensor]:
    score = None
    if problem.verifier.deterministic:
        score = _cached(
            problem,
            "score",
            lambda: problem.verifier.score(problem.prompts, _strings(problem)).double().numpy(),
        )
    return _binary_selected(problem, step, budgets, metrics, score)


@law(
    "oracle_best_of_n",
    BernoulliSampling,
    about="as best_of_n, with the squared error as the score",
    metrics=_EVERY,
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
    q, w_star = binary.marginals(law), all_metrics.truth(problem.seen)[:, 0].double().numpy()
    return np.stack([np.abs(w_star - binary.majority_right(q, k)) for k in budgets])


@law(
    "majority_vote",
    BernoulliSampling,
    about="binomial tail of every coefficient, half of a tie",
    metrics=_SUMS,
    max_dim=BINARY_DIM,
)
def _binary_majority(
    problem: Problem, step: int, budgets: Sequence[int], metrics: Sequence[str]
) -> Mapping[str, Tensor]:
    law = _law_of_strings(problem, step)
    if law is None:
        return {}
    weights = _metric_weights(problem, metrics)
    wrong = _wrong_votes(problem, law, budgets) if weights else np.zeros(0)
    return {name: torch.from_numpy(np.asarray((wrong @ weight).T)) for name, weight in weights.items()}


@law(
    "mean",
    BernoulliSampling,
    about="(q - w*)^2 + q (1 - q) / k of every coefficient; read at 1/2, a majority",
    metrics=_SUMS,
    max_dim=BINARY_DIM,
)
def _binary_mean(problem: Problem, step: int, budgets: Sequence[int], metrics: Sequence[str]) -> Mapping[str, Tensor]:
    law = _law_of_strings(problem, step)
    if law is None:
        return {}
    found = {}
    for name, weight in _metric_weights(problem, metrics).items():
        if name == "hamming":
            wrong = _wrong_votes(problem, law, budgets)
        else:
            q, w_star = binary.marginals(law), all_metrics.truth(problem.seen)[:, 0].double().numpy()
            wrong = np.stack([(q - w_star) ** 2 + q * (1 - q) / k for k in budgets])
        found[name] = torch.from_numpy(np.asarray((wrong @ weight).T))
    return found
