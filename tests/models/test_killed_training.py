"""Trainings that are killed, kill -9, again and again: in the end files have the bytes of an undisturbed one."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ttc_fast.models.train import CURVE, MODEL, STATE

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.name != "posix", reason="signals are those of POSIX")]

STUDY = """
[task]
dim = 3
examples = 10
pool = {pool}
[model]
kind = "transformer"
layers = 2
width = 16
[train]
objective = "{objective}"
iterations = {iterations}
batch = 16
held_out = 16
learning_rate = 1e-3
schedule = "cosine"
l2 = 1e-4
evaluate_every = 5
"""

PROGRAM = "import sys; from ttc_fast.models import train; train.KEEP_EVERY = 0.0; from ttc_fast.cli.main import main; "
"""A checkpoint at every evaluation, so that many kills meet one that is being written."""


def started(study: Path, folder: Path) -> subprocess.Popen[bytes]:
    """A training in a process of its own, on one thread."""
    code = f"{PROGRAM} sys.exit(main(['train', {str(study)!r}, '--out', {str(folder)!r}, '--quiet']))"
    return subprocess.Popen([sys.executable, "-c", code], env={**os.environ, "OMP_NUM_THREADS": "1"})


def killed(study: Path, folder: Path, after: float) -> bool:
    """Whether a training was killed, so many seconds after its first checkpoint of this go, before it was done."""
    process, state = started(study, folder), folder / STATE
    before = state.stat().st_mtime_ns if state.exists() else 0
    while process.poll() is None and not (state.exists() and state.stat().st_mtime_ns != before):
        time.sleep(0.001)
    time.sleep(after)
    process.send_signal(signal.SIGKILL)
    return process.wait() == -signal.SIGKILL


@pytest.mark.parametrize(("objective", "pool"), [("one_step", 0), ("outcome", 50)])
def test_bytes_after_kills(objective: str, pool: int, tmp_path: Path) -> None:
    """Three kills at random times, then to the end."""
    study, whole, parts = tmp_path / "study.toml", tmp_path / "whole", tmp_path / "parts"
    iterations = 400 if objective == "one_step" else 200
    study.write_text(STUDY.format(objective=objective, pool=pool, iterations=iterations))
    assert started(study, whole).wait() == 0
    draw = random.Random(objective)
    kills = sum(killed(study, parts, draw.uniform(0, 0.1)) for _ in range(3))
    assert kills >= 2  # a fast machine may be done before
    assert not (parts / MODEL).exists() or kills < 3
    assert started(study, parts).wait() == 0
    for name in (MODEL, STATE, CURVE):
        assert (parts / name).read_bytes() == (whole / name).read_bytes(), name
