"""Times a user waits for, as whole commands: ``pytest bench``."""

from __future__ import annotations

import subprocess
import sys

import pytest
from pytest_benchmark.fixture import BenchmarkFixture


@pytest.mark.parametrize(
    ("arguments", "limit"),
    [(["--help"], 3.0), (["--samples", "4096", "--quiet"], 60.0)],
    ids=["help", "default run"],
)
def test_command(benchmark: BenchmarkFixture, arguments: list[str], limit: float) -> None:
    """--help answers in 3 s, the default run ends in 60 s on 2 cores (``limit`` in seconds)."""
    command = [sys.executable, "-m", "ttc_fast.run", *arguments]
    benchmark.pedantic(subprocess.run, (command,), {"check": True, "capture_output": True}, rounds=3)
    assert benchmark.stats.stats.max < limit  # type: ignore[union-attr]  # there are stats once it has run
