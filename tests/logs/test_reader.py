"""Files in, one log out: order, several files, bad lines, caps, a format of one's own."""

from __future__ import annotations

import doctest
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from logs.samples import BAD, CORRECT, GOOD, means, rows, write
from ttc_fast.logs import reader, records
from ttc_fast.logs.formats import FORMATS, Format
from ttc_fast.logs.log import PromptCounts, Record, Sample
from ttc_fast.logs.reader import read


def test_prompts_of_several_files_are_put_together(tmp_path: Path) -> None:
    lines = rows()
    one = write(tmp_path / "1.jsonl", [r for r in lines if r["sample"] < 4])
    two = write(tmp_path / "2.jsonl", [{**r, "sample": r["sample"] - 4} for r in lines if r["sample"] >= 4])
    whole = write(tmp_path / "log.jsonl", lines)
    assert means(one, two, ties="first") == means(whole, ties="first")
    assert (read([one, two]).pooled, read([whole]).pooled) == (4, 0)


def test_an_answer_that_is_empty_is_none(tmp_path: Path) -> None:
    """In every layout, and so is an empty box; no hash of an answer means that there is none."""
    answers = [None, "", "x", "y", " ", "\\boxed{}", "x"]
    lines = [{"prompt": "p", "correct": 0, **({} if a is None else {"answer": a})} for a in answers]
    log = read([write(tmp_path / "log.jsonl", lines)])
    assert log.answers is not None
    assert log.answers.tolist() == [-1, -1, 0, 1, -1, -1, 0]
    assert read([write(tmp_path / "none.jsonl", lines[:1])]).answers is None


@pytest.mark.parametrize(("lines", "message"), BAD)
def test_bad_lines(lines: list[Any], message: str, tmp_path: Path) -> None:
    """Refused with file, line and field; with ``skip_bad`` left out and counted."""
    path = write(tmp_path / "log.jsonl", lines)
    with pytest.raises(ValueError, match=re.escape(f"{path}: {message}")) as caught:
        read([path])
    assert "\n" not in str(caught.value)
    if len(lines) == 1:
        with pytest.raises(ValueError, match=r"expected samples, got none in .*log.jsonl \(1 bad lines\)"):
            read([path], skip_bad=True)
        return
    log = read([path], skip_bad=True)
    assert log.skipped == 1
    assert log.complaints[0].startswith(f"{path}: {message}")


def test_caps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "MAX_LINE", 100)
    path = write(tmp_path / "log.jsonl", [GOOD, {**GOOD, "prompt": "p" * 1000}, GOOD])
    with pytest.raises(ValueError, match="line 2: expected at most 100 bytes in a line"):
        read([path])
    assert read([path], skip_bad=True).samples.tolist() == [2]
    monkeypatch.setattr(reader, "MAX_SAMPLES", 1)
    with pytest.raises(ValueError, match="expected at most 1 samples in all"):
        read([write(tmp_path / "two.jsonl", [GOOD, GOOD])])
    monkeypatch.setattr(records, "MAX_LIST", 10)
    with pytest.raises(ValueError, match="expected a JSON list of at most 10 bytes"):
        read([write(tmp_path / "list.json", [[GOOD]])])


def test_a_column_twice(tmp_path: Path) -> None:
    """Which of the two holds the labels is not known: the last one would be taken in silence."""
    path = write(tmp_path / "log.csv", ["id,n,c,c", "1,3,1,0"])
    with pytest.raises(ValueError, match="line 1: expected all names of the heading once, got c again"):
        read([path])
    with pytest.raises(ValueError, match="expected samples, got none"):
        read([path], skip_bad=True)


def test_same_sample_twice(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="sample: expected each number once for each prompt and file, got 3 twice"):
        read([write(tmp_path / "log.jsonl", [{**GOOD, "sample": 3}, {**GOOD, "sample": 3}])])


def test_no_file_and_no_format(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="files: expected at least one"):
        read([])
    with pytest.raises(ValueError, match=r"format: expected one of plain, counts, .*, matrix, got 'csv'"):
        read([write(tmp_path / "log.jsonl", rows())], "csv")


def graded(record: Record) -> Iterator[Sample]:
    """Of a format of one's own: a question, its marks out of 10."""
    for answer, mark in record["marks"].items():
        yield Sample(record["question"], mark == 10, answer, score=mark)


GRADED = Format("graded", lambda record: "marks" in record, graded, ("question", "marks"))


