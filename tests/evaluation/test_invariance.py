"""A figure does not depend, to the bit, on chunks, parts of the prompts, or what else is asked for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from evaluation_problems import assert_equal, decoder
from ttc_fast import (
    BernoulliSampling,
    ElementwiseNoise,
    GaussianNoise,
    Key,
    LinearRegression,
    RankOneNoise,
    SubsetSampling,
    Table,
    evaluate,
)
from ttc_fast.decoding.rules import Rule
from ttc_fast.evaluation.evaluate import evaluation
from ttc_fast.evaluation.plan import Plan
from ttc_fast.techniques.faulty_verifiers import NoisyVerifier
from ttc_fast.techniques.registry import TECHNIQUES
from ttc_fast.techniques.verifiers import InContextLoss, SmallestNorm


@pytest.mark.parametrize("rule", [GaussianNoise(0.3), BernoulliSampling()])
def test_results_do_not_depend_on_the_chunk(rule: Rule) -> None:
    """To the bit, for every technique, with a noisy verifier and a number of samples that no budget but 1 divides."""
    kind: Any = "continuous" if isinstance(rule, GaussianNoise) else "binary"
    prompts = LinearRegression(3, 8, kind, label_noise=0.2).sample(3)
    arguments: dict[str, Any] = {"steps": [2, 5], "samples": 131, "seed": 4, "techniques": TECHNIQUES}
    arguments["verifier"] = NoisyVerifier(InContextLoss(), 0.05)
    whole = evaluation(Plan.checked(decoder(rule), prompts, **arguments), prompts)
    assert whole.unstable.shape == (3,)
    assert not np.isnan(whole.table.values).any()
    assert {key.technique for key in whole.table.keys} == {
        name for name, t in TECHNIQUES.items() if (kind == "binary" or not t.binary_only) and name != "ridge"
    }
    for chunk, bank in ((1, 1), (100, 10_000), (3 * 131 * 2, 2 * 131 * 3 * 2)):
        torch.set_num_threads(1)
        assert_equal(evaluate(decoder(rule), prompts, chunk=chunk, bank=bank, **arguments), whole.table)


@pytest.mark.parametrize("rule", [RankOneNoise(0.1), ElementwiseNoise([0.3] * 5), SubsetSampling(2)])
def test_rules_of_the_authors_do_not_depend_on_the_chunk(rule: Rule) -> None:
    """As above, for techniques of each kind: closed forms, random subsets, votes, and searches that resume chains."""
    prompts = LinearRegression(3, 8, "binary" if rule.binary else "continuous", label_noise=0.2).sample(3)
    names = ["greedy", "ridge", "mean", "median", "plurality", "best_of_n", "particle_filter", "beam_search"]
    arguments: dict[str, Any] = {"steps": [2, 5], "samples": 21, "seed": 4, "techniques": names}
    arguments["verifier"] = SmallestNorm(1)
    whole = evaluate(decoder(rule), prompts, **arguments)
    left_out = {"ridge"} if rule.ridge(1) is None else set()
    assert {key.technique for key in whole.keys} == set(names) - left_out - (set() if rule.binary else {"plurality"})
    for chunk, bank in ((1, 1), (100, 10_000)):
        assert_equal(evaluate(decoder(rule), prompts, chunk=chunk, bank=bank, **arguments), whole)
    parts = [evaluate(decoder(rule), prompts.part(*part), **arguments) for part in ((0, 1), (1, 3))]
    assert_equal(Table.concat(parts), whole)


@pytest.mark.parametrize("rule", [GaussianNoise(0.3), BernoulliSampling()])
def test_a_figure_does_not_depend_on_the_other_budgets_and_steps(rule: Rule) -> None:
    """To the bit, for every technique but the one that reads all asked steps."""
    kind: Any = "continuous" if isinstance(rule, GaussianNoise) else "binary"
    prompts = LinearRegression(3, 8, kind, label_noise=0.2).sample(3)
    arguments: dict[str, Any] = {"samples": 24, "seed": 4}
    arguments["techniques"] = {name: t for name, t in TECHNIQUES.items() if name != "stop_early"}
    whole = evaluate(decoder(rule), prompts, steps=[2, 5], **arguments)
    part = evaluate(decoder(rule), prompts, steps=5, budgets=[24, 3, 4, 3], **arguments)
    assert {k.samples for k in part.keys} == {1, 3, 4, 24}
    for key in part.keys:
        assert key.samples == 3 or np.array_equal(part[key], whole[key]), key


@pytest.mark.parametrize("samples", [1000, 200])
def test_any_budgets(samples: int) -> None:
    """Budgets that are no powers of two; a figure does not depend on which others are asked for, and C++ divides the
    samples as PyTorch does, whose figures it gives to rounding."""
    wanted = decoder(BernoulliSampling(temperature=0.5))
    prompts = LinearRegression(3, 8, "binary").sample(2)
    budgets, names = [1, 2, 5, 20, 50, 100, 150, samples // 2, samples], ["majority_vote", "plurality", "weighted_vote"]
    arguments: dict[str, Any] = {"steps": [2], "samples": samples, "techniques": names}
    table = evaluate(wanted, prompts, budgets=budgets, **arguments)
    for size in (5, samples // 2):
        alone = evaluate(wanted, prompts, budgets=[size], **arguments)
        for key in alone.keys:
            np.testing.assert_array_equal(table[key], alone[key])
    own = {f"own_{name}": replace(TECHNIQUES[name], native=None, closed_form=None, name="own") for name in names}
    plain = evaluate(wanted, prompts, budgets=budgets, **{**arguments, "techniques": own})
    for name in names[1:]:
        for size in budgets:
            key = Key("binary", name, 2, size, "exact_recovery")
            np.testing.assert_allclose(plain[key._replace(technique=f"own_{name}")], table[key], atol=1e-6)


def test_prompts_may_be_made_when_they_are_needed() -> None:
    task = LinearRegression(3, 8, label_noise=0.2)
    arguments: dict[str, Any] = {"steps": [2], "samples": 6, "seed": 4, "bank": 40}
    whole = evaluate(decoder(GaussianNoise(0.3)), task.sample(7, seed=3, first_prompt=2), **arguments)
    assert_equal(evaluate(decoder(GaussianNoise(0.3)), task.prompts(7, seed=3, first_prompt=2), **arguments), whole)
