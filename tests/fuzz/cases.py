"""Every public function and class with arguments that are as they should be, from which a fuzzer departs."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

import ttc_fast as tf
from ttc_fast.decoding.draws import Block

Arguments = dict[str, Any]


class Case(NamedTuple):
    """A call."""

    function: Callable[..., Any]
    arguments: Callable[[], Arguments]
    """That are as they should be."""
    weight: int = 8
    """How often it is chosen; what takes longer is chosen less often."""
    files: bool = False
    """It may say that a file cannot be read or written."""
    names: str = ""
    """What else an error may name."""


def _task() -> tf.LinearRegression:
    return tf.LinearRegression(3, 4, label_noise=0.1)


def _heads() -> tf.Heads:
    keys = torch.zeros(2, 1, 3, 2)
    return tf.Heads(keys, keys[..., 0], keys)


def _binary() -> tf.Prompts:
    return tf.LinearRegression(3, 4, "binary").sample(2)


def _decoder(rule: tf.Rule | None = None) -> tf.StochasticDecoder:
    return tf.StochasticDecoder(tf.LinearAttention.gradient_descent(3, examples=4), rule or tf.GaussianNoise(0.1))


def _state() -> torch.Tensor:
    linear: torch.Tensor = _decoder().model.prefill(_task().sample(2)).linear
    return linear.detach()


def _table() -> tf.Table:
    return tf.evaluate(_decoder(), _task().sample(2), steps=[1, 2], samples=3, techniques=["mean"])


def _decode() -> Arguments:
    return {
        "state": _state(),
        "w0": torch.zeros(2, 3),
        "rule": tf.GaussianNoise(0.1),
        "steps": [0, 2],
        "samples": 3,
        "seed": 1,
        "first_sample": 0,
        "first_prompt": 0,
        "first_step": 0,
        "backend": "auto",
        "precision": "fp32",
        "method": "stepwise",
        "out": None,
    }


def _search(**more: Any) -> Callable[[], Arguments]:
    return lambda: {
        "decoder": _decoder(),
        "prompts": _task().sample(2),
        "steps": 2,
        "seed": 0,
        "first_sample": 0,
        "verifier": None,
        "every": 1,
        "backend": "auto",
        "state": None,
        **more,
    }


def _evaluate() -> Arguments:
    return {
        "decoder": _decoder(),
        "prompts": _task().sample(2),
        "steps": [2],
        "samples": 3,
        "budgets": [1, 3],
        "seed": 0,
        "techniques": ["mean", "best_of_n"],
        "verifier": None,
        "backend": "auto",
        "method": "stepwise",
        "metrics": None,
        "progress": False,
        "chunk": 2**20,
        "bank": 2**25,
    }


def _settings() -> Arguments:
    return {
        field.name: field.default for field in fields(tf.RunConfig) if field.name not in ("json", "save", "plot")
    } | {"dim": 3, "examples": 4, "prompts": 2, "steps": (1, 2), "samples": 3, "technique": ("mean",)}


def _log() -> Any:
    from ttc_fast.logs.log import SampleLog

    labels = np.array([True, False, True, True])
    return SampleLog(
        "plain",
        np.arange(2),
        np.array([2, 2]),
        np.array([1, 2]),
        labels,
        np.array([0, 1, 0, 0]),
        np.array([0.1, 0.2, 0.3, 0.4]),
        None,
        0,
        0,
        (),
    )


def _problem() -> tf.Problem:
    prompts = _task().sample(2)
    return tf.Problem(_decoder().model, tf.GaussianNoise(0.1), prompts, prompts, tf.InContextLoss())


def _file() -> str:
    path = Path(tempfile.gettempdir()) / "ttc_fast_fuzz.csv"
    if not path.exists():
        path.write_text("prompt,correct\none,1\none,0\n")
    return str(path)


def _model_file() -> Path:
    path = Path(tempfile.gettempdir()) / "ttc_fast_fuzz.safetensors"
    if not path.exists():
        tf.save_model(tf.LinearTransformer.initial(3), path)
    return path


def _draws() -> tf.Draws:
    one = torch.arange(1)
    return tf.Draws(0, Block(0, prompt=one, sample=one, dim=2, dtype=torch.float32, seed=0))


def _law(**given: Any) -> Any:
    from ttc_fast.theory.laws import LAWS

    before = dict(LAWS)
    try:
        return tf.law(**given)
    finally:
        LAWS.clear()
        LAWS.update(before)


def _plan(**given: Any) -> Any:
    return tf.plan(tf.PlanConfig(**given))


def _run(**given: Any) -> Any:
    return tf.run(tf.RunConfig(**given))


# fmt: off
CASES: dict[str, Case] = {
    "GaussianNoise": Case(tf.GaussianNoise, lambda: {"noise_scale": 0.1}),
    "RankOneNoise": Case(tf.RankOneNoise, lambda: {"strength": 0.1}),
    "ElementwiseNoise": Case(tf.ElementwiseNoise, lambda: {"noise_scale": 0.1}),
    "BernoulliSampling": Case(
        tf.BernoulliSampling, lambda: {"link": "sigmoid", "temperature": 0.5, "sample_at": "every_step"}
    ),
    "SubsetSampling": Case(tf.SubsetSampling, lambda: {"ones": 1}),
    "LargestCoefficients": Case(tf.LargestCoefficients, lambda: {"ones": 1}),
    "GeometricDecay": Case(tf.GeometricDecay, lambda: {"initial": 1.0, "ratio": 0.5}),
    "PowerLawDecay": Case(tf.PowerLawDecay, lambda: {"initial": 1.0, "exponent": 0.5}),
    "GeometricDecay.scales": Case(lambda steps: tf.GeometricDecay(1.0, 0.5).scales(steps), lambda: {"steps": 3}),
    "GaussianNoise.scales": Case(lambda steps: tf.GaussianNoise([1.0, 2.0]).scales(steps), lambda: {"steps": 2}),
    "EncodedRule": Case(tf.EncodedRule, lambda: {"kind": "gaussian", "schedule": torch.zeros(1)}, 1),
    "decode": Case(tf.decode, _decode, 64),
    "decode, bits": Case(lambda **given: tf.decode(**given, backend="reference"), lambda: {
            "state": _state(),
            "w0": torch.zeros(2, 3),
            "rule": tf.BernoulliSampling(),
            "steps": [2],
            "samples": 2,
        }),
    "decode, exactly": Case(
        lambda **given: tf.decode(**given, method="exact"),
        lambda: {"state": _state(), "w0": torch.zeros(2, 3), "rule": tf.GaussianNoise(), "steps": [2], "samples": 2},
    ),
    "LinearRegression": Case(tf.LinearRegression, lambda: {
            "dim": 3,
            "examples": 4,
            "coefficients": "continuous",
            "spectrum": 0.0,
            "label_noise": 0.1,
            "prior": None,
            "nonzero": None,
            "support": "random",
        }, 24),
    "LinearRegression, sampled": Case(
        lambda **given: tf.LinearRegression(3, 4, **given).sample(2),
        lambda: {"spectrum": [1.0, 2.0, 3.0], "label_noise": 0.1, "prior": None},
    ),
    "LinearRegression.sample": Case(
        _task().sample, lambda: {"prompts": 2, "seed": 0, "first_prompt": 0, "dtype": torch.float32}
    ),
    "LinearRegression.prompts": Case(_task().prompts, lambda: {"count": 2, "seed": 0, "first_prompt": 0}),
    "TaskPrompts": Case(tf.TaskPrompts, lambda: {"task": _task(), "count": 2, "seed": 0, "first_prompt": 0}),
    "TaskPrompts.part": Case(_task().prompts(4).part, lambda: {"start": 1, "stop": 3}),
    "Prompts": Case(tf.Prompts, lambda: {
            "x": torch.ones(2, 3, 4),
            "y": torch.ones(2, 3),
            "w_star": torch.ones(2, 4),
            "covariance": torch.ones(4),
            "first": 0,
        }, 24),
    "Prompts.part": Case(_task().sample(4).part, lambda: {"start": 1, "stop": 3}),
    "Prompts.to": Case(_task().sample(1).to, lambda: {"device": "cpu"}),
    "load_prompts": Case(tf.load_prompts, lambda: {"path": "missing.npz", "dtype": torch.float32}, files=True),
    "LinearAttention": Case(tf.LinearAttention, lambda: {"V": torch.zeros(4, 4), "W": torch.zeros(4, 4)}),
    "LinearAttention.gradient_descent": Case(
        tf.LinearAttention.gradient_descent,
        lambda: {"dim": 3, "step_size": 0.5, "examples": 4, "dtype": torch.float32},
    ),
    "LinearAttention.preconditioned": Case(
        tf.LinearAttention.preconditioned, lambda: {"covariance": [1.0, 2.0], "examples": 4, "dtype": torch.float32}
    ),
    "LinearTransformer": Case(
        tf.LinearTransformer,
        lambda: {"V": torch.zeros(2, 4, 4), "W": torch.zeros(2, 4, 4), "looped": 2, "causal": True},
    ),
    "LinearTransformer.initial": Case(
        tf.LinearTransformer.initial, lambda: {"dim": 2, "layers": 1, "heads": 2, "looped": 2, "scale": 0.1, "seed": 3}
    ),
    "LinearTransformer.prefill": Case(
        tf.LinearTransformer.initial(3).prefill, lambda: {"prompts": _task().sample(2)}, names="x"
    ),
    "AttentionTransformer": Case(
        tf.AttentionTransformer,
        lambda: {"V": torch.zeros(2, 4, 4), "W": torch.zeros(2, 4, 4), "activation": "relu", "scale": 1.0,
                 "mlp": (torch.zeros(5, 1), torch.zeros(5), torch.zeros(5, 1)), "mlp_activation": "gelu"},
    ),
    "AttentionTransformer.initial": Case(
        tf.AttentionTransformer.initial,
        lambda: {"dim": 2, "heads": 2, "hidden": 3, "activation": "softmax", "scale": 0.1, "seed": 3},
    ),
    "AttentionTransformer.prefill": Case(
        tf.AttentionTransformer.initial(3).prefill, lambda: {"prompts": _task().sample(2)}, names="x"
    ),
    "Transformer": Case(
        tf.Transformer,
        lambda: {"dim": 2, "layers": 1, "heads": 2, "width": 4, "mlp": 3, "norm": "rms", "positions": 5,
                 "causal": True, "history": True, "seed": 3},
    ),
    "Transformer.prefill": Case(
        tf.Transformer(3, layers=1, heads=1, width=4).prefill, lambda: {"prompts": _task().sample(2)}, names="x"
    ),
    "Heads": Case(
        tf.Heads,
        lambda: {"keys": torch.zeros(1, 1, 3, 2), "offsets": torch.zeros(1, 1, 3), "values": torch.zeros(1, 1, 3, 2),
                 "activation": "relu"},
    ),
    "AttentionState": Case(
        tf.AttentionState,
        lambda: {"heads": (_heads(),), "A": torch.zeros(2, 2, 2), "c": torch.zeros(2, 2)},
    ),
    "TrainConfig": Case(
        tf.TrainConfig,
        lambda: {"objective": "outcome", "iterations": 4, "batch": 3, "pool": 0, "learning_rate": 0.1, "warmup": 1,
                 "schedule": "linear", "l2": 0.1, "weight_decay": 0.1, "clip": 1.0, "steps": 2, "step_size": 0.5,
                 "held_out": 3, "evaluate_every": 2, "patience": 2, "seed": 1},
    ),
    "train": Case(
        tf.train,
        lambda: {"model": tf.LinearTransformer.initial(3), "task": _task(), "rule": tf.GaussianNoise(0.1),
                 "config": tf.TrainConfig(iterations=2, batch=3, held_out=3), "progress": False, "watch": None},
        weight=2, names="w_star objective",
    ),
    "save_model": Case(
        tf.save_model,
        lambda: {"model": tf.LinearTransformer.initial(3), "path": _model_file(), "about": {}},
        weight=2, files=True,
    ),
    "load_model": Case(
        tf.load_model, lambda: {"path": _model_file(), "classes": [], "device": "cpu"}, weight=2, files=True
    ),
    "LogisticDescent": Case(tf.LogisticDescent, lambda: {"dim": 3, "step_size": 0.5, "loss": "logistic"}),
    "LogisticDescent.prefill": Case(
        tf.LogisticDescent(3).prefill, lambda: {"prompts": tf.LogisticRegression(3, 4).sample(2)}, names="x y"
    ),
    "LinearAttention.trained": Case(
        tf.LinearAttention.trained, lambda: {"prompts": _task().sample(40), "dtype": torch.float32}, names="w_star"
    ),
    "TwoLayerNetwork": Case(
        tf.TwoLayerNetwork, lambda: {"dim": 3, "examples": 4, "hidden": 5, "label_noise": 0.1}
    ),
    "DecisionTree": Case(tf.DecisionTree, lambda: {"dim": 3, "examples": 4, "depth": 2, "label_noise": 0.1}),
    "Parity": Case(tf.Parity, lambda: {"bits": 6, "ones": 3}),
    "Parity.sample": Case(tf.Parity(6, 3).sample, lambda: {"prompts": 2, "seed": 1, "first_prompt": 3}),
    "ParityAttention": Case(tf.ParityAttention, lambda: {"task": tf.Parity(6, 3), "sharpness": 9.0}),
    "ParityAttention.prefill": Case(
        tf.ParityAttention(tf.Parity(2, 2)).prefill, lambda: {"prompts": _task().sample(2)}, names="x"
    ),
    "LogisticRegression": Case(
        tf.LogisticRegression, lambda: {"dim": 3, "examples": 4, "sharpness": 1.0, "target": "direction"}
    ),
    "LogisticRegression.sample": Case(
        tf.LogisticRegression(3, 4, 2.0).sample, lambda: {"prompts": 2, "seed": 3, "first_prompt": 1}
    ),
    "HeavyTailedRegression": Case(
        tf.HeavyTailedRegression,
        lambda: {"dim": 3, "examples": 4, "label_noise": 0.1, "noise": "laplace", "degrees": 2.0, "spectrum": 1.0,
                 "prior": 1.0, "nonzero": 2},
    ),
    "HeavyTailedRegression.sample": Case(
        tf.HeavyTailedRegression(3, 4).sample, lambda: {"prompts": 2, "seed": 3, "first_prompt": 1}
    ),
    "ShiftedRegression": Case(
        tf.ShiftedRegression,
        lambda: {"dim": 3, "examples": 4, "shift": "skewed", "scale": 2.0, "label_noise": 0.1},
    ),
    "ShiftedRegression.sample": Case(
        tf.ShiftedRegression(3, 4).sample, lambda: {"prompts": 2, "seed": 3, "first_prompt": 1}
    ),
    "RandomStart": Case(tf.RandomStart, lambda: {"seed": 3, "scale": 0.5}),
    "LinearAttention.prefill": Case(_decoder().model.prefill, lambda: {"prompts": _task().sample(2)}, names="x"),
    "StochasticDecoder": Case(tf.StochasticDecoder, lambda: {"model": _decoder().model, "rule": tf.GaussianNoise(0.1)}),
    "StochasticDecoder()": Case(lambda **given: _decoder()(**given), lambda: {
            "prompts": _task().sample(2),
            "steps": 2,
            "samples": 3,
            "seed": 0,
            "first_sample": 0,
            "backend": "auto",
            "precision": "fp32",
            "method": "stepwise",
        }, 24),
    "StochasticDecoder.decode": Case(lambda **given: _decoder().decode(**given), lambda: {
            "state": tf.LinearState(_state()),
            "w0": torch.zeros(2, 3),
            "steps": [2],
            "samples": 2,
            "seed": 0,
            "first_sample": 0,
            "first_prompt": 0,
            "first_step": 0,
            "method": "stepwise",
            "out": None,
        }, 24),
    "Technique": Case(tf.Technique, lambda: {"name": "mine", "answer": lambda candidates: None, "search": None}),
    "HeldOutLoss": Case(tf.HeldOutLoss, lambda: {"examples": 1}),
    "SmallestNorm": Case(tf.SmallestNorm, lambda: {"p": 1}),
    "ProcessReward": Case(tf.ProcessReward, lambda: {"verifier": tf.Oracle(), "reduce": "min"}),
    "NoisyVerifier": Case(
        tf.NoisyVerifier,
        lambda: {"verifier": tf.Oracle(), "noise": 0.1, "bias": 0.0, "false_positive_rate": 0.1, "seed": 0},
    ),
    "WrongVerifier": Case(tf.WrongVerifier, lambda: {"w_r": 0.1, "seed": 0}),
    "WrongVerifier.aim": Case(
        lambda w_r, prompts: tf.WrongVerifier(w_r).aim(prompts), lambda: {"w_r": 0.1, "prompts": _task().sample(2)}
    ),
    "InContextLoss.score": Case(
        tf.InContextLoss().score, lambda: {"prompts": _task().sample(2), "w": torch.zeros(2, 3, 3)}, names="answers"
    ),
    "particle_filter": Case(
        tf.particle_filter, _search(samples=2, beta=1.0, resampling="systematic", ess_threshold=1.0), 12
    ),
    "rejection_search": Case(tf.rejection_search, _search(samples=2, threshold=-1.0), 6),
    "beam_search": Case(tf.beam_search, _search(beams=1, expansions=2), 6),
    "self_refinement": Case(tf.self_refinement, _search(samples=2), 6),
    "stop_early": Case(
        tf.stop_early,
        lambda: {"thoughts": torch.zeros(2, 2, 3, 4), "steps": [1, 2], "tolerance": 0.1, "least_steps": 0},
    ),
    "adaptive_vote": Case(tf.adaptive_vote, lambda: {"bits": torch.ones(2, 3, 4), "error": 0.1}),
    "evaluate": Case(tf.evaluate, _evaluate, 24, names="technique"),
    "evaluate, bits": Case(
        tf.evaluate,
        lambda: _evaluate() | {"decoder": _decoder(tf.BernoulliSampling()), "prompts": _binary()},
        8,
        names="technique",
    ),
    "Table": Case(tf.Table, lambda: {
            "keys": (tf.Key("binary", "mean", 2, 4, "hamming"),),
            "prompts": np.array([0, 1]),
            "values": np.array([[0.25, 0.5]]),
            "theory": None,
            "thoughts": None,
            "scores": None,
            "about": {},
        }, 16),
    "Table.concat": Case(tf.Table.concat, lambda: {"tables": [_table()]}, 4),
    "Table.join": Case(lambda other: _table().join(other), lambda: {"other": _table()}, 4),
    "Table.select": Case(lambda **given: _table().select(**given), lambda: {"technique": "mean", "samples": 1}, 4),
    "Table.summary": Case(lambda confidence: _table().summary(confidence), lambda: {"confidence": 0.9}, 4),
    "Table.records": Case(lambda confidence: _table().records(confidence), lambda: {"confidence": 0.9}, 4),
    "Table.work": Case(lambda key: _table().work(key), lambda: {"key": _table().keys[0]}, 4),
    "Table.save": Case(lambda path: _table().save(path), lambda: {"path": "/nonexistent/table.parquet"}, 4, files=True),
    "Table.load": Case(tf.Table.load, lambda: {"path": "missing.parquet"}, 4, files=True),
    "pass_at_k": Case(tf.pass_at_k, lambda: {"samples": [4, 4], "correct": [1, 2], "budgets": [1, 2]}, 16),
    "best_of_k": Case(tf.best_of_k, lambda: {"score": [[0.1, 0.9]], "value": [[0.0, 1.0]], "budgets": [1, 2]}, 16),
    "mean_of_k": Case(
        tf.mean_of_k, lambda: {"mean_of_errors": [1.0], "error_of_mean": [0.0], "samples": 4, "budgets": [1, 2]}, 16
    ),
    "majority_at_k": Case(tf.majority_at_k, lambda: {
            "answers": [[0, 0, 1]],
            "value": [[1, 1, 0]],
            "budgets": [1, 2],
            "ties": "random",
            "no_answer": "fail",
            "progress": False,
        }, 16),
    "weighted_vote_at_k": Case(tf.weighted_vote_at_k, lambda: {
            "answers": [[0, 0, 1]],
            "weight": [[1, 1, 3]],
            "value": [[1, 1, 0]],
            "budgets": [1, 2],
            "subsets": 4,
            "seed": 0,
        }, 16),
    "overlay": Case(tf.overlay, lambda: {
            "decoder": _decoder(),
            "prompts": _task().sample(2),
            "table": _table(),
            "verifier": None,
            "progress": False,
        }, 8),
    "law": Case(_law, lambda: {
            "technique": "mine",
            "rule": tf.GaussianNoise,
            "about": "",
            "metrics": "",
            "max_dim": None,
            "max_prompts": None,
            "uses_score": False,
            "affordable": None,
        }),
    "Problem.cached": Case(lambda key, make: _problem().cached(key, make), lambda: {"key": 1, "make": int}, 4),
    "read": Case(
        tf.read,
        lambda: {
            "paths": [_file()], "format": "plain", "filter": None, "skip_bad": False, "equal": "exact",
            "extract": None, "gold": None, "fields": None, "aggregate": None, "cluster": None, "progress": False,
        },
        files=True,
        names="files line",
    ),
    "analyze": Case(
        tf.analyze,
        lambda: {"log": _log(), "budgets": [1, 2], "ties": "random", "no_answer": "fail", "progress": False},
    ),
    "compare_logs": Case(tf.compare_logs, lambda: {
            "result": tf.analyze(_log()),
            "other": _log(),
            "ties": "random",
            "no_answer": "fail",
            "progress": False,
        }, 4),
    "fit": Case(tf.fit, lambda: {
            "log": _log(),
            "budgets": [1, 2],
            "first": 2,
            "ties": "random",
            "no_answer": "fail",
            "resamples": 2,
            "seed": 0,
            "progress": False,
        }, 4),
    "run": Case(_run, _settings, 12, files=True),
    "run, config": Case(tf.run, lambda: {"config": tf.RunConfig(**_settings()), "progress": False}, 4),
    "plan": Case(_plan, lambda: {
            "budget": 16,
            "dim": 3,
            "examples": 4,
            "label_noise": 0.1,
            "noise_scale": 0.1,
            "step_size": None,
            "longest": 8,
            "prompts": 2,
            "seed": 0,
            "simulate": False,
        }, 8),
    "plan, config": Case(tf.plan, lambda: {"config": tf.PlanConfig(16, prompts=2)}, 2),
    "plot": Case(tf.plot, lambda: {"table": _table(), "x": "samples", "ax": None, "metric": None}, 1),
    "sweep": Case(tf.sweep, lambda: {
        "study": "missing.toml", "out": "missing", "engine": "local", "workers": 1, "shard": (1, 2), "address": None,
        "progress": False,
    }, 2, files=True),
    "merge": Case(tf.merge, lambda: {"folder": "missing"}, 2, files=True),
    "load": Case(tf.load, lambda: {"folder": "missing"}, 2, files=True),
    "backends": Case(tf.backends, dict, 1),
    "Draws.normal": Case(lambda stream: _draws().normal(stream), lambda: {"stream": 0}, 4),
}
# fmt: on
