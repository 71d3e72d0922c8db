"""Sums over candidates in C++: losses, errors, the best of k, votes and answers of groups."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from ttc_fast.estimators import selection as estimators
from ttc_fast.estimators.budgets import powers_of_two
from ttc_fast.evaluation.subsets import Coins, Partitions, groups
from ttc_fast.numerics import candidates, extension, sums
from ttc_fast.tasks.prompts import Prompts
from ttc_fast.techniques.base import Candidates
from ttc_fast.techniques.registry import TECHNIQUES
from ttc_fast.techniques.verifiers import INVERSE_TEMPERATURE

_C = pytest.importorskip("ttc_fast._C", reason="the C++ extension is not built")
ISAS = extension.isas()


def bank(prompts: int, samples: int, dim: int, examples: int) -> tuple[Tensor, Tensor, Tensor]:
    """Candidates, and examples that none of them explains."""
    random = torch.Generator().manual_seed(prompts + samples + dim + examples)
    shapes = ((prompts, samples, dim), (prompts, examples, dim), (prompts, examples))
    w, x, y = (torch.randn(shape, generator=random) for shape in shapes)
    return w, x, y


def squared_residuals(w: Tensor, x: Tensor, y: Tensor, factor: float) -> Tensor:
    return candidates.measure(w, examples=(x, y), factor=factor)[0]


def squared_distances(w: Tensor, target: Tensor, weight: Tensor, *, equality: bool = False) -> Tensor:
    return candidates.measure(w, aim=(target, weight), equality=equality)[1]


def packed(w: Tensor) -> Tensor:
    return candidates.measure(w, pack=True)[2]


def test_measures_of_one_pass() -> None:
    w, x, y = bank(3, 50, 7, 9)
    loss, distances, bits = candidates.measure(
        w, examples=(x, y), factor=0.5, aim=(x[:, 0], torch.ones(1, 7)), equality=True, pack=True
    )
    assert torch.equal(bits, packed(w))
    assert torch.equal(bits[:, 0, :, None] >> torch.arange(7) & 1, (w > 0.5).long())
    assert torch.equal(loss, squared_residuals(w, x, y, 0.5))
    assert torch.equal(distances, squared_distances(w, x[:, 0], torch.ones(1, 7), equality=True))


ROUNDING = 2.0**-24


def residual_bound(w: Tensor, rows: Tensor, y: Tensor) -> Tensor:
    """Of the sum of squared residuals: each residual is within its number of roundings, half a unit in the last place
    each, of the sum of magnitudes; and so is the sum of their squares."""
    dim, count = w.shape[2], rows.shape[1]
    residual = (w @ rows.mT - y[:, None]).abs()
    error = (dim + 2) * ROUNDING * (w.abs() @ rows.abs().mT + y.abs()[:, None])
    return (2 * residual * error + error**2).sum(2) + (count + 2) * ROUNDING * (residual + error).square().sum(2)


def triangle(x: Tensor, y: Tensor) -> Tensor:
    """R of [x, y], by Householder's reflections in float64."""
    r: Tensor = torch.linalg.qr(torch.cat((x, y[..., None]), 2), mode="r").R
    return r


@pytest.mark.parametrize(
    ("prompts", "samples", "dim", "examples"),
    [(1, 1, 1, 1), (2, 60, 9, 9), (3, 100, 7, 8), (3, 100, 7, 9), (2, 49, 33, 130), (1, 20, 5, 3)],
)
def test_squared_residuals(isa: str, prompts: int, samples: int, dim: int, examples: int) -> None:
    """Within the roundings of the examples, or of the triangle that stands for them."""
    w, x, y = bank(prompts, samples, dim, examples)
    exact = (w.double() @ x.double().mT - y.double()[:, None]).square().sum(2)
    rows, labels = x.double(), y.double()
    if examples > dim:
        rows, labels = triangle(rows, labels)[..., :-1], triangle(rows, labels)[..., -1]
    bound = residual_bound(w.double(), rows, labels)
    assert ((squared_residuals(w, x, y, -0.5) + 0.5 * exact).abs() <= 0.5 * bound).all()
    assert bound.max() < 1e-4 * exact.max() + 1e-5


