"""What theory says of a table: beside each figure that has a law, its exact expectation given the prompt."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

import numpy as np
import torch

from ..estimators.arrays import Array
from ..estimators.table import Key, Table
from ..evaluation.evaluate import as_source
from ..models.decoder import StochasticDecoder
from ..numerics import sums
from ..numerics.progress import Report, reporting
from ..numerics.protocols import described
from ..tasks.base import Source
from ..tasks.prompts import Prompts
from ..techniques.verifiers import ScoreFunction, Verifier, as_verifier
from . import run_laws as _ours  # noqa: F401  # importing it enters our laws in the registry
from .laws import LawEntry, Problem, find_law

TILE = 64
"""Prompts at a time."""


def overlay(
    decoder: StochasticDecoder,
    prompts: Source,
    table: Table,
    *,
    verifier: Verifier | ScoreFunction | None = None,
    progress: bool | Report = False,
) -> Table:
    """The table with theory beside its figures, where there is a law (``ttc-fast theory`` lists them).

    Args:
        decoder: as evaluated.
        prompts: as evaluated.
        table: of :func:`ttc_fast.evaluate`.
        verifier: as evaluated.
        progress: True, or a function of a stage and the share of it that is done.

    Returns:
        The same table with ``theory``, NaN where there is no law; ``table.theory_checks()`` compares.

    Raises:
        ValueError: the prompts or the verifier are not those of the table.

    >>> import ttc_fast as tf
    >>> prompts = tf.LinearRegression(4, 16, label_noise=0.1).sample(3)
    >>> decoder = tf.StochasticDecoder(tf.LinearAttention.gradient_descent(4, examples=16), tf.GaussianNoise(0.2))
    >>> table = tf.overlay(decoder, prompts, tf.evaluate(decoder, prompts, steps=4, samples=64, techniques=["mean"]))
    >>> all(abs(check.z) < 4 for check in table.theory_checks().values())
    True
    """
    source, used = as_source(prompts), as_verifier(verifier)
    if table.about.get("verifier", described(used)) != described(used):
        raise ValueError(f"verifier: expected {table.about['verifier']} as the table has it, got {described(used)}")
    if len(source) != len(table.prompts):
        raise ValueError(f"prompts: expected the {len(table.prompts)} of the table, got {len(source)}")
    theory = np.full(table.values.shape, np.nan) if table.theory is None else table.theory.copy()
    kind = "binary" if decoder.rule.binary else "continuous"
    groups = _groups(decoder, table, kind, len(source))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the arrays are small: on busy cores a second thread made it five times slower
    try:
        with reporting(progress) as report:
            for tile in sums.tiles(len(source), TILE):
                part = source.part(tile.start, tile.stop).to("cpu")
                if part.first != table.prompts[tile.start]:
                    raise ValueError(f"prompts: expected number {table.prompts[tile.start]}, got number {part.first}")
                _fill(theory[:, tile], table.keys, groups, _problem(decoder, part, used))
                report(f"theory of {kind}", tile.stop / len(source))
    finally:
        torch.set_num_threads(threads)
    return replace(table, theory=theory)


_Groups = dict[tuple[str, int], tuple[LawEntry, list[int]]]


def _groups(decoder: StochasticDecoder, table: Table, kind: str, count: int) -> _Groups:
    """Rows of the table that one call of a law gives: those of a technique and step."""
    rows: defaultdict[tuple[str, int], list[int]] = defaultdict(list)
    for i, key in enumerate(table.keys):
        if key.coefficients == kind and key.steps > 0:  # w_0 is given
            rows[key.technique, key.steps].append(i)
    found = {}
    for (technique, step), numbers in rows.items():
        entry = find_law(technique, decoder.rule)
        if entry is None or not _affordable(entry, decoder.model.dim, count):
            continue
        found[technique, step] = entry, numbers
    return found


def _affordable(entry: LawEntry, dim: int, prompts: int) -> bool:
    return dim <= (entry.max_dim or dim) and prompts <= (entry.max_prompts or prompts)


def _problem(decoder: StochasticDecoder, prompts: Prompts, verifier: Verifier) -> Problem:
    return Problem(decoder.model, decoder.rule, prompts, verifier.context(prompts), verifier)


def _fill(theory: Array, keys: tuple[Key, ...], groups: _Groups, problem: Problem) -> None:
    """Write expectations to the rows of ``theory [K, B]``."""
    for (_, step), (entry, rows) in groups.items():
        budgets = sorted({keys[i].samples for i in rows})
        metrics = list(dict.fromkeys(keys[i].metric for i in rows))
        found = entry.law(problem, step, budgets, metrics)
        for i in rows:
            if keys[i].metric in found:
                theory[i] = found[keys[i].metric][:, budgets.index(keys[i].samples)].numpy()
