"""The command ``ttc-fast run``, as a user meets it."""

from __future__ import annotations

import importlib.util
import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from experiments.small import prompts_file
from test_tasks import bad_files
from ttc_fast import Table
from ttc_fast.cli.console import PLAIN_WIDTH, aligned, evenly, short, with_error
from ttc_fast.cli.main import main
from ttc_fast.decoding.backends import resolve_backend
from ttc_fast.techniques.registry import TECHNIQUES

AUTO = resolve_backend("auto")
SMALL = ["run", "--dim", "3", "--examples", "9", "--prompts", "5", "--samples", "12", "--steps", "1", "4"]


def run_json(folder: Path, *arguments: str) -> dict[str, Any]:
    """What a quiet small run writes."""
    path = folder / "out.json"
    assert main([*SMALL, *arguments, "--quiet", "--json", str(path)]) == 0
    document: dict[str, Any] = json.loads(path.read_text())
    return document


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


def test_searches_need_steps(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*SMALL, "--technique", "beam_search", "--method", "exact", "--coefficients", "continuous"]) == 1
    assert "method: expected 'stepwise' for techniques that resume chains (beam_search)" in capsys.readouterr().err


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


def test_plot_without_matplotlib(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert main([*SMALL, "--plot", "run.png"]) == 1
    assert "pip install 'ttc-fast[plot]'" in capsys.readouterr().err


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
    assert out.count("5 of 5 prompts make the chain diverge") == 1  # bits cannot


def test_heavy_tail_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """The step that training finds, 32 times: rare prompts dominate the exact mean over all prompts."""
    command = ["run", "--coefficients", "continuous", "--samples", "4", "--steps", "32", "--technique", "mean"]
    heavy = printed(capsys, *command, "--step-size", "0.79")
    assert "over all possible prompts the mean error of 4 samples is" in heavy
    assert max(map(len, heavy.splitlines())) <= 80
    assert "over all possible prompts" not in printed(capsys, *command)


def test_without_theory(capsys: pytest.CaptureFixture[str]) -> None:
    assert "theory" not in printed(capsys, *SMALL, "--no-theory")
    assert "theory: 34 of 34 figures have a law\n" in printed(
        capsys, *SMALL, "--prompts", "1", "--steps", "4", "--coefficients", "continuous"
    )


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (0.02841, 0.00043, "0.0284(4)"),
        (0.0284, 0.000996, "0.028(1)"),  # the error's 9.96 is 10
        (9.96e-4, 1e-5, "0.00100(1)"),
        (0.996, 0.01, "1.00(1)"),
        (9.996e-4, 1e-6, "0.001000(1)"),
        (9.997e-5, 1e-7, "1.000(1)e-4"),  # the value's 9.997 is 10
        (1234.5, 20.2, "1230(20)"),
        (99_999.0, 20.0, "1.0000(2)e5"),
        (1.5e20, 1e19, "1.5(1)e20"),
        (-0.02841, 0.00043, "-0.0284(4)"),
        (-0.001, 0.2, "0.0(2)"),
        (3e-8, 5e-7, "0(5)e-7"),
        (3.0, 20.0, "0(20)"),
        (0.0, 0.1, "0.0(1)"),
        (0.5, 0.0, "0.5"),
        (0.0, 0.0, "0"),
        (0.5, math.nan, "0.5"),
        (0.5, math.inf, "0.5"),
        (math.nan, 0.1, "nan"),
        (math.inf, math.nan, "inf"),
        (0.5, 5e-324, "0.5"),
        (1e300, 1e299, "1.0(1)e300"),
    ],
)
def test_with_error(value: float, error: float, text: str) -> None:
    assert with_error(value, error) == text


def test_aligned() -> None:
    assert aligned(["name", "a"], [["x", "10.5"], ["longer", ""]]) == "name       a\n────────────\nx       10.5\nlonger"


def test_evenly_and_short() -> None:
    assert evenly(list(range(13)), 7) == [0, 2, 4, 6, 8, 10, 12]
    assert evenly([1, 2], 7) == [1, 2]
    assert [short(count) for count in (0, 999, 999_499, 999_500, 10**16)] == ["0", "999", "999k", "1M", "10P"]


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
        (["--dim", "16000000"], "not enough memory, ask for a smaller problem"),
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
