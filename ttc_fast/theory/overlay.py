"""What theory says of a table: beside each figure that has a law, its exact expectation given the prompt."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ..estimators.arrays import Array
from ..estimators.table import Key, Table
from ..estimators.table_checks import check_table
from ..evaluation.plan import as_source, verifier_for
from ..evaluation.stages import ALL_EXAMPLES
from ..models.decoder import StochasticDecoder, check_decoder
from ..numerics import sums
from ..numerics.progress import Report, reporting
from ..numerics.protocols import described
from ..tasks.base import Source
from ..tasks.prompts import Prompts
from ..techniques.verifiers import ScoreFunction, Verifier
from . import authors_laws, binary_laws, gaussian_laws  # noqa: F401  # importing them registers our laws
from .laws import Expected, LawEntry, Problem, find_law
from .rounding import of_figure

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
        verifier: as evaluated. Without it a table of another verifier than the default gets the laws that do not ask
            for scores, if the chains saw all examples.
        progress: True, or a function of a stage and the share of it that is done.

    Returns:
        The same table with ``theory``, NaN where there is no law, and its variance and scale, NaN where the law gives
        none; ``table.theory_checks()`` compares, ``table.theory_check()`` judges all together. Rows of the other kind
        of coefficients, and theory that is there already, stay as they are.

    Raises:
        ValueError: the prompts or the verifier are not those of the table, or a law gives another shape than [B, K].

    >>> import ttc_fast as tf
    >>> prompts = tf.LinearRegression(4, 16, label_noise=0.1).sample(3)
    >>> decoder = tf.StochasticDecoder(tf.LinearAttention.gradient_descent(4, examples=16), tf.GaussianNoise(0.2))
    >>> table = tf.overlay(decoder, prompts, tf.evaluate(decoder, prompts, steps=4, samples=64, techniques=["mean"]))
    >>> all(abs(check.z) < 4 for check in table.theory_checks().values())
    True
    """
    check_decoder(decoder)
    check_table("table", table)
    source = as_source(prompts)
    used = _verifier(source, table, verifier)
    if len(source) != len(table.prompts):
        raise ValueError(f"prompts: expected the {len(table.prompts)} of the table, got {len(source)}")
    theory, variance, scale = (_copy_of(table, name) for name in ("theory", "theory_variance", "theory_scale"))
    kind = "binary" if decoder.rule.binary else "continuous"
    groups = _groups(decoder, table, kind, len(source), used is not None)
    repeats = np.full(table.values.shape, np.nan) if table.repeats is None else table.repeats
    with one_thread(), reporting(progress) as report:
        for tile in sums.tiles(len(source), TILE):
            part = source.part(tile.start, tile.stop)
            if part.first != table.prompts[tile.start]:
                raise ValueError(f"prompts: expected number {table.prompts[tile.start]}, got number {part.first}")
            figures = _Figures(table.keys, theory[:, tile], variance[:, tile], scale[:, tile], repeats[:, tile])
            _fill(figures, groups, _problem(decoder, part, used or _NotGiven()))
            report(f"theory of {kind}", tile.stop / len(source))
    return replace(table, theory=theory, theory_variance=variance, theory_scale=scale)


def _copy_of(table: Table, name: str) -> Array:
    found: Array | None = getattr(table, name)
    return np.full(table.values.shape, np.nan) if found is None else found.copy()


class _NotGiven(Verifier):
    """Of a table whose verifier is not at hand: chains saw all examples, what it said of them is not known."""

    def score(self, prompts: Prompts, w: Tensor, *, first_sample: int = 0, step: int = 0) -> Tensor:
        raise ValueError("verifier: expected that of the table for a law that asks for scores, got none; give it")


def _verifier(source: Source, table: Table, verifier: Verifier | ScoreFunction | None) -> Verifier | None:
    """The table's verifier; None if it is not at hand and was asked for nothing but scores."""
    used = verifier_for(source, verifier)
    theirs = table.about.get("verifier", described(used))
    if theirs == described(used):
        return used
    if verifier is None and table.about.get("context") == ALL_EXAMPLES:
        return None
    raise ValueError(f"verifier: expected {theirs} as the table has it, got {described(used)}; give that")


@contextmanager
def one_thread() -> Iterator[None]:
    """The arrays are small: on busy cores a second thread made it five times slower."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@dataclass(frozen=True)
class _Group:
    """Rows of a table that one call of a law fills: those of a technique and step."""

    technique: str
    step: int
    entry: LawEntry
    rows: list[int]


def _groups(decoder: StochasticDecoder, table: Table, kind: str, prompts: int, scores: bool) -> list[_Group]:
    rows: defaultdict[tuple[str, int], list[int]] = defaultdict(list)
    for i, key in enumerate(table.keys):
        if key.coefficients == kind and key.steps > 0:  # w_0 is given
            rows[key.technique, key.steps].append(i)
    found = []
    for (technique, step), group in rows.items():
        entry = find_law(technique, decoder.rule)
        if entry is not None and (scores or not entry.uses_score) and _affordable(entry, decoder.model.dim, prompts):
            found.append(_Group(technique, step, entry, group))
    return found


def _affordable(entry: LawEntry, dim: int, prompts: int) -> bool:
    return dim <= (entry.max_dim or dim) and prompts <= (entry.max_prompts or prompts)


def _problem(decoder: StochasticDecoder, prompts: Prompts, verifier: Verifier) -> Problem:
    seen = verifier.context(prompts)
    w0 = None if getattr(decoder, "first", None) is None else decoder.start(seen).cpu()
    return Problem(decoder.model, decoder.rule, prompts.to("cpu"), seen.to("cpu"), verifier, w0, there=seen)


@dataclass(frozen=True)
class _Figures:
    """Rows of a table, for some prompts: ``[keys, B]`` each."""

    keys: tuple[Key, ...]
    theory: Array
    variance: Array
    scale: Array
    repeats: Array


def _fill(figures: _Figures, groups: list[_Group], problem: Problem) -> None:
    """Write expectations, variances and scales to the rows."""
    for group in groups:
        budgets = sorted({figures.keys[i].samples for i in group.rows})
        metrics = list(dict.fromkeys(figures.keys[i].metric for i in group.rows))
        found = group.entry.law(problem, group.step, budgets, metrics)
        arrays = {
            name: _checked(group, name, value, [len(problem.prompts), len(budgets)]) for name, value in found.items()
        }
        for i in group.rows:
            key = figures.keys[i]
            if key.metric in arrays:
                mean, variance, scale = (array[:, budgets.index(key.samples)] for array in arrays[key.metric])
                spread = of_figure(problem, key, mean, variance, scale, figures.repeats[i])
                figures.theory[i], (figures.variance[i], figures.scale[i]) = mean, spread


def _checked(group: _Group, name: str, value: Tensor | Expected, shape: list[int]) -> list[Array]:
    """Mean, variance and scale ``[B, K]``; NaN for what the law does not tell."""
    tensors = [torch.as_tensor(part).detach().cpu() for part in (value if isinstance(value, Expected) else [value])]
    for tensor in tensors:
        if list(tensor.shape) != shape:
            raise ValueError(
                f"law of {group.technique}: expected {name} of shape [B, K] = {shape}, got {list(tensor.shape)}"
            )
    arrays = [tensor.double().numpy() for tensor in tensors]
    return arrays if len(arrays) > 1 else [*arrays, *[np.full(shape, np.nan)] * 2]
