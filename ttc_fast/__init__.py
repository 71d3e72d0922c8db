"""ttc-fast: a laboratory for test-time computing of transformers on in-context linear regression."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# Loaded on first use, so that `ttc-fast run --help` need not wait for torch.
_HOME = {
    "decode": "ops",
    "backends": "ops",
    "Backend": "ops",
    "DecodeOutput": "ops",
    "BernoulliSampling": "rules",
    "GaussianNoise": "rules",
    "GeometricDecay": "rules",
    "PowerLawDecay": "rules",
    "LinearRegression": "tasks",
    "Prompts": "tasks",
    "load_prompts": "tasks",
    "LinearAttention": "model",
    "StochasticDecoder": "model",
    "TECHNIQUES": "techniques",
    "Technique": "techniques",
    "InContextLoss": "verifiers",
    "HeldOutLoss": "verifiers",
    "Oracle": "verifiers",
    "NoisyVerifier": "verifiers",
    "WrongVerifier": "verifiers",
    "ProcessReward": "verifiers",
    "particle_filter": "search",
    "rejection_search": "search",
    "beam_search": "search",
    "self_refinement": "search",
    "stop_early": "search",
    "adaptive_vote": "search",
    "pass_at_k": "estimators",
    "best_of_k": "estimators",
    "mean_of_k": "estimators",
    "majority_at_k": "votes",
    "weighted_vote_at_k": "votes",
}
__all__ = ["__version__", *_HOME]

if TYPE_CHECKING:
    from .estimators import best_of_k as best_of_k
    from .estimators import mean_of_k as mean_of_k
    from .estimators import pass_at_k as pass_at_k
    from .model import LinearAttention as LinearAttention
    from .model import StochasticDecoder as StochasticDecoder
    from .ops import Backend as Backend
    from .ops import DecodeOutput as DecodeOutput
    from .ops import backends as backends
    from .ops import decode as decode
    from .rules import BernoulliSampling as BernoulliSampling
    from .rules import GaussianNoise as GaussianNoise
    from .rules import GeometricDecay as GeometricDecay
    from .rules import PowerLawDecay as PowerLawDecay
    from .search import adaptive_vote as adaptive_vote
    from .search import beam_search as beam_search
    from .search import particle_filter as particle_filter
    from .search import rejection_search as rejection_search
    from .search import self_refinement as self_refinement
    from .search import stop_early as stop_early
    from .tasks import LinearRegression as LinearRegression
    from .tasks import Prompts as Prompts
    from .tasks import load_prompts as load_prompts
    from .techniques import TECHNIQUES as TECHNIQUES
    from .techniques import Technique as Technique
    from .verifiers import HeldOutLoss as HeldOutLoss
    from .verifiers import InContextLoss as InContextLoss
    from .verifiers import NoisyVerifier as NoisyVerifier
    from .verifiers import Oracle as Oracle
    from .verifiers import ProcessReward as ProcessReward
    from .verifiers import WrongVerifier as WrongVerifier
    from .votes import majority_at_k as majority_at_k
    from .votes import weighted_vote_at_k as weighted_vote_at_k


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
