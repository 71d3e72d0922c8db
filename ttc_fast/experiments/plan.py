"""How to split a budget of chain steps between longer chains and more of them, and what error to expect."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ..decoding.gaussian_chain import affine, diverges
from ..decoding.rules import GaussianNoise
from ..estimators.table import Key
from ..estimators.theory_check import check_against_theory
from ..evaluation.evaluate import evaluate
from ..models.decoder import StochasticDecoder
from ..models.linear_attention import LinearAttention, default_step_size
from ..numerics import check
from ..tasks.linear_regression import LinearRegression
from ..tasks.quadratic import quadratic
from ..theory.allocation import Split, best_split, bias_and_variance
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


def plan(config: PlanConfig) -> Plan:
    """Do what ``config`` says.

    Raises:
        ValueError, TypeError: a setting is not as it must be; the message names it.

    >>> import ttc_fast as tf
    >>> best = tf.plan(tf.PlanConfig(budget=64, prompts=16)).best
    >>> best.steps * best.samples <= 64
    True
    """
    budget = check.integer("budget", config.budget, 1, 2**40)
    longest = min(check.integer("longest", config.longest, 1, 2**16), budget)
    task = LinearRegression(config.dim, config.examples, label_noise=config.label_noise)
    prompts = task.sample(check.integer("prompts", config.prompts, 1, 2**20), seed=config.seed)
    step_size = default_step_size(config.dim, config.examples) if config.step_size is None else config.step_size
    rule = GaussianNoise(config.noise_scale)
    decoder = StochasticDecoder(LinearAttention.gradient_descent(config.dim, step_size=step_size), rule)
    simulated = None
    with torch.inference_mode():
        state = decoder.model.prefill(prompts).linear
        bias, variance = bias_and_variance(state, rule, quadratic(prompts, "squared_error"), longest)
        best = best_split(bias.mean(0).numpy(), variance.mean(0).numpy(), budget)
        errors = bias[:, best.steps - 1] + variance[:, best.steps - 1] / best.samples
        unstable = int(diverges(affine(state)[0]).sum())
        if config.simulate:
            table = evaluate(
                decoder, prompts, steps=best.steps, samples=best.samples, budgets=[best.samples], seed=config.seed,
                techniques=["mean"],
            )  # fmt: skip
            values = table[Key("continuous", "mean", best.steps, best.samples, "squared_error")]
            simulated = float(values.mean()), check_against_theory(values, errors.numpy()).z
    others = tuple(
        Split(t, budget // t, float((bias[:, t - 1] + variance[:, t - 1] / (budget // t)).mean()))
        for t in (2**i for i in range(longest.bit_length()))
        if t <= longest
    )
    return Plan(best, others, float(errors.median()), unstable, simulated)
