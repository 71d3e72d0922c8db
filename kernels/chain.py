"""The decode kernels in Triton. kernels/README.md explains them with a picture; ``decode.py`` launches them."""

from __future__ import annotations

import triton
import triton.language as tl

from .draws import draws_bits, draws_of, is_continuous
from .once import compiled_once
from .product import matrix, product, product_of_bits, split, split_for_bits
from .streamed import keep_draws, places, streamed_product
from .subset import subset


@triton.jit
def _exp2(x, TARGET: tl.constexpr):
    if TARGET == "cuda":
        power = tl.inline_asm_elementwise(
            "ex2.approx.ftz.f32 $0, $1;", "=f,f", [x], dtype=tl.float32, is_pure=True, pack=1
        )
    else:
        power = tl.exp2(x)
    return power


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
def _nearest_power(x):
    """The power of two next to x, of which a division may make a neighbour."""
    return ((x.to(tl.int32, bitcast=True) + 0x400000) & -0x800000).to(tl.float32, bitcast=True)


@triton.jit
def _thresholds(gain, unit, inverse, RULE: tl.constexpr):
    """What :func:`_token` adds or compares, and the factor that it applies; the unit is a power of two, so that it is
    exact."""
    half = 0.5 * unit
    if RULE == "sigmoid":
        half = 0.5 * gain
        factor = -gain * inverse
    elif RULE == "clip":
        factor = 16777216.0 * inverse
    else:
        factor = inverse
    return half, factor


@triton.jit
def _token(u, w, draw, noise, half, factor, i, dim, RULE: tl.constexpr, ONES: tl.constexpr, TARGET: tl.constexpr):
    """The next thought, given the thought w and the transformer's output u; those with i >= dim are padded.

    ``half`` and ``factor`` are those of :func:`_thresholds` for the unit of u, which is 1 for continuous thoughts.
    """
    if RULE == "gaussian":
        token = tl.fma(draw, tl.load(noise), u)
    elif RULE == "elementwise":
        token = tl.fma(draw, tl.load(noise) * w, u)
    elif RULE == "rank_one":
        token = tl.fma(draw, -tl.load(noise) * _along(draw, w, i, dim), u)
    elif RULE == "subset" or RULE == "largest":
        token = subset(u * factor, draw, i, dim, RULE, ONES, _log2(u.shape[1]), TARGET)
    else:
        if RULE == "sigmoid":  # the uniform < 1 / (1 + odds), without the division; gain (1/2 - u) is rounded once
            odds = _exp2(tl.fma(u, factor, half), TARGET)
            one = tl.fma(draw, odds, draw) < 16777216.0
        elif RULE == "clip":
            one = draw < u * factor
        else:
            one = u > half
        token = one.to(tl.float32)
    return token


@triton.jit
def _output(w, m, bias, BITS: tl.constexpr, PRECISION: tl.constexpr, TARGET: tl.constexpr, STREAMED: tl.constexpr):
    """u = b + w M, in the unit of b; ``m`` holds the parts of the matrix, or where they and the thoughts lie."""
    if STREAMED:
        u = streamed_product(w, m[0], m[1], m[2], bias, BITS, PRECISION, TARGET)
    elif BITS:
        u = product_of_bits(w, m[0], m[1], bias, PRECISION, TARGET)
    else:
        u = product(w, m[0], m[1], m[2], bias, False, PRECISION, TARGET)
    return u


@triton.jit
def _step(
    x, draw, noise, half, factor, m, bias, i, dim,
    RULE: tl.constexpr, EVERY_STEP: tl.constexpr, ONES: tl.constexpr, PRECISION: tl.constexpr, TARGET: tl.constexpr,
    STREAMED: tl.constexpr,
):  # fmt: skip
    """A thought and what the next step begins with: where thoughts are bits that is the output u of the thought, so
    that w0, which may be real, is multiplied before all steps; else the thought, or u if only answers are drawn."""
    if draws_bits(RULE, EVERY_STEP):
        token = _token(x, x, draw, noise, half, factor, i, dim, RULE, ONES, TARGET)
        x = _output(token, m, bias, True, PRECISION, TARGET, STREAMED)
    else:
        u = _output(x, m, bias, False, PRECISION, TARGET, STREAMED)
        token = _token(u, x, draw, noise, half, factor, i, dim, RULE, ONES, TARGET)
        x = token if EVERY_STEP else u
    return token, x


