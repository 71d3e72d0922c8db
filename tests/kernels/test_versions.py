"""What is said of versions of Triton and NumPy that the kernels are not proved with."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from ttc_fast.kernels import versions

from ttc_fast.decoding.backends import backends, resolve_backend


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
