"""The command ``ttc-fast plan``: how to split a budget of chain steps, and what error to expect."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from ..theory.allocation import Split


@dataclass(frozen=True)
class PlanConfig:
    """Split a budget C = N T of chain steps into T thoughts and N samples, so that the mean of the samples has
    the least squared error: exact given each of many simulated prompts, averaged over them."""

    budget: int
    """C, chain steps for a prompt: samples times steps."""
    dim: int = 16
    """Coefficients of a prompt."""
    examples: int = 64
    """In-context examples of a prompt."""
    label_noise: float = 0.1
    """Standard deviation of the labels' noise."""
    noise_scale: float = 0.2
    """Standard deviation of the noise injected into every thought."""
    step_size: float | None = None
    """Step of gradient descent in the attention's weights (default n / (n + d + 1))."""
    longest: int = 256
    """The longest chain to consider."""
    prompts: int = 256
    """Simulated prompts."""
    seed: int = 0
    """Seed of all random numbers."""
    simulate: bool = False
    """Check the best split by simulation, on the same prompts."""


class Plan(NamedTuple):
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
    """
    import torch

    from ..decoding.rules import GaussianNoise
    from ..evaluation.evaluate import Key, evaluate
    from ..models.decoder import StochasticDecoder
    from ..models.linear_attention import LinearAttention, default_step_size
    from ..numerics import check
    from ..tasks.linear_regression import LinearRegression
    from ..theory.allocation import Split, best_split, curves
    from ..theory.gaussian import quadratic
    from ..theory.overlay import compare

    budget = check.integer("budget", config.budget, 1, 2**40)
    longest = min(check.integer("longest", config.longest, 1, 2**16), budget)
    task = LinearRegression(config.dim, config.examples, label_noise=config.label_noise)
    prompts = task.sample(check.integer("prompts", config.prompts, 1, 2**20), seed=config.seed)
    step_size = default_step_size(config.dim, config.examples) if config.step_size is None else config.step_size
    rule = GaussianNoise(config.noise_scale)
    decoder = StochasticDecoder(LinearAttention.gradient_descent(config.dim, step_size=step_size), rule)
    with torch.inference_mode():
        state = decoder.model.prefill(prompts).linear.double()
        bias, variance = curves(state, rule, quadratic(prompts, "squared_error"), longest)
        best = best_split(bias.mean(0), variance.mean(0), budget)
        errors = bias[:, best.steps - 1] + variance[:, best.steps - 1] / best.samples
        radius = torch.linalg.eigvalsh(torch.eye(config.dim) + state[:, :, :-1]).abs().amax(1)
        simulated = None
        if config.simulate:
            key = Key("mean", best.steps, best.samples, "squared_error")
            evaluation = evaluate(
                decoder, prompts.part, len(prompts), steps=[best.steps], samples=best.samples, seed=config.seed
            )
            score = evaluation.scores[key]
            simulated = float(score.double().mean()), compare(score, errors).z
    others = tuple(
        Split(t, budget // t, float((bias[:, t - 1] + variance[:, t - 1] / (budget // t)).mean()))
        for t in (2**i for i in range(longest.bit_length()))
        if t <= longest
    )
    return Plan(best, others, float(errors.median()), int((radius > 1 + 1e-6).sum()), simulated)


def main(config: PlanConfig) -> None:
    """Plan and print.

    Raises:
        ValueError, TypeError: with a message for the user.
    """
    result = plan(config)
    from ..cli import console as output

    console = output.console()
    console.print(
        f"best split of {config.budget} chain steps: {result.best.steps} steps x {result.best.samples} samples, "
        f"error of the mean {result.best.error:.3g} (median over prompts {result.median:.3g})"
    )
    cells: dict[tuple[int, str], str] = {}
    for steps, samples, error in result.others:
        cells |= {(steps, "samples"): str(samples), (steps, "error"): f"{error:.3g}"}
    console.print(output.table("steps", cells))
    if result.simulated is not None:
        mean, z = result.simulated
        distance = f", {z:+.1f} standard errors from the prediction" if math.isfinite(z) else ""
        console.print(f"simulated: {mean:.3g}{distance}")
    if result.unstable:
        console.print(
            f"{result.unstable} of {config.prompts} prompts make the chain diverge, the step being too large for "
            "them: the mean over prompts is not to be trusted; take a smaller --step-size"
        )
