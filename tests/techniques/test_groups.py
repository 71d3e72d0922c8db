"""Searches with several numbers of chains, and repeats of them, advance side by side: what each finds alone, to the
bit."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from ttc_fast import (
    BernoulliSampling,
    GaussianNoise,
    InContextLoss,
    LinearAttention,
    LinearRegression,
    NoisyVerifier,
    StochasticDecoder,
)
from ttc_fast.techniques.base import Chains
from ttc_fast.techniques.groups import Part, groups_of
from ttc_fast.techniques.particles import ParticleFilter, Resampling, _filter
from ttc_fast.techniques.resumable import Resumable, of_one_group
from ttc_fast.techniques.search import BeamSearch, SelfRefinement
from ttc_fast.techniques.stopping import StopEarly, VoteUntilDecided

PARTS = [Part(1, 3), Part(2, 4), Part(5, 2), Part(7), Part(11, 2, first=6)]
CPU = torch.device("cpu")


def chains(kind: str, dtype: torch.dtype, verifier: Any) -> Chains:
    """28 chains of 3 prompts."""
    prompts = LinearRegression(3, 8, kind, label_noise=0.4).sample(3, seed=5, dtype=dtype)  # type: ignore[arg-type]  # one of two
    model = LinearAttention.gradient_descent(3, examples=8, dtype=dtype)
    decoder = StochasticDecoder(model, GaussianNoise(0.5) if kind == "continuous" else BernoulliSampling())
    thoughts = decoder(prompts, steps=[2, 4, 7], samples=28, seed=9).thoughts
    return Chains(decoder, prompts, model.prefill(prompts), (2, 4, 7), thoughts, 0, 9, verifier, "auto")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("kind", "technique"),
    [
        ("continuous", ParticleFilter(beta=3.0, every=2)),
        ("continuous", BeamSearch(every=3)),
        ("continuous", BeamSearch(expansions=2)),
        ("continuous", SelfRefinement()),
        ("continuous", StopEarly(tolerance=0.1)),
        ("binary", ParticleFilter()),
        ("binary", VoteUntilDecided(error=0.5)),
    ],
)
@pytest.mark.parametrize("verifier", [InContextLoss(), NoisyVerifier(InContextLoss(), 0.1)])
def test_together_is_one_by_one(kind: str, technique: Any, dtype: torch.dtype, verifier: Any) -> None:
    given = chains(kind, dtype, verifier)
    answers, work = technique.together(given, PARTS)
    alone = [
        technique(replace(given, thoughts=given.thoughts[:, :, first : first + size], first_sample=first))
        for size, repeats, begin in PARTS
        for first in range(begin, begin + size * repeats, size)
    ]
    assert torch.equal(answers, torch.stack([found.answer for found in alone], 1))
    for spent, name in zip(work, ("thoughts", "scores")):
        assert torch.equal(spent, torch.stack([getattr(found.work, name) for found in alone], 1))


@pytest.mark.parametrize("resampling", ["multinomial", "systematic", "residual"])
@pytest.mark.parametrize("threshold", [-0.3, None])
def test_filters_side_by_side(resampling: Resampling, threshold: float | None) -> None:
    """Potentials that reject, or not, and groups that are resampled at different steps."""

    def potential(score: Tensor) -> Tensor:
        return 2 * score if threshold is None else torch.where(score >= threshold, 0.0, -math.inf)

    given = chains("continuous", torch.float64, InContextLoss())
    together = _filter(Resumable.of(given), PARTS, potential, 7, 2, resampling, 0.7)
    sizes, column = [part.size for part in PARTS for _ in range(part.repeats)], 0
    resampled = set()
    for g, (size, first) in enumerate(zip(sizes, [0, 1, 2, 0, 2, 4, 6, 0, 5, 0, 6, 17])):
        own = Resumable.of(replace(given, first_sample=first))
        alone = of_one_group(_filter(own, [Part(size)], potential, 7, 2, resampling, 0.7))
        for name in ("answer", "log_evidence"):
            torch.testing.assert_close(
                getattr(together, name)[:, g], getattr(alone, name), rtol=0, atol=0, equal_nan=True
            )
        assert together.candidates is not None
        assert alone.candidates is not None
        assert torch.equal(together.candidates[:, column : column + size], alone.candidates)
        assert together.effective_samples is not None
        torch.testing.assert_close(
            together.effective_samples[..., g], alone.effective_samples, rtol=0, atol=0, equal_nan=True
        )
        column += size
        resampled.add(tuple((together.effective_samples[:, 0, g] < 0.7 * size).tolist()))
    assert len(resampled) > 2


def test_rows_and_columns() -> None:
    groups = groups_of((Part(2, 2), Part(3, 1, first=1)), CPU)
    x = torch.arange(14).reshape(2, 7)
    assert groups.rows(x)[0].tolist() == [[0, 1, 0], [2, 3, 2], [4, 5, 6]]
    assert groups.rows(x, -1)[1].tolist() == [[7, 8, -1], [9, 10, -1], [11, 12, 13]]
    assert torch.equal(groups.columns(groups.rows(x)), x)
    assert groups.samples.tolist() == [[0, 1, 0], [2, 3, 2], [1, 2, 3]]
    w = torch.randn(2, 7, 4)
    assert torch.equal(groups.one_of_each(w, torch.tensor([[1, 0, 2]] * 2)), w[:, [1, 2, 6]])
    assert torch.equal(groups.spread(w[:, :3]), w[:, [0, 0, 1, 1, 2, 2, 2]])
