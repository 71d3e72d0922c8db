"""The transformer of in-context logistic regression: one head of attention, each thought a step of descent."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from ..decoding.attention import Activation, AttentionState, Heads
from ..numerics import check
from ..tasks.prompts import Prompts, check_prompts


class LogisticDescent(nn.Module):
    """One head with the keys -y_i x_i and the values eta y_i x_i of the examples, which are tokens y_i x_i.

    With softmax its thoughts are normalised gradient descent on the exponential loss sum_i exp(-y_i <w, x_i>), that is
    gradient descent on the logarithm of it: w' = w + eta sum_i p_i y_i x_i, p = softmax(-y_i <w, x_i>)
    (arXiv 2605.06609). With a sigmoid they are gradient descent on the logistic loss, divided by n. On separable
    examples the direction of both goes to that of the largest margin.

    Args:
        dim: d.
        step_size: eta.
        loss: ``"exponential"``, by softmax, or ``"logistic"``, by a sigmoid.

    Raises:
        TypeError, ValueError: an argument is not as described.

    >>> import ttc_fast as tf
    >>> decoder = tf.StochasticDecoder(tf.LogisticDescent(3, step_size=0.5), tf.GaussianNoise(0.1))
    >>> decoder(tf.LogisticRegression(3, 12).sample(2), steps=8, samples=5).thoughts.shape
    torch.Size([1, 2, 5, 3])
    """

    kind = "logistic_descent"
    """In files."""

    def __init__(
        self, dim: int, step_size: float = 1.0, loss: Literal["exponential", "logistic"] = "exponential"
    ) -> None:
        super().__init__()
        self.dim = check.integer("dim", dim, 1, 2**24 - 1)
        self.step_size = check.number("step_size", step_size)
        check.choice("loss", loss, ("exponential", "logistic"))
        self.loss = loss

    @property
    def settings(self) -> dict[str, object]:
        """All that it is made of."""
        return {"dim": self.dim, "step_size": self.step_size, "loss": self.loss}

    def prefill(self, prompts: Prompts) -> AttentionState:
        """Keys and values of prompts.

        Args:
            prompts: with labels in {-1, 1}.

        Raises:
            ValueError: the prompts do not fit the model.
        """
        check_prompts(prompts, self.dim)
        if not torch.compiler.is_compiling() and not bool((prompts.y.abs() == 1).all()):
            raise ValueError("prompts: y: expected labels -1 and 1 for LogisticDescent, got others")
        tokens = (prompts.y[:, :, None] * prompts.x)[:, None]
        keys = -tokens.mT.contiguous().mT  # in memory a coefficient of all keys after the other
        each = self.step_size if self.loss == "exponential" else self.step_size / tokens.shape[2]
        activation: Activation = "softmax" if self.loss == "exponential" else "sigmoid"
        return AttentionState((Heads(keys, torch.zeros_like(keys[..., 0]), each * tokens, activation),))

    def output(self, state: AttentionState, w: Tensor) -> Tensor:
        """What the transformer makes of thoughts ``[B, n, d]``: ``[B, n, d]``.

        Args:
            state: of :meth:`prefill`.
            w: the thoughts.
        """
        return state.output(w)

    def extra_repr(self) -> str:
        return f"dim={self.dim}, step_size={self.step_size:g}, loss={self.loss!r}"
