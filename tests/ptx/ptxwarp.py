"""The opcodes of PTX by which lanes work together: exchange, votes, matrix products. See ``ptxsim``."""

from __future__ import annotations

import numpy as np

from ptxinteger import bits_of
from ptxstep import Opcodes, Step
from ptxtext import F32, F64, I64, U32, WARP, Array, SimError

OPCODES = Opcodes()


@OPCODES.add("shfl", "sync up down bfly idx")
def _shfl(x: Step) -> None:
    """The control word c: bits 0-4 clamp the source lane, bits 8-12 split the warp into segments."""
    x.sim.require_members(x.lanes, x.get(4, "u32"), x.where)
    lane, delta, control = x.lanes % WARP, x.get(2, "u32").astype(I64) & 31, x.get(3, "u32").astype(I64)
    segment = control >> 8 & 31
    last, first = lane & segment | control & 31 & ~segment, lane & segment
    sources = {"up": lane - delta, "down": lane + delta, "bfly": lane ^ delta, "idx": first | delta & ~segment}
    source = x.choose(sources)
    valid = source >= last if x.has("up") else source <= last
    source = np.where(valid, source, lane) + x.lanes - lane
    values, there = np.zeros(x.sim.n, U32), np.zeros(x.sim.n, np.bool_)
    values[x.lanes], there[x.lanes] = x.get(1, "b32"), True
    if not there[source].all():
        raise SimError(f"shfl reads a lane that does not take part at {x.where}")
    result, predicate = x.pair()
    x.sim.write(result, values[source], x.lanes)
    x.sim.write(predicate, valid, x.lanes)


@OPCODES.add("activemask")
def _activemask(x: Step) -> None:
    x.put(x.sim.present(x.lanes)[x.sim.warp[x.lanes]])


@OPCODES.add("vote", "sync all any uni ballot")
def _vote(x: Step) -> None:
    x.sim.require_members(x.lanes, x.get(2, "u32"), x.where)
    warp = x.sim.warp[x.lanes]
    voters, yes = x.sim.present(x.lanes)[warp], x.sim.present(x.lanes[x.get(1, "pred")])[warp]
    if x.has("ballot"):
        return x.put(yes)
    every, one = yes == voters, yes != 0
    return x.put(x.choose({"all": every, "any": one, "uni": every | ~one}))


@OPCODES.add("redux", "sync add min max and or xor NaN abs")
def _redux(x: Step) -> None:
    x.sim.require_members(x.lanes, x.get(2, "u32"), x.where)
    values, warp = x.get(1), x.sim.warp[x.lanes]
    values = np.abs(values) if x.has("abs") else values
    names = {"add": np.add, "and": np.bitwise_and, "or": np.bitwise_or, "xor": np.bitwise_xor}
    low, high = (np.minimum, np.maximum) if x.has("NaN") else (np.fmin, np.fmax)
    starts = np.nonzero(np.diff(warp, prepend=-1))[0]
    totals = x.choose(names | {"min": low, "max": high}).reduceat(values, starts)
    x.put(np.repeat(totals, np.diff([*starts, len(warp)])).astype(values.dtype))


@OPCODES.add("elect", "sync")
def _elect(x: Step) -> None:
    members = x.get(1, "u32")
    x.sim.require_members(x.lanes, members, x.where)
    leader = bits_of(members).argmax(1)
    result, predicate = x.pair()
    x.sim.write(result, leader.astype(U32), x.lanes)
    x.sim.write(predicate, x.lanes % WARP == leader, x.lanes)


PACKED = {"tf32": "tf32", "bf16": "bf16x2", "f16": "f16x2"}  # type of a register of each type of element


@OPCODES.add("mma", "sync aligned m16n8k4 m16n8k8 m16n8k16 row col")
def _mma(x: Step) -> None:
    """D = A B + C for A (16, K) and B (K, 8).

    Lane 4 g + t holds, of A, rows g and g + 8 and in each block of 4 e columns the e from t e on, where e is
    the number of elements in a register; of B, the same elements of column g; of C and D, columns 2 t and
    2 t + 1 of rows g and g + 8.
    """
    result, ty, other, addend = x.instruction.types
    if ty not in PACKED or other != ty or (result, addend) != ("f32", "f32"):
        raise SimError(f"unsupported types of mma at {x.where}")
    warps = x.sim.require_full_warps(x.lanes, x.where)
    a, b = mma_values(x.stack(1, PACKED[ty]), ty), mma_values(x.stack(2, PACKED[ty]), ty)
    elements, blocks = a.shape[2], b.shape[1]
    size = 4 * elements * blocks
    if not x.has(f"m16n8k{size}") or a.shape[1] != 2 * blocks:
        raise SimError(f"wrong number of registers for mma at {x.where}")
    # axes of the registers: warp, g, t, [block,] row half or block, element
    a = a.reshape(warps, 8, 4, blocks, 2, elements).transpose(0, 4, 1, 3, 2, 5).reshape(warps, 16, size)
    b = b.reshape(warps, 8, 4, blocks, elements).transpose(0, 3, 2, 4, 1).reshape(warps, size, 8)
    c = x.stack(3, "f32").reshape(warps, 8, 4, 2, 2).transpose(0, 3, 1, 2, 4).reshape(warps, 16, 8)
    d = (a @ b + c).astype(F32).reshape(warps, 2, 8, 4, 2).transpose(0, 2, 3, 1, 4).reshape(-1, 4)
    for name, column in zip(x.vector(0), d.T):
        x.sim.write(name, np.ascontiguousarray(column), x.lanes)


def mma_values(registers: Array, ty: str) -> Array:
    if ty == "tf32":
        registers = (registers & U32(0xFFFFE000)).view(F32)
    return registers.astype(F64)
