"""The parity of k of some bits, by a chain of thought with parities of two as intermediate bits (arXiv 2410.08633)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ..numerics import check, rng, sums
from .base import Task
from .metrics import Metric, truth
from .prompts import Prompts, check_prompts


@dataclass(frozen=True)
class Parity(Task):
    """The task: fair bits b_1 ... b_m, and the parity of every (m/k)-th of them, k in all.

    A thought is a tape of d = m + k - 1 bits: a copy of b, and the nodes of a binary tree with these k leaves, each the
    parity of two places before it; the last one is the answer. w* is the right tape. A prompt's single example is b,
    with zeros for the nodes, and the answer as its label, which neither the transformer nor a verifier looks at: the
    in-context loss of a tape is the share of its bits that are not what the places they come from say.

    Args:
        bits: m.
        ones: k, bits that the parity is of.

    Raises:
        TypeError, ValueError: an argument is not as described.

    >>> task = Parity(bits=6, ones=3)
    >>> task.dim, task.leaves.tolist(), task.parents.tolist()
    (8, [0, 2, 4], [[0, 2], [4, 6]])
    """

    bits: int
    ones: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "bits", check.integer("bits", self.bits, 1, 2**20))
        object.__setattr__(self, "ones", check.integer("ones", self.ones, 1, self.bits))

    @property
    def dim(self) -> int:
        """d, places of a tape."""
        return self.bits + self.ones - 1

    @property
    def examples(self) -> int:
        """1."""
        return 1

    @cached_property
    def leaves(self) -> Tensor:
        """Places of the k bits."""
        return torch.arange(self.ones) * self.bits // self.ones

    @cached_property
    def parents(self) -> Tensor:
        """Places that each node is the parity of ``[k-1, 2]``: always the two that have waited longest."""
        waiting, found = self.leaves.tolist(), []
        for node in range(self.bits, self.dim):
            found.append(waiting[:2])
            waiting = [*waiting[2:], node]
        return torch.tensor(found, dtype=torch.int64).reshape(-1, 2)

    @property
    def depth(self) -> int:
        """Thoughts until all of the tape can be right: one to copy b and one for each level of the tree."""
        levels = [1] * self.bits
        for a, b in self.parents.tolist():
            levels.append(1 + max(levels[a], levels[b]))
        return levels[-1] if self.ones > 1 else 1

    def sample(self, prompts: int, *, seed: int = 0, first_prompt: int = 0) -> Prompts:
        """``prompts`` prompts with the global indices from ``first_prompt`` on, b from the stream of features.

        Args:
            prompts: B.
            seed: integer in [0, 2^64).
            first_prompt: global index of the first.
        """
        prompts = check.integer("prompts", prompts, 1, 2**32)
        first = check.integer("first_prompt", first_prompt, 0, 2**32 - prompts)
        seed = check.integer("seed", seed, 0, 2**64 - 1)
        check.room(64 * prompts * self.dim, "prompts, bits: the prompts", "ask for fewer of one of them")
        prompt = torch.arange(first, first + prompts)[:, None]
        words = rng.philox(rng.counter(rng.Stream.FEATURES, prompt=prompt, coordinate=torch.arange(self.bits)), seed)
        tape = torch.zeros(prompts, self.dim)
        tape[:, : self.bits] = (words[0] >> 31).float()
        x = tape.clone()[:, None]
        for node, (a, b) in enumerate(self.parents.tolist(), self.bits):
            tape[:, node] = (tape[:, a] != tape[:, b]).float()
        answer = tape[:, -1:] if self.ones > 1 else tape[:, self.leaves]
        return Prompts(x, answer.clone(), tape, torch.ones(self.dim), first)

    def in_context_loss(self, prompts: Prompts, w: Tensor) -> Tensor:
        """Share of a tape's bits that are not what the places they come from say, for numbers between 0 and 1 the mean
        square of the difference to a + b - 2 a b: ``[B, A]``.

        Args:
            prompts: B of them.
            w: tapes ``[B, A, d]``.
        """
        check_prompts(prompts, self.dim)
        a, b = (w[..., self.parents[:, i].to(w.device)] for i in (0, 1))
        said = torch.cat((prompts.x[..., : self.bits].expand(-1, w.shape[1], -1), a + b - 2 * a * b), 2)
        return sums.tree_mean((w - said).square(), 2)

    def metrics(self) -> Mapping[str, Metric]:
        """The error of the answer alone."""
        return OF_PARITY


def parity_error(prompts: Prompts, w: Tensor) -> Tensor:
    """1 where the last bit of a tape is wrong, which is read as 1 iff above 1/2 and as half wrong at 1/2: ``[B, A]``.

    Args:
        prompts: B of them, with the right tapes.
        w: tapes ``[B, A, d]``.
    """
    return ((w[..., -1] - 0.5).sign() / 2 + 0.5 - truth(prompts)[..., -1]).abs()


OF_PARITY: Mapping[str, Metric] = {"parity_error": parity_error}
"""Metrics of tapes, by name."""
