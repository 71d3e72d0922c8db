"""Evaluation chunk by chunk, and figures over prompts."""

from __future__ import annotations

import itertools
import re
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from evaluation_problems import assert_equal, decoder
from oracles import ALPHA
from ttc_fast import (
    BernoulliSampling,
    GaussianNoise,
    Key,
    LinearRegression,
    Prompts,
    Technique,
    evaluate,
)
from ttc_fast.decoding.rules import Rule
from ttc_fast.estimators.budgets import powers_of_two
from ttc_fast.estimators.intervals import summarize
from ttc_fast.evaluation.evaluate import evaluation
from ttc_fast.evaluation.plan import Plan
from ttc_fast.evaluation.subsets import groups
from ttc_fast.numerics import candidates, memory
from ttc_fast.tasks import metrics
from ttc_fast.tasks.metrics import truth
from ttc_fast.techniques.particles import ParticleFilter, particle_filter
from ttc_fast.techniques.registry import TECHNIQUES
from ttc_fast.techniques.search import BeamSearch, beam_search, self_refinement
from ttc_fast.techniques.stopping import StopEarly, VoteUntilDecided, adaptive_vote, stop_early
from ttc_fast.techniques.verifiers import HeldOutLoss, Oracle


@pytest.mark.parametrize(
    ("samples", "expected"),
    [(1, [1]), (2, [1, 2]), (3, [1, 2, 3]), (8, [1, 2, 4, 8]), (100, [1, 2, 4, 8, 16, 32, 64, 100])],
)
def test_budgets(samples: int, expected: list[int]) -> None:
    assert powers_of_two(samples) == expected


