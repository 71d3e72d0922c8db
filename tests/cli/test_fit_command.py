"""The command ``ttc-fast fit``: what it prints, writes and refuses."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest

from ttc_fast.cli.main import main
from ttc_fast.estimators.table import Table
from ttc_fast.logs.table import prompt_names


@pytest.fixture
def log(tmp_path: Path) -> str:
    """12 prompts x 16 samples, of rising difficulty; one whose vote goes to a wrong answer."""
    rng, lines = random.Random(0), []
    for prompt in range(12):
        for _ in range(16):
            answer = rng.choice("ab") if prompt < 11 and rng.random() < prompt / 12 else "right"
            answer = "wrong" if prompt == 11 and rng.random() < 0.9 else answer
            right = answer == "right"
            score = rng.random() + right / 2
            lines.append({"prompt": f"p{prompt}", "answer": answer, "correct": right, "score": score, "tokens": 10})
    path = tmp_path / "log.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return str(path)


def test_everything_that_is_shown_is_written(
    log: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from ttc_fast.theory import regressions

    settings = regressions.usual_settings()
    monkeypatch.setattr(regressions, "usual_settings", lambda: (*settings[:6], *settings[-6:]))
    out, table, picture = tmp_path / "out.json", tmp_path / "t.parquet", tmp_path / "p.svg"
    arguments = ["--first", "8", "--budgets", "1", "8", "16", "64", "--token-price", "0.001", "--simulate"]
    files = ["--json", str(out), "--save", str(table), "--plot", str(picture)]
    assert main(["fit", log, *arguments, *files]) == 0
    shown, written = capsys.readouterr().out, json.loads(out.read_text())
    for point in written["forecasts"]:
        assert f"{point['mean']:.4f} [{point['low']:.4f}, {point['high']:.4f}]" in shown
        assert (point["seen"] is None) == (point["k"] > 16)
        if point["seen"] is not None:
            assert f"seen {point['seen']:.4f}" in shown
    assert {point["metric"] for point in written["forecasts"]} == {"pass@k", "maj@k", "best@k"}
    assert [one["prompt"] for one in written["votes"]["never_solved"]] == ["p11"]
    assert "p11 (" in shown
    assert f"{written['votes']['limit']['mean']:.4f}" in shown
    assert [one["metric"] for one in written["worth"]] == ["pass@k", "maj@k", "best@k"]
    assert {one["kind"] for one in written["laboratories"]} == {"binary coefficients", "continuous coefficients"}
    for one in written["laboratories"]:
        assert f"{one['distance']:.4f} away" in shown
        assert one["setting"]["rule"] in " ".join(shown.split())
    assert sum(written["success_law"]["weights"]) == pytest.approx(1)
    saved = Table.load(table)
    assert prompt_names(saved) == [f"p{i}" for i in range(12)]
    values = np.array(written["prompt_forecasts"]["values"]["maj@k"])
    np.testing.assert_array_equal(saved.select(metric="maj@k").values, values.T)
    assert picture.read_text().count("<path") > 10


def test_the_same_seed_gives_the_same_forecast(log: str, tmp_path: Path) -> None:
    outs = [tmp_path / f"{i}.json" for i in range(3)]
    for out, seed in zip(outs, "001"):
        assert main(["fit", log, "--quiet", "--seed", seed, "--json", str(out)]) == 0
    texts = [out.read_text() for out in outs]
    assert texts[0] == texts[1]
    assert texts[0] != texts[2]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--first", "0"], "first: expected an integer"),
        (["--greedy", "1.5"], "greedy: expected"),
        (["--token-price", "-1"], "token_price: expected"),
        (["--save", "x.csv"], "save: expected a file that ends in .parquet"),
        (["--plot", "x.txt"], "plot: expected a file that ends in"),
        (["--budgets", "0"], "budgets: expected numbers from 1"),
    ],
)
def test_what_is_refused(log: str, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", log, *arguments]) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith(f"ttc-fast: error: {message}")


def test_tokens_with_a_price_must_be_known(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "c.csv"
    path.write_text("id,n,c\na,8,2\nb,8,8\n")
    assert main(["fit", str(path), "--quiet", "--token-price", "1"]) == 1
    assert "expected a log with tokens" in capsys.readouterr().err
    assert main(["fit", str(path)]) == 0
    out = capsys.readouterr().out
    assert "pass@k" in out
    assert "votes" not in out
