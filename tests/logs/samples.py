"""Logs as files on disk, good and bad, and what the library makes of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from ttc_fast.logs.analysis import analyze
from ttc_fast.logs.log import SampleLog
from ttc_fast.logs.reader import read

_RANDOM = np.random.default_rng(0)
ANSWERS = _RANDOM.integers(-1, 3, size=(4, 6))
SCORES = _RANDOM.random((4, 6)).round(2)
CORRECT = ANSWERS == 1

GOOD = {"prompt": "p", "correct": 1, "score": 0.5}
BAD: list[tuple[list[Any], str]] = [
    ([GOOD, "{"], "line 2: expected JSON"),
    ([GOOD, "[1]"], "line 2: expected a JSON object, got '[1]'"),
    ([GOOD, {**GOOD, "correct": 2}], "line 2: correct: expected true, false, 1 or 0, got 2"),
    ([GOOD, {**GOOD, "correct": None}], "line 2: correct: expected true, false, 1 or 0, got None"),
    ([GOOD, {"correct": 1, "score": 1}], "line 2: prompt: expected a text or a whole number, got no such field"),
    ([GOOD, {**GOOD, "prompt": [1]}], "line 2: prompt: expected a text or a whole number, got [1]"),
    ([GOOD, {**GOOD, "answer": {"a": 1}}], "line 2: answer: expected a text or a whole number"),
    ([GOOD, '{"prompt": "p", "correct": 1, "score": NaN}'], "line 2: score: expected a finite number, got nan"),
    ([GOOD, '{"prompt": "p", "correct": 1, "score": 1e999}'], "line 2: score: expected a finite number, got inf"),
    ([GOOD, {**GOOD, "score": 10**400}], "line 2: score: expected a finite number"),
    ([GOOD, {"prompt": "p", "correct": 0}], "line 2: score: expected with every sample or with none"),
    ([GOOD, {**GOOD, "tokens": -1}], "line 2: tokens: expected a whole number from 0"),
    ([GOOD, '{"prompt": ' + "[" * 100_000], "line 2: expected JSON"),
    ([GOOD, '{"prompt": "p", "correct": 1, "score": ' + "9" * 5000 + "}"], "line 2: expected JSON"),
    ([{"id": 1, "n": 3, "c": 1}, {"id": 2, "n": 3, "c": 4}], "line 2: c: expected a whole number from 0 to 3, got 4"),
    ([{"id": 1, "n": 3, "c": 1}, {"id": 2, "n": 10**9, "c": 4}], "line 2: n: expected a whole number from 0 to 1000"),
    ([{"id": 1, "n": 3, "c": 1}, {"id": 2, "n": 0, "c": 0}], "line 2: n: expected at least 1 sample"),
    ([{"unknown": 1}], "line 1: expected the fields of a known format"),
    (["id,n,c", "1,3,1", "2,3"], "line 3: expected 3 values as in the heading, got 2"),
]
"""Lines, and what the complaint about one of them says."""


def rows() -> list[dict[str, Any]]:
    """The samples above as records of the format plain."""
    return [
        {
            "prompt": f"p{p}",
            "sample": i,
            "answer": None if ANSWERS[p, i] < 0 else f"a{ANSWERS[p, i]}",
            "correct": bool(CORRECT[p, i]),
            "score": float(SCORES[p, i]),
            "tokens": 10,
        }
        for p in range(4)
        for i in range(6)
    ]


def write(path: Path, lines: list[Any]) -> str:
    """A file of these lines, texts or objects in JSON; its path."""
    path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
    return str(path)


def write_counts(path: Path, solved: dict[str, int], n: int = 8) -> str:
    """A file of the format counts: c of every prompt."""
    return write(path, [{"id": prompt, "n": n, "c": c} for prompt, c in solved.items()])


def means(*paths: str, filter: str | None = None, **settings: Any) -> dict[str, list[float]]:
    """The means of every metric but the weighted vote, in the order of the budgets."""
    result: dict[str, list[float]] = {}
    for point in analyze(read(paths, filter=filter), **settings).points:
        if point.metric != "weighted@k":
            result.setdefault(point.metric, []).append(point.mean)
    return result


def sampled(p: np.ndarray, samples: int, seed: int, strength: float = 1.0) -> SampleLog:
    """Of laws of answers ``[P, A]``, the first the right one; scores N(0, 1), of right samples N(strength, 1)."""
    rng = np.random.default_rng(seed)
    answers = np.stack([rng.choice(len(one), samples, p=one) for one in p])
    labels = answers == 0
    scores = rng.standard_normal(answers.shape) + strength * labels
    n, c = np.full(len(p), samples), labels.sum(axis=1)
    tokens = np.full(answers.size, 100.0)
    return SampleLog(
        "plain", np.arange(len(p)), n, c, labels.ravel(), answers.ravel(), scores.ravel(), tokens, 0, 0, ()
    )
