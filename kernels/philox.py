"""Philox4x32-10 in Triton: twin of ``ttc_fast/rng.py``, where the layout of the counter is defined."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor


@triton.jit
def philox4x32_10(seed, c0, c1, c2, c3):
    """Four uint32 words of a counter under the key (seed low, seed high); never tl.rand*, whose
    counters and maps to floats differ between versions of Triton."""
    return tl.philox(seed, c0, c1, c2, c3, n_rounds=10)


@triton.jit
def _philox_kernel(counters_ptr, words_ptr, seed, n, BLOCK: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    mask = i < n
    c0 = tl.load(counters_ptr + 4 * i, mask=mask, other=0).to(tl.uint32)
    c1 = tl.load(counters_ptr + 4 * i + 1, mask=mask, other=0).to(tl.uint32)
    c2 = tl.load(counters_ptr + 4 * i + 2, mask=mask, other=0).to(tl.uint32)
    c3 = tl.load(counters_ptr + 4 * i + 3, mask=mask, other=0).to(tl.uint32)
    w0, w1, w2, w3 = philox4x32_10(seed, c0, c1, c2, c3)
    tl.store(words_ptr + 4 * i, w0.to(tl.int64), mask=mask)
    tl.store(words_ptr + 4 * i + 1, w1.to(tl.int64), mask=mask)
    tl.store(words_ptr + 4 * i + 2, w2.to(tl.int64), mask=mask)
    tl.store(words_ptr + 4 * i + 3, w3.to(tl.int64), mask=mask)


def philox(counters: Tensor, seed: int) -> Tensor:
    """Words of counters, both int64 ``[n, 4]`` with values in [0, 2^32)."""
    words = torch.empty_like(counters)
    block = 1024
    _philox_kernel[(triton.cdiv(len(counters), block),)](counters.contiguous(), words, seed, len(counters), block)
    return words
