"""Inference techniques and metrics on answers small enough to work out by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from scipy import stats
from torch import Tensor

from oracles import ALPHA
from ttc_fast import Prompts
from ttc_fast.tasks import metrics
from ttc_fast.techniques import aggregate as techniques
from ttc_fast.techniques.base import Candidates
from ttc_fast.techniques.registry import DEFAULT, TECHNIQUES


def candidates(w: Tensor, **given: Tensor) -> Candidates:
    """One prompt, one group of the candidates ``w [k, d]``."""
    score = torch.arange(float(len(w)))[None, None]
    return Candidates(
        w[None, None],
        given.get("score", score),
        given.get("error", score),
        given.get("greedy", w[:1]),
        lambda tied: given["coins"].to(torch.int64)[tied] << 31,
    )


W = torch.tensor([[0.0, 1.0, 1.0], [1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 1.0, 0.0]])


def test_answers() -> None:
    score, error = torch.tensor([[[-3.0, -0.5, -2.0, -4.0]]]), torch.tensor([[[3.0, 0.5, 2.0, 0.1]]])
    group = candidates(W, score=score, error=error, greedy=W[3:], coins=torch.tensor([[[1.0, 0.0, 1.0]]]))
    assert techniques.greedy(group).tolist() == [[[0.0, 1.0, 0.0]]]
    assert torch.equal(techniques.single(group)[0], W)
    assert techniques.mean(group).tolist() == [[[0.5, 1.0, 0.25]]]
    assert techniques.majority_vote(group).tolist() == [[[1.0, 1.0, 0.0]]]  # the tie by its coin
    assert techniques.best_of_n(group).tolist() == [[[1.0, 1.0, 0.0]]]
    assert techniques.oracle_best_of_n(group).tolist() == [[[0.0, 1.0, 0.0]]]


def test_answers_of_the_middle() -> None:
    assert techniques.median(candidates(W)).tolist() == [[[0.5, 1.0, 0.0]]]
    assert techniques.median(candidates(W[:3])).tolist() == [[[1.0, 1.0, 0.0]]]
    assert techniques.median(candidates(W[:2])).tolist() == [[[0.5, 1.0, 0.5]]]
    # The Fermat point of an equilateral triangle is its centre; one vertex with an obtuse angle keeps its place.
    triangle = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.5, 3**0.5 / 2]], dtype=torch.float64)
    got = techniques.geometric_median(candidates(triangle))[0, 0]
    torch.testing.assert_close(got, torch.tensor([0.5, 3**0.5 / 6], dtype=torch.float64))
    flat = torch.tensor([[0.0, 0.0], [1.0, 0.1], [2.0, 0.0]], dtype=torch.float64)
    got = techniques.geometric_median(candidates(flat))[0, 0]
    torch.testing.assert_close(got, flat[1], atol=1e-3, rtol=0)


def test_whole_answers() -> None:
    """The most frequent one, or the one with the most weight; the mean of weights, and the first that passes."""
    score = torch.tensor([[[0.0, -2.0, -2.0, -0.4]]])
    group = candidates(W, score=score, coins=torch.zeros(1, 1, 3))
    assert techniques.plurality(group).tolist() == [[[1.0, 1.0, 0.0]]]
    assert techniques.plurality_smallest(group).tolist() == [[[1.0, 1.0, 0.0]]]
    assert techniques.weighted_best_of_n(beta=0.0)(group).tolist() == [[[1.0, 1.0, 0.0]]]
    assert techniques.weighted_best_of_n(beta=1.0)(group).tolist() == [[[0.0, 1.0, 1.0]]]  # 1 against 2 e^-2
    weights = torch.softmax(score[0, 0], 0)
    torch.testing.assert_close(techniques.softmax_mean(beta=1.0)(group)[0, 0], weights @ W)
    assert techniques.weighted_vote(beta=1.0)(group).tolist() == [[[0.0, 1.0, 1.0 if weights[0] > 0.5 else 0.0]]]
    assert techniques.majority_of_best(share=0.5)(group)[0, 0, 1] == 1.0
    assert techniques.majority_of_best(share=0.0)(group).tolist() == [[[0.0, 1.0, 1.0]]]
    assert techniques.first_accepted(-0.5)(replace(group, score=score.flip(2))).tolist() == [[[0.0, 1.0, 1.0]]]
    assert techniques.first_accepted(-3.0)(replace(group, score=score.flip(2))).tolist() == [[[0.0, 1.0, 1.0]]]
    assert techniques.first_accepted(1.0)(group).tolist() == [[[0.0, 1.0, 1.0]]]  # none passes: the best


@pytest.mark.parametrize("dim", [2, 80])
def test_ties_between_whole_answers_are_fair(dim: int) -> None:
    """Three answers of one vote each, 30,000 groups: Pearson's chi^2 at oracles.ALPHA."""
    w = torch.zeros(3, dim)
    w[1, 0] = w[2, 1] = 1.0
    generator = torch.Generator().manual_seed(0)
    groups = Candidates(
        w.expand(1, 30_000, -1, -1),
        torch.zeros(1, 30_000, 3),
        None,
        w[:1],
        lambda tied: torch.randint(2**32, (int(tied.sum()),), generator=generator),
    )
    answers = techniques.plurality(groups)[0]
    counts = [int((answers == one).all(1).sum()) for one in w]
    assert sum(counts) == 30_000
    assert stats.chisquare(counts).pvalue > ALPHA


