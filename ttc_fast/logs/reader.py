"""Files of repeated samples in, one :class:`~ttc_fast.logs.log.SampleLog` out.

The files are untrusted: nothing in them is executed, every size is capped, every field is checked, and each
complaint names file, line and field. Records are read in batches into flat arrays of numbers (prompts by name, answers
as 64-bit hashes), so that ten million samples fit easily.
"""

from __future__ import annotations

import contextlib
import io
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from ..numerics import check
from ..numerics.progress import Report, reporting
from . import fields as checked
from .answers import Equal
from .assemble import finish
from .batches import Batch
from .columns import SETTINGS, Columns
from .formats import FORMATS, Format, detect, formats_of_file, inspect_ai
from .gold import read_gold
from .log import Bulk, Record, SampleLog
from .log_checks import check_reading
from .options import Aggregate, Reading, lookup
from .records import Records, text_batches, text_records
from .sources import opened, seekable, size
from .tables import FIRST_BYTES as PARQUET
from .tables import parquet_batches

THREADS = 2
"""That make columns of records, while the columns before are put together."""

MAX_SAMPLES = 2**27
"""Samples of all files together."""


def read(
    paths: Sequence[str | os.PathLike[str]],
    format: str | Format | None = None,
    *,
    filter: str | None = None,
    skip_bad: bool = False,
    equal: Equal = "normalised",
    extract: str | None = None,
    gold: str | os.PathLike[str] | None = None,
    fields: Mapping[str, str] | None = None,
    aggregate: Aggregate | None = None,
    cluster: str | None = None,
    progress: bool | Report = False,
) -> SampleLog:
    """Read files of one format; a prompt that occurs in several of them gets the samples of all.

    Args:
        paths: the files; ``"-"`` is standard input. They may be packed by gzip, zstandard, bzip2 or xz.
        format: a name in :data:`~ttc_fast.logs.formats.FORMATS`, or a format of your own; by default found from
            the content.
        filter: whose records count, where a log holds the same samples under several filters, as lm-eval's do.
        skip_bad: leave out lines that cannot be understood, and count them.
        equal: which answers are the same: ``"exact"``, ``"normalised"`` or ``"math"``; see
            :mod:`ttc_fast.logs.answers`.
        extract: where the answer stands in a completion: ``"boxed"``, ``"last-number"`` or a regular expression.
        gold: file with the true answer of every prompt, which then makes the labels.
        fields: names of our fields -> what a record calls them, such as ``{"answer": "output"}``; a dot goes into a
            field.
        aggregate: what makes one score of those of the steps: ``"last"`` (the default), ``"min"``, ``"prod"``,
            ``"mean"``.
        cluster: field whose value prompts share that depend on each other, such as the passage of several questions.
        progress: True shows the share of the bytes that is read; see :mod:`ttc_fast.numerics.progress`.

    Returns:
        The samples of all files, prompts in the order of their first appearance.

    Raises:
        OSError: a file cannot be read.
        ValueError: a line cannot be understood; the message names file, line and field.
        ImportError: a package is missing that an option or a packed file needs.

    >>> import tempfile
    >>> with tempfile.NamedTemporaryFile("w", suffix=".csv") as file:
    ...     print("prompt,correct\\none,1\\none,0\\ntwo,1", file=file, flush=True)
    ...     log = read([file.name])
    >>> log.format, log.samples.tolist(), log.correct.tolist()
    ('plain', [2, 1], [1, 1])
    """
    texts = {"filter": filter, "extract": extract, "aggregate": aggregate, "cluster": cluster}
    paths = check_reading(paths, format, skip_bad, fields, texts)
    truths = None if gold is None else os.fsdecode(check.path("gold", gold))
    options = Reading(filter, skip_bad, equal, extract, truths, fields or {}, aggregate, cluster)
    return read_groups(paths, format, options=options, progress=progress)[""]


