"""Tasks by name: of the section ``[task]`` of a study, and of ``ttc-fast run --task``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, get_args

from ..numerics import check
from .decision_tree import DecisionTree
from .heavy_tailed import HeavyTailedRegression
from .linear_regression import LinearRegression
from .logistic_regression import OF_SIGNS, LogisticRegression
from .metrics import Metric
from .parity import OF_PARITY, Parity
from .shifted import Shift, ShiftedRegression
from .two_layer_network import TwoLayerNetwork

TASKS: dict[str, Any] = {
    "linear": LinearRegression,
    "shifted": ShiftedRegression,
    "heavy_tailed": HeavyTailedRegression,
    "logistic": LogisticRegression,
    "two_layer": TwoLayerNetwork,
    "tree": DecisionTree,
}
"""Of a study, which can be trained on: name -> class, whose fields are the settings."""


@dataclass(frozen=True)
class Variant:
    """A task of ``ttc-fast run``."""

    make: Callable[[int, int, float], Any]
    """From d, n and the scale of the labels' noise, of a logistic law for labels of signs; of a task of ``bits`` from d
    and the ones that ``--nonzero`` says, without noise."""
    metrics: Mapping[str, Metric] = field(default_factory=dict)
    """Of its own; the first one is shown."""
    bits: bool = False
    """Whether its truth is of bits, in prompts of one example."""


def _shifted(shift: Any) -> Variant:
    return Variant(lambda dim, examples, noise: ShiftedRegression(dim, examples, shift, label_noise=noise))


def _heavy_tailed(law: Any) -> Variant:
    return Variant(lambda dim, examples, noise: HeavyTailedRegression(dim, examples, noise, law))


def _logistic(target: Any) -> Variant:
    def make(dim: int, examples: int, noise: float) -> Any:
        return LogisticRegression(dim, examples, 1 / noise if noise else None, target)

    return Variant(make, OF_SIGNS)


def _parity(dim: int, ones: int, noise: float) -> Parity:
    check.integer("nonzero", ones, 1, (dim + 1) // 2)
    return Parity(dim - ones + 1, ones)


VARIANTS: dict[str, Variant] = {
    "linear": Variant(lambda dim, examples, noise: LinearRegression(dim, examples, label_noise=noise)),
    **{shift: _shifted(shift) for shift in get_args(Shift)},
    **{law: _heavy_tailed(law) for law in ("student", "laplace")},
    "logistic": _logistic("direction"),
    "max_margin": _logistic("max_margin"),
    "two_layer": Variant(lambda dim, examples, noise: TwoLayerNetwork(dim, examples, label_noise=noise)),
    "tree": Variant(lambda dim, examples, noise: DecisionTree(dim, examples, label_noise=noise)),
    "parity": Variant(_parity, OF_PARITY, bits=True),
}
"""By name; linear regression has settings beside these."""