@triton.jit
def _thoughts(w0, stride, n, k, rows, dim):
    """Coefficients k of samples n of w0; zero where padded."""
    return tl.load(w0 + n[:, None] * stride + k[None, :], mask=(n[:, None] < rows) & (k[None, :] < dim), other=0.0)


@triton.jit
def _first_output(w0, stride, state, bias, rows, dim, PRECISION: tl.constexpr, TARGET: tl.constexpr):
    """The output for w0, which may be real, by slices of the matrix: whole, it would take registers of the loop."""
    BN: tl.constexpr = bias.shape[0]
    D: tl.constexpr = bias.shape[1]
    K: tl.constexpr = D if D < 32 else 32
    u = bias
    for slice in range(0, D, K):
        k = slice + tl.arange(0, K)
        m1, m2, m3 = split(matrix(state, dim, k, tl.arange(0, D)), PRECISION, TARGET)
        w = _thoughts(w0, stride, tl.arange(0, BN), k, rows, dim)
        u = product(w, m1, m2, m3, u, False, PRECISION, TARGET)
    return u


@triton.jit
def _store(thoughts, token, stop, r, page, rows, dim, WHOLE: tl.constexpr):
    """Write the thought after step r of a listed block, if it is asked for; ``stop`` points to the block's row."""
    slot = tl.load(stop + 3 + r)
    if slot >= 0:
        # Zero, but the compiler cannot know: it would compute the addresses before the loop above, and hold them in
        # registers that the loop needs.
        origin = tl.load(stop + 2)
        row = (origin + tl.arange(0, token.shape[0]))[:, None]
        column = (origin + tl.arange(0, token.shape[1]))[None, :]
        place = thoughts + slot * page + row * dim + column
        if WHOLE:  # four coefficients at once
            place = tl.max_contiguous(tl.multiple_of(place, (16, 16)), (1, token.shape[1]))
            inside = tl.broadcast_to(row < rows, token.shape[0], token.shape[1])
        else:
            inside = (row < rows) & (column < dim)
        tl.store(place, token, mask=inside)


