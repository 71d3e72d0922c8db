"""Prompts: drawn from the contract's streams, given as tensors, or read from a file."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from oracles import ALPHA
from ttc_fast import (
    GaussianNoise,
    Key,
    LinearAttention,
    LinearRegression,
    Prompts,
    StochasticDecoder,
    TaskPrompts,
    evaluate,
    load_prompts,
)
from ttc_fast.tasks.metrics import Metric, error_norm, truth


@pytest.mark.parametrize("coefficients", ["continuous", "binary"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_prompts_do_not_depend_on_the_chunk(coefficients: Any, dtype: torch.dtype) -> None:
    task = LinearRegression(5, 7, coefficients, spectrum=1.0, label_noise=0.3)
    whole = task.sample(10, seed=2**63 + 1, first_prompt=2**31, dtype=dtype)
    for start, stop in ((0, 1), (3, 10)):
        part = task.sample(stop - start, seed=2**63 + 1, first_prompt=2**31 + start, dtype=dtype)
        same = whole.part(start, stop)
        assert part.first == same.first
        assert torch.equal(part.x, same.x)
        assert torch.equal(part.y, same.y)
        assert part.w_star is not None
        assert same.w_star is not None
        assert torch.equal(part.w_star, same.w_star)


def test_examples_are_a_prefix() -> None:
    """A prompt with more examples begins with those of a shorter one."""
    short, long = (LinearRegression(3, n, label_noise=1.0).sample(4, seed=1) for n in (5, 9))
    assert torch.equal(short.x, long.x[:, :5])
    assert torch.equal(short.y, long.y[:, :5])


def test_shapes_and_noiseless_labels() -> None:
    prompts = LinearRegression(3, 5, "binary").sample(4, dtype=torch.float64)
    assert prompts.x.shape == (4, 5, 3)
    assert prompts.y.shape == (4, 5)
    assert prompts.w_star is not None
    assert set(prompts.w_star.unique().tolist()) <= {0.0, 1.0}
    torch.testing.assert_close(prompts.y, torch.einsum("bnd,bd->bn", prompts.x, prompts.w_star))


@pytest.mark.parametrize("spectrum", [0.0, 1.5, (4.0, 1.0, 0.25)])
def test_laws_of_the_task(spectrum: Any) -> None:
    """x, w* and the labels' noise against their laws, by Kolmogorov-Smirnov; 5 tests, each 10^-6."""
    task = LinearRegression(3, 6, spectrum=spectrum, label_noise=0.5, prior=2.0)
    prompts = task.sample(5000, seed=3, dtype=torch.float64)
    assert prompts.w_star is not None
    eigenvalues = np.array(spectrum if isinstance(spectrum, tuple) else np.arange(1, 4.0) ** -spectrum)
    np.testing.assert_allclose(task.eigenvalues, eigenvalues)
    whitened = prompts.x.numpy() / np.sqrt(eigenvalues)
    noise = prompts.y - torch.einsum("bnd,bd->bn", prompts.x, prompts.w_star)
    for i in range(3):
        assert stats.kstest(whitened[:, :, i].ravel(), "norm").pvalue > ALPHA
    assert stats.kstest(prompts.w_star.ravel().numpy() / 2.0, "norm").pvalue > ALPHA
    assert stats.kstest(noise.ravel().numpy() / 0.5, "norm").pvalue > ALPHA


@pytest.mark.parametrize("prior", [None, 0.1])
def test_binary_prior(prior: float | None) -> None:
    w_star = LinearRegression(8, 1, "binary", prior=prior).sample(5000).w_star
    assert w_star is not None
    assert stats.binomtest(int(w_star.sum()), w_star.numel(), prior or 0.5).pvalue > ALPHA


