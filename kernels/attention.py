"""The decode kernel of attention states in Triton; ``attention_decode.py`` launches it.

    u = w + c + sum over the heads of V^T act(K w + k)

Words, rules and products are those of ``chain.py``.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .chain import _exp2, _row_sums, _thresholds, _token
from .draws import draws_bits, draws_of, is_continuous
from .once import compiled_once
from .product import product


@triton.jit
def _wide(bits):
    """A bfloat16, given as an integer, in float32."""
    return (bits.to(tl.int32) << 16).to(tl.float32, bitcast=True)


@triton.jit
def _parts(pointer, stride, PRECISION: tl.constexpr, TARGET: tl.constexpr):
    """Three bfloat16 whose sum is a number, as :func:`product` takes them."""
    one, two, three = tl.load(pointer), tl.load(pointer + stride), tl.load(pointer + 2 * stride)
    if PRECISION != "fp32":
        m = _wide(one) + (_wide(two) + _wide(three))  # exact
        parts = m, m, m
    elif TARGET == "interpreter":  # it computes in NumPy, which has no bfloat16
        parts = _wide(one), _wide(two), _wide(three)
    else:
        parts = (
            one.to(tl.bfloat16, bitcast=True), two.to(tl.bfloat16, bitcast=True), three.to(tl.bfloat16, bitcast=True)
        )  # fmt: skip
    return parts


@triton.jit
def _activate(s, ACT: tl.constexpr, TARGET: tl.constexpr):
    """Of scores, which for a sigmoid are multiplied by -log2 e; gelu as in ``csrc/math.h``."""
    if ACT == "sigmoid":
        s = 1.0 / (1.0 + _exp2(s, TARGET))
    elif ACT == "relu":
        s = tl.maximum(s, 0.0)
    elif ACT == "gelu":
        size = tl.abs(s)
        t = 1.0 / tl.fma(size, 0.4, 1.0)
        p = tl.fma(t, 0.057163480669260025, -0.25750797986984253)
        p = tl.fma(p, t, 0.3437299132347107)
        p = tl.fma(p, t, 0.010354350320994854)
        p = tl.fma(p, t, 0.18968921899795532)
        p = tl.fma(p, t, 0.15657125413417816)
        s = tl.maximum(s, 0.0) - size * (p * t * _exp2(tl.maximum(s * s * -0.7213475204444817, -100.0), TARGET))
    return s


@triton.jit
def _softmax_head(
    u, w, keys, offsets, values, part, chunks,
    BINARY: tl.constexpr, PRECISION: tl.constexpr, TARGET: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """u and what one head adds. Scores are powers of two; sums before a larger score count less."""
    BN: tl.constexpr = u.shape[0]
    D: tl.constexpr = u.shape[1]
    i = tl.arange(0, D)
    j = tl.arange(0, BLOCK)
    most = tl.full((BN, 1), -3.0e38, tl.float32)
    total = tl.zeros((BN, 1), tl.float32)
    added = tl.zeros((BN, D), tl.float32)
    for chunk in range(chunks):
        row = chunk * BLOCK + j
        k1, k2, k3 = _parts(keys + row[None, :] * D + i[:, None], part, PRECISION, TARGET)
        s = tl.load(offsets + row)[None, :] + tl.zeros((BN, BLOCK), tl.float32)
        s = product(w, k1, k2, k3, s, BINARY, PRECISION, TARGET)
        larger = tl.maximum(most, tl.max(s, 1, keep_dims=True))
        s = _exp2(s - larger, TARGET)
        keep = _exp2(most - larger, TARGET)
        most = larger
        total = tl.fma(total, keep, _row_sums(s).reshape(BN, 1))
        v1, v2, v3 = _parts(values + row[:, None] * D + i[None, :], part, PRECISION, TARGET)
        added = product(s, v1, v2, v3, added * keep, False, PRECISION, TARGET)
    return u + added / total


@triton.jit
def _attend(
    u, w, keys, offsets, values, part, group, prompt,
    ACT: tl.constexpr, BINARY: tl.constexpr, PRECISION: tl.constexpr, TARGET: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """u and what a group of heads adds: ``group`` is (its first row, rows of a prompt, heads, chunks of keys)."""
    BN: tl.constexpr = u.shape[0]
    D: tl.constexpr = u.shape[1]
    first = tl.load(group).to(tl.int64) + prompt * tl.load(group + 1)
    heads, chunks = tl.load(group + 2), tl.load(group + 3)
    # Rows are whole vectors of 16 bytes, or every number would have an address of its own in registers.
    keys = tl.multiple_of(keys + first * D, 16)
    values = tl.multiple_of(values + first * D, 16)
    part = part * 16
    offsets += first
    if ACT == "softmax":
        for head in range(heads):
            row = head * chunks * BLOCK
            u = _softmax_head(
                u, w, keys + row * D, offsets + row, values + row * D, part, chunks, BINARY, PRECISION, TARGET, BLOCK
            )
    else:
        i = tl.arange(0, D)
        for chunk in range(heads * chunks):
            row = chunk * BLOCK + tl.arange(0, BLOCK)
            k1, k2, k3 = _parts(keys + row[None, :] * D + i[:, None], part, PRECISION, TARGET)
            s = tl.load(offsets + row)[None, :] + tl.zeros((BN, BLOCK), tl.float32)
            s = _activate(product(w, k1, k2, k3, s, BINARY, PRECISION, TARGET), ACT, TARGET)
            v1, v2, v3 = _parts(values + row[:, None] * D + i[None, :], part, PRECISION, TARGET)
            u = product(s, v1, v2, v3, u, False, PRECISION, TARGET)
    return u


@triton.jit
def _output(
    w, bias, keys, offsets, values, part, groups, prompt, RESIDUAL: tl.constexpr,
    ACT0: tl.constexpr, ACT1: tl.constexpr, ACT2: tl.constexpr,
    BINARY: tl.constexpr, PRECISION: tl.constexpr, TARGET: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """u of thoughts ``[BN, D]``."""
    u = bias + w if RESIDUAL else bias
    u = _attend(u, w, keys, offsets, values, part, groups, prompt, ACT0, BINARY, PRECISION, TARGET, BLOCK)
    if ACT1 != "none":
        u = _attend(u, w, keys, offsets, values, part, groups + 4, prompt, ACT1, BINARY, PRECISION, TARGET, BLOCK)
    if ACT2 != "none":
        u = _attend(u, w, keys, offsets, values, part, groups + 8, prompt, ACT2, BINARY, PRECISION, TARGET, BLOCK)
    return u


@compiled_once
def attention_kernel(
    keys, offsets, values, groups, bias, part: tl.int64, bias_stride: tl.int64, w0, noise, stops, thoughts,
    page: tl.int64, samples: tl.int64, dim: tl.int32, stops_count: tl.int32,
    w0_prompt_stride: tl.int64, w0_sample_stride: tl.int64,
    seed: tl.uint64, first_prompt: tl.int64, first_sample: tl.int64, first_step: tl.int64, gain: tl.float32,
    RULE: tl.constexpr, EVERY_STEP: tl.constexpr, ONES: tl.constexpr, PRECISION: tl.constexpr, TARGET: tl.constexpr,
    D: tl.constexpr, BN: tl.constexpr,
    RESIDUAL: tl.constexpr, ACT0: tl.constexpr, ACT1: tl.constexpr, ACT2: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """As ``chain.decode_kernel``, with keys and values, padded to D coefficients and blocks of keys, in global memory:
    every step reads them from the cache. ``keys`` and ``values [3, rows, D]`` are the bfloat16 parts of float32."""
    RANDOM: tl.constexpr = is_continuous(RULE) or EVERY_STEP  # else only the answers are
    BINARY: tl.constexpr = draws_bits(RULE, EVERY_STEP)
    tiles = tl.cdiv(samples, BN)
    program = tl.program_id(0).to(tl.int64)
    prompt = program // tiles
    start = (program % tiles) * BN
    n = tl.arange(0, BN)
    i = tl.arange(0, D)
    rows = tl.minimum(samples - start, BN).to(tl.int32)
    w0 += prompt * w0_prompt_stride + start * w0_sample_stride
    thoughts += (prompt * samples + start) * dim
    w = tl.load(
        w0 + n[:, None] * w0_sample_stride + i[None, :], mask=(n[:, None] < rows) & (i[None, :] < dim), other=0.0
    )
    constant = tl.load(bias + prompt * bias_stride + i)[None, :] + tl.zeros((BN, D), tl.float32)
    sample = (first_sample + start + n).to(tl.uint32)[:, None]
    coordinate = i.to(tl.uint32)[None, :]
    global_prompt = (first_prompt + prompt).to(tl.uint32)
    first_block = (first_step // 4).to(tl.uint32)
    half, factor = _thresholds(gain, 1.0, 1.0, RULE)

    for stop in range(stops_count):
        first = tl.load(stops + 7 * stop)  # both ends from the table, as in chain.py
        last = tl.load(stops + 7 * stop + 1)
        for q in range(first, last):
            if RANDOM:
                draws = draws_of(seed, sample, coordinate, first_block + q, global_prompt, RULE, TARGET)
            for r in tl.static_range(4):
                u = _output(
                    w, constant, keys, offsets, values, part, groups, prompt, RESIDUAL, ACT0, ACT1, ACT2,
                    BINARY, PRECISION, TARGET, BLOCK,
                )  # fmt: skip
                if RANDOM:
                    u = _token(u, w, draws[r], noise + 4 * q + r, half, factor, i[None, :], dim, RULE, ONES, TARGET)
                w = u

        draws = draws_of(seed, sample, coordinate, first_block + last, global_prompt, RULE, TARGET)
        origin = tl.load(stops + 7 * stop + 2)  # zero, see chain.py
        row = (origin + n)[:, None]
        column = (origin + i)[None, :]
        inside = (row < rows) & (column < dim)
        for r in tl.static_range(4):
            u = _output(
                w, constant, keys, offsets, values, part, groups, prompt, RESIDUAL, ACT0, ACT1, ACT2,
                False, PRECISION, TARGET, BLOCK,
            )  # fmt: skip
            token = _token(u, w, draws[r], noise + 4 * last + r, half, factor, i[None, :], dim, RULE, ONES, TARGET)
            slot = tl.load(stops + 7 * stop + 3 + r)
            tl.store(thoughts + slot * page + row * dim + column, token, mask=tl.where(slot >= 0, inside, False))
            if RANDOM:
                u = token
            w = tl.where(4 * last + r >= first_step % 4, u, w)
