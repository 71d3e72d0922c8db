"""What a vote among K fresh samples of a prompt would give, K beyond the samples that were drawn.

A prompt's answers are drawn with probabilities that its N samples show in part. Here

* the right answer has the probability p of the law of success (:mod:`ttc_fast.estimators.success_law`) given the
  prompt's counts: also where it was never sampled; several right spellings share it as they were sampled;
* wrong answers share 1 - p by a Pitman-Yor process (Pitman, 1996) given the prompt's wrong samples: those seen by a
  Dirichlet law of their counts less a discount, and the unseen ones, of which there is no end, by broken sticks. Its
  two parameters, how soon new wrong answers turn up, are those of largest likelihood over all prompts. No answer is an
  answer that is wrong.

Of every prompt some such laws are drawn, and of each the votes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize
from scipy.special import gammaln

from ..estimators.arrays import Array, Integers
from ..estimators.success_law import GRID, SuccessLaw
from ..estimators.votes import NoAnswer, Ties
from .log import SampleLog

STICKS = 32
"""Unseen wrong answers that may gather votes; those beyond get one each."""

DRAWS = 50_000
"""Laws of answers that are drawn, of all prompts together; at least 64 of each."""


class Answers(NamedTuple):
    """The answers of a prompt."""

    counts: Integers
    """Samples of each answer ``[A]``."""
    worth: Array
    """The share of these that is labelled correct ``[A]``."""
    none: int
    """Samples without answer."""


@dataclass(frozen=True)
class NewAnswers:
    """How soon new wrong answers turn up: the parameters of a Pitman-Yor process."""

    discount: float
    concentration: float


@dataclass(frozen=True)
class Votes:
    """Votes drawn from the fitted laws of answers."""

    wins: Array
    """What the winner of K votes is worth ``[P, S, K]``."""
    limit: Array
    """What the most likely answer is worth, which wins as K grows ``[P, S]``."""
    points: Integers
    """The point of the grid that was the right answer's probability ``[P, S]``."""

    def means(self, ratio: Array) -> tuple[Array, Array]:
        """Of every prompt ``[P, K]`` and in the limit ``[P]``, were the law of success another one.

        Args:
            ratio: its weights over those of the law that the draws are of ``[G]``.
        """
        weight = ratio[self.points]
        weight = weight / weight.sum(axis=1, keepdims=True)
        return np.einsum("ps,psk->pk", weight, self.wins), (weight * self.limit).sum(axis=1)


def answers_of(log: SampleLog) -> list[Answers]:
    """The answers of every prompt.

    Args:
        log: with answers and labels.
    """
    assert log.answers is not None
    assert log.labels is not None
    found, ends = [], np.cumsum(log.samples)
    for start, end in zip(ends - log.samples, ends):
        answers, labels = log.answers[start:end], log.labels[start:end]
        has = answers >= 0
        _, which, counts = np.unique(answers[has], return_inverse=True, return_counts=True)
        right = np.bincount(which.reshape(-1), labels[has].astype(np.float64), len(counts))
        found.append(Answers(counts.astype(np.int64), right / np.maximum(counts, 1), int((~has).sum())))
    return found


def right_samples(prompts: Sequence[Answers]) -> Integers:
    """Samples of answers that are mostly right, of every prompt ``[P]``: those that can win a vote."""
    return np.array([int(one.counts[one.worth >= 0.5].sum()) for one in prompts], dtype=np.int64)


def fit_new_answers(prompts: Sequence[Answers]) -> NewAnswers:
    """The process of largest likelihood of all prompts' wrong answers.

    Args:
        prompts: their answers.
    """
    wrong = [w for w in (_wrong(one) for one in prompts) if w.sum() > 1]
    if not wrong:
        return NewAnswers(0.5, 1.0)
    distinct = np.array([len(w) for w in wrong])
    total, counts = np.array([w.sum() for w in wrong]), np.concatenate(wrong)

    def loss(t: Array) -> float:
        d, theta = float(t[0]), float(np.exp(t[1]))
        new = (distinct - 1) * np.log(d) + gammaln(theta / d + distinct) - gammaln(theta / d + 1)
        drawn = gammaln(theta + total) - gammaln(theta + 1)
        again = gammaln(counts - d) - gammaln(1 - d)
        return -float(new.sum() - drawn.sum() + again.sum())

    found = minimize(loss, [0.3, 0.0], method="L-BFGS-B", bounds=[(1e-3, 0.95), (-6.0, 6.0)])
    return NewAnswers(float(found.x[0]), float(np.exp(found.x[1])))


