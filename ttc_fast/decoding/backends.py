"""The backends of the decode as data: which there are, whether they can run here, and why not."""

from __future__ import annotations

import functools
import importlib.util
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

import torch
from torch import Tensor

from ..kernels import MAX_DIM, PRECISIONS, Unusable, interpreted, too_old
from ..kernels.versions import interpreter_obstacle
from ..numerics import check, extension
from . import native, reference
from .attention import AttentionState
from .authors_rules import ElementwiseNoise, LargestCoefficients, RankOneNoise, SubsetSampling
from .rules import BernoulliSampling, EncodedRule, GaussianNoise, Rule

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Backend:
    """One implementation of the decode."""

    name: str
    available: bool
    reason: str
    """Why it is (not) available here."""


def _triton_decode(state: Tensor, w0: Tensor, **arguments: Any) -> Tensor:
    from ..kernels.decode import decode  # imports triton, which takes a second

    thoughts: Tensor = decode(state, w0, **arguments)
    return thoughts


def triton_obstacle(state: AttentionState) -> str:
    """Why the triton backend cannot decode a state, wherever it runs; empty if it can.

    Args:
        state: of attention.
    """
    if not _TRITON_INSTALLED:
        return ""  # which is said elsewhere
    from ..kernels.attention_decode import obstacle

    found: str = obstacle(state)
    return found


def triton_decode_attention(state: AttentionState, w0: Tensor, **arguments: Any) -> Tensor:
    """Thoughts ``[len(steps), B, N, d]`` of an attention state.

    Args:
        state, w0, arguments: as of :func:`ttc_fast.decode`, already checked, with an encoded rule.
    """
    from ..kernels.attention_decode import decode

    thoughts: Tensor = decode(state, w0, **arguments)
    return thoughts


def _triton_normals(
    prompts: int, samples: int, dim: int, *, seed: int, first_sample: int, first_prompt: int, step: int, like: Tensor
) -> Tensor:
    """A step of the kernel from w = 0 with noise of scale 1 and nothing else."""
    zeros, one = like.new_zeros(prompts, dim, dim + 1), torch.ones(1, dtype=torch.float64)
    return _triton_decode(
        zeros, zeros[:, :, 0], rule=EncodedRule("gaussian", one), steps=[step + 1], samples=samples, seed=seed,
        first_sample=first_sample, first_prompt=first_prompt, first_step=step,
    )[0]  # fmt: skip


_BY_SCHEDULE: dict[str, Callable[..., Rule]] = {
    "gaussian": GaussianNoise,
    "rank_one": RankOneNoise,
    "elementwise": ElementwiseNoise,
}
_BY_ONES: dict[str, Callable[..., Rule]] = {"subset": SubsetSampling, "largest": LargestCoefficients}


def decoded(rule: EncodedRule) -> Rule:
    """The rule that encodes to this: what the reference makes of the operator's arguments."""
    if rule.kind in _BY_SCHEDULE:
        schedule = rule.schedule.tolist()
        return _BY_SCHEDULE[rule.kind](schedule[0] if len(schedule) == 1 else schedule)
    if rule.kind in _BY_ONES:
        return _BY_ONES[rule.kind](rule.ones)
    sample_at: Literal["every_step", "last_step"] = "every_step" if rule.every_step else "last_step"
    if rule.kind == "clip":
        return BernoulliSampling("clip", None, sample_at)
    return BernoulliSampling("sigmoid", 0.0 if rule.kind == "threshold" else rule.temperature, sample_at)


def _reference_decode(state: Tensor, w0: Tensor, *, rule: EncodedRule, **arguments: Any) -> Tensor:
    return reference.decode(state, w0, rule=decoded(rule), **arguments)


DECODERS: dict[str, Callable[..., Tensor]] = {
    "triton": _triton_decode,
    "native": native.decode,
    "reference": _reference_decode,
}
"""From state, w0 and an encoded rule to thoughts, with the arguments of :func:`ttc_fast.decode`, already checked, and
``out``, where to write them."""

