"""From the settings of a run to its results."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, NamedTuple

import torch

from ..decoding.backends import resolve_backend
from ..decoding.rules import BernoulliSampling, GaussianNoise, Rule
from ..evaluation.evaluate import Evaluation, Key, evaluate
from ..models.decoder import StochasticDecoder
from ..models.linear_attention import LinearAttention, default_step_size
from ..numerics import check
from ..tasks.linear_regression import LinearRegression
from ..tasks.prompts import Prompts, load_prompts
from ..techniques.aggregate import TECHNIQUES
from ..techniques.verifiers import HeldOutLoss, InContextLoss, NoisyVerifier, Oracle, Verifier, WrongVerifier
from ..theory.ensemble import exact_curve
from ..theory.overlay import Comparison, overlay
from .config import RunConfig

DIM, EXAMPLES, PROMPTS, LABEL_NOISE = 16, 64, 64, 0.1
"""Defaults where no file brings the prompts."""

WRONG_BY = 0.5
"""Default of the wrong verifier: with the other defaults best-of-N is best at N = 4 (binary: 2) and ends worse than a
single sample."""

Kind = Literal["continuous", "binary"]


@dataclass(frozen=True)
class KindResult:
    """What came out for one kind of coefficients."""

    coefficients: Kind
    rule: Rule
    evaluation: Evaluation
    throughput: float
    """Coefficient-steps per second of the decode; of the asked steps only with method "exact"."""
    theory: dict[Key, Comparison]
    """What theory says of those results that have a law."""
    all_prompts: float | None
    """Exact mean over all prompts, not only these, of the squared error of the mean of all samples at the last step,
    where the task allows it: see :func:`ttc_fast.theory.ensemble.exact_curve`."""


@dataclass(frozen=True)
class RunResult:
    """What :func:`run` returns."""

    config: RunConfig
    """The settings with every default filled in."""
    backend: str
    kinds: tuple[KindResult, ...]
    score_work: int
    """Multiplications that a score of the verifier costs."""
    wall_time: float
    """Seconds."""

    def multiplications(self, kind: KindResult, key: Key) -> tuple[int, int]:
        """What a result cost for each prompt, on average: in the decode, d^2 for a thought, and in the verifier's
        scores."""
        thoughts, scores = kind.evaluation.work[key]
        return round(thoughts * (self.config.dim or 0) ** 2), round(scores * self.score_work)


def run(config: RunConfig, progress: Callable[[str, float], None] = lambda kind, share: None) -> RunResult:
    """Do what ``config`` says.

    Args:
        config: the settings.
        progress: called with the kind of coefficients and the share of its work that is done.

    Raises:
        ValueError, TypeError: a setting is not as it must be; the message names it.
        OSError: the prompts file cannot be read.
    """
    began = time.perf_counter()
    for name in config.technique:
        check.choice("technique", name, tuple(TECHNIQUES))
    chosen = {name: technique for name, technique in TECHNIQUES.items() if name in config.technique}
    device = _device(config.device)
    resolve_backend(config.backend, device=device)  # fails before the prompts are made
    source = _from_task(config, device) if config.prompts_file is None else _from_file(config, device)
    backend = resolve_backend(config.backend, device=device, dim=source.dim)
    held_out = _held_out(config, source)
    seen = source.examples - (held_out or 0)
    step_size = default_step_size(source.dim, seen) if config.step_size is None else config.step_size
    binary = BernoulliSampling(config.link, config.temperature)
    rules: dict[Kind, Rule] = {"continuous": GaussianNoise(config.noise_scale), "binary": binary}
    if config.method == "exact" and "binary" in source.kinds:
        raise ValueError(
            "method: expected 'stepwise' for binary coefficients, got 'exact'; add --coefficients continuous"
        )
    model = LinearAttention.gradient_descent(source.dim, step_size=step_size).to(device)
    example = source.prompts(source.kinds[0], 0, 1)
    wrong_by = _wrong_by(config)
    verifier = _verifier(config, held_out, wrong_by, example)
    kinds = []
    for kind in source.kinds:
        with torch.inference_mode():
            evaluation = evaluate(
                StochasticDecoder(model, rules[kind]),
                partial(source.prompts, kind),
                source.size,
                steps=config.steps,
                samples=config.samples,
                seed=config.seed,
                backend=backend,
                method=config.method,
                techniques=chosen,
                verifier=verifier,
                progress=partial(progress, kind),
            )
        thoughts = len(set(config.steps)) if config.method == "exact" else max(config.steps)
        throughput = source.size * config.samples * source.dim * thoughts / evaluation.decode_seconds
        decoder = StochasticDecoder(model, rules[kind])
        comparisons, all_prompts = {}, None
        if config.theory:
            comparisons = overlay(decoder, partial(source.prompts, kind), source.size, evaluation.scores, verifier)
            all_prompts = _over_all_prompts(config, source, kind, seen, step_size)
        kinds.append(KindResult(kind, rules[kind], evaluation, throughput, comparisons, all_prompts))
    filled = replace(
        config,
        dim=source.dim,
        examples=source.examples,
        prompts=source.size,
        label_noise=source.label_noise,
        temperature=binary.temperature,
        step_size=step_size,
        held_out=held_out,
        wrong_by=wrong_by,
    )
    return RunResult(filled, backend, tuple(kinds), verifier.work(example), time.perf_counter() - began)


def _held_out(config: RunConfig, source: _Source) -> int | None:
    """Examples of a prompt that the chains do not see."""
    if config.verifier != "held_out_loss":
        if config.held_out is not None:
            raise ValueError(
                f"held_out: expected none with verifier {config.verifier!r}, got {config.held_out}; "
                "add --verifier held_out_loss"
            )
        return None
    if source.examples < 2:
        raise ValueError(f"examples: expected at least 2 for verifier 'held_out_loss', got {source.examples}")
    given = max(1, source.examples // 4) if config.held_out is None else config.held_out
    return check.integer("held_out", given, 1, source.examples - 1)


def _wrong_by(config: RunConfig) -> float | None:
    """How far the wrong verifier's aim is from the truth."""
    if config.verifier == "wrong":
        return check.number("wrong_by", WRONG_BY if config.wrong_by is None else config.wrong_by, low=0.0)
    if config.wrong_by is not None:
        raise ValueError(
            f"wrong_by: expected none with verifier {config.verifier!r}, got {config.wrong_by}; add --verifier wrong"
        )
    return None


