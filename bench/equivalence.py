"""A backend held against the float64 reference on the CPU, before it is timed.

Steps are teacher-forced (each begins at the reference's own thought, so that errors cannot add up) and
free. A drawn bit may differ from the reference's only where the uniform and the probability nearly tie.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from ttc_fast import BernoulliSampling, GaussianNoise, GeometricDecay, LinearAttention, LinearRegression, decode
from ttc_fast.decoding.rules import Rule
from ttc_fast.numerics import rng

RULES: dict[str, Rule] = {
    "gaussian": GaussianNoise(0.2),
    "gaussian, schedule": GaussianNoise(GeometricDecay(0.5, 0.8)),
    "sigmoid": BernoulliSampling("sigmoid", 0.25),
    "clip": BernoulliSampling("clip"),
    "threshold": BernoulliSampling("sigmoid", 0.0),
    "last step": BernoulliSampling("sigmoid", 0.25, sample_at="last_step"),
}
DIMS = (1, 3, 16, 31, 64, 100, 128, 256)
TOLERANCE = 5e-5
"""Of thoughts, which are of order one, and of the distance of a tie."""
STEPS = 9
SEED = 2**63 + 12345
FIRST_SAMPLE, FIRST_PROMPT = 2**31 + 5, 2**31 - 1
SAMPLES = 65  # more than any tile, and not a multiple of one


class Case(NamedTuple):
    """What one rule and dimension showed."""

    rule: str
    dim: int
    error: float
    """Largest difference of thoughts, forced and free, of real coefficients; 0 for binary ones."""
    flips: int
    """Bits that differ, all of them near ties."""
    margin: float
    """Largest distance of a tie among them."""


class _Problem(NamedTuple):
    state: Tensor
    """[B, d, d+1] with values of float32."""
    rule: Rule
    backend: str
    device: str

    def reference(self, w: Tensor, step: int, steps: Iterable[int]) -> Tensor:
        """Thoughts in float64 from w_step = ``w``."""
        return self._decode(self.state.double(), w.double(), "reference", step, steps)

    def ours(self, w: Tensor, step: int, steps: Iterable[int]) -> Tensor:
        state, w = self.state.to(self.device), w.float().to(self.device)
        return self._decode(state, w, self.backend, step, steps).double().cpu()

    def _decode(self, state: Tensor, w: Tensor, backend: str, step: int, steps: Iterable[int]) -> Tensor:
        out = decode(
            state, w, rule=self.rule, steps=list(steps), samples=SAMPLES, seed=SEED, first_step=step,
            first_sample=FIRST_SAMPLE, first_prompt=FIRST_PROMPT, backend=backend,
        )  # fmt: skip
        return out.thoughts

    def transformer(self, w: Tensor) -> Tensor:
        """u(w) of thoughts [B, N, d], in float64."""
        state = self.state.double()
        return w + torch.einsum("bij,bnj->bni", state[:, :, :-1], w.double()) - state[:, None, :, -1]

    def ties(self, w: Tensor, step: int) -> Tensor:
        """How far the uniform and the probability of every bit of w_{step+1} are apart [B, N, d]."""
        u = self.transformer(w)
        if not isinstance(self.rule, BernoulliSampling):
            raise TypeError(f"rule: expected BernoulliSampling, got {self.rule}")
        if self.rule.temperature == 0:
            return (u - 0.5).abs()
        prompts, samples, dim = w.shape
        counter = rng.counter(
            rng.Stream.BERNOULLI,
            prompt=torch.arange(prompts)[:, None, None] + FIRST_PROMPT,
            sample=torch.arange(samples)[:, None] + FIRST_SAMPLE,
            coordinate=torch.arange(dim),
            block=step // rng.STEPS_PER_BLOCK,
        )
        word = rng.philox(counter, SEED)[step % rng.STEPS_PER_BLOCK]
        return (rng.uniform(word, torch.float64) - self.rule.probability(u)).abs()


def _problem(rule: Rule, dim: int, backend: str, device: str) -> _Problem:
    prompts = LinearRegression(dim, 4 * dim, label_noise=0.1).sample(2, seed=3)
    model = LinearAttention.gradient_descent(dim, examples=4 * dim)
    return _Problem(model.prefill(prompts).linear.detach(), rule, backend, device)


def compare(name: str, dim: int, backend: str, device: str) -> Case:
    """One rule and dimension.

    Raises:
        ValueError: the backend's thoughts are not the reference's.
    """
    rule = RULES[name]
    problem = _problem(rule, dim, backend, device)
    start = torch.zeros(2, dim)
    steps = range(1, STEPS + 1)
    truth, free = problem.reference(start, 0, steps), problem.ours(start, 0, steps)
    w = start[:, None].expand(2, SAMPLES, dim).contiguous()
    alike = torch.ones(2, SAMPLES, 1, dtype=torch.bool)  # chains that may still be compared
    case = Case(name, dim, 0.0, 0, 0.0)
    for step in range(STEPS):
        # what the backend starts from is float32; the reference starts from the same
        forced = problem.ours(w, step, [step + 1])[0], problem.reference(w.float(), step, [step + 1])[0]
        if isinstance(rule, GaussianNoise):
            error = max((forced[0] - forced[1]).abs().max(), (free[step] - truth[step]).abs().max())
            case = case._replace(error=max(case.error, float(error)))
            w = truth[step].float()
            continue
        differs = (forced[0] != forced[1]) | (alike & (free[step] != truth[step]))
        if differs.any():
            tie = problem.ties(w, step)[differs].max().item()
            case = case._replace(flips=case.flips + int(differs.sum()), margin=max(case.margin, tie))
        if isinstance(rule, BernoulliSampling) and rule.sample_at == "every_step":
            alike = alike & (free[step] == truth[step]).all(-1, keepdim=True)
            w = truth[step].float()
        else:
            w = problem.transformer(w.double()).float()
    worst = max(case.error, case.margin)
    if not worst <= TOLERANCE:  # NaN, too
        raise ValueError(
            f"{backend}: expected the thoughts of the reference to {TOLERANCE:g} for {name}, d = {dim}, got {worst:.2g}"
        )
    return case


def compare_all(backend: str, device: str, dims: Iterable[int] = DIMS) -> list[Case]:
    """Every rule and dimension; raises at the first that differs."""
    return [compare(name, dim, backend, device) for dim in dims for name in RULES]
