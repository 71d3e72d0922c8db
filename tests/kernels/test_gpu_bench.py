"""What of ``python -m bench.gpu`` can be checked without a GPU."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from ttc_fast.kernels import versions
from ttc_fast.kernels.predict import register, registered

sys.path.insert(0, str(Path(__file__).parents[2]))  # bench is no part of the package

from bench import equivalence, gpu, profile
from bench.peers import Job


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)


def test_refuses_without_gpu(no_gpu: None, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("triton")
    assert gpu.main([]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert "PyTorch sees no GPU" in err


def test_refuses_the_interpreter(
    no_gpu: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    assert gpu.main(["--dims", "16"]) == 2
    assert "TRITON_INTERPRET is set" in capsys.readouterr().err


def test_equivalence_holds_for_native() -> None:
    cases = equivalence.compare_all("native", "cpu", (3, 16))
    assert len(cases) == 2 * len(equivalence.RULES)
    assert all(case.error < 1e-5 for case in cases)


def off(monkeypatch: pytest.MonkeyPatch, scale: float, shift: float) -> None:
    """As if the kernel computed with a wrong state."""
    right = equivalence._Problem.ours

    def wrong(self: Any, *arguments: Any) -> Any:
        state = scale * self.state
        state[:, :, -1] += shift
        return right(self._replace(state=state), *arguments)

    monkeypatch.setattr(equivalence._Problem, "ours", wrong)


@pytest.mark.parametrize("rule", list(equivalence.RULES))
def test_equivalence_finds_a_wrong_kernel(rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """States off by 0.1 %, about the error of TF32; the threshold has no bit so close to it as to see that."""
    off(monkeypatch, 1.3 if rule == "threshold" else 1.001, 0.0)
    with pytest.raises(ValueError, match=r"native: expected the thoughts of the reference to 5e-05 for .*, d = 64"):
        equivalence.compare(rule, 64, "native", "cpu")


def test_equivalence_forgives_a_tie(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error below the tolerance flips bits, but only at near ties: p changes by no more than u."""
    off(monkeypatch, 1.0, 4e-5)
    case = equivalence.compare("sigmoid", 128, "native", "cpu")
    assert case.flips > 0
    assert 0 < case.margin < equivalence.TOLERANCE


@pytest.mark.parametrize("kind", ["continuous", "binary"])
def test_measures(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a CPU the native backend stands for the kernel; the output of the eager loops has the law."""
    monkeypatch.setattr(gpu, "TURN", 0.002)
    torch.use_deterministic_algorithms(False)
    found = gpu.measure(Job(kind, 16, 2048, 8), 2, ("eager, Gram", "eager, fewest passes", "torch.compile, CUDA graph"))
    assert set(found["coefficient_steps_per_second"]) == {"kernel", "eager, Gram", "eager, fewest passes"}
    assert min(found["coefficient_steps_per_second"].values()) > 0
    assert list(found["missing"]) == ["torch.compile, CUDA graph"]


PREDICTED = {"bound_high": 100.0, "expected": [40.0, 90.0], "eager": 10.0}


@pytest.mark.parametrize(
    ("kernel", "eager", "verdicts"),
    [
        (50.0, 9.0, ["held", "held", "held", "held"]),
        (95.0, 9.0, ["held", "above", "held", "held"]),
        (101.0, 9.0, ["FALSIFIED: faster than the bound", "above", "held", "held"]),
        (30.0, 9.0, ["held", "below", "held", "below"]),
        (50.0, 11.0, ["held", "held", "FALSIFIED: faster than its bound", "held"]),
        (41.0, 10.5, ["held", "held", "FALSIFIED: faster than its bound", "below"]),
    ],
)
def test_verdicts(kernel: float, eager: float, verdicts: list[str]) -> None:
    found = gpu.verdicts({"kernel": kernel, "eager, Gram": eager, "JAX": 1.0}, PREDICTED)
    assert found == dict(zip(("bound", "expected", "eager", "speed-up"), verdicts))


@pytest.mark.parametrize("version", registered(gpu.PREDICTIONS))
def test_stored_predictions(version: str) -> None:
    """Every GPU, rule and dimension is there once, and a GPU is known by its name and its multiprocessors."""
    rows = registered(gpu.PREDICTIONS)[version]
    assert len(rows) == len({(row["gpu"], row["rule"], row["dim"]) for row in rows}) == 4 * 2 * 4
    for row in rows:
        assert row["bound_low"] <= row["bound"] <= row["bound_high"]
        assert 0 < row["expected"][0] < row["expected"][1] < row["bound"]
        assert row["eager"] <= row["eager_memory"]
    found = gpu.prediction("NVIDIA H100 80GB HBM3", 132, "binary", 64, rows)
    assert found is not None
    assert (found["gpu"], found["rule"], found["dim"]) == ("H100", "bernoulli", 64)
    assert gpu.prediction("NVIDIA H100 PCIe", 114, "binary", 64, rows) is None
    assert gpu.prediction("NVIDIA L4", 58, "binary", 64, rows) is None
    assert gpu.prediction("NVIDIA H100 80GB HBM3", 132, "binary", 64, []) is None


@pytest.mark.slow
def test_predictions_are_what_inspect_computes(tmp_path: Path) -> None:
    """Of the Triton that is here; those of others stay as they are."""
    pytest.importorskip("triton")
    stored = gpu.PREDICTIONS.read_text()
    here = versions.version()
    if here not in registered(gpu.PREDICTIONS):
        pytest.skip(f"no predictions are registered for Triton {here}")
    known = json.loads(stored)
    known["triton"] = {name: rows for name, rows in known["triton"].items() if name != here}
    file = tmp_path / "predictions.json"
    file.write_text(json.dumps(known))
    register(file)
    assert file.read_text() == stored


@pytest.mark.parametrize("kind", ["continuous", "binary"])
def test_profile_of_the_default_run(kind: str) -> None:
    found = profile.profile(
        kind,
        device="cpu",
        samples=8,
        prompts=2,
        steps=(1, 2),
        turns=1,
        bound=1e9,
        synchronise=lambda: None,
        trace=False,
    )
    assert min(found["seconds"].values()) > 0
    assert found["share_of_bound"]["whole"] == 2 * 8 * 16 * 2 / found["seconds"]["whole"] / 1e9
    assert profile.shown(found).startswith(f"{kind}: prefill")


def test_profile_refuses_other_figures() -> None:
    values = torch.ones(2, 3).numpy()
    profile.check(("a", "b"), values, ("a", "b"), values * (1 + 1e-4))
    with pytest.raises(ValueError, match="figures of b differ"):
        profile.check(("a", "b"), values, ("a", "b"), values * [[1], [1.01]])
    with pytest.raises(ValueError, match="figures of a differ"):
        profile.check(("a", "b"), values * [[float("nan")], [1]], ("a", "b"), values)
    with pytest.raises(ValueError, match="other keys"):
        profile.check(("a",), values, ("b",), values)
