"""What a user may ask of the reader: fields, answers, labels, step scores, clusters; and containers of many kinds."""

from __future__ import annotations

import doctest
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from logs.samples import rows, write
from logs.test_cases import figures
from ttc_fast.estimators.table import Table
from ttc_fast.logs import answers, options, table
from ttc_fast.logs.analysis import analyze
from ttc_fast.logs.answers import boxed, last_number, normalised, same
from ttc_fast.logs.formats import labels
from ttc_fast.logs.reader import read
from ttc_fast.logs.table import prompt_names, to_table, worst


def test_fields_of_other_names(tmp_path: Path) -> None:
    lines = [{"q": {"id": "a"}, "out": "4", "ok": "yes", "label": i % 2} for i in range(4)]
    path = write(tmp_path / "log.jsonl", lines)
    log = read([path], fields={"prompt": "q.id", "answer": "out", "correct": "label"})
    assert (log.prompts.tolist(), log.samples.tolist(), log.correct.tolist()) == (["a"], [4], [2])
    with pytest.raises(ValueError, match="line 1: missing: expected a field of that name, got q, out, ok, label"):
        read([path], fields={"prompt": "missing"})
    with pytest.raises(ValueError, match="name yours with --field prompt="):
        read([path])


def test_a_line_for_each_prompt(tmp_path: Path) -> None:
    line = {"id": "m0", "answers": [None, "4", "5"], "correct": [0, 1, 0], "prm": [0.1, 0.9, 0.5], "tokens": [1, 2, 3]}
    log = read([write(tmp_path / "log.jsonl", [line])], fields={"prompt": "id", "answer": "answers", "score": "prm"})
    assert figures(analyze(log, [1, 3]))["best@k"] == {1: pytest.approx(1 / 3), 3: 1.0}
    with pytest.raises(ValueError, match="tokens: expected a list of 2, got one of 3"):
        read([write(tmp_path / "bad.jsonl", [{**line, "prompt": "p", "correct": [0, 1], "answers": 0}])])


@pytest.mark.parametrize(("how", "score"), [("last", 0.2), ("min", 0.2), ("prod", 0.1), ("mean", 0.35), (None, 0.2)])
def test_scores_of_steps(how: Any, score: float, tmp_path: Path) -> None:
    lines = [{"prompt": "p", "correct": 1, "score": [0.5, 0.2]}, {"prompt": "p", "correct": 0, "score": [0.9]}]
    log = read([write(tmp_path / "log.jsonl", lines)], aggregate=how)
    assert log.scores is not None
    assert log.scores.tolist() == pytest.approx([score, 0.9])


def test_answers_and_labels_of_completions(tmp_path: Path) -> None:
    texts = ["The answer is 1,000.", "The answer is 1000. No: the answer is 7.", "none"]
    path = write(tmp_path / "log.jsonl", [{"prompt": "q", "choices": [{"text": text}]} for text in texts])
    for how in ("last-number", r"answer is ([\d,]+)"):
        log = read([path], gold=write(tmp_path / "gold.csv", ["id,answer", "q,1000.0"]), extract=how)
        assert log.labels is not None
        assert log.answers is not None
        assert (log.labels.tolist(), (log.answers >= 0).tolist()) == ([True, False, False], [True, True, False])
        assert log.notes == (f"1 completions are without answer by --extract {how}",)
    with pytest.raises(ValueError, match="line 1: gold: expected the true answer of every prompt, got none of 'q'"):
        read([path], gold=write(tmp_path / "gold.json", [{"other": 4}]))
    with pytest.raises(ValueError, match=r"gold.json: line 1: gold: expected a prompt and its answer, got a"):
        read([path], gold=write(tmp_path / "gold.json", [{"a": [1]}]))


