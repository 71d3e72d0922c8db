"""Files in and out: read only what is a file, written whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, TypeAlias

Name: TypeAlias = "str | os.PathLike[str]"

DRAFTS: set[str] = set()
"""Files of this process that are being written; who ends it at once removes them."""

WRITTEN: deque[str] = deque(maxlen=8)
"""The last files that this process has written, for the message of an interruption."""

_STREAMS = ("/dev/fd/", "/dev/stdout", "/dev/stderr", "/proc/")
"""Names of open files: what they stand for is added to, not replaced."""


def open_input(path: Name) -> BinaryIO:
    """A regular file, open for reading.

    Args:
        path: of the file.

    Raises:
        OSError: it cannot be read.
        ValueError: it is something else, such as a device without end or a pipe without a writer, which would be waited
            for.
    """
    _refuse_irregular(path, os.stat(path).st_mode)
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        _refuse_irregular(path, os.fstat(handle).st_mode)
        return os.fdopen(handle, "rb")
    except BaseException:
        os.close(handle)
        raise


def _refuse_irregular(path: Name, mode: int) -> None:
    if not stat.S_ISREG(mode):
        raise ValueError(f"{os.fspath(path)}: expected a regular file, got {_kind(mode)}; write it to a file first")


def _kind(mode: int) -> str:
    kinds = {
        stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device",
        stat.S_IFBLK: "a device",
    }  # fmt: skip
    return kinds.get(stat.S_IFMT(mode), "something else")


def check_outputs(outputs: Mapping[str, Path | None], inputs: Mapping[str, Sequence[Name]] | None = None) -> None:
    """Raise now, before hours of work, if a file cannot be written, or if writing it would destroy another one.

    Args:
        outputs: name of the option -> file; None: not asked for.
        inputs: name of the option -> files that are read.

    Raises:
        OSError: one of them cannot be written.
        ValueError: one is an input too, or two are the same file.
    """
    asked = {name: path for name, path in outputs.items() if path is not None}
    for name, path in asked.items():
        check_writable(path, name)
        for source, files in (inputs or {}).items():
            for file in files:
                if _same(path, file):
                    raise ValueError(
                        f"{name}: expected another file than those that are read, got {path}, which is one of "
                        f"{source}; choose another name"
                    )
        for other, before in asked.items():
            if other == name:
                break
            if _same(path, before):
                raise ValueError(
                    f"{name}: expected another file than {other}, got {path} for both; choose another name"
                )


def _same(one: Name, other: Name) -> bool:
    """Whether two names are of one file, which may not exist yet; devices and pipes can be shared."""
    try:
        return os.path.samefile(one, other) and os.path.isfile(one)
    except OSError:
        return os.path.realpath(one) == os.path.realpath(other)


def check_writable(path: Path, name: str = "json") -> None:
    """Raise now, before hours of work, if ``path`` cannot become a file.

    Args:
        path: of the file.
        name: of the option, for the error.

    Raises:
        OSError: it cannot.
    """
    found = _status(path, name)
    if found is not None and stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, f"{name}: expected a file, got the folder {path}")
    folder = os.path.dirname(os.path.realpath(path))
    if not os.path.isdir(folder):
        raise FileNotFoundError(errno.ENOENT, f"{name}: expected a file in a folder that exists, got {path}")
    if found is not None and not os.access(path, os.W_OK):
        raise PermissionError(errno.EACCES, f"{name}: no permission to write {path}")
    if _is_stream(path, found):
        return
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(
            errno.EACCES, f"{name}: no permission to write {path}: none to add to the folder {folder}"
        )
    try:
        draft, handle = _open_draft(folder, None)  # only the attempt tells of read-only disks, quotas, ...
        os.close(handle)
        os.unlink(draft)
        DRAFTS.discard(draft)
    except OSError as error:
        raise _told(error, path, name) from error


def _status(path: Name, name: str) -> os.stat_result | None:
    """Of what is there; None if nothing is."""
    try:
        return os.stat(path)
    except FileNotFoundError:
        try:  # a name that is too long shows only where the folder exists
            os.lstat(os.path.realpath(path))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _told(error, path, name) from error
        return None
    except NotADirectoryError as error:
        raise FileNotFoundError(errno.ENOENT, f"{name}: expected a file in a folder that exists, got {path}") from error
    except (OSError, ValueError) as error:  # ValueError: a name with a zero byte
        raise _told(error, path, name) from error


def _told(error: OSError | ValueError, path: Name, name: str) -> OSError:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    number = error.errno if isinstance(error, OSError) else None
    return OSError(number or errno.EINVAL, f"{name}: cannot write {os.fspath(path)}: {reason}")


def _is_stream(path: Name, found: os.stat_result | None) -> bool:
    """Whether it is a device, a pipe or an open file: nothing that could be replaced."""
    return found is not None and (not stat.S_ISREG(found.st_mode) or os.path.abspath(path).startswith(_STREAMS))


def write(path: Path, content: str | bytes, name: str = "json") -> None:
    """Write ``content`` to ``path`` whole or not at all.

    Args:
        path: of the file, or of a device or pipe.
        content: text, which is encoded as UTF-8, or bytes.
        name: of the option, for the error.

    Raises:
        OSError: it cannot be written; the message names the path.
    """
    with replacing(path, name) as file:
        file.write(content.encode() if isinstance(content, str) else content)


@contextlib.contextmanager
def replacing(path: Name, name: str) -> Iterator[BinaryIO]:
    """A file to write to, which takes the place of ``path`` once all is written and on the disk.

    The old file stays until then. The new one has its mode; a link stays a link; a device or pipe is written to.

    Args:
        path: of the file, or of a device or pipe.
        name: of the option, for the error.

    Raises:
        OSError: it cannot be written; the message names the path.
    """
    try:
        found = _status(path, name)
        if _is_stream(path, found):
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_APPEND), "wb") as file:
                yield file
        else:
            target = os.path.realpath(path)
            draft, handle = _open_draft(os.path.dirname(target), found)
            try:
                with os.fdopen(handle, "wb") as file:
                    yield file
                    file.flush()
                    os.fsync(file.fileno())
                os.replace(draft, target)
            finally:
                DRAFTS.discard(draft)
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(draft)
    except OSError as error:
        if error.strerror and error.strerror.startswith(f"{name}: "):
            raise
        raise _told(error, path, name) from error
    WRITTEN.append(os.fspath(path))


def _open_draft(folder: str, old: os.stat_result | None) -> tuple[str, int]:
    """A new file in ``folder`` with a short name of its own, as any name may be as long as names can be, and with the
    mode and owner of the old file; without one, as the umask says."""
    while True:
        draft = os.path.join(folder, f".ttc-{os.urandom(4).hex()}")
        DRAFTS.add(draft)
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
            handle = os.open(draft, flags, 0o666 if old is None else 0o600)
            break
        except FileExistsError:
            DRAFTS.discard(draft)
        except OSError:
            DRAFTS.discard(draft)
            raise
    if old is not None and os.name == "posix":
        with contextlib.suppress(PermissionError):
            if (old.st_uid, old.st_gid) != (os.geteuid(), os.getegid()):
                os.fchown(handle, old.st_uid, old.st_gid)
        os.fchmod(handle, stat.S_IMODE(old.st_mode))
    return draft, handle
