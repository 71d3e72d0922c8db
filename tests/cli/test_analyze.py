"""The command ``ttc-fast analyze``: what it prints, writes and refuses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args, get_type_hints

import numpy as np
import pytest

from logs.samples import BAD, CORRECT, SCORES, means, rows, write, write_counts
from test_packaging import python
from ttc_fast.cli.analyze import AnalyzeConfig
from ttc_fast.cli.main import main
from ttc_fast.estimators.selection import best_of_k, pass_at_k
from ttc_fast.logs.formats import FORMATS


def records(tmp_path: Path, *arguments: str) -> dict[str, list[float]]:
    """The means of every metric, in the order of the budgets."""
    out = tmp_path / "out.json"
    assert main(["analyze", *arguments, "--quiet", "--json", str(out)]) == 0
    result: dict[str, list[float]] = {}
    for record in json.loads(out.read_text())["records"]:
        assert set(record) == {"metric", "k", "mean", "ci_low", "ci_high", "prompts"}
        result.setdefault(record["metric"], []).append(record["mean"])
    return result


def test_records(tmp_path: Path) -> None:
    log = write(tmp_path / "log.jsonl", rows())
    got = records(tmp_path, log, "--budgets", "1", "2", "5")
    assert got["pass@k"] == pytest.approx(pass_at_k(np.full(4, 6), CORRECT.sum(1), [1, 2, 5]).mean(0))
    assert got["best@k"] == pytest.approx(best_of_k(SCORES, CORRECT, [1, 2, 5]).mean(0))
    for ties in ("random", "fail", "first"):
        for no_answer in ("fail", "ignore"):
            got = records(tmp_path, log, "--budgets", "1", "2", "5", "--ties", ties, "--no-answer", no_answer)
            assert got == means(log, budgets=(1, 2, 5), ties=ties, no_answer=no_answer)


def test_every_format_is_an_option() -> None:
    options = next(kind for kind in get_args(get_type_hints(AnalyzeConfig)["format"]) if get_args(kind))
    assert set(get_args(options)) == set(FORMATS)


def test_help_is_light() -> None:
    """The settings alone are needed for it."""
    code = (
        "import sys, ttc_fast.cli.analyze;"
        "print([m for m in ('torch', 'scipy', 'ttc_fast.logs.analysis', 'rich.table') if m in sys.modules])"
    )
    assert python(code) == "[]"


def test_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["analyze", write(tmp_path / "log.jsonl", rows())]) == 0
    out, err = capsys.readouterr()
    for text in ("4 prompts x 6 samples, format plain", "weighted@k", "tokens", "on the same prompts, at k = 6"):
        assert text in out
    assert "Monte Carlo error" not in out  # all subsets of 6 are taken
    assert "[0." in out  # rich does not take the intervals for its markup
    assert err.splitlines()[-1] == "estimating: 100 %"


def test_filter(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [
        {"doc_id": doc, "filtered_resps": ["7" if doc else "[invalid]"], "filter": name, "acc": float(doc)}
        for doc in (0, 1)
        for name in ("strict", "flexible")
    ]
    path = write(tmp_path / "samples_gsm8k.jsonl", lines)
    assert main(["analyze", path]) == 1
    assert "filter: expected the rows of one filter, got those of flexible, strict" in capsys.readouterr().err
    assert records(tmp_path, path, "--filter", "strict") == {"pass@k": [0.5], "maj@k": [0.5]}


def test_prompts_of_several_files_are_put_together(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = rows()
    one = write(tmp_path / "1.jsonl", [r for r in lines if r["sample"] < 4])
    two = write(tmp_path / "2.jsonl", [{**r, "sample": r["sample"] - 4} for r in lines if r["sample"] >= 4])
    whole = records(tmp_path, write(tmp_path / "log.jsonl", lines), "--ties", "first")
    assert records(tmp_path, one, two, "--ties", "first") == whole
    assert main(["analyze", one, two]) == 0
    assert "4 prompts occur in several files" in capsys.readouterr().out


def test_differences_of_techniques(tmp_path: Path) -> None:
    """At the largest budget, each as the difference of the two means."""
    out = tmp_path / "out.json"
    assert main(["analyze", write(tmp_path / "log.jsonl", rows()), "--quiet", "--json", str(out)]) == 0
    document = json.loads(out.read_text())
    points = document["records"] + document["weighted_vote"]
    values = {p["metric"]: p["mean"] for p in points if p["k"] == 6}
    values["single"] = next(p["mean"] for p in points if p["metric"] == "pass@k" and p["k"] == 1)
    assert len(document["differences"]) == 10
    for d in document["differences"]:
        assert d["mean"] == pytest.approx(values[d["one"]] - values[d["other"]], abs=1e-12)
        assert d["low"] <= d["mean"] <= d["high"]


def against(tmp_path: Path, *arguments: str) -> dict[str, Any]:
    out = tmp_path / "out.json"
    assert main(["analyze", *arguments, "--quiet", "--json", str(out)]) == 0
    result: dict[str, Any] = json.loads(out.read_text())["against"]
    return result


def test_against_another_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In another order, with prompts that only one has. By hand: of the common a, b, c pass@1 is 1/8, 4/8, 6/8
    against 2/8, 4/8, 8/8, and pass@2 = 1 - C(8-c, 2) / 28 is 7, 22, 27 against 13, 22, 28 of 28."""
    one = write_counts(tmp_path / "one.jsonl", {"x": 8, "a": 1, "b": 4, "c": 6})
    other = write_counts(tmp_path / "other.jsonl", {"c": 8, "y": 0, "z": 0, "b": 4, "a": 2})
    found = against(tmp_path, one, "--against", other, "--budgets", "1", "2")
    assert (found["files"], found["prompts"]) == ([other], 3)
    for record, k, exact in zip(found["records"], (1, 2), (-1 / 8, -7 / 84)):
        assert set(record) == {"metric", "k", "difference", "ci_low", "ci_high", "prompts"}
        assert (record["metric"], record["k"], record["prompts"]) == ("pass@k", k, 3)
        assert record["difference"] == pytest.approx(exact, abs=1e-12)
        assert record["ci_low"] < exact < record["ci_high"]
    assert main(["analyze", one, "--against", other, "--budgets", "1", "2"]) == 0
    out = capsys.readouterr().out
    assert "3 prompts in both, 1 only in files, 2 only in against" in out
    assert "0.4583   0.5833    -0.1250 [" in out


