"""Control characters are shown; standard error may be gone."""

from __future__ import annotations

import io
import sys
import unicodedata

import pytest

from ttc_fast.numerics.progress import reporting
from ttc_fast.numerics.visible import tell, visible, write_error


def test_every_control_character_is_shown() -> None:
    """All of Unicode's categories Cc and Cs, what changes the direction, and breaks of lines; no letter, no sign."""
    for code in range(sys.maxunicode + 1):
        character = chr(code)
        kind, bidirectional = unicodedata.category(character), unicodedata.bidirectional(character)
        text = visible(character)
        if kind in ("Cc", "Cs", "Zl", "Zp") or bidirectional in (
            "LRE",
            "RLE",
            "LRO",
            "RLO",
            "PDF",
            "LRI",
            "RLI",
            "FSI",
            "PDI",
        ):
            assert text.isascii(), hex(code)
            assert text.isprintable(), hex(code)
        elif kind[0] in "LMNPS":
            assert text == character


def test_what_may_stay() -> None:
    assert visible("a\n\tb\x1b", keep="\n") == "a\n\\tb\\x1b"
    assert visible("Größe ± 1 ─ 数") == "Größe ± 1 ─ 数"


class Broken(io.StringIO):
    def write(self, text: str) -> int:
        raise OSError(28, "No space left on device")

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("notebook", [False, True])
@pytest.mark.parametrize("stream", [None, Broken(), "closed"])
def test_progress_and_notices_do_not_end_the_work(
    stream: io.StringIO | str | None, notebook: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if stream == "closed":
        stream = io.StringIO()
        stream.close()
    if notebook:
        monkeypatch.setitem(sys.modules, "ipykernel", sys)
    monkeypatch.setattr(sys, "stderr", stream)
    with reporting(True) as report:
        for share in (0.3, 0.6, 1.0):
            report("reading", share)
    tell("note")
    write_error("text")


def test_stages_are_shown(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Names of a user's runs are stages."""
    with reporting(True) as report:
        report("a\x1b[2J\nb", 1.0)
    assert capsys.readouterr().err == "a\\x1b[2J\\nb: 100 %\n"
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with reporting(True) as report:
        report("[/red]a\x1b]0;title\x07", 0.5)
    assert "title\x07" not in capsys.readouterr().err
