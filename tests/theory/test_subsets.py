"""Subsets drawn without replacement and their chain: against sums over orders, other formulas and simulation."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

import oracles
from oracles import ALPHA
from ttc_fast import (
    BernoulliSampling,
    GaussianNoise,
    LargestCoefficients,
    LinearAttention,
    LinearRegression,
    Prompts,
    StochasticDecoder,
    SubsetSampling,
    Table,
    decode,
    evaluate,
    overlay,
)
from ttc_fast.decoding.rules import Rule
from ttc_fast.theory import plackett_luce, subsets
from ttc_fast.theory.plackett_luce import all_sets, laws_of_draw, set_probability
from ttc_fast.theory.subsets import SubsetChain, largest_sets, subset_law

TECHNIQUES = ["greedy", "single", "mean", "majority_vote", "plurality", "best_of_n", "oracle_best_of_n"]


def over_orders(weights: oracles.Array, ones: int) -> oracles.Array:
    """P of every set, the sum over the orders in which it may be drawn, in rational numbers."""
    v, law = [Fraction(x) for x in weights.tolist()], []
    for chosen in itertools.combinations(range(len(v)), ones):
        total = Fraction(0)
        for order in itertools.permutations(chosen):
            left, probability = sum(v), Fraction(1)
            for i in order:
                probability, left = probability * v[i] / left, left - v[i]
            total += probability
        law.append(float(total))
    return np.array(law)


def by_inclusion_exclusion(weights: oracles.Array, chosen: oracles.Array) -> float:
    """sum over subsets C of A of (-1)^|C| R / (R + sum_C v), in rational numbers."""
    v = [Fraction(x) for x in weights.tolist()]
    inside = [v[i] for i in np.flatnonzero(chosen)]
    R, total = sum(v) - sum(inside), Fraction(0)
    for size in range(len(inside) + 1):
        for C in itertools.combinations(inside, size):
            total += (-1) ** size * R / (R + sum(C))
    return float(total)


@pytest.mark.parametrize(("dim", "ones"), [(1, 1), (5, 1), (5, 2), (5, 5), (7, 4), (6, 5)])
@pytest.mark.parametrize("spread", [(-1, 1), (-10, 30)])
def test_law_of_a_draw_is_the_sum_over_orders(dim: int, ones: int, spread: tuple[int, int]) -> None:
    """Relative, also where weights range over 40 powers of ten; so does the quadrature, of law and of single sets."""
    weights = 10.0 ** np.random.default_rng(1).uniform(*spread, (3, dim))
    laws = laws_of_draw(weights, ones)
    for v, law in zip(weights, laws):
        expected = over_orders(v, ones)
        np.testing.assert_allclose(law, expected, rtol=1e-14)
        single = [set_probability(v, chosen) for chosen in all_sets(dim, ones)]
        np.testing.assert_allclose(single, expected, rtol=1e-12)
    np.testing.assert_allclose(laws.sum(1), 1, rtol=1e-14)
    np.testing.assert_allclose(laws @ all_sets(dim, ones).sum(1), ones, rtol=1e-14)  # marginals sum to k


def test_two_of_five_by_hand() -> None:
    """v_i v_j / V (1 / (V - v_i) + 1 / (V - v_j)): 1 and 2 of 1, 2, 3, 4, 5 have 2 / 15 (1 / 14 + 1 / 13)."""
    law = laws_of_draw([[1.0, 2.0, 3.0, 4.0, 5.0]], 2)[0]
    assert law[0] == pytest.approx(2 / 15 * (1 / 14 + 1 / 13), rel=1e-15)
    assert law[-1] == pytest.approx(20 / 15 * (1 / 11 + 1 / 10), rel=1e-15)
    assert all_sets(5, 2)[[0, -1]].tolist() == [[1, 1, 0, 0, 0], [0, 0, 0, 1, 1]]


@pytest.mark.parametrize("spread", [(-1, 1), (-10, 2)])
def test_quadrature_is_inclusion_and_exclusion(spread: tuple[int, int]) -> None:
    """10 of 14, the sum of 2^10 terms in rational numbers."""
    generator = np.random.default_rng(2)
    v = 10.0 ** generator.uniform(*spread, 14)
    for order in (np.argsort(v), np.argsort(-v), generator.permutation(14)):
        chosen = np.isin(np.arange(14), order[:10]).astype(float)
        assert set_probability(v, chosen) == pytest.approx(by_inclusion_exclusion(v, chosen), rel=1e-12)


def test_quadrature_of_many_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Equal weights: 1 / C(d, k). A law whose smaller sets are too many comes by quadrature, too."""
    for dim, ones in ((50, 25), (110, 100)):
        chosen = (np.arange(dim) < ones).astype(float)
        assert set_probability(np.full(dim, 3e-7), chosen) == pytest.approx(1 / math.comb(dim, ones), rel=1e-12)
    v = np.random.default_rng(3).exponential(size=(2, 24))
    law = laws_of_draw(v, 22)
    assert math.comb(24, 22) == law.shape[1]
    np.testing.assert_allclose(law.sum(1), 1, rtol=1e-12)
    few = laws_of_draw(v[:, :9], 4)
    monkeypatch.setattr(plackett_luce, "SUBSETS", 0)
    np.testing.assert_allclose(laws_of_draw(v[:, :9], 4), few, rtol=1e-12)


