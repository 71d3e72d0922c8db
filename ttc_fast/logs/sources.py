"""Where the bytes of a log come from: a file, standard input (``-``), a pipe; packed by gzip, zstandard, bzip2 or xz.

What is unpacked is read piece by piece and never held whole; the caps of lines and samples hold for it too.
"""

from __future__ import annotations

import bz2
import contextlib
import gzip
import importlib
import io
import lzma
import os
import stat
import sys
import tempfile
import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO, cast

from ..numerics.files import open_input

STDIN = "-"
"""The name that stands for standard input."""

MAX_SPOOLED = 2**32
"""Bytes of a stream that must be copied to a file first, since its reader jumps about in it."""

_PIPES = ("/dev/fd/", "/dev/stdin", "/proc/self/fd/")
"""Names of pipes that have a writer, such as a shell's ``<(zcat log.gz)``; others may wait for one for ever."""

_UNPACKERS = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd", b"BZh": "bzip2", b"\xfd7zXZ\x00": "xz"}


def size(path: str | os.PathLike[str]) -> int:
    """Bytes of a file, for progress; 0 where that is not known.

    Args:
        path: of the file, or ``-``.

    Raises:
        OSError: there is none.
    """
    if os.fspath(path) == STDIN:
        return 0
    found = os.stat(path)
    return found.st_size if stat.S_ISREG(found.st_mode) else 0


@contextlib.contextmanager
def opened(path: str) -> Iterator[tuple[io.BufferedReader, BinaryIO]]:
    """The unpacked bytes of a log, and the packed file, whose position tells the progress.

    Args:
        path: of the file or pipe, or ``-``.

    Raises:
        OSError: it cannot be read.
        ValueError: it is nothing that can be read to an end, or is damaged; the message names it.
    """
    with contextlib.ExitStack() as stack:
        packed = cast(io.BufferedReader, sys.stdin.buffer if path == STDIN else stack.enter_context(_opened(path)))
        start = packed.peek(8)[:8]
        name = next((name for first, name in _UNPACKERS.items() if start.startswith(first)), None)
        try:
            yield (packed, packed) if name is None else (stack.enter_context(_unpacked(packed, name)), packed)
        except (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile, _zstd_error()) as error:
            raise ValueError(f"{path}: expected a whole {name} file, got a damaged one: {error}") from error


def _opened(path: str) -> BinaryIO:
    if path.startswith(_PIPES) and stat.S_ISFIFO(os.stat(path).st_mode):
        return open(path, "rb")
    return open_input(path)


@contextlib.contextmanager
def _unpacked(packed: BinaryIO, name: str) -> Iterator[io.BufferedReader]:
    raw: Any
    if name == "zstd":
        raw = _ZstdReader(packed)
    else:
        unpackers: dict[str, Any] = {"gzip": gzip.open, "bzip2": bz2.open, "xz": lzma.open}
        raw = unpackers[name](packed, "rb")
    with io.BufferedReader(raw, 2**20) as file:
        yield file


class _ZstdReader(io.RawIOBase):
    """The bytes that zstandard packed; unlike its own reader this one knows an end before the end."""

    CHUNK = 2048
    """Packed bytes that are unpacked at once: at most some 70 MB of them."""

    def __init__(self, packed: BinaryIO) -> None:
        self._packed, self._module = packed, _zstd()
        self._frame: Any = None
        self._rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._rest:
            part = self._packed.read(self.CHUNK)
            if not part:
                if self._frame is not None:
                    raise EOFError("it ends before its end")
                return 0
            self._rest = self._unpacked(part)
        size = min(len(buffer), len(self._rest))
        buffer[:size], self._rest = self._rest[:size], self._rest[size:]
        return size

    def _unpacked(self, part: bytes) -> bytes:
        found = []
        while part:
            self._frame = self._frame or self._module.ZstdDecompressor().decompressobj()
            found.append(self._frame.decompress(part))
            if not self._frame.eof:
                break
            part, self._frame = self._frame.unused_data, None
        return b"".join(found)


def unpacked_zstd(packed: bytes, most: int) -> bytes:
    """Bytes that zstandard packed.

    Args:
        packed: all of them.
        most: how many to unpack.

    Raises:
        ValueError: they are damaged.
        ImportError: zstandard is not installed; the message says how to get it.
    """
    try:
        with io.BufferedReader(_ZstdReader(io.BytesIO(packed)), 2**20) as reader:
            return reader.read(most)
    except (EOFError, _zstd_error()) as error:
        raise ValueError(f"damaged: {error}") from error


def _zstd() -> Any:
    try:
        return importlib.import_module("zstandard")
    except ImportError as error:
        raise ImportError(
            "a log packed by zstd needs zstandard: pip install 'ttc-fast[logs]'", name="zstandard"
        ) from error


def _zstd_error() -> type[Exception]:
    module = sys.modules.get("zstandard")
    return cast("type[Exception]", module.ZstdError) if module else zlib.error


@contextlib.contextmanager
def seekable(file: BinaryIO, path: str) -> Iterator[BinaryIO]:
    """The bytes of a stream as a file in which a reader can jump about: itself, or a copy on the disk.

    Args:
        file: at its start.
        path: of the log, for errors.

    Raises:
        ValueError: the stream is too long for a copy.
    """
    if isinstance(file, io.BufferedReader) and isinstance(file.raw, io.FileIO) and file.seekable():
        yield file
        return
    with tempfile.TemporaryFile() as copy:
        done = 0
        while part := file.read(2**20):
            done += len(part)
            if done > MAX_SPOOLED:
                raise ValueError(f"{path}: expected at most {MAX_SPOOLED} bytes unpacked; unpack it to a file first")
            copy.write(part)
        copy.seek(0)
        yield copy
