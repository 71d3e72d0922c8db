"""What the searches have in common, which act during the chain, step by step.

They resume chains, so that their noise is that of the random-number contract, named by prompt, sample and step: results
do not depend, to the bit, on what else is searched. Chains do not see the examples that the verifier holds out. The
work is counted: thoughts decoded and scores asked. Groups of chains are searched side by side (``groups.py``).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ..decoding.arguments import check_room
from ..models.base import resumable
from ..models.decoder import StochasticDecoder, check_decoder
from ..numerics import check
from ..numerics.protocols import described
from ..tasks.prompts import Prompts, check_prompts
from .base import Chains, SearchResult, Work
from .groups import Groups, Part, groups_of
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

    @classmethod
    def of(cls, chains: Chains) -> Resumable:
        """The chains that a technique is given, from their first thought."""
        given = chains.arguments()
        return cls(**{name: value for name, value in given.items() if name != "steps"})

    def start(self, parts: Sequence[Part]) -> tuple[Groups, Tensor]:
        """Groups of chains, and w_0 for every one of them ``[B, M, d]``.

        Args:
            parts: the groups.
        """
        parts = tuple(part._replace(size=check.integer("samples", part.size, 1, 2**32)) for part in parts)
        self.groups, chains = groups_of(parts, self.prompts.x.device), sum(part.size * part.repeats for part in parts)
        check_room(len(self.prompts), chains, self.decoder.model.dim, self.prompts.x.dtype)
        return self.groups, self.decoder.start(self.prompts).detach()[:, None].repeat(1, chains, 1)

    def advance(self, w: Tensor, before: int, step: int) -> Tensor:
        """The chains continued; one that overflowed stays NaN.

        Args:
            w: their thoughts ``[B, M, d]``.
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
        thoughts = self._of_parts(
            w,
            lambda part, first: self.decoder.decode(
                self.state, part, steps=[step], samples=part.shape[1], seed=self.seed, first_sample=first,
                first_prompt=self.prompts.first, first_step=before, backend=self.backend, checked=self._checked,
            ).thoughts[0],
        )  # fmt: skip
        return thoughts if lost is None else thoughts.masked_fill(lost, math.nan)

    def _of_parts(self, w: Tensor, function: Callable[[Tensor, int], Tensor]) -> Tensor:
        """What a function makes of the thoughts of every part ``[B, M, d]``, given the sample of its first chain."""
        slices = zip(self.groups.parts, self.groups.slices)
        found = [function(w[:, columns], self.first_sample + part.first) for part, columns in slices]
        return found[0] if len(found) == 1 else torch.cat(found, 1)

    def score(self, w: Tensor, step: int) -> Tensor:
        """The verifier's scores ``[B, M]``.

        Args:
            w: thoughts ``[B, M, d]``.
            step: of these.

        Raises:
            TypeError, ValueError: what it said are no such scores.
        """
        if self.verifier.deterministic:  # it asks for no sample
            return self._score(w, self.first_sample, step)
        return self._of_parts(w, lambda part, first: self._score(part, first, step))

    def score_of_first(self, w: Tensor, step: int) -> Tensor:
        """The scores ``[B, G]`` of the thoughts of the first chain of every group.

        Args:
            w: those of all chains ``[B, M, d]``.
            step: of these.
        """
        first = self.groups.starts[:, 0]
        if self.verifier.deterministic:
            return self._score(w.index_select(1, first), self.first_sample, step)
        return self.score(w, step).index_select(1, first)

    def _score(self, w: Tensor, first_sample: int, step: int) -> Tensor:
        score = self.verifier.score(self.prompts, w, first_sample=first_sample, step=step)
        check_scores(score, w)
        if score.device.type == "cpu":  # another device would be waited for at every step
            check_numbers(score, w)
        return score


def equal_work(prompts: int, thoughts: Sequence[int], scores: Sequence[int]) -> Work:
    """The same work ``[B, G]`` for every prompt.

    Args:
        prompts: B.
        thoughts: decoded in each group.
        scores: asked in each.
    """
    return Work(*(torch.tensor(spent).expand(prompts, -1) for spent in (thoughts, scores)))


def of_one_group(found: SearchResult) -> SearchResult:
    """What a search of one group found, without the axis of groups.

    Args:
        found: tensors ``[B, 1, ...]``, those at every check ``[checks, B, 1]``.
    """
    whole = {name: value for name, value in vars(found).items() if isinstance(value, Tensor) and name != "candidates"}
    alone = {name: value[..., 0] if name == "effective_samples" else value[:, 0] for name, value in whole.items()}
    return replace(found, work=Work(*(spent[:, 0] for spent in found.work)), **alone)
