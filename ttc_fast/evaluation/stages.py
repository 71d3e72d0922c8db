"""The stages of an evaluation: decode a bank of candidates, apply the techniques to it, collect a table."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from ..decoding.attention_decode import attention_backend
from ..decoding.backends import require_reference, resolve_backend
from ..estimators.table import Key, Table
from ..models.decoder import StochasticDecoder
from ..numerics import sums
from ..numerics.clock import Clock
from ..numerics.progress import Report
from ..numerics.protocols import described
from ..tasks.prompts import Prompts
from ..techniques.base import Chains, Technique, Work
from ..techniques.verifiers import Verifier, as_verifier, check_numbers, check_scores
from .bank import Bank, MetricValues
from .plan import Plan
from .searches import repeats_of, searched

CHUNK = {"cpu": 2**20, "cuda": 2**26}
"""Coefficients decoded between two reports of progress, by the kind of device: on a GPU one launch."""
BANK = {"cpu": 2**25, "cuda": 2**28}
"""Coefficients of candidates held at a time, as far as one prompt's allow: 128 MB in float32, on a GPU 1 GB."""

TOGETHER = 2**24
"""Candidates up to which a GPU measures those of all steps at once."""

ALL_EXAMPLES = "all examples"
"""Fact ``context`` of a table whose chains saw everything."""


