"""The stages of an evaluation: decode a bank of candidates, apply the techniques to it, collect a table."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from ..decoding.backends import require_reference, resolve_backend
from ..estimators.budgets import powers_of_two
from ..estimators.table import Key, Table
from ..models.decoder import StochasticDecoder
from ..numerics import check, rng, sums
from ..numerics.progress import Report
from ..numerics.protocols import described
from ..tasks.metrics import Metric
from ..tasks.prompts import Prompts
from ..techniques.base import Chains, Technique, Work
from ..techniques.verifiers import Verifier, as_verifier, check_scores
from .bank import Bank, MetricValues
from .subsets import SUBSETS

CHUNK = 2**20
"""Coefficients decoded between two reports of progress."""

BANK = 2**25
"""Coefficients of candidates held at a time, as far as one prompt's candidates allow: 128 MB in float32."""


@dataclass(frozen=True)
class Evaluation:
    """A table, and facts of how it was made that do not belong to the figures."""

    table: Table
    backend: str
    decode_seconds: float
    unstable: Tensor
    """``[P]`` bool: prompts whose noise-free chain diverges, spectral radius of I - P S above 1."""


@dataclass(frozen=True)
class Plan:
    """What is asked for, checked."""

    decoder: StochasticDecoder
    steps: tuple[int, ...]
    samples: int
    budgets: tuple[int, ...]
    seed: int
    techniques: Mapping[str, Technique]
    asked: tuple[str, ...]
    """Names of all techniques, applicable or not."""
    verifier: Verifier
    backend: str
    method: Literal["stepwise", "exact"]
    metrics: Mapping[str, Metric]
    """The task's own."""

    @classmethod
    def checked(
        cls,
        decoder: StochasticDecoder,
        steps: int | Sequence[int],
        samples: int,
        budgets: Sequence[int] | None,
        seed: int,
        techniques: Mapping[str, Technique],
        verifier: Verifier,
        backend: str,
        method: Literal["stepwise", "exact"],
        metrics: Mapping[str, Metric],
    ) -> Plan:
        """What :func:`ttc_fast.evaluate` is asked for, or the error of the first argument that is not as it says.

        Args:
            decoder, steps, samples, budgets, seed, techniques, verifier, backend, method: as there.
            metrics: the task's own.
        """
        samples = check.integer("samples", samples, 1, 2**32)
        ordered = tuple(sorted({check.integer("steps", t, 0, 2**34) for t in check.one_or_more("steps", steps)}))
        if not ordered:
            raise ValueError("steps: expected at least one step, got none")
        ks = (
            powers_of_two(samples)
            if budgets is None
            else [check.integer("budgets", k, 1, samples) for k in check.one_or_more("budgets", budgets)]
        )
        if not ks:
            raise ValueError("budgets: expected at least one, got none")
        binary = decoder.rule.binary
        used = {name: technique for name, technique in techniques.items() if binary or not technique.binary_only}
        check.choice("method", method, ("stepwise", "exact"))
        resuming = [name for name, technique in used.items() if technique.search is not None and technique.resumes]
        if method == "exact" and resuming:
            raise ValueError(
                f"method: expected 'stepwise' for techniques that resume chains ({', '.join(resuming)}), got 'exact'; "
                "leave them out, or the method"
            )
        seed = check.integer("seed", seed, 0, 2**64 - 1)
        plan = cls(
            decoder, ordered, samples, tuple(sorted(set(ks))), seed, used, tuple(techniques), verifier, backend, method,
            metrics,
        )  # fmt: skip
        _check_memory(plan.coefficients * 4)
        return plan

    @property
    def kind(self) -> str:
        return "binary" if self.decoder.rule.binary else "continuous"

    @property
    def coefficients(self) -> int:
        """Of one prompt's candidates."""
        return len(self.steps) * self.samples * self.decoder.model.dim

    def facts(self) -> dict[str, str]:
        """What tables must agree on to be put together."""
        return {"rng_layout": rng.LAYOUT, "seed": str(self.seed), "verifier": described(self.verifier)}

    def budgets_of(self, technique: Technique) -> tuple[int, ...]:
        return self.budgets if technique.uses_budget else (1,)


@dataclass
class Share:
    """Progress within one part of the prompts."""

    report: Report
    kind: str
    before: float
    size: float

    def __call__(self, share: float) -> None:
        self.report(self.kind, self.before + self.size * share)


