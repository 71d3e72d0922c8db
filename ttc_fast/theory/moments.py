"""Moments of the spectrum of a random design, exactly, in rational numbers."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

from ..numerics import check


def trace_moments(examples: int, dim: int, order: int) -> list[Fraction]:
    """E tr S^k / d for k = 0, 1, ..., exactly.

    S = X^T X / n, where X has n rows N(0, I_d). tr W^k, W = n S, in zonal polynomials J_lambda, whose expectations are
    products over boxes: E tr W^k = sum 2 k theta / j prod (n + c)(d + c) over partitions of k, c = 2 (column) - (row)
    from 0, theta the product of all c but the first, j the product of (2 arm + leg + 1)(2 arm + leg + 2). theta is 0
    for all partitions but (a, b, 1, ..., 1), so that the cost is O(order^3), not the number of partitions. Sources:
    Hanlon, Stanley, Stembridge, Contemporary Mathematics 138, 1992; Macdonald, Symmetric functions, VI.10.

    Args:
        examples: n.
        dim: d.
        order: the largest k.

    >>> trace_moments(examples=10, dim=4, order=2)  # E tr S / d = 1, E tr S^2 / d = 1 + (d + 1) / n
    [Fraction(1, 1), Fraction(1, 1), Fraction(3, 2)]
    """
    n, d = check.integer("examples", examples, 1, 2**34), check.integer("dim", dim, 1, 2**24)
    order = check.integer("order", order, 0, 2**12)
    moments = [Fraction(1)]
    for k in range(1, order + 1):
        total = sum((_partition_term(n, d, a, b, k - a - b) for a, b in _partitions(k)), Fraction(0))
        moments.append(2 * k * total / (d * n**k))
    return moments


def _partitions(k: int) -> Iterator[tuple[int, int]]:
    """First two rows (a, b) of the partitions (a, b, 1, ..., 1) of k."""
    yield k, 0
    for b in range(1, k // 2 + 1):
        yield from ((a, b) for a in range(b, k - b + 1))


def _partition_term(n: int, d: int, a: int, b: int, ones: int) -> Fraction:
    """theta / j prod (n + c)(d + c) of the partition (a, b, 1^ones); b = 0 only with ones = 0."""
    rows = (a, b) if b else (a,)
    numerator, hooks = 1, 1
    for i, length in enumerate(rows):
        for j in range(length):
            c = 2 * j - i
            numerator *= (n + c) * (d + c) * (c or 1)
            leg = (len(rows) - 1 - i + ones) if j == 0 else int(i == 0 and j < b)
            arm = length - 1 - j
            hooks *= (2 * arm + leg + 1) * (2 * arm + leg + 2)
    for i in range(2, 2 + ones):  # the first column goes on: arm 0
        leg = 1 + ones - i
        numerator *= (n - i) * (d - i) * -i
        hooks *= (leg + 1) * (leg + 2)
    return Fraction(numerator, hooks)
