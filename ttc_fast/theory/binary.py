"""Binary coefficients: the Markov chain on the 2^d thoughts, exactly.

A law is an array of 2^d probabilities in the order of :func:`bit_strings`. Given a thought the next bits are
independent, so that a row of the transition matrix is an outer product of two halves of the bits: one step
is a product of a [2^(d/2), 2^d] and a [2^d, 2^(d/2)] matrix, O(4^d) operations but only O(2^{3d/2}) memory.
float64; d <= 14.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
from numpy.typing import ArrayLike
from scipy.sparse.linalg import LinearOperator, gmres
from torch import Tensor

from ..decoding.rules import Rule
from ..estimators.arrays import Array, Integers
from ..numerics import check
from ..numerics.protocols import complete, described

MAX_DIM = 14
"""Coefficients: 4^14 multiplications for a step."""

_TILE = 2**18
"""Numbers of half a transition matrix, of some prompts together, that are held at a time: they stay in the cache."""


class BitRule(Protocol):
    """What the chain on bits asks of a rule: given the transformer's output, the bits are independent."""

    def probability(self, u: Tensor) -> Tensor:
        """P(coefficient = 1) given ``u``, of any shape."""


def bit_strings(dim: int) -> Array:
    """All of {0, 1}^d, the first bit the most significant: ``[2^d, d]``."""
    check.integer("dim", dim, 1, MAX_DIM)
    return (np.arange(2**dim)[:, None] >> np.arange(dim)[::-1] & 1).astype(np.float64)


class BinaryChain:
    """The chain of one prompt: laws of all thoughts, expected time to the right answer.

    Its thoughts are drawn at every step.

    Args:
        state: of the prompt, ``[d, d+1]``: one row of ``LinearAttention.prefill(prompts).linear``.
        rule: from the transformer's output to the probability of a one.

    >>> import ttc_fast as tf
    >>> prompts = tf.LinearRegression(3, 12, "binary").sample(1, seed=1)
    >>> model = tf.LinearAttention.gradient_descent(3, examples=12)
    >>> chain = BinaryChain(model.prefill(prompts).linear[0], tf.BernoulliSampling("clip"))
    >>> right = int(string_index(prompts.w_star[0]))
    >>> (1 - chain.not_yet_hit(right, 3)).round(3).tolist(), round(chain.hitting_time(right), 2)
    ([0.399, 0.598, 0.713], 3.17)
    """

    def __init__(self, state: Tensor, rule: BitRule) -> None:
        check.tensor("state", state, ("d", "d+1"))
        self._state, self._rule = state.detach().cpu().double()[None], rule
        self.dim = check.integer("dim", len(state), 1, MAX_DIM)
        self._halves = _halves(self._state, rule)

    def step(self, law: Array) -> Array:
        """The law of the next thought ``[2^d]``, given that of this one."""
        return np.asarray(_step(law[None], self._halves)[0])

    def expected(self, value: Array) -> Array:
        """E value(w_{t+1}) given each w_t, ``[2^d]``."""
        left, right = (half[0] for half in self._halves)
        return np.asarray(((left @ value.reshape(left.shape[1], -1)) * right).sum(1))

    def law(self, steps: int, w0: ArrayLike | None = None) -> Array:
        """The law of w_T.

        Args:
            steps: T, at least 1.
            w0: ``[d]``, default zero; any numbers, as the first thought is not drawn.

        Returns:
            ``[2^d]``.

        Raises:
            ValueError: ``w0`` has another shape, or there is no step.
        """
        check.integer("steps", steps, 1, 2**34)
        start = np.zeros(self.dim) if w0 is None else np.asarray(w0, dtype=np.float64)
        if start.shape != (self.dim,):
            raise ValueError(f"w0: expected shape [{self.dim}], got {list(start.shape)}")
        law: Array = _product_law(_probability(self._state, self._rule, start[None, None]))[0, 0]
        for _ in range(steps - 1):
            law = self.step(law)
        return law

    def not_yet_hit(self, target: int, steps: int) -> Array:
        """P(thought number ``target`` was not hit at any of the steps 1 to t), from w_0 = 0.

        For an absorbing target (link clip, noise-free labels, target w*) it is P(w_t != w*).

        Args:
            target: its row of :func:`bit_strings`, see :func:`string_index`.
            steps: T.

        Returns:
            For t = 1, ..., T: ``[T]``.
        """
        law, result = self.law(1), []
        for t in range(steps):
            law = law if t == 0 else self.step(law)
            law[target] = 0.0
            result.append(law.sum())
        return np.array(result)

    def hitting_time(self, target: int) -> float:
        """Expected number of steps from w_0 = 0 to thought number ``target``.

        1 + law_1 h, (I - Q) h = 1, with Q the transition matrix without the target.

        Raises:
            ValueError: the target is not reached almost surely, or too rarely to be solved for.
        """
        size, keep = 2**self.dim, np.arange(2**self.dim) != target
        operator = LinearOperator((size, size), matvec=lambda h: h - keep * self.expected(keep * h.reshape(-1)))
        h, failed = gmres(operator, keep.astype(np.float64), rtol=1e-12, restart=min(size, 100), maxiter=100)
        time = 1.0 + float(self.law(1) @ h)
        if failed or not 1.0 - 1e-9 <= time < 1e12:
            raise ValueError(f"target: expected a thought that is reached almost surely, got number {target}")
        return time


