"""Random calls of all that is public: a ValueError or TypeError that names an argument, or a result; nothing else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import ttc_fast
from fuzz.calls import departures, named
from fuzz.cases import CASES
from test_packaging import ROOT

MEMORY = 8 * 2**30
"""Bytes of address space of the long test, most of which its libraries reserve."""


def test_few_random_calls() -> None:
    assert departures(150, seed=14) == []


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="limits of POSIX")
def test_many_random_calls(tmp_path: Path) -> None:
    """20,000 in a process of its own, that no signal ends and whose memory is bounded."""
    last = tmp_path / "last"
    code = (
        f"import resource, runpy, sys; resource.setrlimit(resource.RLIMIT_AS, ({MEMORY}, {MEMORY}));"
        f"sys.argv = ['calls.py', '20000', '2026', {str(last)!r}];"
        f"runpy.run_path({str(ROOT / 'tests' / 'fuzz' / 'calls.py')!r}, run_name='__main__')"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "tests"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=1500, cwd=tmp_path
    )
    assert done.returncode == 0, (done.stderr[-2000:], last.read_text())
    assert json.loads(done.stdout) == []


def test_every_public_function_and_class_is_called() -> None:
    """Besides protocols, constants, and plain records of results, which are made by the library."""
    made_by_us = {
        "Backend", "Candidates", "DecodeOutput", "Draws", "Expected", "Key", "LinearState", "Plan", "PlanConfig",
        "Problem", "RunConfig", "RunResult", "SearchResult", "SweepTable", "Trained",
    }  # fmt: skip
    protocols = {"Model", "Rule", "Schedule", "Task", "Verifier"}
    without_arguments = {"InContextLoss", "Oracle"}
    constants = {"LAWS", "TECHNIQUES", "__version__"}
    called = {label.split(",")[0].split(".")[0].split("(")[0] for label in CASES}
    assert set(ttc_fast.__all__) - made_by_us - protocols - without_arguments - constants <= called


def test_what_counts_as_named() -> None:
    assert named("samples: expected an integer, got 'a'", {"samples"})
    assert not named("an integer is required", {"samples", "an_integer"})
