"""Tables that hang on the number of samples and the budgets alone, on the device where they are needed."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from ..estimators import medians, selection, votes
from ..numerics.wide import home


@functools.lru_cache(maxsize=64)
def constant(
    make: Callable[[int, tuple[int, ...]], Tensor], samples: int, budgets: tuple[int, ...], device: torch.device
) -> Tensor:
    """Something of samples and budgets in float64, sent to a device once.

    Args:
        make: makes it.
        samples: N.
        budgets: the k.
        device: where it goes, if float64 is there; else the CPU.
    """
    return make(samples, budgets).to(home(device), non_blocking=True)


def share_of_one(samples: int, budgets: tuple[int, ...]) -> Tensor:
    """What the error of one sample weighs in that of the mean of k: float64 ``[K]``.

    Args:
        samples: N.
        budgets: the k.
    """
    return torch.from_numpy(selection.mean_of_k([1.0], [0.0], samples, budgets)[0])


def majority(ones: Tensor, samples: int, budgets: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Probability of 1 by a majority of k of the samples, of which so many ``[b, d]`` are 1: ``[b, d, K]``.

    Args:
        ones: int64.
        samples: N.
        budgets: the k.
        dtype: of the result.
    """
    if home(ones.device).type == "cpu":
        return (
            torch.from_numpy(votes.majority_correct_at_k(ones.cpu().numpy(), samples, budgets))
            .to(dtype)
            .to(ones.device)
        )
    return constant(law_of_majority, samples, budgets, ones.device).to(dtype)[ones]


def law_of_majority(samples: int, budgets: tuple[int, ...]) -> Tensor:
    """The same for every number of ones, float64 ``[samples + 1, K]``.

    Args:
        samples: N.
        budgets: the k.
    """
    return torch.from_numpy(votes.majority_correct_at_k(np.arange(samples + 1), samples, budgets))


def middles(samples: int, budgets: tuple[int, ...]) -> Tensor:
    """The laws of the middle of k (:func:`ttc_fast.estimators.medians.middle`), square and cross: ``[2, K, N]``.

    Args:
        samples: N.
        budgets: the k.
    """
    laws = [medians.middle(samples, k) for k in budgets]
    return torch.from_numpy(np.stack([[law.square for law in laws], [law.cross for law in laws]]))


def share_of_ties(ones: Tensor, samples: int, budgets: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Probability that half of k of the samples, of which so many ``[b, d]`` are 1, are 1: ``[b, d, K]``.

    Args:
        ones: int64.
        samples: N.
        budgets: the k.
        dtype: of the result.
    """
    law = constant(law_of_ties, samples, budgets, ones.device)
    return law[ones.to(law.device)].to(dtype).to(ones.device)


def law_of_ties(samples: int, budgets: tuple[int, ...]) -> Tensor:
    """The same for every number of ones, float64 ``[samples + 1, K]``.

    Args:
        samples: N.
        budgets: the k.
    """
    laws = np.zeros((samples + 1, len(budgets)))
    for column, k in enumerate(budgets):
        if k % 2 == 0:  # the lower of the middle two is 0, the upper one 1; zeros have the first ranks
            lower, upper = (medians.rank_law(samples, k, r).cumsum() for r in (k // 2, k // 2 + 1))
            laws[samples - 1 :: -1, column] = lower - upper
    return torch.from_numpy(laws)


def weights_of_ranks(samples: int, budgets: tuple[int, ...]) -> Tensor:
    """Probability that the best of ``budgets[k]`` samples is the one of rank j: float64 ``[N, K]``, with columns of
    zeros up to a multiple of 8. Where it is below 1e-30 it is 0, so that no time is spent there.

    Args:
        samples: N.
        budgets: the k.
    """
    weights = torch.zeros(samples, -(-len(budgets) // 8) * 8, dtype=torch.float64)
    for column, size in enumerate(budgets):
        found = selection.selection_weights(samples, [size])[0]
        weights[: len(found), column] = torch.from_numpy(np.where(found < 1e-30, 0.0, found))
    return weights
