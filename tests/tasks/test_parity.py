"""k-parity with thoughts as tapes of bits: tapes by hand, the transformer that writes them, and its exact law."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.stats import binomtest

from ttc_fast import BernoulliSampling, GaussianNoise, Parity, ParityAttention, Prompts, StochasticDecoder, evaluate


@pytest.mark.parametrize(("bits", "ones"), [(8, 8), (9, 5), (6, 1), (7, 2), (16, 6)])
def test_tapes(bits: int, ones: int) -> None:
    """The last bit is the parity of the leaves, by their sum; every node comes after its parents."""
    task = Parity(bits, ones)
    prompts = task.sample(50, seed=1)
    assert prompts.w_star is not None
    assert prompts.w_star.shape == (50, bits + ones - 1)
    assert torch.equal(prompts.w_star[:, :bits], prompts.x[:, 0, :bits])
    parity = prompts.x[:, 0, task.leaves].sum(1) % 2
    assert torch.equal(prompts.y[:, 0], parity)
    if ones > 1:
        assert torch.equal(prompts.w_star[:, -1], parity)
    assert bool((task.parents.amax(1) < torch.arange(bits, task.dim)).all())
    assert task.depth == 1 + math.ceil(math.log2(ones))
    assert len(set(task.leaves.tolist())) == ones
    part = task.sample(3, seed=1, first_prompt=20)
    assert part.w_star is not None
    assert torch.equal(part.w_star, prompts.w_star[20:23])
    assert 0.4 < prompts.x[:, 0, :bits].mean() < 0.6 or bits < 9


def test_greedy_chain_is_right_after_depth_thoughts() -> None:
    task = Parity(12, 8)
    prompts = task.sample(30, seed=2)
    assert prompts.w_star is not None
    decoder = StochasticDecoder(ParityAttention(task), BernoulliSampling(temperature=0.0))
    thoughts = decoder(prompts, steps=[task.depth - 1, task.depth, 9], samples=1).thoughts[:, :, 0]
    assert torch.equal(thoughts[1], prompts.w_star)
    assert torch.equal(thoughts[2], prompts.w_star)
    assert not torch.equal(thoughts[0, :, -1], prompts.y[:, 0])


def test_law_of_flipped_bits() -> None:
    """Right with probability (1 + (1 - 2e)^(2k-1)) / 2 after ``depth`` thoughts, 1/2 before: 64 prompts of 200 chains,
    a binomial test each; p below 1e-4 in one of four once in 2,500 seeds. Chains of a prompt are independent given
    depth thoughts; before that all depends on the prompt, so that prompts are few and chains are one each."""
    task, temperature = Parity(8, 4), 0.2
    flip = 1 / (1 + math.exp(0.5 / temperature))
    decoder = StochasticDecoder(ParityAttention(task), BernoulliSampling(temperature=temperature))
    expected = (1 + (1 - 2 * flip) ** (2 * 4 - 1)) / 2
    prompts = task.sample(64, seed=3)
    thoughts = decoder(prompts, steps=[task.depth, 7], samples=200, seed=4).thoughts
    for found in thoughts:
        right = int((found[..., -1] == prompts.y).sum())
        assert binomtest(right, 64 * 200, expected).pvalue > 1e-4
    early = task.sample(2000, seed=5)
    found = decoder(early, steps=[1, task.depth - 1], samples=1, seed=6).thoughts
    for each in found:
        assert binomtest(int((each[:, 0, -1] == early.y[:, 0]).sum()), 2000, 0.5).pvalue > 1e-4


def test_loss_tells_inconsistent_tapes() -> None:
    """0 of the right tape; each flipped bit breaks its own place and those that come from it; best-of-N by it is
    better than one sample."""
    task = Parity(4, 4)
    prompts = task.sample(3, seed=1)
    assert prompts.w_star is not None
    tapes = prompts.w_star[:, None].repeat(1, task.dim + 1, 1)
    for place in range(task.dim):
        tapes[:, place, place] = 1 - tapes[:, place, place]
    loss = task.in_context_loss(prompts, tapes) * task.dim
    torch.testing.assert_close(loss, torch.tensor([2.0, 2, 2, 2, 2, 2, 1, 0]).expand(3, -1))
    half = torch.full((3, 1, task.dim), 0.5)
    torch.testing.assert_close(task.in_context_loss(prompts, half) * task.dim, torch.full((3, 1), 4 * 0.25))
    errors = task.metrics()["parity_error"](prompts, torch.cat((tapes, half), 1))
    torch.testing.assert_close(errors, torch.tensor([0.0, 0, 0, 0, 0, 0, 1, 0, 0.5]).expand(3, -1))
    decoder = StochasticDecoder(ParityAttention(task), BernoulliSampling(temperature=0.3))
    table = evaluate(decoder, task.prompts(64), steps=4, samples=32, techniques=["single", "best_of_n"])
    found = {key.technique: table[key].mean() for key in table.select(metric="parity_error").keys}
    assert found["best_of_n"] < found["single"] / 2


def test_continuous_noise_and_refusals() -> None:
    """Any rule takes it; other prompts do not fit."""
    task = Parity(4, 2)
    decoder = StochasticDecoder(ParityAttention(task), GaussianNoise(0.0))
    prompts = task.sample(2)
    assert prompts.w_star is not None
    assert torch.equal(decoder(prompts, steps=3, samples=1).thoughts[0, :, 0], prompts.w_star)
    with pytest.raises(ValueError, match=r"prompts: x: expected shape \[B, n, 5\]"):
        decoder(Prompts(torch.ones(1, 1, 4), torch.ones(1, 1)), steps=1, samples=1)
    with pytest.raises(ValueError, match="ones: expected an integer from 1 to 4, got 5"):
        Parity(4, 5)
    with pytest.raises(TypeError, match="task: expected a Parity"):
        ParityAttention(3)  # type: ignore[arg-type]  # wrong on purpose
