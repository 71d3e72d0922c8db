"""``ttc-fast predict``, and training on one law with held-out prompts of another."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import ttc_fast as tf
from ttc_fast.cli.main import main
from ttc_fast.models.train import derived_seed

STUDY = """
[task]
kind = "linear"
dim = 2
examples = 7
[model]
kind = "softmax"
[train]
objective = "prediction"
iterations = 6
batch = 8
held_out = 40
learning_rate = 1e-2
"""


def test_predict(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each figure again in NumPy from the library's prompts; the model's by its forward on tokens."""
    model = tf.AttentionTransformer.initial(3, seed=1, scale=0.5)
    path, found = tmp_path / "m.safetensors", tmp_path / "found.json"
    tf.save_model(model, path)
    arguments = [
        "predict",
        str(path),
        "--task",
        "tree",
        "--examples",
        "2",
        "5",
        "--prompts",
        "300",
        "--json",
        str(found),
    ]
    assert main(arguments) == 0
    out = capsys.readouterr().out
    assert "AttentionTransformer(dim=3" in out
    assert "least squares" in out
    prompts = tf.DecisionTree(3, 6).sample(300)
    document = json.loads(found.read_text())
    means = {(one["predictor"], one["examples"]): one["squared_error"] for one in document["records"]}
    for i in (2, 5):
        x, y = prompts.x.double().numpy(), prompts.y.double().numpy()
        w = [np.linalg.lstsq(a[:i], b[:i], rcond=None)[0] for a, b in zip(x, y)]
        errors = [(a[i] @ c - b[i]) ** 2 for a, b, c in zip(x, y, w)]
        assert means["least_squares", i] == pytest.approx(np.mean(errors), rel=1e-6)
        assert means["zero", i] == pytest.approx(np.square(y[:, i]).mean())
        Z = torch.zeros(300, 8, i + 1)
        Z[:, :3, :i], Z[:, 3, :i] = prompts.x[:, :i].mT, prompts.y[:, :i]
        Z[:, 4:7, i], Z[:, 7, i] = prompts.x[:, i], 1.0
        with torch.no_grad():
            told = model.last_token(Z, i)[:, 3]
        assert means["transformer", i] == pytest.approx(float((told - prompts.y[:, i]).square().mean()), rel=1e-5)
    assert main(["predict", str(path), "--task", "parity"]) == 1
    assert "task: expected one of 'linear'" in capsys.readouterr().err


def held_out(folder: Path, *arguments: str, study: str = STUDY) -> list[float]:
    """The curve of a training."""
    path = folder / "study.toml"
    path.write_text(study)
    assert (
        main(["train", str(path), "--out", str(folder / str(len(list(folder.iterdir())))), "--quiet", *arguments]) == 0
    )
    last = max(folder.iterdir(), key=lambda one: one.stat().st_mtime_ns if one.is_dir() else 0)
    return [json.loads(line)["held_out"] for line in (last / "curve.jsonl").read_text().splitlines()]


def test_train_and_held_out_laws_may_differ(tmp_path: Path) -> None:
    """At the learning rate 0 the loss is that of the first weights on prompts of the law asked for, by hand; with one,
    the law of training matters, too."""
    still = STUDY.replace("1e-2", "0.0")

    def by_hand(task: tf.Task) -> float:
        prompts = task.sample(40, seed=derived_seed(0, 1))
        model, n = tf.AttentionTransformer.initial(2), prompts.x.shape[1]
        Z = torch.zeros(40, 6, n)
        Z[:, :2, : n - 1], Z[:, 2, : n - 1] = prompts.x[:, :-1].mT, prompts.y[:, :-1]
        Z[:, 3:5, -1], Z[:, 5, -1] = prompts.x[:, -1], 1.0
        with torch.no_grad():
            return float((model.last_token(Z, n - 1)[:, 2] - prompts.y[:, -1]).square().mean())

    linear, tree = tf.LinearRegression(2, 7), tf.DecisionTree(2, 7)
    longer = still + "[held_out]\nexamples = 12\nlabel_noise = 0.5\n"
    for arguments, study, task in (
        ([], still, linear),
        (["--task", "tree"], still, tree),
        (["--train-task", "tree"], still, linear),
        ([], longer, tf.LinearRegression(2, 12, label_noise=0.5)),
    ):
        assert held_out(tmp_path, *arguments, study=study)[-1] == pytest.approx(by_hand(task), rel=1e-5), arguments
    both = held_out(tmp_path, "--train-task", "tree", "--task", "tree")
    assert held_out(tmp_path, "--task", "tree") != both
    assert held_out(tmp_path, "--train-task", "tree") != both
