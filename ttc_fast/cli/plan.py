"""The command ``ttc-fast plan``."""

from __future__ import annotations

import math

from ..experiments.config import PlanConfig


def main(config: PlanConfig) -> None:
    """Plan and print.

    Raises:
        ValueError, TypeError: with a message for the user.
    """
    from ..experiments.plan import plan
    from . import console as output

    result = plan(config)

    console = output.console()
    console.print(
        f"best split of {config.budget} chain steps: {result.best.steps} steps x {result.best.samples} samples, "
        f"error of the mean {result.best.error:.3g} (median over prompts {result.median:.3g})"
    )
    cells: dict[tuple[int, str], str] = {}
    for split in result.others:
        cells |= {(split.steps, "samples"): str(split.samples), (split.steps, "error"): f"{split.error:.3g}"}
    console.print(output.table("steps", cells))
    if result.simulated is not None:
        mean, z = result.simulated
        distance = f", {z:+.1f} standard errors from the prediction" if math.isfinite(z) else ""
        console.print(f"simulated: {mean:.3g}{distance}")
    if result.unstable:
        console.print(
            f"{result.unstable} of {config.prompts} prompts make the chain diverge, the step being too large for "
            "them: the mean over prompts is not to be trusted; with --step-size below "
            f"{result.stable_step:.3g} none does"
        )
