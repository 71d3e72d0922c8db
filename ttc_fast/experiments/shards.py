"""Shards: a table for each (settings, range of prompts), in files that are the only truth about what is done.

    FOLDER/shards/KEY/START-STOP-CHECKSUM.parquet

KEY is a hash of the settings, CHECKSUM one of the file. A file gets its name once it is whole and on the disk, so
whatever was killed, what has a name is complete; a file whose content is not what its name says is computed again.
Who computes a shard holds a lock on one byte of FOLDER/claims: the system frees it however the process ends, and no
clock is asked.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..estimators import table_file
from ..estimators.table import OPTIONAL, Key, Table
from ..estimators.table_file import Contents
from ..numerics.files import open_input

try:
    import fcntl
except ImportError:  # Windows: two drivers of one folder may do the same shard twice
    fcntl = None  # type: ignore[assignment]  # asked for before use


class Block(NamedTuple):
    """A part of the work: prompts ``start`` to ``stop`` of the settings with this key."""

    key: str
    start: int
    stop: int


class Shard(NamedTuple):
    """A file that is there."""

    block: Block
    checksum: str

    @property
    def name(self) -> str:
        return f"{self.block.key}/{self.block.start:010d}-{self.block.stop:010d}-{self.checksum}.parquet"


def digest(content: bytes) -> str:
    """SHA-256 of a text, its first 16 hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()[:16]


def digest_of_file(path: Path) -> str:
    """:func:`digest` of what is in a file.

    Args:
        path: of the file.

    Raises:
        OSError: it cannot be read.
    """
    with open_input(path) as file:
        return digest(file.read())


