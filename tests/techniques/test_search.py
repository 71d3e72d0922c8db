"""Search during the chain against exact laws and worked examples."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

import oracles
from oracles import ALPHA
from ttc_fast import (
    BernoulliSampling,
    Draws,
    GaussianNoise,
    LinearAttention,
    LinearRegression,
    Prompts,
    StochasticDecoder,
)
from ttc_fast.tasks.quadratic import quadratic
from ttc_fast.techniques.base import SearchResult
from ttc_fast.techniques.faulty_verifiers import NoisyVerifier
from ttc_fast.techniques.particles import Resampling, particle_filter, rejection_search, resample, uniforms
from ttc_fast.techniques.search import BeamSearch, beam_search, self_refinement
from ttc_fast.techniques.stopping import adaptive_vote, stop_early
from ttc_fast.techniques.verifiers import HeldOutLoss, InContextLoss, Oracle
from ttc_fast.theory.gaussian import filter_law

SCHEMES: list[Resampling] = ["multinomial", "systematic", "residual"]
SIGMA, BETA, STEPS, RUNS = 0.4, 3.0, 4, 60


def setting(count: int = 1, dtype: torch.dtype = torch.float64) -> tuple[Prompts, StochasticDecoder]:
    prompts = LinearRegression(3, 8, label_noise=0.2).sample(count, seed=3, dtype=dtype)
    model = LinearAttention.gradient_descent(3, examples=8, dtype=dtype)
    return prompts, StochasticDecoder(model, GaussianNoise(SIGMA))


def assert_work(result: SearchResult, thoughts: int, scores: int) -> None:
    """Every prompt cost so much."""
    assert result.work.thoughts.tolist() == [thoughts] * len(result.answer)
    assert result.work.scores.tolist() == [scores] * len(result.answer)


def known(value: Tensor | None) -> Tensor:
    """What this search has."""
    assert value is not None
    return value


def kalman(prompts: Prompts, decoder: StochasticDecoder, every: int) -> tuple[float, oracles.Array]:
    """ln Z and the mean of the last thought's law, for potentials exp(-beta L(w_t))."""
    state = decoder.model.prefill(prompts).linear.detach()
    loss = quadratic(prompts, "in_context_loss")
    law, log_evidence = filter_law(state, GaussianNoise(SIGMA), STEPS, loss, BETA, every=every)
    return log_evidence[0].item(), law.mean[0].numpy()


@pytest.mark.parametrize("resampling", SCHEMES)
@pytest.mark.parametrize(("every", "threshold"), [(1, 1.0), (2, 0.5), (3, 0.0)])
def test_evidence_is_the_kalman_filters(resampling: Resampling, every: int, threshold: float) -> None:
    """The evidence is unbiased, and so is the mean times the evidence: t tests at ALPHA over 60 runs of one prompt."""
    prompts, decoder = setting()
    log_z, mean = kalman(prompts, decoder, every)
    many = Prompts(prompts.x.expand(RUNS, -1, -1), prompts.y.expand(RUNS, -1), None)  # the same, with noise of its own
    result = particle_filter(
        decoder,
        many,
        steps=STEPS,
        samples=500,
        beta=BETA,
        every=every,
        resampling=resampling,
        ess_threshold=threshold,
    )
    assert result.log_evidence is not None
    ratios = np.exp(result.log_evidence.numpy() - log_z)
    assert stats.ttest_1samp(ratios, 1.0).pvalue > ALPHA
    assert ratios.std() < 0.4  # 500 particles of a relative deviation below 9
    got = result.answer.numpy() * ratios[:, None]
    for i in range(3):  # the unnormalised mean is unbiased too
        assert stats.ttest_1samp(got[:, i], mean[i]).pvalue > ALPHA / 3
    checks = len([*range(every, STEPS, every), STEPS])
    assert_work(result, 500 * STEPS, 500 * checks)
    assert result.effective_samples is not None
    assert result.effective_samples.shape == (checks, RUNS)


