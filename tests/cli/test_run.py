"""The command ``ttc-fast run``, as a user meets it."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from test_tasks import bad_files, save_prompts
from ttc_fast import LinearRegression
from ttc_fast.cli.main import main
from ttc_fast.decoding.backends import resolve_backend
from ttc_fast.techniques.aggregate import TECHNIQUES

AUTO = resolve_backend("auto")
SMALL = ["run", "--dim", "3", "--examples", "9", "--prompts", "5", "--samples", "12", "--steps", "1", "4"]


def run_json(folder: Path, *arguments: str) -> dict[str, Any]:
    """What a quiet small run writes."""
    path = folder / "out.json"
    assert main([*SMALL, *arguments, "--quiet", "--json", str(path)]) == 0
    document: dict[str, Any] = json.loads(path.read_text())
    return document


def without_times(document: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in document.items() if k not in ("versions", "wall_time", "throughput")}


def test_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document = run_json(tmp_path, "--seed", "18446744073709551615")
    assert capsys.readouterr() == ("", "")  # quiet
    assert document["rng_layout"] == "philox4x32-10/v1"
    assert document["backend"] == AUTO
    assert document["wall_time"] > 0
    assert set(document["versions"]) == {"ttc_fast", "python", "torch", "numpy"}
    config = document["config"]
    assert (config["dim"], config["examples"], config["prompts"], config["samples"]) == (3, 9, 5, 12)
    assert config["step_size"] == pytest.approx(9 / 13)
    assert config["temperature"] == 0.25
    fields = {
        "coefficients",
        "technique",
        "steps",
        "samples",
        "metric",
        "mean",
        "ci_low",
        "ci_high",
        "median",
        "theory",
        "z",
        "multiplications",
    }
    assert all(set(record) == fields for record in document["records"])
    for record in document["records"]:
        assert record["ci_low"] <= record["mean"] <= record["ci_high"]
    seen = {(r["coefficients"], r["technique"], r["steps"], r["samples"]) for r in document["records"]}
    for technique in ("greedy", "single", "mean", "best_of_n", "oracle_best_of_n"):
        for coefficients in ("continuous", "binary"):
            at_the_last_step = {(coefficients, technique, 4, n) for n in (1, 2, 4, 8, 12)}
            assert at_the_last_step | {(coefficients, technique, 1, 12)} <= seen
    assert ("binary", "majority_vote", 4, 8) in seen
    assert ("continuous", "majority_vote", 4, 8) not in seen


def test_multiplications(tmp_path: Path) -> None:
    """d^2 for a thought; n (d + 1) for a score where the technique asks the verifier."""
    for arguments, score in (([], 9 * 4), (["--verifier", "held_out_loss", "--held-out", "2"], 2 * 4)):
        for record in run_json(tmp_path, *arguments)["records"]:
            samples = 1 if record["technique"] in ("greedy", "single") else record["samples"]
            asked = samples * score if record["technique"] == "best_of_n" else 0
            assert record["multiplications"] == record["steps"] * samples * 3**2 + asked


def test_searches_beside_best_of_n(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """At the budgets of best-of-N; a score of every thought; what stops early spends less than it may."""
    chosen = ["best_of_n", "particle_filter", "beam_search", "self_refinement", "stop_early", "adaptive_vote"]
    command = ["--technique", *chosen, "--no-theory", "--samples", "256"]
    records = run_json(tmp_path, *command)["records"]
    of_best = {(r["coefficients"], r["steps"], r["samples"]) for r in records if r["technique"] == "best_of_n"}
    for name in chosen[1:]:
        found = [r for r in records if r["technique"] == name]
        wanted = {key for key in of_best if key[0] == "binary"} if name == "adaptive_vote" else of_best
        assert {(r["coefficients"], r["steps"], r["samples"]) for r in found} == wanted
        for r in found:
            k = r["samples"]
            decode = r["steps"] * k * 3**2
            scores = r["steps"] * k + (name == "self_refinement")
            if name == "adaptive_vote":
                assert r["multiplications"] < decode or k < 256
            elif name == "stop_early":
                assert r["multiplications"] <= decode
            else:
                assert r["multiplications"] == decode + scores * 9 * 4
    assert main([*SMALL, *command[:-2]]) == 0
    out = capsys.readouterr().out
    assert "what acts during the chain has its own work below its figure" in out
    assert "work 432 + 1.73k" in out  # 12 chains of 4 thoughts: 48 x 9 and 48 x 36
    assert main([*SMALL, "--technique", "beam_search", "--method", "exact", "--coefficients", "continuous"]) == 1
    assert "method: expected 'stepwise' for techniques that resume chains (beam_search)" in capsys.readouterr().err


def test_a_wrong_verifier_is_a_dial(tmp_path: Path) -> None:
    """Without distance it is nearly the oracle; far away it chooses badly; the config says how far."""
    error = {}
    for by in ("0", "0.5", "5"):
        settings = ["--examples", "40", "--prompts", "40", "--samples", "64"]
        document = run_json(tmp_path, "--verifier", "wrong", "--wrong-by", by, *settings)
        assert document["config"]["wrong_by"] == float(by)
        for r in document["records"]:
            if (r["coefficients"], r["steps"], r["samples"], r["metric"]) == ("continuous", 4, 64, "squared_error"):
                error[by, r["technique"]] = r["mean"]
    assert error["0", "best_of_n"] < error["0.5", "best_of_n"] < error["5", "best_of_n"]
    assert error["0", "best_of_n"] < error["0", "single"] < error["5", "best_of_n"]
    assert run_json(tmp_path, "--verifier", "wrong")["config"]["wrong_by"] == 0.5
    assert run_json(tmp_path)["config"]["wrong_by"] is None


def test_same_command_same_bytes(tmp_path: Path) -> None:
    one, two = run_json(tmp_path), run_json(tmp_path)
    assert json.dumps(without_times(one)) == json.dumps(without_times(two))
    assert without_times(run_json(tmp_path, "--seed", "1")) != without_times(one)


def test_reference_tells_the_same(tmp_path: Path) -> None:
    """Up to the rounding of float32; a Bernoulli draw would have to lie at its boundary to differ."""
    for ours, theirs in zip(run_json(tmp_path)["records"], run_json(tmp_path, "--backend", "reference")["records"]):
        assert ours["mean"] == pytest.approx(theirs["mean"], rel=1e-4, abs=1e-6), ours


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


def test_tables(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(SMALL) == 0
    out, err = capsys.readouterr()
    for text in (f"backend {AUTO}", "device cpu", "seed 0", "continuous coefficients", "binary coefficients"):
        assert text in out
    for text in ("more samples, at 4 steps", "more thoughts, with 12 samples", "majority_vote", "oracle_best_of_n"):
        assert text in out
    assert "million coefficient-steps per second" in out
    assert "\x1b" not in out  # no colours where there is no terminal
    assert err.splitlines()[-1] == "binary: 100 % decoded"


def test_one_prompt_has_no_interval(tmp_path: Path) -> None:
    document = run_json(tmp_path, "--prompts", "1")
    assert {(record["ci_low"], record["ci_high"]) for record in document["records"]} == {(None, None)}


def test_diverging_prompts_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*SMALL, "--step-size", "5"]) == 0
    assert "5 of 5 prompts make the chain diverge" in capsys.readouterr().out


def test_a_chain_that_overflows_is_reported_as_null(tmp_path: Path) -> None:
    document = run_json(tmp_path, "--step-size", "50", "--steps", "64", "--coefficients", "continuous")
    assert {record["mean"] for record in document["records"]} == {None}
    assert document["unstable_prompts"] == {"continuous": 5}


def prompts_file(folder: Path, kind: Any, known: bool = True) -> str:
    save_prompts(folder / "prompts.npz", LinearRegression(3, 9, kind).sample(5), known)
    return str(folder / "prompts.npz")


def test_prompts_file(tmp_path: Path) -> None:
    arguments = ["run", "--samples", "12", "--steps", "1", "4", "--quiet", "--json", str(tmp_path / "out.json")]
    assert main([*arguments, "--prompts-file", prompts_file(tmp_path, "binary"), "--prompts", "4"]) == 0
    document = json.loads((tmp_path / "out.json").read_text())
    assert (document["config"]["dim"], document["config"]["examples"], document["config"]["prompts"]) == (3, 9, 4)
    assert {r["coefficients"] for r in document["records"]} == {"continuous", "binary"}
    # The same prompts as the task makes without label noise: the same results.
    assert main([*SMALL, "--label-noise", "0", "--coefficients", "binary", "--prompts", "4", *arguments[6:]]) == 0
    drawn = json.loads((tmp_path / "out.json").read_text())
    ours = [r for r in document["records"] if r["coefficients"] == "binary" and r["metric"] == "squared_error"]
    assert ours == [r for r in drawn["records"] if r["metric"] == "squared_error"]

    assert main([*arguments, "--prompts-file", prompts_file(tmp_path, "continuous")]) == 0
    document = json.loads((tmp_path / "out.json").read_text())
    assert {r["coefficients"] for r in document["records"]} == {"continuous"}  # w* is not binary


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
    ("arguments", "code", "message"),
    [
        (["--smaples", "3"], 2, "Unrecognized options: --smaples"),
        (["--samples", "many"], 2, "--samples"),
        (["--samples"], 2, "Missing value for argument '--samples'"),
        (["--link", "probit"], 2, "invalid choice 'probit' for argument '--link'"),
        (["--samples", "-4"], 1, "samples: expected an integer from 1"),
        (["--samples", "0"], 1, "samples: expected an integer from 1"),
        (["--prompts", "0"], 1, "prompts: expected an integer from 1"),
        (["--dim", "0"], 1, "dim: expected an integer from 1"),
        (["--examples", "0"], 1, "examples: expected an integer from 1"),
        (["--steps", "-1"], 1, "steps: expected an integer from 0"),
        (["--steps"], 1, "steps: expected at least one step, got none"),
        (["--seed", "-1"], 1, "seed: expected an integer from 0"),
        (["--noise-scale", "-0.1"], 1, "noise_scale: expected a finite number of at least 0, got -0.1"),
        (["--noise-scale", "nan"], 1, "noise_scale: expected a finite number of at least 0, got nan"),
        (["--label-noise", "-1"], 1, "label_noise: expected a finite number of at least 0"),
        (["--step-size", "inf"], 1, "step_size: expected a finite number"),
        (["--temperature", "-1"], 1, "temperature: expected a finite number of at least 0"),
        (["--link", "clip", "--temperature", "1"], 1, "temperature: expected none with link='clip'"),
        (["--verifier", "coin"], 2, "invalid choice 'coin' for argument '--verifier'"),
        (["--held-out", "3"], 1, "held_out: expected none with verifier 'in_context_loss', got 3; add --verifier"),
        (["--verifier", "held_out_loss", "--held-out", "77"], 1, "held_out: expected an integer from 1 to 8, got 77"),
        (
            ["--wrong-by", "3"],
            1,
            "wrong_by: expected none with verifier 'in_context_loss', got 3.0; add --verifier wrong",
        ),
        (["--verifier", "wrong", "--wrong-by", "-1"], 1, "wrong_by: expected a finite number of at least 0, got -1"),
        (["--verifier-noise", "-1"], 1, "verifier_noise: expected a finite number of at least 0"),
        (["--false-positive-rate", "2"], 1, "false_positive_rate: expected a finite number from 0 to 1, got 2"),
        (["--backend", "triton"], 1, "backend: 'triton' cannot run"),
        (["--device", "toaster"], 1, "device: expected one that PyTorch can use here, got 'toaster'"),
        (["--device", "meta"], 1, "device: expected one that PyTorch can use here, got 'meta'"),
        (["--dim", "16000000"], 1, "not enough memory, ask for a smaller problem"),
        (["--prompts-file", "missing.npz"], 1, "No such file or directory: 'missing.npz'"),
        (["--json", "missing/out.json"], 1, "json: expected a file in a folder that exists, got missing/out.json"),
        (["--json", "."], 1, "json: expected a file, got the folder ."),
    ],
)
def test_errors_are_one_line(arguments: list[str], code: int, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    small = SMALL if set(arguments).isdisjoint(SMALL) else ["run"]
    assert main([*small, *arguments]) == code
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
    assert "more samples" in out  # the tables are not lost
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
    assert "more samples, at 4 steps\n" in capsys.readouterr().out
