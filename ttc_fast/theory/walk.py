"""What a chain is at the steps that are asked for, each from the last one before it that was asked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from ..numerics import check

T = TypeVar("T")


class Walk(Generic[T]):
    """Results of a chain at asked steps, kept, so that steps in ascending order cost no more than the last of them.

    Args:
        start: at step 0.
        advance: from the result at a step, that step and a later one, to the result there.

    >>> walk = Walk(1.0, lambda value, first, last: value / 2 ** (last - first))
    >>> walk.at(3), walk.at(5), walk.at(0)
    (0.125, 0.03125, 1.0)
    """

    def __init__(self, start: T, advance: Callable[[T, int, int], T]) -> None:
        self._found, self._advance = {0: start}, advance

    def at(self, step: int) -> T:
        """The result at a step, at least 0."""
        step = check.integer("step", step, 0, 2**34)
        if step not in self._found:
            before = max(asked for asked in self._found if asked < step)
            self._found[step] = self._advance(self._found[before], before, step)
        return self._found[step]
