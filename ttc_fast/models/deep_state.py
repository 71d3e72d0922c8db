"""What a deep transformer needs of a prompt: keys and values of its tokens in every layer, read by all samples.

Activations are columns ``[width, B, q]``, the q tokens of a prompt last, as vector instructions like it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..decoding.attention import ACTIVATIONS
from ..numerics import sums
from ..numerics.exact_products import Factor

Attend = Callable[[int, Tensor, Tensor, Tensor], Tensor]
"""From the number of a layer and queries, keys and values ``[heads, width / heads, B, q]`` of tokens to what the tokens
take up, of the same shape."""

TILE = 2**22
"""Scores of prompts' tokens held at a time."""


class Linear:
    """weight x + bias.

    Args:
        weight: ``[outputs, inputs]``.
        bias: ``[outputs]``.
    """

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        self.factor, self.bias = Factor(weight), bias[:, None]

    def __call__(self, x: Tensor) -> Tensor:
        found: Tensor = (self.factor.times(x.flatten(1)) + self.bias).unflatten(1, x.shape[1:])
        return found


@dataclass(frozen=True)
class Norm:
    """Layer normalisation, by the root mean square without a shift, none without a gain.

    Args:
        gain: ``[width]``.
        shift: ``[width]``.
    """

    gain: Tensor | None
    shift: Tensor | None

    EPS: ClassVar[float] = 1e-5

    def __call__(self, x: Tensor) -> Tensor:
        if self.gain is None:
            return x
        x = x if self.shift is None else x - sums.tree_mean(x, 0)
        x = x / (sums.tree_mean(x.square(), 0) + self.EPS).sqrt() * self.gain[:, None, None]
        return x if self.shift is None else x + self.shift[:, None, None]


@dataclass(frozen=True)
class Layer:
    """Attention and MLP, each after its norm and added to the stream."""

    norm: Norm
    qkv: Linear
    out: Linear
    mlp: tuple[Norm, Linear, Linear] | None
    """Norm, into the units, out of them."""

    def through(self, x: Tensor, number: int, heads: int, attend: Attend) -> Tensor:
        """Tokens ``[width, B, q]`` after this layer.

        Args:
            x: the tokens.
            number: of the layer, for ``attend``.
            heads: of the attention.
            attend: the attention itself.
        """
        q, k, v = (part.unflatten(0, (heads, -1)) for part in self.qkv(self.norm(x)).chunk(3))
        x = x + self.out(attend(number, q, k, v).flatten(0, 1))
        if self.mlp is None:
            return x
        norm, up, down = self.mlp
        return x + down(ACTIVATIONS["gelu"](up(norm(x))))


@dataclass(frozen=True)
class Network:
    """The weights of a transformer, in the dtype of a state."""

    read_in: Linear
    """From tokens of size 2d+2."""
    read_thought: Linear
    """From thoughts alone: the blocks x and y are 0, the last number is 1."""
    position: Tensor | None
    """``[width, positions]``."""
    layers: tuple[Layer, ...]
    norm: Norm
    read_out: Linear
    """To thoughts."""
    heads: int
    causal: bool
    history: bool


@dataclass(frozen=True, eq=False)
class DeepState:
    """Keys and values of B prompts of n examples; see :func:`read`."""

    network: Network
    keys: tuple[Factor, ...]
    """Of every layer, ``[B, heads, n, width / heads]``."""
    values: tuple[Factor, ...]
    """``[B, heads, width / heads, n]``."""
    examples: int

    @property
    def multiplications(self) -> int:
        """Of a thought."""
        weights = sum(part.factor.matrix.numel() for layer in self.network.layers for part in _linears(layer))
        ends = self.network.read_thought.factor.matrix.numel() + self.network.read_out.factor.matrix.numel()
        return weights + ends + sum(2 * part.matrix[0].numel() for part in self.keys)

    def output(self, w: Tensor) -> Tensor:
        """u of thoughts ``[B, q, d]`` that see no thoughts but themselves: ``[B, q, d]``.

        Args:
            w: the thoughts.
        """
        return Chain(self)(w)


