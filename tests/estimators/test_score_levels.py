"""Verifiers whose scores take few values."""

from __future__ import annotations

import numpy as np
import pytest

from ttc_fast.estimators.roc import best_of_roc
from ttc_fast.estimators.score_levels import MOVES, level_curves, moved_shares, score_levels
from ttc_fast.estimators.success_law import GRID


@pytest.mark.parametrize("budget", [1, 3, 50])
def test_best_of_yes_and_no(budget: int) -> None:
    """The chosen one is any that got a yes, if there is one: right as often as a yes is for a right one."""
    yes_right, yes_wrong = 0.7, 0.2
    found = best_of_roc(np.array([yes_right, 1 - yes_right]), np.array([yes_wrong, 1 - yes_wrong]), [budget])[:, 0]
    p = GRID[1:-1]
    yes = p * yes_right + (1 - p) * yes_wrong
    none = (1 - yes) ** budget
    expected = (1 - none) * p * yes_right / yes + none * p * (1 - yes_right) / (1 - yes)
    assert found[1:-1] == pytest.approx(expected, rel=1e-12)
    assert found[[0, -1]].tolist() == [0.0, pytest.approx(1.0, abs=1e-12)]


def test_likelihood_of_levels() -> None:
    """The multinomial one of right times that of wrong samples, over the largest of all curves."""
    right, wrong = np.array([[3.0, 1.0, 0.0], [0.0, 2.0, 2.0]]), np.array([[0.0, 1.0, 3.0], [4.0, 0.0, 0.0]])
    rights, wrongs, likelihood = level_curves(right, wrong)
    assert likelihood.shape == (2, len(MOVES) ** 2)
    direct = np.stack([(rights**a).prod(axis=1) * (wrongs**b).prod(axis=1) for a, b in zip(right, wrong)])
    assert likelihood == pytest.approx(direct / direct.max(axis=1, keepdims=True), rel=1e-9)
    assert rights.sum(axis=1) == pytest.approx(np.ones(len(rights)))


def test_shares_that_are_not_moved_are_those_of_all_prompts() -> None:
    counts = np.array([10.0, 0.0, 30.0])
    still = moved_shares(counts)[MOVES.index((1.0, 0.0))]
    assert still == pytest.approx((counts + 0.5) / (counts + 0.5).sum(), rel=1e-12)
    assert (moved_shares(counts) >= 0).all()


@pytest.mark.parametrize(
    ("scores", "levels"),
    [([1.0] * 20, 1), ([0.0, 0.25, 0.5, 1.0] * 10, 4), (list(range(33)) * 20, None), ([0.0, 1.0] * 9, None)],
    ids=["one value", "four", "33 values", "9 samples of each"],
)
def test_what_is_few(scores: list[float], levels: int | None) -> None:
    found = score_levels(scores)
    assert (None if found is None else len(found)) == levels
    assert found is None or (np.diff(found) < 0).all()
