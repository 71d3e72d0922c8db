"""A run on a GPU: what the GPU is asked for is counted on tensors that pretend to be there, and the same comes out as
on the CPU. The kernels run in Triton's interpreter."""

from __future__ import annotations

import importlib.util
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch

import ttc_fast as tf
from evaluation_problems import assert_kernels_equal, candidates_problem, kernels
from pretended_gpu import pretended_gpu
from ttc_fast.numerics import extension

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None or bool(extension.MISSING), reason="Triton or C++ is missing"
)
# Launches for six asked steps, waits, bytes copied to the host: figures of each key and the state of each prompt, no
# thought.
MOST_LAUNCHES = {"continuous": 80, "binary": 100}
# 40 to 55 for the bank and the table, about 25 a step, 15 to 25 for each of four budgets; resampling takes 110 for its
# random words, once, and 40 a step.
MOST_LAUNCHES_OF_SEARCHES = {
    "particle_filter": 350,
    "beam_search": 150,
    "self_refinement": 160,
    "stop_early": 120,
    "adaptive_vote": 180,
}


def task(kind: str) -> tf.LinearRegression:
    return tf.LinearRegression(4, 12, kind, label_noise=0.1)  # type: ignore[arg-type]  # one of two


def decoder(kind: str, *, device: str = "cpu") -> tf.StochasticDecoder:
    model = tf.LinearAttention.gradient_descent(4, examples=12).to(device)
    return tf.StochasticDecoder(model, tf.GaussianNoise(0.2) if kind == "continuous" else tf.BernoulliSampling())


def on_gpu(kind: str, settings: dict[str, Any]) -> tuple[tf.Table, Counter[str]]:
    torch.use_deterministic_algorithms(False)
    with torch.inference_mode(), pretended_gpu() as counts:
        prompts = task(kind).sample(2).to("cuda")
        there = decoder(kind, device="cuda")
        tf.evaluate(there, prompts, **settings | {"steps": 1})  # tables are sent once
        counts.clear()
        return tf.evaluate(there, prompts, **settings), +counts


def compared(interpreter: ProcessPoolExecutor, kind: str, **settings: Any) -> Counter[str]:
    found, counts = interpreter.submit(on_gpu, kind, settings).result()
    wanted = tf.evaluate(decoder(kind), task(kind).sample(2), **settings)
    assert found.keys == wanted.keys
    # Thoughts of unit size after steps of contraction differ by a few roundings of 2^-24: 1e-5 of their errors.
    np.testing.assert_allclose(found.values, wanted.values, rtol=1e-4, atol=1e-6)
    return counts


@pytest.mark.parametrize("kind", ["continuous", "binary"])
def test_a_default_run_asks_little_of_the_gpu(interpreter: ProcessPoolExecutor, kind: str) -> None:
    counts = compared(interpreter, kind, steps=[1, 2, 3, 4, 5, 6], samples=16)
    assert counts["launches"] <= MOST_LAUNCHES[kind]
    assert counts["waits"] <= 2
    figures = 4 * 2 * 6 * (2 + 4 * 5) * (2 if kind == "continuous" else 4)
    assert counts["copied"] <= figures + 4 * 2 * 4 * 5


def law_on_gpu(kind: str) -> tf.Table:
    torch.use_deterministic_algorithms(False)
    with torch.inference_mode(), pretended_gpu():
        prompts = task(kind).sample(2).to("cuda")
        there = decoder(kind, device="cuda")
        return tf.overlay(there, prompts, tf.evaluate(there, prompts, steps=2, samples=8))


def test_the_law_of_a_decode_on_a_gpu(interpreter: ProcessPoolExecutor) -> None:
    found = interpreter.submit(law_on_gpu, "continuous").result()
    prompts = task("continuous").sample(2)
    wanted = tf.overlay(decoder("continuous"), prompts, tf.evaluate(decoder("continuous"), prompts, steps=2, samples=8))
    assert found.theory is not None
    assert wanted.theory is not None
    np.testing.assert_allclose(found.theory, wanted.theory, rtol=1e-4)


