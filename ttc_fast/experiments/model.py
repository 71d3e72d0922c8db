"""From the settings of a run to its transformer and to where its chains begin."""

from __future__ import annotations

import importlib
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from ..models.checkpoint import load_model
from ..models.linear_attention import LinearAttention
from ..models.logistic_descent import LogisticDescent
from ..models.start import RandomStart, Start
from ..numerics import check
from ..tasks.registry import SIGNS
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
    if config.task in SIGNS:
        return LogisticDescent(config.dim or 0, config.step_size or 0.0).to(device)
    return LinearAttention.gradient_descent(config.dim or 0, step_size=config.step_size).to(device)


def start_of(config: RunConfig) -> Start | None:
    """Where chains begin; None at zero.

    Args:
        config: the settings.
    """
    check.choice("start", config.start, ("zero", "random"))
    return RandomStart(config.seed) if config.start == "random" else None
