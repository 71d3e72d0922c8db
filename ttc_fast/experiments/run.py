"""From the settings of a run to its results."""

from __future__ import annotations

import math
import time
from dataclasses import fields, is_dataclass, replace
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from ..decoding.backends import resolve_backend
from ..decoding.gaussian_chain import affine, stable_factor
from ..decoding.rules import Rule
from ..estimators.table import Table
from ..evaluation.devices import evaluation_on
from ..evaluation.evaluate import evaluation
from ..evaluation.plan import Plan, verifier_for
from ..evaluation.stages import Evaluation
from ..models.decoder import StochasticDecoder
from ..models.linear_attention import stable_step_size
from ..numerics import check, extension, sums
from ..numerics.progress import Report, reporting
from ..numerics.protocols import is_default
from ..tasks.base import Source
from ..tasks.metrics import METRICS
from ..tasks.registry import VARIANTS
from ..techniques.base import Technique
from ..techniques.registry import TECHNIQUES
from ..techniques.ridge import ridge
from ..techniques.verifiers import Verifier
from ..theory.ensemble import exact_curve
from ..theory.overlay import overlay
from .config import Kind, RunConfig
from .model import OWN_MODELS, check_training, loaded_model, model_of, start_of, with_dim
from .results import RunResult
from .rules import make_rules, with_rules
from .source import ALL_GPUS, RunPrompts, home_device, run_prompts, usable_devices, with_task
from .verifiers import held_out, make_verifier, wrong_by

TILE = 64
"""Prompts at a time."""


def run(config: RunConfig, *, progress: bool | Report = False) -> RunResult:
    """Do what ``config`` says.

    Args:
        config: the settings. Those of the output, such as ``json``, are for the command line.
        progress: True, or a function of a stage and the share of it that is done.

    Returns:
        The table of both kinds of coefficients, and facts of the run.

    Raises:
        ValueError, TypeError: a setting is not as it must be; the message names it.
        OSError: the prompts file cannot be read.

    >>> import ttc_fast as tf
    >>> result = tf.run(tf.RunConfig(samples=16, prompts=4, steps=(2, 4)))
    >>> result.table.select(technique="mean", coefficients="binary", metric="hamming", steps=4).keys[0].samples
    1
    """
    began = time.perf_counter()
    config, filled, prompts, backend, loaded = _prepared(config)
    model, decoders = _decoders(filled, prompts, loaded)
    example = prompts.by_kind[prompts.kinds[0]].part(0, 1)
    verifier = make_verifier(filled, example, verifier_for(prompts.by_kind[prompts.kinds[0]], None))
    parts: dict[Kind, Evaluation] = {}
    with reporting(progress) as report, torch.inference_mode():
        for kind, source in prompts.by_kind.items():
            parts[kind] = _evaluated(config, decoders[kind], source, verifier, backend, report)
    stable_step: dict[str, float | None] = {
        kind: _stable_step(filled.step_size, decoders[kind], source, verifier, parts[kind].unstable)
        for kind, source in prompts.by_kind.items()
    }
    return RunResult(
        filled,
        _joined([part.table for part in parts.values()]),
        "/".join(dict.fromkeys(part.backend for part in parts.values())),
        {kind: decoders[kind].rule for kind in parts},
        {kind: _throughput(config, prompts, part) for kind, part in parts.items()},
        {kind: int(part.unstable.sum()) for kind, part in parts.items()},
        {kind: _over_all_prompts(filled, prompts, kind) if config.theory else None for kind in parts},
        verifier.work(example),
        time.perf_counter() - began,
        stable_step,
        extension.isa() if extension.module is not None else None,
        repr(model),
        getattr(model.prefill(verifier.context(example)), "multiplications", prompts.dim**2),
        {kind: part.compile_seconds for kind, part in parts.items()},
    )


