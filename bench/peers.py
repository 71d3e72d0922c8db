"""The same decode as a researcher would write it by hand: the peers that our backends are timed against.

A job is one prompt, N samples, T steps, thoughts of the last step only, float32. Every peer draws its own
random numbers; :func:`check` holds its output against the exact law before anything is timed.
"""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ttc_fast import BernoulliSampling, GaussianNoise, LinearAttention, LinearRegression, decode
from ttc_fast.decoding.rules import Rule

Run = Callable[[int], Tensor]
"""The last thoughts ``[N, d]``, given a seed."""

SIGMA, TEMPERATURE = 0.2, 0.25


def least_seconds(runs: Mapping[str, Callable[[int], Any]], turns: int) -> dict[str, float]:
    """Of the processor's time, in the quickest of several turns one after the other: others change it little."""
    least = dict.fromkeys(runs, math.inf)
    for turn in range(turns):
        for name, run in runs.items():
            began = time.process_time()
            run(turn)
            least[name] = min(least[name], time.process_time() - began)
    return least


@dataclass(frozen=True)
class Job:
    """One decode to time."""

    kind: str
    dim: int
    samples: int = 4096
    steps: int = 32
    device: str = "cpu"

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
        x, y, state = prompts.x[0], prompts.y[0], model.prefill(prompts).linear[0].detach()
        return x.to(self.device), y.to(self.device), state.to(self.device)

    @functools.cached_property
    def affine(self) -> tuple[Tensor, Tensor]:
        """M^T [d, d] and c [d] of u(w) = w M^T + c."""
        state = self.prompt[2]
        return (torch.eye(self.dim, device=self.device) + state[:, :-1]).mT.contiguous(), -state[:, -1]

    def start(self) -> Tensor:
        """w_0 of every sample."""
        return torch.zeros(self.samples, self.dim, device=self.device)


def native(job: Job) -> Callable[[int], Tensor]:
    return lambda seed: ours(job, seed, "native")


def reference(job: Job) -> Callable[[int], Tensor]:
    return lambda seed: ours(job, seed, "reference")


def ours(job: Job, seed: int, backend: str) -> Tensor:
    """The last thoughts [N, d] by one of our backends."""
    state = job.prompt[2][None]
    w0 = torch.zeros(1, job.dim, device=job.device)
    out = decode(state, w0, rule=job.rule, steps=[job.steps], samples=job.samples, seed=seed, backend=backend)
    return out.thoughts[0, 0]


def _sample(job: Job, u: Tensor) -> Tensor:
    if job.kind == "continuous":
        return u.add_(torch.randn_like(u), alpha=SIGMA)
    return (torch.rand_like(u) < torch.sigmoid_(u.sub_(0.5).div_(TEMPERATURE))).float()


def chain(job: Job, step: Callable[[Tensor], Tensor]) -> Callable[[], Tensor]:
    """All steps of a job, one after the other."""

    def run() -> Tensor:
        w = job.start()
        for _ in range(job.steps):
            w = step(w)
        return w

    return run


def seeded(run: Callable[[], Tensor]) -> Callable[[int], Tensor]:
    def seed_and_run(seed: int) -> Tensor:
        torch.manual_seed(seed)
        return run()

    return seed_and_run


def eager_gram(job: Job) -> Callable[[int], Tensor]:
    """PyTorch eager, Gram form: one d x d product a step."""
    matrix, offset = job.affine
    return seeded(chain(job, lambda w: _sample(job, torch.addmm(offset, w, matrix))))


def eager_tokens(job: Job) -> Callable[[int], Tensor]:
    """PyTorch eager, token form: attention over the n examples at each step."""
    x, y, _ = job.prompt
    value = x * (-job.dim * 4 / (5 * job.dim + 1) / len(x))  # -P x_i / n
    return seeded(chain(job, lambda w: _sample(job, torch.addmm(w, torch.addmm(-y, w, x.mT), value))))


