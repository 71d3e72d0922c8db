"""The first samples of every prompt, as a log of their own: what a forecast from few samples may see."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..numerics import check
from .log import SampleLog


def first_samples(log: SampleLog, count: int, seed: int = 0) -> SampleLog:
    """The first samples of every prompt; of a log of counts, which has no order, some at random.

    Args:
        log: the samples.
        count: how many of each prompt; a prompt with fewer keeps what it has.
        seed: of the draw from counts.

    Returns:
        A log of the same prompts.

    Raises:
        TypeError, ValueError: there is no sample.

    >>> log = SampleLog("counts", np.arange(2), np.array([4, 2]), np.array([4, 1]), *[None] * 4, 0, 0, ())
    >>> part = first_samples(log, 2)
    >>> part.samples.tolist(), part.correct.tolist()
    ([2, 2], [2, 1])
    """
    count = check.integer("first", count, 1, 2**40)
    kept = np.minimum(log.samples, count)
    if log.labels is None:
        drawn = np.random.default_rng(seed).hypergeometric(log.correct, log.samples - log.correct, kept)
        return replace(log, samples=kept, correct=drawn.astype(np.int64))
    start = np.cumsum(log.samples) - log.samples
    within = np.arange(len(log.labels)) - np.repeat(start, log.samples) < count
    labels = log.labels[within]
    correct = np.add.reduceat(labels.astype(np.int64), np.cumsum(kept) - kept)
    return replace(
        log,
        samples=kept,
        correct=correct,
        labels=labels,
        answers=None if log.answers is None else log.answers[within],
        scores=None if log.scores is None else log.scores[within],
        tokens=None if log.tokens is None else log.tokens[within],
    )
