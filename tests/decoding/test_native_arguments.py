"""What the C++ extension says of wrong arguments."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from decoding_problems import problem
from ttc_fast import (
    GaussianNoise,
    decode,
)
from ttc_fast.numerics import extension

_C = pytest.importorskip("ttc_fast._C", reason="the C++ extension is not built")
ISAS = extension.isas()


def test_native_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    state, w0 = problem(1, 3)
    arguments: dict[str, Any] = {"rule": GaussianNoise(0.1), "steps": [2], "samples": 5}
    with pytest.raises(ValueError, match=r"backend: 'native' cannot run: it decodes float32 on cpu, .*float64"):
        decode(state.double(), w0.double(), backend="native", **arguments)
    assert decode(state.double(), w0.double(), **arguments).backend == "reference"
    with pytest.raises(ValueError, match="state: expected finite numbers"):
        decode(state / 0, w0, backend="native", **arguments)
    monkeypatch.setenv(extension.ISA_VARIABLE, "sse9")
    with pytest.raises(ValueError, match=r"TTC_FAST_ISA: expected one of .*'portable', got 'sse9'"):
        decode(state, w0, backend="native", **arguments)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"state": np.zeros((2, 3, 3), np.float32)}, "state: expected shape"),
        ({"w0": np.zeros((2, 4), np.float32)}, "w0: expected shape"),
        ({"thoughts": np.zeros((1, 2, 5, 4), np.float32)}, "thoughts: expected shape"),
        ({"scales": np.zeros(3, np.float32)}, "scales: expected one number, or one for each step"),
        ({"first_step": 5}, "steps: expected none before first_step"),
        ({"rule": "poisson"}, "rule: expected one of gaussian, .*, largest, got poisson"),
        ({"rule": "rank_one", "scales": np.zeros(3, np.float32)}, "scales: expected one number, or one for each step"),
        ({"rule": "subset", "ones": 0}, "ones: expected a number from 1 to d"),
        ({"rule": "largest", "ones": 4}, "ones: expected a number from 1 to d"),
        ({"isa": "sse9"}, "isa: expected one of"),
    ],
)
def test_extension_checks_again(change: dict[str, Any], message: str) -> None:
    arguments = {
        "thoughts": np.zeros((1, 2, 5, 3), np.float32),
        "state": np.zeros((2, 3, 4), np.float32),
        "w0": np.zeros((2, 3), np.float32),
        "scales": np.zeros(1, np.float32),
        "rule": "gaussian", "every_step": True, "temperature": 1.0, "ones": 0, "steps": [4], "seed": 0,
        "first_sample": 0, "first_prompt": 0, "first_step": 0, "threads": 1, "isa": ISAS[0], **change,
    }  # fmt: skip
    with pytest.raises(ValueError, match=message):
        _C.decode_into(**arguments)
    with pytest.raises(TypeError):  # no silent copy of another dtype: the output would be lost
        _C.decode_into(**{**arguments, "thoughts": np.zeros((1, 2, 5, 3))})


def _some(random: np.random.Generator, exact: tuple[int, ...], dtype: type = np.float32) -> Any:
    """An array of this shape, or now and then of another, with zeros, infinities and NaN among its numbers."""
    shape = list(exact)
    if random.random() < 0.1 and shape:
        shape[random.integers(len(shape))] = int(random.integers(0, 4))
    if random.random() < 0.03:
        shape = shape[1:]
    if dtype is np.float32 or dtype is np.float64:
        array = random.standard_normal(shape)
        kind = random.random()
        if kind < 0.3:
            array = array.round()
        elif kind < 0.4:
            array = np.where(random.random(shape) < 0.2, random.choice([math.nan, math.inf, -math.inf, 0, 1e38]), array)
        return array.astype(dtype)
    return random.integers(0, 3, shape).astype(dtype)


def _number(random: np.random.Generator, low: int, high: int) -> int:
    """Mostly from low to high, or an edge."""
    if random.random() < 0.05:
        return int(random.choice([-(2**63), -1, 0, 1, 2**31 - 1, 2**31, 2**62, 2**63 - 1]))
    return int(random.integers(low, high + 1))


def _random_call(random: np.random.Generator) -> tuple[str, list[Any], dict[str, Any]]:
    """A function and its arguments: most of them fit, one or two may not."""
    prompts, samples, dim = (int(random.integers(low, high)) for low, high in ((0, 4), (0, 70), (1, 70)))
    isa, threads = str(random.choice(ISAS)), _number(random, 1, 3)
    shared: dict[str, Any] = {"threads": threads, "isa": isa}
    at = {"seed": _number(random, 0, 9), "first_sample": _number(random, 0, 9), "first_prompt": _number(random, 0, 9)}
    w, of_prompts = _some(random, (prompts, samples, dim)), (prompts, dim)
    score = _some(random, (prompts, samples))
    block = _number(random, 1, 4)
    blocks = samples // max(1, min(block, 70))
    orders = np.stack([random.permutation(blocks) for _ in range(2)])
    if random.random() < 0.1:
        orders = _some(random, orders.shape, np.int64)
    pairs = [(_number(random, 1, 8) * max(1, min(block, 9)), _number(random, 1, 3)) for _ in range(3)]
    groups: dict[str, Any] = {"block": block, "groups": pairs, **shared}
    name = str(random.choice(["decode_into", "normals", "measure", "tree_sum", "best_of_k", "vote_recovery",
                              "group_answers", "win_probability", "philox", "exp2", "median_errors"]))  # fmt: skip
    if name == "decode_into":
        steps = [_number(random, 0, 9) % 20 for _ in range(random.integers(0, 4))]
        rules = ["gaussian", "rank_one", "elementwise", "clip", "sigmoid", "threshold", "subset", "largest", "none"]
        w0 = w if random.random() < 0.5 else _some(random, of_prompts)
        thoughts = _some(random, (len(steps), prompts, samples, dim))
        scales = _some(random, (1 if random.random() < 0.5 else 20,))
        state = _some(random, (prompts, dim, dim + 1))
        temperature = float(random.choice([0.0, 0.3, math.inf, math.nan, -1.0, 1e-40]))
        chosen = {"rule": str(random.choice(rules)), "every_step": bool(random.integers(2)), "steps": steps,
                  "temperature": temperature, "ones": _number(random, 1, dim),
                  "first_step": _number(random, 0, 1) % 20}  # fmt: skip
        return name, [thoughts, state, w0, scales], {**chosen, **at, **shared}
    if name == "normals":
        return name, [prompts, samples, dim], {**at, "step": _number(random, 0, 9), **shared}
    if name == "measure":
        examples = int(random.integers(0, 90))
        given = (_some(random, (prompts, examples, dim)), _some(random, (prompts, examples)))
        aim = (_some(random, of_prompts), _some(random, (2, dim)))
        asked: dict[str, Any] = {"factor": 0.5, "equality": bool(random.integers(2)), "pack": bool(random.integers(2))}
        asked["examples"], asked["aim"] = (x if random.random() < 0.7 else None for x in (given, aim))
        return name, [w], {**asked, **shared}
    if name == "tree_sum":
        return name, [w], {"threads": threads}
    if name == "best_of_k":
        weight = _some(random, (samples, 16), np.float64)
        return (
            name,
            [score],
            {"lowest": False, "values": [score, _some(random, score.shape)], "weight": weight, **shared},
        )
    if name == "vote_recovery":
        return (
            name,
            [_some(random, (prompts, (dim + 63) // 64, samples), np.int64), _some(random, of_prompts), orders],
            groups,
        )
    if name == "median_errors":
        square, cross = (_some(random, (2, samples), np.float64) for _ in range(2))
        ranges = [(_number(random, 0, 9), _number(random, 0, samples), _number(random, 0, 9)) for _ in range(2)]
        return name, [w, _some(random, of_prompts), square, cross], {"ranges": ranges, **shared}
    if name == "group_answers":
        techniques = ["softmax_mean", "weighted_vote", "plurality", "weighted_best_of_n", "majority_of_best", "none"]
        parameter = float(random.choice([0.0, 0.25, 1.0, 1.5, -1.0, 1e300, math.nan]))
        chosen = {"technique": str(random.choice(techniques)), "parameter": parameter, "step": _number(random, 0, 9)}
        del at["first_sample"]
        return name, [w, score, orders], {**chosen, **at, **groups}
    if name == "win_probability":
        sizes = np.array([min(_number(random, 1, 9), 2**20) for _ in range(random.integers(1, 6))])
        once, total = np.ones(len(sizes), np.int64), int(sizes.clip(0).sum())
        first = random.permutation(np.repeat(np.arange(len(sizes)), sizes.clip(0, 50)))
        repeats, of = (once, first) if random.random() < 0.5 else (random.integers(0, 4, len(sizes)), first[:0])
        roots = min(_number(random, 1, 40) | 1, 2**10 + 1)
        return (
            name,
            [sizes, repeats, of, _number(random, 0, 9), _number(random, 2, max(2, total)), True, 0.1, roots],
            {},
        )
    if name == "philox":
        return name, [_some(random, (7, 4), np.uint32), at["seed"]], {}
    return name, [_some(random, (16 * int(random.integers(0, 5)),)), isa], {}


@pytest.mark.parametrize("part", [0, *(pytest.param(part, marks=pytest.mark.slow) for part in range(1, 9))])
def test_random_arguments(part: int) -> None:
    """No exception but those that say what is wrong, and no crash; the sanitizers look on in `.ci/run`."""
    done: dict[str, int] = {}
    for seed in range(part * 2500, (part + 1) * 2500):
        name, positional, named = _random_call(np.random.default_rng(seed))
        try:
            getattr(_C, name)(*positional, **named)
            done[name] = done.get(name, 0) + 1
        except (ValueError, TypeError, MemoryError):
            continue
    assert len(done) == 11
    assert min(done.values()) > 30
