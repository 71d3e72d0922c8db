"""The command ``ttc-fast run``, also ``python -m ttc_fast.run``: its settings and its output."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class RunConfig:
    """Decode stochastic chains of thought for in-context linear regression, apply the inference
    techniques, and show how the error falls with the number of thoughts and of samples."""

    coefficients: Literal["continuous", "binary", "both"] = "both"
    """Kind of the coefficients: noise is injected into continuous ones, binary ones are drawn."""
    dim: int | None = None
    """Coefficients of a prompt (default 16, or the file's)."""
    examples: int | None = None
    """In-context examples of a prompt (default 64, or the file's)."""
    prompts: int | None = None
    """Independent prompts (default 64, or all of the file's)."""
    steps: tuple[int, ...] = (1, 2, 4, 8, 16, 32)
    """Chain lengths to report; the table over samples is made at the longest."""
    samples: int = 4096
    """Parallel decodes of a prompt."""
    label_noise: float | None = None
    """Standard deviation of the labels' noise (default 0.1; a file brings its own labels)."""
    noise_scale: float = 0.2
    """Standard deviation of the noise injected into every continuous thought."""
    link: Literal["sigmoid", "clip"] = "sigmoid"
    """From the transformer's output to the probability of a binary coefficient."""
    temperature: float | None = None
    """Temperature of the sigmoid link (default 0.25; 0 is greedy)."""
    step_size: float | None = None
    """Step of gradient descent in the attention's weights (default n / (n + d + 1))."""
    technique: tuple[str, ...] = ("greedy", "single", "mean", "majority_vote", "best_of_n", "oracle_best_of_n")
    """Inference techniques by name: ``ttc-fast techniques`` lists them."""
    verifier: Literal["in_context_loss", "held_out_loss", "oracle", "wrong"] = "in_context_loss"
    """What best-of-N, the weighted techniques and the searches trust: the loss on the examples that the chains see,
    or on others that they do not, or the true error, or a loss that aims at other coefficients than the true ones."""
    held_out: int | None = None
    """Examples that only the verifier held_out_loss sees (default a quarter of them)."""
    wrong_by: float | None = None
    """Standard deviation, in units of w, of what the verifier wrong adds to each true coefficient (default 0.5)."""
    verifier_noise: float = 0.0
    """Standard deviation of Gaussian noise added to the verifier's scores."""
    false_positive_rate: float = 0.0
    """Probability that the verifier gives an answer its highest score, whatever it is worth."""
    seed: int = 0
    """Seed of all random numbers, an integer below 2^64."""
    backend: Literal["auto", "reference", "native", "triton"] = "auto"
    """Implementation of the decode."""
    method: Literal["stepwise", "exact"] = "stepwise"
    """Decode step by step, or draw continuous thoughts of the asked steps from their exact law."""
    device: str = "cpu"
    """Device of PyTorch."""
    prompts_file: Path | None = None
    """Take the prompts from an .npz file: x [B, n, d], y [B, n] and, if known, w_star [B, d]."""
    theory: bool = True
    """Show what theory says beside each technique that has a law, and how far the run is from it."""
    plot: Path | None = None
    """Draw error against samples and against steps to this file: png, pdf or svg (needs matplotlib)."""
    json: Path | None = None
    """Write config, versions and all results to this file."""
    quiet: bool = False
    """Print nothing but errors."""


def main(config: RunConfig) -> None:
    """Run, print, write.

    Raises:
        ValueError, TypeError, OSError: with a message for the user.
    """
    # torch takes seconds to import: it waits until the command line is understood.
    from ..cli import console as output
    from ..cli import run as report
    from ..kernels import interpreted
    from .run import run

    if config.json is not None:
        output.check_writable(config.json)
    if config.backend == "triton" and interpreted() and not config.quiet:
        output.notice("Triton interprets its kernels in Python (TRITON_INTERPRET is set): slow, to check them")
    if config.plot is not None:
        from . import plot

        plot.check_possible(config.plot)
    with output.progress(quiet=config.quiet, verb="decoded") as progress:
        result = run(config, progress)
    if not config.quiet:
        report.show(result)
    if config.plot is not None:
        plot.draw(result, config.plot)
    if config.json is not None:
        output.write(config.json, report.to_json(result))
