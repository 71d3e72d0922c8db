"""Study files: what varies, ranges, and names that are unknown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ttc_fast.cli.main import main
from ttc_fast.experiments.config import RunConfig
from ttc_fast.experiments.grid import GALLERY, load_points, points, study_file
from ttc_fast.experiments.presets import PRESETS
from ttc_fast.experiments.run import resolved
from ttc_fast.experiments.sweep_table import load
from ttc_fast.experiments.training import load_training
from ttc_fast.models.checkpoint import save_model
from ttc_fast.models.train import MODEL


def test_product_and_zip() -> None:
    found = points({"grid": {"dim": [4, 8]}, "zip": {"steps": [[1, 2], 4], "samples": [8, 16]}, "seeds": 2})
    assert [tuple(point.varied.values()) for point in found[:3]] == [
        (4, 0, [1, 2], 8), (4, 0, 4, 16), (4, 1, [1, 2], 8),
    ]  # fmt: skip
    assert len(found) == 8
    assert found[-1].config == RunConfig(dim=8, seed=1, steps=4, samples=16)  # type: ignore[arg-type]
    assert found[1].label == "dim 4, seed 0, steps 4, samples 16"


def test_nothing_varies() -> None:
    (only,) = points({"run": {"preset": "paper", "prompts": 3, "noise-schedule": "constant"}})
    assert only.varied == {}
    assert only.config == RunConfig(**{**vars(PRESETS["paper"]), "prompts": 3})


@pytest.mark.parametrize(
    ("name", "given", "values"),
    [
        ("dim", {"from": 8, "to": 32, "step": 8}, [8, 16, 24, 32]),
        ("dim", {"from": 8, "to": 31, "step": 8}, [8, 16, 24]),
        ("noise_scale", {"from": 0.1, "to": 0.3, "step": 0.1}, [0.1, 0.2, 0.3]),
        ("noise_scale", {"from": 0.3, "to": 0.1, "step": -0.1}, [0.3, 0.2, 0.1]),
        ("noise_scale", {"from": 0.01, "to": 1, "count": 3, "scale": "log"}, [0.01, 0.1, 1.0]),
        ("samples", {"from": 1, "to": 10, "count": 4, "scale": "log"}, [1, 2, 5, 10]),
        ("temperature", {"from": 0, "to": 1, "count": 5}, [0, 0.25, 0.5, 0.75, 1]),
    ],
)
def test_ranges(name: str, given: dict[str, Any], values: list[float]) -> None:
    found = [getattr(point.config, name) for point in points({"grid": {name: given}})]
    assert found == values
    assert {type(value) for value in found} == {int if name in ("dim", "samples") else float}


@pytest.mark.parametrize(
    ("study", "message"),
    [
        ({"grids": {}}, "study: expected the name of a setting, got 'grids'; the nearest is 'grid'"),
        ({"run": {"sampels": 3}}, "run: expected the name of a setting, got 'sampels'; the nearest is 'samples'"),
        ({"grid": {"temprature": [1]}}, "grid: .* got 'temprature'; the nearest is 'temperature'"),
        ({"run": {"json": "x"}}, "run: expected what decides the figures, got 'json', which does not"),
        ({"grid": {"dim": {"from": 1, "too": 2}}}, "dim: .* got 'too'; the nearest is 'to'"),
        ({"grid": {"dim": {"from": 1, "to": 2}}}, "dim: expected a step or a count"),
        ({"grid": {"dim": {"from": 1, "to": 2, "step": -1}}}, "dim: expected a step that leads from 1 to 2"),
        ({"grid": {"noise_scale": {"from": 0, "to": 2, "count": 3, "scale": "log"}}}, "noise_scale: .* above 0"),
        ({"grid": {"noise_scale": {"from": 0, "to": 2, "count": 3, "scale": "ln"}}}, "noise_scale: scale: expected"),
        ({"grid": {"dim": 3}}, "dim: expected a list of values"),
        ({"grid": {"dim": []}}, "dim: expected a list of values"),
        ({"grid": {"dim": [3, 3]}}, "dim: expected each value once"),
        ({"grid": [1]}, r"grid: expected a table \[grid\]"),
        ({"grid": {"dim": [1]}, "run": {"dim": 2}}, "run: expected settings that do not vary, got dim"),
        ({"grid": {"dim": [1]}, "zip": {"dim": [2]}}, r"zip: expected settings that are not in \[grid\], got dim"),
        ({"zip": {"dim": [1], "seed": [2, 3]}}, "zip: expected lists of one length"),
        ({"run": {"preset": "papers"}}, "preset: expected one of 'paper'"),
        ({"seeds": 0}, "seeds: expected an integer from 1"),
        ({"seeds": 2000, "grid": {"dim": list(range(1, 1001))}}, "grid: expected at most 1,000,000 runs"),
    ],
)
def test_refused(study: dict[str, Any], message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        points(study)


def test_gallery(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every study is one that can be planned, with the models that trainings of the gallery make, and tells its
    command."""
    monkeypatch.chdir(tmp_path)
    names = sorted(path.stem for path in GALLERY.glob("*.toml"))
    trainings = [name for name in names if name.startswith("train_")]
    for name in trainings:
        path, folder = study_file(Path(name)), name.removeprefix("train_")
        assert f"ttc-fast train {name} --out {folder}" in path.read_text()
        (tmp_path / folder).mkdir()
        save_model(load_training(path).model, tmp_path / folder / MODEL)
    assert len(trainings) == 4
    assert [name for name in names if name not in trainings] == [
        "mismatch", "overthinking", "randomness", "reward_hacking", "ridge_from_sampling", "temperature",
        "thoughts_or_samples",
    ]  # fmt: skip
    for name in set(names) - set(trainings):
        path = study_file(Path(name))
        assert f"ttc-fast sweep {name} --out FOLDER" in path.read_text()
        assert path.with_suffix(".png").exists()
        for point in load_points(path):
            assert resolved(point.config).dim
    with pytest.raises(ValueError, match=r"study: expected one of 'mismatch', .*, got 'none'"):
        study_file(Path("none"))


