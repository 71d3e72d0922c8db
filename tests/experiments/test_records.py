"""A run as JSON."""

from __future__ import annotations

import numpy as np
import pytest

from experiments.small import document
from ttc_fast.decoding.backends import resolve_backend

FIELDS = {
    "coefficients",
    "technique",
    "steps",
    "samples",
    "metric",
    "mean",
    "ci_low",
    "ci_high",
    "median",
    "multiplications",
    "theory",
    "z",
}
CONFIG = {
    "coefficients",
    "dim",
    "examples",
    "prompts",
    "steps",
    "samples",
    "label_noise",
    "noise_scale",
    "link",
    "temperature",
    "step_size",
    "technique",
    "verifier",
    "held_out",
    "wrong_by",
    "verifier_noise",
    "false_positive_rate",
    "seed",
    "backend",
    "method",
    "device",
    "prompts_file",
    "model_class",
    "train_task",
    "train_examples",
}
"""Fields of files that others have written and read; new ones may join them."""


def test_json() -> None:
    found = document(seed=2**64 - 1)
    assert set(found) == {
        "config",
        "versions",
        "rng_layout",
        "model",
        "backend",
        "instruction_set",
        "wall_time",
        "throughput",
        "compile_seconds",
        "unstable_prompts",
        "theory_check",
        "records",
    }
    assert found["rng_layout"] == "philox4x32-10/v1"
    assert found["backend"] == resolve_backend("auto")
    assert found["wall_time"] > 0
    assert set(found["versions"]) == {"ttc_fast", "python", "torch", "numpy"}
    assert set(found["theory_check"]) == {"figures", "p"}
    assert found["theory_check"]["figures"] == sum(record["z"] is not None for record in found["records"])
    assert 0.01 < found["theory_check"]["p"] <= 1
    assert set(found["throughput"]) == set(found["unstable_prompts"]) == {"continuous", "binary"}
    config = found["config"]
    later = {
        "rule",
        "metric",
        "nonzero",
        "support",
        "prior",
        "covariance",
        "strength",
        "noise_schedule",
        "ones",
        "ridge",
        "truth",
        "task",
        "model",
        "start",
    }
    assert set(config) == CONFIG | later | {"budgets", "first_prompt", "sample_at"}
    assert (config["dim"], config["examples"], config["prompts"], config["samples"]) == (3, 9, 5, 12)
    assert config["step_size"] == pytest.approx(1 / (1 + (3 / 9) ** 0.5) ** 2)
    assert (config["temperature"], config["seed"]) == (0.25, 2**64 - 1)


def test_numbers_of_numpy_are_taken() -> None:
    found = document(samples=np.int64(12), steps=np.array([1, 4]), label_noise=np.float32(0.25), budgets=np.int32(12))
    config = found["config"]
    assert (config["samples"], config["steps"], config["label_noise"], config["budgets"]) == (12, [1, 4], 0.25, [12])
    assert found["records"] == document(label_noise=0.25, budgets=12)["records"]


def test_records() -> None:
    records = document()["records"]
    for record in records:
        assert set(record) == FIELDS
        assert record["ci_low"] <= record["mean"] <= record["ci_high"]
    keys = [(r["coefficients"], r["technique"], r["steps"], r["samples"], r["metric"]) for r in records]
    assert len(set(keys)) == len(keys)
    seen = {key[:4] for key in keys}
    for coefficients in ("continuous", "binary"):
        for step in (1, 4):
            for technique in ("mean", "best_of_n", "oracle_best_of_n"):
                assert {(coefficients, technique, step, n) for n in (1, 2, 4, 8, 12)} <= seen
            for technique in ("greedy", "single"):  # what does not depend on the budget is there once
                assert {key for key in seen if key[:3] == (coefficients, technique, step)} == {
                    (coefficients, technique, step, 1)
                }
    assert ("binary", "majority_vote", 4, 8) in seen
    assert ("continuous", "majority_vote", 4, 8) not in seen


def test_theory_check_without_theory() -> None:
    assert document(theory=False)["theory_check"] is None
    found = document(rule="rank_one", technique="mean", steps=4)
    assert found["theory_check"] == {"figures": 0, "p": None}
    assert {record["z"] for record in found["records"]} == {None}
    assert None not in {record["theory"] for record in found["records"]}


def test_multiplications() -> None:
    """d^2 for a thought; n (d + 1) for a score where the technique asks the verifier."""
    for settings, score in (({}, 9 * 4), ({"verifier": "held_out_loss", "held_out": 2}, 2 * 4)):
        for record in document(**settings)["records"]:
            asked = record["samples"] * score if record["technique"] == "best_of_n" else 0
            assert record["multiplications"] == record["steps"] * record["samples"] * 3**2 + asked


def test_searches_beside_best_of_n() -> None:
    """At the budgets of best-of-N; a score of every thought; what stops early spends less than it may."""
    chosen = ["best_of_n", "particle_filter", "beam_search", "self_refinement", "stop_early", "adaptive_vote"]
    records = document(technique=chosen, theory=False, samples=256)["records"]
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


def test_one_prompt_has_no_interval() -> None:
    records = document(prompts=1)["records"]
    assert {(record["ci_low"], record["ci_high"]) for record in records} == {(None, None)}


def test_a_chain_that_overflows_is_null() -> None:
    found = document(step_size=50, steps=64, coefficients="continuous")
    assert {record["mean"] for record in found["records"]} == {None}
    assert found["unstable_prompts"] == {"continuous": 5}
