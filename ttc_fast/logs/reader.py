"""Repeated samples that others logged: files in, one bank of samples out.

The files are untrusted: nothing in them is executed, every size is capped, every field is checked, and each
complaint names file, line and field. Lines are read one by one into flat arrays of numbers (prompts and
answers as 64-bit hashes), some 40 bytes a sample, so that ten million samples fit easily.
"""

from __future__ import annotations

import contextlib
import csv
import json
import math
import os
import zipfile
import zlib
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..estimators.selection import Array

MAX_LINE = 2**26
"""Bytes of a line."""

MAX_DOCUMENT = 2**30
"""Bytes of what must be held at once: a JSON list, an array of an .npz file."""

MAX_SAMPLES = 2**27
"""Samples of all files together."""

MAX_COUNT = 10**7
"""Samples of one prompt that a file of counts may claim."""

NO_ANSWER = -1
"""Stands for no answer; no hash of Python is -1."""

Integers: TypeAlias = NDArray[np.int64]
Record: TypeAlias = dict[str, Any]
"""A line of a file, parsed."""


class Sample(NamedTuple):
    """One sampled answer; None for what is not known."""

    prompt: str
    correct: bool
    answer: str | None = None
    score: float | None = None
    tokens: int | None = None
    sample: int | None = None


class Counts(NamedTuple):
    """A prompt of which only the counts are known."""

    prompt: str
    n: int
    c: int


@dataclass(frozen=True)
class SampleLog:
    """Samples of P prompts; those of one prompt lie next to each other, in the order of sampling."""

    format: str
    prompts: Integers
    """A number for the identity of every prompt ``[P]``, the same in every log that one process reads: a hash of
    its name or, in a matrix, of its row."""
    samples: Integers
    """n of every prompt ``[P]``."""
    correct: Integers
    """c of every prompt ``[P]``."""
    labels: NDArray[np.bool_] | None
    """Whether each sample is correct ``[sum n]``; None where only counts are known."""
    answers: Integers | None
    """A number for every answer ``[sum n]``, negative where there is none; None without any answer."""
    scores: Array | None
    """A verifier's scores ``[sum n]``, higher is better."""
    tokens: Array | None
    """Lengths of the samples ``[sum n]``."""
    pooled: int
    """Prompts that occur in several files, whose samples are put together."""
    skipped: int
    """Lines left out."""
    complaints: tuple[str, ...]
    """About the first of them."""

    def banks(self) -> Iterator[tuple[Integers, Integers]]:
        """Prompts with equally many samples: their indices ``[G]`` and those of their samples ``[G, N]``."""
        start = np.cumsum(self.samples) - self.samples
        for n in np.unique(self.samples):
            prompts = np.flatnonzero(self.samples == n)
            yield prompts, start[prompts, None] + np.arange(n)


def read(
    paths: Sequence[str | os.PathLike[str]],
    format: str | None = None,
    *,
    lm_eval_filter: str | None = None,
    skip_bad: bool = False,
    progress: Callable[[float], None] = lambda share: None,
) -> SampleLog:
    """Read files of one format; a prompt that occurs in several of them gets the samples of all.

    Args:
        paths: the files.
        format: a name of :data:`FORMATS`; by default told from the content.
        lm_eval_filter: which filter's rows of an lm-eval log count, if it has several.
        skip_bad: leave out lines that cannot be understood, and count them.
        progress: called with the share of the bytes that is read.

    Raises:
        OSError: a file cannot be read.
        ValueError: a line cannot be understood; the message names file, line and field.
    """
    if format not in (None, *FORMATS):
        raise ValueError(f"format: expected one of {', '.join(FORMATS)}, got {format!r}")
    if not paths:
        raise ValueError("files: expected at least one, got none")
    table = _Table(format, lm_eval_filter, skip_bad)
    sizes = [os.stat(path).st_size for path in paths]
    for i, path in enumerate(paths):

        def advance(position: int, before: int = sum(sizes[:i])) -> None:
            progress((before + position) / max(sum(sizes), 1))

        with open(path, "rb") as file:
            if not file.seekable():
                raise ValueError(f"{os.fspath(path)}: expected a file, got a stream; write it to a file first")
            table.add_file(file, os.fspath(path), advance)
        advance(sizes[i])
    return table.finish()


