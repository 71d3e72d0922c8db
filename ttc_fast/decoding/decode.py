"""The decode as one operator of PyTorch, ``torch.ops.ttc_fast.decode``."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from ..numerics import check
from ..numerics.protocols import described
from . import exact
from .authors_rules import check_ones
from .backends import DECODERS, NORMALS, require_reference, resolve_backend, run_by
from .reference import decode as reference_decode
from .rules import EncodedRule, Rule, check_rule
from .schedules import MOST_STEPS


@dataclass(frozen=True)
class DecodeOutput:
    """What :func:`decode` returns."""

    thoughts: Tensor
    """``[len(steps), B, N, d]``: the thought w_t of every asked step, prompt and sample."""
    steps: tuple[int, ...]
    """The asked steps t."""
    backend: str
    """Name of the backend that ran."""


def decode(
    state: Tensor,
    w0: Tensor,
    *,
    rule: Rule,
    steps: Sequence[int],
    samples: int,
    seed: int = 0,
    first_sample: int = 0,
    first_prompt: int = 0,
    first_step: int = 0,
    backend: str = "auto",
    precision: str = "fp32",
    method: Literal["stepwise", "exact"] = "stepwise",
    out: Tensor | None = None,
    checked: bool = False,
) -> DecodeOutput:
    """Decode N stochastic chains of thought for each of B prompts.

    Each step maps a thought w_t to u = w_t + state (w_t, -1) = w_t - P (S w_t - b) and draws w_{t+1}
    from ``rule`` given u. The result is a function of the global indices of prompt, sample,
    coordinate and step and of the seed only: chunks of a run put together equal the whole run, bit
    for bit. Decoding is not differentiable.

    Args:
        state: linear-attention state ``[B, d, d+1]``, float32 or float64 (:meth:`LinearAttention.prefill`).
        w0: initial thought ``[B, d]``, or one for each sample ``[B, N, d]``; dtype and device of ``state``.
        rule: one of ours, such as :class:`GaussianNoise`, or your own :class:`Rule`; one without a
            kernel runs in PyTorch, with the same random numbers.
        steps: the steps t whose thoughts w_t are returned, in any order; 0 is w0 itself.
        samples: N, the decodes per prompt.
        seed: integer in [0, 2^64).
        first_sample: global index of the first sample, for a part of a larger run.
        first_prompt: global index of the first prompt.
        first_step: the step that ``w0`` belongs to, to resume a chain; steps before it cannot be asked.
        backend: a name of :func:`backends`, or ``"auto"`` for the fastest one that can run.
        precision: of the matrix product on tensor cores, where the triton backend runs: ``"fp32"``,
            about that of float32; ``"ieee"``, float32 without tensor cores; ``"tf32"``, one product of
            10-bit fractions, errors about 2^-11 of the thought. The other backends compute in float32.
        method: ``"exact"`` draws the thoughts of the asked steps from their exact joint law, without the steps
            between: the same law from other random words, for :class:`GaussianNoise` only. See ``exact.py``.
        out: where to write the thoughts ``[len(steps), B, N, d]``, such as a part of a larger tensor whose rows ``[N,
            d]`` lie together; by default a new tensor. With it the call is not traced by ``torch.compile``.
        checked: ``state`` and ``w0`` are known to be finite: they are not tested, for which a GPU would be waited for
            and which a CUDA graph could not capture. Under ``torch.compile`` they never are.

    Returns:
        :class:`DecodeOutput` with ``thoughts [len(steps), B, N, d]``.

    Raises:
        TypeError, ValueError: an argument is not as described, or the backend cannot run.

    >>> import torch, ttc_fast as tf
    >>> state = -0.5 * torch.cat((torch.eye(2), torch.ones(2, 1)), 1)[None]  # towards (1, 1), half of the way
    >>> tf.decode(state, torch.zeros(1, 2), rule=tf.GaussianNoise(0.0), steps=[0, 1, 2], samples=1).thoughts[:, 0, 0]
    tensor([[0.0000, 0.0000],
            [0.5000, 0.5000],
            [0.7500, 0.7500]])
    """
    prompts, dim = check_state(state)
    rule = check_rule(rule)
    given = Arguments.checked(w0, prompts, dim, steps, samples, seed, first_sample, first_prompt, first_step)
    if w0.dtype != state.dtype or w0.device != state.device:
        raise ValueError(f"w0: expected {state.dtype} on {state.device} as state, got {w0.dtype} on {w0.device}")
    check.choice("method", method, ("stepwise", "exact"))
    check_room(len(given.steps) * prompts, given.samples, dim, state.dtype)
    if not (checked or torch.compiler.is_compiling() or check.all_finite(state.detach(), w0.detach())):
        check.finite("state", state.detach())
        check.finite("w0", w0.detach())
    encoded = rule.encode(max(given.steps, default=0))
    check_ones(0 if encoded is None else encoded.ones, dim)
    if out is not None:
        check_out(out, w0, given)
    if method == "exact":
        return _decode_exactly(state, w0, rule, encoded, given, backend, precision, out)
    if encoded is None:
        name = require_reference(backend, precision, f"the rule {described(rule)}")
        thoughts = reference_decode(state, w0, rule=rule, out=out, **given.named())
        return DecodeOutput(thoughts, given.steps, name)
    signed = given.seed - 2**64 if given.seed >= 2**63 else given.seed  # the same bits
    place = signed, given.first_sample, given.first_prompt, given.first_step
    arguments = state.detach(), w0.detach(), *encoded, list(given.steps), given.samples, *place

    def resolve() -> str:
        return resolve_backend(backend, state.dtype, state.device, dim, precision)

    def run(name: str) -> Tensor:
        operator = torch.ops.ttc_fast.decode if out is None else functools.partial(_decode, out=out)
        thoughts: Tensor = operator(*arguments, name, precision)
        return thoughts

    thoughts, name = run_by(backend, state.device, resolve, run)
    return DecodeOutput(thoughts, given.steps, name)


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
        out, w0, given: see :func:`decode`.

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


def check_state(state: Tensor) -> tuple[int, int]:
    """B and d of a linear-attention state.

    Raises:
        TypeError, ValueError: it is no tensor ``[B, d, d+1]`` of floats.
    """
    check.tensor("state", state, ("B", "d", "d+1"))
    prompts, dim, width = state.shape
    if width != dim + 1 or dim == 0:
        raise ValueError(f"state: expected shape [B, d, d+1] with d >= 1, got {list(state.shape)}")
    return prompts, dim


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
        """The arguments of :func:`decode`, or the error of the first that is not as described there.

        Args:
            prompts, dim: B and d.
            w0, steps, samples, seed, first_sample, first_prompt, first_step: as in :func:`decode`.
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


