"""Search during the chain against exact laws and worked examples."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

import oracles
from oracles import ALPHA
from ttc_fast import BernoulliSampling, GaussianNoise, LinearAttention, LinearRegression, Prompts, StochasticDecoder
from ttc_fast.search import (
    Resampling,
    adaptive_vote,
    beam_search,
    particle_filter,
    rejection_search,
    resample,
    self_refinement,
    stop_early,
)
from ttc_fast.theory.prompt import filter_law, quadratic
from ttc_fast.verifiers import InContextLoss, Oracle

SCHEMES: list[Resampling] = ["multinomial", "systematic", "residual"]
SIGMA, BETA, STEPS, RUNS = 0.4, 3.0, 4, 60


def setting(count: int = 1) -> tuple[Prompts, StochasticDecoder]:
    prompts = LinearRegression(3, 8, label_noise=0.2).sample(count, seed=3, dtype=torch.float64)
    model = LinearAttention.gradient_descent(3, examples=8, dtype=torch.float64)
    return prompts, StochasticDecoder(model, GaussianNoise(SIGMA))


def kalman(prompts: Prompts, decoder: StochasticDecoder, every: int) -> tuple[float, oracles.Array]:
    """ln Z and the mean of the last thought's law, for potentials exp(-beta L(w_t))."""
    state = decoder.model.prefill(prompts.x, prompts.y).detach()
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
    ratios = np.exp(result.log_evidence.numpy() - log_z)
    assert stats.ttest_1samp(ratios, 1.0).pvalue > ALPHA
    assert ratios.std() < 0.4  # 500 particles of a relative deviation below 9
    got = result.mean().numpy() * ratios[:, None]
    for i in range(3):  # the unnormalised mean is unbiased too
        assert stats.ttest_1samp(got[:, i], mean[i]).pvalue > ALPHA / 3
    assert result.work.scores == 500 * len([*range(every, STEPS, every), STEPS])
    assert result.work.thoughts == 500 * STEPS


@pytest.mark.parametrize("resampling", SCHEMES)
def test_resampling_is_unbiased(resampling: Resampling) -> None:
    """Every particle is kept N W times on average: a t test at ALPHA for each of 5 particles."""
    weights = torch.tensor([0.05, 0.4, 0.0, 0.35, 0.2], dtype=torch.float64)
    index = resample(weights.expand(4000, -1), resampling, 0, 3, 9)
    counts = torch.stack([(index == i).sum(1) for i in range(5)], 1).double().numpy()
    for i, expected in enumerate((5 * weights).tolist()):
        if counts[:, i].std() > 0:
            assert stats.ttest_1samp(counts[:, i], expected).pvalue > ALPHA / 5
        else:
            assert (counts[:, i] == expected).all()
    if resampling != "multinomial":  # nobody is more than one copy away from what is due
        assert (np.abs(counts - 5 * weights.numpy()) < (1 if resampling == "systematic" else 5)).all()
        assert (counts >= np.floor(5 * weights.numpy())).all()


@pytest.mark.parametrize("resampling", SCHEMES)
def test_particle_filter_does_not_depend_on_the_batch(resampling: Resampling) -> None:
    prompts, decoder = setting(5)
    whole = particle_filter(decoder, prompts, steps=3, samples=64, beta=BETA, resampling=resampling)
    part = particle_filter(decoder, prompts.part(2, 4), steps=3, samples=64, beta=BETA, resampling=resampling)
    assert torch.equal(whole.thoughts[2:4], part.thoughts)
    torch.testing.assert_close(whole.log_evidence[2:4], part.log_evidence)


def test_rejection_keeps_what_passes() -> None:
    prompts, decoder = setting(2)
    verifier = InContextLoss()
    result = rejection_search(decoder, prompts, steps=6, samples=256, threshold=-0.2, every=2)
    plain = decoder(prompts, steps=[6], samples=256).thoughts[0]
    assert verifier(prompts, result.thoughts).mean() > verifier(prompts, plain).mean()
    passed = verifier(prompts, result.thoughts) >= -0.2
    assert torch.equal(passed, result.log_weights > -math.inf)
    hopeless = rejection_search(decoder, prompts, steps=2, samples=16, threshold=1.0)
    assert torch.equal(hopeless.thoughts, decoder(prompts, steps=[2], samples=16).thoughts[0])


