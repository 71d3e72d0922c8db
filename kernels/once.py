"""How the kernels are compiled: what was examined is what runs."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import triton


def compiled_once(function: Callable[..., None]) -> Any:
    """A kernel of Triton that is compiled once for each set of constants: no value (1, multiples of 16, beyond 2^31)
    and no alignment of an argument makes another kernel of it. Numbers have the types that they are annotated with."""
    parameters = inspect.signature(function).parameters.values()
    names = [p.name for p in parameters if "constexpr" not in str(p.annotation)]
    return triton.jit(function, do_not_specialize=names, do_not_specialize_on_alignment=names)
