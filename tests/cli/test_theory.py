"""The command ``ttc-fast theory``."""

from __future__ import annotations

import importlib

import pytest

from ttc_fast import LAWS, overlay
from ttc_fast.cli import console
from ttc_fast.cli.main import main
from ttc_fast.cli.theory import FUNCTIONS


def test_every_law_and_function_is_listed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "PLAIN_WIDTH", 400)  # no cell is broken over lines
    assert callable(overlay)  # whose import registers the laws
    assert main(["theory"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for (technique, rule), entry in LAWS.items():
        row = next(line for line in lines if line.strip().startswith(f"{technique}, {rule.__name__}"))
        assert entry.about in row
        assert entry.metrics in row
    for name in FUNCTIONS:
        module, _, function = name.partition(".")
        assert callable(getattr(importlib.import_module(f"ttc_fast.theory.{module}"), function))
        assert any(line.strip().startswith(name) for line in lines), name
    without = next(line for line in lines if line.startswith("no law: "))
    assert "geometric_median" in without
    assert "best_of_n" not in without.replace("weighted_best_of_n", "")
