"""Searches, which have chains of their own: their answers at every budget, measured as those of any technique."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ..techniques.base import Chains, Technique, Work
from .bank import Bank, MetricValues
from .subsets import SUBSETS


def repeats_of(technique: Technique, samples: int, size: int) -> int:
    """Groups of samples, none in common, of which a figure is the mean; a search has few.

    Args:
        technique: any.
        samples: N.
        size: of a group.
    """
    most = SUBSETS if technique.uses_budget else 1
    return samples // size if technique.search is None else min(samples // size, most)


def searched(
    technique: Technique, chains: Chains, budgets: Sequence[int], bank: Bank
) -> tuple[MetricValues, list[Work]]:
    """Metrics with their values at every budget ``[K, b]``, means over repeats, and what these cost on average.

    Args:
        technique: a search.
        chains: where it begins.
        budgets: the k.
        bank: of the same prompts and step, which measures the answers.

    Raises:
        TypeError, ValueError: what the search returns is no :class:`ttc_fast.SearchResult` for these prompts.
    """
    if technique.search is None:
        raise TypeError(f"{technique.name}: expected a search, got none")
    values: dict[str, list[Tensor]] = {}
    work = []
    for size in budgets:
        firsts = range(0, size * repeats_of(technique, chains.samples, size), size)
        found = [
            technique.search(replace(chains, thoughts=chains.thoughts[:, :, n : n + size], first_sample=n))
            for n in firsts
        ]
        for result in found:
            _check_found(technique, result, chains)
        answers = torch.stack([result.answer for result in found], 1)
        for metric, value in bank.measure(answers, bits=technique.binary_only).items():
            values.setdefault(metric, []).append(value)
        spent = [torch.stack([torch.as_tensor(r.work[i]).cpu().double() for r in found]).mean(0) for i in (0, 1)]
        work.append(Work(*(part.numpy() for part in spent)))
    return {metric: torch.stack(value) for metric, value in values.items()}, work


def _check_found(technique: Technique, result: object, chains: Chains) -> None:
    wanted = [len(chains.prompts), chains.thoughts.shape[3]]
    answer = getattr(result, "answer", None)
    if answer is None or not hasattr(result, "work"):
        raise TypeError(f"technique: expected a SearchResult of {technique.name!r}, got {type(result).__name__}")
    if list(answer.shape) != wanted:
        raise ValueError(
            f"technique: expected answers [B, d] = {wanted} of {technique.name!r}, got {list(answer.shape)}"
        )
