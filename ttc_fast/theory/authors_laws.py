"""Laws of techniques under the rules of the paper's authors: two moments of a continuous thought, all sets of bits."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from torch import Tensor

from ..decoding.authors_rules import ElementwiseNoise, LargestCoefficients, RankOneNoise, SubsetSampling
from ..estimators.arrays import Array
from ..tasks import metrics as all_metrics
from . import finite_laws
from .binary_laws import MAX_PROMPTS
from .finite_laws import FiniteLaw
from .gaussian_laws import noise_free
from .laws import Expectations, Problem, certain, law
from .multiplicative import Moments, MultiplicativeChain
from .plackett_luce import MAX_SETS, all_sets, subsets_of_at_most
from .quadratic_laws import QUADRATIC_METRICS, WITHOUT_NOISE, errors_of_mean, errors_without_noise
from .subsets import SubsetChain, largest_sets, set_rule
from .walk import Walk

MOMENTS_WORK = 2**23
"""Multiplications for each prompt, T d^2 or T d^3, above which there is no law of moments: some 10 milliseconds."""

SUBSETS_WORK = 2**24
"""Likewise of the chain on C(d, k) sets, with C(d, k)^2 for each step: some 20 milliseconds."""


# Continuous: rank-one and element-wise noise.


def _chain(problem: Problem) -> MultiplicativeChain | None:
    state, rule = problem.state, problem.rule
    if state is None:
        return None
    return problem.cached("multiplicative", lambda: MultiplicativeChain(state, rule))


def _moments(problem: Problem, step: int) -> Moments | None:
    chain = _chain(problem)
    if chain is None:
        return None
    return problem.cached("moments", lambda: Walk(chain.start(problem.w0), chain.advance)).at(step)


def _moments_affordable(problem: Problem, step: int) -> bool:
    chain = _chain(problem)
    return chain is None or chain.work(step) <= MOMENTS_WORK


_RIDGE_LIMIT = f"{QUADRATIC_METRICS}, where T d^2 <= 2^23 (T d^3 unless P = eta I)"
_LIMIT = f"{QUADRATIC_METRICS}, where T d^3 <= 2^23"
_ABOUT = "by recursion of E w w^T"

law("greedy", RankOneNoise, about="the noise-free chain, without ridge", metrics=WITHOUT_NOISE)(noise_free)
law("greedy", ElementwiseNoise, about="the noise-free chain", metrics=WITHOUT_NOISE)(noise_free)


@law(
    "ridge",
    RankOneNoise,
    about="the noise-free chain with the ridge, the mean of the rule's",
    metrics=WITHOUT_NOISE,
    affordable=_moments_affordable,
)
def _ridge(problem: Problem, step: int, budgets: Sequence[int], metrics: Sequence[str]) -> Expectations:
    return errors_without_noise(problem, _moments(problem, step), metrics)


@law(
    "single",
    RankOneNoise,
    about=f"bias of descent with a ridge + variance, {_ABOUT}",
    metrics=_RIDGE_LIMIT,
    affordable=_moments_affordable,
)
@law("single", ElementwiseNoise, about=f"bias + variance, {_ABOUT}", metrics=_LIMIT, affordable=_moments_affordable)
def _single(problem: Problem, step: int, budgets: Sequence[int], metrics: Sequence[str]) -> Expectations:
    return errors_of_mean(problem, _moments(problem, step), [1], metrics)


@law(
    "mean",
    RankOneNoise,
    about=f"bias of descent with a ridge + variance / k, {_ABOUT}",
    metrics=_RIDGE_LIMIT,
    affordable=_moments_affordable,
)
@law("mean", ElementwiseNoise, about=f"bias + variance / k, {_ABOUT}", metrics=_LIMIT, affordable=_moments_affordable)
def _mean(problem: Problem, step: int, budgets: Sequence[int], metrics: Sequence[str]) -> Expectations:
    return errors_of_mean(problem, _moments(problem, step), budgets, metrics)


# Binary with k ones: the greedy chain.


def _largest(problem: Problem, step: int, budgets: Sequence[int], metrics: Sequence[str]) -> Expectations:
    state, encoded = problem.state, problem.rule.encode(1)
    if state is None or encoded is None or problem.w0 is not None:
        return {}

    def make() -> dict[str, Tensor]:
        answer = largest_sets(state, encoded.ones, step)[:, None].to(problem.seen.x)
        names = all_metrics.applicable(problem.seen, True)
        return all_metrics.measure(problem.seen, answer, names, bits=True)

    found = problem.cached(("largest", step), make)
    return {name: certain(v.double().expand(-1, len(budgets))) for name, v in found.items() if name in metrics}


for _name in ("greedy", "single", "mean", "majority_vote", "plurality", "best_of_n", "oracle_best_of_n"):
    law(_name, LargestCoefficients, about="the greedy chain", metrics=finite_laws.EVERY_METRIC)(_largest)
law("greedy", SubsetSampling, about="the greedy chain", metrics=finite_laws.EVERY_METRIC)(_largest)


# Binary with k ones: sets drawn.


def _law_of_sets(problem: Problem, step: int) -> FiniteLaw | None:
    state, rule = problem.state, problem.rule
    if state is None or problem.w0 is not None:
        return None
    sets = set_rule(rule)

    def advance(laws: Array, first: int, last: int) -> Array:
        # prompt by prompt: a transition matrix has C(d, k)^2 numbers
        found = []
        for prompt, one in zip(state, laws):
            chain = SubsetChain(prompt, sets)
            found.append(chain.advance(one if first else chain.first(), last - max(first, 1)))
        return np.stack(found)

    def make() -> FiniteLaw:
        nothing = np.empty((len(state), 0))  # w_0 is no set
        walk = problem.cached("sets", lambda: Walk(nothing, advance))
        return FiniteLaw(all_sets(problem.model.dim, sets.ones), walk.at(step))

    return problem.cached(("law of sets", step), make)


def _sets_affordable(problem: Problem, step: int) -> bool:
    dim, ones = problem.model.dim, set_rule(problem.rule).ones
    sets = math.comb(dim, ones)
    if sets > MAX_SETS:
        return False
    one = ones * subsets_of_at_most(dim, ones)
    return one + (sets * (one + step * sets) if step > 1 else 0) <= SUBSETS_WORK


_WHERE = "; where C(d, k)^2 T is below about 2^24, and for one thought C(d, k) <= 20,000"


@law(
    "single",
    SubsetSampling,
    about="the chain on C(d, k) sets",
    metrics=finite_laws.EVERY_METRIC + _WHERE,
    affordable=_sets_affordable,
)
def _sets_single(problem: Problem, step: int, budgets: Sequence[int], metrics: Sequence[str]) -> Expectations:
    return finite_laws.expectations(problem, _law_of_sets(problem, step), metrics)


@law(
    "mean",
    SubsetSampling,
    about="bias + variance / k of the bits; read at 1/2, a majority",
    metrics=finite_laws.OF_MEAN + _WHERE,
    affordable=_sets_affordable,
)
def _sets_mean(problem: Problem, step: int, budgets: Sequence[int], metrics: Sequence[str]) -> Expectations:
    return finite_laws.mean(problem, _law_of_sets(problem, step), budgets, metrics)


@law(
    "majority_vote",
    SubsetSampling,
    about="as of BernoulliSampling; the majority need not have k ones",
    metrics=finite_laws.OF_MAJORITY + _WHERE,
    affordable=_sets_affordable,
)
def _sets_majority(problem: Problem, step: int, budgets: Sequence[int], metrics: Sequence[str]) -> Expectations:
    return finite_laws.majority(problem, _law_of_sets(problem, step), budgets, metrics)


@law(
    "plurality",
    SubsetSampling,
    about="P(w* is the most frequent set), a tie by a fair draw",
    metrics="exact recovery where C(d, k) N^2 <= 2^14" + _WHERE,
    max_prompts=MAX_PROMPTS,
    affordable=_sets_affordable,
)
def _sets_plurality(problem: Problem, step: int, budgets: Sequence[int], metrics: Sequence[str]) -> Expectations:
    return finite_laws.plurality(problem, _law_of_sets(problem, step), budgets, metrics)


@law(
    "best_of_n",
    SubsetSampling,
    about="powers of the law of the score, for scores without noise",
    metrics=finite_laws.EVERY_METRIC + _WHERE,
    max_prompts=MAX_PROMPTS,
    uses_score=True,
    affordable=_sets_affordable,
)
def _sets_best(problem: Problem, step: int, budgets: Sequence[int], metrics: Sequence[str]) -> Expectations:
    return finite_laws.best_by_verifier(problem, _law_of_sets(problem, step), budgets, metrics)


@law(
    "oracle_best_of_n",
    SubsetSampling,
    about="as best_of_n, with the squared error as the score",
    metrics=finite_laws.EVERY_METRIC + _WHERE,
    max_prompts=MAX_PROMPTS,
    affordable=_sets_affordable,
)
def _sets_oracle(problem: Problem, step: int, budgets: Sequence[int], metrics: Sequence[str]) -> Expectations:
    return finite_laws.nearest_to_truth(problem, _law_of_sets(problem, step), budgets, metrics)