def resampled(weights: Tensor, resampling: Resampling, first_sample: int = 0) -> Tensor:
    """Of one group for every prompt ``[B, N]``, at step 3."""
    prompts, samples = weights.shape
    named = first_sample + torch.arange(samples)[None, : 1 if resampling == "systematic" else None]
    uniform = uniforms(torch.arange(prompts), named, [3], 9)[0]
    size = torch.tensor([[float(samples)]], dtype=torch.float64)
    return resample(weights[:, None], size, resampling, uniform)[:, 0]


@pytest.mark.parametrize("resampling", SCHEMES)
def test_resampling_is_unbiased(resampling: Resampling) -> None:
    """Every particle is kept N W times on average: a t test at ALPHA for each of 5 particles."""
    weights = torch.tensor([0.05, 0.4, 0.0, 0.35, 0.2], dtype=torch.float64)
    index = resampled(weights.expand(4000, -1), resampling)
    counts = torch.stack([(index == i).sum(1) for i in range(5)], 1).double().numpy()
    for i, expected in enumerate((5 * weights).tolist()):
        if counts[:, i].std() > 0:
            assert stats.ttest_1samp(counts[:, i], expected).pvalue > ALPHA / 5
        else:
            assert (counts[:, i] == expected).all()
    if resampling != "multinomial":  # nobody is more than one copy away from what is due
        assert (np.abs(counts - 5 * weights.numpy()) < (1 if resampling == "systematic" else 5)).all()
        assert (counts >= np.floor(5 * weights.numpy())).all()


