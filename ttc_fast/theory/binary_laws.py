"""Laws of techniques under :class:`BernoulliSampling`, from the Markov chain on all 2^d thoughts."""

from __future__ import annotations

from collections.abc import Sequence

from ..decoding.rules import BernoulliSampling
from . import finite_laws
from .binary import binary_law, bit_strings
from .finite_laws import FiniteLaw
from .laws import Expectations, Problem, law

MAX_DIM = 10
"""Above it there is no law: 4^d multiplications for every step and prompt."""

MAX_PROMPTS = 256
"""Above it there is no law of best-of-N and of plurality."""


def _law_of_answers(problem: Problem, step: int, *, greedy: bool = False) -> FiniteLaw | None:
    rule, state = problem.rule.greedy() if greedy else problem.rule, problem.state
    if state is None:
        return None

    def make() -> FiniteLaw:
        return FiniteLaw(bit_strings(problem.model.dim), binary_law(state, rule, step, problem.w0))

    return problem.cached(("binary", step, greedy), make)


@law("greedy", BernoulliSampling, about="the noise-free chain", metrics=finite_laws.EVERY_METRIC, max_dim=MAX_DIM)
def _binary_greedy(problem: Problem, step: int, budgets: Sequence[int], metrics: Sequence[str]) -> Expectations:
    return finite_laws.expectations(problem, _law_of_answers(problem, step, greedy=True), metrics)


@law("single", BernoulliSampling, about="the chain on 2^d thoughts", metrics=finite_laws.EVERY_METRIC, max_dim=MAX_DIM)
def _binary_single(problem: Problem, step: int, budgets: Sequence[int], metrics: Sequence[str]) -> Expectations:
    return finite_laws.expectations(problem, _law_of_answers(problem, step), metrics)


@law(
    "best_of_n",
    BernoulliSampling,
    about="powers of the law of the score, for scores without noise",
    metrics=finite_laws.EVERY_METRIC,
    max_dim=MAX_DIM,
    max_prompts=MAX_PROMPTS,
    uses_score=True,
)
def _binary_best(problem: Problem, step: int, budgets: Sequence[int], metrics: Sequence[str]) -> Expectations:
    return finite_laws.best_by_verifier(problem, _law_of_answers(problem, step), budgets, metrics)


@law(
    "oracle_best_of_n",
    BernoulliSampling,
    about="as best_of_n, with the squared error as the score",
    metrics=finite_laws.EVERY_METRIC,
    max_dim=MAX_DIM,
    max_prompts=MAX_PROMPTS,
)
def _binary_oracle(problem: Problem, step: int, budgets: Sequence[int], metrics: Sequence[str]) -> Expectations:
    return finite_laws.nearest_to_truth(problem, _law_of_answers(problem, step), budgets, metrics)


@law(
    "majority_vote",
    BernoulliSampling,
    about="binomial tail of every coefficient, half of a tie; exact recovery by Fourier transform",
    metrics=finite_laws.OF_MAJORITY,
    max_dim=MAX_DIM,
)
def _binary_majority(problem: Problem, step: int, budgets: Sequence[int], metrics: Sequence[str]) -> Expectations:
    return finite_laws.majority(problem, _law_of_answers(problem, step), budgets, metrics)


@law(
    "plurality",
    BernoulliSampling,
    about="P(w* is the most frequent whole answer), a tie by a fair draw",
    metrics="exact recovery where 2^d k^2 <= 2^14",
    max_dim=MAX_DIM,
    max_prompts=MAX_PROMPTS,
)
def _binary_plurality(problem: Problem, step: int, budgets: Sequence[int], metrics: Sequence[str]) -> Expectations:
    return finite_laws.plurality(problem, _law_of_answers(problem, step), budgets, metrics)


@law(
    "mean",
    BernoulliSampling,
    about="bias + variance / k of the bits; read at 1/2, a majority",
    metrics=finite_laws.OF_MEAN,
    max_dim=MAX_DIM,
)
def _binary_mean(problem: Problem, step: int, budgets: Sequence[int], metrics: Sequence[str]) -> Expectations:
    return finite_laws.mean(problem, _law_of_answers(problem, step), budgets, metrics)
