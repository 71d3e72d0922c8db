"""Models as files: weights in a .safetensors file, and in its metadata what else they are made of."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .. import __version__
from ..numerics import check, files
from .attention_transformer import AttentionTransformer
from .linear_attention import LinearAttention
from .linear_transformer import LinearTransformer
from .logistic_descent import LogisticDescent

LAYOUT = "ttc-fast/model/v1"
"""Version of the metadata."""


def _attention(tensors: dict[str, Tensor], settings: dict[str, Any]) -> AttentionTransformer:
    mlp = tuple(tensors.pop(f"mlp.{i}") for i in range(3)) if "mlp.0" in tensors else None
    return AttentionTransformer(**tensors, **settings, mlp=mlp)  # type: ignore[arg-type]  # it is checked there


KINDS: dict[str, Callable[[dict[str, Tensor], dict[str, Any]], Any]] = {
    "linear_attention": lambda tensors, settings: LinearAttention(**(tensors | settings)),
    "linear": lambda tensors, settings: LinearTransformer(**(tensors | settings)),
    "attention": _attention,
    "logistic_descent": lambda tensors, settings: LogisticDescent(**settings),
}
"""How a model is made of its tensors and settings, by its ``kind``."""


def save_model(model: Any, path: str | os.PathLike[str], about: Mapping[str, Any] | None = None) -> None:
    """Write a model to a ``.safetensors`` file, whole or not at all.

    Args:
        model: one of ours: :class:`LinearAttention`, :class:`LinearTransformer`, :class:`AttentionTransformer`.
        path: of the file.
        about: how it was made; kept beside the weights, as JSON.

    Raises:
        TypeError: the model is another one, which ``torch.save`` keeps.
        OSError: the file cannot be written.
    """
    check.path("path", path)
    facts = model_facts(model)
    try:
        facts["about"] = json.loads(json.dumps({} if about is None else about, allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise TypeError(f"about: expected what JSON can hold, got {check.shown(about)}: {error}") from error
    save_tensors(path, model.state_dict(), facts)


def load_model(path: str | os.PathLike[str], *, device: torch.device | str = "cpu") -> Any:
    """The model of a ``.safetensors`` file that :func:`save_model` or ``ttc-fast train`` wrote.

    Args:
        path: of the file.
        device: where its weights go.

    Raises:
        OSError: the file cannot be read.
        ValueError: it holds no such model; the message names the file.

    >>> import ttc_fast as tf
    >>> tf.save_model(tf.LinearTransformer.initial(3, heads=2), "model.safetensors")
    >>> tf.load_model("model.safetensors")
    LinearTransformer(dim=3, layers=1, heads=2)
    """
    tensors, facts = load_tensors(path)
    wanted = "a model written by ttc_fast.save_model or ttc-fast train"
    kind, settings = facts.get("kind"), facts.get("settings", 0)
    if facts.get("layout") != LAYOUT or kind not in KINDS or not hasattr(settings, "items"):
        raise ValueError(f"{os.fspath(path)}: expected {wanted}, got metadata {check.shown(facts)}")
    try:
        model = KINDS[str(kind)](tensors, dict(settings))
    except (TypeError, ValueError, KeyError) as error:
        raise ValueError(f"{os.fspath(path)}: expected {wanted}: {error}") from error
    try:
        return model.to(torch.device(device if hasattr(device, "type") else check.text("device", device)))
    except (RuntimeError, AssertionError) as error:
        raise ValueError(
            f"device: expected one that PyTorch can use here, got {check.shown(device)}: {error}"
        ) from error


def _known(model: Any) -> bool:
    return getattr(model, "kind", None) in KINDS and hasattr(model, "settings") and hasattr(model, "state_dict")


def model_facts(model: Any) -> dict[str, Any]:
    """What a model is made of besides its weights.

    Raises:
        TypeError: it is none of ours.
    """
    if isinstance(model, type) or not _known(model):
        raise TypeError(
            f"model: expected LinearAttention, LinearTransformer or AttentionTransformer, got {check.shown(model)}; "
            "torch.save keeps others"
        )
    return {"layout": LAYOUT, "version": __version__, "kind": model.kind, "settings": model.settings}


def save_tensors(path: str | os.PathLike[str], tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    """Tensors and facts about them in one file, whole or not at all.

    Args:
        path: of the file.
        tensors: by name.
        facts: what JSON can hold.

    Raises:
        OSError: it cannot be written.
    """
    from safetensors.torch import save

    content = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    files.write(Path(path), save(content, {"ttc_fast": json.dumps(facts, allow_nan=False)}), "path")


def load_tensors(path: str | os.PathLike[str]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What :func:`save_tensors` wrote.

    Args:
        path: of the file.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no ``.safetensors`` file, or not one of ours.
    """
    import safetensors
    from safetensors.torch import load

    check.path("path", path)
    name = os.fspath(path)
    with files.open_input(path) as file:
        content = file.read()
    try:
        tensors = load(content)
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        facts = json.loads(header.get("__metadata__", {}).get("ttc_fast", "{}"))
    except (safetensors.SafetensorError, ValueError, KeyError) as error:
        raise ValueError(f"{name}: expected a .safetensors file, got something else: {error}") from error
    return tensors, facts if hasattr(facts, "items") else {}
