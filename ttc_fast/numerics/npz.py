"""Arrays of numbers from an ``.npz`` file, the one reader of them.

The files are untrusted: nothing in them is unpickled or executed, sizes are read from the headers and checked before
anything is unpacked, and whatever the parsers of archives and headers raise becomes a ValueError that names the file
and the array.
"""

from __future__ import annotations

import errno
import math
import os
import warnings
import zipfile
from collections.abc import Collection
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .memory import check_memory

FIRST_BYTES = b"PK"
"""Of every zip archive."""

MAX_EXPANSION, EXPANSION_FROM = 200, 2**28
"""Arrays that unpack to more than 200 times their packed size are refused from 256 MiB on."""

MAX_ARRAYS = 1024
"""In a file."""

_CHUNK = 2**24

_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""What NumPy writes; others take memory that no header declares."""


class _Header(NamedTuple):
    """What an array says of itself, and where its numbers begin."""

    shape: tuple[int, ...]
    column_major: bool
    dtype: np.dtype[Any]
    start: int

    @property
    def numbers(self) -> int:
        return math.prod(self.shape)


def read_arrays(
    file: BinaryIO, path: str | os.PathLike[str], expected: str, names: Collection[str] | None = None, extra: int = 0
) -> dict[str, NDArray[Any]]:
    """The arrays of an archive.

    Args:
        file: open for reading, at its start.
        path: of the file, for errors.
        expected: what the file should be, for errors.
        names: of the arrays that are wanted, of those that there are; None: all.
        extra: bytes that the caller needs for each number beside the array.

    Returns:
        The arrays by name, of whole numbers, floats or truth values in the byte order of this machine.

    Raises:
        ValueError: the file holds no such arrays, or they do not fit into memory; the message names the file and the
            array.
        OSError: the disk fails.

    >>> import io
    >>> file = io.BytesIO()
    >>> np.savez(file, x=np.arange(3))
    >>> read_arrays(file, "memory", "an .npz file")["x"].tolist()
    [0, 1, 2]
    """
    told, place = os.fspath(path), ""
    try:
        file.seek(0)
        if not zipfile.is_zipfile(file):
            raise ValueError("another kind of file")
        file.seek(0)
        with zipfile.ZipFile(file) as archive:
            members = _members(archive, names)
            headers: dict[str, _Header] = {}
            for name, info in members.items():
                place = f"array {name}: "
                headers[name] = _header(archive, info)
            place = ""
            _check_sizes(headers, members, told, extra)
            arrays = {}
            for name, info in members.items():
                place = f"array {name}: "
                arrays[name] = _array(archive, info, headers[name])
            return arrays
    except _TooLarge as error:
        raise ValueError(str(error)) from None
    except Exception as error:  # zipfile, zlib and the parser of headers raise some twenty kinds, mostly undocumented
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise OSError(error.errno, f"{told}: cannot be read: {error.strerror}") from error
        raise ValueError(f"{told}: expected {expected}, got: {place}{_reason(error)}") from error


class _TooLarge(ValueError):
    """The file is as it should be, but for its size."""


def _reason(error: Exception) -> str:
    first = (str(error).splitlines() or [""])[0]
    return first if isinstance(error, ValueError) and first else f"{first or 'damaged'} ({type(error).__name__})"


def _members(archive: zipfile.ZipFile, names: Collection[str] | None) -> dict[str, zipfile.ZipInfo]:
    """What is wanted, by name."""
    found: dict[str, zipfile.ZipInfo] = {}
    for info in archive.infolist():
        name = info.filename.removesuffix(".npy")
        if names is not None and name not in names:
            continue
        if name in found:
            raise ValueError(f"two arrays called {name}")
        found[name] = info
    if len(found) > MAX_ARRAYS:
        raise ValueError(f"{len(found)} arrays, more than {MAX_ARRAYS}")
    return found


def _header(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> _Header:
    """The header, of which the size of the array follows; the numbers are not read."""
    if info.flag_bits & 1:
        raise ValueError("encrypted; expected no password")
    if info.compress_type not in _METHODS:
        raise ValueError(f"compression method {info.compress_type}; expected none or deflate, as NumPy writes it")
    with archive.open(info) as member, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of headers that Python 2 wrote, and of odd dtypes
        version = np.lib.format.read_magic(member)
        if version not in ((1, 0), (2, 0)):
            raise ValueError(f"version {version} of the .npy format; expected 1 or 2")
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, column_major, dtype = read(member)
        start = member.tell()
    if dtype.hasobject:
        raise ValueError("Python objects; make it one of numbers")
    if dtype.kind not in "biuf" or dtype.shape:
        raise ValueError(f"dtype {dtype}; expected numbers")
    if any(size < 0 for size in shape):
        raise ValueError(f"the shape {list(shape)}")
    header = _Header(shape, column_major, dtype, start)
    if header.numbers * dtype.itemsize != info.file_size - start:
        raise ValueError(
            f"shape {list(shape)} of {dtype}, which has {header.numbers * dtype.itemsize} bytes, and "
            f"{info.file_size - start} bytes"
        )
    return header


def _check_sizes(headers: dict[str, _Header], members: dict[str, zipfile.ZipInfo], path: str, extra: int) -> None:
    """Before anything is unpacked.

    Raises:
        _TooLarge: the arrays do not fit, or are a bomb.
    """
    for name, info in members.items():
        if info.file_size > max(EXPANSION_FROM, MAX_EXPANSION * info.compress_size):
            raise _TooLarge(
                f"{path}: {name}: expected at most {MAX_EXPANSION} times its packed size of {info.compress_size} "
                f"bytes, got {info.file_size}; if that is right, write it with numpy.savez, which does not pack"
            )
    needed = sum(header.numbers * (header.dtype.itemsize + extra) for header in headers.values())
    try:
        check_memory(needed, f"{path}: its arrays", "use fewer prompts or a part of them")
    except ValueError as error:
        raise _TooLarge(str(error)) from None


def _array(archive: zipfile.ZipFile, info: zipfile.ZipInfo, header: _Header) -> NDArray[Any]:
    """The numbers; reading to the end checks their checksum."""
    data = np.empty(header.numbers * header.dtype.itemsize, dtype=np.uint8)
    done = 0
    with archive.open(info) as member:
        member.read(header.start)
        while part := member.read(_CHUNK):
            if done + len(part) > len(data):
                raise ValueError("more numbers than its shape says")
            data[done : done + len(part)] = np.frombuffer(part, dtype=np.uint8)
            done += len(part)
    if done < len(data):
        raise ValueError(f"{done} bytes of numbers, fewer than the {len(data)} that its shape says")
    values = data.view(header.dtype)
    values = values.astype(header.dtype.newbyteorder("="), copy=False)
    return values.reshape(header.shape[::-1]).T if header.column_major else values.reshape(header.shape)
