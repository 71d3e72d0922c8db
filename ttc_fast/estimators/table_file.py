"""Tables in long form, a row for each key and prompt, and as Parquet files of it.

Parquet is a column store with types, checksums and compression that pandas, R, DuckDB, Spark and spreadsheets read,
where a file of NumPy's arrays would need our code to be understood.
"""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..numerics import check, files
from .selection import Array

if TYPE_CHECKING:
    import pandas
    import xarray

VERSION = "ttc_fast.Table/1"
"""Of the columns in a file."""


class Contents(NamedTuple):
    """What a file holds."""

    keys: tuple[tuple[Any, ...], ...]
    """In the order in which they come up."""
    prompts: NDArray[np.int64]
    """Ascending."""
    arrays: dict[str, Array]
    """``[keys, prompts]`` by name; ``value`` is one of them."""
    about: dict[str, str]


def long_form(
    fields: Sequence[str], keys: Sequence[tuple[Any, ...]], prompts: NDArray[np.int64], arrays: Mapping[str, Array]
) -> dict[str, Any]:
    """Columns with a row for each key and prompt: the fields of the key, ``prompt``, and the arrays.

    Args:
        fields: names of a key's parts.
        keys: the keys.
        prompts: the prompts.
        arrays: ``[keys, prompts]`` by name.

    Returns:
        The columns by name.
    """
    columns = {name: np.repeat(np.array([key[i] for key in keys]), len(prompts)) for i, name in enumerate(fields)}
    return columns | {"prompt": np.tile(prompts, len(keys))} | {name: array.ravel() for name, array in arrays.items()}


def write(path: str | os.PathLike[str], columns: Mapping[str, Any], about: Mapping[str, str]) -> None:
    """Write columns to a Parquet file, whole or not at all.

    Args:
        path: ends in ``.parquet``.
        columns: as of :func:`long_form`.
        about: facts that belong to them.

    Raises:
        ValueError: another ending.
        OSError: the file cannot be written.
    """
    parquet = imported("pyarrow.parquet")
    target = _parquet(path)
    table = encoded(columns, {"format": VERSION, "about": json.dumps(dict(about), sort_keys=True)})
    with files.replacing(target, "save") as file:
        parquet.write_table(table, file)


def encoded(columns: Mapping[str, Any], metadata: Mapping[str, str]) -> Any:
    """Columns as a table of Arrow, text by dictionaries.

    Args:
        columns: by name.
        metadata: of the file.
    """
    pyarrow = imported("pyarrow")

    def column(values: Any) -> Any:
        if np.asarray(values).dtype.kind in "UO":
            return pyarrow.array(np.asarray(values, dtype=object), pyarrow.string()).dictionary_encode()
        return pyarrow.array(values)

    return pyarrow.table({name: column(values) for name, values in columns.items()}).replace_schema_metadata(
        dict(metadata)
    )


def read(path: str | os.PathLike[str], fields: Sequence[str], optional: Sequence[str]) -> Contents:
    """Read what :func:`write` wrote, whatever order another program has put the rows in.

    Args:
        path: of the file.
        fields: names of a key's parts.
        optional: columns beside ``value`` that it may have.

    Returns:
        What it holds.

    Raises:
        ValueError: it is no such file.
        OSError: it cannot be read.
    """
    imported("pyarrow")
    source = _parquet(path)
    with arrow_file(source) as file:
        return parsed(file, str(source), fields, optional)


def arrow_file(source: Path | bytes) -> Any:
    """A regular file, or bytes, as Arrow's own. Its threads free buffers when they like; those of Python need the
    interpreter, and if it is ending the process aborts.

    Args:
        source: path of the file, or what it holds.

    Raises:
        OSError, ValueError: it cannot be read, or is no regular file.
    """
    pyarrow = imported("pyarrow")
    if not isinstance(source, bytes):
        files.open_input(source).close()
        return pyarrow.OSFile(os.fspath(source))
    buffer = pyarrow.allocate_buffer(len(source))
    pyarrow.FixedSizeBufferWriter(buffer).write(source)
    return pyarrow.BufferReader(buffer)


