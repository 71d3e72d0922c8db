"""Simulation against theory, and what a run, a plan and a picture show of it.

The comparisons are Student's t tests over independent prompts on the scale of the normal law.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest
import torch
from scipy import stats

from oracles import ALPHA
from ttc_fast import (
    TECHNIQUES,
    BernoulliSampling,
    GaussianNoise,
    GeometricDecay,
    LinearAttention,
    LinearRegression,
    PowerLawDecay,
    StochasticDecoder,
    Technique,
    decode,
)
from ttc_fast.cli.main import main
from ttc_fast.decoding.rules import Rule
from ttc_fast.evaluation.evaluate import Key, budgets, evaluate
from ttc_fast.techniques.verifiers import HeldOutLoss, NoisyVerifier, Verifier, WrongVerifier
from ttc_fast.theory.gaussian import gaussian_law
from ttc_fast.theory.overlay import compare, overlay

Setting: TypeAlias = tuple[int, int, tuple[int, ...], int, float, Rule, float | None]
SETTINGS: list[Setting] = [
    # d, n, steps, samples, label noise, rule, step size
    (1, 4, (1, 3), 8, 0.0, GaussianNoise(0.5), None),
    (2, 10, (2, 5), 16, 0.2, GaussianNoise(0.3), None),
    (3, 2, (4,), 5, 0.1, GaussianNoise(0.3), None),
    (4, 16, (1, 9), 32, 0.5, GaussianNoise(PowerLawDecay(0.5, 1.0)), None),
    (5, 20, (12,), 64, 0.1, GaussianNoise(GeometricDecay(0.5, 0.8)), None),
    (8, 32, (3,), 24, 0.0, GaussianNoise(0.2), 0.3),
    (16, 64, (2, 16), 10, 0.1, GaussianNoise(0.2), None),
    (6, 12, (7,), 33, 1.0, GaussianNoise(1.0), 0.4),
    (1, 4, (2,), 9, 0.3, BernoulliSampling("sigmoid", 0.5), None),
    (3, 9, (1, 6), 16, 0.0, BernoulliSampling("sigmoid", 0.25), None),
    (4, 12, (5,), 21, 0.5, BernoulliSampling("clip"), None),
    (6, 18, (3,), 12, 0.2, BernoulliSampling("sigmoid", 1.0), 0.5),
    (8, 32, (4,), 8, 0.1, BernoulliSampling("clip", sample_at="last_step"), 0.3),
    (5, 20, (2, 8), 15, 0.1, BernoulliSampling("sigmoid", 0.3, "last_step"), None),
]
PROMPTS, FAMILY = 100, 1e-4
"""FAMILY: probability of any false alarm among all comparisons of all settings."""


@pytest.mark.slow
def test_simulation_against_theory() -> None:
    """14 settings, every technique, budget, step and metric that has a law, in float64; Bonferroni over all of them.

    Results that differ for fewer than 20 prompts are left out: the t test needs events.
    """
    scores, settings = [], 0
    for dim, examples, steps, samples, label_noise, rule, step_size in SETTINGS:
        kind: Any = "binary" if isinstance(rule, BernoulliSampling) else "continuous"
        prompts = LinearRegression(dim, examples, kind, label_noise=label_noise).sample(
            PROMPTS, seed=6, dtype=torch.float64
        )
        model = LinearAttention.gradient_descent(dim, step_size=step_size, examples=examples, dtype=torch.float64)
        decoder = StochasticDecoder(model, rule)
        evaluation = evaluate(decoder, prompts.part, PROMPTS, steps=steps, samples=samples, seed=9)
        theory = overlay(decoder, prompts.part, PROMPTS, evaluation.scores)
        assert {key.technique for key in theory} >= {"greedy", "single", "mean", "best_of_n", "oracle_best_of_n"}
        settings += 1
        for key, comparison in theory.items():
            simulated = evaluation.scores[key]
            rare = (simulated != simulated.median()).sum() < 20
            if not rare:
                scores.append((abs(comparison.z), key, comparison.theory, simulated.mean().item()))
    assert settings >= 12
    assert len(scores) > 300
    limit = stats.norm.isf(FAMILY / 2 / len(scores))
    assert max(scores)[0] < limit, sorted(scores, reverse=True)[:5]


@pytest.mark.parametrize(
    "verifier",
    [
        HeldOutLoss(5),
        NoisyVerifier(HeldOutLoss(5), 0.1),
        NoisyVerifier(noise=0.05),
        WrongVerifier(0.5, seed=3),
        NoisyVerifier(WrongVerifier(0.5), 0.1),
    ],
)
def test_verifiers_against_theory(verifier: Verifier) -> None:
    """Chains do not see what is held out. z beyond 6 has a probability of 2e-9 for each of 28 comparisons."""
    prompts = LinearRegression(4, 20, label_noise=0.3).sample(100, seed=6, dtype=torch.float64)
    model = LinearAttention.gradient_descent(4, examples=15, dtype=torch.float64)
    decoder = StochasticDecoder(model, GaussianNoise(0.4))
    evaluation = evaluate(decoder, prompts.part, 100, steps=[5], samples=64, seed=1, verifier=verifier)
    theory = overlay(decoder, prompts.part, 100, evaluation.scores, verifier)
    of_best = [comparison.z for key, comparison in theory.items() if key.technique == "best_of_n"]
    assert len(of_best) == 14
    assert max(abs(comparison.z) for comparison in theory.values()) < 6
    wrong = overlay(decoder, prompts.part, 100, evaluation.scores)
    assert max(abs(comparison.z) for comparison in wrong.values()) > 6


@pytest.mark.parametrize("kind", ["continuous", "binary"])
def test_a_wrong_verifier_has_a_finite_best_n(kind: Any) -> None:
    """Theory has its least error inside, the simulation agrees (z as above), and the way back up is no accident: a
    paired t test over prompts at ALPHA."""
    prompts = LinearRegression(4, 20, kind, label_noise=0.3).sample(200, seed=6, dtype=torch.float64)
    model = LinearAttention.gradient_descent(4, examples=20, dtype=torch.float64)
    decoder = StochasticDecoder(model, GaussianNoise(0.4) if kind == "continuous" else BernoulliSampling())
    verifier, ks = WrongVerifier(0.8), budgets(64)
    scores = evaluate(decoder, prompts.part, 200, steps=[5], samples=64, seed=1, verifier=verifier).scores
    theory = overlay(decoder, prompts.part, 200, scores, verifier)
    keys = [Key("best_of_n", 5, k, "squared_error") for k in ks]
    assert max(abs(theory[key].z) for key in keys) < 6
    best = int(np.argmin([theory[key].theory for key in keys]))
    assert 0 < best < len(ks) - 1
    regret = (scores[keys[-1]] - scores[keys[best]]).numpy()
    assert stats.ttest_1samp(regret, 0.0, alternative="greater").pvalue < ALPHA


def test_a_score_without_a_law_has_no_theory() -> None:
    prompts = LinearRegression(4, 20).sample(3)
    decoder = StochasticDecoder(LinearAttention.gradient_descent(4, examples=20), GaussianNoise(0.4))
    verifier = NoisyVerifier(false_positive_rate=0.1)
    scores = evaluate(decoder, prompts.part, 3, steps=[5], samples=8, seed=1, verifier=verifier).scores
    theory = overlay(decoder, prompts.part, 3, scores, verifier)
    assert {key.technique for key in theory} == {"greedy", "single", "mean", "oracle_best_of_n"}


def test_overlay_alarms_at_a_wrong_law() -> None:
    """Simulated with 10 % more noise than the law knows of: z beyond 6."""
    prompts = LinearRegression(4, 16).sample(100, seed=6, dtype=torch.float64)
    model = LinearAttention.gradient_descent(4, examples=16, dtype=torch.float64)
    wrong = StochasticDecoder(model, GaussianNoise(0.33))
    evaluation = evaluate(wrong, prompts.part, 100, steps=[5], samples=64, seed=1)
    theory = overlay(StochasticDecoder(model, GaussianNoise(0.3)), prompts.part, 100, evaluation.scores)
    assert all(c.z > 6 for key, c in theory.items() if key.technique == "single")
    same = torch.ones(5)
    assert compare(same, same).z == 0
    assert np.isnan(compare(same[:1], same[:1]).z)


STATE_DIM = 3


def gaussian_setting(preconditioned: bool, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor, GaussianNoise]:
    prompts = LinearRegression(STATE_DIM, 8, label_noise=0.2).sample(2, seed=3, dtype=dtype)
    if preconditioned:
        model = LinearAttention.preconditioned([1.0, 0.8, 0.6], 8, dtype=dtype)
    else:
        model = LinearAttention.gradient_descent(STATE_DIM, examples=8, dtype=dtype)
    w0 = torch.tensor([[1.0, 0, -1], [0.5, 2, 0]], dtype=dtype)
    return model.prefill(prompts).linear.detach(), w0, GaussianNoise(GeometricDecay(0.5, 0.9))


@pytest.mark.parametrize("preconditioned", [False, True])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_exact_method_has_the_law_of_the_chain(preconditioned: bool, dtype: torch.dtype) -> None:
    """Whitened by the exact law of all asked steps together, N |mean|^2 and sum |z|^2 are ~ chi^2; each at ALPHA."""
    state, w0, rule = gaussian_setting(preconditioned, dtype)
    steps, samples = [9, 2, 9], 2**14
    thoughts = decode(state, w0, rule=rule, steps=steps, samples=samples, seed=5, method="exact").thoughts.double()
    assert torch.equal(thoughts[0], thoughts[2])
    first = gaussian_law(state, rule, 2, w0)
    M = torch.eye(STATE_DIM).double() + state[:, :, :-1].double()
    power = torch.linalg.matrix_power(M, 7)
    last = gaussian_law(state, rule, 9, w0)
    cross = power @ first.covariance
    for b in range(2):
        mean = torch.cat((first.mean[b], last.mean[b]))
        top = torch.cat((first.covariance[b], cross[b].mT), 1)
        covariance = torch.cat((top, torch.cat((cross[b], last.covariance[b]), 1)))
        w = torch.cat((thoughts[1, b], thoughts[0, b]), 1)
        z = torch.linalg.solve_triangular(torch.linalg.cholesky(covariance), (w - mean).T, upper=False).numpy()
        assert stats.chi2.sf(samples * (z.mean(1) ** 2).sum(), 6) > ALPHA
        total = (z**2).sum()
        assert 2 * min(stats.chi2.sf(total, samples * 6), stats.chi2.cdf(total, samples * 6)) > ALPHA
        for i in range(6):
            assert stats.kstest(z[i], "norm").pvalue > ALPHA
            for j in range(i):
                assert stats.pearsonr(z[i], z[j]).pvalue > ALPHA


def test_exact_method_against_stepwise() -> None:
    """Two-sample Kolmogorov-Smirnov tests of coefficients and of squared norms, each at ALPHA; other seeds."""
    state, w0, rule = gaussian_setting(False, torch.float32)
    drawn = [
        decode(state, w0, rule=rule, steps=[3, 8], samples=2**14, seed=seed, method=method).thoughts  # type: ignore[arg-type]  # a literal below
        for seed, method in ((1, "stepwise"), (2, "exact"))
    ]
    for one, other in zip(drawn[0].flatten(0, 1), drawn[1].flatten(0, 1)):
        for i in range(STATE_DIM):
            assert stats.ks_2samp(one[:, i], other[:, i]).pvalue > ALPHA
        assert stats.ks_2samp(one.square().sum(1), other.square().sum(1)).pvalue > ALPHA


def test_exact_method_does_not_depend_on_the_chunk() -> None:
    state, w0, rule = gaussian_setting(False, torch.float32)
    whole = decode(state, w0, rule=rule, steps=[0, 4, 9], samples=100, seed=5, method="exact").thoughts
    part = decode(
        state[1:],
        w0[1:],
        rule=rule,
        steps=[0, 4, 9],
        samples=7,
        seed=5,
        method="exact",
        first_sample=30,
        first_prompt=1,
    ).thoughts
    assert torch.equal(whole[:, 1:, 30:37], part)
    assert torch.equal(whole[0], w0[:, None].expand(-1, 100, -1))
    # resumed from the samples' own thoughts, the words of the asked step are the same
    resumed = decode(
        state, whole[1], rule=rule, steps=[9], samples=100, seed=5, first_step=4, method="exact", backend="auto"
    ).thoughts
    torch.testing.assert_close(resumed[0], whole[2])


def test_exact_method_is_for_gaussian_noise() -> None:
    state, w0, _ = gaussian_setting(False, torch.float32)
    with pytest.raises(ValueError, match="method: expected 'stepwise' for BernoulliSampling, got 'exact'"):
        decode(state, w0, rule=BernoulliSampling(), steps=[1], samples=2, method="exact")
    with pytest.raises(ValueError, match="method: expected one of 'stepwise', 'exact', got 'fast'"):
        decode(state, w0, rule=GaussianNoise(), steps=[1], samples=2, method="fast")  # type: ignore[arg-type]  # wrong on purpose


SMALL = ["run", "--dim", "3", "--examples", "9", "--prompts", "5", "--samples", "12", "--steps", "1", "4"]


def test_run_shows_theory(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*SMALL, "--json", str(tmp_path / "out.json")]) == 0
    out = capsys.readouterr().out
    assert "theory: exact means over these prompts" in out
    records = json.loads((tmp_path / "out.json").read_text())["records"]
    known = {(r["coefficients"], r["technique"]) for r in records if r["theory"] is not None}
    shared = {"greedy", "single", "mean", "best_of_n", "oracle_best_of_n"}
    assert known == {(k, t) for k in ("continuous", "binary") for t in shared} | {("binary", "majority_vote")}
    assert all(
        r["theory"] is None for r in records if r["technique"] == "majority_vote" and r["metric"] == "exact_recovery"
    )
    assert main([*SMALL, "--no-theory"]) == 0
    assert "theory" not in capsys.readouterr().out


def test_run_tells_of_the_heavy_tail(capsys: pytest.CaptureFixture[str]) -> None:
    """32 steps: rare prompts dominate the exact mean over all prompts, which 64 prompts do not show."""
    command = ["run", "--coefficients", "continuous", "--samples", "4", "--steps", "32", "--technique", "mean"]
    assert main(command) == 0
    assert "over all possible prompts the mean error of 4 samples is" in capsys.readouterr().out
    assert main([*command, "--step-size", "0.2", "--steps", "8"]) == 0
    assert "over all possible prompts" not in capsys.readouterr().out


def test_run_with_the_exact_method(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = [*SMALL, "--method", "exact", "--json", str(tmp_path / "out.json")]
    assert main(command) == 1
    assert "method: expected 'stepwise' for binary coefficients, got 'exact'" in capsys.readouterr().err
    assert main([*command, "--coefficients", "continuous"]) == 0
    document = json.loads((tmp_path / "out.json").read_text())
    assert document["config"]["method"] == "exact"


@pytest.mark.parametrize("suffix", ["png", "pdf", "svg"])
def test_plot(suffix: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed: pip install -e '.[plot]'")
    path = tmp_path / f"run.{suffix}"
    assert main([*SMALL, "--quiet", "--plot", str(path), "--technique", "mean", "beam_search", "adaptive_vote"]) == 0
    assert capsys.readouterr() == ("", "")
    assert path.read_bytes()[:5] in (b"\x89PNG\r", b"%PDF-", b"<?xml")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("run.txt", "plot: expected a file that ends in .png, .pdf, .svg, got"),
        ("missing/run.png", "plot: expected a file in a folder that exists, got"),
    ],
)
def test_plot_errors(name: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*SMALL, "--plot", str(tmp_path / name)]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err
    assert err.count("\n") == 1


def test_plot_without_matplotlib(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert main([*SMALL, "--plot", str(tmp_path / "run.png")]) == 1
    assert "pip install 'ttc-fast[plot]'" in capsys.readouterr().err


def test_plan(capsys: pytest.CaptureFixture[str]) -> None:
    """The plan's error is that of its split, and the simulation agrees within 5 standard errors."""
    assert main(["plan", "--budget", "300", "--dim", "4", "--examples", "40", "--simulate", "--prompts", "64"]) == 0
    out = capsys.readouterr().out
    assert "best split of 300 chain steps" in out
    z = float(out.split("simulated: ")[1].split(", ")[1].split()[0])
    assert abs(z) < 5
    assert "diverge" not in out
    assert main(["plan", "--budget", "64", "--step-size", "1.9", "--prompts", "8"]) == 0
    assert "8 of 8 prompts make the chain diverge" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "--budget"),
        (["--budget", "0"], 1, "budget: expected an integer from 1"),
        (["--budget", "9", "--longest", "0"], 1, "longest: expected an integer from 1"),
        (["--budget", "9", "--prompts", "0"], 1, "prompts: expected an integer from 1"),
        (["--budget", "9", "--noise-scale", "-1"], 1, "noise_scale: expected a finite number of at least 0"),
    ],
)
def test_plan_errors(arguments: list[str], code: int, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", *arguments]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err
    assert err.count("\n") == 1


def test_all_laws_are_of_known_techniques() -> None:
    from ttc_fast.theory.overlay import SELECTIONS

    assert set(SELECTIONS) == {name for name, t in TECHNIQUES.items() if isinstance(t, Technique) and t.selects}
