"""A deep transformer in the manner of GPT-2 on tokens (x, y, w, 1), whose prompt is read once for all samples.

    h = read_in z + position;  for each layer: h += attention(norm h), h += mlp(norm h);  z += (0, read_out norm h, 0)

as Garg et al. (arXiv 2208.01066) put GPT-2 between a read-in and a read-out, but with an example (x_i, y_i) in one
token and with the thought as the last token, whose y- and w-block are read out and added to it. Keys and values of the
prompt are made once and shared by all samples; only a thought's token goes through the layers. All sums have a fixed
order or are exact (``numerics/exact_products.py``), so that a thought's bits do not depend on those decoded beside it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..numerics import check
from ..tasks.prompts import Prompts, check_prompts
from .deep_state import Chain, DeepState, Layer, Linear, Network, Norm, check_length, read
from .tokens import TokenModel, draw_weights

NormName = Literal["layer", "rms", "none"]


class Transformer(TokenModel):
    """Layers of softmax attention and an MLP on tokens of size 2d+2, with keys and values of the prompt's tokens and of
    the thought itself.

    Args:
        dim: d.
        layers: of attention and MLP.
        heads: of each layer; they divide ``width``.
        width: of the stream between read-in and read-out.
        mlp: units of each MLP; default 4 width, 0 is none.
        norm: before attention, MLP and read-out: layer or root-mean-square normalisation, or none.
        positions: tokens that have a learned position, which bounds the length of a prompt; 0: positions are not seen.
        causal: tokens of the prompt see those up to themselves, as in GPT-2, instead of all.
        history: a thought sees the thoughts before it, as tokens after the prompt; a chain then cannot be resumed from
            its last thought, as searches do.
        seed: of the weights, N(0, 1 / inputs), those that add to the stream divided by sqrt(2 layers).

    Raises:
        TypeError, ValueError: an argument is not as described.

    >>> import ttc_fast as tf
    >>> decoder = tf.StochasticDecoder(tf.Transformer(4, layers=2, heads=2, width=16), tf.GaussianNoise(0.1))
    >>> decoder(tf.LinearRegression(4, 16).sample(2), steps=8, samples=5).thoughts.shape
    torch.Size([1, 2, 5, 4])
    """

    kind = "transformer"
    """In files."""

    def __init__(
        self,
        dim: int,
        layers: int = 3,
        heads: int = 2,
        width: int = 64,
        *,
        mlp: int | None = None,
        norm: NormName = "layer",
        positions: int = 0,
        causal: bool = True,
        history: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self._dim = check.integer("dim", dim, 1, 2**16)
        self.layers, self.heads = (check.integer(n, v, 1, 2**16) for n, v in (("layers", layers), ("heads", heads)))
        self.width = check.integer("width", width, 1, 2**20)
        if self.width % self.heads:
            raise ValueError(f"width: expected a multiple of heads={self.heads}, got {self.width}")
        self.mlp = 4 * self.width if mlp is None else check.integer("mlp", mlp, 0, 2**22)
        check.choice("norm", norm, get_args(NormName))
        self.norm = norm
        self.positions = check.integer("positions", positions, 0, 2**24)
        self.causal, self.history = check.flag("causal", causal), check.flag("history", history)
        self._draw(check.integer("seed", seed, 0, 2**64 - 1))

    def _draw(self, seed: int) -> None:
        """The weights to begin a training with."""
        layers, width, mlp, part = self.layers, self.width, self.mlp, 16

        def drawn(*shape: int, added: bool = False) -> nn.Parameter:
            nonlocal part
            part += 1
            scale = 1 / math.sqrt(shape[-1] * (2 * layers if added else 1))
            return nn.Parameter(draw_weights(shape, scale, seed, part))

        def zeros(*shape: int) -> nn.Parameter:
            return nn.Parameter(torch.zeros(shape))

        self.read_in, self.read_in_bias = drawn(width, 2 * self.dim + 2), zeros(width)
        self.position = drawn(self.positions, width) if self.positions else None
        self.qkv, self.qkv_bias = drawn(layers, 3 * width, width), zeros(layers, 3 * width)
        self.out, self.out_bias = drawn(layers, width, width, added=True), zeros(layers, width)
        if mlp:
            self.up, self.up_bias = drawn(layers, mlp, width), zeros(layers, mlp)
            self.down, self.down_bias = drawn(layers, width, mlp, added=True), zeros(layers, width)
        if self.norm != "none":
            self.gain = nn.Parameter(torch.ones(2 * layers + 1, width))
        if self.norm == "layer":
            self.shift = zeros(2 * layers + 1, width)
        self.read_out, self.read_out_bias = drawn(self.dim + 1, width, added=True), zeros(self.dim + 1)

    @property
    def dim(self) -> int:
        """d, the number of coefficients."""
        return self._dim

    @property
    def settings(self) -> dict[str, Any]:
        """All that it is made of besides its weights."""
        names = ("dim", "layers", "heads", "width", "mlp", "norm", "positions", "causal", "history")
        return {name: getattr(self, name) for name in names}

    @property
    def resumable(self) -> bool:
        """Whether a chain can go on from its last thought alone."""
        return not self.history

    def last_token(self, Z: Tensor, examples: int) -> Tensor:
        """What the whole sequence makes of the last token ``[B, 2d+2]``, whose w-block is the next thought;
        differentiable.

        Args:
            Z: tokens ``[B, 2d+2, L]``, as of :meth:`forward`: of the thoughts the last one alone is seen, or, with
                ``history``, those before it too.
            examples: n.
        """
        if not self.history and Z.shape[2] > examples + 1:
            Z = torch.cat((Z[:, :, :examples], Z[:, :, -1:]), 2)
        check_length(Z.shape[2], self.positions)
        h = F.linear(Z.mT, self.read_in, self.read_in_bias)
        h = h if self.position is None else h + self.position[: h.shape[1]]
        mask = torch.ones(h.shape[1], h.shape[1], dtype=torch.bool, device=h.device).tril()
        if not self.causal:
            mask[:, :examples] = True
        for i in range(self.layers):
            q, k, v = (
                part.unflatten(2, (self.heads, -1)).transpose(1, 2)
                for part in F.linear(self._normed(h, 2 * i), self.qkv[i], self.qkv_bias[i]).chunk(3, 2)
            )
            found = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
            h = h + F.linear(found.transpose(1, 2).flatten(2), self.out[i], self.out_bias[i])
            if self.mlp:
                hidden = F.gelu(F.linear(self._normed(h, 2 * i + 1), self.up[i], self.up_bias[i]))
                h = h + F.linear(hidden, self.down[i], self.down_bias[i])
        read = F.linear(self._normed(h[:, -1], 2 * self.layers), self.read_out, self.read_out_bias)
        return Z[:, :, -1] + F.pad(read, (self.dim, 1))

    def _normed(self, h: Tensor, number: int) -> Tensor:
        if self.norm == "none":
            return h
        if self.norm == "rms":
            return F.rms_norm(h, h.shape[-1:], self.gain[number], eps=Norm.EPS)
        return F.layer_norm(h, h.shape[-1:], self.gain[number], self.shift[number], eps=Norm.EPS)

    def prefill(self, prompts: Prompts) -> DeepState:
        """Keys and values of prompts, in every layer.

        Args:
            prompts: B of them; the state has the wider dtype of theirs and the weights'.

        Raises:
            ValueError: the prompts do not fit the model.
        """
        check_prompts(prompts, self.dim)
        check_length(prompts.x.shape[1] + 1, self.positions)
        dtype = torch.promote_types(prompts.x.dtype, self.read_in.dtype)
        tokens = F.pad(torch.cat((prompts.x, prompts.y[:, :, None]), 2).to(dtype), (0, self.dim + 1))
        with torch.no_grad():
            return read(self._network(dtype), tokens)

    def output(self, state: DeepState, w: Tensor) -> Tensor:
        """What the transformer makes of thoughts ``[B, n, d]``, the first of their chains: ``[B, n, d]``.

        Args:
            state: of :meth:`prefill`.
            w: the thoughts.
        """
        return Chain(state)(w)

    def begin(self, state: DeepState) -> Callable[[Tensor], Tensor]:
        """A function that makes u of the thoughts of one step after the other.

        Args:
            state: of :meth:`prefill`.
        """
        return Chain(state)

    def _network(self, dtype: torch.dtype) -> Network:
        weights = {name: parameter.detach().to(dtype) for name, parameter in self.named_parameters()}

        def linear(name: str, number: int) -> Linear:
            return Linear(weights[name][number], weights[f"{name}_bias"][number])

        def norm(number: int) -> Norm:
            found = (weights.get(name) for name in ("gain", "shift"))
            gain, shift = (None if one is None else one[number] for one in found)
            return Norm(gain, shift)

        layers = []
        for i in range(self.layers):
            mlp = (norm(2 * i + 1), linear("up", i), linear("down", i)) if self.mlp else None
            layers.append(Layer(norm(2 * i), linear("qkv", i), linear("out", i), mlp))
        columns, bias = weights["read_in"], weights["read_in_bias"]
        return Network(
            Linear(columns, bias),
            Linear(columns[:, self.dim + 1 : -1], bias + columns[:, -1]),
            None if self.position is None else weights["position"].mT.contiguous(),
            tuple(layers),
            norm(2 * self.layers),
            Linear(weights["read_out"][1:], weights["read_out_bias"][1:]),
            self.heads,
            self.causal,
            self.history,
        )

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={value!r}" for name, value in self.settings.items())
