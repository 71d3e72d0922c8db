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
