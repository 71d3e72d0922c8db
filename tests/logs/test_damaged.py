"""Damaged files of logs and prompts: a ValueError or OSError that names the file, and nothing else."""

from __future__ import annotations

import io
import json
import random
import struct
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from logs.samples import ANSWERS, CORRECT, SCORES, rows
from ttc_fast.logs.reader import read
from ttc_fast.numerics import memory
from ttc_fast.tasks.prompts import load_prompts

WAYS = 1500
SECONDS = 240


def archive(arrays: dict[str, Any], save: Callable[..., None] = np.savez) -> bytes:
    file = io.BytesIO()
    save(file, **arrays)
    return file.getvalue()


def whole_files() -> dict[str, bytes]:
    """Files as they should be, by name."""
    made = np.random.default_rng(1)
    prompts = {"x": made.normal(size=(3, 5, 2)), "y": made.normal(size=(3, 5)).astype(">f4")}
    matrix = {"correct": CORRECT, "answer": ANSWERS, "score": np.asfortranarray(SCORES)}
    lines = [json.dumps(row) for row in rows()]
    table = "prompt,correct,score\n" + "".join(f"{r['prompt']},{r['correct']:d},{r['score']}\n" for r in rows())
    harness = [
        {"doc_id": i % 3, "target": "7", "filtered_resps": ["7"], "filter": "none", "exact_match": 1.0, "doc": {"é": i}}
        for i in range(9)
    ]
    return {
        "prompts.npz": archive(prompts),
        "prompts_packed.npz": archive({**prompts, "w_star": made.normal(size=(3, 2))}, np.savez_compressed),
        "matrix.npz": archive(matrix),
        "matrix_packed.npz": archive(matrix, np.savez_compressed),
        "log.jsonl": "\n".join(lines).encode(),
        "log.json": ("[" + ",\n".join(lines) + "]").encode(),
        "log.csv": table.encode(),
        "harness.jsonl": "\n".join(map(json.dumps, harness)).encode(),
    }


def damaged(content: bytes, chance: random.Random) -> bytes:
    """One way to damage a file."""
    data = bytearray(content)
    at = chance.randrange(len(data))
    size = chance.choice((1, 2, 4, 8, 64))
    match chance.randrange(8):
        case 0:
            data[at] ^= 1 << chance.randrange(8)
        case 1:
            del data[at:]
        case 2:
            del data[at : at + size]
        case 3:
            data[at:at] = chance.randbytes(size)
        case 4:
            data[at : at + size] = chance.randbytes(size)
        case 5:
            data[at : at + size] = bytes([chance.choice((0, 255, 0x5B, 0x22, 0x7B, 0x39))]) * size
        case 6:
            other = chance.randrange(len(data))
            data[at : at + size], data[other : other + size] = data[other : other + size], data[at : at + size]
        case _:  # next to a signature of the archive, or a header of NumPy: flags, methods, sizes, shapes
            marks = [i for mark in (b"PK", b"NUMPY", b"shape", b"descr") for i in _places(content, mark)]
            if marks:
                place = min(chance.choice(marks) + chance.randrange(46), len(data) - 1)
                data[place] = chance.choice((0, 1, 9, 12, 14, 39, 40, 44, 45, 57, 99, 127, 128, 255))
            else:
                data[at] = chance.randrange(256)
    return bytes(data)


def _places(content: bytes, mark: bytes) -> list[int]:
    return [i for i in range(len(content)) if content.startswith(mark, i)]


def check(path: Path, content: bytes) -> bool:
    """Whether it is refused; with anything else than an error that names the file the test fails."""
    path.write_bytes(content)
    told = ""
    try:
        load_prompts(path) if path.name.startswith("prompts") else read([path])
    except (ValueError, OSError) as error:
        told = str(error)
    assert told == "" or path.name in told, f"{told!r} does not name the file"
    assert "allow_pickle" not in told
    return told != ""


