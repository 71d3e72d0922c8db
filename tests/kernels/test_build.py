"""Kernels that are compiled ahead: the first run on a GPU compiles none. No GPU is needed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import ttc_fast as tf
from pretended_gpu import plain, pretended_gpu
from ttc_fast.cli.main import main
from ttc_fast.decoding.kernels_ahead import build_kernels

pytest.importorskip("triton", reason="Triton is not installed")

from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from triton.runtime import driver
from ttc_fast.kernels import build, compiled, decode, tiles

DIM = 16
SHARED = compiled.SHARED_MEMORY["sm_90"]


class Driver:
    """Says that there is a GPU, and has what Triton asks before it compiles for a launch."""

    def __init__(self, capability: int) -> None:
        self.capability = capability

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int) -> int:
        return 0

    def get_current_target(self) -> GPUTarget:
        return GPUTarget("cuda", self.capability, 32)


class Noted(list[decode.Launch]):
    """Launches that write zeros."""

    def append(self, launch: decode.Launch) -> None:
        for name in ("thoughts", "loss", "distance", "bits", "out", "probability", "right"):
            if name in launch.arguments:
                launch.arguments[name].zero_()
        super().append(launch)


def launches_of_default_runs(monkeypatch: pytest.MonkeyPatch, dim: int, samples: int = 128) -> Noted:
    """Every launch of two runs with the default techniques, on tensors that pretend to be on a GPU."""
    found = Noted()
    monkeypatch.setattr(decode, "_noted", found)
    torch.use_deterministic_algorithms(False)
    for kind in ("continuous", "binary"):
        task = tf.LinearRegression(dim, 4 * dim, kind, label_noise=0.1)
        rule = tf.GaussianNoise(0.2) if kind == "continuous" else tf.BernoulliSampling()
        with torch.inference_mode(), pretended_gpu():
            monkeypatch.setattr(decode, "tile_here", lambda dim, _, *rest: tiles.tile(dim, "sm_90", SHARED, *rest))
            model = tf.LinearAttention.gradient_descent(dim, examples=4 * dim).to("cuda")
            prompts = task.sample(2).to("cuda")
            tf.evaluate(tf.StochasticDecoder(model, rule), prompts, steps=[1, 8], samples=samples, budgets=[1, samples])
    monkeypatch.setattr(decode, "_noted", None)
    return found


def compiled_by(launches: Sequence[decode.Launch], capability: int, monkeypatch: pytest.MonkeyPatch) -> int:
    """How many kernels Triton compiles for these launches."""
    count = 0
    translate = ASTSource.make_ir

    def counted(*given: Any, **named: Any) -> Any:
        nonlocal count
        count += 1
        return translate(*given, **named)

    monkeypatch.setattr(ASTSource, "make_ir", counted)
    monkeypatch.setattr(driver, "_active", Driver(capability))
    for launch in launches:
        kernel = getattr(launch.kernel, "kernel", launch.kernel)
        values = [plain(v) if isinstance(v, Tensor) else v for v in launch.arguments.values()]
        kernel.device_caches.clear()
        kernel.run(*values, grid=(1,), warmup=True, **launch.constants, **launch.options)
    return count


@pytest.mark.slow
def test_the_first_run_compiles_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the runs launch is in the folder; without it all would be compiled."""
    monkeypatch.setattr(build, "DIMS", (DIM,))
    launches = launches_of_default_runs(monkeypatch, DIM)
    kinds = {(launch.kernel, *launch.constants.items()) for launch in launches}
    assert len(kinds) > 8
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path / "empty"))
    assert compiled_by(launches[:1], 90, monkeypatch) == 1
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path / "built"))
    for part in ("gaussian", "bernoulli", "threshold", DIM):
        build._build("sm_90", part)
    assert compiled_by(launches, 90, monkeypatch) == 0
    assert compiled_by(launches[:1], 80, monkeypatch) == 1  # another GPU


@pytest.mark.slow
def test_the_folder_is_filled(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["build-kernels", "--arch", "sm_90", "--out", str(tmp_path)]) == 0
    built = int(capsys.readouterr().out.split()[0])
    assert built > 5 * 9  # dimensions, and rules or more
    assert len(list(tmp_path.rglob("*.cubin"))) == built


def test_what_cannot_be_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(ValueError, match=r"arch: expected one of 'sm_80', .*, got 'sm_70'"):
        build_kernels(["sm_70"])
    with pytest.raises(ValueError, match="out: expected a folder, got the file"):
        build_kernels(["sm_90"], file)
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    with pytest.raises(ValueError, match="TRITON_INTERPRET is set: unset it"):
        build_kernels(["sm_90"])
