"""What a technique scores with k samples: the mean over all subsets of k of the N candidates of a prompt.

Where the mean over subsets has a closed form (selections; quadratic metrics of a mean; a majority of bits,
coefficient by coefficient) it is exact. Elsewhere it is the mean over random subsets that do not overlap,
as many as the N samples make, and over further random partitions, of small blocks of samples, until there
are :data:`SUBSETS`; what remains of their luck is part of the intervals over prompts. Every sum has a fixed
order, so that results do not depend on the chunk.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from ..decoding.chain import TILE
from ..estimators import selection as estimators
from ..estimators import votes
from ..numerics import candidates, rng, sums
from ..tasks import metrics
from ..tasks.prompts import Prompts
from ..techniques import aggregate as techniques
from ..techniques.aggregate import Candidates, SoftmaxMean, Technique, WeightedBestOfN, WeightedVote

SUBSETS = 8
"""The least number of subsets of k < N samples where there is no closed form, and the most repeats of a search."""

_QUADRATIC = ("squared_error", "prediction_risk", "in_context_loss")


class Bank:
    """The candidates of some prompts at one step.

    Args:
        part: the b prompts, as the chains saw them.
        w: candidates ``[b, N, d]``.
        score: of every candidate ``[b, N]``; None: minus its in-context loss.
        greedy: the noise-free decode ``[b, d]``.
        binary: whether they are bits.
        step: of the chain.
        seed: of the coins that decide ties and of the choice of subsets.
    """

    def __init__(
        self, part: Prompts, w: Tensor, score: Tensor | None, greedy: Tensor, *, binary: bool, step: int, seed: int
    ) -> None:
        self.part, self.w, self.greedy = part, w, greedy
        self.binary, self.step, self.seed = binary, step, seed
        self.samples = w.shape[1]
        of_part = metrics.of(part, binary)
        self.risk_of_error = metrics.risk_of_error(part) if "prediction_risk" in of_part else None
        # What need not be measured is left out.
        self.metrics = tuple(n for n in of_part if n != "prediction_risk" or self.risk_of_error is None)
        asked = [*self.metrics]
        if score is None:
            asked.append("in_context_score")
        if binary and candidates.supported(w):
            asked.append(metrics.PACKED)
        found = metrics.measure(part, w, asked, bits=binary)
        self.score = found["in_context_score"] if score is None else score
        self.packed = found.get(metrics.PACKED)
        self.of_candidates = {name: found[name] for name in self.metrics}
        self.of_one = {name: _sum(value) / self.samples for name, value in self.of_candidates.items()}
        self.error = self.of_candidates.get("squared_error")
        self._votes: dict[tuple[int, ...], dict[str, Tensor]] = {}

    @functools.cached_property
    def total(self) -> Tensor:
        """Sum of the candidates ``[b, d]``."""
        return _sum(self.w)

    def scores(self, technique: Technique, sizes: Sequence[int]) -> dict[str, Tensor]:
        """Metrics with their values at every budget ``[K, b]``; none if the technique does not apply."""
        if (technique.binary_only and not self.binary) or (technique.needs_truth and self.error is None):
            return {}
        if not technique.uses_budget:
            return self._with_risk(self._without_budget(technique, sizes))
        found = self._exact(technique, sizes)
        rest = [name for name in self.metrics if name not in found]
        if rest:
            found = found | self._resampled(technique.answer, rest, sizes, bits=technique.binary_only)
        return self._with_risk(found)

    def _with_risk(self, found: dict[str, Tensor]) -> dict[str, Tensor]:
        if self.risk_of_error is None:
            return found
        return found | {"prediction_risk": found["squared_error"] * self.risk_of_error}

    def _without_budget(self, technique: Technique, sizes: Sequence[int]) -> dict[str, Tensor]:
        if technique.answer is techniques.single:
            values = dict(self.of_one)
            if self.error is None and self.samples > 1:
                values["disagreement"] = sums.tree_mean(metrics.disagreement(self.w), 1)
        else:
            found = metrics.measure(self.part, self.greedy[:, None], self.metrics, bits=self.binary)
            values = {name: value[:, 0] for name, value in found.items()}
        return {name: value.expand(len(sizes), -1) for name, value in values.items()}

    def _exact(self, technique: Technique, sizes: Sequence[int]) -> dict[str, Tensor]:
        """Metrics that need no random subsets of their own: all but the recovery of a vote are closed forms."""
        if technique.selects is not None:
            return self._selected(technique.selects, sizes)
        if technique.answer is techniques.majority_vote:
            return self._voted(sizes)
        if technique.answer is techniques.mean:  # of bits, read at 1/2, it is a vote
            read = {name: values for name, values in self._voted(sizes).items() if name in metrics.READ}
            return self._averaged(sizes) | read
        return {}

    def _selected(self, by: Literal["score", "error"], sizes: Sequence[int]) -> dict[str, Tensor]:
        score, lowest = (self.score, False) if by == "score" or self.error is None else (self.error, True)
        distinct = {id(value): value for value in self.of_candidates.values()}  # of bits, hamming is squared_error
        values, weights = list(distinct.values()), _weights(self.samples, tuple(sizes))
        if candidates.supported(score):
            best = candidates.best_of_k(score, values, weights, lowest=lowest)
        else:
            keys = (-score if lowest else score).double().cpu().numpy()
            ranked = [torch.from_numpy(estimators.ranked(keys, value.double().cpu().numpy())) for value in values]
            best = torch.stack(
                [torch.stack([sums.tree_sum(value * weight, 1) for weight in weights.T], 1) for value in ranked]
            )
        of_value = dict(zip(distinct, best[:, :, : len(sizes)].mT.to(self.w)))
        return {name: of_value[id(value)] for name, value in self.of_candidates.items()}

    def _averaged(self, sizes: Sequence[int]) -> dict[str, Tensor]:
        """Quadratic metrics of the mean."""
        names = [name for name in self.metrics if name in _QUADRATIC]
        of_all = metrics.measure(self.part, (self.total / self.samples)[:, None], names, bits=False)
        found = {}
        for name in names:
            one, every = self.of_one[name].double().cpu(), of_all[name][:, 0].double().cpu()
            found[name] = torch.from_numpy(estimators.mean_of_k(one, every, self.samples, sizes)).T.to(self.w)
        return found

    def _voted(self, sizes: Sequence[int]) -> dict[str, Tensor]:
        """Metrics of a majority of bits: those that add up over the coefficients, and the recovery of all of them."""
        if not self.binary or self.error is None:
            return {}
        key = tuple(sizes)
        if key not in self._votes:
            self._votes[key] = self._vote(sizes)
        return self._votes[key]

    def _vote(self, sizes: Sequence[int]) -> dict[str, Tensor]:
        w_star = metrics.truth(self.part)[:, 0]
        if self.packed is not None:
            found, right = candidates.vote_recovery(self.packed, w_star, _block(self.samples), *self._groups(sizes))
            recovered = found.to(self.w).T
            self.total = torch.where(w_star > 0.5, right, self.samples - right).to(self.w)
        else:  # the metric reads a mean at 1/2 as a fair coin
            recovered = self._resampled(techniques.mean, ["exact_recovery"], sizes, bits=False)["exact_recovery"]
        ones = self.total.to(torch.int64).cpu().numpy()
        share = torch.from_numpy(votes.majority_right(ones, self.samples, sizes)).to(self.w)
        wrong = share * (1 - w_star[..., None]).square() + (1 - share) * w_star[..., None].square()  # [b, d, sizes]
        error = sums.tree_mean(wrong, 1).T
        risk = {}
        if self.part.covariance.ndim == 1 and self.risk_of_error is None:
            risk = {"prediction_risk": sums.tree_sum(wrong * self.part.covariance[:, None], 1).T}
        return {"squared_error": error, **risk, "hamming": error, "exact_recovery": recovered}

    def _resampled(
        self, answer: Callable[[Candidates], Tensor], names: Sequence[str], sizes: Sequence[int], *, bits: bool
    ) -> dict[str, Tensor]:
        """The mean of metrics over random subsets, ``[K, b]`` each; ``bits``: what the answers are."""
        twin = _twin(answer) if candidates.supported(self.w) and candidates.supported(self.score) else None
        if twin is None:
            answers = torch.cat([self._answers(answer, size) for size in sizes], 1)
        else:
            answers = self._native(*twin, sizes)
        counts = [self.samples // size * self._partitions(size) for size in sizes]
        return self._means(answers, counts, names, bits)

    def measure(self, answers: Tensor, *, bits: bool) -> dict[str, Tensor]:
        """Means of all metrics over answers ``[b, A, d]``: ``[b]`` each; ``bits``: what the answers are."""
        found = self._means(answers, [answers.shape[1]], self.metrics, bits)
        return {name: value[0] for name, value in self._with_risk(found).items()}

    def _means(self, answers: Tensor, counts: list[int], names: Sequence[str], bits: bool) -> dict[str, Tensor]:
        """Means of metrics over so many answers that follow each other: ``[len(counts), b]`` each."""
        values = metrics.measure(self.part, answers, names, bits=bits)
        return {
            name: torch.stack([_sum(some) / some.shape[1] for some in value.split(counts, 1)])
            for name, value in values.items()
        }

    def _native(self, name: str, parameter: float, sizes: Sequence[int]) -> Tensor:
        """Answers of all subsets of one size after the other, in C++: ``[b, subsets, d]``."""
        orders, groups = self._groups(sizes)
        return candidates.group_answers(
            name,
            parameter,
            self.w,
            self.score,
            _block(self.samples),
            orders,
            groups,
            seed=self.seed,
            first_prompt=self.part.first,
            step=self.step,
        )

    def _answers(self, answer: Callable[[Candidates], Tensor], size: int) -> Tensor:
        """Answers of all subsets of a size: ``[b, subsets, d]``."""
        answers = []
        for partition in range(self._partitions(size)):
            order = self._order(partition)
            first = groups(order[None], size)[0, :, 0]
            candidates = Candidates(
                groups(self.w if partition == 0 else self.w[:, order], size),
                groups(self.score[:, order], size),
                None if self.error is None else groups(self.error[:, order], size),
                self.greedy,
                _Coins(self.part, first, self.step, self.seed),
            )
            answers.append(answer(candidates))
        return torch.cat(answers, 1)

    def _groups(self, sizes: Sequence[int]) -> tuple[Tensor, list[tuple[int, int]]]:
        """Orders of the blocks in the partitions after the first; how many partitions each size has."""
        partitions = [self._partitions(size) for size in sizes]
        orders = torch.stack([_shuffle(self.samples, p, self.seed) for p in range(max(partitions))])
        return orders[1:], list(zip(sizes, partitions))

    def _partitions(self, size: int) -> int:
        """How often the samples are divided into groups of ``size``."""
        return 1 if size == self.samples else -(-SUBSETS // (self.samples // size))

    def _order(self, partition: int) -> Tensor:
        """The samples in the order of a partition, the same for all prompts."""
        block, sample = _block(self.samples), torch.arange(self.samples)
        whole = sample[: self.samples // block * block].unflatten(0, (-1, block))
        shuffled = whole[_shuffle(self.samples, partition, self.seed)].flatten()
        return torch.cat((shuffled, sample[len(shuffled) :])).to(self.w.device)


def _twin(answer: Callable[[Candidates], Tensor]) -> tuple[str, float] | None:
    """Name and parameter of a technique that C++ knows too."""
    if answer is techniques.plurality:
        return "plurality", 0.0
    if isinstance(answer, techniques.MajorityOfBest):
        return "majority_of_best", answer.share
    if isinstance(answer, (SoftmaxMean, WeightedVote, WeightedBestOfN)):
        names = {SoftmaxMean: "softmax_mean", WeightedVote: "weighted_vote", WeightedBestOfN: "weighted_best_of_n"}
        return names[type(answer)], answer.beta
    return None


def _block(samples: int) -> int:
    """How many samples every partition keeps together: N / 64, or the next power of two below, so that it divides the
    budgets that need more than one partition."""
    return 1 << max((samples // 64).bit_length() - 1, 0)


@functools.lru_cache(maxsize=2 * SUBSETS)
def _shuffle(samples: int, partition: int, seed: int) -> Tensor:
    """The blocks in random order; samples are independent, so the first partition is as drawn."""
    blocks = torch.arange(samples // _block(samples))
    if partition == 0:
        return blocks
    words = rng.philox(rng.counter(rng.Stream.SUBSETS, sample=blocks, block=partition), seed)
    return words[0].argsort(stable=True)


def _sum(x: Tensor) -> Tensor:
    """Sum of ``[b, N, ...]`` over N."""
    return candidates.tree_sum(x) if candidates.supported(x) else sums.tree_sum(x, 1)


@functools.lru_cache(maxsize=2)  # all budgets at the last step, one at the others
def _weights(samples: int, sizes: tuple[int, ...]) -> Tensor:
    """Probability that the best of ``sizes[k]`` samples is the one of rank j: float64 ``[N, K]``, with columns of zeros
    up to a multiple of 8. Where it is below 1e-30 it is 0, so that no time is spent there."""
    weights = torch.zeros(samples, -(-len(sizes) // 8) * 8, dtype=torch.float64)
    for column, size in enumerate(sizes):
        found = estimators.selection_weights(samples, [size])[0]
        weights[: len(found), column] = torch.from_numpy(np.where(found < 1e-30, 0.0, found))
    return weights


def groups(x: Tensor, size: int) -> Tensor:
    """``[b, N, ...]`` as floor(N / size) groups ``[b, G, size, ...]``; what is left over at the end is left out."""
    whole: Tensor = x[:, : x.shape[1] // size * size].unflatten(1, (-1, size))
    return whole


@dataclass(frozen=True)
class _Coins:
    """Random words for ties; a group is named by its first sample, a step has its word as in the decode."""

    part: Prompts
    first: Tensor
    """First sample of every group ``[G]``."""
    step: int
    seed: int

    def __call__(self, tied: Tensor) -> Tensor:
        return torch.cat([self._toss(*index.unbind(1)) for index in tied.nonzero().split(TILE)])

    def _toss(self, prompt: Tensor, group: Tensor, coordinate: Tensor) -> Tensor:
        counter = rng.counter(
            rng.Stream.TIES,
            prompt=self.part.first + prompt,
            sample=self.first[group],
            coordinate=coordinate,
            block=self.step // rng.STEPS_PER_BLOCK,
        )
        return rng.philox(counter, self.seed)[self.step % rng.STEPS_PER_BLOCK]