class _Table:
    """The samples read so far, column by column."""

    def __init__(self, format: str | None, lm_eval_filter: str | None, skip_bad: bool) -> None:
        self.format, self.filter, self.skip_bad = format, lm_eval_filter, skip_bad
        self.filters: dict[str, None] = {}
        self.optional: tuple[str, ...] | None = None
        self.files, self.skipped = 0, 0
        self.complaints: list[str] = []
        self.prompt, self.file, self.answer, self.sample = array("q"), array("i"), array("q"), array("q")
        self.correct, self.score, self.tokens = array("b"), array("d"), array("d")
        self.n, self.c = array("q"), array("q")

    def add_file(self, file: BinaryIO, path: str, advance: Callable[[int], None]) -> None:
        """All samples of one file."""
        self.files += 1
        if self.format == "matrix" or (self.format is None and file.read(2) == b"PK"):
            self.format = "matrix"
            for samples in _matrix(file, path):
                self._add(samples)
            return
        file.seek(0)
        for line, item in _records(file, path):
            try:
                if isinstance(item, ValueError):
                    raise item
                self.format = self.format or _detect(item)
                if self.format != "lm-eval" or self._of_the_filter(item):
                    self._add(list(READERS[self.format](item)))
            except ValueError as error:
                self._leave_out(f"{path}: line {line}: {error}")
            if line % 4096 == 0:
                advance(file.tell())
        if len(self.filters) > 1 and self.filter is None:
            raise ValueError(
                f"{path}: filter: expected the rows of one filter, got those of {', '.join(sorted(self.filters))}; "
                "name one with --filter"
            )

    def _of_the_filter(self, record: Record) -> bool:
        """Whether this row of an lm-eval log counts: with several filters a sample has several rows."""
        name = _text(record, "filter") if "filter" in record else "none"
        self.filters[name] = None
        return self.filter in (None, name)

    def _leave_out(self, complaint: str) -> None:
        if not self.skip_bad:
            raise ValueError(f"{complaint} (--skip-bad leaves such lines out)")
        self.skipped += 1
        if len(self.complaints) < 5:
            self.complaints.append(complaint)

    def _add(self, items: list[Sample | Counts]) -> None:
        """All of them or, if one does not fit, none."""
        for item in items:
            if isinstance(item, Sample):
                has = tuple(name for name in ("score", "tokens", "sample") if getattr(item, name) is not None)
                self.optional = has if self.optional is None else self.optional
                if has != self.optional:
                    name = min(set(has) ^ set(self.optional))
                    raise ValueError(f"{name}: expected with every sample or with none, as in the first line")
        if len(self.prompt) + len(items) > MAX_SAMPLES:
            raise ValueError(f"expected at most {MAX_SAMPLES} samples in all")
        for item in items:
            self.prompt.append(hash(item.prompt))
            self.file.append(self.files)
            if isinstance(item, Counts):
                self.n.append(item.n)
                self.c.append(item.c)
                continue
            self.correct.append(item.correct)
            self.answer.append(NO_ANSWER if item.answer is None else hash(item.answer))
            if item.score is not None:
                self.score.append(item.score)
            if item.tokens is not None:
                self.tokens.append(item.tokens)
            if item.sample is not None:
                self.sample.append(item.sample)

    def finish(self) -> SampleLog:
        """The samples in the order of their prompts' first appearance."""
        if not self.prompt:
            raise ValueError(f"files: expected samples, got none ({self.skipped} bad lines)")
        prompt, prompts = _numbered(self._take("prompt"))
        count = len(prompts)
        file = self._take("file")
        first, last = np.full(count, self.files), np.zeros(count, dtype=np.int64)
        np.minimum.at(first, prompt, file)
        np.maximum.at(last, prompt, file)
        shared: dict[str, Any] = {
            "format": self.format,
            "prompts": prompts,
            "pooled": int((first != last).sum()),
            "skipped": self.skipped,
            "complaints": tuple(self.complaints),
        }
        if self.n:
            sums = [np.bincount(prompt, weights=self._take(name), minlength=count).astype(np.int64) for name in "nc"]
            return SampleLog(
                samples=sums[0], correct=sums[1], labels=None, answers=None, scores=None, tokens=None, **shared
            )
        keys = (self._take("sample"), file, prompt) if self.sample else (prompt,)
        order = np.lexsort(keys)
        self._no_sample_twice(keys, order)
        labels = self._take("correct")[order].astype(bool)
        answers = self._take("answer")
        none = answers == NO_ANSWER
        answers = np.where(none, NO_ANSWER, _numbered(answers)[0])[order]
        return SampleLog(
            samples=np.bincount(prompt, minlength=count),
            correct=np.bincount(prompt[order], weights=labels, minlength=count).astype(np.int64),
            labels=labels,
            answers=None if none.all() else answers,
            scores=self._take("score")[order] if self.score else None,
            tokens=self._take("tokens")[order] if self.tokens else None,
            **shared,
        )

    def _take(self, name: str) -> NDArray[Any]:
        """A column as an array of numpy, on the same memory."""
        column = getattr(self, name)
        return np.frombuffer(column, dtype=column.typecode)

    @staticmethod
    def _no_sample_twice(keys: tuple[NDArray[Any], ...], order: Integers) -> None:
        if len(keys) > 1:
            same = np.ones(len(order) - 1, dtype=bool)
            for key in keys:
                same &= key[order][1:] == key[order][:-1]
            if same.any():
                number = int(keys[0][order[int(np.argmax(same))]])
                raise ValueError(f"sample: expected each number once for each prompt and file, got {number} twice")


