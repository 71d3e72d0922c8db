"""Small logs of public tools and bug reports, each with the values that a user may expect, worked out by hand.

The folders of ``cases`` are named as in the issue that brought them.
"""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from logs.samples import write
from ttc_fast.cli.main import main
from ttc_fast.estimators.intervals import bounded_interval
from ttc_fast.logs.analysis import Analysis, analyze
from ttc_fast.logs.comparison import match_prompts
from ttc_fast.logs.log import SampleLog
from ttc_fast.logs.options import Reading
from ttc_fast.logs.reader import read, read_groups

CASES = Path(__file__).parent / "cases"


def case(*names: str, **options: Any) -> SampleLog:
    return read([CASES / name for name in names], **options)


def figures(result: Analysis) -> dict[str, dict[int, float]]:
    """The means of every metric by budget."""
    found: dict[str, dict[int, float]] = {}
    for point in (*result.points, *result.further):
        found.setdefault(point.metric, {})[point.k] = point.mean
    return found


def near(**expected: dict[int, float]) -> dict[str, Any]:
    return {name.replace("_k", "@k"): pytest.approx(values, abs=1e-12) for name, values in expected.items()}


def check(log: SampleLog, budgets: Any = None, settings: Any = None, **expected: dict[int, float]) -> Analysis:
    result = analyze(log, budgets, **(settings or {}))
    found = figures(result)
    for name, values in near(**expected).items():
        assert {k: found[name][k] for k in values.expected} == values, name
    return result


def test_01_subsets_of_every_prompt() -> None:
    """Sorted by score: a vote by weight is right exactly if the best sample is drawn; no Monte Carlo error."""
    same = {1: 0.25, 2: 0.5, 3: 0.75, 4: 1.0}
    result = check(case("01/sorted.jsonl"), (1, 2, 3, 4), weighted_k=same, pass_k=same, best_k=same)
    assert all(curve.error is None for curve in result.curves)


def test_02_no_answer_in_votes_with_weights() -> None:
    log, ks = case("02/none.jsonl"), (1, 2, 3)
    check(log, ks, weighted_k={1: 1 / 3, 2: 1 / 3, 3: 0}, maj_k={1: 1 / 3, 2: 1 / 3, 3: 0})
    check(log, ks, {"no_answer": "ignore"}, weighted_k={1: 1 / 3, 2: 2 / 3, 3: 1})


def test_03_weights_that_are_all_zero() -> None:
    check(case("03/zero.jsonl"), (1, 2, 3), weighted_k={1: 2 / 3, 2: 2 / 3, 3: 1 / 2})


def test_05_several_responses_and_one_metric() -> None:
    """It is a mean over the responses by its name, so their number is known."""
    check(case("05/samples_code.jsonl"), pass_k={1: 0.75, 2: 1.0})


def test_06_responses_that_are_whole_generations() -> None:
    check(case("06/samples_math.jsonl"), (1, 2, 3), pass_k={1: 2 / 3, 2: 1}, maj_k={3: 1})


def test_06_labels_that_nothing_gives_are_refused(tmp_path: Path) -> None:
    row = json.loads((CASES / "06/samples_math.jsonl").read_text())
    row["filtered_resps"] = ["a long proof", "another one", "a third"]
    with pytest.raises(ValueError, match="exact_match: expected the label of each of 3 responses, got one value 1"):
        read([write(tmp_path / "samples.jsonl", [row])])


def test_08_responses_that_a_filter_dropped() -> None:
    log = case("08/samples_take_first.jsonl")
    assert any("3 of 4 responses of 3 documents were dropped by the filter" in note for note in log.notes)


def test_09_answers_in_whole_generations(tmp_path: Path) -> None:
    """The box holds the answer; without a box it is said that no two agree."""
    check(case(*(f"09/seed{i}.jsonl" for i in range(4))), pass_k={1: 0.75}, maj_k={1: 0.75, 4: 1.0})
    lines = [{"prompt": "q", "correct": i < 3, "answer": f"so {i} and so on, " * 9} for i in range(4)]
    log = read([write(tmp_path / "log.jsonl", lines)])
    assert any("no two answers of a prompt agree" in note for note in log.notes)


def test_10_documents_of_two_tasks() -> None:
    one, other = case("10/samples_taskA.jsonl"), case("10/samples_taskB.jsonl")
    both = case("10/samples_taskA.jsonl", "10/samples_taskB.jsonl")
    assert both.samples.tolist() == [1] * 6
    check(both, pass_k={1: 0.5})
    with pytest.raises(ValueError, match="against: expected prompts that files has too, got none"):
        match_prompts(one, other)


@pytest.mark.parametrize("name", ["12/empty.csv", "12/empty.jsonl"])
def test_12_empty_answers(name: str) -> None:
    check(case(name), maj_k={4: 0.3, 5: 0})


def test_13_tokens_are_a_mean_over_prompts() -> None:
    check(case("13/tokens.jsonl"), tokens={1: 550, 2: 1100})
    check(case("13/tokens.jsonl"), (1, 8), tokens={8: 8000})


def test_15_several_settings_in_one_log() -> None:
    log = case("15/models.jsonl")
    assert any(note.startswith("field model has 2 values: A, B; analysed together") for note in log.notes)
    assert any("'q1' and 1 other prompts occur again" in note for note in log.notes)
    groups = read_groups([CASES / "15/models.jsonl"], group_by="model")
    assert {name: group.correct.tolist() for name, group in groups.items()} == {"A": [4, 4], "B": [0, 0]}
    assert all(not group.notes for group in groups.values())
    assert [note.split(" has")[0] for note in case("15/temps.jsonl").notes] == ["field model", "field temperature"]


