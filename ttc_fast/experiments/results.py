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

    model: str = ""
    """The transformer in words."""
    thought_work: int | None = None
    """Multiplications that a thought costs, given what the model has made of the prompt; default d^2."""
    compile_seconds: Mapping[str, float] = field(default_factory=dict)
    """Until the first thought of a GPU, whose kernel may have to be compiled: no part of the throughput."""

    @property
    def transformer(self) -> str:
        """The transformer and its prompts in a line."""
        config = self.config
        if not self.model.startswith("LinearAttention"):
            return f"{self.model}, n = {config.examples}"
        step = "trained weights" if config.step_size is None else f"step size {config.step_size:.3g}"
        return f"linear attention, d = {config.dim}, n = {config.examples}, {step}"

    @property
    def largest_budget(self) -> int:
        """Samples that a technique may spend at most."""
        return max(self.config.budgets or (self.config.samples,))

    def multiplications(self, key: Key) -> tuple[int, int]:
        """What a figure cost for each prompt, on average: in the decode, :attr:`thought_work` for a thought, and in the
        verifier's scores."""
        thoughts, scores = self.table.work(key)
        each = (self.config.dim or 0) ** 2 if self.thought_work is None else self.thought_work
        return round(thoughts * each), round(scores * self.score_work)
