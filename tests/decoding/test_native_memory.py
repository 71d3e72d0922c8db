"""Where memory is short, the extension gives the right bits or raises MemoryError, whatever cannot be allocated."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

_C = pytest.importorskip("ttc_fast._C", reason="the C++ extension is not built")
HERE = Path(__file__).parent
BOUNDED = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="bounds the address space as Linux does")
FULL = pytest.mark.slow


@pytest.fixture(scope="module")
def failing_allocator(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("cc")
    if compiler is None or not sys.platform.startswith("linux") or os.confstr("CS_GNU_LIBC_VERSION") is None:
        pytest.skip("needs a C compiler and the GNU C library")
    library = tmp_path_factory.mktemp("allocator") / "failing.so"
    source = str(HERE / "failing_allocator.c")
    subprocess.run([compiler, "-O2", "-shared", "-fPIC", source, "-o", str(library), "-ldl", "-pthread"], check=True)
    return library


def short_memory(kind: str, stride: int, preload: str = "") -> dict[str, Any]:
    program = [sys.executable, str(HERE / "short_memory.py"), _C.__file__, kind, str(stride)]
    done = subprocess.run(program, env={**os.environ, "LD_PRELOAD": preload}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    assert found["wrong"] == []
    return found


@pytest.mark.parametrize("kind", ["one", "all"])
@pytest.mark.parametrize("stride", [61, pytest.param(1, marks=FULL)])
def test_any_allocation_may_fail(kind: str, stride: int, failing_allocator: Path) -> None:
    """The n-th that the extension asks for, or that and all after it, and the start of its threads; n up to the first
    that none of them reaches."""
    found = short_memory(kind, stride, str(failing_allocator))
    assert all(found["failures"].values())
    messages = " ".join(found["messages"])
    for need in ("decode's scratch", "list of steps", "losses and errors", "sums' scratch", "ranking's scratch",
                 "votes' scratch", "answers' scratch", "law of a vote"):  # fmt: skip
        assert stride > 1 or need in messages


@BOUNDED
@pytest.mark.parametrize("stride", [80, pytest.param(1, marks=FULL)])
def test_any_bound_of_the_address_space(stride: int) -> None:
    """As `ulimit -v` sets it: from no more than is in use to 300 MB more, in which all have room."""
    assert sum(short_memory("limit", stride)["failures"].values()) > 0


@BOUNDED
def test_the_message_says_what_was_too_large() -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(HERE)!r}); import short_memory\n"
        f"c = short_memory.load({_C.__file__!r})\n"
        "try:\n"
        "    with short_memory.limited(1 << 30):\n"
        "        c.normals(2, 1, 1 << 22, seed=1, first_sample=0, first_prompt=0, step=0, threads=2, isa='portable')\n"
        "except MemoryError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == (
        "the decode's scratch, up to 1,073,741,920 bytes for each of 2 threads, could not be allocated: "
        "ask for fewer threads or fewer coefficients\n"
    )
