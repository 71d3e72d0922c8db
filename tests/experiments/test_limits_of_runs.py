"""What a run says of chains that diverge, of numbers too large, and of memory; what its record says of the machine."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

import ttc_fast as tf
from ttc_fast.cli.main import main
from ttc_fast.cli.screen import warnings
from ttc_fast.evaluation import evaluate
from ttc_fast.experiments import plan as plans
from ttc_fast.experiments.records import run_json
from ttc_fast.numerics import extension, memory
from ttc_fast.tasks.quadratic import quadratic
from ttc_fast.theory.allocation import bias_and_variance

SMALL = tf.RunConfig(coefficients="continuous", dim=3, examples=6, prompts=8, samples=4, steps=(2, 30), theory=False)


def largest_eigenvalue(config: tf.RunConfig) -> float:
    x = tf.LinearRegression(3, 6, label_noise=0.1).sample(8, seed=config.seed).x.double()
    return float(torch.linalg.eigvalsh(x.mT @ x / x.shape[1]).max())


@pytest.mark.parametrize(("step_size", "trust"), [(0.9, True), (20.0, False)])
def test_divergence_says_which_step_would_not(step_size: float, trust: bool) -> None:
    config = replace(SMALL, step_size=step_size)
    result = tf.run(config)
    below = result.stable_step["continuous"]
    assert below is not None
    assert below == pytest.approx(2 / largest_eigenvalue(config), rel=1e-5)
    told = " ".join(" ".join(warnings(result, "continuous")).split())
    assert f"with --step-size below {below:.3g}" in told
    assert ("trust the median" in told) == trust
    assert ("no figure is to be trusted" in told) == (not trust)
    assert tf.run(replace(config, step_size=0.99 * below)).unstable == {"continuous": 0}
    assert tf.run(replace(config, step_size=1.01 * below)).unstable["continuous"] > 0


def test_nobody_is_told_to_trust_a_median_that_is_no_number() -> None:
    """Chains of a few prompts that overflow leave NaN."""
    result = tf.run(replace(SMALL, step_size=0.9))
    values = result.table.values.copy()
    values[:, 0] = np.nan
    told = " ".join(warnings(replace(result, table=replace(result.table, values=values)), "continuous"))
    assert "median" not in told


def test_squares_beyond_float32_are_told() -> None:
    result = tf.run(replace(SMALL, noise_scale=1e25))
    assert "infinite or NaN" in " ".join(" ".join(warnings(result, "continuous")).split())
    assert warnings(tf.run(SMALL), "continuous") == []


def test_noise_that_diverges_by_itself_has_no_step_to_name() -> None:
    result = tf.run(replace(SMALL, rule=("rank_one",), strength=2.0))
    assert result.stable_step == {"continuous": None}
    assert "or less noise" in " ".join(" ".join(warnings(result, "continuous")).split())


def test_the_record_names_the_instruction_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for isa in extension.isas():
        monkeypatch.setenv(extension.ISA_VARIABLE, isa)
        assert json.loads(run_json(tf.run(SMALL)))["instruction_set"] == isa
    monkeypatch.setattr(extension, "module", None)
    assert json.loads(run_json(tf.run(replace(SMALL, backend="reference"))))["instruction_set"] is None


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["run", "--examples", "100000000"], "prompts, examples, dim: the prompts"),
        (["run", "--samples", "1000000000"], "samples: the candidates of one prompt"),
        (["run", "--dim", "100000", "--examples", "4"], "dim: the weights of the transformer"),
        (["run", "--steps", "10000000000", "--noise-schedule", "power:1"], "steps: the schedule"),
        (["plan", "--budget", "8", "--examples", "100000000"], "prompts, examples, dim: the prompts"),
    ],
)
def test_what_does_not_fit_is_refused_before_it_is_made(
    arguments: list[str], what: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(memory, "_limits", lambda: iter([("physical memory", 2**31)]))
    assert main(arguments) == 1
    err = capsys.readouterr().err.splitlines()[-1]
    assert f"ttc-fast: error: {what}" in err
    assert "2.15 GB" in err
    assert "; ask for " in err


def test_prompts_of_an_evaluation_come_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many a bank of candidates would hold, and to the bit the same."""
    decoder = tf.StochasticDecoder(tf.LinearAttention.gradient_descent(3, examples=6), tf.GaussianNoise(0.1))
    source: Any = tf.LinearRegression(3, 6).prompts(9)
    whole = tf.evaluate(decoder, source, steps=2, samples=3)
    sizes: list[int] = []
    part = type(source).part

    def noted(self: Any, start: int, stop: int) -> tf.Prompts:
        sizes.append(stop - start)
        made: tf.Prompts = part(self, start, stop)
        return made

    monkeypatch.setattr(type(source), "part", noted)
    monkeypatch.setattr(evaluate, "FEATURES", 2 * 18)
    assert np.array_equal(tf.evaluate(decoder, source, steps=2, samples=3).values, whole.values)
    assert max(sizes) == 2


def test_a_plan_in_parts_is_the_plan_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    config = tf.PlanConfig(64, dim=3, examples=6, prompts=20, longest=16)
    whole = tf.plan(config)
    monkeypatch.setattr(plans, "PART", 1)
    parts = tf.plan(config)
    assert (parts.best.steps, parts.best.samples, parts.unstable) == (
        whole.best.steps,
        whole.best.samples,
        whole.unstable,
    )
    assert parts.best.error == pytest.approx(whole.best.error)
    assert parts.median == pytest.approx(whole.median)
    assert parts.stable_step == pytest.approx(whole.stable_step)


def test_curves_in_the_eigenbasis_are_those_of_products() -> None:
    """A state that is not symmetric goes the other way."""
    prompts = tf.LinearRegression(3, 6, label_noise=0.1).sample(4, dtype=torch.float64)
    metric = quadratic(prompts, "prediction_risk")
    model = tf.LinearAttention.gradient_descent(3, step_size=0.4, dtype=torch.float64)
    state = model.prefill(prompts).linear.detach()
    rule = tf.GaussianNoise(tf.GeometricDecay(0.3, 0.9))
    fast = bias_and_variance(state, rule, metric, 12)
    both = torch.cat((state, state[:1] + torch.ones(3, 4).triu(1)))  # one of them makes all of them general
    metrics = type(metric)(*(torch.cat((part, part[:1])) for part in metric))
    slow = bias_and_variance(both, rule, metrics, 12)
    for one, other in zip(fast, slow):
        torch.testing.assert_close(one, other[:4])
