"""``ttc-fast train``: a study in TOML, sections [task], [model] and [train], to a trained model in a folder."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from ..decoding.rules import GaussianNoise, Rule
from ..models.attention_transformer import AttentionTransformer
from ..models.linear_transformer import LinearTransformer
from ..models.train import Trained, Watch, train
from ..models.train_config import TrainConfig
from ..models.transformer import Transformer
from ..numerics import check
from ..numerics.progress import Report
from ..tasks.base import Task
from ..tasks.registry import TASKS, VARIANTS
from .config import TaskName
from .model import named_class
from .toml import made, read_sections


def _attention(activation: Any) -> Callable[..., Any]:
    def make(dim: int, heads: int = 1, hidden: int = 0, scale: float = 0.01, seed: int = 0) -> AttentionTransformer:
        return AttentionTransformer.initial(dim, heads, hidden=hidden, activation=activation, scale=scale, seed=seed)

    return make


MODELS: dict[str, tuple[Callable[..., Any], tuple[str, ...]]] = {
    "linear": (LinearTransformer.initial, ("layers", "heads", "looped", "scale", "seed")),
    **{
        name: (_attention(name), ("heads", "hidden", "scale", "seed"))
        for name in ("softmax", "sigmoid", "relu", "gelu")
    },
    "transformer": (
        Transformer,
        ("layers", "heads", "width", "mlp", "norm", "positions", "causal", "history", "seed"),
    ),
}
"""By ``kind``: what makes the model that is trained, and the settings that it takes; ``scale`` is of its weights. A
kind ``module:Class`` is a class of the user, called with d and the settings."""


@dataclass(frozen=True)
class TrainingStudy:
    """What a study asks for."""

    task: Task
    model: Any
    config: TrainConfig
    rule: Rule | None
    """Of the chain of the objective outcome."""
    held_out: Task | None = None
    """Where held-out prompts come from, if elsewhere."""


def load_training(path: Path) -> TrainingStudy:
    """A study.

    Args:
        path: of the TOML file.

    Raises:
        OSError: it cannot be read.
        TypeError, ValueError: it is none; the message names section and setting.
    """
    return training_of(read_sections(path, ("task", "held_out", "model", "train")))


def training_of(sections: Mapping[str, Mapping[str, Any]]) -> TrainingStudy:
    """A study from what its sections hold.

    Args:
        sections: task, model and train; of held_out, which may be missing, what differs from task.

    Raises:
        TypeError, ValueError: it is none; the message names section and setting.
    """
    given, shape, how = (dict(sections[name]) for name in ("task", "model", "train"))
    pool = given.pop("pool", 0)
    task, other = _task("task", given), dict(sections.get("held_out", {}))
    held_out = _task("held_out", _with_sizes(other, task)) if other else None
    model = _model(shape, task.dim)
    noise = how.pop("noise_scale", None)
    rule = None if noise is None else made("train", {"noise_scale": noise}, GaussianNoise, ["noise_scale"])
    names = [field.name for field in fields(TrainConfig) if field.name != "pool"]
    config = made("train", how, lambda **settings: TrainConfig(pool=pool, **settings), names)
    if rule is not None and config.objective != "outcome":
        raise ValueError(f"[train] noise_scale: expected none for the objective {config.objective!r}; leave it out")
    return TrainingStudy(task, model, config, rule, held_out)


def _task(section: str, settings: dict[str, Any]) -> Any:
    kind = _taken(section, settings, "kind", "linear", TASKS)
    return made(section, settings, TASKS[kind], [field.name for field in fields(TASKS[kind])])


def _with_sizes(settings: dict[str, Any], task: Any) -> dict[str, Any]:
    return {"dim": task.dim, "examples": task.examples} | settings


def with_tasks(study: TrainingStudy, train_task: TaskName | None, task: TaskName | None) -> TrainingStudy:
    """The study with other laws of its prompts, of the same sizes and noise.

    Args:
        study: the study.
        train_task: of those that are trained on, None as it is.
        task: of those held out.

    Raises:
        ValueError: there is no such task to train on.
    """

    def other(name: str, value: TaskName) -> Task:
        check.choice(name, value, [one for one, variant in VARIANTS.items() if not variant.bits])
        like: Any = study.task
        made_of: Task = VARIANTS[value].make(like.dim, like.examples, getattr(like, "label_noise", 0.0))
        return made_of

    if task is not None:
        study = replace(study, held_out=other("task", task))
    elif train_task is not None and study.held_out is None:
        study = replace(study, held_out=study.task)
    return study if train_task is None else replace(study, task=other("train_task", train_task))


def _model(shape: dict[str, Any], dim: int) -> Any:
    """What the section ``[model]`` describes."""
    kind = shape.get("kind", "linear")
    if isinstance(kind, str) and ":" in kind:
        make: Callable[..., Any] = named_class("[model] kind", shape.pop("kind"))
        known: Collection[str] = shape
    else:
        make, known = MODELS[_taken("model", shape, "kind", "linear", MODELS)]
    return made("model", shape, lambda **settings: make(dim, **settings), known)


def _taken(section: str, settings: dict[str, Any], name: str, default: str, choices: Mapping[str, Any]) -> str:
    value = settings.pop(name, default)
    check.choice(f"[{section}] {name}", value, tuple(choices))
    return str(value)


def run_training(
    study: TrainingStudy, folder: Path, *, progress: bool | Report = False, watch: Watch | None = None
) -> Trained:
    """Train as a study says, or go on with it.

    Args:
        study: of :func:`load_training`.
        folder: of the checkpoints.
        progress, watch: see :func:`ttc_fast.train`.
    """
    return train(
        study.model, study.task, study.config, rule=study.rule, held_out=study.held_out, folder=folder,
        progress=progress, watch=watch,
    )  # fmt: skip
