"""What :func:`ttc_fast.run` computes."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments.small import SMALL, document, prompts_file
from ttc_fast import RunConfig, Table, run
from ttc_fast.experiments.source import DIM, EXAMPLES, LABEL_NOISE
from ttc_fast.models.linear_attention import stable_step_size
from ttc_fast.theory.ensemble import exact_curve


def without_times(found: dict[str, Any]) -> str:
    timings = ("versions", "wall_time", "throughput", "compile_seconds")
    return json.dumps({k: v for k, v in found.items() if k not in timings})


def assert_same(one: Table, two: Table) -> None:
    """To the bit, with all that belongs to the figures."""
    assert one.keys == two.keys
    assert dict(one.about) == dict(two.about)
    for name in ("prompts", "values", "theory", "thoughts", "scores"):
        ours, theirs = getattr(one, name), getattr(two, name)
        assert (ours is None) == (theirs is None), name
        assert ours is None or ours.tobytes() == theirs.tobytes(), name


def test_a_run_in_four_parts_is_the_whole(tmp_path: Path) -> None:
    """Saved, loaded and put together in any order."""
    settings: dict[str, Any] = {"dim": 3, "examples": 9, "samples": 12, "steps": (1, 4)}
    whole = run(RunConfig(**settings, prompts=64)).table
    parts = []
    for first in (48, 0, 32, 16):
        path = tmp_path / f"part-{first}.parquet"
        run(RunConfig(**settings, prompts=16, first_prompt=first)).table.save(path)
        parts.append(Table.load(path))
    assert_same(Table.concat(parts), whole)
    assert whole.prompts.tolist() == list(range(64))


def test_a_file_in_parts_is_the_whole(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"samples": 12, "steps": (4,), "prompts_file": Path(prompts_file(tmp_path, "binary"))}
    parts = [run(RunConfig(**settings, first_prompt=first, prompts=count)).table for first, count in ((0, 2), (2, 3))]
    assert_same(Table.concat(parts), run(RunConfig(**settings)).table)


def test_same_settings_same_bytes() -> None:
    one = without_times(document())
    assert without_times(document()) == one
    assert without_times(document(seed=1)) != one


def test_lists_and_single_values_are_taken() -> None:
    one = document(steps=4, technique="mean", budgets=[1, 12])
    assert without_times(one) == without_times(document(steps=(4,), technique=("mean",), budgets=(1, 12)))
    assert {r["samples"] for r in one["records"]} == {1, 12}


def test_reference_tells_the_same() -> None:
    """Up to the rounding of float32; a Bernoulli draw would have to lie at its boundary to differ."""
    for ours, theirs in zip(document()["records"], document(backend="reference")["records"]):
        assert ours["mean"] == pytest.approx(theirs["mean"], rel=1e-4, abs=1e-6), ours


def test_a_wrong_verifier_is_a_dial() -> None:
    """Without distance it is nearly the oracle; far away it chooses badly; the config says how far."""
    error = {}
    for by in (0.0, 0.5, 5.0):
        found = document(verifier="wrong", wrong_by=by, examples=40, prompts=40, samples=64, theory=False)
        assert found["config"]["wrong_by"] == by
        for r in found["records"]:
            if (r["coefficients"], r["steps"], r["metric"]) == ("continuous", 4, "squared_error"):
                error[by, r["technique"], r["samples"]] = r["mean"]
    best, single = {by: error[by, "best_of_n", 64] for by in (0.0, 0.5, 5.0)}, error[0.0, "single", 1]
    assert best[0.0] < best[0.5] < best[5.0]
    assert best[0.0] < single < best[5.0]
    assert document(verifier="wrong")["config"]["wrong_by"] == 0.5
    assert document()["config"]["wrong_by"] is None


def test_techniques_that_are_no_names() -> None:
    wrong: list[tuple[Any, str]] = [
        (5, "technique: expected a name or a sequence of names, got 5"),
        (["mean", 5], "technique: expected names, got 5"),
        ([], "technique: expected at least one, got none"),
    ]
    for given, message in wrong:
        with pytest.raises((TypeError, ValueError), match=message):
            run(RunConfig(**SMALL, technique=given))


def test_the_verifiers_of_small_answers() -> None:
    """By the commands' names: as :class:`SmallestNorm`."""
    found = {
        name: run(RunConfig(**{**SMALL, "coefficients": "continuous", "verifier": name})).table
        for name in ("smallest_norm", "smallest_l1_norm", "in_context_loss")
    }
    assert {name: table.about["verifier"] for name, table in found.items()} == {
        "smallest_norm": "SmallestNorm(p=2)",
        "smallest_l1_norm": "SmallestNorm(p=1)",
        "in_context_loss": "InContextLoss()",
    }
    best = {table.select(technique="best_of_n").values.tobytes() for table in found.values()}
    assert len(best) == 3


