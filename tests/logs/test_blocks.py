"""Many records at once give what the same records give one by one, or are read one by one."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ttc_fast.logs import batches
from ttc_fast.logs.log import SampleLog
from ttc_fast.logs.reader import read

FIRST = '{"prompt": "p", "answer": "1", "correct": true, "score": 0.5, "tokens": 3, "sample": 0}'


def outcome(path: Path, **options: Any) -> Any:
    """The log as plain values, or the complaint."""
    try:
        log = read([path], **options)
    except ValueError as error:
        return str(error)
    return {field.name: _plain(getattr(log, field.name)) for field in dataclasses.fields(SampleLog)}


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray) else value


def one_by_one(path: Path, **options: Any) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batches.Lines, "bulk", lambda *_: None)
        patch.setattr(batches.Rows, "bulk", lambda *_: None)
        return outcome(path, **options)


def columns_are_used(path: Path, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether no record is looked at after the first one."""
    asked: list[int] = []
    with monkeypatch.context() as patch:
        for kind in (batches.Lines, batches.Rows):
            original: Any = kind.records

            def records(self: Any, original: Any = original) -> Any:
                asked.append(len(self.places))
                return original.fget(self)

            patch.setattr(kind, "records", property(records))
        with contextlib.suppress(ValueError):
            read([path])
    return all(count == 1 for count in asked)


def record(draw: np.random.Generator, i: int, *, odd: bool) -> str:
    """A line that a tool could write; if ``odd``, perhaps one that is not as the others."""
    made: dict[str, Any] = {
        "prompt": f"p{draw.integers(4)}",
        "answer": ["1", "1.0", "\\frac{1}{2}", "", " ", "é\n", None][draw.integers(7)],
        "correct": bool(draw.integers(2)),
        "score": round(float(draw.normal()), 3),
        "tokens": int(draw.integers(100)),
        "sample": i,
        "model": ["a", "b"][draw.integers(2)],
    }
    if odd and draw.random() < 0.2:
        name = list(made)[draw.integers(len(made))]
        made[name] = [None, 1, 0.5, "x", True, [1], 2**60, {"a": 1}][draw.integers(8)]
        if draw.random() < 0.3:
            del made[name]
    return json.dumps(made, ensure_ascii=bool(draw.integers(2)))


