"""The launch of the decode kernels: constants, arguments, and ``decode`` itself."""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
import triton
from torch import Tensor

from . import Unusable, padded, target
from .chain import decode_kernel
from .draws import draws_bits
from .streamed import workspace
from .tiles import Tile, tile_here
from .versions import warn_unproved

SCHEDULED = ("gaussian", "rank_one", "elementwise")
"""Kinds of rules with a scale for every step."""


def options(tile: Tile, target: str) -> dict[str, Any]:
    """Options of the compiler. There is nothing to prefetch, and only multiply-adds written as fused ones are fused."""
    stages = 2 if tile.streamed and target == "cuda" else 1
    registers = {"maxnreg": tile.registers} if tile.registers and target == "cuda" else {}
    return {"num_warps": tile.warps, "num_stages": stages, "enable_fp_fusion": False, **registers}


def constants(rule: dict[str, Any], precision: str, target: str, dim: int, tile: Tile) -> dict[str, Any]:
    """The constants that a kernel is compiled with; ``rule`` holds those of the rule, RULE, EVERY_STEP and ONES."""
    return {**rule, "PRECISION": precision, "TARGET": target, "D": padded(dim), "BN": tile.samples}


def of_decode(dim: int, tile: Tile) -> dict[str, Any]:
    """The constants of ``decode_kernel`` beside :func:`constants`."""
    return {"WHOLE": dim == padded(dim), "STREAMED": tile.streamed}


class EncodedRule(Protocol):
    """What the kernels need of a rule (``ttc_fast.decoding.rules.EncodedRule``)."""

    kind: str
    schedule: Tensor
    temperature: float
    every_step: bool
    ones: int


class Launch(NamedTuple):
    """A kernel and what it is launched with."""

    kernel: Any
    programs: int
    arguments: dict[str, Any]
    constants: dict[str, Any]
    options: dict[str, Any]
    """Of the compiler."""


