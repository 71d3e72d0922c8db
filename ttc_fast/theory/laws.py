"""The registry of laws: which technique, under which rule, has an exact expectation.

A law is a function of a :class:`Problem`, registered with :func:`law`; a user's own is entered the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, Protocol, TypeAlias, TypeVar

import torch
from torch import Tensor

from ..decoding.rules import Rule
from ..models.base import Model
from ..numerics import check
from ..numerics.protocols import original
from ..tasks.prompts import Prompts
from ..techniques.verifiers import Verifier

T = TypeVar("T")


@dataclass(frozen=True)
class Problem:
    """What a law starts from: some prompts, how they are decoded, and the verifier. Prompts are on the CPU."""

    model: Model
    rule: Rule
    prompts: Prompts
    """With all examples."""
    seen: Prompts
    """As the chains saw them."""
    verifier: Verifier
    w0: Tensor | None = None
    """Where the chains begin ``[B, d]``; None: at zero."""
    there: Prompts | None = None
    """``seen`` on the device of the model, if that is not the CPU."""

    @cached_property
    def state(self) -> Tensor | None:
        """The linear-attention state ``[B, d, d+1]`` in float64; None if the model has no linear state."""
        seen = self.seen if self.there is None else self.there
        with torch.no_grad():
            linear: Tensor | None = getattr(self.model.prefill(seen), "linear", None)
        return None if linear is None else linear.detach().cpu().double()

    @cached_property
    def _cache(self) -> dict[Any, Any]:
        return {}

    def cached(self, key: Any, make: Callable[[], T]) -> T:
        """What several laws need, such as the law of a thought, made once for these prompts.

        Args:
            key: what it is; a law of your own takes a key that no other has, such as a tuple with its name.
            make: called at the first time.

        Returns:
            What ``make`` returned.
        """
        check.function("make", make)
        try:
            hash(key)
        except TypeError as error:
            raise TypeError(f"key: expected a hashable one, such as a tuple, got {check.shown(key)}") from error
        if key not in self._cache:
            self._cache[key] = make()
        value: T = self._cache[key]
        return value


class Expected(NamedTuple):
    """What theory says of a metric of an answer made of k samples, given each prompt: ``[B, K]`` each."""

    mean: Tensor
    variance: Tensor
    """v, or a bound of it; NaN where it is not known."""
    scale: Tensor
    """c: ln E exp(s (X - mean)) <= s^2 v / (2 (1 - c |s|)), |s| < 1 / c; of X that is at most r off, c = r / 3 will do
    (Bernstein; Boucheron, Lugosi, Massart, Concentration Inequalities, 2013, section 2.8)."""


def certain(mean: Tensor) -> Expected:
    """What no random number moves."""
    return Expected(mean, torch.zeros_like(mean), torch.zeros_like(mean))


Expectations: TypeAlias = Mapping[str, Tensor | Expected]
"""By metric; a tensor is the mean alone."""


class Law(Protocol):
    """An exact expectation."""

    def __call__(self, problem: Problem, step: int, budgets: Sequence[int], metrics: Sequence[str]) -> Expectations:
        """Expected metrics by name ``[B, K]``, given each prompt; NaN at a budget, or a metric left out: no law.

        Without the variance of :class:`Expected` a figure has a difference from theory, but no z-score.

        Args:
            problem: the prompts, the rule and the verifier.
            step: T, at least 1.
            budgets: the k, ascending; ``[1]`` for a technique that does not use them.
            metrics: asked for.
        """


Affordable: TypeAlias = Callable[[Problem, int], bool]
"""Of the prompts and T; asked before the law, which is left out where it says no."""


@dataclass(frozen=True)
class LawEntry:
    """A law with what the list says of it."""

    law: Law
    about: str
    """One line: the formula, or where it is."""
    metrics: str
    """Of which metrics."""
    max_dim: int | None = None
    """Above it the law is left out, as it would take too long."""
    max_prompts: int | None = None
    uses_score: bool = False
    """It asks the verifier, not only what the chains see."""
    affordable: Affordable | None = None
    """Whether the law of some prompts and a step does not take too long, where dimension and prompts do not tell."""


LAWS: dict[tuple[str, type], LawEntry] = {}
"""By name of the technique and class of the rule."""


def law(
    technique: str,
    rule: type,
    *,
    about: str,
    metrics: str,
    max_dim: int | None = None,
    max_prompts: int | None = None,
    uses_score: bool = False,
    affordable: Affordable | None = None,
) -> Callable[[Law], Law]:
    """Decorator: register a law.

    Args:
        technique: its name, as in tables.
        rule: class of the rule; a law does not hold for its subclasses.
        about: one line for ``ttc-fast theory``.
        metrics: which metrics it knows, in words.
        max_dim, max_prompts: above them it would take too long.
        uses_score: whether it asks ``problem.verifier`` for scores, or what they are as a quadratic.
        affordable: says of a problem and T whether it would not take too long; say so in ``metrics``, too.

    Returns:
        The decorator, which returns the law as it is.

    Raises:
        ValueError: there is a law already.

    >>> import torch, ttc_fast as tf
    >>> class Half:  # a rule: every thought is half of what the transformer says
    ...     def thought(self, u, w, draws):
    ...         return u / 2
    >>> @tf.law("single", Half, about="M = (I - P S) / 2", metrics="squared error")
    ... def single_of_half(problem, step, budgets, metrics):
    ...     w = torch.zeros(len(problem.prompts), 1, problem.model.dim).double()
    ...     for _ in range(step):
    ...         w = (w + (problem.state[:, None, :, :-1] @ w[..., None])[..., 0] - problem.state[:, None, :, -1]) / 2
    ...     error = (w - problem.prompts.w_star[:, None]).square().mean(2)
    ...     return {"squared_error": tf.Expected(error, variance=0 * error, scale=0 * error)}  # no noise
    >>> prompts = tf.LinearRegression(4, 16).sample(3)
    >>> decoder = tf.StochasticDecoder(tf.LinearAttention.gradient_descent(4, examples=16), Half())
    >>> table = tf.evaluate(decoder, prompts, steps=4, samples=2, techniques=["single"])
    >>> tf.overlay(decoder, prompts, table).theory_check().agrees
    True
    """

    check.text("technique", technique)
    if not isinstance(rule, type):
        raise TypeError(f"rule: expected the class of a rule, got {check.shown(rule)}")
    for name, most in (("max_dim", max_dim), ("max_prompts", max_prompts)):
        if most is not None:
            check.integer(name, most, 0, 2**63)
    if affordable is not None:
        check.function("affordable", affordable)

    def register(function: Law) -> Law:
        if (technique, rule) in LAWS:
            raise ValueError(f"law: there is one of {technique!r} under {rule.__name__} already")
        bounded = function if affordable is None else _Bounded(function, affordable)
        LAWS[technique, rule] = LawEntry(bounded, about, metrics, max_dim, max_prompts, uses_score, affordable)
        return function

    return register


@dataclass(frozen=True)
class _Bounded(Law):
    """A law that is asked only where it is affordable."""

    function: Law
    affordable: Affordable

    def __call__(self, problem: Problem, step: int, budgets: Sequence[int], metrics: Sequence[str]) -> Expectations:
        return self.function(problem, step, budgets, metrics) if self.affordable(problem, step) else {}


def find_law(technique: str, rule: Rule) -> LawEntry | None:
    """The law of a technique under a rule, or None.

    Args:
        technique: its name.
        rule: it must be of exactly the class that the law is registered for; a subclass may draw otherwise.
    """
    return LAWS.get((technique, type(original(rule))))
