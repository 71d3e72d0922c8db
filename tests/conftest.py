"""Fixtures of all tests."""

from __future__ import annotations

from collections.abc import Iterator

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
