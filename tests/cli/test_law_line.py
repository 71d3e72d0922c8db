"""What the screen says of theory: whether the figures agree with it together."""

from __future__ import annotations

import math
import re
from dataclasses import replace

import numpy as np

from ttc_fast import Key, RunConfig, Table, run
from ttc_fast.cli import full, screen
from ttc_fast.cli.screen import law_line

KEYS = tuple(Key("binary", name, 2, 4, "hamming") for name in ("mean", "single"))


def line(theory: float, variances: tuple[float, float]) -> str:
    of_prompts = [np.full((2, 3), theory), np.repeat(np.array(variances)[:, None], 3, 1), np.zeros((2, 3))]
    table = Table(KEYS, np.arange(3), np.full((2, 3), 0.5))
    for name, array in zip(("theory", "theory_variance", "theory_scale"), of_prompts):
        object.__setattr__(table, name, array)
    return law_line(table).replace("\n", " ")


def test_agreement() -> None:
    assert line(0.5, (0.01, 0.01)) == (
        "theory: 2 of 2 figures have a law; they agree: p = 1 (largest difference 0.0 standard errors)"
    )
    assert line(0.5, (0.01, math.nan)).startswith("theory: 2 of 2 figures have a law, 1 its variance; these agree: p =")
    assert line(0.9, (math.nan, math.nan)) == "theory: 2 of 2 figures have a law, but no variance"
    assert line(math.nan, (0.01, 0.01)).startswith("theory: none of 2 figures has a law here")
    assert law_line(Table(KEYS, np.arange(3), np.zeros((2, 3)))) == ""


def test_disagreement_is_named() -> None:
    """z = 0.4 / sqrt(0.01 / 3) = 6.9, p = 2 * 2 exp(-24)."""
    assert line(0.9, (0.02, 0.01)) == (
        "theory: 2 of 2 figures have a law; they DO NOT agree: p = 1.5e-10 (largest difference 6.9 standard errors); "
        "see single of 4 at 2 steps, hamming"
    )


def test_full_screen() -> None:
    """A z where the law gives a variance, else the difference with its interval."""
    settings = {"dim": 3, "examples": 9, "prompts": 5, "samples": 12, "steps": (4,), "technique": ("greedy", "mean")}
    text = full.text(run(RunConfig(rule="gaussian", **settings)))  # type: ignore[arg-type]  # of several types
    assert "theory: 12 of 12 figures have a law; they agree" in text.replace("\n", " ")
    text = full.text(run(RunConfig(rule="rank_one", **settings)))  # type: ignore[arg-type]  # of several types
    assert "2 its variance; these agree" in text.replace("\n", " ")
    assert re.search(r"theory [\d.e-]+ [+-][\d.e-]+±[\d.e-]+", text)


def test_compilation_is_told_apart_from_the_decode() -> None:
    result = run(RunConfig(coefficients="continuous", dim=3, examples=9, prompts=2, samples=4, steps=(2,)))
    assert "compile" not in screen.text(result)
    slow = screen.text(replace(result, compile_seconds={"continuous": 2.14}))
    assert "coefficient-steps per second, after 2.1 s to compile the kernel" in slow
