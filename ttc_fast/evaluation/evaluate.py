"""How good the techniques are, at every asked step and budget: the stages of ``stages.py`` over all prompts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import torch

from ..estimators.table import Table
from ..models.decoder import StochasticDecoder
from ..numerics import check, sums
from ..numerics.progress import Report, reporting
from ..tasks.base import Source
from ..tasks.metrics import Metric
from ..techniques.registry import Part
from ..techniques.verifiers import ScoreFunction, Verifier
from .plan import Plan, example
from .stages import BANK, Evaluation, Share, evaluate_part, of_device

FEATURES = 2**23
"""Numbers of the prompts' features held at a time; one prompt's are the least."""


def evaluate(
    decoder: StochasticDecoder,
    prompts: Source,
    *,
    steps: int | Sequence[int],
    samples: int,
    budgets: Sequence[int] | None = None,
    seed: int = 0,
    techniques: Mapping[str, Part] | Iterable[Part] | Part | None = None,
    verifier: Verifier | ScoreFunction | None = None,
    backend: str = "auto",
    method: Literal["stepwise", "exact"] = "stepwise",
    metrics: Mapping[str, Metric] | Iterable[str] | None = None,
    progress: bool | Report = False,
    chunk: int | None = None,
    bank: int | None = None,
) -> Table:
    """How good the techniques are, at every asked step and budget.

    A technique's figure at budget k is its mean over all subsets of k of the N samples (``bank.py``). A search has k
    chains of its own, samples r k to (r + 1) k - 1 for up to 8 repeats r, whose mean it is. What does not depend on
    the budget is there once, with samples = 1. The table does not depend, to the bit, on ``chunk`` and ``bank``, nor
    on how the prompts are divided into parts.

    Args:
        decoder: transformer and rule.
        prompts: :class:`Prompts`, or prompts that a task makes when they are needed, ``task.prompts(10**6)``.
        steps: asked steps; an integer is one of them.
        samples: N, at least 1.
        budgets: the k, from 1 to N; default 1, 2, 4, ... and N.
        seed: of the decode and of the coins that decide ties.
        techniques: names, functions of :class:`Candidates`, or :class:`Technique` objects, as a list, or as a mapping
            from names of your own; those that the rule or the prompts do not allow are left out. Default:
            ``ttc_fast.techniques.registry.DEFAULT``.
        verifier: what best-of-N and its kin trust: a :class:`Verifier`, or a function from prompts and candidates to
            scores; default :class:`InContextLoss`. Chains do not see the examples that it holds out.
        backend: see :func:`ttc_fast.decode`.
        method: see :func:`ttc_fast.decode`; searches that resume chains do so step by step.
        metrics: further ones, beside squared error, prediction risk and what bits have: names such as
            ``"error_norm"``, or a mapping from names to functions of prompts and answers ``[B, A, d]``.
        progress: True, or a function of a stage and the share of it that is done.
        chunk: coefficients decoded at a time; default ``stages.CHUNK`` of the prompts' device.
        bank: coefficients of candidates held at a time; one prompt's candidates are the least; default ``stages.BANK``.

    Returns:
        A :class:`Table` with a figure for each prompt.

    Raises:
        TypeError, ValueError: an argument is not as described; the message names it.

    >>> import ttc_fast as tf
    >>> prompts = tf.LinearRegression(4, 16, label_noise=0.1).sample(3)
    >>> decoder = tf.StochasticDecoder(tf.LinearAttention.gradient_descent(4, examples=16), tf.GaussianNoise(0.2))
    >>> table = tf.evaluate(decoder, prompts, steps=[2, 8], samples=64, budgets=[1, 8, 64], techniques=["mean"])
    >>> [(key.steps, key.samples) for key in table.select(metric="squared_error").keys]
    [(2, 1), (2, 8), (2, 64), (8, 1), (8, 8), (8, 64)]
    """
    plan = Plan.checked(
        decoder, prompts, steps=steps, samples=samples, budgets=budgets, seed=seed, techniques=techniques,
        verifier=verifier, backend=backend, method=method, metrics=metrics,
    )  # fmt: skip
    return evaluation(plan, prompts, progress=progress, chunk=chunk, bank=bank).table


def evaluation(
    plan: Plan,
    prompts: Source,
    *,
    progress: bool | Report = False,
    chunk: int | None = None,
    bank: int | None = None,
) -> Evaluation:
    """:func:`evaluate` with its time, backend and unstable prompts.

    Args:
        plan: what is asked for.
        prompts: those that the plan was made for.
        progress, chunk, bank: see :func:`evaluate`.

    Returns:
        The table and facts of how it was made.
    """
    x = example(prompts).x
    bank = of_device(BANK, x.device) if bank is None else check.integer("bank", bank, 1, 2**63)
    chunk = None if chunk is None else check.integer("chunk", chunk, 1, 2**63)
    together = min(bank // plan.coefficients, FEATURES // x.numel())
    parts = []
    with reporting(progress) as report, torch.no_grad():
        for b in sums.tiles(len(prompts), together):
            share = Share(report, plan.kind, b.start / len(prompts), (b.stop - b.start) / len(prompts))
            parts.append(evaluate_part(plan, prompts.part(b.start, b.stop), chunk, share))
    return Evaluation(
        Table.concat([part.table for part in parts]),
        parts[0].backend,
        sum(part.decode_seconds for part in parts),
        sum(part.compile_seconds for part in parts),
        torch.cat([part.unstable for part in parts]),
    )
