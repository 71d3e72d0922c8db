"""``ttc-fast sweep``, ``merge`` and ``status`` as commands."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

import ttc_fast as tf
from ttc_fast.cli.main import main
from ttc_fast.cli.sweep import watching
from ttc_fast.experiments import sweep_plan
from ttc_fast.experiments.driver import Snapshot
from ttc_fast.experiments.sweepable import Cost

STUDY = """
[run]                      # any setting of `ttc-fast run`, by its long name
coefficients = "continuous"
samples = 8
prompts = 4
technique = ["greedy", "mean"]
[grid]                     # product
dim = [2, 3]
seed = [0, 1]
"""


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(sweep_plan, "costs", lambda command, works, report: [Cost(0.5, 100.0, 10) for _ in works])
    monkeypatch.chdir(tmp_path)
    Path("study.toml").write_text(STUDY)
    return "study.toml"


def test_sweep(study: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two processes; then all is there. The file is read by DuckDB, pandas and xarray."""
    assert main(["sweep", study, "--out", "out", "--workers", "2"]) == 0
    out, err = capsys.readouterr()
    assert out == f"4 runs are in {Path('out') / 'table.parquet'}\n"
    assert err.splitlines()[-1].startswith("sweep: runs 4 of 4, shards 4 of 4, running 0, million coefficient-steps")
    before = Path("out/table.parquet").read_bytes()
    assert main(["sweep", study, "--out", "out", "--quiet"]) == 0
    assert main(["status", "out"]) == 0
    assert main(["merge", "out", "--quiet"]) == 0
    out, err = capsys.readouterr()
    assert (out, err) == ("4 of 4 runs, 16 of 16 prompts\n", "")
    assert Path("out/table.parquet").read_bytes() == before
    assert not list(Path("out/drafts").iterdir())
    table = tf.load("out").select(dim=3, technique="mean", samples=8, steps=32, metric="squared_error")
    means = [one.values.mean() for one in table.tables]
    duckdb = pytest.importorskip("duckdb")
    query = """select seed, avg(value) from 'out/table.parquet' where dim = 3 and technique = 'mean'
               and samples = 8 and steps = 32 and metric = 'squared_error' group by seed order by seed"""
    assert duckdb.sql(query).fetchall() == [(0, pytest.approx(means[0])), (1, pytest.approx(means[1]))]
    pytest.importorskip("xarray")
    dataset = table.to_xarray()
    assert dataset["value"].mean("prompt").squeeze().values.tolist() == pytest.approx(means)
    assert dict(dataset.sizes)["seed"] == 2
    numbers = [name for name in dataset.variables if dataset[name].dtype.kind in "if"]
    assert all(dataset[name].attrs["units"] for name in numbers)
    assert {dataset[name].attrs["units"] for name in ("steps", "dim")} == {"thoughts", "coefficients"}


def test_polars(study: str) -> None:
    """Reads the merged table, whose texts are dictionaries and whose settings are in its metadata."""
    polars = pytest.importorskip("polars")
    assert main(["sweep", study, "--out", "out", "--workers", "1", "--quiet"]) == 0
    table = tf.load("out").select(dim=3, seed=1, technique="mean", samples=8, steps=32, metric="squared_error")
    frame = polars.read_parquet("out/table.parquet").filter(
        (polars.col("dim") == 3) & (polars.col("seed") == 1) & (polars.col("technique") == "mean")
        & (polars.col("samples") == 8) & (polars.col("steps") == 32) & (polars.col("metric") == "squared_error")
    )  # fmt: skip
    assert frame["prompt"].to_list() == [0, 1, 2, 3]
    assert frame["value"].to_list() == table.table().values[0].tolist()
    assert set(frame["settings"].to_list()) == set(table.keys)


def test_parts(study: str, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["sweep", study, "--out", "out", "--workers", "1", "--quiet", "--shard"]
    assert main([*arguments, "2/3"]) == 0
    assert main(["status", "out"]) == 1
    out, _ = capsys.readouterr()
    assert out.splitlines()[-2:] == [
        "1 of 4 runs, 4 of 16 prompts", "predicted for the rest, on one worker: 6 s; nobody is at work",
    ]  # fmt: skip
    assert "dim 2, seed 0" in out
    assert main(["merge", "out"]) == 1
    assert "got 3 gaps, the first at prompts 0 to 4 of the run with dim 2, seed 0" in capsys.readouterr().err


def test_dry_run(study: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sweep", study, "--out", "out", "--dry-run", "--workers", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["dim", "seed", "prompts", "time", "on", "one", "worker"]
    assert lines[2].split() == ["2", "0", "4", "2", "s"]
    assert lines[-1].startswith("4 runs, 4 shards of up to 2 s; predicted: 4 s with 2 workers, ")
    assert not Path("out").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.toml", "--out", "out"], "No such file"),
        (["study.toml", "--out", "out", "--shard", "3"], "shard: expected I/N such as 2/10, got '3'"),
        (["study.toml", "--out", "out", "--shard", "3/2"], "shard: i: expected an integer from 1 to 2, got 3"),
        (["study.toml", "--out", "study.toml"], "study.toml"),
        (["study.toml", "--out", "out", "--workers", "0"], "workers: expected an integer from 1"),
        (["bad.toml", "--out", "out"], "dim: expected an integer from 1"),
    ],
)
def test_refused(study: str, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("bad.toml").write_text("[grid]\ndim = [2, 0]\n")
    assert main(["sweep", *arguments]) == 1
    err = capsys.readouterr().err
    assert message in err.splitlines()[-1]
    assert ("in the run with dim 0" in err) == ("bad.toml" in arguments)


def test_live_table(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal: a table that is redrawn, and notes above it."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("COLUMNS", "140")
    with watching(False) as watch:
        for done in (2, 3):
            watch(Snapshot(8, done, 4, 1, running=2, rate=5e8, left=90.0, notes=["a worker died"] * (done == 3)))
    text = screen.getvalue()
    assert text.count("ttc-fast: note: a worker died") == 1
    for part in ("2 of 8", "3 of 8", "500", "1.5 min"):
        assert part in text
    assert "\x1b[1A" in text  # the cursor goes up to redraw
