"""Progress: silence, lines, a rewritten line, a bar, or a function of the user's."""

from __future__ import annotations

import sys
import types

import pytest

from ttc_fast.numerics.progress import Report, reporting


def work(report: Report) -> None:
    for share in (0.1, 0.3, 0.4, 0.8, 1.0):
        report("binary", share)
    report("continuous", 0.55)


def test_a_function_is_called(capsys: pytest.CaptureFixture[str]) -> None:
    seen = list[tuple[str, float]]()
    with reporting(lambda stage, share: seen.append((stage, share))) as report:
        work(report)
    assert seen[0] == ("binary", 0.1)
    assert seen[-1] == ("continuous", 0.55)
    assert len(seen) == 6
    assert capsys.readouterr() == ("", "")


def test_silence(capsys: pytest.CaptureFixture[str]) -> None:
    with reporting(False) as report:
        work(report)
    assert capsys.readouterr() == ("", "")


def test_a_line_for_each_quarter(capsys: pytest.CaptureFixture[str]) -> None:
    """Where nobody watches, such as in a file; quarters that were jumped over are not made up."""
    with reporting(True) as report:
        work(report)
    lines = ["binary: 25 %", "binary: 75 %", "binary: 100 %", "continuous: 50 %"]
    assert capsys.readouterr() == ("", "\n".join(lines) + "\n")


def test_one_line_in_a_notebook(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ipykernel", types.ModuleType("ipykernel"))
    with reporting(True) as report:
        work(report)
        report("continuous", 0.55)  # nothing new
    written = capsys.readouterr().err
    assert written.startswith("\rbinary:  10 %\rbinary:  30 %")
    assert written.endswith("\rbinary: 100 %\n\rcontinuous:  55 %")


def test_bars_on_a_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with reporting(True) as report:
        work(report)
    written = capsys.readouterr()
    assert "binary" in written.err
    assert not written.out


@pytest.mark.parametrize("wrong", [None, 1, "yes"])
def test_anything_else_is_refused(wrong: object) -> None:
    with (
        pytest.raises(TypeError, match="progress: expected True, False or a function of a stage and a share, got"),
        reporting(wrong),  # type: ignore[arg-type]  # on purpose
    ):
        pass
