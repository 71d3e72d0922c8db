"""From the settings of a run to its transformer and to where its chains begin."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from ..models.checkpoint import load_model
from ..models.linear_attention import LinearAttention
from ..models.logistic_descent import LogisticDescent
from ..models.parity_attention import ParityAttention
from ..models.start import RandomStart, Start
from ..models.train import derived_seed
from ..numerics import check
from ..tasks.base import TaskPrompts
from ..tasks.linear_regression import LinearRegression
from ..tasks.parity import Parity
from ..tasks.registry import VARIANTS
from .config import RunConfig


def named_class(name: str, value: object) -> Any:
    """The class that the user has named as ``MODULE:CLASS``, imported from the installed packages or, if there is none
    of that name, from the current folder. Names that come from elsewhere, such as from a file of weights, must not get
    here: an import runs code.

    Args:
        name: of the setting, for the error.
        value: what the user gave.

    Raises:
        ValueError: there is no such module, or no such class in it.

    >>> named_class("kind", "torch.nn:Linear")
    <class 'torch.nn.modules.linear.Linear'>
    """
    module, _, path = check.text(name, value).partition(":")
    if not module or not path:
        raise ValueError(f"{name}: expected MODULE:CLASS, such as mymodels:Net, got {check.shown(value)}")
    sys.path.append(os.getcwd())
    try:
        found: Any = importlib.import_module(module)
        for part in path.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"{name}: expected MODULE:CLASS that can be imported, got {value}: {error}") from error
    finally:
        sys.path.pop()
    if not isinstance(found, type):
        raise ValueError(f"{name}: expected a class, got {value}, which is {check.shown(found)}")
    return found


def loaded_model(config: RunConfig, device: torch.device) -> Any:
    """The model of the file that the settings name, None if they name none.

    Args:
        config: the settings.
        device: where its weights go.

    Raises:
        OSError: the file cannot be read.
        ValueError: it holds no model, or a setting is of other weights.
    """
    if config.model is None:
        if config.model_class is not None:
            raise ValueError(f"model_class: expected none without a model, got {config.model_class}; leave it out")
        return None
    check.path("model", config.model)
    if config.step_size is not None:
        raise ValueError(f"step_size: expected none with the weights of {config.model}, got {config.step_size}")
    classes = [] if config.model_class is None else [named_class("model_class", config.model_class)]
    try:
        model = load_model(Path(config.model), classes=classes, device=device)
    except OSError as error:
        raise OSError(error.errno, f"model: cannot read {config.model}: {error.strerror}") from error
    except ValueError as error:
        raise ValueError(f"model: {error}") from error
    if config.dim not in (None, model.dim):
        raise ValueError(f"dim: expected {model.dim} as {config.model} has it, got {config.dim}; leave it out")
    return model


def with_dim(config: RunConfig, model: Any) -> RunConfig:
    """The settings with the dimension of a loaded model.

    Args:
        config: the settings.
        model: of :func:`loaded_model`.
    """
    return config if model is None else replace(config, dim=model.dim)


def model_of(config: RunConfig, loaded: Any, device: torch.device) -> Any:
    """The transformer: the loaded one, else linear attention with the step of gradient descent.

    Args:
        config: the settings with all defaults filled in.
        loaded: of :func:`loaded_model`.
        device: where its weights go.
    """
    if loaded is not None:
        return loaded
    if config.task in OWN_MODELS:
        return OWN_MODELS[config.task](config).to(device)
    if config.train_task is not None or config.train_examples is not None:
        return _trained(config).to(device)
    return LinearAttention.gradient_descent(config.dim or 0, step_size=config.step_size).to(device)


OWN_MODELS: dict[str, Callable[[RunConfig], Any]] = {
    "logistic": lambda config: LogisticDescent(config.dim or 0, config.step_size or 0.0),
    "max_margin": lambda config: LogisticDescent(config.dim or 0, config.step_size or 0.0),
    "parity": lambda config: ParityAttention(
        Parity((config.dim or 0) - (config.nonzero or 1) + 1, config.nonzero or 1)
    ),
}
"""Of the tasks that linear attention is not for; none of them has a linear state."""

TRAINING_PROMPTS = 4096
"""That the weights of ``--train-task`` are the best for."""


def check_training(config: RunConfig) -> None:
    """Nothing, if the settings of a training law fit the others.

    Raises:
        ValueError: the weights come from elsewhere.
    """
    if config.train_task is not None:
        check.choice("train_task", config.train_task, ("linear", *VARIANTS, *OWN_MODELS))
    if config.train_examples is not None:
        check.integer("train_examples", config.train_examples, 1, 2**31)
    for name in ("train_task", "train_examples"):
        if getattr(config, name) is None:
            continue
        for other in ("model", "step_size", "prompts_file"):
            if getattr(config, other) is not None:
                raise ValueError(f"{name}: expected none with {other}={getattr(config, other)}; leave one of them out")
        if config.task in OWN_MODELS or (config.train_task or "linear") in OWN_MODELS:
            raise ValueError(f"{name}: expected none with the task {config.task}, whose transformer is another one")


def _trained(config: RunConfig) -> LinearAttention:
    name = config.train_task or config.task
    if name == "linear":
        spectrum: Any = config.covariance[0] if len(config.covariance) == 1 else config.covariance
        task: Any = LinearRegression(
            config.dim or 0, config.train_examples or config.examples or 0, label_noise=config.label_noise or 0.0,
            spectrum=spectrum if name == config.task else 0.0,
        )  # fmt: skip
    else:
        examples = config.train_examples or config.examples or 0
        task = VARIANTS[name].make(config.dim or 0, examples, config.label_noise or 0.0)
    return LinearAttention.trained(TaskPrompts(task, TRAINING_PROMPTS, derived_seed(config.seed, 0)))


def start_of(config: RunConfig) -> Start | None:
    """Where chains begin; None at zero.

    Args:
        config: the settings.
    """
    check.choice("start", config.start, ("zero", "random"))
    return RandomStart(config.seed) if config.start == "random" else None
