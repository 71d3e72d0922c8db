"""The command ``ttc-fast run``, as a user meets it."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.small import SMALL, run_json
from experiments.small import prompts_file
from ttc_fast import Table
from ttc_fast.cli.console import PLAIN_WIDTH
from ttc_fast.cli.main import main
from ttc_fast.decoding.backends import resolve_backend
from ttc_fast.techniques.registry import TECHNIQUES

AUTO = resolve_backend("auto")


def printed(capsys: pytest.CaptureFixture[str], *command: str) -> str:
    assert main(list(command)) == 0
    return capsys.readouterr().out


def test_screen(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(SMALL) == 0
    out, err = capsys.readouterr()
    for text in (f"backend {AUTO}", "d = 3, n = 9", "seed 0", "continuous coefficients", "binary coefficients"):
        assert text in out
    for text in ("samples, 4 steps ", "steps, 12 samples ", "majority_vote", "oracle_best_of_n", "figures have a law"):
        assert text in out
    assert "million coefficient-steps per second" in out
    assert "\x1b" not in out  # no colours where there is no terminal
    stages = ("continuous", "theory of continuous", "binary", "theory of binary")
    assert err.splitlines() == [f"{stage}: 100 %" for stage in stages]


def test_default_screen_fits(capsys: pytest.CaptureFixture[str]) -> None:
    """80 columns x 50 lines for both kinds, without a warning."""
    out = printed(capsys, "run")
    lines = out.splitlines()
    assert len(lines) <= 50
    assert max(map(len, lines)) <= 80
    assert not [line for line in lines if "diverge" in line or "all possible prompts" in line]
    for kind in ("continuous", "binary"):
        assert out.count(f"{kind} coefficients") == 1
    budgets, steps = (
        next(line for line in lines if line.startswith(start)) for start in ("samples, 32", "steps, 4096")
    )
    assert (budgets.split()[3], budgets.split()[-1]) == ("1", "4096")
    assert 5 <= len(budgets.split()[3:]) <= 7
    assert (steps.split()[3], steps.split()[-1]) == ("1", "32")


def test_all_techniques_fit_the_width(capsys: pytest.CaptureFixture[str]) -> None:
    """Two rows for each technique; none is left out but that of other rules."""
    steps = ["--steps", "1", "2", "3", "4", "8", "16"]
    out = printed(capsys, "run", "--prompts", "2", "--samples", "8", *steps, "--no-theory", "--technique", *TECHNIQUES)
    assert max(map(len, out.splitlines())) <= 80
    for name, technique in TECHNIQUES.items():
        if name == "ridge":
            continue
        rows = [line for line in out.splitlines() if line.split()[:1] == [name]]
        tables = 1 if name in ("greedy", "single") else 2
        assert len(rows) == tables * (1 if technique.binary_only else 2), name


def test_budgets(capsys: pytest.CaptureFixture[str]) -> None:
    """Without the budget of all samples the table over steps is that of the largest."""
    out = printed(capsys, *SMALL, "--budgets", "8", "2", "--coefficients", "continuous")
    lines = out.splitlines()
    assert next(line for line in lines if line.startswith("samples, 4")).split()[3:] == ["2", "8"]
    after = lines[lines.index(next(line for line in lines if line.startswith("steps, 8 samples"))) :]
    assert [line.split()[0] for line in after[2:7]] == ["greedy", "single", "mean", "best_of_n", "oracle_best_of_n"]


@pytest.mark.parametrize(
    "arguments", [["--technique", "greedy"], ["--samples", "1"], ["--steps", "4"], ["--steps", "0"]]
)
def test_every_technique_is_on_the_screen(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Also where nothing depends on the budget, or there is one step."""
    command = ["run", "--dim", "3", "--examples", "9", "--prompts", "5", "--samples", "12", *arguments]
    out = printed(capsys, *command, "--coefficients", "continuous")
    asked = ["greedy"] if "--technique" in arguments else ["greedy", "single", "mean", "best_of_n", "oracle_best_of_n"]
    assert set(asked) <= {line.split()[0] for line in out.splitlines() if line}


def test_full_output(capsys: pytest.CaptureFixture[str]) -> None:
    """Every budget at every step, with intervals, medians, theory and work."""
    out = printed(capsys, *SMALL, "--full")
    for text in ("device cpu", "at 1 steps", "at 4 steps", "±", "theory", "work: multiplications for each prompt"):
        assert text in out
    rows = [line.split()[0] for line in out.splitlines() if line[:3].strip().isdecimal()]
    assert rows == ["1", "2", "4", "8", "12"] * 8  # of two kinds, two steps, and two tables each
    out = printed(capsys, *SMALL, "--full", "--technique", "best_of_n", "particle_filter", "--samples", "12")
    assert "work 432 + 1.73k" in out  # 12 chains of 4 thoughts: 48 x 9 and 48 x 36


