"""``ttc-fast train``, and runs with the model that it wrote."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import ttc_fast as tf
from ttc_fast.cli.main import main
from ttc_fast.decoding.backends import resolve_backend
from ttc_fast.experiments.sweep_run import Runs
from ttc_fast.experiments.work import key_of

STUDY = """
[task]
kind = "linear"
dim = 3
examples = 12
label_noise = 0.1
pool = 40
[model]
kind = "{kind}"
heads = 2
[train]
objective = "one_step"
iterations = 20
batch = 8
learning_rate = 1e-2
l2 = 1e-3
seed = 7
"""


WORK = {"linear": 9, "transformer": 3 * (12 * 64 * 64 + 2 * 12 * 64) + 2 * 3 * 64}
"""Multiplications of a thought; of the transformer those of its layers, of keys and values, of read-in and read-out."""

OWN = """
import torch
import ttc_fast as tf


class Net(torch.nn.Module):
    def __init__(self, dim, start=0.5):
        super().__init__()
        self.dim, self.settings = dim, {"dim": dim, "start": start}
        self.step = torch.nn.Parameter(torch.tensor(start))

    def last_token(self, Z, examples):
        x, y, w = Z[:, : self.dim, :examples].mT, Z[:, self.dim, :examples], Z[:, self.dim + 1 : -1, -1]
        return torch.nn.functional.pad(self.moved(x, y, w[:, None])[:, 0], (self.dim + 1, 1))

    def moved(self, x, y, w):
        return w + self.step * (y[:, None] - w @ x.mT) @ x / x.shape[1]

    def prefill(self, prompts):
        return prompts

    def output(self, prompts, w):
        return self.moved(prompts.x, prompts.y, w)
"""


def written(folder: Path, text: str = STUDY, **changes: str) -> str:
    path = folder / "study.toml"
    path.write_text(text.format(**({"kind": "softmax"} | changes)))
    return str(path)


@pytest.mark.parametrize("kind", ["softmax", "linear", "relu", "transformer"])
def test_train_and_run(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The files hold what the screen and the library say; the run's greedy chain is that of the weights, by hand."""
    folder, found = tmp_path / "new" / "folder", tmp_path / "found.json"
    assert main(["train", written(tmp_path, kind=kind), "--out", str(folder)]) == 0
    out, err = capsys.readouterr()
    assert "after 20 iterations" in out
    assert "iteration 20 of 20" in err
    curve = [json.loads(line) for line in (folder / "curve.jsonl").read_text().splitlines()]
    assert [line["iteration"] for line in curve] == list(range(1, 21))
    assert curve[-1]["held_out"] < curve[0]["held_out"]
    model = folder / "model.safetensors"
    arguments = [
        "run", "--model", str(model), "--examples", "12", "--prompts", "5", "--start", "random", "--noise-scale", "0",
        "--label-noise", "0", "--samples", "1", "--steps", "1", "3", "--coefficients", "continuous",
        "--json", str(found),
    ]  # fmt: skip
    assert main(arguments) == 0
    assert "transformer" in capsys.readouterr().out.lower()
    document = json.loads(found.read_text())
    weights = tf.load_model(model)
    assert document["model"] == repr(weights)
    prompts = tf.LinearRegression(3, 12).sample(5)
    w, errors = tf.RandomStart(0)(prompts)[:, None], {}
    with torch.no_grad():
        for step in (1, 2, 3):
            w = weights.output(weights.prefill(prompts), w)
            assert prompts.w_star is not None
            errors[step] = float((w[:, 0] - prompts.w_star).square().mean())
    for record in document["records"]:
        if record["technique"] == "greedy" and record["metric"] == "squared_error":
            assert record["mean"] == pytest.approx(errors[record["steps"]], rel=1e-5)
            work = WORK.get(kind, 2 * 2 * 12 * 3)  # two heads with twelve keys and values
            assert record["multiplications"] == record["steps"] * work
    assert document["backend"] == ("reference" if kind == "transformer" else resolve_backend("auto"))


