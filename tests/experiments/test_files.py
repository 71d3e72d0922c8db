"""Files are written whole or not at all."""

from __future__ import annotations

import math
import os
import stat
from pathlib import Path

import numpy as np
import pytest

from ttc_fast.estimators.table import Key, Table
from ttc_fast.experiments.files import check_outputs, check_writable, finite, write
from ttc_fast.logs.reader import read
from ttc_fast.numerics.files import DRAFTS, open_input, replacing
from ttc_fast.tasks.prompts import load_prompts


def test_write(tmp_path: Path) -> None:
    path = tmp_path / "out.json"
    for text in ("old", "new\n"):
        write(path, text)
        assert path.read_text() == text
    assert os.listdir(tmp_path) == ["out.json"]


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "link.json").symlink_to(tmp_path / "out.json")
    write(tmp_path / "link.json", "text")
    assert (tmp_path / "link.json").is_symlink()
    assert (tmp_path / "out.json").read_text() == "text"


def test_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "out.json"
    path.write_text("old")

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError, match=r"json: cannot write .*out.json: No space left on device"):
        write(path, "new")
    with pytest.raises(OSError, match=r"plot: cannot write .*out.json: No space left on device"):
        write(path, b"new", "plot")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["out.json"]


def test_check_writable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check_writable(tmp_path / "out.json")
    with pytest.raises(IsADirectoryError, match="save: expected a file, got the folder"):
        check_writable(tmp_path, "save")
    with pytest.raises(FileNotFoundError, match="json: expected a file in a folder that exists"):
        check_writable(tmp_path / "missing" / "out.json")
    monkeypatch.setattr("os.access", lambda *_: False)  # root may write everywhere
    with pytest.raises(PermissionError, match="json: no permission to write"):
        check_writable(tmp_path / "out.json")


def test_finite() -> None:
    assert finite({"a": 1.5, "b": math.inf, "c": math.nan, "d": "x", "e": None, "f": 3}) == {
        "a": 1.5,
        "b": None,
        "c": None,
        "d": "x",
        "e": None,
        "f": 3,
    }


@pytest.mark.skipif(os.name != "posix", reason="modes of POSIX")
def test_the_mode_stays(tmp_path: Path) -> None:
    """That of an old file; a new one's is by the umask."""
    old, new = tmp_path / "old.json", tmp_path / "new.json"
    old.write_text("old")
    for mode in (0o600, 0o640, 0o666):
        old.chmod(mode)
        write(old, "text")
        assert stat.S_IMODE(old.stat().st_mode) == mode
    before = os.umask(0o027)
    try:
        write(new, "text")
    finally:
        os.umask(before)
    assert stat.S_IMODE(new.stat().st_mode) == 0o640


@pytest.mark.parametrize("length", [250, 255])
def test_a_name_as_long_as_names_can_be(length: int, tmp_path: Path) -> None:
    path = tmp_path / ("a" * (length - 8) + ".parquet")
    check_outputs({"save": path})
    write(path, "text", "save")
    assert os.listdir(tmp_path) == [path.name]
    table = Table((Key("binary", "mean", 2, 4, "hamming"),), np.array([0]), np.array([[0.25]]))
    table.save(path)
    assert Table.load(path).values.tolist() == [[0.25]]
    with pytest.raises(OSError, match=r"save: cannot write .*: File name too long"):
        check_outputs({"save": tmp_path / ("a" * 256)})


def test_loops_of_links(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    for path in (tmp_path / "a", tmp_path / "a" / "out.json"):
        for act in (check_writable, lambda path: write(path, "text")):
            with pytest.raises(OSError, match=r"json: cannot write .*: Too many levels of symbolic links"):
                act(path)


def test_an_output_is_no_input_and_no_other_output(tmp_path: Path) -> None:
    """By whatever name: a link, a second name of the same file, another way to the folder."""
    log, new = tmp_path / "log.jsonl", tmp_path / "new.json"
    log.write_text("{}")
    (tmp_path / "link").symlink_to(log)
    os.link(log, tmp_path / "second")
    (tmp_path / "folder").symlink_to(tmp_path)
    for name in ("log.jsonl", "link", "second", "folder/log.jsonl"):
        with pytest.raises(ValueError, match=r"json: expected another file than those that are read.*one of against"):
            check_outputs({"json": tmp_path / name}, {"files": [], "against": [new, log]})
    with pytest.raises(ValueError, match="plot: expected another file than json"):
        check_outputs({"json": new, "plot": tmp_path / "folder" / "new.json"})
    check_outputs({"json": new, "plot": None, "save": Path(os.devnull), "other": Path(os.devnull)}, {"files": [log]})
    assert log.read_text() == "{}"


@pytest.mark.skipif(os.name != "posix", reason="pipes of POSIX")
def test_only_files_are_read(tmp_path: Path) -> None:
    """A device without end and a pipe without a writer are not waited for; neither by any function that reads."""
    os.mkfifo(tmp_path / "pipe.parquet")
    (tmp_path / "zero.parquet").symlink_to("/dev/zero")
    for name, kind in (("pipe.parquet", "a pipe"), ("zero.parquet", "a device"), (".", "a folder")):
        path = tmp_path / name
        for function in (open_input, load_prompts, lambda path: read([path]), Table.load):
            if name == "." and function == Table.load:
                continue
            with pytest.raises(ValueError, match=f"expected a regular file, got {kind}"):
                function(path)
    with pytest.raises(FileNotFoundError):
        open_input(tmp_path / "missing")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_devices_are_written_to(tmp_path: Path) -> None:
    for path in (Path(os.devnull), tmp_path / "link"):
        if not path.exists():
            path.symlink_to(os.devnull)
        check_outputs({"json": path})
        write(path, "text")
        assert not path.is_file()
    with pytest.raises(OSError, match="json: cannot write /dev/full: No space left on device"):
        write(Path("/dev/full"), "text")


def test_an_interruption_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "out.json"
    path.write_text("old")

    def interrupted() -> None:
        with replacing(path, "json") as file:
            file.write(b"half of it")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["out.json"]
    assert not DRAFTS
