"""Binary coefficients with k ones: the Markov chain on all C(d, k) sets of a prompt, exactly.

A row of the transition matrix is the law of a draw (``plackett_luce.py``), whose weights are v = max(u, 1e-10) of the
transformer's output u. float64; a law is an array of C(d, k) probabilities in the order of :func:`all_sets`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from ..decoding.authors_rules import SubsetSampling
from ..decoding.gaussian_chain import affine
from ..decoding.rules import Rule
from ..estimators.arrays import Array
from ..numerics import check
from ..numerics.protocols import complete, described
from .plackett_luce import all_sets, count_of_sets, law_block, row_blocks

MATRIX = 2**12
"""Sets up to which the transition matrix is held while several steps are made; beyond, it is made again in blocks."""


class SetRule(Protocol):
    """What the chain on sets asks of a rule."""

    @property
    def ones(self) -> int:
        """k."""

    def weights(self, u: Tensor) -> Tensor:
        """v, positive, given the transformer's output ``u``, of any shape."""


class SubsetChain:
    """The chain of one prompt whose thoughts are sets of k coordinates, drawn at every step.

    Args:
        state: of the prompt, ``[d, d+1]``.
        rule: k and the weights.

    Raises:
        ValueError: there are more than 20,000 sets, or a shape is not as described.
    """

    def __init__(self, state: Tensor, rule: SetRule) -> None:
        check.tensor("state", state, ("d", "d+1"))
        self._state, self._rule = state.detach().cpu().double(), rule
        self.sets = count_of_sets(len(state), rule.ones)

    def _weights(self, w: Array) -> Array:
        """v after each thought ``[A, d]``."""
        thought = torch.from_numpy(w)
        v: Array = self._rule.weights(thought + thought @ self._state[:, :-1].mT - self._state[:, -1]).numpy()
        return v

    def first(self, w0: ArrayLike | None = None) -> Array:
        """The law of w_1 ``[C(d, k)]``.

        Args:
            w0: ``[d]``, default zero; any numbers.

        Raises:
            ValueError: it has another shape.
        """
        start = np.zeros(len(self._state)) if w0 is None else np.asarray(w0, dtype=np.float64)
        if start.shape != (len(self._state),):
            raise ValueError(f"w0: expected shape [{len(self._state)}], got {list(start.shape)}")
        return law_block(self._weights(start[None]), self._rule.ones)[:, 0]

    def advance(self, law: Array, steps: int) -> Array:
        """The law some steps later ``[C(d, k)]``.

        Args:
            law: of the thought now.
            steps: how many.
        """
        hold = steps > 1 and self.sets <= MATRIX
        matrix = np.concatenate([block for _, block in self._transitions()], axis=1) if hold else None
        for _ in range(steps):
            if matrix is not None:
                law = matrix @ law
            else:
                law = sum((block @ law[rows] for rows, block in self._transitions()), np.zeros(self.sets))
        return law

    def _transitions(self) -> Iterator[tuple[slice, Array]]:
        """Columns of the transition matrix: laws of the next set ``[C(d, k), A]`` given A of the sets."""
        ones, v = self._rule.ones, self._weights(all_sets(len(self._state), self._rule.ones))
        for rows in row_blocks(self.sets, len(self._state), ones):
            yield rows, law_block(v[rows], ones)


def subset_law(state: Tensor, rule: Rule, steps: int) -> Array:
    """The law of the answer after T steps from w_0 = 0.

    Args:
        state: ``[B, d, d+1]``, C(d, k) <= 20,000.
        rule: a :class:`ttc_fast.SubsetSampling`.
        steps: T, at least 1.

    Returns:
        ``[B, C(d, k)]``.

    Raises:
        TypeError: the rule tells no weights.
        ValueError: a shape or number is not as described.

    >>> import ttc_fast as tf
    >>> prompts = tf.LinearRegression(5, 12, "binary").sample(2)
    >>> state = tf.LinearAttention.gradient_descent(5, examples=12).prefill(prompts).linear
    >>> subset_law(state, tf.SubsetSampling(2), steps=4).sum(1).round(12).tolist()
    [1.0, 1.0]
    """
    check.tensor("state", state, ("B", "d", "d+1"))
    steps, sets = check.integer("steps", steps, 1, 2**34), set_rule(rule)
    chains = [SubsetChain(prompt, sets) for prompt in state]
    return np.stack([chain.advance(chain.first(), steps - 1) for chain in chains])


def largest_sets(state: Tensor, ones: int, steps: int) -> Tensor:
    """The answer of the greedy chain from w_0 = 0, ones at the k largest of v, of equal ones the first.

    Args:
        state: ``[B, d, d+1]``.
        ones: k.
        steps: T, at least 1.

    Returns:
        ``[B, d]``, float64 on the CPU.

    Raises:
        TypeError, ValueError: an argument is not as described.
    """
    check.tensor("state", state, ("B", "d", "d+1"))
    check.integer("ones", ones, 1, state.shape[1])
    (matrix, offset), rule = affine(state), SubsetSampling(ones)
    w = torch.zeros_like(offset)
    for _ in range(check.integer("steps", steps, 1, 2**34)):
        v = rule.weights((matrix @ w[:, :, None])[:, :, 0] + offset)
        chosen = v.sort(dim=1, descending=True, stable=True).indices[:, :ones]
        w = torch.zeros_like(w).scatter_(1, chosen, 1.0)
    return w


def set_rule(rule: Rule) -> SetRule:
    """The rule as one that draws sets.

    Raises:
        TypeError: it tells no weights.
    """
    rule = complete(rule, Rule, "rule")
    if not (callable(getattr(rule, "weights", None)) and hasattr(rule, "ones")):
        raise TypeError(f"rule: expected SubsetSampling, got {described(rule)}; theory.binary has other laws of bits")
    return rule  # type: ignore[return-value]  # it has both
