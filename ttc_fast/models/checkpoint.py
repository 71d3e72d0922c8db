"""Models as files: weights in a .safetensors file, and in its metadata what else they are made of.

A file of a user's own class says its name; the class is taken from the caller, never imported because a file says so.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping
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
from .transformer import Transformer

Maker = Callable[[dict[str, Any], dict[str, Any]], Any]
"""From tensors and settings to a model."""

LAYOUT = "ttc-fast/model/v1"
"""Version of the metadata."""


def _attention(tensors: dict[str, Tensor], settings: dict[str, Any]) -> AttentionTransformer:
    mlp = tuple(tensors.pop(f"mlp.{i}") for i in range(3)) if "mlp.0" in tensors else None
    return AttentionTransformer(**tensors, **settings, mlp=mlp)  # type: ignore[arg-type]  # it is checked there


def _restored(made_by: Callable[..., Any]) -> Maker:
    """Of a class whose arguments are its settings and whose weights are its ``state_dict``."""

    def make(tensors: dict[str, Any], settings: dict[str, Any]) -> Any:
        model = made_by(**settings)
        like = next(iter(tensors.values()), torch.zeros(1))
        model.to(like.dtype).load_state_dict(tensors)
        return model

    return make


KINDS: dict[str, Maker] = {
    "linear_attention": lambda tensors, settings: LinearAttention(**(tensors | settings)),
    "linear": lambda tensors, settings: LinearTransformer(**(tensors | settings)),
    "attention": _attention,
    "logistic_descent": lambda tensors, settings: LogisticDescent(**settings),
    "transformer": _restored(Transformer),
}
"""How one of ours is made of its tensors and settings, by its ``kind``."""


def save_model(model: Any, path: str | os.PathLike[str], about: Mapping[str, Any] | None = None) -> None:
    """Write a model to a ``.safetensors`` file, whole or not at all.

    Args:
        model: one of ours, such as :class:`LinearTransformer`, or a :class:`torch.nn.Module` of yours with
            ``settings``: the arguments, by name, that make one like it, as JSON can hold them.
        path: of the file.
        about: how it was made; kept beside the weights, as JSON.

    Raises:
        TypeError: the model has no settings or weights.
        OSError: the file cannot be written.
    """
    check.path("path", path)
    facts = model_facts(model)
    try:
        facts["about"] = json.loads(json.dumps({} if about is None else about, allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise TypeError(f"about: expected what JSON can hold, got {check.shown(about)}: {error}") from error
    save_tensors(path, model.state_dict(), facts)


def load_model(
    path: str | os.PathLike[str], *, classes: Iterable[type] = (), device: torch.device | str = "cpu"
) -> Any:
    """The model of a ``.safetensors`` file that :func:`save_model` or ``ttc-fast train`` wrote.

    Args:
        path: of the file.
        classes: yours, if it may be one of them: it is told by the name of the class, called with its settings, and
            given its weights by ``load_state_dict``.
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
    kind, settings = str(facts.get("kind")), facts.get("settings", 0)
    if facts.get("layout") != LAYOUT or not hasattr(settings, "items"):
        raise ValueError(f"{os.fspath(path)}: expected {wanted}, got metadata {check.shown(facts)}")
    own = {_class_name(one): _restored(one) for one in check.listed("classes", classes, "classes")}
    make = own.get(kind.rpartition(":")[2]) if ":" in kind else KINDS.get(kind)
    if make is None:
        raise ValueError(
            f"{os.fspath(path)}: expected a model of ours or of one of your classes, got one of {check.shown(kind)}; "
            "give its class, as load_model(path, classes=[...]) or --model-class MODULE:CLASS"
        )
    try:
        model = make(tensors, dict(settings))
    except (TypeError, ValueError, KeyError, RuntimeError) as error:
        raise ValueError(f"{os.fspath(path)}: expected {wanted}: {error}") from error
    try:
        return model.to(torch.device(device if hasattr(device, "type") else check.text("device", device)))
    except (RuntimeError, AssertionError) as error:
        raise ValueError(
            f"device: expected one that PyTorch can use here, got {check.shown(device)}: {error}"
        ) from error


def _class_name(found: Any) -> str:
    check.function("classes", found)
    return str(getattr(found, "__qualname__", ""))


def model_facts(model: Any) -> dict[str, Any]:
    """What a model is made of besides its weights; the kind of a class of yours is ``module:Class``.

    Raises:
        TypeError: it does not say.
    """
    if isinstance(model, type) or not (hasattr(model, "settings") and hasattr(model, "load_state_dict")):
        raise TypeError(
            f"model: expected one of ours, or a torch.nn.Module with settings, the arguments that make one like it, "
            f"got {check.shown(model)}"
        )
    kind = getattr(model, "kind", None)
    kind = kind if kind in KINDS else f"{type(model).__module__}:{type(model).__qualname__}"
    return {"layout": LAYOUT, "version": __version__, "kind": kind, "settings": model.settings}


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
