"""Settings of in-context regression whose answers are right with a known probability, prompt by prompt: what pass@k and
votes of repeated samples follow from, compared with logs of language models by logs/laboratory.py.

* :class:`BinaryRegression`: an answer is right if all coefficients are. The law of the answer after T thoughts is that
  of the chain on all 2^d thoughts (binary.py), or on the sets of k ones (subsets.py).
* :class:`ContinuousRegression`: an answer is right if its squared error |w - w*|^2 / d is at most a threshold. Given
  the prompt w_T is Gaussian (gaussian.py), so that the error is a quadratic form of a Gaussian, whose
  distribution function comes by inverting its transform (score_law.py).

Rules whose thoughts are neither, such as RankOneNoise, have no such law.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, is_dataclass, replace
from functools import lru_cache
from itertools import product
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from ..decoding.authors_rules import SubsetSampling
from ..decoding.rules import BernoulliSampling, GaussianNoise, Rule
from ..estimators.arrays import Array
from ..models.linear_attention import LinearAttention
from ..numerics import check
from ..numerics.protocols import described, original
from ..tasks.linear_regression import LinearRegression
from ..tasks.prompts import Prompts
from ..tasks.quadratic import quadratic
from .binary import binary_law, string_index
from .gaussian import GaussianLaw, gaussian_law
from .plackett_luce import all_sets
from .score_law import LawOfScore
from .subsets import subset_law

PROMPTS = 64
SEED = 0

_DRAWS = 256
"""Of an answer to each prompt, from which a threshold is chosen."""


class Answers(NamedTuple):
    """The law of an answer, of every prompt of a setting."""

    right: Array
    """Probability that it is right ``[B]``."""
    wrong: Array | None = None
    """Probabilities of the wrong answers ``[B, A]``; None: no two answers agree, so that there is no vote."""


class Setting(Protocol):
    """A laboratory whose curves are known. Yours needs :meth:`answers` alone; the rest has defaults.

    >>> class Coin:  # every prompt alike
    ...     def answers(self):
    ...         return Answers(np.array([0.5]), np.array([[0.5]]))
    >>> from ttc_fast.logs.fit import fit
    >>> from ttc_fast.logs.laboratory import nearest_settings
    >>> from ttc_fast.logs.log import SampleLog
    >>> log = SampleLog("counts", np.arange(40), np.full(40, 8), np.full(40, 4), *[None] * 4, 0, 0, ())
    >>> [one.distance < 0.05 for one in nearest_settings(fit(log, [1, 2, 4], resamples=2), [Coin()])]
    [True]
    """

    kind: str = "other"
    """The nearest setting of each kind is found: some have curves that others lack."""

    @abstractmethod
    def answers(self) -> Answers:
        """The law of an answer."""

    def tuned(self, single: float) -> Setting:
        """The setting with what is free in it chosen such that a single answer is right with this probability; by
        default nothing is free."""
        return self

    def facts(self) -> dict[str, Any]:
        """What tells it from others, by name, texts and numbers; by default the fields of a dataclass."""
        own = original(self)
        if not is_dataclass(own):
            return {"setting": described(self)}
        return {name: value if np.isscalar(value) else described(value) for name, value in vars(own).items()}


@dataclass(frozen=True)
class BinaryRegression(Setting):
    """Binary coefficients, w_0 = 0, gradient descent with the step that training finds.

    >>> setting = BinaryRegression(BernoulliSampling(temperature=0.1), label_noise=0.5, dim=2, examples=4, steps=4)
    >>> answers = setting.answers()
    >>> answers.right.shape, answers.wrong.shape
    ((64,), (64, 3))
    """

    rule: Rule
    """BernoulliSampling; or SubsetSampling, then w* has as many ones as it draws."""
    label_noise: float
    dim: int
    examples: int
    steps: int

    kind = "binary coefficients"

    def answers(self) -> Answers:
        ones: int | None = getattr(self.rule, "ones", None)
        prompts, state = _prompts("binary", self.label_noise, self.dim, self.examples, ones)
        truth = prompts.w_star.numpy()  # type: ignore[union-attr]  # they are drawn with it
        if ones is None:
            law, right = binary_law(state, self.rule, self.steps), string_index(truth)
        else:
            law = subset_law(state, self.rule, self.steps)
            right = (truth @ all_sets(self.dim, ones).T).argmax(axis=1)
        wrong = law[np.arange(law.shape[1]) != right[:, None]].reshape(len(law), -1)
        return Answers(law[np.arange(len(law)), right], wrong)


@dataclass(frozen=True)
class ContinuousRegression(Setting):
    """Continuous coefficients w* ~ N(0, I), w_0 = 0, gradient descent with the step that training finds.

    >>> setting = ContinuousRegression(GaussianNoise(0.2), label_noise=0.5, dim=4, examples=8, steps=16, threshold=0.1)
    >>> tuned = setting.tuned(0.25)
    >>> round(float(tuned.answers().right.mean()), 2), round(tuned.threshold, 2)
    (0.25, 0.07)
    """

    rule: GaussianNoise
    label_noise: float
    dim: int
    examples: int
    steps: int
    threshold: float
    """Answers with at most this squared error |w - w*|^2 / d are right."""

    kind = "continuous coefficients"

    def answers(self) -> Answers:
        check.number("threshold", self.threshold, low=0.0)
        prompts, law = self._law()
        score = LawOfScore(law.mean, law.root, quadratic(prompts, "squared_error"), 0.0)
        return Answers(score.probability(self.threshold).numpy())

    def tuned(self, single: float) -> ContinuousRegression:
        """The same with the threshold that this share of answers meets, of draws from their law."""
        prompts, law = self._law()
        normal = torch.randn(PROMPTS, _DRAWS, self.dim, generator=torch.Generator().manual_seed(SEED)).double()
        w = law.mean[:, None] + normal @ law.root.mT
        error = (w - prompts.w_star[:, None]).square().mean(2).flatten()  # type: ignore[index]  # they are drawn with it
        return replace(self, threshold=float(np.quantile(error.numpy(), single)))

    def _law(self) -> tuple[Prompts, GaussianLaw]:
        prompts, state = _prompts("continuous", self.label_noise, self.dim, self.examples, None)
        return prompts, gaussian_law(state, self.rule, self.steps)


@lru_cache(maxsize=256)
def _prompts(
    coefficients: str, label_noise: float, dim: int, examples: int, ones: int | None
) -> tuple[Prompts, Tensor]:
    """The prompts, and the state of linear attention."""
    task = LinearRegression(dim, examples, coefficients, label_noise=label_noise, nonzero=ones)  # type: ignore[arg-type]  # one of the two
    prompts = task.sample(PROMPTS, seed=SEED)
    return prompts, LinearAttention.gradient_descent(dim, examples=examples).prefill(prompts).linear


def usual_settings() -> tuple[Setting, ...]:
    """Those that ``ttc-fast fit --simulate`` compares: rules, label noise, coefficients, examples, thoughts."""
    links = [
        BernoulliSampling("sigmoid" if temperature else "clip", temperature or None, sample_at)
        for temperature in (0.0, 0.05, 0.1, 0.2, 0.3)
        for sample_at in ("every_step", "last_step")
    ]
    sizes = [
        (noise, dim, times * dim, steps)
        for noise, dim, times, steps in product((0.0, 0.25, 0.5, 1.0, 2.0), (2, 3, 4, 6), (1, 2, 4), (1, 4, 16))
    ]
    bits = [BinaryRegression(rule, *size) for rule, size in product(links, sizes) if size[-1] > 1 or rule.resumable]
    sets = [
        BinaryRegression(SubsetSampling(ones), noise, dim, times * dim, steps)
        for dim, ones in ((4, 1), (4, 2), (6, 2), (8, 2))
        for noise, times, steps in product((0.0, 0.5, 1.0, 2.0), (1, 2, 4), (1, 4, 16))
    ]
    continuous = [
        ContinuousRegression(GaussianNoise(scale), noise, dim, times * dim, steps, 0.1)
        for scale, noise, dim, times, steps in product(
            (0.025, 0.05, 0.1, 0.2, 0.4), (0.0, 0.5, 1.0), (1, 2, 4, 8), (1, 2, 4), (1, 4, 16)
        )
    ]
    return (*bits, *sets, *continuous)
