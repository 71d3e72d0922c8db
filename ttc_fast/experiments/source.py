"""From the settings of a run to its prompts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

import torch

from ..numerics import check
from ..tasks.base import Source, TaskPrompts
from ..tasks.linear_regression import LinearRegression
from ..tasks.prompts import Prompts, load_prompts
from ..tasks.registry import VARIANTS
from .config import Kind, RunConfig, TaskName
from .rules import kinds

DIM, EXAMPLES, PROMPTS, LABEL_NOISE = 16, 64, 64, 0.1
"""Defaults where no file brings the prompts."""


@dataclass(frozen=True)
class RunPrompts:
    """The prompts of a run."""

    dim: int
    examples: int
    label_noise: float | None
    by_kind: Mapping[Kind, Source]
    """For each kind of coefficients."""

    @property
    def kinds(self) -> tuple[Kind, ...]:
        return tuple(self.by_kind)

    @property
    def count(self) -> int:
        return len(self.by_kind[self.kinds[0]])


def run_prompts(config: RunConfig, device: torch.device) -> RunPrompts:
    """The prompts that the settings ask for.

    Args:
        config: the settings.
        device: where the prompts go.

    Raises:
        TypeError, ValueError: a setting is not as it must be; the message names it.
        OSError: the prompts file cannot be read.
    """
    return _from_task(config, device) if config.prompts_file is None else _from_file(config, device)


def _from_task(config: RunConfig, device: torch.device) -> RunPrompts:
    count = check.integer("prompts", PROMPTS if config.prompts is None else config.prompts, 1, 2**32)
    noise = _label_noise(config)
    tasks: dict[Kind, Any] = {kind: _task(config, kind, noise) for kind in kinds(config)}
    first = check.integer("first_prompt", config.first_prompt, 0, 2**32 - count)
    made = {kind: TaskPrompts(task, count, config.seed, first, str(device)) for kind, task in tasks.items()}
    task = next(iter(tasks.values()))
    return RunPrompts(task.dim, task.examples, noise, made)


def with_task(config: RunConfig) -> RunConfig:
    """The settings with the defaults that the task decides.

    Args:
        config: the settings.

    Raises:
        ValueError: a setting is of other tasks.
    """
    check.choice("task", config.task, get_args(TaskName))
    if config.task == "linear":
        return config
    variant = VARIANTS[config.task]
    if variant.bits:
        return _with_bits(config)
    if config.prompts_file is not None:
        raise ValueError(f"task: expected linear, the default, with a prompts file, got {config.task!r}; leave it out")
    _check_left_to(config, ("truth", "nonzero", "support", "prior", "covariance"), f"the task {config.task}")
    if config.coefficients == "binary" or ("binary" in kinds(replace(config, coefficients="both")) and config.rule):
        raise ValueError(f"coefficients: expected continuous ones for the task {config.task}, got binary ones")
    return replace(config, coefficients="continuous", metric=config.metric or tuple(variant.metrics)[:1])


def _with_bits(config: RunConfig) -> RunConfig:
    """Of a task of bits: one example, the ones, no continuous thoughts."""
    what = f"the task {config.task}"
    _check_left_to(config, ("truth", "support", "prior", "covariance", "step_size"), what)
    _check_left_to(config, ("train_task", "train_examples", "held_out", "model"), what)
    if config.examples not in (None, 1):
        raise ValueError(f"examples: expected none for {what}, got {config.examples}; leave it out")
    if config.label_noise:
        raise ValueError(f"label_noise: expected none for {what}, got {config.label_noise}; leave it out")
    if config.nonzero is None:
        raise ValueError(f"nonzero: expected the number of bits that {what} is of, got none; add --nonzero")
    if config.coefficients == "continuous" or (config.rule and "continuous" in kinds(config)):
        raise ValueError(f"coefficients: expected binary ones for {what}, got continuous ones")
    metric = config.metric or tuple(VARIANTS[config.task].metrics)[:1]
    return replace(config, coefficients="binary", examples=1, label_noise=0.0, metric=metric)


def _label_noise(config: RunConfig) -> float:
    if config.label_noise is not None:
        return check.scale("label_noise", config.label_noise)
    return 0.0 if config.task == "max_margin" else LABEL_NOISE


def _task(config: RunConfig, kind: Kind, noise: float) -> Any:
    dim, examples = DIM if config.dim is None else config.dim, EXAMPLES if config.examples is None else config.examples
    if config.task != "linear":
        variant = VARIANTS[config.task]
        return variant.make(dim, (config.nonzero or 1) if variant.bits else examples, noise)
    if config.prior is not None and len(kinds(config)) > 1:
        raise ValueError(f"prior: expected one kind of coefficients with it, got {config.coefficients!r}; say which")
    return LinearRegression(
        dim,
        examples,
        kind if config.truth is None else config.truth,
        spectrum=config.covariance[0] if len(config.covariance) == 1 else config.covariance,
        label_noise=noise,
        prior=config.prior,
        nonzero=config.nonzero,
        support=config.support,
    )


def _from_file(config: RunConfig, device: torch.device) -> RunPrompts:
    check.path("prompts_file", config.prompts_file)
    file = _loaded(Path(config.prompts_file or ""))
    _, examples, dim = file.x.shape
    for name, given, present in (("dim", config.dim, dim), ("examples", config.examples, examples)):
        if given not in (None, present):
            raise ValueError(f"{name}: expected {present} as in {config.prompts_file}, got {given}; leave it out")
    _check_left_to(config, ("label_noise", "truth", "nonzero", "support", "prior", "covariance"), "a prompts file")
    first = check.integer("first_prompt", config.first_prompt, 0, len(file) - 1)
    rest = len(file) - first
    count = check.integer("prompts", rest if config.prompts is None else config.prompts, 1, rest)
    found = kinds(config)
    if file.w_star is not None and not bool(((file.w_star == 0) | (file.w_star == 1)).all()):
        if found == ("binary",):
            raise ValueError(
                f"w_star: expected zeros and ones for binary coefficients, got others in {config.prompts_file}"
            )
        found = ("continuous",)
    part = file.part(first, first + count).to(device)
    return RunPrompts(dim, examples, None, dict.fromkeys(found, part))


def _check_left_to(config: RunConfig, names: tuple[str, ...], what: str) -> None:
    """What linear regression of ours is made of says nothing of other prompts."""
    unset = RunConfig()
    for name in names:
        if (value := getattr(config, name)) != getattr(unset, name):
            raise ValueError(f"{name}: expected none with {what}, got {value}; leave it out")


def _loaded(path: Path) -> Prompts:
    try:
        return load_prompts(path)
    except OSError as error:
        raise OSError(error.errno, f"prompts_file: cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise ValueError(f"prompts_file: {error}") from error


ALL_GPUS = "cuda:all"
"""Name of all GPUs of the machine together."""


def usable_devices(name: str) -> list[torch.device]:
    """Where the prompts are decoded: the device, or each GPU of the machine.

    Raises:
        TypeError: it is no text.
        ValueError: PyTorch cannot use it here.
    """
    if name != ALL_GPUS:
        return [usable_device(name)]
    return [usable_device(f"cuda:{number}") for number in range(max(1, torch.cuda.device_count()))]


def home_device(name: str) -> torch.device:
    """Where the prompts and the model wait: the device itself, or the CPU for all GPUs together.

    Raises:
        TypeError, ValueError: as :func:`usable_devices`.
    """
    return torch.device("cpu") if name == ALL_GPUS else usable_device(name)


def usable_device(name: str) -> torch.device:
    """The device of PyTorch.

    Raises:
        TypeError: it is no text.
        ValueError: PyTorch cannot use it here.
    """
    check.text("device", name)
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ValueError(
            f"device: expected one that PyTorch can use here, got {name!r}: {reason}; leave it out for the CPU"
        ) from error
    return device
