"""``ttc-fast run`` as a process: its files, signals, pipes, memory, and the terminal."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cli.small import SMALL, run_json
from ttc_fast.cli.main import main


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_full_disk(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*SMALL, "--json", "/dev/full"]) == 1
    out, err = capsys.readouterr()
    assert "samples, 4 steps" in out  # the tables are not lost
    assert err.splitlines()[-1] == "ttc-fast: error: json: cannot write /dev/full: No space left on device"
    assert not Path("/dev/full").is_file()  # still the device


def test_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "out.json"
    path.write_text("old")

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", fail)
    assert main([*SMALL, "--quiet", "--json", str(path)]) == 1
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["out.json"]


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_interrupt_leaves_no_file(tmp_path: Path) -> None:
    """Ctrl-C once the decode has begun: one line, exit code 130, nothing in the folder."""
    code = (
        "import signal, sys\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # `pytest &` in a script has it ignored
        "from ttc_fast.cli.main import main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    folder, log = tmp_path / "results", tmp_path / "stderr"
    folder.mkdir()
    command = [sys.executable, "-c", code, "run", "--prompts", "4000", "--json", str(folder / "out.json")]
    with log.open("w") as stderr:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=stderr)
    try:
        deadline = time.monotonic() + 60
        while "continuous: 25 %" not in log.read_text():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, "no progress within a minute"
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 130
    finally:
        process.kill()
        process.wait()
    assert log.read_text().splitlines()[-1] == "ttc-fast: interrupted, nothing was written"
    assert os.listdir(folder) == []


@pytest.mark.skipif(os.name != "posix", reason="pipes of POSIX")
@pytest.mark.parametrize("arguments", [["run", "--help"], ["techniques"]])
def test_nobody_reads_on(arguments: list[str]) -> None:
    """As in ``ttc-fast run --help | head -1``: no message."""
    command = [sys.executable, "-c", "import sys; from ttc_fast.cli.main import main; sys.exit(main())", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(timeout=60) in (1, 141)


def test_module_and_command_are_the_same() -> None:
    """``python -m ttc_fast.run`` from another folder; --help without torch, which takes seconds to import."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "ttc_fast.run", "--help"], capture_output=True, text=True, cwd="/"
    )
    assert done.returncode == 0
    assert "--noise-scale" in done.stdout
    assert " torch" not in done.stderr
    with_command = subprocess.run(
        [Path(sys.executable).parent / "ttc-fast", "run", "--help"], capture_output=True, text=True
    )
    assert with_command.stdout == done.stdout


@pytest.mark.slow
def test_memory_of_a_large_run() -> None:
    """100,000 samples of 64 coefficients stay below 2 GB; prompts come in parts, so 3 stand for 64."""
    code = (
        "import resource; from ttc_fast.cli.main import main;"
        "code = main(['run', '--prompts', '3', '--samples', '100000', '--dim', '64', '--quiet']);"
        "print(code, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    exit_code, peak = map(int, done.stdout.split())
    assert exit_code == 0
    assert peak * (1 if sys.platform == "darwin" else 1024) < 2e9


def test_a_terminal_without_unicode(tmp_path: Path) -> None:
    """Lines and signs that it lacks become question marks; nothing is lost."""
    done = subprocess.run(
        [sys.executable, "-m", "ttc_fast.run", *SMALL[1:], "--json", "out.json"],
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert "continuous coefficients" in done.stdout
    assert (tmp_path / "out.json").exists()


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed")
def test_interpreted_kernels_tell_the_same(tmp_path: Path) -> None:
    """Binary thoughts are equal on all backends, so are the results; a note says why it takes long."""
    arguments = ["--coefficients", "binary", "--prompts", "2", "--samples", "5", "--steps", "2", "6"]
    file = tmp_path / "interpreted.json"
    done = subprocess.run(
        [sys.executable, "-m", "ttc_fast.run", *SMALL[1:], *arguments, "--backend", "triton", "--json", str(file)],
        env={**os.environ, "TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "note: Triton interprets its kernels in Python" in done.stderr
    document = json.loads(file.read_text())
    assert document["backend"] == "triton"
    assert document["records"] == run_json(tmp_path, *arguments)["records"]
