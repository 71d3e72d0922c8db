"""Matrix products of float32 grade on tensor cores, whose operands have 8 or 11 significant bits."""

from __future__ import annotations

import triton
import triton.language as tl

# Two numbers $2 and $3 as halves: what a float16 holds of them, and what it leaves.
_HALVES = tl.constexpr("""{
    .reg .b16 a, b; .reg .f32 x, y;
    cvt.rn.f16x2.f32 $0, $3, $2;
    mov.b32 {a, b}, $0;
    cvt.f32.f16 x, a;
    cvt.f32.f16 y, b;
    sub.rn.f32 x, $2, x;
    sub.rn.f32 y, $3, y;
    cvt.rn.f16x2.f32 $1, y, x;
}""")


@triton.jit
def _upper(x, ROUND: tl.constexpr):
    """x rounded to the 8 significant bits of a bfloat16 (ROUND = 0x8000) or cut to them (ROUND = 0)."""
    return ((x.to(tl.int32, bitcast=True) + ROUND) & -65536).to(tl.float32, bitcast=True)


@triton.jit
def _bfloat16(x, TARGET: tl.constexpr):
    """x, whose lower 16 bits are zero, as the operand of a matrix product."""
    if TARGET == "interpreter":  # it computes in NumPy, which has no bfloat16: the same values as float32
        part = x
    else:
        part = (x.to(tl.uint32, bitcast=True) >> 16).to(tl.uint16).to(tl.bfloat16, bitcast=True)
    return part


@triton.jit
def split(m, PRECISION: tl.constexpr, TARGET: tl.constexpr):
    """A matrix in the parts that :func:`product` needs."""
    if PRECISION == "fp32":
        m1 = _upper(m, 0x8000)
        rest = m - m1
        m2 = _upper(rest, 0x8000)
        m3 = _upper(rest - m2, 0x8000)
        parts = _bfloat16(m1, TARGET), _bfloat16(m2, TARGET), _bfloat16(m3, TARGET)
    else:
        parts = m, m, m
    return parts


@triton.jit
def thirds(w, TARGET: tl.constexpr):
    """w = w1 + w2 + w3 exactly, in bfloat16."""
    head = _upper(w, 0)
    rest = w - head
    middle = _upper(rest, 0)
    return _bfloat16(head, TARGET), _bfloat16(middle, TARGET), _bfloat16(rest - middle, TARGET)


@triton.jit
def six_products(w1, w2, w3, m1, m2, m3, u):
    """u + (w1 + w2 + w3) (m1 + m2 + m3); the products left out are below 2^-22."""
    u = tl.dot(w3, m1, u, input_precision="ieee")
    u = tl.dot(w2, m2, u, input_precision="ieee")
    u = tl.dot(w1, m3, u, input_precision="ieee")
    u = tl.dot(w2, m1, u, input_precision="ieee")
    u = tl.dot(w1, m2, u, input_precision="ieee")
    return tl.dot(w1, m1, u, input_precision="ieee")


@triton.jit
def product(w, m1, m2, m3, u, BINARY: tl.constexpr, PRECISION: tl.constexpr, TARGET: tl.constexpr):
    """u + w m. A binary thought is a bfloat16 itself: its products are exact."""
    if PRECISION == "fp32":
        if BINARY:
            w1 = _bfloat16(w, TARGET)
            u = tl.dot(w1, m3, u, input_precision="ieee")
            u = tl.dot(w1, m2, u, input_precision="ieee")
            u = tl.dot(w1, m1, u, input_precision="ieee")
        else:
            w1, w2, w3 = thirds(w, TARGET)
            u = six_products(w1, w2, w3, m1, m2, m3, u)
    else:
        u = tl.dot(w, m1, u, input_precision=PRECISION)
    return u


@triton.jit
def matrix(state, dim, k, i):
    """Rows k, columns i of (I - P S)^T; zero where padded."""
    entry = tl.load(
        state + i[None, :] * (dim + 1) + k[:, None], mask=(i[None, :] < dim) & (k[:, None] < dim), other=0.0
    )
    return tl.where(i[None, :] == k[:, None], entry + 1.0, entry)


@triton.jit
def _halves(x, TARGET: tl.constexpr):
    """x in two float16, rounded, the second what the first leaves."""
    if TARGET == "cuda":
        high, low = tl.inline_asm_elementwise(
            _HALVES, "=r,=r,r,r", [x], dtype=(tl.float16, tl.float16), is_pure=True, pack=2
        )
    else:
        high = x.to(tl.float16)
        low = (x - high.to(tl.float32)).to(tl.float16)
    return high, low


@triton.jit
def half(x, TARGET: tl.constexpr):
    """x, which a float16 holds, as the operand of a matrix product."""
    if TARGET == "cuda":
        part = tl.inline_asm_elementwise(
            "cvt.rn.f16x2.f32 $0, $2, $1;", "=r,r,r", [x], dtype=tl.float16, is_pure=True, pack=2
        )
    else:
        part = x.to(tl.float16)
    return part


@triton.jit
def split_for_bits(m, PRECISION: tl.constexpr, TARGET: tl.constexpr):
    """A matrix in the parts that :func:`product_of_bits` needs, and the unit ``[1, columns]`` of its product.

    Two float16 hold 22 bits of a number, and nothing below 2^-24. A power of two for each column, which is exact, makes
    its largest entry 2^14 to 2^15 (that of a column below 2^-26 less): what is lost is below 2^-23 of an entry or
    2^-39 of the largest.
    """
    if PRECISION == "fp32":
        exponent = tl.maximum(tl.max(tl.abs(m), 0).to(tl.int32, bitcast=True) >> 23, 101)
        unit = ((268 - exponent) << 23).to(tl.float32, bitcast=True)[None, :]
        high, low = _halves(m * unit, TARGET)
        parts = high, low, unit
    else:
        parts = m, m, tl.full((1, m.shape[1]), 1.0, tl.float32)
    return parts


@triton.jit
def two_products(ones, high, low, u):
    """u + ones (high + low)."""
    u = tl.dot(ones, low, u, input_precision="ieee")
    return tl.dot(ones, high, u, input_precision="ieee")


@triton.jit
def product_of_bits(w, high, low, u, PRECISION: tl.constexpr, TARGET: tl.constexpr):
    """u + w m for thoughts of zeros and ones, u and the product in the units of :func:`split_for_bits`."""
    if PRECISION == "fp32":
        u = two_products(half(w, TARGET), high, low, u)
    else:
        u = tl.dot(w, high, u, input_precision=PRECISION)
    return u
