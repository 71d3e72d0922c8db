"""The opcodes of PTX for products of warp groups, which run beside the program until they are waited for. See
``ptxsim``.

Source: PTX ISA, "Asynchronous Warpgroup Level Matrix Multiply-Accumulate Instructions".
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ptxnumbers import unpack
from ptxstep import Opcodes, Step
from ptxtext import F32, I64, U32, Array, Instruction, SimError, Vector
from ptxwarp import PACKED, mma_values

if TYPE_CHECKING:
    from ptxmachine import Machine

OPCODES = Opcodes()


class Flight(NamedTuple):
    """Products that lanes have begun."""

    lanes: Array
    group: Array
    """Of each lane: how many groups it had committed before."""
    registers: frozenset[str]
    """Accumulators and A."""


class Products:
    """What the products of a launch hold until they are waited for, and which fences lie before them."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.committed = np.zeros(machine.n, I64)  # groups, per lane
        self.reading: list[tuple[Array, Array, Array, Array]] = []  # lanes, group, places in the log, who wrote them
        self.flights: list[Flight] = []
        self.clock = 0
        self.fenced = np.full(machine.n, -1, I64)  # clock of the last wgmma.fence of each lane
        self.accessed: dict[str, int | Array] = {}  # clock of a register's last access by another instruction
        self.role: dict[str, tuple[int, str]] = {}  # clock and use of a register in its last product
        self.used = any(i.parts[0] == "wgmma" for i in machine.program.code)

    def watch(self, instruction: Instruction, lanes: Array) -> None:
        """Another instruction: it must leave alone what products hold, and a fence must come before they use its own.

        A ``mov`` between two registers is a name, which ptxas gives to one register: its access is that of its source.
        """
        self.clock += 1
        names = instruction.registers
        self._require_free(names, lanes, instruction.where)
        moves = instruction.parts[0] == "mov" and all(isinstance(o, str) for o in instruction.operands)
        for name in names[:1] if moves else names:
            known = self.accessed.get(name, -1)
            now = self.accessed.get(names[-1], -1) if moves else self.clock
            if len(lanes) == self.machine.n:
                self.accessed[name] = now
            else:
                several = np.full(self.machine.n, known, I64) if isinstance(known, int) else known.copy()
                several[lanes] = now if isinstance(now, int) else now[lanes]
                self.accessed[name] = several

    def _require_free(self, names: tuple[str, ...], lanes: Array, where: str) -> None:
        for flight in self.flights:
            if not flight.registers.isdisjoint(names) and np.intersect1d(flight.lanes, lanes).size:
                held = ", ".join(sorted(flight.registers.intersection(names)))
                raise SimError(f"{held} belong to a product that is not waited for, at {where}")

    def begin(self, x: Step, accumulators: tuple[str, ...], operand: tuple[str, ...], shape: str) -> None:
        """A product is issued: between what touched its registers before and it there is a fence, but for products of
        its shape, which keep their order."""
        self.clock += 1
        late = (self.fenced[x.lanes] < 0).any()  # there was no fence yet
        for name, use in [*((n, shape) for n in accumulators), *((n, "A") for n in operand)]:
            last = np.broadcast_to(self.accessed.get(name, -1), self.machine.n)[x.lanes]
            clock, before = self.role.get(name, (-1, use))
            if before != use:
                self._require_free((name,), x.lanes, x.where)
                last = np.maximum(last, clock)
            late |= (self.fenced[x.lanes] < last).any()
            self.role[name] = self.clock, use
        if late:
            self.machine.unfenced[x.where] += 1
        self.flights.append(Flight(x.lanes, self.committed[x.lanes], frozenset((*accumulators, *operand))))

    def fence(self, lanes: Array) -> None:
        self.clock += 1
        self.fenced[lanes] = self.clock

    def read(self, lanes: Array, at: Array, writer: Array) -> None:
        """A product reads these places of shared memory until it is waited for."""
        self.reading.append((lanes, self.committed[lanes], at, writer))

    def finish(self, lanes: Array, done: Array, where: str) -> None:
        """The groups below ``done`` end here: what they read must still be what it was."""
        machine = self.machine
        limit = np.zeros(machine.n, I64)
        limit[lanes] = done
        left = []
        for issuers, group, at, writer in self.reading:
            ready = group < limit[issuers]
            machine.report_shared(machine.shared_log.writer[at[ready]] != writer[ready], where)
            machine.shared_log.read(at[ready], machine.shared_key(issuers[ready])[:, None])
            if not ready.all():
                left.append((issuers[~ready], group[~ready], at[~ready], writer[~ready]))
        self.reading = left
        late = [(f, f.group >= limit[f.lanes]) for f in self.flights]
        self.flights = [Flight(f.lanes[m], f.group[m], f.registers) for f, m in late if m.any()]


