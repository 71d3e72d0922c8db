"""The random-number contract: words, their counters, uniforms and normals."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import stats

from oracles import ALPHA
from ttc_fast.numerics import rng

Philox = Callable[[NDArray[np.uint32], int], NDArray[np.uint32]]

# Random123 1.14, tests/kat_vectors, rows "philox4x32 10": counter, key (low, high), words.
KNOWN_ANSWERS = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
]
SEEDS = [0, 1, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**63 - 1, 2**63, 2**64 - 1]


def hexadecimal(text: str) -> list[int]:
    return [int(word, 16) for word in text.split()]


def torch_philox(counters: NDArray[np.uint32], seed: int) -> NDArray[np.uint32]:
    columns = torch.from_numpy(counters.astype(np.int64)).unbind(1)
    words = rng.philox((columns[0], columns[1], columns[2], columns[3]), seed)
    return torch.stack(words, 1).numpy().astype(np.uint32)


def native_philox(counters: NDArray[np.uint32], seed: int) -> NDArray[np.uint32]:
    extension = pytest.importorskip("ttc_fast._C", reason="the C++ extension is not built")
    words: NDArray[np.uint32] = extension.philox(counters, seed)
    return words


def triton_philox(counters: NDArray[np.uint32], seed: int) -> NDArray[np.uint32]:
    """In Triton's interpreter, which must be chosen before Triton is imported: hence another process."""
    pytest.importorskip("triton", reason="Triton is not installed")
    code = (
        "import sys, numpy, torch; from ttc_fast.kernels.philox import philox;"
        "c = torch.from_numpy(numpy.frombuffer(sys.stdin.buffer.read(), numpy.uint32).reshape(-1, 4).astype('int64'));"
        "sys.stdout.buffer.write(philox(c, int(sys.argv[1])).numpy().astype(numpy.uint32).tobytes())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(seed)],
        input=counters.tobytes(),
        env={**os.environ, "TRITON_INTERPRET": "1"},
        capture_output=True,
        check=True,
    )
    return np.frombuffer(done.stdout, np.uint32).reshape(-1, 4)


def random_counters(n: int) -> NDArray[np.uint32]:
    """Counters over the whole range, the corners of 31 and 32 bits among them."""
    counters = np.random.default_rng(0).integers(0, 2**32, (n, 4), dtype=np.uint32)
    corners = np.array([0, 1, 2**31 - 1, 2**31, 2**31 + 1, 2**32 - 1], dtype=np.uint32)
    counters[:1296] = np.stack(np.meshgrid(*[corners] * 4), -1).reshape(-1, 4)
    return counters


@pytest.mark.parametrize("philox", [torch_philox, native_philox, triton_philox])
def test_known_answers(philox: Philox) -> None:
    for counter, key, words in KNOWN_ANSWERS:
        low, high = hexadecimal(key)
        got = philox(np.array([hexadecimal(counter)], dtype=np.uint32), high << 32 | low)
        assert got.tolist() == [hexadecimal(words)]


@pytest.mark.parametrize("seed", SEEDS)
def test_native_words_equal_torch_words(seed: int) -> None:
    counters = random_counters(20_000)
    np.testing.assert_array_equal(native_philox(counters, seed), torch_philox(counters, seed))


@pytest.mark.parametrize("seed", [2**31, 2**64 - 1])
def test_triton_words_equal_torch_words(seed: int) -> None:
    counters = random_counters(3000)  # not a multiple of the kernel's block
    np.testing.assert_array_equal(triton_philox(counters, seed), torch_philox(counters, seed))


def test_native_refuses_other_shapes() -> None:
    with pytest.raises(ValueError, match=r"counters: expected shape \[n, 4\]"):
        native_philox(np.zeros((4, 3), np.uint32), 0)


def test_counter_is_injective() -> None:
    """Every field can be read back from the counter, at all corners of its range."""
    streams = [*rng.Stream, 255]
    corners32, corners24 = [0, 1, 2**31, 2**32 - 1], [0, 1, 2**23, 2**24 - 1]
    for stream in streams:
        for prompt in corners32:
            for sample in corners32:
                for coordinate in corners24:
                    for block in corners32:
                        c = rng.counter(
                            stream,  # 255: the highest one left for later
                            prompt=prompt,
                            sample=sample,
                            coordinate=coordinate,
                            block=block,
                        )
                        c0, c1, c2, c3 = (int(v) for v in c)
                        assert max(c0, c1, c2, c3) < 2**32
                        assert (c1 >> 24, c3, c0, c1 & (2**24 - 1), c2) == (stream, prompt, sample, coordinate, block)


