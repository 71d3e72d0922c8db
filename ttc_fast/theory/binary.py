"""Binary coefficients: the Markov chain on the 2^d thoughts, exactly, and what techniques make of its law.

A law is an array of 2^d probabilities in the order of :func:`bit_strings`. Given a thought the next bits are
independent, so that a row of the transition matrix is an outer product of two halves of the bits: one step
is a product of a [2^(d/2), 2^d] and a [2^d, 2^(d/2)] matrix, O(4^d) operations but only O(2^{3d/2}) memory.
float64; d <= 14. Formulas are of the chain itself; bounds are Hoeffding's and Chernoff's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy import special
from scipy.sparse.linalg import LinearOperator, gmres
from torch import Tensor

from ..decoding.rules import BernoulliSampling
from ..estimators.selection import Array
from ..numerics import check
from ..tasks.prompts import Prompts

MAX_DIM = 14
"""Coefficients: 4^14 multiplications for a step."""


def bit_strings(dim: int) -> Array:
    """All of {0, 1}^d, the first bit the most significant: ``[2^d, d]``."""
    check.integer("dim", dim, 1, MAX_DIM)
    return (np.arange(2**dim)[:, None] >> np.arange(dim)[::-1] & 1).astype(np.float64)


class Chain:
    """The chain of one prompt with ``sample_at="every_step"``.

    Args:
        state: of the prompt, ``[d, d+1]`` (one row of :meth:`ttc_fast.LinearAttention.prefill`).
        rule: link and temperature.
    """

    def __init__(self, state: Tensor, rule: BernoulliSampling) -> None:
        check.tensor("state", state, ("d", "d+1"))
        self._state, self._rule = state.detach().cpu().double(), rule
        self.dim = check.integer("dim", len(state), 1, MAX_DIM)
        p = self._probability(bit_strings(self.dim))
        # law'[left bits, right bits] = sum_w law[w] left[w, left bits] right[w, right bits]
        self._left, self._right = _product_law(p[:, : self.dim // 2]), _product_law(p[:, self.dim // 2 :])

    def _probability(self, w: Array) -> Array:
        """P(bit = 1) after each thought ``[A, d]``."""
        thought = torch.from_numpy(w)
        u = thought + thought @ self._state[:, :-1].mT - self._state[:, -1]
        p: Array = self._rule.probability(u).numpy()
        return p

    def step(self, law: Array) -> Array:
        """The law one step on, ``[2^d]``."""
        after: Array = ((self._left * law[:, None]).T @ self._right).reshape(-1)
        return after

    def expected(self, value: Array) -> Array:
        """E value(w_{t+1}) given each w_t, ``[2^d]``."""
        table = value.reshape(self._left.shape[1], -1)
        return np.asarray(((self._left @ table) * self._right).sum(1))

    def law(self, steps: int, w0: ArrayLike | None = None) -> Array:
        """The law of w_T, T >= 1, from ``w0 [d]`` (default zero; any numbers, as the first thought is not drawn)."""
        check.integer("steps", steps, 1, 2**34)
        start = np.zeros(self.dim) if w0 is None else np.asarray(w0, dtype=np.float64)
        if start.shape != (self.dim,):
            raise ValueError(f"w0: expected shape [{self.dim}], got {list(start.shape)}")
        law: Array = _product_law(self._probability(start[None]))[0]
        for _ in range(steps - 1):
            law = self.step(law)
        return law

    def missed(self, target: int, steps: int) -> Array:
        """P(thought number ``target`` was not hit at any of the steps 1 to t), t = 1, ..., T, from w_0 = 0. For an
        absorbing target (link clip, noise-free labels, target w*) it is P(w_t != w*)."""
        law, result = self.law(1), []
        for t in range(steps):
            law = law if t == 0 else self.step(law)
            law[target] = 0.0
            result.append(law.sum())
        return np.array(result)

    def hitting_time(self, target: int) -> float:
        """Expected number of steps from w_0 = 0 to thought number ``target``: 1 + law_1 h, (I - Q) h = 1.

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


def binary_law(state: Tensor, rule: BernoulliSampling, steps: int) -> Array:
    """The law of the answer after T >= 1 steps from w_0 = 0, for every link and ``sample_at``: ``[B, 2^d]``.

    Args:
        state: ``[B, d, d+1]``, d <= 14.
        rule: link, temperature, and when bits are drawn.
        steps: T.
    """
    check.tensor("state", state, ("B", "d", "d+1"))
    check.integer("steps", steps, 1, 2**34)
    if not isinstance(rule, BernoulliSampling):
        raise TypeError(f"rule: expected BernoulliSampling, got {type(rule).__name__}; see theory.prompt for others")
    check.integer("dim", state.shape[1], 1, MAX_DIM)
    if rule.sample_at == "every_step":
        return np.stack([Chain(prompt, rule).law(steps) for prompt in state])
    state = state.detach().cpu().double()
    u = torch.zeros_like(state[:, :, -1:])
    for _ in range(steps):
        u = u + state[:, :, :-1] @ u - state[:, :, -1:]
    return _product_law(rule.probability(u[:, :, 0]).numpy())