@pytest.mark.parametrize("coefficients", ["continuous", "binary"])
def test_nonzero_coefficients(coefficients: Any) -> None:
    """Exactly k, anywhere alike (chi-squared), and the continuous ones normal (Kolmogorov-Smirnov): each at 10^-6."""
    task = LinearRegression(6, 1, coefficients, nonzero=2, prior=None if coefficients == "binary" else 2.0)
    w_star = task.sample(6000, seed=4, dtype=torch.float64).w_star
    assert w_star is not None
    nonzero = w_star != 0
    assert bool((nonzero.sum(1) == 2).all())
    pairs = (nonzero.double().mT @ nonzero.double()).triu(1).flatten()
    assert stats.chisquare(pairs[pairs > 0].numpy(), np.full(15, 400.0)).pvalue > ALPHA
    if coefficients == "binary":
        assert bool((w_star[nonzero] == 1).all())
    else:
        assert stats.kstest(w_star[nonzero].numpy() / 2.0, "norm").pvalue > ALPHA
        dense = LinearRegression(6, 1, prior=2.0).sample(6000, seed=4, dtype=torch.float64).w_star
        assert dense is not None
        assert torch.equal(w_star[nonzero], dense[nonzero])


def test_spread_support() -> None:
    w_star = LinearRegression(50, 1, "binary", nonzero=5, support="spread").sample(2).w_star
    assert w_star is not None
    assert [row.nonzero().flatten().tolist() for row in w_star] == [[0, 10, 20, 30, 40]] * 2
    uneven = LinearRegression(5, 1, "binary", nonzero=3, support="spread").sample(1).w_star
    assert uneven is not None
    assert uneven.tolist() == [[1.0, 1.0, 0.0, 1.0, 0.0]]


def test_error_norm() -> None:
    """The root of d times the squared error."""
    prompts = Prompts(torch.zeros(1, 1, 2), torch.zeros(1, 1), torch.tensor([[1.0, 0.0]]))
    assert error_norm(prompts, torch.tensor([[[4.0, 4.0], [1.0, 0.0]]])).tolist() == [[5.0, 0.0]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"nonzero": 4}, "nonzero: expected an integer from 1 to 3, got 4"),
        ({"nonzero": 0}, "nonzero: expected an integer from 1 to 3, got 0"),
        ({"support": "spread"}, "support: expected 'random' without nonzero, got 'spread'; say how many"),
        ({"support": "first", "nonzero": 2}, "support: expected one of 'random', 'spread', got 'first'"),
        ({"coefficients": "binary", "nonzero": 2, "prior": 0.1}, "prior: expected none with nonzero=2, got 0.1"),
        ({"dim": 0}, "dim: expected an integer from 1"),
        ({"dim": 2.0}, "dim: expected an integer, got 2.0"),
        ({"examples": -1}, "examples: expected an integer from 1"),
        ({"coefficients": "ternary"}, "coefficients: expected one of 'continuous', 'binary', got 'ternary'"),
        ({"label_noise": -0.1}, "label_noise: expected a finite number of at least 0, got -0.1"),
        ({"label_noise": float("nan")}, "label_noise: expected a finite number"),
        ({"spectrum": (1.0, 2.0)}, "spectrum: expected 3 eigenvalues (dim), got 2"),
        ({"spectrum": (1.0, 2.0, -1.0)}, "spectrum: expected a finite number of at least 0, got -1.0"),
        ({"coefficients": "binary", "prior": 1.5}, "prior: expected a finite number from 0 to 1, got 1.5"),
    ],
)
def test_task_refuses(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=re.escape(message)):
        LinearRegression(**{"dim": 3, "examples": 4, **arguments})


def test_sample_refuses() -> None:
    task = LinearRegression(3, 4)
    with pytest.raises(ValueError, match="prompts: expected an integer from 1"):
        task.sample(0)
    with pytest.raises(ValueError, match="seed: expected an integer from 0"):
        task.sample(1, seed=-1)
    with pytest.raises(ValueError, match="first_prompt: expected"):
        task.sample(2, first_prompt=2**32 - 1)


