"""One layer of attention, with or without an MLP block, as a state: what it makes of a thought.

    u = A w + c + sum_h V_h^T act(K_h w + k_h)

Keys K_h and values V_h come from a prompt's tokens; those of an MLP block are the same for all prompts. Sums have a
fixed order, so that a thought's bits do not depend on what is decoded beside it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor

from ..numerics import check, sums

Activation: TypeAlias = Literal["softmax", "sigmoid", "relu", "gelu", "identity"]


def _softmax(scores: Tensor) -> Tensor:
    """Over the keys, the last dimension but one."""
    powers = torch.exp(scores - scores.amax(-2, keepdim=True))
    return powers / sums.tree_sum(powers, -2)[..., None, :]


def _sigmoid(scores: Tensor) -> Tensor:
    """By exp, whose bits do not depend on the place of a number in a tensor, unlike those of torch.sigmoid."""
    return 1 / (1 + torch.exp(-scores))


def _gelu(scores: Tensor) -> Tensor:
    return scores * (0.5 * (1 + torch.erf(scores * 0.5**0.5)))


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "softmax": _softmax,
    "sigmoid": _sigmoid,
    "relu": torch.relu,
    "gelu": _gelu,
    "identity": lambda scores: scores,
}
"""Of scores ``[..., keys, samples]``."""


@dataclass(frozen=True, eq=False)
class Heads:
    """Heads with equally many keys m and one activation; of an MLP block, a single one with m hidden units.

    Args:
        keys: K ``[B, H, m, d]``, or ``[1, H, m, d]`` of all prompts.
        offsets: k ``[B, H, m]``.
        values: V ``[B, H, m, d]``.
        activation: softmax over the keys of a head, or sigmoid, relu, gelu (with the normal law's distribution
            function), identity of each score.

    Raises:
        TypeError, ValueError: a shape or the activation is not as described.
    """

    keys: Tensor
    offsets: Tensor
    values: Tensor
    activation: Activation = "softmax"

    def __post_init__(self) -> None:
        check.tensor("keys", self.keys, ("B", "H", "m", "d"))
        check.tensor("offsets", self.offsets, self.keys.shape[:3])
        check.tensor("values", self.values, self.keys.shape)
        if 0 in self.keys.shape:
            raise ValueError(f"keys: expected at least one of each, got shape {list(self.keys.shape)}")
        check.choice("activation", self.activation, get_args(Activation))

    def added(self, columns: Tensor) -> Tensor:
        """sum_h V_h^T act(K_h w + k_h) of thoughts ``[B, d, n]``: ``[B, d, n]``."""
        scores = sums.matmul(self.keys, columns[:, None]) + self.offsets[..., None]
        heads = sums.matmul(self.values.mT, ACTIVATIONS[self.activation](scores))
        return sums.tree_sum(heads, 1)


@dataclass(frozen=True, eq=False)
class AttentionState:
    """What one layer of attention, linear or not, needs of prompts: u = A w + c + sum_h V_h^T act(K_h w + k_h).

    A model of your own may return it from ``prefill`` and ``state.output(w)`` from ``output``.

    Args:
        heads: their sums are added.
        A: ``[B, d, d]`` or ``[1, d, d]``; None is the identity.
        c: ``[B, d]`` or ``[1, d]``; None is zero.

    Raises:
        TypeError, ValueError: shapes, dtypes or devices do not fit together.

    >>> import torch
    >>> x = torch.eye(2)[None, None]  # one prompt, one head, two keys
    >>> state = AttentionState((Heads(x, torch.zeros(1, 1, 2), x, "relu"),))
    >>> state.output(torch.tensor([[[1.0, -1.0]]])).tolist()
    [[[2.0, -1.0]]]
    """

    heads: tuple[Heads, ...]
    A: Tensor | None = None
    c: Tensor | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.heads, tuple) or not all(hasattr(one, "added") for one in self.heads) or not self.heads:
            raise TypeError(f"heads: expected a tuple of Heads, at least one, got {check.shown(self.heads)}")
        keys = self.heads[0].keys
        dim, counts = keys.shape[3], {one.keys.shape[0] for one in self.heads}
        parts = [part for one in self.heads for part in (one.keys, one.offsets, one.values)]
        for name, part, shape in (("A", self.A, ("B", dim, dim)), ("c", self.c, ("B", dim))):
            if part is not None:
                parts.append(check.tensor(name, part, shape))
                counts.add(part.shape[0])
        if len(counts - {1}) > 1 or any(one.keys.shape[3] != dim for one in self.heads):
            raise ValueError(
                f"heads: expected keys [B or 1, H, m, d] of one B and d (and A, c), got "
                f"{[list(one.keys.shape) for one in self.heads]} and for B {sorted(counts)}"
            )
        if any(part.dtype != keys.dtype or part.device != keys.device for part in parts):
            raise ValueError(f"heads: expected all tensors in {keys.dtype} on {keys.device}, as the first keys")

    @property
    def attention(self) -> AttentionState:
        """Itself: any state with an attribute of this name and type runs in the fused kernels for it."""
        return self

    @property
    def prompts(self) -> int:
        """B; 1 where nothing differs between prompts."""
        parts = [one.keys for one in self.heads] + [part for part in (self.A, self.c) if part is not None]
        return max(part.shape[0] for part in parts)

    @property
    def multiplications(self) -> int:
        """Of a thought."""
        heads = sum(2 * one.keys[0].numel() for one in self.heads)
        return heads if self.A is None else heads + self.A[0].numel()

    def output(self, w: Tensor) -> Tensor:
        """u of thoughts ``[B, n, d]``, for any n: ``[B, n, d]``.

        Args:
            w: the thoughts.
        """
        columns = w.mT
        u = columns if self.A is None else sums.matmul(self.A, columns)
        u = u if self.c is None else u + self.c[..., None]
        for heads in self.heads:
            u = u + heads.added(columns)
        return u.mT
