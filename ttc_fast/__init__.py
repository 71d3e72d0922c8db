"""ttc-fast: a laboratory for test-time computing of transformers on in-context linear regression."""

from __future__ import annotations

TYPE_CHECKING = False  # as typing has it, which takes a while to import: until then Ctrl-C is a traceback

__version__ = "0.1.0"

_HOMES = {
    "decoding.rules": (
        "Rule",
        "GaussianNoise",
        "BernoulliSampling",
        "EncodedRule",
    ),
    "decoding.authors_rules": ("RankOneNoise", "ElementwiseNoise", "SubsetSampling", "LargestCoefficients"),
    "decoding.schedules": ("Schedule", "GeometricDecay", "PowerLawDecay"),
    "decoding.draws": ("Draws",),
    "decoding.decode": ("decode", "DecodeOutput"),
    "decoding.attention": ("AttentionState", "Heads"),
    "decoding.backends": ("backends", "Backend"),
    "tasks.base": ("Task", "TaskPrompts"),
    "tasks.prompts": ("Prompts", "load_prompts"),
    "tasks.linear_regression": ("LinearRegression",),
    "tasks.shifted": ("ShiftedRegression",),
    "tasks.heavy_tailed": ("HeavyTailedRegression",),
    "tasks.logistic_regression": ("LogisticRegression",),
    "tasks.two_layer_network": ("TwoLayerNetwork",),
    "tasks.decision_tree": ("DecisionTree",),
    "tasks.parity": ("Parity",),
    "models.base": ("Model", "LinearState"),
    "models.linear_attention": ("LinearAttention",),
    "models.linear_transformer": ("LinearTransformer",),
    "models.attention_transformer": ("AttentionTransformer",),
    "models.logistic_descent": ("LogisticDescent",),
    "models.transformer": ("Transformer",),
    "models.parity_attention": ("ParityAttention",),
    "models.start": ("RandomStart",),
    "models.train_config": ("TrainConfig",),
    "models.train": ("train", "Trained"),
    "models.checkpoint": ("save_model", "load_model"),
    "models.decoder": ("StochasticDecoder",),
    "techniques.base": ("Technique", "Candidates", "SearchResult"),
    "techniques.registry": ("TECHNIQUES",),
    "techniques.verifiers": (
        "Verifier",
        "InContextLoss",
        "HeldOutLoss",
        "Oracle",
        "SmallestNorm",
        "ProcessReward",
    ),
    "techniques.faulty_verifiers": ("NoisyVerifier", "WrongVerifier"),
    "techniques.particles": ("particle_filter", "rejection_search"),
    "techniques.search": ("beam_search", "self_refinement"),
    "techniques.stopping": ("stop_early", "adaptive_vote"),
    "evaluation.evaluate": ("evaluate",),
    "estimators.table": ("Table", "Key"),
    "estimators.selection": ("pass_at_k", "best_of_k", "mean_of_k"),
    "estimators.votes": ("majority_at_k", "weighted_vote_at_k"),
    "theory.overlay": ("overlay",),
    "theory.laws": ("law", "LAWS", "Problem", "Expected"),
    "logs.reader": ("read",),
    "logs.analysis": ("analyze",),
    "logs.fit": ("fit",),
    "logs.comparison": ("compare_logs",),
    "experiments.config": ("RunConfig", "PlanConfig"),
    "experiments.run": ("run",),
    "experiments.results": ("RunResult",),
    "experiments.plan": ("plan", "Plan"),
    "experiments.plot": ("plot",),
    "experiments.sweep": ("sweep", "merge"),
    "experiments.sweep_table": ("load", "SweepTable"),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}
__all__ = ["__version__", *_HOME]

