"""What a figure of a table is about."""

from __future__ import annotations

from typing import NamedTuple


class Key(NamedTuple):
    """What a figure is about."""

    coefficients: str
    """``"continuous"`` or ``"binary"``."""
    technique: str
    steps: int
    """Thoughts of the chain."""
    samples: int
    """Budget; 1 for what does not depend on it."""
    metric: str


UNITS = {
    "steps": "thoughts", "samples": "samples a technique may spend", "prompt": "global index", "value": "1",
    "theory": "1", "theory_variance": "1", "theory_scale": "1", "thoughts": "thoughts per prompt",
    "scores": "scores per prompt", "repeats": "groups of samples",
}  # fmt: skip
"""What the numbers of a dataset count; 1: a number without a unit, as a metric is."""
