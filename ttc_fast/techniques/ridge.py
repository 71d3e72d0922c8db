"""Descent with a ridge: what the mean of many chains comes to where the noise is multiplicative."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby

import torch
from torch import Tensor

from ..decoding.rules import GaussianNoise, Rule
from ..decoding.schedules import NoiseSchedule, checked_schedule, encoded_schedule
from ..models.base import LinearState
from ..models.decoder import StochasticDecoder
from .base import Chains, SearchResult, Technique, Work


@dataclass(frozen=True)
class RidgeDescent:
    """The noise-free chain of the loss with a ridge, w_{t+1} = u(w_t) - kappa_t w_t, from w_0 = 0.

    With P = step_size I that is gradient descent with the ridge kappa / step_size on S. The mean of chains under
    :class:`ttc_fast.RankOneNoise` has exactly this mean (theory: ``theory/ridge.py``).

    Args:
        strength: kappa_t as a number, a schedule, or one number for each step; None: the rule's own ridge.

    Raises:
        ValueError: when it runs: the rule has no ridge of its own and none is given, or the model no linear state.
    """

    strength: NoiseSchedule | None = None

    def __post_init__(self) -> None:
        if self.strength is not None:
            object.__setattr__(self, "strength", checked_schedule("strength", self.strength))

    def applicable(self, rule: Rule) -> bool:
        """Whether there is a ridge to descend with."""
        return self.strength is not None or rule.ridge(1) is not None

    def __call__(self, chains: Chains) -> SearchResult:
        linear, steps = getattr(chains.state, "linear", None), chains.steps[-1]
        rule = chains.decoder.rule
        if linear is None:
            raise ValueError(f"technique: ridge needs a linear state, got {type(chains.decoder.model).__name__}")
        kappa = rule.ridge(steps) if self.strength is None else encoded_schedule("strength", self.strength, steps)
        if kappa is None:
            raise ValueError(f"technique: ridge needs a rule with a ridge, got {rule}; give RidgeDescent(strength)")
        decoder = StochasticDecoder(chains.decoder.model, GaussianNoise(0.0))
        w = chains.decoder.start(chains.prompts)
        for strength, run in groupby(kappa.expand(steps).tolist() if len(kappa) == 1 else kappa.tolist()[:steps]):
            state, length = LinearState(with_ridge(linear, strength)), len(list(run))
            w = decoder.decode(state, w, steps=[length], samples=1, backend=chains.backend).thoughts[0, :, 0]
        spent = torch.full((len(w),), steps)
        return SearchResult(w, Work(spent, torch.zeros_like(spent)))


def ridge(strength: float | None = None) -> Technique:
    """:class:`RidgeDescent` as a technique, named ``ridge``, or ``ridge(0.001)`` with a strength of its own."""
    descent = RidgeDescent(strength)
    return Technique(
        "ridge" if strength is None else f"ridge({strength:g})",
        search=descent,
        about="the noise-free chain with the ridge that the rule's noise comes to on average",
        source="Chen et al., arXiv 2508.07571",
        uses_budget=False,
        resumes=False,
        applicable=descent.applicable,
    )


def with_ridge(state: Tensor, strength: float) -> Tensor:
    """The linear-attention state of u(w) - kappa w.

    Args:
        state: of u, ``[B, d, d+1]``.
        strength: kappa.

    Returns:
        ``[B, d, d+1]``.
    """
    return state - strength * torch.eye(state.shape[1], state.shape[2], dtype=state.dtype, device=state.device)
