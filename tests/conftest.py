"""Fixtures of all tests."""

from __future__ import annotations

import importlib.util
import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch


@pytest.fixture(autouse=True)
def _poisoned_memory() -> Iterator[None]:
    """Fresh tensors hold NaN, so that an element that is never written fails a test; threads as before."""
    threads = torch.get_num_threads()
    torch.use_deterministic_algorithms(True)  # with it, torch fills what it allocates
    yield
    torch.use_deterministic_algorithms(False)
    torch.set_num_threads(threads)


def _in_interpreter() -> None:
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


@pytest.fixture(scope="module")
def interpreter() -> Iterator[ProcessPoolExecutor]:
    """Triton's interpreter must be chosen before Triton is imported: it gets a process of its own."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context, initializer=_in_interpreter) as pool:
        yield pool