def test_prompts_file(tmp_path: Path) -> None:
    settings: dict[str, Any] = {
        "dim": None,
        "examples": None,
        "prompts_file": Path(prompts_file(tmp_path, "binary")),
        "prompts": 4,
    }
    found = document(**settings)
    config = found["config"]
    assert (config["dim"], config["examples"], config["prompts"], config["label_noise"]) == (3, 9, 4, None)
    assert {r["coefficients"] for r in found["records"]} == {"continuous", "binary"}
    # The same prompts as the task makes without label noise: the same results.
    drawn = document(label_noise=0.0, coefficients="binary", prompts=4)
    ours = [r for r in found["records"] if r["coefficients"] == "binary" and r["metric"] == "squared_error"]
    assert ours == [r for r in drawn["records"] if r["metric"] == "squared_error"]

    settings["prompts_file"] = Path(prompts_file(tmp_path, "continuous"))
    assert {r["coefficients"] for r in document(**settings)["records"]} == {"continuous"}  # w* is not binary


def test_exact_method() -> None:
    with pytest.raises(ValueError, match="method: expected 'stepwise' for binary coefficients, got 'exact'"):
        document(method="exact")
    found = document(method="exact", coefficients="continuous")
    assert found["config"]["method"] == "exact"
    checks = [r["z"] for r in found["records"] if r["z"] is not None]
    assert max(map(abs, checks)) < 5


def test_progress_is_a_function_of_stage_and_share() -> None:
    told: dict[str, list[float]] = {}
    run(RunConfig(**SMALL), progress=lambda stage, share: told.setdefault(stage, []).append(share))
    assert list(told) == ["continuous", "theory of continuous", "binary", "theory of binary"]
    for shares in told.values():
        assert shares == sorted(shares)
        assert shares[-1] == 1.0


def test_default_mean_over_all_prompts_is_that_of_the_run() -> None:
    """The default step is not heavy-tailed: what 64 prompts show holds for all. More thoughts and more samples help."""
    defaults = RunConfig()
    steps, samples, step_size = defaults.steps, defaults.samples, stable_step_size(DIM, EXAMPLES)
    curve = exact_curve(EXAMPLES, DIM, step_size, defaults.noise_scale, max(steps))

    def error(step: int, count: int) -> float:
        return float(curve.error(step, count, label_noise=LABEL_NOISE))

    result = run(dataclasses.replace(defaults, coefficients="continuous", technique=("mean",)))
    assert result.config.step_size == pytest.approx(step_size)
    everywhere = result.all_prompts["continuous"]
    assert everywhere == pytest.approx(error(max(steps), samples))
    for step in steps:
        for count in (1, samples):
            found = result.table["continuous", "mean", step, count, "squared_error"].mean()
            assert found / 2 < error(step, count) < found * 2
    by_steps = [error(step, samples) for step in steps]
    by_samples = [error(max(steps), count) for count in (1, 8, 64, 512, 4096)]
    for falling in (by_steps, by_samples):
        assert (np.diff(falling) < 0).all(), falling
        assert falling[0] > 100 * falling[-1]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"technique": ()}, "technique: expected at least one, got none"),
        ({"technique": ("psychic",)}, "technique: expected one of 'greedy', 'single'"),
        ({"budgets": (13,)}, "budgets: expected an integer from 1 to 12, got 13"),
        ({"budgets": ()}, "budgets: expected at least one"),
        ({"coefficients": "continuous", "technique": ("plurality",)}, "technique: expected one for continuous coeff"),
        ({"first_prompt": -1}, "first_prompt: expected an integer from 0"),
        ({"first_prompt": 2**32}, "first_prompt: expected an integer from 0"),
        ({"coefficients": "ternary"}, "coefficients: expected one of"),
        ({"method": "magic"}, "method: expected one of"),
    ],
)
def test_errors_name_the_setting(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as error:
        document(**settings)
    assert str(error.value).startswith(message)