@pytest.mark.parametrize(
    "search",
    [
        *(partial(particle_filter, samples=61, beta=BETA, resampling=resampling) for resampling in SCHEMES),
        partial(rejection_search, samples=61, threshold=-0.2),
        partial(beam_search, beams=7, expansions=3),
        partial(self_refinement, samples=10),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_searches_do_not_depend_on_the_batch(search: Callable[..., Any], dtype: torch.dtype) -> None:
    """To the bit, with noise in the verifier, one prompt or many, one thread or two."""
    prompts, decoder = setting(5, dtype)
    arguments: dict[str, Any] = {"steps": 5, "every": 2, "first_sample": 3, "seed": 9}
    arguments["verifier"] = NoisyVerifier(InContextLoss(), 0.1)
    whole = search(decoder, prompts, **arguments)
    torch.set_num_threads(1)
    for start, stop in ((2, 4), (0, 1), (4, 5)):
        part = search(decoder, prompts.part(start, stop), **arguments)
        for name, value in vars(part).items():
            of_whole = getattr(whole, name)
            if name == "effective_samples" and value is not None:
                assert torch.equal(of_whole[:, start:stop], value)
            elif name == "work":
                assert all(torch.equal(one[start:stop], other) for one, other in zip(of_whole, value))
            elif value is None:
                assert of_whole is None
            else:
                assert torch.equal(of_whole[start:stop], value), name


def test_first_sample_names_all_noise() -> None:
    """Of the chains, of the verifier, and of the resampling."""
    prompts, decoder = setting(40)
    verifier = NoisyVerifier(InContextLoss(), 0.5, seed=2)
    alone = beam_search(decoder, prompts, steps=5, beams=1, expansions=1, first_sample=7, verifier=verifier)
    assert torch.equal(alone.answer, decoder(prompts, steps=[5], samples=1, first_sample=7).thoughts[0, :, 0])
    scored = verifier.score(prompts, alone.answer[:, None], first_sample=7, step=5)[:, 0]
    assert torch.equal(known(alone.score), scored)
    even = torch.full((40, 2), 0.5, dtype=torch.float64)
    first, second = resampled(even, "multinomial").unbind(1)
    assert torch.equal(resampled(even, "multinomial", first_sample=1)[:, 0], second)
    assert not torch.equal(first, second)


def test_chains_do_not_see_what_is_held_out() -> None:
    prompts, decoder = setting(3)
    verifier = HeldOutLoss(3)
    plain = decoder(verifier.context(prompts), steps=[4], samples=6).thoughts[0]
    unweighted = particle_filter(decoder, prompts, steps=4, samples=6, beta=0.0, verifier=verifier)
    assert torch.equal(known(unweighted.candidates), plain)
    best = beam_search(decoder, prompts, steps=4, beams=6, expansions=1, every=4, verifier=verifier)
    assert torch.equal(known(best.score), verifier.score(prompts, plain).amax(1))
    refined = self_refinement(decoder, prompts, steps=4, samples=6, every=4, verifier=verifier)
    assert torch.equal(known(refined.score), verifier.score(prompts, plain).amax(1))


def test_without_steps_and_with_chains_that_overflow() -> None:
    prompts, decoder = setting(2)
    nothing = beam_search(decoder, prompts, steps=0, beams=2, expansions=2)
    assert nothing.answer.tolist() == [[0.0] * 3] * 2
    assert_work(nothing, 0, 4)
    wild = StochasticDecoder(LinearAttention.gradient_descent(3, step_size=1e100, dtype=torch.float64), decoder.rule)
    assert particle_filter(wild, prompts, steps=9, samples=4, beta=1.0).answer.isnan().all()
    assert beam_search(wild, prompts, steps=9, beams=2, expansions=2).answer.isnan().all()


def test_rejection_keeps_what_passes() -> None:
    prompts, decoder = setting(2)
    verifier = InContextLoss()
    result = rejection_search(decoder, prompts, steps=6, samples=256, threshold=-0.2, every=2)
    plain = decoder(prompts, steps=[6], samples=256).thoughts[0]
    kept = verifier.score(prompts, known(result.candidates))
    assert kept.mean() > verifier.score(prompts, plain).mean()
    assert torch.equal(kept >= -0.2, known(result.log_weights) > -math.inf)
    hopeless = rejection_search(decoder, prompts, steps=2, samples=16, threshold=1.0)
    assert torch.equal(known(hopeless.candidates), decoder(prompts, steps=[2], samples=16).thoughts[0])


def test_beam_search() -> None:
    """One beam of one expansion is a chain; many find what scores at least as well as best-of-N on average."""
    prompts, decoder = setting(40)
    alone = beam_search(decoder, prompts, steps=5, beams=1, expansions=1)
    assert torch.equal(alone.answer, decoder(prompts, steps=[5], samples=1).thoughts[0, :, 0])
    wide = beam_search(decoder, prompts, steps=6, beams=4, expansions=8, every=2)
    best = InContextLoss().score(prompts, decoder(prompts, steps=[6], samples=32).thoughts[0]).amax(1)
    assert known(wide.score).mean() > best.mean()
    torch.testing.assert_close(InContextLoss().score(prompts, wide.answer[:, None])[:, 0], known(wide.score))
    assert_work(wide, 6 * 32, 3 * 32)


def test_self_refinement_never_gets_worse() -> None:
    prompts, decoder = setting(10)
    scores: list[Tensor] = [
        known(self_refinement(decoder, prompts, steps=steps, every=2, samples=8, verifier=Oracle()).score)
        for steps in (2, 4, 8)
    ]
    assert (scores[1] >= scores[0]).all()
    assert (scores[2] >= scores[1]).all()
    assert scores[2].mean() > scores[0].mean()
    assert_work(self_refinement(decoder, prompts, steps=5, every=2, samples=8), 5 * 8, 3 * 8 + 1)


def test_stop_early() -> None:
    thoughts = torch.tensor([0.0, 1.0, 1.5, 1.6, 1.6]).reshape(5, 1, 1, 1)
    steps = (1, 2, 4, 8, 16)
    stopped = stop_early(thoughts, steps, 0.3)
    assert known(stopped.steps).tolist() == [4]
    assert known(stopped.candidates).tolist() == [[[1.5]]]
    assert stopped.answer.tolist() == [[1.5]]
    assert_work(stopped, 4, 0)
    assert known(stop_early(thoughts, steps, 0.3, least_steps=5).steps).tolist() == [8]  # forced to go on
    assert known(stop_early(thoughts[:3], steps[:3], 0.0).steps).tolist() == [4]  # truncated


def test_adaptive_vote_errs_no_more_than_stated() -> None:
    """p = 0.6 on both coefficients, stated error 0.1: an exact binomial test that the rate is not above 0.1."""
    generator = torch.Generator().manual_seed(0)
    bits = (torch.rand(2000, 1000, 2, generator=generator) < 0.6).float()
    result = adaptive_vote(bits, 0.1)
    decided, samples = known(result.decided), known(result.samples)
    wrong = int((result.answer[decided] != 1).any(1).sum())
    assert stats.binomtest(wrong, 2000, 0.1, alternative="greater").pvalue > ALPHA
    assert decided.double().mean() > 0.95
    assert samples.double().mean() < 400
    assert torch.equal(result.work.thoughts, samples)
    easy = adaptive_vote(torch.ones(1, 50, 2), 0.1)
    assert easy.answer.tolist() == [[1.0, 1.0]]
    assert known(easy.samples).item() == 7  # (2^(n+1) - 1) / (n+1), 18.1 at n = 6, exceeds 2 / 0.1 for the first time


@pytest.mark.parametrize(("dim", "error"), [(1, 0.05), (16, 0.05), (3, 0.9)])
def test_adaptive_vote_stops_where_the_likelihood_ratio_says(dim: int, error: float) -> None:
    """2 int_{1/2}^1 p^l (1 - p)^(n - l) dp / 2^-n for a lead of l among n votes, in exact rational numbers."""

    def decides(lead: int, votes: int) -> bool:
        trail = votes - lead
        beta = Fraction(math.factorial(lead) * math.factorial(trail), math.factorial(votes + 1))
        tail = Fraction(sum(math.comb(votes + 1, j) for j in range(lead + 1)), 2 ** (votes + 1))
        return bool(2 ** (votes + 1) * beta * tail >= Fraction(dim) / Fraction(error))

    generator = torch.Generator().manual_seed(1)
    bits = (torch.rand(20, 60, dim, generator=generator) < torch.rand(20, 1, dim, generator=generator)).float()
    result = adaptive_vote(bits, error)
    decided, samples = known(result.decided), known(result.samples)
    for b in range(20):
        ones = bits[b].cumsum(0).int().tolist()
        first = [
            next((n for n in range(1, 61) if decides(max(ones[n - 1][i], n - ones[n - 1][i]), n)), None)
            for i in range(dim)
        ]
        assert decided[b].item() == (None not in first)
        assert samples[b].item() == max(n or 60 for n in first)


class Rounded(GaussianNoise):
    """A user's rule whose answers are not its thoughts."""

    def answer(self, thought: Tensor, draws: Draws) -> Tensor:
        return thought.round()


def test_wrong_arguments() -> None:
    prompts, decoder = setting()
    with pytest.raises(ValueError, match="resampling: expected one of"):
        particle_filter(decoder, prompts, steps=1, samples=2, beta=1.0, resampling="lottery")  # type: ignore[arg-type]  # wrong on purpose
    with pytest.raises(ValueError, match="beta: expected a finite number of at least 0"):
        particle_filter(decoder, prompts, steps=1, samples=2, beta=-1.0)
    with pytest.raises(ValueError, match="steps: expected an integer from 0"):
        beam_search(decoder, prompts, steps=-1, beams=1, expansions=1)
    late = StochasticDecoder(decoder.model, BernoulliSampling(sample_at="last_step"))
    with pytest.raises(ValueError, match=r"rule: expected .*sample_at='every_step', got .*'last_step'"):
        beam_search(late, prompts, steps=1, beams=1, expansions=1)
    with pytest.raises(ValueError, match=r"rule: expected one whose answers are its thoughts, .* got Rounded"):
        beam_search(StochasticDecoder(decoder.model, Rounded()), prompts, steps=1, beams=1, expansions=1)
    with pytest.raises(TypeError, match="decoder: expected a StochasticDecoder, got LinearAttention; make one of a "):
        beam_search(decoder.model, prompts, steps=1, beams=1, expansions=1)  # type: ignore[arg-type]  # wrong on purpose
    with pytest.raises(ValueError, match="expansions: expected an integer from 1"):
        BeamSearch(expansions=0)
    with pytest.raises(ValueError, match="error: expected a probability"):
        adaptive_vote(torch.zeros(1, 2, 3), 1.5)


def test_binary_chains_can_be_searched() -> None:
    prompts = LinearRegression(4, 12, "binary", label_noise=0.3).sample(20)
    decoder = StochasticDecoder(LinearAttention.gradient_descent(4, examples=12), BernoulliSampling())
    found = beam_search(decoder, prompts, steps=4, beams=2, expansions=4).answer
    assert set(found.unique().tolist()) <= {0.0, 1.0}
