"""Decodes and sums over candidates by the machine code of a GPU that is not there: compile, prepare the launch,
execute the PTX."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import Tensor
from ttc_fast.kernels import aggregate, compiled
from ttc_fast.kernels import decode as kernels
from ttc_fast.kernels.tiles import Tile, tile

import ptxsim
from decoding_problems import problem
from ptxaccess import Rows


def unchanged(ptx: str) -> str:
    return ptx


@dataclasses.dataclass
class Simulated:
    """A GPU, and what the simulator saw while it executed launches."""

    arch: str
    edit: Callable[[str], str] = unchanged
    """Applied to the PTX before it is executed."""
    spoil: Callable[[dict[str, Any]], None] = lambda arguments: None
    """Applied to the arguments (arrays and numbers) of a launch."""
    worst: bool = False
    """Approximate instructions have the largest error that is documented."""
    seed: int = 0
    races: int = 0
    """Of shared and of global memory."""
    global_races: int = 0
    conflicts: int = 0
    unfenced: int = 0
    """Products whose registers are touched after the last fence."""

    def execute(self, launch: kernels.Launch) -> None:
        code = compiled.compile_launch(self.arch, launch)
        arrays: dict[int, Any] = {}  # one tensor may be several arguments
        arguments: dict[str, Any] = {
            name: arrays.setdefault(value.data_ptr(), value.numpy()) if isinstance(value, Tensor) else value
            for name, value in launch.arguments.items()
        }
        self.place(arguments)
        self.spoil(arguments)
        with np.errstate(all="ignore"):
            sim = ptxsim.Sim(
                self.edit(code.ptx), (launch.programs,), code.shared_bytes, list(arguments.values()),
                worst=self.worst, seed=self.seed,
            ).run()  # fmt: skip
        self.races += sum(sim.shared_races.values()) + sum(sim.global_races.values())
        self.global_races += sum(sim.global_races.values())
        self.conflicts += sum(sim.global_conflicts.values())
        self.unfenced += sum(sim.unfenced.values())

    def place(self, arguments: dict[str, Any]) -> None:
        """Where the arguments lie in memory: as they are, at their places of 2^40 bytes."""


@dataclasses.dataclass
class Candidates(Simulated):
    """Has the functions of ``kernels/aggregate.py``, for tensors on the CPU."""

    module: Any = aggregate
    """Where the kernels come from."""

    def __getattr__(self, name: str) -> Any:
        def function(*given: Any, **named: Any) -> Any:
            with mock.patch.object(self.module, "launch", self._launch):
                return getattr(self.module, name)(*given, **named)

        return function

    def _launch(self, *given: Any, **constants: Any) -> None:
        self.execute(self.module.launch_of(*given, **constants))


@dataclasses.dataclass
class Gpu(Simulated):
    """Called as the ``decode`` of a backend is."""

    precision: str = "fp32"
    tile: Tile | None = None
    far: bool = False
    """Whether the thoughts of two asked steps lie more than 2^31 coefficients apart."""
    module: Any = kernels
    """Where the kernels come from."""

    def __call__(
        self,
        state: Any,
        w0: Tensor,
        *,
        rule: Any,
        steps: Any,
        samples: int,
        seed: int,
        first_sample: int = 0,
        first_prompt: int = 0,
        first_step: int = 0,
    ) -> Tensor:
        asked = sorted(set(steps))
        thoughts = torch.full((len(asked), len(w0), samples, w0.shape[-1]), torch.nan)
        if asked[0] == first_step:
            thoughts[0] = w0 if w0.ndim == 3 else w0[:, None]
        if asked[-1] > first_step:
            encoded = rule.encode(max(asked))
            own = self.tile or self.chosen_tile(w0.shape[-1], encoded.kind)
            launch = self.module.prepare(
                state, w0, thoughts, rule=encoded, steps=asked, seed=seed, first_sample=first_sample,
                first_prompt=first_prompt, first_step=first_step, precision=self.precision, target="cuda", tile=own,
            )  # fmt: skip
            self.execute(launch)
        return thoughts[[asked.index(t) for t in steps]]

    def every_store(self, rule: Any, dim: int) -> None:
        """A chain in which all four thoughts of a block are stored, and one that is resumed inside a block."""
        state, w0 = problem(1, dim)
        self(state, w0, rule=rule, steps=[9, 10, 11, 12], samples=3, seed=7)
        self(state, w0, rule=rule, steps=[2, 3, 4], first_step=1, samples=3, seed=7)

    def chosen_tile(self, dim: int, kind: str) -> Tile:
        """The one that such a GPU would launch."""
        return tile(dim, self.arch, compiled.SHARED_MEMORY[self.arch], self.precision, kind)

    def place(self, arguments: dict[str, Any]) -> None:
        if self.far:
            arguments["page"] += 2**31
            arguments["thoughts"] = Rows(arguments["thoughts"], 4 * arguments["page"])