def test_formulas_by_math_verify(tmp_path: Path) -> None:
    pytest.importorskip("math_verify")
    assert same("x+1", "1+x", "math")
    assert not same("x", "y", "math")
    lines = [{"prompt": "q", "correct": a != "y", "answer": a} for a in ("x + 1", "1 + x", "y", "y", "1+x")]
    path = write(tmp_path / "log.jsonl", lines)
    assert figures(analyze(read([path]), [5]))["maj@k"] == {5: 0.5}
    assert figures(analyze(read([path], equal="math"), [5]))["maj@k"] == {5: 1.0}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("42", " 42.0 "), ("1,234,567", "1234567"), (r"\frac{84}{2}", "42"), (r"\tfrac34", "0.75"), ("$-3$", "-3.00"),
        (r"\left(1, 2\right)", "(1,2)"), (r"\boxed{7}", "7"), (r"5\text{ cm}", "5"), (r"50\%", "50"),
        (r"30^\circ", "30"),
        (r"\mathrm{Paris}", "Paris"), ("x = 5", "5"), ("1e3", "1000"), (r"\(2\)", "2"), ("+4", "4"), ("-0", "0"),
        ("Orl\u00e9ans", "Orle\u0301ans"),
    ],
)  # fmt: skip
def test_answers_that_are_the_same(one: str, other: str) -> None:
    assert normalised(one) == normalised(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("42", "43"),
        ("1,2", "12"),
        ("(1,234)", "(1234)"),
        ("a b", "ab"),
        ("A", "a"),
        ("2 cm", "2"),
        ("1/2", "2"),
        ("x", "xx"),
    ],
)
def test_answers_that_are_not(one: str, other: str) -> None:
    assert normalised(one) != normalised(other)


def test_boxes() -> None:
    assert boxed("\\boxed{unfinished") is None
    assert boxed("\\fbox{4} then \\boxed {5}") == "5"
    assert boxed("\\boxed{" * 10**5) is None
    assert last_number("-7 or −3/4") == "−3/4"
    assert normalised("1" * 2000) == "1" * 2000


def test_dialects_of_csv(tmp_path: Path) -> None:
    expected = {"best@k": {1: 0.5, 2: 1.0}}
    texts = {
        "semicolon": "prompt;correct;score\nq;WAHR;0,5\n".replace("WAHR", "TRUE") + "q;false;0,25\n",
        "tab": "prompt\tcorrect\tscore\nq\t1.0\t0.5\nq\t0.0\t0.25\n",
        "quoted": 'prompt,correct,score\n"q",1,0.5\n"q",0,0.25\n',
        "newlines": 'prompt,answer,correct,score\nq,"4\n5",1,0.5\n\nq,"a ""b"", c",0,0.25\n',
        "bar": "\ufeffprompt|correct|score\r\nq|1|0.5\r\nq|0|0.25\r\n",
    }
    for name, text in texts.items():
        (tmp_path / name).write_bytes(text.encode())
        assert figures(analyze(read([tmp_path / name])))["best@k"] == expected["best@k"], name
    (tmp_path / "open.csv").write_text('prompt,answer,correct\nq,4,1\nq,"4,1\nq,5,1\n')
    with pytest.raises(ValueError, match=r"open.csv: line 3: expected separated values: unexpected end of data"):
        read([tmp_path / "open.csv"])
    assert read([tmp_path / "open.csv"], skip_bad=True).samples.tolist() == [1]


def test_containers(tmp_path: Path) -> None:
    """The same samples as Parquet, packed by zstandard, as a list and as a document of several lines."""
    pandas, zstandard = pytest.importorskip("pandas"), pytest.importorskip("zstandard")
    plain = read([write(tmp_path / "log.jsonl", rows())])
    frame = pandas.DataFrame(rows())
    frame.to_parquet(tmp_path / "log.parquet")
    frame.to_csv(tmp_path / "log.csv")
    (tmp_path / "log.zst").write_bytes(zstandard.compress((tmp_path / "log.jsonl").read_bytes()))
    write(tmp_path / "log.json", [json.dumps(rows(), indent=2)])
    for name in ("log.parquet", "log.csv", "log.zst", "log.json"):
        log = read([tmp_path / name])
        for field in ("samples", "correct", "labels", "answers", "scores", "tokens"):
            assert np.array_equal(getattr(log, field), getattr(plain, field)), (name, field)
    line = write(tmp_path / "one.json", [json.dumps({"id": "a", "n": 4, "c": 1}, indent=2)])
    assert read([line]).samples.tolist() == [4]
    (tmp_path / "cut.parquet").write_bytes((tmp_path / "log.parquet").read_bytes()[:-100])
    (tmp_path / "cut.zst").write_bytes((tmp_path / "log.zst").read_bytes()[:-20])
    for name, message in (("cut.parquet", "expected a Parquet file"), ("cut.zst", "expected a whole zstd file")):
        with pytest.raises(ValueError, match=f"{name}: {message}"):
            read([tmp_path / name])


