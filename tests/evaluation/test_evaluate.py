"""Evaluation chunk by chunk, and figures over prompts."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from oracles import ALPHA
from ttc_fast import BernoulliSampling, GaussianNoise, LinearAttention, LinearRegression, Prompts, StochasticDecoder
from ttc_fast.decoding.rules import Rule
from ttc_fast.estimators.intervals import summarize
from ttc_fast.evaluation.bank import groups
from ttc_fast.evaluation.evaluate import Key, budgets, evaluate
from ttc_fast.numerics import candidates
from ttc_fast.tasks import metrics
from ttc_fast.techniques.aggregate import TECHNIQUES, Technique
from ttc_fast.techniques.search import (
    BeamSearch,
    ParticleFilter,
    Search,
    StopEarly,
    VoteUntilDecided,
    adaptive_vote,
    beam_search,
    particle_filter,
    self_refinement,
    stop_early,
)
from ttc_fast.techniques.verifiers import HeldOutLoss, InContextLoss, NoisyVerifier, Oracle


@pytest.mark.parametrize(
    ("samples", "expected"),
    [(1, [1]), (2, [1, 2]), (3, [1, 2, 3]), (8, [1, 2, 4, 8]), (100, [1, 2, 4, 8, 16, 32, 64, 100])],
)
def test_budgets(samples: int, expected: list[int]) -> None:
    assert budgets(samples) == expected


@pytest.mark.parametrize(("samples", "size"), [(6, 1), (6, 2), (7, 2), (7, 5), (7, 7), (1, 1)])
def test_groups_are_whole_and_follow_each_other(samples: int, size: int) -> None:
    x = torch.arange(2 * samples).reshape(2, samples)
    got = groups(x, size)
    assert got.shape == (2, samples // size, size)
    assert torch.equal(got.flatten(1), x[:, : samples // size * size])
    assert groups(x[:, :, None].expand(-1, -1, 3), size).shape == (2, samples // size, size, 3)


def decoder(rule: Rule, dim: int = 3, examples: int = 8) -> StochasticDecoder:
    return StochasticDecoder(LinearAttention.gradient_descent(dim, examples=examples), rule)


@pytest.mark.parametrize("rule", [GaussianNoise(0.3), BernoulliSampling()])
def test_results_do_not_depend_on_the_chunk(rule: Rule) -> None:
    """To the bit, for every technique, with a noisy verifier and a number of samples that no budget but 1 divides."""
    kind: Any = "continuous" if isinstance(rule, GaussianNoise) else "binary"
    prompts = LinearRegression(3, 8, kind, label_noise=0.2).sample(3)
    arguments: dict[str, Any] = {"steps": [2, 5], "samples": 131, "seed": 4, "techniques": TECHNIQUES}
    arguments["verifier"] = NoisyVerifier(InContextLoss(), 0.05)
    whole = evaluate(decoder(rule), prompts.part, 3, **arguments)
    assert whole.unstable.shape == (3,)
    assert {key.technique for key in whole.scores} == {
        name for name, t in TECHNIQUES.items() if kind == "binary" or not t.binary_only
    }
    for chunk, bank in ((1, 1), (100, 10_000), (3 * 131 * 2, 2 * 131 * 3 * 2)):
        torch.set_num_threads(1)
        other = evaluate(decoder(rule), prompts.part, 3, chunk=chunk, bank=bank, **arguments)
        assert other.scores.keys() == whole.scores.keys()
        for key, score in whole.scores.items():
            assert not score.isnan().any(), key
            assert torch.equal(other.scores[key], score), key
        assert other.work == whole.work


def test_searches_by_hand() -> None:
    """Each repeat of k chains has its own samples; chains do not see what is held out; the work is what was spent."""
    prompts = LinearRegression(3, 12, "binary", label_noise=0.4).sample(4)
    wanted, verifier = decoder(BernoulliSampling(temperature=0.1)), HeldOutLoss(4)
    steps, last = [1, 3, 6], 6
    chosen: dict[str, Technique | Search] = {
        "filter": Search(ParticleFilter(beta=3.0, every=2), "", ""),
        "beams": Search(BeamSearch(expansions=3), "", ""),
        "refinement": TECHNIQUES["self_refinement"],
        "stop": Search(StopEarly(tolerance=0.2), "", ""),
        "vote": Search(VoteUntilDecided(error=0.5), "", "", binary_only=True),
    }
    result = evaluate(wanted, prompts.part, 4, steps=steps, samples=20, seed=4, techniques=chosen, verifier=verifier)
    assert {(key.steps, key.samples) for key in result.scores} == {(1, 20), (3, 20)} | {(6, k) for k in budgets(20)}
    thoughts = wanted(verifier.context(prompts), steps=steps, samples=20, seed=4).thoughts
    for k, repeats in ((1, 8), (4, 5), (16, 1), (20, 1)):
        error: dict[str, list[torch.Tensor]] = {name: [] for name in chosen}
        spent: dict[str, list[torch.Tensor]] = {"stop": [], "vote": []}
        for first in range(0, repeats * k, k):
            shared: dict[str, Any] = {"steps": last, "seed": 4, "first_sample": first, "verifier": verifier}
            group = thoughts[:, :, first : first + k]
            stopped, vote = stop_early(group, tuple(steps), 0.2), adaptive_vote(group[-1], 0.5)
            answers = {
                "filter": particle_filter(wanted, prompts, samples=k, beta=3.0, every=2, **shared).mean(),
                "beams": beam_search(wanted, prompts, beams=max(k // 3, 1), expansions=min(k, 3), **shared).answer,
                "refinement": self_refinement(wanted, prompts, samples=k, **shared).answer,
                "stop": stopped.thoughts.mean(1),
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
            key = Key(name, last, k, "squared_error")
            torch.testing.assert_close(result.scores[key], torch.stack(errors).mean(0))
            assert result.work[key] == pytest.approx(expected[name]), key
        assert k < 20 or expected["vote"][0] < last * 20  # it pays


def test_only_resumed_chains_need_steps() -> None:
    prompts = LinearRegression(3, 8).sample(2)
    arguments: dict[str, Any] = {"steps": [1, 4], "samples": 6, "seed": 0, "method": "exact"}
    for name in ("particle_filter", "beam_search", "self_refinement"):
        with pytest.raises(ValueError, match=rf"method: expected 'stepwise' for .*\({name}\), got 'exact'"):
            evaluate(decoder(GaussianNoise(0.3)), prompts.part, 2, techniques={name: TECHNIQUES[name]}, **arguments)
    chosen = {name: TECHNIQUES[name] for name in ("mean", "stop_early")}
    scores = evaluate(decoder(GaussianNoise(0.3)), prompts.part, 2, techniques=chosen, **arguments).scores
    assert {key.technique for key in scores} == set(chosen)


def test_scores_by_hand() -> None:
    """Best-of-k and mean of k over all subsets of the decoded thoughts, in NumPy."""
    prompts = LinearRegression(3, 8).sample(2)
    rule = GaussianNoise(0.3)
    scores = evaluate(decoder(rule), prompts.part, 2, steps=[1, 3], samples=8, seed=4).scores
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
            assert scores[Key(technique, 3, 4, "squared_error")][b].item() == pytest.approx(expected, rel=1e-5)


def test_votes_by_hand() -> None:
    """Majority of k, and the mean of k, over all subsets of the decoded bits, in NumPy."""
    prompts = LinearRegression(3, 8, "binary", label_noise=0.4).sample(2)
    scores = evaluate(decoder(BernoulliSampling()), prompts.part, 2, steps=[2], samples=7, seed=4).scores
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
                assert scores[Key(technique, 2, k, metric)][b].item() == pytest.approx(value, abs=1e-6), (k, technique)


def test_what_has_no_closed_form_comes_from_random_subsets() -> None:
    """The median: equal to all its subsets where there is one, or one for each sample; near them elsewhere."""
    prompts = LinearRegression(3, 8).sample(200)
    chosen = {"median": TECHNIQUES["median"], "mean": TECHNIQUES["mean"]}
    rule = GaussianNoise(0.3)
    arguments: dict[str, Any] = {"steps": [3], "samples": 6, "seed": 4, "techniques": chosen}
    scores = evaluate(decoder(rule), prompts.part, 200, **arguments).scores
    thoughts = decoder(rule)(prompts, steps=[3], samples=6, seed=4).thoughts[0].numpy()
    assert prompts.w_star is not None
    for k in (1, 2, 4, 6):
        medians = [np.median(thoughts[:, list(s)], axis=1) for s in itertools.combinations(range(6), k)]
        exact = np.mean([((m - prompts.w_star.numpy()) ** 2).mean(1) for m in medians], axis=0)
        got = scores[Key("median", 3, k, "squared_error")].numpy()
        if k in (1, 6):
            np.testing.assert_allclose(got, exact, rtol=1e-5)
        # unbiased: the mean difference over prompts is within its t interval at oracles.ALPHA
        assert stats.ttest_1samp(got - exact, 0.0).pvalue > ALPHA or k in (1, 6)


def test_recovery_by_a_vote_is_unbiased() -> None:
    """Its random subsets against all subsets, a tie of a coefficient being right with probability 1/2."""
    prompts = LinearRegression(3, 8, "binary", label_noise=0.4).sample(300)
    scores = evaluate(decoder(BernoulliSampling()), prompts.part, 300, steps=[2], samples=6, seed=4).scores
    bits = decoder(BernoulliSampling())(prompts, steps=[2], samples=6, seed=4).thoughts[0].numpy()
    assert prompts.w_star is not None
    for k in (1, 2, 4, 6):
        votes = np.stack([bits[:, list(s)].mean(1) for s in itertools.combinations(range(6), k)])
        right = 1 - np.abs((np.sign(votes - 0.5) + 1) / 2 - prompts.w_star.numpy())
        difference = scores[Key("majority_vote", 2, k, "exact_recovery")].numpy() - right.prod(2).mean(0)
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
    fast = evaluate(decoder(rule, 5, 12), prompts.part, 4, **arguments).scores
    monkeypatch.setattr(candidates, "supported", lambda w: False)
    slow = evaluate(decoder(rule, 5, 12), prompts.part, 4, **arguments).scores
    assert fast.keys() == slow.keys()
    for key, score in fast.items():
        torch.testing.assert_close(score, slow[key], rtol=1e-5, atol=1e-6)


def test_verifier_is_what_best_of_n_trusts() -> None:
    """With the oracle, best-of-N is the oracle's; every technique takes part."""
    prompts = LinearRegression(3, 8, "binary", label_noise=0.4).sample(3)
    rule = BernoulliSampling()
    scores = evaluate(
        decoder(rule), prompts.part, 3, steps=[2], samples=9, seed=4, techniques=TECHNIQUES, verifier=Oracle()
    ).scores
    assert {key.technique for key in scores} == set(TECHNIQUES)
    for k in budgets(9):
        one = scores[Key("best_of_n", 2, k, "squared_error")]
        assert torch.equal(one, scores[Key("oracle_best_of_n", 2, k, "squared_error")])