@dataclass(frozen=True)
class Evaluation:
    """A table, and facts of how it was made that do not belong to the figures."""

    table: Table
    backend: str
    decode_seconds: float
    """Of the decode alone, by the device's own clock."""
    compile_seconds: float
    unstable: Tensor
    """``[P]`` bool: prompts whose chain diverges, see :meth:`ttc_fast.Rule.diverges`."""


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
    clock: Clock
    """Of the decode of ``thoughts``."""
    compile_seconds: float
    """Of a first decode of one sample, which compiles kernels where need be: no part of the clock's time."""


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
    chunk: int | None = None,
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
    linear, attention = getattr(state, "linear", None), getattr(state, "attention", None)
    if linear is not None:
        name = resolve_backend(backend, linear.dtype, linear.device, linear.shape[1])
    elif attention is not None:
        name = attention_backend(attention, start, backend)
    else:
        name = require_reference(backend, "fp32", f"the model {type(decoder.model).__name__}")
    if decoder.rule.encode(max(steps)) is None:
        name = require_reference(backend, "fp32", f"the rule {described(decoder.rule)}")
    thoughts = start.new_empty(len(steps), len(seen), samples, start.shape[1])
    shared: dict[str, Any] = {"steps": steps, "first_prompt": prompts.first, "backend": name}
    if linear is not None and decoder.first is None and linear.device.type != "cpu":
        shared["checked"] = True  # the model has checked its state, w_0 is 0, and a GPU would be waited for
    clock, began, compiled = Clock(thoughts.device), time.perf_counter(), 0.0
    if name == "triton":
        first = decoder.decode(state, start, samples=1, seed=seed, method=method, **shared | {"backend": backend})
        name = shared["backend"] = first.backend
        compiled = time.perf_counter() - began
    for n in sums.tiles(samples, (chunk or of_device(CHUNK, start.device)) // start.numel()):
        with clock.running():
            decoder.decode(
                state, start, samples=n.stop - n.start, first_sample=n.start, seed=seed, method=method,
                out=thoughts[:, :, n], **shared,
            )  # fmt: skip
        report(n.stop / samples)
    noise_free = StochasticDecoder(decoder.model, decoder.rule.greedy())
    if decoder.rule.greedy().encode(max(steps)) is None:
        shared["backend"] = "auto"
    greedy = noise_free.decode(state, start, samples=1, **shared).thoughts[:, :, 0]
    return DecodedBank(prompts, seen, state, thoughts, greedy, name, clock, compiled)


def of_device(sizes: Mapping[str, int], device: torch.device) -> int:
    """The size for a device; one that is not listed counts as the CPU.

    Args:
        sizes, device: by the kind of device, and that one.
    """
    return sizes.get(device.type, sizes["cpu"])


@dataclass
class _Figures:
    """What the techniques made of one part of the prompts: the second stage fills it, the third empties it."""

    keys: list[Key] = field(default_factory=list)
    values: list[Tensor] = field(default_factory=list)
    work: list[Work] = field(default_factory=list)
    repeats: list[int] = field(default_factory=list)
    risk_of_error: float | None = None

    def add(self, plan: Plan, technique: str, step: int, found: MetricValues, work: Sequence[Work]) -> None:
        """Metrics with their values at every budget ``[K, b]``, and the work at every budget."""
        budgets = plan.budgets_of(plan.techniques[technique])
        repeats = [repeats_of(plan.techniques[technique], plan.samples, budget) for budget in budgets]
        for metric, values in found.items():
            self.keys += [Key(plan.kind, technique, step, budget, metric) for budget in budgets]
            self.values.append(values)
            self.work += work
            self.repeats += repeats

    def table(self, plan: Plan, prompts: Prompts, context: str) -> Table:
        """The third stage."""
        spent = np.empty((len(self.work), 2, len(prompts)))
        for row, (thoughts, scores) in zip(spent, self.work):
            row[0], row[1] = thoughts, scores
        values = torch.cat(self.values).cpu()
        if self.risk_of_error is not None:
            values[[key.metric == "prediction_risk" for key in self.keys]] *= self.risk_of_error
        return Table(
            tuple(self.keys),
            prompts.first + np.arange(len(prompts)),
            values.double().numpy(),
            thoughts=spent[:, 0],
            scores=spent[:, 1],
            about=plan.facts() | {"context": context},
            repeats=np.repeat(np.array(self.repeats, dtype=np.float64)[:, None], len(prompts), 1),
        )


def evaluate_part(plan: Plan, prompts: Prompts, chunk: int | None, share: Share) -> Evaluation:
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
    for group in _steps_together(plan, bank):
        candidates = _candidates(plan, bank, group)
        figures.risk_of_error = candidates.risk_of_error
        found = {
            name: _by_step(candidates.scores(technique, plan.budgets), len(group))
            for name, technique in plan.techniques.items()
            if technique.search is None
        }
        for j, i in enumerate(group):
            for name, technique in plan.techniques.items():
                if technique.search is None:
                    result = found[name][j], _work_of_answers(plan, technique, plan.steps[i])
                else:
                    chains = _chains(plan, bank, i)
                    result = searched(technique, chains, plan.budgets_of(technique), candidates)
                    done += 1
                    share(done / stages)
                figures.add(plan, name, plan.steps[i], *result)
    linear = getattr(bank.state, "linear", None)
    # A GPU is waited for once, when the table is copied, which comes after the state.
    copied = None if linear is None else linear.to("cpu", non_blocking=True)
    table = figures.table(plan, prompts, _context(bank))
    unstable = torch.zeros(len(prompts), dtype=torch.bool) if copied is None else plan.decoder.rule.diverges(copied)
    return Evaluation(table, bank.backend, bank.clock.seconds(), bank.compile_seconds, unstable)


def _context(bank: DecodedBank) -> str:
    """What the chains saw: theory needs to know."""
    seen, whole = bank.seen, bank.prompts
    if seen is whole:
        return ALL_EXAMPLES
    same = seen.x.shape == whole.x.shape and torch.equal(seen.x, whole.x) and torch.equal(seen.y, whole.y)
    return ALL_EXAMPLES if same else "without what the verifier holds out"


def _chains(plan: Plan, bank: DecodedBank, i: int) -> Chains:
    """Where a search at the step number ``i`` begins."""
    return Chains(
        plan.decoder, bank.prompts, bank.state, plan.steps[: i + 1], bank.thoughts[: i + 1], 0, plan.seed,
        plan.verifier, bank.backend,
    )  # fmt: skip


def _by_step(values: MetricValues, steps: int) -> list[MetricValues]:
    """Metrics with their values at every budget ``[K, S b]``, of each of S steps."""
    parts = {metric: value.chunk(steps, 1) for metric, value in values.items()}
    return [{metric: part[j] for metric, part in parts.items()} for j in range(steps)]


def _steps_together(plan: Plan, bank: DecodedBank) -> list[range]:
    """All steps at once on a GPU, where a launch may cost more than its work; one by one where it does not, and where
    a search, or a metric of the user's, must see the prompts as they are."""
    steps, thoughts = len(plan.steps), bank.thoughts
    own = plan.metrics or any(technique.search is not None for technique in plan.techniques.values())
    together = thoughts.device.type == "cuda" and not own and thoughts[..., 0].numel() <= TOGETHER
    return [range(steps)] if together else [range(i, i + 1) for i in range(steps)]


def _candidates(plan: Plan, bank: DecodedBank, group: range) -> Bank:
    """The candidates at the steps number ``group``, with their scores."""
    score: Tensor | str | None = plan.verifier.measured_as
    if score is None:
        scores = []
        for i in group:
            scores.append(plan.verifier.score_chain(bank.prompts, bank.thoughts[: i + 1], plan.steps[: i + 1]))
            check_scores(scores[-1], bank.thoughts[i])
            check_numbers(scores[-1], bank.thoughts[i])
        score = scores[0] if len(scores) == 1 else torch.cat(scores)
    thoughts, greedy = (x[group.start : group.stop].flatten(0, 1) for x in (bank.thoughts, bank.greedy))
    return Bank(
        bank.seen, thoughts, score, greedy, binary=plan.decoder.rule.binary, steps=[plan.steps[i] for i in group],
        seed=plan.seed, extra=plan.metrics,
    )  # fmt: skip


def _work_of_answers(plan: Plan, technique: Technique, step: int) -> list[Work]:
    return [Work(step * k, k if technique.uses_score else 0) for k in plan.budgets_of(technique)]


def _check_applicable(plan: Plan, known: bool) -> None:
    """At least one technique must apply; better an error now than empty tables later."""
    possible = [t for t in plan.techniques.values() if t.search is not None or known or not t.needs_truth]
    if not possible:
        kind = f"{plan.kind} coefficients{'' if known else ' without w_star'} under {described(plan.decoder.rule)}"
        raise ValueError(f"technique: expected one for {kind}, got {', '.join(plan.asked) or 'none'}")
