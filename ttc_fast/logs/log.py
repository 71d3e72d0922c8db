"""What a log of repeated samples is: the samples of a record, and those of all files as flat arrays."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..estimators.arrays import Array, Integers

Record: TypeAlias = dict[str, Any]
"""A line or row of a file: its fields by name."""


class Sample(NamedTuple):
    """One sampled answer; None for what is not known."""

    prompt: str
    correct: bool
    answer: str | None = None
    score: float | None = None
    tokens: int | None = None
    sample: int | None = None
    """Its place in the order of sampling."""


class PromptCounts(NamedTuple):
    """A prompt of which only the counts are known: n samples, c of them correct."""

    prompt: str
    n: int
    c: int


@dataclass(frozen=True)
class SampleLog:
    """Samples of P prompts; those of one prompt lie next to each other, in the order of sampling."""

    format: str
    prompts: Integers
    """A number for the identity of every prompt ``[P]``, the same in every log that one process reads: a hash of
    its name or, in a matrix, of its row."""
    samples: Integers
    """n of every prompt ``[P]``."""
    correct: Integers
    """c of every prompt ``[P]``."""
    labels: NDArray[np.bool_] | None
    """Whether each sample is correct ``[sum n]``; None where only counts are known."""
    answers: Integers | None
    """A number for every distinct answer ``[sum n]``, negative where a sample has none; None without any answer."""
    scores: Array | None
    """A verifier's scores ``[sum n]``, higher is better."""
    tokens: Array | None
    """Lengths of the samples ``[sum n]``."""
    pooled: int
    """Prompts that occur in several files, whose samples are put together."""
    skipped: int
    """Lines left out."""
    complaints: tuple[str, ...]
    """About the first of the lines left out."""
    by_row: bool = False
    """Whether prompts are known by their row in the file, not by a name."""

    def banks(self) -> Iterator[tuple[Integers, Integers]]:
        """Prompts with equally many samples: their indices ``[G]`` and those of their samples ``[G, N]``."""
        start = np.cumsum(self.samples) - self.samples
        for n in np.unique(self.samples):
            prompts = np.flatnonzero(self.samples == n)
            yield prompts, start[prompts, None] + np.arange(n)
