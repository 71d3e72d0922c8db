"""When a backend's decode of attention states equals the reference: every step, from the same thoughts, against
float64 with bounds that follow from the roundings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from decoding_problems import fitting
from equivalence import EPS, LOG_ERROR, noise_of, subsets_are_proved
from ttc_fast import AttentionState, BernoulliSampling, Heads, LargestCoefficients, SubsetSampling
from ttc_fast.decoding import chain
from ttc_fast.decoding.draws import Block, Draws
from ttc_fast.decoding.rules import Rule

Decode = Callable[..., Tensor]


class Accuracy(NamedTuple):
    """What a backend rounds; relative errors."""

    products: Callable[[int], float] = lambda terms: (terms + 3) * EPS
    """Of a sum of so many products, of the sum of their sizes. C++: a rounding of each, and two where the keys are
    multiplied by log2 e before."""
    power: float = 8 * EPS
    """Of an exponential: within 4 ulp."""
    gelu: float = 2.0**-23
    """Absolute, beside a rounding of the result; see ``csrc/math.h``."""
    logarithm: float = LOG_ERROR
    floor: float = 0.0
    """Absolute, of a logarithm."""


COMPILED = Accuracy(
    products=lambda terms: (6 * ((terms + 31) // 8) + 12) * EPS, power=2.0**-21, gelu=2.0**-20, logarithm=2.0**-18
)
"""Of Triton: six products, each rounded for every 16 terms; what they leave out is below 2^-22. ex2.approx is within
2^-22, of a rounded argument. Division and ex2 move gelu by less than 2^-20."""


def attention_problem(
    prompts: int, dim: int, activation: Any, keys: int, *, heads: int = 1, hidden: int = 0, affine: bool = False
) -> tuple[AttentionState, Tensor]:
    """A state whose thoughts stay of order one, with an MLP block of all prompts where there are hidden units, and
    first thoughts."""
    generator = torch.Generator().manual_seed(1000 * keys + dim)

    def drawn(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    key = drawn(prompts, heads, keys, dim)
    share = heads if activation == "softmax" else heads * keys
    groups = [Heads(key, drawn(prompts, heads, keys) / 2, -0.3 * key / share, activation)]
    if hidden:
        key = drawn(1, 1, hidden, dim)
        groups.append(Heads(key, drawn(1, 1, hidden), -0.2 * key / hidden, "gelu"))
    contraction = 0.8 * torch.eye(dim).expand(prompts, dim, dim) + 0.2 * drawn(prompts, dim, dim) / dim
    state = AttentionState(tuple(groups), *((contraction, drawn(1, dim) / 4) if affine else (None, None)))
    return state, torch.rand(prompts, dim, generator=generator)


def output_and_error(state: AttentionState, w: Tensor, accuracy: Accuracy) -> tuple[Tensor, Tensor]:
    """u of thoughts ``[B, N, d]`` in float64, and a bound of a backend's error of each of its numbers."""
    w = w.double()
    A = torch.eye(w.shape[2]).double() if state.A is None else state.A.double()
    c = torch.zeros(1, w.shape[2]).double() if state.c is None else state.c.double()
    u, size = w @ A.mT + c[:, None], w.abs() @ A.abs().mT + c.abs()[:, None]
    error, terms = accuracy.products(w.shape[2] + 1) * size, 0
    for one in state.heads:
        heads, m = one.keys.shape[1:3]
        keys, values = (part.double().expand(len(w), -1, -1, -1) for part in (one.keys, one.values))
        offsets = one.offsets.double()[:, :, None]
        scores = torch.einsum("bhjd,bnd->bhnj", keys, w) + offsets
        off = accuracy.products(w.shape[2] + 1) * (torch.einsum("bhjd,bnd->bhnj", keys.abs(), w.abs()) + offsets.abs())
        weight, weight_error = _weights(one.activation, scores, off, m, accuracy)
        u = u + torch.einsum("bhnj,bhjd->bnd", weight, values)
        added = torch.einsum("bhnj,bhjd->bnd", weight.abs(), values.abs())
        error = error + torch.einsum("bhnj,bhjd->bnd", weight_error, values.abs()) + accuracy.products(m) * added
        size, terms = size + added, terms + heads * (m + 3)
    return u, 1.01 * (error + terms * EPS * size)  # 1.01: products of errors


