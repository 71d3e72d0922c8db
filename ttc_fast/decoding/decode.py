"""The decode as one operator of PyTorch, ``torch.ops.ttc_fast.decode``, and its backends as data."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from ..kernels import MAX_DIM, interpreted
from ..numerics import check, extension
from . import native, reference
from .rules import BernoulliSampling, GaussianNoise, Rule


class DecodeOutput(NamedTuple):
    """What :func:`decode` returns."""

    thoughts: Tensor
    """``[len(steps), B, N, d]``: the thought w_t of every asked step, prompt and sample."""
    steps: tuple[int, ...]
    """The asked steps t."""
    backend: str
    """Name of the backend that ran."""


class Backend(NamedTuple):
    """One implementation of the decode."""

    name: str
    available: bool
    reason: str
    """Why it is (not) available here."""


CPU = torch.device("cpu")

PRECISIONS = ("fp32", "ieee", "tf32")


def _triton_decode(state: Tensor, w0: Tensor, **arguments: Any) -> Tensor:
    from ..kernels.decode import decode  # imports triton, which takes a second

    thoughts: Tensor = decode(state, w0, **arguments)
    return thoughts


_DECODERS: dict[str, Callable[..., Tensor]] = {
    "triton": _triton_decode,
    "native": native.decode,
    "reference": reference.decode,
}


_TRITON_INSTALLED = importlib.util.find_spec("triton") is not None
_NATIVE = Backend(
    "native", not extension.MISSING, extension.MISSING or f"C++, float32 on the CPU: {', '.join(extension.isas())}"
)
_REFERENCE = Backend("reference", True, "plain PyTorch, runs wherever PyTorch runs")


def backends() -> tuple[Backend, ...]:
    """All backends, fastest first, with the reason why each can or cannot run here."""
    return _triton_backend(), _NATIVE, _REFERENCE


def _triton_backend() -> Backend:
    if not _TRITON_INSTALLED:
        return Backend("triton", False, "Triton is not installed; `pip install triton` where it is to be had")
    if interpreted():
        return Backend("triton", True, "TRITON_INTERPRET is set: interpreted in Python on the CPU, to check kernels")
    if torch.cuda.is_available():
        return Backend("triton", True, "float32 on the GPU")
    return Backend(
        "triton",
        False,
        "PyTorch sees no GPU; run where there is one with a CUDA or ROCm build of PyTorch, or set "
        "TRITON_INTERPRET=1 to check the kernels on the CPU, slowly",
    )


def _obstacle(backend: Backend, dtype: torch.dtype, device: torch.device, dim: int, precision: str) -> str:
    """Why the backend cannot do such a decode; empty if it can."""
    if not backend.available:
        return backend.reason
    if backend.name != "triton" and precision == "tf32":
        return "it computes in float32; precision='tf32' is for the triton backend"
    if backend.name == "reference":
        return ""
    wanted = "cpu" if backend.name == "native" or interpreted() else "cuda"
    if (dtype, device.type) != (torch.float32, wanted):
        return f"it decodes float32 on {wanted}, the state is {dtype} on {device}"
    if backend.name == "triton" and dim > MAX_DIM:
        return f"it decodes up to {MAX_DIM} coefficients, the state has {dim}"
    return ""


def resolve_backend(
    name: str,
    dtype: torch.dtype = torch.float32,
    device: torch.device = CPU,
    dim: int = 1,
    precision: str = "fp32",
) -> str:
    """The backend that ``name`` (a backend's name or ``"auto"``) stands for, here and for such a decode.

    Raises:
        ValueError: ``name`` or ``precision`` is unknown, or that backend cannot run.
    """
    table = backends()
    check.choice("backend", name, ("auto", *(b.name for b in table)))
    check.choice("precision", precision, PRECISIONS)
    obstacles = {b.name: _obstacle(b, dtype, device, dim, precision) for b in table}
    if name == "auto":
        if interpreted():
            obstacles["triton"] = "its interpreter is for checking, on request"
        able = [backend for backend, obstacle in obstacles.items() if not obstacle]
        if not able:
            raise ValueError(
                f"precision: {precision!r} needs the triton backend, which cannot run: {obstacles['triton']}"
            )
        return able[0]
    if obstacles[name]:
        raise ValueError(f"backend: {name!r} cannot run: {obstacles[name]}; or use backend='auto'")
    return name


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
) -> DecodeOutput:
    """Decode N stochastic chains of thought for each of B prompts.

    Each step maps a thought w_t to u = w_t + state (w_t, -1) = w_t - P (S w_t - b) and draws w_{t+1}
    from ``rule`` given u. The result is a function of the global indices of prompt, sample,
    coordinate and step and of the seed only: chunks of a run put together equal the whole run, bit
    for bit. Decoding is not differentiable.

    Args:
        state: linear-attention state ``[B, d, d+1]``, float32 or float64 (:meth:`LinearAttention.prefill`).
        w0: initial thought ``[B, d]``, or one for each sample ``[B, N, d]``; dtype and device of ``state``.
        rule: :class:`GaussianNoise` or :class:`BernoulliSampling`.
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

    Returns:
        :class:`DecodeOutput` with ``thoughts [len(steps), B, N, d]``.

    Raises:
        TypeError, ValueError: an argument is not as described, or the backend cannot run.
    """
    check.tensor("state", state, ("B", "d", "d+1"))
    prompts, dim, width = state.shape
    if width != dim + 1 or dim == 0:
        raise ValueError(f"state: expected shape [B, d, d+1] with d >= 1, got {list(state.shape)}")
    samples = check.integer("samples", samples, 0, 2**32)
    check.tensor("w0", w0, (prompts, dim) if w0.ndim != 3 else (prompts, samples, dim))
    if w0.dtype != state.dtype or w0.device != state.device:
        raise ValueError(f"w0: expected {state.dtype} on {state.device} as state, got {w0.dtype} on {w0.device}")
    if not isinstance(rule, (GaussianNoise, BernoulliSampling)):
        raise TypeError(f"rule: expected GaussianNoise or BernoulliSampling, got {type(rule).__name__}")
    first_step = check.integer("first_step", first_step, 0, 2**34)
    asked = tuple(check.integer("steps", t, first_step, 2**34) for t in steps)
    seed = check.integer("seed", seed, 0, 2**64 - 1)
    first_sample = check.integer("first_sample", first_sample, 0, 2**32 - samples)
    first_prompt = check.integer("first_prompt", first_prompt, 0, 2**32 - prompts)
    check.choice("method", method, ("stepwise", "exact"))
    if method == "exact":
        from . import exact  # it needs this module

        if not isinstance(rule, GaussianNoise):
            raise ValueError(
                "method: expected 'stepwise' for BernoulliSampling, got 'exact', which needs GaussianNoise"
            )
        if precision != "fp32":
            raise ValueError(f"precision: expected 'fp32' with method='exact', got {precision!r}")
        return exact.decode(
            check.finite("state", state), check.finite("w0", w0), rule=rule, steps=asked, samples=samples, seed=seed,
            first_sample=first_sample, first_prompt=first_prompt, first_step=first_step, backend=backend,
        )  # fmt: skip
    name = resolve_backend(backend, state.dtype, state.device, dim, precision)
    thoughts: Tensor = torch.ops.ttc_fast.decode(
        state.detach(),
        w0.detach(),
        *_flatten(rule, max(asked, default=0)),
        list(asked),
        samples,
        seed - 2**64 if seed >= 2**63 else seed,  # the same bits as a signed integer
        first_sample,
        first_prompt,
        first_step,
        name,
        precision,
    )
    return DecodeOutput(thoughts, asked, name)


def _flatten(rule: Rule, steps: int) -> tuple[Tensor | None, str | None, float | None, str | None]:
    """A rule in the types that an operator's schema knows; :func:`_decode` undoes it."""
    if isinstance(rule, GaussianNoise):
        return rule.scales(steps), None, None, None
    return None, rule.link, rule.temperature, rule.sample_at


def _decode(
    state: Tensor,
    w0: Tensor,
    noise_scale: Tensor | None,
    link: Any,
    temperature: float | None,
    sample_at: Any,
    steps: list[int],
    samples: int,
    seed: int,
    first_sample: int,
    first_prompt: int,
    first_step: int,
    backend: str,
    precision: str,
) -> Tensor:
    # Checked here and not in decode(): torch.compile cannot trace a test of values.
    check.finite("state", state)
    check.finite("w0", w0)
    return _DECODERS[backend](
        state,
        w0,
        rule=BernoulliSampling(link, temperature, sample_at) if noise_scale is None else GaussianNoise(noise_scale),
        steps=steps,
        samples=samples,
        seed=seed % 2**64,
        first_sample=first_sample,
        first_prompt=first_prompt,
        first_step=first_step,
        **({"precision": precision} if backend == "triton" else {}),
    )


def _decode_fake(state: Tensor, w0: Tensor, *rest: Any) -> Tensor:
    steps, samples = rest[4], rest[5]
    return state.new_empty(len(steps), state.shape[0], samples, state.shape[1])


# torch.library.custom_op would do the same, but its first call imports torch._dynamo and with it
# triton: three seconds that a run on the CPU need not wait for.
torch.library.define(
    "ttc_fast::decode",
    "(Tensor state, Tensor w0, Tensor? noise_scale, str? link, float? temperature, str? sample_at, "
    "int[] steps, int samples, int seed, int first_sample, int first_prompt, int first_step, "
    "str backend, str precision) -> Tensor",
)
torch.library.impl("ttc_fast::decode", "CompositeExplicitAutograd")(_decode)
torch.library.register_fake("ttc_fast::decode")(_decode_fake)
