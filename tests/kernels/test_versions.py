"""What is said of versions of Triton and NumPy that the kernels are not proved with, of GPUs that are too old for them,
and where Triton fails."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from ttc_fast.kernels import Unusable, versions

from decoding_problems import problem
from ttc_fast import GaussianNoise
from ttc_fast.decoding import backends as decoding
from ttc_fast.decoding.backends import backends, resolve_backend, run_by
from ttc_fast.tasks import engine


@pytest.mark.parametrize(("version", "warned"), [("3.4.0", True), ("3.5.0", False), ("3.9.9", False), ("3.10.0", True)])
def test_an_unproved_triton_is_named_once(version: str, warned: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(versions, "version", lambda: version)
    versions.warn_unproved.cache_clear()
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        versions.warn_unproved()
        versions.warn_unproved()
    versions.warn_unproved.cache_clear()
    assert len(said) == warned
    if warned:
        assert f"proved with Triton 3.5 to 3.9, here is {version}" in str(said[0].message)


@pytest.mark.parametrize(
    ("triton", "numpy", "able"), [("3.6.0", "2.4.0", False), ("3.6.0", "2.3.5", True), ("3.7.0", "2.4.0", True)]
)
def test_an_interpreter_that_fails_is_refused(
    triton: str, numpy: str, able: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("triton")
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    monkeypatch.setattr(versions, "version", lambda: triton)
    monkeypatch.setattr(np, "__version__", numpy)
    assert backends()[0].available == able
    if not able:
        with pytest.raises(ValueError, match=f"interpreter of Triton {triton} needs NumPy below 2.4, here is {numpy}"):
            resolve_backend("triton", torch.float32)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> torch.device:
    """As if there were one, of compute capability 7.5."""
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device=None: (7, 5))
    monkeypatch.setattr(decoding, "_FAILED", {})
    decoding._tell_once.cache_clear()
    return torch.device("cuda", 0)


def test_an_old_gpu_takes_pytorch(gpu: torch.device, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("triton")
    with pytest.warns(UserWarning, match=r"'auto' takes 'reference' on cuda:0: .* capability 8\.0, .* 7\.5"):
        assert resolve_backend("auto", device=gpu) == "reference"
    assert resolve_backend("auto", device=gpu) == "reference"  # said once
    with pytest.raises(ValueError, match=r"'triton' cannot run: the kernels need compute capability 8\.0, cuda:0 has"):
        resolve_backend("triton", device=gpu)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device=None: (8, 0))
    assert resolve_backend("auto", device=gpu) == "triton"


def test_where_triton_fails_another_backend_is_taken(gpu: torch.device, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel's launch fails as without a C compiler; the tensors are on the CPU, and said to be on the GPU."""
    pytest.importorskip("triton")
    from ttc_fast.kernels import decode as kernels

    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device=None: (9, 0))

    class Failing:
        def __getitem__(self, grid: object) -> object:
            raise RuntimeError("\nFailed to find C compiler.\nPlease specify via CC")

    state, w0 = problem(1, 3)
    encoded = GaussianNoise(0.1).encode(2)

    def run(name: str) -> torch.Tensor:
        if name == "triton":
            kernels.start(kernels.Launch(Failing(), 1, {}, {}, {}), torch.device("cpu"))
        assert encoded is not None
        return decoding.DECODERS[name](
            state, w0, rule=encoded, steps=[2], samples=2, seed=1, first_sample=0, first_prompt=0, first_step=0
        )

    message = "Triton fails on cpu: RuntimeError: Failed to find C compiler"
    with pytest.raises(ValueError, match=f"backend: 'triton' cannot run: {message}"):
        run_by("triton", gpu, lambda: resolve_backend("triton", device=gpu), run)
    with pytest.warns(UserWarning, match=f"'auto' takes 'reference' on cuda:0: {message}"):
        thoughts, name = run_by("auto", gpu, lambda: resolve_backend("auto", device=gpu), run)
    assert name == "reference"
    assert torch.equal(thoughts, run("reference"))
    assert run_by("auto", gpu, lambda: resolve_backend("auto", device=gpu), run)[1] == "reference"  # said once


def test_candidates_are_summed_by_pytorch_where_triton_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("triton")
    from ttc_fast.kernels import aggregate

    def fails(x: torch.Tensor) -> torch.Tensor:
        raise Unusable("Triton fails on cuda:0")

    monkeypatch.setattr(aggregate, "tree_sum", fails)
    monkeypatch.setattr(engine, "too_old", lambda device: "")
    engine._usable.cache_clear()
    with pytest.warns(UserWarning, match=r"summed by PyTorch, slowly: Triton fails on cuda:0"):
        assert not engine._usable(torch.device("cpu"))
    assert not engine._usable(torch.device("cpu"))
    engine._usable.cache_clear()


def test_a_kernel_that_ran_may_fail_otherwise() -> None:
    """What goes wrong later, such as an illegal access, is no reason to take another backend."""
    pytest.importorskip("triton")
    from ttc_fast.kernels import decode as kernels

    fails = False

    class Kernel:
        def __getitem__(self, grid: object) -> object:
            if fails:
                raise RuntimeError("an illegal memory access")
            return lambda: None

    launch = kernels.Launch(Kernel(), 1, {}, {}, {})
    kernels.start(launch, torch.device("cpu"))
    fails = True
    with pytest.raises(RuntimeError, match=r"^an illegal memory access"):
        kernels.start(launch, torch.device("cpu"))