X, Y, W = torch.ones(2, 4, 3), torch.ones(2, 4), torch.ones(2, 3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"x": X[0]}, "x: expected shape [B, n, d], got [4, 3]"),
        ({"x": X.long()}, "x: expected dtype float32 or float64, got torch.int64"),
        ({"x": X.numpy()}, "x: expected a torch.Tensor, got ndarray"),
        ({"x": X[:, :0], "y": Y[:, :0]}, "x: expected at least one prompt, example and feature"),
        ({"y": Y[:, :3]}, "y: expected shape [2, 4], got [2, 3]"),
        ({"y": Y.double()}, "y: expected torch.float32 on cpu as x, got torch.float64 on cpu"),
        ({"w_star": W[:1]}, "w_star: expected shape [2, 3], got [1, 3]"),
        ({"x": X / 0}, "x: expected finite numbers, got inf at [0, 0, 0]"),
        ({"w_star": W * torch.tensor([1.0, float("nan"), 1.0])}, "w_star: expected finite numbers, got nan at [0, 1]"),
        ({"covariance": torch.eye(2)}, "covariance: expected shape [3, 3], got [2, 2]"),
    ],
)
def test_prompts_refuse(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=re.escape(message)):
        Prompts(**{"x": X, "y": Y, **arguments})


