"""Studies: published figures beside ours, in parts that survive an interruption."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ttc_fast import Key, run
from ttc_fast.cli.main import main
from ttc_fast.experiments import reproduction as module
from ttc_fast.experiments.reproduction import reproduce
from ttc_fast.experiments.study import load_study, selected, studies
from ttc_fast.experiments.sweep_run import compute

OWN: dict[str, Any] = {
    "title": "a paper",
    "source": "its table 1",
    "unknown": ["its seed"],
    "prompts": 100,
    "runs": [
        {
            "name": "first",
            "about": {"rule": "rank_one", "examples": 12},
            "settings": {
                "dim": 4, "examples": 12, "rule": ["rank_one"], "steps": [2, 5], "samples": 8, "budgets": [1, 8],
                "technique": ["greedy", "ridge", "mean"], "metric": ["error_norm"],
            },
            "metric": "error_norm",
            "differences": [["N1", "ridge"], ["N9", "ridge"]],
            "figure": {"x": "steps", "technique": "mean", "levels": ["greedy", "ridge"]},
            "rows": [
                {"steps": 5, "values": {"ridge": ["ridge", 1, 0.3], "N1": ["mean", 1, 0.4], "N8": ["mean", 8, 0.35]}},
                {"steps": 2, "examples": "twelve", "values": {"descent": ["greedy", 1, 0.9]}},
            ],
        },
        {
            "name": "second",
            "about": {"rule": "subset"},
            "settings": {
                "dim": 5, "examples": 12, "nonzero": 2, "rule": ["subset"], "steps": [3], "samples": 8,
                "technique": ["greedy", "plurality"],
            },
            "metric": "exact_recovery",
            "figure": {"x": "samples", "technique": "plurality", "levels": ["greedy"]},
            "rows": [{"steps": 3, "values": {"N8": ["plurality", 8, 0.9]}}],
        },
    ],
}  # fmt: skip


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(module, "PART", 3)
    path = tmp_path / "own.json"
    path.write_text(json.dumps(OWN))
    return path


def test_records(own: Path) -> None:
    """Against the run of all prompts at once: parts put together are the whole, to the bit."""
    found = reproduce(load_study(str(own)), prompts=7)
    table = run(dataclasses.replace(found.study.runs[0].config, prompts=7)).table
    one = table[Key("continuous", "mean", 5, 1, "error_norm")]
    ridge = table[Key("continuous", "ridge", 5, 1, "error_norm")]
    records = found.records()
    assert [record["quantity"] for record in records] == ["ridge", "N1", "N8", "N1 - ridge", "descent", "N8"]
    assert (records[1]["rule"], records[1]["examples"], records[1]["steps"]) == ("rank_one", 12, 5)
    assert records[4]["examples"] == "twelve"
    assert records[1]["ours"] == one.mean()
    difference = records[3]
    assert difference["published"] == pytest.approx(0.1)
    assert difference["ours"] == pytest.approx((one - ridge).mean())
    assert difference["standard_error"] == pytest.approx((one - ridge).std(ddof=1) / math.sqrt(7))
    # Theirs is one chain of each prompt, whose variance given the prompt is E error^2 - (E error)^2.
    within = 4 * table[Key("continuous", "mean", 5, 1, "squared_error")] - one**2
    between = (one - ridge).var(ddof=1)
    scale = math.sqrt(between / 7 + (between + within.mean()) / 100)
    assert difference["z"] == pytest.approx(((one - ridge).mean() - 0.1) / scale)
    # A chain without noise is its own law.
    for i in (0, 4):
        assert records[i]["law"] == pytest.approx(records[i]["ours"], rel=1e-5)
    assert records[1]["law"] is None


def test_an_interrupted_study_goes_on(own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study, folder = load_study(str(own)), tmp_path / "parts"
    whole = reproduce(study, prompts=7)
    made: list[int] = []

    def interrupted(config: Any, start: int, stop: int) -> Any:
        made.append(start)
        if len(made) == 3:
            raise KeyboardInterrupt
        return compute(config, start, stop)

    monkeypatch.setattr(module, "compute", interrupted)
    with pytest.raises(KeyboardInterrupt):
        reproduce(study, prompts=7, folder=folder)
    found = reproduce(study, prompts=7, folder=folder)
    assert made == [0, 3, 6, 6, 0, 3, 6]  # one part was lost, then the second run
    assert found.records() == whole.records()
    for name, table in found.tables.items():
        np.testing.assert_array_equal(table.values, whole.tables[name].values)
    reproduce(study, prompts=7, folder=folder)
    assert len(made) == 7


def test_parts_of_other_settings_stay(own: Path, tmp_path: Path) -> None:
    """Settings have parts of their own, by their hash."""
    study = selected(load_study(str(own)), ["second"])
    first = reproduce(study, prompts=1, folder=tmp_path).records()
    changed = dataclasses.replace(study.runs[0], config=dataclasses.replace(study.runs[0].config, label_noise=0.5))
    reproduce(dataclasses.replace(study, runs=(changed,)), prompts=1, folder=tmp_path)
    assert len(list(tmp_path.glob("shards/*/*.parquet"))) == 2
    assert reproduce(study, prompts=1, folder=tmp_path).records() == first


def test_command(
    own: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    written = ["--json", "records.json", "--plot", "figures.png"]
    assert main(["reproduce", str(own), "--quick", *written]) == 0
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    for text in ("ours over 10 others", "N1 - ridge", "not known: its seed.", "rule subset, steps 3"):
        assert text in out
    document = json.loads(Path("records.json").read_text())
    assert document["prompts"] == 10
    assert {"quantity", "published", "ours", "standard_error", "law", "rule", "steps"} <= set(document["records"][0])
    assert Path("figures.png").read_bytes().startswith(b"\x89PNG")
    assert len(list(Path("reproduce-own").glob("shards/*/*.parquet"))) == 8


def test_known_studies() -> None:
    """Those that come with the library are complete: every figure is one that its run makes."""
    assert studies() == ("2508.07571",)
    study = load_study("2508.07571")
    assert study.prompts == 4096
    for one in study.runs:
        for row in one.rows:
            assert row.steps in one.config.steps
            for technique, samples, _ in row.values.values():
                assert technique.partition("(")[0] in one.config.technique
                assert samples in (one.config.budgets or ())
    published = {value for one in study.runs for row in one.rows for _, _, value in row.values.values()}
    assert {1.41618, 1.38579, 1.56146, 1.44751, 0.27051, 0.23242} <= published


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["2508"], "study: expected one of '2508.07571', got '2508'"),
        (["none.json"], "No such file"),
        (["2508.07571", "--only", "third"], "only: expected one of 'rank-one-mean'"),
        (["2508.07571", "--quick", "--prompts", "3"], "prompts: expected none with --quick, got 3"),
        (["2508.07571", "--prompts", "0"], "prompts: expected an integer from 1"),
        (["2508.07571", "--plot", "figure.gif"], "plot: expected a file that ends in .png"),
    ],
)
def test_refused(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert main(["reproduce", *arguments]) == 1
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"runs": None}, "study: expected a study as"),
        ({"prompts": 0}, "prompts: expected an integer from 1"),
        ({"title": ...}, "study: expected a field 'title'"),
    ],
)
def test_damaged_studies(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = tmp_path / "study.json"
    path.write_text(json.dumps({name: v for name, v in (OWN | change).items() if v is not ...}))
    with pytest.raises(ValueError, match=message):
        load_study(str(path))
    path.write_text("{")
    with pytest.raises(ValueError, match="study: expected a study as"):
        load_study(str(path))