def test_what_is_reported() -> None:
    """All budgets at the last step, all samples at the others; each kind its techniques and metrics."""
    prompts = LinearRegression(3, 8, "binary").sample(2)
    scores = evaluate(decoder(BernoulliSampling()), prompts.part, 2, steps=[1, 3], samples=4, seed=4).scores
    assert {(k.steps, k.samples) for k in scores} == {(1, 4), (3, 1), (3, 2), (3, 4)}
    assert {k.metric for k in scores} == {"squared_error", "prediction_risk", "hamming", "exact_recovery"}
    assert {k.technique for k in scores} == {
        "greedy",
        "single",
        "mean",
        "majority_vote",
        "best_of_n",
        "oracle_best_of_n",
    }
    continuous = evaluate(decoder(GaussianNoise(0.1)), prompts.part, 2, steps=[1], samples=4, seed=4).scores
    assert {k.metric for k in continuous} == {"squared_error", "prediction_risk"}
    assert "majority_vote" not in {k.technique for k in continuous}

    unknown = Prompts(prompts.x, prompts.y)
    scores = evaluate(decoder(BernoulliSampling()), unknown.part, 2, steps=[1, 3], samples=4, seed=4).scores
    assert {k.metric for k in scores} == {"in_context_loss", "disagreement"}
    assert {k.technique for k in scores} == {"greedy", "single", "mean", "majority_vote", "best_of_n"}


