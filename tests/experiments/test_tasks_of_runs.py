"""``--task``: other prompts than linear regression's."""

from __future__ import annotations

from typing import Any, get_args

import pytest
import torch

import ttc_fast as tf
from ttc_fast.experiments.config import TaskName
from ttc_fast.tasks.registry import VARIANTS

SMALL: dict[str, Any] = {"dim": 3, "examples": 9, "samples": 8, "prompts": 4, "steps": (1, 3), "theory": False}


def test_every_task_has_a_name() -> None:
    assert set(VARIANTS) | {"linear"} == set(get_args(TaskName))


@pytest.mark.parametrize("task", sorted(VARIANTS))
def test_prompts_are_those_of_the_task(task: Any) -> None:
    """The error of the greedy chain at step 1, by hand from prompts that the library samples."""
    result = tf.run(tf.RunConfig(task=task, label_noise=0.0 if task == "max_margin" else 0.5, **SMALL))
    assert set(result.rules) == {"continuous"}
    kinds: dict[str, Any] = {
        "student": tf.HeavyTailedRegression(3, 9, 0.5), "laplace": tf.HeavyTailedRegression(3, 9, 0.5, "laplace"),
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


def test_refusals() -> None:
    cases: list[tuple[dict[str, Any], str]] = [
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
