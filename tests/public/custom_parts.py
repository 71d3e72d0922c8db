# mypy: ignore-errors
"""Parts of one's own, none derived from a class of ours: a task, a rule, a verifier, a technique, a law."""

import torch

import ttc_fast as tf


class SmallFeatures:
    def sample(self, prompts, *, seed=0, first_prompt=0):
        each = [torch.Generator().manual_seed(2**32 * seed + first_prompt + p) for p in range(prompts)]
        x, w = (torch.stack([torch.randn(*shape, generator=g) / 2 for g in each]) for shape in ((64, 4), (4,)))
        return tf.Prompts(x, (x @ w[:, :, None])[:, :, 0], w, first=first_prompt)


class UniformNoise:
    def thought(self, u, w, draws):
        return u + 0.3 * (2 * draws.uniform() - 1)


class Sparse:
    def score(self, prompts, w, *, first_sample=0, step=0):
        return -w.abs().sum(2)


def last_sample(candidates):
    return candidates.coefficients[:, :, -1]


@tf.law("last_sample", UniformNoise, about="w_1 = b, noise of variance 0.03", metrics="squared error")
def law_of_last_sample(problem, step, budgets, metrics):
    error = (problem.state[:, :, -1] + problem.prompts.w_star).square().mean(1, keepdim=True) + 0.03
    return {"squared_error": error.expand(-1, len(budgets))} if step == 1 else {}


prompts, parts = SmallFeatures().sample(16), [last_sample, "best_of_n"]
decoder = tf.StochasticDecoder(tf.LinearAttention.gradient_descent(4, step_size=1.0), UniformNoise())
table = tf.evaluate(decoder, prompts, steps=[1, 8], samples=64, techniques=parts, verifier=Sparse())
checks = tf.overlay(decoder, prompts, table, verifier=Sparse()).theory_checks()
print({(key.technique, key.steps, key.samples): round(check.t, 1) for key, check in checks.items()})
