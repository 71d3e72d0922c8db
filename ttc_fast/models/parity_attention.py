"""The transformer of k-parity: one layer of softmax attention over a tape of bits, and a link (arXiv 2410.08633)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..numerics import check, sums
from ..tasks.parity import Parity
from ..tasks.prompts import Prompts, check_prompts


class ParityAttention(nn.Module):
    """Each node of the tape of :class:`Parity` attends to its two parents, half to each, and the link 4 a (1 - a) makes
    the parity of the mean a of two bits; the input bits are copied from the prompt. A thought computes all nodes at
    once from the tape before, so that the answer needs a thought for each level of the tree.

    Under :class:`BernoulliSampling` every bit of a thought is flipped with probability e = sigmoid(-1 / (2
    temperature)). After ``task.depth`` thoughts the answer is the parity of k input bits and of 2k - 1 flips, those of
    the tree: it is right with probability (1 + (1 - 2 e)^(2k - 1)) / 2, and before that with probability 1/2.

    Args:
        task: whose tree it knows.
        sharpness: scores of the parents, those of all other places being 0.

    Raises:
        TypeError, ValueError: an argument is not as described.

    >>> import ttc_fast as tf
    >>> task = tf.Parity(bits=8, ones=4)
    >>> decoder = tf.StochasticDecoder(tf.ParityAttention(task), tf.BernoulliSampling(temperature=0.1))
    >>> table = tf.evaluate(decoder, task.prompts(8), steps=task.depth, samples=64, techniques=["majority_vote"])
    >>> float(table[table.select(metric="parity_error", samples=64).keys[0]].mean())
    0.0
    """

    def __init__(self, task: Parity, sharpness: float = 40.0) -> None:
        super().__init__()
        check.has("task", task, ("bits", "parents", "dim"), "a Parity")
        self.bits = check.integer("task", task.bits, 1, 2**16)
        self.dim = check.integer("task", task.dim, self.bits + 1, 2**17)
        scores = torch.zeros(self.dim - self.bits, self.dim)
        self.scores = nn.Parameter(scores.scatter_(1, task.parents, check.scale("sharpness", sharpness)))

    def prefill(self, prompts: Prompts) -> Tensor:
        """The input bits ``[B, m]``.

        Args:
            prompts: of the task.

        Raises:
            ValueError: the prompts do not fit the model.
        """
        check_prompts(prompts, self.dim)
        return prompts.x[:, 0, : self.bits]

    def output(self, state: Tensor, w: Tensor) -> Tensor:
        """What the transformer makes of tapes ``[B, n, d]``: ``[B, n, d]``.

        Args:
            state: of :meth:`prefill`.
            w: the tapes.
        """
        attention = torch.softmax(self.scores, 1).to(w.dtype)
        mean = sums.matmul(attention, w.mT).mT
        return torch.cat((state[:, None].expand(-1, w.shape[1], -1), 4 * mean * (1 - mean)), 2)

    def extra_repr(self) -> str:
        return f"bits={self.bits}, ones={self.dim - self.bits + 1}"
