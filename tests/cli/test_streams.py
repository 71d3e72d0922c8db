"""Standard output and error that are closed, full, without a reader or of a small alphabet: files first, then the
screen, and nothing that acts on the terminal."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from cli.small import SMALL
from logs.samples import rows, write
from ttc_fast.cli import interruption
from ttc_fast.cli.main import main
from ttc_fast.cli.streams import OutputError, deliver

pytestmark = pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")

ENTRY = "import sys; from ttc_fast.cli.entry import main; sys.exit(main(sys.argv[1:]))"
RUN = [*SMALL, "--coefficients", "continuous", "--json", "out.json", "--save", "out.parquet", "--plot", "out.svg"]
ANALYZE = ["analyze", "log.jsonl", "--json", "out.json"]
PLAN = ["plan", "--budget", "16", "--prompts", "4"]


def shell(folder: Path, arguments: Sequence[str], redirection: str, **environment: str) -> tuple[int, str]:
    """The status of the command in bash, and the file that holds its standard error."""
    write(folder / "log.jsonl", rows())
    command = [sys.executable, "-c", ENTRY, *arguments]
    line = f'"$@" 2> err {redirection}; exit ${{PIPESTATUS[0]}}'
    done = subprocess.run(
        ["bash", "-c", line, "bash", *command], cwd=folder, env={**os.environ, **environment}, stdout=subprocess.DEVNULL
    )
    return done.returncode, (folder / "err").read_text()


def files_of(arguments: Sequence[str]) -> list[str]:
    return [one for one in arguments if one.startswith("out.")]


@pytest.mark.parametrize("arguments", [RUN, ANALYZE, PLAN])
@pytest.mark.parametrize(
    ("redirection", "statuses", "message"),
    [
        ("| true", {0, 141}, ""),
        (">/dev/full", {1}, "ttc-fast: error: standard output: cannot write: No space left on device\n"),
        (">&-", {0}, ""),
        ("2>&-", {0}, ""),
        (">&- 2>/dev/full", {0}, ""),
    ],
)
def test_files_first(arguments: list[str], redirection: str, statuses: set[int], message: str, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    status, told = shell(tmp_path, arguments, redirection)
    assert status in statuses, told
    assert told.endswith(message)
    assert "Traceback" not in told
    assert "ignored" not in told
    assert "error" not in told or message
    for name in files_of(arguments):
        assert (tmp_path / name).stat().st_size > 100, name


@pytest.mark.parametrize("arguments", [RUN, ANALYZE, PLAN, ["techniques"]])
@pytest.mark.parametrize(
    "environment",
    [
        {"PYTHONIOENCODING": "ascii"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    ],
)
def test_a_small_alphabet(arguments: list[str], environment: dict[str, str], tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    status, told = shell(tmp_path, arguments, "> screen", **environment)
    assert status == 0, told
    assert (tmp_path / "screen").stat().st_size > 100
    assert all((tmp_path / name).exists() for name in files_of(arguments))


@pytest.mark.parametrize("arguments", [["techniques"], ["run", "--help"], ["--version"]])
def test_nothing_but_the_screen(arguments: list[str], tmp_path: Path) -> None:
    for redirection, statuses in ((">/dev/full", {1}), ("| true", {0, 141}), (">&-", {0})):
        status, told = shell(tmp_path, arguments, redirection)
        assert status in statuses
        assert ("standard output: cannot write" in told) == (status == 1)
        assert told.count("\n") <= 1


def test_one_file_that_fails_costs_no_other(capsys: pytest.CaptureFixture[str]) -> None:
    done: list[str] = []

    def full() -> None:
        raise OSError(28, "json: cannot write x: No space left on device")

    def closed() -> None:
        raise OutputError(BrokenPipeError(32, "Broken pipe"))

    with pytest.raises(OSError, match="json: cannot write x"):
        deliver(full, lambda: done.append("save"), full, screen=lambda: done.append("screen"))
    assert done == ["save", "screen"]
    assert capsys.readouterr().err == "ttc-fast: error: json: cannot write x: No space left on device\n"
    with pytest.raises(OSError, match="json: cannot write x"):  # that of the file counts, not the reader that left
        deliver(full, screen=closed)
    assert capsys.readouterr().err == ""


HARMFUL = "\x1b]0;title\x07\x1b[2J\x7f\x9b31m\u202e\u2066"


def test_nothing_from_outside_acts_on_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Names of files, fields, filters, metrics and prompts, and what messages quote of the content."""
    harness = {"doc_id": 1, "filtered_resps": ["1"], "acc": 1}
    logs: dict[str, list[Any]] = {
        "filters": [{**harness, "filter": f"a{HARMFUL}"}, {**harness, "filter": "b\nc"}],
        "field": [{f"x{HARMFUL}": 1}],
        "metric": [{**harness, "filter": "a", "metrics": [f"m{HARMFUL}"]}],
        "value": [{"prompt": "p", "correct": f"yes{HARMFUL}"}],
        "prompt": [{"prompt": f"p{HARMFUL}", "correct": 1, "sample": 1}] * 2,
        f"name{HARMFUL}": [{"prompt": "p", "correct": 1}, {"prompt": 1.5, "correct": 1}],
        "csv": [f"prompt,correct,{HARMFUL}", "a,1"],
    }
    commands = [["analyze", write(tmp_path / name, lines)] for name, lines in logs.items()]
    commands += [[*command, "--skip-bad"] for command in commands]
    commands += [
        ["analyze", commands[0][1], "--filter", f"a{HARMFUL}"],
        ["analyze", str(tmp_path / f"missing{HARMFUL}")],
        ["analyze", commands[0][1], "--json", str(tmp_path / f"no{HARMFUL}" / "x.json")],
        ["analyze", commands[0][1], "--format", HARMFUL],
        ["run", "--samples", HARMFUL],
        [f"run{HARMFUL}"],
        ["run", "--prompts-file", str(tmp_path / f"name{HARMFUL}")],
        ["run", "--preset", HARMFUL],
    ]
    shown = 0
    for command in commands:
        main(command)
        text = "".join(capsys.readouterr())
        assert not set(HARMFUL) & set(text) - set("]0;title[2J31m"), (command, text)
        shown += "\\x1b" in text
        if "ttc-fast: error" in text:
            assert text.splitlines()[-1].startswith("ttc-fast: error")
    assert shown > len(commands) / 2