@pytest.mark.parametrize(("samples", "size"), [(6, 1), (6, 2), (7, 2), (7, 5), (7, 7), (1, 1)])
def test_groups_are_whole_and_follow_each_other(samples: int, size: int) -> None:
    x = torch.arange(2 * samples).reshape(2, samples)
    got = groups(x, size)
    assert got.shape == (2, samples // size, size)
    assert torch.equal(got.flatten(1), x[:, : samples // size * size])
    assert groups(x[:, :, None].expand(-1, -1, 3), size).shape == (2, samples // size, size, 3)


def test_searches_by_hand() -> None:
    """Each repeat of k chains has its own samples; chains do not see what is held out; the work is what was spent."""
    prompts = LinearRegression(3, 12, "binary", label_noise=0.4).sample(4)
    wanted, verifier = decoder(BernoulliSampling(temperature=0.1)), HeldOutLoss(4)
    steps, last = [1, 3, 6], 6
    chosen = {
        "filter": Technique("filter", search=ParticleFilter(beta=3.0, every=2)),
        "beams": Technique("beams", search=BeamSearch(expansions=3)),
        "refinement": TECHNIQUES["self_refinement"],
        "stop": Technique("stop", search=StopEarly(tolerance=0.2), resumes=False),
        "vote": Technique("vote", search=VoteUntilDecided(error=0.5), resumes=False, binary_only=True),
    }
    table = evaluate(wanted, prompts, steps=steps, samples=20, seed=4, techniques=chosen, verifier=verifier)
    assert {(key.steps, key.samples) for key in table.keys} == set(itertools.product(steps, powers_of_two(20)))
    thoughts = wanted(verifier.context(prompts), steps=steps, samples=20, seed=4).thoughts
    for k, repeats in ((1, 8), (4, 5), (16, 1), (20, 1)):
        error: dict[str, list[torch.Tensor]] = {name: [] for name in chosen}
        spent: dict[str, list[torch.Tensor]] = {"stop": [], "vote": []}
        for first in range(0, repeats * k, k):
            shared: dict[str, Any] = {"steps": last, "seed": 4, "first_sample": first, "verifier": verifier}
            group = thoughts[:, :, first : first + k]
            stopped, vote = stop_early(group, steps, 0.2), adaptive_vote(group[-1], 0.5)
            assert stopped.steps is not None
            assert vote.samples is not None
            answers = {
                "filter": particle_filter(wanted, prompts, samples=k, beta=3.0, every=2, **shared).answer,
                "beams": beam_search(wanted, prompts, beams=max(k // 3, 1), expansions=min(k, 3), **shared).answer,
                "refinement": self_refinement(wanted, prompts, samples=k, **shared).answer,
                "stop": stopped.answer,
                "vote": vote.answer,
            }
            for name, answer in answers.items():
                error[name].append(metrics.squared_error(prompts, answer[:, None])[:, 0])
            spent["stop"].append(stopped.steps.double() * k)
            spent["vote"].append(vote.samples.double() * last)
        in_beams = max(k // 3, 1) * min(k, 3)
        expected = {
            "filter": (last * k, 3 * k),
            "beams": (last * in_beams, last * in_beams),
            "refinement": (last * k, last * k + 1),
            "stop": (torch.stack(spent["stop"]).mean().item(), 0),
            "vote": (torch.stack(spent["vote"]).mean().item(), 0),
        }
        for name, errors in error.items():
            key = Key("binary", name, last, k, "squared_error")
            np.testing.assert_allclose(table[key], torch.stack(errors).mean(0), rtol=1.3e-6, atol=1e-5)
            assert table.work(key) == pytest.approx(expected[name]), key
        assert k < 20 or expected["vote"][0] < last * 20  # it pays


def test_only_resumed_chains_need_steps() -> None:
    prompts = LinearRegression(3, 8).sample(2)
    arguments: dict[str, Any] = {"steps": [1, 4], "samples": 6, "seed": 0, "method": "exact"}
    for name in ("particle_filter", "beam_search", "self_refinement"):
        with pytest.raises(ValueError, match=rf"method: expected 'stepwise' for .*\({name}\), got 'exact'"):
            evaluate(decoder(GaussianNoise(0.3)), prompts, techniques=name, **arguments)
    table = evaluate(decoder(GaussianNoise(0.3)), prompts, techniques=["mean", "stop_early"], **arguments)
    assert {key.technique for key in table.keys} == {"mean", "stop_early"}


def test_scores_by_hand() -> None:
    """Best-of-k and mean of k over all subsets of the decoded thoughts, in NumPy."""
    prompts = LinearRegression(3, 8).sample(2)
    rule = GaussianNoise(0.3)
    table = evaluate(decoder(rule), prompts, steps=[1, 3], samples=8, seed=4)
    fours = list(itertools.combinations(range(8), 4))
    thoughts = decoder(rule)(prompts, steps=[3], samples=8, seed=4).thoughts[0].numpy()
    assert prompts.w_star is not None
    for b in range(2):
        x, y, w_star = prompts.x[b].numpy(), prompts.y[b].numpy(), prompts.w_star[b].numpy()
        loss = ((thoughts[b] @ x.T - y) ** 2).sum(1)
        best = [thoughts[b, min(four, key=loss.__getitem__)] for four in fours]
        mean = [thoughts[b, list(four)].mean(0) for four in fours]
        for technique, answers in (("best_of_n", best), ("mean", mean)):
            expected = np.mean([((answer - w_star) ** 2).mean() for answer in answers])
            assert table[Key("continuous", technique, 3, 4, "squared_error")][b] == pytest.approx(expected, rel=1e-5)


def test_votes_by_hand() -> None:
    """Majority of k, and the mean of k, over all subsets of the decoded bits, in NumPy."""
    prompts = LinearRegression(3, 8, "binary", label_noise=0.4).sample(2)
    table = evaluate(decoder(BernoulliSampling()), prompts, steps=[2], samples=7, budgets=[1, 2, 4, 7], seed=4)
    bits = decoder(BernoulliSampling())(prompts, steps=[2], samples=7, seed=4).thoughts[0].numpy()
    assert prompts.w_star is not None
    for b, w_star in enumerate(prompts.w_star.numpy()):
        for k in (1, 2, 4, 7):
            means = np.stack([bits[b, list(subset)].mean(0) for subset in itertools.combinations(range(7), k)])
            wrong = np.abs((np.sign(means - 0.5) + 1) / 2 - w_star).mean(0)
            expected = {
                ("majority_vote", "hamming"): wrong.mean(),
                ("majority_vote", "squared_error"): wrong.mean(),
                ("majority_vote", "prediction_risk"): wrong.sum(),  # the features' covariance is I
                ("mean", "hamming"): wrong.mean(),
                ("mean", "squared_error"): ((means - w_star) ** 2).mean(),
            }
            for (technique, metric), value in expected.items():
                assert table[Key("binary", technique, 2, k, metric)][b] == pytest.approx(value, abs=1e-6), (
                    k,
                    technique,
                )


def test_what_has_no_closed_form_comes_from_random_subsets() -> None:
    """A median that is not told to have one: equal to all its subsets where there is one, or one for each sample; near
    them elsewhere."""
    prompts = LinearRegression(3, 8).sample(200)
    rule, middle = GaussianNoise(0.3), Technique("middle", TECHNIQUES["median"].answer)
    table = evaluate(decoder(rule), prompts, steps=3, samples=6, seed=4, techniques=[middle, "mean"])
    thoughts = decoder(rule)(prompts, steps=[3], samples=6, seed=4).thoughts[0].numpy()
    assert prompts.w_star is not None
    for k in (1, 2, 4, 6):
        medians = [np.median(thoughts[:, list(s)], axis=1) for s in itertools.combinations(range(6), k)]
        exact = np.mean([((m - prompts.w_star.numpy()) ** 2).mean(1) for m in medians], axis=0)
        got = table[Key("continuous", "middle", 3, k, "squared_error")]
        if k in (1, 6):
            np.testing.assert_allclose(got, exact, rtol=1e-5)
        # unbiased: the mean difference over prompts is within its t interval at oracles.ALPHA
        assert stats.ttest_1samp(got - exact, 0.0).pvalue > ALPHA or k in (1, 6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", ["continuous", "binary"])
def test_medians_over_all_subsets(kind: Any, dtype: torch.dtype) -> None:
    """Against enumeration, by C++ and without it; bits, whose even medians may be 1/2, by their counts."""
    prompts = LinearRegression(3, 8, kind, label_noise=0.4, spectrum=(1.0, 2.0, 0.5)).sample(4, dtype=dtype)
    decode = decoder(GaussianNoise(0.3) if kind == "continuous" else BernoulliSampling()).to(dtype)
    table = evaluate(decode, prompts, steps=3, samples=7, seed=4, budgets=range(1, 8), techniques=["median"])
    thoughts = decode(prompts, steps=[3], samples=7, seed=4).thoughts[0].numpy()
    assert prompts.w_star is not None
    weights = {"squared_error": np.full(3, 1 / 3), "prediction_risk": np.array([1.0, 2.0, 0.5])}
    for k, (metric, weight) in itertools.product(range(1, 8), weights.items()):
        medians = [np.median(thoughts[:, list(s)], axis=1) for s in itertools.combinations(range(7), k)]
        exact = np.mean([((m - prompts.w_star.numpy()) ** 2) @ weight for m in medians], axis=0)
        np.testing.assert_allclose(table[Key(kind, "median", 3, k, metric)], exact, rtol=1e-5, atol=1e-7)


def test_recovery_by_a_vote_is_unbiased() -> None:
    """Its random subsets against all subsets, a tie of a coefficient being right with probability 1/2."""
    prompts = LinearRegression(3, 8, "binary", label_noise=0.4).sample(300)
    table = evaluate(decoder(BernoulliSampling()), prompts, steps=[2], samples=6, seed=4)
    bits = decoder(BernoulliSampling())(prompts, steps=[2], samples=6, seed=4).thoughts[0].numpy()
    assert prompts.w_star is not None
    for k in (1, 2, 4, 6):
        votes = np.stack([bits[:, list(s)].mean(1) for s in itertools.combinations(range(6), k)])
        right = 1 - np.abs((np.sign(votes - 0.5) + 1) / 2 - prompts.w_star.numpy())
        difference = table[Key("binary", "majority_vote", 2, k, "exact_recovery")] - right.prod(2).mean(0)
        if k in (1, 6):
            assert np.abs(difference).max() < 1e-6
        else:
            assert stats.ttest_1samp(difference, 0.0).pvalue > ALPHA
            assert np.abs(difference).max() > 0.01  # it is an estimate


@pytest.mark.parametrize("rule", [GaussianNoise(0.3), BernoulliSampling()])
def test_sums_in_cpp_and_in_pytorch_agree(rule: Rule, monkeypatch: pytest.MonkeyPatch) -> None:
    """All techniques and metrics, those in closed form to float32 rounding; 30 is not a power of two."""
    kind: Any = "continuous" if isinstance(rule, GaussianNoise) else "binary"
    prompts = LinearRegression(5, 12, kind, label_noise=0.2).sample(4)
    arguments: dict[str, Any] = {"steps": [2, 5], "samples": 30, "seed": 4, "techniques": TECHNIQUES}
    fast = evaluate(decoder(rule, 5, 12), prompts, **arguments)
    monkeypatch.setattr(candidates, "supported", lambda w: False)
    slow = evaluate(decoder(rule, 5, 12), prompts, **arguments)
    assert fast.keys == slow.keys
    for key, values in zip(fast.keys, fast.values):
        np.testing.assert_allclose(values, slow[key], rtol=1e-5, atol=1e-6, err_msg=str(key))


def test_verifier_is_what_best_of_n_trusts() -> None:
    """With the oracle, best-of-N is the oracle's; every technique takes part."""
    prompts = LinearRegression(3, 8, "binary", label_noise=0.4).sample(3)
    rule = BernoulliSampling()
    table = evaluate(decoder(rule), prompts, steps=[2], samples=9, seed=4, techniques=TECHNIQUES, verifier=Oracle())
    assert {key.technique for key in table.keys} == set(TECHNIQUES) - {"ridge"}
    for k in powers_of_two(9):
        one = table[Key("binary", "best_of_n", 2, k, "squared_error")]
        assert np.array_equal(one, table[Key("binary", "oracle_best_of_n", 2, k, "squared_error")])


def test_what_is_reported() -> None:
    """All budgets at every step, once what does not depend on the budget; each kind its techniques and metrics."""
    prompts = LinearRegression(3, 8, "binary").sample(2, first_prompt=5)
    asked: dict[str, Any] = {"steps": [3, 1, 3], "samples": 4, "seed": 4}
    table = evaluate(decoder(BernoulliSampling()), prompts, **asked)
    assert table.prompts.tolist() == [5, 6]
    assert table.values.dtype == np.float64
    assert {k.coefficients for k in table.keys} == {"binary"}
    assert {k.metric for k in table.keys} == {"squared_error", "prediction_risk", "hamming", "exact_recovery"}
    every = {"greedy", "single", "mean", "majority_vote", "best_of_n", "oracle_best_of_n"}
    assert {k.technique for k in table.keys} == every
    for technique in every:
        budgets = [1] if technique in ("greedy", "single") else [1, 2, 4]
        one = table.select(technique=technique, metric="squared_error")
        assert [(k.steps, k.samples) for k in one.keys] == [(t, k) for t in (1, 3) for k in budgets]
    continuous = evaluate(decoder(GaussianNoise(0.1)), prompts, **asked)
    assert {k.metric for k in continuous.keys} == {"squared_error", "prediction_risk"}
    assert "majority_vote" not in {k.technique for k in continuous.keys}

    unknown = Prompts(prompts.x, prompts.y)
    table = evaluate(decoder(BernoulliSampling()), unknown, **asked)
    assert {k.metric for k in table.keys} == {"in_context_loss", "disagreement"}
    assert {k.technique for k in table.keys} == {"greedy", "single", "mean", "majority_vote", "best_of_n"}


def test_integers_of_numpy_are_integers() -> None:
    prompts, wanted = LinearRegression(3, 8).sample(2), decoder(GaussianNoise(0.3))
    plain = evaluate(wanted, prompts, steps=3, samples=6, budgets=[2, 6])
    assert_equal(evaluate(wanted, prompts, steps=np.int64(3), samples=np.int64(6), budgets=np.array([2, 6])), plain)  # type: ignore[arg-type]
    thoughts = wanted(prompts, steps=np.int64(3), samples=6).thoughts
    assert torch.equal(thoughts, wanted(prompts, steps=[3], samples=6).thoughts)


def test_further_metrics() -> None:
    """By name, or a function of one's own; the figures of the others stay as they are."""

    def largest(prompts: Prompts, w: torch.Tensor) -> torch.Tensor:
        return (w - truth(prompts)).abs().amax(2)

    wanted, prompts = decoder(GaussianNoise(0.3)), LinearRegression(3, 8).sample(4)
    arguments: dict[str, Any] = {"steps": [2], "samples": 1, "techniques": ["single", "mean"]}
    plain = evaluate(wanted, prompts, **arguments)
    table = evaluate(wanted, prompts, metrics={"largest": largest}, **arguments)
    thought = wanted(prompts, steps=2, samples=1).thoughts[0]
    for technique in ("single", "mean"):
        found = table[Key("continuous", technique, 2, 1, "largest")]
        np.testing.assert_allclose(found, largest(prompts, thought)[:, 0].numpy(), rtol=1e-6)
        error = Key("continuous", technique, 2, 1, "squared_error")
        np.testing.assert_array_equal(table[error], plain[error])
        norm = evaluate(wanted, prompts, metrics=["error_norm"], **arguments)[error._replace(metric="error_norm")]
        np.testing.assert_allclose(norm**2, 3 * plain[error], rtol=1e-5)
    for further, message in (
        (["error"], "metrics: expected one of 'squared_error', 'error_norm'"),
        ({"hamming": largest}, "metrics: the name 'hamming' is taken by another one"),
    ):
        with pytest.raises(ValueError, match=message):
            evaluate(wanted, prompts, metrics=further, **arguments)
    with pytest.raises(TypeError, match="metrics: expected a function for 'own', got 3"):
        evaluate(wanted, prompts, metrics={"own": 3}, **arguments)


def test_divergent_prompts_are_found() -> None:
    x = torch.stack((torch.eye(3), 10 * torch.eye(3)))
    prompts = Prompts(x, torch.zeros(2, 3))
    result = evaluation(Plan.checked(decoder(GaussianNoise(0.1)), prompts, steps=[1], samples=2, seed=0), prompts)
    assert result.unstable.tolist() == [False, True]


def test_progress_reaches_the_end() -> None:
    seen = list[tuple[str, float]]()
    evaluate(
        decoder(GaussianNoise(0.1)),
        LinearRegression(3, 8).sample(3),
        steps=[1, 2],
        samples=10,
        techniques=["mean", "beam_search", "stop_early"],
        progress=lambda stage, share: seen.append((stage, share)),
        chunk=12,
        bank=60,
    )
    assert seen == sorted(seen)
    assert seen[-1] == ("continuous", 1.0)
    assert len(seen) > 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"steps": []}, "steps: expected at least one step"),
        ({"steps": 2.5}, "steps: expected an integer or a sequence of them, got 2.5"),
        ({"steps": -1}, "steps: expected an integer from 0"),
        ({"samples": 0}, "samples: expected an integer from 1"),
        ({"budgets": []}, "budgets: expected at least one, got none"),
        ({"budgets": [3]}, "budgets: expected an integer from 1 to 2, got 3"),
        ({"seed": -1}, "seed: expected an integer from 0"),
        ({"prompts": LinearRegression(3, 8)}, "prompts: expected Prompts, got LinearRegression; sample the task"),
        ({"prompts": torch.zeros(2, 3)}, "prompts: expected Prompts, got Tensor"),
        ({"techniques": []}, "techniques: expected at least one, got none"),
        ({"techniques": ["mode"]}, "technique: expected one of 'greedy', "),
        ({"techniques": ["mean", "mean"]}, "technique: the name 'mean' is taken"),
        (
            {"techniques": ["majority_vote"]},
            "technique: expected one for continuous coefficients under GaussianNoise(noise_scale=0.1), got majority",
        ),
        ({"techniques": [3]}, "technique: expected a name, a function of candidates"),
        ({"verifier": "oracle"}, "verifier: expected an object with the method score (see ttc_fast.Verifier), got str"),
        ({"verifier": Oracle}, "verifier: expected an object with the method score"),
        ({"verifier": lambda prompts, w: w[0]}, "verifier: expected scores [B, N] = [1, 2], got [2, 3]"),
        ({"backend": "cuda"}, "backend: expected one of"),
        ({"method": "quick"}, "method: expected one of"),
        ({"progress": 1}, "progress: expected True, False or a function"),
    ],
)
def test_evaluate_refuses(arguments: dict[str, Any], message: str) -> None:
    given = {"prompts": LinearRegression(3, 8).sample(1), "steps": [1], "samples": 2, **arguments}
    with pytest.raises((TypeError, ValueError), match=re.escape(message)):
        evaluate(decoder(GaussianNoise(0.1)), given.pop("prompts"), **given)


def test_what_does_not_fit_into_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_limits", lambda: iter([("physical memory", 4_000_000)]))
    with pytest.raises(ValueError, match="samples: the candidates of one prompt: expected to need at most 25%"):
        evaluate(decoder(GaussianNoise(0.1)), LinearRegression(3, 8).sample(1), steps=[1], samples=100_000)


def test_summary_is_the_t_interval() -> None:
    values = torch.tensor([1.0, 2.0, 4.0, 9.0])
    summary = summarize(values)
    low, high = stats.t.interval(0.95, 3, loc=4.0, scale=stats.sem(values.numpy()))
    assert summary.mean == 4.0
    assert summary.median == 3.0
    assert (summary.ci_low, summary.ci_high) == pytest.approx((low, high))
    alone = summarize(values[:1])
    assert alone.mean == alone.median == 1.0
    assert np.isnan(alone.ci_low)
