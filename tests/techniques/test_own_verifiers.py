"""Verifiers that a user brings: what they hold out stays hidden, functions are taken, chains are scored whole."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from ttc_fast import (
    TECHNIQUES,
    BernoulliSampling,
    GaussianNoise,
    HeldOutLoss,
    InContextLoss,
    Key,
    LinearAttention,
    LinearRegression,
    NoisyVerifier,
    ProcessReward,
    Prompts,
    SearchResult,
    StochasticDecoder,
    beam_search,
    evaluate,
    particle_filter,
    rejection_search,
    self_refinement,
)
from ttc_fast.decoding.rules import Rule
from ttc_fast.tasks import metrics
from ttc_fast.techniques.verifiers import as_verifier

HELD_OUT, STEPS, SEED = 4, [1, 3, 6], 4


@dataclass(frozen=True)
class LastExamples:
    """A user's held-out loss, of a class of its own."""

    def context(self, prompts: Prompts) -> Prompts:
        return replace(prompts, x=prompts.x[:, :-HELD_OUT], y=prompts.y[:, :-HELD_OUT])

    def score(self, prompts: Prompts, w: Tensor, *, first_sample: int = 0, step: int = 0) -> Tensor:
        held_out = replace(prompts, x=prompts.x[:, -HELD_OUT:], y=prompts.y[:, -HELD_OUT:])
        return metrics.in_context_score(held_out, w)


class Leaky(LastExamples):
    """The same scores; the chains see everything."""

    def context(self, prompts: Prompts) -> Prompts:
        return prompts


OWN: Any = LastExamples()
"""With fewer methods than the type :class:`Verifier` has."""
LEAKY: Any = Leaky()


def setting(rule: Rule) -> tuple[Prompts, StochasticDecoder]:
    kind: Any = "binary" if rule.binary else "continuous"
    prompts = LinearRegression(3, 8 + HELD_OUT, kind, label_noise=0.4).sample(5, seed=3)
    return prompts, StochasticDecoder(LinearAttention.gradient_descent(3, examples=8), rule)


def cut(prompts: Prompts) -> Prompts:
    """What a chain may see, made by hand."""
    return Prompts(prompts.x[:, :8], prompts.y[:, :8], prompts.w_star, prompts.covariance, prompts.first)


@pytest.mark.parametrize("rule", [GaussianNoise(0.3), BernoulliSampling(temperature=0.1)])
def test_evaluate_hides_what_a_user_holds_out(rule: Rule) -> None:
    """All techniques score as with :class:`HeldOutLoss`, to the bit, and not as if the chains had seen everything."""
    prompts, decoder = setting(rule)
    arguments: dict[str, Any] = {"steps": STEPS, "samples": 12, "seed": SEED, "techniques": TECHNIQUES}
    own = evaluate(decoder, prompts, verifier=OWN, **arguments)
    ours = evaluate(decoder, prompts, verifier=HeldOutLoss(HELD_OUT), **arguments)
    leaky = evaluate(decoder, prompts, verifier=LEAKY, **arguments)
    assert own.keys == ours.keys == leaky.keys
    assert np.array_equal(own.values, ours.values)
    betrayed = (own.values != leaky.values).any(1)
    assert betrayed.all() or rule.binary  # every figure would show a leak; of bits there are but few
    assert {key.technique for key, leak in zip(own.keys, betrayed) if leak} == {key.technique for key in own.keys}
    thoughts = decoder(cut(prompts), steps=STEPS, samples=12, seed=SEED).thoughts
    assert prompts.w_star is not None
    for t, w in zip(STEPS, thoughts):
        loss = (w @ prompts.x[:, 8:].mT - prompts.y[:, None, 8:]).square().sum(2)
        best = w[torch.arange(5), loss.argmin(1)]
        error = (best - prompts.w_star).square().mean(1)
        np.testing.assert_allclose(own[Key(own.keys[0].coefficients, "best_of_n", t, 12, "squared_error")], error, 1e-5)


Search = Callable[..., SearchResult]


