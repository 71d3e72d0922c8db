"""Fixtures of the tests of decodes."""

from __future__ import annotations

import pytest

from ttc_fast.numerics import extension


@pytest.fixture(params=extension.isas())
def isa(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Every instruction set that this machine can run, in use."""
    monkeypatch.setenv(extension.ISA_VARIABLE, request.param)
    assert extension.isa() == request.param
    return str(request.param)
