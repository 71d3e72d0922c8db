"""What theory says of the results of a run: for each key of an evaluation, the exact expectation given the prompts."""

from __future__ import annotations

import contextlib
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

import numpy as np
import torch
from scipy.special import ndtri, stdtr
from torch import Tensor

from ..decoding.rules import BernoulliSampling, GaussianNoise
from ..estimators.selection import Array
from ..evaluation.evaluate import Key
from ..models.decoder import StochasticDecoder
from ..numerics import sums
from ..tasks import metrics
from ..tasks.prompts import Prompts
from ..techniques.verifiers import InContextLoss, NoisyVerifier, Oracle, Verifier, context
from . import binary
from .gaussian import Quadratic, best_of_n, error_of_mean, gaussian_law, judge, quadratic

BINARY_DIM = 10
"""Above it a run shows no theory of binary coefficients: 4^d multiplications for every step and prompt."""

GAUSSIAN_DIM = 64
"""Above it a run shows no theory of best-of-N: d^3 and more for every prompt and step."""

SELECTION_PROMPTS = 256
"""With more prompts a run shows no theory of best-of-N: each takes some 10 milliseconds for every step."""

TILE = 64
"""Prompts at a time."""

SELECTIONS = ("best_of_n", "oracle_best_of_n")
"""Techniques that select by a verifier, the second by the oracle."""

QUADRATIC = ("squared_error", "prediction_risk", "in_context_loss")


class Comparison(NamedTuple):
    """A metric's mean over prompts in theory, and how far the simulation is from it."""

    theory: float
    z: float
    """Mean difference over its standard error, the prompts being independent; NaN for one prompt."""


def compare(simulated: Tensor, expected: Tensor) -> Comparison:
    """Both of every prompt ``[B]``. What the prompts share in difficulty cancels in the differences.

    The z-score is a Student's t of B - 1 degrees of freedom, put on the scale of the normal law. Rounding of
    float32 counts as error too: 2^-20 of the value plus its root, so that results without chance have none.
    """
    theory = expected.double()
    difference = (simulated.double() - theory).numpy()
    mean = float(theory.mean())
    if len(difference) < 2 or not np.isfinite(difference).all():
        return Comparison(mean, math.nan)
    rounding = 2.0**-20 * (abs(mean) + math.sqrt(abs(mean)))
    error = math.hypot(float(difference.std(ddof=1)) / math.sqrt(len(difference)), rounding)
    return Comparison(mean, _normal_score(float(difference.mean()) / error, len(difference) - 1) if error else 0.0)


def _normal_score(t: float, freedom: int) -> float:
    """The normal quantile of a Student's t."""
    tail = float(stdtr(freedom, -abs(t)))
    return math.copysign(-float(ndtri(tail)), t) if tail > 0 else math.copysign(math.inf, t)


def overlay(
    decoder: StochasticDecoder,
    prompts: Callable[[int, int], Prompts],
    count: int,
    scores: Mapping[Key, Tensor],
    verifier: Verifier | None = None,
) -> dict[Key, Comparison]:
    """Theory beside the results of an evaluation.

    Args:
        decoder: as evaluated.
        prompts: the prompts ``start`` to ``stop - 1``.
        count: number of prompts; above :data:`SELECTION_PROMPTS` the selections are left out.
        scores: of every prompt ``[B]``.
        verifier: as evaluated; default :class:`ttc_fast.verifiers.InContextLoss`.
    """
    verifier = InContextLoss() if verifier is None else verifier
    affordable = [k for k in scores if count <= SELECTION_PROMPTS or k.technique not in SELECTIONS]
    parts: defaultdict[Key, list[Tensor]] = defaultdict(list)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the arrays are small: on busy cores a second thread made it five times slower
    try:
        for tile in sums.tiles(count, TILE):
            for key, value in expected(decoder, prompts(tile.start, tile.stop), affordable, verifier).items():
                parts[key].append(value)
    finally:
        torch.set_num_threads(threads)
    comparisons = {key: compare(scores[key], torch.cat(values)) for key, values in parts.items()}
    return {key: c for key, c in comparisons.items() if math.isfinite(c.theory)}  # chains that diverged


