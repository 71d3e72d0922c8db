"""What a technique is: many candidates in, one answer out, and the shortcuts that make it fast."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias

from torch import Tensor

from ..decoding.rules import Rule
from ..models.decoder import StochasticDecoder
from ..numerics import check
from ..tasks.prompts import Prompts
from .groups import Part
from .verifiers import Verifier


@dataclass(frozen=True)
class Candidates:
    """Groups of candidate answers; each group is one budget of samples."""

    coefficients: Tensor
    """``[B, G, k, d]``."""
    score: Tensor
    """A verifier's scores ``[B, G, k]``, higher is better."""
    error: Tensor | None
    """Squared error ``[B, G, k]``, which only an oracle that knows w* can see; None without w*."""
    greedy: Tensor
    """The noise-free decode ``[B, d]``."""
    coins: Callable[[Tensor], Tensor]
    """Random words in [0, 2^32) for ties, one for each True of a mask ``[B, G, d]``."""


class Work(NamedTuple):
    """What a technique spent on each prompt: numbers, or tensors ``[B]`` where prompts differ."""

    thoughts: Any
    """Thoughts decoded."""
    scores: Any
    """Scores asked of the verifier."""


@dataclass(frozen=True)
class SearchResult:
    """What every search returns; None is what it does not have."""

    answer: Tensor
    """``[B, d]``."""
    work: Work
    """``[B]`` each."""
    candidates: Tensor | None = None
    """The thoughts at the end ``[B, N, d]``."""
    score: Tensor | None = None
    """The answer's score ``[B]``."""
    log_weights: Tensor | None = None
    """Logarithms of the candidates' weights, which sum to 1: float64 ``[B, N]``."""
    log_evidence: Tensor | None = None
    """Estimate of ln E prod_t exp(beta score(w_t)), float64 ``[B]``; its exponential is unbiased."""
    effective_samples: Tensor | None = None
    """1 / sum of squared weights at every check before resampling, float64 ``[checks, B]``."""
    steps: Tensor | None = None
    """Step at which each prompt stopped ``[B]``."""
    samples: Tensor | None = None
    """Samples spent on each prompt ``[B]``."""
    decided: Tensor | None = None
    """Whether the search ended before the samples ran out ``[B]`` bool."""


@dataclass(frozen=True)
class Chains:
    """k chains of some prompts for a technique that acts on them: what they think if left alone, and what it takes
    to resume them."""

    decoder: StochasticDecoder
    prompts: Prompts
    """With all examples; the verifier may see them."""
    state: Any
    """What the model has made of the examples that the chains see."""
    steps: tuple[int, ...]
    """Ascending; the last one is that of the answer."""
    thoughts: Tensor
    """``[len(steps), B, k, d]``."""
    first_sample: int
    """Global index of the first chain."""
    seed: int
    verifier: Verifier
    backend: str

    @property
    def samples(self) -> int:
        """k."""
        return self.thoughts.shape[2]

    def arguments(self) -> dict[str, Any]:
        """The arguments that the searches share."""
        names = ("decoder", "prompts", "state", "seed", "first_sample", "verifier", "backend")
        return {name: getattr(self, name) for name in names} | {"steps": self.steps[-1]}


class Together(Protocol):
    """What a search may have beside its call: many small searches are slow one after the other."""

    def together(self, chains: Chains, parts: Sequence[Part]) -> tuple[Tensor, Work]:
        """What the search finds for each of G groups of the chains: answers ``[B, G, d]`` and work ``[B, G]``.

        Args:
            chains: N of them.
            parts: the groups.
        """


class Statistics(Protocol):
    """What a closed form may ask about the N candidates of every prompt: means over all subsets of k of them.

    Each gives metrics by name with their values at every budget ``[K, b]``; a metric that is not among them is
    estimated from random subsets.
    """

    def of_one(self) -> Mapping[str, Tensor]:
        """Of a single candidate ``[b]``."""

    def of_greedy(self) -> Mapping[str, Tensor]:
        """Of the noise-free decode ``[b]``."""

    def of_best(self, by: Literal["score", "error"], budgets: Sequence[int]) -> Mapping[str, Tensor]:
        """Of the candidate with the highest score, or the lowest error, among k.

        Args:
            by: what selects.
            budgets: the k.
        """

    def of_mean(self, budgets: Sequence[int]) -> Mapping[str, Tensor]:
        """Of the mean of k candidates."""

    def of_median(self, budgets: Sequence[int]) -> Mapping[str, Tensor]:
        """Of the median of k candidates, coefficient by coefficient."""

    def of_majority(self, budgets: Sequence[int]) -> Mapping[str, Tensor]:
        """Of the majority of k candidates, coefficient by coefficient."""


class NativeAnswer(NamedTuple):
    """The same technique in C++."""

    name: str
    """As ``group_answers`` of ``numerics/candidates.py`` knows it."""
    parameter: float = 0.0


Answer: TypeAlias = Callable[[Candidates], Tensor]
Ties: TypeAlias = Literal["drawn", "smallest"]
ClosedForm: TypeAlias = Callable[[Statistics, Sequence[int]], Mapping[str, Tensor]]


def _to_every_rule(rule: Rule) -> bool:
    return True


