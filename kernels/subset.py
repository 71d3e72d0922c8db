"""Subset sampling in Triton: ones at the k smallest keys of a sample. Called by the kernels of ``chain.py``.

Counterpart of ``SubsetSampling`` and ``LargestCoefficients`` in ``ttc_fast/decoding/authors_rules.py``.
"""

from __future__ import annotations

import triton
import triton.language as tl

# E = -ln x, x = (a + 1/2) 2^-32 of a word a = $1. lg2.approx has an absolute error of 2^-22 around x = 1: nothing
# would be right of a small E, and small ones are chosen. Where v = 1 - x, which is exact, is below 1/16: five terms of
# v + v^2/2 + v^3/3 + ..., which leave out less than 2^-22 of E. Above, -log2 x > 0.0931: within 2^-18.5 of E.
_EXPONENTIAL = tl.constexpr("""{
    .reg .f32 x, v, near, far; .reg .pred small;
    cvt.rn.f32.u32 x, $1;
    fma.rn.f32 x, x, 0f2F800000, 0f2F000000;
    lg2.approx.ftz.f32 far, x;
    mul.rn.f32 far, far, 0fBF317218;
    sub.rn.f32 v, 0f3F800000, x;
    fma.rn.f32 near, v, 0f3E4CCCCD, 0f3E800000;
    fma.rn.f32 near, near, v, 0f3EAAAAAB;
    fma.rn.f32 near, near, v, 0f3F000000;
    fma.rn.f32 near, near, v, 0f3F800000;
    mul.rn.f32 near, near, v;
    setp.lt.f32 small, v, 0f3D800000;
    selp.f32 $0, near, far, small;
}""")

_CHOSEN = tl.constexpr(0x7FFFFFFF)
"""Key of a coefficient that is chosen already, above every other."""
_PADDING = tl.constexpr(0x7FFFFFFE)
"""Key of a padded coefficient, above those of the d others, of which k <= d are chosen."""

ROUNDS = tl.constexpr(20)
"""So many ones are found by rounds, more by search, which takes as many instructions as 22 rounds."""


@triton.jit
def exponential(word, TARGET: tl.constexpr):
    """An exponential with mean 1 of a word, at least +0; its relative error is below 2^-18 (see above)."""
    if TARGET == "cuda":
        e = tl.inline_asm_elementwise(_EXPONENTIAL, "=f,r", [word], dtype=tl.float32, is_pure=True, pack=1)
    else:
        e = 0.0 - tl.log(tl.fma(word.to(tl.float32), 2.0**-32, 2.0**-33))  # a bare minus would make -0 of 0
    return e


@triton.jit
def _weight(u, TARGET: tl.constexpr):
    """u between 1e-10 and 1e30; NaN counts as not positive."""
    # max.f32 of PTX returns the operand that is no NaN; so does not every other maximum.
    v = tl.maximum(u, 1e-10) if TARGET == "cuda" else tl.where(u > 1e-10, u, 1e-10)
    return tl.minimum(v, 1e30)


@triton.jit
def _quotient(e, v, TARGET: tl.constexpr):
    """E / v within 2 ulp. Neither it nor 1 / v leaves the normal numbers."""
    if TARGET == "cuda":
        inverse = tl.inline_asm_elementwise(
            "rcp.approx.ftz.f32 $0, $1;", "=f,f", [v], dtype=tl.float32, is_pure=True, pack=1
        )
        quotient = e * inverse
    else:
        quotient = e / v
    return quotient


@triton.jit
def _key(u, e, RULE: tl.constexpr, TARGET: tl.constexpr):
    """An integer in the order of E / v, or for "largest" of -v: the bits of floats of at least +0 have their order."""
    v = _weight(u, TARGET)
    if RULE == "largest":
        key = 0x7F800000 - v.to(tl.int32, bitcast=True)
    else:
        key = _quotient(e, v, TARGET).to(tl.int32, bitcast=True)
    return key


@triton.jit
def _trips(number, dim):
    """``number``. The compiler does not know that dim > 0: loops of known length it would unroll, and spill."""
    return number * tl.minimum(dim, 1)


@triton.jit
def _by_rounds(key, i, dim, ONES: tl.constexpr):
    """Whether a key is one of the k smallest: each round chooses the smallest that is left, of equal ones the first."""
    for _ in range(_trips(ONES, dim)):
        key = tl.where(i == tl.argmin(key, 1, tie_break_left=True)[:, None], _CHOSEN, key)
    return key == _CHOSEN


@triton.jit
def _smallest(key, k, dim, BITS: tl.constexpr):
    """The k-th smallest key of a sample, below 2^BITS, from its highest bit down; k for all samples or for each."""
    found = tl.min(key * 0, 1)
    for bit in range(_trips(BITS, dim)):
        trial = found | (1 << (BITS - 1 - bit))
        below = tl.sum((key < trial[:, None]).to(tl.int32), 1)
        found = tl.where(below < k, trial, found)
    return found


@triton.jit
def _by_search(key, i, dim, ONES: tl.constexpr, INDEX_BITS: tl.constexpr):
    """As by rounds: binary search of the k-th smallest key, then of the last index among those that equal it."""
    last = _smallest(key, ONES, dim, 31)[:, None]
    left = ONES - tl.sum((key < last).to(tl.int32), 1)
    index = tl.where(key == last, i, 1 << INDEX_BITS)
    return (key < last) | (index <= _smallest(index, left, dim, INDEX_BITS)[:, None])


@triton.jit
def subset(u, e, i, dim, RULE: tl.constexpr, ONES: tl.constexpr, INDEX_BITS: tl.constexpr, TARGET: tl.constexpr):
    """1 at the k = ONES chosen of ``dim`` coefficients of each sample, of equal keys the first; 0 elsewhere.

    Args:
        u: what the transformer makes of the thoughts ``[BN, D]``.
        e: exponentials, for RULE "subset".
        i: index of each coefficient ``[1, D]``, below 2^INDEX_BITS.
    """
    key = tl.where(i < dim, _key(u, e, RULE, TARGET), _PADDING)
    chosen = _by_rounds(key, i, dim, ONES) if ONES <= ROUNDS else _by_search(key, i, dim, ONES, INDEX_BITS)
    return tl.where(chosen, 1.0, 0.0)