def on_gpus(device: str, found: list[Any]) -> Any:
    """A run where there are two GPUs, or the error; progress goes to ``found``."""
    torch.use_deterministic_algorithms(False)
    config = tf.RunConfig(device=device, coefficients="binary", dim=4, prompts=3, samples=3, steps=(2,), theory=False)
    with pretended_gpu(2):
        return tf.run(config, progress=lambda stage, share: found.append((stage, share))), found


def test_runs_on_any_gpu_and_on_all_of_them(interpreter: ProcessPoolExecutor) -> None:
    """Prompts are divided among the GPUs; a launch on another one than the current would be an error."""
    (one, _), (every, progress) = (interpreter.submit(on_gpus, f"cuda:{n}", []).result() for n in ("1", "all"))
    assert every.backend == one.backend == "triton"
    assert every.table.keys == one.table.keys
    np.testing.assert_array_equal(every.table.values, one.table.values)
    np.testing.assert_array_equal(every.table.prompts, one.table.prompts)
    assert every.config.device == "cuda:all"
    shares = [share for _, share in progress]
    assert len(shares) >= 2
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(1.0)


@pytest.mark.parametrize(
    "technique",
    [
        pytest.param(name, marks=pytest.mark.slow) if name == "self_refinement" else name
        for name in MOST_LAUNCHES_OF_SEARCHES
    ],
)
def test_searches_advance_side_by_side(interpreter: ProcessPoolExecutor, technique: str) -> None:
    """Fifteen searches with 1, 2, 4 and 8 chains, three steps each: launches for the steps, not for the searches."""
    kind = "binary" if technique == "adaptive_vote" else "continuous"
    counts = compared(interpreter, kind, steps=3, samples=8, techniques=[technique])
    assert counts["launches"] <= MOST_LAUNCHES_OF_SEARCHES[technique]
    assert counts["waits"] <= (3 if technique in ("stop_early", "adaptive_vote") else 2)  # what each prompt has spent


@pytest.mark.parametrize("verifier", [tf.HeldOutLoss(2), tf.Oracle(), tf.SmallestNorm()])
def test_verifiers_wait_once_for_a_step(interpreter: ProcessPoolExecutor, verifier: tf.Verifier) -> None:
    counts = compared(interpreter, "continuous", steps=2, samples=8, techniques=["best_of_n"], verifier=verifier)
    assert counts["waits"] <= 2 + 1  # whether a score is NaN


def test_most_frequent_answers_are_found_on_the_gpu(interpreter: ProcessPoolExecutor) -> None:
    """One draw of random words and three sorts for all steps, budgets and groups; figures are copied alone."""
    counts = compared(interpreter, "binary", steps=[1, 2], samples=8, techniques=["plurality", "plurality_smallest"])
    assert counts["launches"] <= 320
    assert counts["waits"] <= 2
    assert counts["copied"] <= 4 * 2 * (2 * 2 * 4 * 4) + 4 * 2 * 4 * 5  # of each key and prompt, and the state


def test_other_techniques_copy_the_bank_once(interpreter: ProcessPoolExecutor) -> None:
    names = ["majority_vote", "weighted_vote", "softmax_mean", "median"]
    counts = compared(interpreter, "binary", steps=[1, 2], samples=8, techniques=names)
    assert counts["waits"] <= 8
    assert counts["launches"] <= 100


@pytest.mark.parametrize(("dim", "examples", "samples"), [(4, 9, 33), (70, 3, 5)])
def test_the_kernels_equal_the_extension(
    interpreter: ProcessPoolExecutor, dim: int, examples: int, samples: int
) -> None:
    given = candidates_problem(dim, examples, samples)
    assert_kernels_equal(interpreter.submit(kernels, *given).result(), kernels(*given), given[2])