@pytest.mark.parametrize(
    ("search", "arguments"),
    [
        (particle_filter, {"samples": 6, "beta": 0.0}),
        (particle_filter, {"samples": 6, "beta": 2.0, "ess_threshold": 0.0}),  # weighted, never resampled
        (rejection_search, {"samples": 6, "threshold": -1e9}),
        (beam_search, {"beams": 6, "expansions": 1, "every": 6}),
        (self_refinement, {"samples": 6, "every": 6}),
    ],
)
@pytest.mark.parametrize("verifier", [OWN, NoisyVerifier(OWN), ProcessReward(OWN)])
def test_searches_hide_what_a_user_holds_out(search: Search, arguments: dict[str, Any], verifier: Any) -> None:
    """Searches without selection are the chains of the cut prompts; what they pick is scored on the rest."""
    prompts, decoder = setting(GaussianNoise(0.3))
    plain = decoder(cut(prompts), steps=[6], samples=6, seed=SEED).thoughts[0]
    found = search(decoder, prompts, steps=6, seed=SEED, verifier=verifier, **arguments)
    score = OWN.score(prompts, plain)
    if found.candidates is not None:
        assert torch.equal(found.candidates, plain)
    if found.score is not None:
        assert torch.equal(found.score, score.amax(1))
        assert torch.equal(found.answer, plain[torch.arange(5), score.argmax(1)])
    assert found.candidates is not None or found.score is not None


@pytest.mark.parametrize("search", [particle_filter, rejection_search, beam_search, self_refinement])
def test_searches_with_a_users_verifier_are_those_with_ours(search: Search) -> None:
    """With selection at every step: to the bit, and not those of chains that see everything."""
    prompts, decoder = setting(GaussianNoise(0.3))
    arguments: dict[str, Any] = {"steps": 6, "seed": SEED, "samples": 12}
    arguments |= {particle_filter: {"beta": 5.0}, rejection_search: {"threshold": -0.3}}.get(search, {})
    if search is beam_search:
        arguments |= {"beams": 3, "expansions": 4}
        del arguments["samples"]
    own, ours, leaky = (
        search(decoder, prompts, verifier=verifier, **arguments) for verifier in (OWN, HeldOutLoss(HELD_OUT), LEAKY)
    )
    assert torch.equal(own.answer, ours.answer)
    assert (own.answer != leaky.answer).any(1).all()


@pytest.mark.parametrize("reduce", ["last", "min", "mean", "sum"])
@pytest.mark.parametrize("rule", [GaussianNoise(0.3), BernoulliSampling(temperature=0.1)])
def test_evaluate_takes_process_rewards(rule: Rule, reduce: Any) -> None:
    """Best-of-N by scores that are reduced by hand over the asked steps up to that of the answer."""
    prompts, decoder = setting(rule)
    verifier = ProcessReward(InContextLoss(), reduce)
    table = evaluate(
        decoder, prompts, steps=STEPS, samples=9, budgets=[9], seed=SEED, techniques=["best_of_n"], verifier=verifier
    )
    thoughts = decoder(prompts, steps=STEPS, samples=9, seed=SEED).thoughts.double()
    residual = thoughts @ prompts.x.double().mT - prompts.y[:, None].double()
    each = -residual.square().mean(3) / 2  # [step, B, N]
    by_hand: dict[str, Callable[[Tensor], Tensor]] = {
        "last": lambda s: s[-1],
        "min": lambda s: s.amin(0),
        "mean": lambda s: s.mean(0),
        "sum": lambda s: s.sum(0),
    }
    assert prompts.w_star is not None
    for i, t in enumerate(STEPS):
        score = by_hand[reduce](each[: i + 1])
        error = (thoughts[i] - prompts.w_star[:, None]).square().mean(2)
        # Equal scores share the mean of their errors; others are further apart than float32 rounds.
        best = (score >= score.amax(1, keepdim=True) - 1e-6).double()
        expected = (error * best).sum(1) / best.sum(1)
        got = table[Key(table.keys[0].coefficients, "best_of_n", t, 9, "squared_error")]
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-7)


def test_a_function_is_a_verifier() -> None:
    prompts, decoder = setting(GaussianNoise(0.3))

    def sparse(prompts: Prompts, w: Tensor) -> Tensor:
        return -w.abs().sum(2)

    table = evaluate(decoder, prompts, steps=3, samples=8, techniques="best_of_n", verifier=sparse)
    w = decoder(prompts, steps=3, samples=8).thoughts[0]
    best = w[torch.arange(5), w.abs().sum(2).argmin(1)]
    assert prompts.w_star is not None
    error = (best - prompts.w_star).square().mean(1)
    np.testing.assert_allclose(table[Key("continuous", "best_of_n", 3, 8, "squared_error")], error, rtol=1e-5)
    found = beam_search(decoder, prompts, steps=3, beams=8, expansions=1, every=3, verifier=sparse)
    assert torch.equal(found.answer, best)


