"""Models that a user brings: one without a linear state runs on the chain, one with such a state in the kernels."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from ttc_fast import (
    TECHNIQUES,
    BernoulliSampling,
    GaussianNoise,
    Key,
    LinearAttention,
    LinearRegression,
    Prompts,
    StochasticDecoder,
    beam_search,
    decode,
    evaluate,
    particle_filter,
)
from ttc_fast.decoding import chain, reference
from ttc_fast.decoding.backends import resolve_backend
from ttc_fast.decoding.rules import Rule
from ttc_fast.evaluation.evaluate import evaluation
from ttc_fast.evaluation.plan import Plan
from ttc_fast.numerics import sums

STEPS = [1, 3, 6]


class Softmax:
    """One head of softmax attention from the thought to the examples, with sums of fixed order."""

    dim = 3

    def prefill(self, prompts: Prompts) -> Prompts:
        return prompts

    def output(self, prompts: Prompts, w: Tensor) -> Tensor:
        read = sums.matmul(w, prompts.x.mT)
        attention = torch.exp(read - read.amax(2, keepdim=True))
        attention = attention / sums.tree_sum(attention, 2)[..., None]
        return w + 0.5 * sums.matmul(attention * (prompts.y[:, None] - read), prompts.x)


@dataclass(frozen=True)
class OwnState:
    """Not :class:`LinearState`, but with what the kernels ask for."""

    linear: Tensor


class Linear:
    """The state of :class:`LinearAttention`, and an output that nobody may need."""

    dim = 3

    def prefill(self, prompts: Prompts) -> OwnState:
        return OwnState(LinearAttention.gradient_descent(3, examples=8).prefill(prompts).linear)

    def output(self, state: OwnState, w: Tensor) -> Tensor:
        raise AssertionError("a linear state runs in the kernels")


def sample(rule: Rule, count: int = 4) -> Prompts:
    return LinearRegression(3, 8, "binary" if rule.binary else "continuous", label_noise=0.2).sample(count, seed=3)


def softmax_by_hand(x: Any, y: Any, w: Any) -> Any:
    """The output for one thought ``[d]``, in NumPy."""
    attention = np.exp(x @ w)
    return w + 0.5 * (attention / attention.sum() * (y - x @ w)) @ x


def test_chain_of_softmax_attention_by_hand() -> None:
    """float64 to 1e-12, noise included: the normals are those of the contract."""
    task = LinearRegression(3, 8, label_noise=0.2)
    prompts = task.sample(2, seed=3, first_prompt=5, dtype=torch.float64)
    decoder = StochasticDecoder(Softmax(), GaussianNoise(0.1))
    out = decoder(prompts, steps=range(7), samples=4, seed=9, first_sample=2)
    assert out.backend == "reference"
    where: dict[str, Any] = {"seed": 9, "first_sample": 2, "first_prompt": 5, "like": prompts.x}
    w = np.zeros((2, 4, 3))
    for t in range(7):
        np.testing.assert_allclose(out.thoughts[t], w, rtol=1e-12, atol=1e-12)
        normals = reference.normals(2, 4, 3, step=t, **where).numpy()
        for b, (x, y) in enumerate(zip(prompts.x.numpy(), prompts.y.numpy())):
            w[b] = [softmax_by_hand(x, y, one) for one in w[b]]
        w = w + 0.1 * normals
    assert np.abs(w - out.thoughts[6].numpy()).max() > 0.01  # seven steps are not six


@pytest.mark.parametrize("rule", [GaussianNoise(0.1), BernoulliSampling()])
def test_softmax_attention_does_not_depend_on_the_chunk(rule: Rule, monkeypatch: pytest.MonkeyPatch) -> None:
    """To the bit, in every technique, among them the searches, whatever is held at a time."""
    prompts, decoder = sample(rule), StochasticDecoder(Softmax(), rule)
    arguments: dict[str, Any] = {"steps": [2, 5], "samples": 10, "seed": 4, "techniques": TECHNIQUES}
    whole = evaluation(Plan.checked(decoder, prompts, **arguments), prompts)
    assert whole.backend == "reference"
    assert not whole.unstable.any()
    assert not np.isnan(whole.table.values).any()
    assert {key.technique for key in whole.table.keys} >= {"best_of_n", "particle_filter", "beam_search"}
    for chunk, bank, tile in ((1, 1, 2**15), (100, 300, 2**15), (2**20, 2**25, 40)):
        monkeypatch.setattr(chain, "TILE", tile)
        table = evaluate(decoder, prompts, chunk=chunk, bank=bank, **arguments)
        assert table.keys == whole.table.keys
        assert np.array_equal(table.values, whole.table.values)


def test_techniques_of_softmax_attention_by_hand() -> None:
    """Best-of-N from the decoded thoughts; searches without selection are the chains themselves."""
    rule = GaussianNoise(0.1)
    prompts, decoder = sample(rule), StochasticDecoder(Softmax(), rule)
    names = ["greedy", "best_of_n", "particle_filter", "beam_search"]
    table = evaluate(decoder, prompts, steps=STEPS, samples=8, budgets=[8], seed=4, techniques=names)
    thoughts = decoder(prompts, steps=STEPS, samples=8, seed=4).thoughts
    assert prompts.w_star is not None
    for t, w in zip(STEPS, thoughts):
        loss = (w @ prompts.x.mT - prompts.y[:, None]).square().sum(2)
        found = {
            "best_of_n": w[torch.arange(4), loss.argmin(1)],
            "particle_filter": particle_filter(decoder, prompts, steps=t, samples=8, beta=10.0, seed=4).answer,
            "beam_search": beam_search(decoder, prompts, steps=t, beams=2, expansions=4, seed=4).answer,
            "greedy": StochasticDecoder(Softmax(), GaussianNoise(0.0))(prompts, steps=t, samples=1).thoughts[0, :, 0],
        }
        for name, answer in found.items():
            error = (answer - prompts.w_star).square().mean(1)
            got = table[Key("continuous", name, t, 1 if name == "greedy" else 8, "squared_error")]
            np.testing.assert_allclose(got, error, rtol=1e-5)
    shared: dict[str, Any] = {"steps": 6, "seed": 4}
    particles = particle_filter(decoder, prompts, samples=8, beta=0.0, **shared)
    assert particles.candidates is not None
    assert torch.equal(particles.candidates, thoughts[-1])  # resumed six times
    beams = beam_search(decoder, prompts, beams=8, expansions=1, every=6, **shared)
    assert beams.candidates is not None
    assert torch.equal(beams.candidates, thoughts[-1])
    picked = beam_search(decoder, prompts, beams=2, expansions=4, **shared)
    assert picked.score is not None
    assert beams.score is not None
    assert picked.score.mean() > beams.score.mean()  # it is a search


def test_what_needs_a_kernel_is_refused() -> None:
    prompts, decoder = sample(GaussianNoise(0.1)), StochasticDecoder(Softmax(), GaussianNoise(0.1))
    message = "backend: 'native' cannot run: the model Softmax has no kernel, it runs in PyTorch; use backend='auto'"
    with pytest.raises(ValueError, match=message):
        decoder(prompts, steps=2, samples=3, backend="native")
    with pytest.raises(ValueError, match=message):
        evaluate(decoder, prompts, steps=2, samples=3, backend="native")
    for call in (decoder, partial(evaluate, decoder)):
        with pytest.raises(ValueError, match="method: expected 'stepwise' for a model without a linear state"):
            call(prompts, steps=2, samples=3, method="exact")


@pytest.mark.parametrize("rule", [GaussianNoise(0.3), BernoulliSampling()])
def test_linear_state_of_a_user_runs_in_the_kernels(rule: Rule) -> None:
    """To the bit like :class:`LinearAttention`: chains, techniques, searches, the exact method, unstable prompts."""
    prompts = sample(rule)
    theirs, ours = (
        StochasticDecoder(model, rule) for model in (Linear(), LinearAttention.gradient_descent(3, examples=8))
    )
    arguments: dict[str, Any] = {"steps": [2, 5], "samples": 24, "seed": 4}
    out = theirs(prompts, **arguments)
    assert out.backend == resolve_backend("auto")
    assert torch.equal(out.thoughts, ours(prompts, **arguments).thoughts)
    one, two = (
        evaluation(Plan.checked(decoder, prompts, techniques=TECHNIQUES, **arguments), prompts)
        for decoder in (theirs, ours)
    )
    assert one.backend == two.backend
    assert torch.equal(one.unstable, two.unstable)
    assert one.table.keys == two.table.keys
    assert np.array_equal(one.table.values, two.table.values)
    if not rule.binary:
        exact = [decoder(prompts, method="exact", **arguments).thoughts for decoder in (theirs, ours)]
        assert torch.equal(*exact)
        by_hand = decode(Linear().prefill(prompts).linear, torch.zeros(4, 3), rule=rule, **arguments).thoughts
        assert torch.equal(out.thoughts, by_hand)


def test_prompts_are_read_once() -> None:
    """One prefill for all steps, samples, techniques and searches of a bank."""
    seen = list[int]()

    class Counting(Softmax):
        def prefill(self, prompts: Prompts) -> Prompts:
            seen.append(len(prompts))
            return prompts

    rule = GaussianNoise(0.1)
    decoder = StochasticDecoder(Counting(), rule)
    arguments: dict[str, Any] = {"steps": [2, 5], "samples": 16, "techniques": TECHNIQUES}
    evaluate(decoder, sample(rule, 6), chunk=50, bank=2 * 16 * 3 * 2, **arguments)
    assert seen == [2, 2, 2]


class Trained(torch.nn.Module):
    """Softmax attention with a weight that wants a gradient."""

    dim = 3

    def __init__(self) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(()))

    def prefill(self, prompts: Prompts) -> Prompts:
        return prompts

    def output(self, prompts: Prompts, w: Tensor) -> Tensor:
        return Softmax().output(prompts, w) * self.scale


def test_decoding_makes_no_graph() -> None:
    rule = GaussianNoise(0.1)
    prompts, decoder = sample(rule), StochasticDecoder(Trained(), rule)
    thoughts = decoder(prompts, steps=STEPS, samples=4).thoughts
    assert not thoughts.requires_grad
    assert torch.equal(thoughts, StochasticDecoder(Softmax(), rule)(prompts, steps=STEPS, samples=4).thoughts)
    assert not beam_search(decoder, prompts, steps=3, beams=1, expansions=2).answer.requires_grad
    assert evaluate(decoder, prompts, steps=3, samples=4).values.all()


def test_models_of_a_user_are_checked() -> None:
    with pytest.raises(TypeError, match="model: expected an object with the methods dim, output, prefill"):
        StochasticDecoder(torch.nn.Linear(3, 3), GaussianNoise(0.1))  # type: ignore[arg-type]  # on purpose
    with pytest.raises(TypeError, match=r"model: .*got the class Softmax; make an object of it"):
        StochasticDecoder(Softmax, GaussianNoise(0.1))  # type: ignore[arg-type]  # on purpose