@dataclass(frozen=True)
class Technique:
    """A technique: a function from candidates to answers, or a search that acts during the chain, and its facts.

    A function is a technique already; this class tells more of it. Either ``answer`` or ``search`` is given.

    >>> import ttc_fast as tf
    >>> def trimmed_mean(candidates):
    ...     order = candidates.coefficients.sort(2).values
    ...     cut = order.shape[2] // 4
    ...     return order[:, :, cut : order.shape[2] - cut].mean(2)
    >>> prompts = tf.LinearRegression(4, 16).sample(3)
    >>> decoder = tf.StochasticDecoder(tf.LinearAttention.gradient_descent(4, examples=16), tf.GaussianNoise(0.1))
    >>> table = tf.evaluate(decoder, prompts, steps=4, samples=8, techniques=["mean", trimmed_mean])
    >>> sorted({key.technique for key in table.keys})
    ['mean', 'trimmed_mean']
    """

    name: str
    """As tables and pictures show it."""
    answer: Answer | None = None
    """From G groups of k candidates of each of B prompts to one answer for each group, ``[B, G, d]``."""
    search: Callable[[Chains], SearchResult] | None = None
    """From k chains of each prompt to an answer. It may make several at once, see :class:`Together`."""
    about: str = ""
    """One line for the list of techniques."""
    source: str = ""
    """Where it comes from."""
    binary_only: bool = False
    """It takes and gives bits."""
    needs_truth: bool = False
    uses_score: bool = False
    """It asks the verifier about every candidate."""
    uses_budget: bool = True
    """False: the answer spends one decode, however many the budget allows."""
    resumes: bool = True
    """Of a search: it decodes chains of its own, step by step; False: it reads the thoughts of the given ones."""
    applicable: Callable[[Rule], bool] = _to_every_rule
    """Whether it can be used under a rule; where it cannot, it is left out."""
    closed_form: ClosedForm | None = None
    """The mean over all subsets of k candidates, for those metrics that have a formula; else: random subsets."""
    native: NativeAnswer | None = None
    """Its counterpart in C++."""
    most_frequent: Ties | None = None
    """It gives the most frequent whole answer, of equally frequent ones the smallest or, by a fair draw, any: a GPU
    finds it by sorting."""

    def __post_init__(self) -> None:
        check.text("name", self.name)
        for field in ("answer", "search", "closed_form", "applicable"):
            if getattr(self, field) is not None:
                check.function(f"{field} of the technique {self.name!r}", getattr(self, field))
        if (self.answer is None) == (self.search is None):
            raise ValueError(
                f"answer: expected either answer or search of the technique {self.name!r}, got both or none"
            )

    def __call__(self, candidates: Candidates) -> Tensor:
        if self.answer is None:
            raise TypeError(f"{self.name} acts during the chain; call ttc_fast.{self.name}, or evaluate it")
        return self.answer(candidates)


def technique(about: str, source: str = "", **facts: Any) -> Callable[[Answer], Technique]:
    """Decorator: a function from candidates to answers becomes a :class:`Technique` of its name.

    Args:
        about: one line for the list of techniques.
        source: where it comes from.
        **facts: other fields of :class:`Technique`.

    Returns:
        The decorator.
    """

    def decorate(function: Answer) -> Technique:
        made = Technique(function.__name__, function, about=about, source=source, **facts)
        object.__setattr__(made, "__doc__", function.__doc__)
        return made

    return decorate


def as_technique(part: Any, name: str | None = None) -> Technique:
    """A technique of what a user brings: a :class:`Technique`, a function of :class:`Candidates`, or an object that
    is called like one or has a method ``search(chains)``, whose other attributes are taken as the fields.

    Args:
        part: the user's object.
        name: what to call it; default its own name.

    Returns:
        The technique.

    Raises:
        TypeError: it is none of these, or a function of other arguments.
    """
    if isinstance(part, type) and (hasattr(part, "answer") or hasattr(part, "search")):
        raise TypeError(f"technique: expected an object, got the class {part.__name__}; make an object of it")
    known = {field.name: getattr(part, field.name) for field in fields(Technique) if hasattr(part, field.name)}
    own = name or known.get("name") or getattr(part, "__name__", None) or type(part).__name__
    about = known["about"] if "about" in known else (part.__doc__ or "").strip().partition("\n")[0]
    if known.get("answer") is None and known.get("search") is None:
        if not callable(part):
            wanted = "a name, a function of candidates, or an object with answer or search"
            raise TypeError(f"technique: expected {wanted}, got {check.shown(part)}")
        _check_takes_candidates(part)
        known["answer"] = part
    return Technique(**{**known, "name": own, "about": about})


def _check_takes_candidates(function: Callable[..., Any]) -> None:
    """Raise if a function cannot be called with candidates alone."""
    try:
        signature = inspect.signature(function)
    except ValueError:  # of a function in C
        return
    try:
        signature.bind(None)
    except TypeError:
        name = getattr(function, "__name__", type(function).__name__)
        takes = ", ".join(signature.parameters) or "nothing"
        raise TypeError(
            f"technique: expected a function of candidates alone, got {name}, which takes {takes}; "
            "ask for a search of ttc_fast by its name, such as 'beam_search' (ttc_fast.TECHNIQUES has them all)"
        ) from None
