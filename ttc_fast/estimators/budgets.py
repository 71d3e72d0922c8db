"""Budgets: how many of the N samples of a prompt a technique may use."""

from __future__ import annotations

from collections.abc import Sequence

from ..numerics import check
from .arrays import Integers, integers


def powers_of_two(samples: int) -> list[int]:
    """The usual budgets, 1, 2, 4, ... and ``samples`` itself.

    >>> powers_of_two(12)
    [1, 2, 4, 8, 12]
    """
    return [*(2**i for i in range((samples - 1).bit_length())), samples]


def sizes(budgets: Sequence[int]) -> Integers:
    """``budgets`` as an array ``[K]``, in the order given.

    Raises:
        TypeError, ValueError: they are not integers of at least 1.
    """
    ks = integers("budgets", budgets)
    if ks.ndim != 1 or len(ks) == 0 or ks.min() < 1:
        raise ValueError(f"budgets: expected integers of at least 1, got {check.shown(budgets)}")
    return ks