@OPCODES.add(
    "wgmma",
    "fence commit_group wait_group mma_async sync aligned "
    + " ".join(f"m64n{n}k{k}" for n in range(8, 257, 8) for k in (8, 16)),
)
def _wgmma(x: Step) -> None:
    """D = A B + D for A (64, K) in registers or shared memory and B (K, N) in shared memory, both with K innermost.

    Computed at once; until its group is waited for, other accesses of its registers are faults and writes to its
    operands in shared memory are races. Each warp holds 16 rows of A and D, as for mma.
    """
    products = x.sim.products
    if x.has("fence"):
        return products.fence(x.lanes)
    if x.has("commit_group"):
        products.committed[x.lanes] += 1
        return None
    if x.has("wait_group"):
        return products.finish(x.lanes, products.committed[x.lanes] - x.get(0, "s64"), x.where)
    shape = next(re.fullmatch(r"m64n(\d+)k(\d+)", part) for part in x.instruction.parts if part.startswith("m64"))
    result, ty, other = x.instruction.types
    scales = [int(str(o)) for o in x.operands[4:]]
    known = ty in PACKED and (result, other) == ("f32", ty) and scales in ([1, 1], [1, 1, 0], [1, 1, 0, 0])
    if not shape or not known:
        raise SimError(f"this form of wgmma is not modelled, at {x.where}")
    n, k = int(shape[1]), int(shape[2])
    warps = x.sim.require_full_warps(x.lanes, x.where)
    if warps % 4 or (x.sim.warp[x.lanes[::128]] % 4).any():
        raise SimError(f"wgmma by a part of a warp group at {x.where}")
    in_registers = isinstance(x.operands[1], Vector)
    products.begin(x, x.vector(0), x.vector(1) if in_registers else (), shape[0])
    if in_registers:
        a = mma_values(x.stack(1, PACKED[ty]), ty)
        a = a.reshape(-1, 4, 8, 4, 2, 2, a.shape[2]).transpose(0, 1, 5, 2, 4, 3, 6).reshape(-1, 64, k)
    else:
        a = _shared_matrix(x, 1, 64, ty)
    b = _shared_matrix(x, 2, n, ty).swapaxes(1, 2)
    # axes of the registers: group, warp, g, t, block of 8 columns, row half, element
    d = x.stack(0, "f32").reshape(-1, 4, 8, 4, n // 8, 2, 2).transpose(0, 1, 5, 2, 4, 3, 6).reshape(-1, 64, n)
    d = (a @ b + np.where(x.get(3, "pred")[::128, None, None], d, 0)).astype(F32)
    d = d.reshape(-1, 4, 2, 8, n // 8, 4, 2).transpose(0, 1, 3, 5, 4, 2, 6).reshape(len(x.lanes), -1)
    for name, column in zip(x.vector(0), d.T):
        x.sim.write(name, np.ascontiguousarray(column), x.lanes)
    return None


def _shared_matrix(x: Step, operand: int, rows: int, ty: str) -> Array:
    """(groups, rows, K) values that a descriptor names: 32 bytes per row, as two pieces of 16 bytes.

    Bits 0-13, 16-29 and 32-45 hold, in units of 16 bytes, the start, the step between pieces (without swizzle)
    and the step between groups of 8 rows; bits 62-63 the swizzle. A swizzle over W = 128, 64 or 32 bytes puts
    rows W bytes apart and adds, modulo 2, bits 7 and up of an address to bits 4 and up.
    """
    descriptors = x.get(operand, "u64")
    if (descriptors.reshape(-1, 128) != descriptors[::128, None]).any():
        raise SimError(f"the descriptor differs within a warp group at {x.where}")
    descriptor = descriptors[::128].astype(I64)[:, None, None]
    start, piece_step, group_step = (((descriptor >> bit) & 0x3FFF) * 16 for bit in (0, 16, 32))
    mode, offset = int(descriptor[0, 0, 0] >> 62 & 3), descriptor >> 49 & 7
    if offset.any() or (descriptor >> 62 & 3 != mode).any():
        raise SimError(f"this descriptor of a matrix is not modelled, at {x.where}")
    row, piece = np.arange(rows)[:, None], np.arange(2)
    if mode == 0:
        addresses = start + row // 8 * group_step + row % 8 * 16 + piece * piece_step
    else:
        width = {1: 128, 2: 64, 3: 32}[mode]
        addresses = start + row // 8 * group_step + row % 8 * width + piece * 16
        addresses = addresses ^ ((addresses >> 7 & (width // 16 - 1)) << 4)
    addresses = addresses.reshape(len(addresses), -1)
    for warp in range(4):  # each warp of the group reads all of it
        lanes = np.repeat(x.lanes[32 * warp :: 128], addresses.shape[1])
        words = x.sim.access_shared(addresses.reshape(-1), 16, lanes, x.where, product=True)
    values = mma_values(unpack(words.reshape(-1).view(U32), PACKED[ty]), ty)
    return values.reshape(len(addresses), rows, -1)