@pytest.mark.slow
def test_damaged_in_many_ways(tmp_path: Path) -> None:
    chance, files, refused = random.Random(14), whole_files(), 0
    began = time.monotonic()
    for way in range(WAYS):
        name = list(files)[way % len(files)]
        content = damaged(files[name], chance)
        for _ in range(chance.randrange(2)):
            content = damaged(content or b"x", chance)
        refused += check(tmp_path / name, content)
        assert time.monotonic() - began < SECONDS, f"{way} ways took {SECONDS} s"
    assert refused > WAYS / 3


def test_whole_files_are_read(tmp_path: Path) -> None:
    assert not any(check(tmp_path / name, content) for name, content in whole_files().items())


def _header(text: str) -> bytes:
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text) + 1) + text.encode() + b"\n"


def _zip(content: bytes, name: str = "correct.npy", method: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as packed:
        packed.writestr(name, content)
    return file.getvalue()


def _with_flag(content: bytes, local: int, central: int, value: int) -> bytes:
    """Of the only member: two bytes at an offset of its local header and of the one in the directory."""
    data = bytearray(content)
    data[local : local + 2] = struct.pack("<H", value)
    place = content.index(b"PK\x01\x02") + central
    data[place : place + 2] = struct.pack("<H", value)
    return bytes(data)


GOOD = _header("{'descr': '|b1', 'fortran_order': False, 'shape': (1, 2), }") + b"\x00\x01"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (_with_flag(_zip(GOOD), 6, 8, 1), "array correct: encrypted"),
        (_with_flag(_zip(GOOD), 8, 10, 99), "array correct: compression method 99"),
        (_zip(GOOD, method=zipfile.ZIP_LZMA), "array correct: compression method 14; expected none or deflate"),
        (_zip(GOOD, method=zipfile.ZIP_DEFLATED).replace(b"\x93", b"\x94"), "an .npz file of numbers"),
        (_zip(_header("{'descr': '|b1', 'fortran_order': (")), "array correct: "),
        (_zip(_header("{'descr': '|b1'\n  '''")), "array correct: "),
        (_zip(_header("(" * 5000)), "array correct: "),
        (_zip(_header("{'descr': '|b1', 'fortran_order': False, 'shape': (-1, -2), }")), "array correct: "),
        (_zip(_header("{'descr': '|b1', 'fortran_order': False, 'shape': (0, 1" + "0" * 300 + "), }")), "matrix.npz: "),
        (_zip(_header("{'descr': '<f8', 'fortran_order': False, 'shape': (1" + "0" * 30 + ",), }")), "array correct: "),
        (_zip(GOOD + b"more"), "array correct: shape [1, 2] of bool, which has 2 bytes, and 6 bytes"),
        (_zip(GOOD[:3]), "array correct: "),
        (_zip(b""), "array correct: "),
        (_zip(GOOD).replace(b"\x00\x01PK", b"\x01\x01PK"), "array correct: "),  # the checksum
    ],
)
def test_every_kind_of_damage_names_file_and_array(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "matrix.npz"
    path.write_bytes(content)
    with pytest.raises(ValueError) as caught:
        read([path])
    assert "matrix.npz" in str(caught.value)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_bomb_is_refused_before_it_grows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its declared sizes: against what this process may use, and against what is packed."""
    bomb = archive({"x": np.zeros((64, 1024, 1024)), "y": np.zeros((64, 1024))}, np.savez_compressed)
    assert len(bomb) < 2**20
    path = tmp_path / "prompts.npz"
    path.write_bytes(bomb)

    def unpack(*_: object) -> None:
        raise AssertionError("it is unpacked")

    monkeypatch.setattr("ttc_fast.numerics.npz._array", unpack)
    with pytest.raises(ValueError, match=r"prompts.npz: x: expected at most 200 times its packed size of \d+ bytes"):
        load_prompts(path)
    path.write_bytes(archive({"x": np.zeros((1, 1024, 64)), "y": np.zeros((1, 1024))}))
    monkeypatch.setattr(memory, "_limits", lambda: iter([("ulimit -v", 10**6)]))
    with pytest.raises(
        ValueError, match=r"prompts.npz: its arrays: expected .* 1 MB .*\(ulimit -v\), got 1.33 MB; use"
    ):
        load_prompts(path)
