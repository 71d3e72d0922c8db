"""When a backend's decode equals the reference's: one step from the same thoughts, then free runs."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from decoding_problems import RULES, fitting, problem
from ttc_fast import (
    BernoulliSampling,
    ElementwiseNoise,
    GaussianNoise,
    GeometricDecay,
    LargestCoefficients,
    RankOneNoise,
    SubsetSampling,
)
from ttc_fast.decoding import reference
from ttc_fast.decoding.authors_rules import LEAST_WEIGHT, MOST_WEIGHT
from ttc_fast.decoding.rules import Rule
from ttc_fast.numerics import rng

ALL_RULES: list[Rule] = [*RULES, BernoulliSampling("sigmoid", 0.0), GaussianNoise(GeometricDecay(0.5, 0.9))]

EPS = 2.0**-24
"""Half a unit in the last place of 1 in float32: the error of one rounding."""

NORMAL_ERROR = 1.2e-5
"""Largest difference of a normal between backends, both in float32 from the same words.

C++: radius, at most 6.76: logarithms within 4 and 1 ulp, halved by the root, and two roundings,
4 * 2^-23 relative, 3.3e-6; angle: three roundings of an angle below 2 pi in the reference, 9.4e-7, and
sines within 4 and 1 ulp, 3e-7; times the radius, 8.4e-6.
Triton: the square root of lg2.approx, within 2^-22 (where x < 1 - 2^-8, so that the radius is above 0.088: 2.0e-6, and
3e-8 of the largest), the root within 2^-23 relative; sines within 2^-20.5, 6.8e-7, the angle's roundings as above; of
the largest radius 1.1e-5."""

LOG_ERROR = 8 * EPS
"""Relative, of a logarithm in either backend: within 4 ulp in C++ and 1 in PyTorch."""

EXPONENTIAL_ERROR = 2.0**-18
"""Relative, of an exponential of a compiled kernel and of the quotient by its weight: kernels/subset.py."""


def compiled_roundings(dim: int) -> int:
    """Of u of a compiled kernel in the precision "fp32": six products, each rounded for every 16 coefficients by the
    simulator, and what they leave out, below 4 * 2^-24 of the magnitude."""
    return 6 * (max(16, dim) // 8) + 8 + dim


Decode = Callable[..., Tensor]


def magnitude(state: Tensor, w: Tensor) -> float:
    """Bound of the partial sums of u from thoughts ``[B, N, d]``."""
    return (w.abs() + w.abs() @ state[:, :, :-1].abs().mT + state[:, None, :, -1].abs()).max().item()


def check_step(
    decode: Decode,
    rule: Rule,
    dim: int,
    samples: int = 37,
    roundings: int = 0,
    log_error: float = LOG_ERROR,
    log_floor: float = 0.0,
) -> None:
    """Steps t = 0 and 6 from the same thoughts. Each side rounds the d + 3 operations of u, or
    ``roundings``; a normal differs by NORMAL_ERROR; a Bernoulli draw may differ only where
    |uniform - p| is within the error of p, a subset only where keys are as near as their errors."""
    state, _ = problem(3, dim)
    rule = fitting(rule, dim)
    w = torch.rand(3, samples, dim, generator=torch.Generator().manual_seed(dim))
    error = (dim + 3 + max(roundings, dim + 3)) * EPS * magnitude(state, w)
    for first_step in (0, 6):
        arguments: dict[str, Any] = {
            "rule": rule, "steps": [first_step + 1], "first_step": first_step, "samples": samples, "seed": 3,
            "first_sample": 2**31 - 3, "first_prompt": 2**32 - 3,
        }  # fmt: skip
        got = decode(state, w, **arguments)[0]
        expected = reference.decode(state, w, **arguments)[0]
        if isinstance(rule, GaussianNoise):
            scale = rule.scales(first_step + 1)[first_step].item()
            assert (got - expected).abs().max() <= error + scale * NORMAL_ERROR + 2 * EPS * magnitude(state, w)
        elif isinstance(rule, BernoulliSampling):
            assert flips_are_proved(state, w, rule, first_step, got, expected, error) <= 1
        else:
            operations = max(roundings, dim + 3)
            assert check_authors_step(state, w, rule, got, expected, operations, log_error, log_floor, arguments) <= 1


def check_equal_keys(decode: Decode, ones: int, dim: int) -> None:
    """Of equal ones the first; what is no number, NaN or -infinity, counts as not positive. ``dim``: from 10 on."""
    state = torch.zeros(1, dim, dim + 1)
    state[0, 7, :2] = state[0, 8, 1] = 3e38
    w = torch.tensor([[2.0, -2.0, 0.5, 1.0, 0.5, 0.0, 1.0, 0.0, 5.0] + [0.5, -3.0] * dim])[:, :dim]
    for rule in (LargestCoefficients(ones), SubsetSampling(ones)):
        arguments: dict[str, Any] = {
            "rule": rule, "steps": [1], "samples": 5, "seed": 1, "first_sample": 0, "first_prompt": 0, "first_step": 0,
        }  # fmt: skip
        assert torch.equal(decode(state, w, **arguments), reference.decode(state, w, **arguments))


def flips_are_proved(
    state: Tensor, w: Tensor, rule: BernoulliSampling, t: int, got: Tensor, expected: Tensor, error: float
) -> int:
    """Number of draws that differ in step t of :func:`check_step`, each proved to lie at the boundary."""
    prompts, samples, dim = w.shape
    u = w.double() + w.double() @ state[:, :, :-1].double().mT - state[:, None, :, -1].double()
    words = rng.philox(
        rng.counter(
            rng.Stream.BERNOULLI,
            prompt=torch.arange(2**32 - 3, 2**32 - 3 + prompts)[:, None, None],
            sample=torch.arange(2**31 - 3, 2**31 - 3 + samples)[:, None],
            coordinate=torch.arange(dim),
            block=t // 4,
        ),
        3,
    )
    flips = got != expected
    if rule.temperature == 0:
        return int((flips & ((u - 0.5).abs() > error)).sum()) * 2  # off the boundary: no proof
    slope = 1.0 if rule.temperature is None else 1 / (4 * rule.temperature)
    margin = (rng.uniform(words[t % 4], torch.float64) - rule.probability(u)).abs()
    # p itself: the exponential within 5 ulp and a few roundings of numbers up to 1.
    assert bool((margin[flips] <= slope * error + 16 * EPS).all())
    return int(flips.sum())


def check_authors_step(
    state: Tensor,
    w: Tensor,
    rule: Rule,
    got: Tensor,
    expected: Tensor,
    operations: int,
    log_error: float,
    log_floor: float,
    arguments: dict[str, Any],
) -> int:
    """One step of a rule of AUTHORS_RULES from thoughts ``w [B, N, d]``.

    Args:
        got, expected: the next thoughts, of a backend and of the reference.
        operations: roundings of u on either side, and of a sum over the coefficients.
        log_error, log_floor: of a logarithm in either, relative and absolute.
        arguments: of both decodes, with one step.

    Returns:
        The number of samples with another subset, each proved to lie at the boundary.
    """
    dim, (t,) = w.shape[2], (step - 1 for step in arguments["steps"])
    u_error = operations * EPS * magnitude(state, w)
    if isinstance(rule, (SubsetSampling, LargestCoefficients)):
        u = w.double() + w.double() @ state[:, :, :-1].double().mT - state[:, None, :, -1].double()
        return subsets_are_proved(rule, t, u, got, expected, u_error, log_error, log_floor, arguments)
    place = {name: arguments.get(name, 0) for name in ("seed", "first_sample", "first_prompt")}
    xi = reference.normals(len(w), w.shape[1], dim, step=t, like=state.double(), **place)
    scale, noise, error = noise_of(rule, w.double(), t, xi)
    bound = 2 * u_error + scale * (error + 6 * EPS * noise) + 2 * EPS * (magnitude(state, w) + scale * noise)
    assert bool(((got.double() - expected.double()).abs() <= bound).all())
    return 0


def noise_of(rule: Rule, w: Tensor, t: int, xi: Tensor) -> tuple[float, Tensor, Tensor]:
    """Scale of step t, size of what it multiplies, and by how much that differs between two backends ``[B, N, d]``.

    Args:
        rule: one of continuous coefficients.
        w, t: the thoughts and the step.
        xi: its normals.
    """
    assert isinstance(rule, (GaussianNoise, RankOneNoise, ElementwiseNoise))
    scale = rule.scales(t + 1)[t].item()
    if isinstance(rule, GaussianNoise):
        return scale, xi.abs(), torch.full_like(xi, NORMAL_ERROR)
    if isinstance(rule, ElementwiseNoise):
        return scale, w.abs() * xi.abs(), w.abs() * NORMAL_ERROR
    along = (xi * w).sum(2, keepdim=True).abs()
    # Each side rounds the products and their sum; then two products, and kappa_t itself.
    along_error = NORMAL_ERROR * w.abs().sum(2, keepdim=True)
    along_error = along_error + 2 * (w.shape[2] + 1) * EPS * (xi * w).abs().sum(2, keepdim=True)
    return scale, along * xi.abs(), along_error * (xi.abs() + NORMAL_ERROR) + along * NORMAL_ERROR


def subsets_are_proved(
    rule: SubsetSampling | LargestCoefficients,
    t: int,
    u: Tensor,
    got: Tensor,
    expected: Tensor,
    u_error: float | Tensor,
    log_error: float,
    log_floor: float,
    arguments: dict[str, Any],
) -> int:
    """Number of samples whose subset differs in step t, each proved: a coordinate that only one of both has and one
    that only the other has are in another order for either, so their keys must be as near as the errors allow.

    A key is E / v, rounded: v of u with its error, E of a logarithm whose argument is rounded alike everywhere.
    """
    assert bool(((got == 0) | (got == 1)).all())
    assert bool((got.sum(2) == rule.ones).all())
    least, most = (torch.tensor(x).double().item() for x in (LEAST_WEIGHT, MOST_WEIGHT))
    low, high = ((u + side * u_error).nan_to_num(nan=least).clamp(least, most) for side in (-1, 1))
    if isinstance(rule, LargestCoefficients):
        first, last = -high, -low
    else:
        e = exponentials(arguments, t, *u.shape)
        e_error = log_floor + log_error * e
        first, last = (e - e_error).clamp(0) / high * (1 - EPS), (e + e_error) / low * (1 + EPS)
    flips = 0
    for b, n in (got != expected).any(2).nonzero().tolist():
        mine, other = got[b, n] > expected[b, n], got[b, n] < expected[b, n]
        assert first[b, n, mine].max() <= last[b, n, other].min()
        assert first[b, n, other].max() <= last[b, n, mine].min()
        flips += 1
    return flips


def exponentials(arguments: dict[str, Any], t: int, prompts: int, samples: int, dim: int) -> Tensor:
    """Those of step t in float64, of arguments rounded to float32: ``[B, N, d]``."""
    first_prompt, first_sample = (arguments.get(name, 0) for name in ("first_prompt", "first_sample"))
    words = rng.philox(
        rng.counter(
            rng.Stream.SUBSET_SAMPLING,
            prompt=torch.arange(first_prompt, first_prompt + prompts)[:, None, None],
            sample=torch.arange(first_sample, first_sample + samples)[:, None],
            coordinate=torch.arange(dim),
            block=t // 4,
        ),
        arguments["seed"],
    )
    return -((words[t % 4].float() + 0.5) * 2.0**-32).double().log()


def check_exponentials(decode: Decode, samples: int = 300, spacing: float = 1e-5, least: float = 0.0) -> None:
    """The words of subsets are equal to the bit: with weights E_i (1 - r_i spacing) the key of coordinate i is nearly
    1, and the k smallest are those with r_i < k. What is drawn below ``least`` has so much weight that it is taken."""
    dim, first_sample = 9, 2**32 - samples
    order = torch.randperm(dim, generator=torch.Generator().manual_seed(1)).double()
    for t, ones in ((0, 1), (1, 2), (2, 5), (3, 8), (7, 3), (4 * 2**31 + 2, 4)):
        arguments: dict[str, Any] = {"first_sample": first_sample, "first_prompt": 2**32 - 2, "seed": 2**64 - 5}
        e = exponentials(arguments, t, 2, samples, dim)
        weights = torch.where(e <= least, 1e30, e * (1 - order * spacing)).float()
        keys = torch.where(e <= least, -1.0, order)
        expected = torch.zeros_like(weights).scatter_(2, keys.argsort(dim=2, stable=True)[..., :ones], 1.0)
        got = decode(
            torch.zeros(2, dim, dim + 1), weights, rule=SubsetSampling(ones), steps=[t + 1], first_step=t,
            samples=samples, **arguments,
        )[0]  # fmt: skip
        clear = ((e <= least).sum(2) <= ones)[..., None] & (weights > 2 * LEAST_WEIGHT).all(2, keepdim=True)
        assert clear.float().mean() > 0.9
        assert bool(((got == expected) | ~clear).all())


def check_free_run(
    decode: Decode,
    rule: Rule,
    dim: int,
    samples: int,
    steps: int,
    roundings: int = 0,
    log_error: float = LOG_ERROR,
    log_floor: float = 0.0,
    **arguments: Any,
) -> Tensor:
    """The chains stay together: errors of a step do not grow, the state being stable. After a proved flip
    a Bernoulli chain may go its own way; with these seeds none flips. For the rules of AUTHORS_RULES, of which some
    let errors grow, each step is compared with the reference's from the thought before."""
    state, w0 = problem(3, dim)
    rule = fitting(rule, dim)
    given = {"rule": rule, "steps": range(steps + 1), "samples": samples, "seed": 2**63 + 1, **arguments}
    got = decode(state, w0, **given)
    expected = reference.decode(state, w0, **given)
    assert got.shape == expected.shape
    assert not got.isnan().any()
    if isinstance(rule, GaussianNoise):
        worst = max(magnitude(state, w) for w in expected)
        operations = dim + 4 + max(roundings, dim + 4)
        step_error = operations * EPS * worst + rule.scales(steps).max().item() * NORMAL_ERROR if steps else 0.0
        assert (got - expected).abs().max() <= steps * math.sqrt(dim) * step_error
    elif isinstance(rule, BernoulliSampling):
        assert torch.equal(got, expected)
    else:
        assert torch.equal(got[0], expected[0])
        flips = 0
        for t in range(steps):
            one: dict[str, Any] = {**given, "steps": [t + 1], "first_step": t}
            following = reference.decode(state, got[t], **one)[0]
            operations = max(roundings, dim + 3)
            flips += check_authors_step(
                state, got[t], rule, got[t + 1], following, operations, log_error, log_floor, one
            )
        assert flips <= 1
    if steps:  # the last thought alone: by way of loops that keep no thought
        assert torch.equal(decode(state, w0, **{**given, "steps": [steps]}), got[-1:])
    return got


