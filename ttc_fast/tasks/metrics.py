"""Metrics: how good answers are.

:func:`measure` has C++, or Triton on a GPU, make the sums where it can; the formulas in PyTorch are for other dtypes
and devices.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, TypeAlias

import torch
from torch import Tensor

from ..numerics import check, sums
from .engine import engine
from .prompts import Prompts, check_prompts, has_bits, isotropic

Metric: TypeAlias = Callable[[Prompts, Tensor], Tensor]
"""From answers ``[B, A, d]`` to a figure for each, ``[B, A]``."""

_TILE = 2**17
"""Residuals, or coefficients of answers, held at a time: they stay in the cache."""


def applicable(prompts: Prompts, binary: bool) -> tuple[str, ...]:
    """Names of the metrics that can be told of answers to ``prompts``.

    Args:
        prompts: with w* or without.
        binary: whether the answers are bits. Those that read them as such need a w* of bits too.
    """
    if prompts.w_star is None:
        return ("in_context_loss",)
    return ("squared_error", "prediction_risk", *(READ if binary and has_bits(prompts) else ()))


def further(metrics: Mapping[str, Metric] | Iterable[str] | None) -> dict[str, Metric]:
    """Metrics that are asked for beside :func:`applicable` ones.

    Args:
        metrics: names of :data:`METRICS`, or functions of prompts and answers by a name of your own.

    Raises:
        TypeError, ValueError: a name is unknown or taken, or no function.
    """
    if metrics is None:
        return {}
    check.has("metrics", metrics, ("__iter__",), "names of metrics, or a mapping from names to functions")
    if isinstance(metrics, Mapping):
        for name, metric in metrics.items():
            if not callable(metric):
                raise TypeError(f"metrics: expected a function for {check.shown(name)}, got {check.shown(metric)}")
            check.text("metrics", name)
            if name in METRICS:
                raise ValueError(f"metrics: the name {name!r} is taken by another one; choose another name")
        return dict(metrics)
    names = [metrics] if isinstance(metrics, str) else check.listed("metrics", metrics, "names of metrics")
    for name in names:
        check.choice("metrics", name, tuple(METRICS))
    return {name: METRICS[name] for name in names}


def measure(
    prompts: Prompts,
    w: Tensor,
    names: Collection[str],
    *,
    bits: bool,
    extra: Mapping[str, Metric] | None = None,
) -> dict[str, Tensor]:
    """Metrics of answers ``[B, N, d]``, in one pass over them as far as possible: ``[B, N]`` each.

    Args:
        prompts: their prompts.
        w: the answers.
        names: of the metrics; among them may be :data:`PACKED` where an engine measures.
        bits: whether the answers are bits.
        extra: metrics that are not in :data:`METRICS`, by name.
    """
    table = METRICS | dict(extra or {})
    native = engine(w)
    together = set() if native is None else {name for name in names if _native(name, prompts, bits)}
    found = _in_one_pass(native, prompts, w, together) if together else {}
    return {name: found[name] if name in together else _in_tiles(table[name], prompts, w) for name in names}


def _in_tiles(metric: Metric, prompts: Prompts, w: Tensor) -> Tensor:
    """A metric of one tile of answers after the other, so that what lies between stays in the cache."""
    size = _TILE if w.device.type == "cpu" else 2**26
    tiles = sums.tiles(w.shape[1], size // (len(prompts) * w.shape[2]))
    return torch.cat([metric(prompts, w[:, tile]) for tile in tiles], 1)


def _in_one_pass(native: Any, prompts: Prompts, w: Tensor, names: Collection[str]) -> dict[str, Tensor]:
    """At least what is asked of one pass of the engine over the answers."""
    loss, score, risk = (name in names for name in ("in_context_loss", "in_context_score", "prediction_risk"))
    aims = not set(names) <= {"in_context_loss", "in_context_score", PACKED}
    weight = _equal(w.shape[2], w.device)
    residuals, distances, packed = native.measure(
        w,
        examples=(prompts.x, prompts.y) if loss or score else None,
        factor=(0.5 if loss else -0.5) / prompts.x.shape[1],
        aim=(truth(prompts)[:, 0], torch.cat((weight, prompts.covariance[None])) if risk else weight) if aims else None,
        equality="exact_recovery" in names,
        pack=PACKED in names,
    )
    found = {"in_context_loss": residuals, "in_context_score": -residuals if loss else residuals, PACKED: packed}
    if not aims:
        return found
    error, *others = distances
    found |= {"squared_error": error, "hamming": error}
    return found | dict(zip([name for name in ("prediction_risk", "exact_recovery") if name in names], others))


@functools.lru_cache(maxsize=64)
def _equal(dim: int, device: torch.device) -> Tensor:
    """The weights of a mean ``[1, d]``."""
    return torch.full((1, dim), 1 / dim, dtype=torch.float32, device=device)


def _native(name: str, prompts: Prompts, bits: bool) -> bool:
    """Whether an engine measures a metric."""
    if (name not in METRICS and name != PACKED) or name == "error_norm":
        return False
    if name in READ:
        return bits and has_bits(prompts)
    return name != "prediction_risk" or prompts.covariance.ndim == 1


def risk_of_error(prompts: Prompts) -> float | None:
    """The prediction risk over the squared error, if the features' covariance is a multiple of the identity."""
    variance = isotropic(prompts)
    return None if variance is None else variance * len(prompts.covariance)


