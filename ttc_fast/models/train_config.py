"""The settings of a training: each field may stand in the section ``[train]`` of a study."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from ..numerics import check

Objective = Literal["one_step", "teacher_forcing", "outcome", "prediction"]

Schedule = Literal["constant", "linear", "cosine"]


@dataclass(frozen=True)
class TrainConfig:
    """How a model is trained, by AdamW (Loshchilov and Hutter, 2019), which is Adam without weight decay.

    Args:
        objective: ``"one_step"``: w* from w_0 ~ N(0, I) in one thought; ``"teacher_forcing"``: every step of gradient
            descent; ``"outcome"``: w* after a stochastic chain; ``"prediction"``: y of the last example.
        iterations: of the optimizer.
        batch: prompts of an iteration.
        pool: prompts drawn once, of which a batch takes any; 0: a batch is fresh.
        learning_rate: at most.
        schedule: ``"constant"``, or falling to zero as a line or a cosine.
        warmup: iterations in which the rate rises to it.
        l2: penalty on the sum of squares of all weights, added to the loss.
        weight_decay: of AdamW, in proportion to the rate.
        clip: largest norm of the gradient; None: any.
        steps: k, of the chains of teacher_forcing and outcome.
        step_size: eta of the teacher; default n / (n + d + 1).
        held_out: prompts of the evaluations.
        evaluate_every: iterations; default a fiftieth of them.
        patience: stop after so many evaluations that were not better than the best, and take its weights.
        seed: of prompts, noise and choices, an integer below 2^64.

    Raises:
        TypeError, ValueError: a setting is not as described.
    """

    objective: Objective = "one_step"
    iterations: int = 5000
    batch: int = 300
    pool: int = 0
    learning_rate: float = 1e-3
    schedule: Schedule = "constant"
    warmup: int = 0
    l2: float = 0.0
    weight_decay: float = 0.0
    clip: float | None = None
    steps: int = 8
    step_size: float | None = None
    held_out: int = 256
    evaluate_every: int = 0
    patience: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        check.choice("objective", self.objective, get_args(Objective))
        check.choice("schedule", self.schedule, get_args(Schedule))
        bounds = {
            "iterations": (1, 2**31), "batch": (1, 2**31), "pool": (0, 2**31), "warmup": (0, self.iterations),
            "steps": (1, 2**20), "held_out": (1, 2**31), "evaluate_every": (0, 2**31), "seed": (0, 2**64 - 1),
        }  # fmt: skip
        for name, (low, high) in bounds.items():
            object.__setattr__(self, name, check.integer(name, getattr(self, name), low, high))
        if self.iterations * self.batch > 2**32:
            raise ValueError(f"iterations: expected at most 2^32 prompts in all, got {self.iterations} x {self.batch}")
        for name in ("learning_rate", "l2", "weight_decay"):
            object.__setattr__(self, name, check.scale(name, getattr(self, name)))
        if self.clip is not None:
            object.__setattr__(self, "clip", check.number("clip", self.clip, 0.0))
        if self.step_size is not None:
            object.__setattr__(self, "step_size", check.number("step_size", self.step_size))
        if self.patience is not None:
            check.integer("patience", self.patience, 1, 2**31)
        if not self.evaluate_every:
            object.__setattr__(self, "evaluate_every", max(self.iterations // 50, 1))