def test_uniform_is_exact_in_both_dtypes() -> None:
    words = torch.tensor([0, 255, 256, 2**31, 2**32 - 1])
    expected = [0.0, 0.0, 2.0**-24, 0.5, 1 - 2.0**-24]
    for dtype in (torch.float32, torch.float64):
        assert rng.uniform(words, dtype).tolist() == expected


def block_of_words(n: int, stream: rng.Stream = rng.Stream.NOISE) -> rng.Words:
    return rng.philox(rng.counter(stream, sample=torch.arange(n)), 12345)


def test_normals_at_the_ends_of_the_range() -> None:
    ends = torch.tensor([0, 2**32 - 1]), torch.tensor([0, 2**31])
    for dtype in (torch.float32, torch.float64):
        n = rng.normals((*ends, *ends), dtype)
        assert all(v.isfinite().all() for v in n)
        assert n[0][0].item() == pytest.approx((2 * 33 * np.log(2)) ** 0.5, rel=1e-6)  # a = 0: 6.76 sigma
    assert rng.normals((*ends, *ends), torch.float32)[0][1].item() == 0.0  # a = 2^32 - 1: radius 0


def test_normals_follow_box_muller() -> None:
    a, b = np.array([1.0, 2**20 + 3, 2**31, 2**32 - 2**12]), np.array([7.0, 2**30 + 5, 3 * 2**30, 2**32 - 9])
    radius, angle = np.sqrt(-2 * np.log((a + 0.5) / 2**32)), 2 * np.pi * b / 2**32
    first, second = torch.tensor(a).long(), torch.tensor(b).long()
    n = rng.normals((first, second, second, first), torch.float64)
    np.testing.assert_allclose(n[0], radius * np.cos(angle), rtol=1e-13)
    np.testing.assert_allclose(n[1], radius * np.sin(angle), rtol=1e-13)


def test_normals_are_standard_normal() -> None:
    """Kolmogorov-Smirnov, moments and tails of 4 * 2^18 normals; each test alarms falsely once in 10^6."""
    n = torch.stack(rng.normals(block_of_words(2**18), torch.float32)).double()
    size = n.numel()
    assert stats.kstest(n.flatten().numpy(), "norm").pvalue > ALPHA
    limit = stats.norm.isf(ALPHA / 2)
    for power, moment, variance in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)):
        assert abs((n**power).mean().item() - moment) < limit * (variance / size) ** 0.5
    for threshold in (2.0, 3.0, 4.0):
        count = int((n.abs() > threshold).sum())
        assert stats.binomtest(count, size, 2 * stats.norm.sf(threshold)).pvalue > ALPHA


def test_normals_of_a_call_are_uncorrelated() -> None:
    """So are neighbouring samples, and streams: 9 correlations, each false alarm 10^-6."""
    n = torch.stack(rng.normals(block_of_words(2**18), torch.float64)).numpy()
    other = rng.normals(block_of_words(2**18, rng.Stream.LABEL_NOISE), torch.float64)[0].numpy()
    pairs = [(n[i], n[j]) for i in range(4) for j in range(i)]
    pairs += [(n[0, 1:], n[0, :-1]), (n[0], other), (n[0] ** 2, n[1] ** 2)]
    for x, y in pairs:
        assert stats.pearsonr(x, y).pvalue > ALPHA


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_normals_do_not_depend_on_position(dtype: torch.dtype, threads: int) -> None:
    """Bits survive another offset, length, stride and number of threads: promise 2 stands on this."""
    torch.set_num_threads(threads)
    words = block_of_words(70_001)
    whole = torch.stack(rng.normals(words, dtype))
    for part in (slice(0, 1), slice(1, 8), slice(5, 38), slice(3, 4099), slice(7, 70_000), slice(2, None, 3)):
        cut = (words[0][part], words[1][part], words[2][part], words[3][part])
        assert torch.equal(torch.stack(rng.normals(cut, dtype)), whole[:, part])
