"""What the searches have in common, which act during the chain, step by step.

They resume chains, so that their noise is that of the random-number contract, named by prompt, sample and step: results
do not depend, to the bit, on what else is searched. Chains do not see the examples that the verifier holds out. The
work is counted: thoughts decoded and scores asked.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from ..decoding.arguments import check_room
from ..models.base import resumable
from ..models.decoder import StochasticDecoder, check_decoder
from ..numerics import check
from ..numerics.protocols import described
from ..tasks.prompts import Prompts, check_prompts
from .base import Work
from .verifiers import ScoreFunction, Verifier, as_verifier, check_numbers, check_scores


def steps_of_checks(steps: int, every: int) -> list[int]:
    """The steps at which a search looks at its chains: multiples of ``every`` below ``steps``, and ``steps``.

    Args:
        steps: of the whole chain.
        every: steps between two looks.

    Raises:
        TypeError, ValueError: one is no such number.
    """
    check.integer("steps", steps, 0, 2**34)
    check.integer("every", every, 1, 2**34)
    return [*range(every, steps, every), steps]


class Resumable:
    """Chains that go on from any thoughts, and what the verifier says of these."""

    def __init__(
        self,
        decoder: StochasticDecoder,
        prompts: Prompts,
        seed: int,
        first_sample: int,
        verifier: Verifier | ScoreFunction | None,
        backend: str,
        state: Any,
    ) -> None:
        check_decoder(decoder)
        check_prompts(prompts, decoder.model.dim)
        check.integer("seed", seed, 0, 2**64 - 1)
        check.integer("first_sample", first_sample, 0, 2**32 - 1)
        if not decoder.rule.resumable:
            raise ValueError(
                f"rule: expected one whose answers are its thoughts, as with sample_at='every_step', got "
                f"{described(decoder.rule)}: the answer drawn from a thought does not tell how its chain goes on"
            )
        if not resumable(decoder.model):
            raise ValueError(
                f"model: expected one whose thoughts see no thoughts before them for a search, got "
                f"{described(decoder.model)}: its chains cannot go on from their last thoughts"
            )
        self.decoder, self.prompts, self.seed, self.first_sample = decoder, prompts, seed, first_sample
        self.verifier, self.backend = as_verifier(verifier), backend
        self.state = decoder.model.prefill(self.verifier.context(prompts)) if state is None else state
        linear = getattr(self.state, "linear", None)
        if linear is not None:
            check.has("state", linear, ("device", "shape"), "what decoder.model.prefill gives, its linear a tensor")
        self._checked = linear is not None and linear.device.type != "cpu"  # else a GPU would be waited for

    def start(self, samples: int) -> Tensor:
        """w_0 for every sample ``[B, N, d]``."""
        samples = check.integer("samples", samples, 1, 2**32)
        check_room(len(self.prompts), samples, self.decoder.model.dim, self.prompts.x.dtype)
        return self.decoder.start(self.prompts)[:, None].repeat(1, samples, 1)

    def advance(self, w: Tensor, before: int, step: int) -> Tensor:
        """The chains continued; one that overflowed stays NaN.

        Args:
            w: their thoughts ``[B, N, d]``.
            before: step of these.
            step: step to go to.

        Returns:
            The thoughts of that step.
        """
        lost = None
        # On the CPU one pass tells that no mask is needed, which takes four; a GPU would be waited for.
        if w.device.type != "cpu" or not check.all_finite(w):
            lost = ~w.isfinite().all(2, keepdim=True)
            w = w.masked_fill(lost, 0.0)
        thoughts = self.decoder.decode(
            self.state, w, steps=[step], samples=w.shape[1], seed=self.seed,
            first_sample=self.first_sample, first_prompt=self.prompts.first, first_step=before, backend=self.backend,
            checked=self._checked,
        ).thoughts[0]  # fmt: skip
        return thoughts if lost is None else thoughts.masked_fill(lost, math.nan)

    def score(self, w: Tensor, step: int) -> Tensor:
        """The verifier's scores ``[B, N]``.

        Args:
            w: thoughts ``[B, N, d]``.
            step: of these.

        Raises:
            TypeError, ValueError: what it said are no such scores.
        """
        score = self.verifier.score(self.prompts, w, first_sample=self.first_sample, step=step)
        check_scores(score, w)
        if score.device.type == "cpu":  # another device would be waited for at every step
            check_numbers(score, w)
        return score


def equal_work(like: Tensor, thoughts: int, scores: int) -> Work:
    """The same work for every prompt of ``like [B, ...]``.

    Args:
        like: any tensor with a row for each prompt.
        thoughts: decoded for each.
        scores: asked for each.
    """
    return Work(torch.full((len(like),), thoughts), torch.full((len(like),), scores))