def test_batches_are_the_same_as_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever their size, and without orjson; a bad line keeps its number."""
    from ttc_fast.logs import records

    path = write(tmp_path / "log.jsonl", [*rows(), "", *[{**r, "prompt": f"x{r['prompt']}"} for r in rows()]])
    whole = read([path])
    for size in (1, 7, 100, 2000):
        monkeypatch.setattr(records, "BATCH", size)
        log = read([path])
        assert log.prompts.tolist() == whole.prompts.tolist()
        assert log.answers is not None
        assert whole.answers is not None
        assert np.array_equal(log.answers, whole.answers)
    bad = write(tmp_path / "bad.jsonl", [*rows(), *rows()[:3], "{"])
    for size in (50, 10**6):
        monkeypatch.setattr(records, "BATCH", size)
        with pytest.raises(ValueError, match=r"bad.jsonl: line 28: expected JSON"):
            read([bad])
    monkeypatch.setattr(records, "orjson", None)
    scores, expected = read([path]).scores, whole.scores
    assert scores is not None
    assert expected is not None
    assert scores.tolist() == expected.tolist()


def test_clusters(tmp_path: Path) -> None:
    """Four passages of three questions: wider intervals over passages, of the same means."""
    lines = [{"id": f"{c}{i}", "n": 4, "c": 4 * (c % 2), "passage": c} for c in range(4) for i in range(3)]
    path = write(tmp_path / "log.jsonl", lines)
    alone, together = (analyze(read([path], cluster=cluster)) for cluster in (None, "passage"))
    assert figures(alone) == figures(together)
    widths = [point.ci_high - point.ci_low for point in (alone.points[0], together.points[0])]
    assert widths[1] > 1.3 * widths[0]
    assert "intervals are over 4 clusters of prompts" in together.notes
    with pytest.raises(ValueError, match="line 13: passage: expected one cluster for a prompt, got '9' too"):
        read([write(tmp_path / "bad.jsonl", [*lines, {**lines[0], "passage": 9}])], cluster="passage")


def test_ties_by_score(tmp_path: Path) -> None:
    lines = [{"prompt": "q", "correct": a == "x", "answer": a, "score": s} for a, s in (("x", 0.9), ("y", 0.1))]
    log = read([write(tmp_path / "log.jsonl", lines)])
    assert figures(analyze(log, ties="score"))["maj@k"] == {1: 0.5, 2: 1.0}
    with pytest.raises(ValueError, match="ties: expected scores to break ties by"):
        analyze(read([write(tmp_path / "n.jsonl", [{"id": "a", "n": 2, "c": 1}])]), ties="score")


def test_a_table_with_names(tmp_path: Path) -> None:
    """Saved and read again; prompts that stand out by name; all of k right."""
    result = analyze(read([write(tmp_path / "log.jsonl", rows())]))
    saved = to_table(result)
    saved.save(tmp_path / "t.parquet")
    loaded = Table.load(tmp_path / "t.parquet")
    assert prompt_names(loaded) == ["p0", "p1", "p2", "p3"]
    values = loaded[("log", "majority", 1, 4, "maj@k")]
    assert values.mean() == pytest.approx(figures(result)["maj@k"][4])
    assert loaded[("log", "tokens", 1, 4, "tokens")].tolist() == [40.0] * 4
    n, c = result.log.samples, result.log.correct
    both = loaded[("log", "all", 1, 2, "pass^k")]
    assert both == pytest.approx(c * (c - 1) / (n * (n - 1)), abs=1e-12)
    assert worst(result, 2) == worst(result, 4)[:2]
    gaps = [abs(o.vote - o.single) for o in worst(result, 4)]
    assert gaps == sorted(gaps, reverse=True)


def test_labels_and_answers_that_contradict(tmp_path: Path) -> None:
    lines = [
        {"prompt": "q", "correct": 1, "answer": None},
        {"prompt": "q", "correct": 1, "answer": "4"},
        {"prompt": "q", "correct": 0, "answer": "4.0"},
    ]
    log = read([write(tmp_path / "log.jsonl", lines)])
    told = " ".join(log.notes)
    assert "1 samples are labelled correct without an answer" in told
    assert "in 1 prompts the same answer is labelled both correct and wrong" in told
    found = figures(analyze(log, [1, 3]))
    assert found["pass@k"][1] == pytest.approx(2 / 3)
    assert found["maj@k"][3] == 0.5


def test_a_stream_that_cannot_be_peeked(tmp_path: Path) -> None:
    from ttc_fast.logs.records import text_records

    assert list(text_records(io.BytesIO(b'{"a": 1}\n'), "x")) == [("line 1", {"a": 1})]


@pytest.mark.parametrize("module", [answers, options, table, labels])
def test_examples(module: Any) -> None:
    assert doctest.testmod(module).failed == 0
