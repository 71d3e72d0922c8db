"""The curve of a predictor of y: its squared error after i examples, beside least squares on the same examples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, get_args

import torch
from torch import Tensor

from ..models.checkpoint import load_model
from ..models.tokens import token_matrix
from ..numerics import check, sums
from ..tasks.prompts import Prompts, check_prompts
from ..tasks.registry import VARIANTS
from .config import TaskName
from .model import named_class
from .training_config import PredictConfig

TILE = 256
"""Prompts at a time."""


@dataclass(frozen=True)
class Prediction:
    """Squared errors after some numbers of examples, float64 ``[len(examples), prompts]`` each."""

    model: str
    """In words."""
    examples: tuple[int, ...]
    errors: dict[str, Tensor]
    """Of ``transformer``, ``least_squares`` (the shortest solution where there are several) and ``zero``."""


def predict(config: PredictConfig) -> Prediction:
    """Do what ``config`` says.

    Args:
        config: the settings.

    Raises:
        TypeError, ValueError: a setting is not as it must be; the message names it.
        OSError: the model cannot be read.
    """
    check.choice("task", config.task, [name for name in get_args(TaskName) if not VARIANTS[name].bits])
    check.path("model", config.model)
    classes = [] if config.model_class is None else [named_class("model_class", config.model_class)]
    model = load_model(config.model, classes=classes)
    check.has("model", model, ("dim", "last_token"), "one that was trained")
    asked = [check.integer("examples", i, 1, 2**24) for i in check.one_or_more("examples", config.examples)]
    noise = check.scale("label_noise", config.label_noise)
    task, count = (
        VARIANTS[config.task].make(model.dim, max(asked) + 1, noise),
        check.integer("prompts", config.prompts, 1, 2**32),
    )
    parts = []
    for tile in sums.tiles(count, TILE):
        prompts = task.sample(tile.stop - tile.start, seed=config.seed, first_prompt=tile.start)
        parts.append(prediction_errors(model, prompts, asked))
    errors = {name: torch.cat([part[name] for part in parts], 1) for name in parts[0]}
    return Prediction(repr(model), tuple(asked), errors)


def prediction_errors(model: Any, prompts: Prompts, examples: Sequence[int]) -> dict[str, Tensor]:
    """Squared errors of the label of example i + 1 after the first i: ``[len(examples), B]`` by predictor.

    Args:
        model: with ``last_token``, trained for ``prediction``.
        prompts: B of them, with more examples than asked for.
        examples: each i.
    """
    check_prompts(prompts, model.dim)
    found: dict[str, list[Tensor]] = {"transformer": [], "least_squares": [], "zero": []}
    like = next(iter(model.parameters()))
    for i in examples:
        x, y, query = prompts.x[:, :i], prompts.y[:, :i], prompts.x[:, i]
        with torch.no_grad():
            Z = token_matrix(x.to(like), y.to(like), query.to(like))
            found["transformer"].append(model.last_token(Z, i)[:, model.dim].double())
        w = torch.linalg.pinv(x.double()) @ y.double()[:, :, None]
        found["least_squares"].append((query.double() * w[:, :, 0]).sum(1))
        found["zero"].append(torch.zeros(len(prompts), dtype=torch.float64))
    labels = prompts.y[:, list(examples)].mT.double()
    return {name: (torch.stack(each) - labels).square() for name, each in found.items()}
