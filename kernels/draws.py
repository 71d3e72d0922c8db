"""What is random in a chain, in Triton: normals, exponentials and uniforms of Philox's words."""

from __future__ import annotations

import triton
import triton.language as tl

from ttc_fast.numerics.rng import Stream

from .philox import philox4x32_10
from .subset import exponential

_NOISE = tl.constexpr(int(Stream.NOISE) << 24)
_BERNOULLI = tl.constexpr(int(Stream.BERNOULLI) << 24)
_SUBSET = tl.constexpr(int(Stream.SUBSET_SAMPLING) << 24)

# Box-Muller of words a = $2 and b = $3 on the special-function unit, divided by sqrt(2 ln 2), by which decode.py
# multiplies the scales of the noise: the radius is sqrt(-log2 x) with x = (a + 1/2) 2^-32. lg2.approx has an absolute
# error of 2^-22 around x = 1, too much where the radius is small. There v = 1 - x, which is exact, and
# log2(1 - v) = -(v + v^2 / 2 + ...) / ln 2. Two terms leave out v^2 / 3 of it: where v < 2^-8 below 2^-17.5, which
# moves the radius, there below 0.089, by less than 2.4e-7. Above, 2^-22 moves it by less than 2.0e-6.
_BOX_MULLER = tl.constexpr("""{
    .reg .f32 x, v, near, far, angle; .reg .pred small;
    cvt.rn.f32.u32 x, $2;
    fma.rn.f32 x, x, 0f2F800000, 0f2F000000;
    lg2.approx.ftz.f32 far, x;
    sub.rn.f32 v, 0f3F800000, x;
    fma.rn.f32 near, v, 0fBF38AA3B, 0fBFB8AA3B;
    mul.rn.f32 near, near, v;
    setp.lt.f32 small, v, 0f3B800000;
    selp.f32 x, near, far, small;
    neg.f32 x, x;
    sqrt.approx.ftz.f32 x, x;
    cvt.rn.f32.s32 angle, $3;
    mul.rn.f32 angle, angle, 0f30C90FDB;
    cos.approx.ftz.f32 v, angle;
    sin.approx.ftz.f32 angle, angle;
    mul.rn.f32 $0, x, v;
    mul.rn.f32 $1, x, angle;
}""")


@triton.jit
def _box_muller(a, b, TARGET: tl.constexpr):
    """Two independent normals of two words, divided by sqrt(2 ln 2)."""
    if TARGET == "cuda":
        first, second = tl.inline_asm_elementwise(
            _BOX_MULLER, "=f,=f,r,r", [a, b], dtype=(tl.float32, tl.float32), is_pure=True, pack=1
        )
    else:
        x = tl.fma(a.to(tl.float32), 2.0**-32, 2.0**-33)
        radius = tl.sqrt(0.0 - tl.log2(x))
        angle = b.to(tl.int32, bitcast=True).to(tl.float32) * 1.4629180792671596e-09  # 2 pi 2^-32
        first = radius * tl.cos(angle)
        second = radius * tl.sin(angle)
    return first, second


@triton.jit
def _uniform(word):
    """2^24 times the uniform of a word."""
    return (word >> 8).to(tl.int32).to(tl.float32)


@triton.constexpr_function
def is_continuous(rule):
    """Whether the rule draws normals; the others draw bits."""
    return rule in ("gaussian", "rank_one", "elementwise")


@triton.constexpr_function
def draws_bits(rule, every_step):
    """Whether all thoughts after w0 are zeros and ones."""
    return every_step and not is_continuous(rule)


@triton.jit
def draws_of(seed, sample, coordinate, block, prompt, RULE: tl.constexpr, TARGET: tl.constexpr):
    """What is random in four consecutive steps: for each a normal, an exponential, or 2^24 times a uniform."""
    zero = sample * 0 + coordinate * 0
    stream = _NOISE if is_continuous(RULE) else _SUBSET if RULE == "subset" else _BERNOULLI
    a, b, c, d = philox4x32_10(seed, sample + zero, (coordinate | stream) + zero, block + zero, prompt + zero, TARGET)
    if is_continuous(RULE):
        a, b = _box_muller(a, b, TARGET)
        c, d = _box_muller(c, d, TARGET)
    elif RULE == "subset":
        a, b = exponential(a, TARGET), exponential(b, TARGET)
        c, d = exponential(c, TARGET), exponential(d, TARGET)
    else:
        a, b, c, d = _uniform(a), _uniform(b), _uniform(c), _uniform(d)
    return a, b, c, d
