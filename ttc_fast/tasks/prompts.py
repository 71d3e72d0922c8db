"""Prompts: in-context problems with their examples and, if known, their true coefficients."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..numerics import check, files, npz
from ..numerics.wide import wide


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
        object.__setattr__(self, "first", check.integer("first", self.first, 0, 2**32 - prompts))
        if 0 in self.x.shape:
            raise ValueError(f"x: expected at least one prompt, example and feature, got shape {list(self.x.shape)}")
        check.tensor("y", self.y, (prompts, examples))
        given = {"x": self.x, "y": self.y}
        if self.w_star is not None:
            given["w_star"] = check.tensor("w_star", self.w_star, (prompts, dim))
        check.finite("x", self.x)
        if self.covariance is None:
            rows = wide(self.x.flatten(0, 1))
            second = (rows.mT @ rows / len(rows)).to(self.x.dtype).to(self.x.device)
            object.__setattr__(self, "covariance", second)
            if not second.isfinite().all():
                raise ValueError(
                    f"x: expected features whose squares are within {self.x.dtype}, got some up to "
                    f"{self.x.abs().max().item():.3g}; take smaller units, or give the covariance"
                )
        shape = (dim,) if getattr(self.covariance, "ndim", 2) == 1 else (dim, dim)
        given["covariance"] = check.tensor("covariance", self.covariance, shape)
        for name, value in given.items():
            if value.dtype != self.x.dtype or value.device != self.x.device:
                raise ValueError(
                    f"{name}: expected {self.x.dtype} on {self.x.device} as x, got {value.dtype} on {value.device}"
                )
            if name != "x":
                check.finite(name, value)

    def __len__(self) -> int:
        return len(self.x)

    def part(self, start: int, stop: int) -> Prompts:
        """Prompts ``start`` to ``stop - 1`` of these, with their global indices.

        Args:
            start: from 0.
            stop: up to ``len(self)``.

        Raises:
            TypeError, ValueError: there are no such prompts.
        """
        start, stop = check_part(start, stop, len(self))
        if (start, stop) == (0, len(self)):
            return self
        w_star = None if self.w_star is None else self.w_star[start:stop]
        return self._with(x=self.x[start:stop], y=self.y[start:stop], w_star=w_star, first=self.first + start)

    def with_examples(self, start: int, stop: int) -> Prompts:
        """The same prompts with their examples ``start`` to ``stop - 1`` only.

        Args:
            start: from 0.
            stop: up to n.

        Raises:
            TypeError, ValueError: there are no such examples.
        """
        start, stop = check_part(start, stop, self.x.shape[1])
        found = self._with(x=self.x[:, start:stop], y=self.y[:, start:stop])
        vars(found).update({name: value for name, value in vars(self).items() if name == _FACTS})
        return found

    def _with(self, **changes: Any) -> Prompts:
        """A copy with numbers that are among these, and need no check, for which a GPU would be waited for."""
        found = object.__new__(type(self))
        vars(found).update({name: value for name, value in vars(self).items() if name != _FACTS} | changes)
        return found

    def to(self, device: torch.device | str) -> Prompts:
        """The same prompts on ``device``.

        Raises:
            ValueError: PyTorch has none of that name here.
        """
        try:
            device = torch.device(device)
        except (RuntimeError, TypeError, ValueError) as error:
            raise ValueError(f"device: expected one of PyTorch, got {check.shown(device)}: {error}") from error
        if device.type == "meta":
            raise ValueError("device: expected one that holds data, got meta")
        w_star = None if self.w_star is None else self.w_star.to(device)
        facts = _facts(self)
        moved = {"x": self.x.to(device), "y": self.y.to(device), "covariance": self.covariance.to(device)}
        return self._with(w_star=w_star, **moved, **{_FACTS: facts})


_FACTS = "_facts"


def _facts(prompts: Prompts) -> tuple[bool, float | None]:
    """Whether w* is known and of bits, and the features' variance if it is the same for all and they are not
    correlated: found once, since a GPU is waited for."""
    known = vars(prompts).get(_FACTS) if hasattr(prompts, "__dict__") else None
    if known is None:
        w_star, covariance = prompts.w_star, prompts.covariance
        bits = covariance.new_zeros(()) if w_star is None else ((w_star == 0) | (w_star == 1)).all()
        first = covariance.flatten()[0]
        equal = covariance.new_tensor(covariance.ndim == 1) * (covariance == first).all()
        of_bits, isotropic, variance = torch.stack([part.to(first.dtype) for part in (bits, equal, first)]).tolist()
        known = bool(of_bits), variance if isotropic else None
        if hasattr(prompts, "__dict__"):
            vars(prompts)[_FACTS] = known
    return known


def has_bits(prompts: Prompts) -> bool:
    """Whether the true coefficients are known and zeros and ones.

    Args:
        prompts: any.
    """
    return _facts(prompts)[0]


def isotropic(prompts: Prompts) -> float | None:
    """The variance of every feature, if the covariance is a diagonal of equal numbers, else None.

    Args:
        prompts: any.
    """
    return _facts(prompts)[1]


def repeated(prompts: Prompts, times: int) -> Prompts:
    """All prompts again and again: an operation on a GPU costs no more for several steps than for one.

    Args:
        prompts: any.
        times: how often they come.
    """
    w_star = None if prompts.w_star is None else prompts.w_star.repeat(times, 1)
    x, y = prompts.x.repeat(times, 1, 1), prompts.y.repeat(times, 1)
    return prompts._with(x=x, y=y, w_star=w_star, **{_FACTS: _facts(prompts)})


def check_part(start: int, stop: int, count: int) -> tuple[int, int]:
    """A part of some prompts, at least one.

    Args:
        start: from 0.
        stop: up to ``count``.
        count: of prompts.

    Raises:
        TypeError, ValueError: there is no such part.
    """
    start = check.integer("start", start, 0, count - 1)
    return start, check.integer("stop", stop, start + 1, count)


def check_prompts(prompts: object, dim: int | None = None) -> None:
    """Nothing, if ``prompts`` are :class:`Prompts`, or have what these have.

    Args:
        prompts: as given.
        dim: d that the features must have; None: any.

    Raises:
        TypeError: they lack something.
        ValueError: they have another number of features.
    """
    if isinstance(prompts, type) or not all(hasattr(prompts, name) for name in ("x", "y", "w_star", "first", "part")):
        hint = "; sample the task: task.sample(64)" if hasattr(prompts, "sample") else ""
        raise TypeError(f"prompts: expected Prompts, got {check.shown(prompts)}{hint}")
    x = check.tensor("prompts: x", getattr(prompts, "x"), ("B", "n", "d" if dim is None else dim))  # noqa: B009
    check.tensor("prompts: y", getattr(prompts, "y"), x.shape[:2])  # noqa: B009  # a part of the user may lack it


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
    check.path("path", path)
    check.dtype("dtype", dtype)
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
