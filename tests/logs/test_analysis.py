"""Metrics, intervals and differences of one log; each is also estimated here directly."""

from __future__ import annotations

import doctest
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from logs.samples import ANSWERS, CORRECT, SCORES, means, rows, write
from test_packaging import python
from ttc_fast.estimators.selection import best_of_k, pass_at_k
from ttc_fast.estimators.votes import majority_at_k
from ttc_fast.logs import analysis
from ttc_fast.logs.analysis import analyze
from ttc_fast.logs.reader import read


@pytest.mark.parametrize("ties", ["random", "fail", "first"])
@pytest.mark.parametrize("no_answer", ["fail", "ignore"])
def test_plain(ties: Any, no_answer: Any, tmp_path: Path) -> None:
    """In any order of lines: the field sample gives the order, the first appearance that of prompts."""
    lines = rows()
    order = np.random.default_rng(1).permutation(len(lines))
    log = write(tmp_path / "log.jsonl", [lines[i] for i in order])
    got = means(log, budgets=(1, 2, 5), ties=ties, no_answer=no_answer)
    ks = [1, 2, 5]
    assert got["pass@k"] == pytest.approx(pass_at_k(np.full(4, 6), CORRECT.sum(1), ks).mean(0))
    vote = majority_at_k(ANSWERS, CORRECT, ks, ties=ties, no_answer=no_answer)
    assert got["maj@k"] == pytest.approx(vote.mean(0))
    assert got["best@k"] == pytest.approx(best_of_k(SCORES, CORRECT, ks).mean(0))


def test_prompts_with_different_numbers_of_samples(tmp_path: Path) -> None:
    """A budget is estimated on the prompts that have as many samples; a band needs all."""
    log = write(tmp_path / "log.jsonl", [r for r in rows() if r["prompt"] != "p0" or r["sample"] < 2])
    result = analyze(read([log]), (2, 6))
    assert {(point.k, point.prompts) for point in result.points} == {(2, 4), (6, 3)}
    assert {k for _, k in result.bands} == {2}


def test_differences_of_techniques(tmp_path: Path) -> None:
    """At the largest budget, each as the difference of the two means."""
    result = analyze(read([write(tmp_path / "log.jsonl", rows())]))
    values = {point.metric: point.mean for point in result.points if point.k == 6}
    values["single"] = next(p.mean for p in result.points if p.metric == "pass@k" and p.k == 1)
    assert len(result.differences) == 10
    for pair in result.differences:
        assert pair.interval.mean == pytest.approx(values[pair.one] - values[pair.other], abs=1e-12)
        assert pair.interval.low <= pair.interval.mean <= pair.interval.high


def test_budgets_that_no_prompt_has(tmp_path: Path) -> None:
    log = read([write(tmp_path / "log.jsonl", rows())])
    for budget in (0, 7):
        with pytest.raises(ValueError, match="budgets: expected numbers from 1 to 6"):
            analyze(log, [budget])


def test_progress(tmp_path: Path) -> None:
    """One stage, over the prompts of all banks."""
    log = read([write(tmp_path / "log.jsonl", [r for r in rows() if r["prompt"] != "p0" or r["sample"] < 2])])
    seen: list[tuple[str, float]] = []
    analyze(log, progress=lambda stage, share: seen.append((stage, share)))
    shares = [share for _, share in seen]
    assert {stage for stage, _ in seen} == {"estimating"}
    assert shares == sorted(shares)
    assert shares[0] == 0.25
    assert shares[-1] == 1.0


def test_needs_no_torch() -> None:
    code = (
        "import sys, ttc_fast.logs.comparison, ttc_fast.logs.reader, ttc_fast.estimators.votes, ttc_fast.cli.console;"
        "print([m for m in ('torch', 'triton', 'matplotlib') if m in sys.modules])"
    )
    assert python(code) == "[]"


def test_examples() -> None:
    assert doctest.testmod(analysis).failed == 0
