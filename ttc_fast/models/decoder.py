"""A transformer and a decoding rule: prompts in, stochastic chains of thought out."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ..decoding import chain
from ..decoding.arguments import Arguments, check_room
from ..decoding.attention_decode import decode_attention
from ..decoding.backends import require_reference
from ..decoding.decode import DecodeOutput, decode
from ..decoding.rules import Rule, check_rule
from ..numerics import check
from ..numerics.protocols import complete, described
from ..tasks.prompts import Prompts, check_prompts
from .base import Model, begin, resumable
from .start import Start


def check_decoder(decoder: object) -> None:
    """Nothing, if ``decoder`` is a :class:`StochasticDecoder` or has what that has.

    Raises:
        TypeError: it lacks a model, a rule or a method that decodes.
    """
    parts = {name: getattr(decoder, name, None) for name in ("model", "rule", "decode", "start")}
    if isinstance(decoder, type) or not (callable(parts["decode"]) and callable(parts["start"])):
        raise TypeError(
            f"decoder: expected a StochasticDecoder, got {type(decoder).__name__}; "
            "make one of a model and a rule: ttc_fast.StochasticDecoder(model, rule)"
        )
    complete(parts["model"], Model, "decoder: model")
    complete(parts["rule"], Rule, "decoder: rule")


class StochasticDecoder(nn.Module):
    """A transformer and a decoding rule: prompts in, N stochastic chains of thought out.

    Args:
        model: the transformer: :class:`LinearAttention`, or your own :class:`Model`.
        rule: :class:`GaussianNoise`, :class:`BernoulliSampling`, or your own :class:`Rule`.
        start: a function from prompts to their first thoughts ``[B, d]``, such as :class:`RandomStart`; default zero.

    Raises:
        TypeError: the model or the rule lacks a method, or the start is no function.
    """

    def __init__(self, model: Model, rule: Rule, start: Start | None = None) -> None:
        super().__init__()
        self.first = None if start is None else check.function("start", start)
        self.model: Model = complete(model, Model, "model")
        self.rule: Rule = check_rule(rule)

    def forward(
        self,
        prompts: Prompts,
        *,
        steps: int | Sequence[int],
        samples: int,
        seed: int = 0,
        first_sample: int = 0,
        backend: str = "auto",
        precision: str = "fp32",
        method: Literal["stepwise", "exact"] = "stepwise",
    ) -> DecodeOutput:
        """Thoughts of every prompt from its first, w_0 = 0 by default.

        Args:
            prompts: the prompts.
            steps: asked steps; an integer is one of them.
            samples, seed, first_sample, backend, precision, method: see :func:`ttc_fast.decode`.

        Returns:
            :class:`DecodeOutput` with ``thoughts [len(steps), B, N, d]``.

        Raises:
            TypeError, ValueError: an argument is not as described, or the backend cannot run.
        """
        check_prompts(prompts, self.model.dim)
        return self.decode(
            self.model.prefill(prompts),
            self.start(prompts),
            steps=check.one_or_more("steps", steps),  # type: ignore[arg-type]  # they are checked next
            samples=samples,
            seed=seed,
            first_sample=first_sample,
            first_prompt=prompts.first,
            backend=backend,
            precision=precision,
            method=method,
        )

    def start(self, prompts: Prompts) -> Tensor:
        """w_0 ``[B, d]``."""
        zero = prompts.x.new_zeros(len(prompts), self.model.dim)
        if self.first is None:
            return zero
        w0 = check.tensor("start", self.first(prompts), zero.shape)
        if w0.dtype != zero.dtype or w0.device != zero.device:
            raise ValueError(
                f"start: expected thoughts in {zero.dtype} on {zero.device}, got {w0.dtype} on {w0.device}"
            )
        return w0

    def decode(
        self,
        state: Any,
        w0: Tensor,
        *,
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
        """Chains from thoughts ``w0 [B, d]`` or ``[B, N, d]``, given a state that the model has made.

        A state with an attribute ``linear`` or ``attention`` runs in the fused kernels, any other in PyTorch.

        Args:
            state: of ``model.prefill``.
            w0, steps, samples, seed, first_sample, first_prompt, first_step, backend, precision, method, out,
                checked: see :func:`ttc_fast.decode`.

        Returns:
            :class:`DecodeOutput` with ``thoughts [len(steps), B, N, d]``.

        Raises:
            TypeError, ValueError: an argument is not as described, or the backend cannot run.
        """
        linear = getattr(state, "linear", None)
        if linear is not None:
            return decode(
                linear, w0, rule=self.rule, steps=steps, samples=samples, seed=seed, first_sample=first_sample,
                first_prompt=first_prompt, first_step=first_step, backend=backend, precision=precision, method=method,
                out=out, checked=checked,
            )  # fmt: skip
        check.choice("method", method, ("stepwise", "exact"))
        if method == "exact":
            raise ValueError("method: expected 'stepwise' for a model without a linear state, got 'exact'")
        attention = getattr(state, "attention", None)
        if attention is not None:
            return decode_attention(
                attention, w0, rule=self.rule, steps=steps, samples=samples, seed=seed, first_sample=first_sample,
                first_prompt=first_prompt, first_step=first_step, backend=backend, precision=precision, out=out,
            )  # fmt: skip
        name = require_reference(backend, precision, f"the model {type(self.model).__name__}")
        shape = tuple(getattr(w0, "shape", ()))
        check.tensor("w0", w0, ("B", "d") if len(shape) != 3 else ("B", "N", "d"))
        given = Arguments.checked(w0, shape[0], shape[-1], steps, samples, seed, first_sample, first_prompt, first_step)
        check_room(len(given.steps) * shape[0], given.samples, shape[-1], w0.dtype)
        if first_step and not resumable(self.model):
            raise ValueError(
                f"first_step: expected 0, as thoughts of {described(self.model)} see those before them, got "
                f"{first_step}; decode whole chains"
            )
        with torch.no_grad():
            thoughts = chain.decode(partial(begin, self.model, state), w0, rule=self.rule, **given.named())
        return DecodeOutput(thoughts if out is None else out.copy_(thoughts), given.steps, name)

    def extra_repr(self) -> str:
        return f"rule={self.rule}" + ("" if self.first is None else f", start={described(self.first)}")
