"""What a model is: a transformer that reads a prompt once and then makes every thought of the one before."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from torch import Tensor

from ..decoding import reference
from ..numerics import check
from ..tasks.prompts import Prompts


@dataclass(frozen=True)
class LinearState:
    """What linear attention needs of a prompt: u = w + linear (w, -1).

    Any state with an attribute ``linear`` runs in the fused kernels; a model of your own may use this class.
    """

    linear: Tensor
    """``[B, d, d+1]``; (-P S, -P b) for the constructed weights."""


class Model(Protocol):
    """A transformer. A user's own needs these three; with a state that has an attribute ``linear`` (as
    :class:`LinearState`) or ``attention`` (as :class:`AttentionState`) it runs in the fused kernels, with any other in
    PyTorch, on the same random numbers. If thoughts see those before them, a method ``begin(state)`` gives a function
    that makes u of the thoughts of one step after the other, and an attribute ``resumable``, False, says that no chain
    can go on from its last thought alone.

    >>> import torch, ttc_fast as tf
    >>> class Softmax:  # one head of softmax attention from the thought to the examples
    ...     dim = 4
    ...     def prefill(self, prompts):
    ...         return prompts
    ...     def output(self, prompts, w):
    ...         residual = prompts.y[:, None] - w @ prompts.x.mT
    ...         return w + torch.softmax(w @ prompts.x.mT, 2) * residual @ prompts.x
    >>> decoder = tf.StochasticDecoder(Softmax(), tf.GaussianNoise(0.1))
    >>> decoder(tf.LinearRegression(4, 16).sample(2), steps=[3], samples=5).thoughts.shape
    torch.Size([1, 2, 5, 4])
    """

    @property
    @abstractmethod
    def dim(self) -> int:
        """d, the number of coefficients."""

    @abstractmethod
    def prefill(self, prompts: Prompts) -> Any:
        """What :meth:`output` needs of the prompts: the state."""

    @abstractmethod
    def output(self, state: Any, w: Tensor) -> Tensor:
        """What the transformer makes of thoughts ``[B, n, d]``, for any n: ``[B, n, d]``.

        Args:
            state: of :meth:`prefill`.
            w: the thoughts.
        """


def begin(model: Model, state: Any) -> Callable[[Tensor], Tensor]:
    """A function that makes u of the thoughts ``[B, n, d]`` of one step after the other, for new chains.

    Args:
        model: whose thoughts see those before them if it has a method of this name, else themselves alone.
        state: of its ``prefill``.
    """
    own = getattr(model, "begin", None)
    return partial(model.output, state) if own is None else own(state)


def resumable(model: object) -> bool:
    """Whether chains can go on from their last thought alone, as searches do.

    Args:
        model: any, or what is trained.
    """
    return bool(getattr(model, "resumable", True))


def linear_output(state: LinearState, w: Tensor) -> Tensor:
    """:meth:`Model.output` of a linear state: w + linear (w, -1).

    Args:
        state: of B prompts.
        w: thoughts ``[B, n, d]``.
    """
    dim = w.shape[-1]
    check.tensor("state: linear", getattr(state, "linear", None), (w.shape[0], dim, dim + 1))
    return reference.output(state.linear, w)
