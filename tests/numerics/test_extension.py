"""What is said where the C++ extension is not built."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType

import pytest

from ttc_fast.numerics import extension


@pytest.mark.parametrize(("platform", "remedy"), [("win32", "Linux, as in WSL"), ("linux", "repeat pip install")])
def test_remedy_for_a_missing_extension(platform: str, remedy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> ModuleType:
        raise ImportError(f"No module named {name}")

    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(importlib, "import_module", missing)
    module, reason = extension._load()
    assert module is None
    assert reason.endswith(remedy) or f"{remedy})" in reason
