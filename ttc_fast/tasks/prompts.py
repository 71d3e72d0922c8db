"""In-context linear regression: prompts drawn from the contract's streams, or the user's own."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from ..numerics import check, rng, sums


@dataclass(frozen=True, eq=False)
class Prompts:
    """A batch of B in-context problems.

    Args:
        x: features of the examples ``[B, n, d]``, float32 or float64.
        y: labels ``[B, n]``.
        w_star: true coefficients ``[B, d]``, or None if they are not known.
        covariance: of the features x, as its diagonal ``[d]`` or as a matrix ``[d, d]``; it defines the
            prediction risk. Default: the second moment of all given x.
        first: global index of the first prompt, for a part of a larger batch.

    Raises:
        TypeError, ValueError: a shape, dtype or value is not as described, or there is no example.
    """

    x: Tensor
    y: Tensor
    w_star: Tensor | None = None
    covariance: Tensor = field(default=None)  # type: ignore[assignment]  # filled in below
    first: int = 0

    def __post_init__(self) -> None:
        check.tensor("x", self.x, ("B", "n", "d"))
        prompts, examples, dim = self.x.shape
        if 0 in self.x.shape:
            raise ValueError(f"x: expected at least one prompt, example and feature, got shape {list(self.x.shape)}")
        check.tensor("y", self.y, (prompts, examples))
        given = {"x": self.x, "y": self.y}
        if self.w_star is not None:
            given["w_star"] = check.tensor("w_star", self.w_star, (prompts, dim))
        if self.covariance is None:
            rows = self.x.flatten(0, 1).double()
            object.__setattr__(self, "covariance", (rows.mT @ rows / len(rows)).to(self.x.dtype))
        given["covariance"] = check.tensor("covariance", self.covariance, (dim,) * min(self.covariance.ndim, 2))
        for name, value in given.items():
            if value.dtype != self.x.dtype or value.device != self.x.device:
                raise ValueError(
                    f"{name}: expected {self.x.dtype} on {self.x.device} as x, got {value.dtype} on {value.device}"
                )
            check.finite(name, value)

    def __len__(self) -> int:
        return len(self.x)

    def part(self, start: int, stop: int) -> Prompts:
        """Prompts ``start`` to ``stop - 1`` with their global indices."""
        w_star = None if self.w_star is None else self.w_star[start:stop]
        return replace(self, x=self.x[start:stop], y=self.y[start:stop], w_star=w_star, first=self.first + start)

    def to(self, device: torch.device | str) -> Prompts:
        """The same prompts on ``device``."""
        w_star = None if self.w_star is None else self.w_star.to(device)
        return replace(
            self, x=self.x.to(device), y=self.y.to(device), w_star=w_star, covariance=self.covariance.to(device)
        )


@dataclass(frozen=True)
class LinearRegression:
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
    """

    dim: int
    examples: int
    coefficients: Literal["continuous", "binary"] = "continuous"
    spectrum: float | Sequence[float] = 0.0
    label_noise: float = 0.0
    prior: float | None = None

    def __post_init__(self) -> None:
        check.integer("dim", self.dim, 1, 2**24 - 1)
        check.integer("examples", self.examples, 1, 2**34 - 1)
        check.choice("coefficients", self.coefficients, ("continuous", "binary"))
        check.number("label_noise", self.label_noise, low=0.0)
        if self.prior is not None:
            check.number("prior", self.prior, 0.0, 1.0 if self.coefficients == "binary" else float("inf"))
        if not isinstance(self.spectrum, Sequence):
            check.number("spectrum", self.spectrum, low=0.0)
        elif len(self.spectrum) != self.dim:
            raise ValueError(f"spectrum: expected {self.dim} eigenvalues (dim), got {len(self.spectrum)}")
        else:
            for value in self.spectrum:
                check.number("spectrum", value, low=0.0)

    @property
    def eigenvalues(self) -> Tensor:
        """Diagonal of Lambda, float64 ``[d]``."""
        if isinstance(self.spectrum, Sequence):
            return torch.tensor(self.spectrum, dtype=torch.float64)
        return torch.arange(1, self.dim + 1, dtype=torch.float64) ** -self.spectrum

    def sample(
        self, prompts: int, *, seed: int = 0, first_prompt: int = 0, dtype: torch.dtype = torch.float32
    ) -> Prompts:
        """``prompts`` prompts with the global indices from ``first_prompt`` on.

        Made on the CPU in float64 and rounded once, so that every device gets the same prompts. The
        first k examples of a prompt do not depend on how many examples it has.
        """
        prompts = check.integer("prompts", prompts, 1, 2**32)
        first_prompt = check.integer("first_prompt", first_prompt, 0, 2**32 - prompts)
        seed = check.integer("seed", seed, 0, 2**64 - 1)
        prompt = torch.arange(first_prompt, first_prompt + prompts)[:, None, None]
        coordinate = torch.arange(self.dim)

        features = _normal_rows(rng.Stream.FEATURES, prompt, coordinate, self.examples, seed)
        x = (features * self.eigenvalues.sqrt()).to(dtype)

        words = rng.philox(rng.counter(rng.Stream.COEFFICIENTS, prompt=prompt[:, 0], coordinate=coordinate), seed)
        if self.coefficients == "binary":
            w_star = (rng.uniform(words[0], torch.float64) < (0.5 if self.prior is None else self.prior)).to(dtype)
        else:
            normal = rng.normals(words, torch.float64)[0]
            w_star = (normal * (1.0 if self.prior is None else self.prior)).to(dtype)

        noise = _normal_rows(rng.Stream.LABEL_NOISE, prompt, torch.zeros(1, dtype=torch.int64), self.examples, seed)
        # y follows from the rounded x and w*, so that without label noise w* solves every example.
        y = sums.matmul(x.double(), w_star.double()[:, :, None]) + self.label_noise * noise
        return Prompts(x, y[:, :, 0].to(dtype), w_star, self.eigenvalues.to(dtype), first_prompt)