@pytest.mark.slow
def test_a_model_meets_other_prompts_than_it_was_trained_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the gallery says of it, after a shorter training: each thought of linear attention is worse where features
    are larger, and better where they have one length. Differences are of orders, on the same 64 prompts."""
    monkeypatch.chdir(tmp_path)
    training, study = tmp_path / "training.toml", tmp_path / "study.toml"
    training.write_text(study_file(Path("train_linear")).read_text().replace("iterations = 4000", "iterations = 1500"))
    assert main(["train", str(training), "--out", "linear", "--quiet"]) == 0
    text = study_file(Path("mismatch")).read_text().replace("prompts = 256", "prompts = 64")
    text = text.replace(', "softmax/model.safetensors", "transformer/model.safetensors"', "")
    study.write_text(text.replace("examples = [12, 24, 48]", "examples = [24]"))
    assert main(["sweep", str(study), "--out", "out", "--quiet", "--workers", "2"]) == 0
    found = load(tmp_path / "out").select(metric="squared_error", technique="greedy")
    errors = {
        run["task"]: [table[("continuous", "greedy", t, 1, "squared_error")].mean() for t in (1, 5)]
        for run, table in zip(found.runs, found.tables)
    }
    assert errors["linear"][1] < errors["linear"][0] / 3
    assert errors["sphere"][1] < errors["linear"][1]
    assert errors["scaled_x"][1] > 1e3 * errors["scaled_x"][0] > 1e3 * errors["linear"][0]


@pytest.mark.slow
def test_the_temperature_optimum_at_small_size(tmp_path: Path) -> None:
    """What the gallery says of it: a single answer and best-of-N are best neither cold nor hot."""
    text = study_file(Path("temperature")).read_text()
    study = tmp_path / "temperature.toml"
    study.write_text(text.replace("prompts = 4096", "prompts = 400").replace("samples = 1024", "samples = 64"))
    assert main(["sweep", str(study), "--out", str(tmp_path / "out"), "--quiet", "--workers", "2"]) == 0
    found = load(tmp_path / "out").select(metric="squared_error", steps=16)
    best = [table[("binary", "best_of_n", 16, 64, "squared_error")].mean() for table in found.tables]
    single = [table[("binary", "single", 16, 1, "squared_error")].mean() for table in found.tables]
    for curve in (single, best):
        assert min(curve) < 0.8 * min(curve[0], curve[-1])  # 0.24 against 0.33; standard errors: 0.015


def test_file(tmp_path: Path) -> None:
    path = tmp_path / "study.toml"
    path.write_text('[run]\nprompts_file = "p.npz"\n[grid]\ndim = [2]\n')
    assert load_points(path)[0].config.prompts_file == Path("p.npz").absolute()
    for content in (b"[run\n", b"\xff"):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="study: expected TOML in"):
            load_points(path)
