"""Tasks by name: of the section ``[task]`` of a study, and of ``ttc-fast run --task``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args

from .heavy_tailed import HeavyTailedRegression
from .linear_regression import LinearRegression
from .logistic_regression import LogisticRegression
from .shifted import Shift, ShiftedRegression

TASKS: dict[str, Any] = {
    "linear": LinearRegression,
    "shifted": ShiftedRegression,
    "heavy_tailed": HeavyTailedRegression,
    "logistic": LogisticRegression,
}
"""Name -> class, whose fields are the settings."""


def _shifted(shift: Any) -> Callable[[int, int, float], Any]:
    return lambda dim, examples, noise: ShiftedRegression(dim, examples, shift, label_noise=noise)


def _heavy_tailed(law: Any) -> Callable[[int, int, float], Any]:
    return lambda dim, examples, noise: HeavyTailedRegression(dim, examples, noise, law)


def _logistic(target: Any) -> Callable[[int, int, float], Any]:
    return lambda dim, examples, noise: LogisticRegression(dim, examples, 1 / noise if noise else None, target)


VARIANTS: dict[str, Callable[[int, int, float], Any]] = {
    **{shift: _shifted(shift) for shift in get_args(Shift)},
    **{law: _heavy_tailed(law) for law in ("student", "laplace")},
    "logistic": _logistic("direction"),
    "max_margin": _logistic("max_margin"),
}
"""Beside linear regression with all its settings: from d, n and the scale of the labels' noise, of a logistic law for
labels of signs."""

SIGNS = ("logistic", "max_margin")
"""Those with labels in {-1, 1}."""
