"""Noise schedules: the scale of the noise at every step of the chain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol, TypeAlias

import torch
from torch import Tensor

from ..numerics import check

MOST_STEPS: Final = 2**34
"""Of a chain."""


class Schedule(Protocol):
    """Noise scales that change from step to step; a user's own class will do."""

    def scales(self, steps: int) -> Tensor:
        """sigma_0, ..., sigma_{steps-1}, at least 0: ``[steps]``. A step's scale does not depend on how many there are:
        chains are cut, resumed and asked for at several steps."""


@dataclass(frozen=True)
class GeometricDecay:
    """Noise schedule sigma_t = initial * ratio^t, in units of w."""

    initial: float
    ratio: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "initial", check.scale("initial", self.initial))
        object.__setattr__(self, "ratio", check.number("ratio", self.ratio, low=0.0))

    def scales(self, steps: int) -> Tensor:
        """float64 tensor [steps]."""
        steps = _checked_steps(steps)
        return _times(self.initial, self.ratio ** torch.arange(steps, dtype=torch.float64))


@dataclass(frozen=True)
class PowerLawDecay:
    """Noise schedule sigma_t = initial * (t + 1)^-exponent, in units of w."""

    initial: float
    exponent: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "initial", check.scale("initial", self.initial))
        object.__setattr__(self, "exponent", check.number("exponent", self.exponent))

    def scales(self, steps: int) -> Tensor:
        """float64 tensor [steps]."""
        steps = _checked_steps(steps)
        return _times(self.initial, torch.arange(1, steps + 1, dtype=torch.float64) ** -self.exponent)


def _checked_steps(steps: int) -> int:
    steps = check.integer("steps", steps, 0, MOST_STEPS)
    check.room(32 * steps, "steps: the schedule", "ask for fewer steps, or for one scale for all")
    return steps


def _times(initial: float, factors: Tensor) -> Tensor:
    """No noise stays none, whatever the factors."""
    return initial * factors if initial else torch.zeros_like(factors)


NoiseSchedule: TypeAlias = float | Schedule | Sequence[float] | Tensor
"""A number for every step, an object with ``scales(steps)``, or one number for each step."""


def checked_schedule(name: str, schedule: NoiseSchedule) -> NoiseSchedule:
    """The schedule as a rule keeps it: a number, an object with ``scales``, or a tuple, hashable and comparable.

    Args:
        name: of the rule's parameter.
        schedule: as given.

    Raises:
        TypeError, ValueError: it is none of these, or a scale is not a number of at least 0 that float32 can hold.
    """
    if callable(getattr(schedule, "scales", None)) and not isinstance(schedule, type):
        return schedule
    if isinstance(schedule, (str, bytes)) or not (hasattr(schedule, "__len__") or hasattr(schedule, "__iter__")):
        return check.scale(name, schedule)
    values = check.numbers(name, schedule, "a number, an object with scales(steps), or one number for each step")
    if values.ndim == 0:
        return check.scale(name, values.item())
    if values.ndim != 1 or not _are_scales(values):
        raise ValueError(f"{name}: expected {_SCALES}, one for each step, got {check.shown(schedule)}")
    return tuple(values.tolist())


def encoded_schedule(name: str, schedule: NoiseSchedule, steps: int) -> Tensor:
    """One scale for every step, float64 ``[steps]``, or a single one for all of them ``[1]``.

    Args:
        name: of the rule's parameter.
        schedule: of :func:`checked_schedule`.
        steps: of the chain.

    Raises:
        ValueError: it has too few scales, or scales that are not finite numbers of at least 0, or that depend on
            how many are asked for.
    """
    if isinstance(schedule, (int, float)):
        return torch.tensor([float(schedule)], dtype=torch.float64)
    if isinstance(schedule, tuple):
        if len(schedule) < steps:
            raise ValueError(f"{name}: expected one number for each of {steps} steps, got {len(schedule)}")
        return torch.tensor(schedule[:steps], dtype=torch.float64)
    values = _asked(name, schedule, steps)
    if values.shape != (steps,):
        raise ValueError(
            f"{name}: expected {steps} {_SCALES} of {_call(schedule, steps)}, got shape {list(values.shape)}"
        )
    if not (torch.compiler.is_compiling() or _are_scales(values)):
        step = int((~((values >= 0) & (values <= check.FLOAT32_MAX))).nonzero()[0])
        raise ValueError(
            f"{name}: expected {steps} {_SCALES} of {_call(schedule, steps)}, got {values[step].item():g} at {step}"
        )
    if steps > 1 and not torch.compiler.is_compiling():
        shorter = _asked(name, schedule, steps - 1)
        if shorter.shape != (steps - 1,) or not torch.allclose(values[:-1], shorter, rtol=1e-6, atol=0.0):
            raise ValueError(
                f"{name}: expected a scale of each step whatever their number, got a {type(schedule).__name__} "
                f"whose scales({steps}) do not begin with its scales({steps - 1}); give it the number of steps"
            )
    return values


def scale_of_step(schedule: NoiseSchedule, step: int) -> float:
    """The scale of a step.

    Args:
        schedule: of :func:`checked_schedule`.
        step: from 0.
    """
    if isinstance(schedule, (int, float)):
        return schedule
    if isinstance(schedule, tuple):
        return float(schedule[step])
    return float(_asked("schedule", schedule, step + 1)[step])


_SCALES = f"finite numbers >= 0 and <= {check.FLOAT32_MAX:.2g}"


def _call(schedule: NoiseSchedule, steps: int) -> str:
    return f"{check.shown(schedule)}.scales({steps})"


def _asked(name: str, schedule: NoiseSchedule, steps: int) -> Tensor:
    given = schedule.scales(steps)  # type: ignore[union-attr]  # a Schedule
    if torch.compiler.is_compiling():
        return torch.as_tensor(given, dtype=torch.float64)
    return check.numbers(name, given, f"numbers of {_call(schedule, steps)}")


def _are_scales(values: Tensor) -> bool:
    return not len(values) or 0 <= values.min().item() <= values.max().item() <= check.FLOAT32_MAX
