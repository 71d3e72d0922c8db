"""What a process does before it imports Triton, so that kernels are interpreted; a module of its own, since every
folder's conftest has the same name and a spawned process finds functions by name."""

from __future__ import annotations

import importlib
import importlib.util
import os
from typing import Any

import numpy as np
import torch


def in_interpreter() -> None:
    """Triton's interpreter, with matrix products summed from first to last. Its own are BLAS's, whose rounding depends
    on the row on some machines: it would not tell whether a kernel's bits depend on the chunk."""
    os.environ["TRITON_INTERPRET"] = "1"
    torch.use_deterministic_algorithms(True)  # as above
    if importlib.util.find_spec("triton") is not None:
        interpreter = importlib.import_module("triton.runtime.interpreter")

        def create_dot(_: Any, a: Any, b: Any, total: Any, *precision: Any) -> Any:
            data = np.zeros_like(total.data)
            for k in range(b.data.shape[-2]):
                data += a.data[..., :, k, None] * b.data[..., k, None, :]
            return interpreter.TensorHandle(data + total.data, total.dtype.scalar)

        interpreter.InterpreterBuilder.create_dot = create_dot
