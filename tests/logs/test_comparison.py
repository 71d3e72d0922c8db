"""Two logs of the same prompts: by hand, against itself, in another order, with prompts of one only."""

from __future__ import annotations

import doctest
from pathlib import Path

import numpy as np
import pytest

from logs.samples import CORRECT, rows, write, write_counts
from ttc_fast.logs import comparison
from ttc_fast.logs.analysis import analyze
from ttc_fast.logs.comparison import LogComparison, compare_logs, match_prompts
from ttc_fast.logs.reader import read


def compared(one: str, other: str, *budgets: int) -> LogComparison:
    return compare_logs(analyze(read([one]), budgets or None), read([other]))


def test_by_hand(tmp_path: Path) -> None:
    """Of the common a, b, c pass@1 is 1/8, 4/8, 6/8 against 2/8, 4/8, 8/8, and pass@2 = 1 - C(8-c, 2) / 28 is 7, 22,
    27 against 13, 22, 28 of 28."""
    one = write_counts(tmp_path / "one.jsonl", {"x": 8, "a": 1, "b": 4, "c": 6})
    other = write_counts(tmp_path / "other.jsonl", {"c": 8, "y": 0, "z": 0, "b": 4, "a": 2})
    found = compared(one, other, 1, 2)
    assert (len(found.other.prompts), found.matched) == (5, 3)
    for pair, k, exact in zip(found.differences, (1, 2), (-1 / 8, -7 / 84)):
        assert (pair.metric, pair.k, pair.prompts) == ("pass@k", k, 3)
        assert pair.difference.mean == pytest.approx(exact, abs=1e-12)
        assert pair.mean - pair.other_mean == pytest.approx(exact, abs=1e-12)
        assert pair.difference.low < exact < pair.difference.high


def test_finds_what_two_intervals_cannot(tmp_path: Path) -> None:
    """200 prompts of all difficulties, each solved 8 of 100 times more: the truth is 0.08, and the interval of the
    difference is five times as narrow as for two independent sets of prompts."""
    easy = np.random.default_rng(2).integers(0, 92, size=200)
    names = [f"p{i}" for i in range(200)]
    one = write_counts(tmp_path / "one.jsonl", {p: int(c) + 8 for p, c in zip(names, easy)}, 100)
    noise = np.random.default_rng(3).integers(-4, 5, size=200)
    other = write_counts(tmp_path / "other.jsonl", {p: max(0, int(c)) for p, c in zip(names, easy + noise)}, 100)
    result = analyze(read([one]), (1,))
    (pair,) = compare_logs(result, read([other])).differences
    assert 0 < pair.difference.low < 0.08 < pair.difference.high
    (alone,) = result.points
    unpaired = 2**0.5 * (alone.ci_high - alone.ci_low)
    assert pair.difference.high - pair.difference.low < 0.2 * unpaired


def test_against_itself(tmp_path: Path) -> None:
    """Every difference is exactly 0, of every metric."""
    log = write(tmp_path / "log.jsonl", rows())
    found = compared(log, log).differences
    assert {pair.metric for pair in found} == {"pass@k", "maj@k", "best@k", "weighted@k"}
    assert all(pair.difference.mean == 0 and pair.difference.low < 0 < pair.difference.high for pair in found)


def test_by_rows(tmp_path: Path) -> None:
    """A matrix's prompts are its rows."""
    np.savez(tmp_path / "one.npz", correct=CORRECT)
    np.savez(tmp_path / "other.npz", correct=CORRECT[::-1, :4])
    found = compared(str(tmp_path / "one.npz"), str(tmp_path / "other.npz")).differences
    assert [pair.k for pair in found] == [1, 2, 4]
    exact = (CORRECT.mean() - CORRECT[:, :4].mean()).item()
    assert found[0].difference.mean == pytest.approx(exact, abs=1e-12)


def test_different_numbers_of_samples(tmp_path: Path) -> None:
    """A budget is compared on the prompts that have as many samples in both."""
    one = write(tmp_path / "one.jsonl", [{"id": p, "n": n, "c": 2} for p, n in (("a", 4), ("b", 8), ("c", 8))])
    other = write(tmp_path / "other.jsonl", [{"id": p, "n": n, "c": 2} for p, n in (("a", 8), ("b", 8), ("c", 2))])
    found = compared(one, other, 1, 4, 8).differences
    assert [(pair.k, pair.prompts) for pair in found] == [(1, 3), (4, 2), (8, 1)]
    assert found[0].difference.mean == pytest.approx((1 / 4 - 3 / 4) / 3)
    assert np.isnan(found[2].difference.low)


def test_what_does_not_fit(tmp_path: Path) -> None:
    one = write_counts(tmp_path / "one.jsonl", {"a": 1, "b": 4})
    np.savez(tmp_path / "two.npz", correct=np.ones((2, 8)))
    np.savez(tmp_path / "three.npz", correct=np.ones((3, 8)))
    with pytest.raises(ValueError, match="against: expected prompts that files has too, got none"):
        compared(one, write_counts(tmp_path / "disjoint.jsonl", {"c": 1}), 2)
    with pytest.raises(ValueError, match="budgets: expected one up to 1"):
        compared(one, write_counts(tmp_path / "one_sample.jsonl", {"a": 1}, 1), 2)
    message = "against: expected 2 prompts, since a matrix is matched row by row, got 3"
    with pytest.raises(ValueError, match=message):
        match_prompts(read([tmp_path / "two.npz"]), read([tmp_path / "three.npz"]))


def test_examples() -> None:
    assert doctest.testmod(comparison).failed == 0
