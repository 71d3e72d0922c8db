"""Rules and prompts on which decodes are compared."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ttc_fast import (
    BernoulliSampling,
    ElementwiseNoise,
    GaussianNoise,
    GeometricDecay,
    LargestCoefficients,
    PowerLawDecay,
    RankOneNoise,
    SubsetSampling,
)
from ttc_fast.decoding.rules import Rule

RULES: list[Rule] = [
    GaussianNoise(0.3),
    GaussianNoise(PowerLawDecay(0.5, 0.7)),
    BernoulliSampling("sigmoid", 0.2),
    BernoulliSampling("clip"),
    BernoulliSampling("sigmoid", 0.2, "last_step"),
    BernoulliSampling("clip", sample_at="last_step"),
]

AUTHORS_RULES: list[Rule] = [
    RankOneNoise(0.05),
    RankOneNoise(PowerLawDecay(0.1, 0.7)),
    ElementwiseNoise(0.3),
    ElementwiseNoise(GeometricDecay(0.5, 0.9)),
    SubsetSampling(1),
    SubsetSampling(5),
    SubsetSampling(20),
    LargestCoefficients(3),
    LargestCoefficients(12),
]
"""Take :func:`fitting` before a decode of few coefficients."""


def fitting(rule: Rule, dim: int) -> Rule:
    """The rule with no more ones than ``dim`` coefficients."""
    if isinstance(rule, (SubsetSampling, LargestCoefficients)):
        return replace(rule, ones=min(rule.ones, dim))
    return rule


def problem(prompts: int, dim: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    """A state (-P S, -P b) with eigenvalues of I - P S within the unit circle, and an initial thought."""
    generator = torch.Generator().manual_seed(prompts * 1000 + dim)
    x = torch.randn(prompts, 3 * dim, dim, generator=generator, dtype=dtype)
    w_star = (torch.rand(prompts, dim, generator=generator, dtype=dtype) < 0.5).to(dtype)
    covariance = x.mT @ x / (3 * dim)
    state = -0.4 * torch.cat((covariance, covariance @ w_star[:, :, None]), 2)
    return state, torch.rand(prompts, dim, generator=generator, dtype=dtype)
