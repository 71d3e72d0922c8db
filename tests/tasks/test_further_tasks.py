"""Tasks beyond Gaussian linear regression: their laws, metrics, and what the transformers make of them."""

from __future__ import annotations

import math
from typing import Any, get_args

import numpy as np
import pytest
import torch
from scipy import stats

from ttc_fast import (
    AttentionTransformer,
    GaussianNoise,
    HeavyTailedRegression,
    LinearRegression,
    LogisticDescent,
    LogisticRegression,
    Prompts,
    ShiftedRegression,
    StochasticDecoder,
    evaluate,
    load_model,
    save_model,
)
from ttc_fast.tasks.logistic_regression import max_margin
from ttc_fast.tasks.shifted import Shift

TASKS: list[Any] = [
    LogisticRegression(3, 9), LogisticRegression(3, 9, sharpness=2.0), LogisticRegression(3, 9, target="max_margin"),
    HeavyTailedRegression(3, 9), HeavyTailedRegression(3, 9, noise="laplace"),
    *(ShiftedRegression(3, 9, shift, label_noise=0.1) for shift in get_args(Shift)),
]  # fmt: skip


@pytest.mark.parametrize("task", TASKS, ids=str)
def test_prompts_are_a_function_of_their_index(task: Any) -> None:
    """To the bit, whatever is sampled beside them; other seeds give other prompts."""
    whole, part = task.sample(6, seed=3, first_prompt=10), task.sample(2, seed=3, first_prompt=13)
    for name in ("x", "y", "w_star"):
        assert torch.equal(getattr(whole, name)[3:5], getattr(part, name))
        assert not torch.equal(getattr(whole, name), getattr(task.sample(6, seed=4, first_prompt=10), name))
    assert part.first == 13


def test_labels_of_logistic_regression() -> None:
    """Shares of y = 1 by bins of <w, x>: 18,000 labels, each of ten bins beyond 4.5 standard errors once in 15,000."""
    task = LogisticRegression(3, 9, sharpness=2.0)
    prompts = task.sample(2000, seed=1)
    assert prompts.w_star is not None
    scores = (prompts.x @ prompts.w_star[:, :, None])[:, :, 0].flatten().numpy()
    p, ones = 1 / (1 + np.exp(-2 * scores)), prompts.y.flatten().numpy() == 1
    for chosen in np.array_split(np.argsort(scores), 10):
        spread = math.sqrt((p[chosen] * (1 - p[chosen])).sum())
        assert abs(ones[chosen].sum() - p[chosen].sum()) < 4.5 * spread
    clean = LogisticRegression(3, 9).sample(50, seed=1)
    assert clean.w_star is not None
    assert bool(((clean.x @ clean.w_star[:, :, None])[:, :, 0] * clean.y > 0).all())


def test_largest_margin_by_a_support_vector_machine() -> None:
    """scikit-learn's, on examples mirrored at zero so that its plane goes through it; its tolerance is 1e-6."""
    SVC = pytest.importorskip("sklearn.svm").SVC
    prompts = LogisticRegression(4, 15, target="max_margin").sample(12, seed=2)
    assert prompts.w_star is not None
    for x, y, w in zip(prompts.x.double().numpy(), prompts.y.numpy(), prompts.w_star.numpy()):
        machine = SVC(kernel="linear", C=1e8, tol=1e-8).fit(np.vstack([x, -x]), np.concatenate([y, -y]))
        expected = machine.coef_[0] / np.linalg.norm(machine.coef_[0])
        np.testing.assert_allclose(w, expected, atol=1e-4)
        assert min(y * (x @ w)) == pytest.approx(min(y * (x @ expected)), abs=1e-4)
    with pytest.raises(ValueError, match="y: expected examples that a plane through zero separates"):
        max_margin(torch.tensor([[[1.0], [1.0]]]), torch.tensor([[1.0, -1.0]]))