def setting(dim: int = 5, count: int = 2, label_noise: float = 0.3) -> tuple[Prompts, torch.Tensor]:
    prompts = LinearRegression(dim, 2 * dim, "binary", label_noise=label_noise).sample(
        count, seed=4, dtype=torch.float64
    )
    model = LinearAttention.gradient_descent(dim, examples=2 * dim, dtype=torch.float64)
    return prompts, model.prefill(prompts).linear.detach()


def plain_law(state: oracles.Array, ones: int, steps: int) -> oracles.Array:
    """Powers of the transition matrix, each row a sum over orders."""
    A, c = oracles.affine(state)
    sets = all_sets(len(c), ones)
    matrix = np.stack([over_orders(np.maximum(w @ A.T + c, 1e-10), ones) for w in sets])
    return np.asarray(over_orders(np.maximum(c, 1e-10), ones) @ np.linalg.matrix_power(matrix, steps - 1))


@pytest.mark.parametrize(("dim", "ones", "steps"), [(5, 2, 4), (4, 3, 2), (3, 1, 1), (3, 3, 3), (1, 1, 2)])
def test_law_is_the_plain_chains(dim: int, ones: int, steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the matrix held, and with blocks of it made at each step."""
    _, state = setting(dim)
    law = subset_law(state, SubsetSampling(ones), steps)
    np.testing.assert_allclose(law, [plain_law(s, ones, steps) for s in state.numpy()], rtol=1e-12)
    np.testing.assert_allclose((law @ all_sets(dim, ones)).sum(1), ones, rtol=1e-13)
    monkeypatch.setattr(subsets, "MATRIX", 0)
    monkeypatch.setattr(plackett_luce, "_BLOCK", 20)
    np.testing.assert_allclose(subset_law(state, SubsetSampling(ones), steps), law, rtol=1e-12)


def test_law_is_that_of_simulated_chains() -> None:
    """Pearson's chi^2 over the 10 sets of 2 of 5, for each of 2 prompts and 2 steps at ALPHA."""
    _, state = setting()
    N, rule, steps = 20_000, SubsetSampling(2), [1, 4]
    w = decode(
        state, torch.zeros(2, 5).double(), rule=rule, steps=steps, samples=N, seed=3, backend="reference"
    ).thoughts
    for T, thoughts in zip(steps, w):
        for drawn, law in zip(thoughts.numpy(), subset_law(state, rule, T)):
            counts = (drawn @ all_sets(5, 2).T == 2).sum(0)
            assert counts.sum() == N
            often = N * law > 10
            observed, expected = (np.append(x[often], x[~often].sum()) for x in (counts, N * law))
            kept = expected > 0
            statistic = ((observed - expected)[kept] ** 2 / expected[kept]).sum()
            assert stats.chi2.sf(statistic, kept.sum() - 1) > ALPHA


def test_fewer_positive_weights_than_ones() -> None:
    """u = (1, -1, -2, -3): 1 is drawn nearly always, the others alike."""
    state = torch.zeros(1, 4, 5).double()
    state[0, :, -1] = torch.tensor([-1.0, 1, 2, 3])
    law = subset_law(state, SubsetSampling(2), 1)[0]
    np.testing.assert_allclose(law, [1 / 3, 1 / 3, 1 / 3, 0, 0, 0], atol=1e-9)
    np.testing.assert_allclose(law[3:], 2e-20, rtol=1e-6)  # 2 v / V v / V = 2e-20 first, then 1 is still outside


def test_greedy_is_the_chain_of_the_largest() -> None:
    _, state = setting(6, 50)
    w = decode(state, torch.zeros(50, 6).double(), rule=LargestCoefficients(2), steps=[1, 5], samples=1,
               backend="reference").thoughts  # fmt: skip
    assert torch.equal(w[0, :, 0], largest_sets(state, 2, 1))
    assert torch.equal(w[1, :, 0], largest_sets(state, 2, 5))


def evaluated(rule: Rule, dim: int = 5, count: int = 100, steps: Any = (1, 4)) -> tuple[Prompts, Table, Table]:
    """Prompts, the table with its theory, and the part of it with w* of k ones."""
    prompts = LinearRegression(dim, 3 * dim, "binary", label_noise=0.3).sample(count, seed=6, dtype=torch.float64)
    model = LinearAttention.gradient_descent(dim, examples=3 * dim, dtype=torch.float64)
    decoder = StochasticDecoder(model, rule)
    table = evaluate(decoder, prompts, steps=steps, samples=4, seed=1, techniques=TECHNIQUES, backend="reference")
    return prompts, table, overlay(decoder, prompts, table)


def test_simulation_against_theory() -> None:
    """Every technique; z beyond 6 has a probability of 2e-9 for each comparison. Of results that differ for fewer than
    20 prompts the t test knows nothing."""
    prompts, table, with_theory = evaluated(SubsetSampling(2), count=60)
    checks = with_theory.theory_checks()
    assert {key.technique for key in checks} == set(TECHNIQUES)
    of_mean = {key.metric for key in checks if key.technique == "mean"}
    assert of_mean == {"squared_error", "prediction_risk", "hamming"}
    assert {key.metric for key in checks if key.technique == "plurality"} == {"exact_recovery"}
    exact = {key.technique for key in checks if key.samples == 4 and key.metric == "exact_recovery"}
    assert exact == {"majority_vote", "plurality", "best_of_n", "oracle_best_of_n"}
    often = {key: check for key, check in checks.items() if (table[key] != np.median(table[key])).sum() >= 20}
    assert len(often) > 80
    assert max(abs(check.z) for check in often.values() if not math.isnan(check.z)) < 6
    assert prompts.w_star is not None
    impossible = (prompts.w_star.sum(1) != 2).numpy()
    assert with_theory.theory is not None
    for i, key in enumerate(table.keys):
        if key.technique == "plurality" and key.metric == "exact_recovery":
            assert not with_theory.theory[i, impossible].any()
            assert with_theory.theory[i, ~impossible].all()


def test_theory_of_the_largest_is_the_simulation() -> None:
    _, table, with_theory = evaluated(LargestCoefficients(2), count=20)
    assert with_theory.theory is not None
    known = ~np.isnan(with_theory.theory)
    np.testing.assert_allclose(with_theory.theory[known], table.values[known], rtol=1e-12, atol=1e-15)
    assert known.mean() == 1


@pytest.mark.parametrize("rule", [SubsetSampling(2), BernoulliSampling(temperature=0.4)])
def test_mean_of_bits_that_are_not_independent(rule: Rule) -> None:
    """In-context loss, the metric of prompts without w*; z as above for each of 5 comparisons."""
    prompts, _ = setting(5, 100)
    prompts = Prompts(prompts.x, prompts.y)
    decoder = StochasticDecoder(LinearAttention.gradient_descent(5, examples=10, dtype=torch.float64), rule)
    table = evaluate(decoder, prompts, steps=3, samples=16, seed=2, techniques=["mean"], backend="reference")
    checks = overlay(decoder, prompts, table).theory_checks()
    assert {key.metric for key in checks} == {"in_context_loss"}
    assert len(checks) == 5
    assert max(abs(check.z) for check in checks.values()) < 6


def test_laws_that_would_take_too_long_are_left_out() -> None:
    """3 of 30: 4,060 sets, for one thought alone; 5 of 30: none but the greedy chain's."""
    _, _, table = evaluated(SubsetSampling(3), dim=30, count=2, steps=[1, 2])
    checks = table.theory_checks()
    assert {key.steps for key in checks if key.technique == "single"} == {1}
    assert {key.steps for key in checks if key.technique == "greedy"} == {1, 2}
    _, _, table = evaluated(SubsetSampling(5), dim=30, count=2, steps=[1])
    assert {key.technique for key in table.theory_checks()} == {"greedy"}


@pytest.mark.slow
def test_the_largest_chain() -> None:
    """3 of 50, 19,600 sets: two thoughts, against the ones of 20,000 simulated chains; Bonferroni at ALPHA."""
    _, state = setting(50, 1)
    rule, N = SubsetSampling(3), 20_000
    law = subset_law(state, rule, 2)[0]
    assert law.sum() == pytest.approx(1.0, abs=1e-12)
    w = decode(
        state, torch.zeros(1, 50).double(), rule=rule, steps=[2], samples=N, seed=5, backend="reference"
    ).thoughts
    q = law @ all_sets(50, 3)
    z = (w[0, 0].mean(0).numpy() - q) / np.sqrt(q * (1 - q) / N)
    assert np.abs(z[N * q > 10]).max() < stats.norm.isf(ALPHA / 2 / 50)


def test_wrong_arguments() -> None:
    with pytest.raises(TypeError, match="rule: expected SubsetSampling, got GaussianNoise"):
        subset_law(torch.zeros(1, 2, 3), GaussianNoise(0.1), 1)
    with pytest.raises(ValueError, match=r"ones: expected C\(d, k\) <= 20000, got C\(50, 5\) = 2118760"):
        all_sets(50, 5)
    with pytest.raises(ValueError, match="ones: expected an integer from 1 to 2, got 3"):
        SubsetChain(torch.zeros(2, 3), SubsetSampling(3))
    with pytest.raises(ValueError, match=r"w0: expected shape \[2\], got \[1\]"):
        SubsetChain(torch.zeros(2, 3), SubsetSampling(1)).first([0])
    with pytest.raises(ValueError, match=r"weights: expected positive finite numbers \[A, d\]"):
        laws_of_draw([[1.0, 0.0]], 1)
    with pytest.raises(ValueError, match=r"chosen: expected bits of shape \[2\], got \[1\.0, 2\.0\]"):
        set_probability([1.0, 1.0], [1, 2])
