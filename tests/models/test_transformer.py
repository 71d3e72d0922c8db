"""Deep transformers: their literal forward on whole sequences, keys and values that all samples share, histories."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from ttc_fast import (
    BernoulliSampling,
    ElementwiseNoise,
    GaussianNoise,
    LinearRegression,
    RandomStart,
    RankOneNoise,
    StochasticDecoder,
    SubsetSampling,
    TrainConfig,
    Transformer,
    evaluate,
    load_model,
    save_model,
    train,
)
from ttc_fast.decoding.rules import Rule
from ttc_fast.models.objectives import OBJECTIVES, Batch
from ttc_fast.models.tokens import appended, token_matrix

D, N = 4, 9
KINDS: list[dict[str, Any]] = [
    {},
    {"norm": "rms", "causal": False, "positions": N + 1},
    {"norm": "none", "mlp": 0, "heads": 4},
    {"history": True, "positions": 20, "layers": 1},
    {"history": True, "causal": False},
]


def model(**settings: Any) -> Transformer:
    """Small, in float64, every parameter drawn, biases and gains too."""
    found = Transformer(D, **({"layers": 2, "heads": 2, "width": 8} | settings)).double()
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in found.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return found


def plain_chain(one: Transformer, rule: Rule, samples: int, steps: int, seed: int) -> Tensor:
    """Thoughts ``[steps, B, N, d]`` by the whole sequence, for every sample, again at every step: the plain loop."""
    prompts = LinearRegression(D, N, label_noise=0.2).sample(3, seed=1, dtype=torch.float64)
    x, y = (part.repeat_interleave(samples, 0) for part in (prompts.x, prompts.y))
    w, Z, thoughts = RandomStart(5)(prompts).repeat_interleave(samples, 0), None, []
    for t in range(steps):
        Z = token_matrix(x, y, w) if Z is None else appended(Z, w)
        with torch.no_grad():
            u = one.last_token(Z, N)[:, D + 1 : -1]
        draws = _draws(t, samples, seed)
        w = rule.thought(u.view(3, samples, D), w.view(3, samples, D), draws).flatten(0, 1)
        thoughts.append(w.view(3, samples, D))
    return torch.stack(thoughts)


def _draws(step: int, samples: int, seed: int) -> Any:
    from ttc_fast.decoding.draws import Block, Draws

    block = Block(
        step // 4, prompt=torch.arange(3), sample=torch.arange(samples), dim=D, dtype=torch.float64, seed=seed
    )
    return Draws(step, block)


@pytest.mark.parametrize("rule", [GaussianNoise(0.1), RankOneNoise(0.1), ElementwiseNoise(0.1)])
@pytest.mark.parametrize("settings", KINDS)
def test_decode_is_the_plain_loop(settings: dict[str, Any], rule: Any) -> None:
    """float64, five steps: 1e-12 of thoughts of order one."""
    one = model(**settings)
    prompts = LinearRegression(D, N, label_noise=0.2).sample(3, seed=1, dtype=torch.float64)
    found = StochasticDecoder(one, rule, RandomStart(5))(prompts, steps=[1, 2, 3, 4, 5], samples=6, seed=2).thoughts
    torch.testing.assert_close(found, plain_chain(one, rule, 6, 5, 2), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("rule", [BernoulliSampling(temperature=0.5), SubsetSampling(2)])
def test_binary_rules(rule: Any) -> None:
    """The same bits as the plain loop: no draw of these 90 lies within 1e-12 of its boundary."""
    one = model(history=True)
    prompts = LinearRegression(D, N, label_noise=0.2).sample(3, seed=1, dtype=torch.float64)
    found = StochasticDecoder(one, rule, RandomStart(5))(prompts, steps=[1, 2, 3], samples=10, seed=2).thoughts
    assert torch.equal(found, plain_chain(one, rule, 10, 3, 2))
    assert 0 < found.mean() < 1


def test_thoughts_see_what_they_should() -> None:
    """The history changes the second thought's output, and only with the switch; the order of examples matters to
    positions, and without them and with full attention not."""
    prompts = LinearRegression(D, N).sample(2, seed=1, dtype=torch.float64)
    w = torch.randn(2, 1, D, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for history in (False, True):
        one = model(history=history)
        state = one.prefill(prompts)
        after = []
        for first in (w, -w):
            output = one.begin(state)
            output(first)
            after.append(output(w))
        assert torch.equal(*after) != history
        assert torch.equal(one.output(state, w), one.begin(state)(w))
    turned = prompts.with_examples(0, N)
    object.__setattr__(turned, "x", turned.x.flip(1))
    object.__setattr__(turned, "y", turned.y.flip(1))
    for causal, positions, same in ((False, 0, True), (True, 0, False), (False, 12, False)):
        one = model(causal=causal, positions=positions)
        a, b = (one.output(one.prefill(each), w) for each in (prompts, turned))
        assert torch.allclose(a, b, rtol=1e-12) == same


@pytest.mark.parametrize("history", [False, True])
def test_bits_of_float32(history: bool) -> None:
    """The same for other chunks of samples and prompts and other numbers of threads; within 1e-5 of float64."""
    one = Transformer(5, layers=2, heads=2, width=24, history=history)
    decoder, prompts = StochasticDecoder(one, GaussianNoise(0.1)), LinearRegression(5, 17).sample(4)
    whole = decoder(prompts, steps=[1, 4], samples=70, seed=3).thoughts
    parts = [decoder(prompts.part(i, i + 1), steps=[1, 4], samples=21, first_sample=13, seed=3) for i in range(4)]
    assert torch.equal(torch.cat([part.thoughts for part in parts], 1), whole[:, :, 13:34])
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(3 - min(threads, 2))
        assert torch.equal(decoder(prompts, steps=[1, 4], samples=70, seed=3).thoughts, whole)
    finally:
        torch.set_num_threads(threads)
    wide = LinearRegression(5, 17).sample(4, dtype=torch.float64)
    exact = StochasticDecoder(one.double(), GaussianNoise(0.1))(wide, steps=[1, 4], samples=70, seed=3).thoughts
    torch.testing.assert_close(whole.double(), exact, rtol=0, atol=1e-5)


def test_training_through_a_history() -> None:
    """The chain that is trained through has the thoughts of the decoder, and a gradient in every parameter that
    matters; teacher forcing shows the thoughts before, too."""
    one = model(history=True)
    prompts = LinearRegression(D, N).sample(3, seed=1, dtype=torch.float64)
    batch = Batch(one, prompts, 9, 3, 0.3, GaussianNoise(0.2))
    loss = OBJECTIVES["outcome"](batch)
    thoughts = StochasticDecoder(one, GaussianNoise(0.2))(prompts, steps=3, samples=1, seed=9).thoughts
    assert prompts.w_star is not None
    error = (thoughts[0, :, 0] - prompts.w_star).square().sum(1).mean()
    assert float(loss.detach()) == pytest.approx(float(error), rel=1e-10)
    loss.backward()
    for name, parameter in one.named_parameters():
        assert parameter.grad is not None, name
        assert bool(parameter.grad.abs().amax() > 1e-8), name
    forced = float(OBJECTIVES["teacher_forcing"](batch).detach())
    one.history = False
    assert forced != float(OBJECTIVES["teacher_forcing"](batch).detach())


def test_training_learns() -> None:
    """200 iterations at d = 2, n = 8 halve the loss of doing nothing, 2 d, at least."""
    one = Transformer(2, layers=2, heads=2, width=16, causal=False)
    config = TrainConfig(iterations=200, batch=32, learning_rate=5e-3, held_out=512)
    assert train(one, LinearRegression(2, 8), config).curve[-1]["held_out"] < 2


def test_files_and_evaluation(tmp_path: Path) -> None:
    one = model(positions=12, mlp=5).float()
    save_model(one, tmp_path / "m.safetensors")
    found = load_model(tmp_path / "m.safetensors")
    assert repr(found) == repr(one)
    table = evaluate(
        StochasticDecoder(found, GaussianNoise(0.1)), LinearRegression(D, N).sample(2), steps=[2], samples=4,
        techniques=["mean", "beam_search"],
    )  # fmt: skip
    assert len(table.keys) > 2
    save_model(one.double(), tmp_path / "m.safetensors")
    assert load_model(tmp_path / "m.safetensors").qkv.dtype == torch.float64


def test_refusals(tmp_path: Path) -> None:
    prompts = LinearRegression(D, N).sample(1)
    with pytest.raises(ValueError, match="width: expected a multiple of heads=3, got 8"):
        Transformer(D, heads=3, width=8)
    with pytest.raises(ValueError, match="norm: expected one of 'layer', 'rms', 'none'"):
        Transformer(D, norm="batch")  # type: ignore[arg-type]  # wrong on purpose
    with pytest.raises(ValueError, match="positions: expected at most 9 tokens, examples and thoughts, got 10"):
        model(positions=N).prefill(prompts)
    decoder = StochasticDecoder(model(history=True, positions=N + 2).float(), GaussianNoise(0.1))
    decoder(prompts, steps=2, samples=2)
    with pytest.raises(ValueError, match="positions: expected at most 11 tokens"):
        decoder(prompts, steps=3, samples=2)
    state, w0 = decoder.model.prefill(prompts), torch.zeros(1, D)
    with pytest.raises(ValueError, match=r"first_step: expected 0, as thoughts of Transformer\(.* got 1"):
        decoder.decode(state, w0, steps=[2], samples=1, first_step=1)
    with pytest.raises(ValueError, match="model: expected one whose thoughts see no thoughts before them"):
        evaluate(decoder, prompts, steps=[2], samples=2, techniques=["beam_search"])
    (tmp_path / "m.safetensors").write_bytes(b"no tensors")
    with pytest.raises(ValueError, match=r"m\.safetensors: expected a \.safetensors file"):
        load_model(tmp_path / "m.safetensors")
