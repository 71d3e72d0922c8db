"""``--task``: other prompts than linear regression's."""

from __future__ import annotations

from typing import Any, get_args

import pytest
import torch

import ttc_fast as tf
from ttc_fast.experiments.config import TaskName
from ttc_fast.experiments.model import model_of
from ttc_fast.tasks.registry import VARIANTS

SMALL: dict[str, Any] = {"dim": 3, "examples": 9, "samples": 8, "prompts": 4, "steps": (1, 3), "theory": False}


def test_every_task_has_a_name() -> None:
    assert set(VARIANTS) == set(get_args(TaskName))


@pytest.mark.parametrize("task", sorted(set(VARIANTS) - {"linear", "parity"}))
def test_prompts_are_those_of_the_task(task: Any) -> None:
    """The error of the greedy chain at step 1, by hand from prompts that the library samples."""
    result = tf.run(tf.RunConfig(task=task, label_noise=0.0 if task == "max_margin" else 0.5, **SMALL))
    assert set(result.rules) == {"continuous"}
    kinds: dict[str, Any] = {
        "student": tf.HeavyTailedRegression(3, 9, 0.5), "laplace": tf.HeavyTailedRegression(3, 9, 0.5, "laplace"),
        "two_layer": tf.TwoLayerNetwork(3, 9, label_noise=0.5), "tree": tf.DecisionTree(3, 9, label_noise=0.5),
        "logistic": tf.LogisticRegression(3, 9, 2.0), "max_margin": tf.LogisticRegression(3, 9, None, "max_margin"),
    }  # fmt: skip
    made = kinds[task] if task in kinds else tf.ShiftedRegression(3, 9, task, label_noise=0.5)
    prompts: Any = made.sample(4, seed=0)
    if task in ("logistic", "max_margin"):
        model: Any = tf.LogisticDescent(3, 1.0)
        metric = "direction_error"
        assert "LogisticDescent" in result.transformer
        assert result.table.select(metric="margin", technique="best_of_n").keys
    else:
        model, metric = tf.LinearAttention.gradient_descent(3, step_size=result.config.step_size), "squared_error"
        assert "linear attention" in result.transformer
    with torch.no_grad():
        w = model.output(model.prefill(prompts), torch.zeros(4, 1, 3))
    by_hand = {"direction_error": 1 - torch.cosine_similarity(w[:, 0], prompts.w_star, dim=1),
               "squared_error": (w[:, 0] - prompts.w_star).square().mean(1)}[metric]  # fmt: skip
    got = result.table[tf.Key("continuous", "greedy", 1, 1, metric)]
    torch.testing.assert_close(torch.from_numpy(got).float(), by_hand, rtol=1e-4, atol=1e-5)


def test_best_of_n_trusts_the_loss_of_the_task() -> None:
    """The logistic loss of the candidates, not their squares."""
    result = tf.run(tf.RunConfig(task="logistic", technique=("best_of_n",), **SMALL))
    prompts = tf.LogisticRegression(3, 9, 10.0).sample(4)
    decoder = tf.StochasticDecoder(tf.LogisticDescent(3, 1.0), tf.GaussianNoise(0.2))
    w = decoder(prompts, steps=[3], samples=8).thoughts[0]
    loss = torch.nn.functional.softplus(-(w @ prompts.x.mT) * prompts.y[:, None]).mean(2)
    best = w[torch.arange(4), loss.argmin(1)]
    error = 1 - torch.cosine_similarity(best, prompts.w_star, dim=1)  # type: ignore[arg-type]  # it is known
    got = result.table[tf.Key("continuous", "best_of_n", 3, 8, "direction_error")]
    torch.testing.assert_close(torch.from_numpy(got).float(), error, rtol=1e-4, atol=1e-5)


