"""The most frequent answers by sorting, as a GPU finds them, are those that C++ and the technique count."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ttc_fast import BernoulliSampling, Key, LinearAttention, LinearRegression, StochasticDecoder, evaluate
from ttc_fast.evaluation import frequent
from ttc_fast.evaluation.subsets import Partitions
from ttc_fast.tasks import metrics
from ttc_fast.techniques.base import Ties

STEPS, SIZES, SAMPLES = (1, 6, 7), (1, 2, 5, 8, 20, 70, 130), 130


@pytest.mark.parametrize("room", [2**24, 5000])
@pytest.mark.parametrize(
    ("dim", "technique", "ties"),
    [(3, "plurality", "drawn"), (70, "plurality", "drawn"), (3, "plurality_smallest", "smallest")],
)
def test_most_frequent_answers(
    dim: int, technique: str, ties: Ties, room: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of few different answers, and of many, which are all tied; of blocks of samples, too."""
    monkeypatch.setattr(frequent, "ROOM", room)
    prompts = LinearRegression(dim, 12, "binary", label_noise=0.4).sample(6).part(2, 6)
    model = LinearAttention.gradient_descent(dim, examples=12)
    decoder = StochasticDecoder(model, BernoulliSampling(temperature=0.3))
    w = decoder(prompts, steps=STEPS, samples=SAMPLES, seed=5).thoughts
    values = torch.stack([metrics.squared_error(prompts, part) for part in w])
    found = frequent.means(
        w.flatten(0, 1), values.flatten(0, 1)[None], Partitions(SAMPLES, 5), SIZES,
        ties=ties, prompts=prompts, steps=STEPS, seed=5,
    )[:, 0].unflatten(1, (len(STEPS), -1))  # fmt: skip
    table = evaluate(decoder, prompts, steps=STEPS, samples=SAMPLES, budgets=SIZES, techniques=[technique], seed=5)
    for k, of_size in zip(SIZES, found):
        for step, figures in zip(STEPS, of_size):
            # Sums of up to 130 errors in two orders.
            wanted = table[Key("binary", technique, step, k, "squared_error")]
            np.testing.assert_allclose(figures, wanted, rtol=10 * 2**-24)
    assert len(np.unique(found[4, 1])) > 1


def test_the_smallest_of_many_bits_is_no_number() -> None:
    prompts = LinearRegression(63, 4, "binary").sample(1)
    with pytest.raises(ValueError, match="plurality_smallest needs at most 62 coefficients, got 63; take plurality"):
        frequent.means(
            torch.zeros(1, 2, 63), torch.zeros(1, 1, 2), Partitions(2, 0), [2], ties="smallest", prompts=prompts,
            steps=[1], seed=0,
        )  # fmt: skip
