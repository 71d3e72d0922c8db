"""The matrix where it does not fit on chip: split once, in global memory, from where slices pass by at every step."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from . import padded
from .product import half, six_products, thirds, two_products

SLICE = tl.constexpr(32)
"""Rows of the matrix in a slice."""


@triton.constexpr_function
def _parts_of(bits, precision):
    """In how many parts a matrix is kept."""
    return 1 if precision != "fp32" else 2 if bits else 3


@triton.constexpr_function
def _words(numbers, precision):
    """Words of 32 bits that hold so many numbers, of which a part has 16 bits."""
    return numbers // 2 if precision == "fp32" else numbers


@triton.constexpr_function
def _type_of(bits, precision, target):
    """Of the numbers of a part; the interpreter has no bfloat16."""
    if precision != "fp32":
        return tl.float32
    return tl.float16 if bits else tl.int16 if target == "interpreter" else tl.bfloat16


def workspace(state: Tensor, programs: int, samples: int, bits: bool, precision: str) -> Tensor:
    """What a launch keeps in global memory, in words of 32 bits: for each prompt the parts ``[parts, D, D]`` of the
    matrix M and the units ``[D]`` of its outputs, then for each program the parts ``[parts, samples, D]`` of a thought
    and the draws ``[4, samples, D]`` of four steps.

    Args:
        state: ``[B, d, d + 1]``.
        programs, samples: of the launch; of a program.
        bits: whether thoughts are zeros and ones, multiplied as in :func:`product.split_for_bits`.
        precision: of the matrix product.
    """
    prompts, dim, _ = state.shape
    width = padded(dim)
    m = state.new_zeros(prompts, width, width)
    m[:, :dim, :dim] = state[:, :, :dim].mT
    m.diagonal(dim1=1, dim2=2)[:, :dim] += 1
    unit = state.new_ones(prompts, width)
    if bits and precision == "fp32":
        _, exponent = torch.frexp(m.abs().amax(1))
        unit = torch.ldexp(unit, 15 - exponent.clamp(min=-25))
        m *= unit[:, None]
    count, size = int(_parts_of(bits, precision)), int(_words(width**2, precision))
    page = count * size + width
    own = count * int(_words(samples * width, precision)) + 4 * samples * width
    work = state.new_empty(prompts * page + programs * own)
    pages = work[: prompts * page].view(prompts, page)
    pages[:, count * size :] = unit
    for j in range(count):
        part = m if precision != "fp32" else m.to(torch.float16 if bits else torch.bfloat16)
        pages[:, j * size : (j + 1) * size] = part.view(torch.float32).view(prompts, size)
        m = m - part
    return work


@triton.jit
def places(
    work, prompt, prompts, program,
    D: tl.constexpr, BN: tl.constexpr, BITS: tl.constexpr, PRECISION: tl.constexpr, TARGET: tl.constexpr,
):  # fmt: skip
    """Of :func:`workspace`: where the units, the matrix and the thoughts of a program, both by parts, and its draws
    lie."""
    PARTS: tl.constexpr = _parts_of(BITS, PRECISION)
    SIZE: tl.constexpr = PARTS * _words(D * D, PRECISION)
    m = work + prompt * (SIZE + D)
    OWN: tl.constexpr = PARTS * _words(BN * D, PRECISION)
    w = work + prompts * (SIZE + D) + program * (OWN + 4 * BN * D)
    KIND: tl.constexpr = _type_of(BITS, PRECISION, TARGET)
    kept = tl.multiple_of(m.to(tl.pointer_type(KIND)), 16), tl.multiple_of(w.to(tl.pointer_type(KIND)), 16)
    return m + SIZE, kept[0], kept[1], tl.multiple_of(w + OWN, 16)


@triton.jit
def keep_draws(place, draws):
    """Keep what four steps draw ``[BN, D]``, which would take all registers. A thread may read what another drew."""
    BN: tl.constexpr = draws[0].shape[0]
    D: tl.constexpr = draws[0].shape[1]
    place += tl.arange(0, BN)[:, None] * D + tl.arange(0, D)[None, :]
    for r in tl.static_range(4):
        tl.store(place + r * BN * D, draws[r])
    tl.debug_barrier()


@triton.jit
def _part(place):
    """Numbers of a part, as operand of a matrix product."""
    part = tl.load(place)
    if part.dtype == tl.int16:
        part = (part.to(tl.int32) << 16).to(tl.float32, bitcast=True)
    return part


@triton.jit
def _keep(place, part):
    """The inverse of :func:`_part`."""
    if place.dtype.element_ty == tl.int16:
        part = part.to(tl.int32, bitcast=True) >> 16
    tl.store(place, part.to(place.dtype.element_ty))


@triton.jit
def streamed_product(w, m, own, dim, u, BITS: tl.constexpr, PRECISION: tl.constexpr, TARGET: tl.constexpr):
    """u + w M as :func:`product.product` and :func:`product.product_of_bits`, of a matrix at ``m``.

    Threads read each other's thoughts, so these pass by at ``own``.
    """
    BN: tl.constexpr = u.shape[0]
    D: tl.constexpr = u.shape[1]
    own += tl.arange(0, BN)[:, None] * D
    tl.debug_barrier()
    place = own + tl.arange(0, D)[None, :]
    if PRECISION != "fp32":
        _keep(place, w)
    elif BITS:
        _keep(place, half(w, TARGET))
    else:
        w1, w2, w3 = thirds(w, TARGET)
        _keep(place, w1)
        _keep(place + BN * D, w2)
        _keep(place + 2 * BN * D, w3)
    tl.debug_barrier()
    k = tl.arange(0, SLICE)
    column = own + k[None, :]
    row = m + k[:, None] * D + tl.arange(0, D)[None, :]
    for _ in range(0, dim, SLICE):
        if PRECISION != "fp32":
            u = tl.dot(_part(column), _part(row), u, input_precision=PRECISION)
        elif BITS:
            u = two_products(_part(column), _part(row), _part(row + D * D), u)
        else:
            a1, a2, a3 = _part(column), _part(column + BN * D), _part(column + 2 * BN * D)
            u = six_products(a1, a2, a3, _part(row), _part(row + D * D), _part(row + 2 * D * D), u)
        column += SLICE
        row += SLICE * D
    return u
