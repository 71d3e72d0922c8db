"""``inspect``: logs of Inspect (UK AI Security Institute), ``.json`` and ``.eval``: a sample for each id and epoch,
``{id, epoch, target, scores: {scorer: {value, answer}}}``.

An ``.eval`` file is a zip archive with a file for each sample, ``samples/ID_epoch_N.json``. Values are C (correct), I
(incorrect), P (partial), N (no answer), numbers, or truth values. Where there are several scorers, the name of one is
the filter.
"""

from __future__ import annotations

import json
import struct
import zipfile
import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO

from .. import fields
from ..batches import MAX_LINE
from ..log import Item, Note, Record, Sample
from ..records import Records
from ..sources import unpacked_zstd
from .base import Format

NAME = "inspect"
FIELDS = ("samples", "eval", "status")

_VALUES: dict[Any, bool] = {"C": True, "I": False, "P": False, "N": False, "yes": True, "no": False}


def detect(record: Record) -> bool:
    """Whether a document is a log, or a record a sample of one."""
    return ("eval" in record and ("samples" in record or "status" in record)) or fields.has(record, ("id", "epoch"))


def expand(record: Record) -> Records:
    """The samples of a log, one for each scorer."""
    if "epoch" in record and "eval" not in record:
        yield from _scored("sample", record)
        return
    samples = record.get("samples")
    if not isinstance(samples, list) or not samples:
        yield "samples", ValueError("samples: expected a list of samples, got none; the log has a header only")
        return
    for number, sample in enumerate(samples, 1):
        if isinstance(sample, dict):
            yield from _scored(f"sample {number}", sample)
        else:
            yield f"sample {number}", ValueError(f"expected a JSON object, got {sample!r:.40}")


def _scored(place: str, sample: Record) -> Records:
    scores = sample.get("scores") or ({"score": sample["score"]} if isinstance(sample.get("score"), dict) else {})
    if not isinstance(scores, dict):
        yield place, ValueError(f"scores: expected one for each scorer, got {scores!r:.40}")
        return
    for name, score in scores.items():
        yield place, {**sample, "scorer": name, "score": score}
    if not scores:
        yield place, {**sample, "scorer": None, "score": None}


def filter_of(record: Record) -> str:
    """The scorer."""
    return str(record.get("scorer") or "")


def read(record: Record) -> Iterator[Item]:
    """The one sample of a record."""
    score = record.get("score")
    if score is None:
        yield Note("{count} samples were not scored, for an error or a limit: they are left out")
        return
    if not isinstance(score, dict):
        raise ValueError(f"scores: expected a value and an answer, got {score!r:.40}")
    value, answer = score.get("value"), score.get("answer")
    if value == "P":
        yield Note("{count} samples have partial credit (P): they count as wrong")
    label = _VALUES[value] if isinstance(value, str) and value in _VALUES else fields.to_flag("value", value)
    yield Sample(
        fields.text(record, "id"),
        label,
        None if answer is None or value == "N" else fields.to_text("answer", answer),
        tokens=_tokens(record),
        sample=fields.whole(record, "epoch") if "epoch" in record else None,
        truth=_truth(record.get("target")),
        text=_completion(record.get("output")),
    )


def _truth(target: Any) -> str | None:
    while isinstance(target, list) and len(target) == 1:
        target = target[0]
    return target if isinstance(target, str) else None


def _completion(output: Any) -> str | None:
    completion = output.get("completion") if isinstance(output, dict) else None
    return completion if isinstance(completion, str) else None


def _tokens(record: Record) -> float:
    usage = record.get("model_usage")
    lengths = [one.get("output_tokens") for one in usage.values()] if isinstance(usage, dict) and usage else [None]
    return sum(fields.to_length("output_tokens", length) for length in lengths)


def is_log(file: BinaryIO) -> bool:
    """Whether a zip archive is an ``.eval`` file."""
    try:
        with zipfile.ZipFile(file) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return False
    finally:
        file.seek(0)
    return any(name in ("header.json", "_journal/start.json") or name.startswith("samples/") for name in names)


def archive_records(file: BinaryIO, path: str) -> Records:
    """The samples of an ``.eval`` file.

    Args:
        file: the archive.
        path: of the file, for the error.

    Raises:
        ValueError: the archive is damaged, or holds no samples.
    """
    with zipfile.ZipFile(file) as archive:
        names = [name for name in archive.namelist() if name.startswith("samples/") and name.endswith(".json")]
        if not names:
            raise ValueError(f"{path}: expected samples, got an inspect log without any")
        for name in names:
            try:
                text = _member(archive, file, name)
                record = json.loads(text) if len(text) <= MAX_LINE else None
            except (ValueError, RecursionError, zipfile.BadZipFile, zlib.error, NotImplementedError, OSError) as error:
                yield name, ValueError(f"expected a sample in JSON: {error}")
                continue
            if not isinstance(record, dict):
                yield name, ValueError(f"expected a JSON object of at most {MAX_LINE} bytes")
                continue
            yield name, record


_ZSTD = 93
"""The compression method that Inspect packs with, and that the module zipfile knows from Python 3.14 on only."""

_LOCAL_HEADER = 30


def _member(archive: zipfile.ZipFile, file: BinaryIO, name: str) -> bytes:
    """A file of the archive, up to one byte more than is allowed."""
    info = archive.getinfo(name)
    if info.compress_type != _ZSTD:
        with archive.open(info) as member:
            return member.read(MAX_LINE + 1)
    file.seek(info.header_offset)
    header = file.read(_LOCAL_HEADER)
    if len(header) < _LOCAL_HEADER or not header.startswith(b"PK\x03\x04"):
        raise ValueError("no such member in the archive")
    file.seek(info.header_offset + _LOCAL_HEADER + sum(struct.unpack("<HH", header[26:30])))
    packed = file.read(min(info.compress_size, MAX_LINE + 1))
    return unpacked_zstd(packed, MAX_LINE + 1)


FORMAT = Format(NAME, detect, read, FIELDS, filter_of=filter_of, expand=expand)