def test_beam_search() -> None:
    """One beam of one expansion is a chain; many find what scores at least as well as best-of-N on average."""
    prompts, decoder = setting(40)
    alone = beam_search(decoder, prompts, steps=5, beams=1, expansions=1)
    assert torch.equal(alone.answer, decoder(prompts, steps=[5], samples=1).thoughts[0, :, 0])
    wide = beam_search(decoder, prompts, steps=6, beams=4, expansions=8, every=2)
    best = InContextLoss()(prompts, decoder(prompts, steps=[6], samples=32).thoughts[0]).amax(1)
    assert wide.score.mean() > best.mean()
    torch.testing.assert_close(InContextLoss()(prompts, wide.answer[:, None])[:, 0], wide.score)
    assert wide.work == (6 * 32, 3 * 32)
    assert wide.work.multiplications(prompts, InContextLoss()) == 6 * 32 * 9 + 3 * 32 * 8 * 4


def test_self_refinement_never_gets_worse() -> None:
    prompts, decoder = setting(10)
    scores: list[Tensor] = [
        self_refinement(decoder, prompts, rounds=r, steps=2, samples=8, verifier=Oracle()).score for r in (1, 2, 4)
    ]
    assert (scores[1] >= scores[0]).all()
    assert (scores[2] >= scores[1]).all()
    assert scores[2].mean() > scores[0].mean()


def test_stop_early() -> None:
    thoughts = torch.tensor([0.0, 1.0, 1.5, 1.6, 1.6]).reshape(5, 1, 1, 1)
    steps = (1, 2, 4, 8, 16)
    assert stop_early(thoughts, steps, 0.3).steps.tolist() == [4]
    assert stop_early(thoughts, steps, 0.3).thoughts.tolist() == [[[1.5]]]
    assert stop_early(thoughts, steps, 0.3, least_steps=5).steps.tolist() == [8]  # forced to go on
    assert stop_early(thoughts[:3], steps[:3], 0.0).steps.tolist() == [4]  # truncated


def test_adaptive_vote_errs_no_more_than_stated() -> None:
    """p = 0.6 on both coefficients, stated error 0.1: an exact binomial test that the rate is not above 0.1."""
    chance = torch.Generator().manual_seed(0)
    bits = (torch.rand(2000, 1000, 2, generator=chance) < 0.6).float()
    result = adaptive_vote(bits, 0.1)
    wrong = int((result.answer[result.decided] != 1).any(1).sum())
    assert stats.binomtest(wrong, 2000, 0.1, alternative="greater").pvalue > ALPHA
    assert result.decided.double().mean() > 0.95
    assert result.samples.double().mean() < 400
    easy = adaptive_vote(torch.ones(1, 50, 2), 0.1)
    assert easy.answer.tolist() == [[1.0, 1.0]]
    assert easy.samples.item() == 7  # (2^(n+1) - 1) / (n+1), 18.1 at n = 6, exceeds 2 / 0.1 for the first time


def test_wrong_arguments() -> None:
    prompts, decoder = setting()
    with pytest.raises(ValueError, match="resampling: expected one of"):
        particle_filter(decoder, prompts, steps=1, samples=2, beta=1.0, resampling="lottery")  # type: ignore[arg-type]  # wrong on purpose
    with pytest.raises(ValueError, match="beta: expected a finite number of at least 0"):
        particle_filter(decoder, prompts, steps=1, samples=2, beta=-1.0)
    with pytest.raises(ValueError, match="steps: expected an integer from 1"):
        beam_search(decoder, prompts, steps=0, beams=1, expansions=1)
    with pytest.raises(ValueError, match="error: expected a probability"):
        adaptive_vote(torch.zeros(1, 2, 3), 1.5)


def test_binary_chains_can_be_searched() -> None:
    prompts = LinearRegression(4, 12, "binary", label_noise=0.3).sample(20)
    decoder = StochasticDecoder(LinearAttention.gradient_descent(4, examples=12), BernoulliSampling())
    found = beam_search(decoder, prompts, steps=4, beams=2, expansions=4).answer
    assert set(found.unique().tolist()) <= {0.0, 1.0}
