"""From results per prompt to figures with intervals."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.special import stdtrit
from torch import Tensor


class Summary(NamedTuple):
    """A metric over prompts."""

    mean: float
    ci_low: float
    ci_high: float
    median: float


def summarize(values: Tensor, confidence: float = 0.95) -> Summary:
    """Mean, median and Student's t interval of the mean of independent prompts' values ``[B]``.

    With one prompt the interval is NaN. The mean over prompts is heavy-tailed where some prompts make
    the chain diverge; the median is not.
    """
    array = values.double().numpy()
    with np.errstate(invalid="ignore", over="ignore"):  # chains that diverged
        mean, half = float(array.mean()), float("nan")
        if len(array) > 1:
            half = float(stdtrit(len(array) - 1, (1 + confidence) / 2) * array.std(ddof=1) / np.sqrt(len(array)))
        return Summary(mean, mean - half, mean + half, float(np.median(array)))
