"""The law of success from counts, and best-of-K from a verifier's ROC."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import betabinom, norm

from ttc_fast.estimators.roc import (
    MIDDLES,
    STEEPNESSES,
    _cells,
    _of_block,
    best_of_roc,
    label_order,
    order_likelihood,
)
from ttc_fast.estimators.success_law import GRID, PULL, SuccessLaw, fit_beta, fit_success_law, likelihood


def counts(prompts: int, samples: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A third of the prompts is hopeless, the others follow a beta law: p, n, c."""
    rng = np.random.default_rng(seed)
    p = np.where(rng.random(prompts) < 1 / 3, 0.0, rng.beta(0.8, 1.2, prompts))
    return p, np.full(prompts, samples), rng.binomial(samples, p)


@pytest.mark.parametrize("pull", [1.0, PULL, 100.0])
def test_the_fit_is_the_maximum(pull: float) -> None:
    """Of a concave sum over a simplex: where there is weight all derivatives are equal, elsewhere none is larger."""
    _, n, c = counts(300, 12)
    weights, base = fit_success_law(n, c, pull=pull).weights, np.maximum(fit_beta(n, c).on_grid(), 1e-15)
    likelihoods = likelihood(n, c)
    slope = (likelihoods / (likelihoods @ weights)[:, None]).sum(axis=0) + pull * base / base.sum() / weights
    # EM is stopped where a step moves less than 1e-6 of the weight: by that a slope is off, relative, over its weight
    assert np.abs(slope / (300 + pull) - 1)[weights > 1e-3].max() < 2e-3
    assert weights.sum() == pytest.approx(1, abs=1e-12)


def test_without_pull_no_law_is_more_likely() -> None:
    """Than the law that the counts were drawn from, and than any of 200 others near the estimate."""
    p, n, c = counts(200, 10)
    found, rng = fit_success_law(n, c, pull=0.0).weights, np.random.default_rng(1)

    def log_likelihood(weights: np.ndarray) -> float:
        return float(np.log(likelihood(n, c) @ weights).sum())

    true = np.bincount(np.abs(p[:, None] - GRID).argmin(axis=1), minlength=len(GRID)) / len(p)
    others = [found * rng.gamma(1, 1, len(GRID)) for _ in range(200)]
    best = log_likelihood(found)
    assert best > log_likelihood(true)
    assert all(best > log_likelihood(other / other.sum()) - 0.02 for other in others)  # EM ends a little below the top


def test_beta_is_the_maximum() -> None:
    """By the likelihood of scipy, in every direction."""
    _, n, c = counts(200, 10)
    a, b = fit_beta(n, c)

    def log_likelihood(a: float, b: float) -> float:
        return float(betabinom.logpmf(c, n, a, b).sum())

    best = log_likelihood(a, b)
    assert all(best >= log_likelihood(a * x, b * y) for x in (0.98, 1, 1.02) for y in (0.98, 1, 1.02))
    assert fit_beta(n, c).mean_pass([1])[0] == pytest.approx(a / (a + b))


def test_forecast_of_a_known_law() -> None:
    """From 16 samples of 2,000 prompts to 128, within 0.02: four times what it is off by in the root mean square of 20
    seeds (0.005): a false alarm is rarer than 1e-4. The beta law, which knows no hopeless prompts, is off by more."""
    p, n, c = counts(2000, 16)
    true = float((1 - (1 - p) ** 128).mean())
    assert float(fit_success_law(n, c).mean_pass([128])[0]) == pytest.approx(true, abs=0.02)
    assert abs(float(fit_beta(n, c).mean_pass([128])[0]) - true) > 0.02


