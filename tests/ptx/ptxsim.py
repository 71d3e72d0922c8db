"""Runs the PTX of a compiled kernel on the CPU, with NumPy, and checks it while it runs.

What is modelled
    Every thread of the launch is one NumPy lane; all CTAs run at once. Each lane has its own program
    counter and the lane group that is earliest in the control-flow order runs next, so diverged lanes meet
    again at the post-dominator of their branch. ``bar.sync`` is a real barrier of the CTA.

What is checked
    * global accesses against the exact extent of their buffer; shared and local extents; alignment;
    * ``shared_races``: bytes of shared memory that two warps touch between the same two barriers, one of
      them writing. Equal bytes stored by one instruction of several warps (a replicated layout) are no race.
      A ``cp.async`` counts as unfinished, for everybody, until its thread waits for its group, and so does a wgmma;
      bytes that a wgmma reads and that no ``fence.proxy.async`` shows it are a race too;
    * ``global_races``: the same for global memory, which the threads of a CTA may exchange values through;
    * ``global_conflicts``: bytes of global memory that two CTAs touch, one of them writing;
    * registers of a wgmma that are touched before it is waited for;
    * ``unfenced``: products whose registers were touched after the last ``wgmma.fence``. A ``mov`` from register to
      register is taken for a name, as ptxas takes it. Triton's PTX has such products, as LLVM moves computations
      over the fence, and ptxas moves them back: tests/kernels/test_compiled.py looks for them in machine code;
    * warp collectives by lanes that are not the ones named, barriers by a part of a warp, deadlock.

What is not modelled
    Time, caches, ptxas, the memory model within a warp and between fences, clusters, mbarrier, TMA, atomics,
    tcgen05, wgmma of operands that are not K-major, generic addresses, calls. Whatever is not in the table
    of opcodes, or carries a modifier that its entry does not name, raises ``SimError`` when it is executed.

Numerics
    Integers are exact. add, sub, mul, fma, div.rn, sqrt.rn and rcp.rn are rounded once, to nearest even.
    ``.approx`` and ``div.full`` are rounded correctly too, or with ``worst`` (float32 only) moved by the largest
    error that is documented; up or down is a function of the value, so that replicated lanes agree.
    mma reads tf32 operands without their low 13 bits, sums in float64 and rounds once: the hardware's order
    and width of accumulation are not specified. Memory and registers start as all ones, a NaN in each format.
"""

from __future__ import annotations

import collections
from collections.abc import Sequence
from typing import Any

import numpy as np

from ptxmachine import Argument, Machine
from ptxops import OPCODES
from ptxstep import Step
from ptxtext import I64, WARP, Array, Instruction, SimError, schedule_ranks

__all__ = ["Sim", "SimError", "launch"]


