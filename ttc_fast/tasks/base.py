"""What a task is: where prompts come from, and what is measured of the answers to them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from ..numerics import check
from ..numerics.protocols import complete
from .metrics import Metric
from .prompts import Prompts, check_part


class Source(Protocol):
    """Prompts that are made when they are needed. :class:`Prompts` is one; :meth:`Task.prompts` gives another."""

    @abstractmethod
    def part(self, start: int, stop: int) -> Prompts:
        """Prompts ``start`` to ``stop - 1``, with their global indices.

        Args:
            start: from 0.
            stop: up to the number of prompts.
        """

    @abstractmethod
    def __len__(self) -> int:
        """How many there are."""


class Task(Protocol):
    """A task. A user's own needs :meth:`sample` alone; the rest has defaults.

    >>> import torch, ttc_fast as tf
    >>> class OneHot:  # every feature vector has a single 1
    ...     def sample(self, prompts, *, seed=0, first_prompt=0):
    ...         random = torch.Generator().manual_seed(seed + first_prompt)
    ...         x = torch.eye(4).repeat(4, 1).expand(prompts, -1, -1)
    ...         w_star = torch.randn(prompts, 4, generator=random)
    ...         return tf.Prompts(x, (x @ w_star[:, :, None])[:, :, 0], w_star, first=first_prompt)
    >>> decoder = tf.StochasticDecoder(tf.LinearAttention.gradient_descent(4, examples=16), tf.GaussianNoise(0.1))
    >>> table = tf.evaluate(decoder, OneHot().sample(3), steps=4, samples=8)
    >>> table.keys[0].technique
    'greedy'
    """

    in_context_loss: Metric | None = None
    """What a chain, which does not know w*, can tell of answers ``[B, A, d]``: ``[B, A]``, lower is better; a method of
    yours. None: the squared residuals of the examples. Verifiers take it by default."""

    @abstractmethod
    def sample(self, prompts: int, *, seed: int = 0, first_prompt: int = 0) -> Prompts:
        """``prompts`` prompts with the global indices from ``first_prompt`` on; they depend on nothing else.

        Args:
            prompts: how many.
            seed: of the random numbers.
            first_prompt: global index of the first.
        """

    def metrics(self) -> Mapping[str, Metric]:
        """Metrics of its own by name, measured beside those that every prompt has."""
        return {}

    def prompts(self, count: int, *, seed: int = 0, first_prompt: int = 0) -> Source:
        """Prompts that are sampled part by part, when they are needed.

        Args:
            count: how many.
            seed: of the random numbers.
            first_prompt: global index of the first.
        """
        return TaskPrompts(self, count, seed, first_prompt)


@dataclass(frozen=True)
class TaskPrompts:
    """Prompts of a task that are sampled when they are needed.

    Args:
        task: where they come from.
        count: how many.
        seed: of the task's random numbers.
        first_prompt: global index of the first.
        device: where they go.
    """

    task: Task
    count: int
    seed: int = 0
    first_prompt: int = 0
    device: str = "cpu"

    def __post_init__(self) -> None:
        object.__setattr__(self, "task", complete(self.task, Task, "task"))
        check.integer("seed", self.seed, 0, 2**64 - 1)
        check.text("device", self.device)
        count = check.integer("count", self.count, 1, 2**32)
        first = check.integer("first_prompt", self.first_prompt, 0, 2**32 - count)
        object.__setattr__(self, "count", count)
        object.__setattr__(self, "first_prompt", first)

    def part(self, start: int, stop: int) -> Prompts:
        start, stop = check_part(start, stop, self.count)
        sample = self.task.sample(stop - start, seed=self.seed, first_prompt=self.first_prompt + start)
        return sample.to(self.device)

    def __len__(self) -> int:
        return self.count
