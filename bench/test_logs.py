"""Rows of logs that are read in a second, by format: ``pytest -s bench/test_logs.py``. Counts are checked first."""

from __future__ import annotations

import csv
import gzip
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ttc_fast.logs.reader import read

PROMPTS, SAMPLES = 500, 200
ROWS = PROMPTS * SAMPLES


def row(p: int, s: int) -> dict[str, Any]:
    return {"prompt": f"p{p}", "answer": f"a{s * s % 7}", "correct": int(s % 7 == 1), "score": s / 1000}


def of_prompt(p: int) -> dict[str, Any]:
    """search-and-learn."""
    texts = [f"so \\boxed{{{s * s % 7}}}" for s in range(SAMPLES)]
    return {"problem": f"p{p}", "answer": "1", "completions": texts, "scores": [[s / 1000] for s in range(SAMPLES)]}


def raw(p: int, s: int) -> dict[str, Any]:
    """A completion of a server."""
    return {"prompt": f"p{p}", "answer": "1", "choices": [{"text": f"so \\boxed{{{s * s % 7}}}"}]}


def verl(p: int, s: int) -> dict[str, Any]:
    return {"input": f"p{p}", "output": f"\\boxed{{{s % 7}}}", "gts": "1", "score": float(s % 7 == 1), "step": 1}


def nemo(p: int, s: int) -> dict[str, Any]:
    return {"problem": f"p{p}", "expected_answer": "1", "predicted_answer": f"{s % 7}", "is_correct": s % 7 == 1}


def lines(path: Path, make: Callable[[int, int], dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(make(p, s)) + "\n" for p in range(PROMPTS) for s in range(SAMPLES)))


def packed(path: Path) -> None:
    lines(path, row)
    path.write_bytes(gzip.compress(path.read_bytes(), 1))


def separated(path: Path) -> None:
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, row(0, 0))
        writer.writeheader()
        writer.writerows(row(p, s) for p in range(PROMPTS) for s in range(SAMPLES))


def columns(path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.Table.from_pylist([row(p, s) for p in range(PROMPTS) for s in range(SAMPLES)]), path)


WRITERS: dict[str, tuple[Callable[[Path], Any], float]] = {
    "plain": (lambda path: lines(path, row), 2.0),
    "plain, gzip": (packed, 1.5),
    "plain, CSV": (separated, 0.12),
    "plain, Parquet": (columns, 3.0),
    "human-eval": (lambda path: lines(path, lambda p, s: {"task_id": f"p{p}", "passed": s % 7 == 1}), 3.0),
    "search-and-learn": (
        lambda path: path.write_text("\n".join(json.dumps(of_prompt(p)) for p in range(PROMPTS))),
        0.2,
    ),
    "openai": (lambda path: lines(path, raw), 0.08),
    "verl": (lambda path: lines(path, verl), 0.12),
    "nemo-skills": (lambda path: lines(path, nemo), 0.14),
}


def line_by_line(path: Path) -> int:
    """What a user would write for plain rows: no check, no name of its own for what means the same."""
    counts: dict[str, list[int]] = {}
    answers: dict[str, dict[str, int]] = {}
    scores: list[float] = []
    with open(path) as file:
        for line in file:
            record = json.loads(line)
            count = counts.setdefault(record["prompt"], [0, 0])
            count[0] += 1
            count[1] += bool(record["correct"])
            given = answers.setdefault(record["prompt"], {})
            given[record["answer"]] = given.get(record["answer"], 0) + 1
            scores.append(float(record["score"]))
    return sum(count[0] for count in counts.values())


def seconds(work: Callable[[], Any]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


@pytest.mark.parametrize("name", WRITERS)
def test_reading(name: str, tmp_path: Path) -> None:
    """At least so many times as fast as plain rows line by line; the best of three, in turn."""
    write, least = WRITERS[name]
    path, plain = tmp_path / "log", tmp_path / "plain"
    write(path)
    lines(plain, row)
    log = read([path])
    assert (int(log.samples.sum()), len(log.prompts), line_by_line(plain)) == (ROWS, PROMPTS, ROWS)
    ours, theirs = zip(*((seconds(lambda: read([path])), seconds(lambda: line_by_line(plain))) for _ in range(3)))
    print(f"\n{name}: {ROWS / min(ours):,.0f} rows a second, {min(theirs) / min(ours):.2f} of line by line")
    assert min(theirs) / min(ours) > least
