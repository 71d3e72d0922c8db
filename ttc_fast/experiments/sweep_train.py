"""Sweeps of ``ttc-fast train``: a training is one unit, whose figures are its curve.

Its model, and the checkpoint that an interrupted training goes on from, are in FOLDER/kept/KEY.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
import torch

from ..estimators.table import Key, Table
from ..models.train import Trained, train
from ..models.train_config import TrainConfig
from ..numerics import rng
from ..numerics.protocols import described
from ..tasks.registry import TASKS
from ..theory.overlay import one_thread
from .shards import digest
from .sweepable import Cost, Sweepable, Work
from .training import MODELS, TrainingStudy, training_of

LONG_ENOUGH = 0.5
"""Seconds of a measurement."""


class Trainings(Sweepable):
    """``[train]``, ``[task]`` and ``[model]``: a study of ``ttc-fast train`` with a grid."""

    tables: tuple[str, ...] = ("task", "model")
    unit = "trainings"
    metrics: tuple[str, ...] = ("held_out",)
    units: Mapping[str, str] = {"steps": "iterations", "prompt": "training", "samples": "1"}

    def hints(self) -> Mapping[str, Any]:
        found: dict[str, Any] = {**_hints(TrainConfig), "noise_scale": float}
        del found["pool"]
        for table, kinds in (("task", TASKS), ("model", {name: make for name, (make, _) in MODELS.items()})):
            found[f"{table}.kind"] = str
            for make in kinds.values():
                found |= {f"{table}.{name}": hint for name, hint in _hints(make).items()}
        return {**found, "task.pool": int}

    def config(self, given: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        sections: dict[str, dict[str, Any]] = {"task": {}, "model": {}, "train": {}}
        for name, value in given.items():
            table, _, setting = name.rpartition(".")
            sections[table or "train"][setting] = value
        return sections

    def work(self, config: dict[str, dict[str, Any]]) -> Work:
        study = training_of(config)
        weights = study.model.state_dict()
        content = b"".join(tensor.detach().contiguous().numpy().tobytes() for tensor in weights.values())
        settings = {
            "task": described(study.task), "model": repr(study.model), "initial": digest(content),
            "rule": None if study.rule is None else described(study.rule), **asdict(study.config),
        }  # fmt: skip
        kind = tuple(settings[name] for name in ("task", "model", "objective", "batch", "steps", "evaluate_every"))
        facts = {"torch": torch.__version__, "cpu": torch.backends.cpu.get_cpu_capability()}
        dim, used = int(study.model.dim), study.config
        long = used.steps if used.objective in ("teacher_forcing", "outcome") else 1
        return Work(
            config, settings, kind=kind, size=used.iterations, steps=used.iterations * used.batch * long * dim,
            facts=facts,
        )  # fmt: skip

    def compute(self, config: dict[str, dict[str, Any]], start: int, stop: int, place: Path) -> Table:
        study = training_of(config)
        with one_thread():  # the bits of a training depend on their number
            trained = train(study.model, study.task, study.config, rule=study.rule, folder=place)
        return curve_table(trained, study.config)

    def measured(self, work: Work) -> Cost:
        """From some iterations."""
        study, count = training_of(work.config), 1
        _timed(study, count)  # what is loaded on first use has been loaded
        while True:
            count = min(2 * count, study.config.iterations)
            seconds = _timed(study, count)
            if seconds > LONG_ENOUGH or count == study.config.iterations:
                break
        weights = sum(tensor.numel() for tensor in study.model.state_dict().values())
        evaluations = study.config.iterations // study.config.evaluate_every + 1
        return Cost(seconds * study.config.iterations / count, 24.0 * weights + 100.0 * evaluations, 2 * evaluations)


def _timed(study: TrainingStudy, count: int) -> float:
    every = min(study.config.evaluate_every, count)
    config = replace(study.config, iterations=count, warmup=0, evaluate_every=every, learning_rate=0.0)
    began = time.perf_counter()
    with one_thread():
        train(study.model, study.task, config, rule=study.rule)
    return time.perf_counter() - began


def _hints(make: Callable[..., Any]) -> dict[str, Any]:
    return {name: hint for name, hint in get_type_hints(make).items() if name != "return"}


def curve_table(trained: Trained, config: TrainConfig) -> Table:
    """The curve as figures of one prompt, which is the training.

    Args:
        trained: what came out.
        config: the settings.

    Returns:
        A table with the keys ``("train", objective, iteration, 1, metric)`` at every evaluation that was asked for; the
        metrics are ``held_out`` and ``loss``. At the last iteration, and at those that an early stop has left out,
        ``held_out`` is that of the weights that were kept; ``loss`` is NaN where there was no training.
    """
    last, every = config.iterations, config.evaluate_every
    there = {int(line["iteration"]): line for line in trained.curve}
    kept = trained.curve[-1]["held_out"]
    if config.patience is not None:
        kept = min(line["held_out"] for line in trained.curve)
    keys, values = [], []
    for iteration in (*range(every, last, every), last):
        line = there.get(iteration, {"held_out": kept, "loss": math.nan})
        for metric in ("held_out", "loss"):
            keys.append(Key("train", config.objective, iteration, 1, metric))
            values.append(kept if metric == "held_out" and iteration == last else line[metric])
    about = {"rng_layout": rng.LAYOUT, "model": repr(trained.model), "iterations": str(trained.iterations)}
    return Table(tuple(keys), np.arange(1), np.array(values)[:, None], about=about)
