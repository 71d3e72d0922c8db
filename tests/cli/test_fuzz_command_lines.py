"""Random command lines: exit code 0, 1 after an error of one line, or 2 for one that makes no sense."""

from __future__ import annotations

import io
import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from ttc_fast.cli.main import main

NUMBERS = (
    "0", "1", "2", "3", "1", "2", "3", "-1", "0.5", "-0.0", "1e39", "1e400", "-1e39", "1e-46", "nan", "inf", "1e8",
    "99999999999999999999", "-inf", "0x10", "1_0",
)  # fmt: skip
TEXTS = (
    "",
    " ",
    "-",
    "--",
    "x",
    "mean",
    "gaussian",
    "\x1b[31m",
    "\n",
    "é",
    "../x",
    "/dev/null",
    "missing.json",
    "2" * 400,
)

RUN = {
    "--coefficients": ("continuous", "binary", "both"), "--rule": ("gaussian", "rank_one", "bernoulli", "subset"),
    "--first-prompt": NUMBERS, "--budgets": NUMBERS, "--label-noise": NUMBERS, "--truth": ("binary", "continuous"),
    "--nonzero": NUMBERS, "--support": ("random", "spread"), "--prior": NUMBERS, "--covariance": NUMBERS,
    "--noise-scale": NUMBERS, "--strength": NUMBERS, "--ridge": NUMBERS, "--ones": NUMBERS, "--temperature": NUMBERS,
    "--noise-schedule": ("constant", "geometric:0.5", "geometric:nan", "power:1e400", "power:", ":", "geometric:-1"),
    "--link": ("clip", "sigmoid"), "--sample-at": ("last_step", "every_step"), "--step-size": NUMBERS,
    "--technique": ("mean", "best_of_n", "beam_search", "ridge", "greedy"), "--metric": ("error_norm", "hamming"),
    "--verifier": ("oracle", "wrong", "held_out_loss", "smallest_norm"), "--held-out": NUMBERS, "--wrong-by": NUMBERS,
    "--verifier-noise": NUMBERS, "--false-positive-rate": NUMBERS, "--seed": NUMBERS,
    "--backend": ("reference", "native", "triton"), "--method": ("exact", "stepwise"), "--device": ("cpu", "meta", "0"),
    "--prompts-file": TEXTS, "--full": (), "--no-theory": (), "--preset": ("paper", "none"),
    "--json": TEXTS, "--save": TEXTS,
}  # fmt: skip
SIZES = ("--dim", "3", "--examples", "4", "--prompts", "2", "--samples", "3", "--steps", "1", "2")
"""Of a run; what is drawn comes after them and may change them to nothing, or to more than there can be."""

HUGE = ("0", "-1", "1.5", "nan", "99999999999999999999", "1e8", "")


def _run(draw: random.Random, folder: Path) -> list[str]:
    line = ["run", *SIZES]
    for option in draw.sample(list(RUN), draw.randint(1, 4)):
        line += [option, *_values(draw, RUN[option])]
    if draw.random() < 0.2:
        line += [draw.choice(("--dim", "--examples", "--prompts", "--samples", "--steps")), draw.choice(HUGE)]
    return line


def _values(draw: random.Random, values: Sequence[str]) -> list[str]:
    if not values:
        return []
    pool = draw.choice((*[values] * 10, TEXTS, NUMBERS))
    return draw.choices(pool, k=draw.choice((0, *[1] * 12, 2)))


def _plan(draw: random.Random, folder: Path) -> list[str]:
    line = ["plan", "--budget", draw.choice(("8", "8", *NUMBERS)), "--prompts", draw.choice(("2", "2", *HUGE)),
            "--longest", draw.choice(("4", "4", *HUGE))]  # fmt: skip
    for option in draw.sample(["--label-noise", "--noise-scale", "--step-size", "--seed", "--simulate"], 2):
        line += [option, *([] if option == "--simulate" else _values(draw, NUMBERS))]
    return line + (["--dim", draw.choice(HUGE)] if draw.random() < 0.2 else [])


def _analyze(draw: random.Random, folder: Path) -> list[str]:
    options = {
        "--format": ("plain", "counts", "matrix", "lm-eval"), "--budgets": NUMBERS, "--ties": ("fail", "first"),
        "--no-answer": ("ignore", "fail"), "--filter": TEXTS, "--skip-bad": (), "--json": TEXTS,
        "--against": (str(folder / "log.csv"), *TEXTS),
    }  # fmt: skip
    line = ["analyze", *draw.choices((str(folder / "log.csv"), str(folder), *TEXTS), (8, 1, *[1] * len(TEXTS)), k=1)]
    for option in draw.sample(list(options), draw.randint(1, 3)):
        line += [option, *_values(draw, options[option])]
    return line


def _reproduce(draw: random.Random, folder: Path) -> list[str]:
    line = ["reproduce", draw.choice((str(folder / "study.json"), str(folder / "log.csv"), *TEXTS)),
            "--prompts", draw.choice(("2", "2", *HUGE)), "--only", draw.choice(("x", "one"))]  # fmt: skip
    return line + draw.choice(([], ["--quick"], ["--json", draw.choice(TEXTS)], ["--folder", draw.choice(TEXTS)]))


def _listing(draw: random.Random, folder: Path) -> list[str]:
    return [draw.choice(("techniques", "theory", "", "runn", "--version", "-h")), *_values(draw, TEXTS)]


COMMANDS: dict[Callable[[random.Random, Path], list[str]], int] = {
    _run: 8, _plan: 4, _analyze: 4, _reproduce: 1, _listing: 1,
}  # fmt: skip

STUDY = {
    "title": "t", "source": "s", "unknown": [], "prompts": 3,
    "runs": [{
        "name": "one", "about": {}, "metric": "squared_error",
        "settings": {"coefficients": "continuous", "dim": 3, "examples": 4, "samples": 3, "steps": [2]},
        "rows": [{"steps": 2, "values": {"N3": ["mean", 3, 0.5]}}],
    }],
}  # fmt: skip


@pytest.fixture
def _folder_and_no_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO())))


def check_lines(count: int, seed: int, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Run random command lines in ``folder``."""
    (folder / "log.csv").write_text("prompt,correct,answer\none,1,a\none,0,b\ntwo,1,a\ntwo,1,\n")
    (folder / "study.json").write_text(json.dumps(STUDY))
    draw, makers = random.Random(seed), list(COMMANDS)
    for _ in range(count):
        line = draw.choices(makers, list(COMMANDS.values()))[0](draw, folder)
        code = main(line)
        err = capsys.readouterr().err
        assert code in (0, 1, 2), line
        if code == 1:
            assert [text.startswith("ttc-fast: error: ") for text in err.splitlines()].count(True) == 1, (line, err)
            assert err.splitlines()[-1].startswith("ttc-fast: error: "), (line, err)


@pytest.mark.usefixtures("_folder_and_no_input")
def test_few_command_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    check_lines(12, 1, tmp_path, capsys)


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
@pytest.mark.usefixtures("_folder_and_no_input")
def test_many_command_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    check_lines(1500, 2026, tmp_path, capsys)
