"""The settings of ``ttc-fast train`` and ``ttc-fast predict``: each field is an option of the command line."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from .config import TaskName


@dataclass(frozen=True)
class TrainCommand:
    """Train a transformer on prompts of a task, as a study in TOML says: sections [task], [model] and [train], see
    ttc_fast/models/README.md. A training that was interrupted goes on from its folder, to the same bits."""

    study: Positional[Path]
    """The TOML file, or the name of one that comes with the library, such as train_linear."""
    out: Path
    """Folder of the model, its checkpoints and its curve; it is made if it is not there."""
    train_task: TaskName | None = None
    """Train on this task, with the sizes and the labels' noise of [task], which stays that of the held-out prompts."""
    task: TaskName | None = None
    """Of the held-out prompts, with the same sizes, instead of the section [held_out]."""
    quiet: bool = False
    """Print nothing but errors."""


@dataclass(frozen=True)
class PredictConfig:
    """How well a transformer that was trained for prediction tells y after some examples, beside least squares on the
    same ones: the curve of Garg et al. (arXiv 2208.01066)."""

    model: Positional[Path]
    """The .safetensors file that ttc-fast train wrote."""
    task: TaskName = "linear"
    """What the prompts are, as of ttc-fast run; all but parity."""
    examples: tuple[int, ...] = (5, 10, 20, 40)
    """In-context examples before the one that is predicted."""
    prompts: int = 1280
    """Independent prompts."""
    label_noise: float = 0.0
    """Standard deviation of the labels' noise, also of those that are predicted."""
    model_class: str | None = None
    """MODULE:CLASS of a model that is yours; it is imported, also from the current folder."""
    seed: int = 0
    """Seed of all random numbers, an integer below 2^64."""
    json: Path | None = None
    """Write all figures to this file."""