def chain_arguments(
    w0: Tensor,
    thoughts: Tensor,
    *,
    rule: EncodedRule,
    steps: Sequence[int],
    seed: int,
    first_sample: int,
    first_prompt: int,
    first_step: int,
    every_block: bool = False,
) -> dict[str, Any]:
    """The arguments of a chain's kernel after those that hold the state, in the order of its parameters.

    Args:
        w0, rule, steps, seed, first_sample, first_prompt, first_step: of the decode; the steps ascending.
        thoughts: that it writes.
        every_block: whether all blocks of four steps are listed, not only those with asked thoughts.
    """
    prompts, samples, dim = thoughts.shape[1:]
    first_block, last_block = first_step // 4, (max(steps) - 1) // 4
    if last_block - first_block >= 2**29:
        raise ValueError(f"steps: expected at most 2^31 steps in one decode on the GPU, got {max(steps) - first_step}")
    # Row of the asked thoughts after each of the four steps of the first block and of every asked one.
    rows = {block: [-1] * 4 for block in (range(last_block - first_block + 1) if every_block else (0,))}
    for row, t in enumerate(steps):
        if t > first_step:
            rows.setdefault((t - 1) // 4 - first_block, [-1] * 4)[(t - 1) % 4] = row
    listed = sorted(rows)
    stops = [[previous + 1, block, 0, *rows[block]] for previous, block in zip([-1, *listed], listed)]
    noise, gain = torch.zeros(1), 1.0  # for the rules that have none
    if rule.kind in SCHEDULED:
        noise = torch.zeros(4 * (last_block - first_block + 1))
        schedule = rule.schedule if len(rule.schedule) > 1 else rule.schedule.expand(max(steps))
        scales = schedule[4 * first_block :]
        noise[: len(scales)] = scales * (2 * math.log(2)) ** (1.0 if rule.kind == "rank_one" else 0.5)  # see chain.py
    elif rule.kind == "sigmoid":
        gain = math.log2(math.e) / rule.temperature  # no rule has one that makes this infinite in float32
    return {
        "w0": w0.contiguous(),
        "noise": _sent(noise.numpy().tobytes(), torch.float32, w0.device),
        "stops": _sent(np.array(stops, dtype=np.int32).tobytes(), torch.int32, w0.device).view(-1, 7),
        "thoughts": thoughts,
        "page": prompts * samples * dim,
        "samples": samples,
        "dim": dim,
        "stops_count": len(rows),
        "w0_prompt_stride": dim if w0.ndim == 2 else samples * dim,
        "w0_sample_stride": 0 if w0.ndim == 2 else dim,
        "seed": seed,
        "first_prompt": first_prompt,
        "first_sample": first_sample,
        "first_step": first_step,
        "gain": gain,
    }


def programs_of(prompts: int, samples: int, tile: Tile) -> int:
    """Programs of a launch.

    Args:
        prompts, samples: B, N.
        tile: of a program.

    Raises:
        ValueError: there are too many.
    """
    programs: int = prompts * triton.cdiv(samples, tile.samples)
    if programs >= 2**31:
        raise ValueError(
            f"prompts: expected at most {2**31 // triton.cdiv(samples, tile.samples)} at once, got {prompts}"
        )
    return programs


def chain_constants(rule: EncodedRule, precision: str, target: str, dim: int, tile: Tile) -> dict[str, Any]:
    """:func:`constants` of a rule.

    Args:
        rule, precision, target, dim, tile: of the decode.
    """
    kind = {"RULE": rule.kind, "EVERY_STEP": rule.every_step, "ONES": rule.ones}
    return constants(kind, precision, target, dim, tile)


def prepare(
    state: Tensor,
    w0: Tensor,
    thoughts: Tensor,
    *,
    rule: EncodedRule,
    precision: str,
    target: str,
    tile: Tile,
    **asked: Any,
) -> Launch:
    """The launch that writes w_t to ``thoughts[row] [B, N, d]`` for every ``steps[row]`` = t > first_step.

    Args:
        state, w0, rule, precision: of the decode.
        thoughts: that it writes.
        target, tile: of the GPU.
        asked: steps, seed, first_sample, first_prompt, first_step.
    """
    prompts, samples, dim = thoughts.shape[1:]
    programs, work = programs_of(prompts, samples, tile), state.new_empty(1)
    if tile.streamed:
        bits = bool(draws_bits(rule.kind, rule.every_step))
        work = workspace(state, programs, tile.samples, bits, precision)
    arguments = {"work": work, "state": state.contiguous()}
    arguments |= chain_arguments(w0, thoughts, rule=rule, every_block=tile.streamed, **asked)
    given = chain_constants(rule, precision, target, dim, tile) | of_decode(dim, tile)
    return Launch(decode_kernel, programs, arguments, given, options(tile, target))


@functools.lru_cache(maxsize=32)
def _sent(numbers: bytes, dtype: torch.dtype, device: torch.device) -> Tensor:
    """A small table on the device, sent once: no CUDA graph can capture a copy from the host."""
    return torch.frombuffer(bytearray(numbers), dtype=dtype).to(device, non_blocking=True)


_RAN: set[Any] = set()
"""Kernels, by device and constants, that have been launched."""
_noted: list[Launch] | None = None


@contextlib.contextmanager
def noted() -> Iterator[list[Launch]]:
    """Within, launches are noted in the list instead of made: whatever they would write stays as it is."""
    global _noted
    _noted = []
    try:
        yield _noted
    finally:
        _noted = None


def start(launch: Launch, device: torch.device) -> None:
    """Launch a kernel on a GPU, which need not be the current one.

    Raises:
        Unusable: it has not run there before, and cannot be compiled or loaded.
    """
    if _noted is not None:
        _noted.append(launch)
        return
    warn_unproved()
    kernel = (id(launch.kernel), device, *launch.constants.items())
    with contextlib.nullcontext() if device.type == "cpu" else torch.cuda.device(device):
        try:
            launch.kernel[(launch.programs,)](*launch.arguments.values(), **launch.constants, **launch.options)
        except Exception as error:  # of Triton, an assembler, a C compiler or a driver
            if kernel in _RAN:
                raise
            reason = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
            raise Unusable(f"Triton fails on {device}: {type(error).__name__}: {reason}") from error
    _RAN.add(kernel)


def decode(
    state: Tensor,
    w0: Tensor,
    *,
    rule: EncodedRule,
    steps: Sequence[int],
    samples: int,
    seed: int,
    first_sample: int = 0,
    first_prompt: int = 0,
    first_step: int = 0,
    precision: str = "fp32",
    out: Tensor | None = None,
) -> Tensor:
    """Thoughts ``[len(steps), B, N, d]``; arguments as in :func:`ttc_fast.decode`, already checked."""
    tile = tile_here(state.shape[1], state.device, precision, rule.kind)
    ready = functools.partial(
        prepare, state, w0, rule=rule, seed=seed, first_sample=first_sample, first_prompt=first_prompt,
        first_step=first_step, precision=precision, target=target(), tile=tile,
    )  # fmt: skip
    return launched(ready, w0, steps=steps, samples=samples, first_step=first_step, out=out)


def launched(
    ready: Callable[..., Launch],
    w0: Tensor,
    *,
    steps: Sequence[int],
    samples: int,
    first_step: int,
    out: Tensor | None,
) -> Tensor:
    """Thoughts ``[len(steps), B, N, d]``, in ``out`` if there is one: the launch writes there where that is contiguous,
    aligned to 16 bytes, and the steps are ascending, else they are copied.

    Args:
        ready: the launch, given the thoughts and, by name, the asked steps in ascending order.
        w0, steps, samples, first_step, out: of the decode.
    """
    asked = sorted(set(steps))
    direct = out is not None and out.is_contiguous() and out.data_ptr() % 16 == 0 and asked == list(steps)
    shape = len(asked), w0.shape[0], samples, w0.shape[-1]
    thoughts = out if out is not None and direct else w0.new_empty(shape)
    if thoughts.numel() and asked[0] == first_step:
        thoughts[0] = w0 if w0.ndim == 3 else w0[:, None]
    if thoughts.numel() and asked[-1] > first_step:
        start(ready(thoughts, steps=asked), w0.device)
    if asked != list(steps):
        thoughts = thoughts[[asked.index(t) for t in steps]]
    return thoughts if out is None or direct else out.copy_(thoughts)
