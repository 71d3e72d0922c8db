"""Linear transformers of any depth and width: in the end the thought's token has gone through one affine map.

With keys and values taken from the prompt's tokens alone, a layer adds to every token z

    sum_h V_h C W_h z,   C = sum_j z_j z_j^T / n over the prompt's tokens

so that z leaves L layers as (I + D_L) ... (I + D_1) z, D_l = sum_h V_h C_l W_h. Of the prompt only the moments C are
needed, and a layer makes C_{l+1} = (I + D_l) C_l (I + D_l)^T of them. The thought's token is (0, 0, w, 1), hence
u = A w + c: a linear state, which the kernels, rules, laws and techniques take as that of one head of attention.
With causal attention token i of the prompt sees those up to itself, and its own moments.

Sources: Ahn et al., arXiv 2306.00297; von Oswald et al., 2212.07677; looped: Gatmiry et al., 2410.08292.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ..numerics import check, sums
from ..tasks.prompts import Prompts, check_prompts
from .base import LinearState, linear_output
from .tokens import TokenModel, check_weights, draw_weights, products


class LinearTransformer(TokenModel):
    """Layers of linear self-attention on tokens of size 2d+2, with keys and values of the prompt's tokens.

    Args:
        V: value (times output) weights ``[layers, heads, 2d+2, 2d+2]``, float32 or float64; ``[heads, 2d+2, 2d+2]``
            with ``looped``.
        W: key-query weights of the same shape.
        looped: apply one layer so often, instead of layers with weights of their own.
        causal: tokens of the prompt see those up to themselves, instead of all.

    Raises:
        TypeError, ValueError: the weights are not as described.

    >>> import torch, ttc_fast as tf
    >>> V, W = 0.1 * torch.randn(2, 3, 4, 10, 10, generator=torch.Generator().manual_seed(0))
    >>> decoder = tf.StochasticDecoder(tf.LinearTransformer(V, W), tf.GaussianNoise(0.1))  # 3 layers, 4 heads
    >>> decoder(tf.LinearRegression(4, 16).sample(2), steps=8, samples=5).thoughts.shape
    torch.Size([1, 2, 5, 4])
    """

    def __init__(self, V: Tensor, W: Tensor, *, looped: int | None = None, causal: bool = False) -> None:
        super().__init__()
        sizes = ("heads", "2d+2", "2d+2") if looped is not None else ("layers", "heads", "2d+2", "2d+2")
        V, W = check_weights(V, W, sizes)
        self.looped = None if looped is None else check.integer("looped", looped, 1, 2**20)
        self.causal = check.flag("causal", causal)
        self.V, self.W = nn.Parameter(V), nn.Parameter(W)

    @classmethod
    def initial(
        cls, dim: int, layers: int = 1, heads: int = 1, *, looped: int | None = None, scale: float = 0.01, seed: int = 0
    ) -> LinearTransformer:
        """Small random weights to train.

        Args:
            dim: d.
            layers: with weights of their own; 1 with ``looped``.
            heads: of each layer.
            looped: apply one layer so often.
            scale: standard deviation of every weight.
            seed: of the weights.

        >>> LinearTransformer.initial(5, layers=2, heads=3)
        LinearTransformer(dim=5, layers=2, heads=3)
        """
        size = 2 * check.integer("dim", dim, 1, 2**16) + 2
        layers, heads = check.integer("layers", layers, 1, 2**16), check.integer("heads", heads, 1, 2**16)
        if looped is not None and layers != 1:
            raise ValueError(f"layers: expected 1 with looped={looped}, got {layers}; leave one of them out")
        own = () if looped is not None else (layers,)
        V, W = (draw_weights((*own, heads, size, size), scale, seed, part) for part in (0, 1))
        return cls(V, W, looped=looped)

    kind = "linear"
    """In files."""

    @property
    def settings(self) -> dict[str, Any]:
        """All that it is made of besides its weights."""
        return {"looped": self.looped, "causal": self.causal}

    @property
    def layers(self) -> list[tuple[Tensor, Tensor]]:
        """V and W of every layer, ``[heads, 2d+2, 2d+2]`` each, as often as it is applied."""
        return [(self.V, self.W)] * self.looped if self.looped is not None else list(zip(self.V, self.W))

    def last_token(self, Z: Tensor, examples: int) -> Tensor:
        """What the layers make of the last token ``[B, 2d+2]``, whose w-block is the next thought; differentiable.

        Args:
            Z: tokens ``[B, 2d+2, L]``, as of :meth:`forward`.
            examples: n.
        """
        seen, thought = Z[:, :, :examples], Z[:, :, -1:]
        for number, (V, W) in enumerate(self.layers, 1):
            keys = seen
            thought = thought + self._added(V, W, keys, thought)
            if number < len(self.layers):
                mask = torch.ones(examples, examples, dtype=Z.dtype, device=Z.device).triu() if self.causal else None
                seen = seen + self._added(V, W, keys, keys, mask)
        return thought[:, :, 0]

    @staticmethod
    def _added(V: Tensor, W: Tensor, keys: Tensor, queries: Tensor, mask: Tensor | None = None) -> Tensor:
        """What the heads of a layer add to tokens ``queries [B, 2d+2, q]``."""
        batch, size, count = queries.shape
        asked = torch.einsum("hij,bjq->bihq", W, queries).reshape(batch, size, -1)  # of every head and query
        scores = products(keys.mT, asked).unflatten(2, (-1, count))  # [B, n, heads, q]
        scores = scores if mask is None else scores * mask[:, None]
        found = products(keys, scores.flatten(2)).unflatten(2, (-1, count))
        return torch.einsum("hij,bjhq->biq", V, found) / keys.shape[2]

    def prefill(self, prompts: Prompts) -> LinearState:
        """The linear state of prompts: next thought = w + linear (w, -1).

        Args:
            prompts: B of them; the state has the wider dtype of theirs and the weights'.

        Raises:
            ValueError: the prompts do not fit the model, or the state is not finite.
        """
        d = self.dim
        check_prompts(prompts, d)
        size, dtype = 2 * d + 2, torch.promote_types(prompts.x.dtype, self.V.dtype)
        key = torch.cat((prompts.x, prompts.y[:, :, None]), 2).to(dtype)
        eye = torch.eye(size, dtype=dtype, device=key.device)
        thought = eye[None, :, d + 1 :]  # what (w, 1) is embedded as
        columns = self._causal(key, thought) if self.causal else self._full(key, thought)
        A, c = columns[:, d + 1 : -1, :-1], columns[:, d + 1 : -1, -1:]
        linear = torch.cat((A - eye[:d, :d], -c), 2)
        if not torch.compiler.is_compiling() and not bool(linear.isfinite().all()):
            raise ValueError(
                f"V, W: expected weights with which the state of these prompts is within {dtype}, got infinity or NaN "
                "in it; take smaller ones, or smaller features x and labels y"
            )
        return LinearState(linear)

    def _full(self, key: Tensor, thought: Tensor) -> Tensor:
        """Columns ``[B, 2d+2, d+1]`` after all layers, by moments of the prompt's tokens."""
        moments = sums.matmul(key.mT, key) / key.shape[1]  # those of (x, y): at first the other blocks are zero
        eye = torch.eye(thought.shape[1], dtype=key.dtype, device=key.device)
        for number, (V, W) in enumerate(self.layers, 1):
            if number == len(self.layers):
                thought = thought + self._attended(V, W, moments, thought)
                break
            step = eye + self._attended(V, W, moments, eye)
            thought = sums.matmul(step, thought)
            seen = step[:, :, : moments.shape[1]]
            moments = sums.matmul(sums.matmul(seen, moments), seen.mT)
        return thought

    @staticmethod
    def _attended(V: Tensor, W: Tensor, moments: Tensor, tokens: Tensor) -> Tensor:
        """sum_h V_h C W_h tokens ``[B, 2d+2, q]``, the heads added from first to last."""
        held, heads = moments.shape[1], []
        for value, score in zip(V, W):
            heads.append(sums.matmul(value[:, :held], sums.matmul(moments, sums.matmul(score[:held], tokens))))
        return sum(heads[1:], heads[0])

    def _causal(self, key: Tensor, thought: Tensor) -> Tensor:
        """As :meth:`_full`; every token of the prompt has moments of its own, so that the tokens are kept."""
        batch, examples, held = key.shape
        tokens = torch.cat((key, key.new_zeros(batch, examples, thought.shape[1] - held)), 2)
        earlier = torch.ones(examples, examples, dtype=key.dtype, device=key.device).tril()
        for number, (V, W) in enumerate(self.layers, 1):
            moments = sums.matmul(tokens.mT, tokens) / examples
            thought = thought + self._attended(V, W, moments, thought)
            if number < len(self.layers):
                added = torch.zeros_like(tokens)
                for value, score in zip(V, W):
                    scores = sums.matmul(sums.matmul(tokens, score.mT), tokens.mT) * earlier
                    added = added + sums.matmul(sums.matmul(scores, tokens), value.mT) / examples
                tokens = tokens + added
        return thought

    def output(self, state: LinearState, w: Tensor) -> Tensor:
        """What the transformer makes of thoughts ``[B, n, d]``: ``[B, n, d]``.

        Args:
            state: of :meth:`prefill`.
            w: the thoughts.
        """
        return linear_output(state, w)

    def extra_repr(self) -> str:
        depth = f"layers={len(self.V)}" if self.looped is None else f"looped={self.looped}"
        return f"dim={self.dim}, {depth}, heads={self.V.shape[-3]}" + ", causal=True" * self.causal