def expected(
    decoder: StochasticDecoder, prompts: Prompts, keys: Iterable[Key], verifier: Verifier
) -> dict[Key, Tensor]:
    """The exact value of every prompt ``[B]`` for those ``keys`` of an evaluation that have a law, see README.md."""
    by_step: defaultdict[int, list[Key]] = defaultdict(list)
    for key in keys:
        if key.steps > 0:
            by_step[key.steps].append(key)
    seen = context(verifier, prompts)
    with torch.no_grad():
        state = decoder.model.prefill(seen).linear.cpu().double()
    prompts, seen = prompts.to("cpu"), seen.to("cpu")
    rule, dim = decoder.rule, state.shape[1]
    result: dict[Key, Tensor] = {}
    if isinstance(rule, GaussianNoise):
        judges = _judges(prompts, verifier, keys) if dim <= GAUSSIAN_DIM else {}
        for step, wanted in by_step.items():
            result |= dict(_gaussian(state, rule, seen, judges, step, wanted))
    elif dim <= BINARY_DIM:
        strings = torch.from_numpy(binary.bit_strings(dim)).to(prompts.x).expand(len(prompts), -1, -1)
        # A score with chance has no law here.
        score = None if isinstance(verifier, NoisyVerifier) else verifier(prompts, strings).double().numpy()
        for step, wanted in by_step.items():
            result |= dict(_binary(state, rule, seen, strings, score, step, wanted))
    return result


def _judges(prompts: Prompts, verifier: Verifier, keys: Iterable[Key]) -> dict[str, tuple[Quadratic, float]]:
    """What the selecting techniques among ``keys`` trust, as quadratic forms with their noise; others have no law."""
    asked, found = {key.technique for key in keys}, {}
    for technique, trusted in zip(SELECTIONS, (verifier, Oracle())):
        if technique in asked:
            with contextlib.suppress(ValueError):  # the score is no such form
                found[technique] = judge(prompts, trusted)
    return found


def _gaussian(
    state: Tensor,
    rule: GaussianNoise,
    prompts: Prompts,
    judges: Mapping[str, tuple[Quadratic, float]],
    step: int,
    keys: list[Key],
) -> Iterator[tuple[Key, Tensor]]:
    law, still = gaussian_law(state, rule, step), gaussian_law(state, rule.greedy(), step)
    groups: defaultdict[tuple[str, str], list[Key]] = defaultdict(list)
    for key in keys:
        if key.metric in QUADRATIC:
            groups[key.technique, key.metric].append(key)
    forms = {name: quadratic(prompts, name) for _, name in groups}  # type: ignore[arg-type]  # of QUADRATIC
    for (technique, name), group in groups.items():
        if technique in ("greedy", "single", "mean"):
            budgets = [key.samples if technique == "mean" else 1 for key in group]
            errors = error_of_mean(still if technique == "greedy" else law, forms[name], budgets)
            yield from zip(group, errors.T)
    for technique, (form, noise) in judges.items():
        names = [name for chosen, name in groups if chosen == technique]
        if names and bool(law.root.isfinite().all()):
            budgets = sorted({key.samples for name in names for key in groups[technique, name]})
            values = best_of_n(law, form, [forms[name] for name in names], budgets, noise=noise)
            for name, of_name in zip(names, values):
                for key in groups[technique, name]:
                    yield key, of_name[:, budgets.index(key.samples)]


def _binary(
    state: Tensor,
    rule: BernoulliSampling,
    prompts: Prompts,
    strings: Tensor,
    score: Array | None,
    step: int,
    keys: list[Key],
) -> Iterator[tuple[Key, Tensor]]:
    laws = {False: binary.binary_law(state, rule, step), True: binary.binary_law(state, rule.greedy(), step)}
    of_all = metrics.measure(prompts, strings, metrics.of(prompts, True), bits=True)
    of_strings = {name: value.double().numpy() for name, value in of_all.items()}
    for key in keys:
        value = of_strings.get(key.metric)
        if value is None:
            continue
        law = laws[key.technique == "greedy"]
        if key.technique in ("greedy", "single"):
            yield key, torch.from_numpy((law * value).sum(1))
        elif key.technique in SELECTIONS:
            trusted = score if key.technique == "best_of_n" else -of_strings["squared_error"]
            if trusted is not None:
                best = [binary.best_of_n(p, s, v, [key.samples])[0] for p, s, v in zip(law, trusted, value)]
                yield key, torch.tensor(np.array(best))
        elif (voted := _of_votes(key, prompts, law)) is not None:
            yield key, torch.from_numpy(voted)


def _of_votes(key: Key, prompts: Prompts, law: Array) -> Array | None:
    """The mean and the coordinate majority, where the metric adds up over the coefficients; else None."""
    dim = prompts.x.shape[2]
    weights = {"squared_error": np.full(dim, 1 / dim), "hamming": np.full(dim, 1 / dim)}
    if prompts.covariance.ndim == 1:
        weights["prediction_risk"] = prompts.covariance.double().numpy()
    if prompts.w_star is None or key.metric not in weights:
        return None
    q, w_star = binary.marginals(law), prompts.w_star.double().numpy()
    if key.technique == "majority_vote" or (key.technique == "mean" and key.metric == "hamming"):
        wrong = np.abs(w_star - binary.majority_right(q, key.samples))  # a mean of bits, read at 1/2, is a vote
    elif key.technique == "mean":
        wrong = (q - w_star) ** 2 + q * (1 - q) / key.samples
    else:
        return None
    return np.asarray(wrong @ weights[key.metric])