@pytest.mark.parametrize("loss", ["exponential", "logistic"])
def test_steps_of_logistic_descent(loss: Any) -> None:
    """By hand in NumPy, from autograd of the loss in float64."""
    task = LogisticRegression(3, 9)
    one = task.sample(2, seed=5)
    prompts = Prompts(one.x.double(), one.y.double())
    thoughts = StochasticDecoder(LogisticDescent(3, 0.7, loss), GaussianNoise(0.0))(prompts, steps=[1, 4], samples=1)
    for b in range(2):
        w = torch.zeros(3, dtype=torch.float64, requires_grad=True)
        for t in range(1, 5):
            margins = prompts.y[b] * (prompts.x[b] @ w)
            value = (
                torch.logsumexp(-margins, 0) if loss == "exponential" else torch.nn.functional.softplus(-margins).mean()
            )
            (gradient,) = torch.autograd.grad(value, w)
            w = (w - 0.7 * gradient).detach().requires_grad_()
            if t in (1, 4):
                found = thoughts.thoughts[(1, 4).index(t), b, 0]
                torch.testing.assert_close(found, w.detach(), rtol=1e-12, atol=1e-12)


def test_logistic_descent_goes_to_the_largest_margin() -> None:
    """Normalised descent: the direction comes nearer and nearer, and the margin within a tenth of the largest."""
    prompts = LogisticRegression(3, 12, target="max_margin").sample(6, seed=3)
    task = LogisticRegression(3, 12, target="max_margin")
    decoder = StochasticDecoder(LogisticDescent(3, 1.0), GaussianNoise(0.0))
    table = evaluate(decoder, task.prompts(6, seed=3), steps=[20, 100, 1000], samples=1, techniques=["greedy"])
    errors = {key.steps: table[key].mean() for key in table.select(metric="direction_error").keys}
    assert errors[1000] < 2e-3
    assert errors[1000] < errors[100] / 2 < errors[20] / 4
    margins = {key.steps: table[key] for key in table.select(metric="margin").keys}
    w, x, y = prompts.w_star, prompts.x, prompts.y
    assert w is not None
    largest = ((x @ w[:, :, None])[:, :, 0] * y).amin(1).numpy()
    assert (margins[1000] <= largest + 1e-5).all()
    assert margins[1000].mean() > 0.9 * largest.mean()


def test_metrics_of_directions() -> None:
    """An angle of 60 degrees; length does not matter; zero has no direction."""
    x = torch.tensor([[[1.0, 0.0], [0.0, 2.0]]])
    prompts = Prompts(x, torch.tensor([[1.0, 1.0]]), torch.tensor([[1.0, 0.0]]))
    w = torch.tensor([[[0.5, 3**0.5 / 2], [5.0, 5 * 3**0.5], [0.0, 0.0]]])
    found = {name: metric(prompts, w)[0].tolist() for name, metric in LogisticRegression(2, 2).metrics().items()}
    assert found["direction_error"] == pytest.approx([0.5, 0.5, 1.0], rel=1e-6)
    assert found["error_rate"] == pytest.approx([1 / 3, 1 / 3, 0.5], rel=1e-6)
    assert found["margin"] == pytest.approx([0.5, 0.5, 0.0], rel=1e-6)
    loss = LogisticRegression(2, 2).in_context_loss(prompts, w)[0].tolist()
    assert loss[2] == pytest.approx(math.log(2))
    assert loss[0] == pytest.approx((math.log(1 + math.exp(-0.5)) + math.log(1 + math.exp(-(3**0.5)))) / 2, rel=1e-6)


@pytest.mark.parametrize("noise", ["student", "laplace"])
def test_noise_of_heavy_tails(noise: Any) -> None:
    """Kolmogorov and Smirnov's test of 18,000 residuals against SciPy's law; p < 1e-4 once in 10,000 seeds."""
    prompts = HeavyTailedRegression(3, 9, label_noise=0.5, noise=noise, degrees=2.5).sample(2000, seed=1)
    clean = LinearRegression(3, 9).sample(2000, seed=1)
    assert torch.equal(prompts.x, clean.x)
    residual = ((prompts.y - clean.y).double() / 0.5).flatten().numpy()
    law = stats.t(2.5) if noise == "student" else stats.laplace
    assert stats.kstest(residual, law.cdf).pvalue > 1e-4


