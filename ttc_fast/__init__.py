"""ttc-fast: a laboratory for test-time computing of transformers on in-context linear regression."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# Loaded on first use, so that `ttc-fast run --help` need not wait for torch.
_HOME = {
    "decode": "decoding.decode",
    "backends": "decoding.backends",
    "Backend": "decoding.backends",
    "DecodeOutput": "decoding.decode",
    "BernoulliSampling": "decoding.rules",
    "GaussianNoise": "decoding.rules",
    "GeometricDecay": "decoding.rules",
    "PowerLawDecay": "decoding.rules",
    "LinearRegression": "tasks.linear_regression",
    "Prompts": "tasks.prompts",
    "load_prompts": "tasks.prompts",
    "LinearAttention": "models.linear_attention",
    "StochasticDecoder": "models.decoder",
    "TECHNIQUES": "techniques.aggregate",
    "Technique": "techniques.aggregate",
    "InContextLoss": "techniques.verifiers",
    "HeldOutLoss": "techniques.verifiers",
    "Oracle": "techniques.verifiers",
    "NoisyVerifier": "techniques.verifiers",
    "WrongVerifier": "techniques.verifiers",
    "ProcessReward": "techniques.verifiers",
    "particle_filter": "techniques.search",
    "rejection_search": "techniques.search",
    "beam_search": "techniques.search",
    "self_refinement": "techniques.search",
    "stop_early": "techniques.search",
    "adaptive_vote": "techniques.search",
    "pass_at_k": "estimators.selection",
    "best_of_k": "estimators.selection",
    "mean_of_k": "estimators.selection",
    "majority_at_k": "estimators.votes",
    "weighted_vote_at_k": "estimators.votes",
}
__all__ = ["__version__", *_HOME]

if TYPE_CHECKING:
    from .decoding.backends import Backend as Backend
    from .decoding.decode import DecodeOutput as DecodeOutput
    from .decoding.backends import backends as backends
    from .decoding.decode import decode as decode
    from .decoding.rules import BernoulliSampling as BernoulliSampling
    from .decoding.rules import GaussianNoise as GaussianNoise
    from .decoding.rules import GeometricDecay as GeometricDecay
    from .decoding.rules import PowerLawDecay as PowerLawDecay
    from .estimators.selection import best_of_k as best_of_k
    from .estimators.selection import mean_of_k as mean_of_k
    from .estimators.selection import pass_at_k as pass_at_k
    from .estimators.votes import majority_at_k as majority_at_k
    from .estimators.votes import weighted_vote_at_k as weighted_vote_at_k
    from .models.linear_attention import LinearAttention as LinearAttention
    from .models.decoder import StochasticDecoder as StochasticDecoder
    from .tasks.linear_regression import LinearRegression as LinearRegression
    from .tasks.prompts import Prompts as Prompts
    from .tasks.prompts import load_prompts as load_prompts
    from .techniques.aggregate import TECHNIQUES as TECHNIQUES
    from .techniques.aggregate import Technique as Technique
    from .techniques.search import adaptive_vote as adaptive_vote
    from .techniques.search import beam_search as beam_search
    from .techniques.search import particle_filter as particle_filter
    from .techniques.search import rejection_search as rejection_search
    from .techniques.search import self_refinement as self_refinement
    from .techniques.search import stop_early as stop_early
    from .techniques.verifiers import HeldOutLoss as HeldOutLoss
    from .techniques.verifiers import InContextLoss as InContextLoss
    from .techniques.verifiers import NoisyVerifier as NoisyVerifier
    from .techniques.verifiers import Oracle as Oracle
    from .techniques.verifiers import ProcessReward as ProcessReward
    from .techniques.verifiers import WrongVerifier as WrongVerifier


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