def _wrong(one: Answers) -> Integers:
    """Counts of the wrong answers, no answer first where there is any."""
    counts = one.counts[one.worth < 0.5]
    return np.append(one.none, counts) if one.none else counts


def draw_votes(
    prompts: Sequence[Answers],
    samples: Integers,
    law: SuccessLaw,
    new: NewAnswers,
    budgets: Sequence[int],
    *,
    ties: Ties = "random",
    no_answer: NoAnswer = "fail",
    seed: int = 0,
) -> Votes:
    """Draw laws of answers, and votes from each.

    Args:
        prompts: their answers.
        samples: n of every prompt ``[P]``.
        law: of success, fitted to the samples of answers that are right.
        new: how soon new wrong answers turn up.
        budgets: the K.
        ties: a tie is a fair draw (so is the first of tied answers, as their order is drawn too), or fails.
        no_answer: whether a sample without answer votes, for failure.
        seed: of the draws.

    Returns:
        The votes, of a number of draws that depends on the number of prompts.
    """
    rng, draws = np.random.default_rng(seed), max(64, DRAWS // len(prompts))
    posterior = np.cumsum(law.posterior(samples, right_samples(prompts)), axis=1)
    uniform = rng.random((len(prompts), draws))
    points = np.stack([np.searchsorted(row, u * row[-1], side="right") for row, u in zip(posterior, uniform)])
    points = np.minimum(points, len(GRID) - 1)
    wins, limit = np.empty((len(prompts), draws, len(budgets))), np.empty((len(prompts), draws))
    for i, one in enumerate(prompts):
        p, worth = _laws(one, GRID[points[i]], new, rng)
        silent = int(one.none > 0 and no_answer == "ignore")  # column 0 does not vote then
        # the last column: answers that are given once
        likely = p[:, silent:-1].argmax(axis=1)
        limit[i] = worth[silent:][likely]
        for column, k in enumerate(budgets):
            wins[i, :, column] = _winner(rng.multinomial(k, p)[:, silent:], worth[silent:], ties)
    return Votes(wins, limit, points.astype(np.int64))


def _laws(one: Answers, p: Array, new: NewAnswers, rng: np.random.Generator) -> tuple[Array, Array]:
    """Probabilities of answers ``[S, C]``, given that of the right one ``[S]``, and what they are worth ``[C]``.

    Columns: wrong ones that were seen (no answer first), unseen ones, right ones, and answers that are given once.
    """
    wrong, right = _wrong(one), one.worth >= 0.5
    d, theta = new.discount, new.concentration + len(wrong) * new.discount
    shares = rng.gamma(np.append(wrong - d, theta), size=(len(p), len(wrong) + 1))
    shares /= np.maximum(shares.sum(axis=1, keepdims=True), 1e-300)
    sticks = rng.beta(1 - d, theta + d * np.arange(1, STICKS + 1), size=(len(p), STICKS))
    left = np.cumprod(1 - sticks, axis=1)
    unseen = shares[:, -1:] * sticks * np.hstack((np.ones((len(p), 1)), left[:, :-1]))
    own = one.counts[right] if right.any() else np.ones(1)
    columns = (shares[:, :-1], unseen, shares[:, -1:] * left[:, -1:])
    seen, fresh, once = ((1 - p)[:, None] * part for part in columns)
    law = np.hstack((seen, fresh, p[:, None] * own / own.sum(), once))
    worth_of_wrong = np.append([0.0] * (one.none > 0), one.worth[~right])
    worth_of_right = one.worth[right] if right.any() else np.ones(1)
    worth = np.concatenate((worth_of_wrong, np.zeros(STICKS), worth_of_right, [0.0]))
    law = np.maximum(law, 0.0)
    return law / law.sum(axis=1, keepdims=True), worth


def _winner(votes: Integers, worth: Array, ties: Ties) -> Array:
    """What the winner is worth ``[S]``; those of the last column have one vote each."""
    most = votes[:, :-1].max(axis=1)
    top = np.maximum(most, votes[:, -1] > 0)
    leads = (votes[:, :-1] == top[:, None]) & (top > 0)[:, None]
    tied = leads.sum(axis=1) + np.where(top == 1, votes[:, -1], 0)
    value = leads @ worth[:-1]
    if ties == "fail":
        return np.where(tied == 1, value, 0.0)
    return np.asarray(value / np.maximum(tied, 1))
