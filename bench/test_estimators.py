"""Estimators over a bank of 1,000 prompts x 4,096 samples: ``pytest bench``. Outputs are checked, then timed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from ttc_fast.estimators.selection import Array, best_of_k, pass_at_k
from ttc_fast.estimators.votes import Ties, majority_at_k

PROMPTS, SAMPLES = 1000, 4096
EVERY = range(1, SAMPLES + 1)
TWELVE = [2**i for i in range(12)]


def passed() -> tuple[Callable[[], Array], Array]:
    rng = np.random.default_rng(0)
    correct = rng.binomial(SAMPLES, rng.beta(0.5, 0.5, size=PROMPTS))
    return lambda: pass_at_k(np.full(PROMPTS, SAMPLES), correct, EVERY), correct / SAMPLES


def best() -> tuple[Callable[[], Array], Array]:
    rng = np.random.default_rng(0)
    score, label = rng.normal(size=(2, PROMPTS, SAMPLES))
    return lambda: best_of_k(score, label, EVERY), label.mean(1)


def vote(spread: float, ties: Ties) -> Callable[[], tuple[Callable[[], Array], Array]]:
    """10 answers whose probabilities are Dirichlet(spread), from uniform on the simplex to nearly equal; every answer
    is right or wrong at random."""

    def job() -> tuple[Callable[[], Array], Array]:
        rng = np.random.default_rng(0)
        laws = rng.dirichlet(np.full(10, spread), size=PROMPTS)
        answers = np.stack([rng.choice(10, size=SAMPLES, p=p) for p in laws])
        right = np.take_along_axis(rng.integers(0, 2, size=(PROMPTS, 10)), answers, 1)
        return lambda: majority_at_k(answers, right, TWELVE, ties=ties), right.mean(1)

    return job


TIES: tuple[Ties, ...] = ("random", "fail", "first")
JOBS = [
    pytest.param(passed, 1.0, id="pass_at_k"),
    pytest.param(best, 1.0, id="best_of_k"),
    *(
        pytest.param(vote(spread, ties), 10.0, id=f"majority_at_k-dirichlet-{spread:g}-{ties}")
        for spread in (1, 1e6)
        for ties in TIES
    ),
]


@pytest.mark.parametrize(("job", "limit"), JOBS)
def test_estimator(
    benchmark: BenchmarkFixture, job: Callable[[], tuple[Callable[[], Array], Array]], limit: float
) -> None:
    """With one sample, every estimate is the mean of the bank; ``limit`` in seconds on two cores, votes in C++."""
    run, mean = job()
    values = benchmark.pedantic(run, rounds=3)
    np.testing.assert_allclose(values[:, 0], mean, atol=1e-12)
    assert benchmark.stats.stats.median < limit  # type: ignore[union-attr]  # there are stats once it has run
