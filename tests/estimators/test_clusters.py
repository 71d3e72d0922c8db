"""Intervals over clusters, and bounds of a majority from two samples."""

from __future__ import annotations

import doctest

import numpy as np
import pytest

from ttc_fast.estimators import clusters, majority_bounds
from ttc_fast.estimators.clusters import cluster_values
from ttc_fast.estimators.intervals import bounded_interval
from ttc_fast.estimators.majority_bounds import moments


def test_clusters_of_one_size_are_their_means() -> None:
    values = np.random.default_rng(0).random((12, 2))
    assert cluster_values(values, np.repeat(np.arange(4), 3)) == pytest.approx(values.reshape(4, 3, 2).mean(axis=1))
    assert cluster_values(values, np.arange(12)) == pytest.approx(values)
    uneven = cluster_values(values, [0] * 7 + [1] * 5)
    assert uneven.mean(axis=0) == pytest.approx(values.mean(axis=0))
    with pytest.raises(ValueError, match="clusters: expected one for each"):
        cluster_values(values, [0, 1])


def covered(groups: int, repeats: int, clustered: bool) -> float:
    """How often the interval holds the truth 1/2: questions of one passage share most of their difficulty."""
    rng, hits = np.random.default_rng(groups), 0
    for _ in range(repeats):
        sizes = rng.integers(1, 9, size=groups)
        which = np.repeat(np.arange(groups), sizes)
        values = rng.random(len(which)) < rng.beta(0.5, 0.5, size=groups)[which]
        interval = bounded_interval(cluster_values(values, which) if clustered else values.astype(float))
        hits += interval.low <= 0.5 <= interval.high
    return hits / repeats


def test_cluster_intervals_cover() -> None:
    """95 %, where intervals over prompts cover 70 to 80 %; the README has more repeats."""
    assert covered(40, 400, clustered=True) > 0.92
    assert covered(40, 400, clustered=False) < 0.85


@pytest.mark.slow
@pytest.mark.parametrize("groups", [10, 20, 40, 100])
def test_cluster_intervals_cover_in_many_repeats(groups: int) -> None:
    assert covered(groups, 4000, clustered=True) > 0.935


def test_bounds_of_a_majority() -> None:
    """Three votes by formula and by program; every law of two or three points lies between; two laws touch."""
    rng = np.random.default_rng(0)
    for _ in range(20):
        q, p = rng.random(3), rng.dirichlet(np.ones(3))
        m1, m2 = float(p @ q), float(p @ q**2)
        by_program = majority_bounds._by_program(m1, m2, 3)
        assert majority_bounds.majority_bounds(m1, m2, 3) == pytest.approx(by_program, abs=1e-6)
        for votes in (3, 5, 11):
            low, high = majority_bounds.majority_bounds(m1, m2, votes)
            assert low - 1e-6 <= float(p @ majority_bounds._majority(q, votes)) <= high + 1e-6
    assert majority_bounds.majority_bounds(0.3, 0.09, 5) == pytest.approx([0.16308] * 2, abs=1e-4)  # one point
    assert majority_bounds.majority_bounds(1.0, 1.0, 5) == (1.0, 1.0)
    with pytest.raises(ValueError, match="votes: expected an odd number, got 4"):
        majority_bounds.majority_bounds(0.5, 0.3, 4)


def test_moments() -> None:
    assert moments([2, 4], [1, 4]) == pytest.approx((0.75, 0.5))
    with pytest.raises(ValueError, match="samples: expected at least 2"):
        moments([1], [1])


def test_examples() -> None:
    assert doctest.testmod(clusters).failed == 0
    assert doctest.testmod(majority_bounds).failed == 0
