"""Fixtures of all tests."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor

if "PYTEST_XDIST_WORKER" in os.environ:  # one of several processes: a core for each
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch
from ttc_fast.kernels import versions

from triton_interpreter import in_interpreter


@pytest.fixture(autouse=True)
def _poisoned_memory() -> Iterator[None]:
    """Fresh tensors hold NaN, so that an element that is never written fails a test; threads as before."""
    threads = torch.get_num_threads()
    torch.use_deterministic_algorithms(True)  # with it, torch fills what it allocates
    yield
    torch.use_deterministic_algorithms(False)
    torch.set_num_threads(threads)


@pytest.fixture
def any_algorithm(_poisoned_memory: None) -> None:
    """On a GPU, where PyTorch's deterministic algorithms ask for settings of cuBLAS."""
    torch.use_deterministic_algorithms(False)


@pytest.fixture(scope="module")
def interpreter() -> Iterator[ProcessPoolExecutor]:
    """Triton's interpreter must be chosen before Triton is imported: it gets a process of its own."""
    if obstacle := versions.interpreter_obstacle():
        pytest.skip(obstacle)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context, initializer=in_interpreter) as pool:
        yield pool
