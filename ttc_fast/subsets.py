"""What a technique scores with k samples: the mean over all subsets of k of the N candidates of a prompt.

Where the mean over subsets has a closed form (selections; quadratic metrics of a mean; a majority of bits,
coefficient by coefficient) it is exact. Elsewhere it is the mean over random subsets that do not overlap,
as many as the N samples make, and over further random partitions until there are :data:`SUBSETS`; what
remains of their luck is part of the intervals over prompts. Every sum has a fixed order, so that results do
not depend on the chunk.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from . import estimators, metrics, ordered, rng, techniques, votes
from .reference import TILE
from .tasks import Prompts
from .techniques import Candidates, Technique
from .verifiers import Verifier

SUBSETS = 8
"""The least number of subsets of k < N samples where there is no closed form."""

_QUADRATIC = ("squared_error", "prediction_risk", "in_context_loss")
_COORDINATEWISE = ("squared_error", "hamming")


class Bank:
    """The candidates of some prompts at one step.

    Args:
        part: the b prompts.
        w: candidates ``[b, N, d]``.
        greedy: the noise-free decode ``[b, d]``.
        verifier: scores them.
        binary: whether they are bits.
        step: of the chain.
        seed: of the coins that decide ties and of the choice of subsets.
    """

    def __init__(
        self, part: Prompts, w: Tensor, greedy: Tensor, verifier: Verifier, *, binary: bool, step: int, seed: int
    ) -> None:
        self.part, self.w, self.greedy, self.binary, self.step, self.seed = part, w, greedy, binary, step, seed
        self.metrics = metrics.of(part, binary)
        self.of_candidates = {name: _measure(metric, part, w) for name, metric in self.metrics.items()}
        self.error = self.of_candidates.get("squared_error")
        self.score = torch.cat([verifier(part, w[:, a], first_sample=a.start, step=step) for a in _tiles(w)], 1)

    def scores(self, technique: Technique, sizes: Sequence[int]) -> Iterator[tuple[str, list[Tensor]]]:
        """Metrics with their values ``[b]`` for every budget; none if the technique does not apply."""
        if (technique.binary_only and not self.binary) or (technique.needs_truth and self.error is None):
            return
        if not technique.uses_budget:
            yield from self._without_budget(technique, sizes)
            return
        resampled = []
        for metric in self.metrics:
            exact = self._exact(technique, metric, sizes)
            if exact is None:
                resampled.append(metric)
            else:
                yield metric, exact
        if resampled:
            values = [self._resampled(technique, resampled, size) for size in sizes]
            for i, metric in enumerate(resampled):
                yield metric, [value[i] for value in values]

    def _without_budget(self, technique: Technique, sizes: Sequence[int]) -> Iterator[tuple[str, list[Tensor]]]:
        for metric, of_candidates in self.of_candidates.items():
            if technique.answer is techniques.single:
                value = ordered.tree_mean(of_candidates, 1)
            else:
                value = self.metrics[metric](self.part, self.greedy[:, None])[:, 0]
            yield metric, [value] * len(sizes)
        if self.error is None and technique.answer is techniques.single and self.w.shape[1] > 1:
            yield "disagreement", [ordered.tree_mean(metrics.disagreement(self.w), 1)] * len(sizes)

    def _exact(self, technique: Technique, metric: str, sizes: Sequence[int]) -> list[Tensor] | None:
        """The mean over all subsets; None where it has no closed form."""
        if technique.selects is not None:
            return self._selected(technique, metric, sizes)
        if technique.answer is techniques.mean and metric in _QUADRATIC:
            of_all = self.metrics[metric](self.part, ordered.tree_mean(self.w, 1)[:, None])[:, 0]
            of_one = ordered.tree_mean(self.of_candidates[metric], 1)
            values = estimators.mean_of_k(of_one.double().cpu(), of_all.double().cpu(), self.w.shape[1], sizes)
            return list(torch.from_numpy(values).T.to(self.w))
        if technique.answer is techniques.mean and metric == "hamming":  # the mean of bits, read at 1/2, is a vote
            return self._voted(metric, sizes)
        if technique.answer is techniques.majority_vote and (
            metric in _COORDINATEWISE or (metric == "prediction_risk" and self.part.covariance.ndim == 1)
        ):
            return self._voted(metric, sizes)
        return None

    def _selected(self, technique: Technique, metric: str, sizes: Sequence[int]) -> list[Tensor]:
        score = self.score if technique.selects == "score" or self.error is None else -self.error
        values = self.of_candidates[metric].double().cpu().numpy()
        best_first = torch.from_numpy(estimators.ranked(score.double().cpu().numpy(), values))
        results = []
        for size in sizes:
            weights = torch.from_numpy(estimators.selection_weights(score.shape[1], [size])[0])
            results.append(ordered.tree_sum(best_first[:, : len(weights)] * weights, 1).to(self.w))
        return results

    def _voted(self, metric: str, sizes: Sequence[int]) -> list[Tensor]:
        """Metrics of a majority that add up over the coefficients."""
        ones = ordered.tree_sum(self.w, 1).to(torch.int64)
        share = torch.from_numpy(votes.majority_right(ones.cpu().numpy(), self.w.shape[1], sizes)).to(self.w)
        w_star = metrics.truth(self.part)[:, 0, :, None]
        wrong = share * (1 - w_star).square() + (1 - share) * w_star.square()  # [b, d, sizes]
        if metric == "prediction_risk":
            wrong = wrong * self.part.covariance[:, None]
            return list(ordered.tree_sum(wrong, 1).T)
        return list(ordered.tree_mean(wrong, 1).T)

    def _resampled(self, technique: Technique, names: Sequence[str], size: int) -> list[Tensor]:
        """The mean of each metric over random subsets, ``[b]`` each."""
        samples = self.w.shape[1]
        partitions = 1 if size == samples else -(-SUBSETS // (samples // size))
        values: list[list[Tensor]] = [[] for _ in names]
        for partition in range(partitions):
            order = self._order(partition)
            first = groups(order[None], size)[0, :, 0]
            candidates = Candidates(
                groups(self.w if partition == 0 else self.w[:, order], size),
                groups(self.score[:, order], size),
                None if self.error is None else groups(self.error[:, order], size),
                self.greedy,
                _Coins(self.part, first, self.step, self.seed),
            )
            answers = technique.answer(candidates)
            for value, name in zip(values, names):
                value.append(_measure(self.metrics[name], self.part, answers))
        return [ordered.tree_mean(torch.cat(value, 1), 1) for value in values]

    def _order(self, partition: int) -> Tensor:
        """The samples in random order, the same for all prompts; they are independent, so the first is as drawn."""
        sample = torch.arange(self.w.shape[1], device=self.w.device)
        if partition == 0:
            return sample
        words = rng.philox(rng.counter(rng.Stream.SUBSETS, sample=sample, block=partition), self.seed)
        return words[0].argsort(stable=True)


def groups(x: Tensor, size: int) -> Tensor:
    """``[b, N, ...]`` as ceil(N / size) groups ``[b, G, size, ...]`` that hold all of it; where ``size``
    does not divide N the last group reaches back into the one before."""
    samples = x.shape[1]
    whole = x[:, : samples - samples % size].unflatten(1, (-1, size))
    return torch.cat((whole, x[:, None, samples - size :]), 1) if samples % size else whole


def _measure(metric: metrics.Metric, part: Prompts, answers: Tensor) -> Tensor:
    """The metric of every answer ``[b, A, d]``."""
    return torch.cat([metric(part, answers[:, a]) for a in _tiles(answers)], 1)


def _tiles(answers: Tensor) -> Iterator[slice]:
    """Parts of the answers ``[b, A, d]`` whose temporaries stay in the cache."""
    return ordered.tiles(answers.shape[1], TILE // (answers.shape[0] * answers.shape[2]))


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
