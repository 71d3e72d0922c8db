"""A run on a GPU says what it says on the CPU, whatever its parts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import ttc_fast as tf
from evaluation_problems import assert_kernels_equal, candidates_problem, kernels
from ttc_fast.cli.main import main
from ttc_fast.estimators.table import Table
from ttc_fast.techniques.registry import TECHNIQUES

pytestmark = [
    pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch sees no GPU"),
    pytest.mark.usefixtures("any_algorithm"),
]
KINDS = ("continuous", "binary")


def run(kind: str, device: str, dim: int = 8, **settings: Any) -> Table:
    task = tf.LinearRegression(dim, 4 * dim, kind, label_noise=0.1)  # type: ignore[arg-type]  # one of two
    rule = tf.GaussianNoise(0.2) if kind == "continuous" else tf.BernoulliSampling()
    model = tf.LinearAttention.gradient_descent(dim, examples=4 * dim)
    decoder = tf.StochasticDecoder(model.to(device), settings.pop("rule", rule))
    asked: dict[str, Any] = {"steps": [1, 2, 5, 8], "samples": 300} | settings
    return tf.evaluate(decoder, task.sample(5).to(device), **asked)


def compared(kind: str, **settings: Any) -> None:
    found, wanted = run(kind, "cuda", **settings), run(kind, "cpu", **settings)
    assert found.keys == wanted.keys
    # Thoughts of unit size differ by a few roundings of 2^-24: 1e-5 of their errors, 1e-4 of what the errors leave.
    # A bit near a tie may be another one, of one of at least 40 samples.
    tolerance = 1e-3 if kind == "continuous" else 1 / 40
    np.testing.assert_allclose(found.values, wanted.values, rtol=tolerance, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dim", [3, 16, 33, 128])
def test_default_techniques(kind: str, dim: int) -> None:
    compared(kind, dim=dim)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", list(TECHNIQUES))
def test_every_technique(kind: str, name: str) -> None:
    settings: dict[str, Any] = {"techniques": [name], "samples": 40}
    if name == "ridge" and kind == "binary":
        pytest.skip("ridge is for rank-one noise")
    if name == "ridge":
        settings["rule"] = tf.RankOneNoise(0.05)
    try:
        run(kind, "cpu", **settings)
    except ValueError:
        pytest.skip("not for such coefficients")
    compared(kind, **settings)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("verifier", [tf.HeldOutLoss(4), tf.Oracle(), tf.SmallestNorm()])
def test_verifiers(kind: str, verifier: tf.Verifier) -> None:
    compared(kind, verifier=verifier)


@pytest.mark.parametrize("rule", [tf.RankOneNoise(0.05), tf.ElementwiseNoise(0.2), tf.SubsetSampling(3)])
def test_rules_of_the_authors(rule: tf.Rule) -> None:
    compared("binary" if rule.binary else "continuous", rule=rule)


@pytest.mark.parametrize("kind", KINDS)
def test_bits_do_not_depend_on_parts(kind: str) -> None:
    whole = run(kind, "cuda")
    for parts in ({"chunk": 1000}, {"bank": 3000}, {"chunk": 500, "bank": 5000}):
        assert np.array_equal(run(kind, "cuda", **parts).values, whole.values)


@pytest.mark.parametrize(("dim", "examples", "samples"), [(4, 9, 33), (70, 3, 5), (16, 64, 4096), (128, 130, 1000)])
def test_the_kernels_equal_the_extension(dim: int, examples: int, samples: int) -> None:
    given = candidates_problem(dim, examples, samples)
    found = [part.cpu() for part in kernels(*(part.cuda() for part in given))]
    assert_kernels_equal(found, kernels(*given), given[2])


def test_models_of_nonlinear_attention() -> None:
    task = tf.LinearRegression(5, 20, label_noise=0.1)
    heads = torch.randn(2, 12, 12, generator=torch.Generator().manual_seed(1)) / 10
    model = tf.AttentionTransformer(heads, heads.flip(0))
    tables = [
        tf.evaluate(
            tf.StochasticDecoder(model.to(device), tf.GaussianNoise(0.1)), task.sample(3).to(device), steps=[1, 4],
            samples=64,
        )
        for device in ("cpu", "cuda")
    ]  # fmt: skip
    np.testing.assert_allclose(tables[1].values, tables[0].values, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    "options",
    ["", "--rule rank_one subset --ones 4", "--method exact --coefficients continuous",
     "--start random", "--task max_margin --coefficients continuous"],
)  # fmt: skip
def test_command(options: str, tmp_path: Path) -> None:
    out = tmp_path / "run.json"
    command = ["run", "--device", "cuda", "--samples", "256", "--prompts", "4", "--json", str(out), *options.split()]
    assert main(command) == 0
    assert out.stat().st_size