def marginals(law: Array) -> Array:
    """q_i = P(bit i = 1) of laws ``[..., 2^d]``: ``[..., d]``."""
    return np.asarray(law @ bit_strings(_dim(law)))


def number(bits: ArrayLike) -> NDArray[np.int64]:
    """Position in :func:`bit_strings` of thoughts ``[..., d]`` of zeros and ones."""
    w = np.asarray(bits)
    return np.asarray((w @ 2.0 ** np.arange(w.shape[-1])[::-1]).astype(np.int64))


def majority_right(q: ArrayLike, votes: int) -> Array:
    """P(the majority of N says 1) where each vote does with probability q, a tie by a fair coin: shape of ``q``."""
    votes, q = check.integer("votes", votes, 1, 2**34), np.asarray(q, dtype=np.float64)
    half = votes // 2
    above = special.bdtrc(half, votes, q)
    if votes % 2:
        return np.asarray(above)
    with np.errstate(divide="ignore", invalid="ignore"):
        log = special.gammaln(votes + 1) - 2 * special.gammaln(half + 1) + half * np.log(q * (1 - q))
    return np.asarray(above + np.exp(log) / 2)


def majority_recovery(law: Array, w_star: ArrayLike, votes: int) -> float:
    """P(the coordinate majority of N answers is w*), ties by fair coins: (sum_w law(w) z^w)^N by Fourier transform.

    Costs (N + 1)^d numbers, at most 2^24; :func:`majority_right` gives each coordinate at no cost.
    """
    dim, votes = _dim(law), check.integer("votes", votes, 1, 2**24)
    if (votes + 1) ** dim > 2**24:
        raise ValueError(f"votes: expected (votes + 1)^d <= 2^24, got {votes} votes for d = {dim}")
    counts = np.zeros((votes + 1,) * dim)
    counts[(slice(0, 2),) * dim] = law.reshape((2,) * dim)
    counts = np.fft.irfftn(np.fft.rfftn(counts) ** votes, counts.shape, axes=range(dim))
    ones = 2 * np.arange(votes + 1)
    for truth in np.asarray(w_star, dtype=np.float64):
        wins = ones > votes if truth else ones < votes
        counts = np.tensordot(wins + 0.5 * (ones == votes), counts, axes=(0, 0))
    return float(counts)


