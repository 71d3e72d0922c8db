"""Noise schedules: the scale of the noise at every step of the chain."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import torch
from torch import Tensor

from ..numerics import check


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
        check.number("initial", self.initial, low=0.0)
        check.number("ratio", self.ratio, low=0.0)

    def scales(self, steps: int) -> Tensor:
        """float64 tensor [steps]."""
        return self.initial * self.ratio ** torch.arange(steps, dtype=torch.float64)


@dataclass(frozen=True)
class PowerLawDecay:
    """Noise schedule sigma_t = initial * (t + 1)^-exponent, in units of w."""

    initial: float
    exponent: float

    def __post_init__(self) -> None:
        check.number("initial", self.initial, low=0.0)
        check.number("exponent", self.exponent)

    def scales(self, steps: int) -> Tensor:
        """float64 tensor [steps]."""
        return self.initial * torch.arange(1, steps + 1, dtype=torch.float64) ** -self.exponent


NoiseSchedule: TypeAlias = float | Schedule | Sequence[float] | Tensor
"""A number for every step, an object with ``scales(steps)``, or one number for each step."""


def checked_schedule(name: str, schedule: NoiseSchedule) -> NoiseSchedule:
    """The schedule as a rule keeps it: a number, an object with ``scales``, or a tuple, hashable and comparable.

    Args:
        name: of the rule's parameter.
        schedule: as given.

    Raises:
        TypeError, ValueError: it is none of these, or a scale is not a finite number of at least 0.
    """
    if hasattr(schedule, "scales"):
        return schedule
    if isinstance(schedule, (str, bytes)) or not (hasattr(schedule, "__len__") or hasattr(schedule, "__iter__")):
        return check.number(name, schedule, low=0.0)
    if getattr(schedule, "ndim", 1) == 0:  # a number in an array
        return check.number(name, schedule.item(), low=0.0)  # type: ignore[union-attr]  # it has shape ()
    values = torch.as_tensor(schedule, dtype=torch.float64)
    if values.ndim != 1 or not _are_scales(values):
        raise ValueError(f"{name}: expected finite numbers >= 0, one for each step, got {schedule}")
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
    values = _asked(schedule, steps)
    if values.shape != (steps,) or not (torch.compiler.is_compiling() or _are_scales(values)):
        raise ValueError(
            f"{name}: expected {steps} finite numbers >= 0 of {schedule}.scales({steps}), got {values.tolist()}"
        )
    if steps > 1 and not torch.compiler.is_compiling():
        shorter = _asked(schedule, steps - 1)
        if not torch.allclose(values[:-1], shorter, rtol=1e-6, atol=0.0):
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
    return float(schedule[step] if isinstance(schedule, tuple) else _asked(schedule, step + 1)[step])


def _asked(schedule: NoiseSchedule, steps: int) -> Tensor:
    return torch.as_tensor(schedule.scales(steps), dtype=torch.float64)  # type: ignore[union-attr]  # a Schedule


def _are_scales(values: Tensor) -> bool:
    return not len(values) or 0 <= values.min().item() <= values.max().item() < math.inf