def test_squared_residuals_of_dependent_examples(isa: str) -> None:
    """A coefficient without data, one twice, and labels that w explains: no pivot is left but noise."""
    w, x, _ = bank(2, 30, 6, 40)
    x[:, :, 2] = 0.0
    x[:, :, 4] = x[:, :, 1]
    y = (x.double() * w[:, :1].double()).sum(2).float()  # rounded: so the residual is not quite 0
    exact = (w.double() @ x.double().mT - y.double()[:, None]).square().sum(2)
    got = squared_residuals(w, x, y, 1.0)
    # As above, with the sum of squares of the columns for the triangle's; and what the pivots left out could tell.
    columns = x.double().square().sum(1).sqrt()
    size = (w.double().abs() * columns[:, None]).sum(2) + y.double().square().sum(1).sqrt()[:, None]
    error = (7 * 9 * ROUNDING + (46 * 2.0**-52) ** 0.5) * size
    assert ((got - exact).abs() <= 2 * exact.sqrt() * error + error**2).all()
    assert got[:, 0].max() < 1e-10 * got.max()
    x[0, 0, 0] = math.nan
    x[1, 0, 0] = math.inf
    assert not squared_residuals(w, x, y, 1.0).isfinite().any()


@pytest.mark.parametrize(("prompts", "samples", "dim"), [(1, 1, 1), (3, 100, 7), (2, 49, 33)])
def test_squared_distances(isa: str, prompts: int, samples: int, dim: int) -> None:
    """Within the number of roundings, half a unit in the last place each."""
    w, x, _ = bank(prompts, samples, dim, 1)
    w[:, -1] = x[:, 0]
    weight = torch.stack((torch.ones(dim), torch.arange(dim) / 3))
    *got, equal = squared_distances(w, x[:, 0], weight, equality=True)
    exact = ((w.double() - x[:, 0, None].double()).square() * weight.double()[:, None, None]).sum(3)
    assert ((torch.stack(got) - exact).abs() <= (dim + 4) * ROUNDING * exact).all()
    assert torch.equal(equal, (exact[0] == 0).float())


@pytest.mark.parametrize("length", [1, 2, 63, 64, 65, 128, 1000, 4097])
def test_tree_sum(length: int) -> None:
    random = torch.Generator().manual_seed(length)
    for shape in ((3, length), (2, length, 1), (2, length, 5)):
        x = torch.randn(shape, generator=random)
        assert torch.equal(candidates.tree_sum(x), sums.tree_sum(x, 1))


def test_sums_over_candidates_do_not_depend_on_the_chunk(isa: str) -> None:
    """To the bit: batch, place in a tile, number of samples, threads."""
    w, x, y = bank(3, 7000, 5, 6)
    weight = torch.ones(1, 5)
    torch.set_num_threads(2)
    residuals, distances = squared_residuals(w, x, y, 1.0), squared_distances(w, x[:, 0], weight)
    for threads, part, samples in ((1, 1, 7000), (3, 3, 10), (2, 2, 4099)):
        torch.set_num_threads(threads)
        few = w[:part, 7000 - samples :]
        got = squared_residuals(few, x[:part], y[:part], 1.0)
        assert torch.equal(got, residuals[:part, 7000 - samples :])
        got = squared_distances(few, x[:part, 0], weight)
        assert torch.equal(got, distances[:, :part, 7000 - samples :])


def test_instruction_sets_sum_to_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    w, x, y = bank(2, 60, 9, 21)
    results = []
    for name in [name for name in ISAS if name != "portable"]:
        monkeypatch.setenv(extension.ISA_VARIABLE, name)
        results.append((squared_residuals(w, x, y, 1.0), squared_distances(w, x[:, 0], torch.ones(1, 9))))
    assert all(torch.equal(a, b) for result in results for a, b in zip(result, results[0]))