def test_ties_to_the_smallest() -> None:
    """Of 011, 110 and 101, once each, 011 read from the last coefficient on is 6, 110 is 3 and 101 is 5."""
    tied = torch.tensor([[0.0, 1.0, 1.0], [1.0, 1.0, 0.0], [1.0, 0.0, 1.0]])
    assert techniques.plurality_smallest(candidates(tied)).tolist() == [[[1.0, 1.0, 0.0]]]
    frequent = torch.cat((tied, tied[:1]))
    assert techniques.plurality_smallest(candidates(frequent)).tolist() == [[[0.0, 1.0, 1.0]]]
    with pytest.raises(ValueError, match="plurality_smallest needs at most 62 coefficients, got 63"):
        techniques.plurality_smallest(candidates(torch.zeros(2, 63)))


def test_order_of_candidates_does_not_matter() -> None:
    order = torch.tensor([2, 0, 3, 1])
    coins = torch.tensor([[[0.0, 1.0, 1.0]]])
    score = torch.tensor([[[3.0, 0.5, 2.0, 4.0]]])
    given = {"score": score, "error": score, "greedy": W[:1], "coins": coins}
    shuffled = {**given, "score": score[..., order], "error": score[..., order]}
    for name, technique in TECHNIQUES.items():
        if name != "single" and technique.search is None:
            one, two = technique(candidates(W, **given)), technique(candidates(W[order], **shuffled))
            assert torch.equal(one, two), name


def test_oracle_needs_the_truth() -> None:
    group = replace(candidates(W), error=None)
    with pytest.raises(ValueError, match="error: expected squared errors"):
        techniques.oracle_best_of_n(group)


def test_every_technique_is_listed_once_with_a_line_and_a_source() -> None:
    assert len(TECHNIQUES) == 20
    assert set(DEFAULT) <= set(TECHNIQUES)
    assert all(t.about and t.source for t in TECHNIQUES.values())


def prompts(covariance: Tensor | None = None) -> Prompts:
    x = torch.tensor([[[1.0, 0.0], [0.0, 2.0]]])
    return Prompts(x, torch.tensor([[1.0, 2.0]]), torch.tensor([[1.0, 0.0]]), covariance)  # type: ignore[arg-type]  # None: the default


ANSWERS = torch.tensor([[[1.0, 0.0], [0.0, 0.5], [0.5, 0.5], [0.9, 3.0]]])


def test_metrics() -> None:
    given = prompts(torch.tensor([2.0, 10.0]))
    torch.testing.assert_close(metrics.squared_error(given, ANSWERS), torch.tensor([[0.0, 0.625, 0.25, 4.505]]))
    torch.testing.assert_close(metrics.prediction_risk(given, ANSWERS), torch.tensor([[0.0, 4.5, 3.0, 90.02]]))
    torch.testing.assert_close(metrics.hamming(given, ANSWERS), torch.tensor([[0.0, 0.75, 0.5, 0.5]]))
    torch.testing.assert_close(metrics.exact_recovery(given, ANSWERS), torch.tensor([[1.0, 0.0, 0.25, 0.0]]))
    # residuals (1 - w_0, 2 - 2 w_1), two examples
    torch.testing.assert_close(metrics.in_context_loss(given, ANSWERS), torch.tensor([[1.0, 0.5, 0.3125, 4.0025]]))


def test_prediction_risk_of_a_full_covariance() -> None:
    covariance = torch.tensor([[2.0, 1.0], [1.0, 3.0]])
    difference = ANSWERS[0] - torch.tensor([1.0, 0.0])
    expected = torch.einsum("ai,ij,aj->a", difference, covariance, difference)
    torch.testing.assert_close(metrics.prediction_risk(prompts(covariance), ANSWERS)[0], expected)


def test_disagreement_is_the_mean_over_pairs() -> None:
    w = torch.rand(2, 5, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    pairs = [(w[:, i] - w[:, j]).square().mean(1) for i in range(5) for j in range(i)]
    got = metrics.disagreement(w).mean(1)
    torch.testing.assert_close(got, torch.stack(pairs).mean(0))


def test_metrics_need_the_truth() -> None:
    unknown = Prompts(prompts().x, prompts().y)
    with pytest.raises(ValueError, match="w_star: expected the true coefficients"):
        metrics.squared_error(unknown, ANSWERS)