def _decode_exactly(
    state: Tensor,
    w0: Tensor,
    rule: Rule,
    encoded: EncodedRule | None,
    given: Arguments,
    backend: str,
    precision: str,
    out: Tensor | None,
) -> DecodeOutput:
    if encoded is None or encoded.kind != "gaussian":
        raise ValueError(f"method: expected 'stepwise' for {described(rule)}, got 'exact', which needs GaussianNoise")
    if precision != "fp32":
        raise ValueError(f"precision: expected 'fp32' with method='exact', got {precision!r}")
    scales = encoded.scales(max(given.steps, default=0))
    thoughts, name = run_by(
        backend,
        state.device,
        lambda: resolve_backend(backend, state.dtype, state.device, state.shape[1]),
        lambda name: exact.decode(
            state.detach(), w0.detach(), run=DECODERS[name], normals=NORMALS[name], scales=scales, **given.named()
        ),
    )
    return DecodeOutput(thoughts if out is None else out.copy_(thoughts), given.steps, name)


def _decode(
    state: Tensor,
    w0: Tensor,
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
    backend: str,
    precision: str,
    out: Tensor | None = None,
) -> Tensor:
    return DECODERS[backend](
        state,
        w0,
        rule=EncodedRule(kind, schedule, temperature, every_step, ones),
        steps=steps,
        samples=samples,
        seed=seed % 2**64,
        first_sample=first_sample,
        first_prompt=first_prompt,
        first_step=first_step,
        **({"precision": precision} if backend == "triton" else {}),
        **({} if out is None else {"out": out}),
    )


def _decode_fake(state: Tensor, w0: Tensor, *rest: Any) -> Tensor:
    steps, samples = rest[5], rest[6]
    return state.new_empty(len(steps), state.shape[0], samples, state.shape[1])


# torch.library.custom_op would do the same, but its first call imports torch._dynamo and with it
# triton: three seconds that a run on the CPU need not wait for.
torch.library.define(
    "ttc_fast::decode",
    "(Tensor state, Tensor w0, str kind, Tensor schedule, float temperature, bool every_step, "
    "int ones, int[] steps, int samples, int seed, int first_sample, int first_prompt, int first_step, "
    "str backend, str precision) -> Tensor",
)
torch.library.impl("ttc_fast::decode", "CompositeExplicitAutograd")(_decode)
torch.library.register_fake("ttc_fast::decode")(_decode_fake)
