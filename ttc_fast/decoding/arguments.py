"""What every decode is asked for: checked, and as the operators of PyTorch take it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..numerics import check
from .rules import EncodedRule
from .schedules import MOST_STEPS


@dataclass(frozen=True)
class Arguments:
    """What every decode is asked for, checked."""

    steps: tuple[int, ...]
    samples: int
    seed: int
    first_sample: int
    first_prompt: int
    first_step: int

    @classmethod
    def checked(
        cls,
        w0: Tensor,
        prompts: int,
        dim: int,
        steps: Sequence[int],
        samples: int,
        seed: int,
        first_sample: int,
        first_prompt: int,
        first_step: int,
    ) -> Arguments:
        """The arguments of :func:`ttc_fast.decode`, or the error of the first that is not as described there.

        Args:
            prompts, dim: B and d.
            w0, steps, samples, seed, first_sample, first_prompt, first_step: as there.
        """
        samples = check.integer("samples", samples, 0, 2**32)
        check.tensor("w0", w0, (prompts, dim) if getattr(w0, "ndim", 2) != 3 else (prompts, samples, dim))
        first_step = check.integer("first_step", first_step, 0, MOST_STEPS)
        return cls(
            tuple(check.integer("steps", t, first_step, MOST_STEPS) for t in check.listed("steps", steps, "integers")),
            samples,
            check.integer("seed", seed, 0, 2**64 - 1),
            check.integer("first_sample", first_sample, 0, 2**32 - samples),
            check.integer("first_prompt", first_prompt, 0, 2**32 - prompts),
            first_step,
        )

    def named(self) -> dict[str, Any]:
        """For a backend's decode."""
        return dict(vars(self))

    def packed(self) -> tuple[Any, ...]:
        """For an operator of PyTorch, whose integers have a sign; see :func:`unpacked`."""
        seed = self.seed - 2**64 if self.seed >= 2**63 else self.seed  # the same bits
        return list(self.steps), self.samples, seed, self.first_sample, self.first_prompt, self.first_step


ASKED = (
    "str kind, Tensor schedule, float temperature, bool every_step, int ones, int[] steps, int samples, int seed, "
    "int first_sample, int first_prompt, int first_step, str backend, str precision"
)
"""What an operator that decodes takes after the state and w0: an encoded rule, packed arguments, where and how."""


def unpacked(
    kind: str,
    schedule: Tensor,
    temperature: float,
    every_step: bool,
    ones: int,
    steps: list[int],
    samples: int,
    seed: int,
    first_sample: int,
    first_prompt: int,
    first_step: int,
) -> dict[str, Any]:
    """An encoded rule and :meth:`Arguments.packed`, by name for a backend's decode.

    Args:
        kind, schedule, temperature, every_step, ones: of the rule.
        steps, samples, seed, first_sample, first_prompt, first_step: packed.
    """
    return {
        "rule": EncodedRule(kind, schedule, temperature, every_step, ones), "steps": steps, "samples": samples,
        "seed": seed % 2**64, "first_sample": first_sample, "first_prompt": first_prompt, "first_step": first_step,
    }  # fmt: skip


def empty_thoughts(w0: Tensor, *asked: Any) -> Tensor:
    """What an operator returns, for those who ask for its shape alone.

    Args:
        w0, asked: of the operator.
    """
    steps, samples = asked[5], asked[6]
    return w0.new_empty(len(steps), w0.shape[0], samples, w0.shape[-1])


def check_room(thoughts: int, samples: int, dim: int, dtype: torch.dtype) -> None:
    """Room for thoughts.

    Args:
        thoughts: asked steps times prompts.
        samples: of each.
        dim: d.
        dtype: of a coefficient.

    Raises:
        ValueError: there is none.
    """
    needed = thoughts * samples * dim * dtype.itemsize
    check.room(needed, "samples: the thoughts", "ask for fewer samples, steps or prompts")


def check_out(out: Tensor, w0: Tensor, given: Arguments) -> None:
    """Nothing, if the thoughts can be written to ``out``.

    Args:
        out, w0, given: see :func:`ttc_fast.decode`.

    Raises:
        TypeError, ValueError: it is not as described there.
    """
    wanted = (len(given.steps), w0.shape[0], given.samples, w0.shape[-1])
    check.tensor("out", out, wanted)
    if out.dtype != w0.dtype or out.device != w0.device:
        raise ValueError(f"out: expected {w0.dtype} on {w0.device} as w0, got {out.dtype} on {out.device}")
    if out.numel() and not out[0, 0].is_contiguous():
        raise ValueError("out: expected the numbers [N, d] of a prompt and step one after the other")
    row = given.samples * w0.shape[-1]
    if out.numel() and any(size > 1 and stride < row for size, stride in zip(out.shape[:2], out.stride())):
        raise ValueError("out: expected a place of its own for each thought, got a tensor that overlaps itself")
