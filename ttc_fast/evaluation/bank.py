"""What a technique scores with k samples: the mean over all subsets of k of the N candidates of a prompt.

Where the mean over subsets has a closed form (selections; quadratic metrics of a mean; a majority of bits,
coefficient by coefficient) it is exact. Elsewhere it is the mean over random subsets that do not overlap,
as many as the N samples make, and over further random partitions, of small blocks of samples, until there
are :data:`~ttc_fast.evaluation.subsets.SUBSETS`; what remains of their luck is part of the intervals over prompts.
Every sum has a fixed order, so that results do not depend on the chunk.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from ..estimators import medians, selection
from ..numerics import candidates, sums
from ..numerics.wide import CPU, wide
from ..tasks import metrics
from ..tasks.engine import engine, tree_sum
from ..tasks.metrics import Metric
from ..tasks.prompts import Prompts, repeated
from ..tasks.quadratic import QUADRATIC
from ..techniques import aggregate
from ..techniques.base import Candidates, Technique
from . import frequent
from .constants import constant, majority, middles, share_of_one, share_of_ties, weights_of_ranks
from .subsets import Coins, Partitions, groups

MetricValues = dict[str, Tensor]


class Bank:
    """The candidates of some prompts at S steps, and the means over their subsets that have a formula
    (:class:`ttc_fast.techniques.base.Statistics`). Below, b counts a prompt once for each step.

    Args:
        prompts: as the chains saw them.
        w: candidates ``[b, N, d]``: those of all prompts at the first step, then at the next.
        score: of every candidate ``[b, N]``, or the name of the metric that it is.
        greedy: the noise-free decode ``[b, d]``.
        binary: whether the candidates are bits.
        steps: of the chain; several on a GPU only.
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
        steps: Sequence[int],
        seed: int,
        extra: Mapping[str, Metric] | None = None,
    ) -> None:
        self._once, self.w, self.greedy = prompts, w, greedy
        self.prompts = prompts = prompts if len(steps) == 1 else repeated(prompts, len(steps))
        self.binary, self.steps, self.seed, self.extra = binary, steps, seed, dict(extra or {})
        self.samples, self._engine = w.shape[1], engine(w)
        self.partitions = Partitions(self.samples, seed)
        names = (*metrics.applicable(prompts, binary), *self.extra)
        self.risk_of_error = metrics.risk_of_error(prompts) if "prediction_risk" in names else None
        # What need not be measured is left out.
        self.metrics = tuple(n for n in names if n != "prediction_risk" or self.risk_of_error is None)
        asked = [*self.metrics]
        if isinstance(score, str):
            asked.append(score)
        if binary and self._engine is not None:
            asked.append(metrics.PACKED)
        found = self._measure(w, asked, bits=binary)
        self.score = found[score] if isinstance(score, str) else score
        self._packed = found.get(metrics.PACKED)
        self._values = {name: found[name] for name in self.metrics}
        together = torch.stack([self._values[name] for name in self.metrics])
        means = tree_sum(together.flatten(0, 1)).unflatten(0, together.shape[:2]) / self.samples
        self._mean_values = dict(zip(self.metrics, means))
        self.error = self._values.get("squared_error")
        self._votes: dict[tuple[int, ...], MetricValues] = {}

    @functools.cached_property
    def _total(self) -> Tensor:
        """Sum of the candidates ``[b, d]``."""
        return tree_sum(self.w)

    def scores(self, technique: Technique, budgets: Sequence[int]) -> MetricValues:
        """Metrics with their values at every budget ``[K, b]``; none if the technique does not apply. The prediction
        risk is to be multiplied by :attr:`risk_of_error` where this is known.

        Args:
            technique: one that is no search.
            budgets: the k, from 1 to N; ignored by a technique that does not use them, whose K is 1.
        """
        if (technique.binary_only and not self.binary) or (technique.needs_truth and self.error is None):
            return {}
        ks = list(budgets) if technique.uses_budget else [1]
        found = {} if technique.closed_form is None else dict(technique.closed_form(self, ks))
        rest = [name for name in self.metrics if name not in found]
        if rest:
            found |= self._resampled(technique, rest, ks, bits=technique.binary_only)
        return self._with_risk({name: value.reshape(len(ks), -1) for name, value in found.items()})

    def measure(self, answers: Tensor, counts: list[int], *, bits: bool) -> MetricValues:
        """Means of all metrics over answers ``[b, A, d]``: ``[len(counts), b]`` each, as of :meth:`scores`.

        Args:
            answers: of any technique.
            counts: how many of them, which follow each other, each mean is over.
            bits: whether they are bits.
        """
        return self._with_risk(self._means(answers, counts, self.metrics, bits))

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
        values = [self._values[name] for name in measured]
        weights = constant(weights_of_ranks, self.samples, tuple(budgets), self.w.device)
        native = engine(key)
        if native is not None:
            best = native.best_of_k(key, values, weights, lowest=lowest)
        else:
            keys = (-key if lowest else key).cpu().double().numpy()
            ranked = [torch.from_numpy(selection.ranked(keys, value.cpu().double().numpy())) for value in values]
            best = torch.stack(
                [torch.stack([sums.tree_sum(value * weight, 1) for weight in weights.T.cpu()], 1) for value in ranked]
            )
        found = dict(zip(measured, best[:, :, : len(budgets)].mT.to(self.w.dtype).to(self.w.device)))
        return found | ({"hamming": found["squared_error"]} if "hamming" in self._values and self.binary else {})

    def of_mean(self, budgets: Sequence[int]) -> MetricValues:
        names = [name for name in self.metrics if name in QUADRATIC]
        error_of_mean = self._measure((self._total / self.samples)[:, None], names, bits=False)
        found = {}
        if names:
            share = constant(share_of_one, self.samples, tuple(budgets), self.w.device)[:, None, None]
            whole = wide(torch.stack([error_of_mean[name][:, 0] for name in names]))
            single = wide(torch.stack([self._mean_values[name] for name in names]))
            # For a quadratic error, see selection.mean_of_k.
            found = dict(zip(names, (whole + share * (single - whole)).to(self.w.dtype).to(self.w.device).unbind(1)))
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
        if self._packed is not None and self._engine is not None:
            parts = [self.w] * len(budgets)
            for places, block, orders, divisions in self.partitions.by_block(tuple(budgets)):
                found, right = self._engine.vote_recovery(self._packed, aim, block, orders, divisions)
                for i, part in zip(places, found.to(self.w).unbind(1)):
                    parts[i] = part
            recovered = torch.stack(parts)
            self._total = torch.where(aim > 0, right, self.samples - right).to(self.w)
        else:  # the metric reads a mean at 1/2 as a fair coin
            recovered = self._resampled(aggregate.mean, ["exact_recovery"], budgets, bits=False)["exact_recovery"]
        share = majority(self._total.to(torch.int64), self.samples, tuple(budgets), self.w.dtype)
        wrong = share * (1 - w_star[..., None]).square() + (1 - share) * w_star[..., None].square()
        found = self._over_coefficients(wrong)
        read = {"hamming": found["squared_error"], "exact_recovery": recovered}
        return found | {name: read[name] for name in metrics.READ if name in self.metrics}

    def of_median(self, budgets: Sequence[int]) -> MetricValues:
        if self.error is None:
            return {}
        ks, w_star = tuple(budgets), metrics.truth(self.prompts)[:, 0]
        if self.binary:  # the majority, but 1/2 where that tosses a coin: by 1/4 nearer to both
            votes = self.of_majority(budgets)
            nearer = self._over_coefficients(
                share_of_ties(self._total.to(torch.int64), self.samples, ks, self.w.dtype) / 4
            )
            return votes | {name: votes[name] - value for name, value in nearer.items()}
        if self.w.device.type == "cuda":
            return self._back([bank.of_median(budgets) for bank in self._in_memory])
        if candidates.supported(self.w):
            square, cross = constant(middles, self.samples, ks, CPU)
            ranges = [medians.middle(self.samples, k)[2:] for k in ks]
            errors = candidates.median_errors(self.w, w_star, square, cross, ranges).mT
        else:
            rows = self.w.cpu().double().mT
            known = ~rows.isnan().any(2, keepdim=True)
            flat = torch.where(known, rows, 0.0).flatten(0, 1).numpy()
            found = medians.squared_error_of_median(flat, w_star.cpu().double().flatten().numpy(), ks)
            errors = torch.where(known, torch.from_numpy(found).unflatten(0, w_star.shape), math.nan)
        return self._over_coefficients(errors.to(self.w.dtype).to(self.w.device))

    def _over_coefficients(self, squares: Tensor) -> MetricValues:
        """Metrics that add up over the coefficients, of their squared errors ``[b, d, K]``."""
        found = {"squared_error": tree_sum(squares).T / squares.shape[1]}
        if self.prompts.covariance.ndim == 1 and self.risk_of_error is None:
            found["prediction_risk"] = tree_sum(squares * self.prompts.covariance[:, None]).T
        return found

    def _resampled(
        self, technique: Technique, names: Sequence[str], budgets: Sequence[int], *, bits: bool
    ) -> MetricValues:
        """The mean of metrics over random subsets, ``[K, b]`` each; ``bits``: what the answers are."""
        if self.w.device.type == "cuda" and technique.most_frequent is not None:
            means = frequent.means(
                self.w, torch.stack([self._values[name] for name in names]), self.partitions, budgets,
                ties=technique.most_frequent, prompts=self._once, steps=self.steps, seed=self.seed,
            )  # fmt: skip
            return dict(zip(names, means.unbind(1)))
        if self.w.device.type == "cuda":
            return self._back([bank._resampled(technique, names, budgets, bits=bits) for bank in self._in_memory])
        if technique.native is not None and candidates.supported(self.w) and candidates.supported(self.score):
            counts, parts = self.partitions.group_counts(budgets), [self.w] * len(budgets)
            for places, block, orders, divisions in self.partitions.by_block(tuple(budgets)):
                groups_of = candidates.group_answers(
                    *technique.native, self.w, self.score, block, orders, divisions,
                    seed=self.seed, first_prompt=self.prompts.first, step=self.steps[0],
                )  # fmt: skip
                for i, part in zip(places, groups_of.split([counts[i] for i in places], 1)):
                    parts[i] = part
            answers = torch.cat(parts, 1)
        else:
            answers = torch.cat([self._answers(technique, size) for size in budgets], 1)
        return self._means(answers, self.partitions.group_counts(budgets), names, bits)

    @functools.cached_property
    def _in_memory(self) -> list[Bank]:
        """The same, step by step, on the CPU, copied once: thousands of small groups are nothing for a GPU."""
        w = self.w.to("cpu", non_blocking=True)  # pinned; done when the next copies are, which wait
        prompts, score, greedy = self._once.to("cpu"), self.score.cpu(), self.greedy.cpu()
        parts = zip(*(whole.chunk(len(self.steps)) for whole in (w, score, greedy)), self.steps)
        same: dict[str, Any] = {"binary": self.binary, "seed": self.seed, "extra": self.extra}
        return [Bank(prompts, *tensors, steps=[step], **same) for *tensors, step in parts]

    def _back(self, found: list[MetricValues]) -> MetricValues:
        """What the banks in memory found, step by step, together on the device."""
        return {n: torch.cat([f[n] for f in found], 1).to(self.w.device, non_blocking=True) for n in found[0]}

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
                Coins(self.prompts, groups(order[None], size)[0, :, 0], self.steps[0], self.seed),
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
            name: torch.stack([tree_sum(part) / part.shape[1] for part in value.split(counts, 1)])
            for name, value in values.items()
        }

    def _measure(self, w: Tensor, names: Sequence[str], *, bits: bool) -> MetricValues:
        return metrics.measure(self.prompts, w, names, bits=bits, extra=self.extra)

    def _with_risk(self, found: MetricValues) -> MetricValues:
        if self.risk_of_error is None:
            return found
        return found | {"prediction_risk": found["squared_error"]}
