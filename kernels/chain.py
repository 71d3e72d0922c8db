"""The decode kernels in Triton. kernels/README.md explains them with a picture; ``decode.py`` launches them."""

from __future__ import annotations

import triton
import triton.language as tl

from ttc_fast.numerics.rng import Stream

from .once import compiled_once
from .philox import philox4x32_10
from .subset import exponential, subset

_NOISE = tl.constexpr(int(Stream.NOISE) << 24)
_BERNOULLI = tl.constexpr(int(Stream.BERNOULLI) << 24)
_SUBSET = tl.constexpr(int(Stream.SUBSET_SAMPLING) << 24)

# Box-Muller of words a = $2 and b = $3 on the special-function unit. The radius is sqrt(-2 ln x) with
# x = (a + 1/2) 2^-32. lg2.approx has an absolute error of 2^-22 around x = 1, too much where the
# radius is small: there -2 ln(1 - v) = 2 v + v^2 + 2/3 v^3 + ... . No branch, no table.
_BOX_MULLER = tl.constexpr("""{
    .reg .f32 x, v, near, far, angle; .reg .pred small;
    cvt.rn.f32.u32 x, $2;
    fma.rn.f32 x, x, 0f2F800000, 0f2F000000;
    lg2.approx.ftz.f32 far, x;
    mul.rn.f32 far, far, 0fBFB17218;
    sub.rn.f32 v, 0f3F800000, x;
    fma.rn.f32 near, v, 0f3F2AAAAB, 0f3F800000;
    fma.rn.f32 near, near, v, 0f40000000;
    mul.rn.f32 near, near, v;
    setp.lt.f32 small, v, 0f3C800000;
    selp.f32 x, near, far, small;
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
    """Two independent standard normals of two words."""
    if TARGET == "cuda":
        first, second = tl.inline_asm_elementwise(
            _BOX_MULLER, "=f,=f,r,r", [a, b], dtype=(tl.float32, tl.float32), is_pure=True, pack=1
        )
    else:
        x = tl.fma(a.to(tl.float32), 2.0**-32, 2.0**-33)
        radius = tl.sqrt(-2.0 * tl.log(x))
        angle = b.to(tl.int32, bitcast=True).to(tl.float32) * 1.4629180792671596e-09  # 2 pi 2^-32
        first = radius * tl.cos(angle)
        second = radius * tl.sin(angle)
    return first, second


@triton.jit
def _exp2(x, TARGET: tl.constexpr):
    if TARGET == "cuda":
        power = tl.inline_asm_elementwise(
            "ex2.approx.ftz.f32 $0, $1;", "=f,f", [x], dtype=tl.float32, is_pure=True, pack=1
        )
    else:
        power = tl.exp2(x)
    return power


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
def _split(m, PRECISION: tl.constexpr, TARGET: tl.constexpr):
    """A matrix in the parts that :func:`_product` needs."""
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
def _product(w, m1, m2, m3, u, BINARY: tl.constexpr, PRECISION: tl.constexpr, TARGET: tl.constexpr):
    """u + w m. PRECISION "fp32": w = w1 + w2 + w3 exactly, in bfloat16; the products left out are below 2^-22.

    A binary thought is a bfloat16 itself: its products are exact.
    """
    if PRECISION == "fp32":
        if BINARY:
            w1 = _bfloat16(w, TARGET)
            u = tl.dot(w1, m3, u, input_precision="ieee")
        else:
            head = _upper(w, 0)
            rest = w - head
            middle = _upper(rest, 0)
            w1 = _bfloat16(head, TARGET)
            w2 = _bfloat16(middle, TARGET)
            u = tl.dot(_bfloat16(rest - middle, TARGET), m1, u, input_precision="ieee")
            u = tl.dot(w2, m2, u, input_precision="ieee")
            u = tl.dot(w1, m3, u, input_precision="ieee")
            u = tl.dot(w2, m1, u, input_precision="ieee")
        u = tl.dot(w1, m2, u, input_precision="ieee")
        u = tl.dot(w1, m1, u, input_precision="ieee")
    else:
        u = tl.dot(w, m1, u, input_precision=PRECISION)
    return u


@triton.jit
def _matrix(state, dim, k, i):
    """Rows k, columns i of (I - P S)^T; zero where padded."""
    entry = tl.load(
        state + i[None, :] * (dim + 1) + k[:, None], mask=(i[None, :] < dim) & (k[:, None] < dim), other=0.0
    )
    return tl.where(i[None, :] == k[:, None], entry + 1.0, entry)


@triton.jit
def _uniform(word):
    """2^24 times the uniform of a word."""
    return (word >> 8).to(tl.int32).to(tl.float32)


@triton.constexpr_function
def _is_continuous(rule):
    """Whether the rule draws normals; the others draw bits."""
    return rule in ("gaussian", "rank_one", "elementwise")


@triton.jit
def _draws(seed, sample, coordinate, block, prompt, RULE: tl.constexpr, TARGET: tl.constexpr):
    """What is random in four consecutive steps: for each a normal, an exponential, or 2^24 times a uniform."""
    zero = sample * 0 + coordinate * 0
    stream = _NOISE if _is_continuous(RULE) else _SUBSET if RULE == "subset" else _BERNOULLI
    a, b, c, d = philox4x32_10(seed, sample + zero, (coordinate | stream) + zero, block + zero, prompt + zero, TARGET)
    if _is_continuous(RULE):
        a, b = _box_muller(a, b, TARGET)
        c, d = _box_muller(c, d, TARGET)
    elif RULE == "subset":
        a, b = exponential(a, TARGET), exponential(b, TARGET)
        c, d = exponential(c, TARGET), exponential(d, TARGET)
    else:
        a, b, c, d = _uniform(a), _uniform(b), _uniform(c), _uniform(d)
    return a, b, c, d


@triton.constexpr_function
def _log2(power):
    return power.bit_length() - 1


@triton.jit
def _row_sums(x):
    """Of every sample ``[BN, 1, 1, 1]``, by halves, by eights, and what is left: tl.sum adds what is in a thread first,
    then in a warp, so that its bits would depend on the tile."""
    BN: tl.constexpr = x.shape[0]
    D: tl.constexpr = x.shape[1]
    x = tl.sum(x.reshape(BN, 2, D // 16, 8), 1, keep_dims=True)
    x = tl.sum(x, 3, keep_dims=True)
    return tl.sum(x, 2, keep_dims=True)


@triton.jit
def _along(xi, w, i, dim):
    """<xi, w> of every sample, without the padded coefficients, whose noise makes them other than zero.

    Back in the shape of the thoughts by a reshape, not by a broadcast of a vector, whose layout the compiler would take
    for that of all thoughts after it.
    """
    BN: tl.constexpr = w.shape[0]
    D: tl.constexpr = w.shape[1]
    total = _row_sums(tl.where(i < dim, xi * w, 0.0))
    return tl.broadcast_to(total, BN, 2, D // 16, 8).reshape(BN, D)


@triton.jit
def _token(u, w, draw, noise, gain, i, dim, RULE: tl.constexpr, ONES: tl.constexpr, TARGET: tl.constexpr):
    """The next thought, given the thought w and the transformer's output u; those with i >= dim are padded."""
    if RULE == "gaussian":
        token = tl.fma(draw, tl.load(noise), u)
    elif RULE == "elementwise":
        token = tl.fma(draw, tl.load(noise) * w, u)
    elif RULE == "rank_one":
        token = tl.fma(draw, -tl.load(noise) * _along(draw, w, i, dim), u)
    elif RULE == "subset" or RULE == "largest":
        token = subset(u, draw, i, dim, RULE, ONES, _log2(u.shape[1]), TARGET)
    else:
        if RULE == "sigmoid":  # the uniform < 1 / (1 + odds), without the division
            odds = _exp2((0.5 - u) * gain, TARGET)
            one = tl.fma(draw, odds, draw) < 16777216.0
        elif RULE == "clip":
            one = draw * 2.0**-24 < u
        else:
            one = u > 0.5
        token = one.to(tl.float32)
    return token


@compiled_once
def decode_kernel(
    state, w0, noise, stops, thoughts,
    page: tl.int64, samples: tl.int64, dim: tl.int32, stops_count: tl.int32,
    w0_prompt_stride: tl.int64, w0_sample_stride: tl.int64,
    seed: tl.uint64, first_prompt: tl.int64, first_sample: tl.int64, first_step: tl.int64, gain: tl.float32,
    RULE: tl.constexpr, EVERY_STEP: tl.constexpr, ONES: tl.constexpr, PRECISION: tl.constexpr, TARGET: tl.constexpr,
    D: tl.constexpr, BN: tl.constexpr,
):  # fmt: skip
    """A program decodes BN samples of one prompt, all D (padded) coefficients of them.

    The steps go in blocks of four, counted from that of ``first_step``. ``stops [stops_count, 7]``
    lists the blocks with asked thoughts: (first of the blocks before it that are not listed, itself, 0,
    row of ``thoughts`` to write after each of its four steps or -1). A row has ``page`` elements.
    The blocks that are not listed run in a loop that touches no memory but ``noise``, the schedule
    sigma_t. Block 0 is always listed: it may begin before ``first_step``, and w0 need not be binary.
    Padded coefficients have zero rows and columns in the matrix: they stay finite and without effect.
    """
    RANDOM: tl.constexpr = _is_continuous(RULE) or EVERY_STEP  # else only the answers are
    BINARY: tl.constexpr = EVERY_STEP and not _is_continuous(RULE)
    tiles = tl.cdiv(samples, BN)
    program = tl.program_id(0).to(tl.int64)
    prompt = program // tiles
    start = (program % tiles) * BN
    n = tl.arange(0, BN)
    i = tl.arange(0, D)
    rows = tl.minimum(samples - start, BN).to(tl.int32)
    state += prompt * dim * (dim + 1)
    w0 += prompt * w0_prompt_stride + start * w0_sample_stride
    thoughts += (prompt * samples + start) * dim

    w = tl.load(
        w0 + n[:, None] * w0_sample_stride + i[None, :], mask=(n[:, None] < rows) & (i[None, :] < dim), other=0.0
    )
    bias = -tl.load(state + i * (dim + 1) + dim, mask=i < dim, other=0.0)[None, :] + tl.zeros((BN, D), tl.float32)
    m1, m2, m3 = _split(_matrix(state, dim, i, i), PRECISION, TARGET)
    sample = (first_sample + start + n).to(tl.uint32)[:, None]
    coordinate = i.to(tl.uint32)[None, :]
    prompt = (first_prompt + prompt).to(tl.uint32)
    first_block = (first_step // 4).to(tl.uint32)

    for stop in range(stops_count):
        # A loop that carries the next block in a variable is compiled to start at 0 again: Triton 3.7.1
        # takes a variable that is only a bound for a constant. The table names both ends instead.
        first = tl.load(stops + 7 * stop)
        last = tl.load(stops + 7 * stop + 1)
        for q in range(first, last):
            if RANDOM:
                draws = _draws(seed, sample, coordinate, first_block + q, prompt, RULE, TARGET)
            for r in tl.static_range(4):
                u = _product(w, m1, m2, m3, bias, BINARY, PRECISION, TARGET)
                if RANDOM:
                    u = _token(u, w, draws[r], noise + 4 * q + r, gain, i[None, :], dim, RULE, ONES, TARGET)
                w = u

        draws = _draws(seed, sample, coordinate, first_block + last, prompt, RULE, TARGET)
        # Zero, but the compiler cannot know: it would compute the addresses below before the loop above,
        # and hold them in registers that the loop needs.
        origin = tl.load(stops + 7 * stop + 2)
        row = (origin + n)[:, None]
        column = (origin + i)[None, :]
        inside = (row < rows) & (column < dim)
        for r in tl.static_range(4):
            u = _product(w, m1, m2, m3, bias, False, PRECISION, TARGET)
            token = _token(u, w, draws[r], noise + 4 * last + r, gain, i[None, :], dim, RULE, ONES, TARGET)
            slot = tl.load(stops + 7 * stop + 3 + r)
            tl.store(thoughts + slot * page + row * dim + column, token, mask=tl.where(slot >= 0, inside, False))
            if RANDOM:
                u = token
            # A decode may start inside a block of four.
            w = tl.where(4 * last + r >= first_step % 4, u, w)


SLICE = tl.constexpr(4096)
"""Elements of the matrix in one slice of the streamed kernel."""


@compiled_once
def streamed_kernel(
    scratch, state, w0, noise, stops, thoughts,
    page: tl.int64, samples: tl.int64, dim: tl.int32, stops_count: tl.int32,
    w0_prompt_stride: tl.int64, w0_sample_stride: tl.int64,
    seed: tl.uint64, first_prompt: tl.int64, first_sample: tl.int64, first_step: tl.int64, gain: tl.float32,
    RULE: tl.constexpr, EVERY_STEP: tl.constexpr, ONES: tl.constexpr, PRECISION: tl.constexpr, TARGET: tl.constexpr,
    D: tl.constexpr, BN: tl.constexpr,
):  # fmt: skip
    """The same decode where the matrix does not fit on chip: it passes by in slices at every step.

    ``stops`` lists every block. ``scratch [programs, 5, BN, D]`` holds the thoughts, which a program's
    threads read from each other, and the draws of four steps, which would take all registers.
    """
    K: tl.constexpr = SLICE // D
    PAGE: tl.constexpr = BN * D
    RANDOM: tl.constexpr = _is_continuous(RULE) or EVERY_STEP
    tiles = tl.cdiv(samples, BN)
    program = tl.program_id(0).to(tl.int64)
    prompt = program // tiles
    start = (program % tiles) * BN
    n = tl.arange(0, BN)[:, None]
    i = tl.arange(0, D)[None, :]
    rows = tl.minimum(samples - start, BN).to(tl.int32)
    inside = (n < rows) & (i < dim)
    scratch += program * 5 * PAGE
    state += prompt * dim * (dim + 1)
    w0 += prompt * w0_prompt_stride + start * w0_sample_stride
    thoughts += (prompt * samples + start) * dim
    sample = (first_sample + start + n).to(tl.uint32)
    prompt = (first_prompt + prompt).to(tl.uint32)
    first_block = (first_step // 4).to(tl.uint32)

    tl.store(scratch + n * D + i, tl.load(w0 + n * w0_sample_stride + i, mask=inside, other=0.0))
    for block in range(stops_count):
        draws = _draws(seed, sample, i.to(tl.uint32), first_block + block, prompt, RULE, TARGET)
        for r in tl.static_range(4):
            tl.store(scratch + (1 + r) * PAGE + n * D + i, draws[r])
        for r in range(4):
            tl.debug_barrier()
            u = -tl.load(state + i * (dim + 1) + dim, mask=i < dim, other=0.0) + tl.zeros((BN, D), tl.float32)
            for slice in range(0, D, K):
                k = slice + tl.arange(0, K)
                m1, m2, m3 = _split(_matrix(state, dim, k, tl.arange(0, D)), PRECISION, TARGET)
                w = tl.load(scratch + n * D + k[None, :])
                u = _product(w, m1, m2, m3, u, False, PRECISION, TARGET)
            draw = tl.load(scratch + (1 + r) * PAGE + n * D + i)
            w = u  # of the rules without it: not read
            if RULE == "rank_one" or RULE == "elementwise":
                w = tl.load(scratch + n * D + i)
            token = _token(u, w, draw, noise + 4 * block + r, gain, i, dim, RULE, ONES, TARGET)
            slot = tl.load(stops + 7 * block + 3 + r)
            tl.store(thoughts + slot * page + n * dim + i, token, mask=tl.where(slot >= 0, inside, False))
            if RANDOM:
                u = token
            tl.debug_barrier()
            tl.store(scratch + n * D + i, u, mask=tl.where(4 * block + r >= first_step % 4, n < BN, False))
