"""Every format of logs, against the same samples written as ``plain``."""

from __future__ import annotations

import doctest
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from logs.samples import ANSWERS, CORRECT, SCORES, means, rows, write
from ttc_fast.logs.formats import FORMATS, detect, formats_of_file, search_and_learn
from ttc_fast.logs.formats.search_and_learn import boxed
from ttc_fast.logs.reader import read
from ttc_fast.numerics import npz


@pytest.mark.parametrize(
    ("record", "name"),
    [
        ({"prompt": 1, "correct": 1}, "plain"),
        ({"id": 1, "n": 1, "c": 1}, "counts"),
        ({"task_id": 1, "passed": 1, "prompt": 1, "correct": 1}, "human-eval"),
        ({"doc_id": 1, "filtered_resps": [], "prompt": 1, "correct": 1}, "lm-eval"),
        ({"completions": [], "answer": 1, "prompt": 1, "correct": 1}, "search-and-learn"),
    ],
)
def test_detection(record: dict[str, Any], name: str) -> None:
    """A record with the fields of two formats is of the more special one."""
    assert detect(record, formats_of_file(b"{")) is FORMATS[name]


def test_detection_of_archives() -> None:
    assert [format.name for format in formats_of_file(b"PK\x03\x04")] == ["matrix"]
    with pytest.raises(ValueError, match="expected the fields of a known format"):  # no line of text is a matrix
        detect({"row": 0, "correct": [1]}, formats_of_file(b"{"))


def test_matrix_and_plain_are_the_same(tmp_path: Path) -> None:
    np.savez(tmp_path / "log.npz", correct=CORRECT, answer=np.asfortranarray(ANSWERS), score=SCORES)
    plain = means(write(tmp_path / "log.jsonl", rows()))
    assert means(str(tmp_path / "log.npz")) == plain


def test_counts(tmp_path: Path) -> None:
    counts = [{"id": p, "n": 6, "c": int(CORRECT[p].sum()), "source": "x"} for p in range(4)]
    plain = means(write(tmp_path / "log.jsonl", rows()))["pass@k"]
    table = "id,n,c\n" + "".join(f"{r['id']},{r['n']},{r['c']}\n" for r in counts)
    for name, text in (("a.jsonl", None), ("b.json", json.dumps(counts, indent=1)), ("c.csv", table)):
        path = write(tmp_path / name, list(counts) if text is None else [text])
        assert means(path) == {"pass@k": plain}


def test_human_eval(tmp_path: Path) -> None:
    lines = [
        {"task_id": f"HumanEval/{p}", "completion": "return", "result": "passed", "passed": bool(CORRECT[p, i])}
        for p in range(4)
        for i in range(6)
    ]
    plain = means(write(tmp_path / "log.jsonl", rows()))["pass@k"]
    assert means(write(tmp_path / "x_results.jsonl", lines)) == {"pass@k": plain}


def test_lm_eval(tmp_path: Path) -> None:
    """One filter's rows; a label for each row, or one response for each repeat against the target."""

    def row(doc: int, name: str, answers: list[str], match: float) -> dict[str, Any]:
        return {
            "doc_id": doc, "target": "7", "resps": [["text"]], "filtered_resps": answers, "filter": name,
            "metrics": ["exact_match"], "exact_match": match,
        }  # fmt: skip

    lines = [row(d, name, ["7" if d else "[invalid]"], float(d)) for d in (0, 1) for name in ("strict", "flexible")]
    path = write(tmp_path / "samples_gsm8k.jsonl", lines)
    with pytest.raises(ValueError, match="filter: expected the rows of one filter, got those of flexible, strict"):
        read([path])
    assert means(path, filter="strict") == {"pass@k": [0.5], "maj@k": [0.5]}
    repeats = write(tmp_path / "repeats.jsonl", [row(0, "none", ["7", "8", "8", "7"], 1.0)])
    got = means(repeats, budgets=(1, 2))
    assert got["pass@k"] == pytest.approx([0.5, 5 / 6])
    assert got["maj@k"] == pytest.approx([0.5, 0.5])


def test_search_and_learn(tmp_path: Path) -> None:
    row = {
        "problem": "?", "answer": "\\frac{1}{2}", "unique_id": "test/1.json",
        "completions": ["so \\boxed{\\dfrac{1}{2}}.", "\\boxed{3}", "no idea", "\\boxed{ \\frac{1}{2} }"],
        "scores": [[0.1, 0.9], [0.8, 0.95], [0.5], [0.2]], "completion_tokens": [5, 6, 7, 8],
    }  # fmt: skip
    got = means(write(tmp_path / "best_of_n.jsonl", [row]), budgets=(1, 4))
    assert got == {"pass@k": [0.5, 1.0], "maj@k": [0.5, 1.0], "best@k": [0.5, 0.0]}
    assert boxed("a \\boxed{1} b \\boxed{x^{2}} c") == "x^{2}"
    assert boxed("\\boxed{unfinished") is None
    assert doctest.testmod(search_and_learn).failed == 0


def bad_archives(folder: Path) -> dict[str, str]:
    np.savez(folder / "objects.npz", correct=np.array([[None, 1]], dtype=object))
    np.savez(folder / "words.npz", correct=np.array([["ab"]]))
    np.savez(folder / "flat.npz", correct=np.ones(3))
    np.savez(folder / "other.npz", truth=np.ones((2, 3)))
    np.savez(folder / "half.npz", correct=np.full((2, 3), 0.5))
    np.savez(folder / "shapes.npz", correct=np.ones((2, 3)), score=np.ones((3, 2)))
    np.savez_compressed(folder / "bomb.npz", correct=np.zeros((1000, 2000), dtype=np.int8))
    with zipfile.ZipFile(folder / "header.npz", "w") as archive:  # claims more than it holds
        header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (100000, 100000), }"
        header += b" " * (117 - len(header)) + b"\n"
        archive.writestr("correct.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
    (folder / "broken.npz").write_bytes(b"PK\x03\x04 and no more")
    return {
        "objects.npz": "array correct: Python objects; make it one of numbers",
        "words.npz": "array correct: dtype <U2; expected numbers",
        "flat.npz": "correct: expected shape [P, N]",
        "other.npz": "expected the arrays correct and",
        "half.npz": "row 0: correct: expected true, false, 1 or 0, got 0.5",
        "shapes.npz": "score: expected shape [P, N] [2, 3], got [3, 2]",
        "bomb.npz": "correct: expected at most 200 times its packed size of",
        "header.npz": "array correct: shape [100000, 100000] of float64, which has 80000000000 bytes, and 0 bytes",
        "broken.npz": "expected an .npz file of numbers",
    }


@pytest.mark.parametrize("skip_bad", [False, True])
def test_bad_archives(skip_bad: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No row of a matrix may be left out."""
    monkeypatch.setattr(npz, "EXPANSION_FROM", 10**6)
    for name, message in bad_archives(tmp_path).items():
        with pytest.raises(ValueError) as caught:
            read([tmp_path / name], skip_bad=skip_bad)
        text = str(caught.value)
        assert message in text, name
        assert name in text
        assert "\n" not in text
        assert "--skip-bad" not in text
