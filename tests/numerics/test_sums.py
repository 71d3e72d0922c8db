"""Sums in a fixed order."""

from __future__ import annotations

import pytest
import torch

from ttc_fast.numerics import sums


@pytest.mark.parametrize("length", [1, 2, 3, 7, 8, 100, 1023])
def test_tree_sum_is_a_sum(length: int) -> None:
    x = torch.arange(3 * length * 2, dtype=torch.float64).reshape(3, length, 2)  # whole numbers: exact
    assert torch.equal(sums.tree_sum(x, 1), x.sum(1))
    assert torch.equal(sums.tree_sum(x, -2), x.sum(1))
    assert torch.equal(sums.tree_sum(x.transpose(1, 2), -1), x.sum(1))
    assert torch.equal(sums.tree_mean(x, 1), x.sum(1) / length)


def test_matmul_is_a_product() -> None:
    a, b = torch.arange(24.0).reshape(2, 3, 4), torch.arange(40.0).reshape(2, 4, 5)
    assert torch.equal(sums.matmul(a, b), a @ b)  # whole numbers: exact


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_bits_do_not_depend_on_shape_or_threads(threads: int) -> None:
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(3, 5, 7, generator=generator), torch.randn(3, 7, 40_001, generator=generator)
    torch.set_num_threads(threads)
    whole, total = sums.matmul(a, b), sums.tree_sum(b, 1)
    for part in (slice(0, 1), slice(3, 20), slice(1, 40_000)):
        assert torch.equal(sums.matmul(a[1:2], b[1:2, :, part]), whole[1:2, :, part])
        assert torch.equal(sums.tree_sum(b[1:2, :, part], 1), total[1:2, part])


def test_tiles_cover() -> None:
    for length, size in ((0, 3), (1, 3), (3, 3), (10, 3), (5, 0)):
        covered = [i for tile in sums.tiles(length, size) for i in range(tile.start, tile.stop)]
        assert covered == list(range(length))