def in_context_loss(prompts: Prompts, w: Tensor) -> Tensor:
    """Loss of answers on their own prompts, sum_i (y_i - <w, x_i>)^2 / (2n): ``[B, A]``.

    Args:
        prompts: B of them.
        w: answers ``[B, A, d]``.
    """
    return squared_residuals(prompts, w, 0.5 / prompts.x.shape[1])


def in_context_score(prompts: Prompts, w: Tensor) -> Tensor:
    """Minus the in-context loss: ``[B, A]``.

    Args:
        prompts: B of them.
        w: answers ``[B, A, d]``.
    """
    check_prompts(prompts)
    return squared_residuals(prompts, w, -0.5 / prompts.x.shape[1])


def squared_residuals(prompts: Prompts, w: Tensor, factor: float) -> Tensor:
    """factor sum_i (y_i - <w, x_i>)^2: ``[B, A]``.

    Args:
        prompts: B of them.
        w: answers ``[B, A, d]``.
        factor: of the sum.
    """
    check_prompts(prompts)
    check.tensor("w", w, (len(prompts), "A", prompts.x.shape[2]))
    if (native := engine(w)) is not None:
        loss: Tensor = native.measure(w, examples=(prompts.x, prompts.y), factor=factor)[0]
        return loss
    tiles = sums.tiles(w.shape[1], (_TILE if w.device.type == "cpu" else 2**26) // (prompts.y.numel() or 1))
    residuals = (prompts.y[:, :, None] - sums.matmul(prompts.x, w[:, a].mT.contiguous()) for a in tiles)
    return torch.cat([sums.tree_sum(residual.square_(), 1) * factor for residual in residuals], 1)


def squared_error(prompts: Prompts, w: Tensor) -> Tensor:
    """|w - w*|^2 / d: ``[B, A]``.

    Args:
        prompts: B of them, with w*.
        w: answers ``[B, A, d]``.
    """
    return sums.tree_mean((w - truth(prompts)).square_(), 2)


def error_norm(prompts: Prompts, w: Tensor) -> Tensor:
    """|w - w*|, the root of d times the squared error: ``[B, A]``.

    Args:
        prompts: B of them, with w*.
        w: answers ``[B, A, d]``.
    """
    return sums.tree_sum((w - truth(prompts)).square_(), 2).sqrt_()


def prediction_risk(prompts: Prompts, w: Tensor) -> Tensor:
    """E_x (<w, x> - <w*, x>)^2 = (w - w*)^T Lambda (w - w*): ``[B, A]``.

    Args:
        prompts: B of them, with w*.
        w: answers ``[B, A, d]``.
    """
    difference = w - truth(prompts)
    if prompts.covariance.ndim == 1:
        return sums.tree_sum(difference.square_() * prompts.covariance, 2)
    return sums.tree_sum(difference * sums.matmul(difference, prompts.covariance), 2)


def hamming(prompts: Prompts, w: Tensor) -> Tensor:
    """Share of wrong coefficients, each read as 1 iff above 1/2 and as half wrong at 1/2: ``[B, A]``.

    Args:
        prompts: B of them, with a binary w*.
        w: answers ``[B, A, d]``.
    """
    return 1.0 - sums.tree_mean(_right(prompts, w), 2)


def exact_recovery(prompts: Prompts, w: Tensor) -> Tensor:
    """Probability that all coefficients are right, read as in :func:`hamming`, with those at 1/2 decided by fair
    coins: ``[B, A]``.

    Args:
        prompts: B of them, with a binary w*.
        w: answers ``[B, A, d]``.
    """
    return _right(prompts, w).prod(2)


def disagreement(w: Tensor) -> Tensor:
    """How far the A >= 2 answers ``[B, A, d]`` of a prompt are from each other: ``[B, A]``, whose mean over
    A is the mean over pairs of |w_a - w_b|^2 / d; for binary answers, the share of coefficients on which
    two answers differ. Needs no w*."""
    answers = w.shape[1]
    deviation = w - sums.tree_mean(w, 1)[:, None]
    return sums.tree_mean(deviation.square_(), 2) * (2 * answers / (answers - 1))


def _right(prompts: Prompts, w: Tensor) -> Tensor:
    """1 where a coefficient is right, 0 where it is wrong, 1/2 where it is 1/2."""
    if not has_bits(prompts):
        raise ValueError(
            "w_star: expected zeros and ones, got other coefficients; leave out hamming and exact_recovery, which "
            "count right bits"
        )
    return 1.0 - ((w - 0.5).sign_().mul_(0.5).add_(0.5) - truth(prompts)).abs_()


def truth(prompts: Prompts) -> Tensor:
    """w* as ``[B, 1, d]``."""
    if prompts.w_star is None:
        raise ValueError("w_star: expected the true coefficients, got prompts without them")
    return prompts.w_star[:, None]


METRICS: dict[str, Metric] = {
    "squared_error": squared_error,
    "error_norm": error_norm,
    "prediction_risk": prediction_risk,
    "hamming": hamming,
    "exact_recovery": exact_recovery,
    "in_context_loss": in_context_loss,
    "in_context_score": in_context_score,
}

PACKED = "packed"
"""No metric, but made in the same pass: the answers' bits, for the engine's vote_recovery."""

READ = ("hamming", "exact_recovery")
"""Metrics that read a coefficient as a bit."""