def check_uniforms(decode: Decode, samples: int = 500) -> None:
    """Uniforms are equal to the bit: a coefficient becomes 1 iff uniform < p, so not for p = uniform, but
    for the next float above it."""
    first_sample = 2**32 - samples
    for first_step in (0, 1, 2, 3, 7):
        words = rng.philox(
            rng.counter(
                rng.Stream.BERNOULLI,
                prompt=torch.arange(2)[:, None, None],
                sample=torch.arange(first_sample, 2**32)[:, None],
                coordinate=torch.arange(9),
                block=first_step // 4,
            ),
            5,
        )
        p = rng.uniform(words[first_step % 4], torch.float32)
        for u, bit in ((p, 0.0), (torch.nextafter(p, torch.tensor(2.0)), 1.0)):
            got = decode(
                torch.zeros(2, 9, 10),
                u,
                rule=BernoulliSampling("clip"),
                steps=[first_step + 1],
                first_step=first_step,
                samples=samples,
                first_sample=first_sample,
                seed=5,
            )
            assert bool((got == bit).all())


def check_ties(decode: Decode) -> None:
    """The sigmoid draw where uniform = p = 1/2: the coefficient becomes 0. These words of seed 5 are in the middle:
    2^23 after the shift. Then a temperature below float32's numbers: still a coin where u = 1/2, a threshold
    beside, also with a matrix so large that the slope in its unit would be infinite."""
    for sample, coordinate, step in ((37167, 14, 1), (262090, 2, 0)):
        arguments: dict[str, Any] = {
            "steps": [step + 1], "first_step": step, "samples": 3, "first_sample": sample - 1, "seed": 5,
        }  # fmt: skip
        u = torch.full((1, 3, 16), 0.5)
        u[:, :, ::5], u[:, :, 3::5] = 0.4999, 0.5001
        u[:, 1, coordinate] = 0.5
        u[:, :, 1] = 0.0
        state = torch.zeros(1, 16, 17)
        state[:, :, 1] = 1e20
        place = {"sample": torch.arange(sample - 1, sample + 2)[:, None], "coordinate": torch.arange(16)}
        words = rng.philox(rng.counter(rng.Stream.BERNOULLI, prompt=torch.tensor(0), block=0, **place), 5)[step]
        uniform = rng.uniform(words, torch.float64)
        assert uniform[1, coordinate] == 0.5
        for temperature in (0.2, 1e-40):
            rule = BernoulliSampling("sigmoid", temperature)
            got = decode(state, u, rule=rule, **arguments)[0, 0]
            assert torch.equal(got, (uniform < rule.probability(u[0].double())).float()), temperature


