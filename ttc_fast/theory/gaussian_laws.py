"""Laws of techniques under :class:`GaussianNoise`: a thought is Gaussian, errors and scores are quadratic in it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..decoding.rules import GaussianNoise
from ..tasks.metrics import risk_of_error
from ..tasks.quadratic import QUADRATIC, Quadratic, QuadraticScore
from ..techniques.verifiers import Oracle
from .gaussian import GaussianLaw, error_of_mean, gaussian_law, spread_of_error
from .laws import Expectations, Expected, Problem, law
from .quadratic import moments_of_best
from .quadratic_laws import QUADRATIC_METRICS, WITHOUT_NOISE, errors_without_noise, form, with_spread

MAX_DIM, MAX_PROMPTS = 64, 256
"""Above them there is no law of best-of-N: d^3 and more for every prompt and step, some 2 milliseconds at d = 16."""


def _thought(problem: Problem, step: int, *, greedy: bool = False) -> GaussianLaw | None:
    rule, state = problem.rule.greedy() if greedy else problem.rule, problem.state
    if state is None:
        return None
    return problem.cached(("gaussian", step, greedy), lambda: gaussian_law(state, rule, step, problem.w0))


@law("greedy", GaussianNoise, about="the noise-free chain", metrics=WITHOUT_NOISE)
def noise_free(problem: Problem, step: int, budgets: Sequence[int], metrics: Sequence[str]) -> Expectations:
    """Law of the noise-free chain, of every rule whose greedy decoding is that of the Gaussian one.

    Args:
        problem, step, budgets, metrics: as of every :class:`Law`.
    """
    return errors_without_noise(problem, _thought(problem, step, greedy=True), metrics)


@law("single", GaussianNoise, about="bias + variance", metrics=QUADRATIC_METRICS)
def _gaussian_single(problem: Problem, step: int, budgets: Sequence[int], metrics: Sequence[str]) -> Expectations:
    return with_spread(problem, _thought(problem, step), [1], metrics)


@law("mean", GaussianNoise, about="bias + variance / k", metrics=QUADRATIC_METRICS)
def _gaussian_mean(problem: Problem, step: int, budgets: Sequence[int], metrics: Sequence[str]) -> Expectations:
    return with_spread(problem, _thought(problem, step), budgets, metrics)


REACH = 40.0
"""A candidate's error is further from its mean than at exp(-REACH) with probability 4e-18: not in a run."""


def _gaussian_selected(
    problem: Problem, step: int, budgets: Sequence[int], metrics: Sequence[str], score: QuadraticScore | None
) -> dict[str, Expected]:
    law, names = _thought(problem, step), [name for name in QUADRATIC if name in metrics]
    if law is None or score is None or not names or not bool(law.root.isfinite().all()):
        return {}
    share = risk_of_error(problem.seen) if {"squared_error", "prediction_risk"} <= set(names) else None
    asked = [name for name in names if name != "prediction_risk" or share is None]
    forms = [form(problem, name) for name in asked]
    found: dict[str, Expected] = {}
    for name, one, mean, variance in zip(
        asked, forms, *moments_of_best(law, score.form, forms, budgets, noise=score.noise)
    ):
        found[name] = Expected(mean, variance, _scale_of_selected(law, one, mean))
    if share is not None:
        error = found["squared_error"]
        found["prediction_risk"] = Expected(share * error.mean, share**2 * error.variance, share * error.scale)
    return found


def _scale_of_selected(law: GaussianLaw, metric: Quadratic, mean: Tensor) -> Tensor:
    """A third of how far the error of a candidate that was chosen may be from its mean ``[B, K]``, be it by any score:
    below by the mean itself, errors being positive, above as far as all candidates are with :data:`REACH`."""
    variance, scale = spread_of_error(law, metric, [1])
    above = error_of_mean(law, metric, [1]) + (2 * REACH * variance).sqrt() + REACH * scale - mean
    return torch.maximum(above, mean) / 3


@law(
    "best_of_n",
    GaussianNoise,
    about="inverse Laplace transform of the joint law of score and error; scores quadratic in w, with Gaussian noise",
    metrics=QUADRATIC_METRICS,
    max_dim=MAX_DIM,
    max_prompts=MAX_PROMPTS,
    uses_score=True,
)
def _gaussian_best(problem: Problem, step: int, budgets: Sequence[int], metrics: Sequence[str]) -> Expectations:
    score = problem.cached("score", lambda: problem.verifier.as_quadratic(problem.prompts))
    return _gaussian_selected(problem, step, budgets, metrics, score)


@law(
    "oracle_best_of_n",
    GaussianNoise,
    about="as best_of_n, with the squared error as the score",
    metrics=QUADRATIC_METRICS,
    max_dim=MAX_DIM,
    max_prompts=MAX_PROMPTS,
)
def _gaussian_oracle(problem: Problem, step: int, budgets: Sequence[int], metrics: Sequence[str]) -> Expectations:
    score = problem.cached("oracle", lambda: Oracle().as_quadratic(problem.prompts))
    return _gaussian_selected(problem, step, budgets, metrics, score)