def test_parity() -> None:
    """d = 7: four bits and three nodes, right without noise from the third thought on."""
    result = tf.run(tf.RunConfig(task="parity", dim=7, nonzero=4, samples=8, prompts=16, steps=(2, 3), temperature=0.0))
    assert set(result.rules) == {"binary"}
    assert (result.config.dim, result.config.examples) == (7, 1)
    assert result.transformer == "ParityAttention(bits=4, ones=4), n = 1"
    found = {step: result.table[tf.Key("binary", "greedy", step, 1, "parity_error")].mean() for step in (2, 3)}
    assert found[3] == 0 < found[2]
    assert tf.run(result.config).table[tf.Key("binary", "greedy", 2, 1, "parity_error")].mean() == found[2]


def test_weights_of_another_task() -> None:
    """P of a law in closed form: near n / (n + d + 1) I for x ~ N(0, I) and other n; of rotated skewed features a
    multiple of I that is smaller; decoded with as any weights."""

    def preconditioner(**settings: Any) -> Any:
        config = tf.RunConfig(dim=3, examples=9, label_noise=0.0, **settings)
        return -loaded(config).V[4:-1, :3].detach()

    def loaded(config: tf.RunConfig) -> tf.LinearAttention:
        model: tf.LinearAttention = model_of(config, None, torch.device("cpu"))
        return model

    # From 4,096 prompts, whose moments of fourth order have errors of some 3 %: 5 standard errors
    for settings, size in (({"train_examples": 20}, 20 / 24), ({"train_task": "linear"}, 9 / 13)):
        torch.testing.assert_close(preconditioner(**settings), size * torch.eye(3), rtol=0, atol=0.04)
    skewed = preconditioner(train_task="skewed")
    assert float(skewed.diagonal().mean()) < 0.6
    torch.testing.assert_close(skewed, skewed.diagonal().mean() * torch.eye(3), rtol=0, atol=0.06)
    result = tf.run(tf.RunConfig(task="sphere", train_task="linear", train_examples=20, **SMALL))
    assert "trained weights" in result.transformer
    model = loaded(tf.RunConfig(dim=3, train_task="linear", train_examples=20, label_noise=0.1))
    prompts = tf.ShiftedRegression(3, 9, "sphere", label_noise=0.1).sample(4)
    assert prompts.w_star is not None
    with torch.no_grad():
        w = model.output(model.prefill(prompts), torch.zeros(4, 1, 3))[:, 0]
    got = result.table[tf.Key("continuous", "greedy", 1, 1, "squared_error")]
    torch.testing.assert_close(torch.from_numpy(got).float(), (w - prompts.w_star).square().mean(1))


def test_refusals() -> None:
    parity: dict[str, Any] = {"task": "parity", "dim": 7, "nonzero": 4}
    cases: list[tuple[dict[str, Any], str]] = [
        (parity | {"examples": 9}, "examples: expected none for the task parity, got 9"),
        ({"task": "parity", "examples": None}, "nonzero: expected the number of bits that the task parity is of"),
        (parity | {"examples": None, "nonzero": 5}, "nonzero: expected an integer from 1 to 4"),
        (parity | {"examples": None, "coefficients": "continuous"}, "coefficients: expected binary ones"),
        (parity | {"examples": None, "rule": ("gaussian",)}, "coefficients: expected binary ones"),
        (parity | {"examples": None, "label_noise": 0.5}, "label_noise: expected none for the task parity"),
        ({"train_task": "sphere", "step_size": 0.5}, "train_task: expected none with step_size=0.5"),
        ({"train_examples": 5, "task": "logistic"}, "train_examples: expected none with the task logistic"),
        ({"train_task": "logistic"}, "train_task: expected none with the task linear, whose"),
        ({"task": "circles"}, "task: expected one of 'linear', 'skewed'"),
        ({"task": "sphere", "nonzero": 2}, "nonzero: expected none with the task sphere"),
        ({"task": "sphere", "coefficients": "binary"}, "coefficients: expected continuous ones for the task sphere"),
        ({"task": "sphere", "rule": ("bernoulli",)}, "coefficients: expected continuous ones for the task sphere"),
        ({"task": "sphere", "metric": ("margin",)}, "metric: expected one of"),
        ({"task": "max_margin", "label_noise": 0.5}, "target: expected 'direction' with sharpness"),
    ]
    for changes, message in cases:
        with pytest.raises(ValueError, match=message):
            tf.run(tf.RunConfig(**(SMALL | changes)))
