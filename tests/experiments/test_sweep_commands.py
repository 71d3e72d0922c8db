"""Sweeps of trainings, of fits, and of a command of one's own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import ttc_fast as tf
from experiments.sweeps import Inline, blocks_of, digest, swept
from ttc_fast.experiments import commands, sweep_fit
from ttc_fast.experiments.costs import costs
from ttc_fast.experiments.grid import points
from ttc_fast.experiments.log_config import fitted
from ttc_fast.experiments.pooled import pooled
from ttc_fast.experiments.sweep_figures import pictures
from ttc_fast.experiments.sweep_fit import Fits
from ttc_fast.experiments.sweep_train import Trainings, curve_table
from ttc_fast.experiments.sweepable import Work
from ttc_fast.experiments.work import Task, attempt
from ttc_fast.logs.table import forecast_table, prompt_names
from ttc_fast.models.train import MODEL, Trained
from ttc_fast.numerics.progress import ignore

TRAINING: dict[str, Any] = {
    "task": {"dim": 2, "examples": 6, "label_noise": 0},
    "model": {"kind": "softmax"},
    "train": {"iterations": 20, "batch": 4, "held_out": 8, "evaluate-every": 5},
    "grid": {"learning_rate": [0.01, 1], "model": {"heads": [1, 2]}},
    "seeds": 2,
}


@pytest.fixture(scope="module")
def trainings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trainings")
    with pytest.MonkeyPatch.context() as patch:
        blocks_of(patch, 4)
        swept(folder, study=TRAINING)
    return folder


def test_trainings(trainings: Path) -> None:
    """Figures and weights are those of trainings by themselves; rates may be integers, and seeds are pooled."""
    found = tf.load(trainings)
    assert found.axes == {"learning_rate": [0.01, 1], "model_heads": [1, 2], "seed": [0, 1]}
    one = found.select(learning_rate=0.01, model_heads=2, seed=1)
    model = tf.AttentionTransformer.initial(2, 2, activation="softmax")
    config = tf.TrainConfig(iterations=20, batch=4, held_out=8, evaluate_every=5, learning_rate=0.01, seed=1)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    direct = tf.train(model, tf.LinearRegression(2, 6, label_noise=0.0), config)
    torch.set_num_threads(threads)
    for line in direct.curve:
        for metric in ("held_out", "loss"):
            assert one.table()["train", "one_step", int(line["iteration"]), 1, metric].tolist() == [line[metric]]
    assert len(one.table().keys) == 2 * len(direct.curve) == 8
    kept = tf.load_model(trainings / "kept" / one.keys[0] / MODEL)
    assert all(torch.equal(kept.state_dict()[name], w) for name, w in model.state_dict().items())
    group = pooled(found)[1]
    key = tf.Key("train", "one_step", 20, 1, "held_out")
    assert group.varied == {"learning_rate": 0.01, "model_heads": 2}
    assert group.summary(key).mean == np.mean(
        [found.select(**group.varied, seed=seed).table()[key][0] for seed in (0, 1)]
    )


def test_pictures_of_trainings(trainings: Path) -> None:
    pytest.importorskip("matplotlib")
    names = [picture.name for picture in pictures(tf.load(trainings))]
    sorts = [f"iterations-{i}" for i in (1, 2, 3, 4)] + [
        f"{x}-{i}" for x in ("learning_rate", "model_heads") for i in (1, 2)
    ]
    assert names == [f"{sort}-train" for sort in sorts]
    pytest.importorskip("xarray")
    dataset = tf.load(trainings).to_xarray()
    assert dataset["steps"].attrs["units"] == "iterations"
    assert dataset.sizes["model_heads"] == 2


def test_an_interrupted_training_goes_on(trainings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed after two of four evaluations, it does the other two only, and ends with the same bytes."""
    blocks_of(monkeypatch, 4)
    advanced: list[int] = []
    original = tf.models.train._Training.advance

    def advance(self: Any, report: Any) -> Any:
        if len(advanced) == 2:
            advanced.append(-1)
            raise MemoryError("as if killed")
        line = original(self, report)
        advanced.append(line["iteration"])
        return line

    monkeypatch.setattr("ttc_fast.models.train._Training.advance", advance)
    monkeypatch.setattr("ttc_fast.models.train.KEEP_EVERY", 0.0)
    done, notes = swept(tmp_path, Inline(1), study=TRAINING)
    assert len(done) == 9
    assert "the run with learning_rate 0.01, model.heads 1, seed 0: MemoryError: as if killed (try 1 of 3)" in notes[0]
    assert advanced[:3] == [5, 10, -1]
    assert advanced[-2:] == [15, 20]
    assert len(advanced) == 8 * 4 + 1
    assert digest(tmp_path) == digest(trainings)


def test_an_early_stop() -> None:
    """The curve goes on with the weights that were kept, so that seeds which stop elsewhere have the same figures."""
    config = tf.TrainConfig(iterations=10, evaluate_every=3, patience=1)
    lines = [{"iteration": 3, "held_out": 2.0, "loss": 5.0}, {"iteration": 6, "held_out": 4.0, "loss": 3.0}]
    table = curve_table(Trained(None, tuple(lines), 6), config)
    held_out = [table[("train", "one_step", i, 1, "held_out")][0] for i in (3, 6, 9, 10)]
    assert held_out == [2.0, 4.0, 2.0, 2.0]
    assert np.isnan([table[("train", "one_step", i, 1, "loss")][0] for i in (3, 6, 9, 10)]).tolist() == [0, 0, 1, 1]