@compiled_once
def decode_kernel(
    work, state, w0, noise, stops, thoughts,
    page: tl.int64, samples: tl.int64, dim: tl.int32, stops_count: tl.int32,
    w0_prompt_stride: tl.int64, w0_sample_stride: tl.int64,
    seed: tl.uint64, first_prompt: tl.int64, first_sample: tl.int64, first_step: tl.int64, gain: tl.float32,
    RULE: tl.constexpr, EVERY_STEP: tl.constexpr, ONES: tl.constexpr, PRECISION: tl.constexpr, TARGET: tl.constexpr,
    D: tl.constexpr, BN: tl.constexpr, WHOLE: tl.constexpr, STREAMED: tl.constexpr,
):  # fmt: skip
    """A program decodes BN samples of one prompt, all D (padded) coefficients of them.

    The steps go in blocks of four, counted from that of ``first_step``. ``stops [stops_count, 7]``
    lists the blocks with asked thoughts: (first of the blocks before it that are not listed, itself, 0,
    row of ``thoughts`` to write after each of its four steps or -1). A row has ``page`` elements.
    The blocks that are not listed run in a loop that touches no memory but ``noise``, the schedule
    sigma_t. Block 0 is always listed: it may begin before ``first_step``.
    Padded coefficients have zero rows and columns in the matrix: they stay finite and without effect. WHOLE says that
    there are none, dim = D. STREAMED says that the matrix does not fit on chip: its slices pass by at every step, from
    ``work`` (streamed.py), ``stops`` lists all blocks, and there is one loop over steps and no other.
    """
    RANDOM: tl.constexpr = is_continuous(RULE) or EVERY_STEP  # else only the answers are
    if WHOLE:
        dim = D
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

    bias = -tl.load(state + i * (dim + 1) + dim, mask=i < dim, other=0.0)[None, :] + tl.zeros((BN, D), tl.float32)
    BITS: tl.constexpr = draws_bits(RULE, EVERY_STEP)
    if STREAMED:
        units, parts, own, drawn = places(
            work, prompt, tl.num_programs(0) // tiles, program, D, BN, BITS, PRECISION, TARGET
        )
        m = parts, own, dim
    if BITS:
        if STREAMED:
            unit = tl.load(units + i)[None, :]
        else:
            high, low, unit = split_for_bits(matrix(state, dim, i, i), PRECISION, TARGET)
            m = high, low, low
        inverse = _nearest_power(1.0 / unit)  # whose bits alone the compiler would compute again from all of the matrix
        x = _first_output(w0, w0_sample_stride, state, bias, rows, dim, PRECISION, TARGET) * unit
        bias = bias * unit
        w = _thoughts(w0, w0_sample_stride, n, i, rows, dim)
        bits = tl.min((w * (1.0 - w) == 0.0).to(tl.int32), 1)[:, None]  # a resumed chain goes on as if it were whole
        x = tl.where(bits == 1, _output(w, m, bias, True, PRECISION, TARGET, STREAMED), x)
        gain = tl.minimum(gain, 3.0e38 * tl.min(unit))  # an infinite factor would make NaN of u = 0
        half, factor = _thresholds(gain, unit, inverse, RULE)
    else:
        x = _thoughts(w0, w0_sample_stride, n, i, rows, dim)
        if not STREAMED:
            m = split(matrix(state, dim, i, i), PRECISION, TARGET)
        half, factor = _thresholds(gain, 1.0, 1.0, RULE)
    sample = (first_sample + start + n).to(tl.uint32)[:, None]
    coordinate = i.to(tl.uint32)[None, :]
    prompt = (first_prompt + prompt).to(tl.uint32)
    first_block = (first_step // 4).to(tl.uint32)

    begin = (first_step % 4).to(tl.int32)
    if STREAMED:
        for t in range(begin, 4 * stops_count):
            if (t == begin) | (t % 4 == 0):
                keep_draws(drawn, draws_of(seed, sample, coordinate, first_block + t // 4, prompt, RULE, TARGET))
            draw = tl.load(drawn + (t % 4) * BN * D + n[:, None] * D + i[None, :])
            token, x = _step(
                x, draw, noise + t, half, factor, m, bias, i[None, :], dim,
                RULE, EVERY_STEP, ONES, PRECISION, TARGET, STREAMED,
            )  # fmt: skip
            _store(thoughts, token, stops + 7 * (t // 4), t % 4, page, rows, dim, WHOLE)
    else:
        if begin > 0:  # what is left of the block of four in which the decode starts
            for r in range(begin, 4):
                draws = draws_of(seed, sample, coordinate, first_block, prompt, RULE, TARGET)
                draw = tl.where(r == 1, draws[1], tl.where(r == 2, draws[2], draws[3]))
                token, x = _step(
                    x, draw, noise + r, half, factor, m, bias, i[None, :], dim,
                    RULE, EVERY_STEP, ONES, PRECISION, TARGET, STREAMED,
                )  # fmt: skip
                _store(thoughts, token, stops, r, page, rows, dim, WHOLE)

        for stop in range(tl.where(begin > 0, 1, 0), stops_count):
            # A loop that carries the next block in a variable is compiled to start at 0 again: Triton 3.7.1
            # takes a variable that is only a bound for a constant. The table names both ends instead.
            first = tl.load(stops + 7 * stop)
            last = tl.load(stops + 7 * stop + 1)
            for q in range(first, last):
                if RANDOM:
                    draws = draws_of(seed, sample, coordinate, first_block + q, prompt, RULE, TARGET)
                for r in tl.static_range(4):
                    if RANDOM:
                        _, x = _step(
                            x, draws[r], noise + 4 * q + r, half, factor, m, bias, i[None, :], dim,
                            RULE, EVERY_STEP, ONES, PRECISION, TARGET, STREAMED,
                        )  # fmt: skip
                    else:
                        x = _output(x, m, bias, False, PRECISION, TARGET, STREAMED)

            draws = draws_of(seed, sample, coordinate, first_block + last, prompt, RULE, TARGET)
            for r in tl.static_range(4):
                token, x = _step(
                    x, draws[r], noise + 4 * last + r, half, factor, m, bias, i[None, :], dim,
                    RULE, EVERY_STEP, ONES, PRECISION, TARGET, STREAMED,
                )  # fmt: skip
                _store(thoughts, token, stops + 7 * stop, r, page, rows, dim, WHOLE)
