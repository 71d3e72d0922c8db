"""``ttc-fast analyze``: other people's logs, good and bad, as files on disk."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from test_packaging import python
from ttc_fast.cli.main import main
from ttc_fast.estimators.selection import best_of_k, pass_at_k
from ttc_fast.estimators.votes import majority_at_k
from ttc_fast.logs import reader as samplelogs
from ttc_fast.logs.reader import boxed, read

CHANCE = np.random.default_rng(0)
ANSWERS = CHANCE.integers(-1, 3, size=(4, 6))
SCORES = CHANCE.random((4, 6)).round(2)
CORRECT = ANSWERS == 1


def rows() -> list[dict[str, Any]]:
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
    path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
    return str(path)


def records(tmp_path: Path, *arguments: str) -> dict[str, list[float]]:
    """The means of every metric, in the order of the budgets."""
    out = tmp_path / "out.json"
    assert main(["analyze", *arguments, "--quiet", "--json", str(out)]) == 0
    result: dict[str, list[float]] = {}
    for record in json.loads(out.read_text())["records"]:
        assert set(record) == {"metric", "k", "mean", "ci_low", "ci_high", "prompts"}
        result.setdefault(record["metric"], []).append(record["mean"])
    return result


@pytest.mark.parametrize("ties", ["random", "fail", "first"])
@pytest.mark.parametrize("no_answer", ["fail", "ignore"])
def test_plain(ties: Any, no_answer: Any, tmp_path: Path) -> None:
    """In any order of lines: the field sample gives the order, the first appearance that of prompts."""
    lines = rows()
    order = np.random.default_rng(1).permutation(len(lines))
    log = write(tmp_path / "log.jsonl", [lines[i] for i in order])
    got = records(tmp_path, log, "--budgets", "1", "2", "5", "--ties", ties, "--no-answer", no_answer)
    ks = [1, 2, 5]
    assert got["pass@k"] == pytest.approx(pass_at_k(np.full(4, 6), CORRECT.sum(1), ks).mean(0))
    vote = majority_at_k(ANSWERS, CORRECT, ks, ties=ties, no_answer=no_answer)
    assert got["maj@k"] == pytest.approx(vote.mean(0))
    assert got["best@k"] == pytest.approx(best_of_k(SCORES, CORRECT, ks).mean(0))


def test_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["analyze", write(tmp_path / "log.jsonl", rows())]) == 0
    out, err = capsys.readouterr()
    for text in ("4 prompts x 6 samples, format plain", "weighted@k", "tokens", "on the same prompts, at k = 6"):
        assert text in out
    assert "Monte Carlo error" in out
    assert "[0." in out  # rich does not take the intervals for its markup
    assert err.splitlines()[-1] == "estimating: 100 % done"


def test_matrix_and_plain_are_the_same(tmp_path: Path) -> None:
    np.savez(tmp_path / "log.npz", correct=CORRECT, answer=np.asfortranarray(ANSWERS), score=SCORES)
    plain = records(tmp_path, write(tmp_path / "log.jsonl", rows()))
    assert records(tmp_path, str(tmp_path / "log.npz")) == plain


def test_counts(tmp_path: Path) -> None:
    counts = [{"id": p, "n": 6, "c": int(CORRECT[p].sum()), "source": "x"} for p in range(4)]
    plain = records(tmp_path, write(tmp_path / "log.jsonl", rows()))["pass@k"]
    table = "id,n,c\n" + "".join(f"{r['id']},{r['n']},{r['c']}\n" for r in counts)
    for name, text in (("a.jsonl", None), ("b.json", json.dumps(counts, indent=1)), ("c.csv", table)):
        path = write(tmp_path / name, list(counts) if text is None else [text])
        assert records(tmp_path, path) == {"pass@k": plain}


def test_human_eval(tmp_path: Path) -> None:
    lines = [
        {"task_id": f"HumanEval/{p}", "completion": "return", "result": "passed", "passed": bool(CORRECT[p, i])}
        for p in range(4)
        for i in range(6)
    ]
    plain = records(tmp_path, write(tmp_path / "log.jsonl", rows()))["pass@k"]
    assert records(tmp_path, write(tmp_path / "x_results.jsonl", lines)) == {"pass@k": plain}


def test_lm_eval(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One filter's rows; a label for each row, or one response for each repeat against the target."""

    def row(doc: int, name: str, answers: list[str], match: float) -> dict[str, Any]:
        return {
            "doc_id": doc, "target": "7", "resps": [["text"]], "filtered_resps": answers, "filter": name,
            "metrics": ["exact_match"], "exact_match": match,
        }  # fmt: skip

    lines = [row(d, name, ["7" if d else "[invalid]"], float(d)) for d in (0, 1) for name in ("strict", "flexible")]
    path = write(tmp_path / "samples_gsm8k.jsonl", lines)
    assert main(["analyze", path]) == 1
    assert "filter: expected the rows of one filter, got those of flexible, strict" in capsys.readouterr().err
    assert records(tmp_path, path, "--filter", "strict") == {"pass@k": [0.5], "maj@k": [0.5]}
    repeats = write(tmp_path / "repeats.jsonl", [row(0, "none", ["7", "8", "8", "7"], 1.0)])
    got = records(tmp_path, repeats, "--budgets", "1", "2")
    assert got["pass@k"] == pytest.approx([0.5, 5 / 6])
    assert got["maj@k"] == pytest.approx([0.5, 0.5])