def binary_law(state: Tensor, rule: Rule, steps: int, w0: Tensor | None = None) -> Array:
    """The law of the answer after T steps.

    Args:
        state: ``[B, d, d+1]``, d <= 14.
        rule: a :class:`ttc_fast.BernoulliSampling`, of any link, temperature and ``sample_at``.
        steps: T, at least 1.
        w0: initial thought ``[B, d]``, default zero.

    Returns:
        ``[B, 2^d]``.

    Raises:
        TypeError: the rule tells no probability of a one.
        ValueError: a shape or number is not as described.

    >>> import ttc_fast as tf
    >>> prompts = tf.LinearRegression(3, 12, "binary").sample(2)
    >>> state = tf.LinearAttention.gradient_descent(3, examples=12).prefill(prompts).linear
    >>> binary_law(state, tf.BernoulliSampling(), steps=4).sum(1).round(12).tolist()
    [1.0, 1.0]
    """
    check.tensor("state", state, ("B", "d", "d+1"))
    check.integer("steps", steps, 1, 2**34)
    encoded, bits = complete(rule, Rule, "rule").encode(1), _bit_rule(rule)
    if encoded is None or bits is None:
        raise TypeError(f"rule: expected BernoulliSampling, got {described(rule)}; theory.gaussian has other laws")
    check.integer("dim", state.shape[1], 1, MAX_DIM)
    start = torch.zeros(state.shape[:2]) if w0 is None else check.tensor("w0", w0, state.shape[:2])
    start = start.detach().cpu().double()
    state = state.detach().cpu().double()
    if encoded.every_step:
        size = max(1, _TILE >> 3 * state.shape[1] // 2)
        return np.concatenate([_chain(*part, bits, steps) for part in zip(state.split(size), start.split(size))])
    u = start[:, :, None]
    for _ in range(steps):
        u = u + state[:, :, :-1] @ u - state[:, :, -1:]
    return _product_law(bits.probability(u[:, :, 0]).numpy())


def _chain(state: Tensor, w0: Tensor, rule: BitRule, steps: int) -> Array:
    """Laws of w_T of some prompts at once ``[B, 2^d]``."""
    law = _product_law(_probability(state, rule, w0[:, None].numpy()))[:, 0]
    halves = _halves(state, rule) if steps > 1 else (law, law)
    for _ in range(steps - 1):
        law = _step(law, halves)
    return law


def _probability(state: Tensor, rule: BitRule, w: Array) -> Array:
    """P(bit = 1) after each of A thoughts of some prompts ``[B, A, d]``, w likewise or of one for all."""
    thought = torch.from_numpy(w)
    u = thought + thought @ state[:, :, :-1].mT - state[:, None, :, -1]
    p: Array = rule.probability(u).numpy()
    return p


def _halves(state: Tensor, rule: BitRule) -> tuple[Array, Array]:
    """Two halves of the transition matrices, laws of the left and of the right bits given each thought:
    law'[left bits, right bits] = sum_w law[w] left[w, left bits] right[w, right bits]."""
    dim = state.shape[1]
    p = _probability(state, rule, bit_strings(dim)[None])
    return _product_law(p[..., : dim // 2]), _product_law(p[..., dim // 2 :])


def _step(law: Array, halves: tuple[Array, Array]) -> Array:
    """The laws of the next thoughts ``[B, 2^d]``."""
    left, right = halves
    after: Array = (np.swapaxes(left * law[:, :, None], 1, 2) @ right).reshape(law.shape)
    return after


def _bit_rule(rule: Rule) -> BitRule | None:
    return rule if callable(getattr(rule, "probability", None)) else None  # type: ignore[return-value]  # it has it


def marginals(law: Array) -> Array:
    """q_i = P(bit i = 1) of laws ``[..., 2^d]``: ``[..., d]``."""
    return np.asarray(law @ bit_strings(dim_of(law)))


def string_index(bits: ArrayLike) -> Integers:
    """Row of :func:`bit_strings` of thoughts ``[..., d]`` of zeros and ones.

    >>> string_index([[0, 1, 1], [1, 0, 0]]).tolist()
    [3, 4]
    """
    w = np.asarray(bits)
    return np.asarray((w @ 2.0 ** np.arange(w.shape[-1])[::-1]).astype(np.int64))


def _product_law(p: Array) -> Array:
    """Law of independent bits with P(1) = p ``[..., m]``: ``[..., 2^m]``, first bit most significant."""
    law = np.ones((*p.shape[:-1], 1))
    for i in range(p.shape[-1]):
        bit = np.stack((1 - p[..., i], p[..., i]), -1)
        law = (law[..., None] * bit[..., None, :]).reshape(*p.shape[:-1], -1)
    return law


def dim_of(law: Array) -> int:
    """d of a law ``[..., 2^d]``.

    Raises:
        ValueError: the length is no power of 2.
    """
    dim = int(law.shape[-1]).bit_length() - 1
    if law.shape[-1] != 2**dim:
        raise ValueError(f"law: expected shape [..., 2^d], got {list(law.shape)}")
    return dim