def compiled_step(job: Job) -> Callable[[Tensor], Tensor]:
    """torch.compile of the step in Gram form."""
    torch.compiler.reset()  # a job's shapes are compiled for themselves
    matrix, offset = job.affine

    @torch.compile(fullgraph=True, dynamic=False)
    def step(w: Tensor) -> Tensor:
        u = torch.addmm(offset, w, matrix)
        if job.kind == "continuous":
            return u + SIGMA * torch.randn_like(u)
        return (torch.rand_like(u) < torch.sigmoid((u - 0.5) / TEMPERATURE)).float()

    return step


def compiled(job: Job) -> Callable[[int], Tensor]:
    """torch.compile of the step."""
    return seeded(chain(job, compiled_step(job)))


def jax_chain(job: Job) -> Callable[[int], Any]:
    """JAX: jit of lax.scan in Gram form, with JAX's default random numbers; an array that may not be there yet."""
    import jax
    import jax.numpy as jnp

    matrix, offset = (jnp.asarray(a.cpu().numpy()) for a in job.affine)

    def step(w: jax.Array, key: jax.Array) -> tuple[jax.Array, None]:
        u = jnp.matmul(w, matrix, precision="highest") + offset  # a GPU would take TF32
        if job.kind == "continuous":
            return u + SIGMA * jax.random.normal(key, u.shape), None
        return (jax.random.uniform(key, u.shape) < jax.nn.sigmoid((u - 0.5) / TEMPERATURE)).astype(u.dtype), None

    def steps(key: jax.Array) -> Any:
        return jax.lax.scan(step, jnp.zeros((job.samples, job.dim)), jax.random.split(key, job.steps))[0]

    run = jax.jit(steps)
    return lambda seed: run(jax.random.key(seed))


def jax_scan(job: Job) -> Callable[[int], Tensor]:
    """JAX, its result waited for: a CPU array is shared, not copied."""
    import numpy as np

    run = jax_chain(job)
    return lambda seed: torch.from_numpy(np.asarray(run(seed)).copy())


PEERS: dict[str, Callable[[Job], Callable[[int], Tensor]]] = {
    "eager, Gram": eager_gram,
    "eager, tokens": eager_tokens,
    "torch.compile": compiled,
    "JAX": jax_scan,
    "reference": reference,
}


LAW_SAMPLES = 2**16


@functools.cache
def _law(job: Job) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation [d] of the last thought: exact, or from LAW_SAMPLES of the reference."""
    if job.kind == "binary":
        truth = ours(replace(job, samples=LAW_SAMPLES), 99, "reference").double().cpu()
        return truth.mean(0), truth.std(0)
    matrix, offset = (a.double().cpu() for a in job.affine)
    mean, covariance = torch.zeros(job.dim, dtype=torch.float64), torch.zeros(job.dim, job.dim, dtype=torch.float64)
    for _ in range(job.steps):
        mean = mean @ matrix + offset
        covariance = matrix.mT @ covariance @ matrix + SIGMA**2 * torch.eye(job.dim)
    return mean, covariance.diagonal().sqrt()


def check(job: Job, thoughts: Tensor) -> None:
    """Mean and, where it is not a function of the mean, spread of every coefficient, to 7 standard errors.

    Of many samples, evenly spaced ones are looked at: as many as the law is known from.

    Raises:
        ValueError: the output does not have the law of the job.
    """
    if thoughts.shape != (job.samples, job.dim):
        raise ValueError(f"thoughts: expected shape {[job.samples, job.dim]}, got {list(thoughts.shape)}")
    thoughts = thoughts[:: max(1, job.samples // LAW_SAMPLES)].cpu()
    mean, std = _law(job)
    # A standard error, and a floor for coefficients that hardly ever move.
    error = (std + 0.02) / math.sqrt(len(thoughts))
    off_mean = ((thoughts.double().mean(0) - mean).abs() / error).max()
    off_std = ((thoughts.double().std(0) - std).abs() / error).max() if job.kind == "continuous" else 0.0
    if not (off_mean < 7 and off_std < 7):
        raise ValueError(f"thoughts: expected the law of {job}, got means {off_mean:.1f} and spreads {off_std:.1f} off")
