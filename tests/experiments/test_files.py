"""Files are written whole or not at all."""

from __future__ import annotations

import math
import os
from pathlib import Path

import pytest

from ttc_fast.experiments.files import check_writable, finite, write


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
