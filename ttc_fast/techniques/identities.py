"""Numbers that tell whole answers of bits apart."""

from __future__ import annotations

import torch
from torch import Tensor


def identities(bits: Tensor, *, ordered: bool = False) -> Tensor:
    """A number for every answer: ``[...]``; two answers of 63 or more bits have the same with probability 2^-64.

    Args:
        bits: answers of zeros and ones ``[..., d]``.
        ordered: whether the number must be the binary one.

    Raises:
        ValueError: there are too many bits for that.
    """
    dim = bits.shape[-1]
    if ordered and dim > 62:
        raise ValueError(f"technique: plurality_smallest needs at most 62 coefficients, got {dim}; take plurality")
    place = torch.arange(dim, dtype=torch.int64, device=bits.device)
    factor = 1 << place if dim < 63 else mixed(place + 1)
    return (bits.to(torch.int64) * factor).sum(-1)


def mixed(x: Tensor) -> Tensor:
    """A permutation of the 64-bit integers that looks random (the finalizer of splitmix64, Steele et al. 2014).

    Args:
        x: int64.
    """
    for shift, factor in ((30, -0x40A7B892E31B1A47), (27, -0x6B2FB644ECCEEE15), (31, 1)):
        x = (x ^ (x >> shift & (1 << 64 - shift) - 1)) * factor
    return x
