"""Simulation against theory, and what a table is given of it.

The comparisons are Student's t tests over independent prompts on the scale of the normal law.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from oracles import ALPHA
from ttc_fast import (
    LAWS,
    TECHNIQUES,
    BernoulliSampling,
    GaussianNoise,
    GeometricDecay,
    Key,
    LinearAttention,
    LinearRegression,
    PowerLawDecay,
    Problem,
    Prompts,
    StochasticDecoder,
    Table,
    evaluate,
    law,
    overlay,
)
from ttc_fast.decoding.rules import Rule
from ttc_fast.estimators.theory_check import check_against_theory
from ttc_fast.techniques.faulty_verifiers import NoisyVerifier, WrongVerifier
from ttc_fast.techniques.verifiers import HeldOutLoss, InContextLoss, Verifier

Setting: TypeAlias = tuple[int, int, tuple[int, ...], int, float, Rule, float | None]
SETTINGS: list[Setting] = [
    # d, n, steps, samples, label noise, rule, step size
    (1, 4, (1, 3), 8, 0.0, GaussianNoise(0.5), None),
    (2, 10, (2, 5), 16, 0.2, GaussianNoise(0.3), None),
    (3, 2, (4,), 5, 0.1, GaussianNoise(0.3), None),
    (4, 16, (1, 9), 32, 0.5, GaussianNoise(PowerLawDecay(0.5, 1.0)), None),
    (5, 20, (12,), 64, 0.1, GaussianNoise(GeometricDecay(0.5, 0.8)), None),
    (8, 32, (3,), 24, 0.0, GaussianNoise(0.2), 0.3),
    (16, 64, (2, 16), 10, 0.1, GaussianNoise(0.2), None),
    (6, 12, (7,), 33, 1.0, GaussianNoise(1.0), 0.4),
    (1, 4, (2,), 9, 0.3, BernoulliSampling("sigmoid", 0.5), None),
    (3, 9, (1, 6), 16, 0.0, BernoulliSampling("sigmoid", 0.25), None),
    (4, 12, (5,), 21, 0.5, BernoulliSampling("clip"), None),
    (6, 18, (3,), 12, 0.2, BernoulliSampling("sigmoid", 1.0), 0.5),
    (8, 32, (4,), 8, 0.1, BernoulliSampling("clip", sample_at="last_step"), 0.3),
    (5, 20, (2, 8), 15, 0.1, BernoulliSampling("sigmoid", 0.3, "last_step"), None),
]
PROMPTS, FAMILY = 100, 1e-4
"""FAMILY: probability of any false alarm among all comparisons of all settings."""
ASKED = ["greedy", "single", "mean", "majority_vote", "plurality", "best_of_n", "oracle_best_of_n"]


@pytest.mark.slow
def test_simulation_against_theory() -> None:
    """14 settings, every technique, budget, step and metric that has a law, in float64; Bonferroni over all of them.

    Results that differ for fewer than 20 prompts are left out: the t test needs events.
    """
    scores, settings = [], 0
    for dim, examples, steps, samples, label_noise, rule, step_size in SETTINGS:
        kind: Any = "binary" if isinstance(rule, BernoulliSampling) else "continuous"
        prompts = LinearRegression(dim, examples, kind, label_noise=label_noise).sample(
            PROMPTS, seed=6, dtype=torch.float64
        )
        model = LinearAttention.gradient_descent(dim, step_size=step_size, examples=examples, dtype=torch.float64)
        decoder = StochasticDecoder(model, rule)
        table = evaluate(decoder, prompts, steps=steps, samples=samples, seed=9, techniques=ASKED)
        checks = overlay(decoder, prompts, table).theory_checks()
        assert {key.technique for key in checks} >= {"greedy", "single", "mean", "best_of_n", "oracle_best_of_n"}
        if kind == "binary":
            assert {key.metric for key in checks if key.technique == "plurality"} == {"exact_recovery"}
            assert any(key.technique == "majority_vote" and key.metric == "exact_recovery" for key in checks)
        settings += 1
        for key, check in checks.items():
            simulated = table[key]
            rare = (simulated != np.median(simulated)).sum() < 20
            if not rare:
                scores.append((abs(check.z), key, check.theory, simulated.mean()))
    assert settings >= 12
    assert len(scores) > 300
    limit = stats.norm.isf(FAMILY / 2 / len(scores))
    assert max(scores)[0] < limit, sorted(scores, reverse=True)[:5]


@pytest.mark.parametrize(
    "verifier",
    [
        HeldOutLoss(5),
        NoisyVerifier(HeldOutLoss(5), 0.1),
        NoisyVerifier(noise=0.05),
        WrongVerifier(0.5, seed=3),
        NoisyVerifier(WrongVerifier(0.5), 0.1),
    ],
)
def test_verifiers_against_theory(verifier: Verifier) -> None:
    """Chains do not see what is held out. z beyond 6 has a probability of 2e-9 for each of 28 comparisons."""
    prompts = LinearRegression(4, 20, label_noise=0.3).sample(100, seed=6, dtype=torch.float64)
    model = LinearAttention.gradient_descent(4, examples=15, dtype=torch.float64)
    decoder = StochasticDecoder(model, GaussianNoise(0.4))
    table = evaluate(decoder, prompts, steps=[5], samples=64, seed=1, verifier=verifier)
    checks = overlay(decoder, prompts, table, verifier=verifier).theory_checks()
    of_best = [
        check.z
        for key, check in checks.items()
        if key.technique == "best_of_n" and key.metric in ("squared_error", "prediction_risk")
    ]
    assert len(of_best) == 14
    assert max(abs(check.z) for check in checks.values()) < 6
    # as if it were another verifier's
    other = overlay(decoder, prompts, Table(table.keys, table.prompts, table.values)).theory_checks()
    assert max(abs(check.t) for check in other.values()) > 6  # of groups it says nothing: no z
    assert {key.technique for key, check in other.items() if not np.isnan(check.z)} == {"greedy"}


@pytest.mark.parametrize("kind", ["continuous", "binary"])
def test_a_wrong_verifier_has_a_finite_best_n(kind: Any) -> None:
    """Theory has its least error inside, the simulation agrees (z as above), and the way back up is no accident: a
    paired t test over prompts at ALPHA."""
    prompts = LinearRegression(4, 20, kind, label_noise=0.3).sample(200, seed=6, dtype=torch.float64)
    model = LinearAttention.gradient_descent(4, examples=20, dtype=torch.float64)
    decoder = StochasticDecoder(model, GaussianNoise(0.4) if kind == "continuous" else BernoulliSampling())
    verifier = WrongVerifier(0.8)
    table = evaluate(decoder, prompts, steps=[5], samples=64, seed=1, verifier=verifier)
    checks = overlay(decoder, prompts, table, verifier=verifier).theory_checks()
    keys = [Key(kind, "best_of_n", 5, 2**i, "squared_error") for i in range(7)]
    assert max(abs(checks[key].z) for key in keys) < 6
    best = int(np.argmin([checks[key].theory for key in keys]))
    assert 0 < best < len(keys) - 1
    regret = table[keys[-1]] - table[keys[best]]
    assert stats.ttest_1samp(regret, 0.0, alternative="greater").pvalue < ALPHA


def small(rule: Rule | None = None, count: int = 3) -> tuple[StochasticDecoder, Prompts]:
    model = LinearAttention.gradient_descent(4, examples=20, dtype=torch.float64)
    rule = rule or GaussianNoise(0.4)
    kind: Any = "binary" if rule.binary else "continuous"
    prompts = LinearRegression(4, 20, kind, label_noise=0.3).sample(count, seed=6, dtype=torch.float64)
    return StochasticDecoder(model, rule), prompts


class Sparse:
    """A user's verifier, which says nothing of its quadratic form."""

    def score(self, prompts: Prompts, w: Tensor, *, first_sample: int = 0, step: int = 0) -> Tensor:
        return -w.abs().sum(2)