def test_cost_of_a_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """In proportion to its iterations, measured with some of them; a rate that would diverge is no matter."""
    monkeypatch.setattr("ttc_fast.experiments.sweep_train.LONG_ENOUGH", 0.02)
    study = {**TRAINING, "train": {"iterations": 10**6, "batch": 4}, "grid": {"learning_rate": [1e30]}, "seeds": 1}
    command = Trainings()
    (cost,) = costs(command, [command.work(point.config) for point in points(study)], ignore)
    assert 10 < cost.seconds < 10**5
    assert cost.figures == 102


@pytest.fixture
def log(tmp_path: Path) -> Path:
    draw = np.random.default_rng(0)
    path = tmp_path / "log.jsonl"
    with path.open("w") as file:
        for name, p in (("a", 0.2), ("b", 0.6), ("c", 0.9)):
            for correct in draw.random(8) < p:
                file.write(json.dumps({"prompt": name, "correct": bool(correct)}) + "\n")
    return path


def fits(log: Path, **common: Any) -> dict[str, Any]:
    return {"fit": {"files": str(log), "budgets": [1, 32], **common}, "grid": {"first": [4, 8]}, "seeds": 2}


def test_fits(log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Forecasts are those of fits by themselves; other seeds have the same prompts; another content is another log."""
    blocks_of(monkeypatch, 4)
    monkeypatch.setattr(sweep_fit, "fitted", partial(fitted, resamples=3))
    swept(tmp_path / "out", study=fits(log))
    found = tf.load(tmp_path / "out")
    direct = forecast_table(tf.fit(tf.read([log]), [1, 32], first=4, seed=1, resamples=3))
    table = found.select(first=4, seed=1).table()
    assert table.keys == direct.keys
    np.testing.assert_array_equal(table.values, direct.values)
    assert prompt_names(table) == ["a", "b", "c"]
    assert [row["k"] for row in json.loads(table.about["forecasts"])] == [1, 32]
    assert pooled(found)[0].values.shape == (2, 3)
    assert {picture.name for picture in pictures(found)} == {"samples-1-fit", "samples-2-fit", "first-1-fit"}
    assert swept(tmp_path / "out", study=fits(log))[0] == []
    log.write_text(log.read_text().replace("true", "false", 1))
    assert len(swept(tmp_path / "out", study=fits(log))[0]) == 4


def test_cost_of_a_fit(log: Path) -> None:
    command = Fits()
    (cost, *_) = costs(command, [command.work(point.config) for point in points(fits(log))], ignore)
    assert 0 < cost.seconds < 60
    assert cost.figures == 6


@pytest.mark.parametrize(
    ("study", "message"),
    [
        ({"fit": {"budgets": [1]}}, "fit: expected files"),
        ({"fit": {"files": "a", "greedy": 0.5}}, "fit: expected what decides the figures, got 'greedy'"),
        ({"run": {}, "fit": {}}, r"study: expected settings of one command, got \[run\] and \[fit\]"),
        ({"fit": {}, "model": {}}, r"study: expected settings of one command, got \[train\] and \[fit\]"),
        ({"train": {}, "grid": {"heads": [1]}}, "grid: .* got 'heads'; the nearest is 'model.heads'"),
        ({"train": {}, "grid": {"model": {"heds": [1]}}}, "grid: .* got 'model.heds'; the nearest is 'model.heads'"),
        ({"train": {"seed": 1}, "seeds": 2}, "train: expected settings that do not vary, got seed"),
        ({"train": {}, "model": {"layer": 1}}, "model: .* got 'model.layer'; the nearest is 'model.layers'"),
    ],
)
def test_refused(study: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        points(study)


class Powers:
    """A command with units that can be divided: ``[powers] exponent = 2``."""

    def hints(self) -> Mapping[str, Any]:
        return {"exponent": float, "seed": int}

    def config(self, given: Mapping[str, Any]) -> dict[str, Any]:
        return {"exponent": 1.0, **given}

    def work(self, config: dict[str, Any]) -> Work:
        return Work(config, {"exponent": config["exponent"]}, 2, 7)

    def compute(self, config: dict[str, Any], start: int, stop: int, place: Path) -> tf.Table:
        numbers = np.arange(start, stop)
        return tf.Table((tf.Key("powers", "power", 1, 1, "value"),), numbers, (numbers ** config["exponent"])[None])


def test_a_command_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(commands.COMMANDS, "powers", Powers())
    blocks_of(monkeypatch, 2)
    study = {"powers": {}, "grid": {"exponent": {"from": 1, "to": 3, "step": 1}}}

    def play(task: Task) -> Any:
        assert task.config["exponent"] in (1.0, 2.0, 3.0)
        return attempt(task)

    done, _ = swept(tmp_path, Inline(2, play), study=study)
    assert [tuple(task.block[1:]) for task in done[:3]] == [(2, 4), (4, 6), (6, 7)]
    assert [table.values.tolist() for table in tf.load(tmp_path).tables] == [
        [[float(i**e) for i in range(2, 7)]] for e in (1, 2, 3)
    ]
    (work,) = (commands.command_of("powers").work(point.config) for point in points(study)[:1])
    assert commands.command_of("powers").measured(work).figures == 1
