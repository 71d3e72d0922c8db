"""What this process may still use."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ttc_fast.numerics import memory
from ttc_fast.numerics.memory import available, check_memory


def test_available() -> None:
    assert 2**20 < available() < 2**50


@pytest.mark.skipif(sys.platform != "linux", reason="limits of Linux")
@pytest.mark.parametrize(("option", "kilobytes"), [("-v", 2_000_000), ("-d", 900_000)])
def test_ulimit_less_what_is_used(option: str, kilobytes: int) -> None:
    code = "from ttc_fast.numerics.memory import available; print(available())"
    line = f"ulimit {option} {kilobytes}; {sys.executable} -c '{code}'"
    left = int(subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=True).stdout)
    assert 0.3 * kilobytes * 1024 < left < kilobytes * 1024


@pytest.mark.parametrize(
    ("own", "files", "limits"),
    [
        ("0::/a/b\n", {"a/memory.max": "700", "a/b/memory.max": "max"}, [700]),
        ("0::/a/b\n", {"memory.max": "900", "a/b/memory.max": "800"}, [800, 900]),
        ("4:cpu,memory:/x\n1:cpu:/\n", {"memory/x/memory.limit_in_bytes": "500"}, [500]),
        ("4:memory:/../elsewhere\n", {"memory/memory.limit_in_bytes": "600"}, [600]),  # as a container sees it
        ("nonsense\n::\n", {"memory.max": "1"}, []),
    ],
)
def test_control_groups(own: str, files: dict[str, str], limits: list[int], tmp_path: Path) -> None:
    (tmp_path / "own").write_text(own)
    for name, text in files.items():
        (tmp_path / "root" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "root" / name).write_text(text + "\n")
    assert list(memory._control_groups(tmp_path / "own", tmp_path / "root")) == limits
    assert list(memory._control_groups(tmp_path / "none", tmp_path / "root")) == []


def test_check_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """The number, the limit, which one it is, and the remedy."""
    limits = [("physical memory", 8 * 10**9), ("ulimit -v", 2 * 10**9)]
    monkeypatch.setattr(memory, "_limits", lambda: iter(limits))
    assert available() == 2 * 10**9
    check_memory(2 * 10**9, "samples: the candidates", "ask for fewer samples")
    check_memory(5 * 10**8, "samples: the candidates", "ask for fewer samples", share=0.25)
    with pytest.raises(ValueError) as caught:
        check_memory(3 * 10**9, "samples: the candidates", "ask for fewer samples")
    assert str(caught.value) == (
        "samples: the candidates: expected to need at most the 2 GB of memory that this process may still use "
        "(ulimit -v), got 3 GB; ask for fewer samples"
    )
    with pytest.raises(ValueError, match="at most 25% of the 2 GB"):
        check_memory(6 * 10**8, "samples: the candidates", "ask for fewer samples", share=0.25)
    with pytest.raises(ValueError, match="got 1,000,000"):
        check_memory(10**30, "examples", "ask for fewer")
    limits.clear()
    check_memory(10**18, "samples", "nothing is known")
