"""The settings of ``ttc-fast run`` and ``ttc-fast plan``: each field is an option of the command line."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

from tyro.conf import Positional, arg

Kind: TypeAlias = Literal["continuous", "binary"]

RuleName: TypeAlias = Literal["gaussian", "rank_one", "elementwise", "bernoulli", "subset"]

TaskName: TypeAlias = Literal[
    "linear", "skewed", "quadrants", "half_subspace", "sphere", "scaled_x", "scaled_y", "student", "laplace",
    "logistic", "max_margin", "two_layer", "tree", "parity",
]  # fmt: skip

VerifierName: TypeAlias = Literal[
    "in_context_loss", "held_out_loss", "oracle", "wrong", "smallest_norm", "smallest_l1_norm"
]


@dataclass(frozen=True)
class RunConfig:
    """Decode stochastic chains of thought for in-context linear regression, apply the inference
    techniques, and show how the error falls with the number of thoughts and of samples. --preset paper, or
    paper_binary, takes the settings of Chen et al. (arXiv 2508.07571) as defaults."""

    coefficients: Literal["continuous", "binary", "both"] = "both"
    """Kind of the coefficients: noise is injected into continuous ones, binary ones are drawn. With --rule, both means
    those of the rules."""
    rule: tuple[RuleName, ...] = ()
    """How the next thought is drawn: gaussian, rank_one or elementwise noise for continuous coefficients, bernoulli or
    subset sampling for binary ones (default gaussian and bernoulli)."""
    task: TaskName = "linear"
    """What the prompts are: linear regression; with other features (skewed, quadrants, half_subspace, sphere, scaled_x
    or scaled_y by 2) or noise of heavy tails (student, laplace) in the labels; with labels of signs, where thoughts are
    judged by the direction that made them (logistic) or that of the largest margin (max_margin); with labels of a ReLU
    network (two_layer) or a decision tree (tree), judged by the best linear predictor; or parity, where thoughts are
    tapes of d bits, with parities of two, for that of --nonzero of them."""
    train_task: TaskName | None = None
    """Decode with the linear attention that training on this task would find, in closed form (default, with
    --train-examples, the task)."""
    train_examples: int | None = None
    """In-context examples of its prompts (default those of the task)."""
    dim: int | None = None
    """Coefficients of a prompt (default 16, or the file's)."""
    examples: int | None = None
    """In-context examples of a prompt (default 64, or the file's)."""
    prompts: int | None = None
    """Independent prompts (default 64, or all of the file's)."""
    first_prompt: int = 0
    """Global index of the first prompt: parts of a run, saved and put together, equal the whole to the bit."""
    steps: tuple[int, ...] = (1, 2, 4, 8, 16, 32)
    """Chain lengths to report."""
    samples: int = 4096
    """Parallel decodes of a prompt."""
    budgets: tuple[int, ...] | None = None
    """Samples that a technique may spend (default 1, 2, 4, ... up to all)."""
    label_noise: float | None = None
    """Standard deviation of the labels' noise (default 0.1; a file brings its own labels)."""
    truth: Kind | None = None
    """Kind of the true coefficients (default that of the thoughts)."""
    nonzero: int | None = None
    """Coefficients that are not zero (default all continuous ones, and each binary one with probability 1/2)."""
    support: Literal["random", "spread"] = "random"
    """Which: others for each prompt, or every (d/k)-th."""
    prior: float | None = None
    """Standard deviation of continuous coefficients (default 1), probability of a binary one (default 1/2)."""
    covariance: tuple[float, ...] = (0.0,)
    """Of the features: the exponent a of eigenvalues i^-a (0: the identity), or all eigenvalues."""
    noise_scale: float = 0.2
    """Standard deviation of the noise injected into every continuous thought; relative to it with elementwise noise."""
    strength: float | None = None
    """Of rank-one noise (default 0.05)."""
    noise_schedule: str = "constant"
    """How the noise changes from step to step: constant, geometric:RATIO or power:EXPONENT."""
    ridge: float | None = None
    """Ridge kappa of the technique ridge, w <- u(w) - kappa w (default that of rank-one noise, its strength)."""
    ones: int | None = None
    """Ones that subset sampling draws (default --nonzero)."""
    link: Literal["sigmoid", "clip"] = "sigmoid"
    """From the transformer's output to the probability of a binary coefficient."""
    temperature: float | None = None
    """Temperature of the sigmoid link (default 0.25; 0 is greedy)."""
    sample_at: Literal["every_step", "last_step"] = "every_step"
    """Draw bits at every step, or only those of the answer."""
    step_size: float | None = None
    """Step of gradient descent in the attention's weights (default 1 / (1 + sqrt(d/n))^2, half of where chains begin
    to diverge)."""
    technique: tuple[str, ...] = ("greedy", "single", "mean", "majority_vote", "best_of_n", "oracle_best_of_n")
    """Inference techniques by name: ``ttc-fast techniques`` lists them."""
    metric: tuple[str, ...] = ()
    """Further metrics, such as error_norm, |w - w*|; the first one is what the screen shows."""
    verifier: VerifierName = "in_context_loss"
    """What best-of-N, the weighted techniques and the searches trust: the loss on the examples that the chains see,
    or on others that they do not, or the true error, or a loss that aims at other coefficients than the true ones, or
    how small the answer is."""
    held_out: int | None = None
    """Examples that only the verifier held_out_loss sees (default a quarter of them)."""
    wrong_by: float | None = None
    """Standard deviation, in units of w, of what the verifier wrong adds to each true coefficient (default 0.5)."""
    verifier_noise: float = 0.0
    """Standard deviation of Gaussian noise added to the verifier's scores."""
    false_positive_rate: float = 0.0
    """Probability that the verifier gives an answer its highest score, whatever its value."""
    model: Path | None = None
    """Decode with the weights of this .safetensors file, which ttc-fast train or save_model wrote."""
    model_class: str | None = None
    """MODULE:CLASS of a model that is yours; it is imported, also from the current folder."""
    start: Literal["zero", "random"] = "zero"
    """Where chains begin: at zero, or at w_0 ~ N(0, I), another one for each prompt."""
    seed: int = 0
    """Seed of all random numbers, an integer below 2^64."""
    backend: Literal["auto", "reference", "native", "triton"] = "auto"
    """Implementation of the decode."""
    method: Literal["stepwise", "exact"] = "stepwise"
    """Decode step by step, or draw continuous thoughts of the asked steps from their exact law."""
    device: str = "cpu"
    """Device of PyTorch, such as cuda, cuda:1 or mps; cuda:all divides the prompts among all GPUs of the machine."""
    prompts_file: Path | None = None
    """Take the prompts from an .npz file: x [B, n, d], y [B, n] and, if known, w_star [B, d]."""
    theory: bool = True
    """Compute what theory says of each technique that has a law, and how far the run is from it."""
    full: bool = False
    """Print every budget, with intervals, medians, theory and work."""
    plot: Path | None = None
    """Draw error against samples and against steps to this file: png, pdf or svg (needs matplotlib)."""
    save: Path | None = None
    """Write the table, with a figure for each prompt, to this .parquet file."""
    json: Path | None = None
    """Write config, versions and all results to this file."""
    quiet: bool = False
    """Print nothing but errors."""


OUTPUT = ("full", "plot", "save", "json", "quiet", "theory")
"""Settings that do not change what the results are."""


@dataclass(frozen=True)
class PlanConfig:
    """Split a budget C = N T of chain steps into T thoughts and N samples, so that the mean of the samples has
    the least squared error: exact given each of many simulated prompts, averaged over them."""

    budget: int
    """C, chain steps for a prompt: samples times steps."""
    dim: int = 16
    """Coefficients of a prompt."""
    examples: int = 64
    """In-context examples of a prompt."""
    label_noise: float = 0.1
    """Standard deviation of the labels' noise."""
    noise_scale: float = 0.2
    """Standard deviation of the noise injected into every thought."""
    step_size: float | None = None
    """Step of gradient descent in the attention's weights (default n / (n + d + 1))."""
    longest: int = 256
    """The longest chain to consider."""
    prompts: int = 256
    """Simulated prompts."""
    seed: int = 0
    """Seed of all random numbers."""
    simulate: bool = False
    """Check the best split by simulation, on the same prompts."""


@dataclass(frozen=True)
class ReproduceConfig:
    """Do the published experiments of a paper again: published figures, ours and the exact law side by side. Parts that
    are done are kept, so that the command may be interrupted and given again."""

    study: Positional[str]
    """Name of the paper, 2508.07571, or a .json file of your own as ttc_fast/experiments/study.py describes it."""
    quick: bool = False
    """A tenth of the published number of prompts."""
    prompts: int | None = None
    """Prompts of each run (default as many as published)."""
    only: tuple[str, ...] = ()
    """Names of runs (default all)."""
    folder: Path | None = None
    """Where parts are kept (default reproduce-STUDY in the current folder)."""
    json: Path | None = None
    """Write all records to this file."""
    plot: Path | None = None
    """Draw the figures to this file: png, pdf or svg (needs matplotlib)."""
    quiet: bool = False
    """Print nothing but errors."""


@dataclass(frozen=True)
class SweepConfig:
    """Do all runs of a study: a grid over settings of ttc-fast run, train or fit, in shards that are kept, so that the
    command may be killed and given again. A complete sweep is merged into FOLDER/table.parquet."""

    study: Positional[Path]
    """A .toml file with tables [run] (or those of train, or [fit]), [grid] and [zip], see
    ttc_fast/experiments/README.md, or one of the gallery: thoughts_or_samples, temperature, reward_hacking,
    ridge_from_sampling."""
    out: Annotated[Path, arg(metavar="FOLDER")]
    """Folder of the shards and of the merged table."""
    engine: Literal["local", "ray"] = "local"
    """Processes of this machine, or a Ray cluster."""
    workers: int | None = None
    """Shards at a time (default one for each processor)."""
    shard: Annotated[str | None, arg(metavar="I/N")] = None
    """Do the I-th of N parts only, counted from 1; ttc-fast merge then puts them together."""
    address: str | None = None
    """Of the Ray cluster (default the one that runs, else one of this machine)."""
    dry_run: bool = False
    """Show the runs, the shards, the predicted time and disk, and do nothing."""
    quiet: bool = False
    """Print nothing but errors."""


@dataclass(frozen=True)
class MergeConfig:
    """Check that a sweep is complete, and put its shards together in FOLDER/table.parquet."""

    folder: Positional[Path]
    """Of ttc-fast sweep --out."""
    quiet: bool = False
    """Print nothing but errors."""


@dataclass(frozen=True)
class StatusConfig:
    """Show how far a sweep is. Exit status 0: it is complete; 1: it is not."""

    folder: Positional[Path]
    """Of ttc-fast sweep --out."""


@dataclass(frozen=True)
class PlotConfig:
    """Draw the figures of a complete sweep: error against samples, thoughts and compute, over both, and against what
    varies, for one column of a paper."""

    folder: Positional[Path]
    """Of ttc-fast sweep --out."""
    to: Path | None = None
    """Folder of the pictures (default FOLDER/figures)."""
    format: tuple[Literal["pdf", "png", "svg"], ...] = ("pdf", "png")
    """Formats of each picture."""
    only: tuple[str, ...] = ()
    """Names of pictures (default all)."""
    quiet: bool = False
    """Print nothing but errors."""


@dataclass(frozen=True)
class ReportConfig:
    """Write one page of HTML about a complete sweep, which needs no network: figures, tables, settings, versions, and
    the commands that make them again."""

    folder: Positional[Path]
    """Of ttc-fast sweep --out."""
    output: Annotated[Path, arg(aliases=["-o"], metavar="FILE")]
    """The page, such as report.html."""
    title: str | None = None
    """Of the page (default the folder's name)."""
    quiet: bool = False
    """Print nothing but errors."""
