"""Columns of many records at once, by Arrow, without a Python object for each value.

Only what is as it should be is taken: of every field the usual type, nothing missing. Anything else gives None, and
then the records are read one by one, with the same results, or with a complaint that says what is wrong in which line.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.json as arrow_json
from pyarrow import types

from . import fields
from .log import Bulk, Coded

_NUMBERS = {"score": pa.float64(), "tokens": pa.int64(), "sample": pa.int64()}


def of_lines(data: bytes, lines: int, names: Mapping[str, str], settings: Sequence[str]) -> Bulk | None:
    """The samples of lines of JSON, one of each.

    Args:
        data: whole lines.
        lines: how many.
        names: our columns -> names of fields.
        settings: fields that say how samples were made.
    """
    if b"\r" in data:
        data = data.replace(b"\r\n", b"\n")
    data = data.removesuffix(b"\n")
    if not (_one_each(data, lines) and _is_utf8(data)):
        return None
    try:
        first = json.loads(data[: data.find(b"\n")] if lines > 1 else data)
        how = _schema(first, names, settings)
        table = how and arrow_json.read_json(
            pa.BufferReader(data), arrow_json.ReadOptions(use_threads=False, block_size=len(data) + 1), how
        )
    except (ValueError, RecursionError, pa.ArrowException):
        return None
    return None if table is None or table.num_rows != lines else of_table(table, names, settings)


def _one_each(data: bytes, lines: int) -> bool:
    """Whether every line begins and ends an object, if what it has is valid: Arrow does not mind where lines end."""
    text = np.frombuffer(data, dtype=np.uint8)
    ends = np.flatnonzero(text == ord("\n"))
    around = len(ends) == lines - 1 and data[:1] == b"{" and data[-1:] == b"}"
    return bool(around and (text[ends - 1] == ord("}")).all() and (text[ends + 1] == ord("{")).all())


def _is_utf8(data: bytes) -> bool:
    if not data.isascii():
        try:
            data.decode()
        except UnicodeDecodeError:
            return False
    return True


def _schema(first: Any, names: Mapping[str, str], settings: Sequence[str]) -> Any:
    """Types by the first record; a field of ours that it lacks may be in no other, but for the answer."""
    if not isinstance(first, dict):
        return None
    found = {}
    for ours, name in names.items():
        if ours == "answer":
            found[name] = pa.string()
        elif name in first:
            found[name] = _NUMBERS.get(ours) or _type(first[name])
        else:
            found[name] = pa.null()
    for name in settings:
        found.setdefault(name, _type(first[name]) if name in first else pa.null())
    if None in found.values():
        return None
    others = not found.keys() >= first.keys()
    schema = pa.schema([(name, kind) for name, kind in found.items() if others or not types.is_null(kind)])
    unexpected = "ignore" if others else "error"
    return arrow_json.ParseOptions(explicit_schema=schema, unexpected_field_behavior=unexpected)


def _type(value: Any) -> Any:
    known = {str: pa.string(), bool: pa.bool_(), int: pa.int64(), float: pa.float64()}
    return known.get(type(value))


def of_table(table: Any, names: Mapping[str, str], settings: Sequence[str]) -> Bulk | None:
    """The samples of a table of Arrow, one of each row.

    Args:
        table: with columns by the names of fields.
        names, settings: see :func:`of_lines`.
    """
    there = {name: table.column(name) for name in table.column_names if not types.is_null(table.column(name).type)}
    columns = {ours: there[name] for ours, name in names.items() if name in there}
    made = {name: there[name] for name in settings if name in there}
    if not {"prompt", "correct"} <= columns.keys():
        return None
    if any(column.null_count for name, column in {**columns, **made}.items() if name != "answer"):
        return None
    found: dict[str, Any] = {"prompt": _coded(columns["prompt"], whole=True), "correct": _labels(columns["correct"])}
    if "answer" in columns:
        found["answer"] = _coded(columns["answer"])
    found |= {name: _numbers(columns[name], name) for name in _NUMBERS if name in columns}
    told: dict[str, Any] = {name: _texts(column) for name, column in made.items()}
    unusual = any(value is None for value in (*found.values(), *told.values()))
    return None if unusual else Bulk(**found, settings=told)


def _coded(column: Any, *, whole: bool = False) -> Coded | None:
    """Texts, each once; whole numbers as their digits, if they may be."""
    kind = column.type.value_type if types.is_dictionary(column.type) else column.type
    if not (types.is_string(kind) or types.is_large_string(kind) or (whole and types.is_integer(kind))):
        return None
    coded = column.combine_chunks()
    coded = coded if types.is_dictionary(coded.type) else coded.dictionary_encode()
    codes = coded.indices.to_numpy(zero_copy_only=False)  # of those that are none, NaN
    codes = (np.nan_to_num(codes, nan=-1.0) if coded.indices.null_count else codes).astype(np.int64)
    values = coded.dictionary.to_pylist()
    return None if None in values else Coded(codes, list(map(str, values)))


def _labels(column: Any) -> Any:
    if not (types.is_boolean(column.type) or types.is_integer(column.type)):
        return None
    values = column.to_numpy().astype(np.int64)
    return values.astype(np.int8) if ((values == 0) | (values == 1)).all() else None


def _numbers(column: Any, name: str) -> Any:
    whole = name != "score"
    if not types.is_integer(column.type) and (whole or not types.is_floating(column.type)):
        return None
    values = column.to_numpy().astype(np.int64 if name == "sample" else np.float64)
    fine = (values >= 0) & (values <= fields.LARGEST) if whole else np.isfinite(values)
    return values if fine.all() else None


def _texts(column: Any) -> list[str] | None:
    """Values of a setting, each once; of numbers with a fraction none may be whole, which others would write else."""
    values = column.unique().to_pylist()
    if any(type(value) not in (str, bool, int, float) for value in values):
        return None
    return None if any(type(v) is float and v == int(v) for v in values if v == v) else list(map(str, values))
