"""Searches, which have chains of their own: their answers at every budget, measured as those of any technique."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ..techniques.base import Chains, SearchResult, Technique, Work
from ..techniques.groups import Part
from .bank import Bank, MetricValues
from .subsets import SUBSETS

TOGETHER = 2**24
"""Coefficients of chains, or four times the scores of their groups, up to which searches with several budgets advance
at once: 64 MB in float32, and as much for scores in float64."""


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
    parts = [Part(size, repeats_of(technique, chains.samples, size)) for size in budgets]
    together = getattr(technique.search, "together", None)
    if together is None:
        found = [_one_by_one(technique, chains, part) for part in parts]
    else:
        found = [together(chains, batch) for batch in _batches(parts, chains.thoughts)]
    answers = torch.cat([answer for answer, _ in found], 1)
    counts = [part.repeats for part in parts]
    values = bank.measure(answers, counts, bits=technique.binary_only)
    spent = torch.stack([torch.cat([work[i] for _, work in found], 1) for i in (0, 1)]).cpu().double()
    means = [part.mean(2).numpy() for part in spent.split(counts, 2)]
    return values, [Work(thoughts, scores) for thoughts, scores in means]


def _batches(parts: Sequence[Part], thoughts: Tensor) -> list[list[Part]]:
    """Parts that are searched at once: on a GPU as many as there is room for, where a launch may cost more than its
    work, elsewhere one by one."""
    batches: list[list[Part]] = [[]]
    for part in parts:
        batch = [*batches[-1], part]
        scores = sum(one.repeats for one in batch) * max(one.size for one in batch)
        coefficients = sum(one.repeats * one.size for one in batch) * thoughts.shape[3]
        room = len(thoughts[0]) * max(4 * scores, coefficients) <= TOGETHER
        if batches[-1] and (thoughts.device.type != "cuda" or not room):
            batches.append([part])
        else:
            batches[-1] = batch
    return batches


def _one_by_one(technique: Technique, chains: Chains, part: Part) -> tuple[Tensor, Work]:
    """The answers of a part ``[B, repeats, d]`` and the work ``[B, repeats]`` of a search that makes one answer."""
    found: list[SearchResult] = []
    for n in range(0, part.size * part.repeats, part.size):
        given = replace(chains, thoughts=chains.thoughts[:, :, n : n + part.size], first_sample=n)
        result = technique.search(given)  # type: ignore[misc]  # it is a search
        _check_found(technique, result, chains)
        found.append(result)
    work = [
        torch.stack([torch.as_tensor(r.work[i]).cpu().expand(len(chains.prompts)) for r in found], 1) for i in (0, 1)
    ]
    return torch.stack([r.answer for r in found], 1), Work(*work)


def _check_found(technique: Technique, result: object, chains: Chains) -> None:
    wanted = [len(chains.prompts), chains.thoughts.shape[3]]
    answer = getattr(result, "answer", None)
    if answer is None or not hasattr(result, "work"):
        raise TypeError(f"technique: expected a SearchResult of {technique.name!r}, got {type(result).__name__}")
    if list(answer.shape) != wanted:
        raise ValueError(
            f"technique: expected answers [B, d] = {wanted} of {technique.name!r}, got {list(answer.shape)}"
        )
