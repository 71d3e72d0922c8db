"""Prompts: in-context problems with their examples and, if known, their true coefficients."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..numerics import check, files, npz


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
        """Prompts ``start`` to ``stop - 1`` of these, with their global indices.

        Args:
            start: from 0.
            stop: up to ``len(self)``.
        """
        w_star = None if self.w_star is None else self.w_star[start:stop]
        return replace(self, x=self.x[start:stop], y=self.y[start:stop], w_star=w_star, first=self.first + start)

    def to(self, device: torch.device | str) -> Prompts:
        """The same prompts on ``device``."""
        w_star = None if self.w_star is None else self.w_star.to(device)
        return replace(
            self, x=self.x.to(device), y=self.y.to(device), w_star=w_star, covariance=self.covariance.to(device)
        )


def load_prompts(path: str | os.PathLike[str], dtype: torch.dtype = torch.float32) -> Prompts:
    """Prompts from an ``.npz`` file with the arrays ``x [B, n, d]``, ``y [B, n]`` and, if known, ``w_star [B, d]``.

    Args:
        path: of the file.
        dtype: of the tensors.

    Returns:
        The prompts, with global indices from 0.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is no ``.npz`` file, an array is missing or larger than memory, or :class:`Prompts` refuses it;
            the message names the file.
    """
    wanted = "an .npz file with the arrays x and y, as numpy.savez(file, x=..., y=...) writes it"
    with files.open_input(path) as file:
        # For each number a tensor of dtype, and one of float64 while the features' covariance is made of x.
        arrays = npz.read_arrays(file, path, wanted, ("x", "y", "w_star"), extra=8 + dtype.itemsize)
    if missing := {"x", "y"} - arrays.keys():
        raise ValueError(f"{os.fspath(path)}: expected {wanted}, got none called {' or '.join(sorted(missing))}")
    try:
        tensors = {name: _tensor(array, dtype) for name, array in arrays.items()}
        return Prompts(tensors["x"], tensors["y"], tensors.get("w_star"))
    except (ValueError, RuntimeError) as error:  # RuntimeError: of torch, such as a shape beyond its sizes
        raise ValueError(f"{os.fspath(path)}: {error}") from error


def _tensor(array: NDArray[Any], dtype: torch.dtype) -> Tensor:
    wide = array.astype(np.float64) if array.dtype.kind == "f" and array.dtype.itemsize > 8 else array
    return torch.from_numpy(wide).to(dtype)