def check_products_of_bits(decode: Decode, dim: int) -> None:
    """Thresholds of outputs that lie off 1/2 by 2^-18 of their terms: of a real and large w0, then of bits. The matrix
    has rows beyond float16.

    Errors are below that: parts of 22 bits 2 of 2^-23, and 2 to 6 products, each rounded for every 16 coefficients by a
    compiled kernel, at most 48 of 2^-24 up to 128. One part of 11 bits would leave out 2^-12 of an entry.
    """
    draw = torch.Generator().manual_seed(dim)
    state = torch.randn(2, dim, dim + 1, generator=draw)
    state[:, ::3] *= 3e5
    sign = torch.randint(2, (2, dim), generator=draw) * 2 - 1
    state[:, :, -1] = 0
    w = torch.randn(2, dim, generator=draw) * 3e5
    bits = (torch.arange(dim) % 2 == 0).float().expand(2, dim)
    arguments: dict[str, Any] = {"rule": BernoulliSampling("sigmoid", 0.0), "samples": 3, "seed": 0}
    for thought, first_step in ((w, 0), (bits, 1)):
        given = state.double()
        matrix = given[:, :, :-1] + torch.eye(dim)
        terms = (matrix.abs() @ thought.double()[:, :, None].abs())[:, :, 0]
        u = (matrix @ thought.double()[:, :, None])[:, :, 0]
        target = 0.5 + sign * (terms + 0.5) * 2.0**-18
        if first_step == 0:
            spoilt = state.clone()
            spoilt[:, :, -1] = (u - target).float()
            got = decode(spoilt, thought, steps=[1], **arguments)[0]
        else:  # the first step, from 0, gives the bits; their outputs are moved by the entries of the first of them
            spoilt = state.clone()
            spoilt[:, :, -1] = -bits
            spoilt[:, :, 0] += (target - bits - u).float()
            u = (matrix @ thought.double()[:, :, None])[:, :, 0]
            got = decode(spoilt, torch.zeros_like(w), steps=[2], **arguments)[0]
        assert bool((got == (sign > 0)[:, None]).all())