class Store:
    """The shards of a folder.

    Args:
        folder: is made if it is not there.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        self.drafts = self.folder / "drafts"
        self.drafts.mkdir(parents=True, exist_ok=True)

    def listed(self, key: str) -> list[Shard]:
        """The shards of some settings, by name; their content is not looked at."""
        found = []
        with contextlib.suppress(FileNotFoundError), os.scandir(self.folder / "shards" / key) as entries:
            for entry in entries:
                parts = entry.name.removesuffix(".parquet").split("-")
                if len(parts) == 3 and parts[0].isdigit() and parts[1].isdigit() and entry.name.endswith(".parquet"):
                    found.append(Shard(Block(key, int(parts[0]), int(parts[1])), parts[2]))
        return sorted(found)

    def path(self, shard: Shard) -> Path:
        return self.folder / "shards" / shard.name

    def content(self, shard: Shard) -> bytes | None:
        """Of the file, if it is what the name says; else None."""
        with self.path(shard).open("rb") as file:
            content = file.read()
        return content if digest(content) == shard.checksum else None

    def drop(self, shard: Shard) -> None:
        """Remove a damaged file."""
        self.path(shard).unlink(missing_ok=True)

    def save(self, table: Table, block: Block) -> None:
        """Write a shard: whole, on the disk, and only then by its name.

        Args:
            table: its figures.
            block: what they are of.

        Raises:
            OSError: it cannot be written.
        """
        draft = self.drafts / f"{block.key}-{os.urandom(8).hex()}.parquet"
        try:
            table.save(draft)
            self._name(draft, block, digest(draft.read_bytes()))
        finally:
            draft.unlink(missing_ok=True)

    def put(self, content: bytes, block: Block) -> None:
        """Write a shard that was made elsewhere.

        Args:
            content: of its file.
            block: what it is of.

        Raises:
            OSError: it cannot be written.
        """
        draft = self.drafts / f"{block.key}-{os.urandom(8).hex()}.parquet"
        try:
            with draft.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            self._name(draft, block, digest(content))
        finally:
            draft.unlink(missing_ok=True)

    def _name(self, draft: Path, block: Block, checksum: str) -> None:
        target = self.path(Shard(block, checksum))
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(draft, target)

    @contextlib.contextmanager
    def claim(self, block: Block | None) -> Iterator[bool]:
        """Whether nobody else is at this block, and for as long as this lasts nobody will be.

        Args:
            block: None: at any block of the folder.
        """
        handle = os.open(self.folder / "claims", os.O_RDWR | os.O_CREAT, 0o666)
        offset = 0 if block is None else int(hashlib.sha256(repr(block).encode()).hexdigest()[:15], 16)
        try:
            yield _locked(handle, 0 if block is None else 1, offset)
        finally:
            os.close(handle)

    def tidy(self) -> None:
        """Remove what killed workers left, if nobody is at work."""
        with self.claim(None) as mine:
            if mine:
                for draft in self.drafts.iterdir():
                    draft.unlink(missing_ok=True)


def _locked(handle: int, length: int, offset: int) -> bool:
    if fcntl is None:
        return True
    try:
        fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB, length, offset)
    except OSError as error:
        return error.errno not in (errno.EACCES, errno.EAGAIN)  # others: this file system has no locks
    return True


def missing(wanted: Block, there: Sequence[Block]) -> list[Block]:
    """The parts of a block that no other block covers, ascending.

    Args:
        wanted: the block.
        there: others of the same key.

    >>> missing(Block("", 0, 10), [Block("", 2, 4), Block("", 3, 6)])
    [Block(key='', start=0, stop=2), Block(key='', start=6, stop=10)]
    """
    found, at = [], wanted.start
    for block in sorted(there):
        if block.start > at:
            found.append(Block(wanted.key, at, min(block.start, wanted.stop)))
        at = max(at, block.stop)
        if at >= wanted.stop:
            break
    else:
        found.append(Block(wanted.key, at, wanted.stop))
    return [block for block in found if block.start < block.stop]


def joined(store: Store, wanted: Block) -> Table:
    """The figures of a block from the shards that are there, which may overlap: they agree to the bit where they do.

    Args:
        store: where the shards are.
        wanted: the block.

    Raises:
        ValueError: prompts are missing, or a shard is damaged; both say that the sweep is to be given again.
    """
    parts, at = [], wanted.start
    for shard in _cover(store.listed(wanted.key), wanted):
        content = store.content(shard)
        if content is None:
            raise ValueError(f"folder: expected whole shards, got {store.path(shard)} damaged; sweep again")
        stop = min(shard.block.stop, wanted.stop)
        part = table_file.parsed(content, str(store.path(shard)), Key._fields, OPTIONAL)
        parts.append(part if (at, stop) == shard.block[1:] else _between(part, at, stop))
        at = stop
    return _joined(parts)


def _joined(parts: Sequence[Contents]) -> Table:
    """One table of parts that follow each other, checked once where all have the same keys, as they should."""
    first = parts[0]
    alike = all((part.keys, part.about, part.arrays.keys()) == (first.keys, first.about, first.arrays.keys())
                for part in parts)  # fmt: skip
    if not alike:
        return Table.concat(_table(part) for part in parts)
    arrays = {name: np.concatenate([part.arrays[name] for part in parts], axis=1) for name in first.arrays}
    return _table(Contents(first.keys, np.concatenate([part.prompts for part in parts]), arrays, first.about))


def _table(part: Contents) -> Table:
    arrays = dict(part.arrays)
    return Table(tuple(map(Key._make, part.keys)), part.prompts, arrays.pop("value"), about=part.about, **arrays)


def _cover(there: Sequence[Shard], wanted: Block) -> Iterator[Shard]:
    """Of shards in the order of their starts those that together have every prompt, few and long ones."""
    at, i = wanted.start, 0
    while at < wanted.stop:
        best: Shard | None = None
        while i < len(there) and there[i].block.start <= at:
            if best is None or there[i].block.stop > best.block.stop:
                best = there[i]
            i += 1
        if best is None or best.block.stop <= at:
            raise ValueError(f"folder: expected all prompts, got none from {at} of {wanted.key}; sweep again")
        yield best
        at = best.block.stop


def _between(part: Contents, start: int, stop: int) -> Contents:
    """The figures of prompts ``start`` to ``stop``."""
    kept = slice(*part.prompts.searchsorted((start, stop)).tolist())
    return part._replace(
        prompts=part.prompts[kept], arrays={name: array[:, kept] for name, array in part.arrays.items()}
    )