def test_against_is_the_same_in_every_process(tmp_path: Path) -> None:
    """To the bit, though prompts are matched by hashes that differ from process to process."""
    names = [f"p{i}" for i in range(50)]
    random = np.random.default_rng(4)
    one, other = (
        write_counts(tmp_path / name, dict(zip(random.permutation(names).tolist(), random.integers(0, 8, 50).tolist())))
        for name in ("one.jsonl", "other.jsonl")
    )
    arguments = ["analyze", one, "--against", other, "--quiet", "--json"]
    code = f"from ttc_fast.cli.main import main; main([*{arguments!r}, %r])"
    texts = set()
    for seed in "123":
        out = tmp_path / f"{seed}.json"
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        subprocess.run([sys.executable, "-c", code % str(out)], check=True, env=environment)
        texts.add(out.read_text())
    assert len(texts) == 1


def test_against_where_one_prompt_has_as_many_samples(tmp_path: Path) -> None:
    """There is no interval: null in JSON."""
    one = write(tmp_path / "one.jsonl", [{"id": p, "n": n, "c": 2} for p, n in (("a", 4), ("b", 8), ("c", 8))])
    other = write(tmp_path / "other.jsonl", [{"id": p, "n": n, "c": 2} for p, n in (("a", 8), ("b", 8), ("c", 2))])
    found = against(tmp_path, one, "--against", other, "--budgets", "1", "4", "8")["records"]
    assert [(record["k"], record["prompts"]) for record in found] == [(1, 3), (4, 2), (8, 1)]
    assert found[2]["ci_low"] is None


def test_against_what_does_not_fit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = write_counts(tmp_path / "one.jsonl", {"a": 1, "b": 4})
    np.savez(tmp_path / "two.npz", correct=np.ones((2, 8)))
    np.savez(tmp_path / "three.npz", correct=np.ones((3, 8)))
    wrong = {
        write_counts(tmp_path / "disjoint.jsonl", {"c": 1}): "against: expected prompts that files has too, got none",
        write_counts(tmp_path / "one_sample.jsonl", {"a": 1}, 1): "budgets: expected one up to 1",
        str(tmp_path / "three.npz"): "against: expected 2 prompts, since a matrix is matched row by row, got 3",
        str(tmp_path / "missing.jsonl"): "No such file or directory",
    }
    for path, message in wrong.items():
        files = str(tmp_path / "two.npz") if path.endswith("npz") else one
        assert main(["analyze", files, "--against", path, "--budgets", "2", "--quiet"]) == 1
        err = capsys.readouterr().err
        assert f"ttc-fast: error: {message}" in err or message in err
        assert err.strip().count("\n") == 0


@pytest.mark.parametrize(("lines", "message"), BAD)
def test_bad_lines(lines: list[Any], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Refused with file, line and field; with --skip-bad left out and counted."""
    path = write(tmp_path / "log.jsonl", lines)
    assert main(["analyze", path]) == 1
    err = capsys.readouterr().err
    assert f"ttc-fast: error: {path}: {message}" in err
    assert err.strip().count("\n") == 0
    assert main(["analyze", path, "--skip-bad"]) == (0 if len(lines) > 1 else 1)
    out, err = capsys.readouterr()
    assert ("1 bad lines left out" in out) if len(lines) > 1 else ("(1 bad lines)" in err)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--budgets", "7"], "budgets: expected numbers from 1 to 6"),
        (["--budgets", "0"], "budgets: expected numbers from 1 to 6"),
        (["--format", "counts"], "line 1: n: expected a whole number, got no such field"),
        (["--json", "missing/out.json"], "json: expected a file in a folder that exists"),
        (["missing.jsonl"], "No such file or directory: 'missing.jsonl'"),
    ],
)
def test_wrong_arguments(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = write(tmp_path / "log.jsonl", rows())
    assert main(["analyze", log, *arguments]) == 1
    assert message in capsys.readouterr().err


def test_no_file_and_no_format(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["analyze"]) == 1
    assert "files: expected at least one" in capsys.readouterr().err
    assert main(["analyze", "x", "--ties", "coin"]) == 2
    err = capsys.readouterr().err
    assert "invalid choice 'coin' for argument '--ties'" in err
    assert "ttc-fast analyze --help" in err


@pytest.mark.slow
def test_ten_million_rows_in_bounded_memory(tmp_path: Path) -> None:
    """Peak below 2 GB."""
    path = tmp_path / "log.jsonl"
    with open(path, "w") as file:
        for p in range(10_000):
            file.writelines(
                f'{{"prompt": "p{p}", "answer": "a{i * i % 7}", "correct": {i % 7 == 1:d}, "score": {i / 1000}}}\n'
                for i in range(1000)
            )
    code = (
        "import resource, sys; from ttc_fast.cli.main import main;"
        f"code = main(['analyze', {str(path)!r}, '--budgets', '1', '10', '--quiet']);"
        "print(code, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    exit_code, peak = map(int, done.stdout.split())
    assert exit_code == 0
    assert peak * (1 if sys.platform == "darwin" else 1024) < 2e9
