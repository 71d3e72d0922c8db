"""All samples that were read as one log: in the order of their prompts, and what is odd about them."""

from __future__ import annotations

from array import array
from typing import Any

import numpy as np
import pyarrow
from numpy.typing import NDArray

from ..estimators.arrays import Array, Integers
from .columns import Columns
from .log import SampleLog
from .oddities import classes, notes


def finish(columns: Columns, format: str, by_row: bool, filter: str | None) -> SampleLog:
    """The samples in the order of their prompts' first appearance.

    Args:
        columns: what was read.
        format: its name.
        by_row: whether prompts are known by their row.
        filter: that the records are of.

    Raises:
        ValueError: there are none, or a sample is there twice.
    """
    if not columns.prompt:
        more = f" and {len(columns.paths) - 3} others" * (len(columns.paths) > 3)
        told = "".join(f"; {note}" for note in _told(columns, ()))
        raise ValueError(
            f"files: expected samples, got none in {', '.join(columns.paths[:3])}{more} ({columns.skipped} bad lines)"
            f"{told}"
        )
    prompt, file = as_numpy(columns.prompt), as_numpy(columns.file)
    keep = _without_repeats(columns, prompt, file) if columns.sample else None
    count = len(columns.names)
    places = np.unique(prompt * len(columns.paths) + file) if len(columns.paths) > 1 else prompt[:0]
    pooled = np.bincount(places // len(columns.paths), minlength=1) > 1
    names = np.empty(count, dtype=object)
    names[:] = list(columns.names)
    about: dict[str, Any] = {
        "format": format,
        "prompts": names,
        "pooled": int(pooled.sum()),
        "skipped": columns.skipped,
        "complaints": tuple(columns.complaints),
        "by_row": by_row,
        "filter": filter,
        "clusters": _cluster_numbers(columns, count),
    }
    if columns.n:
        n, c = (np.bincount(prompt, as_numpy(part), count).astype(np.int64) for part in (columns.n, columns.c))
        return SampleLog(
            samples=n, correct=c, labels=None, answers=None, scores=None, tokens=None, notes=_told(columns, ()), **about
        )
    return _of_samples(columns, prompt, file, keep, about)


def _of_samples(
    columns: Columns, prompt: Integers, file: Integers, keep: Integers | None, about: dict[str, Any]
) -> SampleLog:
    if keep is None:
        order = np.argsort(prompt, kind="stable")
    else:
        order = np.lexsort((as_numpy(columns.sample), file, prompt))
        order = order[keep[order] > 0]
    labels, count = as_numpy(columns.correct).astype(bool), len(columns.names)
    forms: Integers | None = None
    told: tuple[str, ...] = ()
    if columns.answer:
        exact, forms = (_numbered(columns, column) for column in (columns.answer, columns.form))
        if columns.options.equal == "math":
            texts = [columns.texts[value] for value in dict.fromkeys(columns.form)]
            forms = classes(prompt, forms, texts.__getitem__)
        mine = notes(prompt[order], labels[order], exact[order], forms[order], columns.long, columns.options.equal)
        told = tuple(mine)
    (scores, lacking), (tokens, uncounted) = _known(columns.score, order), _known(columns.tokens, order)
    if lacking:
        told += (f"{lacking:,} samples have no score: there is no best@k and no weighted@k",)
    if uncounted:
        told += (f"{uncounted:,} samples have no number of tokens: none is shown",)
    return SampleLog(
        samples=np.bincount(prompt[order], minlength=count),
        correct=np.bincount(prompt[order], weights=labels[order], minlength=count).astype(np.int64),
        labels=labels[order],
        answers=None if forms is None else forms[order],
        scores=scores,
        tokens=tokens,
        notes=_told(columns, told),
        **about,
    )


def _known(column: array[float], order: Integers) -> tuple[Array | None, int]:
    """A column in order if all of it is known, and how many are not known while others are."""
    if not column:
        return None, 0
    values = as_numpy(column)[order]
    lacking = int(np.isnan(values).sum())
    return (None, 0 if lacking == len(values) else lacking) if lacking else (values, 0)


def _without_repeats(columns: Columns, prompt: Integers, file: Integers) -> Integers:
    """1 for every sample that counts, 0 for one whose number was there before in its prompt and file."""
    sample = as_numpy(columns.sample)
    order = np.lexsort((sample, file, prompt))
    same = np.ones(len(order) - 1, dtype=bool)
    for key in (sample, file, prompt):
        same &= key[order][1:] == key[order][:-1]
    keep = np.ones(len(order), dtype=np.int64)
    for place in np.sort(order[1:][same]).tolist():
        complaint = (
            f"{columns.paths[file[place]]}: line {columns.line[place]}: sample: expected each number once for each "
            f"prompt and file, got {sample[place]} twice for prompt {columns.prompt_name(int(prompt[place]))!r:.60}"
        )
        columns.leave_out(complaint)
        keep[place] = 0
    return keep


def _cluster_numbers(columns: Columns, count: int) -> Integers | None:
    if columns.options.cluster is None:
        return None
    numbers = {value: i for i, value in enumerate(dict.fromkeys(columns.clusters.values()))}
    return np.array([numbers[columns.clusters[index]] for index in range(count)], dtype=np.int64)


def _told(columns: Columns, more: tuple[str, ...]) -> tuple[str, ...]:
    told = [text.replace("{count}", f"{count:,}") for text, count in columns.notes.items()]
    for name, values in columns.settings.items():
        if len(values) > 1:
            shown = ", ".join(sorted(values)[:5]) + ", ..." * (len(values) > 5)
            told.append(
                f"field {name} has {len(values)} values: {shown:.200}; analysed together "
                f"(--group-by {name} makes a table for each)"
            )
    if columns.repeats:
        others = f" and {len(columns.repeats) - 1:,} other prompts" if len(columns.repeats) > 1 else ""
        told.append(f"{columns.repeats[0]!r:.60}{others} occur again in the same file: their samples are added")
    return (*told, *more)


def _numbered(columns: Columns, hashes: array[int]) -> Integers:
    """A number for the answer of every sample, in the order of first appearance, -1 for those without one."""
    numbers = np.full(len(columns.answered), -1)
    numbers[as_numpy(columns.answered).astype(bool)] = numbered(as_numpy(hashes))
    return numbers


def as_numpy(column: array[Any]) -> NDArray[Any]:
    """A column as an array of numpy, on the same memory.

    Args:
        column: not empty.
    """
    return np.frombuffer(column, dtype=column.typecode)


def numbered(hashes: Integers) -> Integers:
    """Numbers 0, 1, ... in the order of first appearance, which unlike the hashes is the same in every run.

    Args:
        hashes: of texts.
    """
    return np.asarray(pyarrow.array(hashes).dictionary_encode().indices.to_numpy().astype(np.int64))
