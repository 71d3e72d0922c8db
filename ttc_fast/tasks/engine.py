"""Who makes the sums over candidate answers where these lie: C++ on the CPU, Triton's kernels on a GPU."""

from __future__ import annotations

import functools
import warnings
from types import ModuleType

import torch
from torch import Tensor

from ..kernels import Unusable, available, too_old
from ..numerics import candidates, sums


def engine(w: Tensor) -> ModuleType | None:
    """The module whose ``measure``, ``tree_sum``, ``best_of_k`` and ``vote_recovery`` (see
    ``numerics/candidates.py``) take candidates ``w`` as they are; None: there is none, PyTorch does it.

    Args:
        w: candidates ``[B, N, d]``, or numbers of them ``[B, N]``.
    """
    if w.device.type == "cuda" and available():
        from ..kernels import aggregate  # imports triton, which takes a second

        return aggregate if aggregate.supported(w) and _usable(w.device) else None
    return candidates if candidates.supported(w) else None


def tree_sum(x: Tensor) -> Tensor:
    """Sum over N in the order of :func:`ttc_fast.numerics.sums.tree_sum`, made by the engine if there is one.

    Args:
        x: ``[B, N]`` or ``[B, N, d]``.
    """
    native = engine(x)
    total: Tensor = sums.tree_sum(x, 1) if native is None else native.tree_sum(x)
    return total


@functools.cache
def _usable(device: torch.device) -> bool:
    """Whether Triton's kernels run on a GPU: the smallest of them is tried. Said once if not."""
    from ..kernels import aggregate

    try:
        reason = too_old(device)
        if not reason:
            aggregate.tree_sum(torch.zeros(1, 2, device=device))
    except Unusable as error:
        reason = str(error)
    if reason:
        warnings.warn(f"candidates are summed by PyTorch, slowly: {reason}", stacklevel=3)
    return not reason