def plurality_right(law: Array, answer: int, votes: int) -> float:
    """P(the most frequent whole answer of N is number ``answer``), a tie by a fair draw.

    N! [z^N] int_0^1 du sum_k (p_c z)^k / k! prod_{j != c} (sum_{l<k} (p_j z)^l / l! + u (p_j z)^k / k!): the
    integral by Gauss-Legendre quadrature, exact for its degree N / k, the coefficient by Fourier transform on the
    circle |z| = N, where the counts are Poisson ones.
    """
    votes = check.integer("votes", votes, 1, 2**12)
    p = np.delete(law, answer)
    p, points = p[p > 0], 2 * votes + 64
    z = votes * np.exp(2j * np.pi * np.arange(points) / points)
    terms = np.ones((len(p), points), dtype=complex)  # (p_j z)^l / l! of the current l
    below = np.zeros_like(terms)
    own, total = np.ones(points, dtype=complex), 0.0
    # e^{-N} sum_m P(total m) z^m: divided by the Poisson probability of N
    log_poisson = votes * math.log(votes) - votes - math.lgamma(votes + 1)
    damping = np.exp(-votes * np.append(p, law[answer]))
    for k in range(1, votes + 1):
        below += terms
        terms *= p[:, None] * z / k
        own = own * law[answer] * z / k
        nodes, weights = np.polynomial.legendre.leggauss(votes // (2 * k) + 1)
        for u, weight in zip((nodes + 1) / 2, weights / 2):
            product = np.prod((below + u * terms) * damping[:-1, None], axis=0) * own * damping[-1]
            total += weight * float((product * np.exp(-2j * np.pi * np.arange(points) * votes / points)).real.mean())
    return total * math.exp(-log_poisson)


def best_of_n(law: Array, score: Array, value: Array, budgets: Sequence[int]) -> Array:
    """Expected ``value [2^d]`` of the answer with the highest ``score [2^d]`` among k: ``[K]``.

    P(all k at most s) - P(all k below s) for each score s; answers of equal score share by their probability.
    """
    ks = np.array([check.integer("budgets", k, 1, 2**34) for k in budgets])
    _, group = np.unique(score, return_inverse=True)
    mass = np.bincount(group, law)
    mean = np.bincount(group, law * value) / np.where(mass > 0, mass, 1.0)
    at_most = np.minimum(np.cumsum(mass) / mass.sum(), 1.0)
    power = at_most ** ks[:, None]
    return np.asarray(np.diff(power, prepend=0.0, axis=1) @ mean)


def pass_at_k(law: Array, correct: ArrayLike, budgets: Sequence[int]) -> Array:
    """1 - (1 - p)^k, p the probability of the ``correct`` answers (a mask ``[2^d]``): ``[K]``."""
    ks = np.array([check.integer("budgets", k, 1, 2**34) for k in budgets])
    with np.errstate(divide="ignore"):
        return np.asarray(-np.expm1(ks * np.log1p(-min(float(law[np.asarray(correct, dtype=bool)].sum()), 1.0))))


class Exponents(NamedTuple):
    """P(wrong) <= exp(-N rate) of a vote among N; Chernoff's rate is the true one as N grows."""

    hoeffding: Array
    chernoff: Array


def majority_exponents(q: ArrayLike) -> Exponents:
    """Rates of a coordinate's majority whose votes are right with probability q: 2 (q - 1/2)^2 and -ln(4 q (1 - q))
    / 2; 0 for q <= 1/2, where more votes do not help."""
    q = np.maximum(np.asarray(q, dtype=np.float64), 0.5)
    with np.errstate(divide="ignore"):
        return Exponents(2 * (q - 0.5) ** 2, -np.log(4 * q * (1 - q)) / 2)


def plurality_exponents(right: float, rival: float) -> Exponents:
    """Rates at which the right answer beats one rival: Delta^2 / 2 and -ln(1 - (sqrt p_1 - sqrt p_2)^2); 0 for a
    rival at least as frequent."""
    check.number("right", right, 0.0, 1.0)
    check.number("rival", rival, 0.0, 1.0)
    gap = max(right - rival, 0.0)
    root = max(math.sqrt(right) - math.sqrt(rival), 0.0)
    with np.errstate(divide="ignore"):
        return Exponents(np.array(gap**2 / 2), -np.log(np.array(1 - root**2)))


def votes_needed(q: ArrayLike, failure: float) -> int:
    """N >= ln(d / failure) / (2 min (q - 1/2)^2): so many votes make every coordinate's majority right with probability
    1 - failure (Hoeffding and the union bound). ``q [d]`` are the coordinates' probabilities to be right."""
    q = np.asarray(q, dtype=np.float64)
    worst = float(q.min())
    if not worst > 0.5:
        raise ValueError(f"q: expected probabilities above 1/2, got {worst}: more votes do not help there")
    return math.ceil(math.log(q.size / check.number("failure", failure, 5e-324, 1.0)) / (2 * (worst - 0.5) ** 2))


def posterior(prompts: Prompts, label_noise: float, prior: float = 0.5) -> Array:
    """Bayes' posterior over {0, 1}^d, proportional to exp(-|y - X w|^2 / 2 s^2) prior^|w| (1 - prior)^(d - |w|):
    ``[B, 2^d]``. No technique can beat it: its mode recovers w* most often, its marginals have the least errors.

    Args:
        prompts: with binary w*, d <= 14.
        label_noise: s > 0.
        prior: probability of a one.
    """
    if check.number("label_noise", label_noise, low=0.0) == 0:
        raise ValueError("label_noise: expected a number above 0, got 0: without noise the examples tell w*")
    check.number("prior", prior, 1e-300, 1 - 1e-16)
    strings = bit_strings(prompts.x.shape[2])
    x, y = prompts.x.cpu().double().numpy(), prompts.y.cpu().double().numpy()
    ones = strings.sum(1)
    log = ones * math.log(prior) + (strings.shape[1] - ones) * math.log1p(-prior)
    log = np.stack([log - ((y[b] - strings @ x[b].T) ** 2).sum(1) / (2 * label_noise**2) for b in range(len(x))])
    return np.asarray(special.softmax(log, axis=1))


class Benchmark(NamedTuple):
    """The best that any technique can do on average over tasks, given the prompt; ``[B]`` each."""

    exact_recovery: Array
    hamming: Array
    squared_error: Array
    """Of the posterior mean, which need not be binary."""


def bayes_benchmark(posterior: Array) -> Benchmark:
    """max posterior, mean of min(m_i, 1 - m_i), and mean of m_i (1 - m_i), m the marginals of laws ``[B, 2^d]``."""
    m = marginals(posterior)
    return Benchmark(posterior.max(-1), np.minimum(m, 1 - m).mean(-1), (m * (1 - m)).mean(-1))


def _product_law(p: Array) -> Array:
    """Law of independent bits with P(1) = p ``[A, m]``: ``[A, 2^m]``, first bit most significant."""
    law = np.ones((len(p), 1))
    for i in range(p.shape[1]):
        law = (law[:, :, None] * np.stack((1 - p[:, i], p[:, i]), 1)[:, None]).reshape(len(p), -1)
    return law


def _dim(law: Array) -> int:
    dim = int(law.shape[-1]).bit_length() - 1
    if law.shape[-1] != 2**dim:
        raise ValueError(f"law: expected shape [..., 2^d], got {list(law.shape)}")
    return dim
