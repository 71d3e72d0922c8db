"""What a transformer is trained for: losses of a batch of prompts, a mean over them, differentiable in the weights.

one_step           |u(w_0) - w*|^2 from w_0 ~ N(0, I)                                   arXiv 2510.03605, 2606.03217
teacher_forcing    mean over k steps of |u(w_t) - w_{t+1}|^2 along gradient descent     2502.21212
outcome            |w_k - w*|^2 of the stochastic chain, back through all its steps     2603.01293
prediction         (y - f(x)_y)^2 at the last example of a prompt, after the others     2503.12734

f(x)_y is the y-block of what the transformer makes of the token (0, 0, x, 1), hence with the query in the thought's
place.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from ..decoding import chain
from ..decoding.rules import GaussianNoise, Rule
from ..numerics import check
from ..tasks.metrics import truth
from ..tasks.prompts import Prompts
from .base import resumable
from .linear_attention import default_step_size
from .start import RandomStart
from .tokens import appended, token_matrix


class Trainable(Protocol):
    """What training asks of a model, such as :class:`LinearTransformer`, :class:`AttentionTransformer`,
    :class:`LinearAttention`, or a :class:`torch.nn.Module` of yours with a ``last_token`` that is differentiable."""

    @property
    def dim(self) -> int:
        """d, the number of coefficients."""

    def last_token(self, Z: Tensor, examples: int) -> Tensor:
        """What the transformer makes of the last of the tokens ``[B, 2d+2, n+1]``: ``[B, 2d+2]``.

        Args:
            Z: tokens.
            examples: n.
        """

    def parameters(self) -> Any:
        """Its weights."""

    def state_dict(self) -> Any:
        """Its weights by name."""


@dataclass(frozen=True)
class Batch:
    """Prompts of one iteration, with global indices that no other iteration has, and the seed of their noise."""

    model: Trainable
    prompts: Prompts
    seed: int
    steps: int
    """k, of a chain."""
    step_size: float | None
    """eta of the teacher; default n / (n + d + 1)."""
    rule: Rule
    """Of the chain."""

    def thought(self, w: Tensor) -> Tensor:
        """u of thoughts ``[B, d]``."""
        Z = token_matrix(self.prompts.x, self.prompts.y, w)
        return self.model.last_token(Z, self.prompts.x.shape[1])[:, self.model.dim + 1 : -1]

    def begin(self) -> Callable[[Tensor], Tensor]:
        """A function that makes u of the thoughts ``[B, d]`` of one step after the other, those before in sight of a
        model that looks at them."""
        if resumable(self.model):
            return self.thought
        x, y, Z = self.prompts.x, self.prompts.y, None

        def output(w: Tensor) -> Tensor:
            nonlocal Z
            Z = token_matrix(x, y, w) if Z is None else appended(Z, w)
            return self.model.last_token(Z, x.shape[1])[:, self.model.dim + 1 : -1]

        return output

    @property
    def start(self) -> Tensor:
        """w_0 ~ N(0, I) ``[B, d]``."""
        return RandomStart(self.seed)(self.prompts)


def one_step(batch: Batch) -> Tensor:
    """|u(w_0) - w*|^2, a mean over prompts."""
    return _distance(batch.thought(batch.start), truth(batch.prompts)[:, 0])


def teacher_forcing(batch: Batch) -> Tensor:
    """|u(w_t) - w_{t+1}|^2 along gradient descent from w_0 = 0, a mean over k steps and prompts."""
    x, y = batch.prompts.x, batch.prompts.y
    step_size = default_step_size(x.shape[2], x.shape[1]) if batch.step_size is None else batch.step_size
    w, losses, output = x.new_zeros(len(x), x.shape[2]), [], batch.begin()
    for _ in range(batch.steps):
        residual = (x @ w[:, :, None])[:, :, 0] - y
        target = w - step_size * (residual[:, None] @ x)[:, 0] / x.shape[1]
        losses.append(_distance(output(w), target))
        w = target
    return torch.stack(losses).mean()


def outcome(batch: Batch) -> Tensor:
    """|w_k - w*|^2 of one chain of each prompt from w_0 = 0 under the rule, a mean over prompts.

    The gradient goes through all steps, the noise being a function of the contract's random numbers and the thought.
    """
    w0 = torch.zeros_like(batch.prompts.x[:, 0])

    def begin() -> chain.Output:
        output = batch.begin()
        return lambda w: output(w[:, 0])[:, None]

    thoughts = chain.decode(
        begin, w0, rule=batch.rule, steps=[batch.steps], samples=1,
        seed=batch.seed, first_prompt=batch.prompts.first,
    )  # fmt: skip
    return _distance(thoughts[0, :, 0], truth(batch.prompts)[:, 0])


def prediction(batch: Batch) -> Tensor:
    """(y - f(x)_y)^2 at the last example, after the others, a mean over prompts."""
    x, y = batch.prompts.x, batch.prompts.y
    Z = token_matrix(x[:, :-1], y[:, :-1], x[:, -1])
    found = batch.model.last_token(Z, x.shape[1] - 1)[:, batch.model.dim]
    return (found - y[:, -1]).square().mean()


def _distance(w: Tensor, target: Tensor) -> Tensor:
    return (w - target).square().sum(1).mean()


OBJECTIVES: dict[str, Callable[[Batch], Tensor]] = {
    "one_step": one_step,
    "teacher_forcing": teacher_forcing,
    "outcome": outcome,
    "prediction": prediction,
}
"""By name."""


def check_objective(name: str, rule: Rule, examples: int) -> None:
    """Nothing, if an objective can be trained for.

    Args:
        name: of the objective.
        rule: of the chain.
        examples: n of the task.

    Raises:
        ValueError: there is none of that name, its gradient does not exist, or there are too few examples.
    """
    check.choice("objective", name, tuple(OBJECTIVES))
    if name == "outcome" and rule.binary:
        raise ValueError(
            "rule: expected one of continuous coefficients for the objective 'outcome', as bits that are drawn have no "
            f"gradient, got {rule}; take GaussianNoise, RankOneNoise or ElementwiseNoise, or another objective"
        )
    if name == "prediction" and examples < 2:
        raise ValueError(f"examples: expected at least 2 for the objective 'prediction', got {examples}")


NO_NOISE = GaussianNoise(0.0)
"""The rule of the objective outcome by default."""
