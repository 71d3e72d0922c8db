"""How to split a budget of chain steps between longer chains and more of them, and what error to expect."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..decoding.gaussian_chain import affine, diverges, stable_factor
from ..decoding.rules import GaussianNoise
from ..estimators.table import Key
from ..evaluation.evaluate import evaluate
from ..evaluation.plan import example
from ..models.decoder import StochasticDecoder
from ..models.linear_attention import LinearAttention, default_step_size
from ..numerics import check, sums
from ..tasks.base import Source
from ..tasks.linear_regression import LinearRegression
from ..tasks.quadratic import Quadratic, quadratic
from ..theory.allocation import Split, best_split, bias_and_variance
from ..theory.gaussian import error_of_mean, gaussian_law
from ..theory.overlay import overlay
from .config import PlanConfig


@dataclass(frozen=True)
class Plan:
    """What :func:`plan` returns."""

    best: Split
    others: tuple[Split, ...]
    """With 1, 2, 4, ... steps."""
    median: float
    """Of the best split's error over prompts."""
    unstable: int
    """Prompts whose chain diverges."""
    simulated: tuple[float, float] | None
    """Mean error in the simulation and z-score of its difference."""
    stable_step: float | None = None
    """Step size below which no prompt's chain diverges, where one does."""


def plan(config: PlanConfig) -> Plan:
    """Do what ``config`` says.

    Raises:
        ValueError, TypeError: a setting is not as it must be; the message names it.

    >>> import ttc_fast as tf
    >>> best = tf.plan(tf.PlanConfig(budget=64, prompts=16)).best
    >>> best.steps * best.samples <= 64
    True
    """
    check.has("config", config, [field.name for field in fields(PlanConfig)], "a PlanConfig")
    check.flag("simulate", config.simulate)
    budget = check.integer("budget", config.budget, 1, 2**40)
    longest = min(check.integer("longest", config.longest, 1, 2**16), budget)
    task = LinearRegression(config.dim, config.examples, label_noise=config.label_noise)
    count = check.integer("prompts", config.prompts, 1, 2**20)
    check.integer("seed", config.seed, 0, 2**64 - 1)
    step_size = default_step_size(config.dim, config.examples) if config.step_size is None else config.step_size
    rule = GaussianNoise(config.noise_scale)
    decoder = StochasticDecoder(LinearAttention.gradient_descent(config.dim, step_size=step_size), rule)
    prompts, simulated = task.prompts(count, seed=config.seed), None
    with torch.inference_mode():
        curves = _Curves.of(decoder, rule, prompts, longest, float(step_size))
        best = best_split(curves.bias, curves.variance, budget)
        errors = np.concatenate([
            error_of_mean(gaussian_law(state, rule, best.steps), metric, [best.samples])[:, 0].numpy()
            for state, metric in _parts(decoder, prompts, 1)
        ])  # fmt: skip
        if config.simulate:
            table = evaluate(
                decoder, prompts, steps=best.steps, samples=best.samples, budgets=[best.samples], seed=config.seed,
                techniques=["mean"],
            )  # fmt: skip
            key = Key("continuous", "mean", best.steps, best.samples, "squared_error")
            found = overlay(decoder, prompts, table).theory_checks().get(key)
            simulated = float(table[key].mean()), math.nan if found is None else found.z
    others = tuple(
        Split(t, budget // t, float(curves.bias[t - 1] + curves.variance[t - 1] / (budget // t)))
        for t in (2**i for i in range(longest.bit_length()))
        if t <= longest
    )
    stable_step = curves.stable_step if curves.unstable else None
    return Plan(best, others, float(np.median(errors)), curves.unstable, simulated, stable_step)


PART = 2**25
"""Numbers that are held at a time."""


def _parts(decoder: StochasticDecoder, prompts: Source, steps: int) -> Iterator[tuple[Tensor, Quadratic]]:
    """States and metrics of the prompts, as many at a time as fit with curves over so many steps."""
    dim = decoder.model.dim
    for tile in sums.tiles(len(prompts), PART // (6 * example(prompts).x.numel() + 6 * dim**2 + 4 * steps)):
        part = prompts.part(tile.start, tile.stop)
        yield decoder.model.prefill(part).linear, quadratic(part, "squared_error")


@dataclass(frozen=True)
class _Curves:
    """Means over prompts."""

    bias: NDArray[np.float64]
    """For 1, 2, ... steps."""
    variance: NDArray[np.float64]
    unstable: int
    stable_step: float
    """See :attr:`Plan.stable_step`."""

    @classmethod
    def of(
        cls, decoder: StochasticDecoder, rule: GaussianNoise, prompts: Source, longest: int, step_size: float
    ) -> _Curves:
        total, unstable, factor = np.zeros((2, longest)), 0, math.inf
        for state, metric in _parts(decoder, prompts, longest):
            curves = bias_and_variance(state, rule, metric, longest)
            total += torch.stack(curves).sum(1).numpy()
            matrix = affine(state)[0]
            unstable += int(diverges(matrix).sum())
            factor = min(factor, stable_factor(matrix))
        bias, variance = total / len(prompts)
        return cls(bias, variance, unstable, step_size * factor)
