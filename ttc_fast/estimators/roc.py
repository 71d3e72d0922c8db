"""Best-of-K from the ROC of a verifier, beyond the samples that were drawn.

Of a prompt whose samples are right with probability p, with T the share of right and F the share of wrong samples whose
score is above a threshold, the best of K is right with probability (Dorner et al., arXiv 2507.12399)

    A(p, K) = int K (1 - p T - (1-p) F)^{K-1} p dT   over the ROC curve T(F);

of a curve of straight pieces a sum of ``p dT / (p dT + (1-p) dF) [(1 - p T - (1-p) F)^K]`` from piece to piece. As K
grows it tends to p s / (p s + 1 - p), s the slope of the curve at 0, which few samples do not show, by no method.

T(F) is the distribution function of the share of wrong samples that score above a right one. With m wrong samples their
number above is binomial given that share, so that its law is a :class:`~.success_law.SuccessLaw` of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from .arrays import Array, Integers, bank
from .budgets import sizes
from .success_law import GRID


class Placements(NamedTuple):
    """Of right samples: how many wrong samples of their prompt score above them."""

    wrong: Integers
    """The number of wrong samples of the prompt ``[M]``."""
    above: Integers
    """Of these, with a higher score ``[M]``."""
    weight: Array
    """``[M]``: a right sample counts 1; one that ties with wrong ones has half its weight above and half below them."""
    row: Integers
    """Of which row each is ``[M]``."""


def placements(score: ArrayLike, correct: ArrayLike) -> Placements:
    """Where right samples stand among the wrong ones of their prompt.

    Args:
        score: of a verifier, higher is better ``[P, N]``.
        correct: whether each sample is right ``[P, N]``.

    Returns:
        Of every right sample of a prompt that has wrong ones too.

    Raises:
        TypeError, ValueError: the arrays are no numbers of one shape.

    >>> found = placements([[0.9, 0.5, 0.1], [0.2, 0.2, 0.3]], [[1, 0, 0], [1, 0, 1]])
    >>> found.above.tolist(), found.wrong.tolist(), found.weight.tolist()
    ([0, 0, 1, 0], [2, 1, 1, 1], [1.0, 0.5, 0.5, 1.0])
    """
    scores, right = bank("score", score), bank("correct", correct) > 0.5
    if scores.shape != right.shape:
        raise ValueError(f"correct: expected shape {list(scores.shape)} as score, got {list(right.shape)}")
    found: list[tuple[int, int, float, int]] = []
    for row in np.flatnonzero(right.any(axis=1) & ~right.all(axis=1)).tolist():
        wrong = np.sort(scores[row, ~right[row]])
        own = scores[row, right[row]]
        strictly = len(wrong) - np.searchsorted(wrong, own, side="right")
        at_least = len(wrong) - np.searchsorted(wrong, own, side="left")
        for above, reach in zip(strictly.tolist(), at_least.tolist()):
            places = (above,) if above == reach else (above, reach)
            found += [(len(wrong), place, 1 / len(places), row) for place in places]
    columns = list(zip(*found)) or [(), (), (), ()]
    whole = [np.array(column, dtype=np.int64) for column in (columns[0], columns[1], columns[3])]
    return Placements(whole[0], whole[1], np.array(columns[2], dtype=np.float64), whole[2])


def best_of_roc(placed: Array, budgets: Sequence[int], points: Integers | None = None) -> Array:
    """Probability that the sample of highest score among K is right, of prompts of every success probability.

    Args:
        placed: the law of the share of wrong samples above a right one, weights of the grid's points ``[G]``.
        budgets: the K, integers of at least 1.
        points: of the grid, that are asked for; default all.

    Returns:
        ``[G, K]``, by the points p of the grid.

    Raises:
        TypeError, ValueError: the budgets are not as described.

    >>> coin = np.diff(GRID, prepend=0.0)  # T(F) = F: the verifier knows nothing
    >>> bool(np.allclose(best_of_roc(coin, [1, 100]), GRID[:, None]))
    True
    """
    ks, p = sizes(budgets), (GRID if points is None else GRID[points])[:, None]
    false, true = np.append(0.0, GRID), np.append(0.0, np.cumsum(placed))
    true = true / true[-1]
    left = np.clip(1 - p * true - (1 - p) * false, 0.0, 1.0)  # [G, points of the curve]
    with np.errstate(invalid="ignore", divide="ignore"):
        right, wrong = p * np.diff(true), (1 - p) * np.diff(false)
        share = np.where(right > 0, right / (right + wrong), 0.0)
    powers = [left**k for k in ks.tolist()]
    return np.stack([(share * (power[:, :-1] - power[:, 1:])).sum(axis=1) for power in powers], axis=1)
