"""Files of repeated samples in, one :class:`~ttc_fast.logs.log.SampleLog` out.

The files are untrusted: nothing in them is executed, every size is capped, every field is checked, and each
complaint names file, line and field. Records are read one by one into flat arrays of numbers (prompts and
answers as 64-bit hashes), some 40 bytes a sample, so that ten million samples fit easily.
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Callable, Sequence
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from ..estimators.arrays import Integers
from ..numerics.files import open_input
from ..numerics.progress import Report, reporting
from .formats import FORMATS, Format, detect, formats_of_file
from .log import PromptCounts, Record, Sample, SampleLog

MAX_SAMPLES = 2**27
"""Samples of all files together."""


def read(
    paths: Sequence[str | os.PathLike[str]],
    format: str | Format | None = None,
    *,
    filter: str | None = None,
    skip_bad: bool = False,
    progress: bool | Report = False,
) -> SampleLog:
    """Read files of one format; a prompt that occurs in several of them gets the samples of all.

    Args:
        paths: the files.
        format: a name in :data:`~ttc_fast.logs.formats.FORMATS`, or a format of your own; by default found from
            the content.
        filter: whose records count, where a log holds the same samples under several filters, as lm-eval's do.
        skip_bad: leave out lines that cannot be understood, and count them.
        progress: True shows the share of the bytes that is read; see :mod:`ttc_fast.numerics.progress`.

    Returns:
        The samples of all files, prompts in the order of their first appearance.

    Raises:
        OSError: a file cannot be read.
        ValueError: a line cannot be understood; the message names file, line and field.

    >>> import tempfile
    >>> with tempfile.NamedTemporaryFile("w", suffix=".csv") as file:
    ...     print("prompt,correct\\none,1\\none,0\\ntwo,1", file=file, flush=True)
    ...     log = read([file.name])
    >>> log.format, log.samples.tolist(), log.correct.tolist()
    ('plain', [2, 1], [1, 1])
    """
    if isinstance(format, str):
        if format not in FORMATS:
            raise ValueError(f"format: expected one of {', '.join(FORMATS)}, got {format!r}")
        format = FORMATS[format]
    if not paths:
        raise ValueError("files: expected at least one, got none")
    columns = _Columns(format, filter, skip_bad)
    sizes = [os.stat(path).st_size for path in paths]
    with reporting(progress) as report:
        for i, path in enumerate(paths):

            def advance(position: int, before: int = sum(sizes[:i])) -> None:
                report("reading", (before + position) / max(sum(sizes), 1))

            columns.add_file(os.fspath(path), advance)
            advance(sizes[i])
    return columns.finish()


class _Columns:
    """The samples read so far, column by column."""

    def __init__(self, format: Format | None, filter: str | None, skip_bad: bool) -> None:
        self.format, self.filter, self.skip_bad = format, filter, skip_bad
        self.filters: set[str] = set()
        self.optional: tuple[str, ...] | None = None
        self.paths: list[str] = []
        self.skipped = 0
        self.complaints: list[str] = []
        self.prompt, self.file = array("q"), array("i")
        # Of every sample; `answer` of those that have one.
        self.correct, self.answered, self.answer = array("b"), array("b"), array("q")
        self.score, self.tokens, self.sample = array("d"), array("d"), array("q")
        # Of prompts of which only the counts are known.
        self.n, self.c = array("q"), array("q")

    def add_file(self, path: str, advance: Callable[[int], None]) -> None:
        """All samples of one file."""
        self.paths.append(path)
        with open_input(path) as file:
            self._add_records(file, path, advance)
        if len(self.filters) > 1 and self.filter is None:
            raise ValueError(
                f"{path}: filter: expected the rows of one filter, got those of {', '.join(sorted(self.filters))}; "
                "name one with --filter"
            )

    def _add_records(self, file: BinaryIO, path: str, advance: Callable[[int], None]) -> None:
        candidates = [self.format] if self.format else formats_of_file(file.read(16))
        file.seek(0)
        for count, (place, record) in enumerate(candidates[0].records(file, path), 1):
            try:
                if isinstance(record, ValueError):
                    raise record
                self.format = self.format or detect(record, candidates)
                if self._passes_filter(self.format, record):
                    self._add(list(self.format.read(record)))
            except ValueError as error:
                self._leave_out(f"{path}: {place}: {error}")
            if count % 4096 == 0:
                advance(file.tell())

    def _passes_filter(self, format: Format, record: Record) -> bool:
        if format.filter_of is None:
            return True
        name = format.filter_of(record)
        self.filters.add(name)
        return self.filter in (None, name)

    def _leave_out(self, complaint: str) -> None:
        if self.format and self.format.by_row:
            raise ValueError(complaint)
        if not self.skip_bad:
            raise ValueError(f"{complaint} (--skip-bad leaves such lines out)")
        self.skipped += 1
        if len(self.complaints) < 5:
            self.complaints.append(complaint)

    def _add(self, items: list[Sample | PromptCounts]) -> None:
        """All of them or, if one does not fit, none."""
        for item in items:
            self._check(item)
        if len(self.prompt) + len(items) > MAX_SAMPLES:
            raise ValueError(f"expected at most {MAX_SAMPLES} samples in all")
        for item in items:
            self.prompt.append(hash(item.prompt))
            self.file.append(len(self.paths) - 1)
            if isinstance(item, PromptCounts):
                self.n.append(item.n)
                self.c.append(item.c)
                continue
            self.correct.append(item.correct)
            self.answered.append(item.answer is not None)
            if item.answer is not None:
                self.answer.append(hash(item.answer))
            if item.score is not None:
                self.score.append(item.score)
            if item.tokens is not None:
                self.tokens.append(item.tokens)
            if item.sample is not None:
                self.sample.append(item.sample)

    def _check(self, item: Sample | PromptCounts) -> None:
        """The same is known of all that is read."""
        if isinstance(item, PromptCounts):
            has: tuple[str, ...] = ("n", "c")
        else:
            has = tuple(name for name in ("score", "tokens", "sample") if getattr(item, name) is not None)
        self.optional = has if self.optional is None else self.optional
        if has != self.optional:
            name = min(set(has) ^ set(self.optional))
            raise ValueError(f"{name}: expected with every sample or with none, as in the first line")

    def finish(self) -> SampleLog:
        """The samples in the order of their prompts' first appearance."""
        if self.format is None or not self.prompt:
            more = f" and {len(self.paths) - 3} others" * (len(self.paths) > 3)
            raise ValueError(
                f"files: expected samples, got none in {', '.join(self.paths[:3])}{more} ({self.skipped} bad lines)"
            )
        prompt, prompts = _numbered(_as_numpy(self.prompt))
        count, file = len(prompts), _as_numpy(self.file)
        first, last = np.full(count, len(self.paths)), np.zeros(count, dtype=np.int64)
        np.minimum.at(first, prompt, file)
        np.maximum.at(last, prompt, file)
        about: dict[str, Any] = {
            "format": self.format.name,
            "prompts": prompts,
            "pooled": int((first != last).sum()),
            "skipped": self.skipped,
            "complaints": tuple(self.complaints),
            "by_row": self.format.by_row,
        }
        if self.n:
            n, c = (np.bincount(prompt, _as_numpy(part), count).astype(np.int64) for part in (self.n, self.c))
            return SampleLog(samples=n, correct=c, labels=None, answers=None, scores=None, tokens=None, **about)
        keys = (_as_numpy(self.sample), file, prompt) if self.sample else (prompt,)
        order = np.lexsort(keys)
        self._refuse_repeated_samples(keys, order)
        labels = _as_numpy(self.correct)[order].astype(bool)
        return SampleLog(
            samples=np.bincount(prompt, minlength=count),
            correct=np.bincount(prompt[order], weights=labels, minlength=count).astype(np.int64),
            labels=labels,
            answers=self._numbered_answers()[order] if self.answer else None,
            scores=_as_numpy(self.score)[order] if self.score else None,
            tokens=_as_numpy(self.tokens)[order] if self.tokens else None,
            **about,
        )

    def _refuse_repeated_samples(self, keys: tuple[NDArray[Any], ...], order: Integers) -> None:
        """``keys``: the sample's number and file first, if there is one; ``order`` sorts them."""
        if len(keys) > 1:
            same = np.ones(len(order) - 1, dtype=bool)
            for key in keys:
                same &= key[order][1:] == key[order][:-1]
            if same.any():
                place = order[int(np.argmax(same))]
                raise ValueError(
                    f"{self.paths[int(keys[1][place])]}: sample: expected each number once for each prompt and file, "
                    f"got {int(keys[0][place])} twice"
                )

    def _numbered_answers(self) -> Integers:
        """A number for the answer of every sample, -1 for those without one."""
        numbers = np.full(len(self.answered), -1)
        numbers[_as_numpy(self.answered).astype(bool)] = _numbered(_as_numpy(self.answer))[0]
        return numbers


def _as_numpy(column: array[Any]) -> NDArray[Any]:
    """A column as an array of numpy, on the same memory."""
    return np.frombuffer(column, dtype=column.typecode)


def _numbered(hashes: Integers) -> tuple[Integers, Integers]:
    """Numbers 0, 1, ... in the order of first appearance, which unlike the hashes is the same in every run; and
    the hash of each number."""
    distinct, first, inverse = np.unique(hashes, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty(len(first), dtype=np.int64)
    rank[order] = np.arange(len(first))
    return rank[inverse], distinct[order]
