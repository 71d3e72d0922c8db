"""What a technique scores with k samples: the mean over all subsets of k of the N candidates of a prompt.

Where the mean over subsets has a closed form (selections; quadratic metrics of a mean; a majority of bits,
coefficient by coefficient) it is exact. Elsewhere it is the mean over random subsets that do not overlap,
as many as the N samples make, and over further random partitions, of small blocks of samples, until there
are :data:`~ttc_fast.evaluation.subsets.SUBSETS`; what remains of their luck is part of the intervals over prompts.
Every sum has a fixed order, so that results do not depend on the chunk.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from ..estimators import selection, votes
from ..numerics import candidates, sums
from ..tasks import metrics
from ..tasks.metrics import Metric
from ..tasks.prompts import Prompts
from ..tasks.quadratic import QUADRATIC
from ..techniques import aggregate
from ..techniques.base import Candidates, Technique
from .subsets import Coins, Partitions, groups

MetricValues = dict[str, Tensor]


class Bank:
    """The candidates of some prompts at one step, and the means over their subsets that have a formula
    (:class:`ttc_fast.techniques.base.Statistics`).

    Args:
        prompts: the b prompts, as the chains saw them.
        w: candidates ``[b, N, d]``.
        score: of every candidate ``[b, N]``, or the name of the metric that it is.
        greedy: the noise-free decode ``[b, d]``.
        binary: whether the candidates are bits.
        step: of the chain.
        seed: of the coins that decide ties and of the choice of subsets.
        extra: the task's own metrics.
    """

    def __init__(
        self,
        prompts: Prompts,
        w: Tensor,
        score: Tensor | str,
        greedy: Tensor,
        *,
        binary: bool,
        step: int,
        seed: int,
        extra: Mapping[str, Metric] | None = None,
    ) -> None:
        self.prompts, self.w, self.greedy = prompts, w, greedy
        self.binary, self.step, self.seed, self.extra = binary, step, seed, dict(extra or {})
        self.samples = w.shape[1]
        self.partitions = Partitions(self.samples, seed)
        names = (*metrics.applicable(prompts, binary), *self.extra)
        self._risk_of_error = metrics.risk_of_error(prompts) if "prediction_risk" in names else None
        # What need not be measured is left out.
        self.metrics = tuple(n for n in names if n != "prediction_risk" or self._risk_of_error is None)
        asked = [*self.metrics]
        if isinstance(score, str):
            asked.append(score)
        if binary and candidates.supported(w):
            asked.append(metrics.PACKED)
        found = self._measure(w, asked, bits=binary)
        self.score = found[score] if isinstance(score, str) else score
        self._packed = found.get(metrics.PACKED)
        self._values = {name: found[name] for name in self.metrics}
        self._mean_values = {name: _sum(value) / self.samples for name, value in self._values.items()}
        self.error = self._values.get("squared_error")
        self._votes: dict[tuple[int, ...], MetricValues] = {}

    @functools.cached_property
    def _total(self) -> Tensor:
        """Sum of the candidates ``[b, d]``."""
        return _sum(self.w)

    def scores(self, technique: Technique, budgets: Sequence[int]) -> MetricValues:
        """Metrics with their values at every budget ``[K, b]``; none if the technique does not apply.

        Args:
            technique: one that is no search.
            budgets: the k, from 1 to N; ignored by a technique that does not use them, whose K is 1.
        """
        if (technique.binary_only and not self.binary) or (technique.needs_truth and self.error is None):
            return {}
        ks = list(budgets) if technique.uses_budget else [1]
        found: MetricValues = {}
        if technique.closed_form is not None:
            found = dict(technique.closed_form(self, ks))
        rest = [name for name in self.metrics if name not in found]
        if rest:
            found |= self._resampled(technique, rest, ks, bits=technique.binary_only)
        return self._with_risk({name: value.reshape(len(ks), -1) for name, value in found.items()})

    def measure(self, answers: Tensor, *, bits: bool) -> MetricValues:
        """Means of all metrics over answers ``[b, A, d]``: ``[b]`` each.

        Args:
            answers: of any technique.
            bits: whether they are bits.
        """
        found = self._means(answers, [answers.shape[1]], self.metrics, bits)
        return {name: value[0] for name, value in self._with_risk(found).items()}

    def of_one(self) -> MetricValues:
        values = dict(self._mean_values)
        if self.error is None and self.samples > 1:
            values["disagreement"] = sums.tree_mean(metrics.disagreement(self.w), 1)
        return values

    def of_greedy(self) -> MetricValues:
        found = self._measure(self.greedy[:, None], self.metrics, bits=self.binary)
        return {name: value[:, 0] for name, value in found.items()}

    def of_best(self, by: Literal["score", "error"], budgets: Sequence[int]) -> MetricValues:
        """Of the candidate with the highest score, or the lowest error, among k.

        Args:
            by: what selects.
            budgets: the k.
        """
        key, lowest = self.score, False
        if by == "error":
            if self.error is None:
                raise ValueError("w_star: expected the true coefficients, got prompts without them")
            key, lowest = self.error, True
        # Of bits, the share of wrong ones is the squared error.
        measured = [name for name in self._values if not (self.binary and name == "hamming")]
        values, weights = [self._values[name] for name in measured], _weights(self.samples, tuple(budgets))
        if candidates.supported(key):
            best = candidates.best_of_k(key, values, weights, lowest=lowest)
        else:
            keys = (-key if lowest else key).double().cpu().numpy()
            ranked = [torch.from_numpy(selection.ranked(keys, value.double().cpu().numpy())) for value in values]
            best = torch.stack(
                [torch.stack([sums.tree_sum(value * weight, 1) for weight in weights.T], 1) for value in ranked]
            )
        found = dict(zip(measured, best[:, :, : len(budgets)].mT.to(self.w)))
        return found | ({"hamming": found["squared_error"]} if "hamming" in self._values and self.binary else {})

    def of_mean(self, budgets: Sequence[int]) -> MetricValues:
        names = [name for name in self.metrics if name in QUADRATIC]
        error_of_mean = self._measure((self._total / self.samples)[:, None], names, bits=False)
        found = {}
        for name in names:
            mean_of_errors, whole = self._mean_values[name].double().cpu(), error_of_mean[name][:, 0].double().cpu()
            found[name] = torch.from_numpy(
                selection.mean_of_k(mean_of_errors.numpy(), whole.numpy(), self.samples, budgets)
            ).T.to(self.w)
        # A mean of bits, read at 1/2, is a vote.
        return found | {name: value for name, value in self.of_majority(budgets).items() if name in metrics.READ}

    def of_majority(self, budgets: Sequence[int]) -> MetricValues:
        if not self.binary or self.error is None:
            return {}
        key = tuple(budgets)
        if key not in self._votes:
            self._votes[key] = self._vote(budgets)
        return self._votes[key]

    def _vote(self, budgets: Sequence[int]) -> MetricValues:
        """Metrics of a majority of bits: those that add up over the coefficients, and the recovery of all of them."""
        w_star = metrics.truth(self.prompts)[:, 0]
        aim = (w_star > 0.5).to(w_star)
        if self._packed is not None:
            recovered = self.w.new_empty(len(budgets), len(self.w))
            for places, block, orders, divisions in self.partitions.by_block(budgets):
                found, right = candidates.vote_recovery(self._packed, aim, block, orders, divisions)
                recovered[places] = found.to(self.w).T
            self._total = torch.where(aim > 0, right, self.samples - right).to(self.w)
        else:  # the metric reads a mean at 1/2 as a fair coin
            recovered = self._resampled(aggregate.mean, ["exact_recovery"], budgets, bits=False)["exact_recovery"]
        ones = self._total.to(torch.int64).cpu().numpy()
        share = torch.from_numpy(votes.majority_correct_at_k(ones, self.samples, budgets)).to(self.w)
        wrong = share * (1 - w_star[..., None]).square() + (1 - share) * w_star[..., None].square()  # [b, d, K]
        error = sums.tree_mean(wrong, 1).T
        risk = {}
        if self.prompts.covariance.ndim == 1 and self._risk_of_error is None:
            risk = {"prediction_risk": sums.tree_sum(wrong * self.prompts.covariance[:, None], 1).T}
        read = {"hamming": error, "exact_recovery": recovered}
        return {"squared_error": error, **risk, **{name: read[name] for name in metrics.READ if name in self.metrics}}

    def _resampled(
        self, technique: Technique, names: Sequence[str], budgets: Sequence[int], *, bits: bool
    ) -> MetricValues:
        """The mean of metrics over random subsets, ``[K, b]`` each; ``bits``: what the answers are."""
        if technique.native is not None and candidates.supported(self.w) and candidates.supported(self.score):
            counts, parts = self.partitions.group_counts(budgets), [self.w] * len(budgets)
            for places, block, orders, divisions in self.partitions.by_block(budgets):
                found = candidates.group_answers(
                    *technique.native, self.w, self.score, block, orders, divisions,
                    seed=self.seed, first_prompt=self.prompts.first, step=self.step,
                )  # fmt: skip
                for i, part in zip(places, found.split([counts[i] for i in places], 1)):
                    parts[i] = part
            answers = torch.cat(parts, 1)
        else:
            answers = torch.cat([self._answers(technique, size) for size in budgets], 1)
        return self._means(answers, self.partitions.group_counts(budgets), names, bits)

    def _answers(self, technique: Technique, size: int) -> Tensor:
        """Answers of all groups of a size, partition by partition: ``[b, groups, d]``."""
        answers = []
        for partition in range(self.partitions.count(size)):
            order = self.partitions.order(partition, size).to(self.w.device)
            given = Candidates(
                groups(self.w if partition == 0 else self.w[:, order], size),
                groups(self.score[:, order], size),
                None if self.error is None else groups(self.error[:, order], size),
                self.greedy,
                Coins(self.prompts, groups(order[None], size)[0, :, 0], self.step, self.seed),
            )
            answer = technique(given)
            self._check_answer(technique, answer, given)
            answers.append(answer)
        return torch.cat(answers, 1)

    def _check_answer(self, technique: Technique, answer: object, given: Candidates) -> None:
        prompts, count, _, dim = given.coefficients.shape
        shape = list(answer.shape) if isinstance(answer, Tensor) else type(answer).__name__
        if shape != [prompts, count, dim]:
            wanted = f"answers [B, G, d] = [{prompts}, {count}, {dim}]"
            raise ValueError(f"technique: expected {wanted} of {technique.name!r}, got {shape}")

    def _means(self, answers: Tensor, counts: list[int], names: Sequence[str], bits: bool) -> MetricValues:
        """Means of metrics over so many answers that follow each other: ``[len(counts), b]`` each."""
        values = self._measure(answers, names, bits=bits)
        return {
            name: torch.stack([_sum(part) / part.shape[1] for part in value.split(counts, 1)])
            for name, value in values.items()
        }

    def _measure(self, w: Tensor, names: Sequence[str], *, bits: bool) -> MetricValues:
        return metrics.measure(self.prompts, w, names, bits=bits, extra=self.extra)

    def _with_risk(self, found: MetricValues) -> MetricValues:
        if self._risk_of_error is None:
            return found
        return found | {"prediction_risk": found["squared_error"] * self._risk_of_error}


def _sum(x: Tensor) -> Tensor:
    """Sum of ``[b, N, ...]`` over N."""
    return candidates.tree_sum(x) if candidates.supported(x) else sums.tree_sum(x, 1)


@functools.lru_cache(maxsize=2)
def _weights(samples: int, budgets: tuple[int, ...]) -> Tensor:
    """Probability that the best of ``budgets[k]`` samples is the one of rank j: float64 ``[N, K]``, with columns of
    zeros up to a multiple of 8. Where it is below 1e-30 it is 0, so that no time is spent there."""
    weights = torch.zeros(samples, -(-len(budgets) // 8) * 8, dtype=torch.float64)
    for column, size in enumerate(budgets):
        found = selection.selection_weights(samples, [size])[0]
        weights[: len(found), column] = torch.from_numpy(np.where(found < 1e-30, 0.0, found))
    return weights