def test_16_a_log_of_inspect() -> None:
    check(case("16/log.json"), pass_k={1: 0.5, 2: 1})


@pytest.mark.parametrize("name", ["correct.csv", "excel.csv", "space.csv", "float_tokens.jsonl", "bool_score.jsonl"])
def test_17_spellings_of_numbers_and_verdicts(name: str) -> None:
    check(case(f"17/{name}"), pass_k={1: 1 / 2, 2: 1})


def test_17_counts_and_answers() -> None:
    check(case("17/pandas.csv"), pass_k={1: 3 / 8, 2: 2 / 3})
    check(case("17/float_answer.jsonl"), pass_k={1: 1 / 3})


@pytest.mark.parametrize("name", ["box", "forms", "text", "units"])
def test_18_answers_that_graders_take_for_right(name: str) -> None:
    check(case(f"18/{name}.jsonl"), pass_k={1: 1}, maj_k={1: 1, 2: 1})


@pytest.mark.parametrize("name", ["plain_equiv", "ws"])
def test_19_answers_of_different_spelling(name: str) -> None:
    """They vote together, which is said; as texts they do not, which is said too."""
    log = case(f"19/{name}.jsonl")
    check(log, maj_k={4: 0.7, 5: 1})
    assert any("answers of different spelling vote together" in note for note in log.notes)
    texts = case(f"19/{name}.jsonl", equal="exact")
    check(texts, maj_k={4: 0.3, 5: 0})
    assert any("1 prompts have different answers that are labelled correct" in note for note in texts.notes)


def test_20_a_sample_twice() -> None:
    with pytest.raises(ValueError, match=r"dup.jsonl: line 3: sample: .* got 1 twice for prompt 'q' \(--skip-bad"):
        case("20/dup.jsonl")
    log = case("20/dup.jsonl", skip_bad=True)
    assert (log.samples.tolist(), log.skipped) == ([2], 1)


def test_21_tokens_that_were_not_counted(tmp_path: Path) -> None:
    log = case("21/dvts.jsonl")
    assert log.tokens is None
    check(log, pass_k={1: 1 / 2, 2: 1}, maj_k={2: 1 / 2}, best_k={2: 1})
    rows = [json.loads(line) for line in (CASES / "21/dvts.jsonl").read_text().splitlines()]
    rows[0] |= {"completion_tokens": [-1, -1], "scores": [[], [0.3]]}
    log = read([write(tmp_path / "dvts.jsonl", rows)])
    assert (log.tokens, log.scores) == (None, None)
    assert "1 samples have no score: there is no best@k and no weighted@k" in log.notes


def test_23_clopper_and_pearson() -> None:
    for name, low in (("five", 0.025 ** (1 / 5)), ("ten", 0.025 ** (1 / 10))):
        (point,) = analyze(case(f"23/{name}.jsonl")).points
        assert (point.ci_low, point.ci_high) == pytest.approx((low, 1.0), abs=1e-9)
    assert bounded_interval([0.0, 1.0])[1:] == pytest.approx((0.0126, 0.9874), abs=1e-4)


def test_25_scores_below_zero() -> None:
    result = check(case("25/neg.jsonl"), (1, 3), best_k={3: 1})
    assert any(note.startswith("weighted@k is left out") for note in result.notes)


def test_31_packed_files_pipes_and_standard_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (CASES / "31/log.jsonl").read_bytes()
    (tmp_path / "log.jsonl.gz").write_bytes(gzip.compress(text))
    check(read([tmp_path / "log.jsonl.gz"]), pass_k={1: 0.5})
    code = "import sys; from ttc_fast.logs.reader import read; print(read(sys.argv[1:]).correct.tolist())"
    for data in (text, gzip.compress(text)):
        done = subprocess.run([sys.executable, "-c", code, "-"], input=data, capture_output=True, check=True)
        assert done.stdout == b"[1]\n"
    handle, writer = os.pipe()
    os.write(writer, gzip.compress(text))
    os.close(writer)
    check(read([f"/dev/fd/{handle}"]), pass_k={1: 0.5})
    (tmp_path / "cut.gz").write_bytes(gzip.compress(text * 100)[:-10])
    with pytest.raises(ValueError, match=r"cut.gz: expected a whole gzip file, got a damaged one"):
        read([tmp_path / "cut.gz"])


def test_the_command_takes_them_all(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And its document holds what the screen shows."""
    out = tmp_path / "out.json"
    assert main(["analyze", str(CASES / "15/models.jsonl"), "--group-by", "model", "--json", str(out)]) == 0
    assert "model = B: 2 prompts x 4 samples" in capsys.readouterr().out
    assert set(json.loads(out.read_text())["groups"]) == {"A", "B"}
    for name in ("16/log.json", "18/units.jsonl", "25/neg.jsonl", "13/tokens.jsonl"):
        assert main(["analyze", str(CASES / name), "--json", str(out)]) == 0
        screen, document = capsys.readouterr().out, json.loads(out.read_text())
        assert all(note[:40] in screen for note in document["notes"])
        assert {f["metric"] for f in document["figures"]} >= {"pass@k", "pass^k"}
    assert {(f["k"], f["mean"]) for f in document["figures"] if f["metric"] == "tokens"} == {(1, 550.0), (2, 1100.0)}


def test_options_are_checked() -> None:
    for options in ({"equal": "same"}, {"aggregate": "sum"}, {"extract": "("}):
        with pytest.raises(ValueError, match=next(iter(options))):
            Reading(**options)  # type: ignore[arg-type]  # wrong on purpose
    assert np.isnan(bounded_interval([1.0]).low)