@pytest.mark.parametrize("equal", ["exact", "normalised"])
def test_same_as_one_by_one(equal: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """200 random logs of 30 lines in blocks of a few, half of them with something odd: the same log, or complaint."""
    monkeypatch.setattr("ttc_fast.logs.records.BATCH", 700)
    draw, path = np.random.default_rng(0), tmp_path / "log.jsonl"
    logs = 0
    for case in range(200):
        lines = [record(draw, i, odd=case % 2 == 1) for i in range(30)]
        path.write_text("\n".join(lines) + "\n" * int(draw.integers(3)), encoding="utf-8")
        skip_bad = bool(draw.integers(2))
        found = outcome(path, equal=equal, skip_bad=skip_bad)
        assert found == one_by_one(path, equal=equal, skip_bad=skip_bad)
        logs += isinstance(found, dict)
    assert 100 < logs < 200


ODD = [
    '{"prompt": "p", "answer": "1", "correct": 1, "score": 0.5, "tokens": 3, "sample": 1}',  # not true
    '{"prompt": 7, "answer": "1", "correct": true, "score": 0.5, "tokens": 3, "sample": 1}',
    '{"prompt": "p", "answer": 1, "correct": true, "score": 0.5, "tokens": 3, "sample": 1}',
    '{"prompt": "p", "answer": "1", "correct": true, "score": NaN, "tokens": 3, "sample": 1}',
    '{"prompt": "p", "answer": "1", "correct": true, "score": 1e999, "tokens": 3, "sample": 1}',
    '{"prompt": "p", "answer": "1", "correct": true, "score": 1, "tokens": -1, "sample": 1}',
    '{"prompt": "p", "answer": "1", "correct": true, "score": 1, "tokens": 3.0, "sample": 1}',
    '{"prompt": "p", "answer": "1", "correct": true, "score": 1, "tokens": 3, "sample": 0}',  # twice
    '{"prompt": "p", "prompt": "q", "answer": "1", "correct": true, "score": 1, "tokens": 3, "sample": 1}',
    '{"prompt": "\\ud800", "answer": "1", "correct": true, "score": 1, "tokens": 3, "sample": 1}',
    '{"prompt": "p", "answer": "1", "correct": true, "score": 1, "tokens": 3, "sample": 1} {}',
    '{"prompt": "p", "answer": "1",\n"correct": true, "score": 1, "tokens": 3, "sample": 1}',
    '{"prompt": "p", "answer": "1", "correct": true, "score": 1, "tokens": 3, "sample": 1, "model": "m"}',
    '{"prompt": "p", "answer": "1", "correct": true, "score": 1, "tokens": 3, "sample": 1, "z": ' + "[" * 10**5 + "}",
    '{"prompt": "p", "answer": "1", "correct": true, "score": 1, "tokens": 3, "sample": 1, "z": "\xff"}',
    "[1]",
    "",
    "x",
]  # fmt: skip


@pytest.mark.parametrize("line", ODD, ids=range(len(ODD)))
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_odd_lines(line: str, end: str, tmp_path: Path) -> None:
    """In the midst of others, in bytes of Latin-1, so that one is no UTF-8."""
    others = [FIRST.replace('"sample": 0', f'"sample": {i}') for i in range(2, 8)]
    path = tmp_path / "log.jsonl"
    path.write_bytes((end.join([FIRST, *others[:3], line, *others[3:]]) + end).encode("latin-1"))
    for skip_bad in (False, True):
        assert outcome(path, skip_bad=skip_bad) == one_by_one(path, skip_bad=skip_bad)


def test_columns_are_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of plain rows and of human-eval, with fields beside, with whole prompts, and in Parquet; not of lists."""
    path = tmp_path / "log.jsonl"
    cases: list[tuple[dict[str, Any], bool]] = [
        ({"prompt": "p", "correct": True, "answer": None, "score": 1, "extra": [{"a": 1}], "model": "m"}, True),
        ({"prompt": 3, "correct": 0}, True),
        ({"task_id": "t", "passed": False, "completion": "x"}, True),
        ({"prompt": "p", "correct": [True, False]}, False),
        ({"prompt": "p", "correct": True, "temperature": 1.0}, False),  # others may write 1
        ({"prompt": "p", "correct": True, "temperature": 0.7}, True),
    ]
    for line, used in cases:
        path.write_text((json.dumps(line) + "\n") * 5)
        assert columns_are_used(path, monkeypatch) is used, line
        assert outcome(path) == one_by_one(path)


def test_parquet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Types as pandas and others write them."""
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "log.parquet"
    columns = {
        "prompt": pyarrow.array(["p", "q", "p", "q"]).dictionary_encode(),
        "correct": pyarrow.array([1, 0, 1, 1], pyarrow.int8()),
        "answer": pyarrow.array(["1", None, "1.0", "2"], pyarrow.large_string()),
        "score": pyarrow.array([0.25, 0.5, 0.1, 1.0], pyarrow.float32()),
        "tokens": pyarrow.array([1, 2, 3, 4], pyarrow.int32()),
    }
    for name, values, used in (
        ("extra", [[1], None, [2], []], True),
        ("score", [0.25, float("nan"), 0.1, 1.0], False),
        ("tokens", [1.0, 2.0, 3.0, 4.0], False),
        ("correct", [True, None, True, False], False),
        ("model", ["a", "b", "a", "c"], True),
    ):
        parquet.write_table(pyarrow.table({**columns, name: values}), path)
        assert columns_are_used(path, monkeypatch) is used, name
        assert outcome(path) == one_by_one(path), name
