"""The kernels compiled ahead for GPUs that need not be there, so that the first run on one compiles nothing."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import torch

from .compiled import CONSTANTS, Source, decode_source, launch_source, translate

DIMS = (16, 32, 64, 128, 256)
"""Padded dimensions: the kernels are the same for all that are padded to one of them; those of a decode of just so many
coefficients are others."""
MEASURED = (
    (True, 1, False, False), (True, 1, True, True), (False, 1, False, False), (False, 1, True, False),
    (True, 0, False, False),
)  # fmt: skip
"""What is asked of candidates and of answers (loss, distances, equality, packed bits) in runs with the default metrics,
and of chains that a search weighs."""
BUDGETS = (8, 16, 32)
"""Columns of the weights of ranks: budgets up to 2^31 samples by powers of two."""


def sources(arch: str, part: str | int) -> Iterator[Source]:
    """Kernels of the shipped table for a GPU, in the default precision.

    Args:
        arch: such as ``"sm_90"``.
        part: of all dimensions, the decode by a rule, a key of CONSTANTS; or what is asked of candidates of a padded
            dimension.
    """
    if isinstance(part, str):
        for dim in DIMS:
            yield from (decode_source(arch, part, given) for given in (dim - 1, dim))
        return
    from .decode import noted

    with noted() as launches:
        _ask_candidates(part)
    yield from {(one.kernel, *one.constants.items()): launch_source(one) for one in launches}.values()


def _ask_candidates(dim: int) -> None:
    """As the default runs do, of tensors whose values do not matter."""
    from . import aggregate

    samples = 128
    w, x, aim = torch.zeros(1, samples, dim), torch.zeros(1, dim + 2, dim), torch.zeros(1, dim)
    score = w[:, :, 0].contiguous()
    for loss, kinds, equality, pack in MEASURED:
        examples, aims = (x, x[:, :, 0]) if loss else None, (aim, torch.zeros(kinds, dim)) if kinds else None
        aggregate.measure(w, examples=examples, aim=aims, equality=equality, pack=pack)
    bits = torch.zeros(1, -(-dim // 64), samples, dtype=torch.int64)
    aggregate.vote_recovery(bits, aim, 1, torch.arange(samples)[None], [(1, 1), (64, 1)])
    for width in (1, 2, 4, 8, 16, 32, 64):  # of thoughts, of errors, of figures at every budget
        aggregate.tree_sum(torch.zeros(1, samples, width))
    for columns in BUDGETS:
        aggregate.best_of_k(score, [score], torch.zeros(samples, columns, dtype=torch.float64))


def _surrounded(environment: dict[str, str]) -> None:
    os.environ.update(environment)


def _build(arch: str, part: str | int) -> set[str]:
    """Names of the kernels in the cache: dimensions have some in common."""
    return {translate(arch, source).hash for source in sources(arch, part)}


def build(archs: Sequence[str], folder: Path | None, report: Callable[[float], None] = lambda share: None) -> int:
    """Compile the shipped table: every rule, what is asked of candidates, all dimensions, in the default precision.

    Args:
        archs: of the GPUs, keys of ``compiled.SHARED_MEMORY``.
        folder: where; None for Triton's own cache. A run finds the kernels there if the environment variable
            TRITON_CACHE_DIR names the folder.
        report: called with the share that is done.

    Returns:
        The number of kernels.
    """
    parts: list[str | int] = [*CONSTANTS, *DIMS]
    environment = {} if folder is None else {"TRITON_CACHE_DIR": str(folder.resolve())}
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(None, spawn, _surrounded, (environment,)) as pool:
        asked = [pool.submit(_build, arch, part) for arch in archs for part in parts]
        built: set[str] = set()
        for i, job in enumerate(asked):
            built |= job.result()
            report((i + 1) / len(asked))
    return len(built)
