"""The votes of a bank of samples, prompt by prompt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from .arrays import Array, Integers, bank, integers

NoAnswer: TypeAlias = Literal["fail", "ignore"]
"""What a sample without answer does: it votes for an answer that is worth 0, or it does not vote."""


@dataclass(frozen=True)
class Votes:
    """The votes of a bank, by prompt."""

    answers: Integers
    """``[P, N]``, numbered from 0 within the prompt; -1 for a sample that does not vote."""
    counts: Integers
    """Samples of every answer ``[P, A]``; 0 where a prompt has fewer answers than another."""
    values: Array
    """Mean value of every answer ``[P, A]``."""
    abstentions: Integers
    """Samples that do not vote ``[P]``."""


def tally(answers: ArrayLike, value: ArrayLike, no_answer: NoAnswer) -> Votes:
    """The votes of a bank.

    Args:
        answers: an integer for every answer ``[P, N]``; negative: no answer.
        value: of every sample ``[P, N]``.
        no_answer: what a sample without answer does.

    Raises:
        TypeError, ValueError: an argument is not as described.
    """
    given, value = integers("answers", answers), bank("value", value)
    if given.shape != value.shape:
        raise ValueError(f"value: expected shape {list(given.shape)} as answers, got {list(value.shape)}")
    abstains = given < 0
    if no_answer == "fail":  # one more answer, which is worth 0
        given, value, abstains = np.where(abstains, -1, given), np.where(abstains, 0.0, value), np.zeros_like(abstains)
    order = np.argsort(given, axis=1, kind="stable")
    ordered = np.take_along_axis(given, order, 1)
    new = np.zeros(given.shape, dtype=np.int64)
    new[:, 1:] = (ordered[:, 1:] != ordered[:, :-1]) & ~np.take_along_axis(abstains, order, 1)[:, :-1]
    numbered = np.empty_like(given)
    np.put_along_axis(numbered, order, np.cumsum(new, axis=1), 1)
    numbered[abstains] = -1
    most = int(numbered.max(initial=0)) + 1
    place = (numbered + most * np.arange(len(numbered))[:, None])[~abstains]
    counts = np.bincount(place, minlength=len(numbered) * most).reshape(-1, most)
    sums = np.bincount(place, weights=value[~abstains], minlength=len(numbered) * most).reshape(-1, most)
    return Votes(numbered, counts, sums / np.maximum(counts, 1), abstains.sum(axis=1))
