"""The in-context regression whose exact laws come nearest to a log's curves.

Both are repeated samples of prompts of different difficulty, and both have a right answer: here the binary coefficients
w*, all of them. Of every setting of :data:`SETTINGS` the law of the answer after T thoughts (theory/binary.py) gives
each of :data:`PROMPTS` prompts its probability p of w*; so pass@k is the mean of 1 - (1-p)^k, and maj@k the probability
that w* is the plurality of k answers (theory/binary_techniques.py). Distances are root mean squares over the budgets.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ..estimators.arrays import Array, Integers
from .fit import Fit

PROMPTS = 48
SEED = 0

MOST_VOTES = 16
"""Votes are compared up to here: their law costs the square of their number."""

SHORTLIST = 6
"""Settings nearest by pass@k and the limit of votes, whose votes are compared one by one."""


class Setting(NamedTuple):
    """Of a laboratory: binary coefficients, twice as many examples as coefficients."""

    temperature: float
    """Of the rule BernoulliSampling; 0: of the link clip, which needs none."""
    label_noise: float
    dim: int
    steps: int


TEMPERATURES = (0.0, 0.05, 0.1, 0.2, 0.3)
NOISES = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0)
DIMS = (2, 3, 4, 6)
STEPS = (1, 4, 16)
SETTINGS: tuple[Setting, ...] = tuple(itertools.starmap(Setting, itertools.product(TEMPERATURES, NOISES, DIMS, STEPS)))


@dataclass(frozen=True)
class Likeness:
    """A setting, its curves, and how far they are from those of a log."""

    setting: Setting
    curves: dict[str, dict[int, float]]
    """By metric and budget."""
    distance: float
    """Root mean square of the differences over metrics and budgets."""
    largest: float
    """The largest difference."""
    outside: int
    """Budgets at which the law is outside the interval of the log."""
    compared: int
    """Budgets of all metrics together."""


def nearest_setting(fit: Fit) -> Likeness:
    """The setting of :data:`SETTINGS` whose laws are nearest to the forecasts of pass@k and maj@k.

    Args:
        fit: of a log.

    Returns:
        It, and how far it is.
    """
    from ..theory.overlay import one_thread  # not at the top: it waits for torch

    with one_thread():
        return _nearest(fit)


def _nearest(fit: Fit) -> Likeness:
    limit = None if fit.vote_limit is None else fit.vote_limit[0]
    forecast = fit.of("pass@k")
    target = np.array([point.mean for point in forecast.values()])
    laws, rough = {}, {}
    for setting in SETTINGS:
        law, right = _laws(setting)
        p = law[np.arange(len(law)), right]
        curve = (1 - (1 - p[:, None]) ** np.array(list(forecast))).mean(axis=0)
        laws[setting] = law, right, dict(zip(forecast, curve.tolist()))
        gap = 0.0 if limit is None else float((law.argmax(axis=1) == right).mean()) - limit
        rough[setting] = float(((curve - target) ** 2).mean()) + gap**2
    nearest = sorted(SETTINGS, key=lambda setting: rough[setting])[: 1 if limit is None else SHORTLIST]
    return min((_likeness(fit, setting, *laws[setting]) for setting in nearest), key=lambda one: one.distance)


def _laws(setting: Setting) -> tuple[Array, Integers]:
    """The law of the answer of every prompt ``[B, 2^d]``, and the place of the right one ``[B]``."""
    from ..decoding.rules import BernoulliSampling
    from ..models.linear_attention import LinearAttention
    from ..tasks.linear_regression import LinearRegression
    from ..theory.binary import binary_law, string_index

    dim, examples = setting.dim, 2 * setting.dim
    prompts = LinearRegression(dim, examples, "binary", label_noise=setting.label_noise).sample(PROMPTS, seed=SEED)
    state = LinearAttention.gradient_descent(dim, examples=examples).prefill(prompts).linear
    rule = BernoulliSampling(temperature=setting.temperature) if setting.temperature else BernoulliSampling("clip")
    return binary_law(state, rule, setting.steps), string_index(prompts.w_star)  # type: ignore[arg-type]  # it is known


def _likeness(fit: Fit, setting: Setting, law: Array, right: Integers, passed: dict[int, float]) -> Likeness:
    from ..theory.binary_techniques import plurality_right

    curves = {"pass@k": passed}
    votes = [k for k in fit.of("maj@k") if k <= MOST_VOTES]
    if votes:
        shares = [(np.delete(one, answer), one[answer]) for one, answer in zip(law, right.tolist())]
        answers = [np.append(rest[rest > 1e-9], own) for rest, own in shares]
        means = [np.mean([plurality_right(one / one.sum(), len(one) - 1, k) for one in answers]) for k in votes]
        curves["maj@k"] = {k: float(mean) for k, mean in zip(votes, means)}
    pairs = [(value, fit.of(metric)[k]) for metric, curve in curves.items() for k, value in curve.items()]
    gaps = np.array([value - point.mean for value, point in pairs])
    outside = sum(not point.low <= value <= point.high for value, point in pairs)
    distance = float(np.sqrt((gaps**2).mean()))
    return Likeness(setting, curves, distance, float(np.abs(gaps).max()), int(outside), len(pairs))