def half_sum(prompts: Prompts, w: Tensor) -> Tensor:
    """A user's verifier as a function."""
    return w.sum(2) / 2


def test_a_function_is_named_in_the_table() -> None:
    """So that figures of two functions are not taken for those of one verifier."""
    prompts, decoder = setting(GaussianNoise(0.3))
    table = evaluate(decoder, prompts, steps=2, samples=8, techniques=["best_of_n"], verifier=half_sum)
    assert table.about["verifier"] == "FunctionVerifier(half_sum)"


def test_defaults_of_a_users_verifier() -> None:
    prompts, _ = setting(GaussianNoise(0.3))
    verifier = as_verifier(lambda prompts, w: w[:, :, 0])
    thoughts = torch.rand(2, 5, 3, 3)
    assert verifier.deterministic
    assert verifier.measured_as is None
    assert verifier.context(prompts) is prompts
    assert verifier.as_quadratic(prompts) is None
    assert verifier.work(prompts) == 12 * 4
    assert torch.equal(verifier.score_chain(prompts, thoughts, [1, 2]), thoughts[1, :, :, 0])
    assert as_verifier(None) == InContextLoss()
    assert repr(as_verifier(half_sum)) == "FunctionVerifier(half_sum)"
    assert repr(as_verifier(partial(half_sum))) == "FunctionVerifier(partial)"  # without an address
    noisy = NoisyVerifier(OWN, 0.5)
    assert not noisy.deterministic
    assert noisy.work(prompts) == 12 * 4
    assert noisy.context(prompts).x.shape == (5, 8, 3)
    assert math.isfinite(noisy.score(prompts, thoughts[0]).sum().item())


@pytest.mark.parametrize(
    ("scores", "error", "message"),
    [
        (lambda prompts, w: w.sum(), ValueError, r"verifier: expected scores \[B, N\] = \[5, 8\], got \[\]"),
        (lambda prompts, w: w, ValueError, r"verifier: expected scores \[B, N\] = \[5, 8\], got \[5, 8, 3\]"),
        (lambda prompts, w: 3.0, TypeError, r"verifier: expected scores \[B, N\] = \[5, 8\], got float"),
    ],
)
def test_wrong_scores(scores: Any, error: type[Exception], message: str) -> None:
    prompts, decoder = setting(GaussianNoise(0.3))
    with pytest.raises(error, match=message):
        evaluate(decoder, prompts, steps=2, samples=8, verifier=scores)
    with pytest.raises(error, match=message):
        particle_filter(decoder, prompts, steps=2, samples=8, beta=1.0, verifier=scores)


def test_scores_that_are_no_numbers_are_refused() -> None:
    """Those of a chain that overflowed may be."""
    prompts = LinearRegression(3, 9).sample(2)
    decoder = StochasticDecoder(LinearAttention.gradient_descent(3, examples=9), GaussianNoise(0.2))
    wild = StochasticDecoder(LinearAttention.gradient_descent(3, step_size=1e30), GaussianNoise(0.2))

    def one_is_lost(prompts: Prompts, w: Tensor) -> Tensor:
        score = -w.square().sum(2)
        score[1, 5] = math.nan
        return score

    def lost_with_the_candidate(prompts: Prompts, w: Tensor) -> Tensor:
        return w.square().sum(2).sin()  # NaN of infinity

    with pytest.raises(ValueError, match="got NaN of the finite candidate 5 of prompt 1"):
        evaluate(decoder, prompts, steps=2, samples=8, techniques=["best_of_n"], verifier=one_is_lost)
    with pytest.raises(ValueError, match="got NaN of the finite candidate 5 of prompt 1"):
        particle_filter(decoder, prompts, steps=2, samples=8, beta=1.0, verifier=one_is_lost)
    evaluate(wild, prompts, steps=9, samples=8, techniques=["best_of_n"], verifier=lost_with_the_candidate)