def test_own_format(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given to ``read``, or registered: then it is detected, before ours."""
    lines = [{"question": "1 + 1", "marks": {"2": 10, "3": 0}, "prompt": "1 + 1", "correct": 0}]
    path = write(tmp_path / "log.jsonl", lines)
    assert read([path]).format == "plain"
    log = read([path], GRADED)
    assert (log.format, log.samples.tolist(), log.correct.tolist()) == ("graded", [2], [1])
    assert log.scores is not None
    assert log.scores.tolist() == [10, 0]
    monkeypatch.setitem(FORMATS, "graded", GRADED)
    assert read([path]).format == read([path], "graded").format == "graded"


def test_own_format_of_binary_files_with_filters(tmp_path: Path) -> None:
    """Its own records, of which one filter's are read; a bad one is left out."""

    def of_bytes(file: Any, path: str) -> Any:
        for place, byte in enumerate(file.read()[1:]):
            yield f"byte {place}", {"byte": byte} if byte < 128 else ValueError("byte: expected ASCII")

    def counted(record: Record) -> list[PromptCounts]:
        return [PromptCounts(chr(record["byte"]).lower(), 2, 1)]

    format = Format(
        "bytes", lambda record: True, counted, filter_of=lambda record: str(chr(record["byte"]).isupper()),
        records=of_bytes, first_bytes=b"\0",
    )  # fmt: skip
    path = tmp_path / "log"
    path.write_bytes(b"\0aBc\xff")
    with pytest.raises(ValueError, match="byte 3: byte: expected ASCII"):
        read([path], format)
    with pytest.raises(ValueError, match="filter: expected the rows of one filter, got those of False, True"):
        read([path], format, skip_bad=True)
    assert read([path], format, filter="False", skip_bad=True).samples.tolist() == [2, 2]


@pytest.mark.parametrize("name", ["id", "prompt", "task_id"])
def test_counts_by_any_name(name: str, tmp_path: Path) -> None:
    log = read([write(tmp_path / "counts.jsonl", [{name: "a", "n": 4, "c": 1}, {name: "b", "n": 2, "c": 2}])])
    assert (log.format, log.prompts.tolist()) == ("counts", ["a", "b"])
    assert log.correct.tolist() == [1, 2]


def test_samples_and_counts_do_not_mix(tmp_path: Path) -> None:
    mixed = Format("mixed", lambda record: True, lambda record: [Sample("p", True), PromptCounts("p", 2, 1)])
    with pytest.raises(ValueError, match="c: expected with every sample or with none"):
        read([write(tmp_path / "log.jsonl", [GOOD])], mixed)


def test_progress(tmp_path: Path) -> None:
    """The share of the bytes of all files, at least once for each."""
    seen: list[tuple[str, float]] = []
    paths = [write(tmp_path / name, rows()) for name in ("1.jsonl", "2.jsonl")]
    read(paths, progress=lambda stage, share: seen.append((stage, share)))
    assert seen == [("reading", 0.5), ("reading", 1.0)]


def test_order_of_lines_does_not_matter(tmp_path: Path) -> None:
    """Where samples have numbers, but for the order of the prompts."""
    lines = rows()
    order = np.random.default_rng(2).permutation(len(lines))
    log = read([write(tmp_path / "log.jsonl", [lines[i] for i in order])])
    first = list(dict.fromkeys(int(i) // 6 for i in order))
    assert log.labels is not None
    assert log.labels.reshape(4, 6).tolist() == CORRECT[first].tolist()


def test_examples() -> None:
    assert doctest.testmod(reader).failed == 0


@pytest.mark.parametrize("name", FORMATS)
def test_records_of_another_format_are_refused_in_words(name: str, tmp_path: Path) -> None:
    """Fields of this and of other formats, with values of any kind: what is not understood is said to be so."""
    draw = random.Random(0)
    values: list[Any] = [
        None,
        -1,
        0.5,
        "x",
        "",
        True,
        [],
        [1],
        ["a"],
        [None],
        {},
        {"a": 1},
        [[1]],
        [{}],
        {"a": [1]},
        "pass",
    ]
    own = FORMATS[name].fields
    others = sorted({field for one in FORMATS.values() for field in one.fields} | {"prompt", "correct", "choices"})
    refused = 0
    for _ in range(40):
        fields = [field for field in own if draw.random() < 0.8] + draw.sample(others, 4)
        path = write(tmp_path / "log.jsonl", [{field: draw.choice(values) for field in fields}])
        try:
            read([path], format=name)
        except ValueError as error:
            refused += str(path) in str(error)
    assert refused > 20


def test_a_field_that_a_format_takes_without_asking(tmp_path: Path) -> None:
    """A format of the user's own that lacks it says so, and --skip-bad leaves it out."""
    marks = Format("marks", lambda record: True, lambda record: [Sample("p", record["mark"] == 10)])
    path = write(tmp_path / "log.jsonl", [{"mark": 10}, {"grade": 1}])
    with pytest.raises(ValueError, match="line 2: mark: expected a field of that name in this format, got grade"):
        read([path], format=marks)
    assert read([path], format=marks, skip_bad=True).skipped == 1