def test_the_message_of_an_interruption_is_true(monkeypatch: pytest.MonkeyPatch) -> None:
    from ttc_fast.numerics import files

    monkeypatch.setattr(files, "WRITTEN", [])
    assert interruption.text(["run"]) == "interrupted, nothing was written"
    assert "parts that are done are kept" in interruption.text(["reproduce", "2508.07571"])
    monkeypatch.setattr(files, "WRITTEN", ["out.json"])
    assert interruption.text(["run"]) == "interrupted, after out.json was written"


@pytest.mark.parametrize("module", ["tyro", "torch"])
@pytest.mark.parametrize("wrong", ["return", "except BaseException: pass"])
def test_interrupted_while_a_module_is_imported(module: str, wrong: str, tmp_path: Path) -> None:
    """Also by one whose import makes something else of a KeyboardInterrupt."""
    code = f"""
import os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)

class Interrupting:
    def find_spec(self, name, *rest):
        if name == {module!r}:
            try:
                os.kill(os.getpid(), signal.SIGINT)
                for _ in range(1000): pass
            {wrong if wrong.startswith("except") else "finally: pass"}

sys.meta_path.insert(0, Interrupting())
from ttc_fast.cli.entry import main
sys.exit(main(["run", "--prompts", "2", "--samples", "4", "--quiet", "--json", "out.json"]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 130, done.stderr
    assert done.stderr == "ttc-fast: interrupted, nothing was written\n"
    assert os.listdir(tmp_path) == []


@pytest.mark.slow
def test_interrupted_at_any_time(tmp_path: Path) -> None:
    """One line and status 130 whenever Ctrl-C comes, once Python itself has started."""
    code = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler);"
        "from ttc_fast.cli.entry import main; print('begun', file=sys.stderr, flush=True); sys.exit(main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", code, "run", "--prompts", "300", "--json", "out.json"]
    for i in range(30):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path)
        assert process.stderr is not None
        assert process.stderr.readline() == "begun\n"
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.05 + i * 0.04)
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=60)
        assert process.returncode == 130, told
        assert told.splitlines()[-1].startswith("ttc-fast: interrupted"), told
        assert "Traceback" not in told
        for name in os.listdir(tmp_path):
            assert json.loads((tmp_path / name).read_text())
