"""Long work cut into parts whose arrays fit in memory or in the cache."""

from __future__ import annotations

from collections.abc import Iterator


def tiles(length: int, size: int) -> Iterator[slice]:
    """Slices that cover ``range(length)`` in order.

    Args:
        length: of what is covered.
        size: of every slice but the last, which may be shorter; below 1 counts as 1.

    >>> list(tiles(5, 2))
    [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
    """
    size = max(size, 1)
    return (slice(start, min(start + size, length)) for start in range(0, length, size))
