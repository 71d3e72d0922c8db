"""From the settings of a run to its verifier."""

from __future__ import annotations

from typing import get_args

from ..numerics import check
from ..tasks.prompts import Prompts
from ..techniques.faulty_verifiers import NoisyVerifier, WrongVerifier
from ..techniques.verifiers import HeldOutLoss, Oracle, SmallestNorm, Verifier
from .config import RunConfig, VerifierName

WRONG_BY = 0.5
"""Default of the wrong verifier: with the other defaults a few samples are best for best-of-N, and many are worse than
a single one."""


def held_out(config: RunConfig, examples: int) -> int | None:
    """Examples of a prompt that the chains do not see.

    Args:
        config: the settings.
        examples: of a prompt.

    Raises:
        TypeError, ValueError: the setting is not as it must be.
    """
    if config.verifier != "held_out_loss":
        if config.held_out is not None:
            raise ValueError(
                f"held_out: expected none with verifier {config.verifier!r}, got {config.held_out}; "
                "add --verifier held_out_loss"
            )
        return None
    if examples < 2:
        raise ValueError(f"examples: expected at least 2 for verifier 'held_out_loss', got {examples}")
    given = max(1, examples // 4) if config.held_out is None else config.held_out
    return check.integer("held_out", given, 1, examples - 1)


def wrong_by(config: RunConfig) -> float | None:
    """How far the wrong verifier's aim is from the truth.

    Raises:
        TypeError, ValueError: the setting is not as it must be.
    """
    if config.verifier == "wrong":
        return check.scale("wrong_by", WRONG_BY if config.wrong_by is None else config.wrong_by)
    if config.wrong_by is not None:
        raise ValueError(
            f"wrong_by: expected none with verifier {config.verifier!r}, got {config.wrong_by}; add --verifier wrong"
        )
    return None


def make_verifier(config: RunConfig, example: Prompts, default: Verifier) -> Verifier:
    """The verifier that settings with all defaults filled in ask for.

    Args:
        config: the settings.
        example: one of the prompts.
        default: the verifier by the in-context loss of the prompts' task.

    Raises:
        TypeError, ValueError: a setting is not as it must be.
    """
    check.choice("verifier", config.verifier, get_args(VerifierName))
    noise = check.scale("verifier_noise", config.verifier_noise)
    rate = check.number("false_positive_rate", config.false_positive_rate, 0.0, 1.0)
    seed = check.integer("seed", config.seed, 0, 2**64 - 1)
    if config.verifier in ("oracle", "wrong") and example.w_star is None:
        raise ValueError(
            f"verifier: expected w_star in {config.prompts_file} for {config.verifier!r}, got none; take another"
        )
    verifier: Verifier
    if config.held_out is not None:
        verifier = HeldOutLoss(config.held_out)
    elif config.wrong_by is not None:
        verifier = WrongVerifier(config.wrong_by, seed)
    else:
        others = {"oracle": Oracle(), "smallest_norm": SmallestNorm(), "smallest_l1_norm": SmallestNorm(1)}
        verifier = others.get(config.verifier, default)
    noisy = NoisyVerifier(verifier, noise, false_positive_rate=rate, seed=seed)
    return verifier if noise == rate == 0 else noisy
