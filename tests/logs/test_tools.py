"""Logs of other tools. Those in ``fixtures`` were written by the tools themselves (see ttc_fast/logs/README.md); the
others are written here by the layouts in the tools' own sources."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from logs.samples import write
from logs.test_cases import figures
from ttc_fast.logs.analysis import analyze
from ttc_fast.logs.log import SampleLog
from ttc_fast.logs.reader import read

FIXTURES = Path(__file__).parent / "fixtures"


def fixture(name: str, **options: Any) -> SampleLog:
    return read([FIXTURES / name], **options)


def counted(log: SampleLog) -> tuple[list[int], list[int]]:
    """n and c of every prompt."""
    return log.samples.tolist(), log.correct.tolist()


def test_lm_eval_itself() -> None:
    """Version 0.4.13, four repeats under three filters: two drop responses, of the third the mean is logged."""
    name = "samples_sums_2026-11-25T20-28-35.632852.jsonl"
    with pytest.raises(ValueError, match="filter: expected the rows of one filter, got those of all, first, maj"):
        fixture(name)
    with pytest.raises(ValueError, match="filter: expected one of all, first, maj, got 'last'"):
        fixture(name, filter="last")
    log = fixture(name, filter="all")
    assert counted(log) == ([4, 4], [2, 3])
    assert figures(analyze(log))["maj@k"][4] == 1.0
    first = fixture(name, filter="first")
    assert counted(first) == ([1, 1], [1, 1])
    assert first.notes[0].startswith("3 of 4 responses of 2 documents were dropped")


@pytest.mark.parametrize("name", ["inspect.eval", "inspect.json"])
def test_inspect_itself(name: str) -> None:
    """Version 0.3.285: two samples in three epochs; members of the archive are packed by zstandard."""
    log = fixture(name)
    assert dict(zip(log.prompts, log.correct.tolist())) == {"two-and-two": 2, "three-squared": 1}
    assert log.tokens is not None
    assert log.answers is not None


def test_inspect_with_two_scorers() -> None:
    with pytest.raises(ValueError, match="filter: expected the rows of one filter, got those of includes, match"):
        fixture("inspect_two_scorers.eval")
    assert counted(fixture("inspect_two_scorers.eval", filter="match")) == ([2], [0])
    assert counted(fixture("inspect_two_scorers.eval", filter="includes")) == ([2], [1])


def test_inspect_samples_without_score(tmp_path: Path) -> None:
    document = json.loads((FIXTURES / "inspect.json").read_text())
    document["samples"][0]["scores"] = {}
    document["samples"][1]["scores"]["match"]["value"] = "P"
    log = read([write(tmp_path / "log.json", [json.dumps(document, indent=2)])])
    assert int(log.samples.sum()) == 5
    assert any("1 samples were not scored" in note for note in log.notes)
    assert any("1 samples have partial credit" in note for note in log.notes)
    for sample in document["samples"]:
        sample["scores"] = {}
    with pytest.raises(ValueError, match=r"expected samples, got none in .*; 6 samples were not scored"):
        read([write(tmp_path / "log.json", [json.dumps(document, indent=2)])])


def test_evalplus_itself() -> None:
    """Version 0.3.1 prints pass@1 = 0.667 of the base tests and 0.500 with the extra ones."""
    assert counted(fixture("evalplus_eval_results.json")) == ([3, 3], [1, 2])
    assert counted(fixture("evalplus_eval_results.json", fields={"correct": "base_status"})) == ([3, 3], [2, 2])


def test_evalplus_before_version_0_2(tmp_path: Path) -> None:
    results = {"nfiles": 2, "base": [["success", [True]], ["failed", []]], "plus": [["timed out", []], ["failed", []]]}
    document = {"date": "2023", "hash": "x", "eval": {"HumanEval/0": results, "HumanEval/1": {**results, "plus": []}}}
    assert counted(read([write(tmp_path / "eval_results.json", [document])])) == ([2, 2], [0, 1])


def by_hand() -> dict[str, list[Any]]:
    """Lines of every other format: prompt a has 1 of 2 correct, b has 2 of 2."""
    text = "so \\boxed{4}"
    choices = {"choices": [{"message": {"content": text}}, {"message": {"content": "\\boxed{5}"}}]}
    labels = {"a": [True, False], "b": [True, True]}
    return {
        "bigcode": [
            {p: [[i, {"task_id": 0, "passed": ok, "result": "", "completion_id": i}] for i, ok in enumerate(oks)]
             for p, oks in labels.items()}
        ],
        "livecodebench": [
            [{"question_id": p, "code_list": ["x", "y"], "graded_list": oks} for p, oks in labels.items()],
        ],
        "monkeys": [
            {"question": p, "samples": ["#### 4", f"#### {4 if oks[1] else 5}"], "is_corrects": oks, "gt_answer": "4"}
            for p, oks in labels.items()
        ],
        "nemo-skills": [
            {"problem": p, "expected_answer": "4", "predicted_answer": "4" if ok else None, "symbolic_correct": ok,
             "generation": text, "num_generated_tokens": 3}
            for p, oks in labels.items()
            for ok in oks
        ],
        "verl": [
            {"input": p, "output": text if ok else "none", "gts": "4", "score": 1.0 if ok else 0.0, "step": 10}
            for p, oks in labels.items()
            for ok in oks
        ],
        "openai": [
            {"custom_id": "a", "response": {"status_code": 200, "body": choices}, "answer": "4.0"},
            {"custom_id": "b", "choices": [{"text": text}, {"text": f"{text}."}], "answer": "4"},
        ],
        "lighteval": [
            {"doc": {"id": "a", "choices": ["4"], "gold_index": [0]}, "model_response": {"text": ["\\boxed{4}", "5"]},
             "metric": {"pass@1:2_samples": 0.5}},
            {"doc": {"id": "b", "choices": ["4"], "gold_index": [0]}, "model_response": {"text": ["4", "4"]},
             "metric": {"pass@1:2_samples": 1}},
        ],
    }  # fmt: skip


@pytest.mark.parametrize("name", by_hand())
def test_layouts_by_hand(name: str, tmp_path: Path) -> None:
    log = read([write(tmp_path / "log.json", by_hand()[name])])
    assert log.format == name
    assert counted(log) == ([2, 2], [1, 2])


def test_lighteval_as_parquet(tmp_path: Path) -> None:
    """Old and new layouts; lists written as texts; extractive_match of a single prediction."""
    pandas = pytest.importorskip("pandas")
    old = [
        {"full_prompt": p, "predictions": "['\\\\boxed{4}']", "gold": "['4']", "metrics": "{'extractive_match': 1}"}
        for p in "ab"
    ]
    pandas.DataFrame(old).to_parquet(tmp_path / "old.parquet")
    pandas.DataFrame(by_hand()["lighteval"]).to_parquet(tmp_path / "new.parquet")
    log = read([tmp_path / "old.parquet"])
    assert (log.format, counted(log)) == ("lighteval", ([1, 1], [1, 1]))
    assert counted(read([tmp_path / "new.parquet"])) == ([2, 2], [1, 2])


def test_monkeys_as_yaml(tmp_path: Path) -> None:
    text = "question: a\nsamples:\n- 'x #### 4'\n- 'y #### 5'\ngt_answer: 'so #### 4'\nis_corrects: [true, false]\n"
    log = read([write(tmp_path / "0.yaml", [text])])
    assert (log.format, counted(log)) == ("monkeys", ([2], [1]))
    with pytest.raises(ValueError, match=r"1.yaml: expected YAML"):
        read([write(tmp_path / "1.yaml", ["a: [1"])])
    with pytest.raises(ValueError, match=r"2.yaml: expected YAML: could not determine a constructor"):
        read([write(tmp_path / "2.yaml", ["a: !!python/object/apply:os.system [true]"])])


def test_completions_without_a_box_or_a_name(tmp_path: Path) -> None:
    line = {"prompt": "q", "choices": [{"text": "it is 4"}, {"text": "it is 5"}], "usage": {"completion_tokens": 9}}
    path = write(tmp_path / "log.jsonl", [line])
    with pytest.raises(ValueError, match="line 1: correct: expected a label or the true answer, got neither; give the"):
        read([path])
    gold = write(tmp_path / "gold.json", [{"q": "4"}])
    log = read([path], gold=gold, extract="last-number")
    assert counted(log) == ([2], [1])
    with pytest.raises(ValueError, match="prompt: expected a field that names the prompt, got none"):
        read([write(tmp_path / "log.jsonl", [{"id": "chatcmpl-1", "choices": [{"text": "4"}]}])])
