"""What a log of repeated samples is: the samples of a record, and those of all files as flat arrays."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..estimators.arrays import Array, Integers

Record: TypeAlias = dict[str, Any]
"""A line or row of a file: its fields by name."""


class Collector(Protocol):
    """What takes the items of a record; see :class:`ttc_fast.logs.columns.Columns`."""

    def add_sample(self, item: Sample) -> None:
        """One sample."""

    def add_counts(self, item: PromptCounts) -> None:
        """A prompt of which only the counts are known."""

    def add_note(self, item: Note) -> None:
        """Something to tell the user."""


class Sample(NamedTuple):
    """One sampled answer; None for what is not known."""

    prompt: str
    correct: bool | None
    """None: to be found by comparison with the true answer, :attr:`truth` or that of ``--gold``."""
    answer: str | None = None
    score: float | None = None
    """NaN: not known, though others may be."""
    tokens: float | None = None
    """Likewise."""
    sample: int | None = None
    """Its place in the order of sampling."""
    truth: str | None = None
    """The true answer."""
    steps: Sequence[float] | None = None
    """Scores of the steps of a solution, which ``--aggregate`` makes one score of."""
    text: str | None = None
    """The whole completion, of which ``--extract`` takes the answer."""

    def add_to(self, columns: Collector) -> None:
        """Hand the sample over."""
        columns.add_sample(self)


class Note(NamedTuple):
    """Something that the user should know of a log; notes of one text are counted together."""

    text: str
    """With ``{count}`` for the sum of the amounts."""
    amount: int = 1

    def add_to(self, columns: Collector) -> None:
        """Hand the note over."""
        columns.add_note(self)


class PromptCounts(NamedTuple):
    """A prompt of which only the counts are known: n samples, c of them correct."""

    prompt: str
    n: int
    c: int

    def add_to(self, columns: Collector) -> None:
        """Hand the counts over."""
        columns.add_counts(self)


class Coded(NamedTuple):
    """Texts, each once."""

    codes: Integers
    """Of every sample, the number of its text; -1 for none."""
    values: list[str]


class Bulk(NamedTuple):
    """Many samples, column by column; None for what is not known of any."""

    prompt: Coded
    correct: NDArray[np.int8]
    answer: Coded | None = None
    score: Array | None = None
    tokens: Array | None = None
    sample: Integers | None = None
    settings: Mapping[str, Sequence[str]] = {}
    """Values of fields that say how samples were made, by name."""


Item: TypeAlias = Sample | PromptCounts | Note
"""What a record holds."""


@dataclass(frozen=True)
class SampleLog:
    """Samples of P prompts; those of one prompt lie next to each other, in the order of sampling."""

    format: str
    prompts: NDArray[Any]
    """The name of every prompt ``[P]``; in a matrix its row."""
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
    notes: tuple[str, ...] = ()
    """What the user should know of the labels, the answers and what was put together."""
    clusters: Integers | None = None
    """A number for the cluster of every prompt ``[P]``; None: every prompt stands for itself."""
    filter: str | None = None
    """The filter whose records were read, in a log that has filters."""

    def banks(self) -> Iterator[tuple[Integers, Integers]]:
        """Prompts with equally many samples: their indices ``[G]`` and those of their samples ``[G, N]``."""
        start = np.cumsum(self.samples) - self.samples
        for n in np.unique(self.samples):
            prompts = np.flatnonzero(self.samples == n)
            yield prompts, start[prompts, None] + np.arange(n)

    def tokens_of_prompts(self) -> Array | None:
        """The mean length of the samples of every prompt ``[P]``; None where lengths are not known."""
        if self.tokens is None:
            return None
        start = np.cumsum(self.samples) - self.samples
        return np.asarray(np.add.reduceat(self.tokens, start) / self.samples)
