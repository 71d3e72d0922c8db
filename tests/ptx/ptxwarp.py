"""The opcodes of PTX by which lanes work together: exchange, votes, matrix products. See ``ptxsim``."""

from __future__ import annotations

import re

import numpy as np

from ptxinteger import bits_of
from ptxnumbers import unpack
from ptxstep import Opcodes, Step
from ptxtext import F32, F64, I64, U32, WARP, Array, SimError, Vector

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
    a, b = _mma_values(x.stack(1, PACKED[ty]), ty), _mma_values(x.stack(2, PACKED[ty]), ty)
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


def _mma_values(registers: Array, ty: str) -> Array:
    if ty == "tf32":
        registers = (registers & U32(0xFFFFE000)).view(F32)
    return registers.astype(F64)


@OPCODES.add(
    "wgmma",
    "fence commit_group wait_group mma_async sync aligned "
    + " ".join(f"m64n{n}k{k}" for n in range(8, 257, 8) for k in (8, 16)),
)
def _wgmma(x: Step) -> None:
    """D = A B + D for A (64, K) in registers or shared memory and B (K, N) in shared memory, both with K innermost.

    Computed at once; until the group is waited for, writes to the operands count as races. Each warp holds 16
    rows of A and D, as for mma. That fences come before the operands are read is not checked.
    """
    if x.has("fence") or x.has("commit_group"):
        if x.has("commit_group"):
            x.sim.matrix_groups[x.lanes] += 1
        return None
    if x.has("wait_group"):
        return x.sim.finish_products(x.lanes, x.sim.matrix_groups[x.lanes] - x.get(0, "s64"), x.where)
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
    if isinstance(x.operands[1], Vector):
        a = _mma_values(x.stack(1, PACKED[ty]), ty)
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
    values = _mma_values(unpack(words.reshape(-1).view(U32), PACKED[ty]), ty)
    return values.reshape(len(addresses), rows, -1)
