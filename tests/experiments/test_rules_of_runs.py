"""Decoding rules and tasks by the settings of a run."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ttc_fast import (
    BernoulliSampling,
    ElementwiseNoise,
    GaussianNoise,
    GeometricDecay,
    Key,
    LinearAttention,
    LinearRegression,
    PowerLawDecay,
    RankOneNoise,
    RunConfig,
    StochasticDecoder,
    SubsetSampling,
    evaluate,
    run,
)
from ttc_fast.cli.main import main
from ttc_fast.decoding.rules import Rule
from ttc_fast.experiments.presets import PRESETS

SMALL = RunConfig(dim=6, examples=12, prompts=3, samples=4, steps=(1, 3), theory=False)


@pytest.mark.parametrize(
    ("settings", "rules"),
    [
        ({}, {"continuous": GaussianNoise(0.2), "binary": BernoulliSampling()}),
        ({"rule": ("rank_one",)}, {"continuous": RankOneNoise(0.05)}),
        ({"rule": ["rank_one"], "strength": 0.1}, {"continuous": RankOneNoise(0.1)}),
        ({"rule": ("elementwise",), "noise_scale": 0.3}, {"continuous": ElementwiseNoise(0.3)}),
        ({"rule": "subset", "ones": 2}, {"binary": SubsetSampling(2)}),
        ({"rule": ("subset",), "nonzero": 3}, {"binary": SubsetSampling(3)}),
        (
            {"rule": ("rank_one", "subset"), "nonzero": 3, "noise_schedule": "geometric:0.5"},
            {"continuous": RankOneNoise(GeometricDecay(0.05, 0.5)), "binary": SubsetSampling(3)},
        ),
        (
            {"noise_schedule": "power:1", "sample_at": "last_step"},
            {
                "continuous": GaussianNoise(PowerLawDecay(0.2, 1.0)),
                "binary": BernoulliSampling(sample_at="last_step"),
            },
        ),
        (
            {"rule": ("rank_one",), "coefficients": "both", "nonzero": 1},
            {"continuous": RankOneNoise(0.05)},
        ),
        ({"rule": ("rank_one", "subset"), "ones": 2, "coefficients": "binary"}, {"binary": SubsetSampling(2)}),
    ],
)
def test_rules(settings: dict[str, Any], rules: dict[str, Rule]) -> None:
    result = run(replace(SMALL, **settings))
    assert result.rules == rules
    assert {key.coefficients for key in result.table.keys} == set(rules)
    assert result.config.coefficients == (next(iter(rules)) if len(rules) == 1 else "both")


def test_a_run_is_an_evaluation() -> None:
    """With every setting of the task that the command line knows."""
    settings: dict[str, Any] = {"covariance": (2.0, 1.0, 0.5, 0.5, 0.25, 0.25), "prior": 2.0, "nonzero": 3}
    config = replace(SMALL, coefficients="continuous", **settings, metric=("error_norm",), support="spread")
    result = run(config)
    task = LinearRegression(
        6, 12, spectrum=settings["covariance"], label_noise=0.1, prior=2.0, nonzero=3, support="spread"
    )
    assert result.config.step_size is not None
    model = LinearAttention.gradient_descent(6, step_size=result.config.step_size)
    decoder = StochasticDecoder(model, GaussianNoise(0.2))
    table = evaluate(decoder, task.sample(3), steps=(1, 3), samples=4, techniques=["mean"], metrics=["error_norm"])
    for metric in ("squared_error", "error_norm"):
        key = Key("continuous", "mean", 3, 4, metric)
        np.testing.assert_array_equal(result.table[key], table[key])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rule": ("gaussian", "rank_one")}, "rule: expected one for continuous coefficients, got gaussian and"),
        ({"rule": ("laplace",)}, "rule: expected one of 'gaussian', 'rank_one'"),
        ({"strength": 0.1}, "strength: expected none without the rule rank_one, got 0.1; leave it out, or add"),
        ({"rule": ("rank_one",), "noise_scale": 0.1}, "noise_scale: expected none without the rule gaussian or"),
        ({"rule": ("subset",), "ones": 2, "link": "clip"}, "link: expected none without the rule bernoulli, got"),
        ({"rule": ("subset",), "coefficients": "continuous"}, "rule: expected one for continuous coefficients, got"),
        ({"ones": 2}, "ones: expected none without the rule subset, got 2; leave it out, or add --rule subset"),
        ({"rule": ("subset",)}, "ones: expected the number of ones that the rule subset draws, got none; add --ones"),
        ({"rule": ("subset",), "ones": 7}, "ones: expected at most the 6 coefficients, got 7"),
        ({"rule": ("subset",), "ones": 2, "temperature": 0.1}, "temperature: expected none without the rule bernoulli"),
        ({"noise_schedule": "linear:3"}, "noise_schedule: expected constant, geometric:RATIO or power:EXPONENT, got"),
        ({"noise_schedule": "geometric:half"}, "noise_schedule: expected constant, geometric:RATIO"),
        ({"noise_schedule": "geometric:-1"}, "ratio: expected a finite number of at least 0, got -1.0"),
        ({"prior": 0.5}, "prior: expected one kind of coefficients with it, got 'both'; say which"),
        ({"covariance": (1.0, 2.0)}, "covariance: expected a number, or 6 eigenvalues (dim), got 2"),
        ({"metric": ("error",)}, "metric: expected one of 'squared_error'"),
        ({"nonzero": 9}, "nonzero: expected an integer from 1 to 6, got 9"),
    ],
)  # fmt: skip
def test_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=re.escape(message)):
        run(replace(SMALL, **settings))


def test_a_file_brings_its_own_truth(tmp_path: Path) -> None:
    np.savez(tmp_path / "prompts.npz", x=np.ones((2, 3, 2)), y=np.ones((2, 3)))
    config = replace(SMALL, dim=None, examples=None, prompts=None, prompts_file=tmp_path / "prompts.npz")
    run(config)
    with pytest.raises(ValueError, match="nonzero: expected none with a prompts file, got 1; leave it out"):
        run(replace(config, nonzero=1))


@pytest.mark.parametrize("name", PRESETS)
def test_presets(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Its settings are the defaults, and other options change them; in either spelling."""
    few = ["--prompts", "2", "--samples", "4", "--budgets", "1", "4", "--steps", "1", "3", "--no-theory", "--quiet"]
    assert main(["run", "--preset", name, *few]) == 0
    assert main(["run", *few, f"--preset={name}"]) == 0
    found = run(replace(PRESETS[name], prompts=2, samples=4, budgets=(1, 4), steps=(1, 3), theory=False))
    assert found.config.dim == 50
    assert found.config.metric == PRESETS[name].metric
    assert {key.metric for key in found.table.keys} >= set(PRESETS[name].metric)


def test_unknown_preset(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--preset", "thesis"]) == 1
    assert "preset: expected one of 'paper', 'paper_binary', got 'thesis'" in capsys.readouterr().err
    assert main(["run", "--preset"]) == 1