def test_full_output_folds_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """A technique's name and a figure with its interval and median stand in one line each, whatever is asked for."""
    out = printed(capsys, *SMALL, "--full", "--technique", *TECHNIQUES)
    lines = out.splitlines()
    assert max(map(len, lines)) <= PLAIN_WIDTH
    headings = [line.split() for line in lines if line.startswith(" samples")]
    of_rule = {name for name, technique in TECHNIQUES.items() if technique.applicable is TECHNIQUES["mean"].applicable}
    assert {name for heading in headings for name in heading[1:]} - {"work"} == of_rule
    assert not [line for line in lines if line.strip().startswith("(") or line.strip().startswith("z")]
    for step in ("at 1 steps", "at 4 steps"):
        assert lines.count(step) == 2


def test_quiet(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_json(tmp_path)["config"]["samples"] == 12
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(("suffix", "start"), [("png", b"\x89PNG"), ("pdf", b"%PDF"), ("svg", b"<?xml")])
def test_plot(suffix: str, start: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed: pip install -e '.[plot]'")
    path = tmp_path / f"run.{suffix}"
    assert main([*SMALL, "--quiet", "--plot", str(path), "--technique", "mean", "beam_search", "adaptive_vote"]) == 0
    assert capsys.readouterr() == ("", "")
    assert path.read_bytes().startswith(start)


def test_parts_are_saved_and_put_together(tmp_path: Path) -> None:
    """Four parts of the prompts, to the bit what the whole is."""
    small = ["run", "--dim", "3", "--examples", "9", "--samples", "12", "--steps", "1", "4", "--quiet"]
    parts = []
    for first in range(0, 8, 2):
        path = tmp_path / f"{first}.parquet"
        assert main([*small, "--prompts", "2", "--first-prompt", str(first), "--save", str(path)]) == 0
        parts.append(Table.load(path))
    assert main([*small, "--prompts", "8", "--save", str(tmp_path / "all.parquet")]) == 0
    whole, joined = Table.load(tmp_path / "all.parquet"), Table.concat(parts)
    assert joined.keys == whole.keys
    assert joined.prompts.tolist() == list(range(8))
    for name in ("values", "theory", "thoughts", "scores"):
        assert getattr(joined, name).tobytes() == getattr(whole, name).tobytes()


def test_diverging_prompts_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    out = printed(capsys, *SMALL, "--step-size", "5")
    assert out.count("the chain diverges at step size 5 for 5 of 5 prompts") == 1  # bits cannot


def test_heavy_tail_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """The step that training finds, 32 times: rare prompts dominate the exact mean over all prompts."""
    command = ["run", "--coefficients", "continuous", "--samples", "4", "--steps", "32", "--technique", "mean"]
    heavy = printed(capsys, *command, "--step-size", "0.79")
    assert "over all possible prompts the mean error of 4 samples is" in heavy
    assert max(map(len, heavy.splitlines())) <= 80
    assert "over all possible prompts" not in printed(capsys, *command)


def test_without_theory(capsys: pytest.CaptureFixture[str]) -> None:
    assert "theory" not in printed(capsys, *SMALL, "--no-theory")
    assert "theory: 34 of 34 figures have a law; they agree: p = 1 (largest difference" in printed(
        capsys, *SMALL, "--prompts", "1", "--steps", "4", "--coefficients", "continuous"
    )


def test_prompts_file_without_truth(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = prompts_file(tmp_path, "binary", known=False)
    assert main(["run", "--samples", "12", "--steps", "4", "--prompts-file", path]) == 0
    out = capsys.readouterr().out
    assert "in_context_loss" in out
    assert "disagreement of two samples" in out
    assert "oracle" not in out
    assert "squared_error" not in out
    for verifier in ("oracle", "wrong"):
        assert main(["run", "--verifier", verifier, "--prompts-file", path]) == 1
        assert f"for '{verifier}', got none; take another" in capsys.readouterr().err


def test_techniques_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["techniques"]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in (*TECHNIQUES, "rejection_search"))
    assert "arXiv 2203.11171" in out
    assert "arXiv 2502.01618" in out


def test_techniques_are_chosen_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document = run_json(tmp_path, "--technique", "plurality", "median")
    assert {(r["coefficients"], r["technique"]) for r in document["records"]} == {
        ("continuous", "median"),
        ("binary", "median"),
        ("binary", "plurality"),
    }
    assert document["config"]["technique"] == ["plurality", "median"]
    assert main([*SMALL, "--technique", "plurality", "--coefficients", "continuous"]) == 1
    assert "technique: expected one for continuous coefficients" in capsys.readouterr().err
    assert main([*SMALL, "--technique", "median", "psychic"]) == 1
    assert "technique: expected one of 'greedy', 'single'" in capsys.readouterr().err
    assert main([*SMALL, "--technique", "median"]) == 0
    assert "samples, 4 steps " in capsys.readouterr().out