@pytest.mark.parametrize(
    "verifier", [NoisyVerifier(false_positive_rate=0.1), Sparse(), lambda prompts, w: -w.abs().sum(2)]
)
def test_a_score_without_a_law_has_no_theory(verifier: Any) -> None:
    decoder, prompts = small()
    table = evaluate(decoder, prompts, steps=[5], samples=8, seed=1, verifier=verifier)
    checks = overlay(decoder, prompts, table, verifier=verifier).theory_checks()
    assert {key.technique for key in checks} == {"greedy", "single", "mean", "oracle_best_of_n"}


def test_a_users_score_of_bits_has_a_law() -> None:
    """Any score of an answer without noise; a noisy one has none."""
    decoder, prompts = small(BernoulliSampling(), 100)
    cases: list[tuple[Any, bool]] = [(Sparse(), True), (NoisyVerifier(noise=0.1), False)]
    for verifier, known in cases:
        table = evaluate(decoder, prompts, steps=[5], samples=16, seed=1, verifier=verifier)
        checks = overlay(decoder, prompts, table, verifier=verifier).theory_checks()
        of_best = [check.z for key, check in checks.items() if key.technique == "best_of_n"]
        assert bool(of_best) == known
        assert max(map(abs, of_best), default=0.0) < 6


def test_overlay_alarms_at_a_wrong_law() -> None:
    """Simulated with 10 % more noise than the law knows of: z beyond 6."""
    prompts = LinearRegression(4, 16).sample(100, seed=6, dtype=torch.float64)
    model = LinearAttention.gradient_descent(4, examples=16, dtype=torch.float64)
    table = evaluate(StochasticDecoder(model, GaussianNoise(0.33)), prompts, steps=[5], samples=64, seed=1)
    checks = overlay(StochasticDecoder(model, GaussianNoise(0.3)), prompts, table).theory_checks()
    single = [min(check.z, check.t) for key, check in checks.items() if key.technique == "single"]
    assert single
    assert min(single) > 6
    same = np.ones(5)
    assert check_against_theory(same, same).t == 0
    assert check_against_theory(same, same, 0 * same).z == 0
    assert np.isnan(check_against_theory(same[:1], same[:1]).t)
    assert np.isnan(check_against_theory(same, same).z)