@pytest.mark.parametrize("samples", [1, 2, 7, 300])
def test_best_of_k(samples: int) -> None:
    """Against the estimator in NumPy, with ties, both zeros and an infinite score."""
    random = torch.Generator().manual_seed(samples)
    score = torch.randint(-20, 20, (3, samples), generator=random) * 0.3 * torch.tensor([[1.0], [1e-30], [0.0]])
    score[0, 0], score[1, -1] = -math.inf, math.inf
    score[2, samples // 2 :] = -0.0
    value = torch.randn(2, 3, samples, generator=random)
    budgets = list(range(1, samples + 1))[:20]
    weight = torch.zeros(samples, 24, dtype=torch.float64)
    for column, k in enumerate(budgets):
        of_ranks = estimators.selection_weights(samples, [k])[0]
        weight[: len(of_ranks), column] = torch.from_numpy(of_ranks)
    for sign, lowest in ((1, False), (-1, True)):
        got = candidates.best_of_k(sign * score, list(value), weight, lowest=lowest)[..., : len(budgets)]
        for one, kind in zip(got, value):
            np.testing.assert_allclose(one, estimators.best_of_k(score, kind, budgets), rtol=0, atol=1e-13)


@pytest.mark.parametrize("spacing", [1.0, 2.0**-23, 0.0])
def test_best_of_k_ranks_whatever_the_scores(spacing: float) -> None:
    """Scores far from each other; a crowd with one far away, which the sort's first passes leave as it is; ties."""
    random = torch.Generator().manual_seed(7)
    score = 1 + torch.randperm(3000, generator=random)[None] * spacing
    score[0, 5] = -1e30
    ranks = candidates.best_of_k(score, [torch.arange(3000.0)[None]], torch.eye(3000, dtype=torch.float64))
    order = torch.sort(score[0], descending=True, stable=True).indices.double()
    if spacing == 0:  # all but one share their mean
        order[:-1] = order[:-1].mean()
    assert torch.equal(ranks[0, 0], order)


def test_best_of_k_takes_what_has_no_score_last() -> None:
    score = torch.tensor([[1.0, math.nan, -math.inf, 3.0]])
    for lowest, expected in ((False, [40.0, 10.0, 30.0, 20.0]), (True, [30.0, 10.0, 40.0, 20.0])):
        ranks = candidates.best_of_k(
            score, [torch.tensor([[10.0, 20.0, 30.0, 40.0]])], torch.eye(4, 8, dtype=torch.float64), lowest=lowest
        )
        assert ranks[0, 0, :4].tolist() == expected


@pytest.mark.parametrize("dim", [1, 5, 40, 64, 130])
@pytest.mark.parametrize("block", [1, 2, 4, 6])
def test_vote_recovery(dim: int, block: int) -> None:
    """Against votes counted in PyTorch, for sizes that divide each other and others, in any order."""
    random = torch.Generator().manual_seed(dim)
    right = 1 - 1.2 / dim if dim > 5 else 0.7
    w_star = torch.randint(0, 2, (3, dim), generator=random).float()
    w = torch.where(torch.rand(3, 50, dim, generator=random) < right, w_star[:, None], 1 - w_star[:, None])
    sample = torch.arange(50)
    shuffles = torch.stack([torch.randperm(50 // block, generator=random) for _ in range(2)])
    whole = sample[: 50 // block * block].unflatten(0, (-1, block))
    orders = torch.stack([sample, *(torch.cat((whole[o].flatten(), sample[whole.numel() :])) for o in shuffles)])
    groups = [(1, 1), (2, 1), (6, 1), (4 * block, 3), (3 * block, 2), (25, 1), (50, 1)]
    got, counts = candidates.vote_recovery(packed(w), w_star, block, shuffles, groups)
    assert torch.equal(counts, (w == w_star[:, None]).sum(1))
    for (size, asked), column in zip(groups, got.T):
        votes = w[:, orders[:asked]][:, :, : 50 // size * size].unflatten(2, (-1, size)).double().mean(3)
        agree = torch.where(votes == 0.5, 0.5, ((votes > 0.5) == w_star[:, None, None]).double())
        expected = agree.prod(3).mean((1, 2))
        assert size > 2 or 0 < expected.mean() < 1
        torch.testing.assert_close(column, expected, rtol=0, atol=1e-14)


IN_CPP = [name for name, technique in TECHNIQUES.items() if technique.native is not None]


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("name", IN_CPP)
@pytest.mark.parametrize(("dim", "samples"), [(1, 64), (6, 300), (33, 1000), (70, 256)])
def test_group_answers(name: str, isa: str, dim: int, samples: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The answers of the technique in PyTorch, group by group, with the same coins. Scores of a tenth are equal, those
    of a fifth so low that their weights beside the others' vanish.

    PyTorch rounds the exponents, which are below 2^8, to float32 twice, so that weights exp(beta score) differ by 2^-16
    in relative terms, and means of numbers up to 1 by twice as much. Sums of weights as near as that to each other may
    be told apart or not.
    """
    monkeypatch.setenv("TTC_FAST_ISA", isa)
    random = torch.Generator().manual_seed(dim)
    few = torch.rand(3, 8, dim, generator=random).round()
    w = few[:, torch.randint(0, 8, (samples,), generator=random)]
    w = torch.where(torch.rand(w.shape, generator=random) < 1 / (4 * dim), 1 - w, w)
    score = -4 * torch.rand(3, samples, generator=random)
    score = torch.where(torch.rand(score.shape, generator=random) < 0.1, 0.0, score)
    score[:, : samples // 5] -= 16
    part = Prompts(torch.ones(3, 1, dim), torch.ones(3, 1), w[:, 0], first=5)
    partitions, technique, sizes = Partitions(samples, seed=9), TECHNIQUES[name], powers_of_two(samples)
    assert technique.native is not None
    ((_, block, orders, counts),) = partitions.by_block(tuple(sizes))
    answers = candidates.group_answers(
        *technique.native, w, score, block, orders, counts, seed=9, first_prompt=5, step=6
    )
    for (size, count), number in zip(counts, partitions.group_counts(sizes)):
        got, answers = answers[:, :number], answers[:, number:]
        of_group = torch.cat([groups(partitions.order(p, size)[None], size)[0] for p in range(count)])
        given = Candidates(w[:, of_group], score[:, of_group], None, w[:, 0], Coins(part, of_group[:, 0], 6, 9))
        expected = technique(given)
        if name == "softmax_mean":
            torch.testing.assert_close(got, expected, rtol=0, atol=2**-15)
        elif not torch.equal(got, expected):
            _check_near_tie(given, got, expected)
    assert answers.shape[1] == 0


def _check_near_tie(given: Candidates, got: Tensor, expected: Tensor) -> None:
    """Where two answers differ, the weights that speak for either are the same within 2^-15."""
    for prompt, g in (got != expected).any(2).nonzero().tolist():
        members, one, other = given.coefficients[prompt, g], got[prompt, g], expected[prompt, g]
        weight = (INVERSE_TEMPERATURE * given.score[prompt, g].double()).softmax(0)
        whole = weight[(members == one).all(1)].sum() - weight[(members == other).all(1)].sum()
        single = (members.double() * weight[:, None]).sum(0)[one != other] - 0.5
        assert abs(whole) < 2**-15 or single.abs().max() < 2**-15


def test_what_the_extension_says_of_wrong_candidates() -> None:
    w, x, y = bank(2, 4, 3, 5)
    orders, weight = torch.arange(4)[None], torch.ones(4, 8, dtype=torch.float64)

    def answers(technique: str, score: Tensor) -> Tensor:
        return candidates.group_answers(technique, 1.0, w, score, 1, orders, [(1, 1)], seed=0, first_prompt=0, step=1)

    calls: list[tuple[Callable[[], object], str]] = [
        (lambda: squared_residuals(w, x[:1], y, 1.0), "x: expected shape"),
        (lambda: squared_residuals(w, x, y[:, :2], 1.0), "y: expected shape"),
        (lambda: squared_distances(w, x[:, 0, :2], torch.ones(1, 3)), "target: expected shape"),
        (lambda: squared_distances(w, x[:, 0], torch.ones(1, 2)), "weight: expected shape"),
        (lambda: candidates.tree_sum(w[:, 0, 0]), "x: expected shape"),
        (lambda: candidates.best_of_k(w[:, :, 0], [w[:, :3, 0]], weight), "values: expected arrays of shape"),
        (lambda: candidates.best_of_k(w[:, :, 0], [w[:, :, 0]], weight[:, :7]), "weight: expected shape"),
        (lambda: candidates.vote_recovery(packed(w), x[:, 0], 1, orders + 1, [(1, 1)]), "orders: expected blocks"),
        (lambda: candidates.vote_recovery(packed(w), x[:, 0], 2, orders, [(1, 1)]), "orders: expected shape"),
        (lambda: candidates.vote_recovery(packed(w), x[:, 0], 1, orders, [(5, 1)]), "groups: expected sizes"),
        (lambda: candidates.vote_recovery(packed(w), x[:, 0], 1, orders, [(1, 3)]), "groups: expected 1 to P"),
        (
            lambda: candidates.vote_recovery(packed(w), x[:, 0], 2, orders[:, :2], [(3, 2)]),
            "groups: expected whole blocks",
        ),
        (lambda: candidates.vote_recovery(packed(w), x[:, 0], 5, orders, [(1, 1)]), "block: expected a size"),
        (
            lambda: candidates.vote_recovery(packed(w), x[:, :1, 0].repeat(1, 65), 1, orders, [(1, 1)]),
            "w_star: expected shape",
        ),
        (lambda: answers("mode", w[:, :, 0]), "technique: expected the name"),
        (lambda: answers("plurality", w[:, :3, 0]), "score: expected shape"),
    ]
    for call, message in calls:
        with pytest.raises(ValueError, match=message):
            call()
