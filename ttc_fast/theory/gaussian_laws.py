"""Laws of techniques under :class:`GaussianNoise`: a thought is Gaussian, errors and scores are quadratic in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from ..decoding.rules import GaussianNoise
from ..tasks.quadratic import QUADRATIC, Quadratic, QuadraticMetric, QuadraticScore, quadratic
from ..techniques.verifiers import Oracle
from .gaussian import GaussianLaw, error_of_mean, gaussian_law
from .laws import Problem, law
from .quadratic import gaussian_best_of_n

MAX_DIM, MAX_PROMPTS = 64, 256
"""Above them there is no law of best-of-N: d^3 and more for every prompt and step, some 10 milliseconds at d = 16."""

_METRICS = "squared error, prediction risk, in-context loss"


def _thought(problem: Problem, step: int, *, greedy: bool = False) -> GaussianLaw | None:
    rule, state = problem.rule.greedy() if greedy else problem.rule, problem.state
    if state is None:
        return None
    return problem.cached(("gaussian", step, greedy), lambda: gaussian_law(state, rule, step))


def _form(problem: Problem, metric: QuadraticMetric) -> Quadratic:
    return problem.cached(metric, lambda: quadratic(problem.seen, metric))


def _error_of_mean(
    problem: Problem, law: GaussianLaw | None, budgets: Sequence[int], metrics: Sequence[str]
) -> dict[str, Tensor]:
    if law is None:
        return {}
    return {name: error_of_mean(law, _form(problem, name), budgets) for name in QUADRATIC if name in metrics}


@law("greedy", GaussianNoise, about="the noise-free chain", metrics=_METRICS)
def _gaussian_greedy(
    problem: Problem, step: int, budgets: Sequence[int], metrics: Sequence[str]
) -> Mapping[str, Tensor]:
    return _error_of_mean(problem, _thought(problem, step, greedy=True), [1], metrics)


@law("single", GaussianNoise, about="bias + variance", metrics=_METRICS)
def _gaussian_single(
    problem: Problem, step: int, budgets: Sequence[int], metrics: Sequence[str]
) -> Mapping[str, Tensor]:
    return _error_of_mean(problem, _thought(problem, step), [1], metrics)


@law("mean", GaussianNoise, about="bias + variance / k", metrics=_METRICS)
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
    metrics=_METRICS,
    max_dim=MAX_DIM,
    max_prompts=MAX_PROMPTS,
    uses_score=True,
)
def _gaussian_best(problem: Problem, step: int, budgets: Sequence[int], metrics: Sequence[str]) -> Mapping[str, Tensor]:
    score = problem.cached("score", lambda: problem.verifier.as_quadratic(problem.prompts))
    return _gaussian_selected(problem, step, budgets, metrics, score)


@law(
    "oracle_best_of_n",
    GaussianNoise,
    about="as best_of_n, with the squared error as the score",
    metrics=_METRICS,
    max_dim=MAX_DIM,
    max_prompts=MAX_PROMPTS,
)
def _gaussian_oracle(
    problem: Problem, step: int, budgets: Sequence[int], metrics: Sequence[str]
) -> Mapping[str, Tensor]:
    score = problem.cached("oracle", lambda: Oracle().as_quadratic(problem.prompts))
    return _gaussian_selected(problem, step, budgets, metrics, score)