if TYPE_CHECKING:
    from typing import Any

    from .decoding.attention import AttentionState as AttentionState
    from .decoding.attention import Heads as Heads
    from .decoding.authors_rules import ElementwiseNoise as ElementwiseNoise
    from .decoding.authors_rules import LargestCoefficients as LargestCoefficients
    from .decoding.authors_rules import RankOneNoise as RankOneNoise
    from .decoding.authors_rules import SubsetSampling as SubsetSampling
    from .decoding.backends import Backend as Backend
    from .decoding.backends import backends as backends
    from .decoding.decode import DecodeOutput as DecodeOutput
    from .decoding.decode import decode as decode
    from .decoding.draws import Draws as Draws
    from .decoding.rules import BernoulliSampling as BernoulliSampling
    from .decoding.rules import EncodedRule as EncodedRule
    from .decoding.rules import GaussianNoise as GaussianNoise
    from .decoding.rules import Rule as Rule
    from .decoding.schedules import GeometricDecay as GeometricDecay
    from .decoding.schedules import PowerLawDecay as PowerLawDecay
    from .decoding.schedules import Schedule as Schedule
    from .estimators.selection import best_of_k as best_of_k
    from .estimators.selection import mean_of_k as mean_of_k
    from .estimators.selection import pass_at_k as pass_at_k
    from .estimators.table import Key as Key
    from .estimators.table import Table as Table
    from .estimators.votes import majority_at_k as majority_at_k
    from .estimators.votes import weighted_vote_at_k as weighted_vote_at_k
    from .evaluation.evaluate import evaluate as evaluate
    from .experiments.config import PlanConfig as PlanConfig
    from .experiments.config import RunConfig as RunConfig
    from .experiments.plan import Plan as Plan
    from .experiments.plan import plan as plan
    from .experiments.plot import plot as plot
    from .experiments.results import RunResult as RunResult
    from .experiments.run import run as run
    from .experiments.sweep import merge as merge
    from .experiments.sweep import sweep as sweep
    from .experiments.sweep_table import SweepTable as SweepTable
    from .experiments.sweep_table import load as load
    from .logs.analysis import analyze as analyze
    from .logs.comparison import compare_logs as compare_logs
    from .logs.fit import fit as fit
    from .logs.reader import read as read
    from .models.attention_transformer import AttentionTransformer as AttentionTransformer
    from .models.base import LinearState as LinearState
    from .models.base import Model as Model
    from .models.checkpoint import load_model as load_model
    from .models.checkpoint import save_model as save_model
    from .models.decoder import StochasticDecoder as StochasticDecoder
    from .models.linear_attention import LinearAttention as LinearAttention
    from .models.linear_transformer import LinearTransformer as LinearTransformer
    from .models.logistic_descent import LogisticDescent as LogisticDescent
    from .models.parity_attention import ParityAttention as ParityAttention
    from .models.start import RandomStart as RandomStart
    from .models.train import Trained as Trained
    from .models.train import train as train
    from .models.train_config import TrainConfig as TrainConfig
    from .models.transformer import Transformer as Transformer
    from .tasks.base import Task as Task
    from .tasks.base import TaskPrompts as TaskPrompts
    from .tasks.decision_tree import DecisionTree as DecisionTree
    from .tasks.heavy_tailed import HeavyTailedRegression as HeavyTailedRegression
    from .tasks.linear_regression import LinearRegression as LinearRegression
    from .tasks.logistic_regression import LogisticRegression as LogisticRegression
    from .tasks.parity import Parity as Parity
    from .tasks.prompts import Prompts as Prompts
    from .tasks.prompts import load_prompts as load_prompts
    from .tasks.shifted import ShiftedRegression as ShiftedRegression
    from .tasks.two_layer_network import TwoLayerNetwork as TwoLayerNetwork
    from .techniques.base import Candidates as Candidates
    from .techniques.base import SearchResult as SearchResult
    from .techniques.base import Technique as Technique
    from .techniques.faulty_verifiers import NoisyVerifier as NoisyVerifier
    from .techniques.faulty_verifiers import WrongVerifier as WrongVerifier
    from .techniques.particles import particle_filter as particle_filter
    from .techniques.particles import rejection_search as rejection_search
    from .techniques.registry import TECHNIQUES as TECHNIQUES
    from .techniques.search import beam_search as beam_search
    from .techniques.search import self_refinement as self_refinement
    from .techniques.stopping import adaptive_vote as adaptive_vote
    from .techniques.stopping import stop_early as stop_early
    from .techniques.verifiers import HeldOutLoss as HeldOutLoss
    from .techniques.verifiers import InContextLoss as InContextLoss
    from .techniques.verifiers import Oracle as Oracle
    from .techniques.verifiers import ProcessReward as ProcessReward
    from .techniques.verifiers import SmallestNorm as SmallestNorm
    from .techniques.verifiers import Verifier as Verifier
    from .theory.laws import LAWS as LAWS
    from .theory.laws import Expected as Expected
    from .theory.laws import Problem as Problem
    from .theory.laws import law as law
    from .theory.overlay import overlay as overlay


# Loaded on first use, so that `ttc-fast run --help` need not wait for torch.
def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
