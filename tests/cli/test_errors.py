"""What ``ttc-fast run`` says of wrong settings: one line, before any work."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from cli.small import SMALL
from experiments.small import prompts_file
from test_tasks import bad_files
from ttc_fast.cli.main import main


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--smaples", "3"], "Unrecognized options: --smaples"),
        (["--samples", "many"], "--samples"),
        (["--samples"], "Missing value for argument '--samples'"),
        (["--link", "probit"], "invalid choice 'probit' for argument '--link'"),
        (["--verifier", "coin"], "invalid choice 'coin' for argument '--verifier'"),
    ],
)
def test_a_wrong_command_line_is_told_by_tyro(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """In its box on stderr, with the way to --help."""
    assert main(["run", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert message in " ".join(err.replace("│", " ").split())
    assert "--help" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--samples", "-4"], "samples: expected an integer from 1"),
        (["--samples", "0"], "samples: expected an integer from 1"),
        (["--prompts", "0"], "prompts: expected an integer from 1"),
        (["--dim", "0"], "dim: expected an integer from 1"),
        (["--examples", "0"], "examples: expected an integer from 1"),
        (["--steps", "-1"], "steps: expected an integer from 0"),
        (["--steps"], "steps: expected at least one step, got none"),
        (["--seed", "-1"], "seed: expected an integer from 0"),
        (["--noise-scale", "-0.1"], "noise_scale: expected a finite number of at least 0, got -0.1"),
        (["--noise-scale", "nan"], "noise_scale: expected a finite number of at least 0, got nan"),
        (["--label-noise", "-1"], "label_noise: expected a finite number of at least 0"),
        (["--step-size", "inf"], "step_size: expected a finite number"),
        (["--temperature", "-1"], "temperature: expected a finite number of at least 0"),
        (["--link", "clip", "--temperature", "1"], "temperature: expected none with link='clip'"),
        (["--held-out", "3"], "held_out: expected none with verifier 'in_context_loss', got 3; add --verifier"),
        (["--verifier", "held_out_loss", "--held-out", "77"], "held_out: expected an integer from 1 to 8, got 77"),
        (
            ["--wrong-by", "3"],
            "wrong_by: expected none with verifier 'in_context_loss', got 3.0; add --verifier wrong",
        ),
        (["--verifier", "wrong", "--wrong-by", "-1"], "wrong_by: expected a finite number of at least 0, got -1"),
        (["--verifier-noise", "-1"], "verifier_noise: expected a finite number of at least 0"),
        (["--false-positive-rate", "2"], "false_positive_rate: expected a finite number from 0 to 1, got 2"),
        (["--backend", "triton"], "backend: 'triton' cannot run"),
        (["--device", "toaster"], "device: expected one that PyTorch can use here, got 'toaster'"),
        (["--device", "meta"], "device: expected one that PyTorch can use here, got 'meta'"),
        (["--dim", "16000000"], "dim: the weights of the transformer: expected to need at most the"),
        (["--prompts-file", "missing.npz"], "prompts_file: cannot read missing.npz: No such file or directory"),
        (["--json", "missing/out.json"], "json: expected a file in a folder that exists, got missing/out.json"),
        (["--json", "."], "json: expected a file, got the folder ."),
        (["--technique", "mean", "psychic"], "technique: expected one of 'greedy', 'single', "),
        (["--technique"], "technique: expected at least one, got none"),
        (["--budgets", "4", "16"], "budgets: expected an integer from 1 to 12, got 16"),
        (["--budgets", "0"], "budgets: expected an integer from 1 to 12, got 0"),
        (["--budgets"], "budgets: expected at least one, got none"),
        (["--first-prompt", "-1"], "first_prompt: expected an integer from 0 to 4294967291, got -1"),
        (["--first-prompt", "4294967292"], "first_prompt: expected an integer from 0 to 4294967291, got 4294967292"),
        (["--save", "out.txt"], "save: expected a file that ends in .parquet, got out.txt"),
        (["--save", "missing/out.parquet"], "save: expected a file in a folder that exists, got missing/out.parquet"),
        (["--plot", "run.bmp"], "plot: expected a file that ends in .png, .pdf, .svg, got run.bmp"),
        (["--plot", "missing/run.png"], "plot: expected a file in a folder that exists, got missing/run.png"),
        (["--method", "exact"], "method: expected 'stepwise' for binary coefficients, got 'exact'"),
    ],
)
def test_errors_are_one_line(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*SMALL, *arguments]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("ttc-fast: error: ")
    assert message in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--dim", "4"], "dim: expected 3 as in"),
        (["--examples", "4"], "examples: expected 9 as in"),
        (["--label-noise", "0.1"], "label_noise: expected none with a prompts file"),
        (["--prompts", "6"], "prompts: expected an integer from 1 to 5, got 6"),
        (["--first-prompt", "5"], "first_prompt: expected an integer from 0 to 4, got 5"),
        (["--first-prompt", "3", "--prompts", "3"], "prompts: expected an integer from 1 to 2, got 3"),
        (["--coefficients", "binary"], "w_star: expected zeros and ones for binary coefficients"),
    ],
)
def test_prompts_file_conflicts(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "--prompts-file", prompts_file(tmp_path, "continuous"), *arguments]) == 1
    assert message in capsys.readouterr().err


def test_bad_prompts_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, message in bad_files(tmp_path).items():
        assert main(["run", "--prompts-file", str(tmp_path / name)]) == 1
        err = capsys.readouterr().err
        assert message in err
        assert err.count("\n") == 1, err


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, message in (
        (["--backend", "triton"], "backend: 'triton' cannot run: "),
        (["--device", "cuda"], "device: expected one that PyTorch can use here, got 'cuda': "),
    ):
        assert main(["run", *arguments]) == 1
        err = capsys.readouterr().err
        assert err.startswith(f"ttc-fast: error: {message}")
        assert err.count("\n") == 1


def test_searches_need_steps(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*SMALL, "--technique", "beam_search", "--method", "exact", "--coefficients", "continuous"]) == 1
    assert "method: expected 'stepwise' for techniques that resume chains (beam_search)" in capsys.readouterr().err


def test_plot_without_matplotlib(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert main([*SMALL, "--plot", "run.png"]) == 1
    assert "pip install 'ttc-fast[plot]'" in capsys.readouterr().err