def test_theory_of_a_table_in_tiles() -> None:
    """More prompts than are taken at a time: those of every part, to rounding, whether binary or not."""
    for rule in (GaussianNoise(0.4), BernoulliSampling()):
        decoder, prompts = small(rule, 70)
        table = overlay(decoder, prompts, evaluate(decoder, prompts, steps=[3], samples=4))
        last = prompts.part(60, 70)
        part = overlay(decoder, last, evaluate(decoder, last, steps=[3], samples=4))
        assert table.theory is not None
        assert part.theory is not None
        assert part.prompts.tolist() == list(range(60, 70))
        np.testing.assert_allclose(part.theory, table.theory[:, 60:], rtol=1e-12)


def test_a_table_of_both_kinds_is_filled_kind_by_kind() -> None:
    """Rows of the other kind stay as they are, before and after they are filled."""
    rules: tuple[Rule, ...] = (GaussianNoise(0.4), BernoulliSampling())
    decoders, prompts = zip(*(small(rule) for rule in rules))
    tables = [evaluate(decoder, p, steps=[3], samples=4) for decoder, p in zip(decoders, prompts)]
    both = tables[0].join(tables[1])
    binary = np.array([key.coefficients == "binary" for key in both.keys])
    first = overlay(decoders[0], prompts[0], both)
    assert first.theory is not None
    assert np.isnan(first.theory[binary]).all()
    second = overlay(decoders[1], prompts[1], first)
    assert second.theory is not None
    np.testing.assert_array_equal(second.theory[~binary], first.theory[~binary])
    alone = overlay(decoders[1], prompts[1], tables[1])
    np.testing.assert_array_equal(second.theory[binary], alone.theory)
    assert {key.coefficients for key in second.theory_checks()} == {"continuous", "binary"}


@pytest.mark.parametrize("rule", [GaussianNoise(0.4), BernoulliSampling()], ids=["continuous", "binary"])
def test_laws_that_ask_no_scores_need_no_verifier(rule: Rule) -> None:
    """The others are left out, and the rest is what it is with the verifier."""
    decoder, prompts = small(rule)
    verifier = WrongVerifier(0.5)
    table = evaluate(decoder, prompts, steps=[2], samples=4, verifier=verifier)
    known = overlay(decoder, prompts, table, verifier=verifier).theory
    theory = overlay(decoder, prompts, table).theory
    assert known is not None
    assert theory is not None
    asked = np.array([key.technique == "best_of_n" for key in table.keys])
    assert np.isnan(theory[asked]).all()
    assert np.isfinite(known[asked]).any()
    assert np.array_equal(theory[~asked], known[~asked], equal_nan=True)