def _weights(activation: str, scores: Tensor, off: Tensor, m: int, accuracy: Accuracy) -> tuple[Tensor, Tensor]:
    """act(scores) ``[B, H, N, m]``, and errors, where scores are wrong by ``off``."""
    if activation == "softmax":
        weight = scores.softmax(3)
        # A power is of a rounded difference; where a later key is larger it is multiplied by another one.
        below = scores.amax(3, keepdim=True) - scores
        relative = off + 2 * EPS * below + (1 + m // 64) * (accuracy.power + 2 * EPS)
        return weight, weight * (relative + (weight * relative).sum(3, keepdim=True) + (m + 4) * EPS) + 2.0**-126
    if activation == "sigmoid":
        weight = scores.sigmoid()
        return weight, (off + accuracy.power) / 4 + 3 * EPS
    if activation == "gelu":  # its slope is below 1.13
        weight = torch.nn.functional.gelu(scores)
        return weight, 1.13 * off + accuracy.gelu + EPS * weight.abs()
    return scores.relu() if activation == "relu" else scores, off


def _check_step(
    got: Tensor, w: Tensor, u: Tensor, error: Tensor, rule: Rule, t: int, accuracy: Accuracy, place: dict[str, Any]
) -> int:
    """Step t from thoughts ``w [B, N, d]``.

    Args:
        got: the next thoughts.
        u, error: of :func:`output_and_error`.
        rule, t, accuracy: of the backend's decode.
        place: seed and indices of it.

    Returns:
        Bits, or samples with another subset, that differ from the reference's; each is proved to lie at the boundary.
    """
    prompt, sample = (torch.arange(place[f"first_{name}"], place[f"first_{name}"] + n) for name, n in
                      (("prompt", len(w)), ("sample", w.shape[1])))  # fmt: skip
    # Random numbers in float32: they are rounded alike everywhere.
    block = Block(t // 4, prompt=prompt, sample=sample, dim=w.shape[2], dtype=torch.float32, seed=place["seed"])
    draws = Draws(t, block)
    if isinstance(rule, (SubsetSampling, LargestCoefficients)):
        expected = rule.thought(u, w.double(), draws)
        return subsets_are_proved(rule, t, u, got, expected, error, accuracy.logarithm, accuracy.floor, place)
    expected = rule.answer(rule.thought(u, w.double(), draws), draws)
    if not isinstance(rule, BernoulliSampling):
        scale, noise, noise_error = noise_of(rule, w.double(), t, draws.normal().double())
        bound = error + scale * (noise_error + 6 * EPS * noise) + 2 * EPS * expected.abs()
        assert bool(((got - expected).abs() <= bound).all())
        return 0
    flips = got != expected
    if rule.temperature == 0:
        assert bool(((u - 0.5).abs()[flips] <= error[flips]).all())
    else:
        margin = (draws.uniform().double() - rule.probability(u)).abs()
        slope = 1.0 if rule.temperature is None else 1 / (4 * rule.temperature)
        assert bool((margin[flips] <= slope * error[flips] + accuracy.power + 8 * EPS).all())
    return int(flips.sum())


def check_attention(
    decode: Decode,
    state: AttentionState,
    w0: Tensor,
    rule: Rule,
    *,
    samples: int,
    steps: int,
    accuracy: Accuracy = Accuracy(),  # noqa: B008  # it is frozen
) -> Tensor:
    """A teacher-forced step and a free run, every step of it from the thought before.

    Returns:
        The thoughts of the free run ``[steps + 1, B, N, d]``.
    """
    rule = fitting(rule, w0.shape[-1])
    place: dict[str, Any] = {
        "samples": samples, "seed": 2**63 + 1, "first_sample": 2**31 - 3, "first_prompt": 2**32 - len(w0)
    }  # fmt: skip
    w = torch.rand(len(w0), samples, w0.shape[1], generator=torch.Generator().manual_seed(1))
    forced = decode(state, w, rule=rule, steps=[7], first_step=6, **place)[0]
    got = decode(state, w0, rule=rule, steps=range(steps + 1), first_step=0, **place)
    assert torch.equal(got[0], w0[:, None].expand_as(got[0]))
    assert torch.equal(decode(state, w0, rule=rule, steps=[steps], first_step=0, **place)[0], got[-1])
    pairs = [(6, w, forced), *((t, got[t], got[t + 1]) for t in range(steps))]
    if isinstance(rule, BernoulliSampling) and rule.sample_at == "last_step":  # the thoughts are not to be seen
        assert torch.equal(got, chain.decode(lambda: state.output, w0, rule=rule, steps=range(steps + 1), **place))
        pairs = pairs[:2]
    u, error = output_and_error(state, torch.cat([w for _, w, _ in pairs], 1), accuracy)
    flips = 0
    for i, (t, w, following) in enumerate(pairs):
        n = slice(i * samples, (i + 1) * samples)
        flips += _check_step(following, w, u[:, n], error[:, n], rule, t, accuracy, place)
    assert flips <= 2
    return got
