"""What an evaluation is asked for, checked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ..decoding.rules import Rule
from ..estimators.budgets import powers_of_two
from ..models.decoder import StochasticDecoder, check_decoder
from ..numerics import check, memory, rng
from ..numerics.protocols import described
from ..tasks.base import Source, Task
from ..tasks.metrics import Metric, further
from ..tasks.prompts import Prompts, check_prompts
from ..techniques.base import Technique
from ..techniques.registry import Part, chosen
from ..techniques.verifiers import ScoreFunction, Verifier, as_verifier


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
    """Beside those that every prompt has."""

    @classmethod
    def checked(
        cls,
        decoder: StochasticDecoder,
        prompts: Source,
        *,
        steps: int | Sequence[int],
        samples: int,
        budgets: Sequence[int] | None = None,
        seed: int = 0,
        techniques: Mapping[str, Part] | Iterable[Part] | Part | None = None,
        verifier: Verifier | ScoreFunction | None = None,
        backend: str = "auto",
        method: Literal["stepwise", "exact"] = "stepwise",
        metrics: Mapping[str, Metric] | Iterable[str] | None = None,
    ) -> Plan:
        """What :func:`ttc_fast.evaluate` is asked for, or the error of the first argument that is not as it says.

        Args:
            decoder, prompts, steps, samples, budgets, seed, techniques, verifier, backend, method, metrics: as there.
        """
        check_decoder(decoder)
        source, asked = as_source(prompts), chosen(techniques)
        samples = check.integer("samples", samples, 1, 2**32)
        check.choice("method", method, ("stepwise", "exact"))
        used = {name: part for name, part in asked.items() if _applies(part, decoder.rule)}
        _check_resuming(used, method)
        task: Task | None = getattr(source, "task", None)
        seed = check.integer("seed", seed, 0, 2**64 - 1)
        measured = ({} if task is None else dict(task.metrics())) | further(metrics)
        plan = cls(
            decoder, _steps(steps), samples, _budgets(budgets, samples), seed, used, tuple(asked),
            verifier_for(source, verifier), backend, method, measured,
        )  # fmt: skip
        memory.check_memory(
            plan.coefficients * 4, "samples: the candidates of one prompt", "ask for fewer samples or steps", share=0.25
        )
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
        start = getattr(self.decoder, "first", None)
        facts = {"rng_layout": rng.LAYOUT, "seed": str(self.seed), "verifier": described(self.verifier)}
        return facts if start is None else facts | {"start": described(start)}

    def budgets_of(self, technique: Technique) -> tuple[int, ...]:
        return self.budgets if technique.uses_budget else (1,)


def _applies(technique: Technique, rule: Rule) -> bool:
    return (rule.binary or not technique.binary_only) and technique.applicable(rule)


def _steps(steps: int | Sequence[int]) -> tuple[int, ...]:
    """Ascending, each once."""
    ordered = tuple(sorted({check.integer("steps", t, 0, 2**34) for t in check.one_or_more("steps", steps)}))
    if not ordered:
        raise ValueError("steps: expected at least one step, got none")
    return ordered


def _budgets(budgets: Sequence[int] | None, samples: int) -> tuple[int, ...]:
    """Ascending, each once."""
    if budgets is None:
        return tuple(powers_of_two(samples))
    ordered = tuple(sorted({check.integer("budgets", k, 1, samples) for k in check.one_or_more("budgets", budgets)}))
    if not ordered:
        raise ValueError("budgets: expected at least one, got none")
    return ordered


def _check_resuming(techniques: Mapping[str, Technique], method: str) -> None:
    resuming = [name for name, technique in techniques.items() if technique.search is not None and technique.resumes]
    if method == "exact" and resuming:
        raise ValueError(
            f"method: expected 'stepwise' for techniques that resume chains ({', '.join(resuming)}), got 'exact'; "
            "leave them out, or the method"
        )


def as_source(prompts: Any) -> Source:
    """``prompts`` if they can be divided into parts.

    Raises:
        TypeError: they cannot, such as a task.
        ValueError: there is none.
    """
    part = getattr(prompts, "part", None)
    if isinstance(prompts, type) or not (callable(part) and hasattr(prompts, "__len__")):
        hint = "; sample the task: task.sample(64), or task.prompts(64) part by part" * hasattr(prompts, "sample")
        raise TypeError(f"prompts: expected Prompts, got {type(prompts).__name__}{hint}")
    if len(prompts) == 0:
        raise ValueError("prompts: expected at least one, got none")
    source: Source = prompts
    return source


def example(source: Source) -> Prompts:
    """The first prompt alone.

    Raises:
        TypeError: the parts of the source are no prompts.
    """
    first = source.part(0, 1)
    check_prompts(first)
    return first


def verifier_for(source: Source, verifier: Verifier | ScoreFunction | None) -> Verifier:
    """The verifier of some prompts.

    Args:
        source: the prompts.
        verifier: as asked for; None is minus the task's own in-context loss, if it has one, else that of squares.
    """
    task: Task | None = getattr(source, "task", None)
    loss = None if task is None else task.in_context_loss
    if verifier is None and loss is not None:
        return as_verifier(lambda prompts, w: -loss(prompts, w))
    return as_verifier(verifier)