def test_many_fits_at_once() -> None:
    _, n, c = counts(50, 8)
    weights = np.random.default_rng(2).standard_exponential((3, 50))
    together = fit_success_law(n, c, weights).weights
    for row, w in zip(together, weights):  # EM stops for all of them together: within its tolerance
        assert fit_success_law(n, c, w).mean_pass([1, 8]) == pytest.approx(SuccessLaw(row).mean_pass([1, 8]), abs=1e-4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([4], [5]), "correct: expected 0 <= correct <= samples"),
        (([4, 4], [1]), "correct: expected shape"),
        (([4], [1], [-1.0]), "weights: expected at least 0"),
        (([0], [0]), "samples >= 1"),
    ],
)
def test_what_is_refused(arguments: tuple[list[float], ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fit_success_law(*arguments)


@pytest.mark.parametrize("budget", [1, 4, 64])
def test_best_of_a_binormal_verifier(budget: int) -> None:
    """Scores N(0, 1) of wrong and N(1, 1) of right samples: against the integral over the score, by quadrature.

    The curve is made of straight pieces between 181 points: within 0.004.
    """
    placed = np.diff(norm.cdf(1 + norm.ppf(GRID)), prepend=0.0)  # P(F <= g) = P(score > quantile of 1 - g)
    found = best_of_roc(placed, np.diff(GRID, prepend=0.0), [budget])[:, 0]
    for point in (5, 60, 90, 120, 170):
        p = float(GRID[point])

        def density(s: float, p: float = p) -> float:
            lower = p * norm.cdf(s - 1) + (1 - p) * norm.cdf(s)
            return float(budget * lower ** (budget - 1) * p * norm.pdf(s - 1))

        assert found[point] == pytest.approx(quad(density, -9, 10, limit=200)[0], abs=4e-3)


def test_best_of_many_tends_to_the_slope_at_zero() -> None:
    """A right sample is above all wrong ones with probability 0: the slope of the first piece decides."""
    placed = np.diff(np.minimum(2 * GRID, 1.0), prepend=0.0)  # T(F) = min(2 F, 1)
    found = best_of_roc(placed, np.diff(GRID, prepend=0.0), [2**20])[:, 0]
    inside = (GRID > 0) & (GRID < 1)
    assert found[inside] == pytest.approx((2 * GRID / (2 * GRID + 1 - GRID))[inside], rel=1e-9)


def test_equal_scores_alternate() -> None:
    order = label_order([0.5, 0.5, 0.5, 0.5, 0.1, 0.9], [1, 0, 1, 0, 1, 0])
    assert order.astype(int).sum() == 3
    assert order.astype(int).tolist() == [0, *order[1:5].astype(int).tolist(), 1]
    assert order[1] != order[2]
    assert order[3] != order[4]


@pytest.mark.parametrize("curve", [24, 25, 42])
def test_likelihood_of_an_order(curve: int) -> None:
    """Of two right and two wrong samples there are six orders. Their shares among 200,000 draws from a curve (a
    binomial share has a standard error of at most 0.0011) are the likelihoods within 0.02: within a cell orders of
    three count wrongly, of 64 cells in 1 of 1,000 draws, and cells are not quite straight."""
    orders = [np.isin(np.arange(4), pair) for pair in combinations(range(4), 2)]
    steep, middle = STEEPNESSES[curve // len(MIDDLES)], MIDDLES[curve % len(MIDDLES)]
    rng = np.random.default_rng(0)
    z = rng.standard_normal((200_000, 4))  # the first two right: their quantile among wrong ones
    z[:, :2] = middle + z[:, :2] / steep
    best = np.sort(np.argsort(np.argsort(z, axis=1), axis=1)[:, :2], axis=1)
    drawn = np.array([(best == np.flatnonzero(order)).all(axis=1).mean() for order in orders])
    relative = np.array([order_likelihood([order, orders[0]])[:, curve] for order in orders])
    assert relative.shape == (6, 2)
    absolute = _of_block(orders, *_cells())[:, curve]
    assert np.exp(absolute) / np.exp(absolute).sum() == pytest.approx(drawn, abs=0.02)
