"""Laws of binary coefficients, against enumeration: the library's chain against the plain one of oracles.py."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy import stats

import oracles
from ttc_fast import BernoulliSampling, GaussianNoise, LinearAttention, LinearRegression, Prompts
from ttc_fast.theory import bayes, binary
from ttc_fast.theory import binary_techniques as techniques


def setting(dim: int = 3, examples: int = 9, label_noise: float = 0.3) -> tuple[Prompts, torch.Tensor]:
    prompts = LinearRegression(dim, examples, "binary", label_noise=label_noise).sample(2, seed=4, dtype=torch.float64)
    model = LinearAttention.gradient_descent(dim, examples=examples, dtype=torch.float64)
    return prompts, model.prefill(prompts).linear.detach()


RULES = [
    BernoulliSampling("sigmoid", 0.3),
    BernoulliSampling("clip"),
    BernoulliSampling("sigmoid", 0.0),
    BernoulliSampling("sigmoid", 0.3, "last_step"),
    BernoulliSampling("clip", sample_at="last_step"),
]


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize(("dim", "steps"), [(1, 3), (2, 1), (5, 4)])
def test_law_is_the_plain_chains(rule: BernoulliSampling, dim: int, steps: int) -> None:
    _, state = setting(dim)
    probability: Callable[[oracles.Array], oracles.Array] = oracles.clip
    if rule.temperature is not None:
        probability = oracles.sigmoid(rule.temperature) if rule.temperature else lambda u: (u > 0.5).astype(float)
    plain = oracles.binary_law if rule.sample_at == "every_step" else oracles.last_step_law
    expected = [plain(s, np.zeros(dim), steps, probability) for s in state.numpy()]
    law = binary.binary_law(state, rule, steps)
    np.testing.assert_allclose(law, expected, atol=1e-13)
    np.testing.assert_allclose(binary.marginals(law), np.array(expected) @ oracles.bit_strings(dim), atol=1e-13)


def transition_matrix(chain: binary.BinaryChain) -> oracles.Array:
    return np.array([chain.step(row) for row in np.eye(2**chain.dim)])


def test_chain_is_matrix_free() -> None:
    """14 coefficients without a matrix of 4^14 numbers; the two directions are adjoint."""
    generator = np.random.default_rng(0)
    chain = binary.BinaryChain(setting(6)[1][0], RULES[0])
    law, value = generator.dirichlet(np.ones(64)), generator.normal(size=64)
    assert chain.step(law) @ value == pytest.approx(law @ chain.expected(value), abs=1e-13)
    _, state = setting(14, 40, 0.0)
    law = binary.binary_law(state[:1], BernoulliSampling("clip"), 3)
    assert law.sum() == pytest.approx(1.0, abs=1e-12)
    with pytest.raises(ValueError, match="dim: expected an integer from 1 to 14, got 15"):
        binary.binary_law(torch.zeros(1, 15, 16), RULES[0], 1)


def test_absorption_and_hitting_time() -> None:
    """Link clip, noise-free labels: w* absorbs. By powers of Q and (I - Q)^-1."""
    prompts, state = setting(3, 9, 0.0)
    assert prompts.w_star is not None
    for s, w_star in zip(state, prompts.w_star):
        chain, target = binary.BinaryChain(s, BernoulliSampling("clip")), int(binary.string_index(w_star))
        P = transition_matrix(chain)
        assert P[target, target] == pytest.approx(1.0, abs=1e-12)
        keep = np.arange(8) != target
        Q, start = P[np.ix_(keep, keep)], chain.law(1)[keep]
        expected = [(start @ np.linalg.matrix_power(Q, t)).sum() for t in range(6)]
        np.testing.assert_allclose(chain.not_yet_hit(target, 6), expected, atol=1e-13)
        assert chain.hitting_time(target) == pytest.approx(1 + (start @ np.linalg.inv(np.eye(7) - Q)).sum(), rel=1e-9)
    greedy = binary.BinaryChain(state[0], BernoulliSampling("sigmoid", 0.0))
    unreached = int(np.flatnonzero(greedy.law(50) == 0)[-1])
    with pytest.raises(ValueError, match="target: expected a thought that is reached almost surely"):
        greedy.hitting_time(unreached)


@pytest.mark.parametrize("votes", [1, 2, 3, 4, 5])
def test_votes_by_enumeration(votes: int) -> None:
    """All (2^2)^N draws: plurality with fair ties, and the coordinate majority with fair coins."""
    law = np.random.default_rng(1).dirichlet(np.ones(4))
    strings, plurality, recovery = binary.bit_strings(2), np.zeros(4), 0.0
    for draw in itertools.product(range(4), repeat=votes):
        probability = np.prod(law[list(draw)])
        counts = np.bincount(draw, minlength=4)
        plurality += probability * (counts == counts.max()) / (counts == counts.max()).sum()
        ones = 2 * strings[list(draw)].sum(0)
        says_one = (ones > votes) + 0.5 * (ones == votes)
        recovery += probability * says_one[0] * (1 - says_one[1])
    for answer in range(4):
        assert techniques.plurality_right(law, answer, votes) == pytest.approx(plurality[answer], abs=1e-12)
    assert techniques.majority_recovery(law, [1, 0], votes) == pytest.approx(recovery, abs=1e-12)


def test_majority_probability() -> None:
    q = np.array([0.0, 0.2, 0.5, 0.9, 1.0])
    for votes in (1, 2, 5, 100, 4096):
        np.testing.assert_allclose(
            techniques.majority_probability(q, votes), oracles.majority_right(q, votes), rtol=1e-9
        )


def test_plurality_of_many() -> None:
    """Two answers: a majority; and the sum over all answers is 1 at 64 votes and 16 answers."""
    for votes in (7, 64):
        assert techniques.plurality_right(np.array([0.4, 0.6]), 1, votes) == pytest.approx(
            float(oracles.majority_right(np.array(0.6), votes)), abs=1e-12
        )
    law = np.random.default_rng(2).dirichlet(np.ones(16))
    assert sum(techniques.plurality_right(law, a, 64) for a in range(16)) == pytest.approx(1.0, abs=1e-10)


def test_selection() -> None:
    law, score = np.array([0.1, 0.2, 0.3, 0.4]), np.array([0.0, 1.0, 1.0, -1.0])
    value = np.array([5.0, 1.0, 2.0, 9.0])
    p1 = 1 - 0.5**3  # one of three has the highest score, shared 2 : 3
    p0 = 0.5**3 - 0.4**3
    expected = p1 * (0.2 * 1 + 0.3 * 2) / 0.5 + p0 * 5 + 0.4**3 * 9
    np.testing.assert_allclose(
        techniques.binary_best_of_n(law, score, value, [1, 3]), [law @ value, expected], rtol=1e-12
    )
    # noise-free labels: the least loss is that of w* alone, so best-of-N is pass@N
    np.testing.assert_allclose(
        techniques.binary_best_of_n(law, np.array([0, 0, 1, 0.0]), np.array([0, 0, 1.0, 0]), [1, 9]),
        [0.3, 1 - 0.7**9],
        rtol=1e-12,
    )


def test_exponents_bound_the_votes() -> None:
    """Both bounds hold at every N (without ties), and -ln P(wrong) / N tends to Chernoff's rate."""
    q = np.array([0.55, 0.7, 0.9])
    rates = techniques.majority_exponents(q)
    for votes in (1, 11, 101):
        wrong = 1 - techniques.majority_probability(q, votes)
        assert (wrong <= np.exp(-votes * rates.chernoff) + 1e-15).all()
        assert (wrong <= np.exp(-votes * rates.hoeffding) + 1e-15).all()
    tail = stats.binom.logcdf(250, 501, q[1:])
    np.testing.assert_allclose(-tail / 501, rates.chernoff[1:], rtol=0.15)  # the next term is ln N / (2 N)
    assert techniques.majority_exponents([0.4]).chernoff[0] == 0
    p = np.array([0.5, 0.3, 0.2])
    lost = 1 - techniques.plurality_right(np.append(p, 0.0), 0, 400)
    assert -math.log(lost) / 400 == pytest.approx(float(techniques.plurality_exponents(0.5, 0.3).chernoff), rel=0.25)
    needed = techniques.votes_needed(q, 0.01)
    assert (1 - techniques.majority_probability(q, needed | 1)).sum() < 0.01
    with pytest.raises(ValueError, match=r"q: expected probabilities above 1/2, got 0\.5"):
        techniques.votes_needed([0.5, 0.9], 0.01)