def _numbered(hashes: Integers) -> tuple[Integers, Integers]:
    """Numbers 0, 1, ... in the order of first appearance, which unlike the hashes is the same in every run; and
    the hash of each number."""
    distinct, first, inverse = np.unique(hashes, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty(len(first), dtype=np.int64)
    rank[order] = np.arange(len(first))
    return rank[inverse], distinct[order]


# --- lines -----------------------------------------------------------------------------------------------


def _records(file: BinaryIO, path: str) -> Iterator[tuple[int, Record | ValueError]]:
    """Records with their line (or place in a list), or what is wrong with them: JSON lines, a list in JSON, CSV."""
    start = file.read(4096).decode("utf-8", "replace").lstrip("\ufeff \t\r\n")[:1]
    file.seek(0)
    if start == "[":
        yield from _list(file, path)
    elif start == "{":
        for line, text in _lines(file):
            if isinstance(text, ValueError) or text.strip():
                yield line, text if isinstance(text, ValueError) else _parse(text)
    else:
        yield from _csv(file)


def _lines(file: BinaryIO) -> Iterator[tuple[int, str | ValueError]]:
    """Lines of text, counted from 1, of limited length."""
    line = 0
    while raw := file.readline(MAX_LINE + 1):
        line += 1
        if len(raw) > MAX_LINE:
            while raw and not raw.endswith(b"\n"):
                raw = file.readline(MAX_LINE)
            yield line, ValueError(f"expected at most {MAX_LINE} bytes in a line")
            continue
        try:
            yield line, raw.decode("utf-8-sig" if line == 1 else "utf-8")
        except UnicodeDecodeError as error:
            yield line, ValueError(f"expected UTF-8, got the byte {raw[error.start]:#04x} at {error.start + 1}")


def _parse(text: str) -> Record | ValueError:
    try:
        record = json.loads(text)
    except RecursionError:
        return ValueError("expected JSON of moderate depth")
    except ValueError as error:
        return ValueError(f"expected JSON, got {text.strip()!r:.40}: {error}")
    return record if isinstance(record, dict) else ValueError(f"expected a JSON object, got {text.strip()!r:.40}")


def _list(file: BinaryIO, path: str) -> Iterator[tuple[int, Record | ValueError]]:
    text = file.read(MAX_DOCUMENT // 8 + 1)
    if len(text) > MAX_DOCUMENT // 8:
        raise ValueError(
            f"{path}: expected a JSON list of at most {MAX_DOCUMENT // 8} bytes; write one object per line instead"
        )
    try:
        items = json.loads(text.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: expected a JSON list: {error}") from error
    for place, item in enumerate(items, 1):
        yield place, item if isinstance(item, dict) else ValueError(f"expected a JSON object, got {item!r:.40}")


def _csv(file: BinaryIO) -> Iterator[tuple[int, Record | ValueError]]:
    """Rows under a heading; empty cells are left out."""
    heading: list[str] | None = None
    for line, text in _lines(file):
        if isinstance(text, ValueError):
            yield line, text
            continue
        try:
            row = next(csv.reader([text], strict=True), [])
        except csv.Error as error:
            yield line, ValueError(f"expected comma-separated values on one line: {error}")
            continue
        if heading is None:
            heading = [name.strip() for name in row]
        elif row and len(row) != len(heading):
            yield line, ValueError(f"expected {len(heading)} values as in the heading, got {len(row)}")
        elif row:
            yield line, {name: cell for name, cell in zip(heading, row) if cell != ""}


# --- fields ----------------------------------------------------------------------------------------------


def _get(record: Record, name: str, expected: str) -> Any:
    if name not in record:
        raise ValueError(f"{name}: expected {expected}, got no such field")
    return record[name]


def _text(record: Record, name: str) -> str:
    """A text; a whole number is read as its digits."""
    value = _get(record, name, "a text or a whole number")
    if isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise ValueError(f"{name}: expected a text or a whole number, got {value!r:.60}")


def _flag(name: str, value: Any) -> bool:
    if value in ("0", "1", "true", "false", "True", "False"):  # cells of CSV
        return value in ("1", "true", "True")
    if isinstance(value, (bool, int, float)) and value in (0, 1):
        return bool(value)
    raise ValueError(f"{name}: expected true, false, 1 or 0, got {value!r:.60}")


def _whole(name: str, value: Any, high: int) -> int:
    if isinstance(value, str) and value.strip().isdecimal() and len(value) < 20:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= high:
        raise ValueError(f"{name}: expected a whole number from 0 to {high}, got {value!r:.60}")
    return value


def _number(name: str, value: Any) -> float:
    if isinstance(value, str):
        with contextlib.suppress(ValueError):
            value = float(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"{name}: expected a number, got {value!r:.60}")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ValueError(f"{name}: expected a finite number, got {value!r:.60}")
    return number


def _each(record: Record, name: str, length: int | None = None) -> list[Any]:
    values = _get(record, name, "a list")
    if not isinstance(values, list) or (length is not None and len(values) != length):
        wanted = "a list" if length is None else f"a list of {length}"
        got = f"one of {len(values)}" if isinstance(values, list) else f"{values!r:.60}"
        raise ValueError(f"{name}: expected {wanted}, got {got}")
    return values


# --- formats ---------------------------------------------------------------------------------------------


def _plain(record: Record) -> Iterator[Sample | Counts]:
    answer, score, tokens, sample = (record.get(name) for name in ("answer", "score", "tokens", "sample"))
    yield Sample(
        _text(record, "prompt"),
        _flag("correct", _get(record, "correct", "true or false")),
        None if answer is None else _text(record, "answer"),
        None if score is None else _number("score", score),
        None if tokens is None else _whole("tokens", tokens, 2**53),
        None if sample is None else _whole("sample", sample, 2**53),
    )


def _counts(record: Record) -> Iterator[Sample | Counts]:
    n = _whole("n", _get(record, "n", "a whole number"), MAX_COUNT)
    if n == 0:
        raise ValueError("n: expected at least 1 sample, got 0")
    yield Counts(_text(record, "id"), n, _whole("c", _get(record, "c", "a whole number"), n))


def _human_eval(record: Record) -> Iterator[Sample | Counts]:
    yield Sample(_text(record, "task_id"), _flag("passed", _get(record, "passed", "true or false")))


def _lm_eval(record: Record) -> Iterator[Sample | Counts]:
    """One row is a document under one filter; its metric judges the only response that the filter left."""
    prompt = _text(record, "doc_id")
    answers = _each(record, "filtered_resps")
    while len(answers) == 1 and isinstance(answers[0], list):
        answers = answers[0]
    names = _each(record, "metrics") if "metrics" in record else [n for n in ("exact_match", "acc") if n in record]
    if not names or not isinstance(names[0], str):
        raise ValueError("metrics: expected the name of a metric, got none")
    if not answers or not all(answer is None or isinstance(answer, str) for answer in answers):
        raise ValueError(f"filtered_resps: expected generated texts, got {answers!r:.60}")
    if len(answers) == 1:
        judged = [_flag(names[0], _get(record, names[0], "0 or 1"))]
    else:  # lm-eval keeps no label for each repeat
        target = _text(record, "target").strip()
        judged = [answer is not None and answer.strip() == target for answer in answers]
    for answer, correct in zip(answers, judged):
        yield Sample(prompt, correct, None if answer in (None, "", "[invalid]") else answer.strip())


def _search_and_learn(record: Record) -> Iterator[Sample | Counts]:
    """One row is a problem with all its completions."""
    prompt = _text(record, "unique_id" if "unique_id" in record else "problem")
    completions = _each(record, "completions")
    truth = _normal(_text(record, "answer"))
    scores: list[Any] = [None] * len(completions)
    if "agg_scores" in record:
        scores = _each(record, "agg_scores", len(completions))
    elif "scores" in record:  # of every step; the last one judges the whole
        scores = [
            steps[-1] if isinstance(steps, list) and steps else steps
            for steps in _each(record, "scores", len(completions))
        ]
    tokens: list[Any] = [None] * len(completions)
    if "completion_tokens" in record:
        tokens = _each(record, "completion_tokens", len(completions))
    for completion, score, length in zip(completions, scores, tokens):
        if not isinstance(completion, str):
            raise ValueError(f"completions: expected texts, got {completion!r:.60}")
        answer = boxed(completion)
        yield Sample(
            prompt,
            answer is not None and _normal(answer) == truth,
            None if answer is None else _normal(answer),
            None if score is None else _number("scores", score),
            None if length is None else _whole("completion_tokens", length, 2**53),
        )


def boxed(text: str) -> str | None:
    """What stands in the last ``\\boxed{...}`` of a solution, braces matched; None if there is none."""
    start = text.rfind("\\boxed{")
    if start < 0:
        return None
    start, depth = start + len("\\boxed{"), 1
    for i in range(start, len(text)):
        depth += {"{": 1, "}": -1}.get(text[i], 0)
        if depth == 0:
            return text[start:i]
    return None


def _normal(answer: str) -> str:
    """An answer without spaces, dollar signs, a final full stop and the sizes of LaTeX's brackets."""
    for left_out in ("\\left", "\\right", "\\!", "\\,", "\\;", "$", " "):
        answer = answer.replace(left_out, "")
    return answer.replace("\\dfrac", "\\frac").replace("\\tfrac", "\\frac").rstrip(".")


READERS: dict[str, Callable[[Record], Iterator[Sample | Counts]]] = {
    "plain": _plain,
    "counts": _counts,
    "human-eval": _human_eval,
    "lm-eval": _lm_eval,
    "search-and-learn": _search_and_learn,
}

_TELLTALE = {
    "human-eval": ("task_id", "passed"),
    "lm-eval": ("doc_id", "filtered_resps"),
    "search-and-learn": ("completions", "answer"),
    "counts": ("id", "n", "c"),
    "plain": ("prompt", "correct"),
}

FORMATS = (*READERS, "matrix")
"""Names of the formats."""


def _detect(record: Record) -> str:
    for name, fields in _TELLTALE.items():
        if all(field in record for field in fields):
            return name
    wanted = "; ".join(f"{name}: {', '.join(fields)}" for name, fields in _TELLTALE.items())
    raise ValueError(f"expected the fields of a known format ({wanted}), got {', '.join(map(str, record))[:200]}")


# --- matrices --------------------------------------------------------------------------------------------


def _matrix(file: BinaryIO, path: str) -> Iterator[list[Sample | Counts]]:
    """The rows of ``correct [P, N]`` and, if there, ``answer``, ``score`` and ``tokens``, of an .npz file."""
    try:
        with zipfile.ZipFile(file) as archive:
            arrays = {info.filename.removesuffix(".npy"): _array(archive, info) for info in archive.infolist()[:16]}
    except (ValueError, EOFError, NotImplementedError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{path}: expected an .npz file of numbers: {error}") from error
    unknown = set(arrays) - {"correct", "answer", "score", "tokens"}
    if unknown or "correct" not in arrays:
        raise ValueError(
            f"{path}: expected the arrays correct and, if known, answer, score, tokens; got {', '.join(arrays)}"
        )
    correct = arrays["correct"]
    for name, values in arrays.items():
        if values.ndim != 2 or values.shape != correct.shape or 0 in values.shape:
            raise ValueError(f"{path}: {name}: expected shape [P, N] {list(correct.shape)}, got {list(values.shape)}")
    for p in range(len(correct)):
        columns = {name: values[p].tolist() for name, values in arrays.items()}
        answers = columns.get("answer", [None] * correct.shape[1])
        try:
            yield [
                Sample(
                    str(p),
                    _flag("correct", columns["correct"][i]),
                    None if answer is None or answer < 0 else _text({"answer": answer}, "answer"),
                    _number("score", columns["score"][i]) if "score" in columns else None,
                    _whole("tokens", columns["tokens"][i], 2**53) if "tokens" in columns else None,
                )
                for i, answer in enumerate(answers)
            ]
        except ValueError as error:
            raise ValueError(f"{path}: row {p}: {error}") from error


def _array(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> NDArray[Any]:
    """One array of numbers; its size is checked before it is unpacked."""
    if info.file_size > MAX_DOCUMENT:
        raise ValueError(f"{info.filename}: expected at most {MAX_DOCUMENT} bytes unpacked, got {info.file_size}")
    with archive.open(info) as member:
        version = np.lib.format.read_magic(member)
        if version not in ((1, 0), (2, 0)):
            raise ValueError(f"{info.filename}: expected version 1 or 2 of the .npy format, got {version}")
        header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, column_major, dtype = header(member)
        if dtype.kind not in "biuf":
            raise ValueError(f"{info.filename}: expected numbers, got dtype {dtype}")
        if math.prod(shape) * dtype.itemsize > info.file_size:
            raise ValueError(f"{info.filename}: expected as many numbers as its shape {list(shape)} says, got fewer")
        values = np.frombuffer(member.read(math.prod(shape) * dtype.itemsize), dtype=dtype)
    return values.reshape(shape[::-1]).T if column_major else values.reshape(shape)
