"""The opcodes of PTX that load, store and copy. See ``ptxsim``."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np

from ptxstep import Opcodes, Step
from ptxtext import DTYPE, I64, U8, U16, U32, U64, UNSIGNED, WARP, WIDTH, Address, Array, Instruction, SimError

OPCODES = Opcodes()


HINTS = (
    "nc relaxed weak volatile acquire release cta gpu sys ca cg cs cv lu wb wt shared:cta L2:cache_hint "
    "L2:64B L2:128B L2:256B L1:evict_first L1:evict_last L1:evict_normal L1:evict_unchanged L1:no_allocate "
    "L2:evict_first L2:evict_last L2:evict_normal"
)
SPACES = "global const shared shared:cta local"


def access_bytes(instruction: Instruction) -> int:
    """Bytes per lane of a load, a store or a copy; 16 per row of a matrix."""
    kind = instruction.parts[0]
    if kind == "cp" and len(instruction.operands) > 2:
        return int(str(instruction.operands[2]), 0)
    if kind not in ("ld", "st"):
        return 16
    vector = next((int(p[1:]) for p in instruction.parts if re.fullmatch(r"v[248]", p)), 1)
    return vector * WIDTH[instruction.types[-1]]


def _space(x: Step) -> Callable[..., Array]:
    spaces = {"global": x.sim.access_global, "const": x.sim.access_global, "local": x.sim.access_local}
    spaces |= {"shared": x.sim.access_shared, "shared:cta": x.sim.access_shared}
    access: Callable[..., Array] = x.choose(spaces)
    return access


@OPCODES.add("ld", f"param v2 v4 v8 {SPACES} {HINTS}")
def _ld(x: Step) -> None:
    if x.has("param"):
        address = x.operands[1]
        if not isinstance(address, Address) or address.offset:
            raise SimError(f"a parameter is read as a whole only, at {x.where}")
        return x.put(np.repeat(x.sim.parameters[address.base], len(x.lanes)).view(DTYPE[x.ty]))
    words = _space(x)(x.address(1), access_bytes(x.instruction), x.lanes, x.where)
    columns = words.view(DTYPE.get(x.ty, UNSIGNED[WIDTH[x.ty]]))
    for name, column in zip(x.vector(0), columns.T):
        x.sim.write(name, np.ascontiguousarray(column), x.lanes)
    return None


@OPCODES.add("st", f"v2 v4 v8 {SPACES} {HINTS}")
def _st(x: Step) -> None:
    words = np.ascontiguousarray(x.stack(1, f"b{8 * WIDTH[x.ty]}")[:, :, 0])
    _space(x)(x.address(0), access_bytes(x.instruction), x.lanes, x.where, words)


@OPCODES.add("cp", f"async commit_group wait_group wait_all {SPACES} {HINTS}")
def _cp_async(x: Step) -> None:
    sim, lanes = x.sim, x.lanes
    if x.has("commit_group"):
        sim.groups[lanes] += 1
    elif x.has("wait_all"):
        sim.groups[lanes] += 1
        sim.finish_copies(lanes, sim.groups[lanes])
    elif x.has("wait_group"):
        sim.finish_copies(lanes, sim.groups[lanes] - x.get(0, "s64"))
    else:
        _issue_copy(x)


def _issue_copy(x: Step) -> None:
    """Copies at once, but the log holds the bytes as pending; bytes beyond the source's size become 0."""
    nbytes, given = access_bytes(x.instruction), np.full(len(x.lanes), access_bytes(x.instruction), I64)
    if len(x.operands) > 3 and not x.has("L2:cache_hint"):
        ignored = x.operands[3]
        if isinstance(ignored, str) and x.sim.program.registers.get(ignored) is np.bool_:
            given[x.get(3, "pred")] = 0
        else:
            given = np.minimum(x.get(3, "u32").astype(I64), nbytes)
    data = np.zeros((len(x.lanes), nbytes), U8)
    copied = given > 0
    if ((given != nbytes) & copied).any():
        raise SimError(f"a copy of a part of its bytes is not modelled, at {x.where}")
    if copied.any():
        data[copied] = x.sim.access_global(x.address(1)[copied], nbytes, x.lanes[copied], x.where).view(U8)
    x.sim.access_shared(x.address(0), nbytes, x.lanes, x.where, data, pending=True)


MATRIX = "sync aligned m8n8 x1 x2 x4 trans shared shared:cta"


def _matrix_rows(x: Step, address: int, matrices: int) -> tuple[Array, Array]:
    """Lane 8 m + r of a warp names row r of matrix m: addresses, and those lanes."""
    x.sim.require_full_warps(x.lanes, x.where)
    named = x.lanes % WARP < 8 * matrices
    return x.address(address)[named], x.lanes[named]


@OPCODES.add("ldmatrix", MATRIX)
def _ldmatrix(x: Step) -> None:
    names = x.vector(0)
    addresses, lanes = _matrix_rows(x, 1, len(names))
    rows = x.sim.access_shared(addresses, 16, lanes, x.where)
    elements = rows.view(U16).reshape(-1, len(names), 8, 8)
    if x.has("trans"):
        elements = elements.swapaxes(2, 3)
    words = np.ascontiguousarray(elements).view(U32).reshape(-1, len(names), WARP)
    for i, name in enumerate(names):
        x.sim.write(name, words[:, i].reshape(-1), x.lanes)


@OPCODES.add("stmatrix", MATRIX)
def _stmatrix(x: Step) -> None:
    n = len(x.vector(1))
    addresses, lanes = _matrix_rows(x, 0, n)
    words = x.stack(1, "b32")[:, :, 0].reshape(-1, WARP, n).swapaxes(1, 2)
    elements = np.ascontiguousarray(words).view(U16).reshape(-1, n, 8, 8)
    if x.has("trans"):
        elements = np.ascontiguousarray(elements.swapaxes(2, 3))
    x.sim.access_shared(addresses, 16, lanes, x.where, elements.reshape(-1, 8).view(U64))
