"""Who makes the sums over candidate answers where these lie: C++ on the CPU, Triton's kernels on a GPU."""

from __future__ import annotations

from types import ModuleType

from torch import Tensor

from ..kernels import available
from ..numerics import candidates


def engine(w: Tensor) -> ModuleType | None:
    """The module whose ``measure``, ``tree_sum``, ``best_of_k`` and ``vote_recovery`` (see
    ``numerics/candidates.py``) take candidates ``w`` as they are; None: there is none, PyTorch does it.

    Args:
        w: candidates ``[B, N, d]``, or numbers of them ``[B, N]``.
    """
    if w.device.type == "cuda" and available():
        from ..kernels import aggregate  # imports triton, which takes a second

        return aggregate if aggregate.supported(w) else None
    return candidates if candidates.supported(w) else None