class Sim(Machine):
    """One launch of a kernel. ``run`` executes it and updates the arrays among ``args`` in place.

    Args:
        ptx: text of the kernel.
        grid: number of CTAs in up to three dimensions.
        shared: bytes of dynamic shared memory.
        args: arrays, integers and floats in the order of the parameters; further ones get 0.
        worst: move the results of ``.approx`` operations by the largest error that is documented for them.
        seed: chooses the directions of the moves.
        max_steps: more than this many steps raise ``SimError``.

    Attributes:
        shared_races, global_races, global_conflicts: conflicting bytes by instruction.
        unfenced: products without the fence that they need, by instruction.
        count: executed warp-instructions by opcode.
        steps: issued instructions, each for any number of lanes.
    """

    def __init__(
        self,
        ptx: str,
        grid: Sequence[int],
        shared: int = 0,
        args: Sequence[Argument] = (),
        worst: bool = False,
        seed: int = 0,
        max_steps: int = 10**7,
    ) -> None:
        super().__init__(ptx, grid, shared, args, worst, seed)
        self.max_steps = max_steps
        self.count: collections.Counter[str] = collections.Counter()
        self.steps = 0

    def run(self) -> Sim:
        with np.errstate(all="ignore"):
            self._run()
        self.memory.store()
        return self

    def _run(self) -> None:
        code, ranks = self.program.code, schedule_ranks(self.program)
        self.pc, self.alive = np.zeros(self.n, I64), np.ones(self.n, np.bool_)
        self.waiting = np.full(self.n, -1, I64)  # number of the barrier that a lane waits at
        self.together: int | None = 0  # pc of all lanes, while they are at one
        while self.alive.any():
            now, lanes = self._next(ranks)
            if now >= len(code):
                raise SimError("a lane runs past the last instruction")
            self.steps += 1
            if self.steps > self.max_steps:
                raise SimError(f"more than {self.max_steps} steps")
            self._execute(code[now], now, lanes)

    def _next(self, ranks: Array) -> tuple[int, Array]:
        if self.together is not None:
            return self.together, self.lanes
        runnable = self.alive & (self.waiting < 0)
        if not runnable.any():
            where = {self.program.code[pc - 1].where for pc in np.unique(self.pc[self.alive])}
            raise SimError(f"deadlock: not all threads of a CTA reach the barrier at {', '.join(sorted(where))}")
        candidates = self.pc[runnable]
        now = int(candidates[np.argmin(ranks[candidates])])
        lanes = np.nonzero(runnable & (self.pc == now))[0]
        return now, self.lanes if len(lanes) == self.n else lanes

    def _execute(self, instruction: Instruction, now: int, lanes: Array) -> None:
        active = lanes
        if instruction.guard:
            name, negated = instruction.guard
            active = lanes[self.read_predicate(name, lanes) ^ negated]
            if len(active) == len(lanes):
                active = lanes
        warps = self.n // WARP if len(lanes) == self.n else np.count_nonzero(np.diff(self.warp[lanes])) + 1
        self.count[instruction.op] += int(warps)
        kind = instruction.parts[0]
        if kind == "bra":
            self._branch(lanes, active, now, self.program.target(instruction))
        elif kind in ("ret", "exit"):
            self.alive[active] = False
            self.together = None
            self.pc[lanes] = now + 1
        elif kind in ("bar", "barrier") and instruction.parts[1] == "sync":
            self._barrier(instruction, active)
            self.together = None
            self.pc[lanes] = now + 1
        else:
            if len(active):
                self._compute(instruction, active)
            self._advance(lanes, now + 1)

    def _advance(self, lanes: Array, following: int | Array) -> None:
        self.together = following if isinstance(following, int) and len(lanes) == self.n else None
        if self.together is None:
            self.pc[lanes] = following

    def _branch(self, lanes: Array, active: Array, now: int, target: int) -> None:
        if len(active) in (0, len(lanes)):
            return self._advance(lanes, target if len(active) else now + 1)
        following = np.full(self.n, now + 1, I64)
        following[active] = target
        return self._advance(lanes, following[lanes])

    def _barrier(self, instruction: Instruction, active: Array) -> None:
        """``bar.sync`` of all threads of a CTA; threads that have ended count as missing."""
        number, *count = (int(self.read(o, "u32", active[:1])[0]) for o in instruction.operands if len(active))
        if count and count[0] != self.threads:
            raise SimError(f"a barrier of a part of the CTA is not modelled, at {instruction.where}")
        self.require_full_warps(active, instruction.where)
        self.waiting[active] = number
        waiting = self.waiting.reshape(self.ctas, self.threads)
        ready = (waiting[:, 0] >= 0) & (waiting == waiting[:, :1]).all(1)
        waiting[ready] = -1
        self.epoch[ready] += 1

    def _compute(self, instruction: Instruction, lanes: Array) -> None:
        handler, modifiers = OPCODES.get(instruction.parts[0], (None, frozenset[str]()))
        unknown = [p for p in instruction.parts[1:] if p not in modifiers and p not in instruction.types]
        if handler is None or unknown:
            raise SimError(f"unsupported opcode {instruction.op} {unknown} at {instruction.where}")
        if self.products.used and instruction.parts[0] != "wgmma":
            self.products.watch(instruction, lanes)
        try:
            handler(Step(self, instruction, lanes))
        except (LookupError, ValueError, TypeError) as error:
            raise SimError(f"cannot execute {instruction.op}: {error!r}, at {instruction.where}") from error


def launch(compiled: Any, grid: Sequence[int], *args: Argument, **options: Any) -> Sim:
    """Runs a kernel that Triton compiled for CUDA; arrays among ``args`` are updated in place."""
    return Sim(compiled.asm["ptx"], grid, compiled.metadata.shared, args, **options).run()
