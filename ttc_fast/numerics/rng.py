"""The random numbers of every backend: Philox4x32-10, counter-based, without state.

A random word is a pure function of who asks for it (prompt, sample, coordinate, step, stream) and of
the seed, so a chunk, a shard or another device draws the same words. One call of the generator makes
four words, which serve four consecutive steps of one coefficient.

The same in other languages: ``csrc/philox.h`` (C++) and ``kernels/philox.py`` (Triton).
Source: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
"""

from __future__ import annotations

import enum
import math
from typing import Final, TypeAlias

import torch
from torch import Tensor

LAYOUT: Final = "philox4x32-10/v1"
"""Version of the counter layout and of the maps to floats; stored with every result."""

STEPS_PER_BLOCK: Final = 4
"""Steps of one coefficient that one Philox call serves."""

Words: TypeAlias = tuple[Tensor, Tensor, Tensor, Tensor]
"""Four int64 tensors with values in [0, 2^32), of shapes that broadcast together."""

_MASK = 0xFFFFFFFF
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_KEY_INCREMENTS = (0x9E3779B9, 0xBB67AE85)
_ROUNDS = 10


class Stream(enum.IntEnum):
    """What a word is for; words of different streams never meet."""

    NOISE = 0
    BERNOULLI = 1
    VERIFIER = 2
    FEATURES = 3
    LABEL_NOISE = 4
    COEFFICIENTS = 5
    RESAMPLING = 6
    TIES = 7
    SUBSETS = 8
    AIM = 9
    SUBSET_SAMPLING = 10
    START = 11
    TRAINING = 12


def counter(
    stream: Stream,
    *,
    prompt: Tensor | int = 0,
    sample: Tensor | int = 0,
    coordinate: Tensor | int = 0,
    block: Tensor | int = 0,
) -> Words:
    """The counter of one Philox call: the only place where its layout is defined.

    Args:
        stream: purpose of the words, 8 bits.
        prompt: global index of the prompt, below 2^32.
        sample: global index of the sample, below 2^32.
        coordinate: index of the coefficient, below 2^24.
        block: step div 4, below 2^32; word r of the call belongs to step 4 * block + r.

    Returns:
        ``(sample, coordinate | stream << 24, block, prompt)`` as int64 tensors. The fields do not
        overlap, so different arguments give different counters.
    """
    device = next((v.device for v in (prompt, sample, coordinate, block) if isinstance(v, Tensor)), None)
    words = [torch.as_tensor(v, dtype=torch.int64, device=device) for v in (sample, coordinate, block, prompt)]
    return words[0], words[1] | int(stream) << 24, words[2], words[3]


def philox(counter: Words, seed: int) -> Words:
    """Philox4x32-10 of a counter under the key (seed low 32 bits, seed high 32 bits).

    Args:
        counter: four int64 tensors with values in [0, 2^32), shapes that broadcast together.
        seed: integer in [0, 2^64).

    Returns:
        Four int64 tensors with values in [0, 2^32).
    """
    c0, c1, c2, c3 = counter
    key0, key1 = seed & _MASK, seed >> 32 & _MASK
    for _ in range(_ROUNDS):
        # int64 products wrap modulo 2^64. The low word is masked only where it is used, after the
        # exclusive or; so are the bits that the arithmetic shift copies from the sign.
        product0, product1 = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]
        c0 = ((product1 >> 32) ^ c1).bitwise_xor_(key0).bitwise_and_(_MASK)
        c2 = ((product0 >> 32) ^ c3).bitwise_xor_(key1).bitwise_and_(_MASK)
        c1, c3 = product1, product0
        key0, key1 = key0 + _KEY_INCREMENTS[0] & _MASK, key1 + _KEY_INCREMENTS[1] & _MASK
    return c0, c1 & _MASK, c2, c3 & _MASK


def uniform(word: Tensor, dtype: torch.dtype) -> Tensor:
    """Uniform in [0, 1): ``(word >> 8) * 2^-24``, exact in float32 and in float64.

    Args:
        word: random words in [0, 2^32), int64.
        dtype: of the result.
    """
    return (word >> 8).to(dtype) * 2.0**-24


def exponential(word: Tensor, dtype: torch.dtype) -> Tensor:
    """Exponential with mean 1, -ln((a + 0.5) 2^-32) of a word a; in float32 a near 2^32 gives 0.

    Args:
        word: random words in [0, 2^32), int64.
        dtype: of the result, in which each operation is rounded once.
    """
    return ((word.to(dtype) + 0.5) * 2.0**-32).log_().neg_()


def normals(words: Words, dtype: torch.dtype) -> Words:
    """Four standard normals of four words, for steps 4q to 4q + 3, by Box and Muller's transform.

    Words (0, 1) = (a, b) give the first two: radius sqrt(-2 ln((a + 0.5) 2^-32)), angle 2 pi b 2^-32,
    first step radius * cos, second radius * sin; words (2, 3) give the other two likewise. All is
    evaluated in ``dtype``, each operation rounded once; in float32 a = 2^32 - 1 gives radius 0.

    Args:
        words: of one call of :func:`philox`.
        dtype: of the result.
    """
    n0, n1 = _box_muller(words[0], words[1], dtype)
    n2, n3 = _box_muller(words[2], words[3], dtype)
    return n0, n1, n2, n3


def _box_muller(a: Tensor, b: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    radius = ((a.to(dtype) + 0.5) * 2.0**-32).log_().mul_(-2.0).sqrt_()
    angle = (b.to(dtype) * 2.0**-32).mul_(2.0 * math.pi)
    return radius * angle.cos(), radius * angle.sin()