def resolved(config: RunConfig) -> RunConfig:
    """The settings with every default filled in and the backend named: what decides the results. Nothing is decoded.

    Args:
        config: the settings.

    Raises:
        ValueError, TypeError, OSError: as :func:`run`.

    >>> resolved(RunConfig(coefficients="continuous", dim=8)).examples
    64
    """
    config, filled, prompts, backend, loaded = _prepared(config)
    first = prompts.by_kind[prompts.kinds[0]]
    verifier = make_verifier(filled, first.part(0, 1), verifier_for(first, None))
    decoders = _decoders(filled, prompts, loaded)[1]
    for kind, source in prompts.by_kind.items():
        _plan(config, decoders[kind], source, verifier, backend)
    return replace(filled, backend=cast(Any, backend))


class _Prepared(NamedTuple):
    """What a run is made of."""

    config: RunConfig
    filled: RunConfig
    """With the defaults that the prompts decide."""
    prompts: RunPrompts
    backend: str
    loaded: Any
    """The model of a file, None without one."""


def _prepared(config: RunConfig) -> _Prepared:
    config = with_rules(with_task(_with_tuples(config)))
    device = usable_devices(config.device)[0]
    resolve_backend(config.backend, device=device)  # fails before the prompts are made
    check_training(config)
    loaded = loaded_model(config, home_device(config.device))
    config = with_dim(config, loaded)
    prompts = run_prompts(config, home_device(config.device))
    backend = resolve_backend(config.backend, device=device, dim=prompts.dim)
    if loaded is not None or config.task in OWN_MODELS:  # a model without a linear state runs in PyTorch alone
        backend = config.backend
    filled = _filled(config, prompts)
    if config.method == "exact" and "binary" in prompts.kinds:
        raise ValueError(
            "method: expected 'stepwise' for binary coefficients, got 'exact'; add --coefficients continuous"
        )
    return _Prepared(config, filled, prompts, backend, loaded)


def _decoders(filled: RunConfig, prompts: RunPrompts, loaded: Any) -> tuple[Any, dict[Kind, StochasticDecoder]]:
    """The model, and a decoder for each kind of coefficients."""
    model, rules = model_of(filled, loaded, home_device(filled.device)), make_rules(filled)
    return model, {kind: StochasticDecoder(model, rules[kind], start_of(filled)) for kind in prompts.kinds}


def _stable_step(
    step_size: float | None, decoder: StochasticDecoder, prompts: Source, verifier: Verifier, unstable: Tensor
) -> float | None:
    """See :attr:`RunResult.stable_step`; a rule that says itself where it diverges has more to it than the step."""
    if step_size is None or not unstable.any() or not is_default(decoder.rule.diverges, Rule.diverges):
        return None
    factor = math.inf
    with torch.inference_mode():
        for tile in sums.tiles(len(prompts), TILE):
            if unstable[tile].any():
                seen = verifier.context(prompts.part(tile.start, tile.stop))
                factor = min(factor, stable_factor(affine(decoder.model.prefill(seen).linear)[0]))
    return step_size * factor


def _with_tuples(config: RunConfig) -> RunConfig:
    """The settings with a tuple where a list, or a single value, was given."""
    check.has("config", config, [field.name for field in fields(RunConfig)], "a RunConfig")
    if not is_dataclass(config):  # whose settings can be replaced by their defaults
        raise TypeError(f"config: expected a RunConfig, got {type(config).__name__}")
    spectrum = check.numbers("covariance", config.covariance)
    if spectrum.ndim > 1 or not spectrum.numel():
        raise ValueError(f"covariance: expected a number, or all eigenvalues, got {check.shown(config.covariance)}")
    if config.prompts_file is None and spectrum.numel() not in (1, config.dim):
        raise ValueError(f"covariance: expected a number, or {config.dim} eigenvalues (dim), got {spectrum.numel()}")
    covariance = tuple(check.scale("covariance", value) for value in spectrum.reshape(-1).tolist())
    rule: Any = check.names("rule", config.rule)
    metric = check.names("metric", config.metric)
    for name in metric:
        check.choice("metric", name, (*METRICS, *VARIANTS[config.task].metrics))
    check.flag("theory", config.theory)
    names = check.names("technique", config.technique)
    if not names:
        raise ValueError("technique: expected at least one, got none")
    for name in names:
        check.choice("technique", name, tuple(TECHNIQUES))
    steps: Any = tuple(check.one_or_more("steps", config.steps))
    budgets: Any = None if config.budgets is None else tuple(check.one_or_more("budgets", config.budgets))
    return replace(
        config, technique=names, steps=steps, budgets=budgets, rule=rule, metric=metric, covariance=covariance
    )


