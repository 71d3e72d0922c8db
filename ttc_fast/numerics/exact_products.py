"""Matrix products by BLAS whose bits do not depend on the order of additions, hence on shape, chunk, threads or device.

Each row of the left factor, and each column of the right one, is rounded to integers of b bits times a power of two of
its own. With 2 b + log2 k <= 53 every partial sum of k products is an integer that float64 holds, so that the product
is exact, whatever BLAS does; it is rounded to float32 once. For k <= 256 the integers have 22 bits or more: the error
is that of float32 relative to the largest number of a row. It is the splitting of Ozaki et al. (Numerical Algorithms
59, 2012), of which one part suffices here.
"""

from __future__ import annotations

import torch
from torch import Tensor

from . import sums


class Factor:
    """A left factor, split once for many products.

    Args:
        matrix: ``[..., p, k]``; float64 is multiplied as it is, in the fixed order of :func:`sums.matmul`.

    >>> import torch
    >>> Factor(torch.tensor([[1.0, 2.0]])).times(torch.tensor([[3.0], [4.0]]))
    tensor([[11.]])
    """

    def __init__(self, matrix: Tensor) -> None:
        self.matrix = matrix
        self.bits = (53 - (matrix.shape[-1] - 1).bit_length()) // 2
        if matrix.dtype == torch.float32:
            self.integers, self.unit = _split(matrix, -1, self.bits)

    def times(self, b: Tensor) -> Tensor:
        """This times ``b [..., k, q]``, in the dtype of both: ``[..., p, q]``.

        Args:
            b: right factor.
        """
        if self.matrix.dtype != torch.float32:
            return sums.matmul(self.matrix, b)
        integers, unit = _split(b, -2, self.bits)
        # Multiplied by powers of two one after the other: no rounding but that of the conversion, and of underflow.
        return torch.matmul(self.integers, integers).float().mul_(self.unit).mul_(unit)


def _split(a: Tensor, dim: int, bits: int) -> tuple[Tensor, Tensor]:
    """Integers in float64 and, in float32, the power of two that they are of, one for each line along ``dim``; numbers
    below 2^-100 are of that of 2^-100."""
    exponent = torch.frexp(a.abs().amax(dim, keepdim=True)).exponent.clamp_(-100, 129) - bits
    unit, inverse = ((127 + sign * exponent << 23).view(torch.float32) for sign in (1, -1))
    return (a * inverse).round_().double(), unit
