"""One layer of softmax or other attention from the thought to the examples, with or without an MLP block beside it.

On tokens (x, y, w, 1), with keys and values of the n examples alone:

    f(z) = z + sum_h V_h sum_j a_hj z_j,   a_h = softmax_j(s z_j^T W_h z), or act(s z_j^T W_h z) / n,   s = 1/sqrt(2d+2)

of which the w-block is the next thought; an MLP block adds values^T act(keys w + offsets). Sources: softmax with the
weights of linear attention, arXiv 2606.03217; several heads, 2503.12734.
"""

from __future__ import annotations

import math
from typing import Any, get_args

import torch
from torch import Tensor, nn

from ..decoding.attention import ACTIVATIONS, Activation, AttentionState, Heads
from ..numerics import check, sums
from ..tasks.prompts import Prompts, check_prompts
from .tokens import TokenModel, check_weights, draw_weights, products


class AttentionTransformer(TokenModel):
    """Heads of attention with any activation on tokens of size 2d+2, with keys and values of the prompt's tokens.

    Args:
        V: value (times output) weights ``[heads, 2d+2, 2d+2]``, float32 or float64.
        W: key-query weights of the same shape.
        activation: softmax over the examples; sigmoid, relu, gelu or identity (linear attention) divided by their
            number.
        scale: of the scores; default 1 / sqrt(2d+2).
        mlp: an MLP block beside the attention, of m units: keys ``[m, d]``, offsets ``[m]``, values ``[m, d]``.
        mlp_activation: of it.

    Raises:
        TypeError, ValueError: an argument is not as described.

    >>> import ttc_fast as tf
    >>> model = tf.AttentionTransformer.initial(4, heads=2, hidden=8, activation="relu")
    >>> decoder = tf.StochasticDecoder(model, tf.GaussianNoise(0.1))
    >>> decoder(tf.LinearRegression(4, 16).sample(2), steps=8, samples=5).thoughts.shape
    torch.Size([1, 2, 5, 4])
    """

    def __init__(
        self,
        V: Tensor,
        W: Tensor,
        *,
        activation: Activation = "softmax",
        scale: float | None = None,
        mlp: tuple[Tensor, Tensor, Tensor] | None = None,
        mlp_activation: Activation = "gelu",
    ) -> None:
        super().__init__()
        V, W = check_weights(V, W, ("heads", "2d+2", "2d+2"))
        for name, one in (("activation", activation), ("mlp_activation", mlp_activation)):
            check.choice(name, one, get_args(Activation))
        self.activation, self.mlp_activation = activation, mlp_activation
        self.scale = 1 / math.sqrt(V.shape[1]) if scale is None else check.number("scale", scale)
        self.V, self.W = nn.Parameter(V), nn.Parameter(W)
        self.mlp = None if mlp is None else nn.ParameterList(self._checked_mlp(mlp))

    def _checked_mlp(self, mlp: object) -> list[Tensor]:
        parts = check.listed("mlp", mlp, "keys [m, d], offsets [m] and values [m, d]")
        if len(parts) != 3:
            raise ValueError(f"mlp: expected keys [m, d], offsets [m] and values [m, d], got {len(parts)} tensors")
        keys = check.tensor("mlp: keys", parts[0], ("m", self.dim))
        found = [keys, check.tensor("mlp: offsets", parts[1], keys.shape[:1])]
        found.append(check.tensor("mlp: values", parts[2], keys.shape))
        if any(part.dtype != self.V.dtype or part.device != self.V.device for part in found):
            raise ValueError(f"mlp: expected {self.V.dtype} on {self.V.device} as V; convert it")
        return found

    @classmethod
    def initial(
        cls,
        dim: int,
        heads: int = 1,
        *,
        hidden: int = 0,
        activation: Activation = "softmax",
        scale: float = 0.01,
        seed: int = 0,
    ) -> AttentionTransformer:
        """Small random weights to train.

        Args:
            dim: d.
            heads: of the layer.
            hidden: units of an MLP block; 0 is none.
            activation: of the attention.
            scale: standard deviation of every weight.
            seed: of the weights.
        """
        dim = check.integer("dim", dim, 1, 2**16)
        size = 2 * dim + 2
        shape = (check.integer("heads", heads, 1, 2**16), size, size)
        V, W = (draw_weights(shape, scale, seed, part) for part in (0, 1))
        hidden = check.integer("hidden", hidden, 0, 2**24)
        if not hidden:
            return cls(V, W, activation=activation)
        keys, values = (draw_weights((hidden, dim), scale, seed, part) for part in (2, 3))
        return cls(V, W, activation=activation, mlp=(keys, torch.zeros(hidden), values))

    kind = "attention"
    """In files."""

    @property
    def settings(self) -> dict[str, Any]:
        """All that it is made of besides its weights."""
        return {"activation": self.activation, "scale": self.scale, "mlp_activation": self.mlp_activation}

    def last_token(self, Z: Tensor, examples: int) -> Tensor:
        """What the layer makes of the last token ``[B, 2d+2]``, whose w-block is the next thought; differentiable.

        Args:
            Z: tokens ``[B, 2d+2, L]``, as of :meth:`forward`; blocks w and 1 of the examples are zero.
            examples: n.
        """
        size = self.dim + 1
        seen, thought = Z[:, :size, :examples], Z[:, :, -1]
        scores = self.scale * products(seen.mT, torch.einsum("hij,bj->bih", self.W[:, :size], thought))
        softmax = self.activation == "softmax"  # scores are [B, n, heads]
        attention = torch.softmax(scores, 1) if softmax else ACTIVATIONS[self.activation](scores) / examples
        token = thought + torch.einsum("hij,bjh->bi", self.V[:, :, :size], products(seen, attention))
        if self.mlp is None:
            return token
        keys, offsets, values = self.mlp
        hidden = Z[:, self.dim + 1 : -1, -1] @ keys.mT + offsets
        block = ACTIVATIONS[self.mlp_activation](hidden[:, :, None])[:, :, 0] @ values
        return token + nn.functional.pad(block, (self.dim + 1, 1))

    def prefill(self, prompts: Prompts) -> AttentionState:
        """Keys and values of prompts.

        Args:
            prompts: B of them; the state has the wider dtype of theirs and the weights'.

        Raises:
            ValueError: the prompts do not fit the model.
        """
        d = self.dim
        check_prompts(prompts, d)
        dtype = torch.promote_types(prompts.x.dtype, self.V.dtype)
        tokens = torch.cat((prompts.x, prompts.y[:, :, None]), 2).to(dtype)[:, None]  # blocks w and 1 are zero
        scores = sums.matmul(tokens, self.W[:, : d + 1, d + 1 :] * self.scale)  # acts on (w, 1)
        values = sums.matmul(tokens, self.V[:, d + 1 : -1, : d + 1].mT)
        if self.activation != "softmax":
            values = values / tokens.shape[2]
        # In memory the coefficients of keys are last but one: a product with thoughts reads them one after the other.
        keys = scores[..., :-1].mT.contiguous().mT
        parts = [Heads(keys, scores[..., -1].contiguous(), values, self.activation)]
        if self.mlp is not None:
            hidden = [part[None, None].to(dtype) for part in self.mlp]
            parts.append(Heads(hidden[0], hidden[1], hidden[2], self.mlp_activation))
        return AttentionState(tuple(parts))

    def output(self, state: AttentionState, w: Tensor) -> Tensor:
        """What the transformer makes of thoughts ``[B, n, d]``: ``[B, n, d]``.

        Args:
            state: of :meth:`prefill`.
            w: the thoughts.
        """
        return state.output(w)

    def extra_repr(self) -> str:
        hidden = "" if self.mlp is None else f", hidden={len(self.mlp[0])}"
        return f"dim={self.dim}, heads={len(self.V)}, activation={self.activation!r}{hidden}"
