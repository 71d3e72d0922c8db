"""Laws of techniques under :class:`GaussianNoise`: a thought is Gaussian, errors and scores are quadratic in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from ..decoding.rules import GaussianNoise
from ..tasks.quadratic import QUADRATIC, QuadraticScore
from ..techniques.verifiers import Oracle
from .gaussian import GaussianLaw, gaussian_law
from .laws import Problem, law
from .quadratic import gaussian_best_of_n
from .quadratic_laws import QUADRATIC_METRICS, WITHOUT_NOISE, errors_of_mean, errors_without_noise, form

MAX_DIM, MAX_PROMPTS = 64, 256
"""Above them there is no law of best-of-N: d^3 and more for every prompt and step, some 10 milliseconds at d = 16."""


def _thought(problem: Problem, step: int, *, greedy: bool = False) -> GaussianLaw | None:
    rule, state = problem.rule.greedy() if greedy else problem.rule, problem.state
    if state is None:
        return None
    return problem.cached(("gaussian", step, greedy), lambda: gaussian_law(state, rule, step))


@law("greedy", GaussianNoise, about="the noise-free chain", metrics=WITHOUT_NOISE)
def noise_free(problem: Problem, step: int, budgets: Sequence[int], metrics: Sequence[str]) -> Mapping[str, Tensor]:
    """Law of the noise-free chain, of every rule whose greedy decoding is that of the Gaussian one.

    Args:
        problem, step, budgets, metrics: as of every :class:`Law`.
    """
    return errors_without_noise(problem, _thought(problem, step, greedy=True), metrics)


@law("single", GaussianNoise, about="bias + variance", metrics=QUADRATIC_METRICS)
def _gaussian_single(
    problem: Problem, step: int, budgets: Sequence[int], metrics: Sequence[str]
) -> Mapping[str, Tensor]:
    return errors_of_mean(problem, _thought(problem, step), [1], metrics)


@law("mean", GaussianNoise, about="bias + variance / k", metrics=QUADRATIC_METRICS)
def _gaussian_mean(problem: Problem, step: int, budgets: Sequence[int], metrics: Sequence[str]) -> Mapping[str, Tensor]:
    return errors_of_mean(problem, _thought(problem, step), budgets, metrics)


def _gaussian_selected(
    problem: Problem, step: int, budgets: Sequence[int], metrics: Sequence[str], score: QuadraticScore | None
) -> dict[str, Tensor]:
    law, names = _thought(problem, step), [name for name in QUADRATIC if name in metrics]
    if law is None or score is None or not names or not bool(law.root.isfinite().all()):
        return {}
    forms = [form(problem, name) for name in names]
    return dict(zip(names, gaussian_best_of_n(law, score.form, forms, budgets, noise=score.noise)))


@law(
    "best_of_n",
    GaussianNoise,
    about="inverse Laplace transform of the joint law of score and error; scores quadratic in w, with Gaussian noise",
    metrics=QUADRATIC_METRICS,
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
    metrics=QUADRATIC_METRICS,
    max_dim=MAX_DIM,
    max_prompts=MAX_PROMPTS,
)
def _gaussian_oracle(
    problem: Problem, step: int, budgets: Sequence[int], metrics: Sequence[str]
) -> Mapping[str, Tensor]:
    score = problem.cached("oracle", lambda: Oracle().as_quadratic(problem.prompts))
    return _gaussian_selected(problem, step, budgets, metrics, score)
