"""Decode chunk by chunk, apply the techniques, and measure: results per prompt."""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from . import check, ordered, rng, techniques
from .model import StochasticDecoder
from .ops import resolve_backend
from .reference import TILE
from .rules import BernoulliSampling, Rule
from .tasks import Prompts
from .techniques import TECHNIQUES, Candidates

CHUNK = 2**20
"""Coefficients decoded between two reports of progress."""

BANK = 2**25
"""Coefficients of candidates held at a time, as far as one prompt's candidates allow: 128 MB in float32."""


class Key(NamedTuple):
    """What a result is about."""

    technique: str
    steps: int
    samples: int
    metric: str


@dataclass(frozen=True)
class Evaluation:
    """Results of :func:`evaluate`."""

    scores: dict[Key, Tensor]
    """The metric of every prompt ``[B]``, averaged over the answers of the prompt."""
    backend: str
    decode_seconds: float
    unstable: Tensor
    """``[B]`` bool: prompts whose noise-free chain diverges, spectral radius of I - P S above 1."""


def budgets(samples: int) -> list[int]:
    """1, 2, 4, ... up to ``samples``, and ``samples`` itself."""
    return [*(2**i for i in range((samples - 1).bit_length())), samples]


def evaluate(
    decoder: StochasticDecoder,
    prompts: Callable[[int, int], Prompts],
    count: int,
    *,
    steps: Sequence[int],
    samples: int,
    seed: int,
    backend: str = "auto",
    progress: Callable[[float], None] = lambda share: None,
    chunk: int = CHUNK,
    bank: int = BANK,
) -> Evaluation:
    """Scores of every technique: at the last step for all budgets, at the other steps for all samples.

    A technique's score at budget k is its mean over ceil(N / k) groups of k samples, which together
    hold all N samples; where k does not divide N the last two groups overlap. The result does not
    depend, to the bit, on ``chunk`` and ``bank``.

    Args:
        decoder: transformer and rule.
        prompts: the prompts ``start`` to ``stop - 1``.
        count: number of prompts.
        steps: asked steps, at least one.
        samples: N, at least 1.
        seed: of the decode and of the coins that decide ties.
        backend: see :func:`ttc_fast.decode`.
        progress: called with the share of the work that is done, from 0 to 1.
        chunk: coefficients decoded at a time.
        bank: coefficients of candidates held at a time; one prompt's candidates are the least.
    """
    samples = check.integer("samples", samples, 1, 2**32)
    steps = sorted(set(steps))
    if not steps:
        raise ValueError("steps: expected at least one step, got none")
    weights = decoder.model.V
    backend = resolve_backend(backend, weights.dtype, weights.device, decoder.model.dim)
    dim = decoder.model.dim
    per_prompt = len(steps) * samples * dim
    _check_memory(per_prompt * weights.element_size())
    noise_free = StochasticDecoder(decoder.model, decoder.rule.greedy())
    scores: defaultdict[Key, list[Tensor]] = defaultdict(list)
    unstable, seconds = [], 0.0
    for b in ordered.tiles(count, bank // per_prompt):
        part = prompts(b.start, b.stop)
        thoughts = part.x.new_empty(len(steps), len(part), samples, dim)
        for n in ordered.tiles(samples, chunk // (len(part) * dim)):
            began = time.perf_counter()
            thoughts[:, :, n] = decoder(
                part, steps=steps, samples=n.stop - n.start, seed=seed, first_sample=n.start, backend=backend
            ).thoughts
            seconds += time.perf_counter() - began
            progress((b.start + len(part) * n.stop / samples) / count)
        greedy = noise_free(part, steps=steps, samples=1, backend=backend).thoughts[:, :, 0]
        for i, step in enumerate(steps):
            sizes = budgets(samples) if step == max(steps) else [samples]
            for key, score in _scores(part, decoder.rule, thoughts[i], greedy[i], step, sizes, seed):
                scores[key].append(score.cpu())
        unstable.append(_diverges(decoder.model.prefill(part.x, part.y)).cpu())
    return Evaluation({k: torch.cat(v) for k, v in scores.items()}, backend, seconds, torch.cat(unstable))


def _scores(
    part: Prompts, rule: Rule, w: Tensor, greedy: Tensor, step: int, sizes: Sequence[int], seed: int
) -> Iterator[tuple[Key, Tensor]]:
    """Scores ``[b]`` of the candidates ``w [b, N, d]`` of one step, for each budget, technique and metric."""
    binary = isinstance(rule, BernoulliSampling)
    metrics = _metrics(part, binary)
    loss = _measure(techniques.in_context_loss, part, w)
    error = None if part.w_star is None else _measure(techniques.squared_error, part, w)
    fixed: dict[str, dict[str, Tensor]] = {}
    for size in sizes:
        first = groups(torch.arange(w.shape[1], device=w.device)[None], size)[0, :, 0]
        judged = None if error is None else groups(error, size)
        candidates = Candidates(groups(w, size), groups(loss, size), judged, greedy, _Coins(part, first, step, seed))
        for name, technique in TECHNIQUES.items():
            if (technique.binary_only and not binary) or (technique.needs_truth and error is None):
                continue
            results = fixed.get(name)
            if results is None:
                answers = technique.answer(candidates)
                results = {m: ordered.tree_mean(_measure(f, part, answers), 1) for m, f in metrics.items()}
                if error is None and name == "single" and w.shape[1] > 1:
                    results["disagreement"] = ordered.tree_mean(techniques.disagreement(answers), 1)
                if not technique.uses_budget:
                    fixed[name] = results
            for metric, result in results.items():
                yield Key(name, step, size, metric), result


def _measure(metric: techniques.Metric, part: Prompts, answers: Tensor) -> Tensor:
    """The metric of every answer ``[b, A, d]``, tile by tile, since a tile's temporaries stay in the cache."""
    b, count, dim = answers.shape
    tiles = ordered.tiles(count, TILE // (b * dim))
    return torch.cat([metric(part, answers[:, a]) for a in tiles], 1)


def groups(x: Tensor, size: int) -> Tensor:
    """``[b, N, ...]`` as ceil(N / size) groups ``[b, G, size, ...]`` that hold all of it; where ``size``
    does not divide N the last group reaches back into the one before."""
    samples = x.shape[1]
    whole = x[:, : samples - samples % size].unflatten(1, (-1, size))
    return torch.cat((whole, x[:, None, samples - size :]), 1) if samples % size else whole


@dataclass(frozen=True)
class _Coins:
    """Fair coins for ties; a group is named by its first sample, a step has its word as in the decode."""

    part: Prompts
    first: Tensor
    """First sample of every group ``[G]``."""
    step: int
    seed: int

    def __call__(self, tied: Tensor) -> Tensor:
        return torch.cat([self._toss(*index.unbind(1)) for index in tied.nonzero().split(TILE)])

    def _toss(self, prompt: Tensor, group: Tensor, coordinate: Tensor) -> Tensor:
        counter = rng.counter(
            rng.Stream.TIES,
            prompt=self.part.first + prompt,
            sample=self.first[group],
            coordinate=coordinate,
            block=self.step // rng.STEPS_PER_BLOCK,
        )
        return rng.philox(counter, self.seed)[self.step % rng.STEPS_PER_BLOCK] >> 31


def _metrics(part: Prompts, binary: bool) -> dict[str, techniques.Metric]:
    """The metrics that can be told of answers to ``part``, by name."""
    if part.w_star is None:
        return {"in_context_loss": techniques.in_context_loss}
    metrics: dict[str, techniques.Metric] = {
        "squared_error": techniques.squared_error,
        "prediction_risk": techniques.prediction_risk,
    }
    if binary:
        metrics |= {"hamming": techniques.hamming, "exact_recovery": techniques.exact_recovery}
    return metrics


def _diverges(state: Tensor) -> Tensor:
    """Whether the spectral radius of I - P S is above 1, up to the rounding of float32: ``[b]``."""
    eye = torch.eye(state.shape[1], dtype=state.dtype, device=state.device)
    radius: Tensor = torch.linalg.eigvals(state[:, :, :-1] + eye).abs().amax(1)
    return radius > 1 + 1e-4


def _check_memory(needed: int) -> None:
    """One prompt's candidates must fit; better an error now than a killed process later."""
    try:
        physical = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # not known on this system
        return
    if needed > physical / 4:
        raise ValueError(
            f"samples: the candidates of one prompt need {needed / 1e6:.1f} MB, more than a quarter of this "
            f"machine's {physical / 1e6:.1f} MB; ask for fewer samples or steps"
        )
