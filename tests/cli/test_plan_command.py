"""The command ``ttc-fast plan``."""

from __future__ import annotations

import pytest

from ttc_fast.cli.main import main


def test_plan(capsys: pytest.CaptureFixture[str]) -> None:
    """The plan's error is that of its split, and the simulation agrees within 5 standard errors."""
    assert main(["plan", "--budget", "300", "--dim", "4", "--examples", "40", "--simulate", "--prompts", "64"]) == 0
    out = capsys.readouterr().out
    assert "best split of 300 chain steps" in out
    z = float(out.split("simulated: ")[1].split(", ")[1].split()[0])
    assert abs(z) < 5
    assert "diverge" not in out
    assert main(["plan", "--budget", "64", "--step-size", "1.9", "--prompts", "8"]) == 0
    assert "8 of 8 prompts make the chain diverge" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "--budget"),
        (["--budget", "0"], 1, "budget: expected an integer from 1"),
        (["--budget", "9", "--longest", "0"], 1, "longest: expected an integer from 1"),
        (["--budget", "9", "--prompts", "0"], 1, "prompts: expected an integer from 1"),
        (["--budget", "9", "--noise-scale", "-1"], 1, "noise_scale: expected a finite number of at least 0"),
    ],
)
def test_errors(arguments: list[str], code: int, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", *arguments]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err
    assert code == 2 or err.count("\n") == 1