@dataclass(frozen=True)
class DecodedBank:
    """The candidates of some prompts at all asked steps: what the first stage makes."""

    prompts: Prompts
    """With all examples."""
    seen: Prompts
    """As the chains saw them."""
    state: Any
    """What the model made of ``seen``."""
    thoughts: Tensor
    """``[len(steps), b, N, d]``."""
    greedy: Tensor
    """The noise-free chain ``[len(steps), b, d]``."""
    backend: str
    seconds: float
    """Of the decode of ``thoughts``."""


def decode_bank(
    decoder: StochasticDecoder,
    prompts: Prompts,
    *,
    steps: Sequence[int],
    samples: int,
    seed: int = 0,
    verifier: Verifier | None = None,
    backend: str = "auto",
    method: Literal["stepwise", "exact"] = "stepwise",
    chunk: int = CHUNK,
    report: Callable[[float], None] = lambda share: None,
) -> DecodedBank:
    """The first stage: N chains of every prompt, and one without noise. The prompts are read once.

    Args:
        decoder, steps, samples, seed, verifier, backend, method, chunk: see :func:`evaluate`.
        prompts: those of one bank.
        report: called with the share that is done.

    Returns:
        The candidates.

    Raises:
        TypeError, ValueError: see :func:`evaluate`.
    """
    seen = as_verifier(verifier).context(prompts)
    state, start = decoder.model.prefill(seen), decoder.start(seen)
    linear = getattr(state, "linear", None)
    if linear is None:
        name = require_reference(backend, "fp32", f"the model {type(decoder.model).__name__}")
    else:
        name = resolve_backend(backend, linear.dtype, linear.device, linear.shape[1])
    if decoder.rule.encode(max(steps)) is None:
        name = require_reference(backend, "fp32", f"the rule {described(decoder.rule)}")
    thoughts, seconds = start.new_empty(len(steps), len(seen), samples, start.shape[1]), 0.0
    shared: dict[str, Any] = {"steps": steps, "first_prompt": prompts.first, "backend": name}
    for n in sums.tiles(samples, chunk // start.numel()):
        began = time.perf_counter()
        decoder.decode(
            state, start, samples=n.stop - n.start, first_sample=n.start, seed=seed, method=method,
            out=thoughts[:, :, n], **shared,
        )  # fmt: skip
        seconds += time.perf_counter() - began
        report(n.stop / samples)
    noise_free = StochasticDecoder(decoder.model, decoder.rule.greedy())
    if decoder.rule.greedy().encode(max(steps)) is None or linear is None:
        shared["backend"] = "auto"
    greedy = noise_free.decode(state, start, samples=1, **shared).thoughts[:, :, 0]
    return DecodedBank(prompts, seen, state, thoughts, greedy, name, seconds)


@dataclass
class _Figures:
    """What the techniques made of one part of the prompts: the second stage fills it, the third empties it."""

    keys: list[Key] = field(default_factory=list)
    values: list[Tensor] = field(default_factory=list)
    work: list[Work] = field(default_factory=list)

    def add(self, plan: Plan, technique: str, step: int, found: MetricValues, work: Sequence[Work]) -> None:
        """Metrics with their values at every budget ``[K, b]``, and the work at every budget."""
        for metric, values in found.items():
            for k, budget in enumerate(plan.budgets_of(plan.techniques[technique])):
                self.keys.append(Key(plan.kind, technique, step, budget, metric))
                self.values.append(values[k])
                self.work.append(work[k])

    def table(self, plan: Plan, prompts: Prompts) -> Table:
        """The third stage."""
        count = len(prompts)
        spent = np.array(
            [[np.broadcast_to(np.asarray(part, dtype=np.float64), (count,)) for part in w] for w in self.work]
        )
        return Table(
            tuple(self.keys),
            prompts.first + np.arange(count),
            torch.stack(self.values).cpu().double().numpy(),
            thoughts=spent[:, 0],
            scores=spent[:, 1],
            about=plan.facts(),
        )


def evaluate_part(plan: Plan, prompts: Prompts, chunk: int, share: Share) -> Evaluation:
    """All stages for some prompts.

    Args:
        plan: what is asked for.
        prompts: those of one bank.
        chunk: coefficients decoded at a time.
        share: told what share is done.
    """
    _check_applicable(plan, prompts.w_star is not None)
    searches = sum(technique.search is not None for technique in plan.techniques.values())
    stages = 1 + searches * len(plan.steps)
    bank = decode_bank(
        plan.decoder, prompts, steps=plan.steps, samples=plan.samples, seed=plan.seed, verifier=plan.verifier,
        backend=plan.backend, method=plan.method, chunk=chunk, report=lambda done: share(done / stages),
    )  # fmt: skip
    figures, done = _Figures(), 1
    for i, step in enumerate(plan.steps):
        candidates = _candidates(plan, bank, i)
        chains = Chains(
            plan.decoder, prompts, bank.state, plan.steps[: i + 1], bank.thoughts[: i + 1], 0, plan.seed,
            plan.verifier, bank.backend,
        )  # fmt: skip
        for name, technique in plan.techniques.items():
            if technique.search is None:
                found = candidates.scores(technique, plan.budgets)
                figures.add(plan, name, step, found, _work_of_answers(plan, technique, step))
            else:
                figures.add(plan, name, step, *_search(technique, chains, plan.budgets, candidates))
                done += 1
                share(done / stages)
    return Evaluation(figures.table(plan, prompts), bank.backend, bank.seconds, diverges(bank.state, prompts).cpu())


def _candidates(plan: Plan, bank: DecodedBank, i: int) -> Bank:
    """The candidates at the step number ``i``, with their scores."""
    score: Tensor | str | None = plan.verifier.measured_as
    if score is None:
        score = plan.verifier.score_chain(bank.prompts, bank.thoughts[: i + 1], plan.steps[: i + 1])
        check_scores(score, bank.thoughts[i])
    return Bank(
        bank.seen, bank.thoughts[i], score, bank.greedy[i], binary=plan.decoder.rule.binary, step=plan.steps[i],
        seed=plan.seed, extra=plan.metrics,
    )  # fmt: skip


def _work_of_answers(plan: Plan, technique: Technique, step: int) -> list[Work]:
    return [Work(step * k, k if technique.uses_score else 0) for k in plan.budgets_of(technique)]


def _search(
    technique: Technique, chains: Chains, budgets: Sequence[int], bank: Bank
) -> tuple[MetricValues, list[Work]]:
    """Metrics with their values at every budget ``[K, b]``, means over repeats, and what these cost on average."""
    if technique.search is None:
        raise TypeError(f"{technique.name}: expected a search, got none")
    values: dict[str, list[Tensor]] = {}
    work = []
    for size in budgets:
        firsts = range(0, chains.samples - size + 1, size)[:SUBSETS]
        found = [
            technique.search(replace(chains, thoughts=chains.thoughts[:, :, n : n + size], first_sample=n))
            for n in firsts
        ]
        for result in found:
            _check_found(technique, result, chains)
        answers = torch.stack([result.answer for result in found], 1)
        for metric, value in bank.measure(answers, bits=technique.binary_only).items():
            values.setdefault(metric, []).append(value)
        spent = [torch.stack([torch.as_tensor(r.work[i]).cpu().double() for r in found]).mean(0) for i in (0, 1)]
        work.append(Work(*(part.numpy() for part in spent)))
    return {metric: torch.stack(value) for metric, value in values.items()}, work


def _check_found(technique: Technique, result: object, chains: Chains) -> None:
    wanted = [len(chains.prompts), chains.thoughts.shape[3]]
    answer = getattr(result, "answer", None)
    if answer is None or not hasattr(result, "work"):
        raise TypeError(f"technique: expected a SearchResult of {technique.name!r}, got {type(result).__name__}")
    if list(answer.shape) != wanted:
        raise ValueError(
            f"technique: expected answers [B, d] = {wanted} of {technique.name!r}, got {list(answer.shape)}"
        )


def diverges(state: Any, prompts: Prompts) -> Tensor:
    """Whether the spectral radius of I - P S is above 1, up to the rounding of float32: ``[b]``; never where the state
    is not linear.

    Args:
        state: of ``model.prefill``.
        prompts: the b prompts.
    """
    linear = getattr(state, "linear", None)
    if linear is None:
        return torch.zeros(len(prompts), dtype=torch.bool)
    eye = torch.eye(linear.shape[1], dtype=linear.dtype, device=linear.device)
    radius: Tensor = torch.linalg.eigvals(linear[:, :, :-1] + eye).abs().amax(1)
    return radius > 1 + 1e-4


def _check_applicable(plan: Plan, known: bool) -> None:
    """At least one technique must apply; better an error now than empty tables later."""
    possible = [t for t in plan.techniques.values() if t.search is not None or known or not t.needs_truth]
    if not possible:
        kind = f"{plan.kind} coefficients{'' if known else ' without w_star'}"
        raise ValueError(f"technique: expected one for {kind}, got {', '.join(plan.asked) or 'none'}")


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
