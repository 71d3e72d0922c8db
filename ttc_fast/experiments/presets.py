"""Settings of published experiments, as starting points of a run."""

from __future__ import annotations

from .config import RunConfig

PRESETS: dict[str, RunConfig] = {
    "paper": RunConfig(
        coefficients="continuous",
        rule=("rank_one",),
        dim=50,
        examples=30,
        nonzero=5,
        label_noise=0.1**0.5,
        step_size=0.03,
        strength=0.001,
        prompts=128,
        steps=(10, 50, 100, 200, 500),
        samples=1000,
        budgets=(1, 10, 100, 1000),
        technique=("greedy", "ridge", "mean", "best_of_n"),
        verifier="smallest_norm",
        metric=("error_norm",),
    ),
    "paper_binary": RunConfig(
        coefficients="binary",
        rule=("subset",),
        dim=50,
        examples=30,
        nonzero=5,
        label_noise=0.1,
        step_size=1.0,
        prompts=128,
        steps=(1, 2, 5, 10, 20, 50),
        samples=1000,
        budgets=(1, 10, 50, 200, 1000),
        technique=("greedy", "single", "majority_vote", "plurality"),
        metric=("exact_recovery",),
    ),
}
"""Chen et al., arXiv 2508.07571, by an early repository of the first author (see ``decoding/authors_rules.py``), with
fewer prompts: eta = 0.001 and s^2 = 1 on sums over 30 examples, five coefficients of 50 that are not zero; binary ones
with eta = 1/n. Theirs has 4,096 prompts."""