class Chain:
    """The transformer along a chain: from the thought of each step to u, with the thoughts before in mind if the
    network looks at them. At first all samples may have the same thought, which is then read once.

    Args:
        state: of the prompts.
    """

    def __init__(self, state: DeepState) -> None:
        self.state, self.step = state, 0
        self.own: list[list[tuple[Tensor, Tensor]]] = [[] for _ in state.network.layers]
        """Keys and values of the thoughts ``[heads, width / heads, B, q]``, by layer and step."""

    def __call__(self, w: Tensor) -> Tensor:
        network = self.state.network
        x = network.read_thought(w.permute(2, 0, 1))
        if network.position is not None:
            place = self.state.examples + self.step
            check_length(place + 1, network.position.shape[1])
            x = x + network.position[:, place, None, None]
        for number, layer in enumerate(network.layers):
            x = layer.through(x, number, network.heads, self._attend)
        if network.history:
            self.step += 1
        return w + network.read_out(network.norm(x)).permute(1, 2, 0)

    def _attend(self, number: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Of thoughts to the prompt, to the thoughts before them and to themselves."""
        size = q.shape[1] ** -0.5
        own = self.own[number] if self.state.network.history else []
        own.append((k, v))
        own_scores = torch.stack([sums.tree_sum(q * key, 1) for key, _ in own]).mul_(size)  # [t, heads, B, q]
        scores = self.state.keys[number].times(q.permute(2, 0, 1, 3)).mul_(size)  # [B, heads, n, q]
        top = torch.maximum(scores.amax(2).transpose(0, 1), own_scores.amax(0))
        powers = scores.sub_(top.transpose(0, 1)[:, :, None]).exp_()
        own_powers = own_scores.sub_(top).exp_()
        total = sums.tree_sum(powers, 2).transpose(0, 1) + sums.tree_sum(own_powers, 0)
        found = self.state.values[number].times(powers).permute(1, 2, 0, 3)
        for power, (_, value) in zip(own_powers, own):
            found = found + power[:, None] * value
        return found / total[:, None]


def check_length(tokens: int, positions: int) -> None:
    """Nothing, if a sequence is not longer than learned positions reach; 0 of them reach any length.

    Args:
        tokens: of the sequence.
        positions: that there are.

    Raises:
        ValueError: it is longer.
    """
    if positions and tokens > positions:
        raise ValueError(
            f"positions: expected at most {positions} tokens, examples and thoughts, got {tokens}; take fewer examples "
            "or steps, or a model with more positions, or with none"
        )


def read(network: Network, tokens: Tensor) -> DeepState:
    """Prompts go through the layers.

    Args:
        network: the weights.
        tokens: ``[B, n, 2d+2]``.
    """
    batch, examples, _ = tokens.shape
    later = torch.ones(examples, examples, dtype=torch.bool, device=tokens.device).tril(-1) if network.causal else None
    parts = []
    for b in sums.tiles(batch, TILE // (network.heads * examples**2)):
        parts.append(_read(network, tokens[b], later))
    keys, values = ([torch.cat(pieces) for pieces in zip(*one)] for one in zip(*parts))
    return DeepState(network, tuple(map(Factor, keys)), tuple(map(Factor, values)), examples)


def _read(network: Network, tokens: Tensor, later: Tensor | None) -> tuple[list[Tensor], list[Tensor]]:
    """Keys ``[B, heads, n, width / heads]`` and values ``[B, heads, width / heads, n]`` of every layer."""
    keys: list[Tensor] = []
    values: list[Tensor] = []

    def attend(number: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        keys.append(k.permute(2, 0, 3, 1).contiguous())
        values.append(v.permute(2, 0, 1, 3).contiguous())
        if number + 1 == len(network.layers):
            return v  # what the last layer makes of a prompt is not needed
        scores = Factor(keys[-1]).times(q.permute(2, 0, 1, 3)).mul_(q.shape[1] ** -0.5)  # [B, heads, keys, queries]
        if later is not None:
            scores.masked_fill_(later, -math.inf)
        return Factor(values[-1]).times(ACTIVATIONS["softmax"](scores)).permute(1, 2, 0, 3)

    x = network.read_in(tokens.permute(2, 0, 1))
    x = x if network.position is None else x + network.position[:, None, : tokens.shape[1]]
    for number, layer in enumerate(network.layers):
        x = layer.through(x, number, network.heads, attend)
    return keys, values


def _linears(layer: Layer) -> Sequence[Linear]:
    return (layer.qkv, layer.out, *(() if layer.mlp is None else layer.mlp[1:]))
