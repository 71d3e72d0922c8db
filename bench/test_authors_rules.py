"""The rules of the paper's authors, native against peers, on one core: ``pytest -s bench/test_authors_rules.py``.

Every output is checked before it is timed. Times are the processor's, the least of several turns one after the other:
other programs on the machine change them little.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping

import pytest
import torch
from torch import Tensor

from bench.peers import Job, Run, chain, least_seconds, seeded
from ttc_fast import ElementwiseNoise, GaussianNoise, RankOneNoise, SubsetSampling, decode
from ttc_fast.decoding.authors_rules import LEAST_WEIGHT
from ttc_fast.decoding.rules import Rule

DIM, ONES = 50, 5
KAPPA = 0.01
TURNS = 9


def backend(job: Job, rule: Rule, name: str) -> Run:
    """The last thoughts [N, d] by one of our backends."""
    state, w0 = job.prompt[2][None], torch.zeros(1, job.dim)

    def run(seed: int) -> Tensor:
        out = decode(state, w0, rule=rule, steps=[job.steps], samples=job.samples, seed=seed, backend=name)
        return out.thoughts[0, 0]

    return run


def multinomial(job: Job) -> Run:
    """PyTorch: torch.multinomial without replacement."""
    matrix, offset = job.affine

    def step(w: Tensor) -> Tensor:
        weights = torch.addmm(offset, w, matrix).clamp_(min=LEAST_WEIGHT)
        return torch.zeros_like(w).scatter_(1, torch.multinomial(weights, ONES), 1.0)

    return seeded(chain(job, step))


def race(job: Job) -> Run:
    """PyTorch: a race of exponentials, the first k by topk."""
    matrix, offset = job.affine

    def step(w: Tensor) -> Tensor:
        weights = torch.addmm(offset, w, matrix).clamp_(min=LEAST_WEIGHT)
        keys = torch.empty_like(weights).exponential_().div_(weights)
        return torch.zeros_like(w).scatter_(1, keys.topk(ONES, dim=1, largest=False, sorted=False).indices, 1.0)

    return seeded(chain(job, step))


def jax_race(job: Job) -> Run:
    """JAX: the race in logarithms (Gumbel), jit of lax.scan."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    matrix, offset = (jnp.asarray(a.numpy()) for a in job.affine)

    def step(w: jax.Array, key: jax.Array) -> tuple[jax.Array, None]:
        u = jnp.maximum(jnp.matmul(w, matrix, precision="highest") + offset, LEAST_WEIGHT)
        first = jax.lax.top_k(jnp.log(u) + jax.random.gumbel(key, u.shape), ONES)[1]
        return jnp.zeros_like(w).at[jnp.arange(job.samples)[:, None], first].set(1.0), None

    def steps(key: jax.Array) -> jax.Array:
        return jax.lax.scan(step, jnp.zeros((job.samples, job.dim)), jax.random.split(key, job.steps))[0]

    run = jax.jit(steps)
    return lambda seed: torch.from_numpy(np.asarray(run(jax.random.key(seed))).copy())


def rank_one(job: Job) -> Run:
    """PyTorch eager."""
    matrix, offset = job.affine

    def step(w: Tensor) -> Tensor:
        xi = torch.randn_like(w)
        return torch.addmm(offset, w, matrix).addcmul_((xi * w).sum(1, keepdim=True), xi, value=-KAPPA)

    return seeded(chain(job, step))


@functools.cache
def subset_means() -> tuple[Tensor, int]:
    """Mean of the last thought by the reference, and of how many samples."""
    samples = 2**14
    return backend(Job("binary", DIM, samples), SubsetSampling(ONES), "reference")(99).double().mean(0), samples


def check_subsets(thoughts: Tensor) -> None:
    """k ones each; every coordinate as often as in the reference, to 6 standard errors of the difference."""
    assert bool(((thoughts == 0) | (thoughts == 1)).all())
    assert bool((thoughts.sum(1) == ONES).all())
    mean, samples = subset_means()
    error = (mean * (1 - mean) + 1e-3).mul(1 / samples + 1 / len(thoughts)).sqrt()
    assert ((thoughts.double().mean(0) - mean).abs() / error).max() < 6


def check_mean(job: Job, thoughts: Tensor, shrink: float = 0.0) -> None:
    """The exact mean, to 6 standard errors: that of steps w -> w (M - shrink) + c."""
    matrix, offset = (a.double() for a in job.affine)
    mean = torch.zeros(job.dim, dtype=torch.float64)
    for _ in range(job.steps):
        mean = mean @ matrix - shrink * mean + offset
    error = thoughts.double().std(0) / math.sqrt(len(thoughts))
    assert ((thoughts.double().mean(0) - mean).abs() / error).max() < 6


def rates(job: Job, runs: Mapping[str, Run]) -> dict[str, float]:
    """Millions of coefficient-steps per second of the processor's time."""
    return {name: job.work / seconds / 1e6 for name, seconds in least_seconds(runs, TURNS).items()}


def with_jax(peers: dict[str, Callable[[Job], Run]]) -> dict[str, Callable[[Job], Run]]:
    """And JAX's, where it is installed."""
    try:
        import jax  # noqa: F401  # whether it is there
    except ModuleNotFoundError:
        return peers
    return {**peers, "JAX": jax_race}


def test_subsets_take_a_fifteenth_of_the_best_peer() -> None:
    torch.set_num_threads(1)
    job, rule = Job("binary", DIM), SubsetSampling(ONES)
    peers = with_jax({"multinomial": multinomial, "race": race})
    runs = {"native": backend(job, rule, "native"), **{name: make(job) for name, make in peers.items()}}
    for run in runs.values():
        check_subsets(run(1))
    found = rates(job, runs)
    ratio = found["native"] / max(rate for name, rate in found.items() if name != "native")
    print(f"\nd = {DIM}, k = {ONES}: {', '.join(f'{name} {rate:.0f}' for name, rate in found.items())}, {ratio:.0f}x")
    assert ratio >= 15


@pytest.mark.parametrize("dim", [32, 64, 128])
def test_noise_times_the_thought_is_nearly_as_fast_as_plain_noise(dim: int) -> None:
    torch.set_num_threads(1)
    job = Job("continuous", dim)
    runs = {
        "plain": backend(job, GaussianNoise(0.2), "native"),
        "rank-one": backend(job, RankOneNoise(KAPPA), "native"),
        "element-wise": backend(job, ElementwiseNoise(0.1), "native"),
        "rank-one in PyTorch": rank_one(job),
    }
    for name, run in runs.items():
        check_mean(job, run(1), KAPPA if "rank" in name else 0.0)
    found = rates(job, runs)
    shares = {name: found[name] / found["plain"] for name in ("rank-one", "element-wise")}
    peer = found["rank-one"] / found["rank-one in PyTorch"]
    print(
        f"\nd = {dim}: {', '.join(f'{name} {rate:.0f}' for name, rate in found.items())}; of plain noise "
        f"{shares['rank-one']:.2f} and {shares['element-wise']:.2f}; {peer:.1f}x PyTorch"
    )
    assert min(shares.values()) >= 0.8
    assert peer > 1