def read_groups(
    paths: Sequence[str | os.PathLike[str]],
    format: str | Format | None = None,
    *,
    group_by: str | None = None,
    options: Reading | None = None,
    progress: bool | Report = False,
) -> dict[str, SampleLog]:
    """As :func:`read`, with a log for every value of a field, such as the model.

    Args:
        paths: the files.
        format: as for :func:`read`.
        group_by: the field; None: one log of all, under the name ``""``.
        options: what else :func:`read` takes.
        progress: as for :func:`read`.

    Returns:
        The logs by value, in the order of first appearance.

    Raises:
        OSError, ValueError, ImportError: as for :func:`read`.
    """
    if isinstance(format, str):
        if format not in FORMATS:
            raise ValueError(f"format: expected one of {', '.join(FORMATS)}, got {format!r}")
        format = FORMATS[format]
    if not paths:
        raise ValueError("files: expected at least one, got none")
    reader = _Reader(format, options or Reading(), group_by)
    sizes = [size(path) for path in paths]
    with reporting(progress) as report:
        for i, path in enumerate(paths):

            def advance(position: int, before: int = sum(sizes[:i])) -> None:
                if sum(sizes):
                    report("reading", min(1.0, (before + position) / sum(sizes)))

            reader.add_file(os.fspath(path), advance)
            advance(sizes[i])
    return reader.finish()