def test_covariance_of_own_prompts_is_their_second_moment() -> None:
    x = torch.randn(5, 6, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = torch.einsum("bni,bnj->ij", x, x) / 30
    torch.testing.assert_close(Prompts(x, x[:, :, 0]).covariance, expected)


def save_prompts(path: Path, prompts: Prompts, known: bool) -> None:
    """As a user would with NumPy; with w_star if it is ``known``."""
    x, y, w_star = prompts.x.numpy(), prompts.y.numpy(), prompts.w_star
    if known and w_star is not None:
        np.savez(path, x=x, y=y, w_star=w_star.numpy())
    else:
        np.savez(path, x=x, y=y)


@pytest.mark.parametrize("known", [True, False])
def test_load_prompts(tmp_path: Path, known: bool) -> None:
    made = LinearRegression(3, 4).sample(2, dtype=torch.float64)
    save_prompts(tmp_path / "p.npz", made, known)
    loaded = load_prompts(tmp_path / "p.npz", dtype=torch.float64)
    assert torch.equal(loaded.x, made.x)
    assert torch.equal(loaded.y, made.y)
    assert (loaded.w_star is not None) == known
    assert load_prompts(tmp_path / "p.npz").x.dtype == torch.float32


def bad_files(folder: Path) -> dict[str, str]:
    """Files that hold no prompts, and what is said of them."""
    x, y = X.numpy(), Y.numpy()
    np.savez(folder / "no_y.npz", x=x)
    np.savez(folder / "nan.npz", x=x, y=y * np.nan)
    np.savez(folder / "shape.npz", x=x, y=y[0])
    np.savez(folder / "text.npz", x=x, y=y.astype(str))
    np.savez(folder / "pickle.npz", x=x, y=np.array([{}], dtype=object))
    np.save(folder / "array.npy", x)
    (folder / "empty.npz").touch()
    (folder / "words.npz").write_text("x,y\n1,2\n")
    (folder / "cut.npz").write_bytes((folder / "nan.npz").read_bytes()[:200])
    not_npz = "expected an .npz file with the arrays x and y"
    return {
        "no_y.npz": "none called y",
        "nan.npz": "y: expected finite numbers, got nan at [0, 0]",
        "shape.npz": "y: expected shape [2, 4], got [4]",
        **dict.fromkeys(("text.npz", "pickle.npz", "array.npy", "empty.npz", "words.npz", "cut.npz"), not_npz),
    }


def test_load_prompts_refuses(tmp_path: Path) -> None:
    for name, message in bad_files(tmp_path).items():
        with pytest.raises(ValueError, match=re.escape(message)) as caught:
            load_prompts(tmp_path / name)
        assert "allow_pickle" not in str(caught.value)
    np.savez(tmp_path / "objects.npz", x=np.ones((1, 2, 3)), y=np.array([[1.0, None]]))
    with pytest.raises(ValueError, match=r"expected an \.npz file .*, got: array y: Python objects") as caught:
        load_prompts(tmp_path / "objects.npz")
    assert "allow_pickle" not in str(caught.value)
    with pytest.raises(FileNotFoundError):
        load_prompts(tmp_path / "missing.npz")


class OneHot:
    """A user's task: every feature vector has a single 1; its own class, with nothing but what is required."""

    def sample(self, prompts: int, *, seed: int = 0, first_prompt: int = 0) -> Prompts:
        every = torch.randn(100, 3, generator=torch.Generator().manual_seed(seed))
        x, w_star = torch.eye(3).repeat(4, 1).expand(prompts, -1, -1), every[first_prompt : first_prompt + prompts]
        return Prompts(x, (x @ w_star[:, :, None])[:, :, 0], w_star, torch.full((3,), 1 / 3), first=first_prompt)


class Robust(OneHot):
    """With a metric and a loss of its own."""

    def metrics(self) -> dict[str, Metric]:
        return {"largest": lambda prompts, w: (w - truth(prompts)).abs().amax(2)}

    def in_context_loss(self, prompts: Prompts, w: Tensor) -> Tensor:
        return (w @ prompts.x.mT - prompts.y[:, None]).abs().mean(2)


def test_task_of_a_user() -> None:
    """Sampled part by part or at once: the same, to the bit; its global indices go on from the first prompt."""
    decoder = StochasticDecoder(LinearAttention.gradient_descent(3, step_size=1.0), GaussianNoise(0.3))
    arguments: dict[str, Any] = {"steps": [1, 3], "samples": 8, "seed": 4}
    task: Any = OneHot()
    whole = evaluate(decoder, task.sample(7, seed=1, first_prompt=5), **arguments)
    parts = evaluate(decoder, TaskPrompts(task, 7, seed=1, first_prompt=5), bank=100, **arguments)
    assert whole.keys == parts.keys
    assert parts.prompts.tolist() == list(range(5, 12))
    assert np.array_equal(whole.values, parts.values)
    assert np.array_equal(
        evaluate(decoder, task.sample(2, seed=1, first_prompt=9), **arguments).values, parts.values[:, 4:6]
    )


def test_task_with_its_own_metric_and_loss() -> None:
    """Every technique is measured by the metric, and best-of-N trusts the loss: by hand for all samples."""
    decoder = StochasticDecoder(LinearAttention.gradient_descent(3, step_size=1.0), GaussianNoise(0.3))
    source, techniques = TaskPrompts(Robust(), 7, seed=1), ["single", "mean", "median", "best_of_n", "beam_search"]  # type: ignore[arg-type]  # it gets the defaults
    table = evaluate(decoder, source, steps=2, samples=8, budgets=[8], techniques=techniques, seed=4)
    prompts = source.part(0, 7)
    w, w_star = decoder(prompts, steps=2, samples=8, seed=4).thoughts[0], truth(prompts)
    best = w[torch.arange(7), Robust().in_context_loss(prompts, w).argmin(1)]
    for technique, expected in (
        ("single", (w - w_star).abs().amax(2).mean(1)),
        ("mean", (w.mean(1) - w_star[:, 0]).abs().amax(1)),
        ("best_of_n", (best - w_star[:, 0]).abs().amax(1)),
    ):
        key = Key("continuous", technique, 2, 1 if technique == "single" else 8, "largest")
        np.testing.assert_allclose(table[key], expected, rtol=1e-5)
    assert {key.technique for key in table.keys if key.metric == "largest"} == set(techniques)


def test_prompts_of_a_task_refuse() -> None:
    with pytest.raises(TypeError, match="task: expected an object with the method sample"):
        TaskPrompts(3, 4)  # type: ignore[arg-type]  # on purpose
    with pytest.raises(TypeError, match=r"task: .* got the class OneHot; make an object of it"):
        TaskPrompts(OneHot, 4)  # type: ignore[arg-type]  # on purpose
    with pytest.raises(ValueError, match="count: expected an integer from 1"):
        LinearRegression(3, 4).prompts(0)
    with pytest.raises(ValueError, match="first_prompt: expected an integer from 0"):
        LinearRegression(3, 4).prompts(2, first_prompt=2**32 - 1)
