"""Estimators over a bank of 1,000 prompts x 4,096 samples: ``pytest bench``. Outputs are checked, then timed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from ttc_fast.estimators import Array, best_of_k, pass_at_k
from ttc_fast.votes import majority_at_k

PROMPTS, SAMPLES = 1000, 4096
EVERY = range(1, SAMPLES + 1)
TWELVE = [2**i for i in range(12)]


def passed() -> tuple[Callable[[], Array], Array]:
    chance = np.random.default_rng(0)
    correct = chance.binomial(SAMPLES, chance.beta(0.5, 0.5, size=PROMPTS))
    return lambda: pass_at_k(np.full(PROMPTS, SAMPLES), correct, EVERY), correct / SAMPLES


def best() -> tuple[Callable[[], Array], Array]:
    chance = np.random.default_rng(0)
    score, label = chance.normal(size=(2, PROMPTS, SAMPLES))
    return lambda: best_of_k(score, label, EVERY), label.mean(1)


def vote() -> tuple[Callable[[], Array], Array]:
    """10 distinct answers, their probabilities uniform on the simplex."""
    chance = np.random.default_rng(0)
    laws = chance.dirichlet(np.ones(10), size=PROMPTS)
    answers = np.stack([chance.choice(10, size=SAMPLES, p=p) for p in laws])
    return lambda: majority_at_k(answers, answers == 0, TWELVE), (answers == 0).mean(1)


@pytest.mark.parametrize(("job", "limit"), [(passed, 1.0), (best, 1.0), (vote, 10.0)])
def test_estimator(
    benchmark: BenchmarkFixture, job: Callable[[], tuple[Callable[[], Array], Array]], limit: float
) -> None:
    """With one sample, every estimate is the mean of the bank; ``limit`` in seconds on two cores."""
    run, of_one = job()
    values = benchmark.pedantic(run, rounds=3)
    np.testing.assert_allclose(values[:, 0], of_one, atol=1e-12)
    assert benchmark.stats.stats.median < limit  # type: ignore[union-attr]  # there are stats once it has run