def parsed(file: Any, source: str, fields: Sequence[str], optional: Sequence[str]) -> Contents:
    """What :func:`read` reads, from an open file or its bytes.

    Args:
        file: the one or the other.
        source: where it comes from, for the error.
        fields, optional: see :func:`read`.

    Raises:
        ValueError: it is no such file.
    """
    pyarrow, parquet = imported("pyarrow"), imported("pyarrow.parquet")
    try:
        small = isinstance(file, bytes)
        opened = parquet.ParquetFile(arrow_file(file) if small else file)
        table = opened.read(use_threads=not small)  # a small one takes longer to be shared out than to be read
        about = {name.decode(): text.decode() for name, text in (table.schema.metadata or {}).items()}
        facts = json.loads(about.get("about", "{}"))
    except (pyarrow.ArrowException, json.JSONDecodeError, UnicodeDecodeError, OverflowError) as error:
        raise ValueError(f"{source}: expected a Parquet file: {error}") from error
    except OSError as error:
        if error.filename is not None:
            raise
        raise ValueError(f"{source}: expected a Parquet file: {error}") from error  # so pyarrow says it of damaged ones
    if about.get("format") != VERSION:
        raise ValueError(f"{source}: expected the format {VERSION}, got {about.get('format', 'none')}")
    keys, prompts, arrays = decoded(table, fields, optional, source)
    return Contents(keys, prompts, arrays, facts)


def decoded(
    table: Any, fields: Sequence[str], optional: Sequence[str], source: str
) -> tuple[tuple[tuple[Any, ...], ...], NDArray[np.int64], dict[str, Array]]:
    """Keys, prompts and arrays of a table of Arrow, whatever the order of its rows.

    Args:
        table: in long form.
        fields, optional: see :func:`read`.
        source: where it comes from, for the error.

    Raises:
        ValueError: a column or a row is missing.
    """
    needed = (*fields, "prompt", "value")
    if lacking := [name for name in needed if name not in table.column_names]:
        raise ValueError(f"{source}: expected the columns {', '.join(needed)}, got none called {lacking[0]}")
    columns = [table.column(name).combine_chunks() for name in fields]
    prompts, column = np.unique(table.column("prompt").to_numpy(), return_inverse=True)
    keys = _keys_in_order(columns, column, len(prompts))
    order = None
    if keys is None:
        rows = list(zip(*(column.to_pylist() for column in columns)))
        keys = tuple(dict.fromkeys(rows))
        row = {key: i for i, key in enumerate(keys)}
        place = np.array([row[key] for key in rows], dtype=np.int64) * len(prompts) + column
        order = np.argsort(place)
        if not np.array_equal(place[order], np.arange(len(keys) * len(prompts))):
            shape = (len(keys), len(prompts))
            raise ValueError(f"{source}: expected one row for each figure and prompt, got {len(rows)} for {shape}")
    arrays = {}
    for name in ("value", *optional):
        if name in table.column_names:
            values = table.column(name).to_numpy()
            arrays[name] = (values if order is None else values[order]).reshape(len(keys), len(prompts))
    return keys, prompts, arrays


def _keys_in_order(
    columns: Sequence[Any], prompt: NDArray[np.int64], prompts: int
) -> tuple[tuple[Any, ...], ...] | None:
    """The keys, if all rows of each are together, in the order of the prompts, as :func:`write` leaves them."""
    count = len(prompt) // max(prompts, 1)
    if count * prompts != len(prompt) or not (prompt.reshape(count, prompts) == np.arange(prompts)).all():
        return None
    parts = []
    for column in columns:
        codes = getattr(column, "indices", column)
        if codes.null_count or str(codes.type) not in ("int32", "int64"):
            return None
        numbers = codes.to_numpy().reshape(count, prompts)
        if not (numbers == numbers[:, :1]).all():
            return None
        first = numbers[:, 0].tolist() if prompts else []
        values = None if codes is column else column.dictionary.to_pylist()
        parts.append(first if values is None else [values[code] for code in first])
    keys = tuple(zip(*parts))
    return keys if len(set(keys)) == count else None


def dataset(
    frame: Callable[[], pandas.DataFrame], dimensions: Sequence[str], units: Mapping[str, str], facts: Mapping[str, Any]
) -> xarray.Dataset:
    """A frame as a dataset of xarray, with units of its variables, and facts as its own attributes.

    Args:
        frame: makes it, a row for each place.
        dimensions: columns that say where it is.
        units: by name of the variable.
        facts: by name.

    Raises:
        ImportError: xarray is not installed; the message says how to get it.
    """
    imported("xarray")
    found: xarray.Dataset = frame().set_index([*dimensions]).to_xarray()
    for name in found.variables:
        if str(name) in units:
            found[name].attrs["units"] = units[str(name)]
    found.attrs |= {name: str(value) for name, value in facts.items()}
    return found


def _parquet(path: str | os.PathLike[str]) -> Path:
    result = Path(os.fsdecode(check.path("path", path)))
    if result.suffix != ".parquet":
        raise ValueError(f"path: expected a file that ends in .parquet, got {result}")
    return result


def imported(name: str) -> Any:
    """A package that is needed here only.

    Raises:
        ImportError: it is not installed; the message says how to get it.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        package = name.partition(".")[0]
        raise ImportError(f"{package} is needed for this: pip install {package}", name=package) from error
