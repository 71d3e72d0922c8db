"""Sums over candidate answers on the GPU: the functions of ``ttc_fast/numerics/candidates.py`` for tensors there, by a
few launches each and without waiting for any."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import triton
from torch import Tensor

from . import MAX_DIM, padded
from .candidates import best_kernel, factor_kernel, mean_kernel, measure_kernel, recovery_kernel, sum_kernel
from .decode import Launch, start

SMALL, WIDE = (16, 1), (1, 64)
"""Groups and samples at a time of groups below and from 64 samples."""

PART = 256
"""Ranks that one program adds up: enough programs for a GPU where prompts are few."""


def supported(w: Tensor) -> bool:
    """Whether the functions below can work on candidates ``w [B, N, d]``, or numbers of them ``[B, N]``: float32, up to
    MAX_DIM coefficients, no gradient."""
    return w.dtype == torch.float32 and (w.ndim < 3 or w.shape[2] <= MAX_DIM) and not w.requires_grad


def launch_of(kernel: Any, programs: int, *arguments: Any, warps: int = 4, **constants: Any) -> Launch:
    """A launch of one of the kernels."""
    options = {"num_warps": warps, "enable_fp_fusion": False}
    return Launch(kernel, programs, dict(zip(kernel.arg_names, arguments)), constants, options)


def launch(*given: Any, **constants: Any) -> None:
    """One launch, see :func:`launch_of`, on the GPU of its first argument, which need not be the current one."""
    asked = launch_of(*given, **constants)
    start(asked, next(iter(asked.arguments.values())).device)


def measure(
    w: Tensor,
    *,
    examples: tuple[Tensor, Tensor] | None = None,
    factor: float = 1.0,
    aim: tuple[Tensor, Tensor] | None = None,
    equality: bool = False,
    pack: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    """As the function of this name in C++: the loss ``[B, N]``, the distances ``[M, B, N]``, the bits."""
    w = w.contiguous()
    prompts, samples, dim = w.shape
    kinds = 0 if aim is None else len(aim[1])
    loss = w.new_empty((prompts, samples) if examples else (0,))
    distance = w.new_empty(kinds + equality if aim is not None else 0, prompts, samples)
    bits = w.new_empty((prompts, -(-dim // 64), samples) if pack else (0,), dtype=torch.int64)
    rows = _rows(*examples) if examples else w
    target, weight = (w, w) if aim is None else (part.contiguous() for part in aim)
    block = 64 if dim <= 64 else 16
    if w.numel():
        launch(
            measure_kernel, prompts * triton.cdiv(samples, block), w, rows, target, weight, loss, distance, bits,
            prompts * samples, samples, dim, rows.shape[1], factor, LOSS=examples is not None, KINDS=kinds,
            EQUALITY=equality, PACK=pack, D=padded(dim), BN=block,
        )  # fmt: skip
    return loss, distance, bits


def _rows(x: Tensor, y: Tensor) -> Tensor:
    """Rows (x_i, y_i) ``[B, rows, d + 1]`` with the same squared residuals as all examples, and as few."""
    prompts, examples, dim = x.shape
    if examples <= dim + 1 or dim >= 128:  # nothing to gain, or no room for the Gram matrix in registers
        return torch.cat((x, y[:, :, None]), 2)
    factor = x.new_empty(prompts, dim + 1, dim + 1)
    size = max(16, triton.next_power_of_2(dim + 1))
    launch(factor_kernel, prompts, x.contiguous(), y.contiguous(), factor, examples, dim, D=size, warps=8)
    return factor


def tree_sum(x: Tensor) -> Tensor:
    """Sum of ``[B, N]`` or ``[B, N, d]`` over N, to the bit that of :func:`ttc_fast.numerics.sums.tree_sum`."""
    shape = (len(x), *x.shape[2:])
    x = x.reshape(len(x), x.shape[1], -1).contiguous()
    while x.shape[1] > 1 and x.numel():
        out = x.new_empty(len(x), triton.cdiv(x.shape[1], 64), x.shape[2])
        block = min(64, triton.next_power_of_2(x.shape[2]))
        programs = len(x) * out.shape[1] * triton.cdiv(x.shape[2], block)
        launch(sum_kernel, programs, x, out, x.shape[1], x.shape[2], T=64, C=block)
        x = out
    return x.reshape(shape)


def best_of_k(score: Tensor, values: Sequence[Tensor], weight: Tensor, *, lowest: bool = False) -> Tensor:
    """As the function of this name in C++: float64 ``[len(values), B, K]``; a NaN of the scores is the worst."""
    worst = torch.inf if lowest else -torch.inf
    known = torch.nan_to_num(score, worst, torch.inf, -torch.inf)
    ordered, order = known.sort(dim=1, descending=not lowest, stable=True)
    ascending = ordered if lowest else -ordered
    start = torch.searchsorted(ascending, ascending)
    stop = torch.searchsorted(ascending, ascending, right=True)
    running = _running(weight)
    table = torch.stack(tuple(values))
    parts = triton.cdiv(score.shape[1], PART)
    out = weight.new_empty(len(table) * len(score), parts, weight.shape[1])
    columns = triton.next_power_of_2(weight.shape[1])
    if out.numel():
        launch(
            best_kernel, len(out) * parts, table, order, start, stop, weight, running, out, len(score),
            score.shape[1], weight.shape[1], K=columns, BN=64, PART=PART,
        )  # fmt: skip
    return tree_sum(out).view(len(table), len(score), -1)


@functools.lru_cache(maxsize=4)
def _running(weight: Tensor) -> Tensor:
    """Sums of the first weights ``[N + 1, K]``: those of a run of equal scores are a difference."""
    return torch.nn.functional.pad(weight.cumsum(0), (0, 0, 1, 0))


class _Groups(NamedTuple):
    """Groups of candidates that vote, on the GPU."""

    order: Tensor
    """The samples in the order of every partition."""
    jobs: list[tuple[tuple[int, int], Tensor]]
    """Of each shape, what the programs of ``recovery_kernel`` do."""
    begins: Tensor
    """Place of the first group of each size, and of all samples as one group."""
    counts: Tensor
    """Groups of each size, and one."""
    length: int
    """Of all groups together."""


@functools.lru_cache(maxsize=4)
def _groups(samples: int, block: int, orders: Tensor, groups: tuple[tuple[int, int], ...], device: Any) -> _Groups:
    """Sent once: the same for all prompts and steps."""
    jobs: dict[tuple[int, int], list[list[int]]] = {SMALL: [], WIDE: []}
    counts: list[int] = []
    for size, partitions in [*groups, (samples, 1)]:
        whole, shape = samples // size, SMALL if size < 64 else WIDE
        begin = sum(counts)
        for p in range(partitions):
            jobs[shape] += [[size, first, whole, p, begin + p * whole] for first in range(0, whole, shape[0])]
        counts.append(partitions * whole)
    kept = torch.arange(samples // block * block).unflatten(0, (-1, block))
    rows = [torch.arange(samples), *(torch.nn.functional.pad(kept[o].flatten(), (0, samples % block)) for o in orders)]
    begins = [0, *itertools.accumulate(counts)]

    def sent(listed: Any) -> Tensor:
        return torch.as_tensor(listed).to(device, torch.int32, non_blocking=True)

    listed = [(shape, sent(table)) for shape, table in jobs.items() if table]
    return _Groups(sent(torch.stack(rows)), listed, sent(begins[:-1]), sent(counts), begins[-1])


def vote_recovery(
    bits: Tensor, w_star: Tensor, block: int, orders: Tensor, groups: Sequence[tuple[int, int]]
) -> tuple[Tensor, Tensor]:
    """As the function of this name in C++: float64 ``[B, len(groups)]``, and the right votes int64 ``[B, d]``."""
    (prompts, _, samples), dim, device = bits.shape, w_star.shape[1], bits.device
    given = _groups(samples, block, orders, tuple(groups), device)
    probability = torch.empty(prompts, given.length, dtype=torch.float64, device=device)
    right = torch.empty(prompts, dim, dtype=torch.int64, device=device)
    out = torch.empty(prompts, len(groups), dtype=torch.float64, device=device)
    if not prompts:
        return out, right
    for (together, at_once), table in given.jobs:
        launch(
            recovery_kernel, prompts * len(table), bits, w_star.contiguous(), given.order, table, probability, right,
            len(table), given.length, samples, dim, G=together, T=at_once, D=padded(dim),
        )  # fmt: skip
    if groups:
        launch(
            mean_kernel, prompts * len(groups), probability, given.begins, given.counts, out, given.length,
            len(groups), BN=256,
        )  # fmt: skip
    return out, right