def test_shifts() -> None:
    """Of 2,000 prompts: eigenvalues, orthants, subspaces, lengths, scales; labels are those of w*."""

    def of(shift: Any, **more: Any) -> Prompts:
        return ShiftedRegression(4, 6, shift, **more).sample(2000, seed=2)

    for shift in get_args(Shift):
        prompts = of(shift)
        assert prompts.w_star is not None
        torch.testing.assert_close(prompts.y, (prompts.x @ prompts.w_star[:, :, None])[:, :, 0], rtol=1e-5, atol=1e-5)
        rows = prompts.x.flatten(0, 1).double()
        scale = 4.0 if shift == "scaled_x" else 1.0
        # 12,000 rows; of a prompt they share a rotation, so that the entries' errors are below 0.06
        torch.testing.assert_close(rows.mT @ rows / len(rows) / scale, torch.eye(4).double(), rtol=0, atol=0.15)
        torch.testing.assert_close(prompts.covariance / scale, torch.ones(4))
    assert bool((of("quadrants").x.sign() == of("quadrants").x[:, :1].sign()).all())
    assert torch.linalg.matrix_rank(of("half_subspace").x[:20], tol=1e-4).tolist() == [2] * 20
    torch.testing.assert_close(of("sphere").x.norm(dim=2), torch.full((2000, 6), 2.0))
    clean = LinearRegression(4, 6).sample(2000, seed=2)
    torch.testing.assert_close(of("scaled_x", scale=3.0).x, 3 * clean.x)
    torch.testing.assert_close(of("scaled_y", scale=3.0).y, 3 * clean.y)
    values = torch.linalg.svdvals(ShiftedRegression(4, 4000, "skewed").sample(3).x.double()).square() / 4000
    expected = torch.tensor([1, 1 / 4, 1 / 9, 1 / 16]).double()
    torch.testing.assert_close(values, (4 * expected / expected.sum()).expand(3, -1), rtol=0.12, atol=0)
    noisy = of("scaled_y", label_noise=0.3, scale=2.0)
    assert noisy.w_star is not None
    residual = noisy.y - (noisy.x @ noisy.w_star[:, :, None])[:, :, 0]
    assert residual.std().item() == pytest.approx(0.6, rel=0.03)


def test_refusals(tmp_path: Any) -> None:
    with pytest.raises(ValueError, match="target: expected 'direction' with sharpness=1"):
        LogisticRegression(3, 4, sharpness=1, target="max_margin")
    with pytest.raises(ValueError, match="shift: expected one of 'skewed'"):
        ShiftedRegression(3, 4, "rotated")  # type: ignore[arg-type]  # wrong on purpose
    with pytest.raises(ValueError, match="noise: expected one of 'student'"):
        HeavyTailedRegression(3, 4, noise="normal")  # type: ignore[arg-type]  # wrong on purpose
    with pytest.raises(ValueError, match="y: expected labels -1 and 1 for LogisticDescent"):
        LogisticDescent(3).prefill(LinearRegression(3, 4).sample(2))
    save_model(LogisticDescent(3, 0.5, "logistic"), tmp_path / "m.safetensors")
    assert repr(load_model(tmp_path / "m.safetensors")) == "LogisticDescent(dim=3, step_size=0.5, loss='logistic')"
    decoder = StochasticDecoder(AttentionTransformer.initial(3), GaussianNoise(0.1))
    with pytest.raises(ValueError, match=r"prompts: x: expected shape \[B, n, 3\]"):
        decoder(LogisticRegression(4, 5).sample(1), steps=1, samples=1)
