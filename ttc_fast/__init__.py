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
}
__all__ = ["__version__", *_HOME]

if TYPE_CHECKING:
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
    from .tasks import LinearRegression as LinearRegression
    from .tasks import Prompts as Prompts
    from .tasks import load_prompts as load_prompts


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
