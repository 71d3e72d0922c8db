"""Fixtures of all tests."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor

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
    os.environ["TRITON_INTERPRET"] = "1"
    torch.use_deterministic_algorithms(True)  # as above


@pytest.fixture(scope="module")
def interpreter() -> Iterator[ProcessPoolExecutor]:
    """Triton's interpreter must be chosen before Triton is imported: it gets a process of its own."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context, initializer=_in_interpreter) as pool:
        yield pool