class _Reader:
    """Files in, columns out."""

    def __init__(self, format: Format | None, options: Reading, group_by: str | None) -> None:
        self.format, self.options, self.group_by = format, options, group_by
        self.gold = None if options.gold is None else read_gold(options.gold)
        self.filters: set[str] = set()
        self.paths: list[str] = []
        self.groups: dict[str, Columns] = {}
        self.columns = self._group("")
        """Of the group that complaints are counted in."""
        plain = options.extract is options.gold is options.cluster is None and not options.fields
        self.in_bulk = plain and group_by is None
        """Whether records may be taken many at a time."""

    def _group(self, name: str) -> Columns:
        if name not in self.groups:
            self.groups[name] = Columns(self.options, self.gold, MAX_SAMPLES)
            self.groups[name].paths = self.paths
        return self.groups[name]

    def add_file(self, path: str, advance: Callable[[int], None]) -> None:
        """All samples of one file."""
        self.paths.append(path)
        with opened(path) as (file, packed), contextlib.ExitStack() as stack:
            since = 0
            for batch, bulk in self._ahead(self._batches(file, path, stack)):
                self._add_batch(batch, bulk, path)
                since += len(batch.places)
                if since >= 4096:
                    since = 0
                    with contextlib.suppress(OSError, ValueError):  # a pipe has no position
                        advance(packed.tell())
        if len(self.filters) > 1 and self.options.filter is None:
            raise ValueError(
                f"{path}: filter: expected the rows of one filter, got those of {', '.join(sorted(self.filters))}; "
                "name one with --filter"
            )
        if self.filters and self.options.filter is not None and self.options.filter not in self.filters:
            raise ValueError(
                f"{path}: filter: expected one of {', '.join(sorted(self.filters))}, got {self.options.filter!r}"
            )

    def _batches(self, file: io.BufferedReader, path: str, stack: contextlib.ExitStack) -> Iterable[Batch]:
        """The records of a file by its first bytes; formats that it may have."""
        start = file.peek(16)[:16]
        own = self.format is not None and (self.format.first_bytes or self.format.records is not text_records)
        if own and self.format is not None and self.format.name not in FORMATS:
            return _one_by_one(self.format.records(file, path))
        self.candidates = [self.format] if self.format else formats_of_file(start)
        if start.startswith(PARQUET):
            return parquet_batches(stack.enter_context(seekable(file, path)), path)
        if start.startswith(b"PK"):
            archive = stack.enter_context(seekable(file, path))
            if inspect_ai.is_log(archive):
                self.candidates = [self.format or inspect_ai.FORMAT]
                return _one_by_one(inspect_ai.archive_records(archive, path))
            return _one_by_one(self.candidates[0].records(archive, path))
        if own:
            return _one_by_one(self.candidates[0].records(file, path))
        return text_batches(file, path)

    def _ahead(self, batches: Iterable[Batch]) -> Iterator[tuple[Batch, Bulk | None]]:
        """Batches with their columns, which threads make of the next ones meanwhile."""
        waiting: deque[tuple[Batch, Future[Bulk | None]]] = deque()
        with ThreadPoolExecutor(THREADS) as pool:
            for batch in batches:
                names = self.format.bulk if self.format and self.in_bulk else None
                if names is None:
                    yield batch, None
                    continue
                waiting.append((batch, pool.submit(batch.bulk, names, SETTINGS)))
                if len(waiting) > THREADS:
                    first, columns = waiting.popleft()
                    yield first, columns.result()
            for batch, columns in waiting:
                yield batch, columns.result()

    def _add_batch(self, batch: Batch, bulk: Bulk | None, path: str) -> None:
        if bulk is not None and self.columns.add_bulk(bulk, batch.places):
            return
        records = batch.records  # of lines, the places are known after this
        for place, record in zip(batch.places, records):
            self._add_record(place, record, path)

    def _add_record(self, place: int | str, record: Record | ValueError, path: str) -> None:
        shown = f"line {place}" if isinstance(place, int) else place
        try:
            if isinstance(record, ValueError):
                raise record
            if self.format is None:
                self.format = self._detected(record)
            if self.format.expand is None:
                self._add_samples(self.options.renamed(record), place)
                return
            parts = list(self.format.expand(record))
        except (ValueError, KeyError) as error:
            self._leave_out(f"{path}: {shown}: {_complaint(error, record)}")
            return
        for inner, part in parts:
            try:
                if isinstance(part, ValueError):
                    raise part
                self._add_samples(self.options.renamed(part), place)
            except (ValueError, KeyError) as error:
                self._leave_out(
                    f"{path}: {inner if inner == shown else f'{shown}: {inner}'}: {_complaint(error, part)}"
                )

    def _detected(self, record: Record) -> Format:
        """Documents are known as they are, records by the fields that the user names too."""
        for format in self.candidates:
            if format.expand is not None and format.detect(record):
                return format
        return detect(self.options.renamed(record), [f for f in self.candidates if f.expand is None] or self.candidates)

    def _add_samples(self, record: Record, place: int | str) -> None:
        assert self.format is not None
        if self.format.filter_of is not None:
            name = self.format.filter_of(record)
            if name:
                self.filters.add(name)
            if self.options.filter not in (None, name):
                return
        group = "" if self.group_by is None else _text(lookup(record, self.group_by))
        self._group(group).add(self.format.read(record), record, place if isinstance(place, int) else 0)

    def _leave_out(self, complaint: str) -> None:
        if self.format and self.format.by_row:
            raise ValueError(complaint)
        self.columns.leave_out(complaint)

    def finish(self) -> dict[str, SampleLog]:
        """A log for each group."""
        if self.group_by is not None and any(columns.prompt for columns in self.groups.values()):
            first = self.groups.pop("", None)
            filled = next(iter(self.groups.values()), first)
            if first is not None and filled is not None and filled is not first:
                filled.skipped, filled.complaints = first.skipped, first.complaints
        by_row = self.format is not None and self.format.by_row
        name = self.format.name if self.format else ""
        filter = self.options.filter or (next(iter(self.filters)) if len(self.filters) == 1 else None)
        return {group: finish(columns, name, by_row, filter) for group, columns in self.groups.items()}


def _text(value: Any) -> str:
    return checked.to_text("group-by", value) if isinstance(value, (str, int, float)) else str(value)


def _one_by_one(records: Records) -> Iterator[Batch]:
    for place, record in records:
        yield Batch([place], [record])


def _complaint(error: ValueError | KeyError, record: Record | ValueError) -> str:
    """What is wrong with a record: of a field that its format takes without asking, that it is not there."""
    if isinstance(error, ValueError) or isinstance(record, ValueError):
        return str(error)
    there = ", ".join(map(str, record))
    return f"{error.args[0]}: expected a field of that name in this format, got {there:.200}; name another by --format"
