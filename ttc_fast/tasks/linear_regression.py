"""In-context linear regression, its prompts drawn from the streams of ``rng.py``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from ..numerics import check, rng, sums
from .base import Task
from .prompts import Prompts


@dataclass(frozen=True)
class LinearRegression(Task):
    """The task: x_i ~ N(0, Lambda), y_i = <w*, x_i> + N(0, label_noise^2).

    Args:
        dim: d, coefficients.
        examples: n, examples of a prompt.
        coefficients: ``"continuous"``: w* ~ N(0, prior^2 I); ``"binary"``: w*_i = 1 with probability prior.
        spectrum: eigenvalues of the feature covariance Lambda (diagonal): a number alpha >= 0 for the
            power law lambda_i = i^-alpha (0 is the identity), or a list of the d eigenvalues.
        label_noise: standard deviation of the labels' noise.
        prior: standard deviation of w* (continuous, default 1) or probability of a one (binary,
            default 1/2).
        nonzero: k, coefficients of w* that are not zero: continuous ones N(0, prior^2), binary ones 1. Default: any.
        support: which k: ``"random"``, other ones for each prompt; ``"spread"``, every (d/k)-th.
    """

    dim: int
    examples: int
    coefficients: Literal["continuous", "binary"] = "continuous"
    spectrum: float | Sequence[float] = 0.0
    label_noise: float = 0.0
    prior: float | None = None
    nonzero: int | None = None
    support: Literal["random", "spread"] = "random"

    def __post_init__(self) -> None:
        object.__setattr__(self, "dim", check.integer("dim", self.dim, 1, 2**24 - 1))
        object.__setattr__(self, "examples", check.integer("examples", self.examples, 1, 2**34 - 1))
        check.choice("coefficients", self.coefficients, ("continuous", "binary"))
        object.__setattr__(self, "label_noise", check.number("label_noise", self.label_noise, low=0.0))
        if self.prior is not None:
            high = 1.0 if self.coefficients == "binary" else math.inf
            object.__setattr__(self, "prior", check.number("prior", self.prior, 0.0, high))
        check.choice("support", self.support, ("random", "spread"))
        if self.nonzero is not None:
            check.integer("nonzero", self.nonzero, 1, self.dim)
            if self.coefficients == "binary" and self.prior is not None:
                raise ValueError(f"prior: expected none with nonzero={self.nonzero}, got {self.prior}; leave one out")
        elif self.support != "random":
            raise ValueError(f"support: expected 'random' without nonzero, got {self.support!r}; say how many")
        object.__setattr__(self, "spectrum", self._checked_spectrum())

    def _checked_spectrum(self) -> float | tuple[float, ...]:
        if isinstance(self.spectrum, (str, bytes)) or not hasattr(self.spectrum, "__iter__"):
            return check.number("spectrum", self.spectrum, low=0.0)
        values = check.numbers("spectrum", self.spectrum, "a number, or a list of the eigenvalues")
        if values.ndim == 0:
            return check.number("spectrum", values.item(), low=0.0)
        if values.shape != (self.dim,):
            raise ValueError(f"spectrum: expected {self.dim} eigenvalues (dim), got {len(values)}")
        return tuple(check.number("spectrum", value, low=0.0) for value in values.tolist())

    @property
    def eigenvalues(self) -> Tensor:
        """Diagonal of Lambda, float64 ``[d]``."""
        if isinstance(self.spectrum, tuple):
            return torch.tensor(self.spectrum, dtype=torch.float64)
        exponent: Any = self.spectrum  # a number
        return torch.arange(1, self.dim + 1, dtype=torch.float64) ** -float(exponent)

    def sample(
        self, prompts: int, *, seed: int = 0, first_prompt: int = 0, dtype: torch.dtype = torch.float32
    ) -> Prompts:
        """``prompts`` prompts with the global indices from ``first_prompt`` on.

        Made on the CPU in float64 and rounded once, so that every device gets the same prompts. The
        first k examples of a prompt do not depend on how many examples it has.

        Args:
            prompts: B.
            seed: integer in [0, 2^64).
            first_prompt: global index of the first.
            dtype: of the tensors.

        Returns:
            :class:`Prompts` with features ``[B, n, d]``.

        Raises:
            TypeError, ValueError: an argument is not as described.

        >>> LinearRegression(dim=3, examples=5).sample(2).x.shape
        torch.Size([2, 5, 3])
        """
        prompts = check.integer("prompts", prompts, 1, 2**32)
        first_prompt = check.integer("first_prompt", first_prompt, 0, 2**32 - prompts)
        seed, dtype = check.integer("seed", seed, 0, 2**64 - 1), check.dtype("dtype", dtype)
        check.room(self._bytes(prompts), "prompts, examples, dim: the prompts", "ask for fewer of one of them")
        prompt = torch.arange(first_prompt, first_prompt + prompts)[:, None, None]
        coordinate = torch.arange(self.dim)

        features = _normal_rows(rng.Stream.FEATURES, prompt, coordinate, self.examples, seed)
        eigenvalues = _rounded("spectrum", self.eigenvalues, dtype, self.spectrum)
        x = (features * self.eigenvalues.sqrt()).to(dtype)

        w_star = _rounded("prior", self._truth(prompt[:, 0], coordinate, seed), dtype, self.prior)
        noise = _normal_rows(rng.Stream.LABEL_NOISE, prompt, torch.zeros(1, dtype=torch.int64), self.examples, seed)
        # y follows from the rounded x and w*, so that without label noise w* solves every example.
        noise = self.label_noise * noise
        _rounded("label_noise", noise, dtype, self.label_noise)
        y = sums.matmul(x.double(), w_star.double()[:, :, None]) + noise
        labels = _rounded("prior", y[:, :, 0], dtype, self.prior)
        return Prompts(x, labels, w_star, eigenvalues, first_prompt)

    def _bytes(self, prompts: int) -> int:
        """What :meth:`sample` needs at most: 44 bytes for a feature as measured, of words, normals and features."""
        return 48 * prompts * max(self.examples, rng.STEPS_PER_BLOCK) * self.dim

    def _truth(self, prompt: Tensor, coordinate: Tensor, seed: int) -> Tensor:
        """w* in float64 ``[B, d]``: values from words 0 and 1 of its stream, the support from word 2."""
        words = rng.philox(rng.counter(rng.Stream.COEFFICIENTS, prompt=prompt, coordinate=coordinate), seed)
        if self.coefficients == "continuous":
            values = rng.normals(words, torch.float64)[0] * (1.0 if self.prior is None else self.prior)
        elif self.nonzero is None:
            return (rng.uniform(words[0], torch.float64) < (0.5 if self.prior is None else self.prior)).double()
        else:
            values = torch.ones(len(prompt), self.dim, dtype=torch.float64)
        if self.nonzero is None:
            return values
        if self.support == "spread":
            places = (torch.arange(self.nonzero) * self.dim // self.nonzero).expand(len(prompt), -1)
        else:
            places = words[2].sort(dim=1, stable=True).indices[:, : self.nonzero]
        return torch.zeros_like(values).scatter_(1, places, values.gather(1, places))


def _rounded(name: str, exact: Tensor, dtype: torch.dtype, given: object) -> Tensor:
    """``exact`` in ``dtype``; the argument it comes from is named if that cannot hold it."""
    rounded = exact.to(dtype)
    if not all(math.isfinite(extreme.item()) for extreme in rounded.aminmax()):
        raise ValueError(
            f"{name}: expected a size at which the prompts are within {dtype}, up to {torch.finfo(dtype).max:.2g}, got "
            f"{check.shown(given)}; take a smaller one"
        )
    return rounded


def label_words(prompts: Prompts, seed: int) -> Tensor:
    """Random words of the stream of the labels' noise ``[B, n]``, for other noise than ours: example i takes that of
    step i.

    Args:
        prompts: B of them, with n examples.
        seed: integer in [0, 2^64).
    """
    prompt = torch.arange(prompts.first, prompts.first + len(prompts))[:, None]
    block = torch.arange(-(-prompts.x.shape[1] // rng.STEPS_PER_BLOCK))
    words = rng.philox(rng.counter(rng.Stream.LABEL_NOISE, prompt=prompt, block=block), seed)
    return torch.stack(words, 2).flatten(1)[:, : prompts.x.shape[1]]


def adopt(task: object, linear: LinearRegression, *names: str) -> None:
    """Settings of another task as linear regression has checked them.

    Args:
        task: a frozen dataclass.
        linear: made of the task's settings.
        names: of the settings.
    """
    for name in names:
        object.__setattr__(task, name, getattr(linear, name))


def label_normals(base: Prompts, seed: int) -> Tensor:
    """Standard normals for labels ``[B, n]``, those of :class:`LinearRegression`, in float64.

    Args:
        base: the prompts.
        seed: integer in [0, 2^64).
    """
    prompt = torch.arange(base.first, base.first + len(base))[:, None, None]
    coordinate = torch.zeros(1, dtype=torch.int64)
    return _normal_rows(rng.Stream.LABEL_NOISE, prompt, coordinate, base.x.shape[1], seed)[:, :, 0]


def _normal_rows(stream: rng.Stream, prompt: Tensor, coordinate: Tensor, rows: int, seed: int) -> Tensor:
    """Standard normals ``[B, rows, coordinates]`` in float64; example i takes the word of step i."""
    block = torch.arange(-(-rows // rng.STEPS_PER_BLOCK))[:, None]
    words = rng.philox(rng.counter(stream, prompt=prompt, coordinate=coordinate, block=block), seed)
    return torch.stack(rng.normals(words, torch.float64), dim=2).flatten(1, 2)[:, :rows]
