"""Triton: what is asked of candidate answers, which are read once and stay on the GPU. Launched by ``aggregate.py``.

Counterparts of ``csrc/aggregate.cpp``. Sums have a fixed order, so that no result depends on the batch.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .once import compiled_once


@compiled_once
def factor_kernel(x, y, factor, examples: tl.int32, dim: tl.int32, D: tl.constexpr):
    """R ``[dim + 1, dim + 1]`` of each prompt with sum_i (<w, x_i> - y_i)^2 = |R (w, -1)|^2: the Cholesky factor of the
    Gram matrix of all (x_i, y_i) in float64, where pivots of rounding alone count as zero."""
    prompt, c = tl.program_id(0).to(tl.int64), tl.arange(0, D)
    gram = tl.zeros([D, D], tl.float64)
    for i in range(examples):
        at = prompt * examples + i
        row = tl.load(x + at * dim + c, mask=c < dim, other=0.0)
        row = tl.where(c == dim, tl.load(y + at), row).to(tl.float64)
        gram += row[:, None] * row[None, :]
    diagonal = tl.sum(tl.where(c[:, None] == c[None, :], gram, 0.0), 0)
    for j in range(dim + 1):
        column = tl.sum(tl.where(c[None, :] == j, gram, 0.0), 1)
        pivot, whole = tl.sum(tl.where(c == j, column, 0.0), 0), tl.sum(tl.where(c == j, diagonal, 0.0), 0)
        scale = tl.where(pivot > 1e-14 * whole, 1.0 / tl.sqrt(tl.maximum(pivot, 1e-300)), 0.0)
        row = tl.where(c >= j, column * scale, 0.0)
        tl.store(factor + (prompt * (dim + 1) + j) * (dim + 1) + c, row.to(tl.float32), mask=c <= dim)
        gram -= row[:, None] * row[None, :]


@compiled_once
def measure_kernel(
    w, rows, target, weight, loss, distance, bits,
    count: tl.int64, samples: tl.int64, dim: tl.int32, rows_count: tl.int32, factor: tl.float32,
    LOSS: tl.constexpr, KINDS: tl.constexpr, EQUALITY: tl.constexpr, PACK: tl.constexpr,
    D: tl.constexpr, BN: tl.constexpr,
):  # fmt: skip
    """Loss ``[B, N]``, distances ``[KINDS (+ 1), B, N]`` and bits ``[B, words, N]`` of BN candidates of a prompt."""
    tiles = tl.cdiv(samples, BN)
    prompt = (tl.program_id(0) // tiles).to(tl.int64)
    s, c = (tl.program_id(0) % tiles) * BN + tl.arange(0, BN), tl.arange(0, D)
    there = (s < samples)[:, None] & (c < dim)[None, :]
    at = prompt * samples + s
    thought = tl.load(w + at[:, None] * dim + c[None, :], mask=there, other=0.0)
    if LOSS:
        total = tl.zeros([BN], tl.float32)
        for first in range(0, rows_count, 16):
            r = first + tl.arange(0, 16)
            start = (prompt * rows_count + r) * (dim + 1)
            known = r < rows_count
            matrix = tl.load(rows + start[None, :] + c[:, None], mask=known[None, :] & (c < dim)[:, None], other=0.0)
            label = tl.load(rows + start + dim, mask=known, other=0.0)
            residual = tl.dot(thought, matrix, input_precision="ieee") - label[None, :]
            total += tl.sum(residual * residual, 1)
        tl.store(loss + at, total * factor, mask=s < samples)
    if KINDS > 0:
        off = thought - tl.load(target + prompt * dim + c, mask=c < dim, other=0.0)[None, :]
        square = tl.where(there, off * off, 0.0)
        for kind in tl.static_range(KINDS):
            each = tl.load(weight + kind * dim + c, mask=c < dim, other=0.0)
            sum_ = tl.sum(square * each[None, :], 1)
            tl.store(distance + kind * count + at, sum_, mask=s < samples)
            if EQUALITY and kind == 0:
                tl.store(distance + KINDS * count + at, tl.where(sum_ == 0.0, 1.0, 0.0), mask=s < samples)
    if PACK:
        words: tl.constexpr = (D + 63) // 64
        one = tl.where(there & (thought > 0.5), 1, 0).to(tl.int64) << (c % 64).to(tl.int64)[None, :]
        packed = tl.sum(tl.reshape(one, [BN, words, D // words]), 2)
        k = tl.arange(0, words)
        place = (prompt * tl.cdiv(dim, 64) + k)[None, :] * samples + s[:, None]
        tl.store(bits + place, packed, mask=(s < samples)[:, None] & (k * 64 < dim)[None, :])


@compiled_once
def sum_kernel(x, out, length: tl.int64, width: tl.int32, T: tl.constexpr, C: tl.constexpr):
    """Sums of T rows ``[length, width]`` of each item by pairs, then pairs of pairs, as ``sums.tree_sum``: the zeros
    behind the last row change no pair."""
    tiles, columns = tl.cdiv(length, T), tl.cdiv(width, C)
    column, rest = tl.program_id(0) % columns, (tl.program_id(0) // columns).to(tl.int64)
    item, tile = rest // tiles, rest % tiles
    c, t = column * C + tl.arange(0, C), tile * T + tl.arange(0, T)
    total = tl.load(
        x + (item * length + t)[:, None] * width + c[None, :], mask=(t < length)[:, None] & (c < width)[None, :],
        other=0.0,
    )  # fmt: skip
    halves: tl.constexpr = 6  # T = 64
    for level in tl.static_range(halves):
        total = tl.sum(tl.reshape(total, [T >> (level + 1), 2, C]), 1)
    tl.store(out + rest * width + c, tl.reshape(total, [C]), mask=c < width)


@compiled_once
def best_kernel(
    values, order, start, stop, weight, running, out, prompts: tl.int32, samples: tl.int64, columns: tl.int32,
    K: tl.constexpr, BN: tl.constexpr, PART: tl.constexpr,
):  # fmt: skip
    """sum_j weight[j, k] value_(j) over PART ranks of every row of values; those of a run of equal scores share the
    run's weight."""
    parts = tl.cdiv(samples, PART).to(tl.int32)
    row, part = (tl.program_id(0) // parts).to(tl.int64), tl.program_id(0) % parts
    prompt, k = row % prompts, tl.arange(0, K)
    total = tl.zeros([K], tl.float64)
    for first in range(part * PART, tl.minimum(part * PART + PART, samples), BN):
        j = first + tl.arange(0, BN)
        there = j < samples
        at = prompt * samples + j
        begin, end = tl.load(start + at, mask=there, other=0), tl.load(stop + at, mask=there, other=1)
        place = tl.load(order + at, mask=there, other=0)
        value = tl.load(values + row * samples + place, mask=there, other=0.0).to(tl.float64)
        cell = there[:, None] & (k < columns)[None, :]
        own = tl.load(weight + j[:, None] * columns + k[None, :], mask=cell, other=0.0)
        run = tl.load(running + end[:, None] * columns + k[None, :], mask=cell, other=0.0)
        run -= tl.load(running + begin[:, None] * columns + k[None, :], mask=cell, other=0.0)
        share = tl.where((end - begin == 1)[:, None], own, run / (end - begin)[:, None].to(tl.float64))
        total += tl.sum(tl.where(share == 0.0, 0.0, share * value[:, None]), 0)
    tl.store(out + (row * parts + part) * columns + k, total, mask=k < columns)


@triton.jit
def _product(a, b):
    return a * b


@compiled_once
def recovery_kernel(
    bits, aim, orders, jobs, probability, right,
    jobs_count: tl.int32, groups: tl.int64, samples: tl.int64, dim: tl.int32,
    G: tl.constexpr, T: tl.constexpr, D: tl.constexpr,
):  # fmt: skip
    """Probability that the majority of a group of candidates is the aim, of G groups of one size at a time.

    A job is (size, first of the G groups, groups of this size, row of ``orders``, place of group 0 in
    ``probability``). The votes of the last group, which is of all samples, are left in ``right``.
    """
    prompt, job = (tl.program_id(0) // jobs_count).to(tl.int64), jobs + (tl.program_id(0) % jobs_count) * 5
    size, first, limit = tl.load(job), tl.load(job + 1), tl.load(job + 2)
    order, place = orders + tl.load(job + 3) * samples, tl.load(job + 4)
    g, t, c = first + tl.arange(0, G), tl.arange(0, T), tl.arange(0, D)
    wanted = tl.load(aim + prompt * dim + c, mask=c < dim, other=0.0) > 0.5
    word = (prompt * tl.cdiv(dim, 64) + c // 64) * samples
    votes = tl.zeros([G, D], tl.int32)
    for begin in range(0, size, T):
        there = (g < limit)[:, None] & (begin + t < size)[None, :]
        sample = tl.load(order + g[:, None] * size + begin + t[None, :], mask=there, other=0)
        both = there[:, :, None] & (c < dim)[None, None, :]
        packed = tl.load(bits + word[None, None, :] + sample[:, :, None], mask=both, other=0)
        bit = (packed >> (c % 64).to(tl.int64)[None, None, :]) & 1
        votes += tl.sum((both & ((bit == 1) == wanted[None, None, :])).to(tl.int32), 1)
    share = tl.where(2 * votes > size, 1.0, tl.where(2 * votes == size, 0.5, 0.0)).to(tl.float64)
    share = tl.where((c < dim)[None, :], share, 1.0)
    tl.store(probability + prompt * groups + place + g, tl.reduce(share, 1, _product), mask=g < limit)
    whole = tl.where(place == groups - 1, g == 0, False)[:, None] & (c < dim)[None, :]
    tl.store(right + prompt * dim + c[None, :] + 0 * g[:, None], votes.to(tl.int64), mask=whole)


@compiled_once
def mean_kernel(values, begins, counts, out, length: tl.int64, segments: tl.int32, BN: tl.constexpr):
    """Means of the segments of every row ``[length]`` of float64, in a fixed order."""
    row, k = (tl.program_id(0) // segments).to(tl.int64), tl.program_id(0) % segments
    begin, count, j = tl.load(begins + k), tl.load(counts + k), tl.arange(0, BN)
    total = tl.zeros([BN], tl.float64)
    for first in range(0, count, BN):
        total += tl.load(values + row * length + begin + first + j, mask=first + j < count, other=0.0)
    tl.store(out + row * segments + k, tl.sum(total, 0) / count.to(tl.float64))
