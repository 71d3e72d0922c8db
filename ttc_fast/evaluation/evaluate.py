"""Decode chunk by chunk, apply the techniques, and measure: results per prompt."""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from ..decoding.backends import resolve_backend
from ..decoding.rules import BernoulliSampling
from ..models.decoder import StochasticDecoder
from ..numerics import check, sums
from ..tasks.prompts import Prompts
from ..techniques.aggregate import DEFAULT, TECHNIQUES, Technique
from ..techniques.search import Chains, Search, Work
from ..techniques.verifiers import InContextLoss, Verifier, context
from .bank import SUBSETS, Bank

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
    work: dict[Key, Work]
    """What the technique spent on a prompt, the mean over prompts where they differ."""
    backend: str
    decode_seconds: float
    unstable: Tensor
    """``[B]`` bool: prompts whose noise-free chain diverges, spectral radius of I - P S above 1."""


def budgets(samples: int) -> list[int]:
    """1, 2, 4, ... up to ``samples``, and ``samples`` itself."""
    return [*(2**i for i in range((samples - 1).bit_length())), samples]


def _sizes(samples: int, last_step: bool) -> list[int]:
    """The budgets at a step."""
    return budgets(samples) if last_step else [samples]


def evaluate(
    decoder: StochasticDecoder,
    prompts: Callable[[int, int], Prompts],
    count: int,
    *,
    steps: Sequence[int],
    samples: int,
    seed: int,
    backend: str = "auto",
    method: Literal["stepwise", "exact"] = "stepwise",
    techniques: Mapping[str, Technique | Search] | None = None,
    verifier: Verifier | None = None,
    progress: Callable[[float], None] = lambda share: None,
    chunk: int = CHUNK,
    bank: int = BANK,
) -> Evaluation:
    """Scores of every technique: at the last step for all budgets, at the other steps for all samples.

    A technique's score at budget k is its mean over all subsets of k of the N samples, see
    ``subsets.py``. One that acts during the chain has k chains of its own, samples r k to (r + 1) k - 1 for up to
    :data:`ttc_fast.subsets.SUBSETS` repeats r, whose mean it is. The result does not depend, to the bit, on
    ``chunk`` and ``bank``.

    Args:
        decoder: transformer and rule.
        prompts: the prompts ``start`` to ``stop - 1``.
        count: number of prompts.
        steps: asked steps, at least one.
        samples: N, at least 1.
        seed: of the decode and of the coins that decide ties.
        backend: see :func:`ttc_fast.decode`.
        method: see :func:`ttc_fast.decode`; searches that resume chains do so step by step.
        techniques: by name; those that the rule or the prompts do not allow are left out. Default: the
            ones named in :data:`ttc_fast.techniques.DEFAULT`.
        verifier: what best-of-N and its kin trust; default :class:`ttc_fast.verifiers.InContextLoss`. Chains do not
            see the examples that it holds out.
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
    binary = isinstance(decoder.rule, BernoulliSampling)
    asked = {name: TECHNIQUES[name] for name in DEFAULT} if techniques is None else techniques
    chosen = {name: technique for name, technique in asked.items() if binary or not technique.binary_only}
    searches = {name: technique for name, technique in chosen.items() if isinstance(technique, Search)}
    if method == "exact":
        _check_stepwise(searches)
    verifier = InContextLoss() if verifier is None else verifier
    noise_free = StochasticDecoder(decoder.model, decoder.rule.greedy())
    results: defaultdict[tuple[str, int, str], list[Tensor]] = defaultdict(list)
    spent: defaultdict[tuple[str, int], list[Tensor]] = defaultdict(list)
    unstable, seconds = [], 0.0
    stages = 1 + len(searches) * len(steps)  # of the progress: the decode, and each search at each step
    for b in sums.tiles(count, bank // per_prompt):
        part = prompts(b.start, b.stop)
        seen = context(verifier, part)
        _check_applicable(asked, chosen, binary, part.w_star is not None)
        thoughts = part.x.new_empty(len(steps), len(part), samples, dim)
        for n in sums.tiles(samples, chunk // (len(part) * dim)):
            began = time.perf_counter()
            few = {"samples": n.stop - n.start, "first_sample": n.start, "seed": seed}
            thoughts[:, :, n] = decoder(seen, steps=steps, backend=backend, method=method, **few).thoughts
            seconds += time.perf_counter() - began
            progress((b.start + len(part) * n.stop / samples / stages) / count)
        greedy, done = noise_free(seen, steps=steps, samples=1, backend=backend).thoughts[:, :, 0], 1
        for i, step in enumerate(steps):
            sizes = _sizes(samples, step == max(steps))
            score = None if type(verifier) is InContextLoss else verifier(part, thoughts[i], step=step)
            candidates = Bank(seen, thoughts[i], score, greedy[i], binary=binary, step=step, seed=seed)
            chains = Chains(decoder, part, tuple(steps[: i + 1]), thoughts[: i + 1], 0, seed, verifier, backend)
            for name, technique in chosen.items():
                if isinstance(technique, Search):
                    found, work = _search(technique, chains, sizes, candidates)
                    spent[name, step].append(work)
                    done += 1
                    progress((b.start + len(part) * done / stages) / count)
                else:
                    found = candidates.scores(technique, sizes)
                for metric, values in found.items():
                    results[name, step, metric].append(values.cpu())
        unstable.append(_diverges(decoder.model.prefill(seen).linear).cpu())
    scores, work_of = {}, {}
    for (name, step, metric), of_parts in results.items():
        for k, size in enumerate(_sizes(samples, step == max(steps))):
            key = Key(name, step, size, metric)
            scores[key] = torch.cat([values[k] for values in of_parts])
            work_of[key] = _work(chosen[name], key, [work[k] for work in spent[name, step]])
    return Evaluation(scores, work_of, backend, seconds, torch.cat(unstable))


def _search(search: Search, chains: Chains, sizes: Sequence[int], bank: Bank) -> tuple[dict[str, Tensor], Tensor]:
    """Metrics with their values at every budget ``[K, b]``, means over repeats, and what these cost on average,
    (thoughts, scores) ``[K, b, 2]``."""
    values: defaultdict[str, list[Tensor]] = defaultdict(list)
    costs = []
    for size in sizes:
        firsts = range(0, chains.samples - size + 1, size)[:SUBSETS]
        found = [
            search.find(chains._replace(thoughts=chains.thoughts[:, :, n : n + size], first_sample=n)) for n in firsts
        ]
        answers = torch.stack([f.answer for f in found], 1)
        for metric, value in bank.measure(answers, bits=search.binary_only).items():
            values[metric].append(value)
        scores = torch.tensor([f.scores for f in found], dtype=torch.float64).expand(len(answers), -1)
        costs.append(torch.stack((torch.stack([f.thoughts.cpu().double() for f in found], 1), scores), 2).mean(1))
    return {metric: torch.stack(value) for metric, value in values.items()}, torch.stack(costs)


def _work(technique: Technique | Search, key: Key, spent: Sequence[Tensor]) -> Work:
    if isinstance(technique, Search):
        return Work(*sums.tree_mean(torch.cat(list(spent)), 0).tolist())
    samples = key.samples if technique.uses_budget else 1
    return Work(key.steps * samples, samples if technique.uses_score else 0)


def _check_stepwise(searches: Mapping[str, Search]) -> None:
    resuming = [name for name, search in searches.items() if search.resumes]
    if resuming:
        raise ValueError(
            f"method: expected 'stepwise' for techniques that resume chains ({', '.join(resuming)}), got 'exact'; "
            "leave them out, or the method"
        )


def _diverges(state: Tensor) -> Tensor:
    """Whether the spectral radius of I - P S is above 1, up to the rounding of float32: ``[b]``."""
    eye = torch.eye(state.shape[1], dtype=state.dtype, device=state.device)
    radius: Tensor = torch.linalg.eigvals(state[:, :, :-1] + eye).abs().amax(1)
    return radius > 1 + 1e-4


def _check_applicable(
    asked: Mapping[str, Technique | Search], chosen: Mapping[str, Technique | Search], binary: bool, known: bool
) -> None:
    """At least one technique must apply; better an error now than empty tables later."""
    if all(isinstance(technique, Technique) and technique.needs_truth and not known for technique in chosen.values()):
        kind = f"{'binary' if binary else 'continuous'} coefficients{'' if known else ' without w_star'}"
        raise ValueError(f"technique: expected one for {kind}, got {', '.join(asked) or 'none'}")


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
