"""The same decode as a researcher would write it by hand: the peers that the native backend is timed against.

A job is one prompt, N samples, T steps, thoughts of the last step only, float32. Every peer draws its own
random numbers; :func:`check` holds its output against the exact law before anything is timed.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ttc_fast import BernoulliSampling, GaussianNoise, LinearAttention, LinearRegression, decode
from ttc_fast.rules import Rule

SIGMA, TEMPERATURE = 0.2, 0.25


@dataclass(frozen=True)
class Job:
    """One decode to time."""

    kind: str
    dim: int
    samples: int = 4096
    steps: int = 32

    @property
    def work(self) -> int:
        """Coefficient-steps."""
        return self.dim * self.samples * self.steps

    @property
    def rule(self) -> Rule:
        return GaussianNoise(SIGMA) if self.kind == "continuous" else BernoulliSampling("sigmoid", TEMPERATURE)

    @functools.cached_property
    def prompt(self) -> tuple[Tensor, Tensor, Tensor]:
        """Features [n, d], labels [n], state [d, d+1] with n = 4d examples."""
        prompts = LinearRegression(self.dim, 4 * self.dim, label_noise=0.1).sample(1, seed=1)
        model = LinearAttention.gradient_descent(self.dim, examples=4 * self.dim)
        return prompts.x[0], prompts.y[0], model.prefill(prompts.x, prompts.y)[0].detach()

    @functools.cached_property
    def affine(self) -> tuple[Tensor, Tensor]:
        """M^T [d, d] and c [d] of u(w) = w M^T + c."""
        state = self.prompt[2]
        return (torch.eye(self.dim) + state[:, :-1]).mT.contiguous(), -state[:, -1]


def native(job: Job) -> Callable[[int], Tensor]:
    return lambda seed: _ours(job, seed, "native")


def reference(job: Job) -> Callable[[int], Tensor]:
    return lambda seed: _ours(job, seed, "reference")


def _ours(job: Job, seed: int, backend: str) -> Tensor:
    state = job.prompt[2][None]
    w0 = torch.zeros(1, job.dim)
    out = decode(state, w0, rule=job.rule, steps=[job.steps], samples=job.samples, seed=seed, backend=backend)
    return out.thoughts[0, 0]


def _sample(job: Job, u: Tensor) -> Tensor:
    if job.kind == "continuous":
        return u.add_(torch.randn_like(u), alpha=SIGMA)
    return (torch.rand_like(u) < torch.sigmoid_(u.sub_(0.5).div_(TEMPERATURE))).float()


def eager_gram(job: Job) -> Callable[[int], Tensor]:
    """PyTorch eager, Gram form: one d x d product a step."""
    matrix, offset = job.affine

    def run(seed: int) -> Tensor:
        torch.manual_seed(seed)
        w = torch.zeros(job.samples, job.dim)
        for _ in range(job.steps):
            w = _sample(job, torch.addmm(offset, w, matrix))
        return w

    return run


def eager_tokens(job: Job) -> Callable[[int], Tensor]:
    """PyTorch eager, token form: attention over the n examples at each step."""
    x, y, _ = job.prompt
    value = x * (-job.dim * 4 / (5 * job.dim + 1) / len(x))  # -P x_i / n

    def run(seed: int) -> Tensor:
        torch.manual_seed(seed)
        w = torch.zeros(job.samples, job.dim)
        for _ in range(job.steps):
            w = _sample(job, torch.addmm(w, torch.addmm(-y, w, x.mT), value))
        return w

    return run


def compiled(job: Job) -> Callable[[int], Tensor]:
    """torch.compile of the step in Gram form."""
    torch.compiler.reset()  # a job's shapes are compiled for themselves
    matrix, offset = job.affine

    @torch.compile(fullgraph=True, dynamic=False)
    def step(w: Tensor) -> Tensor:
        u = torch.addmm(offset, w, matrix)
        if job.kind == "continuous":
            return u + SIGMA * torch.randn_like(u)
        return (torch.rand_like(u) < torch.sigmoid((u - 0.5) / TEMPERATURE)).float()

    def run(seed: int) -> Tensor:
        torch.manual_seed(seed)
        w = torch.zeros(job.samples, job.dim)
        for _ in range(job.steps):
            w = step(w)
        return w

    return run


def jax_scan(job: Job) -> Callable[[int], Tensor]:
    """JAX: jit of lax.scan in Gram form, with JAX's default random numbers."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    matrix, offset = (jnp.asarray(a.numpy()) for a in job.affine)

    def step(w: jax.Array, key: jax.Array) -> tuple[jax.Array, None]:
        u = w @ matrix + offset
        if job.kind == "continuous":
            return u + SIGMA * jax.random.normal(key, u.shape), None
        return (jax.random.uniform(key, u.shape) < jax.nn.sigmoid((u - 0.5) / TEMPERATURE)).astype(u.dtype), None

    def chain(key: jax.Array) -> Any:
        return jax.lax.scan(step, jnp.zeros((job.samples, job.dim)), jax.random.split(key, job.steps))[0]

    compiled_chain = jax.jit(chain)

    def run(seed: int) -> Tensor:
        # asarray waits for the result; a CPU array is shared, not copied
        return torch.from_numpy(np.asarray(compiled_chain(jax.random.key(seed))).copy())

    return run


PEERS: dict[str, Callable[[Job], Callable[[int], Tensor]]] = {
    "eager, Gram": eager_gram,
    "eager, tokens": eager_tokens,
    "torch.compile": compiled,
    "JAX": jax_scan,
    "reference": reference,
}


@functools.cache
def _law(job: Job) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation [d] of the last thought: exact, or from 2^16 samples of the reference."""
    if job.kind == "binary":
        truth = _ours(Job(job.kind, job.dim, 2**16, job.steps), 99, "reference").double()
        return truth.mean(0), truth.std(0)
    matrix, offset = (a.double() for a in job.affine)
    mean, covariance = torch.zeros(job.dim, dtype=torch.float64), torch.zeros(job.dim, job.dim, dtype=torch.float64)
    for _ in range(job.steps):
        mean = mean @ matrix + offset
        covariance = matrix.mT @ covariance @ matrix + SIGMA**2 * torch.eye(job.dim)
    return mean, covariance.diagonal().sqrt()


def check(job: Job, thoughts: Tensor) -> None:
    """Mean and, where it is not a function of the mean, spread of every coefficient, to 7 standard errors.

    Raises:
        ValueError: the output does not have the law of the job.
    """
    if thoughts.shape != (job.samples, job.dim):
        raise ValueError(f"thoughts: expected shape {[job.samples, job.dim]}, got {list(thoughts.shape)}")
    mean, std = _law(job)
    # A standard error, and a floor for coefficients that hardly ever move.
    error = (std + 0.02) / math.sqrt(job.samples)
    off_mean = ((thoughts.double().mean(0) - mean).abs() / error).max()
    off_std = ((thoughts.double().std(0) - std).abs() / error).max() if job.kind == "continuous" else 0.0
    if not (off_mean < 7 and off_std < 7):
        raise ValueError(f"thoughts: expected the law of {job}, got means {off_mean:.1f} and spreads {off_std:.1f} off")
