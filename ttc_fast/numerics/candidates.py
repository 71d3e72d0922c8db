"""Sums over candidate answers in C++, each in one pass: thin wrappers of the extension for tensors on the CPU."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from . import extension


def supported(w: Tensor) -> bool:
    """Whether the functions below can work on candidates ``w``: float32 on the CPU, and no gradient is wanted."""
    return extension.module is not None and w.dtype == torch.float32 and w.device.type == "cpu" and not w.requires_grad


def measure(
    w: Tensor,
    *,
    examples: tuple[Tensor, Tensor] | None = None,
    factor: float = 1.0,
    aim: tuple[Tensor, Tensor] | None = None,
    equality: bool = False,
    pack: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    """What is asked of candidates ``[B, N, d]``, in one pass: the loss ``[B, N]``, the distances ``[M, B, N]``, the
    bits; empty where nothing is asked.

    Args:
        w: the candidates.
        examples: x ``[B, n, d]`` and y ``[B, n]``, for the loss factor sum_i (<w, x_i> - y_i)^2.
        factor: see ``examples``.
        aim: target ``[B, d]`` and weights ``[M, d]``, for the distances sum_i weight_i (w_i - target_i)^2.
        equality: add a row, 1 where the first distance is 0 and else 0.
        pack: whether the bits are asked for: which coefficients are above 1/2, 64 in a number ``[B, words, N]``.
    """
    found = extension.loaded().measure(
        *_arrays(w),
        examples=None if examples is None else _arrays(*examples),
        factor=factor,
        aim=None if aim is None else _arrays(*aim),
        equality=equality,
        pack=pack,
        threads=torch.get_num_threads(),
        isa=extension.isa(),
    )
    loss, distances, bits = (torch.from_numpy(array) for array in found)
    return loss, distances, bits


def tree_sum(x: Tensor) -> Tensor:
    """Sum of ``[B, N]`` or ``[B, N, d]`` over N, to the bit that of :func:`ttc_fast.sums.tree_sum`."""
    return torch.from_numpy(extension.loaded().tree_sum(*_arrays(x), threads=torch.get_num_threads()))


def best_of_k(score: Tensor, values: Sequence[Tensor], weight: Tensor, *, lowest: bool = False) -> Tensor:
    """sum_j weight[j, k] value_(j), where j ranks the samples by descending score, and equal scores share the mean of
    their values: float64 ``[len(values), B, K]``.

    Args:
        score: of the samples ``[B, N]``.
        values: of the samples, ``[B, N]`` each.
        weight: float64 ``[N, K]``, K a multiple of 8.
        lowest: rank by ascending score.
    """
    key, of_rank, *arrays = _arrays(score, weight, *values)
    threads = torch.get_num_threads()
    return torch.from_numpy(
        extension.loaded().best_of_k(
            key, lowest=lowest, values=arrays, weight=of_rank, threads=threads, isa=extension.isa()
        )
    )


def vote_recovery(
    bits: Tensor, w_star: Tensor, block: int, orders: Tensor, groups: Sequence[tuple[int, int]]
) -> tuple[Tensor, Tensor]:
    """Probability that the majority of a group of candidates is w_star, ties by fair coins: for each (size, P) the mean
    over the whole groups of that size in P partitions, float64 ``[B, len(groups)]``; and how many candidates have each
    coefficient right, int64 ``[B, d]``.

    The first partition is of the samples as they come; the others, where the size is a multiple of the block, are
    of blocks of so many samples.

    Args:
        bits: of the candidates, as of :func:`measure`.
        w_star: ``[B, d]``.
        block: samples that stay together.
        orders: of the blocks in the partitions after the first, ``[any, N // block]``.
        groups: (size, P) of each result.
    """
    recovery, right = extension.loaded().vote_recovery(
        *_arrays(bits, w_star, orders),
        block=block,
        groups=list(groups),
        threads=torch.get_num_threads(),
        isa=extension.isa(),
    )
    return torch.from_numpy(recovery), torch.from_numpy(right)


def median_errors(
    w: Tensor, target: Tensor, square: Tensor, cross: Tensor, ranges: Sequence[tuple[int, int, int]]
) -> Tensor:
    """(median of k - target)^2 of every coefficient, mean over all subsets of k of the candidates, for each law of the
    middle of k (``ttc_fast/estimators/medians.py``): float64 ``[B, K, d]``.

    Args:
        w: candidates ``[B, N, d]``.
        target: ``[B, d]``.
        square, cross: of the laws, float64 ``[K, N]``.
        ranges: their start, stop and half.
    """
    errors = extension.loaded().median_errors(
        *_arrays(w, target, square, cross), ranges=list(ranges), threads=torch.get_num_threads(), isa=extension.isa()
    )
    return torch.from_numpy(errors)


def group_answers(
    technique: str,
    parameter: float,
    w: Tensor,
    score: Tensor,
    block: int,
    orders: Tensor,
    groups: Sequence[tuple[int, int]],
    *,
    seed: int,
    first_prompt: int,
    step: int,
) -> Tensor:
    """An answer of every group of candidates ``[B, N, d]`` with scores ``[B, N]``: ``[B, all groups, d]``, those of a
    size together, and of them those of a partition; groups as of :func:`vote_recovery`.

    Args:
        technique: "softmax_mean", "weighted_vote", "plurality", "weighted_best_of_n" or "majority_of_best".
        parameter: beta, or the share of the best.
        w, score, block, orders, groups: see above.
        seed, first_prompt, step: of the coins that decide ties.
    """
    return torch.from_numpy(
        extension.loaded().group_answers(
            *_arrays(w, score, orders),
            technique=technique,
            parameter=parameter,
            block=block,
            groups=list(groups),
            seed=seed,
            first_prompt=first_prompt,
            step=step,
            threads=torch.get_num_threads(),
            isa=extension.isa(),
        )
    )


def _arrays(*tensors: Tensor) -> list[Any]:
    # Copied by numpy where need be: a thread of PyTorch that has just worked would be in the way of ours.
    return [np.ascontiguousarray(tensor.numpy()) for tensor in tensors]