def _verifier(config: RunConfig, held_out: int | None, wrong_by: float | None, example: Prompts) -> Verifier:
    check.choice("verifier", config.verifier, ("in_context_loss", "held_out_loss", "oracle", "wrong"))
    noise = check.number("verifier_noise", config.verifier_noise, low=0.0)
    if config.verifier in ("oracle", "wrong") and example.w_star is None:
        raise ValueError(
            f"verifier: expected w_star in {config.prompts_file} for {config.verifier!r}, got none; take another"
        )
    verifier: Verifier = Oracle() if config.verifier == "oracle" else InContextLoss()
    if held_out is not None:
        verifier = HeldOutLoss(held_out)
    if wrong_by is not None:
        verifier = WrongVerifier(wrong_by, config.seed)
    noisy = NoisyVerifier(verifier, noise, false_positive_rate=config.false_positive_rate, seed=config.seed)
    return verifier if noise == noisy.false_positive_rate == 0 else noisy


def _over_all_prompts(config: RunConfig, source: _Source, kind: Kind, seen: int, step_size: float) -> float | None:
    """See :attr:`KindResult.all_prompts`; up to 32 steps it takes below a second."""
    steps = max(config.steps)
    if kind == "binary" or source.label_noise is None or steps > 32:
        return None
    curve = exact_curve(seen, source.dim, step_size, config.noise_scale, steps)
    error = curve.error(steps, config.samples, label_noise=source.label_noise)
    return float(error) if error < 10**300 else math.inf


class _Source(NamedTuple):
    """Where the prompts of a run come from."""

    dim: int
    examples: int
    size: int
    label_noise: float | None
    kinds: tuple[Kind, ...]
    prompts: Callable[[Kind, int, int], Prompts]
    """Prompts start to stop - 1 of a kind."""


def _from_task(config: RunConfig, device: torch.device) -> _Source:
    count = check.integer("prompts", PROMPTS if config.prompts is None else config.prompts, 1, 2**32)
    kinds: tuple[Kind, ...] = ("continuous", "binary") if config.coefficients == "both" else (config.coefficients,)
    tasks = {
        kind: LinearRegression(
            DIM if config.dim is None else config.dim,
            EXAMPLES if config.examples is None else config.examples,
            kind,
            label_noise=LABEL_NOISE if config.label_noise is None else config.label_noise,
        )
        for kind in kinds
    }
    task = tasks[kinds[0]]

    def prompts(kind: Kind, start: int, stop: int) -> Prompts:
        return tasks[kind].sample(stop - start, seed=config.seed, first_prompt=start).to(device)

    return _Source(task.dim, task.examples, count, task.label_noise, kinds, prompts)


def _from_file(config: RunConfig, device: torch.device) -> _Source:
    file = load_prompts(config.prompts_file or "")
    _, examples, dim = file.x.shape
    for name, given, present in (("dim", config.dim, dim), ("examples", config.examples, examples)):
        if given not in (None, present):
            raise ValueError(f"{name}: expected {present} as in {config.prompts_file}, got {given}; leave it out")
    if config.label_noise is not None:
        raise ValueError(f"label_noise: expected none with a prompts file, got {config.label_noise}; leave it out")
    count = check.integer("prompts", len(file) if config.prompts is None else config.prompts, 1, len(file))
    kinds: tuple[Kind, ...] = ("continuous", "binary") if config.coefficients == "both" else (config.coefficients,)
    if file.w_star is not None and not bool(((file.w_star == 0) | (file.w_star == 1)).all()):
        if config.coefficients == "binary":
            raise ValueError(
                f"w_star: expected zeros and ones for binary coefficients, got others in {config.prompts_file}"
            )
        kinds = ("continuous",)
    return _Source(dim, examples, count, None, kinds, lambda kind, start, stop: file.part(start, stop).to(device))


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ValueError(
            f"device: expected one that PyTorch can use here, got {name!r}: {reason}; leave it out for the CPU"
        ) from error
    return device
