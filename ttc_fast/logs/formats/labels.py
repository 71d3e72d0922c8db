"""Labels of several responses of which a log keeps one metric: only a comparison that reproduces it can be trusted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .. import fields
from ..answers import boxed, given, last_number, same

_MEANS = ("pass@1", "pass_at_1", "mean", "avg", "pass@k:k=1&n=")
"""Metrics that are a mean over the responses by their name."""


def labelled(
    answers: Sequence[str | None], truth: str | None, metric: str, value: Any
) -> tuple[list[bool], list[str | None]] | int:
    """A label for each of several responses, and its answer; or how many are right, if more is not known.

    The responses are compared with the true answer as they are, then what stands in their last box, then their last
    number; the first comparison counts whose labels give the row's metric: as that of the first response, the best, the
    mean or the majority.

    Args:
        answers: the responses, at least two; None for none.
        truth: the true answer, if the log has one.
        metric: its name.
        value: of the row.

    Raises:
        ValueError: no comparison reproduces the metric, and it is no mean over the responses.

    >>> labelled(["7", "8"], "7", "exact_match", 1.0)
    ([True, False], ['7', '8'])
    >>> labelled(["def f(x): ...", "def g(x): ..."], "assert f(1) == 2", "pass@1", 0.5)
    1
    """
    number = fields.to_number(metric, value)
    if not metric.lower().startswith(_MEANS) and truth is not None:
        for read in (given, _boxed, _last):
            found, right = [None if a is None else read(a) for a in answers], read(truth)
            if right is None:
                continue
            labels = [a is not None and same(a, right, "normalised") for a in found]
            if _reproduced(labels, number):
                return labels, found
    count = number * len(answers)
    certain = metric.lower().startswith(_MEANS) or 0 < number < 1
    if certain and 0 <= number <= 1 and abs(count - round(count)) < 1e-6 * len(answers):
        return round(count)
    raise ValueError(
        f"{metric}: expected the label of each of {len(answers)} responses, got one value {value!r:.20} for all, which "
        "their comparison with the target does not give; log one response a row, or use --gold and --extract"
    )


def _boxed(text: str) -> str | None:
    return given(boxed(text))


def _last(text: str) -> str | None:
    return last_number(text)


def _reproduced(labels: list[bool], value: float) -> bool:
    mean = sum(labels) / len(labels)
    return any(abs(value - one) < 1e-9 for one in (float(labels[0]), float(any(labels)), mean, float(mean > 0.5)))