def check_resumed_bits(decode: Decode, dim: int) -> None:
    """Outputs that are 1/2 but for their rounding, which decides the bits: from bits a chain goes on as within it."""
    draw = torch.Generator().manual_seed(dim)
    state, bits = torch.randn(8, dim, dim + 1, generator=draw), torch.randint(2, (8, dim), generator=draw).float()
    matrix = state[:, :, :-1].double() + torch.eye(dim)
    state[:, :, -1] = ((matrix @ bits.double()[:, :, None])[:, :, 0] - 0.5).float()
    start = torch.linalg.solve(matrix, state[:, :, -1].double() + 10 * (2 * bits - 1)).float()  # whose outputs are +-10
    arguments: dict[str, Any] = {"rule": BernoulliSampling("sigmoid", 0.0), "samples": 3, "seed": 0}
    first, second = decode(state, start, steps=[1, 2], **arguments)
    assert torch.equal(first[:, 0], bits)
    assert dim < 16 or 0.1 < second.mean() < 0.9, "with few coefficients most sums are exact"
    assert torch.equal(decode(state, bits, steps=[2], first_step=1, **arguments)[0], second)


def check_normals(decode: Decode) -> None:
    """Normals against float64, within what the documentation of the special functions allows (see NORMAL_ERROR), draw
    by draw: a radius near 0 and an angle within pi are more precise than the largest of either."""
    samples, dim = 128, 16
    place = {"sample": torch.arange(samples)[:, None], "coordinate": torch.arange(dim)}
    for first_step in (0, 3):
        words = rng.philox(rng.counter(rng.Stream.NOISE, prompt=torch.tensor(0), block=0, **place), 5)
        a, b = (words[first_step // 2 * 2 + i].double() for i in (0, 1))
        x = ((a.float() + 0.5) * 2.0**-32).double()
        square = -2 * x.log()
        radius, angle = square.sqrt(), (b - 2.0**32 * (b >= 2.0**31)) * 2 * math.pi * 2.0**-32
        exact = radius * (angle.cos() if first_step == 0 else angle.sin())
        # lg2 within 2^-22, times 2 ln 2, and a rounding. Near 0 a series: 2 terms leave out v^2 / 3 of it, below
        # 2^-18.5 where v < 2^-9.
        of_square = torch.where(x > 1 - 2.0**-9, square * 2.0**-18, 2 * math.log(2) * 2.0**-22 + 2 * EPS * square)
        of_radius = of_square / (2 * radius) + 2 * EPS * radius
        assert int((x > 1 - 2.0**-9).sum()) >= 2
        # The angle: word, constant and product are rounded; sines within 2^-21.19 up to pi.
        of_sine = 2.5 * EPS * angle.abs() + 2.0**-21.19
        w = torch.zeros(1, samples, dim)
        got = decode(
            torch.zeros(1, dim, dim + 1), w, rule=GaussianNoise(1.0), steps=[first_step + 1], first_step=first_step,
            samples=samples, seed=5,
        )[0, 0]  # fmt: skip
        bound = of_radius + radius * of_sine + 3 * EPS * exact.abs()
        assert bool(((got - exact).abs() <= bound).all())