def _normal_rows(stream: rng.Stream, prompt: Tensor, coordinate: Tensor, rows: int, seed: int) -> Tensor:
    """Standard normals ``[B, rows, coordinates]`` in float64; example i takes the word of step i."""
    block = torch.arange(-(-rows // rng.STEPS_PER_BLOCK))[:, None]
    words = rng.philox(rng.counter(stream, prompt=prompt, coordinate=coordinate, block=block), seed)
    return torch.stack(rng.normals(words, torch.float64), dim=2).flatten(1, 2)[:, :rows]


def load_prompts(path: str | os.PathLike[str], dtype: torch.dtype = torch.float32) -> Prompts:
    """Prompts from an ``.npz`` file with the arrays ``x [B, n, d]``, ``y [B, n]`` and, if known, ``w_star [B, d]``.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is no ``.npz`` file, an array is missing, or :class:`Prompts` refuses it.
    """
    wanted = "an .npz file with the arrays x and y, as numpy.savez(file, x=..., y=...) writes it"
    try:
        with open(path, "rb") as file:
            archive = np.load(file, allow_pickle=False)
            arrays = {name: archive[name] for name in ("x", "y", "w_star") if name in archive}
        tensors = {name: torch.from_numpy(array).to(dtype) for name, array in arrays.items()}
    except (ValueError, TypeError, EOFError, IndexError, zipfile.BadZipFile) as error:
        raise ValueError(f"{os.fspath(path)}: expected {wanted}, got: {error}") from error
    if missing := {"x", "y"} - tensors.keys():
        raise ValueError(f"{os.fspath(path)}: expected {wanted}, got none called {' or '.join(sorted(missing))}")
    return Prompts(tensors["x"], tensors["y"], tensors.get("w_star"))
