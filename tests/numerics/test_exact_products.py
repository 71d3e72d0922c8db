"""Products whose bits depend on nothing but the numbers: exact integers, accuracy, what is not finite."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch
from torch import Tensor

from ttc_fast.numerics import sums
from ttc_fast.numerics.exact_products import Factor


def drawn(*shape: int) -> Tensor:
    """Numbers of many magnitudes."""
    generator = torch.Generator().manual_seed(sum(shape))
    return torch.randn(shape, generator=generator) * 2.0 ** torch.randint(-20, 20, shape, generator=generator)


@pytest.mark.parametrize("k", [1, 7, 64, 300, 5000])
def test_product_is_that_of_the_rounded_factors(k: int) -> None:
    """In rational numbers: rows and columns rounded to multiples of 2^-b of a power of two above their largest number,
    the sum exact, one rounding to float32 at the end, to the bit."""
    a, b = drawn(2, k), drawn(k, 3)
    bits = (53 - (k - 1).bit_length()) // 2

    def rounded(line: Tensor) -> list[Fraction]:
        unit = Fraction(2) ** (int(torch.frexp(line.abs().max()).exponent) - bits)
        return [round(Fraction(one) / unit) * unit for one in line.tolist()]

    found = Factor(a).times(b)
    for i in range(2):
        for j in range(3):
            exact = sum(p * q for p, q in zip(rounded(a[i]), rounded(b[:, j])))
            assert found[i, j] == torch.tensor(float(exact), dtype=torch.float64).float()  # float64 holds it


def test_accuracy() -> None:
    """Both roundings are below 2^-22 of the largest of a line: an error below 2^-20.9 k max max, here for k = 64."""
    a, b = drawn(5, 64), drawn(2, 64, 40)
    found, exact = Factor(a).times(b), a.double() @ b.double()
    bound = 2**-20.9 * 64 * a.abs().amax(1)[:, None] * b.abs().amax(1, keepdim=True)
    assert bool(((found - exact).abs() <= bound).all())


def test_bits_do_not_depend_on_what_is_beside() -> None:
    """Nor on the number of threads, which BLAS cuts large products by."""
    a, b = drawn(96, 200), drawn(200, 777)
    whole, factor, threads = Factor(a).times(b), Factor(a), torch.get_num_threads()
    for columns in (slice(0, 1), slice(5, 8), slice(300, 777)):
        assert torch.equal(factor.times(b[:, columns]), whole[:, columns])
    assert torch.equal(Factor(a[3:9]).times(b), whole[3:9])
    try:
        torch.set_num_threads(3)
        assert torch.equal(factor.times(b), whole)
    finally:
        torch.set_num_threads(threads)


def test_edges() -> None:
    """A line that is not finite is lost alone; tiny and huge numbers, zeros; float64 goes through sums.matmul."""
    a, b = torch.randn(4, 6, generator=torch.Generator().manual_seed(1)), drawn(6, 5)
    for bad in (float("inf"), float("nan")):
        b[2, 1] = bad
        found = Factor(a).times(b)
        assert found.isfinite().all(0).tolist() == [True, False, True, True, True]
    b[:, 1] = torch.tensor([0.0, 1e-45, -1e-38, 1e-30, 0.0, 1e-33])
    b[:, 2], b[:, 3] = 0.0, 1e37
    torch.testing.assert_close(Factor(a).times(b), (a.double() @ b.double()).float(), rtol=1e-6, atol=1e-35)
    wide = a.double()
    assert torch.equal(Factor(wide).times(b.double()), sums.matmul(wide, b.double()))
