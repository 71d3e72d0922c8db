"""The median of k of N samples, over all subsets: against enumeration, and C++ against NumPy."""

from __future__ import annotations

import itertools
from fractions import Fraction
from math import comb

import numpy as np
import pytest
import torch

from ttc_fast.estimators import medians
from ttc_fast.estimators.medians import middle, rank_law, squared_error_of_median
from ttc_fast.numerics import candidates, extension


@pytest.mark.parametrize("samples", range(1, 9))
def test_all_subsets(samples: int) -> None:
    """Numbers and ties."""
    random = np.random.default_rng(samples)
    values, target = random.integers(-3, 4, (5, samples)) * random.choice([1.0, np.pi], (5, 1)), random.normal(size=5)
    values[4, samples // 2] = np.inf
    budgets = range(1, samples + 2)
    found = squared_error_of_median(values, target, budgets)
    for i, k in enumerate(range(1, samples + 1)):
        subsets = values[:, list(itertools.combinations(range(samples), k))]  # [P, subsets, k]
        exact = ((np.median(subsets, 2) - target[:, None]) ** 2).mean(1)
        np.testing.assert_allclose(found[:, i], exact, rtol=1e-13)
    assert np.isnan(found[:, -1]).all()


@pytest.mark.parametrize(
    ("samples", "k"), [(9, 4), (64, 1), (64, 64), (1000, 500), (1000, 501), (1000, 999), (1001, 2)]
)
def test_law_of_ranks(samples: int, k: int) -> None:
    """In rational numbers: a relative 2^-53 for each of the products that lead from the likeliest rank to another."""
    for r in {1, (k + 1) // 2, k // 2 + 1, k}:
        exact = [Fraction(comb(j, r - 1) * comb(samples - 1 - j, k - r), comb(samples, k)) for j in range(samples)]
        wanted = np.array([float(p) if p >= medians.NEGLIGIBLE else 0.0 for p in exact])
        np.testing.assert_allclose(rank_law(samples, k, r), wanted, rtol=4 * samples * 2**-53)


def test_what_is_left_out_is_negligible(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(1).normal(size=(3, 700))
    found = squared_error_of_median(values, np.zeros(3), [2, 64, 65, 350, 698])
    middle.cache_clear()
    monkeypatch.setattr(medians, "NEGLIGIBLE", 0.0)
    whole = squared_error_of_median(values, np.zeros(3), [2, 64, 65, 350, 698])
    middle.cache_clear()
    np.testing.assert_allclose(found, whole, rtol=1e-12)


def errors(w: torch.Tensor, target: torch.Tensor, budgets: list[int]) -> torch.Tensor:
    laws = [middle(w.shape[1], k) for k in budgets]
    square, cross = (torch.from_numpy(np.stack(part)) for part in ([m.square for m in laws], [m.cross for m in laws]))
    return candidates.median_errors(w, target, square, cross, [(m.start, m.stop, m.half) for m in laws])


@pytest.mark.skipif(bool(extension.MISSING), reason="the C++ extension is not built")
@pytest.mark.parametrize(("samples", "dim"), [(1, 1), (2, 16), (333, 17), (1024, 5)])
def test_in_cpp(samples: int, dim: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbers, ties, zeros of both signs and infinite ones; the same bits on every instruction set and any number of
    threads."""
    random = np.random.default_rng(samples)
    w = random.normal(size=(3, samples, dim)).astype(np.float32)
    w[1], w[2, ::3] = np.round(w[1]), 0.0
    w[2, 1::3] = -0.0
    w[0, samples // 2 :, 0] = np.inf
    target = random.normal(size=(3, dim)).astype(np.float32)
    budgets = sorted({1, 2, 3, samples // 2, samples - 1, samples} & set(range(1, samples + 1)))
    rows = np.moveaxis(w, 1, 2).reshape(-1, samples)
    exact = squared_error_of_median(rows, target.reshape(-1), budgets).reshape(3, dim, -1).transpose(0, 2, 1)
    found = []
    for isa in extension.isas():
        monkeypatch.setenv(extension.ISA_VARIABLE, isa)
        found.append(errors(torch.from_numpy(w), torch.from_numpy(target), budgets))
        np.testing.assert_allclose(found[-1].numpy(), exact, rtol=1e-12)
        assert torch.equal(found[-1], found[0])
    threads = torch.get_num_threads()
    torch.set_num_threads(2 if threads == 1 else 1)
    assert torch.equal(errors(torch.from_numpy(w), torch.from_numpy(target), budgets), found[0])


@pytest.mark.skipif(bool(extension.MISSING), reason="the C++ extension is not built")
def test_a_candidate_that_is_no_number() -> None:
    w = torch.zeros(2, 8, 3)
    w[1, 4, 2] = torch.nan
    unknown = errors(w, torch.ones(2, 3), [1, 8]).isnan()
    assert unknown[1, :, 2].all()
    assert unknown.sum() == 2
