"""Sets drawn without replacement: k of d coordinates one by one in proportion to weights v, whatever their order.

The Plackett-Luce law, or successive sampling. Two formulas whose terms are all positive, so that the relative accuracy
is that of rounding for any weights; the sum over subsets with alternating signs loses its digits in small weights:

    f(A) = sum over i in A of f(A without i) v_i / (sum of v outside A without i),  f(empty) = 1
    P(A) = int_0^inf R e^{-R t} prod over i in A of (1 - e^{-v_i t}) dt,            R = sum of v outside A

The first, over all smaller sets, gives all of them at once; the second is for sets with too many subsets. float64; a
law is an array of C(d, k) probabilities in the order of :func:`all_sets`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ..estimators.arrays import Array, Integers
from ..numerics import check

MAX_SETS = 20_000
"""Largest C(d, k) of a chain."""

SUBSETS = 2**18
"""Sets of at most k of d coordinates up to which laws come from all of them; beyond, by quadrature."""

_BLOCK = 2**16
"""Probabilities made at a time: they stay in the cache."""


def all_sets(dim: int, ones: int) -> Array:
    """All sets of k of d coordinates as bits ``[C(d, k), d]``, those with the first coordinates first.

    Args:
        dim: d.
        ones: k.

    Raises:
        ValueError: there are more than 20,000.

    >>> all_sets(3, 2).astype(int).tolist()
    [[1, 1, 0], [1, 0, 1], [0, 1, 1]]
    """
    count_of_sets(dim, ones)
    return _bits(_members(dim, ones), dim)


def count_of_sets(dim: int, ones: int) -> int:
    """C(d, k).

    Args:
        dim: d.
        ones: k, from 1 to d.

    Raises:
        ValueError: there are more than 20,000.
    """
    dim = check.integer("dim", dim, 1, MAX_SETS)
    count = math.comb(dim, check.integer("ones", ones, 1, dim))
    if count > MAX_SETS:
        raise ValueError(f"ones: expected C(d, k) <= {MAX_SETS}, got C({dim}, {ones}) = {count}")
    return count


def _members(dim: int, ones: int) -> Integers:
    """``[C(d, k), k]``, ascending."""
    count = math.comb(dim, ones)
    flat = (i for chosen in combinations(range(dim), ones) for i in chosen)
    return np.fromiter(flat, dtype=np.int64, count=count * ones).reshape(count, ones)


def _bits(members: Integers, dim: int) -> Array:
    bits = np.zeros((len(members), dim))
    np.put_along_axis(bits, members, 1.0, axis=1)
    return bits


class _Level(NamedTuple):
    """The sets of j coordinates, each as one of j - 1 and a last draw."""

    outside: Array
    """1 for coordinates that are not in a set of j - 1, ``[C(d, j-1), d]``."""
    before: Integers
    """Position of the set without its i-th member, ``[j, C(d, j)]``."""
    drawn: Integers
    """That member, ``[j, C(d, j)]``."""


@lru_cache(maxsize=4)
def _levels(dim: int, ones: int) -> tuple[_Level, ...]:
    levels = []
    for j in range(1, ones + 1):
        members = _members(dim, j)
        # position of a set of m: those after it are counted by the first member in which they differ
        binomial = np.array(
            [[math.comb(dim - 1 - c, j - 1 - i) for c in range(dim)] for i in range(j - 1)], dtype=np.int64
        )
        before = []
        for i in range(j):
            rest = np.delete(members, i, axis=1)
            after = sum((binomial[m, rest[:, m]] for m in range(j - 1)), np.zeros(len(rest), dtype=np.int64))
            before.append(math.comb(dim, j - 1) - 1 - after)
        levels.append(_Level(1.0 - _bits(_members(dim, j - 1), dim), np.stack(before), members.T.copy()))
    return tuple(levels)


def subsets_of_at_most(dim: int, ones: int) -> int:
    """Number of sets of at most k of d coordinates, or, where there are more than 2^18, a number above that.

    Args:
        dim: d.
        ones: k.
    """
    total = level = 1
    for j in range(ones):
        level = level * (dim - j) // (j + 1)
        total += level
        if total > SUBSETS:
            break
    return total


def laws_of_draw(weights: ArrayLike, ones: int) -> Array:
    """P(A) of every set A of k coordinates drawn without replacement in proportion to weights.

    Args:
        weights: v, positive and finite ``[A, d]``: A laws.
        ones: k.

    Returns:
        ``[A, C(d, k)]``.

    Raises:
        ValueError: there are more than 20,000 sets, or a weight is not positive.

    >>> laws_of_draw([[1.0, 2.0, 3.0]], 2).round(6).tolist()  # the first is 1/6 2/5 + 2/6 1/4
    [[0.15, 0.266667, 0.583333]]
    """
    v = _checked_weights(weights)
    count_of_sets(v.shape[1], ones)
    blocks = [law_block(v[rows], ones) for rows in row_blocks(len(v), v.shape[1], ones)]
    return np.asarray(np.concatenate(blocks, axis=1).T)


def _checked_weights(weights: ArrayLike) -> Array:
    v = np.asarray(weights, dtype=np.float64)
    if v.ndim != 2 or not (np.isfinite(v).all() and (v > 0).all()):
        raise ValueError(f"weights: expected positive finite numbers [A, d], got shape {list(v.shape)} or others")
    return v


def row_blocks(count: int, dim: int, ones: int) -> Iterator[slice]:
    """Laws that are made at a time, of ``count``.

    Args:
        count: of laws.
        dim: d.
        ones: k.
    """
    size = max(1, _BLOCK // math.comb(dim, ones))
    yield from (slice(start, min(start + size, count)) for start in range(0, count, size))


def law_block(v: Array, ones: int) -> Array:
    """:func:`laws_of_draw` without checks, all at once, in columns.

    Args:
        v: weights ``[A, d]``.
        ones: k.

    Returns:
        ``[C(d, k), A]``.
    """
    dim = v.shape[1]
    if ones == dim:
        return np.ones((1, len(v)))
    if subsets_of_at_most(dim, ones) > SUBSETS:
        sets = _bits(_members(dim, ones), dim)
        return np.stack([_by_quadrature(row, sets) for row in v], axis=1)
    columns = np.ascontiguousarray((v / v.sum(1, keepdims=True)).T)  # v = 1e30 leaves room for sums
    law = np.ones((1, len(v)))
    for outside, before, drawn in _levels(dim, ones):
        share = law / (outside @ columns)
        law = share[before[0]] * columns[drawn[0]]
        for i in range(1, len(before)):
            law += share[before[i]] * columns[drawn[i]]
    return law


def set_probability(weights: ArrayLike, chosen: ArrayLike) -> float:
    """P(A) of one set of any size, by quadrature; relative accuracy about 1e-13, and 1e-11 in the worst case known.

    The trapezoidal rule in ln t: the integrand's logarithm is concave there, it falls as t on the left and as e^{-R t}
    on the right, and is analytic in a strip.

    Args:
        weights: v, positive and finite ``[d]``.
        chosen: A as bits ``[d]``.

    Raises:
        ValueError: a weight is not positive, or a shape is another one.

    >>> round(set_probability([1.0, 2.0, 3.0], [1, 1, 0]), 12)
    0.15
    """
    v, bits = _checked_weights(np.asarray(weights, dtype=np.float64)[None])[0], np.asarray(chosen, dtype=np.float64)
    if bits.shape != v.shape or not np.isin(bits, (0.0, 1.0)).all():
        raise ValueError(f"chosen: expected bits of shape {list(v.shape)}, got {bits.tolist()}")
    return float(_by_quadrature(v, bits[None])[0])


def _by_quadrature(v: Array, sets: Array) -> Array:
    """P of each of the sets ``[M, d]`` given weights ``[d]``: ``[M]``."""
    left = (1 - sets) @ v
    if not left.all():  # nothing is outside
        return np.ones(len(sets))
    ones = int(sets[0].sum())
    spacing = 6 / (36 + 2 * ones)  # narrower peaks for more draws: checked with 40 digits up to k = 100
    low, high = -np.log(left.max()) - 42, math.log(ones + 60) - np.log(left.min())
    log_t = np.linspace(low, high, math.ceil((high - low) / spacing) + 1)
    with np.errstate(over="ignore"):
        log_hit = np.log(-np.expm1(-v[:, None] * np.exp(log_t)))
    values = sets @ log_hit
    values += np.log(left)[:, None] + log_t - left[:, None] * np.exp(log_t)
    peak = values.max(1, keepdims=True)
    return np.asarray(np.exp(values - peak).sum(1) * np.exp(peak[:, 0]) * (log_t[1] - log_t[0]))