NORMALS: dict[str, Callable[..., Tensor]] = {
    "triton": _triton_normals,
    "native": native.normals,
    "reference": reference.normals,
}
"""The standard normals of a step, those of the backend's Gaussian noise."""

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
        if obstacle := interpreter_obstacle():
            return Backend("triton", False, obstacle)
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
    return too_old(device) if backend.name == "triton" else ""


def resolve_backend(
    name: str,
    dtype: torch.dtype = torch.float32,
    device: torch.device = CPU,
    dim: int = 1,
    precision: str = "fp32",
    lacking: Mapping[str, str] = MappingProxyType({}),
) -> str:
    """The backend that ``name`` stands for, here and for such a decode.

    Args:
        name: a backend's name, or ``"auto"`` for the fastest that can run.
        dtype: of the state.
        device: of the state.
        dim: d.
        precision: see :func:`ttc_fast.decode`.
        lacking: backends that cannot do it whatever else is the case, and why.

    Returns:
        A name of :func:`backends`.

    Raises:
        ValueError: ``name`` or ``precision`` is unknown, or that backend cannot run.
    """
    table = backends()
    check.choice("backend", name, ("auto", *(b.name for b in table)))
    check.choice("precision", precision, PRECISIONS)
    obstacles = {b.name: lacking.get(b.name) or _obstacle(b, dtype, device, dim, precision) for b in table}
    if name == "auto":
        if interpreted():
            obstacles["triton"] = "its interpreter is for checking, on request"
        elif device in _FAILED and not obstacles["triton"]:
            obstacles["triton"] = _FAILED[device]
        able = [backend for backend, obstacle in obstacles.items() if not obstacle]
        if not able:
            raise ValueError(
                f"precision: {precision!r} needs the triton backend, which cannot run: {obstacles['triton']}"
            )
        if obstacles["triton"] and obstacles["triton"] in (too_old(device), _FAILED.get(device)):
            _tell_once(f"backend: 'auto' takes {able[0]!r} on {device}: {obstacles['triton']}")
        return able[0]
    if obstacles[name]:
        raise ValueError(f"backend: {name!r} cannot run: {obstacles[name]}; or use backend='auto'")
    return name


_FAILED: dict[torch.device, str] = {}
"""Why Triton failed on a GPU."""


@functools.cache
def _tell_once(text: str) -> None:
    warnings.warn(text, stacklevel=4)


def run_by(
    backend: str, device: torch.device, resolve: Callable[[], str], run: Callable[[str], Tensor]
) -> tuple[Tensor, str]:
    """What a backend computes, and its name. Where Triton fails on a GPU, ``"auto"`` takes the next one from then on.

    Args:
        backend: as asked for.
        device: where.
        resolve: says which backend that is now.
        run: has it compute.

    Raises:
        ValueError: the triton backend was asked for by name, and fails.
    """
    name = resolve()
    try:
        return run(name), name
    except Unusable as error:
        if backend != "auto":
            raise ValueError(f"backend: {backend!r} cannot run: {error}; or use backend='auto'") from error
        _FAILED[device] = str(error)
    name = resolve()
    return run(name), name


def require_reference(backend: str, precision: str, what: str) -> str:
    """``"reference"``, the only backend of a part without a kernel.

    Args:
        backend: as asked for.
        precision: as asked for.
        what: the part, for the error.

    Raises:
        ValueError: another backend is asked for, or a precision that PyTorch does not have.
    """
    check.choice("backend", backend, ("auto", *(b.name for b in backends())))
    if backend not in ("auto", "reference"):
        raise ValueError(
            f"backend: {backend!r} cannot run: {what} has no kernel, it runs in PyTorch; use backend='auto'"
        )
    return resolve_backend("reference", precision=precision)
