"""Philox4x32-10 in Triton: counterpart of ``ttc_fast/numerics/rng.py``, where the layout of the counter is defined."""

from __future__ import annotations

import contextlib

import torch
import triton
import triton.language as tl
from torch import Tensor

from . import target

# One IMAD.WIDE on NVIDIA, where Triton's own umulhi and multiply would be two instructions.
_WIDE_0 = tl.constexpr("{ .reg .b64 p; mul.wide.u32 p, $2, 0xD2511F53; mov.b64 {$0, $1}, p; }")
_WIDE_2 = tl.constexpr("{ .reg .b64 p; mul.wide.u32 p, $2, 0xCD9E8D57; mov.b64 {$0, $1}, p; }")


@triton.jit
def _multiply(c, FACTOR: tl.constexpr, ASM: tl.constexpr, TARGET: tl.constexpr):
    """Low and high word of the 64-bit product."""
    if TARGET == "cuda":
        low, high = tl.inline_asm_elementwise(ASM, "=r,=r,r", [c], dtype=(tl.uint32, tl.uint32), is_pure=True, pack=1)
    else:
        product = c.to(tl.uint64) * FACTOR
        low = product.to(tl.uint32)
        high = (product >> 32).to(tl.uint32)
    return low, high


@triton.jit
def philox4x32_10(seed, c0, c1, c2, c3, TARGET: tl.constexpr):
    """Four uint32 words of a counter under the key (seed low, seed high); never tl.rand*, whose
    counters and maps to floats differ between versions of Triton."""
    k0 = seed.to(tl.uint32)
    k1 = (seed.to(tl.uint64) >> 32).to(tl.uint32)  # in the interpreter an argument is as wide as its value
    for _ in tl.static_range(10):
        low0, high0 = _multiply(c0, 0xD2511F53, _WIDE_0, TARGET)
        low2, high2 = _multiply(c2, 0xCD9E8D57, _WIDE_2, TARGET)
        c0 = high2 ^ c1 ^ k0
        c1 = low2
        c2 = high0 ^ c3 ^ k1
        c3 = low0
        k0 = tl.add(k0, 0x9E3779B9, sanitize_overflow=False)
        k1 = tl.add(k1, 0xBB67AE85, sanitize_overflow=False)
    return c0, c1, c2, c3


@triton.jit
def philox_kernel(counters_ptr, words_ptr, seed: tl.uint64, n: tl.int64, TARGET: tl.constexpr, BLOCK: tl.constexpr):
    """Words of counters, both int64 ``[n, 4]``: for tests."""
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    mask = i < n
    c0 = tl.load(counters_ptr + 4 * i, mask=mask, other=0).to(tl.uint32)
    c1 = tl.load(counters_ptr + 4 * i + 1, mask=mask, other=0).to(tl.uint32)
    c2 = tl.load(counters_ptr + 4 * i + 2, mask=mask, other=0).to(tl.uint32)
    c3 = tl.load(counters_ptr + 4 * i + 3, mask=mask, other=0).to(tl.uint32)
    words = philox4x32_10(seed, c0, c1, c2, c3, TARGET)
    for r in tl.static_range(4):
        tl.store(words_ptr + 4 * i + r, words[r].to(tl.int64), mask=mask)


def philox(counters: Tensor, seed: int) -> Tensor:
    """Words of counters, both int64 ``[n, 4]`` with values in [0, 2^32)."""
    words = torch.empty_like(counters)
    block = 1024
    grid = (triton.cdiv(len(counters), block),)
    with contextlib.nullcontext() if counters.device.type == "cpu" else torch.cuda.device(counters.device):
        philox_kernel[grid](counters.contiguous(), words, seed, len(counters), TARGET=target(), BLOCK=block)
    return words