def test_train_quietly_and_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A second time there is nothing to do; other settings need another folder."""
    study, folder = written(tmp_path), tmp_path / "o"
    assert main(["train", study, "--out", str(folder), "--quiet"]) == 0
    before = (folder / "model.safetensors").read_bytes()
    assert main(["train", study, "--out", str(folder), "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")
    assert (folder / "model.safetensors").read_bytes() == before
    assert main(["train", written(tmp_path, kind="linear"), "--out", str(folder)]) == 1
    assert "folder: expected an empty one" in capsys.readouterr().err


def test_the_outcome_of_a_noisy_chain(tmp_path: Path) -> None:
    text = STUDY.replace("one_step", "outcome") + "noise_scale = 0.3\nsteps = 3\n"
    assert main(["train", written(tmp_path, text), "--out", str(tmp_path / "o"), "--quiet"]) == 0
    text = text.replace("0.3", "0.0")
    assert main(["train", written(tmp_path, text), "--out", str(tmp_path / "p"), "--quiet"]) == 0
    noisy, still = (tf.load_model(tmp_path / name / "model.safetensors") for name in "op")
    assert not torch.equal(noisy.V, still.V)


def test_a_class_of_the_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Trained, kept and decoded by its name; a file alone does not have it imported."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_nets.py").write_text(OWN)
    study = written(tmp_path, STUDY.replace("heads = 2", "start = 0.25"), kind="my_nets:Net")
    assert main(["train", study, "--out", "o", "--quiet"]) == 0
    arguments = [
        "run", "--model", "o/model.safetensors", "--samples", "3", "--steps", "2", "--prompts", "2", "--no-theory",
        "--coefficients", "continuous", "--json", "found.json",
    ]  # fmt: skip
    sys.modules.pop("my_nets")
    assert main(arguments) == 1
    told = capsys.readouterr().err
    assert "got one of 'my_nets:Net'; give its class" in told
    assert "my_nets" not in sys.modules
    assert main([*arguments, "--model-class", "my_nets:Net"]) == 0
    assert json.loads((tmp_path / "found.json").read_text())["model"] == "Net()"
    own = sys.modules.pop("my_nets").Net
    found = tf.load_model("o/model.safetensors", classes=[own])
    assert found.settings == {"dim": 3, "start": 0.25}
    assert float(found.step.detach()) != 0.25
    for wrong, told in (
        ("my_nets", "expected MODULE:CLASS, such as mymodels:Net, got 'my_nets'"),
        ("my_nets:Nat", "expected MODULE:CLASS that can be imported, got my_nets:Nat"),
        ("no_such_module:Net", "No module named 'no_such_module'"),
        ("json:dumps", "expected a class, got json:dumps"),
        ("my_nets:torch.nn.Linear", "expected a model of ours or of one of your classes"),
    ):
        assert main([*arguments, "--model-class", wrong]) == 1
        assert told in " ".join(capsys.readouterr().err.split())
    assert main(["run", "--model-class", "my_nets:Net"]) == 1
    assert "model_class: expected none without a model" in capsys.readouterr().err


WRONG: list[tuple[str, str, str]] = [
    ('kind = "linear"\ndim', 'kind = "circles"\ndim', "[task] kind: expected one of 'linear', 'shifted'"),
    ("label_noise = 0.1", "lable_noise = 0.1", "[task] lable_noise: expected one of dim, examples"),
    ("examples = 12\n", "", "[task]: expected 'examples', got none"),
    ("dim = 3", "dim = 'three'", "[task] dim: expected an integer, got 'three'"),
    ("heads = 2", "heads = 0", "[model] heads: expected an integer from 1"),
    ("heads = 2", "layers = 2", "[model] layers: expected one of heads, hidden"),
    ("batch = 8", "batch = 0", "[train] batch: expected an integer from 1"),
    ("batch = 8", "noise_scale = 0.1", "[train] noise_scale: expected none for the objective 'one_step'"),
    ("[model]", "[modell]", "expected the sections [task], [held_out], [model], [train]"),
    ("[model]", "[model", "study: expected TOML in"),
]


@pytest.mark.parametrize(("old", "new", "message"), WRONG)
def test_wrong_studies(old: str, new: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert old in STUDY
    assert main(["train", written(tmp_path, STUDY.replace(old, new)), "--out", str(tmp_path / "o")]) == 1
    assert message in capsys.readouterr().err.replace("\n", " ")
    assert not (tmp_path / "o").exists()


def test_wrong_models_of_runs(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    tf.save_model(tf.AttentionTransformer.initial(3), path)
    shared: dict[str, Any] = {"model": path, "samples": 1, "prompts": 2, "steps": (1,)}
    cases: list[tuple[dict[str, Any], str]] = [
        ({"step_size": 0.1}, "step_size: expected none with the weights of"),
        ({"dim": 4}, "dim: expected 3 as .* has it, got 4"),
        ({"model": tmp_path / "study.toml"}, "model: .*: expected a .safetensors file"),
        ({"backend": "triton"}, "backend: 'triton' cannot run"),
        ({"start": "one"}, "start: expected one of 'zero', 'random'"),
    ]
    written(tmp_path)
    for changes, message in cases:
        with pytest.raises(ValueError, match=message):
            tf.run(tf.RunConfig(**(shared | changes)))
    with pytest.raises(OSError, match="model: cannot read"):
        tf.run(tf.RunConfig(**(shared | {"model": tmp_path / "none"})))


def test_a_sweep_knows_a_model_by_its_content(tmp_path: Path) -> None:
    config = tf.RunConfig(model=tmp_path / "m.safetensors", coefficients="continuous", samples=2, prompts=2, steps=(1,))
    keys = []
    for seed in (0, 0, 1):
        tf.save_model(tf.LinearTransformer.initial(3, seed=seed), tmp_path / "m.safetensors")
        keys.append(key_of(Runs().work(config), None))
    assert keys[0] == keys[1] != keys[2]


def test_start_of_a_run() -> None:
    """With gradient descent: other figures than from zero, with laws, and no mean over all prompts, a law from zero."""
    shared: dict[str, Any] = {"coefficients": "continuous", "samples": 64, "prompts": 6, "steps": (1, 4), "dim": 4}
    zero, random = (tf.run(tf.RunConfig(start=start, **shared)) for start in ("zero", "random"))
    assert not np.array_equal(zero.table.values, random.table.values)
    assert random.table.theory_check().agrees
    assert random.all_prompts == {"continuous": None}
    assert zero.all_prompts["continuous"] is not None
    assert random.table.about["start"] == "RandomStart(seed=0, scale=1.0)"