def test_divergent_prompts_are_found() -> None:
    x = torch.stack((torch.eye(3), 10 * torch.eye(3)))
    prompts = Prompts(x, torch.zeros(2, 3))
    result = evaluate(decoder(GaussianNoise(0.1)), prompts.part, 2, steps=[1], samples=2, seed=0)
    assert result.unstable.tolist() == [False, True]


def test_progress_reaches_the_end() -> None:
    prompts, seen = LinearRegression(3, 8).sample(3), list[float]()
    evaluate(
        decoder(GaussianNoise(0.1)),
        prompts.part,
        3,
        steps=[1, 2],
        samples=10,
        seed=0,
        techniques={name: TECHNIQUES[name] for name in ("mean", "beam_search", "stop_early")},
        progress=seen.append,
        chunk=12,
        bank=60,
    )
    assert seen == sorted(seen)
    assert seen[-1] == 1.0
    assert len(seen) > 3


def test_evaluate_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    prompts = LinearRegression(3, 8).sample(1)
    with pytest.raises(ValueError, match="steps: expected at least one step"):
        evaluate(decoder(GaussianNoise(0.1)), prompts.part, 1, steps=[], samples=1, seed=0)
    with pytest.raises(ValueError, match="samples: expected an integer from 1"):
        evaluate(decoder(GaussianNoise(0.1)), prompts.part, 1, steps=[1], samples=0, seed=0)
    sizes = {"SC_PHYS_PAGES": 1000, "SC_PAGE_SIZE": 4000}
    monkeypatch.setattr("os.sysconf", sizes.__getitem__)  # a machine of 4 MB
    with pytest.raises(ValueError, match="samples: the candidates of one prompt need"):
        evaluate(decoder(GaussianNoise(0.1)), prompts.part, 1, steps=[1], samples=100_000, seed=0)


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
