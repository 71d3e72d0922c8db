"""What a run found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..decoding.rules import Rule
from ..estimators.table import Key, Table
from .config import RunConfig


@dataclass(frozen=True)
class RunResult:
    """What :func:`ttc_fast.run` returns. Mappings are by kind of coefficients."""

    config: RunConfig
    """The settings with every default filled in."""
    table: Table
    """All figures, with theory beside those that have a law."""
    backend: str
    rules: Mapping[str, Rule]
    throughput: Mapping[str, float]
    """Coefficient-steps per second of the decode; of the asked steps only with method "exact"."""
    unstable: Mapping[str, int]
    """Prompts whose noise-free chain diverges."""
    all_prompts: Mapping[str, float | None]
    """Exact mean over all prompts, not only these, of the squared error of the largest budget's mean at the last step,
    where the task allows it: see :func:`ttc_fast.theory.ensemble.exact_curve`."""
    score_work: int
    """Multiplications that a score of the verifier costs."""
    wall_time: float
    """Seconds."""
    stable_step: Mapping[str, float | None] = field(default_factory=dict)
    """Where chains diverge: the step size below which none of these prompts' does, None if it is not the step alone."""
    instruction_set: str | None = None
    """Of the C++ extension, which measures answers whatever the backend; None without it."""

    @property
    def largest_budget(self) -> int:
        """Samples that a technique may spend at most."""
        return max(self.config.budgets or (self.config.samples,))

    def multiplications(self, key: Key) -> tuple[int, int]:
        """What a figure cost for each prompt, on average: in the decode, d^2 for a thought, and in the verifier's
        scores."""
        thoughts, scores = self.table.work(key)
        return round(thoughts * (self.config.dim or 0) ** 2), round(scores * self.score_work)
