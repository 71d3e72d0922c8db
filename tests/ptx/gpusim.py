"""Decodes by the machine code of a GPU that is not there: compile, prepare the launch, execute the PTX."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from ttc_fast.kernels import compiled
from ttc_fast.kernels import decode as kernels

import ptxsim
from ptxaccess import Rows


def unchanged(ptx: str) -> str:
    return ptx


@dataclasses.dataclass
class Gpu:
    """Called as the ``decode`` of a backend is; keeps what the simulator saw."""

    arch: str
    precision: str = "fp32"
    tile: kernels.Tile | None = None
    edit: Callable[[str], str] = unchanged
    """Applied to the PTX before it is executed."""
    spoil: Callable[[dict[str, Any]], None] = lambda arguments: None
    """Applied to the arguments (arrays and numbers) of the launch."""
    far: bool = False
    """Whether the thoughts of two asked steps lie more than 2^31 coefficients apart."""
    worst: bool = False
    """Approximate instructions have the largest error that is documented."""
    seed: int = 0
    module: Any = kernels
    """Where the kernels come from."""
    races: int = 0
    """Of shared and of global memory."""
    global_races: int = 0
    conflicts: int = 0

    def __call__(
        self,
        state: Tensor,
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
        thoughts = torch.full((len(asked), len(state), samples, state.shape[1]), torch.nan)
        if asked[0] == first_step:
            thoughts[0] = w0 if w0.ndim == 3 else w0[:, None]
        if asked[-1] > first_step:
            tile = self.tile or self.module.tile(state.shape[1], compiled.SHARED_MEMORY[self.arch], self.precision)
            launch = self.module.prepare(
                state, w0, thoughts, rule=rule.encode(max(asked)), steps=asked, seed=seed, first_sample=first_sample,
                first_prompt=first_prompt, first_step=first_step, precision=self.precision, target="cuda", tile=tile,
            )  # fmt: skip
            self._execute(launch, tile)
        return thoughts[[asked.index(t) for t in steps]]

    def _execute(self, launch: kernels.Launch, tile: kernels.Tile) -> None:
        code = compiled.compile_launch(self.arch, launch)
        arguments: dict[str, Any] = {
            name: value.numpy() if isinstance(value, Tensor) else value for name, value in launch.arguments.items()
        }
        if self.far:
            arguments["page"] += 2**31
            arguments["thoughts"] = Rows(arguments["thoughts"], 4 * arguments["page"])
        self.spoil(arguments)
        with np.errstate(all="ignore"):
            sim = ptxsim.Sim(
                self.edit(code.ptx), (launch.programs,), code.shared_bytes, list(arguments.values()),
                worst=self.worst, seed=self.seed,
            ).run()  # fmt: skip
        self.races += sum(sim.shared_races.values()) + sum(sim.global_races.values())
        self.global_races += sum(sim.global_races.values())
        self.conflicts += sum(sim.global_conflicts.values())