def test_a_law_that_asks_for_an_unknown_verifier_says_so() -> None:
    class Own(GaussianNoise):
        pass

    @law("single", Own, about="asks without saying so", metrics="squared error")
    def single(problem: Any, step: int, budgets: Any, metrics: Any) -> Any:
        return {"squared_error": problem.verifier.score(problem.prompts, torch.zeros(3, 1, 4))}

    try:
        decoder, prompts = small(Own(0.2))
        table = evaluate(decoder, prompts, steps=[2], samples=4, techniques=["single"], verifier=WrongVerifier(0.5))
        with pytest.raises(ValueError, match="verifier: expected that of the table"):
            overlay(decoder, prompts, table)
    finally:
        del LAWS["single", Own]


def test_another_verifier_or_other_prompts_are_refused() -> None:
    decoder, prompts = small()
    table = evaluate(decoder, prompts, steps=[3], samples=4, verifier=HeldOutLoss(5))
    with pytest.raises(
        ValueError, match=r"verifier: expected HeldOutLoss\(examples=5\) as the table has it, got InCon"
    ):
        overlay(decoder, prompts, table)
    with pytest.raises(ValueError, match=r"verifier: expected .*, got HeldOutLoss\(examples=4\)"):
        overlay(decoder, prompts, table, verifier=HeldOutLoss(4))
    with pytest.raises(ValueError, match="prompts: expected the 3 of the table, got 2"):
        overlay(decoder, prompts.part(0, 2), table, verifier=HeldOutLoss(5))
    later = small(count=5)[1].part(2, 5)
    with pytest.raises(ValueError, match="prompts: expected number 0, got number 2"):
        overlay(decoder, later, table, verifier=HeldOutLoss(5))
    with pytest.raises(TypeError, match="prompts: expected Prompts, got LinearRegression; sample the task"):
        overlay(decoder, LinearRegression(4, 20), table)  # type: ignore[arg-type]  # wrong on purpose


def test_exact_recovery_of_votes() -> None:
    """Where it takes milliseconds; elsewhere the budget has no law, but the others have."""
    decoder, prompts = small(BernoulliSampling(temperature=0.5), 100)
    table = evaluate(decoder, prompts, steps=[2], samples=64, seed=3, techniques=["majority_vote", "plurality"])
    checks = overlay(decoder, prompts, table).theory_checks()
    found = {name: {k.samples for k in checks if k.technique == name and k.metric == "exact_recovery"}
             for name in ("majority_vote", "plurality")}  # fmt: skip
    assert found == {"majority_vote": {1, 2, 4, 8}, "plurality": {1, 2, 4, 8, 16, 32}}
    assert max(abs(check.z) for check in checks.values()) < 6
    assert {key.samples for key in checks if key.technique == "majority_vote"} == {1, 2, 4, 8, 16, 32, 64}


def test_dimensions_and_prompts_beyond_the_limits_have_no_law() -> None:
    model = LinearAttention.gradient_descent(12, examples=30)
    decoder = StochasticDecoder(model, BernoulliSampling())
    prompts = LinearRegression(12, 30, "binary").sample(2)
    table = overlay(decoder, prompts, evaluate(decoder, prompts, steps=2, samples=4))
    assert table.theory is not None
    assert table.theory_checks() == {}
    decoder, prompts = small(count=257)
    checks = overlay(decoder, prompts, evaluate(decoder, prompts, steps=2, samples=2)).theory_checks()
    assert {key.technique for key in checks} == {"greedy", "single", "mean"}


def test_all_laws_are_of_known_techniques() -> None:
    overlay_of_ours = {name for name, rule in LAWS if rule in (GaussianNoise, BernoulliSampling)}
    assert overlay_of_ours <= set(TECHNIQUES)
    assert {name for name, rule in LAWS if rule is GaussianNoise} == {
        "greedy", "single", "mean", "best_of_n", "oracle_best_of_n"
    }  # fmt: skip
    assert overlay_of_ours == set(ASKED)


def test_problem_knows_no_state_of_a_model_without() -> None:
    """The laws of ours need a linear state, and are left out without it."""
    decoder, prompts = small()

    class Constant:
        """A user's model, which always answers zero."""

        dim = 4

        def prefill(self, prompts: Prompts) -> Tensor:
            return prompts.x

        def output(self, state: Tensor, w: Tensor) -> Tensor:
            return torch.zeros_like(w)

    constant = StochasticDecoder(Constant(), decoder.rule)
    assert Problem(constant.model, constant.rule, prompts, prompts, InContextLoss()).state is None
    table = evaluate(constant, prompts, steps=2, samples=2)
    assert overlay(constant, prompts, table).theory_checks() == {}
