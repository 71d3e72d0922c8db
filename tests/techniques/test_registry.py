"""Techniques by name, and those that a user brings."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from oracles import ALPHA
from ttc_fast import (
    TECHNIQUES,
    Candidates,
    GaussianNoise,
    Key,
    LinearAttention,
    LinearRegression,
    Prompts,
    SearchResult,
    StochasticDecoder,
    Technique,
    beam_search,
    evaluate,
    stop_early,
)
from ttc_fast.techniques import registry
from ttc_fast.techniques.aggregate import first_accepted, mean, weighted_vote
from ttc_fast.techniques.base import Chains, as_technique
from ttc_fast.techniques.registry import DEFAULT, chosen


def setting(count: int = 3) -> tuple[StochasticDecoder, Prompts]:
    decoder = StochasticDecoder(LinearAttention.gradient_descent(3, examples=8), GaussianNoise(0.3))
    return decoder, LinearRegression(3, 8, label_noise=0.2).sample(count, seed=2)


def average(candidates: Candidates) -> Tensor:
    """A user's mean.

    It has no closed form that we know of.
    """
    return mean(candidates)


@dataclass(frozen=True)
class Halves:
    """A user's search: the mean of the later half of the chains."""

    uses_score = False
    resumes = False

    def search(self, chains: Chains) -> SearchResult:
        late = replace(chains, thoughts=chains.thoughts[:, :, chains.samples // 2 :])
        return stop_early(late.thoughts[-1:], late.steps[-1:], 0.0)


def test_mean_of_a_user_is_ours() -> None:
    """Random subsets against the closed form: a paired t test over prompts at ALPHA for each of 4 budgets; equal where
    there is one subset, or one for each sample."""
    decoder, prompts = setting(300)
    techniques: dict[str, Any] = {"mean": "mean", "own": lambda c: mean(c), "average": average, "other name": mean}
    table = evaluate(decoder, prompts, steps=3, samples=24, budgets=[1, 2, 8, 12, 23, 24], techniques=techniques)
    assert {key.technique for key in table.keys} == set(techniques)
    for metric in ("squared_error", "prediction_risk"):
        for k in (1, 2, 8, 12, 23, 24):
            ours, own, same, other = (table[Key("continuous", name, 3, k, metric)] for name in techniques)
            assert np.array_equal(ours, other)  # a technique keeps its closed form under another name
            assert np.array_equal(own, same)
            if k in (1, 24):
                np.testing.assert_allclose(own, ours, rtol=1e-5)
            else:
                assert stats.ttest_1samp(own - ours, 0.0).pvalue > ALPHA / 4
                assert np.abs(own - ours).max() > 1e-4  # it is an estimate


def test_search_of_a_user() -> None:
    decoder, prompts = setting()
    table = evaluate(decoder, prompts, steps=[2, 4], samples=8, budgets=[8], techniques={"late": Halves()})
    thoughts = decoder(prompts, steps=[2, 4], samples=8).thoughts
    assert prompts.w_star is not None
    for t, w in zip((2, 4), thoughts):
        key = Key("continuous", "late", t, 8, "squared_error")
        np.testing.assert_allclose(table[key], (w[:, 4:].mean(1) - prompts.w_star).square().mean(1), rtol=1e-5)
        assert table.work(key) == (4 * t, 0)


@pytest.mark.parametrize(
    ("answer", "error", "got"),
    [
        (lambda c: c.coefficients[:, :, 0, 0], ValueError, "[3, 2]"),
        (lambda c: c.coefficients, ValueError, "[3, 2, 4, 3]"),
        (lambda c: c.coefficients.flatten(1, 2), ValueError, "[3, 8, 3]"),
        (lambda c: c.greedy, ValueError, "[3, 3]"),
        (lambda c: c.coefficients.mean(2).numpy(), ValueError, "ndarray"),
        (lambda c: None, ValueError, "NoneType"),
    ],
)
def test_answers_of_a_wrong_shape(answer: Any, error: type[Exception], got: str) -> None:
    decoder, prompts = setting()
    message = f"technique: expected answers [B, G, d] = [3, 2, 3] of 'mine', got {got}"
    with pytest.raises(error, match=re.escape(message)):
        evaluate(decoder, prompts, steps=2, samples=8, budgets=[4], techniques={"mine": answer})


def test_searches_that_give_something_else() -> None:
    decoder, prompts = setting()
    wrong: list[tuple[Any, type[Exception], str]] = [
        (
            lambda chains: chains.thoughts[-1, :, 0],
            TypeError,
            "technique: expected a SearchResult of 'mine', got Tensor",
        ),
        (
            lambda chains: stop_early(chains.thoughts[:, :, :, :2], chains.steps, 0.0),
            ValueError,
            "technique: expected answers [B, d] = [3, 3] of 'mine', got [3, 2]",
        ),
    ]
    for search, error, message in wrong:
        with pytest.raises(error, match=re.escape(message)):
            evaluate(decoder, prompts, steps=2, samples=4, techniques=Technique("mine", search=search))


def test_what_is_taken_as_a_technique() -> None:
    assert as_technique(mean) is mean or as_technique(mean) == mean
    named = as_technique(average)
    assert (named.name, named.about) == ("average", "A user's mean.")
    assert as_technique(average, "other").name == "other"
    assert as_technique(Halves()).name == "Halves"
    assert not as_technique(Halves()).resumes
    assert as_technique(mean, "other").closed_form is mean.closed_form
    for wrong in (3, None, torch.zeros(2)):
        with pytest.raises(TypeError, match="technique: expected a name, a function of candidates, or an object"):
            as_technique(wrong)
    other_arguments: list[tuple[Any, str]] = [
        (beam_search, "beam_search, which takes decoder, prompts, steps, beams, expansions, seed, first_sample, "),
        (stop_early, "stop_early, which takes thoughts, steps, tolerance, least_steps; ask for a search of ttc_fast"),
        (lambda: None, "<lambda>, which takes nothing; "),
    ]
    for function, got in other_arguments:
        with pytest.raises(TypeError, match=f"technique: expected a function of candidates alone, got {got}"):
            chosen({"mine": function})
    assert as_technique(max).name == "max"  # it has no signature to ask
    with pytest.raises(ValueError, match="answer: expected either answer or search of the technique 'both'"):
        Technique("both", average, search=lambda chains: Halves().search(chains))
    with pytest.raises(ValueError, match="answer: expected either answer or search of the technique 'none'"):
        Technique("none")
    with pytest.raises(TypeError, match=r"beam_search acts during the chain; call ttc_fast\.beam_search"):
        TECHNIQUES["beam_search"](None)  # type: ignore[arg-type]  # it does not get as far


def test_chosen() -> None:
    assert tuple(chosen(None)) == DEFAULT
    assert list(chosen("median")) == ["median"]
    assert list(chosen(average)) == list(chosen([average])) == ["average"]
    own: Any = Halves()  # with fewer attributes than the type Technique has
    assert list(chosen(own)) == list(chosen([own])) == ["Halves"]
    assert list(chosen({"a": "mean", "b": average})) == ["a", "b"]
    parameters = [weighted_vote(), weighted_vote(3.0), first_accepted(-0.5)]
    assert list(chosen(parameters)) == ["weighted_vote", "weighted_vote(3)", "first_accepted(-0.5)"]
    assert chosen(TECHNIQUES) == TECHNIQUES


def named_mean(candidates: Candidates) -> Tensor:
    return candidates.greedy[:, None]


named_mean.__name__ = "mean"


@pytest.mark.parametrize(
    "techniques",
    [
        [named_mean],
        {"mean": average},
        ["mean", "mean"],
        [average, average],
        [lambda c: c, lambda c: c],
        {"mean": "median"},
    ],
)
def test_names_that_are_taken(techniques: Any) -> None:
    message = r"technique: the name '.*' is taken by another one; give a mapping from names to techniques"
    with pytest.raises(ValueError, match=message):
        chosen(techniques)


def test_register(monkeypatch: pytest.MonkeyPatch) -> None:
    """A registered technique is asked for by its name; a name means one thing."""
    monkeypatch.setattr(registry, "TECHNIQUES", dict(TECHNIQUES))
    mine = Technique("mine", average, about="a user's", source="here")
    with pytest.raises(ValueError, match=r"technique: expected one of 'greedy', .* got 'mine'"):
        chosen("mine")
    registry.register(mine)
    registry.register(Technique("mine", average, about="a user's", source="here"))  # the same again
    assert chosen("mine") == {"mine": mine}
    decoder, prompts = setting()
    table = evaluate(decoder, prompts, steps=2, samples=4, techniques=["mine", "mean"])
    assert {key.technique for key in table.keys} == {"mine", "mean"}
    for other in (replace(mine, about="another"), replace(mine, name="mean")):
        with pytest.raises(ValueError, match=f"technique: the name '{other.name}' is taken by another one"):
            registry.register(other)
    assert "mine" not in TECHNIQUES
    wrong: Any = average
    with pytest.raises(TypeError, match=r"expected a Technique, got average; .* by ttc_fast.Technique\('average', av"):
        registry.register(wrong)
    plain = Technique("plain", average)  # without a line of its own
    registry.register(plain)
    assert chosen(["plain"]) == {"plain": plain}
