"""What is asked of candidate answers, by the machine code of the kernels: executed by the simulator it says what C++
says, without a race, within the bounds of every buffer. No GPU is needed."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from evaluation_problems import assert_kernels_equal, candidates_problem, kernels
from ttc_fast.numerics import extension

pytest.importorskip("triton", reason="Triton is not installed")
if extension.MISSING:
    pytest.skip(extension.MISSING, allow_module_level=True)

from gpusim import Candidates
from ptxsim import SimError

slow = pytest.mark.slow


@pytest.mark.parametrize(
    ("arch", "dim", "examples", "samples"),
    [
        ("sm_90", 4, 9, 33),
        pytest.param("sm_80", 20, 40, 70, marks=slow),
        pytest.param("sm_90", 70, 3, 5, marks=slow),
        pytest.param("sm_100", 33, 40, 9, marks=slow),
        pytest.param("sm_120", 130, 20, 17, marks=slow),
    ],
)
def test_machine_code_equals_the_extension(arch: str, dim: int, examples: int, samples: int) -> None:
    """Samples that fill no tile, groups below and above 64, coefficients of one word and of several."""
    given = candidates_problem(dim, examples, samples)
    gpu = Candidates(arch)
    assert_kernels_equal(kernels(*given, engine=gpu), kernels(*given), given[2])
    assert gpu.races == gpu.conflicts == 0


BUFFERS = [
    "x", "y", "w", "rows", "target", "weight", "distance", "bits", "values", "order", "start", "stop", "running",
    "out", "aim", "orders", "jobs", "probability", "right",
]  # fmt: skip


@pytest.mark.parametrize("name", ["loss", *(pytest.param(name, marks=slow) for name in BUFFERS)])
def test_short_buffers_are_caught(name: str) -> None:
    given = candidates_problem(5, 9, 6)

    def shorten(arguments: dict[str, Any]) -> None:
        if name in arguments and arguments[name].size:
            arguments[name] = arguments[name].ravel()[: -6 if name == "orders" else -1].copy()  # its rows may be padded

    with pytest.raises(SimError, match="out of bounds"):
        kernels(*given, engine=Candidates("sm_90", spoil=shorten))


@slow
def test_no_barrier_of_a_sum_can_be_spared() -> None:
    """Without any barrier the kernels that exchange numbers between warps race."""
    gpu = Candidates("sm_90", edit=lambda ptx: ptx.replace("bar.sync", "// bar.sync"))
    gpu.measure(torch.rand(1, 70, 40), examples=(torch.rand(1, 50, 40), torch.rand(1, 50)))
    assert gpu.races
