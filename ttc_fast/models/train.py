"""Training: a model, a task and settings to a trained model, to the same bits whether or not it is interrupted.

Prompts, noise and choices from a pool are a pure function of seed and iteration, under a key of training's own, so
that prompts of a run with the same seed are others. With a folder all that goes on is kept there at every evaluation,
in one file that is replaced whole; given again, the training goes on from it. The bits are those of one machine,
version of PyTorch and number of threads.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..decoding.rules import Rule, check_rule
from ..numerics import check, files, rng
from ..numerics.progress import Report, reporting
from ..numerics.protocols import complete, described
from ..tasks.base import Task
from ..tasks.prompts import Prompts, check_prompts
from .checkpoint import load_tensors, model_facts, save_model, save_tensors
from .objectives import NO_NOISE, OBJECTIVES, Batch, Trainable, check_objective
from .train_config import TrainConfig

MODEL, STATE, CURVE = "model.safetensors", "state.safetensors", "curve.jsonl"
"""Files of a folder: the result, what goes on from, and a line for every evaluation."""

KEEP_EVERY = 10.0
"""Seconds between two checkpoints, at evaluations: each waits for the disk."""

Watch = Callable[[Mapping[str, float]], None]
"""Called with every line of the curve."""


@dataclass(frozen=True)
class Trained:
    """What :func:`train` returns."""

    model: Any
    """The model that was given, with the best weights on held-out prompts if ``patience`` is set, else the last."""
    curve: tuple[Mapping[str, float], ...]
    """Of every evaluation: ``iteration``, ``loss`` (mean since the last one), ``held_out`` and ``learning_rate``."""
    iterations: int
    """Done, fewer than asked for after an early stop."""


def train(
    model: Trainable,
    task: Task,
    config: TrainConfig | None = None,
    *,
    rule: Rule | None = None,
    held_out: Task | None = None,
    folder: str | os.PathLike[str] | None = None,
    progress: bool | Report = False,
    watch: Watch | None = None,
) -> Trained:
    """Train a model on prompts of a task; its weights are changed in place.

    Args:
        model: :class:`LinearTransformer`, :class:`AttentionTransformer`, :class:`Transformer`,
            :class:`LinearAttention`, or a :class:`torch.nn.Module` of yours with ``dim`` and a differentiable
            ``last_token``, and with ``settings`` (see :func:`save_model`) if it is to be kept in a folder.
        task: where prompts come from, with w* unless the objective is ``"prediction"``.
        config: the settings; default ``TrainConfig()``.
        rule: of the chain of the objective ``"outcome"``; default none, a chain without noise.
        held_out: where held-out prompts come from, if they have another law or number of examples.
        folder: where checkpoints, the curve and the result are kept; a training that was interrupted goes on from it.
        progress: True, or a function of a stage and the share of it that is done.
        watch: called with every line of the curve.

    Returns:
        The model and its curve.

    Raises:
        TypeError, ValueError: an argument is not as described, the folder holds another training, or the loss is not
            finite.
        OSError: the folder cannot be written.

    >>> import ttc_fast as tf
    >>> model = tf.LinearTransformer.initial(3)
    >>> trained = tf.train(model, tf.LinearRegression(3, 12), tf.TrainConfig(iterations=40, learning_rate=0.03))
    >>> trained.curve[-1]["held_out"] < 4  # it is 6 before
    True
    """
    if watch is not None:
        check.function("watch", watch)
    used = TrainConfig() if config is None else config
    tested = None if held_out is None else complete(held_out, Task, "held_out")
    training = _Training(model, complete(task, Task, "task"), used, rule, tested)
    if folder is not None:
        model_facts(model)  # what cannot be kept is refused before it is trained
    home = None if folder is None else _made(folder)
    if home is not None and (home / STATE).exists():
        training.resume(home / STATE)
    kept = -math.inf
    with reporting(progress) as report:
        while not training.done:
            record = training.advance(report)
            if home is not None and (training.done or time.monotonic() - kept >= KEEP_EVERY):
                training.keep(home)
                kept = time.monotonic()
            if watch is not None:
                watch(record)
    training.finish(home)
    return Trained(model, tuple(training.curve), training.iteration)


def _made(folder: str | os.PathLike[str]) -> Path:
    check.path("folder", folder)
    home = Path(folder)
    home.mkdir(parents=True, exist_ok=True)
    for name in (MODEL, STATE, CURVE):
        files.check_writable(home / name, "folder")
    return home


def derived_seed(seed: int, part: int) -> int:
    """A key of training's own.

    Args:
        seed: of the training.
        part: 0 for the prompts that are trained on, 1 for those held out.
    """
    words = rng.philox(rng.counter(rng.Stream.TRAINING, coordinate=1, block=part), seed)
    return int(words[0]) | int(words[1]) << 32


def learning_rate(config: TrainConfig, iteration: int) -> float:
    """Of an iteration, from 0.

    Args:
        config: the settings.
        iteration: its number.
    """
    if iteration < config.warmup:
        return config.learning_rate * (iteration + 1) / config.warmup
    share = (iteration - config.warmup) / max(config.iterations - config.warmup, 1)
    factors = {"constant": 1.0, "linear": 1 - share, "cosine": (1 + math.cos(math.pi * share)) / 2}
    return config.learning_rate * factors[config.schedule]


@dataclass
class _Training:
    """What goes on: weights, moments of the optimizer, the curve."""

    model: Any
    task: Task
    config: TrainConfig
    rule: Rule | None
    tested: Task | None
    iteration: int = 0
    curve: list[dict[str, float]] = field(default_factory=list)
    best: dict[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check.has("model", self.model, ("dim", "last_token", "parameters", "state_dict"), "a model that can be trained")
        names = [one.name for one in fields(TrainConfig)]
        check.has("config", self.config, names, "a TrainConfig")
        self.config = TrainConfig(**{name: getattr(self.config, name) for name in names})
        self.chain = NO_NOISE if self.rule is None else check_rule(self.rule)
        self.key = derived_seed(self.config.seed, 0)
        self.parameters = list(self.model.parameters())
        law = self.task if self.tested is None else self.tested
        held_out = self._sampled(law, self.config.held_out, derived_seed(self.config.seed, 1), 0)
        check_prompts(held_out, self.model.dim)
        check_objective(self.config.objective, self.chain, held_out.x.shape[1])
        if held_out.w_star is None and self.config.objective in ("one_step", "outcome"):
            raise ValueError(
                f"task: expected prompts with w_star for the objective {self.config.objective!r}, got none"
            )
        self.held_out = self._batch(held_out, derived_seed(self.config.seed, 1))
        self.pool = self._sampled(self.task, self.config.pool, self.key, 0) if self.config.pool else None
        self.optimizer = torch.optim.AdamW(self.parameters, weight_decay=self.config.weight_decay)
        self.facts = {
            "config": asdict(self.config), "task": described(self.task), "rule": described(self.chain),
            "model": repr(self.model), "initial": _digest(self.model.state_dict()),
            "held_out": None if self.tested is None else described(self.tested),
        }  # fmt: skip

    def _sampled(self, task: Task, count: int, seed: int, first: int) -> Prompts:
        """Prompts of a task, in the dtype and on the device of the weights."""
        check.function("task", task.sample)
        prompts, like = task.sample(count, seed=seed, first_prompt=first), self.parameters[0]
        w_star = None if prompts.w_star is None else prompts.w_star.to(like)
        return Prompts(prompts.x.to(like), prompts.y.to(like), w_star, prompts.covariance.to(like), prompts.first)

    def _batch(self, prompts: Prompts, seed: int) -> Batch:
        return Batch(self.model, prompts, seed, self.config.steps, self.config.step_size, self.chain)

    def _prompts(self) -> Prompts:
        """Those of this iteration: fresh ones, or some of the pool under new indices, so that their noise is fresh."""
        first, count = self.iteration * self.config.batch, self.config.batch
        if self.pool is None:
            return self._sampled(self.task, count, self.key, first)
        slot = torch.arange(first, first + count)
        word = rng.philox(rng.counter(rng.Stream.TRAINING, prompt=slot), self.key)[0]
        index = (word * self.config.pool >> 32).to(self.pool.x.device)
        w_star = None if self.pool.w_star is None else self.pool.w_star[index]
        return replace(self.pool, x=self.pool.x[index], y=self.pool.y[index], w_star=w_star, first=first)

    @property
    def done(self) -> bool:
        """At the last iteration, or held-out prompts have not got better for as long as asked."""
        if self.iteration >= self.config.iterations:
            return True
        errors = [line["held_out"] for line in self.curve]
        patience = self.config.patience
        return patience is not None and len(errors) - 1 - errors.index(min(errors)) >= patience if errors else False

    def advance(self, report: Report) -> dict[str, float]:
        """To the next evaluation."""
        stop, losses, rate = min(self.iteration + self.config.evaluate_every, self.config.iterations), [], 0.0
        while self.iteration < stop:
            rate = learning_rate(self.config, self.iteration)
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            losses.append(self._step())
            self.iteration += 1
            report("training", self.iteration / self.config.iterations)
        with torch.no_grad():
            held_out = float(OBJECTIVES[self.config.objective](self.held_out))
        loss = math.fsum(losses) / len(losses)
        if not (math.isfinite(loss) and math.isfinite(held_out)):
            raise ValueError(
                f"learning_rate: expected one with which the loss is finite, got {self.config.learning_rate:g}, and "
                f"loss {loss:g} before iteration {self.iteration}; take a smaller one, or clip"
            )
        if not self.curve or held_out < min(line["held_out"] for line in self.curve):
            self.best = {name: tensor.detach().clone() for name, tensor in self.model.state_dict().items()}
        record = {"iteration": self.iteration, "loss": loss, "held_out": held_out, "learning_rate": rate}
        self.curve.append(record)
        return record

    def _step(self) -> float:
        """One iteration; the loss without the penalty."""
        loss = OBJECTIVES[self.config.objective](self._batch(self._prompts(), self.key))
        penalty = sum(parameter.square().sum() for parameter in self.parameters) if self.config.l2 else 0.0
        self.optimizer.zero_grad()
        (loss + self.config.l2 * penalty).backward()
        if self.config.clip is not None:
            torch.nn.utils.clip_grad_norm_(self.parameters, self.config.clip)
        self.optimizer.step()
        return float(loss.detach())

    def keep(self, home: Path) -> None:
        """All that goes on, and the curve."""
        tensors = {f"model.{name}": tensor for name, tensor in self.model.state_dict().items()}
        tensors |= {f"best.{name}": tensor for name, tensor in self.best.items()}
        for i, parameter in enumerate(self.parameters):
            tensors |= {f"optimizer.{i}.{name}": part for name, part in self.optimizer.state[parameter].items()}
        save_tensors(home / STATE, tensors, self.facts | {"iteration": self.iteration, "curve": self.curve})
        files.write(home / CURVE, "".join(json.dumps(line) + "\n" for line in self.curve), "folder")

    def resume(self, path: Path) -> None:
        """Go on from what :meth:`keep` wrote."""
        tensors, facts = load_tensors(path)
        for name, value in self.facts.items():
            if json.loads(json.dumps(value)) != facts.get(name):
                raise ValueError(
                    f"folder: expected an empty one, or one of the same training, got {path.parent} with another "
                    f"{name}: {check.shown(facts.get(name))}; choose another folder"
                )
        self.iteration, self.curve = facts["iteration"], facts["curve"]
        self.best = {name[5:]: tensor for name, tensor in tensors.items() if name.startswith("best.")}
        self.model.load_state_dict({n[6:]: tensor for n, tensor in tensors.items() if n.startswith("model.")})
        for i, parameter in enumerate(self.parameters):
            prefix = f"optimizer.{i}."
            found = {n[len(prefix) :]: tensor for n, tensor in tensors.items() if n.startswith(prefix)}
            self.optimizer.state[parameter] = {
                name: tensor if name == "step" else tensor.to(parameter) for name, tensor in found.items()
            }

    def finish(self, home: Path | None) -> None:
        """Take the best weights if asked for, and write the model."""
        if self.config.patience is not None:
            self.model.load_state_dict(self.best)
        if home is not None:
            facts = {name: self.facts[name] for name in ("config", "task", "rule", "held_out")}
            save_model(self.model, home / MODEL, facts | {"iterations": self.iteration, "rng_layout": rng.LAYOUT})


def _digest(tensors: Mapping[str, Tensor]) -> str:
    """Of the weights to begin with."""
    found = hashlib.sha256()
    for name, tensor in tensors.items():
        found.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()
