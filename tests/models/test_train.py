"""Training: objectives and their gradients, the same bits after an interruption, what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from ttc_fast import (
    AttentionTransformer,
    BernoulliSampling,
    GaussianNoise,
    LinearAttention,
    LinearRegression,
    LinearTransformer,
    Prompts,
    RankOneNoise,
    TrainConfig,
    load_model,
    save_model,
    train,
)
from ttc_fast.models import train as trainer
from ttc_fast.models.objectives import NO_NOISE, OBJECTIVES, Batch
from ttc_fast.models.start import RandomStart
from ttc_fast.models.tokens import token_matrix
from ttc_fast.models.train import derived_seed, learning_rate
from ttc_fast.numerics import rng

TASK = LinearRegression(3, 8, label_noise=0.1)
SHORT = TrainConfig(iterations=24, batch=8, evaluate_every=6, held_out=16, learning_rate=0.02, seed=3)


def batch(model: Any, **changes: Any) -> Batch:
    prompts = TASK.sample(4, seed=5, first_prompt=2, dtype=torch.float64)
    given: dict[str, Any] = {"seed": 9, "steps": 3, "step_size": 0.3, "rule": NO_NOISE} | changes
    return Batch(model, prompts, **given)


def descend(prompts: Prompts, w: Any, step_size: float) -> Any:
    """A step of gradient descent, in NumPy."""
    x, y = prompts.x.numpy(), prompts.y.numpy()
    return w - step_size * np.einsum("bni,bn->bi", x, np.einsum("bni,bi->bn", x, w) - y) / x.shape[1]


def test_objectives_by_hand() -> None:
    """Weights of gradient descent: each loss from the definition, in NumPy."""
    model = LinearAttention.gradient_descent(3, step_size=0.5, dtype=torch.float64)
    one = batch(model)
    assert one.prompts.w_star is not None
    w_star = one.prompts.w_star.numpy()
    found = {name: float(objective(one).detach()) for name, objective in OBJECTIVES.items()}
    w0 = RandomStart(9)(one.prompts).numpy()
    assert found["one_step"] == pytest.approx(np.square(descend(one.prompts, w0, 0.5) - w_star).sum(1).mean())
    w, losses = np.zeros((4, 3)), []
    for _ in range(3):
        losses.append(np.square(descend(one.prompts, w, 0.5) - descend(one.prompts, w, 0.3)).sum(1).mean())
        w = descend(one.prompts, w, 0.3)
    assert found["teacher_forcing"] == pytest.approx(np.mean(losses))
    w = np.zeros((4, 3))
    for _ in range(3):
        w = descend(one.prompts, w, 0.5)
    assert found["outcome"] == pytest.approx(np.square(w - w_star).sum(1).mean())
    assert found["prediction"] == pytest.approx(float(one.prompts.y[:, -1].square().mean()))  # its y-rows are zero


def test_prediction_reads_the_label_of_the_query() -> None:
    """V with 1 at (y, y), W with I at (x, w): f = sum_i y_i <x_i, x> / n, a step of descent from zero."""
    V, W = torch.zeros(2, 8, 8, dtype=torch.float64)
    V[3, 3], W[:3, 4:7] = 1.0, torch.eye(3)
    one = batch(LinearTransformer(V[None, None], W[None, None]))
    x, y = one.prompts.x.numpy(), one.prompts.y.numpy()
    guess = np.einsum("bn,bni,bi->b", y[:, :-1], x[:, :-1], x[:, -1]) / 7
    assert float(OBJECTIVES["prediction"](one).detach()) == pytest.approx(np.square(guess - y[:, -1]).mean())


@pytest.mark.parametrize("rule", [GaussianNoise(0.2), RankOneNoise(0.1)])
def test_gradients(rule: Any) -> None:
    """Against finite differences in float64 along random directions; among others through a stochastic chain."""
    generator = torch.Generator().manual_seed(0)
    V, W = 0.2 * torch.randn(2, 2, 8, 8, generator=generator, dtype=torch.float64)

    def loss(name: str, kind: Any) -> Any:
        def of(V: Tensor, W: Tensor) -> Tensor:
            model = kind(V.detach(), W.detach())
            del model.V, model.W  # parameters; now plain tensors, of which gradcheck knows
            model.V, model.W = V, W
            return OBJECTIVES[name](batch(model, rule=rule))

        return of

    for name in OBJECTIVES:
        for kind in (AttentionTransformer, lambda V, W: LinearTransformer(V, W, looped=2)):
            given = (V.clone().requires_grad_(), W.clone().requires_grad_())
            assert torch.autograd.gradcheck(loss(name, kind), given, atol=1e-6, fast_mode=True)


def test_outcome_is_the_decode() -> None:
    """The chain that is trained through has the thoughts of the decoder, noise included."""
    from ttc_fast import StochasticDecoder

    model = AttentionTransformer.initial(3, scale=0.5).double()
    one = batch(model, rule=GaussianNoise(0.3))
    thoughts = StochasticDecoder(model, GaussianNoise(0.3))(one.prompts, steps=3, samples=1, seed=9).thoughts
    assert one.prompts.w_star is not None
    error = (thoughts[0, :, 0] - one.prompts.w_star).square().sum(1).mean()
    assert float(OBJECTIVES["outcome"](one).detach()) == pytest.approx(float(error), rel=1e-10)


@pytest.mark.parametrize("pool", [0, 20])
def test_same_bits_after_an_interruption(pool: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Interrupted twice, at evaluations and between them: weights, curve and files are those of one go."""
    monkeypatch.setattr(trainer, "KEEP_EVERY", 0.0)
    config = replace(SHORT, pool=pool, schedule="cosine", warmup=4, l2=1e-3, weight_decay=0.01, clip=5.0)
    model = AttentionTransformer.initial(3, heads=2, seed=1)
    whole = train(model, TASK, config, folder=tmp_path / "whole")
    assert [line["iteration"] for line in whole.curve] == [6, 12, 18, 24]
    parts = tmp_path / "parts"
    for after in (1, 7, 15):
        _interrupted(AttentionTransformer.initial(3, heads=2, seed=1), config, parts, after)
    again = AttentionTransformer.initial(3, heads=2, seed=1)
    resumed = train(again, TASK, config, folder=parts)
    assert resumed.curve == whole.curve
    assert torch.equal(again.V, model.V)
    assert torch.equal(again.W, model.W)
    for name in ("model.safetensors", "state.safetensors", "curve.jsonl"):
        assert (parts / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    lines = [json.loads(line) for line in (parts / "curve.jsonl").read_text().splitlines()]
    assert lines == list(whole.curve)
    done = train(AttentionTransformer.initial(3, heads=2, seed=1), TASK, config, folder=parts)  # nothing to do
    assert done.curve == whole.curve
    assert torch.equal(done.model.V, model.V)


def _interrupted(model: Any, config: TrainConfig, folder: Path, after: int) -> None:
    """Train, and stop after so many iterations of this go."""
    calls = 0

    def stop(stage: str, share: float) -> None:
        nonlocal calls
        calls += 1
        if calls == after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(model, TASK, config, folder=folder, progress=stop)


def test_settings_matter() -> None:
    """Each of them changes the weights; those of the seed alone do not depend on PyTorch's generator."""

    def trained(config: TrainConfig) -> Tensor:
        model = LinearTransformer.initial(3, seed=1)
        train(model, TASK, config)
        return model.V.detach().clone()

    first = trained(SHORT)
    torch.manual_seed(5)
    assert torch.equal(trained(SHORT), first)
    changes: list[dict[str, Any]] = [
        {"seed": 4}, {"batch": 9}, {"pool": 30}, {"learning_rate": 0.01}, {"schedule": "linear"}, {"warmup": 3},
        {"l2": 0.1}, {"weight_decay": 0.1}, {"clip": 0.1}, {"objective": "teacher_forcing"}, {"objective": "outcome"},
        {"objective": "prediction"},
    ]  # fmt: skip
    for change in changes:
        assert not torch.equal(trained(replace(SHORT, **change)), first), change


def test_early_stopping_takes_the_best_weights() -> None:
    """A rate at which training gets worse again."""
    config = replace(SHORT, iterations=600, learning_rate=0.5, patience=3, pool=4)
    model = LinearTransformer.initial(3, seed=1)
    trained = train(model, TASK, config)
    errors = [line["held_out"] for line in trained.curve]
    assert len(errors) == 4 + errors.index(min(errors))
    assert trained.iterations == trained.curve[-1]["iteration"] < 600
    held_out = TASK.sample(16, seed=derived_seed(3, 1))
    loss = OBJECTIVES["one_step"](Batch(model, held_out, derived_seed(3, 1), 8, None, NO_NOISE))
    assert float(loss.detach()) == min(errors)


def test_schedule() -> None:
    config = replace(SHORT, iterations=10, warmup=2, learning_rate=1.0)
    rates = [learning_rate(replace(config, schedule="linear"), i) for i in range(10)]
    np.testing.assert_allclose(rates, [0.5, 1, 1, *(1 - k / 8 for k in range(1, 8))])
    assert learning_rate(replace(config, schedule="cosine"), 6) == pytest.approx(0.5)
    assert learning_rate(config, 9) == 1


def test_one_step_finds_the_best_step() -> None:
    """From zero weights, 600 iterations of fresh prompts: the loss of eta = n/(n+d+1), 2 d (d+1)/(n+d+1), to 15 % (the
    noise of 4,096 held-out prompts is 2 %), where doing nothing gives 2 d."""
    model = LinearTransformer.initial(3)
    config = TrainConfig(iterations=600, batch=128, learning_rate=0.02, schedule="cosine", held_out=4096)
    trained = train(model, LinearRegression(3, 12), config)
    assert trained.curve[-1]["held_out"] == pytest.approx(2 * 3 * 4 / 16, rel=0.15)


def test_files_of_models(tmp_path: Path) -> None:
    mlp = (torch.ones(5, 3), torch.zeros(5), torch.ones(5, 3))
    V, W = torch.randn(2, 2, 8, 8, generator=torch.Generator().manual_seed(0))
    models: list[Any] = [
        LinearAttention.gradient_descent(3, step_size=0.5, dtype=torch.float64),
        LinearTransformer(V, W, looped=3, causal=True),
        LinearTransformer(V[None], W[None]),
        AttentionTransformer(V, W, activation="relu", scale=2.0, mlp=mlp, mlp_activation="relu"),
    ]
    prompts = TASK.sample(2)
    for model in models:
        save_model(model, tmp_path / "m.safetensors", {"note": "ours"})
        found = load_model(tmp_path / "m.safetensors")
        assert repr(found) == repr(model)
        assert found.settings == model.settings
        w = torch.ones(2, 1, 3, dtype=model.V.dtype)
        with torch.no_grad():
            one = model.output(model.prefill(prompts), w)
            assert torch.equal(found.output(found.prefill(prompts), w), one)
    with pytest.raises(TypeError, match=r"model: expected one of ours, or a torch\.nn\.Module with settings"):
        save_model(object(), tmp_path / "m.safetensors")
    for content in (
        b"",
        b"\x08\0\0\0\0\0\0\0{}      ",
        b"no tensors at all",
        (tmp_path / "m.safetensors").read_bytes()[:-7],
    ):
        (tmp_path / "x.safetensors").write_bytes(content)
        with pytest.raises(ValueError, match=r"x\.safetensors: expected"):
            load_model(tmp_path / "x.safetensors")


def test_refusals(tmp_path: Path) -> None:
    model = LinearTransformer.initial(3)
    with pytest.raises(ValueError, match="objective: expected one of"):
        TrainConfig(objective="best")  # type: ignore[arg-type]  # wrong on purpose
    with pytest.raises(ValueError, match="rule: expected one of continuous coefficients"):
        train(model, TASK, replace(SHORT, objective="outcome"), rule=BernoulliSampling())
    with pytest.raises(ValueError, match=r"prompts: x: expected shape \[B, n, 3\]"):
        train(model, LinearRegression(4, 8), SHORT)
    with pytest.raises(ValueError, match="learning_rate: expected one with which the loss is finite"):
        train(model, TASK, replace(SHORT, learning_rate=1e30))
    train(LinearTransformer.initial(3), TASK, SHORT, folder=tmp_path)
    with pytest.raises(ValueError, match="folder: expected an empty one, or one of the same training"):
        train(LinearTransformer.initial(3), TASK, replace(SHORT, batch=9), folder=tmp_path)
    with pytest.raises(ValueError, match="with another initial"):
        train(LinearTransformer.initial(3, seed=7), TASK, SHORT, folder=tmp_path)
    with pytest.raises(TypeError, match="model: expected a model that can be trained"):
        train(object(), TASK, SHORT)  # type: ignore[arg-type]  # wrong on purpose


@pytest.mark.parametrize("pool", [0, 20])
def test_softmax_is_trained_as_by_a_plain_loop(pool: int) -> None:
    """The settings of arXiv 2606.03217: Adam and L2 on the literal layer, w_0 fresh at every iteration, and prompts of
    the pool with their x, y and w*. Weights after five iterations, in float32."""
    task, config = LinearRegression(3, 12), TrainConfig(iterations=5, batch=8, l2=1e-2, pool=pool, seed=2)
    model = AttentionTransformer.initial(3, scale=0.3)
    V, W = (weight[0].detach().clone().requires_grad_() for weight in (model.V, model.W))
    optimizer, key = torch.optim.Adam([V, W], lr=config.learning_rate), derived_seed(config.seed, 0)
    for first in range(0, 40, 8):
        fresh = task.sample(8, seed=key, first_prompt=first)
        word = rng.philox(rng.counter(rng.Stream.TRAINING, prompt=torch.arange(first, first + 8)), key)[0]
        whole, chosen = (task.sample(pool, seed=key), word * pool >> 32) if pool else (fresh, torch.arange(8))
        w0, w_star = RandomStart(key)(fresh), whole.w_star[chosen]  # type: ignore[index]  # they are drawn with it
        Z = token_matrix(whole.x[chosen], whole.y[chosen], w0)
        attention = torch.softmax(torch.einsum("bil,ij,bj->bl", Z[:, :, :-1], W, Z[:, :, -1]) / 8**0.5, 1)
        token = Z[:, :, -1] + torch.einsum("ij,bjl,bl->bi", V, Z[:, :, :-1], attention)
        loss = (token[:, 4:-1] - w_star).square().sum(1).mean() + 1e-2 * (V.square().sum() + W.square().sum())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    train(model, task, config)
    torch.testing.assert_close(model.V[0], V, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(model.W[0], W, rtol=1e-4, atol=1e-5)