def test_search_and_learn(tmp_path: Path) -> None:
    row = {
        "problem": "?", "answer": "\\frac{1}{2}", "unique_id": "test/1.json",
        "completions": ["so \\boxed{\\dfrac{1}{2}}.", "\\boxed{3}", "no idea", "\\boxed{ \\frac{1}{2} }"],
        "scores": [[0.1, 0.9], [0.8, 0.95], [0.5], [0.2]], "completion_tokens": [5, 6, 7, 8],
    }  # fmt: skip
    got = records(tmp_path, write(tmp_path / "best_of_n.jsonl", [row]), "--budgets", "1", "4")
    assert got == {"pass@k": [0.5, 1.0], "maj@k": [0.5, 1.0], "best@k": [0.5, 0.0]}
    assert boxed("a \\boxed{1} b \\boxed{x^{2}} c") == "x^{2}"
    assert boxed("\\boxed{unfinished") is None


def test_prompts_of_several_files_are_put_together(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = rows()
    one = write(tmp_path / "1.jsonl", [r for r in lines if r["sample"] < 4])
    two = write(tmp_path / "2.jsonl", [{**r, "sample": r["sample"] - 4} for r in lines if r["sample"] >= 4])
    whole = records(tmp_path, write(tmp_path / "log.jsonl", lines), "--ties", "first")
    assert records(tmp_path, one, two, "--ties", "first") == whole
    assert main(["analyze", one, two]) == 0
    assert "4 prompts occur in several files" in capsys.readouterr().out


def test_prompts_with_different_numbers_of_samples(tmp_path: Path) -> None:
    """A budget is estimated on the prompts that have as many samples."""
    log = write(tmp_path / "log.jsonl", [r for r in rows() if r["prompt"] != "p0" or r["sample"] < 2])
    out = tmp_path / "out.json"
    assert main(["analyze", log, "--budgets", "2", "6", "--quiet", "--json", str(out)]) == 0
    assert {(r["k"], r["prompts"]) for r in json.loads(out.read_text())["records"]} == {(2, 4), (6, 3)}


def test_differences_of_techniques(tmp_path: Path) -> None:
    """At the largest budget, each as the difference of the two means."""
    out = tmp_path / "out.json"
    assert main(["analyze", write(tmp_path / "log.jsonl", rows()), "--quiet", "--json", str(out)]) == 0
    document = json.loads(out.read_text())
    points = document["records"] + document["weighted_vote"]
    means = {p["metric"]: p["mean"] for p in points if p["k"] == 6}
    means["single"] = next(p["mean"] for p in points if p["metric"] == "pass@k" and p["k"] == 1)
    assert len(document["differences"]) == 10
    for d in document["differences"]:
        assert d["mean"] == pytest.approx(means[d["one"]] - means[d["other"]], abs=1e-12)
        assert d["low"] <= d["mean"] <= d["high"]


def counted(path: Path, solved: dict[str, int], n: int = 8) -> str:
    return write(path, [{"id": prompt, "n": n, "c": c} for prompt, c in solved.items()])


def against(tmp_path: Path, *arguments: str) -> dict[str, Any]:
    out = tmp_path / "out.json"
    assert main(["analyze", *arguments, "--quiet", "--json", str(out)]) == 0
    result: dict[str, Any] = json.loads(out.read_text())["against"]
    return result


def test_against_another_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In another order, with prompts that only one has. By hand: of the common a, b, c pass@1 is 1/8, 4/8, 6/8
    against 2/8, 4/8, 8/8, and pass@2 = 1 - C(8-c, 2) / 28 is 7, 22, 27 against 13, 22, 28 of 28."""
    one = counted(tmp_path / "one.jsonl", {"x": 8, "a": 1, "b": 4, "c": 6})
    other = counted(tmp_path / "other.jsonl", {"c": 8, "y": 0, "z": 0, "b": 4, "a": 2})
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
    chance = np.random.default_rng(4)
    one, other = (
        counted(tmp_path / name, dict(zip(chance.permutation(names).tolist(), chance.integers(0, 8, 50).tolist())))
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


def test_against_finds_what_two_intervals_cannot(tmp_path: Path) -> None:
    """200 prompts of all difficulties, each solved 8 of 100 times more: the truth is 0.08, and the interval of the
    difference is five times as narrow as for two independent sets of prompts."""
    easy = np.random.default_rng(2).integers(0, 92, size=200)
    names = [f"p{i}" for i in range(200)]
    one = counted(tmp_path / "one.jsonl", {p: int(c) + 8 for p, c in zip(names, easy)}, 100)
    noise = np.random.default_rng(3).integers(-4, 5, size=200)
    other = counted(tmp_path / "other.jsonl", {p: max(0, int(c)) for p, c in zip(names, easy + noise)}, 100)
    out = tmp_path / "both.json"
    assert main(["analyze", one, "--against", other, "--budgets", "1", "--quiet", "--json", str(out)]) == 0
    document = json.loads(out.read_text())
    (record,) = document["against"]["records"]
    assert 0 < record["ci_low"] < 0.08 < record["ci_high"]
    (alone,) = document["records"]
    unpaired = 2**0.5 * (alone["ci_high"] - alone["ci_low"])
    assert record["ci_high"] - record["ci_low"] < 0.2 * unpaired


def test_against_itself_and_by_rows(tmp_path: Path) -> None:
    """Every difference is exactly 0, of every metric; a matrix's prompts are its rows."""
    log = write(tmp_path / "log.jsonl", rows())
    found = against(tmp_path, log, "--against", log)["records"]
    assert {record["metric"] for record in found} == {"pass@k", "maj@k", "best@k", "weighted@k"}
    assert all(record["difference"] == 0 and record["ci_low"] < 0 < record["ci_high"] for record in found)
    np.savez(tmp_path / "one.npz", correct=CORRECT)
    np.savez(tmp_path / "other.npz", correct=CORRECT[::-1, :4])
    found = against(tmp_path, str(tmp_path / "one.npz"), "--against", str(tmp_path / "other.npz"))
    assert [record["k"] for record in found["records"]] == [1, 2, 4]
    exact = (CORRECT.mean() - CORRECT[:, :4].mean()).item()
    assert found["records"][0]["difference"] == pytest.approx(exact, abs=1e-12)


def test_against_with_different_numbers_of_samples(tmp_path: Path) -> None:
    """A budget is compared on the prompts that have as many samples in both."""
    one = write(tmp_path / "one.jsonl", [{"id": p, "n": n, "c": 2} for p, n in (("a", 4), ("b", 8), ("c", 8))])
    other = write(tmp_path / "other.jsonl", [{"id": p, "n": n, "c": 2} for p, n in (("a", 8), ("b", 8), ("c", 2))])
    found = against(tmp_path, one, "--against", other, "--budgets", "1", "4", "8")["records"]
    assert [(record["k"], record["prompts"]) for record in found] == [(1, 3), (4, 2), (8, 1)]
    assert found[0]["difference"] == pytest.approx((1 / 4 - 3 / 4) / 3)
    assert found[2]["ci_low"] is None


def test_against_what_does_not_fit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = counted(tmp_path / "one.jsonl", {"a": 1, "b": 4})
    np.savez(tmp_path / "two.npz", correct=np.ones((2, 8)))
    np.savez(tmp_path / "three.npz", correct=np.ones((3, 8)))
    wrong = {
        counted(tmp_path / "disjoint.jsonl", {"c": 1}): "against: expected prompts that files has too, got none",
        counted(tmp_path / "few.jsonl", {"a": 1}, 1): "budgets: expected one up to 1",
        str(tmp_path / "three.npz"): "against: expected 2 prompts, since a matrix is matched row by row, got 3",
        str(tmp_path / "missing.jsonl"): "No such file or directory",
    }
    for path, message in wrong.items():
        files = str(tmp_path / "two.npz") if path.endswith("npz") else one
        assert main(["analyze", files, "--against", path, "--budgets", "2", "--quiet"]) == 1
        err = capsys.readouterr().err
        assert f"ttc-fast: error: {message}" in err or message in err
        assert err.strip().count("\n") == 0


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
    assert ("1 bad lines left out" in out) if len(lines) > 1 else ("expected samples, got none (1 bad lines)" in err)


def test_caps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(samplelogs, "MAX_LINE", 100)
    path = write(tmp_path / "log.jsonl", [GOOD, {**GOOD, "prompt": "p" * 1000}, GOOD])
    assert main(["analyze", path]) == 1
    assert "line 2: expected at most 100 bytes in a line" in capsys.readouterr().err
    assert read([path], skip_bad=True).samples.tolist() == [2]
    monkeypatch.setattr(samplelogs, "MAX_SAMPLES", 1)
    with pytest.raises(ValueError, match="expected at most 1 samples in all"):
        read([write(tmp_path / "two.jsonl", [GOOD, GOOD])])


def bad_archives(folder: Path) -> dict[str, str]:
    np.savez(folder / "objects.npz", correct=np.array([[None, 1]], dtype=object))
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
        "objects.npz": "expected numbers, got dtype object",
        "flat.npz": "correct: expected shape [P, N]",
        "other.npz": "expected the arrays correct and",
        "half.npz": "row 0: correct: expected true, false, 1 or 0, got 0.5",
        "shapes.npz": "score: expected shape [P, N] [2, 3], got [3, 2]",
        "bomb.npz": "expected at most 1000000 bytes unpacked",
        "header.npz": "expected as many numbers as its shape [100000, 100000] says",
        "broken.npz": "expected an .npz file of numbers",
    }


def test_bad_archives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(samplelogs, "MAX_DOCUMENT", 10**6)
    for name, message in bad_archives(tmp_path).items():
        assert main(["analyze", str(tmp_path / name)]) == 1, name
        err = capsys.readouterr().err
        assert message in err, name
        assert name in err
        assert err.strip().count("\n") == 0


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
    assert "(ttc-fast analyze --help lists the options)" in capsys.readouterr().err


def test_same_sample_twice(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="sample: expected each number once for each prompt and file, got 3 twice"):
        read([write(tmp_path / "log.jsonl", [{**GOOD, "sample": 3}, {**GOOD, "sample": 3}])])


def test_needs_no_torch() -> None:
    code = (
        "import sys, ttc_fast.logs.analysis, ttc_fast.logs.reader, ttc_fast.estimators.votes, ttc_fast.cli.console;"
        "print([m for m in ('torch', 'triton', 'matplotlib') if m in sys.modules])"
    )
    assert python(code) == "[]"


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