def _evaluated(
    config: RunConfig, decoder: StochasticDecoder, prompts: Source, verifier: Verifier, backend: str, report: Report
) -> Evaluation:
    """One kind of coefficients, with theory if asked for."""
    plan = _plan(config, decoder, prompts, verifier, backend)
    if config.device == ALL_GPUS:
        part = evaluation_on(usable_devices(ALL_GPUS), plan, prompts, progress=report)
    else:
        part = evaluation(plan, prompts, progress=report)
    if not config.theory:
        return part
    return replace(part, table=overlay(decoder, prompts, part.table, verifier=verifier, progress=report))


def _plan(config: RunConfig, decoder: StochasticDecoder, prompts: Source, verifier: Verifier, backend: str) -> Plan:
    return Plan.checked(
        decoder, prompts, steps=config.steps, samples=config.samples, budgets=config.budgets, seed=config.seed,
        techniques=_techniques(config), verifier=verifier, backend=backend,
        method=config.method, metrics=[name for name in config.metric if name in METRICS],
    )  # fmt: skip


def _techniques(config: RunConfig) -> list[str | Technique]:
    """In the order of the list of them."""
    own: dict[str, Technique] = {} if config.ridge is None else {"ridge": ridge(check.scale("ridge", config.ridge))}
    return [own.get(name, name) for name in TECHNIQUES if name in config.technique]


def _joined(tables: list[Table]) -> Table:
    whole = tables[0]
    for table in tables[1:]:
        whole = whole.join(table)
    return whole


def _filled(config: RunConfig, prompts: RunPrompts) -> RunConfig:
    """The settings with the defaults that the prompts decide."""
    hidden = held_out(config, prompts.examples)
    seen = prompts.examples - (hidden or 0)
    return replace(
        config,
        dim=prompts.dim,
        examples=prompts.examples,
        prompts=prompts.count,
        label_noise=prompts.label_noise,
        step_size=_step_size(config, prompts.dim, seen),
        held_out=hidden,
        wrong_by=wrong_by(config),
    )


def _step_size(config: RunConfig, dim: int, seen: int) -> float | None:
    """Half of where chains begin to diverge, which falls with the largest eigenvalue of the features' covariance; None
    for weights that have none."""
    if (config.model, config.train_task, config.train_examples) != (None, None, None) or VARIANTS[config.task].bits:
        return None
    if config.step_size is not None:
        return check.number("step_size", config.step_size)
    if config.task in OWN_MODELS:
        return 1.0
    largest = max(config.covariance) if len(config.covariance) > 1 else 1.0
    return stable_step_size(dim, seen) / (largest or 1.0)


def _throughput(config: RunConfig, prompts: RunPrompts, part: Evaluation) -> float:
    thoughts = len(set(config.steps)) if config.method == "exact" else max(config.steps)
    return prompts.count * config.samples * prompts.dim * thoughts / part.decode_seconds


def _over_all_prompts(config: RunConfig, prompts: RunPrompts, kind: Kind) -> float | None:
    """See :attr:`RunResult.all_prompts`; up to 32 steps it takes below a second."""
    steps, default = int(max(config.steps)), RunConfig()
    task = ("truth", "nonzero", "prior", "covariance", "noise_schedule", "start", "task")
    known = "gaussian" in config.rule and all(getattr(config, name) == getattr(default, name) for name in task)
    if kind == "binary" or not known or prompts.label_noise is None or steps > 32 or config.step_size is None:
        return None
    seen = prompts.examples - (config.held_out or 0)
    curve = exact_curve(seen, prompts.dim, float(config.step_size), float(config.noise_scale), steps)
    error = curve.error(steps, int(max(config.budgets or (config.samples,))), label_noise=prompts.label_noise)
    return float(error) if error < 10**300 else math.inf
