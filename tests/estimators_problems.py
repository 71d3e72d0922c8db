"""What estimators are compared with: averages over all subsets, by enumeration."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable

import numpy as np
from hypothesis import strategies as st

from oracles import Array
from ttc_fast.estimators.votes import NoAnswer, Ties

ROUNDING = 1e-12
"""float64: sums of at most a few thousand terms of size 1, each rounded to 1e-16."""

bits = st.lists(st.booleans(), min_size=1, max_size=8)


def over_subsets(samples: int, k: int, value: Callable[[list[int]], float]) -> float:
    """The mean of ``value(subset)`` over all subsets of k of N."""
    return float(np.mean([value(list(subset)) for subset in itertools.combinations(range(samples), k)]))


def vote(answers: Array, value: dict[int, float], ties: Ties, no_answer: NoAnswer) -> float:
    """The value of one subset's vote, by counting; a negative answer is none."""
    if no_answer == "ignore":
        answers = answers[answers >= 0]
    counts = Counter(answers.tolist())
    if not counts:
        return 0.0
    leaders = [a for a in counts if counts[a] == max(counts.values())]  # in the order of first appearance
    if ties == "fail" and len(leaders) > 1:
        return 0.0
    chosen = leaders[:1] if ties == "first" else leaders
    return float(np.mean([0.0 if a < 0 else value[int(a)] for a in chosen]))