def test_posterior_is_the_benchmark() -> None:
    """By enumeration over w* and labels drawn: exact recovery and Hamming error of its answers are the stated ones."""
    prompts, _ = setting(3, 9, 0.8)
    law = bayes.posterior(prompts, 0.8, prior=0.3)
    for b in range(2):
        expected = np.array([
            np.exp(-((prompts.y[b].numpy() - prompts.x[b].numpy() @ w) ** 2).sum() / (2 * 0.64))
            * 0.3 ** w.sum() * 0.7 ** (3 - w.sum()) for w in oracles.bit_strings(3)
        ])  # fmt: skip
        np.testing.assert_allclose(law[b], expected / expected.sum(), rtol=1e-10)
    best = bayes.bayes_benchmark(law)
    for b in range(2):
        hamming = [(law[b] * np.abs(oracles.bit_strings(3) - w).mean(1)).sum() for w in oracles.bit_strings(3)]
        assert best.hamming[b] == pytest.approx(min(hamming), rel=1e-12)
        assert best.exact_recovery[b] == law[b].max()
        assert best.squared_error[b] <= best.hamming[b]
    with pytest.raises(ValueError, match="label_noise: expected a number above 0"):
        bayes.posterior(prompts, 0.0)


def test_wrong_arguments() -> None:
    with pytest.raises(TypeError, match="rule: expected BernoulliSampling, got GaussianNoise"):
        binary.binary_law(torch.zeros(1, 2, 3), GaussianNoise(0.1), 1)
    with pytest.raises(ValueError, match=r"w0: expected shape \[3\], got \[2\]"):
        binary.BinaryChain(setting()[1][0], RULES[0]).law(1, [0, 1])
    with pytest.raises(ValueError, match=r"law: expected shape \[\.\.\., 2\^d\], got \[3\]"):
        binary.marginals(np.ones(3) / 3)
    with pytest.raises(ValueError, match=r"votes: expected \(votes \+ 1\)\^d <= 2\^24"):
        techniques.majority_recovery(np.ones(256) / 256, np.ones(8), 64)
